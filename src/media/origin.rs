//! Flows where they begin: at an agent, one for each local sender to each forward. A flow is opened along
//! every route of its leg before media takes that route, and goes by the leg's route in use.
//!
//! | state of a route | media |
//! |---|---|
//! | asked | waits, if no other route is open: [`EARLY`] packets for [`EARLY_FOR`]; to a target, no other by the same exit |
//! | carried | goes |
//! | refused | does not go; asked again after [`REFUSED_AGAIN`] |

mod flow;
mod to;

use std::{
    borrow::Cow,
    collections::{BTreeMap, VecDeque},
    net::SocketAddr,
    time::Duration,
};

use corridor_probes::{
    AgentId, EdgeId, Mono, Route,
    wire::{AgentStep, RouteHeader},
};
use rand::{RngExt as _, SeedableRng as _, rngs::StdRng};

use self::flow::{Flow, Opening, Rate};
pub use self::to::{To, ToError};
use super::{
    end::{Counts, End},
    gate::{self, IDLE},
    liveness::Pace,
    receipts::{ComingBack, UnderWay},
    wire::{Answer, HEAD, Kind, MAX_HEADER, Media, Open, Receipt},
};
use crate::{
    route::{Fate, Fates},
    store::records::Protect,
    transport::{Breaker, Dscp, TRICKLE_BPS, TokenBucket},
};

/// Flows are opened again this often, so that edges that restarted know them and none forgets them.
pub const REFRESH: Duration = Duration::from_secs(30);
/// An opening that is not answered is said again after this, and then more rarely.
const ASK_AGAIN: Duration = Duration::from_millis(200);
const ASK_AGAIN_MOST: Duration = Duration::from_secs(3);
/// A route that leaves so many openings unanswered, in 600 ms, is not waited for.
const UNANSWERED: u32 = 3;
/// A route that refused a flow is asked again after this.
const REFUSED_AGAIN: Duration = Duration::from_secs(5);
/// Packets that wait for the first route to open, and for how long.
const EARLY: usize = 64;
const EARLY_FOR: Duration = Duration::from_millis(500);
/// Flows of one agent: what edges take, [`super::gate`].
const MAX_FLOWS: usize = 128;
/// What may go at once: less than edges take, since packets come closer together than they went.
const BURST: Duration = Duration::from_millis(400);
/// What a tripped breaker lets through at once: a packet of the longest.
const TRICKLE_AT_ONCE: usize = 2_200;
/// What the breaker counts a packet as, since it judges bytes.
const PACKET: u64 = 200;
/// No round trip.
const TOO_LONG: Duration = Duration::from_secs(60);
/// A switch is said so often, in case one is lost.
const SWITCHES: usize = 3;

/// A leg, as flows see it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Leg {
    pub class: String,
    pub far: Far,
    /// The primary first.
    pub routes: Vec<Route>,
    pub in_use: Route,
    /// It, where the plan leaves it out: what was granted for it before holds for the moment that it is used yet.
    pub leaving: Option<Route>,
    /// Signed.
    pub grant: Vec<u8>,
    /// As it says; 0 if it could not be read.
    pub rate_kbps: u32,
    pub protect: Protect,
    pub at_risk: bool,
}

/// A leg's far end.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Far {
    Agent { id: AgentId, subject: String },
    Target(String),
}

/// What the driver shall do.
#[derive(Debug, PartialEq, Eq)]
pub enum Output {
    /// Hand this to the connection with an edge.
    Send {
        edge: EdgeId,
        flow: FlowId,
        datagram: Vec<u8>,
    },
    /// Hand this to whoever sends to a forward.
    Deliver {
        forward: u32,
        to: SocketAddr,
        flow: FlowId,
        dscp: Dscp,
        media: Vec<u8>,
    },
}

/// A flow's number, drawn at random: edges and far ends tell flows of one agent apart by it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct FlowId(pub u64);

/// One flow, to be shown.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FlowState {
    pub id: FlowId,
    pub forward: u32,
    pub local: SocketAddr,
    pub class: Option<String>,
    /// The route of the last packet.
    pub route: Option<Route>,
    pub moves: u64,
    pub carried: Vec<Route>,
    pub refused: Vec<(Route, Answer)>,
    pub undone: u64,
    /// Of late, by receipts.
    pub rtt: Option<Duration>,
    /// Packets that are missed at the far end, by the same; nothing is known of what goes twice.
    pub lost_there: u64,
    /// Packets that were dropped because the flow kept losing most of what it sent.
    pub throttled: u64,
    /// Whether that is so now.
    pub is_throttled: bool,
    /// Packets beyond what the grant allows.
    pub too_fast: u64,
    pub counts: Counts,
}

