//! Grants over the real stack: given with plans, refused by edges when their class is over.

use std::{collections::BTreeSet, path::Path, time::Duration};

use corridor::{
    controller::NewClass,
    media::grant::Grant,
    sim::{AgentSpec, ClockSpec, EdgeSpec, World, WorldSpec},
    store::records::{GrantRecord, Role},
};

const EDGES: [&str; 2] = ["fra", "ams"];

async fn world(data: &Path) -> World {
    let edge = |name: &str| EdgeSpec {
        name: name.to_owned(),
        region: None,
        clock: ClockSpec::default(),
    };
    let mut world = World::new(WorldSpec {
        edges: EDGES.map(edge).into(),
        agents: ["t1", "s1"].map(AgentSpec::new).into(),
        data: Some(data.to_owned()),
        ..WorldSpec::default()
    })
    .await
    .unwrap();
    world.start_all().await.unwrap();
    pause(20).await;
    world
}

async fn pause(s: u64) {
    tokio::time::sleep(Duration::from_secs(s)).await;
}

async fn kept(world: &World) -> Vec<GrantRecord> {
    let store = world.store().unwrap();
    store.run(|store| store.grants()).await.unwrap().unwrap()
}

/// Whether every edge that one of the grants names refuses it.
fn all_refused(world: &World, grants: &[GrantRecord]) -> bool {
    let refuses = |name: &str, grant: &GrantRecord| world.edge(name).unwrap().grant_revoked(grant.id);
    let ids: Vec<_> = world.edges().map(|(name, id)| (name.to_owned(), id)).collect();
    grants.iter().all(|grant| {
        let named = ids.iter().filter(|(_, id)| grant.edges.contains(id));
        named.into_iter().all(|(name, _)| refuses(name, grant))
    })
}

#[test]
fn grants_of_a_class_verify_and_are_refused_once_it_is_over() {
    let test = async {
        let data = tempfile::tempdir().unwrap();
        let mut world = world(data.path()).await;
        let participants = vec![("t1".into(), Role::Teacher), ("s1".into(), Role::Student)];
        let class = NewClass::new("math-1", participants);
        world.controller().unwrap().create_class(class).await.unwrap();
        pause(30).await;
        let given = kept(&world).await;
        let roots = world.ca().roots();
        let agents = ["t1", "s1"].map(|subject| world.agent_id(subject).unwrap());
        let held = given.iter().map(|g| Grant::verify(&g.signed, &roots).unwrap());
        let held: Vec<_> = held.collect();
        assert_eq!(
            held.iter().map(|g| g.agent).collect::<BTreeSet<_>>(),
            agents.into()
        );
        for grant in &held {
            assert!(!grant.edges.is_empty() && grant.class == "math-1", "{grant:?}");
        }
        assert!(!EDGES.iter().any(|name| {
            let edge = world.edge(name).unwrap();
            given.iter().any(|grant| edge.grant_revoked(grant.id))
        }));

        let controller = world.controller().unwrap();
        controller.end_class("math-1", None).await.unwrap();
        pause(3).await;
        assert!(kept(&world).await.iter().all(|grant| grant.revoked.is_some()));
        let given = kept(&world).await;
        assert!(all_refused(&world, &given));

        // After its restart an edge is told again, and a controller knows after its own.
        for name in ["fra", "controller", "ams"] {
            world.kill(name).await.unwrap();
            pause(2).await;
            world.start(name).await.unwrap();
        }
        pause(60).await;
        assert!(all_refused(&world, &given));

        // Nor does it forget while the controller is away.
        world.kill("controller").await.unwrap();
        for name in EDGES {
            world.kill(name).await.unwrap();
            world.start(name).await.unwrap();
        }
        assert!(all_refused(&world, &given));
        world.end().await;
    };
    tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .start_paused(true)
        .build()
        .unwrap()
        .block_on(test);
}
