//! Flows at their far end, an exit edge or the other agent: what came is delivered, what is answered goes
//! back. The way back is the one by which the newest came, so that it follows the origin's choice at once. Where
//! each packet comes by two routes, for protection, answers go by both.

use std::{
    borrow::Cow,
    collections::{BTreeMap, BTreeSet},
    time::Duration,
};

use corridor_probes::{
    EdgeId, Mono, Route,
    wire::{Direction, NextStep, RouteHeader},
};

use super::{
    end::{Counts, End},
    gate::{FlowKey, IDLE},
    liveness::Pace,
    origin::REFRESH,
    receipts::Telling,
    wire::{Kind, Media, Receipt},
};
use crate::transport::Dscp;

#[derive(Debug)]
struct Flow {
    /// As its datagrams go back.
    back: RouteHeader,
    /// Every route by which the flow was opened, and when it last was.
    open: BTreeMap<Route, Mono>,
    /// The other of two routes by which the same came, and when it last did.
    second: Option<(Route, Mono)>,
    /// The highest number of the origin that was seen, switches included.
    newest: Option<u32>,
    end: End,
    telling: Telling,
    /// A packet last came or went.
    used: Mono,
    /// The origin last said anything: it opens its flows again as long as it wants them.
    wanted: Mono,
    moves: u64,
}

/// Copies that came by another route this lately say that the flow is protected.
const PROTECTED: Duration = Duration::from_secs(1);

/// All flows that end here.
#[derive(Debug, Default)]
pub struct Far {
    flows: BTreeMap<FlowKey, Flow>,
    down: BTreeSet<Down>,
}

/// A step of a way back that carries nothing.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Down {
    /// From here.
    Next(NextStep),
    /// From this edge, which is next, to the one after it, as it says.
    Hop(EdgeId, EdgeId),
}

impl Down {
    fn is_on(self, back: &RouteHeader) -> bool {
        match self {
            Self::Next(next) => back.next() == Some(next),
            Self::Hop(from, to) => {
                let index = usize::from(back.index);
                let place = |before: usize| index.checked_sub(before).and_then(|i| back.route.get(i));
                (place(1), place(2)) == (Some(from), Some(to))
            }
        }
    }
}

/// One flow, to be shown.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FarState {
    pub key: FlowKey,
    /// By which it goes back.
    pub route: Route,
    pub moves: u64,
    pub counts: Counts,
}

impl Far {
    /// The flow ends here from now on; see [`End::new`].
    pub fn open(&mut self, header: &RouteHeader, incarnation: u16, now: Mono) {
        self.flows.insert(
            FlowKey::of(header),
            Flow {
                back: header.back(Kind::Media as u8),
                open: BTreeMap::from([(header.route, now)]),
                second: None,
                newest: None,
                end: End::new(incarnation),
                telling: Telling::default(),
                used: now,
                wanted: now,
                moves: 0,
            },
        );
    }

    /// The flow is still wanted, by this route too; `false` if it does not end here.
    pub fn keep(&mut self, header: &RouteHeader, now: Mono) -> bool {
        let Some(flow) = self.flows.get_mut(&FlowKey::of(header)) else {
            return false;
        };
        flow.wanted = now;
        flow.open.retain(|_, last| now.since(*last) < 3 * REFRESH);
        flow.open.insert(header.route, now);
        true
    }

    /// Steps that carry nothing: no answer goes by them where there is another way.
    pub fn set_down(&mut self, down: BTreeSet<Down>) {
        self.down = down;
        for flow in self.flows.values_mut() {
            flow.avoid(&self.down);
        }
    }

