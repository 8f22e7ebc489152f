//! What lay around a participant's machine: from reports, thinned to what a page shows.

use std::collections::BTreeMap;

use corridor_probes::{EdgeId, Wall};

use crate::{
    api::model::{Surroundings, Trace},
    proto,
    surroundings::{shown, shown_trace},
};

/// Of one participant.
const MAX_SEEN: usize = 240;
/// The newest ones: one in ten minutes makes these half a day.
const MAX_PATHS: usize = 72;

/// What reports told of one participant.
#[derive(Debug, Default)]
pub(super) struct Around {
    seen: Vec<proto::Surroundings>,
    paths: Vec<proto::Trace>,
}

impl Around {
    pub fn take(&mut self, report: &proto::Report, from: Wall, to: Wall) {
        let inside = |at_us: i64| from.as_micros() <= at_us && at_us <= to.as_micros();
        self.seen.extend(
            report
                .surroundings
                .as_deref()
                .into_iter()
                .filter(|s| inside(s.at_us))
                .cloned(),
        );
        self.paths.extend(
            report
                .path
                .as_deref()
                .into_iter()
                .filter(|p| inside(p.at_us))
                .cloned(),
        );
        if self.seen.len() > 2 * MAX_SEEN {
            self.seen = thin(std::mem::take(&mut self.seen), from, to);
        }
        if self.paths.len() > 2 * MAX_PATHS {
            self.paths.sort_by_key(|p| p.at_us);
            self.paths.drain(..self.paths.len() - MAX_PATHS);
        }
    }

    /// Ascending in time.
    pub fn finish(
        mut self,
        from: Wall,
        to: Wall,
        edges: &BTreeMap<EdgeId, String>,
    ) -> (Vec<Surroundings>, Vec<Trace>) {
        let name = |id: EdgeId| edges.get(&id).cloned().unwrap_or_else(|| id.to_string());
        self.paths.sort_by_key(|p| p.at_us);
        let old = self.paths.len().saturating_sub(MAX_PATHS);
        let seen = thin(self.seen, from, to);
        (
            seen.iter().map(shown).collect(),
            self.paths[old..].iter().map(|p| shown_trace(p, name)).collect(),
        )
    }
}

/// The worst of each of [`MAX_SEEN`] equal spans, and the newest in any case: what is now.
fn thin(mut seen: Vec<proto::Surroundings>, from: Wall, to: Wall) -> Vec<proto::Surroundings> {
    seen.sort_by_key(|s| s.at_us);
    let Some(newest) = seen.pop() else {
        return seen;
    };
    if seen.len() >= MAX_SEEN {
        let width = (to.since(from).as_micros() / (MAX_SEEN as u128 - 1)).max(1);
        let span = |s: &proto::Surroundings| Wall::from_micros(s.at_us).since(from).as_micros() / width;
        let mut worst: Vec<proto::Surroundings> = Vec::new();
        for next in seen {
            match worst.last_mut() {
                Some(last) if span(last) == span(&next) => {
                    if badness(&next) > badness(last) {
                        *last = next;
                    }
                }
                _ => worst.push(next),
            }
        }
        seen = worst;
    }
    seen.push(newest);
    seen
}

/// By stalls, then by how far the gateway was; a gateway that was not seen is the furthest.
fn badness(seen: &proto::Surroundings) -> (u32, u32) {
    (
        seen.stalls.map_or(0, |s| s.worst_ms),
        seen.gateway_rtt_us.unwrap_or(u32::MAX),
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    fn seen(at_s: i64, gateway_ms: u32) -> proto::Surroundings {
        proto::Surroundings {
            at_us: at_s * 1_000_000,
            gateway_rtt_us: Some(gateway_ms * 1_000),
            ..proto::Surroundings::default()
        }
    }

    fn report(surroundings: proto::Surroundings) -> proto::Report {
        proto::Report {
            surroundings: Some(Box::new(surroundings)),
            path: Some(Box::default()),
            ..proto::Report::default()
        }
    }

    #[test]
    fn the_worst_of_each_span_and_the_newest() {
        let (from, to) = (Wall::from_secs(1_000), Wall::from_secs(11_000));
        let mut around = Around::default();
        // Reports come in any order, and some are of another time.
        for second in (0..=12_000).rev().step_by(10) {
            let ms = if second == 5_000 { 900 } else { 2 };
            around.take(&report(seen(second, ms)), from, to);
        }
        let (shown, paths) = around.finish(from, to, &BTreeMap::new());
        assert!(
            shown.len() <= MAX_SEEN && shown.len() > MAX_SEEN / 2,
            "{}",
            shown.len()
        );
        assert!(shown.is_sorted_by_key(|s| s.at.clone()));
        assert_eq!(
            shown.iter().filter(|s| s.gateway_rtt_ms == Some(900.0)).count(),
            1
        );
        assert_eq!(shown.last().map(|s| s.at.as_str()), Some("1970-01-01T03:03:20Z"));
        assert!(paths.is_empty(), "outside of the time");
    }

    #[test]
    fn few_are_all_shown() {
        let (from, to) = (Wall::from_secs(0), Wall::from_secs(100));
        let mut around = Around::default();
        for second in [30, 10, 20] {
            around.take(&report(seen(second, 1)), from, to);
        }
        let (shown, paths) = around.finish(from, to, &BTreeMap::new());
        assert_eq!((shown.len(), paths.len()), (3, 3));
    }
}
