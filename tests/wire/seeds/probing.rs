//! Probes, echoes, and what probe sessions and edges are told.

use corridor_probes::{
    AgentId, Mono, Reflector, ReflectorLimits, Route, Sample, SessionId, Steps, samples,
    wire::{EchoBody, LinkEcho, LinkProbe, RouteEcho, RouteProbe, stamp_and_advance},
};

use super::{Seeds, e, one, piece};

fn probe(seq: u32) -> LinkProbe {
    LinkProbe {
        session: SessionId(1),
        seq,
        sent_us: 1_000_000 + i64::from(seq) * 100_000,
        floor: 5,
    }
}

/// Of a reflector that has lost two of eight.
fn body() -> EchoBody {
    let mut reflector = Reflector::new(3, ReflectorLimits::default());
    let mut last = None;
    for seq in [1, 2, 4, 5, 7, 8] {
        last = reflector
            .receive((), SessionId(1), seq, 7, Mono::from_micros(5_000_000))
            .echo();
    }
    last.unwrap()
}

pub fn links() -> Seeds {
    let echo = LinkEcho {
        session: SessionId(1),
        seq: 8,
        body: body(),
    };
    [0, 200]
        .into_iter()
        .flat_map(|size| {
            let (mut probed, mut echoed) = (Vec::new(), Vec::new());
            probe(8).write(&mut probed, size);
            echo.write(&mut echoed, size);
            [
                one(&format!("probe-{size}"), probed),
                one(&format!("echo-{size}"), echoed),
            ]
        })
        .collect()
}

/// A probe of each length of route, at each of its edges, and the echo on its way back.
pub fn routed() -> Seeds {
    let mut seeds = Vec::new();
    for len in 1..=3u16 {
        let edges: Vec<_> = (1..=len).map(e).collect();
        let route = Route::new(&edges).unwrap();
        for far in [None, Some(AgentId(2))] {
            let to = far.map_or("edge", |_| "agent");
            let mut out = Vec::new();
            RouteProbe::new(route, AgentId(1), far, probe(8)).write(&mut out, 120);
            let mut at = 0;
            loop {
                seeds.push(one(&format!("out-{to}-{len}-{at}"), out.clone()));
                at += 1;
                let passing = if far.is_some() { len } else { len - 1 };
                if at > passing {
                    break;
                }
                stamp_and_advance(&mut out, Mono::from_micros(10), Mono::from_micros(11)).unwrap();
            }
            let echo = RouteProbe::parse(&out).unwrap().answer(body());
            let mut back = Vec::new();
            echo.write(&mut back, 0);
            seeds.push(one(&format!("back-{to}-{len}"), back.clone()));
            if stamp_and_advance(&mut back, Mono::from_micros(20), Mono::from_micros(21)).is_ok() {
                assert!(RouteEcho::parse(&back).is_ok());
                seeds.push(one(&format!("back-{to}-{len}-on"), back));
            }
        }
    }
    seeds
}

pub fn routes() -> Seeds {
    routed()
}

/// Each datagram from the one who would send it, and from somebody else.
pub fn edge() -> Seeds {
    let datagrams = links().into_iter().chain(routed());
    datagrams
        .map(|(name, datagram)| {
            let senders = [0u8, 1 << 3, 4, 4 | 2 << 3, 7];
            let came = senders
                .iter()
                .flat_map(|&who| [vec![who], piece(&datagram), vec![0, 9]].concat());
            one(&name, came)
        })
        .collect()
}

/// Slots, echoes that an honest reflector gives, losses between, and the end of windows.
pub fn session() -> Seeds {
    let start = [0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1];
    let sent = [0u8, 100, 0, 9];
    let answered = [2u8, 0, 0, 0, 0, 0, 0, 0, 1, 0, 0, 9, 1];
    let steady = (0..20).flat_map(|i| {
        if i % 5 == 3 {
            sent.to_vec()
        } else {
            [&sent[..], &answered].concat()
        }
    });
    let forged = [
        3u8, 0, 2, 1, 3, 2, 5, 1, 0, 0, 0, 0, 0, 0, 0, 9, 0, 0, 0, 0, 0, 0, 0, 3, 0, 1, 0, 2, 0, 200, 4, 0, 1,
    ];
    let (_, echo) = links().remove(1);
    let (_, route) = routed().into_iter().find(|(n, _)| n == "back-edge-3").unwrap();
    vec![
        one("steady", start.into_iter().chain(steady).chain([7, 255, 7])),
        one(
            "forged",
            [
                &start[..],
                &sent,
                &sent,
                &forged,
                &[6, 0, 0, 6, 1, 0, 9],
                &sent,
                &[7, 200, 6],
            ]
            .concat(),
        ),
        one(
            "wire",
            [
                &start[..],
                &sent,
                &[4],
                &piece(&echo),
                &[1, 5],
                &piece(&route),
                &[1],
            ]
            .concat(),
        ),
        one(
            "slept",
            [&start[..], &sent, &[0, 1, 0, 3, 9, 9, 0, 0, 99, 99], &[7, 255, 7]].concat(),
        ),
    ]
}

pub fn kept_samples() -> Seeds {
    let sample = |seq, rtt_us, up_us| Sample {
        seq,
        rtt_us,
        up_us,
        steps: Steps::default(),
    };
    let few = [
        sample(5, 300, Some(-1)),
        sample(6, 299, None),
        sample(1 << 40, u32::MAX, Some(i64::MIN / 2)),
    ];
    let many: Vec<_> = (0..512)
        .map(|i| sample(i, 40_000 + i as u32 * 7, Some(5_000_000)))
        .collect();
    vec![
        one("none", samples::encode(&[])),
        one("few", samples::encode(&few)),
        one("many", samples::encode(&many)),
    ]
}