    /// To whom flows that were used since `since` go back, and to whom they could.
    pub fn ways(&self, since: Mono) -> impl Iterator<Item = (NextStep, Pace)> + '_ {
        let used = self.flows.values().filter(move |flow| flow.used >= since);
        used.flat_map(|flow| {
            let others = flow.open.keys().filter_map(|&route| flow.back.by(route).next());
            let others = others.map(|next| (next, Pace::Standby));
            others.chain(flow.back.next().map(|next| (next, Pace::InUse)))
        })
    }

    /// What a datagram on its way out brings, and the receipt that is due; `Err` if its flow is not known here.
    pub fn media<'m>(&mut self, media: &Media<'m>, now: Mono) -> Result<Came<'m>, UnknownFlow> {
        let flow = self
            .flows
            .get_mut(&FlowKey::of(&media.header))
            .ok_or(UnknownFlow)?;
        (flow.used, flow.wanted) = (now, now);
        let before = flow.end.received(media.incarnation);
        let is_copy = before.is_some_and(|received| received.is_settled(media.header.seq));
        flow.follow(&media.header, is_copy, &self.down, now);
        let packet = flow.end.unwrap(media, now);
        let (seq, sent_us) = (media.header.seq, media.header.sent_us);
        let received = flow.end.received(media.incarnation);
        let said = received
            .filter(|received| received.is_settled(seq))
            .and_then(|received| {
                flow.telling.came(seq, sent_us, now);
                flow.telling.due(received, now)
            });
        let receipt = said.and_then(|said| {
            let header = RouteHeader {
                kind: Kind::Receipt as u8,
                ..flow.back
            };
            let mut datagram = Vec::new();
            Receipt { header, said }.write(&mut datagram);
            Some((header.next()?, datagram))
        });
        Ok(Came { packet, receipt })
    }

    /// The origin has moved to another route, though it sends nothing just now.
    pub fn switch(&mut self, header: &RouteHeader, now: Mono) -> Result<(), UnknownFlow> {
        let flow = self.flows.get_mut(&FlowKey::of(header)).ok_or(UnknownFlow)?;
        flow.wanted = now;
        flow.follow(header, false, &self.down, now);
        Ok(())
    }

    /// The datagrams that carry `media` back, and to whom; none if the flow is over, or this is too long.
    pub fn answer(&mut self, key: FlowKey, dscp: Dscp, media: &[u8], now: Mono) -> Vec<(NextStep, Vec<u8>)> {
        let Some(flow) = self.flows.get_mut(&key) else {
            return Vec::new();
        };
        flow.used = now;
        let Some(first) = flow.end.wrap(flow.back, dscp, media, now) else {
            return Vec::new();
        };
        let second = flow.second.filter(|(_, at)| now.since(*at) < PROTECTED);
        let copy = second.and_then(|(route, _)| {
            let header = flow.back.by(route);
            Some((header.next()?, flow.end.copy(&first, route)?))
        });
        let first = flow.back.next().map(|next| (next, first));
        first.into_iter().chain(copy).collect()
    }

    /// A datagram or a packet of the flow was not taken here.
    pub fn dropped(&mut self, key: FlowKey) {
        if let Some(flow) = self.flows.get_mut(&key) {
            flow.end.dropped();
        }
    }

    /// Ends what its origin wants no more, however much is answered.
    pub fn expire(&mut self, now: Mono) {
        for flow in self.flows.values_mut() {
            flow.end.expire(now);
        }
        self.flows.retain(|_, flow| now.since(flow.wanted) < IDLE);
    }

    /// Ends all flows but these.
    pub fn retain(&mut self, keep: impl Fn(FlowKey) -> bool) {
        self.flows.retain(|&key, _| keep(key));
    }

    pub fn knows(&self, key: FlowKey) -> bool {
        self.flows.contains_key(&key)
    }

    pub fn len(&self) -> usize {
        self.flows.len()
    }

    pub fn is_empty(&self) -> bool {
        self.flows.is_empty()
    }

    pub fn states(&self) -> impl Iterator<Item = FarState> + '_ {
        self.flows.iter().map(|(&key, flow)| FarState {
            key,
            route: flow.back.route,
            moves: flow.moves,
            counts: flow.end.counts(),
        })
    }
}

impl Flow {
    /// Goes back by another route that is open, if the next hop is silent.
    fn avoid(&mut self, down: &BTreeSet<Down>) {
        let out = |back: &RouteHeader| down.iter().any(|step| step.is_on(back));
        if !out(&self.back) {
            return;
        }
        let routes = self.open.keys().map(|&route| self.back.by(route));
        if let Some(other) = routes.into_iter().find(|back| !out(back)) {
            self.back = other;
            self.moves += 1;
        }
    }
}

/// What came of a datagram.
#[derive(Debug, PartialEq, Eq)]
pub struct Came<'m> {
    /// To be delivered.
    pub packet: Option<Cow<'m, [u8]>>,
    /// To be sent.
    pub receipt: Option<(NextStep, Vec<u8>)>,
}

/// A datagram of a flow that was not opened here.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct UnknownFlow;

