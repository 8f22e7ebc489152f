//! The header of routed datagrams, route probes and their echoes.

use corridor_probes::{
    EdgeId, Mono,
    wire::{
        AgentStep, Direction, Kind, MAX_DATAGRAM, NextStep, RouteEcho, RouteHeader, RouteProbe, advance,
        stamp_and_advance,
    },
};

use super::{link::check_ranges, memory::at_most};

/// Bytes are refused, or laid out in one way only. A header that is read names one hand that it came from
/// and one step that it goes to, and an edge that passes it on moves it by that step and no other.
pub fn route_datagrams(data: &[u8]) {
    let (header, probe, echo) = at_most(0, || {
        (
            RouteHeader::parse(data),
            RouteProbe::parse(data),
            RouteEcho::parse(data),
        )
    });
    let mut again = Vec::new();
    if let Ok(probe) = probe {
        probe.write(&mut again, data.len());
        assert_eq!(again, data);
        assert!(probe.stamps.as_slice().len() <= usize::from(probe.header.index));
    }
    if let Ok(echo) = echo {
        echo.write(&mut again, data.len());
        assert_eq!(again, data);
        check_ranges(&echo.body.ranges);
    }
    let Ok((header, length)) = header else {
        assert!(probe.is_err() && echo.is_err());
        assert!(advance(&mut data.to_vec()).is_err());
        return;
    };
    again.clear();
    header.write(&mut again);
    assert_eq!(again, data[..length]);
    step(&header, data);
    let parsed = probe.is_ok() || echo.is_ok();
    pass_on(&header, data, parsed);
}

/// Where it goes from here, and where it came from.
fn step(header: &RouteHeader, data: &[u8]) {
    let edges: Vec<_> = header.route.edges().collect();
    let takers: Vec<_> = edges
        .iter()
        .filter(|&&e| header.step_at_edge(e).is_ok())
        .collect();
    assert!(takers.len() <= 1, "one place at a time");
    let origin = header.step_at_agent(header.origin);
    let far = header.far.map(|far| header.step_at_agent(far));
    assert!(matches!(origin, Ok(AgentStep::Home) | Err(_)));
    assert!(matches!(far, None | Some(Ok(AgentStep::Answer) | Err(_))));
    if let Some(&&me) = takers.first() {
        assert!(origin.is_err() && far.is_none_or(|f| f.is_err()));
        assert!(header.handed_by().is_some());
        let mut moved = data.to_vec();
        match header.step_at_edge(me) {
            Ok(NextStep::Edge(next)) => {
                advance(&mut moved).expect("a step on");
                let (after, _) = RouteHeader::parse(&moved).expect("still a header");
                assert!(after.step_at_edge(next).is_ok(), "the next edge takes it");
                assert_eq!(after.handed_by(), Some(NextStep::Edge(me)), "and from here");
            }
            Ok(NextStep::Agent(agent)) => {
                advance(&mut moved).expect("a step on");
                let (after, _) = RouteHeader::parse(&moved).expect("still a header");
                assert!(after.step_at_agent(agent).is_ok(), "the agent takes it");
            }
            Ok(NextStep::Answer) | Err(_) => {}
        }
    }
    let stranger = (1..=4)
        .filter_map(EdgeId::new)
        .find(|e| !edges.contains(e))
        .expect("one of four is not among three");
    assert!(header.step_at_edge(stranger).is_err());
}

/// A stamp takes its room from the padding, and the rest stays as it is.
fn pass_on(header: &RouteHeader, data: &[u8], parsed: bool) {
    let mut stamped = data.to_vec();
    let (recv, send) = (Mono::from_micros(-7), Mono::from_micros(9));
    if stamp_and_advance(&mut stamped, recv, send).is_err() {
        assert_eq!(stamped, data, "what is refused is left alone");
        return;
    }
    assert!(parsed || Kind::of(data).is_ok());
    assert!((data.len()..=data.len() + 8).contains(&stamped.len()));
    let (after, _) = RouteHeader::parse(&stamped).expect("still a header");
    let back = header.direction == Direction::Back;
    assert_eq!(
        i16::from(after.index) - i16::from(header.index),
        if back { -1 } else { 1 }
    );
    if stamped.len() > MAX_DATAGRAM {
        return;
    }
    let stamps = |d: &[u8]| match back {
        true => RouteEcho::parse(d).map(|e| e.stamps),
        false => RouteProbe::parse(d).map(|p| p.stamps),
    };
    if let Ok(before) = stamps(data) {
        let after = stamps(&stamped).expect("still of its kind");
        let (last, others) = after.as_slice().split_last().expect("one more");
        assert_eq!(others, before.as_slice());
        assert_eq!((last.recv_us, last.send_us), (-7i32 as u32, 9));
    }
}
