use corridor_probes::EdgeId;
use proptest::prelude::*;

use super::*;
use crate::route::{
    defaults::FINALISTS,
    estimate::Observation,
    links::{EdgeHealth, EdgeState},
    search,
};

const BUDGET: Duration = Duration::from_millis(200);
const A: AgentId = AgentId(1);
const B: AgentId = AgentId(2);

fn e(id: u16) -> EdgeId {
    EdgeId::new(id).unwrap()
}

fn route(edges: &[u16]) -> Route {
    Route::new(&edges.iter().map(|&id| e(id)).collect::<Vec<_>>()).unwrap()
}

fn up(map: &mut LinkMap, edges: u16) {
    for id in 1..=edges {
        let health = EdgeHealth {
            state: EdgeState::Up,
            load: None,
        };
        map.set_edge(e(id), health);
    }
}

fn put(map: &mut LinkMap, key: LinkKey, rtt_us: &[u32], sent: u32, lost_up: u32, lost_down: u32) {
    let seen = Observation {
        at: Mono::ZERO,
        length: Duration::from_secs(10),
        rtt_us,
        sent,
        lost_up,
        lost_down,
        kept_out: 0,
        every: Duration::ZERO,
        chains: Default::default(),
    };
    map.observe(key, &seen);
}

fn clean(map: &mut LinkMap, key: LinkKey, rtt_us: u32) {
    put(map, key, &[rtt_us; 60], 60, 0, 0);
}

fn best(map: &LinkMap, to: &FarEnd) -> Vec<Expected> {
    let routes = search::routes(map, A, to, 2);
    Snapshot::new(map, Mono::ZERO).rank(A, to, &routes, BUDGET, FINALISTS)
}

#[test]
fn the_order_of_costs_is_the_documented_one() {
    let base = Cost {
        standing: Standing::Inside,
        crowded: false,
        impairment: 1,
        money: Money::Internet,
        median_us: 50_000,
        edges: 1,
        route: route(&[1]),
    };
    let ascending = [
        base,
        Cost {
            route: route(&[2]),
            ..base
        },
        Cost { edges: 2, ..base },
        Cost {
            median_us: 50_001,
            ..base
        },
        Cost {
            money: Money::Premium,
            median_us: 1,
            ..base
        },
        Cost {
            impairment: 2,
            median_us: 1,
            ..base
        },
        Cost {
            crowded: true,
            impairment: 0,
            ..base
        },
        Cost {
            standing: Standing::Doubtful,
            impairment: 0,
            ..base
        },
        Cost {
            standing: Standing::Breach,
            impairment: 0,
            ..base
        },
        Cost {
            standing: Standing::Unmeasured,
            impairment: 0,
            ..base
        },
        Cost {
            standing: Standing::Out,
            impairment: 0,
            ..base
        },
    ];
    assert!(ascending.is_sorted());
    assert!(ascending.windows(2).all(|w| w[0] != w[1]));
}

#[test]
fn breach_begins_above_the_budget() {
    for (rtt_us, standing) in [(200_000, Standing::Inside), (200_001, Standing::Breach)] {
        let mut map = LinkMap::default();
        up(&mut map, 1);
        clean(&mut map, LinkKey::AgentEdge(A, e(1)), rtt_us);
        let ranked = best(&map, &FarEnd::Hub(e(1)));
        assert_eq!(ranked[0].standing(BUDGET), standing);
    }
}

#[test]
fn heavy_loss_is_as_bad_as_a_breach() {
    let to = FarEnd::Agent(B);
    for (lost_up, lost_down, standing) in [
        (7, 7, Standing::Inside),
        (14, 0, Standing::Inside),
        (15, 0, Standing::Breach),
        (0, 15, Standing::Breach),
    ] {
        let mut map = LinkMap::default();
        up(&mut map, 1);
        clean(&mut map, LinkKey::AgentEdge(B, e(1)), 10_000);
        put(
            &mut map,
            LinkKey::AgentEdge(A, e(1)),
            &[10_000; 45],
            60,
            lost_up,
            lost_down,
        );
        assert_eq!(
            best(&map, &to)[0].standing(BUDGET),
            standing,
            "{lost_up} {lost_down}"
        );
    }
}

#[test]
fn ten_samples_have_no_95th_percentile() {
    let mut samples = [50_000; 40];
    samples[..4].fill(400_000);
    for (n, standing) in [
        (1, Standing::Breach),
        (39, Standing::Doubtful),
        (40, Standing::Breach),
    ] {
        let mut map = LinkMap::default();
        up(&mut map, 1);
        put(
            &mut map,
            LinkKey::AgentEdge(A, e(1)),
            &samples[..n],
            n as u32,
            0,
            0,
        );
        assert_eq!(
            best(&map, &FarEnd::Hub(e(1)))[0].standing(BUDGET),
            standing,
            "{n}"
        );
    }
}

