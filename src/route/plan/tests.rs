//! One agent, its far end, and edges whose links are set by the second.

use corridor_probes::Mono;
use proptest::prelude::*;

use super::*;
use crate::route::{
    estimate::Observation,
    links::{EdgeHealth, LinkKey},
};

mod standbys;

const A: AgentId = AgentId(1);
const B: AgentId = AgentId(2);
const BUDGET: Duration = Duration::from_millis(200);

fn e(id: u16) -> EdgeId {
    EdgeId::new(id).unwrap()
}

fn route(edges: &[u16]) -> Route {
    Route::new(&edges.iter().map(|&id| e(id)).collect::<Vec<_>>()).unwrap()
}

struct World {
    links: LinkMap,
    now: i64,
    to: FarEnd,
    in_use: Option<Route>,
    memory: PlanMemory,
}

impl World {
    fn new(edges: u16, to: FarEnd) -> Self {
        let mut world = Self {
            links: LinkMap::default(),
            now: 1_000,
            to,
            in_use: None,
            memory: PlanMemory::default(),
        };
        for id in 1..=edges {
            world.edge(id, EdgeState::Up);
        }
        world
    }

    fn edge(&mut self, id: u16, state: EdgeState) {
        self.links.set_edge(e(id), EdgeHealth { state, load: None });
    }

    fn forget_links(&mut self, edges: u16) {
        self.links = LinkMap::default();
        for id in 1..=edges {
            self.edge(id, EdgeState::Up);
        }
    }

    /// A whole horizon of this link at this round trip; 0 is silence.
    fn link(&mut self, key: LinkKey, rtt_ms: u32) {
        self.lossy(key, rtt_ms, 0);
    }

    /// The same, with so many of each ten probes lost on their way there.
    fn lossy(&mut self, key: LinkKey, rtt_ms: u32, lost_up: u32) {
        let samples = if rtt_ms == 0 {
            vec![]
        } else {
            vec![rtt_ms * 1_000; 10 - lost_up as usize]
        };
        for window in (0..6).rev() {
            let seen = Observation {
                at: Mono::from_millis((self.now - window * 10) * 1_000),
                length: Duration::from_secs(10),
                rtt_us: &samples,
                sent: 10,
                lost_up,
                lost_down: 0,
                kept_out: 0,
                every: Duration::ZERO,
                chains: Default::default(),
            };
            self.links.observe(key.clone(), &seen);
        }
    }

    /// Round trips of A's links, edges in order from 1.
    fn mine(&mut self, rtts_ms: &[u32]) {
        for (id, rtt) in (1..).zip(rtts_ms) {
            self.link(LinkKey::AgentEdge(A, e(id)), *rtt);
        }
    }

    fn theirs(&mut self, rtts_ms: &[u32]) {
        for (id, rtt) in (1..).zip(rtts_ms) {
            self.link(LinkKey::AgentEdge(B, e(id)), *rtt);
        }
    }

    fn mesh(&mut self, edges: u16, rtt_ms: u32) {
        for a in 1..=edges {
            for b in a + 1..=edges {
                self.link(LinkKey::edges(e(a), e(b)), rtt_ms);
            }
        }
    }

    fn plan(&mut self) -> PlanChoice {
        let snapshot = Snapshot::new(&self.links, Mono::from_millis(self.now * 1_000));
        let leg = Leg {
            from: A,
            to: &self.to,
            budget: BUDGET,
            in_use: self.in_use,
            hub_gain_ms: None,
        };
        plan_leg(&snapshot, Wall::from_secs(self.now), &leg, &mut self.memory)
    }

    fn primary(&mut self) -> Route {
        self.plan().primary.unwrap()
    }
}

fn pair(edges: u16) -> World {
    World::new(edges, FarEnd::Agent(B))
}

#[test]
fn the_best_is_primary_and_standbys_enter_elsewhere() {
    let mut world = pair(3);
    world.mine(&[10, 20, 30]);
    world.theirs(&[30, 20, 10]);
    world.mesh(3, 5);
    let plan = world.plan();
    assert_eq!(plan.primary, Some(route(&[1, 3])), "10 + 5 + 10");
    assert_eq!(plan.reason.cause, Cause::Initial);
    assert_eq!(plan.reason.rejected.unwrap().route, route(&[1, 2]));
    assert_eq!(
        plan.standbys,
        [route(&[2, 3]), route(&[2])].map(|r| r)[1..]
            .to_vec()
            .into_iter()
            .chain([route(&[3])])
            .collect::<Vec<_>>()
    );
    assert_eq!(plan.no_disjoint, None);
}

