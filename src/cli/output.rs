//! Printing: tables that fit a terminal, JSON for scripts.

use std::io::{self, IsTerminal as _, Write as _};

use comfy_table::{ContentArrangement, Table, presets};
use serde::Serialize;

use super::Failure;
use crate::api::model::TrafficStatus;

/// Writes one line to stdout. A reader that went away (`| head`) ends the command quietly.
pub fn line(text: impl std::fmt::Display) -> Result<(), Failure> {
    if !written(text)? {
        std::process::exit(0);
    }
    Ok(())
}

/// Writes one line to stdout; `false` if its reader went away.
pub fn written(text: impl std::fmt::Display) -> Result<bool, Failure> {
    match writeln!(io::stdout().lock(), "{text}") {
        Ok(()) => Ok(true),
        Err(e) if e.kind() == io::ErrorKind::BrokenPipe => Ok(false),
        Err(e) => Err(Failure::Runtime(anyhow::Error::new(e).context("stdout"))),
    }
}

/// Prints a value as JSON: indented for people, on one line for pipes.
pub fn json(value: &impl Serialize) -> Result<(), Failure> {
    let text = if io::stdout().is_terminal() {
        serde_json::to_string_pretty(value)
    } else {
        serde_json::to_string(value)
    };
    line(text.map_err(|e| Failure::Runtime(e.into()))?)
}

/// Date and time of an RFC 3339 text in UTC, to the second.
pub fn moment(at: &str) -> String {
    at.get(..19).unwrap_or(at).replacen('T', " ", 1)
}

/// A table without lines, as wide as the terminal at most (80 columns where there is none).
pub fn table<const N: usize>(header: [&str; N], rows: impl IntoIterator<Item = [String; N]>) -> Table {
    let mut table = Table::new();
    table
        .load_style(presets::NOTHING)
        .set_content_arrangement(ContentArrangement::Dynamic)
        .set_header(header);
    table.set_width(width());
    for row in rows {
        table.add_row(row);
    }
    table
}

/// Columns of the terminal.
pub fn width() -> u16 {
    std::env::var("COLUMNS")
        .ok()
        .and_then(|c| c.parse().ok())
        .filter(|&c| c >= 40)
        .unwrap_or_else(terminal_width)
}

#[cfg(unix)]
#[expect(unsafe_code, reason = "std has no way to ask for a terminal's size")]
fn terminal_width() -> u16 {
    let mut size = libc::winsize {
        ws_row: 0,
        ws_col: 0,
        ws_xpixel: 0,
        ws_ypixel: 0,
    };
    // SAFETY: TIOCGWINSZ writes a winsize, and `size` outlives the call.
    let rc = unsafe { libc::ioctl(libc::STDOUT_FILENO, libc::TIOCGWINSZ, &mut size) };
    if rc == 0 && size.ws_col >= 40 {
        size.ws_col
    } else {
        80
    }
}

#[cfg(not(unix))]
fn terminal_width() -> u16 {
    80
}

/// `12.3` or `-` for what is unknown.
pub fn ms(value: Option<f64>) -> String {
    value.map_or_else(|| "-".to_owned(), |v| format!("{v:.1}"))
}

/// `0.52 %` or `-`.
pub fn percent(share: Option<f64>) -> String {
    share.map_or_else(|| "-".to_owned(), |s| format!("{:.2} %", s * 100.0))
}

/// What an agent used of its byte budget, the larger direction: `12.3 of 60.0` or `-`.
pub fn used_of(traffic: &TrafficStatus) -> String {
    let used = traffic
        .out_kbps
        .zip(traffic.back_kbps)
        .map(|(out, back)| out.max(back));
    used.map_or_else(
        || "-".to_owned(),
        |used| format!("{used:.1} of {:.1}", traffic.budget_kbps),
    )
}

/// The same as a sentence.
pub fn traffic(traffic: &TrafficStatus) -> String {
    let mut text = format!("budget {:.1} kbit/s each way", traffic.budget_kbps);
    if traffic.metered {
        text += " (metered line)";
    }
    if let Some(share) = traffic.share_kbps {
        text += &format!(", {share:.1} of its site's line");
    }
    if let (Some(out), Some(back)) = (traffic.out_kbps, traffic.back_kbps) {
        text += &format!("; used {out:.1} out and {back:.1} back");
    }
    if let (Some(out), Some(back)) = (traffic.peers_out_kbps, traffic.peers_back_kbps)
        && out + back > 0.0
    {
        text += &format!(", and {out:.1} and {back:.1} for peers");
    }
    if traffic.rungs_down > 0 {
        text += &format!(
            "; probes are slowed by {} steps to stay in it",
            traffic.rungs_down
        );
    }
    text
}

/// Edges as a chain, `direct` if there are none.
pub fn chain(edges: &[String]) -> String {
    if edges.is_empty() {
        "direct".to_owned()
    } else {
        edges.join(" > ")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_moment_is_told_to_the_second() {
        assert_eq!(moment("2026-11-27T21:00:38.084057Z"), "2026-11-27 21:00:38");
        assert_eq!(moment("2026-11-27T21:00:38Z"), "2026-11-27 21:00:38");
        assert_eq!(moment("soon"), "soon");
    }
}