impl Flow {
    /// Goes back as what is newest came. `is_copy`: it has come already, by another route, by which a copy of what
    /// goes back goes too, however much slower that is.
    fn follow(&mut self, header: &RouteHeader, is_copy: bool, down: &BTreeSet<Down>, now: Mono) {
        if header.direction != Direction::Out {
            return;
        }
        let is_news = self
            .newest
            .is_none_or(|newest| header.seq.wrapping_sub(newest) as i32 > 0);
        if header.route == self.back.route {
            if is_news {
                self.newest = Some(header.seq);
            }
            return;
        }
        let back = header.back(Kind::Media as u8);
        if down.iter().any(|step| step.is_on(&back)) {
            // It carries that way, and not this one.
            return;
        }
        if is_news {
            self.newest = Some(header.seq);
            let left = self.back.route;
            self.back = back;
            if self.second.is_some_and(|(route, _)| route == self.back.route) {
                // Of two that carry the same, the other was faster.
                self.second = Some((left, now));
            } else {
                self.moves += 1;
            }
        } else if is_copy {
            self.second = Some((header.route, now));
        }
    }
}

#[cfg(test)]
mod tests {
    use corridor_probes::AgentId;

    use super::*;

    fn header(edges: &[u16]) -> RouteHeader {
        let edges: Vec<_> = edges.iter().map(|&id| EdgeId::new(id).unwrap()).collect();
        RouteHeader {
            flow: 7,
            ..RouteHeader::out(Kind::Media as u8, Route::new(&edges).unwrap(), AgentId(1), None)
        }
    }

    fn came(far: &mut Far, edges: &[u16], seq: u32) -> Result<bool, UnknownFlow> {
        let media = Media {
            header: RouteHeader { seq, ..header(edges) },
            incarnation: 1,
            dscp: Dscp::BEST_EFFORT,
            part: super::super::wire::Part::Whole,
            media: b"x",
        };
        far.media(&media, Mono::ZERO).map(|came| came.packet.is_some())
    }

    fn back(far: &mut Far) -> Vec<(Route, NextStep)> {
        let answers = far.answer(FlowKey::of(&header(&[1])), Dscp::BEST_EFFORT, b"y", Mono::ZERO);
        let each = answers.iter().map(|(next, datagram)| {
            let media = Media::parse(datagram).unwrap();
            assert_eq!((media.media, media.header.next()), (&b"y"[..], Some(*next)));
            (media.header.route, *next)
        });
        each.collect()
    }

    #[test]
    fn the_way_back_follows_the_newest() {
        let mut far = Far::default();
        assert_eq!(came(&mut far, &[1, 2], 0), Err(UnknownFlow));
        far.open(&header(&[1, 2]), 1, Mono::ZERO);
        assert!(far.keep(&header(&[3, 2]), Mono::ZERO));
        let edge = |id| NextStep::Edge(EdgeId::new(id).unwrap());
        let route = |edges: &[u16]| header(edges).route;
        assert_eq!(back(&mut far), [(route(&[1, 2]), edge(1))]);
        came(&mut far, &[1, 2], 5).unwrap();
        came(&mut far, &[3, 2], 6).unwrap();
        assert_eq!(back(&mut far), [(route(&[3, 2]), edge(3))]);
        assert_eq!(came(&mut far, &[1, 2], 4), Ok(true), "it is delivered …");
        assert_eq!(back(&mut far), [(route(&[3, 2]), edge(3))], "… and moves nothing");
        let switch = RouteHeader {
            seq: 7,
            kind: Kind::Switch as u8,
            ..header(&[2])
        };
        far.switch(&switch, Mono::ZERO).unwrap();
        assert_eq!(back(&mut far), [(route(&[2]), NextStep::Agent(AgentId(1)))]);
        let state = far.states().next().unwrap();
        assert_eq!((state.moves, state.counts.received, state.counts.sent), (2, 3, 4));
    }

    #[test]
    fn older_packets_that_come_after_a_switch_undo_nothing() {
        let mut far = Far::default();
        far.open(&header(&[1, 2]), 1, Mono::ZERO);
        came(&mut far, &[1, 2], 4).unwrap();
        let switch = RouteHeader {
            seq: 7,
            kind: Kind::Switch as u8,
            ..header(&[3, 2])
        };
        far.switch(&switch, Mono::ZERO).unwrap();
        for seq in [5, 6] {
            assert_eq!(came(&mut far, &[1, 2], seq), Ok(true));
        }
        assert_eq!(back(&mut far)[0].0, header(&[3, 2]).route);
        came(&mut far, &[3, 2], 7).unwrap();
        came(&mut far, &[1, 2], 8).unwrap();
        assert_eq!(back(&mut far)[0].0, header(&[1, 2]).route, "it has moved back");
    }