#[test]
fn a_better_route_wants_the_margin_and_the_dwell_time() {
    for (rtt, after_s, moves) in [(81, 600, false), (80, 600, true), (80, 29, false), (80, 30, true)] {
        let mut world = pair(2);
        world.mine(&[50, 60]);
        world.theirs(&[50, 60]);
        assert_eq!(world.primary(), route(&[1]));
        world.now += after_s;
        world.forget_links(2);
        world.mine(&[50, 30]);
        world.theirs(&[50, rtt - 30]);
        let plan = world.plan();
        assert_eq!(plan.primary == Some(route(&[2])), moves, "{rtt} {after_s}");
        if moves {
            assert_eq!(
                plan.reason.cause,
                Cause::BetterBy {
                    from: route(&[1]),
                    gain_ms: 20.0
                }
            );
        } else {
            assert_eq!(plan.reason.cause, Cause::Initial);
        }
    }
}

#[test]
fn a_route_that_few_samples_cast_doubt_on_is_not_moved_to() {
    for (bad, moves) in [(1, true), (2, false)] {
        let mut world = pair(2);
        world.mine(&[90, 80]);
        world.theirs(&[90, 80]);
        assert_eq!(world.primary(), route(&[2]));
        world.now += 600;
        world.forget_links(2);
        world.mine(&[0, 80]);
        world.theirs(&[30, 80]);
        let mut rtt_us = vec![30_000; 20];
        rtt_us[..bad].fill(300_000);
        let seen = Observation {
            at: Mono::from_millis(world.now * 1_000),
            length: Duration::from_secs(20),
            rtt_us: &rtt_us,
            sent: 20,
            lost_up: 0,
            lost_down: 0,
            kept_out: 0,
            every: Duration::ZERO,
            chains: Default::default(),
        };
        world.links.observe(LinkKey::AgentEdge(A, e(1)), &seen);
        let primary = if moves { 1 } else { 2 };
        assert_eq!(world.primary(), route(&[primary]), "{bad} of 20 are over");
    }
}

#[test]
fn a_breach_by_percentile_moves_only_beyond_chance() {
    let seen = |over_here: usize, over_there: usize| {
        let mut world = pair(2);
        world.mine(&[30, 40]);
        world.theirs(&[30, 40]);
        assert_eq!(world.primary(), route(&[1]));
        world.now += 600;
        world.forget_links(2);
        world.theirs(&[30, 40]);
        for (edge, rtt_ms, over) in [(1, 30, over_here), (2, 40, over_there)] {
            let mut rtt_us = vec![rtt_ms * 1_000; 60];
            rtt_us[..over].fill(300_000);
            let seen = Observation {
                at: Mono::from_millis(world.now * 1_000),
                length: Duration::from_secs(60),
                rtt_us: &rtt_us,
                sent: 60,
                lost_up: 0,
                lost_down: 0,
                kept_out: 0,
                every: Duration::ZERO,
                chains: Default::default(),
            };
            world.links.observe(LinkKey::AgentEdge(A, e(edge)), &seen);
        }
        let plan = world.plan();
        (plan.primary == Some(route(&[2]))).then_some(plan.reason.cause)
    };
    for (here, there, moves) in [
        (3, 0, false),
        (4, 2, false),
        (5, 0, true),
        (12, 2, true),
        (12, 9, false),
    ] {
        let cause = seen(here, there);
        assert_eq!(
            matches!(cause, Some(Cause::Breach { .. })),
            moves,
            "{here} and {there} of 60: {cause:?}"
        );
    }
}

#[test]
fn a_breach_moves_at_once_but_once_a_hold_down() {
    let mut world = pair(3);
    world.mine(&[50, 60, 70]);
    world.theirs(&[50, 60, 70]);
    assert_eq!(world.primary(), route(&[1]));
    world.now += 1;
    world.mine(&[160, 60, 70]);
    let plan = world.plan();
    assert_eq!(plan.primary, Some(route(&[2])));
    let breach = Cause::Breach {
        from: route(&[1]),
        at_ms: 210.0,
        budget_ms: 200.0,
    };
    assert_eq!(plan.reason.cause, breach);
    // The next goes bad at once as well.
    for (after_s, primary) in [(1, 2), (8, 2), (1, 3)] {
        world.now += after_s;
        world.mine(&[160, 160, 70]);
        assert_eq!(world.primary(), route(&[primary]));
    }
    // None is inside: it stays.
    world.now += 20;
    world.mine(&[160, 160, 160]);
    assert_eq!(world.primary(), route(&[3]));
}

