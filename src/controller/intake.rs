//! What of a report is believed. Reports come from machines that may be wrong, or hostile: what names
//! things that do not exist, or counts what cannot be, is left out and counted; times to come are taken
//! for now.

use corridor_probes::{EdgeId, Wall, target::Method};

use super::{edges::Edges, links};
use crate::{
    proto::{self, window},
    reporting::adds_up,
    targets::MAX_NAME,
};

/// What an agent or edge says of itself is kept to this many characters.
const MAX_TEXT: usize = 64;
/// Flows of one agent: as many as it tells.
const MAX_FLOWS: usize = 32;
/// Why a target is not measured: a method, or the address, each once.
const MAX_REASONS: usize = Method::ALL.len() + 1;
/// Such a reason is a sentence.
const MAX_REASON: usize = 240;

/// Drops what cannot be, in place; answers how many windows that were. `targets` says which the sender may have
/// measured.
pub fn clean(report: &mut proto::Report, edges: &Edges, targets: impl Fn(&str) -> bool, now: Wall) -> u64 {
    let before = report.windows.len();
    report.windows.retain(|w| {
        let mut ledgers = [w.ledger, w.total].into_iter().flatten();
        is_about(w, edges, &targets) && ledgers.all(|l| adds_up(&l))
    });
    for window in &mut report.windows {
        if let Some(window::Of::Target(target)) = &mut window.of {
            for unmeasured in &mut target.unmeasured {
                unmeasured.what = text(&unmeasured.what);
                unmeasured.why = bounded(&unmeasured.why, MAX_REASON);
            }
        }
        if links::end(window) > now {
            window.start_us = now.as_micros() - i64::from(window.length_ms) * 1_000;
        }
        for at in [&mut window.raw_up_at_us, &mut window.raw_down_at_us] {
            *at = (*at).min(now.as_micros());
        }
    }
    report.end_us = report.end_us.min(now.as_micros());
    report.flows.truncate(MAX_FLOWS);
    for flow in &mut report.flows {
        flow.refused = text(&flow.refused);
    }
    for leg in &mut report.legs {
        leg.since_us = leg.since_us.min(report.end_us);
    }
    for event in &mut report.events {
        event.at_us = event.at_us.min(now.as_micros());
        if let Some(trace) = &mut event.trace {
            trace.at_us = trace.at_us.min(now.as_micros());
        }
    }
    if let Some(surroundings) = &mut report.surroundings {
        surroundings.at_us = surroundings.at_us.min(now.as_micros());
    }
    (before - report.windows.len()) as u64
}

/// A text from outside: bounded, and without control characters, which terminals would obey.
pub fn text(text: &str) -> String {
    bounded(text, MAX_TEXT)
}

fn bounded(text: &str, most: usize) -> String {
    text.chars().filter(|c| !c.is_control()).take(most).collect()
}

/// A share such as CPU use; `None` where it is no number, or below 0.
pub fn share(value: Option<f64>) -> Option<f64> {
    value.filter(|share| share.is_finite() && *share >= 0.0)
}

fn is_about(window: &proto::Window, edges: &Edges, targets: impl Fn(&str) -> bool) -> bool {
    let known = |id: u32| {
        let id = u16::try_from(id).ok().and_then(EdgeId::new);
        id.is_some_and(|id| edges.get(id).is_some())
    };
    match &window.of {
        Some(window::Of::Edge(id)) => known(*id),
        Some(window::Of::Route(route)) => route.edges.iter().copied().all(known),
        Some(window::Of::Target(target)) => is_target(target) && targets(&target.name),
        None => false,
    }
}

