//! Accounts, sessions and tokens, as the API shows them.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use crate::store::records::{Level, Service};

/// `POST /api/v1/login`. Answers [`Session`] and sets the session's cookie.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct Login {
    pub name: String,
    pub password: String,
}

/// `GET /api/v1/session`. Requests that change something carry `csrf` in the header `x-corridor-csrf`
/// when they authenticate by cookie.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Session {
    pub name: String,
    pub level: Level,
    pub csrf: String,
}

/// `POST /api/v1/tokens`: a join token.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct CreateToken {
    pub service: Service,
    /// How many may join with it; 1 unless said.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub uses: Option<u32>,
    /// Seconds from now; a day unless said.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub expires_s: Option<u64>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub subject: Option<String>,
    #[serde(default)]
    pub tags: BTreeMap<String, String>,
}

/// The answer: the only time the token itself is shown.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct CreatedToken {
    pub id: String,
    pub token: String,
    pub expires: String,
    /// A line to run on the machine that shall join; a name goes in the place of `NAME`, if it ends so.
    pub join: String,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct TokenInfo {
    pub id: String,
    pub service: Service,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub subject: Option<String>,
    pub tags: BTreeMap<String, String>,
    pub uses_left: u32,
    pub created: String,
    pub expires: String,
    pub revoked: bool,
}

/// `POST /api/v1/api-tokens`: what a program authenticates with.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct CreateApiToken {
    pub name: String,
    pub level: Level,
    /// Seconds from now; never unless said.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub expires_s: Option<u64>,
}

/// The answer: the only time the token itself is shown.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct CreatedApiToken {
    pub name: String,
    pub level: Level,
    /// For the header `Authorization: Bearer …`.
    pub token: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub expires: Option<String>,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct ApiTokenInfo {
    pub name: String,
    pub level: Level,
    pub created: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub expires: Option<String>,
}

/// `POST /api/v1/accounts/{name}/password`: the only time the password is shown.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct NewPassword {
    pub name: String,
    pub level: Level,
    pub password: String,
}
