use corridor_probes::{EdgeId, Relation};

use super::*;
use crate::route::{
    Cause, NoRoute,
    directions::ClockName,
    estimate::Observation,
    health::{Health, class_health},
    links::{EdgeHealth, EdgeState, LinkKey},
    search,
};

fn e(id: u16) -> EdgeId {
    EdgeId::new(id).unwrap()
}

fn route(edges: &[u16]) -> Route {
    Route::new(&edges.iter().map(|&id| e(id)).collect::<Vec<_>>()).unwrap()
}

/// All clocks go alike and are known to so many µs.
#[derive(Debug, Default)]
struct Within(i64);

impl Clocks for Within {
    fn relation(&self, _: ClockName, _: ClockName) -> Option<Relation> {
        let mut same = Relation::same(Mono::ZERO);
        (same.offset.low_us, same.offset.high_us) = (-self.0, self.0);
        Some(same)
    }
}

fn clock(key: &LinkKey) -> [ClockName; 2] {
    let agent = |id| ClockName::Agent {
        id,
        boot: 1,
        steps: 0,
    };
    let edge = |id| ClockName::Edge { id, clock: 1 };
    match *key {
        LinkKey::AgentEdge(a, b) => [agent(a), edge(b)],
        LinkKey::EdgeEdge(a, b) => [edge(a), edge(b)],
        LinkKey::EdgeTarget(..) | LinkKey::AgentTarget(..) => unreachable!("no clock there"),
    }
}

struct World {
    links: LinkMap,
    clocks: Within,
    engine: Engine,
    classes: Vec<Class>,
    now: i64,
}

impl World {
    /// Edges 1 to `edges`, 5 ms apart; agents' links are set by [`Self::agent`].
    fn new(edges: u16) -> Self {
        let mut world = Self {
            links: LinkMap::default(),
            clocks: Within::default(),
            engine: Engine::default(),
            classes: Vec::new(),
            now: 1_000,
        };
        for id in 1..=edges {
            world.edge(id, EdgeState::Up);
            for other in id + 1..=edges {
                world.link(LinkKey::edges(e(id), e(other)), 5);
            }
        }
        world
    }

    fn edge(&mut self, id: u16, state: EdgeState) {
        self.links.set_edge(e(id), EdgeHealth { state, load: None });
    }

    fn link(&mut self, key: LinkKey, rtt_ms: u32) {
        let seen = Observation {
            at: Mono::from_millis(self.now * 1_000),
            length: Duration::from_secs(60),
            rtt_us: &[rtt_ms * 1_000; 60],
            sent: 60,
            lost_up: 0,
            lost_down: 0,
            kept_out: 0,
            every: Duration::ZERO,
            chains: Default::default(),
        };
        self.links.observe(key, &seen);
    }

    fn agent_link(&mut self, agent: u64, edge: u16, rtt_ms: u32) {
        self.link(LinkKey::AgentEdge(AgentId(agent), e(edge)), rtt_ms);
    }

    /// The same, with what each direction takes.
    fn ways(&mut self, agent: u64, edge: u16, [there, back]: [u32; 2]) {
        self.agent_link(agent, edge, there + back);
        let key = LinkKey::AgentEdge(AgentId(agent), e(edge));
        let ways = [there, back].map(|ms| vec![i64::from(ms) * 1_000; 60]);
        let at = Mono::from_millis(self.now * 1_000);
        self.links
            .observe_directions(key.clone(), clock(&key), at, Duration::ZERO, ways);
    }

    fn agent(&mut self, agent: u64, rtts_ms: &[u32]) {
        for (id, rtt) in (1..).zip(rtts_ms) {
            self.link(LinkKey::AgentEdge(AgentId(agent), e(id)), *rtt);
        }
    }

    fn class(&mut self, roles: &[Role], target: Option<&str>) {
        self.classes = vec![Class {
            id: "algebra".into(),
            target: target.map(Into::into),
            budget: Duration::from_millis(200),
            budget_on: BudgetOn::RoundTrip,
            members: (1..).zip(roles).map(|(id, role)| member(id, *role)).collect(),
        }];
    }

