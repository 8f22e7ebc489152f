//! Against the real client, over real HTTPS.

use futures_util::{StreamExt as _, stream};
use serde_json::{Value, json};

use super::testing::{NOW, TestController};
use super::*;
use crate::{
    api::server::MAX_BODY,
    identity::{
        Ca, Certificate, EnrolError, Material, Revoked, SecretKey, TrustedTime,
        ca::LIFE,
        enrol_client::{self, JoinAs},
        peer,
        testing::FakeClock,
        tls,
    },
    store::records::TokenRecord,
};

const YEAR: Duration = Duration::from_secs(365 * 86_400);

fn machine_time(wall: Wall) -> TrustedTime {
    TrustedTime::new(FakeClock::at(wall))
}

async fn join_as(url: &str, token: &Token, service: Service, name: &str) -> Result<Material, EnrolError> {
    let wanted = JoinAs {
        url,
        token: &token.to_string(),
        service,
        name: Some(name),
        region: Some("eu"),
    };
    enrol_client::join(wanted, &machine_time(NOW), &tls::provider()).await
}

async fn join(controller: &TestController, token: &Token, name: &str) -> Result<Material, EnrolError> {
    join_as(&controller.url, token, Service::Agent, name).await
}

async fn renew(material: &Material) -> Result<Material, EnrolError> {
    enrol_client::renew(material, &machine_time(NOW), &tls::provider()).await
}

fn code<T: std::fmt::Debug>(result: Result<T, EnrolError>) -> String {
    match result.unwrap_err() {
        EnrolError::Refused { code, message } => {
            assert!(!message.is_empty() && !message.contains('\n'));
            code
        }
        other => panic!("{other}"),
    }
}

#[tokio::test]
async fn agents_and_edges_join_and_get_what_they_need() {
    let controller = TestController::start();
    let token = controller.token(|_| {});
    let agent = join(&controller, &token, "s1").await.unwrap();
    assert_eq!((agent.own.service(), agent.name.as_str()), (Service::Agent, "s1"));
    assert_eq!(agent.edges[0].name, "fra-1");
    assert_eq!(agent.roots, controller.ca.roots());
    assert_eq!(
        peer::check(&agent.chain, NOW, &Revoked::default()),
        Ok(agent.own.peer())
    );
    let token = controller.token(|t| t.service = Service::Edge);
    let edge = join_as(&controller.url, &token, Service::Edge, "fra-1")
        .await
        .unwrap();
    assert_eq!(edge.own, Own::Edge(corridor_probes::EdgeId::new(2).unwrap()));
    assert_eq!(edge.controller.as_deref(), Some("192.0.2.9:4433"));
}

#[tokio::test]
async fn five_hundred_join_from_one_address() {
    let controller = TestController::start();
    let token = controller.token(|t| t.uses_left = 500);
    let joins = stream::iter(0..500).map(|n| {
        let (controller, token) = (&controller, &token);
        async move {
            join(controller, token, &format!("s{n}"))
                .await
                .map(|m| m.own.id())
        }
    });
    let joined: Vec<_> = joins.buffer_unordered(100).collect().await;
    let ids: Result<std::collections::BTreeSet<_>, _> = joined.into_iter().collect();
    assert_eq!(ids.unwrap().len(), 500);
    assert_eq!(code(join(&controller, &token, "late").await), "token_used_up");
}

