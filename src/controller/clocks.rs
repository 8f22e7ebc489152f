//! The offsets of all clocks, in two tiers, since shortest paths over one graph of all would cost with the
//! square of the agents: the edges' clocks bound each other over their mesh, and each agent's clock is
//! bounded by every edge it measures, and through the mesh by what those know of each other. What is lost
//! are ways between edges that lead through an agent; the mesh measures those pairs itself.

use std::collections::BTreeMap;

use corridor_probes::{
    AgentId, EdgeId, Mono,
    clock::{ClockConfig, ClockGraph, Offset},
};

use crate::store::records::Reporter;

/// A clock of an edge: one per process and boot.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct EdgeClock(pub EdgeId, pub u64);

/// See the module's documentation.
#[derive(Debug)]
pub struct Clocks {
    mesh: ClockGraph<EdgeClock>,
    /// How far each edge's clock is ahead of each other's, as of the last [`Self::settle`].
    between: BTreeMap<EdgeClock, BTreeMap<EdgeClock, Offset>>,
    agents: BTreeMap<AgentId, Star>,
}

/// An agent's clock and those of the edges it measures. `None` is the agent's own.
#[derive(Debug)]
struct Star {
    boot: u64,
    graph: ClockGraph<Option<EdgeClock>>,
    edges: BTreeMap<EdgeId, EdgeClock>,
}

impl Default for Clocks {
    fn default() -> Self {
        Self {
            mesh: ClockGraph::new(ClockConfig::default()),
            between: BTreeMap::new(),
            agents: BTreeMap::new(),
        }
    }
}

impl Clocks {
    /// Takes the least raw differences of a window, in µs: `up` from the prober to `there`, `down` back.
    pub fn observe(&mut self, from: Reporter, boot: u64, there: EdgeClock, (up, down): (i64, i64), at: Mono) {
        match from {
            Reporter::Edge(id) => {
                let here = EdgeClock(id, boot);
                self.mesh.observe(here, there, up, at);
                self.mesh.observe(there, here, down, at);
            }
            Reporter::Agent(id) => {
                let star = self.agents.entry(id).or_insert_with(|| Star::new(boot));
                if star.boot != boot {
                    *star = Star::new(boot);
                }
                star.graph.observe(None, Some(there), up, at);
                star.graph.observe(Some(there), None, down, at);
                star.edges.insert(there.0, there);
            }
        }
    }

    /// Works out how far the edges' clocks are from each other, once for all who ask.
    pub fn settle(&mut self, now: Mono) {
        self.between = self
            .mesh
            .clocks()
            .into_iter()
            .map(|from| (from, self.mesh.offsets(from, now)))
            .collect();
    }

    /// How far the clock `there` is ahead of that of `from` in `boot`; none where nothing bounds it.
    pub fn offset(&self, from: Reporter, boot: u64, there: EdgeClock, now: Mono) -> Option<Offset> {
        match from {
            Reporter::Edge(id) => self.between.get(&EdgeClock(id, boot))?.get(&there).copied(),
            Reporter::Agent(id) => {
                let star = self.agents.get(&id).filter(|star| star.boot == boot)?;
                let known = star.graph.offsets(None, now);
                let ways = star.edges.values().filter_map(|&by| {
                    let first = known.get(&Some(by))?;
                    let rest = self.step(by, there)?;
                    Some(Offset {
                        low_us: first.low_us.saturating_add(rest.low_us),
                        high_us: first.high_us.saturating_add(rest.high_us),
                    })
                });
                ways.reduce(|a, b| Offset {
                    low_us: a.low_us.max(b.low_us),
                    high_us: a.high_us.min(b.high_us),
                })
                .filter(|o| o.low_us <= o.high_us)
            }
        }
    }

    fn step(&self, from: EdgeClock, to: EdgeClock) -> Option<Offset> {
        if from == to {
            return Some(Offset {
                low_us: 0,
                high_us: 0,
            });
        }
        self.between.get(&from)?.get(&to).copied()
    }

    /// Forgets the clocks of agents that `keep` does not name.
    pub fn forget(&mut self, keep: impl Fn(AgentId) -> bool) {
        self.agents.retain(|&id, _| keep(id));
    }
}

impl Star {
    fn new(boot: u64) -> Self {
        Self {
            boot,
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

    #[test]
    fn an_agents_clock_is_bounded_by_all_its_edges_together() {
        let mut clocks = Clocks::default();
        // Edge 1 is 1,000 µs ahead of the agent, edge 2 another 500; the way to edge 2 is long, and the
        // mesh knows the two edges to within 20.
        clocks.observe(agent(), 3, e(1), (1_010, -990), NOW);
        clocks.observe(agent(), 3, e(2), (1_500 + 400, -1_500 + 400), NOW);
        clocks.observe(Reporter::Edge(e(1).0), 7, e(2), (510, -490), NOW);
        let alone = |clocks: &Clocks| clocks.offset(agent(), 3, e(2), NOW).unwrap();
        assert_eq!(
            alone(&clocks).bound_us(),
            401,
            "by its own link alone, before the mesh is settled"
        );
        clocks.settle(NOW);
        let tight = alone(&clocks);
        assert_eq!(tight.estimate_us(), 1_500);
        assert_eq!(tight.bound_us(), 22);
    }

    #[test]
    fn edges_are_known_by_the_mesh_and_a_new_boot_is_another_clock() {
        let mut clocks = Clocks::default();
        clocks.observe(Reporter::Edge(e(1).0), 7, e(2), (510, -490), NOW);
        clocks.settle(NOW);
        let offset = |boot, there| clocks.offset(Reporter::Edge(e(1).0), boot, there, NOW);
        assert_eq!(offset(7, e(2)).map(Offset::estimate_us), Some(500));
        assert_eq!(offset(8, e(2)), None);
        assert_eq!(offset(7, EdgeClock(e(2).0, 8)), None);
        assert_eq!(clocks.offset(agent(), 3, e(1), NOW), None);
    }

    #[test]
    fn an_agents_new_boot_and_one_that_left_are_forgotten() {
        let mut clocks = Clocks::default();
        clocks.observe(agent(), 3, e(1), (10, 10), NOW);
        clocks.observe(agent(), 4, e(2), (10, 10), NOW);
        assert_eq!(clocks.offset(agent(), 3, e(1), NOW), None);
        assert_eq!(clocks.offset(agent(), 4, e(1), NOW), None);
        assert!(clocks.offset(agent(), 4, e(2), NOW).is_some());
        clocks.forget(|_| false);
        assert_eq!(clocks.offset(agent(), 4, e(2), NOW), None);
    }
}
