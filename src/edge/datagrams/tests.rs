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
    Datagrams::new(Some(e(id)), 9, Prober::new(at(0), 1, SessionConfig::default()))
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