#[test]
fn a_microsecond_decides_among_clean_routes() {
    let mut map = LinkMap::default();
    up(&mut map, 2);
    for agent in [A, B] {
        clean(&mut map, LinkKey::AgentEdge(agent, e(1)), 45_001);
        clean(&mut map, LinkKey::AgentEdge(agent, e(2)), 45_000);
    }
    clean(&mut map, LinkKey::edges(e(1), e(2)), 1);
    assert_eq!(best(&map, &FarEnd::Agent(B))[0].route, route(&[2]));
}

#[test]
fn a_lossy_short_route_loses_to_a_clean_longer_one() {
    let mut map = LinkMap::default();
    up(&mut map, 2);
    put(&mut map, LinkKey::AgentEdge(A, e(1)), &[20_000; 540], 600, 60, 0);
    clean(&mut map, LinkKey::AgentEdge(A, e(2)), 60_000);
    for edge in [1, 2] {
        clean(&mut map, LinkKey::AgentEdge(B, e(edge)), 20_000);
    }
    let ranked = best(&map, &FarEnd::Agent(B));
    assert_eq!(ranked[0].route, route(&[2]));
    // Loss keeps its direction: lost on A's way up is lost on the way there.
    let lossy = ranked.iter().find(|x| x.route == route(&[1])).unwrap();
    assert!(lossy.loss.0 > 0.07 && lossy.loss.1 == 0.0, "{:?}", lossy.loss);
    let back = Snapshot::new(&map, Mono::ZERO).expect(B, &route(&[1]), &FarEnd::Agent(A));
    assert!(back.loss.1 > 0.07 && back.loss.0 == 0.0, "{:?}", back.loss);
}

#[test]
fn an_unmeasured_target_is_left_out_of_the_comparison() {
    let mut map = LinkMap::default();
    up(&mut map, 2);
    clean(&mut map, LinkKey::AgentEdge(A, e(1)), 30_000);
    clean(&mut map, LinkKey::AgentEdge(A, e(2)), 20_000);
    let to = FarEnd::Target("sfu:1".into());
    assert_eq!(best(&map, &to)[0].route, route(&[2]));
    assert_eq!(best(&map, &to)[0].standing(BUDGET), Standing::Inside);
    clean(&mut map, LinkKey::EdgeTarget(e(1), "sfu:1".into()), 5_000);
    let ranked = best(&map, &to);
    assert_eq!(ranked[0].route, route(&[1]));
    assert_eq!(
        ranked[1].standing(BUDGET),
        Standing::Unmeasured,
        "once one is measured, the others are not good"
    );
}

#[test]
fn a_crowded_edge_is_given_to_nobody_new() {
    for (load, first) in [(0.79, 1), (0.80, 2)] {
        let mut map = LinkMap::default();
        up(&mut map, 2);
        for agent in [A, B] {
            clean(&mut map, LinkKey::AgentEdge(agent, e(1)), 10_000);
            clean(&mut map, LinkKey::AgentEdge(agent, e(2)), 40_000);
        }
        let health = EdgeHealth {
            state: EdgeState::Up,
            load: Some(load),
        };
        map.set_edge(e(1), health);
        assert_eq!(best(&map, &FarEnd::Agent(B))[0].route, route(&[first]));
    }
}

/// A link of the random worlds below.
#[derive(Debug, Clone)]
enum Seen {
    Nothing,
    Silent,
    Rtt(u32),
}

