//! Which routes are chosen, against the emulator's delays.

use std::time::Duration;

use crate::{
    deployment::{Deployment, LIMIT, now},
    world::{World, say, unavailable},
};

const EDGES: [&str; 3] = ["e1", "e2", "e3"];
const AGENTS: [&str; 2] = ["teacher", "student"];
const NODES: &str = "[nodes.ctl]\n[nodes.e1]\n[nodes.e2]\n[nodes.e3]\n[nodes.teacher]\n[nodes.student]\n";

/// One-way delays of links, the same both ways, ms.
type Delays = [((&'static str, &'static str), f64)];

fn delay(delays: &Delays, a: &str, b: &str) -> f64 {
    delays
        .iter()
        .find(|((x, y), _)| (*x, *y) == (a, b) || (*x, *y) == (b, a))
        .unwrap_or_else(|| panic!("no delay {a}-{b}"))
        .1
}

/// All routes of one or two edges with their round trips, the least first.
fn ranked(delays: &Delays, from: &str, to: &str) -> Vec<(f64, Vec<&'static str>)> {
    let mut routes: Vec<Vec<&'static str>> = EDGES.iter().map(|&e| vec![e]).collect();
    for a in EDGES {
        routes.extend(EDGES.iter().filter(|&&b| b != a).map(|&b| vec![a, b]));
    }
    let round_trip = |route: &[&str]| {
        let all: Vec<&str> = [from]
            .into_iter()
            .chain(route.iter().copied())
            .chain([to])
            .collect();
        2.0 * all.windows(2).map(|w| delay(delays, w[0], w[1])).sum::<f64>()
    };
    let mut ranked: Vec<_> = routes.into_iter().map(|r| (round_trip(&r), r)).collect();
    ranked.sort_by(|a, b| a.0.total_cmp(&b.0));
    ranked
}

fn apply(world: &World, delays: &Delays) {
    for ((a, b), ms) in delays {
        world.set(&format!("{a}+{b}"), &format!("delay_ms={ms}"));
    }
}

/// Waits until both legs' primaries are the least routes of `delays`.
fn expect_least(deployment: &Deployment<'_>, delays: &Delays, limit: Duration) {
    let [teacher, student] = AGENTS;
    for (from, to) in [(teacher, student), (student, teacher)] {
        let ranked = ranked(delays, from, to);
        let ((least, route), (second, other)) = (&ranked[0], &ranked[1]);
        let started = now();
        let leg = deployment.wait_class("c", "the least route", limit, |class| {
            let leg = class
                .participants
                .iter()
                .find(|p| p.subject == from)?
                .legs
                .first()?;
            (leg.primary == *route).then(|| leg.clone())
        });
        say(format_args!(
            "{from}: by {} ({least} ms by the emulator; next {} with {second}), measured p50 {} ms, \
             after {:.1} s, plan {}: {}",
            route.join(" > "),
            other.join(" > "),
            leg.rtt_ms.map_or("-".to_owned(), |r| format!("{:.1}", r.p50)),
            started.elapsed().as_secs_f64(),
            leg.plan,
            leg.reason,
        ));
    }
}

#[test]
fn the_primary_is_the_least_route_of_the_emulators_delays() {
    if let Some(why) = unavailable() {
        say(format_args!("SKIPPED the_primary_is_the_least_route: {why}"));
        return;
    }
    // Least: e1 > e2 with 2 · (5 + 20 + 5); then e3 with 2 · 55.
    let before: &Delays = &[
        (("teacher", "e1"), 5.0),
        (("teacher", "e2"), 75.0),
        (("teacher", "e3"), 30.0),
        (("student", "e1"), 75.0),
        (("student", "e2"), 5.0),
        (("student", "e3"), 25.0),
        (("e1", "e2"), 20.0),
        (("e1", "e3"), 45.0),
        (("e2", "e3"), 45.0),
    ];
    // e1 and e2 have moved away from each other, and e3 has come near: 2 · 15.
    let after: &Delays = &[
        (("teacher", "e1"), 40.0),
        (("teacher", "e2"), 75.0),
        (("teacher", "e3"), 10.0),
        (("student", "e1"), 75.0),
        (("student", "e2"), 40.0),
        (("student", "e3"), 5.0),
        (("e1", "e2"), 60.0),
        (("e1", "e3"), 20.0),
        (("e2", "e3"), 20.0),
    ];
    let world = World::start(NODES);
    apply(&world, before);
    let deployment = Deployment::start(&world, &EDGES, &AGENTS);
    deployment.begin_class("c", "teacher", "student");
    expect_least(&deployment, before, LIMIT);
    apply(&world, after);
    // The map's horizon is 60 s, and a plan stands for 30 s before a merely better one replaces it.
    expect_least(&deployment, after, Duration::from_secs(120));
    std::thread::sleep(Duration::from_secs(10));
    expect_least(&deployment, after, Duration::ZERO);
}
