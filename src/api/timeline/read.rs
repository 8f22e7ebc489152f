//! Reading what a timeline is made of.

use std::{
    collections::{BTreeMap, BTreeSet},
    time::Duration,
};

use axum::{Json, extract::State};
use corridor_probes::{AgentId, EdgeId, Wall};
use serde::Deserialize;
use utoipa::IntoParams;

use super::Builder;
use crate::{
    api::{
        ApiState,
        auth::{Auth, Viewer},
        classes,
        error::ApiError,
        extract::{Path, Query, time},
        model::{self, ClassStatus, Event, Timeline},
        router::Denied,
        time_text,
    },
    store::{
        self, EventQuery, Store,
        records::{EventRecord, ReportRecord},
    },
};

/// Reports that one timeline reads at most: a class of two for seven hours of five-second reports, one of
/// thirty for an hour and a half of ten-second ones.
const MAX_REPORTS: usize = 20_000;
/// Reports that one turn of the store's thread shall read about: some ten milliseconds, in which it does
/// not write.
const A_TURN: u64 = 2_000;
/// The time between two reports of an agent in class at its least.
const REPORT_EVERY: Duration = Duration::from_secs(5);
/// Where there are fewer reports, a turn covers up to so many times as much.
const STRETCH: u32 = 16;
/// A window's report ends later than the window.
const REPORTED_WITHIN: Duration = Duration::from_secs(60);
/// What happens to an edge and is of interest to the classes on it.
const EDGE_KINDS: [&str; 4] = ["edge_down", "edge_up", "edge_draining", "edge_undrained"];
/// Events in one timeline, of the class and of each participant or edge outside it.
const MAX_EVENTS: u32 = 2_000;
const MAX_OWN_EVENTS: u32 = 200;
/// A class with more participants is shown without what happened to them outside it.
const OWN_EVENTS_UP_TO: usize = 50;

/// Which part of a timeline.
#[derive(Debug, Default, Deserialize, IntoParams)]
#[serde(deny_unknown_fields, default)]
#[into_params(parameter_in = Query)]
pub struct Asked {
    /// The class's beginning unless said.
    from: Option<String>,
    /// The class's end, or now, unless said.
    to: Option<String>,
    /// This participant only.
    subject: Option<String>,
}

/// What happened to each participant, and how it fared.
///
/// At most 20,000 reports are read. Where there are more, the answer's `to` is before the one asked for:
/// ask again from there, or for fewer participants.
#[utoipa::path(
    get, operation_id = "get_timeline", path = "/api/v1/classes/{id}/timeline", tag = "classes",
    params(("id" = String, Path, description = "The class's id"), Asked),
    security(("session" = []), ("token" = [])),
    responses(
        (status = 200, description = "The timeline", body = Timeline),
        (status = 400, description = "The times make no sense", body = model::Error),
        (status = 404, description = "There is no such class, or participant", body = model::Error),
        Denied,
    ),
)]
pub async fn get(
    _: Auth<Viewer>,
    State(api): State<ApiState>,
    Path(id): Path<String>,
    Query(asked): Query<Asked>,
) -> Result<Json<Timeline>, ApiError> {
    let class = classes::find(&api, &id).await?;
    let mut wanted = class.clone();
    if let Some(subject) = asked.subject {
        wanted.participants.retain(|p| p.subject == subject);
        if wanted.participants.is_empty() {
            let message = format!("'{subject}' is not in class '{id}'");
            return Err(ApiError::not_found(message));
        }
    }
    let (began, ended) = (time(class.began.as_deref())?, time(class.ended.as_deref())?);
    let to = time(asked.to.as_deref())?.unwrap_or_else(|| ended.unwrap_or_else(|| api.now()));
    let from = time(asked.from.as_deref())?.unwrap_or_else(|| began.unwrap_or(to));
    if from > to {
        return Err(ApiError::bad_request(
            "bad_time",
            "this would end before it begins",
        ));
    }
    // A place in the line; it closes with the state only.
    let _place = api.timelines.acquire().await;
    let mut timeline = read(&api, wanted, from, to).await?;
    timeline.class = class;
    Ok(Json(timeline))
}

