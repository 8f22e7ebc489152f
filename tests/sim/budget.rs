//! The byte budget, against what the simulated network carries for an agent: its own counts are not asked.

use std::time::Duration;

use corridor::{
    agent::AgentReport,
    sim::{AgentSpec, EdgeSpec, World, WorldSpec},
    store::records::Role,
};

const EDGES: [&str; 3] = ["fra", "ams", "sin"];
/// What three handshakes, their searches for the largest packet and first reports may take on top.
const START_UP: u64 = 36 << 10;

/// IP bytes out of and into the agent's machine so far.
fn carried(world: &World) -> (u64, u64) {
    let agent = world.host("agent").unwrap();
    let headers = 20 + 8;
    let (mut out, mut back) = (0, 0);
    for edge in EDGES {
        let edge = world.host(edge).unwrap();
        let there = world.network().counters(agent, edge);
        out += sum(there.by_length.iter().map(|(len, n)| (*len, n.offered)), headers);
        let here = world.network().counters(edge, agent);
        back += sum(here.by_length.iter().map(|(len, n)| (*len, n.delivered)), headers);
    }
    (out, back)
}

fn sum(packets: impl Iterator<Item = (usize, u64)>, headers: u64) -> u64 {
    packets.map(|(len, n)| (len as u64 + headers) * n).sum()
}

async fn status(world: &World) -> AgentReport {
    status_of(world, "agent").await
}

async fn status_of(world: &World, agent: &str) -> AgentReport {
    world.agent(agent).unwrap().status().await.unwrap()
}

fn in_virtual_time(test: impl Future<Output = ()>) {
    tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .start_paused(true)
        .build()
        .unwrap()
        .block_on(test);
}

async fn world(idle_kbps: u32) -> World {
    world_of(&["agent"], |controller| controller.idle_kbps = idle_kbps).await
}

async fn world_of(agents: &[&str], set: impl FnOnce(&mut corridor::controller::Settings)) -> World {
    let edge = |name: &str| EdgeSpec {
        name: name.to_owned(),
        region: None,
        clock: corridor::sim::ClockSpec::default(),
    };
    let mut spec = WorldSpec {
        edges: EDGES.map(edge).into(),
        agents: agents.iter().map(|name| AgentSpec::new(name)).collect(),
        ..WorldSpec::default()
    };
    set(&mut spec.controller);
    let mut world = World::new(spec).await.unwrap();
    world.start_all().await.unwrap();
    world
}

/// Dials to dead edges are in no plan, and take most of a small budget.
#[test]
fn an_hour_at_4_kbit_with_two_edges_dead_stays_in_the_budget() {
    in_virtual_time(async {
        const KBPS: u32 = 4;
        let mut world = world(KBPS).await;
        tokio::time::sleep(Duration::from_secs(120)).await;
        let calm = status(&world).await.traffic.unwrap();
        assert_eq!((calm.rungs_down, calm.budget_kbps), (0, f64::from(KBPS)));
        for edge in &EDGES[1..] {
            world.kill(edge).await.unwrap();
        }
        let mut lowest = 0;
        let before = carried(&world);
        for _ in 0..60 {
            tokio::time::sleep(Duration::from_secs(60)).await;
            lowest = lowest.max(status(&world).await.traffic.unwrap().rungs_down);
        }
        let after = carried(&world);
        let (out, back) = (after.0 - before.0, after.1 - before.1);
        let budget = u64::from(KBPS) * 1_000 / 8 * 3_600;
        println!("{out} B out, {back} B back, {budget} B allowed, {lowest} rungs down");
        assert!(
            out <= budget && back <= budget,
            "{out} out, {back} back, of {budget}"
        );
        assert!(lowest > 0, "rates gave way");

        // The edges are back: so are the rates.
        for edge in &EDGES[1..] {
            world.start(edge).await.unwrap();
        }
        tokio::time::sleep(Duration::from_secs(900)).await;
        assert_eq!(status(&world).await.traffic.unwrap().rungs_down, 0);
        world.end().await;
    });
}

