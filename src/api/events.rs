//! What has happened.

use axum::{Json, extract::State};
use serde::Deserialize;
use utoipa::IntoParams;

use super::{
    ApiState,
    auth::{Auth, Viewer},
    error::ApiError,
    extract::{Query, limit, time},
    model::{self, Event},
    router::Denied,
};
use crate::{controller::shown_event, store::EventQuery};

const USUAL: u32 = 100;
const MOST: u32 = 1_000;

/// Which events.
#[derive(Debug, Default, Deserialize, IntoParams)]
#[serde(deny_unknown_fields, default)]
#[into_params(parameter_in = Query)]
pub struct Asked {
    class: Option<String>,
    subject: Option<String>,
    edge: Option<String>,
    kind: Option<String>,
    /// At or after this time.
    from: Option<String>,
    /// Before this time.
    to: Option<String>,
    /// At most so many, 1 to 1,000; 100 unless said.
    limit: Option<u32>,
}

/// Events, newest first.
#[utoipa::path(
    get, operation_id = "list_events", path = "/api/v1/events", tag = "events", params(Asked),
    security(("session" = []), ("token" = [])),
    responses(
        (status = 200, description = "The events", body = Vec<Event>),
        (status = 400, description = "A time or the limit makes no sense", body = model::Error),
        Denied,
    ),
)]
pub async fn list(
    _: Auth<Viewer>,
    State(api): State<ApiState>,
    Query(asked): Query<Asked>,
) -> Result<Json<Vec<Event>>, ApiError> {
    let query = EventQuery {
        from: time(asked.from.as_deref())?,
        to: time(asked.to.as_deref())?,
        limit: Some(limit(asked.limit, USUAL, MOST)?),
        class: asked.class,
        subject: asked.subject,
        edge: asked.edge,
        kind: asked.kind,
        newest_first: true,
    };
    let events = api.store(move |store| store.events(&query)).await?;
    Ok(Json(events.iter().map(shown_event).collect()))
}
