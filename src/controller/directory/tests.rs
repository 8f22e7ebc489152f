use std::{collections::BTreeMap, num::NonZeroUsize, time::Duration};

use corridor_probes::AgentId;
use futures_util::future::join_all;

use super::*;
use crate::{
    api::{enrol::Directory as _, model::Status},
    controller::handle::{Ask, Asked},
    identity::{Pin, Token, TokenError, system_rng},
    store::{records::TokenRecord, sqlite::Sqlite},
};

const NOW: Wall = Wall::from_secs(1_800_000_000);
const QUIC: &str = "192.0.2.9:4433";

struct World {
    store: Worker<Box<dyn Store>>,
    directory: Directory,
    asked: Asked,
}

impl World {
    fn new() -> Self {
        Self::over(Sqlite::in_memory().unwrap())
    }

    fn over(store: Sqlite) -> Self {
        let store: Box<dyn Store> = Box::new(store);
        let store = Worker::spawn("store", NonZeroUsize::new(64).unwrap(), store).unwrap();
        let (handle, asked) = Handle::new(empty());
        Self {
            directory: Directory::new(store.clone(), handle, QUIC.into()),
            store,
            asked,
        }
    }

    async fn store<R: Send + 'static>(&self, work: impl FnOnce(&mut dyn Store) -> R + Send + 'static) -> R {
        self.store.run(|store| work(&mut **store)).await.unwrap()
    }

    async fn token(&self, service: Service, uses: u32) -> Token {
        let token = Token::create(Pin([1; 32]), &mut system_rng());
        let record = TokenRecord {
            id: token.id(),
            secret_hash: token.secret_hash(),
            service,
            subject: None,
            tags: BTreeMap::from([("region".to_owned(), "eu".to_owned())]),
            uses_left: uses,
            created: NOW,
            expires: NOW + Duration::from_secs(60),
            revoked: None,
        };
        self.store(move |s| s.put_token(&record).unwrap()).await;
        token
    }

    async fn uses_left(&self, token: &Token) -> u32 {
        let id = token.id();
        self.store(move |s| s.token(&id).unwrap().unwrap().uses_left)
            .await
    }

    /// Who the main loop was told of: name, and whether it is revoked.
    fn told(&mut self) -> Vec<(String, Own, bool)> {
        std::iter::from_fn(|| self.asked.asks.try_recv().ok())
            .map(|ask| match ask {
                Ask::Agent(a) => (a.subject, Own::Agent(a.id), a.revoked.is_some()),
                Ask::Edge(e) => (e.name, Own::Edge(e.id), e.revoked.is_some()),
                other => panic!("{other:?}"),
            })
            .collect()
    }
}

fn empty() -> Status {
    Status {
        controller: crate::api::model::ControllerStatus {
            version: String::new(),
            now: String::new(),
            uptime_s: 0,
            reports: 0,
            repeats: 0,
            store_bytes: 0,
        },
        edges: Vec::new(),
        agents: Vec::new(),
        links: Vec::new(),
        classes: Vec::new(),
        sites: Vec::new(),
    }
}

