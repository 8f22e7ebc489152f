//! The seeds of the fuzz targets, made by the encoders themselves: small, and one of each kind.
//!
//! `CORRIDOR_WRITE_SEEDS=1 cargo test --test wire seeds` writes them to `fuzz/corpus`. What was captured on a
//! wire has a name that begins with `captured-`, and is left alone.

mod control;
mod grants;
mod media;
mod probing;
mod stamp;
mod surroundings;
mod texts;

use std::fs;

use corridor_probes::{EdgeId, target::stun, trace::Flow};

use super::{TARGETS, dir, files, messages};

type Seeds = Vec<(String, Vec<u8>)>;

fn seeds(target: &str) -> Seeds {
    match target {
        "link_datagrams" => probing::links(),
        "route_datagrams" => probing::routes(),
        "edge_datagrams" => probing::edge(),
        "media_datagrams" => media::datagrams(),
        "media_ends" => media::ends(),
        "probe_session" => probing::session(),
        "reflector" => vec![one(
            "probes",
            (0..40u8).flat_map(|i| [1, 2, 140, i, 0, 9, 0, 0, 0, 0, 0, 0, 0, i, 1]),
        )],
        "samples" => probing::kept_samples(),
        "control_messages" => messages::messages()
            .into_iter()
            .map(|(n, b)| (n.to_owned(), b))
            .collect(),
        "control_frames" => control::frames(),
        "controller_core" => control::controller(),
        "agent_core" => control::agent(),
        "stamp_packets" => stamp::stamp_packets(),
        "stamp_session" => stamp::stamp_session(),
        "stun_answers" => stun_answers(),
        "trace_answers" => trace(),
        "netlink_answers" => surroundings::netlink_answers(),
        "host_load" => vec![surroundings::host_load()],
        "surroundings_shown" => surroundings::told(),
        "certificates" => texts::certificates(),
        "grants" => grants::grants(),
        "join_token" => vec![one("token", texts::token().to_string().into_bytes())],
        "config" => texts::config(),
        "scenario" => vec![one("demo", include_bytes!("../../src/sim/demo.toml").to_vec())],
        "texts" => texts::texts(),
        other => panic!("{other} has no seeds"),
    }
}

fn one(name: &str, bytes: impl IntoIterator<Item = u8>) -> (String, Vec<u8>) {
    (name.to_owned(), bytes.into_iter().collect())
}

/// As `Input::piece` takes it.
fn piece(bytes: &[u8]) -> Vec<u8> {
    [&(bytes.len() as u16).to_be_bytes()[..], bytes].concat()
}

fn e(id: u16) -> EdgeId {
    EdgeId::new(id).unwrap()
}

/// Answers laid out as those of RFC 5769, an error, and a request.
fn stun_answers() -> Seeds {
    let transaction = stun::Transaction {
        session: 0xb7e7_a701_bc34_d686,
        number: 0xfa87_dfae,
    };
    let request = stun::request(transaction);
    let answer = |kind: [u8; 2], attributes: &[u8]| {
        let length = (attributes.len() as u16).to_be_bytes();
        [&kind[..], &length, &request[4..], attributes].concat()
    };
    let software = [&[0x80, 0x22, 0, 11][..], b"test vector "].concat();
    let v4 = [0, 0x20, 0, 8, 0, 1, 0xa1, 0x47, 0xe1, 0x12, 0xa6, 0x43];
    let v6 = [&[0, 0x20, 0, 20, 0, 2, 0xa1, 0x47][..], &[7; 16]].concat();
    let refused = [&[0, 9, 0, 12, 0, 0, 4, 1][..], b"no entry"].concat();
    vec![
        one("v4", answer([1, 1], &[&software[..], &v4].concat())),
        one("v6", answer([1, 1], &[&software[..], &v6].concat())),
        one("error", answer([1, 0x11], &refused)),
        one("request", request),
    ]
}

