//! Scenarios in virtual time: the whole of Corridor in one process, days in seconds.

use std::time::Duration;

use corridor::{
    controller::NewClass,
    sim::{AgentSpec, ClockSpec, EdgeSpec, LinkShape, World, WorldSpec},
    store::records::{BudgetOn, Protect, Role},
};

#[tokio::test(start_paused = true)]
async fn smoke() {
    let _ = tracing_subscriber::fmt()
        .with_env_filter(tracing_subscriber::EnvFilter::from_default_env())
        .with_writer(std::io::stderr)
        .try_init();
    let edge = |name: &str| EdgeSpec {
        name: name.into(),
        region: None,
        clock: ClockSpec::default(),
    };
    let mut world = World::new(WorldSpec {
        edges: vec![edge("fra"), edge("sin")],
        agents: vec![AgentSpec::new("teacher"), AgentSpec::new("student")],
        default_link: LinkShape::delay(Duration::from_millis(20)),
        ..WorldSpec::default()
    })
    .await
    .unwrap();
    world.start_all().await.unwrap();
    let handle = world.controller().unwrap();
    tokio::time::sleep(Duration::from_secs(5)).await;
    handle
        .create_class(NewClass {
            id: "math".into(),
            participants: vec![
                ("teacher".into(), Role::Teacher),
                ("student".into(), Role::Student),
            ],
            target: None,
            budget: None,
            budget_on: BudgetOn::RoundTrip,
            protect: Protect::Off,
            start: None,
            end: None,
        })
        .await
        .unwrap();
    let began = std::time::Instant::now();
    tokio::time::sleep(Duration::from_secs(60)).await;
    println!("{:?}", began.elapsed());
    println!(
        "{}",
        serde_json::to_string_pretty(&handle.status().await.unwrap()).unwrap()
    );
    for a in ["teacher", "student"] {
        println!(
            "{}",
            serde_json::to_string_pretty(&world.agent(a).unwrap().status().await.unwrap()).unwrap()
        );
    }
}
