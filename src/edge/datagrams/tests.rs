use std::time::Duration;

use corridor_probes::{Route, SessionConfig, SessionId, wire::RouteEcho};

use super::*;

fn e(id: u16) -> EdgeId {
    EdgeId::new(id).unwrap()
}

fn at(ms: i64) -> Mono {
    Mono::from_millis(ms)
}

fn edge(id: u16) -> Datagrams {
    Datagrams::new(
        Some(e(id)),
        9,
        Prober::new(at(0), 1, SessionConfig::default()),
        None,
    )
}

const ORIGIN: AgentId = AgentId(100);
const PEER: AgentId = AgentId(200);

fn link_probe(seq: u32) -> LinkProbe {
    LinkProbe {
        session: SessionId(5),
        seq,
        sent_us: 1_000,
        floor: 0,
    }
}

fn route_probe(route: &[u16], far: Option<AgentId>) -> Vec<u8> {
    let route = Route::new(&route.iter().map(|&id| e(id)).collect::<Vec<_>>()).unwrap();
    let mut datagram = Vec::new();
    RouteProbe::new(route, ORIGIN, far, link_probe(1)).write(&mut datagram, 300);
    datagram
}

#[test]
fn a_link_probe_is_answered_once_with_its_own_size() {
    let mut edge = edge(1);
    let mut datagram = Vec::new();
    link_probe(1).write(&mut datagram, 400);
    let probe = datagram.clone();
    let from = Sender::Anyone(3);
    assert_eq!(
        edge.handle(from, &mut datagram, at(7), || at(9)),
        Ok(Verdict::Reply)
    );
    assert_eq!(datagram.len(), 400);
    let echo = LinkEcho::parse(&datagram).unwrap();
    assert_eq!(
        (echo.seq, echo.body.recv_us, echo.body.residence_us),
        (1, 7_000, 2_000)
    );
    let mut again = probe;
    assert_eq!(
        edge.handle(from, &mut again, at(8), || at(9)),
        Err(Refusal::Repeat)
    );
    assert_eq!((edge.counters.answered, edge.counters.repeats), (1, 1));
}

/// Out over two edges to a peer agent and back, each hop by its own edge.
#[test]
fn a_route_probe_walks_its_route_and_comes_home() {
    let (mut first, mut second) = (edge(1), edge(2));
    let mut datagram = route_probe(&[1, 2], Some(PEER));
    let out = [
        (&mut first, Sender::Agent(ORIGIN), Verdict::ToEdge(e(2))),
        (&mut second, Sender::Edge(e(1)), Verdict::ToAgent(PEER)),
    ];
    for (i, (edge, from, wanted)) in out.into_iter().enumerate() {
        let recv = at(10 * i as i64);
        assert_eq!(
            edge.handle(from, &mut datagram, recv, || recv + Duration::from_millis(1)),
            Ok(wanted)
        );
        assert_eq!(datagram.len(), 300, "stamps come out of the padding");
    }
    let probe = RouteProbe::parse(&datagram).unwrap();
    let mut peer = Reflector::new(1, ReflectorLimits::default());
    let body = peer
        .receive(ORIGIN, probe.session(), probe.header.seq, probe.floor, at(20))
        .echo()
        .unwrap();
    probe.answer(body).write(&mut datagram, 300);
    let back = [
        (&mut second, Sender::Agent(PEER), Verdict::ToEdge(e(1))),
        (&mut first, Sender::Edge(e(2)), Verdict::ToAgent(ORIGIN)),
    ];
    for (edge, from, wanted) in back {
        assert_eq!(edge.handle(from, &mut datagram, at(50), || at(51)), Ok(wanted));
    }
    assert_eq!(RouteEcho::parse(&datagram).unwrap().stamps.as_slice().len(), 4);
}

#[test]
fn the_last_edge_answers_where_there_is_no_peer() {
    let mut datagram = route_probe(&[1], None);
    assert_eq!(
        edge(1).handle(Sender::Agent(ORIGIN), &mut datagram, at(1), || at(1)),
        Ok(Verdict::Reply)
    );
    assert!(RouteEcho::parse(&datagram).is_ok());
}

