//! The tables, as a page of `docs/accuracy`.

use std::fmt::{self, Write as _};

use corridor_bench::machine;
use corridor_netem::truth::Way;

use crate::{
    goals,
    links::LADDER,
    plot,
    run::{Load, Measured, Run, Setup, Taken},
    tools::{INTERVAL, SIZE, Tool},
};

/// All of it.
pub fn text(setup: &Setup, runs: &[Run], failed: &[String]) -> anyhow::Result<String> {
    let mut out = String::new();
    let args: Vec<_> = std::env::args().skip(1).collect();
    let date = today();
    let build = if setup.debug {
        ", NOT the release build"
    } else {
        ""
    };
    writeln!(out, "{HEAD}")?;
    writeln!(out, "| | |\n|---|---|")?;
    writeln!(out, "| command | `corridor_accuracy {}` |", args.join(" "))?;
    writeln!(out, "| machine | {} |", machine::describe()?)?;
    writeln!(out, "| date | {date} |")?;
    let (version, others) = (env!("CARGO_PKG_VERSION"), setup.versions.join("; "));
    writeln!(out, "| tools | corridor {version}{build}; {others} |")?;
    writeln!(
        out,
        "| each tool | {} probes, one every {} ms |",
        setup.count,
        INTERVAL.as_millis()
    )?;
    goals::table(&mut out, runs)?;
    for why in failed {
        writeln!(out, "\n**Failed**: {why}")?;
    }
    for load in Load::ALL {
        let runs: Vec<_> = runs.iter().filter(|run| run.load == load).collect();
        writeln!(out, "\n## {}\n", title(load))?;
        writeln!(out, "{}\n", about(load))?;
        writeln!(
            out,
            "![errors of round trips, {}]({})\n",
            load.name(),
            plot::name(load)
        )?;
        round_trips(&mut out, &runs)?;
        counts(&mut out, &runs)?;
        one_ways(&mut out, &runs)?;
        costs(&mut out, &runs)?;
    }
    ladder(&mut out)?;
    write!(out, "{}", notes())?;
    Ok(out)
}

fn title(load: Load) -> &'static str {
    match load {
        Load::Idle => "A machine that does nothing else",
        Load::Busy => "Every core busy",
    }
}

fn about(load: Load) -> &'static str {
    match load {
        Load::Idle => "What the tools themselves add.",
        Load::Busy => {
            "A thread of ordinary priority computes on every core, at both ends, for this is one machine: \
             whoever wants to\nsend, answer or read waits for a processor. That is not the network's doing."
        }
    }
}

fn round_trips(out: &mut String, runs: &[&Run]) -> fmt::Result {
    writeln!(out, "### Round trips, ms\n")?;
    writeln!(
        out,
        "| link | tool | truth p50 / p95 / p99 | error p50 | p95 | p99 | stalled | kept out | emulator late |"
    )?;
    writeln!(out, "|---|---|---|--:|--:|--:|--:|--:|--:|")?;
    for (run, measured) in rows(runs) {
        write!(out, "| {} | {} |", run.name(), measured.tool.name())?;
        let real = match &measured.real {
            Ok(real) => real,
            Err(why) => {
                writeln!(out, " {why} | | | | | | |")?;
                continue;
            }
        };
        let truth = real.rtt.map(|rtt| rtt.all());
        write!(out, " {} |", each(truth.as_ref().map(|t| &t[..]), 3))?;
        for i in 0..3 {
            let error = real.rtt_errors(&measured.said).map(|errors| errors[i]);
            write!(out, " {} |", signed(error))?;
        }
        let share = |n: u64| 100.0 * n as f64 / measured.said.received.max(1) as f64;
        for i in 0..2 {
            match measured.said.stalled {
                Some(stalled) => write!(out, " {:.2} % |", share(stalled[i]))?,
                None => write!(out, " – |")?,
            }
        }
        let void = if run.is_void(real) { " **VOID**" } else { "" };
        let late = real.late_p99.map_or("–".to_owned(), |late| format!("{late:.3}"));
        writeln!(out, " {late}{void} |")?;
    }
    writeln!(out)
}

