//! What the agent knows of each edge: where it is, whether it is connected, heard, draining, and whether
//! it can carry reports.

use std::{
    collections::{BTreeMap, BTreeSet},
    time::Duration,
};

use corridor_probes::{EdgeId, Mono};

use super::uplink::Carrier;
use crate::{proto, route::defaults::NAMED_FOR};

/// A connection's number, counted by the driver: what an older connection says comes too late.
pub type ConnectionNo = u64;

/// One edge, as this agent sees it.
#[derive(Debug)]
pub struct Edge {
    pub info: proto::EdgeInfo,
    pub connection: Option<ConnectionNo>,
    /// Anything at all came from it: every packet is a heartbeat.
    pub heard: Option<Mono>,
    /// Of the process at the other end; 0 before its hello.
    pub boot: u64,
    pub has_controller: bool,
    pub draining: bool,
    /// It fails to answer, though its connection stands.
    pub silent: bool,
    /// It leaves what media asks of it unanswered, while another answers.
    pub unheard: bool,
    /// Next hops that it finds silent, and when it said so.
    pub silent_hops: BTreeMap<EdgeId, Mono>,
    /// Why the last connection ended.
    pub last_end: Option<String>,
}

/// All edges that the agent is to be connected to.
#[derive(Debug, Default)]
pub struct Edges {
    edges: BTreeMap<EdgeId, Edge>,
}

/// Five probes without an answer (two where the budget is tight), and nothing else either.
pub const SILENT: Duration = Duration::from_secs(5);

/// What changed in the set of wanted edges.
#[derive(Debug, Default, PartialEq)]
pub struct Wanted {
    pub dial: Vec<proto::EdgeInfo>,
    pub hang_up: Vec<EdgeId>,
}

impl Edges {
    /// Sets which edges are wanted. An edge whose addresses changed is dialled anew at its next attempt.
    pub fn want(&mut self, wanted: &BTreeMap<EdgeId, proto::EdgeInfo>) -> Wanted {
        let mut changed = Wanted::default();
        self.edges.retain(|id, _| {
            let keep = wanted.contains_key(id);
            if !keep {
                changed.hang_up.push(*id);
            }
            keep
        });
        for (&id, info) in wanted {
            match self.edges.get_mut(&id) {
                Some(edge) if edge.info.addresses == info.addresses => edge.info.clone_from(info),
                Some(edge) => {
                    edge.info.clone_from(info);
                    changed.dial.push(info.clone());
                }
                None => {
                    changed.dial.push(info.clone());
                    self.edges.insert(id, Edge::new(info.clone()));
                }
            }
        }
        changed
    }

    pub fn get(&self, id: EdgeId) -> Option<&Edge> {
        self.edges.get(&id)
    }

    pub fn get_mut(&mut self, id: EdgeId) -> Option<&mut Edge> {
        self.edges.get_mut(&id)
    }

    pub fn iter(&self) -> impl Iterator<Item = (EdgeId, &Edge)> {
        self.edges.iter().map(|(&id, edge)| (id, edge))
    }

    pub fn connected(&mut self, id: EdgeId, connection: ConnectionNo, now: Mono) -> bool {
        let Some(edge) = self.edges.get_mut(&id) else {
            return false;
        };
        edge.connection = Some(connection);
        edge.heard = Some(now);
        edge.boot = 0;
        edge.silent = false;
        edge.has_controller = false;
        edge.draining = false;
        edge.silent_hops.clear();
        true
    }

    /// `false` if a newer connection has taken its place.
    pub fn disconnected(&mut self, id: EdgeId, connection: ConnectionNo, why: &str) -> bool {
        let Some(edge) = self.edges.get_mut(&id) else {
            return false;
        };
        if edge.connection != Some(connection) {
            return false;
        }
        edge.connection = None;
        edge.has_controller = false;
        edge.last_end = Some(why.to_owned());
        true
    }

    pub fn heard(&mut self, id: EdgeId, now: Mono) {
        if let Some(edge) = self.edges.get_mut(&id) {
            edge.heard = edge.heard.max(Some(now));
            edge.silent = false;
        }
    }

    /// Those that leave what media asks of them unanswered.
    pub fn set_unheard(&mut self, unheard: &BTreeSet<EdgeId>) {
        for (id, edge) in &mut self.edges {
            edge.unheard = unheard.contains(id);
        }
    }

    /// Edges, each with a next hop that it finds silent.
    pub fn silent_hops(&self) -> BTreeSet<(EdgeId, EdgeId)> {
        let edges = self.edges.iter();
        edges
            .flat_map(|(&from, edge)| edge.silent_hops.keys().map(move |&to| (from, to)))
            .collect()
    }

    /// When an edge other than `entry` said, of late, that it finds `hop` silent.
    pub fn named_silent(&self, hop: EdgeId, entry: Option<EdgeId>, now: Mono) -> Option<Mono> {
        let others = self.edges.iter().filter(|(id, _)| Some(**id) != entry);
        let told = others.filter_map(|(_, edge)| edge.silent_hops.get(&hop).copied());
        told.filter(|at| is_of_late(*at, now)).max()
    }

    /// Whether any has said so of any.
    pub fn name_silent_hops(&self, now: Mono) -> bool {
        let mut told = self.edges.values().flat_map(|edge| edge.silent_hops.values());
        told.any(|at| is_of_late(*at, now))
    }

    pub fn is_connected(&self, id: EdgeId) -> bool {
        self.edges.get(&id).is_some_and(|e| e.connection.is_some())
    }

    /// Notes that nothing came for [`SILENT`] from an edge that is probed every second or more, until
    /// something comes again. Answers whether that is new.
    pub fn note_silence(&mut self, id: EdgeId, now: Mono) -> bool {
        let Some(edge) = self.edges.get_mut(&id) else {
            return false;
        };
        let silent = edge.heard.is_some_and(|at| now.since(at) >= SILENT);
        let new = silent && !edge.silent;
        edge.silent |= silent;
        new
    }

    /// The connected edges as carriers of reports.
    pub fn carriers(&self, rtt: impl Fn(EdgeId) -> Option<Duration>) -> BTreeMap<EdgeId, Carrier> {
        self.edges
            .iter()
            .filter(|(_, e)| e.connection.is_some())
            .map(|(&id, e)| {
                let carrier = Carrier {
                    has_controller: e.has_controller,
                    draining: e.draining,
                    silent: e.silent || e.unheard,
                    rtt: rtt(id),
                };
                (id, carrier)
            })
            .collect()
    }
}

fn is_of_late(told: Mono, now: Mono) -> bool {
    now.since(told) < NAMED_FOR
}

impl Edge {
    fn new(info: proto::EdgeInfo) -> Self {
        Self {
            info,
            connection: None,
            heard: None,
            boot: 0,
            has_controller: false,
            draining: false,
            silent: false,
            unheard: false,
            silent_hops: BTreeMap::new(),
            last_end: None,
        }
    }

    /// Connected, and greeted by the edge: an edge that refuses an agent does so after the handshake, when the
    /// agent's side of the connection stands already.
    pub fn is_welcome(&self) -> bool {
        self.connection.is_some() && self.boot != 0
    }
}