#[test]
fn nobody_speaks_for_others_or_enters_in_the_middle() {
    let forged = |from, mut datagram: Vec<u8>, me| {
        let mut edge = edge(me);
        let refusal = edge.handle(from, &mut datagram, at(1), || at(1)).unwrap_err();
        assert_eq!(edge.counters.forged, 1, "{refusal}");
    };
    // Another agent's origin; an agent in an edge's place; an edge out of turn; a route without this edge.
    forged(Sender::Agent(AgentId(1)), route_probe(&[1, 2], None), 1);
    forged(Sender::Agent(ORIGIN), route_probe(&[2], None), 1);
    forged(Sender::Edge(e(3)), route_probe(&[1, 2], None), 1);
}

#[test]
fn open_probing_reaches_the_reflector_only() {
    let mut datagram = route_probe(&[1], None);
    assert_eq!(
        edge(1).handle(Sender::Anyone(1), &mut datagram, at(1), || at(1)),
        Err(Refusal::NotForAnyone)
    );
}

#[test]
fn rubbish_is_counted_and_nothing_more() {
    let mut edge = edge(1);
    for bytes in [&[][..], &[0xff; 40], &[1], &[0x20, 0xff], &[0; 2_000]] {
        assert!(
            edge.handle(Sender::Agent(ORIGIN), &mut bytes.to_vec(), at(1), || at(1))
                .is_err()
        );
    }
    assert_eq!(edge.counters.malformed, 5);
}

mod media {
    use corridor_probes::Wall;

    use super::*;
    use crate::{
        media::{
            end::End,
            grant::{Grant, GrantId},
            wire::{Answer, Kind, Open, Word},
        },
        route::FarEnd,
        transport::Dscp,
    };

    /// Grants are what they say: their bytes are not looked at.
    #[derive(Debug)]
    struct Paper(FarEnd);

    impl Warrants for Paper {
        fn judge(&self, signed: &[u8]) -> Result<(Grant, Duration), Answer> {
            if signed != b"good" {
                return Err(Answer::BadGrant);
            }
            let grant = Grant {
                id: GrantId(1),
                class: "math".into(),
                agent: ORIGIN,
                far: self.0.clone(),
                edges: vec![e(1), e(2), e(3)],
                rate_kbps: 64,
                from: Wall::from_micros(0),
                until: Wall::from_micros(0),
            };
            Ok((grant, Duration::from_secs(60)))
        }
    }

    fn carrying(id: u16, far: FarEnd) -> Datagrams {
        let mesh = Prober::new(at(0), 1, SessionConfig::default());
        Datagrams::new(Some(e(id)), 9, mesh, Some(Arc::new(Paper(far))))
    }

    fn header(kind: Kind, route: &[u16], far: Option<AgentId>) -> RouteHeader {
        let route = Route::new(&route.iter().map(|&id| e(id)).collect::<Vec<_>>()).unwrap();
        RouteHeader {
            flow: 7,
            ..RouteHeader::out(kind as u8, route, ORIGIN, far)
        }
    }

    fn packet(route: &[u16], far: Option<AgentId>) -> Vec<u8> {
        End::new(1)
            .wrap(
                header(Kind::Media, route, far),
                Dscp::BEST_EFFORT,
                b"voice",
                at(0),
            )
            .unwrap()
    }

    fn open(route: &[u16], far: Option<AgentId>, grant: &[u8]) -> Vec<u8> {
        let open = Open {
            header: header(Kind::Open, route, far),
            port: 5,
            grant,
        };
        let mut datagram = Vec::new();
        open.write(&mut datagram);
        datagram
    }

    /// Along a route of three edges: what each does, and what comes to the end.
    #[test]
    fn a_flow_is_opened_where_it_enters_and_leaves_and_passes_in_between() {
        let far = || FarEnd::Agent(PEER);
        let mut edges = [1, 2, 3].map(|id| carrying(id, far()));
        let walk = |edges: &mut [Datagrams; 3], mut datagram: Vec<u8>| {
            let mut from = Sender::Agent(ORIGIN);
            let mut verdicts = Vec::new();
            for (edge, id) in edges.iter_mut().zip(1..) {
                verdicts.push(edge.handle(from, &mut datagram, at(1), || at(1)));
                from = Sender::Edge(e(id));
            }
            (verdicts, datagram)
        };
        let there = vec![
            Ok(Verdict::ToEdge(e(2))),
            Ok(Verdict::ToEdge(e(3))),
            Ok(Verdict::ToAgent(PEER)),
        ];
        assert_eq!(walk(&mut edges, open(&[1, 2, 3], Some(PEER), b"good")).0, there);
        let (verdicts, datagram) = walk(&mut edges, packet(&[1, 2, 3], Some(PEER)));
        assert_eq!(verdicts, there);
        let media = crate::media::wire::Media::parse(&datagram).unwrap();
        assert_eq!((media.media, media.header.index), (&b"voice"[..], 3));
        let flows = edges.each_ref().map(|edge| edge.gate.flows());
        assert_eq!(flows, [1, 0, 1], "an edge in the middle keeps nothing");
        let hops = edges
            .each_ref()
            .map(|edge| edge.next_hops.carrying(at(1)).collect::<Vec<_>>());
        assert_eq!(hops, [vec![e(2)], vec![e(3)], vec![]]);
    }