async fn read(api: &ApiState, class: ClassStatus, from: Wall, to: Wall) -> Result<Timeline, ApiError> {
    let subjects: BTreeSet<_> = class.participants.iter().map(|p| p.subject.clone()).collect();
    let names = subjects.clone();
    let (agents, edges) = api.store(move |store| known(store, &names)).await?;
    let mut builder = Builder::new(&class, &agents, from, to);
    let mut reached = to;
    // Nothing of a class is reported before it begins, or long after it ended.
    let (began, ended) = (time(class.began.as_deref())?, time(class.ended.as_deref())?);
    let mut at = from.max(began.unwrap_or(from));
    let end = to.min(ended.unwrap_or(to)) + REPORTED_WITHIN;
    let (mut turn, mut left) = (Turn::of(subjects.len()), MAX_REPORTS);
    while at < end && !subjects.is_empty() {
        let until = end.min(at + turn.length());
        let (names, room) = (subjects.clone(), left);
        let reports = api
            .store(move |store| reports(store, &names, at, until, room))
            .await?;
        left -= reports.len();
        turn.adapt(reports.len());
        if left == 0 {
            reached = reports.last().map_or(at, |r| r.filed().0).min(to);
        }
        let taken = tokio::task::spawn_blocking(move || {
            reports.iter().for_each(|report| builder.take(report));
            builder
        });
        builder = taken.await.map_err(|e| ApiError::internal(&e))?;
        if left == 0 {
            break;
        }
        at = until;
    }
    let passed: Vec<_> = builder
        .edges()
        .iter()
        .filter_map(|id| edges.get(id).cloned())
        .collect();
    let participants = tokio::task::spawn_blocking(move || builder.finish(&edges));
    let id = class.id.clone();
    Ok(Timeline {
        events: api
            .store(move |store| what_happened(store, &id, &subjects, &passed, from, reached))
            .await?,
        class,
        from: time_text::text(from),
        to: time_text::text(reached),
        participants: participants.await.map_err(|e| ApiError::internal(&e))?,
    })
}

/// How much time one turn of the store's thread reads.
struct Turn {
    usual: Duration,
    times: u32,
}

impl Turn {
    fn of(participants: usize) -> Self {
        let reports = REPORT_EVERY.as_secs() * A_TURN;
        let usual = Duration::from_secs((reports / (participants as u64).max(1)).max(1));
        Self { usual, times: 1 }
    }

    fn length(&self) -> Duration {
        self.usual * self.times
    }

    fn adapt(&mut self, found: usize) {
        self.times = if (found as u64) < A_TURN / 4 {
            STRETCH.min(self.times * 2)
        } else {
            1
        };
    }
}

type Known = (BTreeMap<AgentId, String>, BTreeMap<EdgeId, String>);

/// Whose agents are, or were, whose; and the names of all edges there ever were.
fn known(store: &mut dyn Store, subjects: &BTreeSet<String>) -> store::Result<Known> {
    let agents = store.agents()?.into_iter();
    let agents = agents.filter(|a| subjects.contains(&a.subject));
    let edges = store.edges()?.into_iter();
    Ok((
        agents.map(|a| (a.id, a.subject)).collect(),
        edges.map(|e| (e.id, e.name)).collect(),
    ))
}

fn reports(
    store: &mut dyn Store,
    subjects: &BTreeSet<String>,
    from: Wall,
    to: Wall,
    room: usize,
) -> store::Result<Vec<ReportRecord>> {
    let subjects: Vec<_> = subjects.iter().map(String::as_str).collect();
    let mut found = Vec::new();
    store.reports_of_subjects(&subjects, from, to, &mut |report| {
        if found.len() < room {
            found.push(report);
        }
    })?;
    Ok(found)
}

/// In the class, to its participants outside it (their machines sleep and move), and to the edges on its
/// routes, oldest first.
fn what_happened(
    store: &mut dyn Store,
    class: &str,
    subjects: &BTreeSet<String>,
    edges: &[String],
    from: Wall,
    to: Wall,
) -> store::Result<Vec<Event>> {
    let span = EventQuery {
        from: Some(from),
        to: Some(to + Duration::from_micros(1)),
        ..EventQuery::default()
    };
    let mut found = store.events(&EventQuery {
        class: Some(class.to_owned()),
        limit: Some(MAX_EVENTS),
        ..span.clone()
    })?;
    let few = subjects.len() <= OWN_EVENTS_UP_TO;
    for subject in subjects.iter().filter(|_| few) {
        let own = store.events(&EventQuery {
            subject: Some(subject.clone()),
            limit: Some(MAX_OWN_EVENTS),
            ..span.clone()
        })?;
        found.extend(own.into_iter().filter(|event| event.class.is_none()));
    }
    for edge in edges {
        let own = store.events(&EventQuery {
            edge: Some(edge.clone()),
            limit: Some(MAX_OWN_EVENTS),
            ..span.clone()
        })?;
        let of_class = own.into_iter().filter(|e| EDGE_KINDS.contains(&e.kind.as_str()));
        found.extend(of_class.filter(|event| event.class.is_none()));
    }
    found.sort_by_key(|event: &EventRecord| event.at);
    Ok(found.iter().map(crate::controller::shown_event).collect())
}