    fn update(&mut self) -> Vec<PlanChange> {
        self.engine.update(
            Mono::from_millis(self.now * 1_000),
            Wall::from_secs(self.now),
            &self.links,
            &self.clocks,
            &self.classes,
        )
    }

    fn plan(&self, subject: &str) -> &Plan {
        self.engine.plan("algebra", subject).unwrap()
    }
}

fn member(id: u64, role: Role) -> Member {
    Member {
        subject: format!("s{id}"),
        role,
        agent: AgentId(id),
        connected: true,
        in_use: None,
    }
}

fn subjects(changes: &[PlanChange]) -> Vec<(&str, Option<u64>)> {
    changes
        .iter()
        .map(|c| (c.subject.as_str(), c.record.as_ref().map(|r| r.plan.version)))
        .collect()
}

#[test]
fn two_peers_have_a_leg_each_with_the_whole_budget() {
    let mut world = World::new(2);
    world.agent(1, &[10, 40]);
    world.agent(2, &[40, 20]);
    world.class(&[Role::Teacher, Role::Student], None);
    let changes = world.update();
    assert_eq!(subjects(&changes), [("s1", Some(1)), ("s2", Some(1))]);
    assert_eq!(world.plan("s1").to, FarEnd::Agent(AgentId(2)));
    assert_eq!(world.plan("s1").primary, Some(route(&[1, 2])));
    assert_eq!(world.plan("s2").primary, Some(route(&[2, 1])));
    assert_eq!(world.plan("s2").budget, Duration::from_millis(200));
    world.now += 1;
    assert_eq!(world.update(), [], "nothing changed");
    assert_eq!(world.plan("s1").at, Wall::from_secs(1_000));
}

#[test]
fn a_third_member_moves_the_class_to_a_hub_and_back() {
    let mut world = World::new(2);
    for agent in 1..=3 {
        world.agent(agent, &[10, 40]);
    }
    world.class(&[Role::Teacher, Role::Student], None);
    world.update();
    world.classes[0].members.push(member(3, Role::Student));
    world.now += 5;
    let changes = world.update();
    assert_eq!(
        subjects(&changes),
        [("s1", Some(2)), ("s2", Some(2)), ("s3", Some(1))]
    );
    assert_eq!(world.plan("s1").reason.cause, Cause::ClassChanged);
    assert_eq!(world.plan("s3").reason.cause, Cause::Initial);
    assert_eq!(world.plan("s3").to, FarEnd::Hub(e(1)));
    assert_eq!(world.plan("s3").budget, Duration::from_millis(100));
    assert_eq!(world.engine.hub("algebra").unwrap().edge, e(1));

    // The hub's edge dies: everyone goes to the other, and the reason says so.
    world.edge(1, EdgeState::Down);
    let changes = world.update();
    assert_eq!(changes.len(), 3);
    assert!(matches!(
        world.plan("s2").reason.cause,
        Cause::HubMoved { from, to, gain_ms: None } if from == e(1) && to == e(2)
    ));

    world.classes[0].members.truncate(1);
    let changes = world.update();
    assert!(changes.iter().all(|c| c.record.is_none()) && changes.len() == 3);
    world.classes.clear();
    assert_eq!(world.update(), []);
}

#[test]
fn shares_follow_the_legs_and_add_up() {
    let mut world = World::new(1);
    for (agent, rtt) in [(1, 30), (2, 60), (3, 90)] {
        world.agent(agent, &[rtt]);
    }
    world.class(&[Role::Teacher, Role::Student, Role::Student], Some("sfu:1"));
    world.update();
    let budget = |subject: &str| world.plan(subject).budget.as_millis();
    assert_eq!((budget("s1"), budget("s2"), budget("s3")), (50, 150, 150));
    assert_eq!(world.plan("s1").reason.cause, Cause::TargetUnmeasured);
    assert_eq!(world.plan("s1").version, 1, "the shares came with the first plan");
}

