//! Many agents behind one address: a school switches on. Figures are printed; what is asserted is that all
//! come, and not all at once.

use std::{sync::Arc, time::Duration};

use corridor::{
    agent::Agent,
    clock::{Clock as _, SystemClock},
};
use corridor_probes::Mono;
use serde_json::Value;
use tokio::{sync::Semaphore, task::JoinSet};

use crate::{
    harness::{Up, command, port},
    library,
};

const AGENTS: usize = 500;
/// Joins under way at once: more than a browser opens, as many machines would.
const JOINS: usize = 100;
/// For each of the two waits; far above what is hoped for.
const LIMIT: Duration = Duration::from_secs(240);

/// The edge's number of agents, as the controller knows it.
fn agents_of(status: &Value, edge: &str) -> usize {
    let edges = status["edges"].as_array().into_iter().flatten();
    let edge = edges.filter(|e| e["name"] == edge).find(|e| e["state"] == "up");
    edge.and_then(|e| e["agents"].as_u64()).unwrap_or(0) as usize
}

fn up(status: &Value) -> usize {
    let agents = status["agents"].as_array().into_iter().flatten();
    agents.filter(|a| a["state"] == "up").count()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn five_hundred_agents_from_one_address() {
    let controller = Up::controller();
    let (first_port, second_port) = (port(), port());
    let mut first = controller.edge("e-1", first_port);
    let _second = controller.edge("e-2", second_port);
    let url = controller.url();
    let token = controller.token("agent", &["--uses", &AGENTS.to_string()]);
    let clock = Arc::new(SystemClock::new());
    let network = library::network(clock.clone());

    let began = clock.mono();
    let joins = Arc::new(Semaphore::new(JOINS));
    let mut joining = JoinSet::new();
    for n in 0..AGENTS {
        let (url, token, clock, network) = (url.clone(), token.clone(), clock.clone(), network.clone());
        let joins = joins.clone();
        joining.spawn(async move {
            let _permit = joins.acquire().await;
            library::agent(
                &url,
                &token,
                &format!("pupil-{n}"),
                clock,
                network,
                n as u64,
                None,
            )
            .await
        });
    }
    let agents: Vec<Agent> = joining.join_all().await;
    println!("{AGENTS} agents joined in {:.1} s", seconds(&clock, began));

    let mut most = 0;
    watch(&controller, &clock, began, |status| {
        most = most.max(up(status));
        most == AGENTS
    })
    .await;
    println!("all up after {:.1} s", seconds(&clock, began));
    // Both edges are candidates of all: they connect to both.
    watch(&controller, &clock, began, |s| {
        agents_of(s, "e-1") == AGENTS && agents_of(s, "e-2") == AGENTS
    })
    .await;
    println!(
        "all connected to both edges after {:.1} s",
        seconds(&clock, began)
    );

    first.running.kill9();
    let mut again = command([
        "edge",
        "--listen",
        &crate::harness::loopback(first_port).to_string(),
        "--data",
    ]);
    again.arg(first.data());
    first.running = crate::harness::Running::start(again);
    first.running.says("controller link up");
    let restarted = clock.mono();
    let mut came: Vec<(f64, usize)> = Vec::new();
    watch(&controller, &clock, restarted, |status| {
        let now = agents_of(status, "e-1");
        let before = came.last().map_or(0, |(_, n)| *n);
        if now > before {
            came.push((seconds(&clock, restarted), now));
        }
        now == AGENTS
    })
    .await;
    let when = |share: usize| came.iter().find(|(_, n)| *n >= share).map_or(0.0, |(at, _)| *at);
    let (one, half, all) = (when(1), when(AGENTS / 2), when(AGENTS));
    println!("after the edge's restart: first back at {one:.1} s, half at {half:.1} s, all at {all:.1} s");
    println!("agents back, by second: {came:?}");
    assert!(all - one >= 1.0, "they came all at once: {came:?}");
    for agent in agents {
        agent.stop().await;
    }
}

fn seconds(clock: &SystemClock, since: Mono) -> f64 {
    clock.mono().since(since).as_secs_f64()
}

/// Looks at the status until `done`.
async fn watch(controller: &Up, clock: &SystemClock, since: Mono, mut done: impl FnMut(&Value) -> bool) {
    loop {
        let status = tokio::task::block_in_place(|| controller.get("status"));
        if done(&status) {
            return;
        }
        let took = clock.mono().since(since);
        assert!(
            took < LIMIT,
            "after {took:?}: {} up, {} and {} connected",
            up(&status),
            agents_of(&status, "e-1"),
            agents_of(&status, "e-2")
        );
        tokio::time::sleep(Duration::from_millis(250)).await;
    }
}
