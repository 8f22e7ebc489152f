//! Encodings that must stay: a machine two releases old still speaks them, and the store holds them.

use std::collections::BTreeSet;

use corridor::proto::*;

use super::messages::messages;

/// A line each: the message's name, and its bytes in hexadecimal. Lines are only ever added: one that
/// changed is a message that others do not understand any more.
const GOLDEN: &str = include_str!("golden.txt");

pub fn golden(name: &str) -> Option<Vec<u8>> {
    let line = GOLDEN
        .lines()
        .find_map(|line| line.strip_prefix(name)?.strip_prefix(' '))?;
    Some(bytes(line))
}

fn bytes(hex: &str) -> Vec<u8> {
    let digits: Vec<_> = hex
        .chars()
        .filter(|c| !c.is_whitespace())
        .map(|c| c.to_digit(16).expect("hexadecimal") as u8)
        .collect();
    digits
        .as_chunks()
        .0
        .iter()
        .map(|[high, low]| high << 4 | low)
        .collect()
}

/// `messages` compares what the old bytes decode to; here, that today's bytes are the same.
#[test]
fn every_message_is_encoded_as_it_was() {
    let mut missing = String::new();
    for (name, encoded) in messages() {
        match golden(name) {
            Some(golden) => assert_eq!(encoded, golden, "{name}"),
            None => {
                let hex: String = encoded.iter().map(|b| format!("{b:02x}")).collect();
                missing += &format!("{name} {hex}\n");
            }
        }
    }
    assert!(missing.is_empty(), "add to golden.txt:\n{missing}");
    let names: BTreeSet<_> = messages().iter().map(|(name, _)| *name).collect();
    let kept: BTreeSet<_> = GOLDEN.lines().filter_map(|line| line.split(' ').next()).collect();
    assert_eq!(names, kept, "a line for each value, a value for each line");
}

#[test]
fn no_message_and_no_body_is_left_out() {
    let proto = include_str!("../../src/proto/corridor.proto");
    let names: BTreeSet<_> = messages().iter().map(|(name, _)| *name).collect();
    let mut within = "";
    let mut in_oneof = false;
    for line in proto.lines() {
        if let Some(rest) = line.strip_prefix("message ") {
            within = rest.split(' ').next().unwrap();
            let is_named = names.iter().any(|n| n.split('.').next() == Some(within));
            assert!(is_named, "{within} has no golden bytes");
        }
        in_oneof = (in_oneof || line.contains("oneof body")) && !line.contains('}');
        if in_oneof && line.contains(" = ") {
            let field = line.split_whitespace().nth(1).unwrap();
            assert!(names.contains(&*format!("{within}.{field}")), "{within}.{field}");
        }
    }
}

#[test]
fn what_a_later_release_adds_is_skipped() {
    // Fields 14 to 17 of four wire types, behind and before what is known.
    let added = bytes("70 ac02  79 0102030405060708  8201 03 616263  8d01 01020304");
    for (name, known) in messages() {
        if name != "Draining" && name != "AgentGone" {
            continue;
        }
        for bytes in [[&known[..], &added].concat(), [&added[..], &known].concat()] {
            match name {
                "Draining" => assert_eq!(decode::<Draining>(&bytes).unwrap().seconds_left, 30),
                _ => assert_eq!(decode::<AgentGone>(&bytes).unwrap().agent, 7),
            }
        }
    }
    // A body that is not known here is none, not an error; nor is a group, closed.
    let body = decode::<ToController>(&bytes("fa01 02 0801")).unwrap().body;
    assert_eq!(body, None);
    assert_eq!(
        decode::<Draining>(&bytes("7b 0801 7c 08 1e"))
            .unwrap()
            .seconds_left,
        30
    );
}

#[test]
fn an_older_release_leaves_out_what_it_does_not_know() {
    // An attach of when it had boot, attach and version alone.
    let attach = decode::<Attach>(&bytes("08 05 10 06 1a 05 302e312e30")).unwrap();
    let wanted = Attach {
        boot: 5,
        attach: 6,
        version: "0.1.0".into(),
        ..Attach::default()
    };
    assert_eq!(attach, wanted);
    // A window without totals, steps, or a word on whether raw minima are known.
    let window = decode::<Window>(&bytes(
        "08 07 28 c8d0d9b8e4cfb203 30 904e 42 06 08 02 10 02 30 02",
    ))
    .unwrap();
    assert_eq!(window.of, Some(window::Of::Edge(7)));
    assert_eq!(
        (window.length_ms, window.total, window.has_raw),
        (10_000, None, false)
    );
    let ledger = window.ledger.unwrap();
    assert_eq!(
        (ledger.slots, ledger.sent, ledger.received, ledger.excluded),
        (2, 2, 2, 0)
    );
    // A leg's state without its figures; a host without its load.
    let leg = decode::<LegState>(&bytes("0a 02 6331 10 04")).unwrap();
    assert_eq!(
        (leg.class.as_str(), leg.plan, leg.rtt_p50_us, leg.in_use),
        ("c1", 4, 0, None)
    );
    assert_eq!(decode::<Host>(&bytes("10 0a")).unwrap().cpu, None);
    // Numbers one by one, as proto2 wrote them, beside packed ones.
    assert_eq!(decode::<Route>(&bytes("08 01 08 ac02")).unwrap().edges, [1, 300]);
    // And nothing at all.
    assert_eq!(decode::<Report>(&[]).unwrap(), Report::default());
}
