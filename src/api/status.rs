//! The state of everything.

use axum::{Json, extract::State};

use super::{
    ApiState,
    auth::{Auth, Viewer},
    error::ApiError,
    model::Status,
    router::Denied,
};

/// The state of everything, now.
#[utoipa::path(
    get, operation_id = "get_status", path = "/api/v1/status", tag = "status", security(("session" = []), ("token" = [])),
    responses((status = 200, description = "The state", body = Status), Denied),
)]
pub async fn status(_: Auth<Viewer>, State(api): State<ApiState>) -> Result<Json<Status>, ApiError> {
    Ok(Json(api.handle.status().await?))
}
