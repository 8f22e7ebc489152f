//! What reports tell of media.

use corridor_probes::{AgentId, Route};

use super::carrying::Shown;
use crate::{media::end::Counts, proto, reporting::route_message};

/// Flows in one report; those beyond are counted by their agent alone.
const MAX_FLOWS: usize = 32;

/// The flows of classes, with the class that this agent has with another.
pub fn flows(shown: &Shown, class_with: impl Fn(AgentId) -> Option<String>) -> Vec<proto::Flow> {
    let begun = shown.flows.iter().filter_map(|flow| {
        let refused = flow.refused.first().map(|(_, why)| why.text());
        Some(proto::Flow {
            class: flow.class.clone()?,
            moves: flow.moves,
            undone: flow.undone,
            rtt_us: flow
                .rtt
                .map_or(0, |rtt| u32::try_from(rtt.as_micros()).unwrap_or(u32::MAX)),
            lost_there: flow.lost_there,
            too_fast: flow.too_fast,
            throttled: flow.throttled,
            is_throttled: flow.is_throttled,
            refused: refused.unwrap_or_default().to_owned(),
            ..message(flow.id.0, flow.route, &flow.counts)
        })
    });
    let ends = shown.ends.iter().filter_map(|end| {
        Some(proto::Flow {
            class: class_with(end.key.origin)?,
            ends_here: true,
            moves: end.moves,
            ..message(end.key.flow, Some(end.route), &end.counts)
        })
    });
    begun.chain(ends).take(MAX_FLOWS).collect()
}

fn message(id: u64, route: Option<Route>, counts: &Counts) -> proto::Flow {
    proto::Flow {
        id,
        route: route.map(route_message),
        sent: counts.sent,
        sent_bytes: counts.sent_bytes,
        received: counts.received,
        received_bytes: counts.received_bytes,
        lost: counts.lost,
        repeated: counts.repeated,
        reordered: counts.reordered,
        dropped: counts.dropped,
        protecting: counts.protecting,
        ..proto::Flow::default()
    }
}