#[test]
fn heavy_loss_is_left_at_once_even_for_a_route_over_the_budget() {
    let to_mine = |id| LinkKey::AgentEdge(A, e(id));
    for (other_ms, lost, moves) in [
        // Two in ten of sixty are believed to be 12 %, three to be 20 %.
        (100, 2, None),
        (
            100,
            3,
            Some(Cause::Loss {
                from: route(&[1]),
                lost: 0.199,
            }),
        ),
        // Over the budget of 200 ms, but speech is far better.
        (
            193,
            3,
            Some(Cause::Quality {
                from: route(&[1]),
                gain_points: 50.1,
            }),
        ),
    ] {
        let mut world = pair(2);
        world.mine(&[50, other_ms]);
        world.theirs(&[10, 10]);
        world.mesh(2, 400);
        assert_eq!(world.primary(), route(&[1]));
        // Long before the dwell time is over.
        world.now += 10;
        world.forget_links(2);
        world.mesh(2, 400);
        world.link(to_mine(2), other_ms);
        world.theirs(&[10, 10]);
        world.lossy(to_mine(1), 50, lost);
        let plan = world.plan();
        match moves {
            None => assert_eq!(plan.reason.cause, Cause::Initial),
            Some(cause) => {
                assert_eq!(plan.primary, Some(route(&[2])), "{other_ms}");
                assert_eq!(rounded(plan.reason.cause), cause);
            }
        }
    }
}

fn rounded(cause: Cause) -> Cause {
    match cause {
        Cause::Loss { from, lost } => Cause::Loss {
            from,
            lost: (lost * 1e3).round() / 1e3,
        },
        other => other,
    }
}

#[test]
fn an_outage_bypasses_everything() {
    let mut world = pair(2);
    world.mine(&[50, 60]);
    world.theirs(&[50, 60]);
    for (i, (mine, primary)) in [([50, 60], 1), ([0, 60], 2), ([50, 0], 1), ([0, 60], 2)]
        .into_iter()
        .enumerate()
    {
        world.now += 1;
        // A fresh agent's link each time: silence is the newest window's.
        world.mine(&mine);
        let plan = world.plan();
        assert_eq!(plan.primary, Some(route(&[primary])), "{i}");
        if i > 0 {
            assert!(matches!(plan.reason.cause, Cause::Outage { .. }));
        }
    }
    world.now += 1;
    world.mine(&[0, 0]);
    let plan = world.plan();
    assert_eq!(plan.primary, Some(route(&[2])), "kept while there is none");
    assert_eq!(plan.reason.cause, Cause::NoRoute { why: NoRoute::AllOut });
}

#[test]
fn edges_that_drain_or_die_are_left_and_named() {
    for (state, cause) in [
        (EdgeState::Draining, Cause::EdgeDraining { edge: e(1) }),
        (EdgeState::Down, Cause::EdgeDown { edge: e(1) }),
    ] {
        let mut world = pair(2);
        world.mine(&[50, 90]);
        world.theirs(&[50, 90]);
        assert_eq!(world.primary(), route(&[1]));
        world.edge(1, state);
        let plan = world.plan();
        assert_eq!((plan.primary, plan.reason.cause), (Some(route(&[2])), cause));
        assert!(plan.standbys.is_empty(), "nothing new goes over it");
        // Alone, a draining edge is better than nothing.
        world.edge(2, EdgeState::Down);
        if state == EdgeState::Draining {
            assert_eq!(world.primary(), route(&[1]));
        }
    }
}