    #[test]
    fn what_comes_by_two_routes_is_answered_by_both() {
        let mut far = Far::default();
        far.open(&header(&[1, 2]), 1, Mono::ZERO);
        for (seq, order) in [(1, [1, 3]), (2, [3, 1]), (3, [1, 3])] {
            for entry in order {
                came(&mut far, &[entry, 2], seq).unwrap();
            }
            let routes: Vec<_> = back(&mut far).into_iter().map(|(route, _)| route).collect();
            assert_eq!(routes, order.map(|entry| header(&[entry, 2]).route), "{seq}");
        }
        let state = far.states().next().unwrap();
        assert_eq!((state.counts.repeated, state.counts.protecting), (3, 3));
        let later = Mono::ZERO + PROTECTED;
        assert_eq!(
            far.answer(state.key, Dscp::BEST_EFFORT, b"y", later).len(),
            1,
            "not any more"
        );
    }

    #[test]
    fn a_copy_is_one_however_late_it_comes() {
        let mut far = Far::default();
        far.open(&header(&[1, 2]), 1, Mono::ZERO);
        let mut copies = 0;
        for seq in 1..20_u32 {
            assert_eq!(came(&mut far, &[1, 2], seq), Ok(true));
            if let Some(seq) = seq.checked_sub(5).filter(|seq| *seq > 0) {
                assert_eq!(came(&mut far, &[3, 4], seq), Ok(false));
            }
            let answers = back(&mut far);
            assert_eq!(answers[0].0, header(&[1, 2]).route, "the way that is faster");
            copies += answers[1..]
                .iter()
                .filter(|(by, _)| *by == header(&[3, 4]).route)
                .count();
        }
        assert_eq!(copies, 14, "of each, once the first has come");
        let state = far.states().next().unwrap();
        assert_eq!((state.moves, state.counts.repeated), (0, 14));
    }

    #[test]
    fn a_silent_hop_is_avoided_until_it_is_heard_again() {
        let mut far = Far::default();
        far.open(&header(&[1, 2]), 1, Mono::ZERO);
        far.keep(&header(&[3, 2]), Mono::ZERO);
        let edge = |id| NextStep::Edge(EdgeId::new(id).unwrap());
        let next = |far: &mut Far| back(far)[0].1;
        let ways: BTreeSet<_> = far.ways(Mono::ZERO).collect();
        let paces = [(1, Pace::InUse), (1, Pace::Standby), (3, Pace::Standby)];
        assert_eq!(ways, paces.map(|(id, pace)| (edge(id), pace)).into());
        far.set_down(BTreeSet::from([Down::Next(edge(1))]));
        assert_eq!(next(&mut far), edge(3));
        came(&mut far, &[1, 2], 1).unwrap();
        assert_eq!(next(&mut far), edge(3), "it carries one way only");
        far.set_down(BTreeSet::from([1, 3].map(|id| Down::Next(edge(id)))));
        assert_eq!(next(&mut far), edge(3), "there is no better");
        far.set_down(BTreeSet::new());
        came(&mut far, &[1, 2], 2).unwrap();
        assert_eq!(next(&mut far), edge(1));
    }

    #[test]
    fn a_hop_behind_the_next_is_avoided_too() {
        let mut far = Far::default();
        let out = |edges: &[u16]| RouteHeader {
            far: Some(AgentId(2)),
            ..header(edges)
        };
        far.open(&out(&[1, 2]), 1, Mono::ZERO);
        far.keep(&out(&[3, 2]), Mono::ZERO);
        let e = |id| EdgeId::new(id).unwrap();
        far.set_down(BTreeSet::from([Down::Hop(e(2), e(3))]));
        assert_eq!(back(&mut far)[0].0, header(&[1, 2]).route);
        far.set_down(BTreeSet::from([Down::Hop(e(2), e(1))]));
        assert_eq!(back(&mut far)[0].0, header(&[3, 2]).route);
    }

    #[test]
    fn what_nobody_uses_ends() {
        let mut far = Far::default();
        far.open(&header(&[1]), 1, Mono::ZERO);
        far.expire(Mono::ZERO + IDLE / 2);
        let key = FlowKey::of(&header(&[1]));
        // Answers are no wish of the origin's.
        assert_eq!(
            far.answer(key, Dscp::BEST_EFFORT, b"y", Mono::ZERO + IDLE / 2)
                .len(),
            1
        );
        assert!(far.knows(key));
        far.expire(Mono::ZERO + IDLE);
        assert!(far.is_empty());
    }
}