#[tokio::test]
async fn tokens_that_do_not_allow_it_are_refused_each_in_its_words() {
    let controller = TestController::start();
    let edit = |change: fn(&mut TokenRecord)| controller.token(change);
    for (token, expected) in [
        (
            Token::create(controller.ca.pin().unwrap(), &mut system_rng()),
            "token_unknown",
        ),
        (edit(|t| t.secret_hash[0] ^= 1), "token_unknown"),
        (edit(|t| t.uses_left = 0), "token_used_up"),
        (edit(|t| t.expires = NOW), "token_expired"),
        (edit(|t| t.revoked = Some(NOW)), "token_revoked"),
        (edit(|t| t.service = Service::Edge), "token_wrong_service"),
        (edit(|t| t.subject = Some("s2".into())), "token_wrong_subject"),
    ] {
        assert_eq!(code(join(&controller, &token, "s1").await), expected);
    }
    let token = controller.token(|t| t.subject = Some("s2".into()));
    let wanted = |name| JoinAs {
        url: &controller.url,
        token: "",
        service: Service::Agent,
        name,
        region: None,
    };
    let text = token.to_string();
    let (time, provider) = (machine_time(NOW), tls::provider());
    let nameless = enrol_client::join(
        JoinAs {
            token: &text,
            ..wanted(None)
        },
        &time,
        &provider,
    );
    assert_eq!(nameless.await.unwrap().name, "s2", "the token says who");
    let text = controller.token(|_| {}).to_string();
    let nameless = enrol_client::join(
        JoinAs {
            token: &text,
            ..wanted(None)
        },
        &time,
        &provider,
    );
    assert_eq!(code(nameless.await), "name_needed");
    let long = "x".repeat(MAX_SUBJECT + 1);
    for name in ["", "a b", "a\u{7f}", &long] {
        let named = enrol_client::join(
            JoinAs {
                token: &text,
                ..wanted(Some(name))
            },
            &time,
            &provider,
        );
        assert_eq!(code(named.await), "bad_name", "{name}");
    }
    let malformed = enrol_client::join(
        JoinAs {
            token: "corr1.x",
            ..wanted(None)
        },
        &time,
        &provider,
    );
    assert!(
        matches!(malformed.await, Err(EnrolError::Token(_))),
        "not even sent"
    );
}

#[tokio::test]
async fn nobody_in_between_gets_to_see_the_token() {
    let (ours, theirs) = (TestController::start(), TestController::start());
    let token = ours.token(|_| {});
    let answer = join_as(&theirs.url, &token, Service::Agent, "s1").await;
    assert!(
        matches!(answer, Err(EnrolError::WrongController { .. })),
        "{answer:?}"
    );
    assert_eq!(theirs.directory.asked(), 0);
    // And who has joined is not fooled later.
    let mut material = join(&ours, &token, "s1").await.unwrap();
    material.url = theirs.url.clone();
    assert!(matches!(
        renew(&material).await,
        Err(EnrolError::WrongController { .. })
    ));
    let time = machine_time(NOW);
    let asked = enrol_client::time(&material, &time, &tls::provider()).await;
    assert!(matches!(asked, Err(EnrolError::WrongController { .. })));
    assert_eq!(time.wall_error(), None);
}

#[tokio::test]
async fn a_token_of_another_controller_is_told_so_whoever_brings_it() {
    let controller = TestController::start();
    let other = Ca::ephemeral(NOW, &mut system_rng()).unwrap();
    let token = controller.directory.token(other.pin().unwrap(), |_| {});
    let (status, body) = post(&controller, "join", &request(&token, &key())).await;
    assert_eq!(
        (status, body["code"].as_str()),
        (403, Some("token_other_controller"))
    );
}

#[tokio::test]
async fn a_clock_a_year_off_neither_stops_joining_nor_lasts() {
    let controller = TestController::start();
    for wall in [NOW - YEAR, NOW + YEAR] {
        let token = controller.token(|_| {}).to_string();
        let wanted = JoinAs {
            url: &controller.url,
            token: &token,
            service: Service::Agent,
            name: Some("s1"),
            region: None,
        };
        let time = machine_time(wall);
        let material = enrol_client::join(wanted, &time, &tls::provider()).await.unwrap();
        assert_eq!(time.now(), NOW);
        assert!(!material.renewal_due(time.now()));
        let off = time.wall_error().unwrap().offset_us;
        assert_eq!(off, wall.as_micros() - NOW.as_micros());
        let later = machine_time(wall);
        enrol_client::time(&material, &later, &tls::provider())
            .await
            .unwrap();
        assert_eq!(later.now(), NOW);
        let pin = controller.ca.pin().unwrap();
        let by_pin = machine_time(wall);
        enrol_client::time_by_pin(&controller.url, pin, &by_pin, &tls::provider())
            .await
            .unwrap();
        assert_eq!(by_pin.now(), NOW);
    }
}

#[tokio::test]
async fn who_joins_again_takes_the_place_of_the_older() {
    let controller = TestController::start();
    let token = controller.token(|t| t.uses_left = 3);
    let first = join(&controller, &token, "s1").await.unwrap();
    let other = join(&controller, &token, "s2").await.unwrap();
    let second = join(&controller, &token, "s1").await.unwrap();
    assert_ne!(first.own, second.own);
    assert_eq!(code(renew(&first).await), "revoked");
    renew(&second).await.unwrap();
    renew(&other).await.unwrap();
}

