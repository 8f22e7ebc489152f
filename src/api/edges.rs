//! Edges: listing, draining, revoking.

use axum::{Json, extract::State, http::StatusCode};

use super::{
    ApiState,
    auth::{Admin, Auth, Operator, Viewer},
    error::{ApiError, Body},
    extract::Path,
    model::{self, DrainEdge, EdgeStatus},
    router::Denied,
};

/// Every edge that is not revoked.
#[utoipa::path(
    get, operation_id = "list_edges", path = "/api/v1/edges", tag = "edges", security(("session" = []), ("token" = [])),
    responses((status = 200, description = "The edges", body = Vec<EdgeStatus>), Denied),
)]
pub async fn list(_: Auth<Viewer>, State(api): State<ApiState>) -> Result<Json<Vec<EdgeStatus>>, ApiError> {
    Ok(Json(api.handle.status().await?.edges))
}

/// Drains an edge, or lets it take flows again.
///
/// An edge that drains gives its flows away and takes no new ones.
#[utoipa::path(
    post, operation_id = "drain_edge", path = "/api/v1/edges/{name}/drain", tag = "edges", request_body = DrainEdge,
    params(("name" = String, Path, description = "The edge's name")),
    security(("session" = []), ("token" = [])),
    responses(
        (status = 204, description = "It is told to"),
        (status = 404, description = "There is no such edge", body = model::Error),
        Denied,
    ),
)]
pub async fn drain(
    auth: Auth<Operator>,
    State(api): State<ApiState>,
    Path(name): Path<String>,
    Body(drain): Body<DrainEdge>,
) -> Result<StatusCode, ApiError> {
    api.handle.drain(&name, drain.on).await?;
    tracing::info!(by = %auth.caller.name, edge = %name, on = drain.on, "drained an edge");
    Ok(StatusCode::NO_CONTENT)
}

/// Revokes an edge: its certificate is refused from now on.
#[utoipa::path(
    post, operation_id = "revoke_edge", path = "/api/v1/edges/{name}/revoke", tag = "edges",
    params(("name" = String, Path, description = "The edge's name")),
    security(("session" = []), ("token" = [])),
    responses(
        (status = 204, description = "It is revoked"),
        (status = 404, description = "There is no such edge", body = model::Error),
        Denied,
    ),
)]
pub async fn revoke(
    auth: Auth<Admin>,
    State(api): State<ApiState>,
    Path(name): Path<String>,
) -> Result<StatusCode, ApiError> {
    if !api.directory.revoke_edge(name.clone(), api.now()).await? {
        return Err(ApiError::not_found(format!("there is no edge '{name}'")));
    }
    tracing::info!(by = %auth.caller.name, edge = %name, "revoked an edge");
    Ok(StatusCode::NO_CONTENT)
}
