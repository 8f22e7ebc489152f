//! The HTTPS side of enrolment, as an agent or edge sees it: joining, renewing, asking the time. Keys are
//! made here, and never leave.

mod http;

use std::sync::Arc;

use corridor_probes::{Mono, Wall};
use rustls::crypto::CryptoProvider;

use super::{
    certificate::Pin,
    key::{KeyError, SecretKey, system_rng},
    material::{Material, MaterialError},
    tls::{self, TlsError},
    token::{Token, TokenError},
    trusted_time::TrustedTime,
};
use crate::{
    api::model::{Join, Joined, Renew, Time},
    store::records::Service,
};
use http::Https;

/// Why enrolment failed. Each is one clear line.
#[derive(Debug, thiserror::Error)]
pub enum EnrolError {
    #[error("'{0}' is not an address of a controller: it looks like https://controller.example:8443")]
    Url(String),
    #[error(transparent)]
    Token(#[from] TokenError),
    #[error("cannot reach {url}: {reason}")]
    Unreachable {
        url: String,
        reason: String,
        #[source]
        source: reqwest::Error,
    },
    #[error("{url} does not answer in time")]
    TimedOut { url: String },
    #[error(
        "{url} is not the controller that belongs here: its certificate is of another authority (a wrong \
         address, or something on the way that opens HTTPS)"
    )]
    WrongController { url: String },
    #[error("{url} shows a certificate that cannot be accepted: {reason}")]
    Certificate { url: String, reason: String },
    /// The controller's own words; `code` is stable.
    #[error("{message}")]
    Refused { code: String, message: String },
    #[error("{url} does not answer like a controller: {what}")]
    NotAController { url: String, what: String },
    #[error("the controller's answer cannot be used: {0}")]
    Answer(#[from] MaterialError),
    #[error("the controller renewed another identity than this machine's")]
    OtherIdentity,
    #[error(transparent)]
    Key(#[from] KeyError),
    #[error(transparent)]
    Tls(#[from] TlsError),
    #[error("HTTPS cannot be set up: {0}")]
    Setup(#[source] reqwest::Error),
}

impl EnrolError {
    /// Whether the same may work later by itself.
    pub fn is_passing(&self) -> bool {
        match self {
            Self::Unreachable { .. } | Self::TimedOut { .. } | Self::NotAController { .. } => true,
            Self::Refused { code, .. } => {
                matches!(code.as_str(), "too_many_requests" | "busy" | "internal")
            }
            _ => false,
        }
    }
}

/// What to join as.
#[derive(Debug, Clone)]
pub struct JoinAs<'a> {
    /// The controller's HTTPS address.
    pub url: &'a str,
    /// The join token's text.
    pub token: &'a str,
    pub service: Service,
    /// The subject of an agent, the name of an edge; the token may say it instead.
    pub name: Option<&'a str>,
    pub region: Option<&'a str>,
}

/// Joins with a new key. Nothing is written: that is [`Material::save`]'s. `time` learns the controller's.
pub async fn join(
    wanted: JoinAs<'_>,
    time: &TrustedTime,
    provider: &Arc<CryptoProvider>,
) -> Result<Material, EnrolError> {
    let token: Token = wanted.token.parse()?;
    let https = Https::new(wanted.url, tls::pinned_client(provider, &[token.pin()])?)?;
    let key = SecretKey::generate(&mut system_rng())?;
    let request = Join {
        token: token.to_string(),
        service: wanted.service,
        name: wanted.name.map(str::to_owned),
        region: wanted.region.map(str::to_owned),
        csr: key.request()?,
    };
    let answer = match post_join(&https, &request, time).await {
        // The controller may have taken the token's use, and only its answer was lost: it knows the key
        // again, and answers anew.
        Err(EnrolError::TimedOut { .. } | EnrolError::Unreachable { .. }) => {
            post_join(&https, &request, time).await?
        }
        answer => answer?,
    };
    Ok(Material::from_answer(wanted.url, key, answer)?)
}

async fn post_join(https: &Https, request: &Join, time: &TrustedTime) -> Result<Joined, EnrolError> {
    let sent = time.mono();
    let answer: Joined = https.post("api/v1/join", request).await?;
    learn(time, answer.now_us, sent);
    Ok(answer)
}

/// A new certificate for the same key. `time` learns the controller's.
pub async fn renew(
    material: &Material,
    time: &TrustedTime,
    provider: &Arc<CryptoProvider>,
) -> Result<Material, EnrolError> {
    let https = to_controller(material, provider)?;
    let request = Renew {
        csr: material.key.request()?,
    };
    let sent = time.mono();
    let answer: Joined = https.post("api/v1/renew", &request).await?;
    learn(time, answer.now_us, sent);
    let key = SecretKey::from_pem(&material.key.to_pem())?;
    let renewed = Material::from_answer(&material.url, key, answer)?;
    if renewed.own != material.own {
        return Err(EnrolError::OtherIdentity);
    }
    Ok(renewed)
}

/// Asks the controller's time, for `time` to learn. Works whatever this machine's clock says, and when its
/// certificate has expired meanwhile.
pub async fn time(
    material: &Material,
    time: &TrustedTime,
    provider: &Arc<CryptoProvider>,
) -> Result<(), EnrolError> {
    ask_time(&to_controller(material, provider)?, time).await
}

/// [`time`], for who has not joined and knows the controller's CA by its pin.
pub async fn time_by_pin(
    url: &str,
    pin: Pin,
    time: &TrustedTime,
    provider: &Arc<CryptoProvider>,
) -> Result<(), EnrolError> {
    let https = Https::new(url, tls::pinned_client(provider, &[pin])?)?;
    ask_time(&https, time).await
}

async fn ask_time(https: &Https, time: &TrustedTime) -> Result<(), EnrolError> {
    // The first question pays for the connection; the second takes one round trip, and so has a third of
    // the error or less.
    for _ in 0..2 {
        let sent = time.mono();
        let answer: Time = https.get("api/v1/time").await?;
        learn(time, answer.now_us, sent);
    }
    Ok(())
}

fn to_controller(material: &Material, provider: &Arc<CryptoProvider>) -> Result<Https, EnrolError> {
    Https::new(&material.url, tls::rooted_client(provider, &material.roots)?)
}

fn learn(time: &TrustedTime, now_us: i64, sent: Mono) {
    time.learn(Wall::from_micros(now_us), sent, time.mono());
}

#[cfg(test)]
mod tests;
