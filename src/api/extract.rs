//! Parts of a request whose faults are answered as every other error is; bodies: [`super::error::Body`].

use axum::{
    extract::{self, FromRequestParts},
    http::request::Parts,
};
use corridor_probes::Wall;
use serde::de::DeserializeOwned;

use super::{error::ApiError, time_text};

/// The query.
#[derive(Debug, Clone, Copy)]
pub struct Query<T>(pub T);

impl<S: Send + Sync, T: DeserializeOwned> FromRequestParts<S> for Query<T> {
    type Rejection = ApiError;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, ApiError> {
        let query = extract::Query::from_request_parts(parts, state).await;
        let extract::Query(query) = query.map_err(|e| ApiError::bad_request("bad_request", e.body_text()))?;
        Ok(Self(query))
    }
}

/// The variable parts of the path.
#[derive(Debug, Clone, Copy)]
pub struct Path<T>(pub T);

impl<S: Send + Sync, T: DeserializeOwned + Send> FromRequestParts<S> for Path<T> {
    type Rejection = ApiError;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, ApiError> {
        let path = extract::Path::from_request_parts(parts, state).await;
        let extract::Path(path) = path.map_err(|e| ApiError::bad_request("bad_request", e.body_text()))?;
        Ok(Self(path))
    }
}

/// A time in a query or body, if it is there.
pub fn time(text: Option<&str>) -> Result<Option<Wall>, ApiError> {
    let time = text.map(time_text::parse).transpose();
    time.map_err(|e| ApiError::bad_request("bad_time", e.to_string()))
}

/// How many of a list are asked for: `usual` unless said.
///
/// # Errors
/// For 0, and above `most`.
pub fn limit(asked: Option<u32>, usual: u32, most: u32) -> Result<u32, ApiError> {
    let limit = asked.unwrap_or(usual);
    if (1..=most).contains(&limit) {
        Ok(limit)
    } else {
        let message = format!("limit is 1 to {most}");
        Err(ApiError::bad_request("bad_limit", message))
    }
}
