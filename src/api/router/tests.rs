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

mod answers;

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

#[test]
fn operations_have_names_of_their_own() {
    let document: Value = serde_json::from_str(&openapi_json().unwrap()).unwrap();
    let mut names = BTreeSet::new();
    for item in document["paths"].as_object().unwrap().values() {
        for operation in item.as_object().unwrap().values() {
            let name = operation["operationId"].as_str().unwrap();
            assert!(names.insert(name.to_owned()), "{name} twice");
        }
    }
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
        (
            &post,
            "/accounts/{name}/password",
            "/accounts/nobody/password",
            none.clone(),
            admins(404),
        ),
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