    #[test]
    fn who_has_no_grant_is_told_so_by_the_first_edge() {
        let mut edge = carrying(1, FarEnd::Agent(PEER));
        let mut refused = |mut datagram: Vec<u8>| {
            let verdict = edge.handle(Sender::Agent(ORIGIN), &mut datagram, at(1), || at(1));
            assert_eq!(verdict, Ok(Verdict::Reply));
            let (header, answer) = Answer::parse(&datagram).unwrap();
            assert_eq!(header.step_at_agent(ORIGIN), Ok(wire::AgentStep::Home));
            answer
        };
        assert_eq!(refused(packet(&[1, 2], Some(PEER))), Answer::Unknown);
        assert_eq!(refused(open(&[1, 2], Some(PEER), b"bad")), Answer::BadGrant);
        assert_eq!(refused(open(&[1, 4], Some(PEER), b"good")), Answer::NotGranted);
        assert_eq!(refused(open(&[1, 2], None, b"good")), Answer::NotGranted);
        assert_eq!(edge.counters.refusals_told, 4);
        // Nobody opens flows in another's name, or in the middle of a route.
        let mut others = open(&[1, 2], Some(PEER), b"good");
        let refusal = edge.handle(Sender::Agent(PEER), &mut others, at(1), || at(1));
        assert_eq!(refusal, Err(Refusal::Forged(Sender::Agent(PEER))));
        // The peer answers what was opened, and nothing else.
        let back = header(Kind::Media, &[1], Some(PEER)).back(Kind::Media as u8);
        let mut back = End::new(1)
            .wrap(back, Dscp::BEST_EFFORT, b"voice", at(1))
            .unwrap();
        let refusal = edge.handle(Sender::Agent(PEER), &mut back, at(1), || at(1));
        assert_eq!(refusal, Err(Refusal::NotCarried(Answer::Unknown)));
        assert_eq!(edge.counters.not_granted, 1);
    }

    #[test]
    fn an_edge_that_drains_keeps_its_flows_and_takes_no_more() {
        let mut edge = carrying(1, FarEnd::Agent(PEER));
        let from = Sender::Agent(ORIGIN);
        let mut datagram = open(&[1], Some(PEER), b"good");
        assert_eq!(
            edge.handle(from, &mut datagram, at(1), || at(1)),
            Ok(Verdict::ToAgent(PEER))
        );
        edge.draining = true;
        let mut again = open(&[1], Some(PEER), b"good");
        let kept = [&mut again, &mut packet(&[1], Some(PEER))]
            .map(|datagram| edge.handle(from, datagram, at(2), || at(2)));
        assert_eq!(kept, [Ok(Verdict::ToAgent(PEER)), Ok(Verdict::ToAgent(PEER))]);
        let other = Open {
            header: RouteHeader {
                flow: 8,
                ..header(Kind::Open, &[1], Some(PEER))
            },
            port: 5,
            grant: b"good",
        };
        other.write(&mut datagram);
        assert_eq!(
            edge.handle(from, &mut datagram, at(3), || at(3)),
            Ok(Verdict::Reply)
        );
        assert_eq!(Answer::parse(&datagram).unwrap().1, Answer::Draining);
        assert_eq!(edge.counters.refused(), 1);
    }

