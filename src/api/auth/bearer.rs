//! Bearer secrets: a browser's session in its cookie, an API token in its header, and the token against
//! forged requests that goes with a session.

use std::time::Duration;

use axum::http::{HeaderMap, header};
use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
use corridor_probes::Wall;
use rand::CryptoRng;
use ring::hmac;

use crate::{
    api::server::Scheme,
    identity::certificate::sha256,
    store::records::{BearerKind, BearerRecord, Level},
};

/// A session's life. There is no sliding: who works longer logs in again.
pub const SESSION: Duration = Duration::from_secs(12 * 3_600);
/// The header that carries [`crate::api::model::Session::csrf`] back.
pub const CSRF_HEADER: &str = "x-corridor-csrf";
/// What API tokens begin with, so that people and scanners know one when they see it.
const API_PREFIX: &str = "corrapi_";

/// 256 random bits. The store has only their hash.
#[derive(Clone, PartialEq, Eq)]
pub(super) struct Secret([u8; 32]);

impl Secret {
    fn generate(rng: &mut dyn CryptoRng) -> Self {
        let mut secret = [0; 32];
        rng.fill_bytes(&mut secret);
        Self(secret)
    }

    fn parse(text: &str) -> Option<Self> {
        let mut secret = [0; 32];
        (URL_SAFE_NO_PAD.decode_slice(text, &mut secret) == Ok(32)).then_some(Self(secret))
    }

    fn text(&self) -> String {
        URL_SAFE_NO_PAD.encode(self.0)
    }

    pub(super) fn hash(&self) -> [u8; 32] {
        sha256(&self.0)
    }

    /// Known to who has the cookie's session and may read the API's answers, which other sites' pages may
    /// not. Derived, so that there is nothing to store.
    pub(super) fn csrf(&self) -> String {
        URL_SAFE_NO_PAD.encode(hmac::sign(&self.csrf_key(), CSRF_HEADER.as_bytes()))
    }

    /// In a time that does not tell where a wrong one differs.
    pub(super) fn is_csrf(&self, text: &str) -> bool {
        let mut tag = [0; 32];
        URL_SAFE_NO_PAD.decode_slice(text, &mut tag) == Ok(32)
            && hmac::verify(&self.csrf_key(), CSRF_HEADER.as_bytes(), &tag).is_ok()
    }

    fn csrf_key(&self) -> hmac::Key {
        hmac::Key::new(hmac::HMAC_SHA256, &self.0)
    }
}

/// A new session of the account `name`.
pub(super) fn session(
    name: &str,
    level: Level,
    now: Wall,
    rng: &mut dyn CryptoRng,
) -> (Secret, BearerRecord) {
    let secret = Secret::generate(rng);
    let record = BearerRecord {
        secret_hash: secret.hash(),
        kind: BearerKind::Session,
        name: name.to_owned(),
        level,
        created: now,
        expires: Some(now + SESSION),
    };
    (secret, record)
}

/// A new API token: its record, and its text, which is to be shown once.
pub fn api_token(
    name: &str,
    level: Level,
    expires: Option<Wall>,
    now: Wall,
    rng: &mut dyn CryptoRng,
) -> (BearerRecord, String) {
    let secret = Secret::generate(rng);
    let record = BearerRecord {
        secret_hash: secret.hash(),
        kind: BearerKind::ApiToken,
        name: name.to_owned(),
        level,
        created: now,
        expires,
    };
    (record, format!("{API_PREFIX}{}", secret.text()))
}

/// What a request authenticates with.
#[derive(Clone, PartialEq, Eq)]
pub(super) enum Presented {
    Cookie(Secret),
    ApiToken(Secret),
    /// It has an `Authorization` that is none of ours: the cookie is not looked at.
    Unusable,
    Nothing,
}

pub(super) fn presented(headers: &HeaderMap, scheme: Scheme) -> Presented {
    if let Some(value) = headers.get(header::AUTHORIZATION) {
        let token = value.to_str().ok().and_then(|text| {
            let (kind, token) = text.split_once(' ')?;
            let token = token.trim().strip_prefix(API_PREFIX)?;
            kind.eq_ignore_ascii_case("bearer")
                .then(|| Secret::parse(token))?
        });
        return token.map_or(Presented::Unusable, Presented::ApiToken);
    }
    let cookies = headers.get_all(header::COOKIE).iter();
    let mut pairs = cookies
        .filter_map(|c| c.to_str().ok())
        .flat_map(|c| c.split(';'))
        .filter_map(|pair| pair.trim().split_once('='));
    let session = pairs.find(|(name, _)| *name == cookie_name(scheme));
    session
        .and_then(|(_, value)| Secret::parse(value))
        .map_or(Presented::Nothing, Presented::Cookie)
}

