//! Over real HTTP on loopback.

use std::{collections::BTreeSet, time::Duration};

use corridor_probes::{AgentId, BootId, EdgeId, Wall};
use reqwest::Method;
use serde_json::{Value, json};

use super::testing::{NOW, URL, World, empty};
use super::*;
use crate::{
    api::{model::Event, server::MAX_BODY, time_text},
    identity::Token,
    proto,
    reporting::route_message,
    store::records::{
        AgentRecord, EventRecord, Level, NewEdge, ReportRecord, Reporter, Service, TokenRecord,
    },
};

const FILE: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/dashboards/web/openapi.json");

#[test]
fn the_file_for_the_pages_is_current() {
    let current = openapi_json().unwrap();
    if std::env::var_os("CORRIDOR_REFRESH").is_some() {
        std::fs::write(FILE, &current).unwrap();
    }
    let kept = std::fs::read_to_string(FILE).unwrap_or_default();
    assert!(
        kept == current,
        "{FILE} does not describe the API as it is; refresh it with\n\
         CORRIDOR_REFRESH=1 cargo test -p corridor --lib the_file_for_the_pages_is_current"
    );
}

fn class(id: &str) -> Value {
    let participants = json!([
        {"subject": "t1", "role": "teacher"}, {"subject": "s1", "role": "student"},
    ]);
    json!({"id": id, "participants": participants})
}

/// Each operation, and what it answers nobody, a viewer, support, an operator and an admin, in turn.
fn operations() -> Vec<(Method, &'static str, &'static str, Value, [u16; 5])> {
    let (get, post, delete) = (Method::GET, Method::POST, Method::DELETE);
    let everybody = |status| [status; 5];
    let viewers = |status| [401, status, status, status, status];
    let operators = |first, next| [401, 403, 403, first, next];
    let admins = |status| [401, 403, 403, 403, status];
    let none = Value::Null;
    let participant = json!({"subject": "s2", "role": "student"});
    let c1_participant = "/classes/{id}/participants/{subject}";
    let rows = [
        (&get, "/time", "/time", none.clone(), everybody(200)),
        (
            &get,
            "/openapi.json",
            "/openapi.json",
            none.clone(),
            everybody(200),
        ),
        (
            &post,
            "/login",
            "/login",
            json!({"name": "x", "password": "y"}),
            everybody(401),
        ),
        (
            &post,
            "/join",
            "/join",
            json!({"token": "x", "service": "agent", "csr": ""}),
            everybody(400),
        ),
        (&post, "/renew", "/renew", json!({"csr": ""}), everybody(400)),
        (&get, "/session", "/session", none.clone(), viewers(200)),
        (&get, "/status", "/status", none.clone(), viewers(200)),
        (&get, "/live", "/live", none.clone(), viewers(200)),
        (&get, "/events", "/events", none.clone(), viewers(200)),
        (&get, "/edges", "/edges", none.clone(), viewers(200)),
        (&get, "/agents", "/agents", none.clone(), viewers(200)),
        (&get, "/classes", "/classes", none.clone(), viewers(200)),
        (&post, "/classes", "/classes", class("c1"), operators(201, 409)),
        (&get, "/classes/{id}", "/classes/c1", none.clone(), viewers(200)),
        (
            &get,
            "/classes/{id}/timeline",
            "/classes/c1/timeline",
            none.clone(),
            viewers(200),
        ),
        (
            &post,
            "/classes/{id}/participants",
            "/classes/c1/participants",
            participant,
            operators(200, 200),
        ),
        (
            &delete,
            c1_participant,
            "/classes/c1/participants/s2",
            none.clone(),
            operators(200, 200),
        ),
        (
            &post,
            "/classes/{id}/end",
            "/classes/c1/end",
            json!({}),
            operators(200, 409),
        ),
        (
            &post,
            "/edges/{name}/drain",
            "/edges/fra-1/drain",
            json!({"on": true}),
            operators(204, 204),
        ),
        (
            &post,
            "/edges/{name}/revoke",
            "/edges/fra-1/revoke",
            none.clone(),
            admins(204),
        ),
        (
            &post,
            "/agents/{subject}/revoke",
            "/agents/t1/revoke",
            none.clone(),
            admins(204),
        ),
        (&get, "/tokens", "/tokens", none.clone(), admins(200)),
        (
            &post,
            "/tokens",
            "/tokens",
            json!({"service": "agent"}),
            admins(201),
        ),
        (
            &delete,
            "/tokens/{id}",
            "/tokens/0000000000000001",
            none.clone(),
            admins(204),
        ),
        (&get, "/api-tokens", "/api-tokens", none.clone(), admins(200)),
        (
            &post,
            "/api-tokens",
            "/api-tokens",
            json!({"name": "ci", "level": "viewer"}),
            admins(201),
        ),
        (
            &delete,
            "/api-tokens/{name}",
            "/api-tokens/ci",
            none.clone(),
            admins(204),
        ),
        // With a token it ends the token: last.
        (&post, "/logout", "/logout", none, viewers(204)),
    ];
    rows.into_iter()
        .map(|(method, template, path, body, statuses)| (method.clone(), template, path, body, statuses))
        .collect()
}