fn seen() -> impl Strategy<Value = Seen> {
    prop_oneof![
        1 => Just(Seen::Nothing),
        1 => Just(Seen::Silent),
        8 => (1_000u32..150_000).prop_map(Seen::Rtt),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(256))]

    /// Against brute force over all ordered lists of one and two edges: the least round trip of the
    /// measured routes inside the budget, if any; else the least of all measured.
    #[test]
    fn clean_links_give_the_least_round_trip(
        mine in prop::collection::vec(seen(), 5),
        theirs in prop::collection::vec(seen(), 5),
        mesh in prop::collection::vec(seen(), 10),
    ) {
        let mut map = LinkMap::default();
        up(&mut map, 5);
        let mut rtt = BTreeMap::new();
        let mesh_keys = (1..=5).flat_map(|a| (a + 1..=5).map(move |b| LinkKey::edges(e(a), e(b))));
        let keys = (1..=5).map(|i| LinkKey::AgentEdge(A, e(i)))
            .chain((1..=5).map(|i| LinkKey::AgentEdge(B, e(i))))
            .chain(mesh_keys);
        for (key, seen) in keys.zip(mine.into_iter().chain(theirs).chain(mesh)) {
            match seen {
                Seen::Nothing => {}
                Seen::Silent => put(&mut map, key, &[], 10, 5, 5),
                Seen::Rtt(us) => {
                    rtt.insert(key.clone(), us);
                    // Few samples: what matters here is which route, and all sums of many take long.
                    put(&mut map, key, &[us; 2], 2, 0, 0);
                }
            }
        }
        let mut brute = Vec::new();
        for i in 1..=5 {
            for j in 1..=5 {
                let (Some(x), Some(y)) = (rtt.get(&LinkKey::AgentEdge(A, e(i))), rtt.get(&LinkKey::AgentEdge(B, e(j)))) else { continue };
                if i == j {
                    brute.push(x + y);
                } else if let Some(z) = rtt.get(&LinkKey::edges(e(i), e(j))) {
                    brute.push(x + y + z);
                }
            }
        }
        let ranked = best(&map, &FarEnd::Agent(B));
        let got = ranked.first().filter(|x| x.standing(BUDGET) <= Standing::Breach);
        prop_assert_eq!(
            got.map(|x| x.median().unwrap().as_micros() as u32),
            brute.iter().min().copied()
        );
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(12))]

    /// With spread and loss: the first stage loses nobody who would win the second.
    #[test]
    fn finalists_hold_the_best(
        links in prop::collection::vec((5_000u32..80_000, 0u32..60_000, 0u32..6), 30),
    ) {
        let mut map = LinkMap::default();
        up(&mut map, 8);
        let mut links = links.into_iter().cycle();
        let mesh = (1..=8).flat_map(|a| (a + 1..=8).map(move |b| LinkKey::edges(e(a), e(b))));
        let keys = (1..=8).map(|i| LinkKey::AgentEdge(A, e(i)))
            .chain((1..=8).map(|i| LinkKey::AgentEdge(B, e(i))))
            .chain(mesh);
        for key in keys {
            let (base, spread, lost) = links.next().unwrap();
            let samples: Vec<u32> = (0..60).map(|i| base + spread * (i * i) / 3_600).collect();
            put(&mut map, key, &samples, 60 + lost, lost, 0);
        }
        let to = FarEnd::Agent(B);
        let snapshot = Snapshot::new(&map, Mono::ZERO);
        let routes = search::routes(&map, A, &to, 2);
        let brute = routes.iter().map(|r| snapshot.expect(A, r, &to).cost(BUDGET)).min().unwrap();
        let got = snapshot.rank(A, &to, &routes, BUDGET, FINALISTS)[0].cost(BUDGET);
        prop_assert_eq!(got, brute);
    }
}

#[test]
fn losses_in_runs_spoil_more_than_as_many_here_and_there() {
    // 12 of 100 lost on the way back to the agent: each by itself, or four at a time.
    let rated = |pairs: [u32; 4], forward: bool| {
        let mut map = LinkMap::default();
        up(&mut map, 1);
        let chain = corridor_probes::LossChain::of_pairs(pairs);
        let mut seen = Observation {
            at: Mono::ZERO,
            length: Duration::from_secs(10),
            rtt_us: &[20_000; 88],
            sent: 100,
            lost_up: 0,
            lost_down: 12,
            kept_out: 0,
            every: Duration::ZERO,
            chains: [Default::default(), chain],
        };
        if !forward {
            (seen.lost_up, seen.lost_down) = (12, 0);
            seen.chains.reverse();
        }
        let (lossy, other) = if forward { (A, B) } else { (B, A) };
        map.observe(LinkKey::AgentEdge(lossy, e(1)), &seen);
        clean(&mut map, LinkKey::AgentEdge(other, e(1)), 20_000);
        let snapshot = Snapshot::new(&map, Mono::ZERO);
        snapshot
            .expect(A, &route(&[1]), &FarEnd::Agent(B))
            .rating()
            .unwrap()
    };
    let (single, runs) = ([75, 12, 12, 0], [84, 3, 3, 9]);
    assert!(rated(single, true) > rated(runs, true) + 5.0);
    // The far agent's way up is the same direction, seen from its end.
    for pairs in [single, runs] {
        assert!((rated(pairs, true) - rated(pairs, false)).abs() < 1e-9);
    }
}
