//! Who makes a request, as an argument of its handler.

use std::{fmt, marker::PhantomData, sync::Arc};

use axum::{
    extract::{FromRef, FromRequestParts},
    http::{Method, StatusCode, request::Parts},
};

use super::{
    Authenticator,
    bearer::{CSRF_HEADER, Presented, Secret, presented},
};
use crate::{
    api::{error::ApiError, server::Scheme},
    store::records::{BearerKind, Level},
};

/// Who makes a request.
#[derive(Clone, PartialEq, Eq)]
pub struct Caller {
    /// The account, or the API token's own name.
    pub name: String,
    pub kind: BearerKind,
    pub level: Level,
    pub(super) secret: Secret,
}

impl fmt::Debug for Caller {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Caller")
            .field("name", &self.name)
            .field("kind", &self.kind)
            .field("level", &self.level)
            .finish_non_exhaustive()
    }
}

/// A level as a type, for [`Auth`].
pub trait AtLeast {
    const LEVEL: Level;
}

macro_rules! levels {
    ($($name:ident),*) => {$(
        #[doc = concat!("[`Level::", stringify!($name), "`] or above.")]
        #[derive(Debug, Clone, Copy)]
        pub struct $name;

        impl AtLeast for $name {
            const LEVEL: Level = Level::$name;
        }
    )*};
}

levels!(Viewer, Support, Operator, Admin);

/// Lets a handler run only for who has level `L` or above: `Auth<Operator>`. A state that handlers with it
/// have gives `Arc<Authenticator>` by [`FromRef`].
#[derive(Debug, Clone)]
pub struct Auth<L> {
    pub caller: Caller,
    level: PhantomData<L>,
}

impl<S, L> FromRequestParts<S> for Auth<L>
where
    S: Send + Sync,
    L: AtLeast,
    Arc<Authenticator>: FromRef<S>,
{
    type Rejection = ApiError;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, ApiError> {
        let authenticator = Arc::<Authenticator>::from_ref(state);
        let caller = caller(parts, &authenticator).await?;
        if caller.level < L::LEVEL {
            let message = format!(
                "this needs the level {:?}, and '{}' has {:?}",
                L::LEVEL,
                caller.name,
                caller.level
            );
            return Err(ApiError::new(StatusCode::FORBIDDEN, "forbidden", message));
        }
        Ok(Self {
            caller,
            level: PhantomData,
        })
    }
}

async fn caller(parts: &Parts, authenticator: &Authenticator) -> Result<Caller, ApiError> {
    match presented(&parts.headers, scheme(parts)) {
        Presented::ApiToken(secret) => authenticator.caller(secret, BearerKind::ApiToken).await,
        Presented::Cookie(secret) => {
            // First of all, so that a forged request finds out nothing about the session.
            if !is_safe(&parts.method) && !has_csrf(parts, &secret) {
                let message = format!("a change needs the session's token in the header {CSRF_HEADER}");
                return Err(ApiError::new(StatusCode::FORBIDDEN, "csrf", message));
            }
            authenticator.caller(secret, BearerKind::Session).await
        }
        Presented::Unusable | Presented::Nothing => Err(super::not_logged_in()),
    }
}

/// Nobody has said how it came in: then as it should.
pub(super) fn scheme(parts: &Parts) -> Scheme {
    parts.extensions.get().copied().unwrap_or(Scheme::Https)
}

fn is_safe(method: &Method) -> bool {
    matches!(*method, Method::GET | Method::HEAD | Method::OPTIONS)
}

fn has_csrf(parts: &Parts, secret: &Secret) -> bool {
    let header = parts.headers.get(CSRF_HEADER);
    header
        .and_then(|h| h.to_str().ok())
        .is_some_and(|h| secret.is_csrf(h))
}