async fn enrol(world: &World) {
    let token = |id: &str, service| TokenRecord {
        id: id.into(),
        secret_hash: [0; 32],
        service,
        subject: None,
        tags: BTreeMap::new(),
        uses_left: 9,
        created: NOW,
        expires: NOW + Duration::from_secs(60),
        revoked: None,
    };
    let (agents, edges) = (
        token("0000000000000001", Service::Agent),
        token("2", Service::Edge),
    );
    world
        .store(move |s| {
            s.put_token(&agents).unwrap();
            s.put_token(&edges).unwrap();
            let agent = AgentRecord {
                id: AgentId(7),
                subject: "t1".into(),
                public_key: vec![1],
                tags: BTreeMap::new(),
                joined: NOW,
                revoked: None,
                last_seen: None,
            };
            s.enrol_agent(&agents.id, NOW, &agent).unwrap();
            let edge = NewEdge {
                name: "fra-1".into(),
                region: None,
                addresses: Vec::new(),
                public_key: vec![2],
                tags: BTreeMap::new(),
            };
            s.enrol_edge(&edges.id, NOW, &edge).unwrap();
        })
        .await;
}

#[tokio::test]
async fn each_operation_is_for_whom_it_should_be() {
    let operations = operations();
    let listed: BTreeSet<_> = operations
        .iter()
        .map(|(method, template, ..)| (format!("/api/v1{template}"), method.to_string()))
        .collect();
    let document: Value = serde_json::from_str(&openapi_json().unwrap()).unwrap();
    let described = document["paths"].as_object().unwrap().iter();
    let described: BTreeSet<_> = described
        .flat_map(|(path, item)| {
            let methods = item.as_object().unwrap().keys();
            methods.map(move |method| (path.clone(), method.to_uppercase()))
        })
        .collect();
    assert_eq!(listed, described, "the table is whole");

    let world = World::start().await;
    enrol(&world).await;
    let levels = [
        None,
        Some(Level::Viewer),
        Some(Level::Support),
        Some(Level::Operator),
        Some(Level::Admin),
    ];
    for (method, _, path, body, statuses) in operations {
        for (level, expected) in levels.into_iter().zip(statuses) {
            let mut request = world.request(level, method.clone(), path);
            if !body.is_null() {
                request = request.json(&body);
            }
            // Without its body, which of a feed never ends.
            let response = request.send().await.unwrap();
            assert_eq!(
                response.status().as_u16(),
                expected,
                "{method} {path} as {level:?}"
            );
            if expected >= 400 {
                let error: model::Error = response.json().await.unwrap();
                assert!(!error.code.is_empty() && !error.message.is_empty());
            }
        }
    }
}

