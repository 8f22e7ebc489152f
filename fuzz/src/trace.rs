//! Answers to the probes of a trace, from error queues and raw sockets, and what a trace makes of them.

use std::{
    net::{IpAddr, Ipv6Addr},
    time::Duration,
};

use corridor_probes::{
    Mono,
    trace::{Answer, Control, Flow, MAX_ADDRESSES, MAX_HOPS, Method, Phase, Plan, Protocol, Step, Tracer},
};

use super::{input::Input, memory::at_most, session::MAX_STEPS};

/// Bytes are an answer to one of our probes, or nothing; and no answers, in whatever order, make a trace
/// count what was not sent, go beyond its hops, or never end.
pub fn trace_answers(data: &[u8]) {
    let mut input = Input::new(data);
    let flags = input.u8();
    let target = match flags & 1 {
        0 => IpAddr::from([192, 0, 2, 9]),
        _ => Ipv6Addr::new(0x2001, 0xdb8, 0, 0, 0, 0, 0, 9).into(),
    };
    let flow = Flow {
        target,
        token: 0xfeed_beef,
        identifier: 0x1234,
    };
    let method = Method::ALL[usize::from(flags / 2 % 3)];
    let plan = Plan {
        target,
        rounds: u32::from(input.u8() % 8) + 1,
        interval: Duration::from_millis(100),
        max_hops: input.u8() % MAX_HOPS + 1,
        protocol: method.protocol(),
        echo: flags & 0x80 != 0,
    };
    let mut tracer = Tracer::new(plan, 0xfff0).expect("a plan within bounds");
    let mut now = Mono::ZERO;
    let mut sent = 0u32;
    for _ in 0..MAX_STEPS {
        if input.is_over() {
            break;
        }
        match input.u8() % 4 {
            0 | 1 => sent += step(&mut tracer, &mut now, input.u8() > 8),
            2 => now = now + Duration::from_millis(input.u16().into()),
            _ => {
                let from = match input.u8() % 4 {
                    0 => target,
                    low => IpAddr::from([10, 0, 0, low]),
                };
                if let Some(answer) = answer(&flow, method, from, &mut input) {
                    tracer.answer(answer, now);
                }
            }
        }
        check(&tracer, sent);
    }
    // Left alone, it comes to its end.
    let most = u32::from(MAX_HOPS) * 2 * (plan.rounds + 4) * 4;
    for _ in 0..most {
        sent += step(&mut tracer, &mut now, true);
    }
    assert_eq!(tracer.phase(), Phase::Done, "{tracer:?}");
    check(&tracer, sent);
}

/// Does what is next; answers how many probes went out.
fn step(tracer: &mut Tracer, now: &mut Mono, works: bool) -> u32 {
    match tracer.poll(*now) {
        Step::Send(probe) if works => {
            assert!((1..=tracer.plan().max_hops).contains(&probe.ttl));
            tracer.sent(probe, *now);
            1
        }
        Step::Send(probe) => {
            tracer.not_sent(probe, *now);
            0
        }
        Step::Wait(until) => {
            assert!(until > *now, "it waits for what is over");
            *now = until;
            0
        }
        Step::Done => 0,
    }
}

/// What a socket has: a message of the error queue, or data.
fn answer(flow: &Flow, method: Method, from: IpAddr, input: &mut Input<'_>) -> Option<Answer> {
    let is_error = input.u8() & 1 == 0;
    let bytes = input.piece();
    let (control, answer) = if is_error {
        let beside = input.piece();
        at_most(0, || {
            let control = Control::parse(beside);
            (Some(control), flow.error(method, bytes, control))
        })
    } else {
        at_most(0, || (None, flow.data(method, from, bytes)))
    };
    let answer = answer?;
    let offender = control.map(|c| c.error.expect("an error").offender);
    assert_eq!(answer.from, offender.unwrap_or(from));
    assert_eq!(answer.protocol, method.protocol());
    assert!(answer.number.is_some() || is_error && answer.protocol == Protocol::Udp);
    Some(answer)
}

fn check(tracer: &Tracer, sent: u32) {
    let hops = tracer.hops();
    assert!(hops.len() <= usize::from(tracer.plan().max_hops));
    let mut all = 0;
    for (i, hop) in hops.iter().enumerate() {
        let series = hop.series();
        assert!(series.settled() <= series.sent());
        assert!(hop.seen().len() <= MAX_ADDRESSES);
        let figures = series.figures();
        assert!(figures.is_none_or(|f| f.best <= f.p50 && f.p50 <= f.p95 && f.p95 <= f.worst));
        all += series.sent();
        let _ = tracer.state(i);
    }
    assert!(all <= sent);
    if let Some(loss) = tracer.end_loss() {
        assert!(loss.share().is_none_or(|s| (0.0..=1.0).contains(&s)));
    }
    assert!(tracer.distance().is_none_or(|d| d <= tracer.plan().max_hops));
}
