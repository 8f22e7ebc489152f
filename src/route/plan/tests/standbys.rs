//! Which standbys a plan has.

use super::*;

#[test]
fn the_standby_in_use_stays_until_it_is_left() {
    let mut world = pair(4);
    world.mine(&[10, 20, 60, 90]);
    world.theirs(&[90, 20, 10, 90]);
    world.mesh(4, 5);
    let plan = world.plan();
    assert_eq!(plan.primary, Some(route(&[1, 3])));
    assert_eq!(plan.standbys, [route(&[2]), route(&[3])]);
    // Now there are better ones.
    for (in_use, second_ms, standbys) in [
        (route(&[3]), 45, [route(&[4]), route(&[3])]),
        (route(&[1, 3]), 20, [route(&[4]), route(&[2, 3])]),
    ] {
        world.in_use = Some(in_use);
        world.now += 120;
        world.mine(&[10, second_ms, 60, 12]);
        world.theirs(&[90, second_ms, 10, 12]);
        world.mesh(4, 5);
        let plan = world.plan();
        assert_eq!(
            (plan.primary, plan.standbys),
            (Some(route(&[1, 3])), standbys.to_vec())
        );
    }
    // One that does not work goes at once.
    world.in_use = Some(route(&[2, 3]));
    world.edge(2, EdgeState::Down);
    world.now += 1;
    assert!(!world.plan().standbys.contains(&route(&[2, 3])));
}

#[test]
fn a_disjoint_standby_far_beyond_the_rest_gives_way_to_a_better_one() {
    let mut world = World::new(4, FarEnd::Agent(B));
    world.mine(&[20, 300, 28, 300]);
    world.theirs(&[300, 20, 300, 28]);
    let mesh = |world: &mut World, third_to_second| {
        for (a, b, rtt) in [
            (1, 2, 160),
            (1, 4, 84),
            (3, 4, 86),
            (2, 3, third_to_second),
            (1, 3, 10),
            (2, 4, 10),
        ] {
            world.link(LinkKey::edges(e(a), e(b)), rtt);
        }
    };
    mesh(&mut world, 0);
    let plan = world.plan();
    assert_eq!(plan.primary, Some(route(&[1, 4])));
    let disjoint = |plan: &PlanChoice| {
        let shares = |route: &&Route| !route.contains(e(1)) && !route.contains(e(4));
        plan.standbys.iter().find(shares).copied()
    };
    assert_eq!(disjoint(&plan), Some(route(&[2])));
    for (after, expected) in [(10, [2].as_slice()), (25, &[3, 2])] {
        world.now += after;
        mesh(&mut world, 84);
        world.mine(&[20, 300, 28, 300]);
        world.theirs(&[300, 20, 300, 28]);
        assert_eq!(
            disjoint(&world.plan()),
            Some(route(expected)),
            "after {after} s more"
        );
    }
}

#[test]
fn without_a_disjoint_standby_the_plan_says_why() {
    let mut world = pair(1);
    world.mine(&[10]);
    world.theirs(&[10]);
    let plan = world.plan();
    assert_eq!(
        (plan.standbys.len(), plan.no_disjoint),
        (0, Some(NoDisjoint::OneEdge))
    );

    let mut world = pair(2);
    world.mine(&[10, 50]);
    world.theirs(&[50, 10]);
    world.mesh(2, 5);
    let plan = world.plan();
    assert_eq!(plan.primary, Some(route(&[1, 2])));
    assert_eq!(plan.no_disjoint, Some(NoDisjoint::AllShare));
    assert_eq!(plan.standbys, [route(&[2])]);

    let mut world = World::new(3, FarEnd::Hub(e(2)));
    world.mine(&[10, 10, 10]);
    world.mesh(3, 5);
    let plan = world.plan();
    assert_eq!(plan.primary, Some(route(&[2])));
    assert_eq!(plan.standbys, [route(&[1, 2]), route(&[3, 2])]);
    assert_eq!(plan.no_disjoint, Some(NoDisjoint::Hub { edge: e(2) }));
}

#[test]
fn to_a_target_one_standby_keeps_the_exit_and_the_other_has_another() {
    let target = "sfu:1".to_owned();
    let mut world = World::new(4, FarEnd::Target(target.clone()));
    let measured = |world: &mut World| {
        world.mine(&[20, 300, 28, 300]);
        for (a, b, rtt) in [
            (1, 2, 80),
            (1, 4, 84),
            (2, 3, 82),
            (3, 4, 86),
            (1, 3, 10),
            (2, 4, 10),
        ] {
            world.link(LinkKey::edges(e(a), e(b)), rtt);
        }
        for (id, rtt) in (1..).zip([300, 2, 300, 40]) {
            world.link(LinkKey::EdgeTarget(e(id), target.clone()), rtt);
        }
    };
    measured(&mut world);
    let plan = world.plan();
    assert_eq!(plan.primary, Some(route(&[1, 2])));
    assert_eq!(plan.standbys, [route(&[3, 2]), route(&[3, 4])]);
    assert!(
        plan.standbys
            .iter()
            .any(|r| !r.contains(e(1)) && !r.contains(e(2)))
    );
    // They stay, though they enter by the same edge.
    world.now += 120;
    measured(&mut world);
    assert_eq!(world.plan().standbys, [route(&[3, 2]), route(&[3, 4])]);
}

#[test]
fn an_exit_that_the_agent_had_to_move_to_becomes_the_plans() {
    let target = "sfu:1".to_owned();
    let mut world = World::new(4, FarEnd::Target(target.clone()));
    let measured = |world: &mut World| {
        world.mine(&[20, 300, 28, 300]);
        world.mesh(4, 84);
        for (id, rtt) in (1..).zip([300, 2, 300, 40]) {
            world.link(LinkKey::EdgeTarget(e(id), target.clone()), rtt);
        }
    };
    measured(&mut world);
    assert_eq!(world.primary(), route(&[1, 2]));
    world.now += 70;
    measured(&mut world);
    world.plan();
    // It was out for a moment, which nobody but the agent saw.
    world.in_use = Some(route(&[3, 4]));
    let plan = world.plan();
    assert_eq!(plan.primary, Some(route(&[3, 4])));
    assert_eq!(plan.reason.cause, Cause::ExitMoved { from: route(&[1, 2]) });
    assert!(plan.standbys.iter().any(|r| r.exit() == Some(e(4))), "{plan:?}");
    world.now += 1;
    assert_eq!(world.primary(), route(&[3, 4]), "and stays");
}