#[tokio::test]
async fn errors_are_a_code_and_a_sentence() {
    let world = World::start().await;
    let long = "x".repeat(129);
    let with = |change: Value| {
        let mut body = class("c");
        let (body_map, change) = (body.as_object_mut().unwrap(), change.as_object().unwrap().clone());
        body_map.extend(change);
        body
    };
    let one = json!([{"subject": "t1", "role": "teacher"}]);
    let twice = json!([{"subject": "t1", "role": "teacher"}, {"subject": "t1", "role": "student"}]);
    for (body, expected) in [
        (with(json!({"id": ""})), (400, "bad_request")),
        (with(json!({"id": "a b"})), (400, "bad_request")),
        (with(json!({"id": long})), (400, "bad_request")),
        (with(json!({"participants": one})), (400, "bad_request")),
        (with(json!({"participants": twice})), (400, "bad_request")),
        (with(json!({"budget_ms": 9.9})), (400, "bad_request")),
        (with(json!({"budget_ms": -1})), (400, "bad_request")),
        (with(json!({"target": "nowhere"})), (400, "bad_request")),
        (with(json!({"start": "tomorrow"})), (400, "bad_time")),
        (with(json!({"end": "2020-01-01T00:00:00Z"})), (400, "bad_request")),
        (with(json!({"budget": 1})), (422, "bad_request")),
        (json!([]), (422, "bad_request")),
        (
            with(json!({"budget_ms": 10, "target": "sfu.example:5004"})),
            (201, ""),
        ),
        (class("c"), (409, "conflict")),
    ] {
        let answer = world.post("/classes", body.clone()).await;
        assert_eq!(answer.code(), expected, "{body}: {}", answer.body);
    }
    for (path, expected) in [
        ("/classes/nothing", (404, "not_found")),
        ("/classes/nothing/timeline", (404, "not_found")),
        ("/classes/c/timeline?subject=x", (404, "not_found")),
        ("/classes/c/timeline?from=soon", (400, "bad_time")),
        (
            "/classes/c/timeline?from=2027-01-02T00:00:00Z&to=2027-01-01T00:00:00Z",
            (400, "bad_time"),
        ),
        ("/classes?limit=0", (400, "bad_limit")),
        ("/classes?limit=1001", (400, "bad_limit")),
        ("/classes?state=over", (400, "bad_request")),
        ("/classes?sate=live", (400, "bad_request")),
        ("/events?from=soon", (400, "bad_time")),
        ("/events?limit=1001", (400, "bad_limit")),
        ("/nothing", (404, "not_found")),
        ("/classes/%ff", (400, "bad_request")),
        ("/login", (405, "method_not_allowed")),
    ] {
        let answer = world.get(path).await;
        assert_eq!(answer.code(), expected, "{path}: {}", answer.body);
    }
    for (path, body, expected) in [
        ("/classes/nothing/end", json!({}), (404, "not_found")),
        (
            "/classes/c/participants",
            json!({"subject": "a b", "role": "student"}),
            (400, "bad_request"),
        ),
        ("/edges/nothing/drain", json!({"on": true}), (404, "not_found")),
        ("/edges/nothing/revoke", json!({}), (404, "not_found")),
        ("/agents/nobody/revoke", json!({}), (404, "not_found")),
        ("/nothing", json!({}), (404, "not_found")),
        (
            "/tokens",
            json!({"service": "agent", "uses": 0}),
            (400, "bad_request"),
        ),
        (
            "/api-tokens",
            json!({"name": "a b", "level": "viewer"}),
            (400, "bad_name"),
        ),
        (
            "/api-tokens",
            json!({"name": "x", "level": "viewer", "expires_s": 0}),
            (400, "bad_request"),
        ),
        (
            "/api-tokens",
            json!({"name": "viewer", "level": "admin"}),
            (409, "conflict"),
        ),
    ] {
        let answer = world.post(path, body).await;
        assert_eq!(answer.code(), expected, "{path}: {}", answer.body);
    }
    for path in ["/classes/c/participants/x", "/tokens/0", "/api-tokens/x"] {
        assert_eq!(world.delete(path).await.code(), (404, "not_found"), "{path}");
    }
    let text = world
        .request(Some(Level::Admin), Method::POST, "/classes")
        .body("{}");
    assert_eq!(World::send(text).await.code(), (415, "not_json"));
    let big = with(json!({"target": "x".repeat(MAX_BODY)}));
    assert_eq!(world.post("/classes", big).await.code(), (413, "body_too_large"));
}

#[tokio::test]
async fn a_session_changes_things_only_with_its_token_against_forged_requests() {
    let world = World::start().await;
    world.account("olga", "correct horse", Level::Operator).await;
    let login = json!({"name": "olga", "password": "correct horse"});
    let session = World::send(world.request(None, Method::POST, "/login").json(&login)).await;
    assert_eq!(session.status, 200);
    let cookie = session.headers["set-cookie"].to_str().unwrap();
    let cookie = cookie.split(';').next().unwrap();
    let csrf = session.body["csrf"].as_str().unwrap();
    let create = |csrf: Option<&str>| {
        let request = world
            .request(None, Method::POST, "/classes")
            .header("cookie", cookie);
        match csrf {
            Some(csrf) => request.header("x-corridor-csrf", csrf),
            None => request,
        }
        .json(&class("c1"))
    };
    assert_eq!(World::send(create(None)).await.code(), (403, "csrf"));
    assert_eq!(World::send(create(Some("x"))).await.code(), (403, "csrf"));
    assert_eq!(World::send(create(Some(csrf))).await.status, 201);
    let read = world
        .request(None, Method::GET, "/classes/c1")
        .header("cookie", cookie);
    assert_eq!(World::send(read).await.status, 200);
}

