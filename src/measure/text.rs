//! A measurement for people, in 80 columns.

use std::fmt::Write as _;

use corridor_probes::stamp::ReflectorKind;

use super::{
    progress::Progress,
    summary::{Figures, Summary},
    voice::DelayFrom,
};
use crate::transport::ArrivalTimes;

const WIDTH: usize = 80;
const LABEL: usize = 10;

/// One line while it runs, at most 79 characters.
pub fn live(p: &Progress, elapsed_s: u64) -> String {
    let rtt = |us: Option<u32>| us.map_or_else(|| "-".to_owned(), |us| number(f64::from(us) / 1e3));
    let mut line = format!(
        "{elapsed_s} s  rtt {} ms, median {}  lost up {} down {}",
        rtt(p.rtt_now_us),
        rtt(p.rtt_median_us),
        share(p.lost_up, p.sent),
        share(p.lost_down, p.sent),
    );
    if p.lost_unknown > 0 {
        let _ = write!(line, " ? {}", share(p.lost_unknown, p.sent));
    }
    if !p.connected {
        line.push_str("  unconnected");
    }
    line.truncate(WIDTH - 1);
    line
}

/// The whole summary; every line ends in a newline.
pub fn report(s: &Summary) -> String {
    let mut out = String::new();
    items(
        &mut out,
        "slots",
        &[
            count(s.slots, "in all"),
            count(s.sent, "sent"),
            count(s.slipped, "slipped"),
            count(s.local_drops, "dropped here"),
            count(s.unconnected, "unconnected"),
        ],
    );
    items(
        &mut out,
        "probes",
        &[
            format!("{} received", s.received),
            format!("lost: {} up", s.lost_up),
            format!("{} down", s.lost_down),
            format!("{} late (after {})", s.late, seconds(s.tmax_ms)),
            format!("{} unknown", s.lost_unknown),
            format!("reordered: {} up{}", s.reordered_up, extent(s.reorder_extent_up)),
            format!("{} down{}", s.reordered_down, extent(s.reorder_extent_down)),
        ],
    );
    if s.arrival_times == Some(ArrivalTimes::Program) {
        let told = "when this program read: the kernel stamps no packets here";
        items(&mut out, "arrivals", &[told.to_owned()]);
    }
    if let Some(twice) = s.duplicates_down.filter(|&n| n > 0) {
        items(&mut out, "doubled", &[format!("{twice} packets came twice")]);
    }
    if let Some(kind) = s.reflector {
        let told = match kind {
            ReflectorKind::Stateful => "stateful: it counts what comes to it",
            ReflectorKind::Stateless => "stateless: where a probe was lost is not known",
        };
        items(&mut out, "STAMP", &[told.to_owned()]);
    }
    if s.stalled > 0 {
        let kept = format!("{} read while this machine stood still", s.stalled);
        items(&mut out, "stalls", &[kept, count(s.excluded, "kept out")]);
    }
    figures(&mut out, s);
    items(
        &mut out,
        "jitter",
        &both(s.jitter_up_ms, s.jitter_down_ms, "RFC 3550"),
    );
    let (label, up, down) = match (s.pdv_up_p999_ms, s.pdv_down_p999_ms) {
        (None, None) => ("PDV p99", s.pdv_up_p99_ms, s.pdv_down_p99_ms),
        (up, down) => ("PDV p99.9", up, down),
    };
    items(&mut out, label, &both(up, down, "above the least delay"));
    if s.path_changes > 0 {
        items(&mut out, "path", &[format!("changed {} times", s.path_changes)]);
    }
    let b = &s.bursts;
    let mut bursts = vec![if b.bursts == 0 {
        "none".to_owned()
    } else {
        format!(
            "{} with {} of {} probes lost",
            b.bursts, b.burst_lost, b.burst_packets
        )
    }];
    if b.gap_lost > 0 {
        bursts.push(format!("{} lost between them", b.gap_lost));
    }
    bursts.extend(s.burst_ratio.map(|r| format!("burst ratio {r:.2}")));
    for (gilbert, way) in [(s.gilbert_up, "up"), (s.gilbert_down, "down")] {
        bursts.extend(gilbert.map(|g| format!("Gilbert {way} p {:.4} q {:.4}", g.p, g.q)));
    }
    items(&mut out, "bursts", &bursts);
    if let (Some(mos), Some(r)) = (s.mos, s.r_factor) {
        let note = if s.codec_provisional { " (provisional)" } else { "" };
        let mut voice = vec![
            format!("MOS {mos:.2}"),
            format!("R {r:.1}"),
            format!("codec {}{note}", s.codec),
        ];
        if let (Some(ta), Some(from)) = (s.mouth_to_ear_ms, s.mouth_to_ear_from) {
            let note = match from {
                DelayFrom::OneWay => "",
                DelayFrom::HalfRoundTrip => " (by half the round trip)",
            };
            voice.push(format!("mouth to ear {} ms{note}", number(ta)));
        }
        voice.extend(
            s.jitter_buffer_ms
                .map(|ms| format!("jitter buffer {} ms", number(ms))),
        );
        voice.extend(s.discarded.map(|d| format!("{:.2} % too late for it", d * 100.0)));
        items(&mut out, "voice", &voice);
    }
    out
}