fn counts(out: &mut String, runs: &[&Run]) -> fmt::Result {
    writeln!(
        out,
        "### Loss and reordering, packets\n\nWhat the tool says, and in brackets the emulator's count \
         where it is another.\n"
    )?;
    writeln!(
        out,
        "| link | tool | sent | lost there | lost back | where unknown | reordered there | back | equal |"
    )?;
    writeln!(out, "|---|---|--:|--:|--:|--:|--:|--:|---|")?;
    for (run, measured) in rows(runs) {
        let (Measured { tool, said, .. }, Ok(real)) = (measured, &measured.real) else {
            continue;
        };
        let pair = |said: Option<[u64; 2]>, of: fn(&Way) -> u64| {
            let real = [of(&real.up), of(&real.down)];
            [0, 1].map(|i| beside(said.map(|said| said[i]), real[i]))
        };
        let [lost_up, lost_down] = pair(said.lost, |way| way.lost);
        let [late_up, late_down] = pair(said.reordered, |way| way.reordered);
        // A tool that knows no directions knows at least how many are missing.
        let missing = said.lost.is_none().then(|| said.sent - said.received);
        let unknown = said.lost_unknown.or(missing);
        writeln!(
            out,
            "| {} | {} | {} | {lost_up} | {lost_down} | {} | {late_up} | {late_down} | {} |",
            run.name(),
            tool.name(),
            beside(Some(said.sent), real.up.sent),
            unknown.map_or("–".to_owned(), |n| n.to_string()),
            if real.counts_agree(said) { "yes" } else { "**no**" },
        )?;
    }
    writeln!(out)
}

fn one_ways(out: &mut String, runs: &[&Run]) -> fmt::Result {
    writeln!(out, "### One-way delays, medians, ms\n")?;
    writeln!(
        out,
        "| link | tool | truth there / back | said there / back | error there / back | stated bound | inside |"
    )?;
    writeln!(out, "|---|---|---|---|---|--:|---|")?;
    for (run, measured) in rows(runs) {
        let (Some(said), Ok(real)) = (measured.said.one_way, &measured.real) else {
            continue;
        };
        let errors = real.one_way_errors(&measured.said);
        let inside = match (said.bound, errors) {
            (Some(bound), Some(errors)) if errors.iter().all(|error| error.abs() <= bound) => "yes",
            (Some(_), Some(_)) => "**no**",
            _ => "–",
        };
        writeln!(
            out,
            "| {} | {} | {} | {} | {} | {} | {inside} |",
            run.name(),
            measured.tool.name(),
            each(real.one_way.as_ref().map(|ways| &ways[..]), 3),
            each(Some(&said.p50), 3),
            errors.map_or("–".to_owned(), |[there, back]| format!(
                "{there:+.3} / {back:+.3}"
            )),
            said.bound
                .map_or("none".to_owned(), |bound| format!("{bound:.3}")),
        )?;
    }
    writeln!(out)
}

fn costs(out: &mut String, runs: &[&Run]) -> fmt::Result {
    writeln!(out, "### What the tools take\n\nOver all these links.\n")?;
    writeln!(
        out,
        "| tool | CPU, µs a probe: least / median / most | resident at most, MiB (VmHWM) |"
    )?;
    writeln!(out, "|---|---|--:|")?;
    for tool in Tool::ALL {
        let taken = rows(runs).filter(|(_, measured)| measured.tool == tool);
        cost(
            out,
            tool.name(),
            &taken.map(|(_, measured)| measured.taken).collect::<Vec<_>>(),
        )?;
    }
    let bare: Vec<_> = runs.iter().map(|run| run.bare).collect();
    cost(out, "bare quinn client", &bare)?;
    let loads: Vec<_> = runs.iter().flat_map(|run| run.load_average).collect();
    let floors = runs
        .iter()
        .flat_map(|run| run.floor.map(|floor| floor.as_secs_f64() * 1e3));
    let bounds = |all: Vec<f64>| {
        let least = all.iter().copied().fold(f64::INFINITY, f64::min);
        let most = all.iter().copied().fold(f64::NEG_INFINITY, f64::max);
        (least, most)
    };
    let (least, most) = bounds(loads);
    let (low, high) = bounds(floors.collect());
    writeln!(
        out,
        "\nLoad average of the machine meanwhile {least} to {most} (the emulator keeps the cores from \
         sleeping at idle priority,\nwhich counts as one a core); the path's floor {low:.3} to {high:.3} ms \
         a direction."
    )
}

