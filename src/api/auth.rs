//! Who may use the API: accounts with passwords for people, who get a session in a cookie; API tokens for
//! programs. Both have a [`Level`], and handlers say what level they need: [`Auth`].

mod bearer;
mod caller;
mod password;

use std::{
    fmt,
    net::{IpAddr, SocketAddr},
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use axum::{
    Extension, Json,
    extract::{ConnectInfo, FromRef, State},
    http::{StatusCode, header::SET_COOKIE},
    response::{AppendHeaders, IntoResponse},
};
use corridor_probes::Wall;
use futures_util::future::BoxFuture;
use utoipa::openapi::{
    OpenApi,
    security::{ApiKey, ApiKeyValue, Http, HttpAuthScheme, SecurityScheme},
};
use utoipa_axum::{router::OpenApiRouter, routes};

use super::{
    error::{ApiError, Body, Unavailable},
    limit::{Failures, Policy, subscriber},
    model::{self, Login, Session},
    server::Scheme,
};
use crate::{
    clock::Clock,
    identity::system_rng,
    store::records::{AccountRecord, BearerKind, BearerRecord},
};
use bearer::{Secret, session, set_cookie};
use password::{Busy, Verifier};

pub use bearer::{CSRF_HEADER, SESSION, api_token};
pub use caller::{Admin, AtLeast, Auth, Caller, Operator, Support, Viewer};
pub use password::{
    MAX_PASSWORD, MIN_PASSWORD, PasswordError, account_with_random_password, hash as hash_password,
};

/// The longest name of an account, in bytes.
pub const MAX_ACCOUNT: usize = 64;

/// Logins are counted by account and address: nobody locks another out from elsewhere.
const LOGINS: Policy = Policy {
    free: 5,
    first: Duration::from_secs(1),
    longest: Duration::from_secs(15 * 60),
    forget: Duration::from_secs(3_600),
    keys: 10_000,
};

/// Accounts, sessions and API tokens: what this needs of the controller's store. It is asked on every
/// request, so it answers from memory or an index.
pub trait Accounts: fmt::Debug + Send + Sync + 'static {
    fn account(&self, name: String) -> BoxFuture<'_, Result<Option<AccountRecord>, Unavailable>>;

    /// By the SHA-256 of its secret; also when it has expired.
    fn bearer(&self, secret_hash: [u8; 32]) -> BoxFuture<'_, Result<Option<BearerRecord>, Unavailable>>;

    /// Adds a session. Expired ones may go at any time.
    fn insert_bearer(&self, bearer: BearerRecord) -> BoxFuture<'_, Result<(), Unavailable>>;

    /// Ends a session, or an API token. No error if there is none.
    fn remove_bearer(&self, secret_hash: [u8; 32]) -> BoxFuture<'_, Result<(), Unavailable>>;
}

/// Finds out who makes a request.
#[derive(Debug)]
pub struct Authenticator {
    accounts: Arc<dyn Accounts>,
    clock: Arc<dyn Clock>,
    passwords: Verifier,
    logins: Mutex<Failures<(String, IpAddr)>>,
}

impl Authenticator {
    /// `clock`'s wall clock is the controller's time. Hashes a password, which takes a moment.
    pub fn new(accounts: Arc<dyn Accounts>, clock: Arc<dyn Clock>) -> Result<Arc<Self>, PasswordError> {
        Ok(Arc::new(Self {
            accounts,
            clock,
            passwords: Verifier::new(&mut system_rng())?,
            logins: Mutex::new(Failures::new(LOGINS)),
        }))
    }

    async fn login(&self, login: Login, from: SocketAddr) -> Result<(Secret, BearerRecord), ApiError> {
        let wrong = || {
            let message = "the name or the password is wrong";
            ApiError::new(StatusCode::UNAUTHORIZED, "wrong_login", message)
        };
        if login.name.is_empty() || login.name.len() > MAX_ACCOUNT {
            return Err(wrong());
        }
        let key = (login.name.clone(), subscriber(from.ip()));
        self.count_attempt(&key)?;
        let account = self.accounts.account(login.name).await?;
        let phc = account.as_ref().map(|a| a.password_hash.clone());
        let right = self.passwords.verify(login.password, phc).await;
        let account = match (right, account) {
            (Ok(true), Some(account)) => account,
            (Ok(_), _) => {
                tracing::warn!(account = %key.0, "a login failed");
                return Err(wrong());
            }
            (Err(Busy), _) => return Err(ApiError::busy()),
        };
        self.logins().succeed(&key);
        let (secret, record) = session(&account.name, account.level, self.now(), &mut system_rng());
        self.accounts.insert_bearer(record.clone()).await?;
        tracing::info!(account = %account.name, "logged in");
        Ok((secret, record))
    }

    /// Counts a login as failed before it is tried, so that many at once are no way around the limit.
    fn count_attempt(&self, key: &(String, IpAddr)) -> Result<(), ApiError> {
        let now = self.clock.mono();
        let mut logins = self.logins();
        logins.check(key, now).map_err(ApiError::too_many_requests)?;
        logins.fail(key.clone(), now);
        Ok(())
    }

