use std::{collections::BTreeMap, sync::OnceLock};

use axum::{
    body::{Body as HttpBody, to_bytes},
    http::{HeaderMap, Method, Request, header},
    routing::{get, post},
};
use serde_json::{Value, json};
use tower_service::Service as _;

use super::*;
use crate::{identity::testing::FakeClock, store::records::Level};

const NOW: Wall = Wall::from_secs(1_800_000_000);
const PASSWORD: &str = "correct horse";

#[derive(Debug, Default)]
struct InMemory {
    accounts: Mutex<BTreeMap<String, AccountRecord>>,
    bearers: Mutex<BTreeMap<[u8; 32], BearerRecord>>,
}

fn answer<'a, T: Send + 'a>(value: T) -> BoxFuture<'a, Result<T, Unavailable>> {
    Box::pin(async move { Ok(value) })
}

impl Accounts for InMemory {
    fn account(&self, name: String) -> BoxFuture<'_, Result<Option<AccountRecord>, Unavailable>> {
        answer(self.accounts.lock().unwrap().get(&name).cloned())
    }

    fn bearer(&self, hash: [u8; 32]) -> BoxFuture<'_, Result<Option<BearerRecord>, Unavailable>> {
        answer(self.bearers.lock().unwrap().get(&hash).cloned())
    }

    fn insert_bearer(&self, bearer: BearerRecord) -> BoxFuture<'_, Result<(), Unavailable>> {
        self.bearers.lock().unwrap().insert(bearer.secret_hash, bearer);
        answer(())
    }

    fn remove_bearer(&self, hash: [u8; 32]) -> BoxFuture<'_, Result<(), Unavailable>> {
        self.bearers.lock().unwrap().remove(&hash);
        answer(())
    }
}

struct World {
    accounts: Arc<InMemory>,
    clock: Arc<FakeClock>,
    router: axum::Router,
}

#[derive(Debug)]
struct Answer {
    status: u16,
    headers: HeaderMap,
    body: Value,
}

impl Answer {
    fn code(&self) -> (u16, &str) {
        (self.status, self.body["code"].as_str().unwrap_or(""))
    }

    /// The cookie as a browser sends it back.
    fn cookie(&self) -> String {
        let set = self.headers[header::SET_COOKIE].to_str().unwrap();
        set.split(';').next().unwrap().to_owned()
    }
}

impl World {
    fn new() -> Self {
        static PHC: OnceLock<String> = OnceLock::new();
        let phc = PHC.get_or_init(|| hash_password(PASSWORD, &mut system_rng()).unwrap());
        let accounts = Arc::new(InMemory::default());
        for (name, level) in [
            ("vera", Level::Viewer),
            ("sam", Level::Support),
            ("olga", Level::Operator),
            ("adam", Level::Admin),
        ] {
            let record = AccountRecord {
                name: name.into(),
                password_hash: phc.clone(),
                level,
                created: NOW,
            };
            accounts.accounts.lock().unwrap().insert(name.into(), record);
        }
        let clock = FakeClock::at(NOW);
        let authenticator = Authenticator::new(accounts.clone(), clock.clone()).unwrap();
        let guarded = axum::Router::new()
            .route("/viewer", get(async |_: Auth<Viewer>| "ok"))
            .route("/support", get(async |_: Auth<Support>| "ok"))
            .route("/operator", get(async |_: Auth<Operator>| "ok"))
            .route("/admin", get(async |_: Auth<Admin>| "ok"))
            .route("/change", post(async |auth: Auth<Viewer>| auth.caller.name))
            .with_state(authenticator.clone());
        let open: OpenApiRouter<()> = router().with_state(authenticator);
        Self {
            accounts,
            clock,
            router: axum::Router::from(open).merge(guarded),
        }
    }

    async fn send(
        &self,
        method: Method,
        path: &str,
        headers: &[(&str, &str)],
        body: Option<Value>,
    ) -> Answer {
        self.send_from("192.0.2.1", method, path, headers, body).await
    }

    async fn send_from(
        &self,
        address: &str,
        method: Method,
        path: &str,
        headers: &[(&str, &str)],
        body: Option<Value>,
    ) -> Answer {
        let from: SocketAddr = format!("{address}:5").parse().unwrap();
        let mut request = Request::builder().method(method).uri(path);
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        let body = match body {
            Some(body) => {
                request = request.header("content-type", "application/json");
                HttpBody::from(body.to_string())
            }
            None => HttpBody::empty(),
        };
        let mut request = request.body(body).unwrap();
        request.extensions_mut().insert(ConnectInfo(from));
        request.extensions_mut().insert(Scheme::Https);
        let response = self.router.clone().call(request).await.unwrap();
        let (parts, body) = response.into_parts();
        let bytes = to_bytes(body, 10_000).await.unwrap();
        Answer {
            status: parts.status.as_u16(),
            headers: parts.headers,
            body: serde_json::from_slice(&bytes).unwrap_or(Value::Null),
        }
    }

    async fn login_from(&self, address: &str, name: &str, password: &str) -> Answer {
        let body = json!({"name": name, "password": password});
        self.send_from(address, Method::POST, "/api/v1/login", &[], Some(body))
            .await
    }