/// With the key `key`.
fn candidate(token: &Token, service: Service, name: &str, key: u64) -> Candidate {
    Candidate {
        token: token.clone(),
        service,
        name: Some(name.into()),
        region: None,
        public_key: key.to_be_bytes().to_vec(),
        agent_id: AgentId(key),
        now: NOW,
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_token_of_one_use_lets_one_in() {
    for service in [Service::Agent, Service::Edge] {
        let world = World::new();
        let token = world.token(service, 1).await;
        let joins = (1..=8).map(|key| {
            let directory = world.directory.clone();
            let candidate = candidate(&token, service, &format!("n{key}"), key);
            tokio::spawn(async move { directory.enrol(candidate).await })
        });
        let results: Vec<_> = join_all(joins).await.into_iter().map(Result::unwrap).collect();
        assert_eq!(results.iter().filter(|r| r.is_ok()).count(), 1, "{results:?}");
        for refused in results.into_iter().filter_map(Result::err) {
            assert!(matches!(refused, Refusal::Token(TokenError::UsedUp)), "{refused}");
        }
        assert_eq!(world.uses_left(&token).await, 0);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn five_hundred_join_in_one_moment() {
    let mut world = World::new();
    let token = world.token(Service::Agent, 500).await;
    let joins = (1..=500).map(|key| {
        let directory = world.directory.clone();
        let candidate = candidate(&token, Service::Agent, &format!("s{key}"), key);
        tokio::spawn(async move { directory.enrol(candidate).await })
    });
    for joined in join_all(joins).await {
        joined.unwrap().unwrap();
    }
    assert_eq!(world.uses_left(&token).await, 0);
    assert_eq!(world.told().len(), 500);
    assert_eq!(world.store(|s| s.agents().unwrap().len()).await, 500);
}

#[tokio::test]
async fn the_newest_takes_the_place_of_the_older() {
    let mut world = World::new();
    let token = world.token(Service::Agent, 3).await;
    let first = world
        .directory
        .enrol(candidate(&token, Service::Agent, "s1", 1))
        .await;
    assert_eq!(first.unwrap().replaced, None);
    let second = world
        .directory
        .enrol(candidate(&token, Service::Agent, "s1", 2))
        .await
        .unwrap();
    let own = |id| Own::Agent(AgentId(id));
    assert_eq!((second.own, second.replaced), (own(2), Some(own(1))));
    let told = |id, revoked| ("s1".to_owned(), own(id), revoked);
    assert_eq!(world.told(), [told(1, false), told(1, true), told(2, false)]);
    let old = world
        .directory
        .member(1_u64.to_be_bytes().to_vec())
        .await
        .unwrap();
    assert!(old.unwrap().revoked);
    let refused = world
        .directory
        .enrol(candidate(&token, Service::Agent, "s1", 1))
        .await;
    assert!(matches!(refused, Err(Refusal::KeyInUse)), "revoked: {refused:?}");
    let refused = world
        .directory
        .enrol(candidate(&token, Service::Agent, "s2", 2))
        .await;
    assert!(
        matches!(refused, Err(Refusal::KeyInUse)),
        "another name: {refused:?}"
    );
    assert_eq!(world.uses_left(&token).await, 1);
    assert_eq!(world.told(), []);
}

#[tokio::test]
async fn who_asks_again_is_answered_again_and_what_was_cut_off_is_done() {
    let mut world = World::new();
    let token = world.token(Service::Agent, 2).await;
    let join = |key| candidate(&token, Service::Agent, "s1", key);
    world.directory.enrol(join(1)).await.unwrap();
    world.directory.enrol(join(2)).await.unwrap();
    // As after a crash between the enrolment and the revocation.
    world
        .store(|s| {
            let mut old = s.agent(AgentId(1)).unwrap().unwrap();
            old.revoked = None;
            s.update_agent(&old).unwrap();
        })
        .await;
    world.told();
    let again = world.directory.enrol(join(2)).await.unwrap();
    assert_eq!(again.replaced, Some(Own::Agent(AgentId(1))));
    assert_eq!(world.uses_left(&token).await, 0);
    let told: Vec<_> = world
        .told()
        .into_iter()
        .map(|(_, own, gone)| (own, gone))
        .collect();
    let own = |id| Own::Agent(AgentId(id));
    assert_eq!(told, [(own(1), true), (own(2), false)], "and told again");
}

#[tokio::test]
async fn edges_get_numbers_of_their_own_and_agents_the_edges() {
    let mut world = World::new();
    let token = world.token(Service::Edge, 40).await;
    let first = world
        .directory
        .enrol(candidate(&token, Service::Edge, "fra-1", 1))
        .await
        .unwrap();
    assert_eq!(first.controller.as_deref(), Some(QUIC));
    assert!(first.edges.is_empty());
    let second = world
        .directory
        .enrol(candidate(&token, Service::Edge, "fra-1", 2))
        .await
        .unwrap();
    assert_eq!(second.replaced, Some(first.own));
    assert_ne!(second.own, first.own);
    let told: Vec<_> = world
        .told()
        .into_iter()
        .map(|(_, own, gone)| (own, gone))
        .collect();
    assert_eq!(told, [(first.own, false), (first.own, true), (second.own, false)]);
    for key in 3..=24 {
        let join = candidate(&token, Service::Edge, &format!("e-{key}"), key);
        world.directory.enrol(join).await.unwrap();
    }
    world
        .store(|s| {
            for mut edge in s.edges().unwrap() {
                assert_eq!(edge.region.as_deref(), Some("eu"), "the token's");
                // One has not said yet where it is.
                if edge.name != "e-3" {
                    edge.addresses = vec![format!("{}:4433", edge.name)];
                }
                edge.draining = edge.name == "e-4";
                s.update_edge(&edge).unwrap();
            }
        })
        .await;
    let token = world.token(Service::Agent, 1).await;
    let agent = world
        .directory
        .enrol(candidate(&token, Service::Agent, "s1", 100))
        .await
        .unwrap();
    assert_eq!(agent.controller, None);
    let names: Vec<_> = agent.edges.iter().map(|e| e.name.as_str()).collect();
    assert_eq!(names.len(), FIRST_EDGES);
    assert_eq!(
        names[..2],
        ["fra-1", "e-5"],
        "neither the one without an address nor the draining one"
    );
    assert_eq!(agent.edges[0].addresses, ["fra-1:4433"]);
    assert_eq!(
        Some(agent.edges[0].id.to_string()),
        Some(second.own.id()),
        "and not the revoked one"
    );
}

#[tokio::test]
async fn an_edge_stays_when_there_is_no_number_for_the_one_that_would_replace_it() {
    let dir = tempfile::tempdir().unwrap();
    drop(Sqlite::open(dir.path(), NOW).unwrap());
    let last = "UPDATE counters SET next = 65535 WHERE name = 'edge'";
    let file = rusqlite::Connection::open(dir.path().join("corridor.db")).unwrap();
    assert_eq!(file.execute(last, []).unwrap(), 1);
    drop(file);
    let mut world = World::over(Sqlite::open(dir.path(), NOW).unwrap());
    let token = world.token(Service::Edge, 2).await;
    let join = |key| candidate(&token, Service::Edge, "fra-1", key);
    world.directory.enrol(join(1)).await.unwrap();
    world.told();
    let refused = world.directory.enrol(join(2)).await;
    assert!(matches!(refused, Err(Refusal::Full)), "{refused:?}");
    let edges = world.store(|s| s.edges().unwrap()).await;
    assert_eq!((edges.len(), edges[0].revoked), (1, None));
    assert_eq!(world.told(), []);
    assert_eq!(world.uses_left(&token).await, 1);
    world.store.close().await;
}

#[tokio::test]
async fn revoking_is_told_each_time_and_changes_once() {
    let mut world = World::new();
    let agents = world.token(Service::Agent, 1).await;
    let edges = world.token(Service::Edge, 1).await;
    let agent = candidate(&agents, Service::Agent, "s1", 1);
    let edge = candidate(&edges, Service::Edge, "fra-1", 2);
    let edge = world.directory.enrol(edge).await.unwrap();
    let agent = world.directory.enrol(agent).await.unwrap();
    world.told();
    let later = NOW + Duration::from_secs(1);
    for now in [NOW, later] {
        assert!(world.directory.revoke_agent("s1".into(), now).await.unwrap());
        assert!(world.directory.revoke_edge("fra-1".into(), now).await.unwrap());
        let expected = [
            ("s1".to_owned(), agent.own, true),
            ("fra-1".to_owned(), edge.own, true),
        ];
        assert_eq!(world.told(), expected);
    }
    assert!(!world.directory.revoke_agent("fra-1".into(), NOW).await.unwrap());
    assert!(!world.directory.revoke_edge("s1".into(), NOW).await.unwrap());
    let revoked = world.store(|s| s.agents().unwrap()[0].revoked).await;
    assert_eq!(revoked, Some(NOW));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn who_hangs_up_is_enrolled_and_told_nevertheless() {
    let mut world = World::new();
    let token = world.token(Service::Agent, 1).await;
    let (go, wait) = std::sync::mpsc::channel::<()>();
    let busy = world.store.submit(move |_| wait.recv()).unwrap();
    let mut join = world.directory.enrol(candidate(&token, Service::Agent, "s1", 1));
    assert!(futures_util::poll!(&mut join).is_pending());
    drop(join);
    drop(go);
    assert!(busy.await.unwrap().is_err());
    let told = world.asked.asks.recv().await.unwrap();
    assert!(matches!(told, Ask::Agent(agent) if agent.subject == "s1"));
}

#[tokio::test]
async fn a_main_loop_that_is_gone_is_said_and_the_store_is_not_undone() {
    let World {
        store,
        directory,
        asked,
    } = World::new();
    let world = World {
        asked: Handle::new(empty()).1,
        store,
        directory,
    };
    drop(asked);
    let token = world.token(Service::Agent, 1).await;
    for _ in 0..2 {
        let refused = world
            .directory
            .enrol(candidate(&token, Service::Agent, "s1", 1))
            .await;
        assert!(matches!(refused, Err(Refusal::Unavailable(_))), "{refused:?}");
        assert_eq!(world.uses_left(&token).await, 0);
    }
}
