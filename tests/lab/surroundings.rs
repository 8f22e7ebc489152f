//! What agents see around them, and that they trace the path at once when it goes bad.

use corridor::api::model::{Trace, TraceHop};

use crate::{
    deployment::{Deployment, LIMIT, now, wall_us},
    world::{World, say, unavailable},
};

/// By e1 both meet in 60 ms, by e2 in 160: either is over the budget of 200 ms with 150 more.
const WORLD: &str = r#"
[nodes.ctl]
[nodes.e1]
[nodes.e2]
[nodes.teacher]
[nodes.student]
[[link]]
between = ["teacher", "e1"]
both = { delay_ms = 5 }
[[link]]
between = ["student", "e1"]
both = { delay_ms = 25 }
[[link]]
between = ["teacher", "e2"]
both = { delay_ms = 40 }
[[link]]
between = ["student", "e2"]
both = { delay_ms = 40 }
[[link]]
between = ["e1", "e2"]
both = { delay_ms = 200 }
"#;
/// The teacher's link to each edge, and how it goes bad: 75 ms more each way are 150 there and back.
const LINKS: [(&str, &str, f64); 2] = [("e1", "delay_ms=80", 160.0), ("e2", "delay_ms=115", 230.0)];

#[test]
fn a_link_that_goes_bad_is_traced_at_once() {
    if let Some(why) = unavailable() {
        say(format_args!(
            "SKIPPED a_link_that_goes_bad_is_traced_at_once: {why}"
        ));
        return;
    }
    let world = World::start(WORLD);
    let deployment = Deployment::start(&world, &["e1", "e2"], &["teacher", "student"]);
    deployment.begin_class("c", "teacher", "student");
    deployment.wait_class("c", "the teacher in class", LIMIT, |class| {
        let teacher = class.participants.iter().find(|p| p.subject == "teacher")?;
        teacher.legs.first()?.in_use.as_ref().map(|_| ())
    });
    // What is usual on its links is learnt in sixteen round trips, one a second.
    std::thread::sleep(std::time::Duration::from_secs(25));

    // The one in use, which on a busy machine need not be the nearest.
    let in_use = deployment.agent("teacher").legs[0].in_use.clone();
    let (edge, bad, least) = LINKS
        .into_iter()
        .find(|(edge, ..)| in_use == [*edge])
        .expect("by one edge");
    let broken = wall_us();
    world.set(&format!("teacher+{edge}"), bad);
    let (at, trace) = traced(&deployment, "teacher", broken);
    say(format_args!(
        "traced {} ms after the link to {edge} got 150 ms more, because of {}: {}",
        (at - broken) / 1_000,
        trace.trigger.as_deref().unwrap_or_default(),
        serde_json::to_string(&trace).expect("JSON"),
    ));
    assert_eq!(
        (&trace.toward, trace.reached),
        (&format!("edge:{edge}"), true),
        "{trace:?}"
    );
    let end: &TraceHop = trace.hops.last().expect("hops");
    let p50 = end.rtt_ms.expect("it answered").p50;
    assert!(
        (least..least + 140.0).contains(&p50),
        "at least {least} ms: {trace:?}"
    );
    assert!(
        end.addresses.iter().all(|a| a.ends_with("/24")),
        "truncated: {trace:?}"
    );

    let timeline = deployment.class("c");
    for participant in &timeline.participants {
        let seen = participant.surroundings.last().expect("surroundings");
        // The emulator's interfaces are tunnels, with nothing between them.
        assert_eq!(seen.link_type.as_deref(), Some("vpn"), "{seen:?}");
        assert!(seen.not_seen.contains_key("gateway"), "{seen:?}");
        let host = seen.host.as_ref().expect("its load");
        assert!(host.cpu.is_some() && host.memory_bytes.is_some(), "{seen:?}");
        say(format_args!(
            "{}: {}",
            participant.subject,
            serde_json::to_string(seen).expect("JSON")
        ));
    }
    let own = deployment.agent("teacher");
    assert!(own.paths > 0 && own.hop_probe_bytes > 0, "{own:?}");
    world.void();
}

/// The first trace that trouble after `from` asked for, as the controller's API has it, and when that was.
fn traced(deployment: &Deployment<'_>, subject: &str, from: i64) -> (i64, Trace) {
    let started = now();
    loop {
        let timeline = deployment.class("c");
        let mut events = timeline
            .events
            .iter()
            .filter(|e| e.kind == "trace" && e.subject.as_deref() == Some(subject))
            .map(|e| (crate::deployment::micros(&e.at), e));
        if let Some((at, event)) = events.find(|(at, _)| *at >= from) {
            let trace = serde_json::from_value(event.detail["trace"].clone())
                .unwrap_or_else(|error| panic!("{error} in {event:?}"));
            return (at, trace);
        }
        assert!(
            started.elapsed() < LIMIT,
            "no trace within {LIMIT:?}; the agent said:\n{:#?}",
            deployment.log(subject).last()
        );
        std::thread::sleep(std::time::Duration::from_millis(200));
    }
}
