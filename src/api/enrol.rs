//! Joining and renewing: how an agent or edge gets its certificate, and everybody the time.

mod directory;

use std::{
    net::{IpAddr, SocketAddr},
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use axum::{
    Json,
    extract::{ConnectInfo, FromRef, State},
    http::StatusCode,
};
use corridor_probes::{AgentId, Mono, Wall};
use rand::Rng as _;
use utoipa_axum::{router::OpenApiRouter, routes};

use super::{
    error::{ApiError, Body},
    limit::{Failures, Policy, subscriber},
    model::{self, Join, Joined, Renew, Time},
};
use crate::{
    clock::Clock,
    identity::{
        Ca, Own, Subject, Token, TokenError,
        certificate::{requested_key, sha256},
        encode_certificates, system_rng,
    },
    store::records::Service,
};

pub use directory::{Admitted, Candidate, Directory, Member, Refusal};

/// The longest subject, in bytes.
pub const MAX_SUBJECT: usize = 128;
/// The longest name of an edge or region, in bytes; it also stands in certificates.
pub const MAX_NAME: usize = 63;

/// Failures are counted by address and by the very text that failed (a token, a request): who repeats a
/// bad one is slowed down, and nobody else, not even at the same address. Secrets of 128 bits need no
/// limit against guessing.
const FAILURES: Policy = Policy {
    free: 10,
    first: Duration::from_secs(1),
    longest: Duration::from_secs(60),
    forget: Duration::from_secs(300),
    keys: 10_000,
};

type Attempt = (IpAddr, [u8; 32]);

/// What the handlers need.
#[derive(Debug)]
pub struct Enrolment {
    directory: Arc<dyn Directory>,
    ca: Arc<Ca>,
    clock: Arc<dyn Clock>,
    failures: Mutex<Failures<Attempt>>,
}

impl Enrolment {
    /// `clock`'s wall clock is the controller's time.
    pub fn new(directory: Arc<dyn Directory>, ca: Arc<Ca>, clock: Arc<dyn Clock>) -> Arc<Self> {
        Arc::new(Self {
            directory,
            ca,
            clock,
            failures: Mutex::new(Failures::new(FAILURES)),
        })
    }

    /// Runs `work` unless `text` has failed too often from this address, and counts it when it fails.
    async fn limited<T>(
        &self,
        from: SocketAddr,
        text: &str,
        work: impl Future<Output = Result<T, ApiError>>,
    ) -> Result<T, ApiError> {
        let attempt = (subscriber(from.ip()), sha256(text.as_bytes()));
        self.failures()
            .check(&attempt, self.mono())
            .map_err(ApiError::too_many_requests)?;
        let result = work.await;
        if result.as_ref().is_err_and(|e| e.status.is_client_error()) {
            self.failures().fail(attempt, self.mono());
        }
        result
    }

    fn failures(&self) -> std::sync::MutexGuard<'_, Failures<Attempt>> {
        self.failures.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn mono(&self) -> Mono {
        self.clock.mono()
    }

    fn now(&self) -> Wall {
        self.clock.wall()
    }

    async fn join(&self, join: Join) -> Result<Joined, ApiError> {
        let token: Token = join.token.parse().map_err(refused)?;
        if !self.ca.roots().pins().contains(&token.pin()) {
            return Err(refused(TokenError::OtherController));
        }
        let public_key = requested_key(&join.csr).map_err(bad_request)?;
        let candidate = Candidate {
            service: service_of(&join)?,
            name: join.name,
            region: join.region,
            token,
            agent_id: AgentId(system_rng().next_u64()),
            public_key: public_key.clone(),
            now: self.now(),
        };
        let member = self.directory.enrol(candidate).await.map_err(from_refusal)?;
        if let Some(replaced) = member.replaced {
            tracing::info!(own = %member.own.peer(), replaced = %replaced.peer(), "joined anew");
        } else {
            tracing::info!(own = %member.own.peer(), "joined");
        }
        self.answer(member, &public_key)
    }

    async fn renew(&self, renew: Renew) -> Result<Joined, ApiError> {
        let public_key = requested_key(&renew.csr).map_err(bad_request)?;
        let member = self.directory.member(public_key.clone()).await;
        let member = member.map_err(|e| ApiError::internal(&e))?.ok_or_else(|| {
            let message = "this key is not enrolled: join anew, with a token";
            ApiError::new(StatusCode::FORBIDDEN, "not_enrolled", message)
        })?;
        if member.revoked {
            let message = "this machine was revoked, or replaced by another: join anew, with a token";
            return Err(ApiError::new(StatusCode::FORBIDDEN, "revoked", message));
        }
        self.answer(member, &public_key)
    }

    fn answer(&self, member: Member, public_key: &[u8]) -> Result<Joined, ApiError> {
        let (now, subject) = (self.now(), subject(&member));
        let chain = self.ca.issue(subject, public_key, now, &mut system_rng());
        Ok(Joined {
            service: member.own.service(),
            id: member.own.id(),
            chain: encode_certificates(&chain.map_err(|e| ApiError::internal(&e))?),
            roots: self.ca.roots().to_pem(),
            name: member.name,
            edges: member.edges,
            controller: member.controller,
            now_us: now.as_micros(),
        })
    }
}

fn subject(member: &Member) -> Subject<'_> {
    match member.own {
        Own::Agent(id) => Subject::Agent(id),
        Own::Edge(id) => Subject::Edge {
            id,
            name: &member.name,
        },
    }
}

