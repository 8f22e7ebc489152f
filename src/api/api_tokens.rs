//! API tokens: what programs authenticate with.

use std::time::Duration;

use axum::{Json, extract::State, http::StatusCode};

use super::{
    ApiState,
    auth::{self, Admin, Auth},
    enrol::is_name,
    error::{ApiError, Body},
    extract::Path,
    model::{self, ApiTokenInfo, CreateApiToken, CreatedApiToken},
    router::Denied,
    time_text,
};
use crate::{
    identity::system_rng,
    store::records::{BearerKind, BearerRecord},
};

/// The longest life that may be asked for, in seconds; without one a token lives until it is revoked.
const MAX_LIFE_S: u64 = 10 * 366 * 86_400;
/// More are a mistake, or a program that makes a new one each time.
const MAX_TOKENS: usize = 1_000;

/// API tokens, newest first; never the tokens themselves.
#[utoipa::path(
    get, operation_id = "list_api_tokens", path = "/api/v1/api-tokens", tag = "tokens", security(("session" = []), ("token" = [])),
    responses((status = 200, description = "The tokens", body = Vec<ApiTokenInfo>), Denied),
)]
pub async fn list(_: Auth<Admin>, State(api): State<ApiState>) -> Result<Json<Vec<ApiTokenInfo>>, ApiError> {
    let tokens = api.store(|store| store.bearers(BearerKind::ApiToken)).await?;
    Ok(Json(tokens.into_iter().rev().map(info).collect()))
}

fn info(bearer: BearerRecord) -> ApiTokenInfo {
    ApiTokenInfo {
        name: bearer.name,
        level: bearer.level,
        created: time_text::text(bearer.created),
        expires: bearer.expires.map(time_text::text),
    }
}

/// Makes an API token. It is shown this once.
#[utoipa::path(
    post, operation_id = "create_api_token", path = "/api/v1/api-tokens", tag = "tokens", request_body = CreateApiToken,
    security(("session" = []), ("token" = [])),
    responses(
        (status = 201, description = "The token", body = CreatedApiToken),
        (status = 400, description = "Something of it makes no sense", body = model::Error),
        (status = 409, description = "There is one of this name, or there are too many", body = model::Error),
        Denied,
    ),
)]
pub async fn create(
    auth: Auth<Admin>,
    State(api): State<ApiState>,
    Body(asked): Body<CreateApiToken>,
) -> Result<(StatusCode, Json<CreatedApiToken>), ApiError> {
    if !is_name(&asked.name) {
        let message = "the name of an API token has 1 to 63 letters, digits, '-', '_' and '.'";
        return Err(ApiError::bad_request("bad_name", message));
    }
    if asked.expires_s.is_some_and(|s| !(1..=MAX_LIFE_S).contains(&s)) {
        let message = format!("an API token lives for 1 to {MAX_LIFE_S} s");
        return Err(ApiError::bad_request("bad_request", message));
    }
    let now = api.now();
    let expires = asked.expires_s.map(|s| now + Duration::from_secs(s));
    let (record, token) = auth::api_token(&asked.name, asked.level, expires, now, &mut system_rng());
    let created = CreatedApiToken {
        name: asked.name.clone(),
        level: asked.level,
        token,
        expires: expires.map(time_text::text),
    };
    let refused = api.store(move |store| {
        let others = store.bearers(BearerKind::ApiToken)?;
        let is_live = |b: &&BearerRecord| b.expires.is_none_or(|e| now < e);
        if others.iter().filter(is_live).any(|b| b.name == record.name) {
            return Ok(Some(format!("there is an API token '{}' already", record.name)));
        }
        if others.len() >= MAX_TOKENS {
            return Ok(Some(format!("there are {MAX_TOKENS} API tokens already")));
        }
        store.put_bearer(&record).map(|()| None)
    });
    if let Some(message) = refused.await? {
        return Err(ApiError::conflict(message));
    }
    tracing::info!(by = %auth.caller.name, name = %asked.name, level = ?asked.level, "made an API token");
    Ok((StatusCode::CREATED, Json(created)))
}

/// Revokes an API token.
#[utoipa::path(
    delete, operation_id = "revoke_api_token", path = "/api/v1/api-tokens/{name}", tag = "tokens",
    params(("name" = String, Path, description = "The token's name")),
    security(("session" = []), ("token" = [])),
    responses(
        (status = 204, description = "It is revoked"),
        (status = 404, description = "There is no such token", body = model::Error),
        Denied,
    ),
)]
pub async fn revoke(
    auth: Auth<Admin>,
    State(api): State<ApiState>,
    Path(name): Path<String>,
) -> Result<StatusCode, ApiError> {
    let wanted = name.clone();
    let gone = api.store(move |store| store.delete_bearers(BearerKind::ApiToken, &wanted));
    if gone.await? == 0 {
        return Err(ApiError::not_found(format!("there is no API token '{name}'")));
    }
    tracing::info!(by = %auth.caller.name, %name, "revoked an API token");
    Ok(StatusCode::NO_CONTENT)
}
