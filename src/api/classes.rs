//! Classes: creating, ending, joining, leaving, and looking at them.

use std::{collections::BTreeMap, time::Duration};

use axum::{Json, extract::State, http::StatusCode};
use serde::Deserialize;
use utoipa::IntoParams;

use super::{
    ApiState,
    auth::{Auth, Operator, Viewer},
    error::{ApiError, Body},
    extract::{Path, Query, limit, time},
    model::{self, ClassStatus, CreateClass, EndClass, JoinClass, ParticipantStatus, Quality},
    router::Denied,
    time_text,
};
use crate::{
    controller::{AskError, ClassError, NewClass},
    store::{
        ClassQuery,
        records::{ClassRecord, ClassState},
    },
};

const USUAL_ENDED: u32 = 100;
const MOST_ENDED: u32 = 1_000;

/// Which classes.
#[derive(Debug, Default, Deserialize, IntoParams)]
#[serde(deny_unknown_fields, default)]
#[into_params(parameter_in = Query)]
pub struct Asked {
    #[param(inline)]
    state: Option<ClassState>,
    /// Only those in which it takes part.
    subject: Option<String>,
    /// At most so many ended ones, 1 to 1,000; 100 unless said.
    limit: Option<u32>,
}

/// Scheduled and live classes, then ended ones, newest first.
#[utoipa::path(
    get, operation_id = "list_classes", path = "/api/v1/classes", tag = "classes", params(Asked),
    security(("session" = []), ("token" = [])),
    responses(
        (status = 200, description = "The classes", body = Vec<ClassStatus>),
        (status = 400, description = "The state or the limit makes no sense", body = model::Error),
        Denied,
    ),
)]
pub async fn list(
    _: Auth<Viewer>,
    State(api): State<ApiState>,
    Query(asked): Query<Asked>,
) -> Result<Json<Vec<ClassStatus>>, ApiError> {
    let limit = limit(asked.limit, USUAL_ENDED, MOST_ENDED)?;
    let mut stored = Vec::new();
    if asked.state.is_none_or(|state| state == ClassState::Ended) {
        let query = ClassQuery {
            state: Some(ClassState::Ended),
            subject: asked.subject.clone(),
            limit: Some(limit),
            ..ClassQuery::default()
        };
        stored = api.store(move |store| store.classes(&query)).await?;
    }
    // Asked after the store: a class that ends meanwhile is in one of them, or in both.
    let at_hand = api.handle.status().await?.classes;
    let wanted = |class: &ClassStatus| {
        let mut subjects = class.participants.iter().map(|p| &p.subject);
        asked.state.is_none_or(|state| state == class.state)
            && asked.subject.as_ref().is_none_or(|s| subjects.any(|p| p == s))
    };
    let at_hand = at_hand.into_iter().filter(wanted).collect();
    Ok(Json(merge(at_hand, &stored, limit)))
}

/// What is at hand is newer than what is stored of the same class.
fn merge(at_hand: Vec<ClassStatus>, stored: &[ClassRecord], limit: u32) -> Vec<ClassStatus> {
    let (ended, mut classes): (Vec<_>, Vec<_>) =
        at_hand.into_iter().partition(|c| c.state == ClassState::Ended);
    let ended = stored.iter().map(from_record).chain(ended);
    let ended: BTreeMap<_, _> = ended.map(|c| (c.id.clone(), c)).collect();
    let mut ended: Vec<_> = ended
        .into_values()
        .filter(|c| classes.iter().all(|open| open.id != c.id))
        .collect();
    let at = |c: &ClassStatus| c.ended.as_deref().and_then(|at| time_text::parse(at).ok());
    ended.sort_by_cached_key(|c| std::cmp::Reverse(at(c)));
    ended.truncate(limit.try_into().unwrap_or(usize::MAX));
    classes.extend(ended);
    classes
}

/// A class of which only the store knows.
pub fn from_record(record: &ClassRecord) -> ClassStatus {
    let text = |at: Option<_>| at.map(time_text::text);
    ClassStatus {
        id: record.id.clone(),
        state: record.state,
        outcome: record.outcome,
        quality: Quality::Unknown,
        hub: None,
        target: record.target.clone(),
        target_links: Vec::new(),
        budget_ms: f64::from(record.budget_us) / 1e3,
        budget_on: record.budget_on,
        protect: record.protect,
        start: text(record.start),
        end: text(record.end),
        began: text(record.began),
        ended: text(record.ended),
        rtt_ms: None,
        one_way_ms: None,
        participants: record
            .participants
            .iter()
            .map(|p| ParticipantStatus {
                subject: p.subject.clone(),
                role: p.role,
                quality: Quality::Unknown,
                joined: text(p.joined),
                left: text(p.left),
                legs: Vec::new(),
                flows: Vec::new(),
            })
            .collect(),
    }
}

