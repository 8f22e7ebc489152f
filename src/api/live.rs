//! The live feed: server-sent events.

use std::{
    convert::Infallible,
    pin::Pin,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use axum::{
    extract::State,
    response::sse::{self, KeepAlive, Sse},
};
use futures_util::stream::{self, Stream};
use tokio::sync::{broadcast, watch};

use super::{
    ApiState,
    auth::{Auth, Caller, Viewer},
    error::ApiError,
    model::{Event, Live, Status},
    router::Denied,
};
use crate::clock;

/// A comment is sent this long after the last event, so that a dead line is noticed.
const KEEP_ALIVE: Duration = Duration::from_secs(10);
/// How often it is looked whether the session or token is still good.
const CHECK_CALLER: Duration = Duration::from_secs(30);

/// The newest snapshot as JSON: made once, however many watch.
#[derive(Debug, Default)]
pub struct Snapshots(Mutex<Option<(Arc<Status>, Arc<str>)>>);

impl Snapshots {
    fn json(&self, status: Arc<Status>) -> serde_json::Result<Arc<str>> {
        let mut newest = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some((of, json)) = &*newest
            && Arc::ptr_eq(of, &status)
        {
            return Ok(json.clone());
        }
        let json: Arc<str> = serde_json::to_string(&*status)?.into();
        *newest = Some((status, json.clone()));
        Ok(json)
    }
}

/// The state and what happens, as it happens.
///
/// Server-sent events: `event: status` carries the whole state, at first and then at most once a second
/// when it changed; `event: event` carries one event. Who falls too far behind is sent the state anew.
#[utoipa::path(
    get, operation_id = "get_live", path = "/api/v1/live", tag = "status", security(("session" = []), ("token" = [])),
    responses(
        (status = 200, description = "The feed; `data` is a Status or an Event", body = Live,
            content_type = "text/event-stream"),
        Denied,
    ),
)]
pub async fn live(
    auth: Auth<Viewer>,
    State(api): State<ApiState>,
) -> Result<Sse<impl Stream<Item = Result<sse::Event, Infallible>>>, ApiError> {
    let mut feed = Feed::new(api, auth.caller);
    let first = feed.fresh().await?;
    let first = stream::iter([Ok(first)]);
    let rest = stream::unfold(feed, async |mut feed| Some((Ok(feed.next().await?), feed)));
    let all = stream::StreamExt::chain(first, rest);
    Ok(Sse::new(all).keep_alive(KeepAlive::new().interval(KEEP_ALIVE)))
}

/// One client's.
struct Feed {
    api: ApiState,
    caller: Caller,
    status: watch::Receiver<Arc<Status>>,
    events: broadcast::Receiver<Event>,
    check: Pin<Box<dyn Future<Output = ()> + Send>>,
}

impl Feed {
    fn new(api: ApiState, caller: Caller) -> Self {
        Self {
            status: api.handle.watch(),
            events: api.handle.events(),
            check: clock::sleep(&*api.clock, CHECK_CALLER),
            api,
            caller,
        }
    }

    /// The whole state, now: the snapshots may be old when nobody has watched. What happens from here on
    /// is not lost.
    async fn fresh(&mut self) -> Result<sse::Event, ApiError> {
        self.events = self.api.handle.events();
        self.status.mark_unchanged();
        let mut status = self.api.handle.status().await?;
        status.leave_to_timelines();
        let json = serde_json::to_string(&status).map_err(|e| ApiError::internal(&e))?;
        Ok(sse::Event::default().event("status").data(json))
    }

    /// `None` ends the feed; the client may ask for another.
    async fn next(&mut self) -> Option<sse::Event> {
        loop {
            // Snapshots come once a second: looked at first, they keep nothing waiting.
            tokio::select! {
                biased;
                () = self.api.stop.cancelled() => return None,
                () = &mut self.check => {
                    if !self.api.authenticator.is_still(&self.caller).await {
                        return None;
                    }
                    self.check = clock::sleep(&*self.api.clock, CHECK_CALLER);
                }
                changed = self.status.changed() => {
                    changed.ok()?;
                    let status = self.status.borrow_and_update().clone();
                    let json = self.api.snapshots.json(status).ok()?;
                    return Some(sse::Event::default().event("status").data(json));
                }
                event = self.events.recv() => return match event {
                    Ok(event) => sse::Event::default().event("event").json_data(event).ok(),
                    Err(broadcast::error::RecvError::Lagged(_)) => self.fresh().await.ok(),
                    Err(broadcast::error::RecvError::Closed) => None,
                },
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::api::model::ControllerStatus;

    #[test]
    fn a_snapshot_is_written_once() {
        let status = |reports| {
            Arc::new(Status {
                controller: ControllerStatus {
                    version: String::new(),
                    now: String::new(),
                    uptime_s: 0,
                    reports,
                    repeats: 0,
                    store_bytes: 0,
                },
                edges: Vec::new(),
                agents: Vec::new(),
                links: Vec::new(),
                classes: Vec::new(),
                sites: Vec::new(),
            })
        };
        let (snapshots, one) = (Snapshots::default(), status(1));
        let first = snapshots.json(one.clone()).unwrap();
        assert!(Arc::ptr_eq(&first, &snapshots.json(one).unwrap()));
        let second = snapshots.json(status(2)).unwrap();
        assert!(second.contains("\"reports\":2") && !second.contains('\n'));
    }
}
