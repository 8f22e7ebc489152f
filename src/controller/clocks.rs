//! The offsets of all clocks, in two tiers, since shortest paths over one graph of all would cost with the
//! square of the agents: the edges' clocks bound each other over their mesh, and each agent's clock is
//! bounded by every edge it measures, and through the mesh by what those know of each other. What is lost
//! are ways between edges that lead through an agent; the mesh measures those pairs itself.

use std::{
    collections::{BTreeMap, VecDeque},
    time::Duration,
};

use corridor_probes::{
    AgentId, BootId, EdgeId, Mono,
    clock::{ClockConfig, ClockGraph, Relation, Settled},
};

use crate::{
    route::directions::{self, ClockName},
    store::records::Reporter,
};

/// A clock of an edge: one per process, and a new one when the machine has slept ([`BootId::clock`]).
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct EdgeClock(pub EdgeId, pub u16);

/// The clock of who reports: of a process, from one sleep to the next.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct OwnClock {
    pub boot: u64,
    pub steps: u32,
}

/// The least raw differences of a window, in µs, and when the echoes with them came; these packets were
/// received no more than `within` before. Times are the controller's.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Seen {
    pub up_us: i64,
    pub up_at: Mono,
    pub down_us: i64,
    pub down_at: Mono,
    pub within: Duration,
}

/// While an edge wakes up or restarts, others still tell of its old clock.
const CLOCKS_OF_AN_EDGE: usize = 2;

/// See the module's documentation.
#[derive(Debug)]
pub struct Clocks {
    mesh: ClockGraph<EdgeClock>,
    /// Those in `mesh`, by edge, the newest last.
    names: BTreeMap<EdgeId, VecDeque<EdgeClock>>,
    /// The edges' clocks against each other, as of the last [`Self::settle`].
    between: Settled<EdgeClock>,
    agents: BTreeMap<AgentId, Star>,
}

/// An agent's clock and those of the edges it measures. `None` is the agent's own.
#[derive(Debug)]
struct Star {
    clock: OwnClock,
    newest: Mono,
    graph: ClockGraph<Option<EdgeClock>>,
    edges: BTreeMap<EdgeId, EdgeClock>,
}

impl Default for Clocks {
    fn default() -> Self {
        Self {
            mesh: ClockGraph::new(ClockConfig::default()),
            names: BTreeMap::new(),
            between: Settled::empty(Mono::ZERO),
            agents: BTreeMap::new(),
        }
    }
}

impl Clocks {
    /// Takes what a window says of the clocks of `from` and `there`.
    pub fn observe(&mut self, from: Reporter, clock: OwnClock, there: EdgeClock, seen: &Seen) {
        match from {
            Reporter::Edge(id) => {
                let here = EdgeClock(id, clock.name());
                for clock in [here, there] {
                    self.admit(clock);
                }
                see(&mut self.mesh, here, there, seen);
            }
            Reporter::Agent(id) => {
                let at = seen.up_at.max(seen.down_at);
                let star = self.agents.entry(id).or_insert_with(|| Star::new(clock, at));
                if star.clock != clock {
                    if at < star.newest {
                        // A backlog from before its last start or sleep.
                        return;
                    }
                    *star = Star::new(clock, at);
                }
                star.newest = star.newest.max(at);
                see(&mut star.graph, None, Some(there), seen);
                if let Some(old) = star.edges.insert(there.0, there)
                    && old != there
                {
                    star.graph.forget(Some(old));
                }
            }
        }
    }

    /// An edge has few clocks at a time: with a new one, all but the newest before it are forgotten.
    fn admit(&mut self, clock: EdgeClock) {
        let names = self.names.entry(clock.0).or_default();
        if names.contains(&clock) {
            return;
        }
        if names.len() == CLOCKS_OF_AN_EDGE
            && let Some(old) = names.pop_front()
        {
            self.mesh.forget(old);
        }
        names.push_back(clock);
    }

    /// Works out how the edges' clocks stand against each other, once for all who ask.
    pub fn settle(&mut self, now: Mono) {
        self.between = self.mesh.settle(now);
    }