    #[test]
    fn a_far_agent_answers_openings_of_its_own_flows_only() {
        let mut edge = carrying(1, FarEnd::Agent(PEER));
        let answer = || {
            let mut datagram = Vec::new();
            let out = header(Kind::Open, &[1], Some(PEER));
            Answer::Carried.write(&out.back(Kind::Answer as u8), &mut datagram);
            datagram
        };
        let from = Sender::Agent(PEER);
        let refused = edge.handle(from, &mut answer(), at(1), || at(1));
        assert_eq!(refused, Err(Refusal::Unasked), "nobody asked");
        let mut opening = open(&[1], Some(PEER), b"good");
        edge.handle(Sender::Agent(ORIGIN), &mut opening, at(1), || at(1))
            .unwrap();
        let passed = edge.handle(from, &mut answer(), at(1), || at(1));
        assert_eq!(passed, Ok(Verdict::ToAgent(ORIGIN)));
        let mut longer = answer();
        longer.push(0);
        let refused = edge.handle(from, &mut longer, at(1), || at(1));
        assert_eq!(refused, Err(Refusal::Media(MediaError::Truncated)));
    }

    #[test]
    fn a_flow_to_a_target_ends_at_its_exit_as_fast_as_is_granted() {
        let mut edge = carrying(1, FarEnd::Target("sfu:1".into()));
        let mut opened = open(&[1], None, b"good");
        let from = Sender::Agent(ORIGIN);
        let handle =
            |edge: &mut Datagrams, mut datagram: Vec<u8>| edge.handle(from, &mut datagram, at(1), || at(1));
        assert_eq!(
            handle(&mut edge, std::mem::take(&mut opened)),
            Ok(Verdict::End(Kind::Open))
        );
        let passed =
            (0..200).filter(|_| handle(&mut edge, packet(&[1], None)) == Ok(Verdict::End(Kind::Media)));
        // 64 kbit/s: 4,000 B at once.
        assert_eq!(passed.count(), 4_000 / packet(&[1], None).len());
        assert!(edge.counters.too_fast > 0);
    }

    #[test]
    fn signs_of_life_are_given_to_whoever_is_enrolled() {
        let mut edge = carrying(1, FarEnd::Agent(PEER));
        for (from, wanted) in [
            (Sender::Agent(ORIGIN), Ok(Verdict::Reply)),
            (Sender::Edge(e(2)), Ok(Verdict::Reply)),
            (Sender::Anyone(1), Err(Refusal::NotForAnyone)),
        ] {
            let mut datagram = Word::Ask(9).bytes();
            assert_eq!(edge.handle(from, &mut datagram, at(1), || at(1)), wanted);
            if wanted.is_ok() {
                assert_eq!(Word::of(&datagram), Some(Word::Echo(9)));
            }
        }
        let mut echo = Word::Echo(9).bytes();
        let unasked = edge.handle(Sender::Agent(ORIGIN), &mut echo, at(1), || at(1));
        assert_eq!(unasked, Err(Refusal::Unasked));
    }

    #[test]
    fn a_next_hop_that_dies_under_media_is_told_within_three_steps() {
        let mut edge = carrying(1, FarEnd::Agent(PEER));
        let mut notices = Vec::new();
        let mut opened = open(&[1, 2], Some(PEER), b"good");
        edge.handle(Sender::Agent(ORIGIN), &mut opened, at(0), || at(0))
            .unwrap();
        for ms in 0..1_000 {
            let now = at(ms);
            if ms % 20 == 0 {
                edge.heard(Sender::Agent(ORIGIN), now);
                let mut media = packet(&[1, 2], Some(PEER));
                edge.handle(Sender::Agent(ORIGIN), &mut media, now, || now)
                    .unwrap();
            }
            let wanted = edge
                .next_hops
                .carrying(now)
                .map(|hop| (hop, crate::media::liveness::Pace::InUse));
            let wanted = wanted.collect();
            edge.alive.set(&wanted, now);
            for (hop, seq) in edge.alive.asks(now) {
                if ms < 800 {
                    let mut echo = Word::Echo(seq).bytes();
                    edge.handle(Sender::Edge(hop), &mut echo, now, || now).unwrap();
                }
            }
            notices.extend(
                edge.silences(None, now)
                    .into_iter()
                    .map(|n| (ms, n.agent, n.next, n.silent)),
            );
        }
        assert_eq!(notices, [(840, ORIGIN, e(2), true)]);
        let back = edge.heard(Sender::Edge(e(2)), at(1_000));
        assert_eq!(
            back.iter().map(|n| (n.agent, n.silent)).collect::<Vec<_>>(),
            [(ORIGIN, false)]
        );
    }
}
