//! What the agents do by themselves, on a link between edges gone slow and on stalls of their own line.

use std::{collections::BTreeMap, thread, time::Duration};

use crate::{
    deployment::{Deployment, LIMIT, Line, now, wall_us},
    world::{World, say, unavailable},
};

/// The least route is e1 > e2 (80 ms), then e3 (120 ms); all others are over 200 ms.
const WORLD: &str = r#"
[nodes.ctl]
[nodes.e1]
[nodes.e2]
[nodes.e3]
[nodes.teacher]
[nodes.student]
[[link]]
between = ["teacher", "e1"]
both = { delay_ms = 5 }
[[link]]
between = ["teacher", "e2"]
both = { delay_ms = 110 }
[[link]]
between = ["teacher", "e3"]
both = { delay_ms = 30 }
[[link]]
between = ["student", "e1"]
both = { delay_ms = 110 }
[[link]]
between = ["student", "e2"]
both = { delay_ms = 5 }
[[link]]
between = ["student", "e3"]
both = { delay_ms = 30 }
[[link]]
between = ["e1", "e2"]
both = { delay_ms = 30 }
[[link]]
between = ["e1", "e3"]
both = { delay_ms = 90 }
[[link]]
between = ["e2", "e3"]
both = { delay_ms = 90 }
"#;
const EDGES: [&str; 3] = ["e1", "e2", "e3"];
const AGENTS: [&str; 2] = ["teacher", "student"];
/// The link of the primary that goes bad, and how: 150 ms more make 230 of 80.
const MIDDLE: &str = "e1+e2";
const BAD: &str = "delay_ms=105";
const GOOD: &str = "delay_ms=30";
/// How soon an agent must have moved; the figure itself is printed, and judged by people.
const MOVED: Duration = Duration::from_secs(10);

/// Switches that an agent made, as it logged them.
fn switches(deployment: &Deployment<'_>, agent: &str) -> Vec<Line> {
    let mut log = deployment.log(agent);
    log.retain(|line| line.message() == "live choice" && line.text("kind") == "switch");
    log
}

fn counts(deployment: &Deployment<'_>) -> BTreeMap<&'static str, usize> {
    AGENTS
        .map(|agent| (agent, switches(deployment, agent).len()))
        .into()
}

/// The route in use as the agent itself says.
fn in_use(deployment: &Deployment<'_>, agent: &str) -> Vec<String> {
    let report = deployment.agent(agent);
    report
        .legs
        .first()
        .map(|leg| leg.in_use.clone())
        .unwrap_or_default()
}

/// Starts a world in which both agents use the route over the middle link.
fn in_class(world: &World) -> Deployment<'_> {
    let deployment = Deployment::start(world, &EDGES, &AGENTS);
    deployment.begin_class("c", "teacher", "student");
    deployment.wait_class("c", "both by the middle link, with a standby", LIMIT, |class| {
        let by = |subject: &str, primary: [&str; 2]| {
            let leg = class
                .participants
                .iter()
                .find(|p| p.subject == subject)?
                .legs
                .first()?;
            let standby = leg.standbys.iter().any(|s| *s == ["e3"]);
            (leg.in_use.as_ref()? == &primary && leg.primary == primary && standby).then_some(())
        };
        by("teacher", ["e1", "e2"]).and(by("student", ["e2", "e1"]))
    });
    // The live choice judges what it has seen for some seconds.
    thread::sleep(Duration::from_secs(6));
    deployment
}

/// Makes the middle link bad and waits until both agents have left it.
fn break_middle(world: &World, deployment: &Deployment<'_>) {
    let before = counts(deployment);
    let broken = wall_us();
    world.set(MIDDLE, BAD);
    let started = now();
    for agent in AGENTS {
        let switch = loop {
            if let Some(switch) = switches(deployment, agent).get(before[agent]) {
                break switch.clone();
            }
            assert!(
                started.elapsed() < MOVED,
                "{agent} has not moved within {MOVED:?}; it said:\n{:#?}",
                deployment.log(agent).last()
            );
            thread::sleep(Duration::from_millis(20));
        };
        say(format_args!(
            "{agent} moved {} ms after the middle link got 150 ms: {}",
            (switch.at_us - broken) / 1_000,
            switch.text("detail"),
        ));
        assert_eq!(in_use(deployment, agent), ["e3"]);
    }
}

/// Waits until the controller's plans avoid the middle link too, and shows why.
fn expect_new_plans(deployment: &Deployment<'_>) {
    let started = now();
    for agent in AGENTS {
        let leg = deployment.wait_class("c", "a new plan", LIMIT, |class| {
            let leg = class
                .participants
                .iter()
                .find(|p| p.subject == agent)?
                .legs
                .first()?;
            (leg.primary == ["e3"]).then(|| leg.clone())
        });
        say(format_args!(
            "{agent}: plan {} by e3 after {:.1} s: {}",
            leg.plan,
            started.elapsed().as_secs_f64(),
            leg.reason
        ));
    }
    let timeline = deployment.class("c");
    for agent in AGENTS {
        let switch = timeline
            .events
            .iter()
            .rev()
            .find(|e| e.kind == "switch" && e.subject.as_deref() == Some(agent))
            .unwrap_or_else(|| panic!("no switch of {agent} in {:#?}", timeline.events));
        say(format_args!("class show: {}", switch.text));
        assert_eq!(switch.detail["reason"]["kind"], "breach", "{switch:?}");
        assert_eq!(switch.detail["to"], serde_json::json!(["e3"]), "{switch:?}");
    }
}

#[test]
fn a_slow_middle_link_moves_the_agents_and_then_the_plans() {
    if let Some(why) = unavailable() {
        say(format_args!("SKIPPED a_slow_middle_link_moves_the_agents: {why}"));
        return;
    }
    let world = World::start(WORLD);
    let deployment = in_class(&world);

    let before = counts(&deployment);
    for _ in 0..20 {
        world.stall("teacher", 200);
        thread::sleep(Duration::from_millis(800));
    }
    assert_eq!(
        counts(&deployment),
        before,
        "a stall of the line is no reason to move"
    );
    say("twenty stalls of 200 ms: no switch");

    break_middle(&world, &deployment);
    expect_new_plans(&deployment);

    let before = counts(&deployment);
    world.set(MIDDLE, GOOD);
    thread::sleep(Duration::from_secs(30));
    let after = counts(&deployment);
    for agent in AGENTS {
        let moves = after[agent] - before[agent];
        say(format_args!(
            "{agent}: {moves} switches in the 30 s after the link healed"
        ));
        // Back, once: by itself or by a new plan.
        assert!(moves <= 1, "{:#?}", switches(&deployment, agent));
    }
    world.void();
}

#[test]
fn a_slow_middle_link_moves_the_agents_without_the_controller() {
    if let Some(why) = unavailable() {
        say(format_args!(
            "SKIPPED a_slow_middle_link_moves_the_agents_without_the_controller: {why}"
        ));
        return;
    }
    let world = World::start(WORLD);
    let mut deployment = in_class(&world);
    deployment.stop("ctl");
    thread::sleep(Duration::from_secs(2));
    break_middle(&world, &deployment);
    thread::sleep(Duration::from_secs(3));
    deployment.start_controller();
    expect_new_plans(&deployment);
    world.void();
}
