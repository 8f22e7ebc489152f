//! How the API says no.

use axum::{
    Json,
    http::StatusCode,
    response::{IntoResponse, Response},
};

use super::model;
use crate::controller::{AskError, ClassError};

/// An error's status, stable word and sentence.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Problem {
    pub status: StatusCode,
    pub code: &'static str,
    pub message: String,
}

impl Problem {
    pub fn new(status: StatusCode, code: &'static str, message: impl std::fmt::Display) -> Self {
        Self {
            status,
            code,
            message: message.to_string(),
        }
    }

    pub fn bad_request(message: impl std::fmt::Display) -> Self {
        Self::new(StatusCode::BAD_REQUEST, "bad_request", message)
    }

    pub fn not_found(message: impl std::fmt::Display) -> Self {
        Self::new(StatusCode::NOT_FOUND, "not_found", message)
    }

    /// Something here went wrong; what exactly stands in the log, not in the answer.
    pub fn internal(what: &'static str, error: &dyn std::error::Error) -> Self {
        tracing::error!(what, error = %error, "request failed");
        Self::new(
            StatusCode::INTERNAL_SERVER_ERROR,
            "internal",
            format!("{what} failed; see the controller's log"),
        )
    }
}

impl IntoResponse for Problem {
    fn into_response(self) -> Response {
        let body = model::Error {
            code: self.code.to_owned(),
            message: self.message,
        };
        (self.status, Json(body)).into_response()
    }
}

impl From<AskError> for Problem {
    fn from(error: AskError) -> Self {
        match &error {
            AskError::Closed | AskError::Overloaded => {
                Self::new(StatusCode::SERVICE_UNAVAILABLE, "unavailable", error)
            }
            AskError::NotFound { .. } => Self::not_found(error),
            AskError::Class(class) => class.clone().into(),
        }
    }
}

impl From<ClassError> for Problem {
    fn from(error: ClassError) -> Self {
        let status = match error.code() {
            "not_found" => StatusCode::NOT_FOUND,
            "conflict" => StatusCode::CONFLICT,
            _ => StatusCode::BAD_REQUEST,
        };
        Self::new(status, error.code(), error)
    }
}