/// On HTTPS a name that browsers take only with `Secure`, from this very host, for all its paths
/// (RFC 6265bis §4.1.3.2).
fn cookie_name(scheme: Scheme) -> &'static str {
    match scheme {
        Scheme::Https => "__Host-corridor",
        Scheme::Http => "corridor",
    }
}

/// The `Set-Cookie` of a session; of its end without one.
pub(super) fn set_cookie(session: Option<&Secret>, scheme: Scheme) -> String {
    let name = cookie_name(scheme);
    let value = session.map(Secret::text).unwrap_or_default();
    let age = session.map_or(0, |_| SESSION.as_secs());
    let secure = match scheme {
        Scheme::Https => "; Secure",
        Scheme::Http => "",
    };
    format!("{name}={value}; Path=/; HttpOnly; SameSite=Strict; Max-Age={age}{secure}")
}

#[cfg(test)]
mod tests {
    use super::*;
    use rand::{SeedableRng as _, rngs::StdRng};

    fn secret(seed: u64) -> Secret {
        Secret::generate(&mut StdRng::seed_from_u64(seed))
    }

    #[test]
    fn a_csrf_token_belongs_to_one_session() {
        let (one, other) = (secret(1), secret(2));
        assert!(one.is_csrf(&one.csrf()));
        assert!(!one.is_csrf(&other.csrf()));
        assert!(!one.is_csrf(""));
        assert!(!one.is_csrf(&one.text()));
    }

    fn headers(pairs: &[(&'static str, String)]) -> HeaderMap {
        let mut headers = HeaderMap::new();
        for (name, value) in pairs {
            headers.append(*name, value.parse().unwrap());
        }
        headers
    }

    #[test]
    fn what_is_presented_is_read_from_where_it_belongs() {
        let (a, b) = (secret(1), secret(2));
        let (token, record) = {
            let (record, text) = api_token(
                "ci",
                Level::Viewer,
                None,
                Wall::from_secs(0),
                &mut StdRng::seed_from_u64(1),
            );
            (text, record)
        };
        assert_eq!(record.secret_hash, a.hash());
        let cookie = |name: &str, s: &Secret| ("cookie", format!("x=1; {name}={}; y=2", s.text()));
        let bearer = |text: String| ("authorization", text);
        let is = |pairs: &[_], scheme, expected| {
            assert!(presented(&headers(pairs), scheme) == expected, "{pairs:?}");
        };
        use Presented::{ApiToken, Cookie, Nothing, Unusable};
        use Scheme::{Http, Https};
        is(&[], Https, Nothing);
        is(&[cookie("__Host-corridor", &a)], Https, Cookie(a.clone()));
        is(&[cookie("corridor", &a)], Http, Cookie(a.clone()));
        is(&[cookie("corridor", &a)], Https, Nothing);
        is(
            &[cookie("z", &b), cookie("corridor", &a)],
            Http,
            Cookie(a.clone()),
        );
        is(&[("cookie", "corridor=short".into())], Http, Nothing);
        is(&[bearer(format!("Bearer {token}"))], Https, ApiToken(a.clone()));
        is(&[bearer(format!("bearer  {token}"))], Https, ApiToken(a.clone()));
        for bad in [
            token.clone(),
            format!("Basic {token}"),
            format!("Bearer {}", a.text()),
            "Bearer".into(),
        ] {
            is(&[bearer(bad), cookie("__Host-corridor", &b)], Https, Unusable);
        }
    }

    #[test]
    fn cookies_are_out_of_reach_for_scripts_and_other_sites() {
        let cookie = set_cookie(Some(&secret(1)), Scheme::Https);
        assert!(cookie.starts_with("__Host-corridor="));
        for part in [
            "; Path=/",
            "; HttpOnly",
            "; SameSite=Strict",
            "; Max-Age=43200",
            "; Secure",
        ] {
            assert!(cookie.contains(part), "{cookie}");
        }
        assert!(!set_cookie(Some(&secret(1)), Scheme::Http).contains("Secure"));
        assert!(set_cookie(None, Scheme::Http).starts_with("corridor=; "));
        assert!(set_cookie(None, Scheme::Http).contains("; Max-Age=0"));
    }
}