#[test]
fn an_exit_stays_until_it_fails() {
    let target = "sfu.example:7000".to_owned();
    let mut world = World::new(2, FarEnd::Target(target.clone()));
    world.mine(&[20, 30]);
    world.mesh(2, 10);
    world.link(LinkKey::EdgeTarget(e(1), target.clone()), 10);
    world.link(LinkKey::EdgeTarget(e(2), target.clone()), 10);
    assert_eq!(world.primary(), route(&[1]));
    // The other exit is far better, and even inside the budget when this one is not.
    world.now += 120;
    world.mine(&[300, 30]);
    world.mesh(2, 10);
    world.link(LinkKey::EdgeTarget(e(1), target.clone()), 10);
    world.link(LinkKey::EdgeTarget(e(2), target.clone()), 1);
    assert_eq!(
        world.primary(),
        route(&[2, 1]),
        "the entry moves, the exit does not"
    );
    world.link(LinkKey::EdgeTarget(e(1), target), 0);
    world.now += 1;
    let plan = world.plan();
    assert_eq!(plan.primary, Some(route(&[2])));
    assert_eq!(plan.reason.cause, Cause::Outage { from: route(&[2, 1]) });
}

#[test]
fn an_exit_that_the_agent_has_left_is_not_gone_back_to_by_another_way() {
    let target = "sfu:1".to_owned();
    let mut world = World::new(4, FarEnd::Target(target.clone()));
    let see = |world: &mut World, lost_up| {
        world.mine(&[20, 300, 28, 300]);
        world.mesh(4, 84);
        world.lossy(LinkKey::edges(e(1), e(2)), 80, lost_up);
        for (exit, rtt) in [(1, 300), (2, 20), (3, 300), (4, 28)] {
            world.link(LinkKey::EdgeTarget(e(exit), target.clone()), rtt);
        }
    };
    see(&mut world, 0);
    let plan = world.plan();
    assert_eq!(plan.primary, Some(route(&[1, 2])));
    assert!(plan.standbys.contains(&route(&[3, 4])), "{plan:?}");
    // The exit has died, of which only the first edge has told so far, and the agent, which has moved.
    for (in_use, exit) in [(route(&[1, 2]), e(2)), (route(&[3, 4]), e(4))] {
        let mut world = World {
            links: world.links.clone(),
            to: world.to.clone(),
            memory: world.memory.clone(),
            in_use: Some(in_use),
            now: world.now + 100,
        };
        see(&mut world, 5);
        let plan = world.plan();
        assert_eq!(
            plan.primary.and_then(|route| route.exit()),
            Some(exit),
            "{plan:?}"
        );
        assert_ne!(plan.primary, Some(route(&[1, 2])));
    }
}

#[test]
fn what_was_chosen_blind_is_chosen_again_when_measured() {
    let mut world = pair(2);
    let plan = world.plan();
    assert_eq!(plan.reason.cause, Cause::Unmeasured);
    world.now += 2;
    world.mine(&[50, 45]);
    world.theirs(&[50, 50]);
    let plan = world.plan();
    assert_eq!(
        (plan.primary, plan.reason.cause),
        (Some(route(&[2])), Cause::MoreMeasured)
    );
    // The mesh is measured a little later.
    world.now += 2;
    world.mine(&[50, 45]);
    world.theirs(&[40, 50]);
    world.mesh(2, 4);
    assert_eq!(
        world.primary(),
        route(&[2, 1]),
        "by 1 ms: it was not known when the choice was made"
    );
    // After the first minute margins hold.
    world.now += 60;
    world.mine(&[44, 45]);
    world.theirs(&[40, 50]);
    world.mesh(2, 4);
    assert_eq!(world.primary(), route(&[2, 1]));
}

#[test]
fn what_was_chosen_blind_and_proves_best_has_a_reason() {
    let mut world = pair(1);
    assert_eq!(world.plan().reason.cause, Cause::Unmeasured);
    world.now += 10;
    world.mine(&[50]);
    world.theirs(&[50]);
    let plan = world.plan();
    assert_eq!(
        (plan.primary, plan.reason.cause),
        (Some(route(&[1])), Cause::MoreMeasured)
    );
    assert_eq!(plan.reason.chosen.unwrap().p50_ms, Some(100.0));
}

#[test]
fn an_unmeasured_target_is_said() {
    let mut world = World::new(2, FarEnd::Target("sfu:1".into()));
    world.mine(&[50, 40]);
    world.mesh(2, 4);
    let plan = world.plan();
    assert_eq!(
        (plan.primary, plan.reason.cause),
        (Some(route(&[2])), Cause::TargetUnmeasured)
    );
}

