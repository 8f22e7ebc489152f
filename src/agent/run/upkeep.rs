//! What the main loop does now and then: figures of this machine, connections that fell silent, and what is kept
//! for the next start.

use corridor_probes::Mono;

use super::super::told;
use super::{Main, REDIAL_AFTER, REDIAL_EVERY, SAVE_TIME};
use crate::{agent::budget::Spent, identity::Source, proto, remembered};

impl Main {
    pub(super) fn housekeeping(&mut self, now: Mono) {
        let load = self.load.read(now);
        let spool = self.disk.worker();
        let mut host = proto::Host {
            cpu: load.cpu,
            rss_bytes: load.rss_bytes,
            ..proto::Host::default()
        };
        // Inline workers answer at once; a thread's answer is taken at the next turn.
        if let Ok(stats) = spool.submit(|spool| spool.stats())
            && let Some(Ok(stats)) = futures_util::FutureExt::now_or_never(stats)
        {
            host.spool_rows = u32::try_from(stats.reports).unwrap_or(u32::MAX);
            host.spool_dropped = stats.dropped.reports + stats.dropped.rows;
        }
        self.core.host(host);
        let shown = self.carrying.shown();
        self.core
            .flows(told::flows(&shown, |agent| self.core.legs.class_with(agent)));
        let spent = Spent {
            line: self.endpoint.stats().traffic,
            peers: self.peers,
            media: self.carrying.line(),
            ..Spent::default()
        };
        self.core.spent(spent, now);
        self.redial_silent(now);
        let learnt = self.standing.time().read().source == Source::Learnt;
        if learnt && now >= self.next_save {
            self.next_save = now + SAVE_TIME;
            self.save_time();
        }
    }

    /// Keeps the controller's time, if it is known, for the next start.
    pub(super) fn save_time(&self) {
        let Some(data) = &self.data else { return };
        let (time, path) = (
            self.standing.time().clone(),
            crate::identity::Material::time_path(data),
        );
        let _ = self.disk.worker().submit(move |_| {
            if let Err(error) = time.save(&path) {
                tracing::warn!(%error, "controller's time not saved");
            }
        });
    }

    fn redial_silent(&mut self, now: Mono) {
        for (&edge, open) in &self.connections {
            let silent = now.since(open.connection.last_heard()) >= REDIAL_AFTER;
            let lately = self
                .redialled
                .get(&edge)
                .is_some_and(|at| now.since(*at) < REDIAL_EVERY);
            if silent && !lately && self.core.is_probed_often(edge) {
                self.redialled.insert(edge, now);
                if let Some(dialer) = self.dialers.get(&edge) {
                    dialer.dial_now();
                }
            }
        }
    }

    pub(super) fn save_edges(&self, edges: Vec<proto::EdgeInfo>) {
        let Some(data) = &self.data else { return };
        let path = data.join(EDGES_FILE);
        let list = proto::Candidates { version: 0, edges };
        let _ = self.disk.worker().submit(move |_| {
            if let Err(error) = remembered::write(&path, &list) {
                tracing::warn!(path = %path.display(), %error, "list of edges not saved");
            }
        });
    }
}

/// The last list of candidates, for the next start.
pub const EDGES_FILE: &str = "edges.bin";

/// The edges that the last run was told of; empty if none, or if the file is damaged.
pub fn saved_edges(data: &std::path::Path) -> Vec<proto::EdgeInfo> {
    remembered::read::<proto::Candidates>(&data.join(EDGES_FILE)).edges
}