#[tokio::test]
async fn a_join_token_comes_with_the_line_to_run() {
    let world = World::start().await;
    for service in ["agent", "edge"] {
        let body = json!({"service": service, "uses": 3, "tags": {"school": "north"}});
        let created = world.post("/tokens", body).await;
        assert_eq!(created.status, 201);
        let text = created.body["token"].as_str().unwrap();
        let token: Token = text.parse().unwrap();
        assert_eq!(token.pin(), world.ca.pin().unwrap());
        let line = format!("corridor {service} join {URL} --join {text}");
        assert_eq!(created.body["join"], line);
        let listed = world.get("/tokens").await.body;
        assert!(
            listed
                .as_array()
                .unwrap()
                .iter()
                .any(|t| { t["id"] == token.id() && t["uses_left"] == 3 && t["tags"]["school"] == "north" })
        );
        assert!(!listed.to_string().contains(text), "shown once");
        let path = format!("/tokens/{}", token.id());
        assert_eq!(world.delete(&path).await.status, 204);
        let id = token.id();
        let revoked = world.store(move |s| s.token(&id).unwrap().unwrap().revoked).await;
        assert_eq!(revoked, Some(NOW));
    }
}

#[tokio::test]
async fn an_api_token_works_until_it_is_revoked_or_expires() {
    let world = World::start().await;
    let body = json!({"name": "ci", "level": "operator", "expires_s": 60});
    let created = world.post("/api-tokens", body.clone()).await;
    assert_eq!(created.status, 201);
    assert_eq!(
        world.post("/api-tokens", body.clone()).await.code(),
        (409, "conflict")
    );
    let token = created.body["token"].as_str().unwrap().to_owned();
    let session = async || {
        let request = world.request(None, Method::GET, "/session");
        World::send(request.bearer_auth(&token)).await
    };
    assert_eq!(session().await.body["level"], "operator");
    let listed = world.get("/api-tokens").await.body;
    assert!(listed.as_array().unwrap().iter().any(|t| t["name"] == "ci"));
    assert!(!listed.to_string().contains(&token), "shown once");
    world.clock.advance(Duration::from_secs(60));
    assert_eq!(session().await.status, 401, "expired");
    assert_eq!(
        world.post("/api-tokens", body).await.status,
        201,
        "the name is free again"
    );
    assert_eq!(world.delete("/api-tokens/ci").await.status, 204);
    assert_eq!(world.delete("/api-tokens/ci").await.status, 404);
}

#[tokio::test]
async fn forgotten_classes_come_from_the_store() {
    let world = World::start().await;
    let created = world.post("/classes", class("a/b")).await;
    assert_eq!(created.status, 201);
    let ended = world
        .post("/classes/a%2Fb/end", json!({"outcome": "completed"}))
        .await;
    assert_eq!((ended.status, &ended.body["state"]), (200, &json!("ended")));
    // The controller's main loop would have.
    let mut record = crate::controller::Classes::default();
    let new = crate::controller::NewClass {
        id: "a/b".into(),
        participants: vec![
            ("t1".into(), crate::store::records::Role::Teacher),
            ("s1".into(), crate::store::records::Role::Student),
        ],
        target: None,
        budget: None,
        budget_on: Default::default(),
        protect: Default::default(),
        start: None,
        end: None,
    };
    record.create(NOW, new).unwrap();
    let record = record.end(NOW, "a/b", None).unwrap().0.clone();
    world.store(move |s| s.put_class(&record).unwrap()).await;
    assert_eq!(world.post("/classes", class("c")).await.status, 201);
    let got = world.get("/classes/a%2Fb").await;
    assert_eq!((got.status, &got.body["state"]), (200, &json!("ended")));
    let ids = async |query: &str| {
        let list = world.get(&format!("/classes{query}")).await.body;
        let ids = list.as_array().unwrap().iter().map(|c| c["id"].clone());
        Value::from_iter(ids)
    };
    assert_eq!(ids("").await, json!(["c", "a/b"]));
    assert_eq!(ids("?state=live").await, json!(["c"]));
    assert_eq!(ids("?state=ended&subject=s1").await, json!(["a/b"]));
    assert_eq!(ids("?subject=s9").await, json!([]));
    let conflict = (409, "conflict");
    assert_eq!(
        world.post("/classes", class("a/b")).await.code(),
        conflict,
        "not overwritten"
    );
    assert_eq!(world.post("/classes/a%2Fb/end", json!({})).await.code(), conflict);
}