    /// How the clock `there` stands against that of `from`; none where nothing bounds it.
    pub fn relation(&self, from: Reporter, clock: OwnClock, there: EdgeClock) -> Option<Relation> {
        match from {
            Reporter::Edge(id) => self.between.relation(EdgeClock(id, clock.name()), there),
            Reporter::Agent(id) => {
                let star = self.agents.get(&id).filter(|star| star.clock == clock)?;
                let at = self.between.at();
                let mut all: Option<Relation> = None;
                for &by in star.edges.values() {
                    let way = star.graph.between(None, Some(by), at);
                    // No edge may have measured another yet.
                    let rest = if by == there {
                        Some(Relation::same(at))
                    } else {
                        self.between.relation(by, there)
                    };
                    let (Some(first), Some(rest)) = (way, rest) else {
                        continue;
                    };
                    let way = first.then(rest);
                    all = Some(match all {
                        Some(all) => all.and(way)?,
                        None => way,
                    });
                }
                all
            }
        }
    }

    /// How the clock `there` stands against `here`, of any two; none where nothing bounds it.
    pub fn between(&self, here: ClockName, there: ClockName) -> Option<Relation> {
        match (here, there) {
            _ if here == there => Some(Relation::same(self.between.at())),
            (ClockName::Edge { id: a, clock: at_a }, ClockName::Edge { id: b, clock: at_b }) => {
                self.between.relation(EdgeClock(a, at_a), EdgeClock(b, at_b))
            }
            (ClockName::Agent { id, boot, steps }, ClockName::Edge { id: edge, clock }) => self.relation(
                Reporter::Agent(id),
                OwnClock { boot, steps },
                EdgeClock(edge, clock),
            ),
            (ClockName::Edge { .. }, ClockName::Agent { .. }) => Some(self.between(there, here)?.turned()),
            (ClockName::Agent { .. }, ClockName::Agent { id, boot, steps }) => {
                let own = OwnClock { boot, steps };
                let star = self.agents.get(&id).filter(|star| star.clock == own)?;
                let at = self.between.at();
                let by = |edge: EdgeClock| {
                    let last = star.graph.between(Some(edge), None, at)?;
                    Some(self.between(here, edge.name())?.then(last))
                };
                let mut ways = star.edges.values().filter_map(|&edge| by(edge));
                let first = ways.next()?;
                ways.try_fold(first, Relation::and)
            }
        }
    }

    /// Forgets the clocks of agents that `keep` does not name.
    pub fn forget(&mut self, keep: impl Fn(AgentId) -> bool) {
        self.agents.retain(|&id, _| keep(id));
    }
}

impl directions::Clocks for Clocks {
    fn relation(&self, here: ClockName, there: ClockName) -> Option<Relation> {
        self.between(here, there)
    }
}

impl EdgeClock {
    pub fn name(self) -> ClockName {
        ClockName::Edge {
            id: self.0,
            clock: self.1,
        }
    }
}

impl OwnClock {
    fn name(self) -> u16 {
        BootId(self.boot).clock(self.steps)
    }

    /// As that of who reports.
    pub fn of(self, from: Reporter) -> ClockName {
        match from {
            Reporter::Agent(id) => ClockName::Agent {
                id,
                boot: self.boot,
                steps: self.steps,
            },
            Reporter::Edge(id) => EdgeClock(id, self.name()).name(),
        }
    }
}

fn see<K: Ord + Copy>(graph: &mut ClockGraph<K>, here: K, there: K, seen: &Seen) {
    graph.observe(here, there, seen.up_us, seen.up_at, seen.within);
    graph.observe(there, here, seen.down_us, seen.down_at, seen.within);
}