/// Time exceeded and echo replies, over both families and by every method.
fn trace() -> Seeds {
    let mut seeds = Vec::new();
    for (family, target) in [(0u8, "192.0.2.9"), (1, "2001:db8::9")] {
        let flow = Flow {
            target: target.parse().unwrap(),
            token: 0xfeed_beef,
            identifier: 0x1234,
        };
        let v6 = flow.target.is_ipv6();
        let number = 0xfff0;
        let (level, kind, origin) = if v6 { (41i32, 25i32, 3u8) } else { (0, 11, 2) };
        let exceeded = if v6 { 3 } else { 11 };
        let mut error = [&[0; 4][..], &[origin, exceeded, 0], &[0; 9]].concat();
        error.extend(if v6 { [10u8, 0] } else { [2, 0] });
        error.extend(if v6 {
            vec![0; 26]
        } else {
            vec![0, 0, 10, 0, 0, 1, 0, 0, 0, 0, 0, 0, 0, 0]
        });
        let length = size_of::<usize>() + 8 + error.len();
        let mut beside = [
            &length.to_ne_bytes()[..],
            &level.to_ne_bytes(),
            &kind.to_ne_bytes(),
            &error,
        ]
        .concat();
        beside.resize(length.next_multiple_of(size_of::<usize>()), 0);
        let request = flow.echo_request(number);
        let mut reply = request;
        reply[0] = if v6 { 129 } else { 0 };
        let head = |protocol: u8| {
            let mut head = vec![0u8; if v6 { 40 } else { 20 }];
            head[0] = if v6 { 0x60 } else { 0x45 };
            head[if v6 { 6 } else { 9 }] = protocol;
            if let (false, std::net::IpAddr::V4(to)) = (v6, flow.target) {
                head[16..].copy_from_slice(&to.octets());
            }
            if let std::net::IpAddr::V6(to) = flow.target {
                head[24..].copy_from_slice(&to.octets());
            }
            head
        };
        let icmp = if v6 { 58 } else { 1 };
        let raw_error = [&[exceeded, 0, 0, 0, 0, 0, 0, 0][..], &head(icmp), &request].concat();
        let (raw_error, raw_reply) = match v6 {
            true => (raw_error, reply.to_vec()),
            false => (
                [&head(1)[..], &raw_error].concat(),
                [&head(1)[..], &reply].concat(),
            ),
        };
        let begun = |method: u8| vec![family | (method * 2), 1, 7, 0, 9, 0, 9, 0, 9];
        let in_queue = |quoted: &[u8]| [&[3, 1, 0][..], &piece(quoted), &piece(&beside)].concat();
        let data = |from: u8, bytes: &[u8]| [&[3, from, 1][..], &piece(bytes)].concat();
        let payload = flow.payload(number);
        for (name, method, answers) in [
            ("udp", 0, [in_queue(&payload), data(0, &payload)]),
            ("udp-unnamed", 0, [in_queue(&[]), in_queue(&[])]),
            ("icmp", 1, [in_queue(&request), data(0, &reply)]),
            ("raw", 2, [data(1, &raw_error), data(0, &raw_reply)]),
        ] {
            let steps = [begun(method), answers.concat(), vec![2, 1, 0, 0, 9]].concat();
            seeds.push(one(&format!("{name}-{}", if v6 { "v6" } else { "v4" }), steps));
        }
    }
    seeds
}

#[test]
fn seeds_are_what_the_encoders_make() {
    let write = std::env::var_os("CORRIDOR_WRITE_SEEDS").is_some();
    for (target, _) in TARGETS {
        let mut made = seeds(target);
        made.sort();
        if write {
            let dir = dir("corpus", target);
            fs::create_dir_all(&dir).unwrap();
            for (name, bytes) in &made {
                fs::write(dir.join(name), bytes).unwrap();
            }
        }
        let mut kept = files("corpus", target);
        kept.retain(|(name, _)| !name.starts_with("captured-"));
        let names = |seeds: &Seeds| seeds.iter().map(|(n, _)| n.clone()).collect::<Vec<_>>();
        assert_eq!(names(&made), names(&kept), "{target}");
        for (made, kept) in made.iter().zip(&kept) {
            assert_eq!(made, kept, "{target}");
        }
    }
}