#[tokio::test]
async fn events_are_narrowed_and_newest_first() {
    let world = World::start().await;
    let event = |s: i64, kind: &str, class: &str| EventRecord {
        at: NOW + Duration::from_secs(s as u64),
        kind: kind.into(),
        class: Some(class.into()),
        subject: None,
        edge: None,
        detail: json!({"text": format!("{kind} {s}"), "n": s}).to_string(),
    };
    let events = [
        event(0, "plan", "a"),
        event(1, "switch", "a"),
        event(2, "plan", "b"),
    ];
    world.store(move |s| s.append_events(&events).unwrap()).await;
    let texts = async |query: &str| {
        let list = world.get(&format!("/events{query}")).await.body;
        Value::from_iter(list.as_array().unwrap().iter().map(|e| e["text"].clone()))
    };
    assert_eq!(texts("").await, json!(["plan 2", "switch 1", "plan 0"]));
    assert_eq!(texts("?class=a&limit=1").await, json!(["switch 1"]));
    assert_eq!(texts("?kind=plan&class=b").await, json!(["plan 2"]));
    let at = time_text::text(NOW + Duration::from_secs(1));
    assert_eq!(texts(&format!("?from={at}")).await, json!(["plan 2", "switch 1"]));
    assert_eq!(texts(&format!("?to={at}")).await, json!(["plan 0"]));
}

/// One event of a feed: its kind and data.
async fn next(feed: &mut reqwest::Response, buffer: &mut String) -> Option<(String, Value)> {
    loop {
        if let Some((message, rest)) = buffer.split_once("\n\n") {
            let field = |name: &str| {
                let mut lines = message.lines();
                lines
                    .find_map(|l| l.strip_prefix(name))
                    .map(|v| v.trim().to_owned())
            };
            let parsed = field("event:").zip(field("data:"));
            *buffer = rest.to_owned();
            match parsed {
                Some((event, data)) => return Some((event, serde_json::from_str(&data).unwrap())),
                None => continue,
            }
        }
        let chunk = feed.chunk().await.unwrap()?;
        buffer.push_str(std::str::from_utf8(&chunk).unwrap());
    }
}

#[tokio::test]
async fn the_live_feed_sends_the_state_then_what_happens_and_ends_with_the_server() {
    let mut world = World::start().await;
    let request = world.request(Some(Level::Viewer), Method::GET, "/live");
    let mut feed = request.header("accept-encoding", "gzip").send().await.unwrap();
    assert_eq!(feed.headers()["content-type"], "text/event-stream");
    assert!(!feed.headers().contains_key("content-encoding"));
    let mut buffer = String::new();
    let (kind, first) = next(&mut feed, &mut buffer).await.unwrap();
    assert_eq!(
        (kind.as_str(), &first["controller"]["version"]),
        ("status", &json!("test"))
    );
    let event = |n: usize| Event {
        at: String::new(),
        kind: "plan".into(),
        class: None,
        subject: None,
        edge: None,
        text: format!("line\none {n}"),
        detail: json!({}),
    };
    world.events.send(event(0)).unwrap();
    let (kind, sent) = next(&mut feed, &mut buffer).await.unwrap();
    assert_eq!((kind.as_str(), &sent["text"]), ("event", &json!("line\none 0")));
    let mut changed = empty();
    changed.controller.reports = 5;
    world.status.send_replace(changed.into());
    let (kind, sent) = next(&mut feed, &mut buffer).await.unwrap();
    assert_eq!(
        (kind.as_str(), &sent["controller"]["reports"]),
        ("status", &json!(5))
    );
    // More than the channel holds, without a chance to take any: the state comes afresh.
    (1..2_000).for_each(|n| drop(world.events.send(event(n))));
    let (kind, _) = next(&mut feed, &mut buffer).await.unwrap();
    assert_eq!(kind, "status");
    world.events.send(event(2_000)).unwrap();
    let (kind, sent) = next(&mut feed, &mut buffer).await.unwrap();
    assert_eq!(
        (kind.as_str(), &sent["text"]),
        ("event", &json!("line\none 2000"))
    );
    world.stop();
    assert_eq!(next(&mut feed, &mut buffer).await, None);
    (&mut world.serving).await.unwrap();
}

