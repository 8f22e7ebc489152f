//! Where a class of three or more meets: the edge from which its worst teacher–student pair is nearest,
//! by measured delay.

use std::time::Duration;

use corridor_probes::{AgentId, EdgeId, Wall};
use serde::{Deserialize, Serialize};

use super::{
    classes::Class,
    defaults::{HUB_DWELL, SETTLING},
    links::{EdgeState, LinkKey},
    margin::{gain, ms},
    score::Snapshot,
};
use crate::store::records::BudgetOn;

/// A class's meeting point, as it is remembered.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Hub {
    pub edge: EdgeId,
    /// Since when it is there.
    pub since: Wall,
    /// When the class was first given one.
    pub began: Wall,
    /// Fewest members whose way was not measured, since the class was last placed freely.
    pub unmeasured: usize,
}

/// A placement.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Placed {
    pub hub: Hub,
    /// How much nearer the worst pair has come by a move.
    pub gain_ms: Option<f64>,
}

/// What an edge would be as a meeting point. Fields are compared in order, less is better.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
struct HubCost {
    /// Members with no measured way there.
    unmeasured: usize,
    /// Of the measured teacher–student pairs, by sums of medians.
    worst: Duration,
    mean: Duration,
    edge: EdgeId,
}

/// Places a class, or leaves it where it is:
///
/// 1. Edges that are down are no candidates, draining ones only if there are no others.
/// 2. A class without a hub, or whose hub is no candidate, takes the best.
/// 3. In the class's first minute the best is taken whenever more members' ways are measured than were.
/// 4. A hub to which somebody's way is unmeasured is left, after the dwell time, for one where fewer are.
/// 5. A better one must bring the worst pair nearer by the margin, after the dwell time.
///
/// `None` without an edge.
pub fn place(snapshot: &Snapshot<'_>, now: Wall, class: &Class, before: Option<Hub>) -> Option<Placed> {
    let mut edges: Vec<EdgeId> = snapshot.links.live_edges().collect();
    let up = |edge: &EdgeId| snapshot.links.edge_state(*edge) == EdgeState::Up;
    if edges.iter().any(up) {
        edges.retain(up);
    }
    let pairs = class.pairs();
    let costs: Vec<HubCost> = edges
        .iter()
        .map(|&edge| cost(snapshot, class, &pairs, edge))
        .collect();
    let best = costs.iter().min()?;

    let moved = |gain_ms| Placed {
        hub: Hub {
            edge: best.edge,
            since: now,
            began: before.map_or(now, |b| b.began),
            unmeasured: best.unmeasured,
        },
        gain_ms,
    };
    let Some(mut hub) = before else {
        return Some(moved(None));
    };
    let Some(here) = costs.iter().find(|c| c.edge == hub.edge) else {
        return Some(moved(None));
    };
    let known_more = best.unmeasured < hub.unmeasured;
    hub.unmeasured = hub.unmeasured.min(best.unmeasured);
    let stays = Placed { hub, gain_ms: None };
    if best.edge == hub.edge {
        return Some(stays);
    }
    if known_more && now < hub.began + SETTLING {
        return Some(moved(None));
    }
    if now < hub.since + HUB_DWELL {
        return Some(stays);
    }
    Some(match gain(Some(here.worst), Some(best.worst)) {
        _ if best.unmeasured < here.unmeasured => moved(None),
        Some(gain) => moved(Some(ms(match class.budget_on {
            BudgetOn::RoundTrip => gain,
            BudgetOn::OneWay => gain / 2,
        }))),
        None => stays,
    })
}

fn cost(snapshot: &Snapshot<'_>, class: &Class, pairs: &[(usize, usize)], edge: EdgeId) -> HubCost {
    let delays: Vec<Option<Duration>> = class
        .members
        .iter()
        .map(|member| delay(snapshot, member.agent, edge))
        .collect();
    let of_pairs: Vec<Duration> = pairs
        .iter()
        .filter_map(|&(a, b)| Some(delays[a]? + delays[b]?))
        .collect();
    let count = u32::try_from(of_pairs.len()).unwrap_or(u32::MAX).max(1);
    HubCost {
        unmeasured: delays.iter().filter(|d| d.is_none()).count(),
        worst: of_pairs.iter().max().copied().unwrap_or_default(),
        mean: of_pairs.iter().sum::<Duration>() / count,
        edge,
    }
}

