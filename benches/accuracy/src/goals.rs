//! Whether `corridor probe` is as near to the truth as it means to be. Rows whose times prove nothing are
//! not judged by their times; how many there are is said.

use std::fmt::{self, Write as _};

use crate::{
    judge::Real,
    run::{Load, Run},
    tools::{Said, Tool},
};

/// In milliseconds or percent, of the worst link.
struct Goal {
    load: Load,
    what: &'static str,
    figure: fn(&[Row<'_>]) -> Option<f64>,
    at_most: f64,
}

const GOALS: [Goal; 6] = [
    Goal {
        load: Load::Idle,
        what: "p50 off by, ms, the best round of each link that has several",
        figure: best_median,
        at_most: 0.15,
    },
    Goal {
        load: Load::Idle,
        what: "p50 off by, ms, every round",
        figure: |rows| worst(rows, 0),
        at_most: 0.3,
    },
    Goal {
        load: Load::Idle,
        what: "p99 off by, ms, every round",
        figure: |rows| worst(rows, 2),
        at_most: 1.0,
    },
    Goal {
        load: Load::Idle,
        what: "samples kept out, %, of all",
        figure: kept_out,
        at_most: 0.1,
    },
    Goal {
        load: Load::Busy,
        what: "p95 off by, ms, every round",
        figure: |rows| worst(rows, 1),
        at_most: 2.0,
    },
    Goal {
        load: Load::Busy,
        what: "samples kept out, %, of all",
        figure: kept_out,
        at_most: 5.0,
    },
];

type Holds = fn(&Row<'_>) -> bool;

/// Corridor's part of one run.
struct Row<'r> {
    run: &'r Run,
    said: &'r Said,
    real: &'r Real,
}

impl Row<'_> {
    /// None where the emulator was late.
    fn errors(&self) -> Option<[f64; 3]> {
        let errors = (!self.run.is_void(self.real)).then(|| self.real.rtt_errors(self.said))?;
        errors.map(|errors| errors.map(f64::abs))
    }

    fn is_within_bound(&self) -> bool {
        let bound = self.said.one_way.and_then(|said| said.bound);
        let errors = self.real.one_way_errors(self.said);
        bound
            .zip(errors)
            .is_some_and(|(bound, errors)| errors.iter().all(|error| error.abs() <= bound))
    }
}

pub fn table(out: &mut String, runs: &[Run]) -> fmt::Result {
    writeln!(
        out,
        "\n## Goals\n\n| machine | `corridor probe` | goal | reached | |\n|---|---|--:|--:|---|"
    )?;
    for goal in &GOALS {
        let (of, at_most) = (goal.load.name(), goal.at_most);
        write!(out, "| {of} | {} | {at_most} |", goal.what)?;
        match (goal.figure)(&rows(runs, goal.load)) {
            Some(figure) if figure <= at_most => writeln!(out, " {figure:.3} | met |")?,
            Some(figure) => writeln!(out, " {figure:.3} | **MISSED** |")?,
            None => writeln!(out, " – | not measured |")?,
        }
    }
    for load in Load::ALL {
        let rows = rows(runs, load);
        let all = runs.iter().filter(|run| run.load == load).count();
        let counted: [(&str, Holds); 2] = [
            ("every count is the emulator's, runs", |row| {
                row.real.counts_agree(row.said)
            }),
            (
                "medians of one-way delays within their stated bound, runs",
                |row| row.is_within_bound(),
            ),
        ];
        for (what, holds) in counted {
            let reached = rows.iter().filter(|row| holds(row)).count();
            let met = if reached == all { "met" } else { "**MISSED**" };
            writeln!(out, "| {} | {what} | {all} | {reached} | {met} |", load.name())?;
        }
    }
    let void = Load::ALL.map(|load| {
        rows(runs, load)
            .iter()
            .filter(|row| row.run.is_void(row.real))
            .count()
    });
    writeln!(
        out,
        "\nNot judged by their times, because the emulator was late (VOID): {} of {} runs.",
        void.iter().sum::<usize>(),
        runs.len()
    )
}

fn rows(runs: &[Run], load: Load) -> Vec<Row<'_>> {
    let of = runs.iter().filter(|run| run.load == load);
    of.filter_map(|run| {
        let corridor = run.tools.iter().find(|m| m.tool == Tool::Corridor)?;
        let real = corridor.real.as_ref().ok()?;
        Some(Row {
            run,
            said: &corridor.said,
            real,
        })
    })
    .collect()
}

/// How far the median, the 95th or the 99th percentile is off at most.
fn worst(rows: &[Row<'_>], which: usize) -> Option<f64> {
    let errors = rows.iter().filter_map(Row::errors);
    errors.map(|errors| errors[which]).max_by(f64::total_cmp)
}

/// How far the median of the best round is off, of the link where that is most.
fn best_median(rows: &[Row<'_>]) -> Option<f64> {
    let best = |name| {
        let rounds = rows.iter().filter(|row| row.run.link.name == name);
        rounds
            .filter_map(|row| Some(row.errors()?[0]))
            .min_by(f64::total_cmp)
    };
    let several = rows.iter().filter(|row| row.run.link.rounds > 1);
    several
        .filter_map(|row| best(row.run.link.name))
        .max_by(f64::total_cmp)
}

fn kept_out(rows: &[Row<'_>]) -> Option<f64> {
    let total = |of: fn(&Row<'_>) -> Option<u64>| rows.iter().filter_map(of).sum::<u64>();
    let out = total(|row| Some(row.said.stalled?[1]));
    let received = total(|row| Some(row.said.received));
    (received > 0).then(|| 100.0 * out as f64 / received as f64)
}