#[tokio::test]
async fn what_is_worth_it_is_compressed_and_the_rest_is_the_pages() {
    let world = World::start().await;
    let request = world.request(None, Method::GET, "/openapi.json");
    let packed = World::send(request.header("accept-encoding", "gzip")).await;
    assert_eq!(packed.headers["content-encoding"], "gzip");
    assert_eq!(packed.headers["content-type"], "application/json");
    assert_eq!(packed.headers["cache-control"], "no-store");
    assert_eq!(packed.bytes[..2], [0x1f, 0x8b]);
    let plain = world.get("/openapi.json").await;
    assert_eq!(plain.body["openapi"], "3.1.0");
    assert!(packed.bytes.len() * 4 < plain.bytes.len());
    let page = World::send(world.request(None, Method::GET, "/../../classes/c1")).await;
    assert_eq!(page.status, 200);
    assert!(
        page.headers["content-type"]
            .to_str()
            .unwrap()
            .starts_with("text/html")
    );
}

#[tokio::test]
async fn a_timeline_is_made_of_what_agents_reported() {
    let world = World::start().await;
    enrol(&world).await;
    assert_eq!(world.post("/classes", class("c1")).await.status, 201);
    let at = |s: u64| NOW + Duration::from_secs(s);
    let route = corridor_probes::Route::new(&[EdgeId::new(1).unwrap()]).unwrap();
    let report = |sequence: u64, start: Wall| {
        let end = start + Duration::from_secs(10);
        let message = proto::Report {
            boot: 1,
            sequence,
            end_us: end.as_micros(),
            windows: vec![proto::Window {
                of: Some(proto::window::Of::Route(route_message(route))),
                class: "c1".into(),
                start_us: start.as_micros(),
                length_ms: 10_000,
                ledger: Some(proto::Ledger {
                    slots: 100,
                    sent: 100,
                    received: 100,
                    ..proto::Ledger::default()
                }),
                ..proto::Window::default()
            }],
            legs: vec![proto::LegState {
                class: "c1".into(),
                in_use: Some(route_message(route)),
                ..proto::LegState::default()
            }],
            ..proto::Report::default()
        };
        ReportRecord {
            reporter: Reporter::Agent(AgentId(7)),
            boot: BootId(1),
            sequence,
            end,
            received: end,
            body: prost::Message::encode_to_vec(&message),
        }
    };
    // A gap of half an hour, longer than the store is asked for at once.
    let reports = [report(1, at(0)), report(2, at(10)), report(3, at(1_800))];
    let own = |s, kind: &str, class: Option<&str>| EventRecord {
        at: at(s),
        kind: kind.into(),
        class: class.map(str::to_owned),
        subject: Some("t1".into()),
        edge: None,
        detail: "{}".into(),
    };
    let events = [
        own(5, "slept", None),
        own(6, "switch", Some("c1")),
        own(7, "switch", Some("other")),
    ];
    world
        .store(move |s| {
            s.append_reports(&reports).unwrap();
            s.append_events(&events).unwrap();
        })
        .await;
    world.clock.advance(Duration::from_secs(3_600));
    let all = world.get("/classes/c1/timeline").await;
    assert_eq!(all.status, 200);
    assert_eq!(all.body["class"]["id"], "c1");
    assert_eq!(all.body["from"], time_text::text(NOW));
    assert_eq!(all.body["to"], time_text::text(at(3_600)));
    let points = &all.body["participants"][0]["points"];
    let times = Value::from_iter(points.as_array().unwrap().iter().map(|p| p["at"].clone()));
    let expected = [at(10), at(20), at(1_810)].map(time_text::text);
    assert_eq!(times, json!(expected));
    assert_eq!(
        (&points[0]["route"], &points[0]["quality"]),
        (&json!(["fra-1"]), &json!("good"))
    );
    assert_eq!(points[0].get("rtt_ms"), None, "no samples, no figure");
    assert_eq!(all.body["participants"][1]["points"], json!([]));
    let kinds = Value::from_iter(
        all.body["events"]
            .as_array()
            .unwrap()
            .iter()
            .map(|e| e["kind"].clone()),
    );
    assert_eq!(kinds, json!(["slept", "switch"]));
    let part = format!(
        "/classes/c1/timeline?subject=t1&from={}&to={}",
        time_text::text(at(11)),
        time_text::text(at(100))
    );
    let part = world.get(&part).await.body;
    assert_eq!(part["participants"].as_array().unwrap().len(), 1);
    assert_eq!(part["participants"][0]["points"].as_array().unwrap().len(), 1);
    assert_eq!(part["class"]["participants"].as_array().unwrap().len(), 2);
    assert_eq!(part["events"], json!([]));
}
