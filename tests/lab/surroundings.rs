//! What agents see around them, and that they trace the path at once when it goes bad.

use corridor::api::model::{Trace, TraceHop};

use crate::{
    deployment::{Deployment, LIMIT, now, wall_us},
    world::{World, say, unavailable},
};

/// By e1 both meet in 60 ms; by e2 in 160.
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
/// 75 ms more each way are 150 there and back.
const BAD: &str = "delay_ms=80";

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
    deployment.wait_class("c", "the teacher by e1", LIMIT, |class| {
        let teacher = class.participants.iter().find(|p| p.subject == "teacher")?;
        (*teacher.legs.first()?.in_use.as_ref()? == ["e1"]).then_some(())
    });
    // What is usual on its links is learnt in sixteen round trips, one a second.
    std::thread::sleep(std::time::Duration::from_secs(25));

    let broken = wall_us();
    world.set("teacher+e1", BAD);
    let (at, trace) = traced(&deployment, "teacher");
    say(format_args!(
        "traced {} ms after the link got 150 ms more, because of {}: {}",
        (at - broken) / 1_000,
        trace.trigger.as_deref().unwrap_or_default(),
        serde_json::to_string(&trace).expect("JSON"),
    ));
    assert!(at >= broken, "before anything had happened: {trace:?}");
    assert_eq!(
        (trace.toward.as_str(), trace.reached),
        ("edge:e1", true),
        "{trace:?}"
    );
    let end: &TraceHop = trace.hops.last().expect("hops");
    let p50 = end.rtt_ms.expect("it answered").p50;
    assert!((160.0..300.0).contains(&p50), "10 ms and 150 more: {trace:?}");
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

/// The first trace that trouble asked for, as the controller's API has it, and when that was.
fn traced(deployment: &Deployment<'_>, subject: &str) -> (i64, Trace) {
    let started = now();
    loop {
        let timeline = deployment.class("c");
        let event = timeline
            .events
            .iter()
            .find(|e| e.kind == "trace" && e.subject.as_deref() == Some(subject));
        if let Some(event) = event {
            let trace = serde_json::from_value(event.detail["trace"].clone())
                .unwrap_or_else(|error| panic!("{error} in {event:?}"));
            return (crate::deployment::micros(&event.at), trace);
        }
        assert!(
            started.elapsed() < LIMIT,
            "no trace within {LIMIT:?}; the agent said:\n{:#?}",
            deployment.log(subject).last()
        );
        std::thread::sleep(std::time::Duration::from_millis(200));
    }
}