#[test]
fn an_agent_that_is_away_keeps_its_plan() {
    let mut world = World::new(2);
    world.agent(1, &[10, 40]);
    world.agent(2, &[10, 40]);
    world.class(&[Role::Teacher, Role::Student], None);
    world.update();
    let before = world.plan("s1").clone();
    world.classes[0].members[0].connected = false;
    world.edge(1, EdgeState::Down);
    world.now += 600;
    world.update();
    assert_eq!(world.plan("s1"), &before);
    assert_ne!(world.plan("s2").primary, before.primary);
    world.classes[0].members[0].connected = true;
    world.update();
    assert_eq!(world.plan("s1").version, 2);
}

#[test]
fn no_edge_is_no_route_and_the_last_one_is_kept() {
    let mut world = World::new(1);
    world.edge(1, EdgeState::Down);
    world.class(&[Role::Teacher, Role::Student], None);
    let changes = world.update();
    assert_eq!(changes.len(), 2, "the plan says that there is none");
    assert_eq!(world.plan("s1").primary, None);
    let none = Cause::NoRoute {
        why: NoRoute::NoEdges,
    };
    assert_eq!(world.plan("s1").reason.cause, none);
    assert_eq!(world.update(), []);

    world.edge(1, EdgeState::Up);
    world.agent(1, &[10]);
    world.agent(2, &[10]);
    world.update();
    assert_eq!(world.plan("s1").primary, Some(route(&[1])));
    world.edge(1, EdgeState::Down);
    world.update();
    assert_eq!(world.plan("s1").primary, Some(route(&[1])));
    assert_eq!(world.plan("s1").reason.cause, none);
    world.edge(1, EdgeState::Up);
    assert_eq!(world.update().len(), 2, "there is one again");
    assert_eq!(world.plan("s1").reason.cause, Cause::Initial);
}

#[test]
fn a_restart_changes_nothing() {
    let mut world = World::new(3);
    for agent in 1..=3 {
        world.agent(agent, &[10, 40, 60]);
    }
    world.class(&[Role::Teacher, Role::Student, Role::Student], None);
    let changes = world.update();
    let mut engine = Engine::default();
    for change in changes {
        let body = serde_json::to_string(&change.record).unwrap();
        let record: Option<LegRecord> = serde_json::from_str(&body).unwrap();
        engine.restore(&change.class, &change.subject, record.unwrap());
    }
    world.engine = engine;
    // Better by less than the margin: a fresh engine would move.
    world.now += 3_600;
    for agent in 1..=3 {
        world.agent(agent, &[10, 5, 60]);
    }
    for (a, b) in [(1, 2), (1, 3), (2, 3)] {
        world.link(LinkKey::edges(e(a), e(b)), 50);
    }
    assert_eq!(world.update(), []);
    assert_eq!(world.plan("s1").primary, Some(route(&[1])));
}

#[test]
fn another_agent_of_a_subject_gets_a_plan_of_its_own() {
    let mut world = World::new(1);
    for agent in [1, 2, 9] {
        world.agent(agent, &[10]);
    }
    world.class(&[Role::Teacher, Role::Student], None);
    world.update();
    world.classes[0].members[0].agent = AgentId(9);
    let changes = world.update();
    assert_eq!(subjects(&changes), [("s1", Some(2)), ("s2", Some(2))]);
    assert_eq!(world.engine.plans_of(AgentId(9)).count(), 1);
    assert_eq!(world.engine.plans_of(AgentId(1)).count(), 0);
}