    async fn caller(&self, secret: Secret, kind: BearerKind) -> Result<Caller, ApiError> {
        let bearer = self.accounts.bearer(secret.hash()).await?;
        let now = self.now();
        let bearer = bearer
            .filter(|b| b.kind == kind && b.expires.is_none_or(|e| now < e))
            .ok_or_else(not_logged_in)?;
        let level = match kind {
            BearerKind::ApiToken => bearer.level,
            // What the account may do now, and not at the login; and not if it was made anew since then.
            BearerKind::Session => {
                let account = self.accounts.account(bearer.name.clone()).await?;
                let account = account.filter(|a| a.created <= bearer.created);
                account.ok_or_else(not_logged_in)?.level
            }
        };
        Ok(Caller {
            name: bearer.name,
            kind,
            level,
            secret,
        })
    }

    /// Whether `caller` may still do what it may do: sessions end and tokens are revoked while an answer
    /// that never ends goes on.
    pub async fn is_still(&self, caller: &Caller) -> bool {
        let now = self.caller(caller.secret.clone(), caller.kind).await;
        now.is_ok_and(|now| now.level >= caller.level)
    }

    /// Failed logins of an account that has a new password do not slow its owner down.
    pub fn forgive(&self, account: &str) {
        self.logins().forgive(|(name, _)| name == account);
    }

    fn now(&self) -> Wall {
        self.clock.wall()
    }

    fn logins(&self) -> std::sync::MutexGuard<'_, Failures<(String, IpAddr)>> {
        self.logins.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn not_logged_in() -> ApiError {
    let message = "log in, or send a valid API token";
    ApiError::new(StatusCode::UNAUTHORIZED, "not_logged_in", message)
}

/// Logging in and out.
pub fn router<S>() -> OpenApiRouter<S>
where
    S: Clone + Send + Sync + 'static,
    Arc<Authenticator>: FromRef<S>,
{
    OpenApiRouter::new()
        .routes(routes!(login))
        .routes(routes!(logout))
        .routes(routes!(current))
}

/// Names the two ways to authenticate, `session` and `token`, to which operations refer.
pub fn describe_security(api: &mut OpenApi) {
    let components = api.components.get_or_insert_default();
    let cookie = ApiKey::Cookie(ApiKeyValue::new("__Host-corridor"));
    components.add_security_scheme("session", SecurityScheme::ApiKey(cookie));
    let token = Http::new(HttpAuthScheme::Bearer);
    components.add_security_scheme("token", SecurityScheme::Http(token));
}

/// Logs in.
#[utoipa::path(
    post, path = "/api/v1/login", tag = "session", request_body = Login,
    responses(
        (status = 200, description = "Logged in; the session's cookie is set", body = Session),
        (status = 401, description = "The name or the password is wrong", body = model::Error),
        (status = 429, description = "This failed too often from this address", body = model::Error),
        (status = 503, description = "Too many log in at once", body = model::Error),
    ),
)]
async fn login(
    State(authenticator): State<Arc<Authenticator>>,
    ConnectInfo(from): ConnectInfo<SocketAddr>,
    Extension(scheme): Extension<Scheme>,
    Body(login): Body<Login>,
) -> Result<impl IntoResponse, ApiError> {
    let (secret, record) = authenticator.login(login, from).await?;
    let session = Session {
        name: record.name,
        level: record.level,
        csrf: secret.csrf(),
    };
    let cookie = AppendHeaders([(SET_COOKIE, set_cookie(Some(&secret), scheme))]);
    Ok((cookie, Json(session)))
}

/// Logs out: ends the session, or revokes the API token, that this request is made with.
#[utoipa::path(
    post, path = "/api/v1/logout", tag = "session", security(("session" = []), ("token" = [])),
    responses(
        (status = 204, description = "Logged out"),
        (status = 401, description = "Nobody is logged in", body = model::Error),
        (status = 403, description = "The token against forged requests is missing", body = model::Error),
    ),
)]
async fn logout(
    State(authenticator): State<Arc<Authenticator>>,
    Extension(scheme): Extension<Scheme>,
    auth: Auth<Viewer>,
) -> Result<impl IntoResponse, ApiError> {
    let hash = auth.caller.secret.hash();
    authenticator.accounts.remove_bearer(hash).await?;
    let cookie = AppendHeaders([(SET_COOKIE, set_cookie(None, scheme))]);
    Ok((StatusCode::NO_CONTENT, cookie))
}

/// Who is logged in.
#[utoipa::path(
    get, operation_id = "get_session", path = "/api/v1/session", tag = "session", security(("session" = []), ("token" = [])),
    responses(
        (status = 200, description = "The session", body = Session),
        (status = 401, description = "Nobody is logged in", body = model::Error),
    ),
)]
async fn current(auth: Auth<Viewer>) -> Json<Session> {
    let caller = auth.caller;
    Json(Session {
        csrf: caller.secret.csrf(),
        name: caller.name,
        level: caller.level,
    })
}

#[cfg(test)]
mod tests;
