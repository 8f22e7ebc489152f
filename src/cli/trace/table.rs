//! A trace for people, in 80 columns.

use std::fmt::Write as _;

use super::report::{HopReport, Report};

/// `hop` and eight columns of figures: what is left of 80 columns is the address.
const FIGURES: usize = 4 + 7 * 6 + 7;
const MIN_ADDRESS: usize = 15;

/// The table while it runs.
pub fn live(report: &Report, width: usize) -> String {
    let mut out = head(report, width);
    rows(&mut out, report, width);
    out
}

/// The table at the end, and what is to be said to it.
pub fn summary(report: &Report, width: usize) -> String {
    let mut out = live(report, width);
    match (report.distance, report.loss) {
        (Some(hops), Some(loss)) => {
            let plural = if hops == 1 { "" } else { "s" };
            let _ = writeln!(
                out,
                "reached in {hops} hop{plural}, {:.1} % lost there and back",
                loss * 100.0
            );
        }
        (Some(hops), None) => {
            let _ = writeln!(out, "reached in {hops} hops, loss not known");
        }
        (None, _) => {}
    }
    for note in &report.notes {
        wrapped(&mut out, note, width);
    }
    // Of interest where something could not be seen, or was seen in another way than the first.
    if report.method != "udp" || !report.notes.is_empty() {
        for refused in &report.refused {
            wrapped(&mut out, &format!("not possible here: {refused}"), width);
        }
    }
    out
}

fn head(report: &Report, width: usize) -> String {
    let mut line = if report.host == report.address {
        report.host.clone()
    } else {
        format!("{} ({})", report.host, report.address)
    };
    let _ = write!(line, " by {}", report.method);
    if !report.progress.is_empty() {
        let _ = write!(line, ", {}", report.progress);
    }
    cut(&line, width) + "\n"
}

fn rows(out: &mut String, report: &Report, width: usize) {
    let room = width.saturating_sub(FIGURES).max(MIN_ADDRESS);
    let mut header = format!("hop {:room$}", "address");
    for (name, columns) in [
        ("loss", 6),
        ("last", 6),
        ("best", 6),
        ("mean", 6),
        ("p50", 6),
        ("p95", 6),
        ("worst", 6),
        ("jitter", 7),
    ] {
        let _ = write!(header, "{name:>columns$}");
    }
    let _ = writeln!(out, "{}", cut(&header, width));
    for hop in &report.hops {
        let mut line = format!("{:>3} {:room$}", hop.hop, cut(&who(hop), room.saturating_sub(1)));
        let rtt = hop.rtt_ms;
        let figures = [
            rtt.map(|r| r.last),
            rtt.map(|r| r.best),
            rtt.map(|r| r.mean),
            rtt.map(|r| r.p50),
            rtt.map(|r| r.p95),
            rtt.map(|r| r.worst),
        ];
        let _ = write!(line, "{:>6}", loss(hop));
        for figure in figures {
            let _ = write!(line, "{:>6}", number(figure));
        }
        let _ = write!(line, "{:>7}", number(hop.jitter_ms));
        let _ = writeln!(out, "{}", cut(&line, width));
        // What a long address or a second one had no room for, and what the figures do not say.
        for line in below(hop, room) {
            let _ = writeln!(out, "{}", cut(&format!("    {line}"), width));
        }
    }
}

fn who(hop: &HopReport) -> String {
    hop.addresses.first().map_or_else(|| "*".to_owned(), Clone::clone)
}

fn below(hop: &HopReport, room: usize) -> Vec<String> {
    let mut lines = Vec::new();
    lines.extend(hop.addresses.first().filter(|a| a.len() >= room).cloned());
    lines.extend(hop.addresses.iter().skip(1).map(|a| format!("also {a}")));
    lines.extend(hop.names.iter().cloned());
    if hop.limits_answers {
        lines.push(format!("limits answers ({} of {})", hop.answered, hop.sent));
    }
    lines.extend(hop.unreachable.map(str::to_owned));
    lines
}

