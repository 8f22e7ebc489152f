//! The link map: an estimate for each link, a state and a load for each edge.

use std::{
    collections::{BTreeMap, BTreeSet},
    time::Duration,
};

use corridor_probes::{AgentId, EdgeId, Mono, Route};
use serde::{Deserialize, Serialize};

use super::{
    FarEnd,
    defaults::HORIZON,
    directions::{ClockName, Directions},
    estimate::{LinkEstimate, Observation},
};

/// A link by its two ends.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum LinkKey {
    /// Probed by the agent: up is towards the edge.
    AgentEdge(AgentId, EdgeId),
    /// Probed by the lower id, which stands first; see [`Self::edges`].
    EdgeEdge(EdgeId, EdgeId),
    /// `host:port`.
    EdgeTarget(EdgeId, String),
    /// Where it is measured, `direct` is a route.
    AgentTarget(AgentId, String),
}

impl LinkKey {
    /// The link between two edges, in either order.
    pub fn edges(a: EdgeId, b: EdgeId) -> Self {
        Self::EdgeEdge(a.min(b), a.max(b))
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum EdgeState {
    Up,
    /// Carries what it has, takes nothing new, gives its flows away.
    Draining,
    Down,
}

#[derive(Debug, Clone, Copy, PartialEq)]
pub struct EdgeHealth {
    pub state: EdgeState,
    /// Share of its capacity in use, 0 to 1.
    pub load: Option<f64>,
}

/// What a link's traffic costs, cheapest first.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Money {
    #[default]
    Internet,
    Premium,
}

/// All that is known of links and edges.
#[derive(Debug, Clone, Default)]
pub struct LinkMap {
    links: BTreeMap<LinkKey, LinkEstimate>,
    /// Of those that are asked for.
    directions: BTreeMap<LinkKey, Directions>,
    edges: BTreeMap<EdgeId, EdgeHealth>,
    premium: BTreeSet<LinkKey>,
}

impl LinkMap {
    pub fn observe(&mut self, link: LinkKey, seen: &Observation<'_>) {
        self.links.entry(link).or_default().observe(seen);
    }

    /// Takes what a window shows of each direction: raw differences in µs, away from the prober and back,
    /// between its clock and the other end's.
    pub fn observe_directions(
        &mut self,
        link: LinkKey,
        clocks: [ClockName; 2],
        at: Mono,
        length: Duration,
        ways: [Vec<i64>; 2],
    ) {
        let known = self.directions.entry(link);
        known
            .or_insert_with(|| Directions::new(clocks))
            .observe(clocks, at, length, ways);
    }

    pub fn directions(&self, link: &LinkKey) -> Option<&Directions> {
        self.directions.get(link)
    }

    pub fn set_edge(&mut self, edge: EdgeId, health: EdgeHealth) {
        self.edges.insert(edge, health);
    }

    /// Says what a link's traffic costs; internet unless said otherwise.
    pub fn set_money(&mut self, link: LinkKey, money: Money) {
        match money {
            Money::Internet => self.premium.remove(&link),
            Money::Premium => self.premium.insert(link),
        };
    }

    pub fn money(&self, link: &LinkKey) -> Money {
        if self.premium.contains(link) {
            Money::Premium
        } else {
            Money::Internet
        }
    }

    /// Forgets a link.
    pub fn remove_link(&mut self, link: &LinkKey) {
        self.links.remove(link);
        self.directions.remove(link);
    }

    /// Forgets an edge and its links.
    pub fn remove_edge(&mut self, edge: EdgeId) {
        self.edges.remove(&edge);
        let keeps = |key: &LinkKey| match key {
            LinkKey::AgentEdge(_, e) | LinkKey::EdgeTarget(e, _) => *e != edge,
            LinkKey::EdgeEdge(a, b) => *a != edge && *b != edge,
            LinkKey::AgentTarget(..) => true,
        };
        self.links.retain(|key, _| keeps(key));
        self.directions.retain(|key, _| keeps(key));
    }

    /// Forgets links that are stale: call it now and then, it walks the whole map.
    pub fn forget_stale(&mut self, now: Mono) {
        self.links.retain(|_, link| !link.is_stale(now));
        let is_recent = |d: &Directions| d.newest().is_some_and(|at| now.since(at) < HORIZON);
        self.directions.retain(|_, d| is_recent(d));
    }

    pub fn link(&self, key: &LinkKey) -> Option<&LinkEstimate> {
        self.links.get(key)
    }

    /// Down unless it was said otherwise.
    pub fn edge_state(&self, edge: EdgeId) -> EdgeState {
        self.edges.get(&edge).map_or(EdgeState::Down, |e| e.state)
    }