fn service_of(join: &Join) -> Result<Service, ApiError> {
    let (name, region) = (join.name.as_deref(), join.region.as_deref());
    let good = match join.service {
        Service::Agent => name.is_none_or(is_subject),
        Service::Edge => name.is_none_or(is_name),
    };
    if !good || !region.is_none_or(is_name) {
        let message = format!(
            "a subject has 1 to {MAX_SUBJECT} bytes without spaces; the name of an edge or region 1 to \
             {MAX_NAME} letters, digits, '-', '_' and '.'"
        );
        return Err(ApiError::bad_request("bad_name", message));
    }
    Ok(join.service)
}

pub(super) fn is_subject(text: &str) -> bool {
    let printable = |c: char| !c.is_control() && !c.is_whitespace();
    (1..=MAX_SUBJECT).contains(&text.len()) && text.chars().all(printable)
}

pub(super) fn is_name(text: &str) -> bool {
    let plain = |b: u8| b.is_ascii_alphanumeric() || b"-_.".contains(&b);
    (1..=MAX_NAME).contains(&text.len()) && text.bytes().all(plain)
}

fn bad_request(error: crate::identity::CertificateError) -> ApiError {
    ApiError::bad_request("bad_request", error.to_string())
}

fn refused(error: TokenError) -> ApiError {
    let status = match error {
        TokenError::NotAToken | TokenError::OtherVersion | TokenError::Malformed => StatusCode::BAD_REQUEST,
        TokenError::Unknown | TokenError::WrongSecret => StatusCode::UNAUTHORIZED,
        _ => StatusCode::FORBIDDEN,
    };
    ApiError::new(status, error.code(), error.to_string())
}

fn from_refusal(refusal: Refusal) -> ApiError {
    match refusal {
        Refusal::Token(error) => refused(error),
        Refusal::NoName => ApiError::bad_request("name_needed", refusal.to_string()),
        Refusal::KeyInUse => ApiError::new(StatusCode::CONFLICT, "key_in_use", refusal.to_string()),
        Refusal::Full => ApiError::new(StatusCode::CONFLICT, "full", refusal.to_string()),
        Refusal::Unavailable(error) => ApiError::internal(&error),
    }
}

/// Everything under `/api/v1` that needs no account.
pub fn router<S>() -> OpenApiRouter<S>
where
    S: Clone + Send + Sync + 'static,
    Arc<Enrolment>: FromRef<S>,
{
    OpenApiRouter::new()
        .routes(routes!(join))
        .routes(routes!(renew))
        .routes(routes!(time))
}

/// Joins an agent or edge.
///
/// The token is the proof. Who joins again, with a valid token and a new key, gets a new id; the older
/// agent of the same subject, or edge of the same name, is revoked.
#[utoipa::path(
    post, path = "/api/v1/join", tag = "enrolment", request_body = Join,
    responses(
        (status = 200, description = "Enrolled", body = Joined),
        (status = 400, description = "The token, name or certificate request is malformed", body = model::Error),
        (status = 401, description = "The token is not known", body = model::Error),
        (status = 403, description = "The token does not allow this", body = model::Error),
        (status = 409, description = "The key is taken, or there are no more numbers for edges", body = model::Error),
        (status = 413, description = "The body is too large", body = model::Error),
        (status = 429, description = "This token failed too often from this address", body = model::Error),
    ),
)]
async fn join(
    State(enrolment): State<Arc<Enrolment>>,
    ConnectInfo(from): ConnectInfo<SocketAddr>,
    Body(join): Body<Join>,
) -> Result<Json<Joined>, ApiError> {
    let token = join.token.clone();
    enrolment
        .limited(from, &token, enrolment.join(join))
        .await
        .map(Json)
}

/// Renews a certificate.
///
/// The request's signature by the enrolled key is the proof, also when the old certificate has expired.
#[utoipa::path(
    post, path = "/api/v1/renew", tag = "enrolment", request_body = Renew,
    responses(
        (status = 200, description = "A new certificate", body = Joined),
        (status = 400, description = "The certificate request is malformed", body = model::Error),
        (status = 403, description = "The key is not enrolled, or revoked", body = model::Error),
        (status = 413, description = "The body is too large", body = model::Error),
        (status = 429, description = "This request failed too often from this address", body = model::Error),
    ),
)]
async fn renew(
    State(enrolment): State<Arc<Enrolment>>,
    ConnectInfo(from): ConnectInfo<SocketAddr>,
    Body(renew): Body<Renew>,
) -> Result<Json<Joined>, ApiError> {
    let csr = renew.csr.clone();
    enrolment
        .limited(from, &csr, enrolment.renew(renew))
        .await
        .map(Json)
}

/// The controller's time.
#[utoipa::path(
    get, operation_id = "get_time", path = "/api/v1/time", tag = "enrolment",
    responses((status = 200, description = "The time", body = Time)),
)]
async fn time(State(enrolment): State<Arc<Enrolment>>) -> Json<Time> {
    Json(Time {
        now_us: enrolment.now().as_micros(),
    })
}

#[cfg(test)]
pub(crate) mod testing;
#[cfg(test)]
mod tests;