#[test]
fn an_exit_that_was_chosen_before_the_target_was_measured_is_chosen_again_in_the_first_minute() {
    for (late, exit) in [(3, 1), (70, 2)] {
        let target = "sfu:1".to_owned();
        let mut world = World::new(2, FarEnd::Target(target.clone()));
        let world_now = |world: &mut World| {
            world.mine(&[50, 40]);
            world.mesh(2, 4);
        };
        world_now(&mut world);
        assert_eq!(world.plan().reason.cause, Cause::TargetUnmeasured);
        world.now += late;
        world_now(&mut world);
        world.link(LinkKey::EdgeTarget(e(2), target.clone()), 80);
        let plan = world.plan();
        assert_eq!(plan.primary, Some(route(&[2])), "the only exit that knows");
        let told = plan.reason.cause != Cause::TargetUnmeasured;
        assert_eq!(told, late < 60, "{:?}", plan.reason);
        // The other edge measures it a second later, and is nearer.
        world.now += 1;
        world.link(LinkKey::EdgeTarget(e(1), target), 10);
        assert_eq!(
            world.primary().exit(),
            Some(e(exit)),
            "{late} s after the class began"
        );
    }
}

#[test]
fn memory_survives_a_restart() {
    let mut world = pair(2);
    world.mine(&[50, 60]);
    world.theirs(&[50, 60]);
    let plan = world.plan();
    world.now += 1;
    world.mine(&[0, 60]);
    world.plan();
    let json = serde_json::to_string(&world.memory).unwrap();
    let back: PlanMemory = serde_json::from_str(&json).unwrap();
    assert_eq!(back, world.memory);
    assert_ne!(back.choice().unwrap(), plan);
    assert_eq!(back.far_end(), Some(&FarEnd::Agent(B)));
    assert!(back.held.holds(&route(&[1]), Wall::from_secs(world.now)));
}

#[test]
fn routes_that_flap_are_held_down() {
    let mut world = pair(2);
    let mut moves = Vec::new();
    let mut before = route(&[1]);
    for minute in 0..60 {
        // Each minute the other is the better by far.
        let rtts = if minute % 2 == 0 { [50, 90] } else { [90, 50] };
        world.mine(&rtts);
        world.theirs(&[50, 50]);
        let now = world.primary();
        if now != before {
            moves.push(minute);
        }
        before = now;
        world.now += 61;
    }
    let late = moves.iter().filter(|minute| **minute >= 30).count();
    assert!(moves.len() <= 20 && (1..=6).contains(&late), "{moves:?}");
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    /// Whatever the links: entries are distinct, nothing out is used while there is a route that is not,
    /// and a missing disjoint standby is said exactly when there is none.
    #[test]
    fn plans_are_sound(
        steps in prop::collection::vec((prop::collection::vec(0u32..120, 8), 0u32..40, 1i64..50), 1..5),
    ) {
        let mut world = pair(4);
        for (rtts, mesh, pause) in steps {
            // A tenth of all links is silent.
            let some = |i: usize| if rtts[i] < 12 { 0 } else { rtts[i] };
            for i in 0..4u16 {
                world.link(LinkKey::AgentEdge(A, e(i + 1)), some(usize::from(i)));
                world.link(LinkKey::AgentEdge(B, e(i + 1)), some(usize::from(i) + 4));
            }
            world.mesh(4, mesh);
            let plan = world.plan();
            let snapshot = Snapshot::new(&world.links, Mono::from_millis(world.now * 1_000));
            let working: Vec<Route> = search::routes(&world.links, A, &world.to, 2)
                .into_iter()
                .filter(|r| !snapshot.is_out(A, r, &world.to))
                .collect();
            if let Some(primary) = plan.primary.filter(|_| !working.is_empty()) {
                prop_assert!(working.contains(&primary));
                let mut entries: Vec<_> = plan.standbys.iter().chain([&primary]).map(Route::entry).collect();
                entries.sort();
                entries.dedup();
                prop_assert_eq!(entries.len(), plan.standbys.len() + 1);
                prop_assert!(plan.standbys.iter().all(|r| working.contains(r)));
                let shares = |r: &Route| r.edges().any(|edge| primary.contains(edge));
                let exists = working.iter().any(|r| !shares(r));
                prop_assert_eq!(exists, plan.standbys.iter().any(|r| !shares(r)));
                prop_assert_eq!(exists, plan.no_disjoint.is_none());
            }
            world.now += pause;
        }
    }
}