    pub fn load(&self, edge: EdgeId) -> Option<f64> {
        self.edges.get(&edge)?.load
    }

    /// Every edge that is not down, ascending.
    pub fn live_edges(&self) -> impl Iterator<Item = EdgeId> + '_ {
        self.edges
            .iter()
            .filter(|(_, e)| e.state != EdgeState::Down)
            .map(|(&id, _)| id)
    }

    /// Edges that an agent has a link to, stale or not, ascending.
    pub fn agent_edges(&self, agent: AgentId) -> impl Iterator<Item = EdgeId> + '_ {
        let (first, last) = all_edges();
        self.links
            .range(LinkKey::AgentEdge(agent, first)..=LinkKey::AgentEdge(agent, last))
            .filter_map(|(key, _)| match key {
                LinkKey::AgentEdge(_, edge) => Some(*edge),
                _ => None,
            })
    }

    /// The links of a route from an agent to a far end, in order.
    pub fn keys(from: AgentId, route: &Route, to: &FarEnd) -> Vec<LinkKey> {
        let mut keys = Vec::with_capacity(Route::MAX_EDGES + 1);
        let mut last = None;
        for edge in route.edges() {
            keys.push(match last {
                None => LinkKey::AgentEdge(from, edge),
                Some(before) => LinkKey::edges(before, edge),
            });
            last = Some(edge);
        }
        match (to, last) {
            (FarEnd::Agent(agent), Some(exit)) => keys.push(LinkKey::AgentEdge(*agent, exit)),
            (FarEnd::Target(target), Some(exit)) => keys.push(LinkKey::EdgeTarget(exit, target.clone())),
            (FarEnd::Target(target), None) => keys.push(LinkKey::AgentTarget(from, target.clone())),
            // A hub is itself the last edge; agents are never reached directly.
            (FarEnd::Hub(_), _) | (FarEnd::Agent(_), None) => {}
        }
        keys
    }
}

fn all_edges() -> (EdgeId, EdgeId) {
    const FIRST: EdgeId = EdgeId::new(1).expect("not 0");
    const LAST: EdgeId = EdgeId::new(u16::MAX).expect("not 0");
    (FIRST, LAST)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn e(id: u16) -> EdgeId {
        EdgeId::new(id).unwrap()
    }

    #[test]
    fn links_of_a_route_by_far_end() {
        let (a, b) = (AgentId(1), AgentId(2));
        let route = Route::new(&[e(3), e(2)]).unwrap();
        let first = [LinkKey::AgentEdge(a, e(3)), LinkKey::EdgeEdge(e(2), e(3))];
        let table = [
            (FarEnd::Agent(b), Some(LinkKey::AgentEdge(b, e(2)))),
            (
                FarEnd::Target("x:1".into()),
                Some(LinkKey::EdgeTarget(e(2), "x:1".into())),
            ),
            (FarEnd::Hub(e(2)), None),
        ];
        for (to, last) in table {
            let want: Vec<_> = first.iter().cloned().chain(last).collect();
            assert_eq!(LinkMap::keys(a, &route, &to), want);
        }
        assert_eq!(
            LinkMap::keys(a, &Route::DIRECT, &FarEnd::Target("x:1".into())),
            [LinkKey::AgentTarget(a, "x:1".into())]
        );
    }

    #[test]
    fn edges_of_one_agent_only() {
        let mut map = LinkMap::default();
        let seen = Observation {
            at: Mono::ZERO,
            length: Duration::from_secs(10),
            rtt_us: &[1],
            sent: 1,
            lost_up: 0,
            lost_down: 0,
            kept_out: 0,
            every: Duration::ZERO,
            chains: Default::default(),
        };
        for (agent, edge) in [(1, 5), (2, 1), (2, u16::MAX), (2, 7), (3, 1)] {
            map.observe(LinkKey::AgentEdge(AgentId(agent), e(edge)), &seen);
        }
        assert_eq!(
            map.agent_edges(AgentId(2)).collect::<Vec<_>>(),
            [e(1), e(7), e(u16::MAX)]
        );
        map.remove_edge(e(7));
        assert_eq!(
            map.agent_edges(AgentId(2)).collect::<Vec<_>>(),
            [e(1), e(u16::MAX)]
        );
        map.forget_stale(Mono::from_millis(31_000));
        assert_eq!(map.agent_edges(AgentId(2)).count(), 0);
        assert_eq!(map.edge_state(e(1)), EdgeState::Down, "nobody said it is up");
    }
}