#[tokio::test]
async fn renewal_is_for_the_enrolled_key_also_after_expiry() {
    let controller = TestController::start();
    let token = controller.token(|_| {});
    let mut material = join(&controller, &token, "s1").await.unwrap();
    controller.clock.advance(LIFE * 3);
    let renewed = renew(&material).await.unwrap();
    assert_eq!(renewed.own, material.own);
    assert_eq!(renewed.expires(), NOW + LIFE * 4);
    let key_of = |m: &Material| Certificate::read(&m.chain[0]).unwrap().public_key;
    assert_eq!(key_of(&renewed), key_of(&material));
    assert_ne!(renewed.chain[0], material.chain[0]);
    // Another key is nobody's.
    material.key = key();
    assert_eq!(code(renew(&material).await), "not_enrolled");
}

#[tokio::test]
async fn after_a_rotation_the_old_root_is_enough_to_renew() {
    let controller = TestController::start();
    let token = controller.token(|_| {});
    let material = join(&controller, &token, "s1").await.unwrap();
    controller.ca.rotate(NOW, &mut system_rng()).unwrap();
    let renewed = renew(&material).await.unwrap();
    assert_eq!(renewed.roots.pins().len(), 2);
    assert_eq!(renewed.chain.len(), 2, "with the link to the old root");
    // And a token made before it is still good.
    let token = controller.directory.token(material.roots.pins()[0], |_| {});
    join(&controller, &token, "s2").await.unwrap();
}

fn key() -> SecretKey {
    SecretKey::generate(&mut system_rng()).unwrap()
}

fn request(token: &Token, key: &SecretKey) -> Value {
    json!({"token": token.to_string(), "service": "agent", "name": "s1", "csr": key.request().unwrap()})
}

fn raw(controller: &TestController) -> reqwest::Client {
    let tls = tls::pinned_client(&tls::provider(), &[controller.ca.pin().unwrap()]).unwrap();
    let client = reqwest::Client::builder()
        .tls_backend_preconfigured(tls)
        .no_proxy();
    client.build().unwrap()
}

async fn post(controller: &TestController, what: &str, body: &Value) -> (u16, Value) {
    let url = format!("{}/api/v1/{what}", controller.url);
    let response = raw(controller).post(url).json(body).send().await.unwrap();
    let status = response.status().as_u16();
    (status, response.json().await.unwrap())
}

#[tokio::test]
async fn a_lost_answer_costs_no_second_use() {
    let controller = TestController::start();
    let token = controller.token(|_| {});
    let request = request(&token, &key());
    let (_, first) = post(&controller, "join", &request).await;
    assert_eq!(controller.directory.uses_left(&token), 0);
    let (status, second) = post(&controller, "join", &request).await;
    assert_eq!((status, &second["id"]), (200, &first["id"]));
    let mut other_name = request;
    other_name["name"] = "s2".into();
    let (status, answer) = post(&controller, "join", &other_name).await;
    assert_eq!((status, answer["code"].as_str()), (409, Some("key_in_use")));
}

#[tokio::test]
async fn bad_requests_get_a_clear_answer_and_take_no_use() {
    let controller = TestController::start();
    let token = controller.token(|_| {});
    let good = request(&token, &key());
    let with = |field: &str, value: Value| {
        let mut bad = good.clone();
        bad[field] = value;
        bad
    };
    let csr = good["csr"].as_str().unwrap();
    let mut flipped = csr.to_owned().into_bytes();
    flipped[120] = if flipped[120] == b'A' { b'B' } else { b'A' };
    for (body, status, expected) in [
        (with("csr", "".into()), 400, "bad_request"),
        (with("csr", "x".repeat(5_000).into()), 400, "bad_request"),
        (
            with("csr", String::from_utf8(flipped).unwrap().into()),
            400,
            "bad_request",
        ),
        (with("csr", 7.into()), 422, "bad_request"),
        (with("service", "school".into()), 422, "bad_request"),
        (with("more", 1.into()), 422, "bad_request"),
        (with("token", "hello".into()), 400, "token_malformed"),
        (with("region", "a/b".into()), 400, "bad_name"),
    ] {
        let (got, answer) = post(&controller, "join", &body).await;
        assert_eq!((got, answer["code"].as_str()), (status, Some(expected)), "{body}");
        assert!(answer["message"].as_str().is_some_and(|m| !m.is_empty()));
    }
    let (status, answer) = post(&controller, "renew", &json!({"csr": "x"})).await;
    assert_eq!((status, answer["code"].as_str()), (400, Some("bad_request")));
    assert_eq!(controller.directory.asked(), 0);
    assert_eq!(post(&controller, "join", &good).await.0, 200);
}

