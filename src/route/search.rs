//! Which routes there are between two ends.

use corridor_probes::{AgentId, EdgeId, Route};

use super::{
    FarEnd,
    links::{EdgeState, LinkKey, LinkMap},
};

/// Every route of up to `max_edges` edges (1 to 3) from an agent to a far end, in a fixed order.
///
/// 1. No edge is down. (Draining ones are there: a route over them is better than none.)
/// 2. The first edge is one that the agent has a link to; before it has any, any edge.
/// 3. The last edge is the hub; or one that the far agent has a link to (before it has any, any edge);
///    or, towards a target, any edge.
/// 4. `direct` towards a target whose link from the agent is measured.
pub fn routes(links: &LinkMap, from: AgentId, to: &FarEnd, max_edges: usize) -> Vec<Route> {
    let entries = reached(links, from);
    let exits = match to {
        FarEnd::Agent(agent) => reached(links, *agent),
        FarEnd::Target(_) => links.live_edges().collect(),
        FarEnd::Hub(hub) if links.edge_state(*hub) != EdgeState::Down => vec![*hub],
        FarEnd::Hub(_) => Vec::new(),
    };
    let all: Vec<EdgeId> = if max_edges > 2 {
        links.live_edges().collect()
    } else {
        Vec::new()
    };

    let mut found = Vec::new();
    if let FarEnd::Target(target) = to {
        let direct = LinkKey::AgentTarget(from, target.clone());
        found.extend(links.link(&direct).map(|_| Route::DIRECT));
    }
    for &entry in &entries {
        for &exit in &exits {
            if entry == exit {
                found.extend(Route::new(&[entry]));
            } else if max_edges >= 2 {
                found.extend(Route::new(&[entry, exit]));
                // Where `middle` is one of the two, it is no route.
                found.extend(all.iter().flat_map(|&middle| Route::new(&[entry, middle, exit])));
            }
        }
    }
    found
}

fn reached(links: &LinkMap, agent: AgentId) -> Vec<EdgeId> {
    if links.agent_edges(agent).next().is_none() {
        return links.live_edges().collect();
    }
    links
        .agent_edges(agent)
        .filter(|&edge| links.edge_state(edge) != EdgeState::Down)
        .collect()
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use corridor_probes::Mono;

    use super::*;
    use crate::route::{estimate::Observation, links::EdgeHealth};

    fn world(edges: u16, links: &[(u64, u16)]) -> LinkMap {
        let mut map = LinkMap::default();
        for id in 1..=edges {
            let health = EdgeHealth {
                state: EdgeState::Up,
                load: None,
            };
            map.set_edge(EdgeId::new(id).unwrap(), health);
        }
        for &(agent, edge) in links {
            let seen = Observation {
                at: Mono::ZERO,
                length: Duration::from_secs(10),
                rtt_us: &[1_000],
                sent: 1,
                lost_up: 0,
                lost_down: 0,
                kept_out: 0,
                every: Duration::ZERO,
                chains: Default::default(),
            };
            map.observe(
                LinkKey::AgentEdge(AgentId(agent), EdgeId::new(edge).unwrap()),
                &seen,
            );
        }
        map
    }

    fn texts(map: &LinkMap, to: &FarEnd, max: usize) -> Vec<String> {
        routes(map, AgentId(1), to, max)
            .iter()
            .map(Route::to_string)
            .collect()
    }

    #[test]
    fn both_ends_links_bound_the_routes() {
        let mut map = world(3, &[(1, 1), (1, 2), (2, 2), (2, 3)]);
        let far = FarEnd::Agent(AgentId(2));
        assert_eq!(texts(&map, &far, 1), ["e2"]);
        assert_eq!(texts(&map, &far, 2), ["e1>e2", "e1>e3", "e2", "e2>e3"]);
        assert_eq!(
            texts(&map, &far, 3),
            [
                "e1>e2", "e1>e3>e2", "e1>e3", "e1>e2>e3", "e2", "e2>e3", "e2>e1>e3"
            ]
        );
        let down = EdgeHealth {
            state: EdgeState::Down,
            load: None,
        };
        map.set_edge(EdgeId::new(2).unwrap(), down);
        assert_eq!(texts(&map, &far, 2), ["e1>e3"]);
    }

    #[test]
    fn an_unmeasured_agent_may_enter_anywhere() {
        let map = world(2, &[]);
        assert_eq!(
            texts(&map, &FarEnd::Agent(AgentId(2)), 2),
            ["e1", "e1>e2", "e2>e1", "e2"]
        );
        assert_eq!(
            texts(&map, &FarEnd::Hub(EdgeId::new(2).unwrap()), 2),
            ["e1>e2", "e2"]
        );
        assert!(texts(&map, &FarEnd::Hub(EdgeId::new(9).unwrap()), 2).is_empty());
    }
}