fn figures(out: &mut String, s: &Summary) {
    let rows = [
        ("rtt", s.rtt_ms, None),
        ("up", s.owd_up_ms, s.owd_error_ms),
        ("down", s.owd_down_ms, s.owd_error_ms),
        ("IPDV up", s.ipdv_up_ms, None),
        ("IPDV down", s.ipdv_down_ms, None),
    ];
    if rows.iter().all(|(_, figures, _)| figures.is_none()) {
        return;
    }
    let _ = write!(out, "{:LABEL$}", "ms");
    for name in ["min", "mean", "p50", "p95", "p99", "max"] {
        let _ = write!(out, "{name:>10}");
    }
    out.push('\n');
    for (label, row, bound) in rows {
        let Some(Figures {
            min,
            mean,
            p50,
            p95,
            p99,
            max,
        }) = row
        else {
            continue;
        };
        let _ = write!(out, "{label:LABEL$}");
        for v in [min, mean, p50, p95, p99, max] {
            let _ = write!(out, "{:>10}", number(v));
        }
        if let Some(bound) = bound {
            let _ = write!(out, " ±{}", number(bound));
        }
        out.push('\n');
    }
}

/// Three decimals while they mean something.
fn number(ms: f64) -> String {
    match ms.abs() {
        v if v < 1_000.0 => format!("{ms:.3}"),
        v if v < 100_000.0 => format!("{ms:.1}"),
        _ => format!("{ms:.0}"),
    }
}

fn share(part: u32, of: u32) -> String {
    match of {
        0 => "-".to_owned(),
        of => format!("{:.1} %", f64::from(part) / f64::from(of) * 100.0),
    }
}

fn seconds(ms: f64) -> String {
    format!("{} s", ms / 1e3)
}

/// By how many packets the most overtaken one was.
fn extent(largest: Option<u32>) -> String {
    largest.map_or_else(String::new, |n| format!(" (by up to {n})"))
}

fn count(n: u32, what: &str) -> String {
    format!("{n} {what}")
}

fn both(up: Option<f64>, down: Option<f64>, note: &str) -> Vec<String> {
    let one = |v: f64, way: &str| format!("{} ms {way}", number(v));
    let mut both: Vec<_> = up.map(|v| one(v, "up")).into_iter().collect();
    both.extend(down.map(|v| one(v, "down")));
    if let Some(last) = both.last_mut() {
        let _ = write!(last, " ({note})");
    }
    both
}

/// `label  a, b, c`, continued on further lines where it does not fit; nothing without items.
fn items(out: &mut String, label: &str, items: &[String]) {
    let mut width = 0;
    for (i, item) in items.iter().enumerate() {
        let comma = usize::from(i + 1 < items.len());
        let len = item.chars().count() + comma;
        if i == 0 {
            let _ = write!(out, "{label:LABEL$}");
            width = LABEL;
        } else if width + 1 + len > WIDTH {
            let _ = write!(out, "\n{:LABEL$}", "");
            width = LABEL;
        }
        let _ = write!(out, " {item}{}", if comma == 1 { "," } else { "" });
        width += 1 + len;
    }
    if !items.is_empty() {
        out.push('\n');
    }
}

#[cfg(test)]
mod tests {
    use corridor_probes::{
        BurstsAndGaps,
        quality::{G711, OPUS_NB},
    };

    use super::*;
    use crate::measure::summary::Gilbert;

