//! The figures as tables.

use std::fmt::Write as _;

use corridor_bench::{machine, table::number};

use crate::{
    cases::{Case, Figure, GOALS, Shows},
    load::Figures,
    process::nice,
    results::Results,
    world::System,
};

/// All cases with what was measured, and the machine before any was.
#[derive(Debug)]
pub struct Report {
    pub cases: Vec<(&'static Case, Results)>,
    /// Processors' time that nothing took in the second before the run, in percent.
    pub idle: f64,
    pub load: f64,
}

/// In µs; NaN where there is no relay.
fn cpu_of_one(figures: &Figures) -> f64 {
    match figures.relay.cpu {
        0 => f64::NAN,
        cpu => cpu as f64 / 1e3 / figures.arrived as f64,
    }
}

fn of_one(count: u64, figures: &Figures) -> f64 {
    count as f64 / figures.arrived as f64
}

impl System {
    /// What the same packets take without a relay.
    const fn direct(self) -> Self {
        match self {
            Self::Edge | Self::Exit | Self::Bare | Self::DirectQuic => Self::DirectQuic,
            Self::First | Self::Second | Self::Middle | Self::BareTrunk => Self::DirectQuic,
            Self::Coturn | Self::Forward | Self::DirectUdp => Self::DirectUdp,
        }
    }
}

/// The whole text: command, machine, tables, goals.
pub fn text(report: &Report) -> anyhow::Result<String> {
    let mut out = String::new();
    let args: Vec<_> = std::env::args().skip(1).collect();
    writeln!(out, "command  corridor_relay {}", args.join(" "))?;
    writeln!(out, "machine  {}; all at nice {}", machine::describe()?, nice()?)?;
    writeln!(
        out,
        "before   load average {:.2}, {:.0} % of the processors idle; after: load average {:.2}",
        report.load,
        report.idle,
        machine::load()?
    )?;
    for (case, results) in &report.cases {
        let load = case.load;
        writeln!(
            out,
            "\n{}: {} flows x {}/s, {} B, {:.0} packets/s offered",
            case.name,
            load.flows,
            load.rate,
            load.payload,
            load.offered()
        )?;
        match case.shows {
            Shows::Cpu => cpu(&mut out, case, results)?,
            Shows::Delay => delay(&mut out, case, results)?,
        }
    }
    writeln!(out, "\ngoals")?;
    for goal in GOALS {
        let Some((_, results)) = report.cases.iter().find(|(case, _)| case.name == goal.case) else {
            continue;
        };
        let added = |figure| results.difference(goal.system, goal.system.direct(), figure);
        let figure = match goal.figure {
            Figure::CpuOfOne => results.median(goal.system, cpu_of_one),
            Figure::AddedP50 => added(|f| us(f.p50)),
            Figure::AddedP99 => added(|f| us(f.p99)),
        };
        let met = if figure <= goal.at_most { "met" } else { "MISSED" };
        writeln!(
            out,
            "{:14}  {:22} {:22} {:>7} <= {:>4}  {met}",
            goal.case,
            goal.system.name(),
            goal.what,
            number(figure, 1),
            goal.at_most
        )?;
    }
    Ok(out)
}

fn cpu(out: &mut String, case: &Case, results: &Results) -> std::fmt::Result {
    writeln!(
        out,
        "{:19} {:>6} {:>6} {:>7} {:>13} {:>6} {:>6} {:>5} {:>5} {:>6} {:>5} {:>6}",
        "",
        "sent/s",
        "lost %",
        "CPU µs",
        "least to most",
        "coturn",
        "quinn",
        "in",
        "out",
        "sleeps",
        "gen %",
        "rest %"
    )?;
    let of = |system| results.median(system, cpu_of_one);
    for &system in case.systems.iter().filter(|&&system| results.has(system)) {
        let (least, most) = results.range(system, cpu_of_one);
        let figure = |figure: fn(&Figures) -> f64| results.median(system, figure);
        // What is not QUIC is one packet each.
        let plain = |is_plain: bool| if is_plain { 1.0 } else { 0.0 };
        let (plain_in, plain_out) = system.plain();
        let came = results.median(system, |f| of_one(f.packets.out, f)) + plain(plain_in);
        let went = results.median(system, |f| of_one(f.packets.back, f)) + plain(plain_out);
        writeln!(
            out,
            "{:19} {:>6} {:>6} {:>7} {:>13} {:>6} {:>6} {:>5} {:>5} {:>6} {:>5} {:>6}",
            system.name(),
            number(figure(|f| f.sent as f64 / f.window), 0),
            number(results.lost(system), 2),
            number(of(system), 2),
            format!("{} to {}", number(least, 2), number(most, 2)),
            number(of(system) / of(System::Coturn), 2),
            number(of(system) / of(case.bare()), 2),
            number(came, 2),
            number(went, 2),
            number(figure(|f| of_one(f.relay.sleeps, f)), 2),
            number(figure(|f| f.share(f.own.cpu)), 0),
            number(figure(Figures::rest), 0),
        )?;
    }
    Ok(())
}

fn delay(out: &mut String, case: &Case, results: &Results) -> std::fmt::Result {
    writeln!(
        out,
        "{:19} {:>6} {:>6} {:>7} {:>8} {:>8} {:>10} {:>10} {:>5} {:>6}",
        "", "sent/s", "lost %", "CPU µs", "p50 µs", "p99 µs", "added p50", "added p99", "gen %", "rest %"
    )?;
    for &system in case.systems.iter().filter(|&&system| results.has(system)) {
        let figure = |figure: fn(&Figures) -> f64| results.median(system, figure);
        let added = |figure| match system.direct() {
            direct if direct == system => "-".to_owned(),
            direct => number(results.difference(system, direct, figure), 0),
        };
        writeln!(
            out,
            "{:19} {:>6} {:>6} {:>7} {:>8} {:>8} {:>10} {:>10} {:>5} {:>6}",
            system.name(),
            number(figure(|f| f.sent as f64 / f.window), 0),
            number(results.lost(system), 2),
            number(figure(cpu_of_one), 2),
            number(figure(|f| us(f.p50)), 0),
            number(figure(|f| us(f.p99)), 0),
            added(|f| us(f.p50)),
            added(|f| us(f.p99)),
            number(figure(|f| f.share(f.own.cpu)), 0),
            number(figure(Figures::rest), 0),
        )?;
    }
    Ok(())
}

fn us(ns: u32) -> f64 {
    f64::from(ns) / 1e3
}

/// The same as a page of `docs/bench`.
pub fn page(text: &str) -> String {
    format!("# What an edge takes to relay a packet\n\n```\n{text}```\n\n{NOTES}")
}

const NOTES: &str = include_str!("notes.md");