/// Creates a class: live at once, or at its start.
#[utoipa::path(
    post, operation_id = "create_class", path = "/api/v1/classes", tag = "classes", request_body = CreateClass,
    security(("session" = []), ("token" = [])),
    responses(
        (status = 201, description = "The class", body = ClassStatus),
        (status = 400, description = "Something of it makes no sense", body = model::Error),
        (status = 409, description = "There is, or was, a class of this id", body = model::Error),
        Denied,
    ),
)]
pub async fn create(
    auth: Auth<Operator>,
    State(api): State<ApiState>,
    Body(asked): Body<CreateClass>,
) -> Result<(StatusCode, Json<ClassStatus>), ApiError> {
    let new = new_class(asked)?;
    // The main loop knows of those at hand only; a forgotten one must not be overwritten.
    let id = new.id.clone();
    if api.store(move |store| store.class(&id)).await?.is_some() {
        return Err(ClassError::Exists(new.id).into());
    }
    let class = api.handle.create_class(new).await?;
    tracing::info!(by = %auth.caller.name, class = %class.id, "created a class");
    Ok((StatusCode::CREATED, Json(class)))
}

fn new_class(asked: CreateClass) -> Result<NewClass, ApiError> {
    let budget = |ms: f64| Duration::try_from_secs_f64(ms / 1e3).map_err(|_| ClassError::BadBudget);
    Ok(NewClass {
        budget: asked.budget_ms.map(budget).transpose()?,
        start: time(asked.start.as_deref())?,
        end: time(asked.end.as_deref())?,
        id: asked.id,
        participants: asked
            .participants
            .into_iter()
            .map(|p| (p.subject, p.role))
            .collect(),
        target: asked.target,
        budget_on: asked.budget_on,
        protect: asked.protect,
    })
}

/// One class.
#[utoipa::path(
    get, operation_id = "get_class", path = "/api/v1/classes/{id}", tag = "classes",
    params(("id" = String, Path, description = "The class's id")),
    security(("session" = []), ("token" = [])),
    responses(
        (status = 200, description = "The class", body = ClassStatus),
        (status = 404, description = "There is no such class", body = model::Error),
        Denied,
    ),
)]
pub async fn get(
    _: Auth<Viewer>,
    State(api): State<ApiState>,
    Path(id): Path<String>,
) -> Result<Json<ClassStatus>, ApiError> {
    find(&api, &id).await.map(Json)
}

/// A class, at hand or stored.
pub async fn find(api: &ApiState, id: &str) -> Result<ClassStatus, ApiError> {
    let error = match api.handle.class(id).await {
        Ok(class) => return Ok(class),
        Err(error @ AskError::Class(ClassError::Unknown(_))) => error,
        Err(error) => return Err(error.into()),
    };
    let wanted = id.to_owned();
    let stored = api.store(move |store| store.class(&wanted)).await?;
    stored.as_ref().map(from_record).ok_or_else(|| error.into())
}

/// Ends a class. Its outcome is judged from what happened where it is not given.
#[utoipa::path(
    post, operation_id = "end_class", path = "/api/v1/classes/{id}/end", tag = "classes", request_body = EndClass,
    params(("id" = String, Path, description = "The class's id")),
    security(("session" = []), ("token" = [])),
    responses(
        (status = 200, description = "The class", body = ClassStatus),
        (status = 404, description = "There is no such class", body = model::Error),
        (status = 409, description = "It has ended already", body = model::Error),
        Denied,
    ),
)]
pub async fn end(
    auth: Auth<Operator>,
    State(api): State<ApiState>,
    Path(id): Path<String>,
    Body(end): Body<EndClass>,
) -> Result<Json<ClassStatus>, ApiError> {
    let class = match api.handle.end_class(&id, end.outcome).await {
        Ok(class) => class,
        Err(error) => return Err(ended_or(&api, &id, error).await),
    };
    tracing::info!(by = %auth.caller.name, class = %id, "ended a class");
    Ok(Json(class))
}

