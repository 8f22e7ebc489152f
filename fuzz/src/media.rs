//! Datagrams of media: what is on the wire, and what both ends of flows make of it.

use std::{collections::BTreeSet, time::Duration};

use corridor::{
    media::{
        end::End,
        far::{Down, Far},
        gate::FlowKey,
        origin::{self, Leg, Origin, Output, To},
        wire::{Answer, Kind, MAX_MEDIA, Media, Open, Part, Receipt, Word},
    },
    store::records::Protect,
    transport::Dscp,
};
use corridor_probes::{AgentId, EdgeId, Mono, Route, wire::NextStep};

use super::input::Input;

const ME: AgentId = AgentId(1);
const PEER: AgentId = AgentId(2);

/// What is read is written as it was, and the halves of a packet make it whole again.
pub fn media_datagrams(data: &[u8]) {
    let mut out = Vec::new();
    if let Ok(media) = Media::parse(data) {
        assert!(media.media.len() <= MAX_MEDIA);
        media.write(&mut out);
        assert_eq!(out, data);
        if let Ok(halves) = media.split() {
            let halves = halves.each_ref().map(|half| Media::parse(half).expect("a half"));
            assert_eq!(halves.map(|half| half.part), [Part::First, Part::Second]);
            let (mut whole, mut joined) = (End::new(1), End::new(2));
            let [first, second] = halves;
            assert_eq!(joined.unwrap(&second, Mono::ZERO), None);
            let packet = joined.unwrap(&first, Mono::ZERO);
            assert_eq!(packet.as_deref(), Some(media.media));
            assert_eq!(whole.unwrap(&media, Mono::ZERO), packet);
        } else {
            assert_ne!(media.part, Part::Whole);
        }
    }
    if let Ok(open) = Open::parse(data) {
        open.write(&mut out);
        assert_eq!(out, data);
    }
    if let Ok((header, answer)) = Answer::parse(data) {
        answer.write(&header, &mut out);
        assert_eq!(out, data);
    }
    if let Ok(receipt) = Receipt::parse(data) {
        receipt.write(&mut out);
        assert_eq!(out, data);
    }
    if let Some(word) = Word::of(data) {
        assert_eq!(word.bytes(), data);
        assert_eq!(Kind::of(data), None);
    }
}

/// Both ends of flows, whatever comes, in whatever order: each number is delivered once, what goes out names its
/// flow and the next step, and what waits is bounded.
pub fn media_ends(data: &[u8]) {
    let mut input = Input::new(data);
    let mut origin = Origin::new(ME, 1);
    let to = To::Agent {
        subject: "anna".to_owned(),
        port: 5_004,
    };
    origin.set_forward(0, to, None);
    let mut far = Far::default();
    let mut now = Mono::ZERO;
    let mut delivered = BTreeSet::new();
    while !input.is_over() {
        let what = input.u8();
        now = now + Duration::from_micros(input.u16().into()) * 16;
        match what % 8 {
            0 => origin.set_legs(legs(&mut input), now),
            1 | 2 => {
                let local = ([127, 0, 0, 1], u16::from(input.u8() % 4) + 1).into();
                origin.local(0, local, Dscp::new(input.u8()), input.piece(), now);
            }
            3 => origin.datagram(input.piece(), now),
            4 => origin.handle_timeout(now),
            5 => {
                let hops = input.u8();
                let down = (0..4).filter(|bit| hops >> bit & 1 == 1).map(edge);
                far.set_down(down.map(|edge| Down::Next(NextStep::Edge(edge))).collect());
                far.expire(now);
            }
            _ => {
                if let Ok(media) = Media::parse(input.piece()) {
                    if what >= 128 && !far.keep(&media.header, now) {
                        far.open(&media.header, 1, now);
                    }
                    if let Ok(came) = far.media(&media, now) {
                        assert!(came.packet.is_none_or(|packet| packet.len() <= 2 * MAX_MEDIA));
                        if let Some((next, receipt)) = came.receipt {
                            let receipt = Receipt::parse(&receipt).expect("a receipt");
                            assert_eq!(receipt.header.next(), Some(next));
                            assert_eq!(receipt.said.has(receipt.said.newest), Some(true));
                        }
                    }
                    let key = FlowKey::of(&media.header);
                    for (next, datagram) in far.answer(key, Dscp::BEST_EFFORT, b"yes", now) {
                        let answer = Media::parse(&datagram).expect("media");
                        assert_eq!(
                            (answer.header.next(), FlowKey::of(&answer.header)),
                            (Some(next), key)
                        );
                    }
                }
            }
        }
        while let Some(output) = origin.poll_output() {
            match output {
                Output::Send { edge, datagram, .. } => {
                    assert!(datagram.len() <= MAX_MEDIA + 64);
                    let kind = Kind::of(&datagram).expect("media's");
                    if kind == Kind::Media {
                        let media = Media::parse(&datagram).expect("media");
                        assert_eq!(media.header.next(), Some(NextStep::Edge(edge)));
                        let (flow, seq, route) = (media.header.flow, media.header.seq, media.header.route);
                        assert!(
                            delivered.insert((flow, seq, route)),
                            "a number twice by one route"
                        );
                    }
                }
                Output::Deliver { media, .. } => assert!(media.len() <= 2 * MAX_MEDIA),
            }
        }
        assert!(origin.states().count() <= 4);
    }
}

fn edge(n: u16) -> EdgeId {
    EdgeId::new(n % 4 + 1).expect("not 0")
}

fn legs(input: &mut Input<'_>) -> Vec<Leg> {
    let kind = input.u8();
    let mut routes = Vec::new();
    for _ in 0..kind % 4 {
        let [a, b] = [input.u8(), input.u8()].map(|n| edge(n.into()));
        routes.extend(Route::new(&[a, b]).or_else(|_| Route::new(&[a])).ok());
    }
    routes.dedup();
    let Some(&in_use) = routes.get(usize::from(kind / 4) % routes.len().max(1)) else {
        return Vec::new();
    };
    vec![Leg {
        class: "c".to_owned(),
        far: origin::Far::Agent {
            id: PEER,
            subject: "anna".to_owned(),
        },
        routes,
        in_use,
        leaving: None,
        grant: vec![1; usize::from(kind)],
        rate_kbps: u32::from(kind) * 10,
        protect: if kind >= 128 {
            Protect::Always
        } else {
            Protect::Off
        },
        at_risk: false,
    }]
}
