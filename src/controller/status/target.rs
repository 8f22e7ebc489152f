//! What is shown of targets: how each is measured from where.

use std::{collections::BTreeSet, time::Duration};

use corridor_probes::{AgentId, EdgeId, Wall, target::Method};

use super::Core;
use crate::{
    api::model::{LinkStatus, TargetStatus, UnmeasuredReason},
    controller::links::{self, Link, counted},
    route::FarEnd,
    store::records::{ClassRecord, Reporter},
};

/// Edges shown of one target while no route leads to it.
const MAX_SHOWN: usize = 16;
/// A target as an agent sees it is shown for so long: three reports and a little.
const DIRECT_IS_NOW: Duration = Duration::from_secs(45);

impl Core {
    /// The links to targets that are measured, or were.
    pub(super) fn target_links(&self, now: Wall) -> impl Iterator<Item = LinkStatus> + '_ {
        self.links.targets().filter_map(move |(target, from, link)| {
            let method = link.method()?;
            let totals = link.totals();
            let ledger = match &link.window.of {
                Some(crate::proto::window::Of::Target(target)) => {
                    counted(target, link.window.ledger.unwrap_or_default()).unwrap_or_default()
                }
                _ => return None,
            };
            let counts = method.counts_losses();
            let lost = ledger.sent.saturating_sub(ledger.received);
            let loss = (counts && ledger.sent > 0).then(|| f64::from(lost) / f64::from(ledger.sent));
            Some(LinkStatus {
                from: self.reporter_name(from)?,
                to: format!("target:{target}"),
                window_s: f64::from(link.window.length_ms) / 1e3,
                sent: totals.sent,
                lost: if counts {
                    totals.sent.saturating_sub(totals.received)
                } else {
                    0
                },
                loss,
                kept_out: link.window.ledger.as_ref().and_then(links::kept_out),
                rtt_ms: link.rtt_ms(),
                owd_ms: None,
                owd_error_ms: None,
                jitter_ms: None,
                age_s: Some(now.since(link.at).as_secs_f64()),
                method: Some(method.word().to_owned()),
            })
        })
    }

    /// How a class's target is measured from where it matters to the class.
    pub(super) fn target_of(&self, class: &ClassRecord, live: bool, now: Wall) -> Vec<TargetStatus> {
        let Some(target) = class.target.as_deref().filter(|_| live) else {
            return Vec::new();
        };
        let plans = class
            .participants
            .iter()
            .filter_map(|p| self.planner.leg(&class.id, &p.subject));
        let exits: BTreeSet<EdgeId> = plans
            .flat_map(crate::route::engine::Plan::routes)
            .filter_map(|route| route.exit())
            .collect();
        let of_target = self.links.targets().filter(|(named, ..)| *named == target);
        of_target
            .filter_map(|(_, from, link)| match from {
                Reporter::Edge(edge) if exits.is_empty() || exits.contains(&edge) => {
                    Some(shown(self.edge_name(edge)?, link, now))
                }
                _ => None,
            })
            .take(if exits.is_empty() { MAX_SHOWN } else { usize::MAX })
            .collect()
    }
}

impl Core {
    /// How an agent measures a leg's target itself, if there is a target.
    pub(super) fn direct(&self, to: &FarEnd, agent: AgentId, now: Wall) -> Option<TargetStatus> {
        let FarEnd::Target(target) = to else { return None };
        let from = Reporter::Agent(agent);
        let link = self.links.target(target, from)?;
        if now.since(link.at) > DIRECT_IS_NOW {
            return None;
        }
        Some(shown(self.reporter_name(from)?, link, now))
    }
}

fn shown(from: String, link: &Link, now: Wall) -> TargetStatus {
    let method = link.method();
    TargetStatus {
        from,
        method: method.map(|m| m.word().to_owned()),
        bias: method.map(Method::bias).map(str::to_owned),
        rtt_ms: link.rtt_ms(),
        age_s: now.since(link.at).as_secs_f64(),
        unmeasured: link
            .unmeasured()
            .iter()
            .map(|u| UnmeasuredReason {
                what: u.what.clone(),
                why: u.why.clone(),
            })
            .collect(),
    }
}
