//! What new plans do to the choice.

use super::*;

#[test]
fn a_new_plan_is_adopted_unless_its_primary_is_in_trouble() {
    let mut world = World::new();
    world.run(20_000, &mut quiet);
    world.install(2, &[1, 0, 2]);
    assert_eq!(world.choice.in_use(), Some(routes()[1]));
    assert_eq!(world.switches()[0].1.reason, Reason::Plan { version: 2 });

    // The third route is over the budget: a plan for it is installed but not followed.
    let mut bad_third = |route: usize, at: i64| if route == 2 { Some(300) } else { quiet(route, at) };
    world.run(30_000, &mut bad_third);
    world.install(3, &[2, 1, 0]);
    assert_eq!(world.choice.in_use(), Some(routes()[1]));
    assert_eq!(
        (world.choice.in_use_index(), world.choice.plan_version()),
        (Some(1), 3)
    );
    world.run(40_000, &mut bad_third);
    assert_eq!(world.switches().len(), 1);
}

#[test]
fn what_is_known_of_an_edge_holds_for_its_new_routes() {
    let mut world = World::new();
    world.run(20_000, &mut quiet);
    let entry = |entry_silent: bool| RouteEvidence {
        entry_heard_recently: !entry_silent,
        entry_silent,
        ..RouteEvidence::default()
    };
    world
        .choice
        .on_tick(MS(20_010), &[entry(true), entry(false), entry(false)]);
    assert_eq!(world.choice.in_use(), Some(routes()[1]));
    // A plan that was made before: all its routes are new, and the edge that is silent is the first of the best.
    let over = |first: u16| Route::new(&[first, 9].map(|id| EdgeId::new(id).unwrap())).unwrap();
    let made_before = LivePlan {
        routes: vec![over(1), over(2)],
        ..plan(2, &[])
    };
    assert_eq!(world.choice.set_plan(MS(20_020), &made_before), []);
    let [evidence, left_out] = [entry(true), entry(false)];
    let tick = |choice: &mut LiveChoice, at| choice.on_tick(MS(at), &[evidence, left_out, left_out]);
    assert_eq!(tick(&mut world.choice, 22_019), []);
    let events = tick(&mut world.choice, 22_020);
    let [LiveEvent::Switch(switch)] = events[..] else {
        panic!("{events:?}");
    };
    assert_eq!((switch.from, switch.to), (routes()[1], over(2)));
}

#[test]
fn a_primary_without_samples_is_adopted_when_it_has_them() {
    let mut world = World::new();
    world.install(2, &[0, 1]);
    world.run(20_000, &mut quiet);
    world.install(3, &[2, 0]);
    assert_eq!(world.choice.in_use(), Some(routes()[0]), "make before break");
    world.run(22_000, &mut quiet);
    let (at, switch) = world.switches()[0];
    assert_eq!(
        (switch.to, switch.reason),
        (routes()[2], Reason::Plan { version: 3 })
    );
    assert_eq!(at, 20_805, "with its eighth sample, which came at 20_710");

    assert_eq!(world.switches().len(), 1);
}

#[test]
fn a_route_that_the_plan_leaves_out_is_used_until_another_has_samples() {
    let mut world = World::new();
    world.install(2, &[0, 1]);
    world.run(20_000, &mut quiet);
    world.install(3, &[2]);
    let in_use = |world: &World| (world.choice.in_use(), world.choice.in_use_index());
    assert_eq!(in_use(&world), (Some(routes()[0]), None));
    assert_eq!(world.order, [2, 0]);
    world.run(22_000, &mut quiet);
    assert_eq!(
        (in_use(&world), &world.order[..]),
        ((Some(routes()[2]), Some(0)), &[2][..])
    );
    let (at, switch) = world.switches()[0];
    assert_eq!((at, switch.reason), (20_805, Reason::Plan { version: 3 }));

    // One that carries nothing is not waited for any longer than this, nor after another plan.
    let mut dead = |route: usize, at: i64| if route == 1 { None } else { quiet(route, at) };
    world.install(4, &[1]);
    world.run(23_000, &mut dead);
    world.install(5, &[1]);
    world.run(23_990, &mut dead);
    assert_eq!(in_use(&world), (Some(routes()[2]), None));
    world.run(24_010, &mut dead);
    assert_eq!(in_use(&world), (Some(routes()[1]), Some(0)));
    assert_eq!((&world.order[..], world.switches().len()), (&[1][..], 2));
}