impl Star {
    fn new(clock: OwnClock, at: Mono) -> Self {
        Self {
            clock,
            newest: at,
            graph: ClockGraph::new(ClockConfig::default()),
            edges: BTreeMap::new(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: Mono = Mono::from_millis(1_000_000);

    fn e(id: u16) -> EdgeClock {
        EdgeClock(EdgeId::new(id).unwrap(), 7)
    }

    fn agent() -> Reporter {
        Reporter::Agent(AgentId(1))
    }

    fn own(boot: u64) -> OwnClock {
        OwnClock { boot, steps: 0 }
    }

    fn observe(clocks: &mut Clocks, from: Reporter, clock: OwnClock, there: EdgeClock, raw: (i64, i64)) {
        observe_at(clocks, from, clock, there, raw, NOW);
    }

    fn observe_at(
        clocks: &mut Clocks,
        from: Reporter,
        clock: OwnClock,
        there: EdgeClock,
        (up_us, down_us): (i64, i64),
        at: Mono,
    ) {
        let seen = Seen {
            up_us,
            up_at: at,
            down_us,
            down_at: at,
            within: Duration::ZERO,
        };
        clocks.observe(from, clock, there, &seen);
    }

    #[test]
    fn an_agents_clock_is_bounded_by_all_its_edges_together() {
        let mut clocks = Clocks::default();
        clocks.settle(NOW);
        // Edge 1 is 1,000 µs ahead of the agent, edge 2 another 500; the way to edge 2 is long, and the
        // mesh knows the two edges to within 20.
        observe(&mut clocks, agent(), own(3), e(1), (1_010, -990));
        observe(&mut clocks, agent(), own(3), e(2), (1_500 + 400, -1_500 + 400));
        observe(&mut clocks, Reporter::Edge(e(1).0), own(7), e(2), (510, -490));
        let offset = |clocks: &Clocks| clocks.relation(agent(), own(3), e(2)).unwrap().offset;
        assert_eq!(
            offset(&clocks).bound_us(),
            401,
            "by its own link alone, before the mesh is settled"
        );
        clocks.settle(NOW);
        assert_eq!(offset(&clocks).estimate_us(), 1_500);
        assert_eq!(offset(&clocks).bound_us(), 22);
    }

    #[test]
    fn edges_are_known_by_the_mesh_as_probers_and_as_reflectors_alike() {
        let mut clocks = Clocks::default();
        // Edge 1 probes 2, and 2 probes 3: what 1 knows of 3 leads over 2 in both parts.
        observe(&mut clocks, Reporter::Edge(e(1).0), own(7), e(2), (510, -490));
        observe(&mut clocks, Reporter::Edge(e(2).0), own(7), e(3), (210, -190));
        clocks.settle(NOW);
        let estimate = |clock, there| {
            let relation = clocks.relation(Reporter::Edge(e(1).0), clock, there);
            relation.map(|r| r.offset.estimate_us())
        };
        assert_eq!(
            (estimate(own(7), e(2)), estimate(own(7), e(3))),
            (Some(500), Some(700))
        );
        assert_eq!(estimate(own(8), e(2)), None, "another process");
        assert_eq!(estimate(OwnClock { boot: 7, steps: 1 }, e(2)), None, "it slept");
        assert_eq!(estimate(own(7), EdgeClock(e(2).0, 8)), None);
        assert_eq!(clocks.relation(agent(), own(3), e(1)), None);
    }

    #[test]
    fn an_agents_new_clock_takes_over_and_a_backlog_does_not_bring_the_old_one_back() {
        let mut clocks = Clocks::default();
        let slept = OwnClock { boot: 3, steps: 1 };
        observe(&mut clocks, agent(), own(3), e(1), (10, 10));
        let later = NOW + Duration::from_secs(60);
        observe_at(&mut clocks, agent(), slept, e(2), (10, 10), later);
        assert_eq!(clocks.relation(agent(), own(3), e(1)), None);
        assert_eq!(clocks.relation(agent(), slept, e(1)), None);
        observe(&mut clocks, agent(), own(3), e(1), (10, 10));
        assert!(clocks.relation(agent(), slept, e(2)).is_some());
        clocks.forget(|_| false);
        assert_eq!(clocks.relation(agent(), slept, e(2)), None);
    }
}