    async fn login(&self, name: &str, password: &str) -> Answer {
        self.login_from("192.0.2.1", name, password).await
    }

    async fn get(&self, path: &str, headers: &[(&str, &str)]) -> Answer {
        self.send(Method::GET, path, headers, None).await
    }
}

#[tokio::test]
async fn levels_include_the_ones_below() {
    let world = World::new();
    for (rank, name) in ["vera", "sam", "olga", "adam"].into_iter().enumerate() {
        let cookie = world.login(name, PASSWORD).await.cookie();
        for (needed, path) in ["/viewer", "/support", "/operator", "/admin"]
            .into_iter()
            .enumerate()
        {
            let answer = world.get(path, &[("cookie", &cookie)]).await;
            let expected = if rank >= needed {
                (200, "")
            } else {
                (403, "forbidden")
            };
            assert_eq!(answer.code(), expected, "{name} {path}");
        }
    }
    assert_eq!(world.get("/viewer", &[]).await.code(), (401, "not_logged_in"));
}

#[tokio::test]
async fn a_change_by_cookie_needs_its_csrf_token() {
    let world = World::new();
    let (vera, sam) = (
        world.login("vera", PASSWORD).await,
        world.login("sam", PASSWORD).await,
    );
    let cookie = vera.cookie();
    let change = async |headers: &[(&str, &str)]| {
        let answer = world.send(Method::POST, "/change", headers, None).await;
        (
            answer.status,
            answer.body["code"].as_str().unwrap_or("").to_owned(),
        )
    };
    let refused = (403, "csrf".to_owned());
    assert_eq!(change(&[("cookie", &cookie)]).await, refused);
    let others = sam.body["csrf"].as_str().unwrap();
    assert_eq!(
        change(&[("cookie", &cookie), (CSRF_HEADER, others)]).await,
        refused
    );
    let own = vera.body["csrf"].as_str().unwrap();
    assert_eq!(change(&[("cookie", &cookie), (CSRF_HEADER, own)]).await.0, 200);
    let session = world.get("/api/v1/session", &[("cookie", &cookie)]).await;
    assert_eq!(
        session.body,
        json!({"name": "vera", "level": "viewer", "csrf": own})
    );
    assert!(!cookie.contains(own));
}

#[tokio::test]
async fn sessions_end_at_logout_in_time_and_with_their_account() {
    let world = World::new();
    let alive = async |cookie: &str| world.get("/viewer", &[("cookie", cookie)]).await.status == 200;
    let set_level = |level| {
        world
            .accounts
            .accounts
            .lock()
            .unwrap()
            .get_mut("olga")
            .unwrap()
            .level = level;
    };

    let login = world.login("olga", PASSWORD).await;
    let (cookie, csrf) = (login.cookie(), login.body["csrf"].as_str().unwrap().to_owned());
    let other = world.login("olga", PASSWORD).await.cookie();
    let headers = [("cookie", cookie.as_str()), (CSRF_HEADER, csrf.as_str())];
    let out = world.send(Method::POST, "/api/v1/logout", &headers, None).await;
    assert_eq!(out.status, 204);
    assert!(
        out.headers[header::SET_COOKIE]
            .to_str()
            .unwrap()
            .contains("Max-Age=0")
    );
    assert!(!alive(&cookie).await && alive(&other).await);

    set_level(Level::Viewer);
    let demoted = world.get("/operator", &[("cookie", &other)]).await;
    assert_eq!(
        demoted.code(),
        (403, "forbidden"),
        "at once, not at the next login"
    );
    set_level(Level::Operator);

    world.clock.advance(SESSION - Duration::from_micros(1));
    assert!(alive(&other).await);
    world.clock.advance(Duration::from_micros(1));
    assert!(!alive(&other).await);

    let cookie = world.login("olga", PASSWORD).await.cookie();
    world.clock.advance(Duration::from_secs(1));
    let now = world.clock.wall();
    let (made_anew, password) =
        account_with_random_password("olga", Level::Operator, now, &mut system_rng()).unwrap();
    world
        .accounts
        .accounts
        .lock()
        .unwrap()
        .insert("olga".into(), made_anew);
    assert!(!alive(&cookie).await);
    let cookie = world.login("olga", &password).await.cookie();
    assert!(alive(&cookie).await);
    world.accounts.accounts.lock().unwrap().remove("olga");
    assert!(!alive(&cookie).await);
}

