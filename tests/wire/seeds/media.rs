//! Media: datagrams of each kind, and flows that open, talk and move.

use std::time::Duration;

use corridor::{
    media::{
        end::End,
        receipts::Said,
        wire::{Answer, Kind, Open, Receipt, Word},
    },
    transport::Dscp,
};
use corridor_probes::{AgentId, Mono, Route, wire::RouteHeader};

use super::{Seeds, e, one, piece};

fn header(kind: Kind) -> RouteHeader {
    let route = Route::new(&[e(1), e(2)]).unwrap();
    RouteHeader {
        flow: 7,
        seq: 3,
        ..RouteHeader::out(kind as u8, route, AgentId(1), Some(AgentId(2)))
    }
}

fn packet() -> Vec<u8> {
    End::new(1)
        .wrap(header(Kind::Media), Dscp::new(46), b"voice", Mono::ZERO)
        .unwrap()
}

pub fn datagrams() -> Seeds {
    let mut open = Vec::new();
    Open {
        header: header(Kind::Open),
        port: 5_004,
        grant: b"grant",
    }
    .write(&mut open);
    let mut answer = Vec::new();
    Answer::Carried.write(&header(Kind::Open).back(Kind::Answer as u8), &mut answer);
    let mut receipt = Vec::new();
    Receipt {
        header: header(Kind::Media).back(Kind::Receipt as u8),
        said: Said {
            newest: 9,
            sent_us: 1_000_000,
            waited: Duration::from_millis(12),
            seen: 0b1011,
        },
    }
    .write(&mut receipt);
    vec![
        one("media", packet()),
        one("open", open),
        one("answer", answer),
        one("receipt", receipt),
        one("ask", Word::Ask(9).bytes()),
    ]
}

pub fn ends() -> Seeds {
    let step = |what: u8, rest: Vec<u8>| [&[what, 0, 1][..], &rest].concat();
    let talk = [
        step(0, vec![2, 0, 1, 2, 1]),
        step(1, [vec![0], piece(b"voice")].concat()),
        step(4, vec![]),
        step(255, piece(&packet())),
        step(6, piece(&packet())),
        step(5, vec![1]),
        step(3, piece(&packet())),
    ];
    vec![one("talk", talk.concat())]
}