/// The least sum of medians from an agent to an edge, over one other edge at most.
fn delay(snapshot: &Snapshot<'_>, agent: AgentId, hub: EdgeId) -> Option<Duration> {
    snapshot
        .links
        .agent_edges(agent)
        .filter(|&entry| snapshot.links.edge_state(entry) != EdgeState::Down)
        .filter_map(|entry| {
            let access = snapshot.link_median(&LinkKey::AgentEdge(agent, entry))?;
            if entry == hub {
                return Some(access);
            }
            Some(access + snapshot.link_median(&LinkKey::edges(entry, hub))?)
        })
        .min()
}

#[cfg(test)]
mod tests {
    use corridor_probes::Mono;

    use super::*;
    use crate::{
        route::{
            classes::Member,
            estimate::Observation,
            links::{EdgeHealth, LinkMap},
        },
        store::records::Role,
    };

    fn e(id: u16) -> EdgeId {
        EdgeId::new(id).unwrap()
    }

    fn map(links: &[(LinkKey, u32)]) -> LinkMap {
        let mut map = LinkMap::default();
        for id in 1..=3 {
            let health = EdgeHealth {
                state: EdgeState::Up,
                load: None,
            };
            map.set_edge(e(id), health);
        }
        for (key, ms) in links {
            let seen = Observation {
                at: Mono::ZERO,
                length: Duration::from_secs(10),
                rtt_us: &[ms * 1_000; 10],
                sent: 10,
                lost_up: 0,
                lost_down: 0,
                kept_out: 0,
                every: Duration::ZERO,
                chains: Default::default(),
            };
            map.observe(key.clone(), &seen);
        }
        map
    }

    /// A teacher near edge 1, a student near 2, an observer near 3 only.
    fn world(teacher: [u32; 3], student: [u32; 3]) -> LinkMap {
        let mut links = vec![(LinkKey::AgentEdge(AgentId(3), e(3)), 1)];
        for i in 0..3 {
            links.push((LinkKey::AgentEdge(AgentId(1), e(i + 1)), teacher[usize::from(i)]));
            links.push((LinkKey::AgentEdge(AgentId(2), e(i + 1)), student[usize::from(i)]));
            for j in i + 1..3 {
                links.push((LinkKey::edges(e(i + 1), e(j + 1)), 500));
            }
        }
        map(&links)
    }

    fn class() -> Class {
        let roles = [Role::Teacher, Role::Student, Role::Observer];
        Class {
            id: "c".into(),
            target: None,
            budget: Duration::from_millis(200),
            budget_on: BudgetOn::RoundTrip,
            members: (1..)
                .zip(roles)
                .map(|(id, role)| Member {
                    subject: id.to_string(),
                    role,
                    agent: AgentId(id),
                    connected: true,
                    in_use: None,
                })
                .collect(),
        }
    }

    fn placed(map: &LinkMap, now_s: i64, before: Option<Hub>) -> Placed {
        let snapshot = Snapshot::new(map, Mono::ZERO);
        place(&snapshot, Wall::from_secs(now_s), &class(), before).unwrap()
    }

    #[test]
    fn the_worst_pair_decides_and_observers_do_not() {
        let first = placed(&world([10, 40, 60], [60, 20, 60]), 0, None);
        assert_eq!(first.hub.edge, e(2), "40 + 20 against 10 + 60 and 60 + 60");
    }

    #[test]
    fn a_move_wants_the_margin_and_the_dwell_time() {
        let before = placed(&world([40, 40, 40], [40, 60, 60]), 0, None).hub;
        assert_eq!(before.edge, e(1));
        for (rtt, after_s, moves) in [(21, 600, false), (20, 600, true), (20, 59, false), (20, 60, true)] {
            let now = placed(&world([40, 40, 40], [40, rtt, 60]), after_s, Some(before));
            assert_eq!(now.hub.edge == e(2), moves, "{rtt} {after_s}");
            assert_eq!(now.gain_ms, moves.then_some(20.0));
        }
    }

    #[test]
    fn a_hub_that_drains_is_left_at_once() {
        let mut map = world([10, 40, 60], [60, 20, 60]);
        let before = placed(&map, 0, None).hub;
        let health = EdgeHealth {
            state: EdgeState::Draining,
            load: None,
        };
        map.set_edge(before.edge, health);
        assert_eq!(placed(&map, 1, Some(before)).hub.edge, e(1));
    }

    #[test]
    fn a_blind_placement_is_made_again_when_measured() {
        let blind = placed(&map(&[]), 0, None).hub;
        assert_eq!(blind.edge, e(1));
        let now = placed(&world([10, 40, 60], [60, 20, 60]), 5, Some(blind));
        assert_eq!((now.hub.edge, now.hub.began), (e(2), Wall::from_secs(0)));
    }
}