fn cost(out: &mut String, name: &str, taken: &[Taken]) -> fmt::Result {
    let mut cpu: Vec<_> = taken.iter().map(Taken::us_each).collect();
    cpu.sort_by(f64::total_cmp);
    let peak = taken.iter().filter_map(|taken| Some(taken.memory?.peak)).max();
    let (Some(least), Some(median), Some(most)) = (cpu.first(), cpu.get(cpu.len() / 2), cpu.last()) else {
        return Ok(());
    };
    let peak = peak.map_or("–".to_owned(), |kib| format!("{:.1}", kib as f64 / 1024.0));
    writeln!(out, "| {name} | {least:.0} / {median:.0} / {most:.0} | {peak} |")
}

fn ladder(out: &mut String) -> fmt::Result {
    writeln!(
        out,
        "\n## The links\n\n| link | there | back | why |\n|---|---|---|---|"
    )?;
    for link in &LADDER {
        writeln!(
            out,
            "| {} | `{}` | `{}` | {} |",
            link.name, link.there, link.back, link.why
        )?;
    }
    writeln!(out)
}

fn rows<'r>(runs: &[&'r Run]) -> impl Iterator<Item = (&'r Run, &'r Measured)> {
    runs.iter()
        .flat_map(|&run| run.tools.iter().map(move |measured| (run, measured)))
}

fn each(figures: Option<&[f64]>, digits: usize) -> String {
    let Some(figures) = figures else {
        return "–".to_owned();
    };
    let texts: Vec<_> = figures.iter().map(|f| format!("{f:.digits$}")).collect();
    texts.join(" / ")
}

fn signed(error: Option<f64>) -> String {
    error.map_or("–".to_owned(), |error| format!("{error:+.3}"))
}

fn beside(said: Option<u64>, real: u64) -> String {
    match said {
        Some(said) if said == real => said.to_string(),
        Some(said) => format!("{said} ({real})"),
        None => format!("– ({real})"),
    }
}

#[expect(clippy::disallowed_methods, reason = "dates a page")]
fn today() -> String {
    let now = time::OffsetDateTime::from(std::time::SystemTime::now());
    now.date().to_string()
}

const HEAD: &str = "# How near the tools come to the truth

`make accuracy` makes this page: `corridor probe`, irtt and fping measure the same emulated links, one after
the other, and are compared with what the emulator did to their own packets.
";

fn notes() -> String {
    format!(
        "## How

Two network namespaces, joined by `corridor-netem`, a link emulator over TUN devices that runs at real-time
priority and logs when each packet came and left. Each link, load and round is a world of its own. In it, one after
the other, so that none disturbs another:

1. **the floor**: packets between two namespaces without a link, from `send` to the kernel's receive timestamp
   at the other end, less the time in the emulator. It is what the path costs any program; what a program
   takes to wake up and read is the tool's.
2. `corridor probe` to `corridor edge --standalone` (datagrams of {SIZE} bytes), irtt to its server, fping to the
   kernel. Each has packets of lengths of its own, by which the log tells them apart.
3. a bare QUIC client, in namespaces of its own, for what it takes of the machine: quinn and a timer, with
   datagrams as long and as often as Corridor's.

**Truth**: the log says how long each probe and its answer were in the emulator; their sum and both floors are
the truth of that round trip, and percentiles are compared with percentiles over the same probes. Each tool
meets its own draw of the link's randomness, so each has its own truth. Time at the far end is not in it:
Corridor and irtt take it out by the far end's timestamps. The kernel answers fping while the emulator writes,
which saves part of the floor: fping's errors can be below zero by so much.

**Late**: how much later than it meant the emulator wrote this tool's packets, 99th percentile. Above 0.3 ms the
row is VOID: its times prove nothing; its counts do.

**Stalled**: samples that Corridor knows to be spoilt, because this machine stood still; **kept out**: those of
them whose times are in no figure. Other tools do not know.

**One-way**: both ends have one clock here, of which Corridor makes no use: it works the offset out of what it
measures, and states the bound. irtt takes the clocks for synchronous, as they happen to be; across two
machines its figures are off by as much as the clocks are.

**Loss**: irtt's counts are what the server had received when it sent the last answer that came back. fping
knows no directions.
"
    )
}