#[tokio::test]
async fn bodies_are_bounded_and_json() {
    let controller = TestController::start();
    let url = format!("{}/api/v1/join", controller.url);
    let post = || raw(&controller).post(&url);
    let json = |r: reqwest::RequestBuilder| r.header("content-type", "application/json");
    let large = vec![b' '; MAX_BODY + 1];
    let pieces = large.chunks(65_536).map(|c| Ok::<_, std::io::Error>(c.to_vec()));
    let streamed = reqwest::Body::wrap_stream(stream::iter(pieces.collect::<Vec<_>>()));
    for (request, status, code) in [
        (json(post()).body(large), 413, "body_too_large"),
        (json(post()).body(streamed), 413, "body_too_large"),
        (json(post()).body("{"), 400, "bad_request"),
        (post().body("{}"), 415, "not_json"),
    ] {
        let response = request.send().await.unwrap();
        assert_eq!(response.status(), status);
        assert_eq!(response.json::<Value>().await.unwrap()["code"], code);
    }
    let most = json(post()).body(vec![b' '; MAX_BODY]).send().await.unwrap();
    assert_eq!(most.status(), 400, "so long, but empty");
}

#[tokio::test]
async fn who_repeats_a_bad_token_is_slowed_down_and_nobody_else() {
    let controller = TestController::start();
    let bad = Token::create(controller.ca.pin().unwrap(), &mut system_rng());
    let bad_request = request(&bad, &key());
    let statuses: Vec<u16> = stream::iter(0..12)
        .then(|_| async { post(&controller, "join", &bad_request).await.0 })
        .collect()
        .await;
    assert_eq!(statuses, [vec![401; 11], vec![429]].concat());
    let asked = controller.directory.asked();
    let url = format!("{}/api/v1/join", controller.url);
    let response = raw(&controller)
        .post(url)
        .json(&bad_request)
        .send()
        .await
        .unwrap();
    assert_eq!(response.headers()["retry-after"], "1");
    assert_eq!(controller.directory.asked(), asked, "not even looked up");
    // The rest of the school joins meanwhile.
    let good = controller.token(|t| t.uses_left = 20);
    for n in 0..20 {
        join(&controller, &good, &format!("s{n}")).await.unwrap();
    }
    controller.clock.advance(Duration::from_secs(1));
    assert_eq!(post(&controller, "join", &bad_request).await.0, 401);
}

#[tokio::test]
async fn what_is_no_controller_is_said_in_one_line() {
    let token = Token::create(crate::identity::Pin([1; 32]), &mut system_rng());
    for url in [
        "",
        "c.example:8443",
        "http://c.example",
        "https://",
        "ftp://c",
        "https//c",
    ] {
        let error = join_as(url, &token, Service::Agent, "s1").await.unwrap_err();
        assert!(matches!(error, EnrolError::Url(_)), "{url}: {error}");
    }
    // Nobody there.
    let free = std::net::TcpListener::bind("127.0.0.1:0")
        .unwrap()
        .local_addr()
        .unwrap();
    let error = join_as(&format!("https://{free}"), &token, Service::Agent, "s1")
        .await
        .unwrap_err();
    assert!(
        matches!(error, EnrolError::Unreachable { .. }) && error.is_passing(),
        "{error}"
    );
    assert!(error.to_string().contains("refused"), "{error}");
    // Somebody else's pages.
    let controller = TestController::start();
    let token = controller.token(|_| {});
    let error = join_as(
        &format!("{}/elsewhere", controller.url),
        &token,
        Service::Agent,
        "s1",
    )
    .await;
    let error = error.unwrap_err();
    assert!(matches!(error, EnrolError::NotAController { .. }), "{error}");
    assert!(error.to_string().contains("404") && !error.to_string().contains('\n'));
}

#[test]
fn the_handlers_describe_themselves() {
    let api = router::<Arc<Enrolment>>().to_openapi();
    let paths: Vec<_> = api.paths.paths.keys().cloned().collect();
    assert_eq!(paths, ["/api/v1/join", "/api/v1/renew", "/api/v1/time"]);
}