/// A name that can be one, a method that there is or none, and no more reasons than there can be.
fn is_target(target: &proto::Target) -> bool {
    let named = (1..=MAX_NAME).contains(&target.name.len()) && !target.name.contains(char::is_control);
    let measured = target.method.is_empty() || Method::from_word(&target.method).is_some();
    named && measured && target.unmeasured.len() <= MAX_REASONS
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::records::EdgeRecord;

    const NOW: Wall = Wall::from_secs(1_800_000_000);
    /// The only target of a class.
    const WANTED: &str = "sfu:1";

    fn edges() -> Edges {
        let id = EdgeId::new(1).unwrap();
        Edges::restore([EdgeRecord {
            id,
            name: "fra-1".into(),
            region: None,
            addresses: Vec::new(),
            public_key: Vec::new(),
            tags: Default::default(),
            joined: NOW,
            revoked: None,
            draining: false,
        }])
    }

    fn window(of: window::Of, sent: u32, received: u32, lost: u32) -> proto::Window {
        proto::Window {
            of: Some(of),
            start_us: NOW.as_micros() - 2_000_000,
            length_ms: 1_000,
            ledger: Some(proto::Ledger {
                sent,
                received,
                lost_up: lost,
                ..proto::Ledger::default()
            }),
            ..proto::Window::default()
        }
    }

    #[test]
    fn what_cannot_be_is_left_out_and_counted() {
        let route = |edges: &[u32]| {
            window::Of::Route(proto::Route {
                edges: edges.to_vec(),
            })
        };
        let target = |name: &str, method: &str, reasons: usize| {
            window::Of::Target(Box::new(proto::Target {
                name: name.to_owned(),
                method: method.to_owned(),
                unmeasured: vec![proto::Unmeasured::default(); reasons],
            }))
        };
        // Of one answer.
        let kept_out = |excluded| {
            let mut window = window(window::Of::Edge(1), 1, 1, 0);
            window.ledger = window.ledger.map(|l| proto::Ledger { excluded, ..l });
            window
        };
        for (window, is_kept) in [
            (window(window::Of::Edge(1), 10, 9, 1), true),
            (window(window::Of::Edge(1), 10, 9, 2), false),
            (window(window::Of::Edge(1), u32::MAX, u32::MAX, u32::MAX), false),
            (kept_out(1), true),
            (kept_out(2), false),
            (window(window::Of::Edge(2), 1, 1, 0), false),
            (window(window::Of::Edge(0), 1, 1, 0), false),
            (window(window::Of::Edge(65_537), 1, 1, 0), false),
            (window(route(&[1]), 1, 1, 0), true),
            (window(route(&[1, 2]), 1, 1, 0), false),
            (proto::Window::default(), false),
            (window(target("sfu:1", "stun", 0), 10, 9, 1), true),
            (window(target("sfu:1", "stun", 0), 10, 9, 2), false),
            (window(target("sfu:1", "", 5), 0, 0, 0), true),
            (window(target("sfu:1", "", 6), 0, 0, 0), false),
            (window(target("sfu:1", "guess", 0), 10, 9, 1), false),
            (window(target("sfu:2", "stun", 0), 10, 9, 1), false),
            (window(target("", "stun", 0), 10, 9, 1), false),
            (window(target("a\n:1", "stun", 0), 10, 9, 1), false),
        ] {
            let mut report = proto::Report {
                windows: vec![window.clone()],
                ..proto::Report::default()
            };
            let refused = clean(&mut report, &edges(), |name| name == WANTED, NOW);
            assert_eq!(
                (report.windows.len(), refused),
                (usize::from(is_kept), u64::from(!is_kept)),
                "{window:?}"
            );
        }
    }

    #[test]
    fn nothing_happens_before_now() {
        for (start_us, end_us) in [
            (NOW.as_micros() - 1_000_000, NOW.as_micros()),
            (NOW.as_micros() - 999_999, NOW.as_micros()),
            (i64::MAX, NOW.as_micros()),
            (NOW.as_micros() - 9_000_000, NOW.as_micros() - 8_000_000),
            (i64::MIN, i64::MIN + 1_000_000),
        ] {
            let mut report = proto::Report {
                windows: vec![proto::Window {
                    start_us,
                    ..window(window::Of::Edge(1), 1, 1, 0)
                }],
                events: vec![proto::Event {
                    at_us: start_us,
                    ..proto::Event::default()
                }],
                ..proto::Report::default()
            };
            clean(&mut report, &edges(), |name| name == WANTED, NOW);
            assert!(links::end(&report.windows[0]).as_micros() <= end_us, "{start_us}");
            assert!(report.events[0].at_us <= NOW.as_micros());
        }
    }

    #[test]
    fn a_share_that_makes_no_sense_is_not_known() {
        for (said, known) in [
            (None, None),
            (Some(0.0), Some(0.0)),
            (Some(1.5), Some(1.5)),
            (Some(-0.1), None),
            (Some(f64::NAN), None),
            (Some(f64::INFINITY), None),
        ] {
            assert_eq!(share(said), known, "{said:?}");
        }
    }

    #[test]
    fn texts_are_bounded_and_plain() {
        assert_eq!(text("linux-x86_64"), "linux-x86_64");
        assert_eq!(text("a\u{1b}[31m\n"), "a[31m");
        assert_eq!(text(&"é".repeat(200)).chars().count(), MAX_TEXT);
    }
}
