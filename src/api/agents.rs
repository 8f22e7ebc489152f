//! Agents: listing and revoking.

use axum::{Json, extract::State, http::StatusCode};

use super::{
    ApiState,
    auth::{Admin, Auth, Viewer},
    error::ApiError,
    extract::Path,
    model::{self, AgentStatus},
    router::Denied,
};

/// Every enrolled agent.
#[utoipa::path(
    get, operation_id = "list_agents", path = "/api/v1/agents", tag = "agents", security(("session" = []), ("token" = [])),
    responses((status = 200, description = "The agents", body = Vec<AgentStatus>), Denied),
)]
pub async fn list(_: Auth<Viewer>, State(api): State<ApiState>) -> Result<Json<Vec<AgentStatus>>, ApiError> {
    Ok(Json(api.handle.status().await?.agents))
}

/// Revokes a subject's agent: its certificate is refused from now on.
#[utoipa::path(
    post, operation_id = "revoke_agent", path = "/api/v1/agents/{subject}/revoke", tag = "agents",
    params(("subject" = String, Path, description = "The agent's subject")),
    security(("session" = []), ("token" = [])),
    responses(
        (status = 204, description = "It is revoked"),
        (status = 404, description = "The subject has no agent", body = model::Error),
        Denied,
    ),
)]
pub async fn revoke(
    auth: Auth<Admin>,
    State(api): State<ApiState>,
    Path(subject): Path<String>,
) -> Result<StatusCode, ApiError> {
    if !api.directory.revoke_agent(subject.clone(), api.now()).await? {
        return Err(ApiError::not_found(format!("there is no agent of '{subject}'")));
    }
    tracing::info!(by = %auth.caller.name, %subject, "revoked an agent");
    Ok(StatusCode::NO_CONTENT)
}