/// All flows of one agent.
#[derive(Debug)]
pub struct Origin {
    me: AgentId,
    forwards: BTreeMap<u32, (To, Option<String>)>,
    legs: BTreeMap<String, Leg>,
    flows: BTreeMap<FlowId, Flow>,
    by_local: BTreeMap<(u32, SocketAddr), FlowId>,
    /// By class and route, since they were last taken.
    fates: BTreeMap<(String, Route), Fates>,
    /// Of all flows together.
    rate: Rate,
    out: VecDeque<Output>,
    /// Packets of local senders beyond what one agent may have.
    pub too_many: u64,
    /// Datagrams of no flow of ours.
    pub unknown: u64,
    pub malformed: u64,
    rng: StdRng,
}

impl Origin {
    pub fn new(me: AgentId, seed: u64) -> Self {
        Self {
            me,
            forwards: BTreeMap::new(),
            legs: BTreeMap::new(),
            flows: BTreeMap::new(),
            by_local: BTreeMap::new(),
            fates: BTreeMap::new(),
            rate: Rate::default(),
            out: VecDeque::new(),
            too_many: 0,
            unknown: 0,
            malformed: 0,
            rng: StdRng::seed_from_u64(seed),
        }
    }

    pub fn poll_output(&mut self) -> Option<Output> {
        self.out.pop_front()
    }

    /// What comes to `forward` goes to `to` from now on, in `class` if one is named.
    pub fn set_forward(&mut self, forward: u32, to: To, class: Option<String>) {
        self.forwards.insert(forward, (to, class));
    }

    pub fn remove_forward(&mut self, forward: u32) {
        self.forwards.remove(&forward);
        self.flows.retain(|_, flow| flow.forward != forward);
        self.by_local.retain(|(of, _), _| *of != forward);
    }

    /// The legs as they are now, with the routes that they use.
    pub fn set_legs(&mut self, legs: Vec<Leg>, now: Mono) {
        let legs = legs.into_iter().map(|leg| (leg.class.clone(), leg));
        let old = std::mem::replace(&mut self.legs, legs.collect());
        for flow in self.flows.values_mut() {
            let grant = |legs: &BTreeMap<String, Leg>| Some(legs.get(flow.class.as_ref()?)?.grant.clone());
            if grant(&old) != grant(&self.legs) {
                // Whoever refused the old one may take this.
                let leaving = flow
                    .class
                    .as_ref()
                    .and_then(|class| self.legs.get(class)?.leaving);
                let asked = flow
                    .openings
                    .iter_mut()
                    .filter(|(route, _)| Some(**route) != leaving);
                asked.for_each(|(_, opening)| opening.ask_at(now));
            }
        }
        let ids: Vec<FlowId> = self.flows.keys().copied().collect();
        for id in ids {
            self.lead(id, now);
            self.send_early(id, now);
        }
    }

    /// A packet came from `local` to a forward. Whether something is to be asked again now, so that
    /// [`Self::next_wakeup`] has changed.
    pub fn local(&mut self, forward: u32, local: SocketAddr, dscp: Dscp, media: &[u8], now: Mono) -> bool {
        let known = self.flows.len();
        let Some(id) = self.flow_of(forward, local, now) else {
            self.too_many += 1;
            return false;
        };
        self.take(id, dscp, media, now);
        self.flows.len() != known
    }

    fn take(&mut self, id: FlowId, dscp: Dscp, media: &[u8], now: Mono) {
        let Some(flow) = self.flows.get_mut(&id) else {
            return;
        };
        flow.used = now;
        let Some(leg) = flow.class.as_ref().and_then(|class| self.legs.get(class)) else {
            flow.undone += 1;
            return;
        };
        match flow.way(leg) {
            Some(route) => self.send(id, route, dscp, media, now),
            None => flow.wait(dscp, media, now),
        }
    }