/// `-` where it is not known.
fn loss(hop: &HopReport) -> String {
    hop.loss
        .map_or_else(|| "-".to_owned(), |share| format!("{:.0}%", share * 100.0))
}

fn number(figure: Option<f64>) -> String {
    figure.map_or_else(|| "-".to_owned(), ms)
}

/// At most five characters.
fn ms(value: f64) -> String {
    match value {
        ..10.0 => format!("{value:.2}"),
        10.0..1_000.0 => format!("{value:.1}"),
        _ => format!("{value:.0}"),
    }
}

fn cut(text: &str, width: usize) -> String {
    text.chars().take(width).collect::<String>().trim_end().to_owned()
}

/// A note over as many lines as it takes, those after the first indented.
fn wrapped(out: &mut String, text: &str, width: usize) {
    let mut column = 0;
    for word in text.split_whitespace() {
        if column > 0 && column + 1 + word.len() > width {
            out.push_str("\n ");
            column = 1;
        }
        if column > 0 {
            out.push(' ');
            column += 1;
        }
        out.push_str(word);
        column += word.len();
    }
    out.push('\n');
}

#[cfg(test)]
mod tests {
    use corridor_probes::trace::HopState;

    use super::*;
    use crate::cli::trace::report::Rtt;

    fn hop(n: u8, address: Option<&str>, state: HopState) -> HopReport {
        HopReport {
            hop: n,
            addresses: address.map(str::to_owned).into_iter().collect(),
            names: Vec::new(),
            sent: 10,
            answered: if address.is_some() { 7 } else { 0 },
            loss: (state == HopState::Counted).then_some(0.0),
            limits_answers: state == HopState::LimitsAnswers,
            rtt_ms: address.map(|_| Rtt {
                last: 0.04,
                best: 9.999,
                mean: 12.34,
                worst: 2_999.5,
                p50: 999.94,
                p95: 100.0,
            }),
            jitter_ms: None,
            unreachable: None,
        }
    }

    fn report() -> Report {
        Report {
            host: "example.org".to_owned(),
            address: "2001:db8:1111:2222:3333:4444:5555:6666".to_owned(),
            method: "udp".to_owned(),
            refused: vec!["raw: no CAP_NET_RAW".to_owned()],
            rounds: 10,
            interval_ms: 1_000.0,
            reached: true,
            distance: Some(3),
            loss: Some(0.0),
            end_limits_answers: false,
            hops: vec![
                hop(1, Some("192.0.2.1"), HopState::LimitsAnswers),
                hop(2, None, HopState::Silent),
                hop(3, Some("2001:db8:1111:2222:3333:4444:5555:6666"), HopState::Counted),
            ],
            notes: vec!["the end limits its answers: asked by echo requests it answered 12 of 12, which is what loss is counted from".to_owned()],
            progress: String::new(),
        }
    }

    #[test]
    fn nothing_is_wider_than_the_terminal_and_nothing_unknown_is_a_number() {
        for width in [80, 79, 120] {
            let text = summary(&report(), width);
            for line in text.lines() {
                assert!(line.chars().count() <= width, "{width}: {line}");
            }
            let silent = text.lines().find(|l| l.contains('*')).unwrap();
            assert!(!silent.contains('0'), "{silent}");
            assert!(text.contains("limits answers (7 of 10)"), "{text}");
            assert!(text.contains("2001:db8:1111:2222:3333:4444:5555:6666"), "{text}");
            assert!(text.contains("reached in 3 hops, 0.0 % lost"), "{text}");
        }
    }

    #[test]
    fn what_is_unknown_is_absent() {
        let json = serde_json::to_value(report()).unwrap();
        let silent = &json["hops"][1];
        for key in ["loss", "rtt_ms", "jitter_ms", "names", "unreachable"] {
            assert!(silent.get(key).is_none(), "{key}");
        }
        assert_eq!(silent["answered"], 0);
    }
}