#[test]
fn a_one_way_budget_is_judged_on_half_the_round_trip() {
    let mut world = World::new(1);
    world.agent(1, &[150]);
    world.agent(2, &[240]);
    world.class(&[Role::Teacher, Role::Student], None);
    world.classes[0].budget_on = BudgetOn::OneWay;
    world.update();
    assert_eq!(world.plan("s1").budget, Duration::from_millis(200));
    let snapshot = Snapshot::new(&world.links, Mono::from_millis(world.now * 1_000));
    let class = &world.classes[0];
    let health = class_health(&snapshot, class, &world.engine.legs_now(class), false);
    assert_eq!(health.health, Health::Good, "390 ms there and back");
}

#[test]
fn a_one_way_budget_is_judged_on_the_worse_direction_where_it_is_known() {
    let mut world = one_way_world();
    // 60 ms by the first edge, 52 of them from the first agent to the second; 64 by the second edge, 32 each way.
    let links = [
        (1, 1, [50, 5]),
        (2, 1, [3, 2]),
        (1, 2, [16, 16]),
        (2, 2, [16, 16]),
    ];
    let see = |world: &mut World| links.map(|(agent, edge, ways)| world.ways(agent, edge, ways));
    see(&mut world);
    world.clocks = Within(9_000);
    world.update();
    let plan = world.plan("s1");
    let routes = (plan.primary, plan.standbys.clone());
    assert_eq!(
        routes,
        (Some(route(&[2])), vec![route(&[1])]),
        "52 of 50, and 9 of doubt"
    );
    // Twice 32 + 9 against 64, twice 52 + 9 against 60.
    assert_eq!(plan.added_ms, [20, 65]);
    assert_eq!(judged(&world), (Health::Good, 64.0, 41.0, Some(9.0)));

    // Known badly: half of the round trip, and so the shorter one, once that is worth a move.
    world.clocks = Within(13_000);
    world.now += 1;
    see(&mut world);
    world.update();
    assert_eq!(judged(&world), (Health::Good, 64.0, 32.0, None));
    assert!(world.plan("s1").added_ms.is_empty());
    assert_eq!(world.plan("s1").primary, Some(route(&[2])), "4 ms are no gain");

    // What is known is left later than it is taken.
    for (bound, is_judged) in [(10_500, false), (9_900, true), (12_000, true), (12_500, false)] {
        world.clocks = Within(bound);
        world.update();
        assert_eq!(!world.plan("s1").added_ms.is_empty(), is_judged, "{bound}");
    }
}

#[test]
fn a_route_of_which_less_is_known_has_no_advantage() {
    let mut world = one_way_world();
    // The second edge shows no directions.
    for agent in [1, 2] {
        world.ways(agent, 1, [24, 24]);
        world.agent_link(agent, 2, 49);
    }
    world.clocks = Within(8_000);
    world.update();
    // 48 and 8 of doubt, against 49 and as much doubt as is borne.
    assert_eq!(world.plan("s1").primary, Some(route(&[1])));
    assert_eq!(world.plan("s1").added_ms, [20, 25]);
}

#[test]
fn a_plan_changes_with_what_is_added_beyond_a_dead_band() {
    let mut world = one_way_world();
    for (bound, added) in [
        (4_000, 0),
        (6_000, 15),
        (8_000, 15),
        (9_500, 15),
        (3_000, 15),
        (500, 5),
    ] {
        world.now += 1;
        for agent in [1, 2] {
            world.ways(agent, 1, [10, 10]);
        }
        world.clocks = Within(bound);
        world.update();
        let told = world.plan("s1").added_ms.first().copied().unwrap_or(0);
        assert_eq!(told, added, "{bound}: twice, in steps of 5 ms, if 10 ms off");
    }
}

