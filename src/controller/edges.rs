//! Which edges there are, which of them are connected, and what each is told about the others.

use std::collections::{BTreeMap, BTreeSet};

use corridor_probes::{EdgeId, Wall};

use super::{intake, settings::Settings};
use crate::{api::model::EdgeState, proto, store::records::EdgeRecord};

/// One edge.
#[derive(Debug)]
pub struct Edge {
    pub record: EdgeRecord,
    pub connection: Option<Connection>,
    /// Of the process that registered last.
    pub boot: u64,
    pub status: proto::EdgeStatus,
    pub version: Option<String>,
    pub last_seen: Option<Wall>,
}

/// A connection's number: an edge that reconnects replaces its older connection, whose end must then
/// not count.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Connection(pub u64);

/// Addresses that an edge may tell of itself.
const MAX_ADDRESSES: usize = 16;

/// All enrolled edges.
#[derive(Debug, Default)]
pub struct Edges {
    edges: BTreeMap<EdgeId, Edge>,
}

impl Edges {
    pub fn restore(records: impl IntoIterator<Item = EdgeRecord>) -> Self {
        let mut edges = Self::default();
        for record in records {
            edges.enrol(record);
        }
        edges
    }

    pub fn enrol(&mut self, record: EdgeRecord) {
        match self.edges.get_mut(&record.id) {
            Some(edge) => edge.record = record,
            None => {
                let edge = Edge {
                    connection: None,
                    boot: 0,
                    status: proto::EdgeStatus::default(),
                    version: None,
                    last_seen: None,
                    record,
                };
                self.edges.insert(edge.record.id, edge);
            }
        }
    }

    pub fn get(&self, id: EdgeId) -> Option<&Edge> {
        self.edges.get(&id)
    }

    pub fn by_name(&self, name: &str) -> Option<&Edge> {
        self.iter().find(|e| e.record.name == name)
    }

    /// Every edge that is not revoked.
    pub fn iter(&self) -> impl Iterator<Item = &Edge> + Clone {
        self.edges.values().filter(|e| e.record.revoked.is_none())
    }

    /// An edge has connected and says where it is reached. Answers its record if that changed.
    pub fn connected(
        &mut self,
        id: EdgeId,
        connection: Connection,
        register: &proto::EdgeRegister,
        now: Wall,
    ) -> Option<EdgeRecord> {
        let edge = self.edges.get_mut(&id)?;
        edge.connection = Some(connection);
        edge.boot = register.boot;
        edge.version = Some(intake::text(&register.version));
        edge.last_seen = Some(now);
        let before = edge.record.clone();
        let addresses = register.addresses.iter().filter(|a| is_address(a));
        let addresses: Vec<_> = addresses.take(MAX_ADDRESSES).cloned().collect();
        if !addresses.is_empty() {
            edge.record.addresses = addresses;
        }
        let region = intake::text(&register.region);
        if !region.is_empty() {
            edge.record.region = Some(region);
        }
        (edge.record != before).then(|| edge.record.clone())
    }

    /// A connection ended. `false` if a newer one has taken its place.
    pub fn disconnected(&mut self, id: EdgeId, connection: Connection) -> bool {
        match self.edges.get_mut(&id) {
            Some(edge) if edge.connection == Some(connection) => {
                edge.connection = None;
                true
            }
            _ => false,
        }
    }

    pub fn status(&mut self, id: EdgeId, status: proto::EdgeStatus, now: Wall) {
        if let Some(edge) = self.edges.get_mut(&id) {
            edge.status = status;
            edge.status.cpu = intake::share(status.cpu);
            edge.last_seen = Some(now);
        }
    }

    /// Starts or ends draining; answers the record to keep.
    pub fn drain(&mut self, id: EdgeId, on: bool) -> Option<EdgeRecord> {
        let edge = self.edges.get_mut(&id)?;
        edge.record.draining = on;
        Some(edge.record.clone())
    }

    pub fn revoked(&self) -> Vec<EdgeId> {
        self.edges
            .values()
            .filter(|e| e.record.revoked.is_some())
            .map(|e| e.record.id)
            .collect()
    }

    /// What one edge is told of all others. `busy`: pairs in a live plan, which are measured more often.
    pub fn mesh(&self, of: EdgeId, busy: &BTreeSet<(EdgeId, EdgeId)>, settings: &Settings) -> proto::Mesh {
        let millis = |d: std::time::Duration| u32::try_from(d.as_millis()).unwrap_or(u32::MAX);
        let others = self.iter().filter(|e| e.record.id != of);
        let is_busy = |other: EdgeId| busy.contains(&(of.min(other), of.max(other)));
        proto::Mesh {
            edges: others.clone().map(Edge::info).collect(),
            idle_interval_ms: millis(settings.mesh_idle),
            busy_interval_ms: millis(settings.mesh_busy),
            busy: others
                .filter(|e| is_busy(e.record.id))
                .map(|e| u32::from(e.record.id.get()))
                .collect(),
        }
    }