#[test]
fn a_route_in_trouble_that_the_plan_leaves_out_is_left_at_once() {
    let mut world = World::new();
    world.install(2, &[0]);
    let mut dies = |route: usize, at: i64| quiet(route, at).filter(|_| route != 0 || at < 20_000);
    world.run(21_000, &mut dies);
    world.install(3, &[1, 2]);
    assert_eq!(world.choice.in_use(), Some(routes()[1]));
    assert_eq!(world.order, [1, 2]);
}

#[test]
fn a_route_that_the_plan_leaves_out_and_that_dies_is_left_for_one_that_is_alive() {
    let mut world = World::new();
    world.install(2, &[0, 1]);
    world.run(20_000, &mut quiet);
    world.install(3, &[2, 1]);
    world.install(4, &[1]);
    world.run(20_300, &mut quiet);
    world.install(5, &[2]);
    let mut dies = |route: usize, at: i64| quiet(route, at).filter(|_| route != 1 || at < 20_300);
    world.run(21_000, &mut dies);
    let last = world.switches().last().copied().unwrap();
    assert_eq!((last.1.from, last.1.to), (routes()[1], routes()[2]));
    assert!(matches!(last.1.reason, Reason::Silent { .. }), "{last:?}");
    assert_eq!(world.order, [2]);
}

#[test]
fn what_a_plan_adds_to_a_route_counts_and_is_not_told_as_its_round_trip() {
    let mut world = World::new();
    world.run(20_000, &mut quiet);
    // The first would be better than the second by the margin, if nothing were added to it.
    let added = [BUDGET, Duration::from_millis(10)];
    let plan = LivePlan {
        one_way: true,
        added: added.to_vec(),
        ..plan(2, &[0, 1, 2])
    };
    assert_eq!(world.choice.set_plan(MS(20_000), &plan), []);
    world.run(21_000, &mut quiet);
    let [(_, switch)] = world.switches()[..] else {
        panic!("{:?}", world.events)
    };
    let Reason::Breach {
        at_ms,
        budget_ms,
        to_ms,
        ..
    } = switch.reason
    else {
        panic!("{switch:?}")
    };
    let half = |rtt: Duration| rtt.as_secs_f64() * 1e3 / 2.0;
    let base = |route: usize| Duration::from_millis(BASE_MS[route] as u64);
    assert_eq!(switch.to, routes()[1]);
    assert_eq!(at_ms, half(base(0) + added[0]));
    assert_eq!((budget_ms, to_ms), (half(BUDGET), Some(half(base(1) + added[1]))));
    assert_eq!(world.choice.recent().map(|recent| recent.p50), Some(base(1)));
    world.run(120_000, &mut quiet);
    assert_eq!(world.switches().len(), 1, "it is not shorter any more");
}

#[test]
fn the_same_routes_under_other_terms_move_nobody() {
    let mut world = World::new();
    world.run(60_000, &mut |route, at| {
        if route == 1 { Some(40) } else { quiet(route, at) }
    });
    assert_eq!(world.switches().len(), 1, "to a better one");
    let plan = LivePlan {
        added: vec![Duration::from_millis(20); 3],
        ..plan(2, &[0, 1, 2])
    };
    assert_eq!(world.choice.set_plan(MS(60_000), &plan), []);
    assert_eq!(
        (world.choice.plan_version(), world.choice.in_use()),
        (2, Some(routes()[1]))
    );
}