#[tokio::test]
async fn api_tokens_have_a_level_an_end_and_need_no_csrf() {
    let world = World::new();
    let end = NOW + Duration::from_secs(60);
    let (record, token) = api_token("ci", Level::Support, Some(end), NOW, &mut system_rng());
    world.accounts.insert_bearer(record.clone()).await.unwrap();
    let bearer = format!("Bearer {token}");
    let headers = [("authorization", bearer.as_str())];
    assert_eq!(
        world.send(Method::POST, "/change", &headers, None).await.status,
        200
    );
    assert_eq!(world.get("/support", &headers).await.status, 200);
    assert_eq!(world.get("/operator", &headers).await.code(), (403, "forbidden"));
    // A token is no cookie, nor a cookie a token.
    let as_cookie = format!("__Host-corridor={}", token.strip_prefix("corrapi_").unwrap());
    assert_eq!(world.get("/viewer", &[("cookie", &as_cookie)]).await.status, 401);
    let cookie = world.login("adam", PASSWORD).await.cookie();
    let as_token = format!("Bearer corrapi_{}", cookie.split_once('=').unwrap().1);
    assert_eq!(
        world.get("/viewer", &[("authorization", &as_token)]).await.status,
        401
    );

    world.clock.advance(Duration::from_secs(60));
    assert_eq!(
        world.get("/support", &headers).await.code(),
        (401, "not_logged_in")
    );
    let (record, token) = api_token("forever", Level::Support, None, NOW, &mut system_rng());
    let bearer = format!("Bearer {token}");
    world.accounts.insert_bearer(record.clone()).await.unwrap();
    assert_eq!(
        world.get("/support", &[("authorization", &bearer)]).await.status,
        200
    );
    world.accounts.remove_bearer(record.secret_hash).await.unwrap();
    assert_eq!(
        world.get("/support", &[("authorization", &bearer)]).await.status,
        401
    );
}

#[tokio::test]
async fn guessing_gets_slow_for_that_account_from_that_address_only() {
    let world = World::new();
    // Five wrong ones cost nothing, and a right one forgives them.
    for _ in 0..3 {
        for _ in 0..5 {
            assert_eq!(
                world.login("vera", "wrong password").await.code(),
                (401, "wrong_login")
            );
        }
        assert_eq!(world.login("vera", PASSWORD).await.status, 200);
    }
    for _ in 0..5 {
        world.login("sam", "wrong password").await;
    }
    for seconds in [1, 2, 4, 8] {
        assert_eq!(
            world.login("sam", "wrong password").await.code(),
            (401, "wrong_login")
        );
        let blocked = world.login("sam", PASSWORD).await;
        assert_eq!(blocked.code(), (429, "too_many_requests"), "even the right one");
        assert_eq!(blocked.headers[header::RETRY_AFTER], seconds.to_string());
        assert_eq!(world.login("vera", PASSWORD).await.status, 200);
        assert_eq!(world.login_from("192.0.2.2", "sam", PASSWORD).await.status, 200);
        world.clock.advance(Duration::from_secs(seconds));
    }
    assert_eq!(world.login("sam", PASSWORD).await.status, 200);
}

#[tokio::test]
async fn wrong_names_and_wrong_passwords_look_alike() {
    let world = World::new();
    let long = "x".repeat(MAX_ACCOUNT + 1);
    let known = world.login("vera", "wrong password").await;
    for name in ["nobody", "", long.as_str(), "VERA"] {
        let unknown = world.login(name, PASSWORD).await;
        assert_eq!(
            (unknown.status, &unknown.body),
            (known.status, &known.body),
            "{name}"
        );
    }
    assert_eq!(
        world.login("vera", &"x".repeat(MAX_PASSWORD + 1)).await.status,
        401
    );
    assert!(known.headers.get(header::SET_COOKIE).is_none());
}

#[test]
fn secrets_do_not_show_in_logs() {
    let (secret, _) = session("vera", Level::Viewer, NOW, &mut system_rng());
    let caller = Caller {
        name: "vera".into(),
        kind: BearerKind::Session,
        level: Level::Viewer,
        secret,
    };
    assert_eq!(
        format!("{caller:?}"),
        r#"Caller { name: "vera", kind: Session, level: Viewer, .. }"#
    );
}

#[test]
fn the_description_names_how_to_authenticate() {
    let mut api = router::<Arc<Authenticator>>().to_openapi();
    describe_security(&mut api);
    let api = serde_json::to_value(&api).unwrap();
    assert!(api["paths"]["/api/v1/login"]["post"].is_object());
    assert!(api["components"]["securitySchemes"]["session"].is_object());
    assert_eq!(api["components"]["securitySchemes"]["token"]["scheme"], "bearer");
}

#[tokio::test]
async fn who_is_logged_out_or_lowered_is_no_longer_who_it_was() {
    let world = World::new();
    let authenticator = Authenticator::new(world.accounts.clone(), world.clock.clone()).unwrap();
    let lower = |level| {
        let mut accounts = world.accounts.accounts.lock().unwrap();
        accounts.get_mut("olga").unwrap().level = level;
    };
    let (secret, record) = session("olga", Level::Operator, NOW, &mut system_rng());
    world.accounts.insert_bearer(record.clone()).await.unwrap();
    let caller = authenticator.caller(secret, BearerKind::Session).await.unwrap();
    assert!(authenticator.is_still(&caller).await);
    lower(Level::Support);
    assert!(!authenticator.is_still(&caller).await);
    lower(Level::Admin);
    assert!(authenticator.is_still(&caller).await);
    world.accounts.remove_bearer(record.secret_hash).await.unwrap();
    assert!(!authenticator.is_still(&caller).await);
}