/// Adds a participant, or brings back one who left.
#[utoipa::path(
    post, operation_id = "join_class", path = "/api/v1/classes/{id}/participants", tag = "classes", request_body = JoinClass,
    params(("id" = String, Path, description = "The class's id")),
    security(("session" = []), ("token" = [])),
    responses(
        (status = 200, description = "The class", body = ClassStatus),
        (status = 400, description = "The subject makes no sense, or the class is full", body = model::Error),
        (status = 404, description = "There is no such class", body = model::Error),
        (status = 409, description = "It has ended", body = model::Error),
        Denied,
    ),
)]
pub async fn join(
    auth: Auth<Operator>,
    State(api): State<ApiState>,
    Path(id): Path<String>,
    Body(join): Body<JoinClass>,
) -> Result<Json<ClassStatus>, ApiError> {
    let class = match api.handle.join_class(&id, &join.subject, join.role).await {
        Ok(class) => class,
        Err(error) => return Err(ended_or(&api, &id, error).await),
    };
    tracing::info!(by = %auth.caller.name, class = %id, subject = %join.subject, "joined a class");
    Ok(Json(class))
}

/// Takes a participant out.
#[utoipa::path(
    delete, operation_id = "leave_class", path = "/api/v1/classes/{id}/participants/{subject}", tag = "classes",
    params(
        ("id" = String, Path, description = "The class's id"),
        ("subject" = String, Path, description = "The participant"),
    ),
    security(("session" = []), ("token" = [])),
    responses(
        (status = 200, description = "The class", body = ClassStatus),
        (status = 404, description = "There is no such class, or participant", body = model::Error),
        (status = 409, description = "It has ended", body = model::Error),
        Denied,
    ),
)]
pub async fn leave(
    auth: Auth<Operator>,
    State(api): State<ApiState>,
    Path((id, subject)): Path<(String, String)>,
) -> Result<Json<ClassStatus>, ApiError> {
    let class = match api.handle.leave_class(&id, &subject).await {
        Ok(class) => class,
        Err(error) => return Err(ended_or(&api, &id, error).await),
    };
    tracing::info!(by = %auth.caller.name, class = %id, %subject, "left a class");
    Ok(Json(class))
}

/// A class that the main loop does not know and the store does has ended.
async fn ended_or(api: &ApiState, id: &str, error: AskError) -> ApiError {
    if !matches!(error, AskError::Class(ClassError::Unknown(_))) {
        return error.into();
    }
    let wanted = id.to_owned();
    match api.store(move |store| store.class(&wanted)).await {
        Ok(Some(_)) => ClassError::Ended(id.to_owned()).into(),
        Ok(None) => error.into(),
        Err(failed) => failed,
    }
}

#[cfg(test)]
mod tests {
    use corridor_probes::Wall;

    use super::*;
    use crate::store::records::{BudgetOn, Outcome, Protect};

    fn record(id: &str, ended: Option<i64>) -> ClassRecord {
        ClassRecord {
            id: id.into(),
            state: ended.map_or(ClassState::Live, |_| ClassState::Ended),
            outcome: ended.map(|_| Outcome::Completed),
            target: None,
            budget_us: 200_000,
            budget_on: BudgetOn::RoundTrip,
            protect: Protect::Off,
            created: Wall::from_secs(0),
            start: None,
            end: None,
            began: Some(Wall::from_secs(1)),
            ended: ended.map(Wall::from_micros),
            participants: Vec::new(),
        }
    }

    #[test]
    fn open_classes_come_first_and_ended_ones_newest_first() {
        let mut at_hand: Vec<_> = [("b", None), ("a", None), ("x", Some(3_000_000))]
            .map(|(id, ended)| from_record(&record(id, ended)))
            .into();
        at_hand[2].quality = Quality::Good;
        // Of whole and of broken seconds, which compare wrongly as text.
        let stored = [("x", 3_000_000), ("y", 3_500_000), ("z", 2_000_001), ("b", 9)]
            .map(|(id, ended)| record(id, Some(ended)));
        let ids = |limit| {
            let merged = merge(at_hand.clone(), &stored, limit);
            merged.into_iter().map(|c| c.id).collect::<Vec<_>>()
        };
        assert_eq!(ids(9), ["b", "a", "y", "x", "z"]);
        assert_eq!(ids(2), ["b", "a", "y", "x"]);
        let merged = merge(at_hand.clone(), &stored, 9);
        assert_eq!(merged[3].quality, Quality::Good, "what is at hand counts");
    }

    #[test]
    fn numbers_that_are_no_budget_are_refused() {
        for ms in [-1.0, f64::NAN, f64::INFINITY, 1e300] {
            let asked = CreateClass {
                id: "c".into(),
                participants: Vec::new(),
                target: None,
                budget_ms: Some(ms),
                budget_on: BudgetOn::RoundTrip,
                protect: Protect::Off,
                start: None,
                end: None,
            };
            assert_eq!(
                new_class(asked).unwrap_err().status,
                StatusCode::BAD_REQUEST,
                "{ms}"
            );
        }
    }
}
