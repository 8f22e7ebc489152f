//! An agent whose certificate is revoked is cut off, and stays so.

use std::{thread, time::Duration};

use corridor::api::model::AgentState;

use crate::{
    deployment::{CONTROLLER, Deployment, LIMIT, now, wall_us},
    world::{World, say, unavailable},
};

const EDGES: [&str; 2] = ["e1", "e2"];
const AGENTS: [&str; 2] = ["student", "teacher"];

/// Names of edges that an agent is connected to, as it says itself.
fn connected(deployment: &Deployment<'_>, agent: &str) -> Vec<String> {
    let edges = deployment.agent(agent).edges.into_iter();
    edges.filter(|e| e.connected).map(|e| e.name).collect()
}

#[test]
fn a_revoked_agent_is_cut_off_and_cannot_come_back() {
    if let Some(why) = unavailable() {
        say(format_args!("SKIPPED a_revoked_agent_is_cut_off: {why}"));
        return;
    }
    let nodes = "default = { delay_ms = 10 }\n[nodes.ctl]\n[nodes.e1]\n[nodes.e2]\n[nodes.student]\n\
                 [nodes.teacher]";
    let world = World::start(nodes);
    let mut deployment = Deployment::start(&world, &EDGES, &AGENTS);
    assert_eq!(connected(&deployment, "student"), EDGES);

    let revoked = wall_us();
    let data = deployment.data_text(CONTROLLER);
    let said = deployment.cli(CONTROLLER, &["agent", "revoke", "student", "--data", &data]);
    assert_eq!(said.trim(), "agent of student is revoked");
    let started = now();
    while !connected(&deployment, "student").is_empty() {
        assert!(started.elapsed() < LIMIT, "still connected");
        thread::sleep(Duration::from_millis(50));
    }
    let closed: Vec<_> = deployment
        .log("student")
        .into_iter()
        .filter(|l| l.message() == "edge disconnected")
        .collect();
    assert_eq!(closed.len(), EDGES.len(), "{closed:#?}");
    for line in &closed {
        assert!(line.text("why").contains("Revoked"), "{line:?}");
        say(format_args!(
            "edge {}: closed {} ms after the command began",
            line.text("edge"),
            (line.at_us - revoked) / 1_000
        ));
    }
    deployment.wait("shown as revoked", LIMIT, |status| {
        let agent = status.agents.iter().find(|a| a.subject == "student")?;
        (agent.state == AgentState::Revoked).then_some(())
    });

    // The process keeps its TLS sessions, and tries to resume them; a new one begins afresh.
    thread::sleep(Duration::from_secs(12));
    assert_eq!(connected(&deployment, "student"), Vec::<String>::new());
    deployment.stop("student");
    deployment.run_agent("student");
    thread::sleep(Duration::from_secs(5));
    assert_eq!(connected(&deployment, "student"), Vec::<String>::new());
    let refused: usize = EDGES
        .iter()
        .map(|edge| {
            let log = deployment.log(edge);
            log.iter().filter(|l| l.message() == "connection refused").count()
        })
        .sum();
    say(format_args!("{refused} attempts to come back were refused"));
    assert!(refused >= EDGES.len(), "it did not even try");
    assert_eq!(
        connected(&deployment, "teacher"),
        EDGES,
        "nobody else is affected"
    );
}
