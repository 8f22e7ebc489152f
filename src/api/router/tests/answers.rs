//! What the operations answer and do.

use super::*;

#[tokio::test]
async fn a_join_token_comes_with_the_line_to_run() {
    let world = World::start().await;
    for (service, option) in [("agent", "--subject"), ("edge", "--name")] {
        let body = json!({"service": service, "uses": 3, "tags": {"school": "north"}});
        let created = world.post("/tokens", body).await;
        assert_eq!(created.status, 201);
        let text = created.body["token"].as_str().unwrap();
        let token: Token = text.parse().unwrap();
        assert_eq!(token.pin(), world.ca.pin().unwrap());
        let line = format!("corridor {service} join {URL} --join {text} {option} NAME");
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
        classes: Vec::new(),
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
    let of_edge = |s, kind: &str, edge: &str| EventRecord {
        subject: None,
        edge: Some(edge.to_owned()),
        ..own(s, kind, None)
    };
    let events = [
        own(5, "slept", None),
        own(6, "switch", Some("c1")),
        own(7, "switch", Some("other")),
        of_edge(8, "edge_down", "fra-1"),
        of_edge(9, "edge_up", "fra-1"),
        of_edge(9, "revoked", "fra-1"),
        of_edge(9, "edge_down", "ams-1"),
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
    assert_eq!(kinds, json!(["slept", "switch", "edge_down", "edge_up"]));
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

#[tokio::test]
async fn a_new_password_replaces_the_old_one_ends_sessions_and_forgives_failures() {
    let world = World::start().await;
    world.account("ann", "correct horse", Level::Support).await;
    let login = |password: &str| {
        let request = world.request(None, Method::POST, "/login");
        World::send(request.json(&json!({"name": "ann", "password": password})))
    };
    let first = login("correct horse").await;
    let cookie = first.headers["set-cookie"].to_str().unwrap();
    let cookie = cookie.split(';').next().unwrap().to_owned();
    let session = || {
        let request = world.request(None, Method::GET, "/session");
        World::send(request.header("cookie", &cookie))
    };
    assert_eq!(session().await.status, 200);
    for _ in 0..6 {
        login("a guess too many").await;
    }
    assert_eq!(login("correct horse").await.status, 429);

    let reset = world.post("/accounts/ann/password", Value::Null).await;
    assert_eq!((reset.status, &reset.body["level"]), (200, &json!("support")));
    assert_eq!(session().await.status, 401);
    assert_eq!(login("correct horse").await.code(), (401, "wrong_login"));
    let again = login(reset.body["password"].as_str().unwrap()).await;
    assert_eq!((again.status, &again.body["level"]), (200, &json!("support")));
    let nobody = world.post("/accounts/bob/password", Value::Null).await;
    assert_eq!(nobody.code(), (404, "not_found"));
}
