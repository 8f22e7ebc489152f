//! The figures as a table of 80 columns.

use std::{fmt::Write as _, time::Duration};

use corridor_bench::{machine, table::number};

use crate::process::Reading;

/// One measured process over one phase.
#[derive(Debug, Clone, Copy)]
pub struct Span {
    pub before: Reading,
    pub after: Reading,
    pub probes: u64,
    /// To a peer's probes.
    pub answers: u64,
}

/// All of them, over the same time.
#[derive(Debug)]
pub struct Phase {
    pub name: &'static str,
    pub agent: Span,
    pub probing: Span,
    pub all: Span,
    /// The machine's, at the begin and at the end.
    pub load: (f64, f64),
}

impl Span {
    fn length(&self) -> Duration {
        self.after.at.duration_since(self.before.at)
    }

    fn cpu(&self) -> Duration {
        self.after.cpu.saturating_sub(self.before.cpu)
    }

    /// Share of a core, in percent.
    fn share(&self) -> f64 {
        100.0 * self.cpu().as_secs_f64() / self.length().as_secs_f64()
    }

    fn per_second(&self, n: u64) -> f64 {
        n as f64 / self.length().as_secs_f64()
    }

    /// CPU of one of `n`, in microseconds; NaN for none.
    fn us_each(&self, n: u64) -> f64 {
        self.cpu().as_secs_f64() * 1e6 / n as f64
    }

    /// Both ways: everything that is sent is answered, or is an answer.
    fn datagrams(&self) -> u64 {
        2 * (self.probes + self.answers)
    }
}