    /// The edges that an agent shall keep connections to: those that are up first, then the ones nearest
    /// by measurement (`rtt_us`), then those in the agent's own region, then a spread by id that differs
    /// from agent to agent, so that the unmeasured ones are all tried by someone.
    pub fn candidates(
        &self,
        limit: usize,
        region: Option<&str>,
        spread: u64,
        rtt_us: impl Fn(EdgeId) -> Option<u32>,
    ) -> Vec<EdgeId> {
        let mut ranked: Vec<_> = self
            .iter()
            .map(|e| {
                let id = e.record.id;
                let foreign = region.is_none() || e.record.region.as_deref() != region;
                let rtt = rtt_us(id);
                let turn = (u64::from(id.get()).wrapping_mul(0x9E37_79B9_7F4A_7C15) ^ spread).rotate_left(17);
                (e.state() as u8, rtt.is_none(), rtt, foreign, turn, id)
            })
            .collect();
        ranked.sort_unstable();
        ranked.into_iter().take(limit).map(|(.., id)| id).collect()
    }
}

impl Edge {
    pub fn state(&self) -> EdgeState {
        match (&self.connection, self.record.draining || self.status.draining) {
            (None, _) => EdgeState::Down,
            (Some(_), true) => EdgeState::Draining,
            (Some(_), false) => EdgeState::Up,
        }
    }

    pub fn info(&self) -> proto::EdgeInfo {
        proto::EdgeInfo {
            id: u32::from(self.record.id.get()),
            name: self.record.name.clone(),
            region: self.record.region.clone().unwrap_or_default(),
            addresses: self.record.addresses.clone(),
            draining: self.state() == EdgeState::Draining,
            boot: if self.connection.is_some() { self.boot } else { 0 },
        }
    }
}

/// `host:port` that could be looked up: agents are told it.
fn is_address(text: &str) -> bool {
    let Some((host, port)) = text.rsplit_once(':') else {
        return false;
    };
    let plain = |b: u8| b.is_ascii_alphanumeric() || b"-_.:[]%".contains(&b);
    (1..=253).contains(&host.len()) && host.bytes().all(plain) && port.parse::<u16>().is_ok_and(|p| p > 0)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn record(id: u16, region: &str) -> EdgeRecord {
        EdgeRecord {
            id: EdgeId::new(id).unwrap(),
            name: format!("e{id}"),
            region: Some(region.into()),
            addresses: vec![format!("192.0.2.{id}:4433")],
            public_key: vec![],
            tags: BTreeMap::new(),
            joined: Wall::from_secs(1),
            revoked: None,
            draining: false,
        }
    }

    fn edges(up: &[u16]) -> Edges {
        let mut edges = Edges::restore([
            record(1, "eu"),
            record(2, "eu"),
            record(3, "asia"),
            record(4, "us"),
        ]);
        for &id in up {
            let register = proto::EdgeRegister::default();
            edges.connected(
                EdgeId::new(id).unwrap(),
                Connection(1),
                &register,
                Wall::from_secs(2),
            );
        }
        edges
    }

    fn ids(edges: &[EdgeId]) -> Vec<u16> {
        edges.iter().map(|e| e.get()).collect()
    }

    #[test]
    fn candidates_are_up_then_near_then_of_the_region() {
        let rtt = |e: EdgeId| {
            [(4, 50_000), (3, 20_000)]
                .iter()
                .find(|(id, _)| *id == e.get())
                .map(|(_, r)| *r)
        };
        let chosen = edges(&[1, 2, 3, 4]).candidates(4, Some("eu"), 7, rtt);
        assert_eq!(ids(&chosen)[..2], [3, 4], "measured ones, nearest first");
        let chosen = edges(&[1, 3]).candidates(3, Some("eu"), 7, rtt);
        assert_eq!(ids(&chosen)[..2], [3, 1], "what is down comes last, however near");
        assert_eq!(chosen.len(), 3);
    }

    #[test]
    fn an_older_connections_end_does_not_count() {
        let mut edges = edges(&[1]);
        let id = EdgeId::new(1).unwrap();
        edges.connected(
            id,
            Connection(2),
            &proto::EdgeRegister::default(),
            Wall::from_secs(3),
        );
        assert!(!edges.disconnected(id, Connection(1)));
        assert_eq!(edges.get(id).unwrap().state(), EdgeState::Up);
        assert!(edges.disconnected(id, Connection(2)));
        assert_eq!(edges.get(id).unwrap().state(), EdgeState::Down);
    }

    #[test]
    fn the_mesh_names_the_others_and_the_busy_pairs() {
        let settings = Settings::new(&Default::default(), &Default::default());
        let busy = BTreeSet::from([(EdgeId::new(1).unwrap(), EdgeId::new(3).unwrap())]);
        let mesh = edges(&[1, 2, 3]).mesh(EdgeId::new(3).unwrap(), &busy, &settings);
        assert_eq!(mesh.edges.iter().map(|e| e.id).collect::<Vec<_>>(), [1, 2, 4]);
        assert_eq!(mesh.busy, [1]);
    }
}