    /// A datagram of a media kind came that was made for this agent as an origin.
    pub fn datagram(&mut self, datagram: &[u8], now: Mono) {
        match Kind::of(datagram) {
            Some(Kind::Media) => match Media::parse(datagram) {
                Ok(media) => self.media(&media, now),
                Err(_) => self.malformed += 1,
            },
            Some(Kind::Answer) => match Answer::parse(datagram) {
                Ok((header, answer)) => self.answered(&header, answer, now),
                Err(_) => self.malformed += 1,
            },
            Some(Kind::Receipt) => match Receipt::parse(datagram) {
                Ok(receipt) => self.receipt(&receipt, now),
                Err(_) => self.malformed += 1,
            },
            // The far end follows the origin, not the other way round.
            Some(Kind::Switch | Kind::Open) | None => self.unknown += 1,
        }
    }

    /// What became of packets since this was last asked, by class and route.
    pub fn take_fates(&mut self) -> BTreeMap<(String, Route), Fates> {
        std::mem::take(&mut self.fates)
    }

    /// Something that was handed to a connection or a socket was not taken.
    pub fn dropped(&mut self, flow: FlowId) {
        if let Some(flow) = self.flows.get_mut(&flow) {
            flow.end.dropped();
        }
    }

    /// The entries of flows that were used since `since`, and those of their other routes.
    pub fn ways(&self, since: Mono) -> impl Iterator<Item = (EdgeId, Pace)> + '_ {
        let used = self.flows.values().filter(move |flow| flow.used >= since);
        used.flat_map(|flow| {
            let others = flow.openings.keys().filter_map(|route| route.entry());
            let others = others.map(|edge| (edge, Pace::Standby));
            let used = flow.route.and_then(|route| route.entry());
            others.chain(used.map(|edge| (edge, Pace::InUse)))
        })
    }

    /// When [`Self::handle_timeout`] has something to do.
    pub fn next_wakeup(&self) -> Option<Mono> {
        let openings = self.flows.values().flat_map(|flow| flow.openings.values());
        let expiries = self.flows.values().map(|flow| flow.used + IDLE);
        openings.map(|opening| opening.next()).chain(expiries).min()
    }

    pub fn handle_timeout(&mut self, now: Mono) {
        self.flows.retain(|_, flow| now.since(flow.used) < IDLE);
        self.by_local.retain(|_, id| self.flows.contains_key(id));
        let ids: Vec<FlowId> = self.flows.keys().copied().collect();
        for id in ids {
            if let Some(flow) = self.flows.get_mut(&id) {
                flow.end.expire(now);
                flow.forget_early(now);
            }
            self.lead(id, now);
            self.send_early(id, now);
        }
    }

    pub fn states(&self) -> impl Iterator<Item = FlowState> + '_ {
        self.flows.iter().map(|(&id, flow)| {
            let is = |wanted: fn(&Opening) -> bool| {
                let routes = flow.openings.iter().filter(move |(_, opening)| wanted(opening));
                routes.map(|(&route, _)| route)
            };
            FlowState {
                id,
                forward: flow.forward,
                local: flow.local,
                class: flow.class.clone(),
                route: flow.route,
                moves: flow.moves,
                carried: is(|opening| matches!(opening, Opening::Carried { .. })).collect(),
                refused: flow
                    .openings
                    .iter()
                    .filter_map(|(&route, opening)| match opening {
                        Opening::Refused { why, .. } => Some((route, *why)),
                        Opening::Asked { .. } | Opening::Carried { .. } => None,
                    })
                    .collect(),
                undone: flow.undone,
                rtt: flow.rtt,
                lost_there: flow.lost_there,
                throttled: flow.throttled,
                too_fast: flow.too_fast,
                is_throttled: flow.breaker.tripped(),
                counts: flow.end.counts(),
            }
        })
    }

    fn flow_of(&mut self, forward: u32, local: SocketAddr, now: Mono) -> Option<FlowId> {
        if let Some(&id) = self.by_local.get(&(forward, local)) {
            return Some(id);
        }
        if self.flows.len() >= MAX_FLOWS {
            return None;
        }
        let id = FlowId(self.rng.random());
        let end = End::new(self.rng.random());
        self.flows.insert(
            id,
            Flow {
                forward,
                local,
                class: None,
                end,
                under_way: UnderWay::default(),
                coming_back: ComingBack::default(),
                is_twice: false,
                breaker: Breaker::new(),
                trickle: TokenBucket::new(TRICKLE_BPS, TRICKLE_AT_ONCE),
                rate: Rate::default(),
                rtt: None,
                openings: BTreeMap::new(),
                route: None,
                moves: 0,
                early: VecDeque::new(),
                used: now,
                undone: 0,
                throttled: 0,
                too_fast: 0,
                lost_there: 0,
            },
        );
        self.by_local.insert((forward, local), id);
        self.lead(id, now);
        Some(id)
    }

    /// Finds the flow's leg, asks its routes what is due, and tells the far end of a move.
    fn lead(&mut self, id: FlowId, now: Mono) {
        let Some(flow) = self.flows.get_mut(&id) else {
            return;
        };
        let leg = self
            .forwards
            .get(&flow.forward)
            .and_then(|(to, class)| leg_to(&self.legs, to, class.as_deref()).map(|leg| (leg, to)));
        let class = leg.map(|(leg, _)| leg.class.clone());
        if flow.class != class {
            flow.class = class;
            flow.openings.clear();
        }
        let Some((leg, to)) = leg else { return };
        flow.openings.retain(|route, _| leg.routes.contains(route));
        for &route in &leg.routes {
            let (Some(times), Some(edge)) = (flow.asks(route, now), route.entry()) else {
                continue;
            };
            let mut header = header(Kind::Open, self.me, id, route, &leg.far);
            header.seq = times;
            let open = Open {
                header,
                port: match to {
                    To::Agent { port, .. } => *port,
                    To::Target(_) => 0,
                },
                grant: &leg.grant,
            };
            let mut datagram = Vec::new();
            open.write(&mut datagram);
            self.out.push_back(Output::Send {
                edge,
                flow: id,
                datagram,
            });
        }
        let way = flow.way(leg);
        let Some(route) = way.filter(|way| flow.route.is_some_and(|route| route != *way)) else {
            return;
        };
        // Media may be silent just now, or go one way only: the way back is to follow all the same.
        flow.route = Some(route);
        flow.moves += 1;
        let header = RouteHeader {
            seq: flow.end.next(),
            ..header(Kind::Switch, self.me, id, route, &leg.far)
        };
        for _ in 0..SWITCHES {
            let mut datagram = Vec::new();
            header.write(&mut datagram);
            self.out.extend(route.entry().map(|edge| Output::Send {
                edge,
                flow: id,
                datagram,
            }));
        }
    }

    fn send(&mut self, id: FlowId, route: Route, dscp: Dscp, media: &[u8], now: Mono) {
        let Some(flow) = self.flows.get_mut(&id) else {
            return;
        };
        let Some(leg) = flow.class.as_ref().and_then(|class| self.legs.get(class)) else {
            return;
        };
        if flow.route != Some(route) {
            flow.moves += u64::from(flow.route.is_some());
            flow.route = Some(route);
        }
        if flow.is_throttled(media.len(), now) {
            return;
        }
        let most = self.legs.values().map(|leg| leg.rate_kbps).max().unwrap_or(0);
        let bytes = media.len() + MAX_HEADER + HEAD;
        if !flow.rate.takes(leg.rate_kbps, bytes, now) || !self.rate.takes(most, bytes, now) {
            flow.too_fast += 1;
            return;
        }
        let header = header(Kind::Media, self.me, id, route, &leg.far);
        let seq = flow.end.next();
        let Some(datagram) = flow.end.wrap(header, dscp, media, now) else {
            return;
        };
        let copy = flow.second(leg, route).and_then(|second| {
            let copy = flow.end.copy(&datagram, second)?;
            Some((second.entry()?, copy))
        });
        flow.is_twice = copy.is_some();
        if !flow.is_twice {
            flow.under_way.sent(seq, route, now);
        }
        let first = route.entry().map(|edge| (edge, datagram));
        for (edge, datagram) in first.into_iter().chain(copy) {
            self.out.push_back(Output::Send {
                edge,
                flow: id,
                datagram,
            });
        }
    }

    fn media(&mut self, media: &Media<'_>, now: Mono) {
        let id = FlowId(media.header.flow);
        let mine = media.header.step_at_agent(self.me) == Ok(AgentStep::Home);
        let Some(flow) = self.flows.get_mut(&id).filter(|_| mine) else {
            self.unknown += 1;
            return;
        };
        flow.used = now;
        let fate = flow.coming_back.came(media.incarnation, media.header.seq, now);
        if let Some(class) = flow.class.as_ref().filter(|_| !flow.is_twice && !fate.is_empty()) {
            let back = Fates {
                back: fate,
                ..Fates::default()
            };
            add(&mut self.fates, class, media.header.route, back);
        }
        if let Some(packet) = flow.end.unwrap(media, now).map(Cow::into_owned) {
            self.out.push_back(Output::Deliver {
                forward: flow.forward,
                to: flow.local,
                flow: id,
                dscp: media.dscp,
                media: packet,
            });
        }
    }

    fn receipt(&mut self, receipt: &Receipt, now: Mono) {
        let mine = receipt.header.step_at_agent(self.me) == Ok(AgentStep::Home);
        let flow = self.flows.get_mut(&FlowId(receipt.header.flow)).filter(|_| mine);
        let Some(flow) = flow else {
            self.unknown += 1;
            return;
        };
        let said = &receipt.said;
        let since = now
            .since(Mono::from_micros(said.sent_us))
            .checked_sub(said.waited);
        if let Some(rtt) = since.filter(|rtt| *rtt < TOO_LONG) {
            // As TCP smooths it (RFC 6298 §2).
            flow.rtt = Some(flow.rtt.map_or(rtt, |old| old - old / 8 + rtt / 8));
        }
        let fates = flow.under_way.told(said, now);
        let all = fates.values().fold(Fate::default(), |all, fate| all.and(*fate));
        flow.breaker
            .acked(now.since(Mono::ZERO), u64::from(all.came) * PACKET);
        flow.breaker
            .lost(now.since(Mono::ZERO), u64::from(all.missed) * PACKET);
        flow.lost_there += u64::from(all.missed);
        let Some(class) = &flow.class else { return };
        for (route, there) in fates {
            let there = Fates {
                there,
                ..Fates::default()
            };
            add(&mut self.fates, class, route, there);
        }
    }

    fn answered(&mut self, header: &RouteHeader, answer: Answer, now: Mono) {
        let id = FlowId(header.flow);
        let mine = header.step_at_agent(self.me) == Ok(AgentStep::Home);
        let opening = self
            .flows
            .get_mut(&id)
            .filter(|_| mine)
            .and_then(|flow| flow.openings.get_mut(&header.route));
        let Some(opening) = opening else {
            self.unknown += 1;
            return;
        };
        let was_carried = matches!(opening, Opening::Carried { .. });
        *opening = match answer {
            Answer::Carried => Opening::Carried {
                refresh: now + REFRESH,
            },
            Answer::Unknown if !was_carried => return,
            // The far agent is on its way to that edge, or back to it.
            Answer::FarAway => return,
            // An edge that restarted.
            Answer::Unknown => Opening::Asked { times: 0, next: now },
            why => Opening::Refused {
                why,
                again: now + REFUSED_AGAIN,
            },
        };
        self.lead(id, now);
        self.send_early(id, now);
    }

    /// What waited for a route to open.
    fn send_early(&mut self, id: FlowId, now: Mono) {
        let Some(flow) = self.flows.get_mut(&id) else {
            return;
        };
        if flow.early.is_empty() {
            return;
        }
        flow.forget_early(now);
        let leg = flow.class.as_ref().and_then(|class| self.legs.get(class));
        let Some(route) = leg.and_then(|leg| flow.way(leg)) else {
            return;
        };
        for (_, dscp, media) in std::mem::take(&mut flow.early) {
            self.send(id, route, dscp, &media, now);
        }
    }
}

fn add(all: &mut BTreeMap<(String, Route), Fates>, class: &str, route: Route, fates: Fates) {
    let known = all.entry((class.to_owned(), route)).or_default();
    *known = known.and(fates);
}

fn leg_to<'l>(legs: &'l BTreeMap<String, Leg>, to: &To, class: Option<&str>) -> Option<&'l Leg> {
    let leads = |leg: &&Leg| match (&leg.far, to) {
        (Far::Agent { subject, .. }, To::Agent { subject: wanted, .. }) => subject == wanted,
        (Far::Target(target), To::Target(wanted)) => target == wanted,
        (Far::Agent { .. } | Far::Target(_), _) => false,
    };
    let named = |leg: &&Leg| class.is_none_or(|class| leg.class == class);
    legs.values().find(|leg| leads(leg) && named(leg))
}

fn header(kind: Kind, me: AgentId, flow: FlowId, route: Route, far: &Far) -> RouteHeader {
    let far = match far {
        Far::Agent { id, .. } => Some(*id),
        Far::Target(_) => None,
    };
    RouteHeader {
        flow: flow.0,
        ..RouteHeader::out(kind as u8, route, me, far)
    }
}

#[cfg(test)]
mod tests;