type Row = (&'static str, fn(&Span) -> f64, usize);

const MB: f64 = 1024.0;

const ROWS: [Row; 16] = [
    ("CPU, % of a core", Span::share, 3),
    ("CPU, µs a probe sent", |s| s.us_each(s.probes), 0),
    (
        "CPU, µs a datagram sent or received",
        |s| s.us_each(s.datagrams()),
        0,
    ),
    ("probes sent", |s| s.probes as f64, 0),
    ("answers to a peer's probes", |s| s.answers as f64, 0),
    (
        "voluntary context switches a second",
        |s| s.per_second(s.after.switches.saturating_sub(s.before.switches)),
        1,
    ),
    ("packets out a second", |s| s.per_second(s.wire().out_packets), 1),
    ("packets in a second", |s| s.per_second(s.wire().in_packets), 1),
    ("kbit/s out (IP)", |s| s.per_second(s.wire().out_bytes) / 125.0, 1),
    ("kbit/s in (IP)", |s| s.per_second(s.wire().in_bytes) / 125.0, 1),
    (
        "resident at the end, MiB (VmRSS)",
        |s| s.after.memory.now as f64 / MB,
        2,
    ),
    ("  its own (RssAnon)", |s| s.after.memory.own as f64 / MB, 2),
    (
        "  of files, the program (RssFile)",
        |s| s.after.memory.files as f64 / MB,
        2,
    ),
    (
        "resident at most, MiB (VmHWM)",
        |s| s.after.memory.peak as f64 / MB,
        2,
    ),
    ("threads", |s| s.after.threads as f64, 0),
    ("minutes", |s| s.length().as_secs_f64() / 60.0, 1),
];

impl Span {
    fn wire(&self) -> crate::netns::Counters {
        self.after.wire.since(self.before.wire)
    }
}

/// What the agent shall not exceed in a phase.
struct Goal {
    phase: &'static str,
    what: &'static str,
    figure: fn(&Phase) -> f64,
    at_most: f64,
}

const GOALS: [Goal; 5] = [
    Goal {
        phase: "in class",
        what: "CPU, % of a core",
        figure: |p| p.agent.share(),
        at_most: 1.0,
    },
    Goal {
        phase: "in class",
        what: "CPU, times the bare client's, same probes",
        figure: |p| p.agent.share() / p.probing.share(),
        at_most: 1.5,
    },
    Goal {
        phase: "in class",
        what: "CPU, times the bare client's, same datagrams",
        figure: |p| p.agent.share() / p.all.share(),
        at_most: 1.5,
    },
    Goal {
        phase: "idle",
        what: "CPU, % of a core",
        figure: |p| p.agent.share(),
        at_most: 0.15,
    },
    Goal {
        phase: "idle",
        what: "resident, MB",
        figure: |p| p.agent.after.memory.now as f64 * 1024.0 / 1e6,
        at_most: 10.0,
    },
];

/// The whole text: command, machine, tables, goals.
pub fn text(phases: &[Phase]) -> anyhow::Result<String> {
    let mut out = String::new();
    let args: Vec<_> = std::env::args().skip(1).collect();
    writeln!(out, "command  agent_footprint {}", args.join(" "))?;
    writeln!(out, "machine  {}", machine::describe()?)?;
    for phase in phases {
        let (from, to) = phase.load;
        writeln!(
            out,
            "\n{} (load average of the machine {from} to {to})",
            phase.name
        )?;
        writeln!(
            out,
            "{:37} {:>8} {:>9} {:>9} {:>6} {:>6}",
            "", "agent", "bare: its", "bare: all", "ratio", "ratio"
        )?;
        writeln!(
            out,
            "{:37} {:>8} {:>9} {:>9} {:>6} {:>6}",
            "", "", "probes", "datagrams", "probes", "all"
        )?;
        for (name, figure, digits) in ROWS {
            let [agent, probing, all] = [&phase.agent, &phase.probing, &phase.all].map(figure);
            writeln!(
                out,
                "{name:37} {:>8} {:>9} {:>9} {:>6} {:>6}",
                number(agent, digits),
                number(probing, digits),
                number(all, digits),
                number(agent / probing, 2),
                number(agent / all, 2),
            )?;
        }
    }
    writeln!(out, "\ngoals")?;
    for goal in GOALS {
        for phase in phases.iter().filter(|phase| phase.name == goal.phase) {
            let figure = (goal.figure)(phase);
            let met = if figure <= goal.at_most { "met" } else { "MISSED" };
            writeln!(
                out,
                "{:8}  {:45} {:>7} <= {:>5}  {met}",
                goal.phase,
                goal.what,
                number(figure, 3),
                goal.at_most
            )?;
        }
    }
    Ok(out)
}

/// The same as a page of `docs/bench`.
pub fn page(text: &str) -> String {
    format!("{HEAD}\n```\n{text}```\n\n{NOTES}")
}

const HEAD: &str = "# What the agent takes of a machine
";

const NOTES: &str = "\
`make bench` makes this table (`make bench MINUTES=10` the long one). The release binary runs as real
processes: a controller, three edges, a student's agent and a teacher's, in a class of two whose plan has
three routes by different edges. The teacher's agent is measured, alone in a network namespace, behind a
virtual Ethernet pair without delay.

Beside it, in the same run and each in a namespace of its own, run bare clients: quinn and a timer, one
thread, three connections to reflectors that answer with datagrams as long as those that the agent gets.
They read no clock, keep no books, encode nothing, write nothing to disk, report nothing.

- **its probes**: what the agent asks: 10/s along each of three routes and 1/s to each of three edges, on
  one grid; idle, 1/s to one edge and five a minute to each other.
- **all datagrams**: the same, and in class it answers 30 probes a second of a peer, as the agent does. This
  is the client that carries as much as the agent.

CPU is the kernel's count of user and system time (`/proc/PID/stat`); the kernel's own work to hand a packet
over a virtual pair is in it, for all alike. Traffic is the pair's counters, IP headers included. Counts of
the agent's probes are its own (`corridor agent status`), of windows that have closed.

Resident memory counts pages of the program's file, which the kernel maps 64 KiB around each page that is
used, and can drop at any time; what is the process's own is RssAnon.
";