    fn full(n: u32, ms: f64) -> Summary {
        let figures = Some(Figures {
            min: -ms,
            mean: ms,
            p50: ms,
            p95: ms,
            p99: ms,
            max: ms,
        });
        Summary {
            slots: n,
            sent: n,
            slipped: n,
            local_drops: n,
            unconnected: n,
            received: n,
            lost_up: n,
            lost_down: n,
            late: n,
            lost_unknown: n,
            tmax_ms: 2_000.0,
            reordered_up: n,
            reordered_down: n,
            reorder_extent_up: Some(n),
            reorder_extent_down: Some(n),
            stalled: n,
            excluded: n,
            rtt_ms: figures,
            owd_up_ms: figures,
            owd_down_ms: figures,
            ipdv_up_ms: figures,
            ipdv_down_ms: figures,
            owd_error_ms: Some(ms),
            clock_offset_ms: Some(ms),
            jitter_up_ms: Some(ms),
            jitter_down_ms: Some(ms),
            pdv_up_p99_ms: Some(ms),
            pdv_down_p99_ms: Some(ms),
            pdv_up_p999_ms: Some(ms),
            pdv_down_p999_ms: Some(ms),
            path_changes: n,
            gilbert_up: Some(Gilbert { p: 0.1, q: 1.0 }),
            gilbert_down: Some(Gilbert { p: 1.0, q: 0.1 }),
            burst_ratio: Some(1.5),
            mos: Some(4.4),
            r_factor: Some(93.2),
            mouth_to_ear_ms: Some(ms),
            mouth_to_ear_from: Some(DelayFrom::HalfRoundTrip),
            jitter_buffer_ms: Some(ms),
            discarded: Some(1.0),
            codec: "opus-nb-11k",
            arrival_times: Some(ArrivalTimes::Program),
            duplicates_down: Some(n.into()),
            profile: None,
            codec_provisional: true,
            codec_source: OPUS_NB.source,
            reflector: Some(ReflectorKind::Stateless),
            bursts: BurstsAndGaps {
                bursts: n,
                burst_packets: n.into(),
                burst_lost: n.into(),
                gap_packets: n.into(),
                gap_lost: n.into(),
            },
        }
    }

    #[test]
    fn everything_fits_80_columns() {
        for n in [0, 7, u32::MAX] {
            for ms in [0.0, 99.999, 999.9994, 60_000.0, 120_000.0] {
                let text = report(&full(n, ms));
                for line in text.lines() {
                    assert!(line.chars().count() <= WIDTH, "{line}");
                    assert!(!line.ends_with(' '), "{line:?}");
                }
                assert!(text.contains("codec opus-nb-11k (provisional)"), "{text}");
            }
        }
    }

    #[test]
    fn what_is_unknown_is_not_shown() {
        let nothing = Summary {
            rtt_ms: None,
            owd_up_ms: None,
            owd_down_ms: None,
            ipdv_up_ms: None,
            ipdv_down_ms: None,
            owd_error_ms: None,
            clock_offset_ms: None,
            jitter_up_ms: None,
            jitter_down_ms: None,
            pdv_up_p99_ms: None,
            pdv_down_p99_ms: None,
            pdv_up_p999_ms: None,
            pdv_down_p999_ms: None,
            arrival_times: None,
            duplicates_down: None,
            reorder_extent_up: None,
            reorder_extent_down: None,
            gilbert_up: None,
            gilbert_down: None,
            mouth_to_ear_ms: None,
            mouth_to_ear_from: None,
            jitter_buffer_ms: None,
            discarded: None,
            burst_ratio: None,
            reflector: None,
            mos: None,
            r_factor: None,
            codec: G711.name,
            codec_provisional: false,
            codec_source: G711.source,
            ..full(0, 0.0)
        };
        let text = report(&nothing);
        assert_eq!(text.lines().count(), 4, "{text}");
        let json = serde_json::to_value(&nothing).unwrap();
        let keys: Vec<_> = json.as_object().unwrap().keys().cloned().collect();
        assert_eq!(keys.len(), 19, "{keys:?}");
    }

    #[test]
    fn the_live_line_is_one_line() {
        let mut p = Progress {
            rtt_now_us: Some(u32::MAX),
            rtt_median_us: Some(u32::MAX),
            sent: 8,
            lost_up: 1,
            lost_down: 0,
            lost_unknown: 8,
            slots: u32::MAX,
            slots_left: 0,
            connected: false,
        };
        assert!(live(&p, u64::MAX).chars().count() < WIDTH);
        p = Progress {
            rtt_now_us: None,
            rtt_median_us: Some(41_250),
            lost_unknown: 0,
            connected: true,
            ..p
        };
        assert_eq!(
            live(&p, 3),
            "3 s  rtt - ms, median 41.250  lost up 12.5 % down 0.0 %"
        );
    }
}