#[test]
fn towards_a_target_the_way_from_the_exit_is_added_to_what_the_agent_sees() {
    let mut world = World::new(3);
    world.agent(1, &[30, 20, 40]);
    world.class(&[Role::Student], Some("sfu:1"));
    world.update();
    assert!(world.plan("s1").added_ms.is_empty(), "nobody has measured it");
    // Nearer edges are farther from it; nothing is known from the third.
    for (edge, rtt) in [(1, 12), (2, 101)] {
        world.link(LinkKey::EdgeTarget(e(edge), "sfu:1".into()), rtt);
    }
    world.update();
    let plan = world.plan("s1");
    assert_eq!(plan.primary, Some(route(&[2, 1])), "20 and 5 and 12");
    let added = |edges: &[u16]| plan.added_ms(route(edges));
    let routes = plan.routes();
    let measured = routes.iter().filter(|route| route.exit() != Some(e(3)));
    for route in measured {
        let expected = if route.exit() == Some(e(1)) { 15 } else { 105 };
        assert_eq!(plan.added_ms(*route), expected, "{route} of {plan:?}");
    }
    assert_eq!(added(&[2, 1]), 15);
}

#[test]
fn legs_that_meet_at_a_hub_are_planned_by_halves_and_judged_from_end_to_end() {
    let mut world = one_way_world();
    world.class(&[Role::Teacher, Role::Student, Role::Student], None);
    one_way(&mut world.classes[0]);
    for agent in 1..=3 {
        // All ways to the edge are long, and all back are short: what one leg has too much the other has not.
        world.ways(agent, 1, [70, 10]);
    }
    world.clocks = Within(8_000);
    world.update();
    assert!(world.plan("s1").added_ms.is_empty());
    assert_eq!(judged(&world), (Health::AtRisk, 160.0, 88.0, Some(8.0)));
    let budget = |world: &mut World, ms| world.classes[0].budget = Duration::from_millis(ms);
    budget(&mut world, 88);
    world.update();
    assert_eq!(judged(&world).0, Health::AtRisk, "88 and some µs of grain");
    budget(&mut world, 89);
    world.update();
    assert_eq!(judged(&world).0, Health::Good);
}

/// Two edges that no link joins, and a class of two with 50 ms each way.
fn one_way_world() -> World {
    let mut world = World::new(2);
    world.links.remove_link(&LinkKey::edges(e(1), e(2)));
    world.class(&[Role::Teacher, Role::Student], None);
    one_way(&mut world.classes[0]);
    world
}

fn one_way(class: &mut Class) {
    class.budget = Duration::from_millis(50);
    class.budget_on = BudgetOn::OneWay;
}

/// The class's health; the worst pair's 95th percentile there and back, and one way with its bound, in whole ms.
fn judged(world: &World) -> (Health, f64, f64, Option<f64>) {
    let class = &world.classes[0];
    let snapshot = Snapshot::new(&world.links, Mono::from_millis(world.now * 1_000));
    let snapshot = snapshot.with_clocks(&world.clocks).judging_for(class);
    let health = class_health(&snapshot, class, &world.engine.legs_now(class), false);
    let worst = health.worst.unwrap();
    let one_way = worst.one_way.unwrap();
    let bound = one_way.error_ms.map(f64::round);
    (health.health, worst.p95_ms, one_way.p95_ms.round(), bound)
}

#[test]
fn with_clean_links_the_primary_is_the_shortest_of_all_routes() {
    let mut world = World::new(5);
    world.agent(1, &[41, 35, 60, 80, 38]);
    world.agent(2, &[70, 52, 33, 47, 49]);
    for (a, b, rtt) in [(1, 3, 3), (2, 3, 9), (3, 5, 6), (4, 5, 1)] {
        world.links.remove_link(&LinkKey::edges(e(a), e(b)));
        world.link(LinkKey::edges(e(a), e(b)), rtt);
    }
    world.class(&[Role::Teacher, Role::Student], None);
    world.update();
    let snapshot = Snapshot::new(&world.links, Mono::from_millis(world.now * 1_000));
    let to = FarEnd::Agent(AgentId(2));
    let shortest = search::routes(&world.links, AgentId(1), &to, 2)
        .into_iter()
        .filter_map(|r| Some((snapshot.expect(AgentId(1), &r, &to).median()?, r)))
        .min()
        .unwrap();
    assert_eq!(shortest.0, Duration::from_millis(77));
    assert_eq!(world.plan("s1").primary, Some(shortest.1));
}
