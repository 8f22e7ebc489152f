//! Legs to targets, which know them by their exit.

use super::*;

fn by(edges: &[u16]) -> Route {
    let edges: Vec<_> = edges.iter().map(|&id| EdgeId::new(id).unwrap()).collect();
    Route::new(&edges).unwrap()
}

fn heard() -> RouteEvidence {
    RouteEvidence {
        entry_heard_recently: true,
        ..RouteEvidence::default()
    }
}

/// A leg by these routes with so many ms each, which it has used for a while; where it went since the plan.
fn leg(routes: &[(&[u16], u64)], anchored: bool, seconds: i64) -> (LiveChoice, Vec<Route>) {
    let mut choice = LiveChoice::default();
    choice.set_plan(
        MS(0),
        &LivePlan {
            routes: routes.iter().map(|(edges, _)| by(edges)).collect(),
            anchored,
            ..plan(1, &[])
        },
    );
    let mut went = Vec::new();
    for step in 1..=seconds * 10 {
        for (index, (_, ms)) in routes.iter().enumerate() {
            choice.on_sample(index, MS(step * 100), Duration::from_millis(*ms));
        }
        let evidence = RouteEvidence { echoed: 1, ..heard() };
        let events = choice.on_tick(MS(step * 100 + 5), &vec![evidence; routes.len()]);
        went.extend(events.iter().filter_map(|event| match event {
            LiveEvent::Switch(switch) => Some(switch.to),
            LiveEvent::AccessOutage(_) => None,
        }));
    }
    (choice, went)
}

fn moved_to(events: &[LiveEvent]) -> Option<Route> {
    events.iter().find_map(|event| match event {
        LiveEvent::Switch(switch) => Some(switch.to),
        LiveEvent::AccessOutage(_) => None,
    })
}

#[test]
fn an_outage_keeps_the_exit_as_long_as_anything_comes_by_it() {
    let routes: [(&[u16], u64); 3] = [(&[1, 2], 100), (&[5, 4], 110), (&[3, 2], 190)];
    let silent = RouteEvidence {
        entry_heard_recently: false,
        entry_silent: true,
        ..RouteEvidence::default()
    };
    for (anchored, first) in [(true, &[3, 2]), (false, &[5, 4])] {
        let (mut choice, went) = leg(&routes, anchored, 10);
        assert_eq!(went, []);
        let events = choice.on_tick(MS(10_020), &[silent, heard(), heard()]);
        assert_eq!(moved_to(&events), Some(by(first)));
        if anchored {
            let events = choice.on_tick(MS(10_040), &[silent, heard(), silent]);
            assert_eq!(
                moved_to(&events),
                Some(by(&[5, 4])),
                "there is no other way to the exit"
            );
        }
    }
}

#[test]
fn an_exit_that_is_the_entry_is_left_at_once() {
    let (mut choice, _) = leg(&[(&[2], 100), (&[3, 2], 110), (&[3, 4], 190)], true, 10);
    let silent = RouteEvidence {
        entry_heard_recently: false,
        entry_silent: true,
        ..RouteEvidence::default()
    };
    let events = choice.on_tick(MS(10_020), &[silent, heard(), heard()]);
    assert_eq!(moved_to(&events), Some(by(&[3, 4])));
}

#[test]
fn neither_a_breach_nor_a_better_route_moves_the_exit() {
    for (used, other) in [(150, 20), (300, 20)] {
        let routes: [(&[u16], u64); 3] = [(&[1, 2], used), (&[3, 4], other), (&[3, 2], 290)];
        assert_eq!(leg(&routes, false, 60).1, [by(&[3, 4])]);
        assert_eq!(leg(&routes, true, 60).1, []);
        let same: [(&[u16], u64); 3] = [(&[1, 2], used), (&[3, 4], 20), (&[3, 2], 60)];
        assert_eq!(leg(&same, true, 60).1, [by(&[3, 2])]);
    }
}

#[test]
fn a_dead_exit_is_left_though_the_other_way_to_it_was_tried() {
    let routes: [(&[u16], u64); 3] = [(&[1, 2], 100), (&[3, 2], 110), (&[3, 4], 150)];
    // That the first edge of the one names the exit is as good as two more echoes of the other that are missing.
    for (is_named, found) in [(false, 3), (true, 1)] {
        let (mut choice, _) = leg(&routes, true, 10);
        // All echoes by the exit are missing from now on, and the first edge says so.
        let mut went = Vec::new();
        for step in 0..=6 {
            choice.on_sample(2, MS(10_100 + step * 100), Duration::from_millis(150));
            let by_exit = |next_hop_silent| RouteEvidence {
                silent_steps: step as u32,
                next_hop_silent,
                named_silent: (is_named && !next_hop_silent).then_some(MS(10_010)),
                missed: 1,
                ..heard()
            };
            let evidence = [
                by_exit(true),
                by_exit(false),
                RouteEvidence { echoed: 1, ..heard() },
            ];
            went.extend(moved_to(&choice.on_tick(MS(10_105 + step * 100), &evidence)).map(|to| (step, to)));
        }
        assert_eq!(went, [(0, by(&[3, 2])), (found, by(&[3, 4]))]);
    }
}

#[test]
fn without_an_anchor_a_route_by_an_edge_that_was_called_silent_comes_last() {
    let routes: [(&[u16], u64); 3] = [(&[1, 2], 100), (&[3, 2], 110), (&[3, 4], 150)];
    for (anchored, to) in [(false, &[3, 4]), (true, &[3, 2])] {
        let (mut choice, _) = leg(&routes, anchored, 10);
        let by_exit = |next_hop_silent: bool| RouteEvidence {
            next_hop_silent,
            named_silent: (!next_hop_silent).then_some(MS(10_010)),
            ..heard()
        };
        let went = moved_to(&choice.on_tick(MS(10_015), &[by_exit(true), by_exit(false), heard()]));
        assert_eq!(went, Some(by(to)));
    }
}

#[test]
fn an_exit_that_answers_after_it_was_called_silent_is_not_left_for_one_late_echo() {
    let routes: [(&[u16], u64); 3] = [(&[1, 2], 100), (&[3, 2], 110), (&[3, 4], 150)];
    for (answered, left) in [(10_119, true), (10_121, false)] {
        let (mut choice, _) = leg(&routes, true, 10);
        let told = MS(10_010);
        let evidence = |silent_steps| {
            let by_exit = |next_hop_silent, silent_steps| RouteEvidence {
                silent_steps,
                next_hop_silent,
                named_silent: (!next_hop_silent).then_some(told),
                ..heard()
            };
            [by_exit(true, 1), by_exit(false, silent_steps), heard()]
        };
        let went = moved_to(&choice.on_tick(MS(10_015), &evidence(0)));
        assert_eq!(went, Some(by(&[3, 2])));
        // Sent just before, or at, the word that the exit is silent.
        choice.on_sample(1, MS(answered), Duration::from_millis(110));
        choice.on_sample(2, MS(10_200), Duration::from_millis(150));
        let went = moved_to(&choice.on_tick(MS(10_205), &evidence(1)));
        assert_eq!(went.is_some(), left, "{answered}");
    }
}
