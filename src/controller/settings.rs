//! What the operator may set, ready for use.

use std::time::Duration;

use crate::{config, proto};

/// The controller's settings.
#[derive(Debug, Clone)]
pub struct Settings {
    /// Edges that one agent keeps connections to.
    pub candidates: usize,
    pub lost_after: Duration,
    pub keep_reports: Duration,
    pub keep_classes: Duration,
    /// Ended classes stay at hand for this long; then only the store has them.
    pub keep_ended: Duration,
    pub idle_kbps: u32,
    pub in_class_kbps: u32,
    /// Of all agents behind one public address, each way.
    pub site_budget_kbps: u32,
    /// What edges carry of one agent's media, each way.
    pub media_kbps: u32,
    pub drain: Duration,
    /// Time between probes of a pair of edges: of any, and of one in a live plan.
    pub mesh_idle: Duration,
    pub mesh_busy: Duration,
}

impl Settings {
    pub fn new(config: &config::Controller, edge: &config::Edge) -> Self {
        let hours = |h: u32| Duration::from_secs(u64::from(h) * 3_600);
        Self {
            candidates: config.candidates.unwrap_or(config::MAX_CANDIDATES) as usize,
            lost_after: config
                .lost_after_s
                .map_or(config::LOST_AFTER, |s| Duration::from_secs(u64::from(s))),
            keep_reports: config.keep_reports_h.map_or(config::KEEP_REPORTS, hours),
            keep_classes: config
                .keep_classes_d
                .map_or(config::KEEP_CLASSES, |d| hours(24 * d)),
            keep_ended: Duration::from_secs(3_600),
            idle_kbps: config.agent_idle_kbps.unwrap_or(config::IDLE_KBPS),
            in_class_kbps: config.agent_in_class_kbps.unwrap_or(config::IN_CLASS_KBPS),
            site_budget_kbps: config.site_budget_kbps.unwrap_or(config::SITE_BUDGET_KBPS),
            media_kbps: config.media_kbps.unwrap_or(config::MEDIA_KBPS),
            mesh_idle: Duration::from_secs(1),
            mesh_busy: Duration::from_millis(100),
            drain: edge
                .drain_s
                .map_or(config::DRAIN, |s| Duration::from_secs(u64::from(s))),
        }
    }

    /// `share_bps` of its site's line, if that is less than the agent wants.
    pub(super) fn for_agent(&self, share_bps: Option<u32>) -> proto::Settings {
        proto::Settings {
            site_share_bps: share_bps.unwrap_or(0),
            idle_kbps: self.idle_kbps,
            in_class_kbps: self.in_class_kbps,
            ..proto::Settings::default()
        }
    }

    pub(super) fn drain(&self, on: bool) -> proto::Drain {
        proto::Drain {
            on,
            seconds: u32::try_from(self.drain.as_secs()).unwrap_or(u32::MAX),
        }
    }
}