#[test]
fn what_an_agent_says_it_used_is_what_the_network_carried() {
    in_virtual_time(async {
        let world = world(10).await;
        tokio::time::sleep(Duration::from_secs(60)).await;
        let (out, back) = carried(&world);
        println!("start: {out} B out, {back} B back");
        assert!(out.max(back) <= START_UP + 10_000 / 8 * 60);
        tokio::time::sleep(Duration::from_secs(600)).await;
        let from = carried(&world);
        tokio::time::sleep(Duration::from_secs(60)).await;
        let to = carried(&world);
        let said = status(&world).await.traffic.unwrap();
        let kbps = |bytes: u64| bytes as f64 * 8.0 / 60.0 / 1e3;
        for (said, truth) in [
            (said.out_kbps.unwrap(), kbps(to.0 - from.0)),
            (said.back_kbps.unwrap(), kbps(to.1 - from.1)),
        ] {
            println!("said {said}, truth {truth}");
            // Its minutes begin up to ten seconds elsewhere, with one report more or less.
            assert!((said - truth).abs() <= 0.1 * truth, "said {said}, truth {truth}");
        }
        let all = world.controller().unwrap().status().await.unwrap();
        assert!(
            all.agents[0].traffic.is_some(),
            "the controller knows by its report"
        );
        world.end().await;
    });
}

/// From the address that the edge sees to what the agent keeps to.
#[test]
fn an_agent_keeps_to_its_share_of_its_site() {
    in_virtual_time(async {
        let world = world_of(&["agent"], |controller| controller.site_budget_kbps = 4).await;
        tokio::time::sleep(Duration::from_secs(180)).await;
        assert_eq!(status(&world).await.traffic.unwrap().share_kbps, Some(4.0));
        let all = world.controller().unwrap().status().await.unwrap();
        let [site] = &all.sites[..] else {
            panic!("{:?}", all.sites);
        };
        assert_eq!(
            (site.address.as_str(), site.agents, site.in_class),
            ("198.18.2.0/24", 1, 0)
        );
        assert_eq!((site.budget_kbps, site.share_idle_kbps), (4.0, Some(4.0)));
        assert!((0.5..4.0).contains(&site.out_kbps), "{site:?}");
        world.end().await;
    });
}

/// Each probes the other along its routes: that does not slow down either.
#[test]
fn a_class_of_two_stays_in_the_budget_at_full_rates() {
    in_virtual_time(async {
        let world = world_of(&["agent", "peer"], |_| {}).await;
        tokio::time::sleep(Duration::from_secs(30)).await;
        let participants = vec![("agent".into(), Role::Teacher), ("peer".into(), Role::Student)];
        let class = corridor::controller::NewClass::new("math", participants);
        world.controller().unwrap().create_class(class).await.unwrap();
        tokio::time::sleep(Duration::from_secs(300)).await;
        let from = carried(&world);
        tokio::time::sleep(Duration::from_secs(60)).await;
        let to = carried(&world);
        for name in ["agent", "peer"] {
            let report = status_of(&world, name).await;
            let said = report.traffic.unwrap();
            println!(
                "{name}: {said:?}, truth {} out, {} back",
                to.0 - from.0,
                to.1 - from.1
            );
            assert_eq!((report.legs[0].routes.len(), said.rungs_down), (3, 0));
            let (own, peers) = (said.out_kbps.unwrap(), said.peers_out_kbps.unwrap());
            assert!(own <= 60.0 && said.back_kbps.unwrap() <= 60.0, "{said:?}");
            assert!(peers > 20.0, "{said:?}");
            if name == "agent" {
                let truth = (to.0 - from.0) as f64 * 8.0 / 60.0 / 1e3;
                assert!(
                    (own + peers - truth).abs() <= 0.02 * truth,
                    "{said:?}, truth {truth}"
                );
            }
        }
        world.end().await;
    });
}
