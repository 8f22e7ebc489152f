//! Plots as SVG, drawn by hand: readable on light and on dark backgrounds.

use std::fmt::{self, Write as _};

use crate::{
    run::{Load, Measured, Run},
    tools::Tool,
};

const WIDTH: f64 = 800.0;
const LEFT: f64 = 150.0;
const RIGHT: f64 = 20.0;
const TOP: f64 = 76.0;
const ROW: f64 = 17.0;
const GAP: f64 = 16.0;
const BOTTOM: f64 = 44.0;
/// Decades of the axis, ms: what is nearer to the truth than the least stands at its beginning.
const DECADES: std::ops::RangeInclusive<i32> = -2..=2;

/// The file of a load's plot.
pub fn name(load: Load) -> &'static str {
    match load {
        Load::Idle => "errors-idle.svg",
        Load::Busy => "errors-busy.svg",
    }
}

/// All plots, by file.
pub fn files(runs: &[Run]) -> Vec<(&'static str, String)> {
    let plot = |load| {
        let runs: Vec<_> = runs.iter().filter(|run| run.load == load).collect();
        errors(load, &runs).ok().map(|svg| (name(load), svg))
    };
    Load::ALL.into_iter().filter_map(plot).collect()
}

/// Safe for the colour-blind (Wong), and apart by shape too.
fn colour(tool: Tool) -> &'static str {
    match tool {
        Tool::Corridor => "#009e73",
        Tool::Irtt => "#d55e00",
        Tool::Fping => "#5b8fd9",
    }
}

/// Errors of round trips: a row for each tool on each link, with p50, p95 and p99.
fn errors(load: Load, runs: &[&Run]) -> Result<String, fmt::Error> {
    let group = ROW * Tool::ALL.len() as f64 + GAP;
    let height = TOP + group * runs.len() as f64 + BOTTOM;
    let mut svg = String::new();
    writeln!(
        svg,
        r#"<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {height}" role="img" font-family="sans-serif" font-size="12">"#
    )?;
    // A grey that stands out from white and from black: a page may be either.
    writeln!(
        svg,
        "<style>text{{fill:#777}}.grid{{stroke:#888;stroke-opacity:.35}}</style>"
    )?;
    let title = match load {
        Load::Idle => "Error of the round trip, machine idle",
        Load::Busy => "Error of the round trip, every core busy",
    };
    writeln!(
        svg,
        r#"<title>{title}</title><text x="{LEFT}" y="20" font-size="15">{title}</text>"#
    )?;
    legend(&mut svg)?;
    let bottom = height - BOTTOM + 4.0;
    for decade in DECADES {
        let ms = 10f64.powi(decade);
        let x = place(ms);
        writeln!(
            svg,
            r#"<line class="grid" x1="{x:.1}" y1="{TOP}" x2="{x:.1}" y2="{bottom:.1}"/><text x="{x:.1}" y="{:.1}" text-anchor="middle">{}{ms}</text>"#,
            bottom + 16.0,
            if decade == *DECADES.start() { "≤ " } else { "" },
        )?;
    }
    writeln!(
        svg,
        r#"<text x="{:.1}" y="{:.1}" text-anchor="middle">off by so many ms (logarithmic)</text>"#,
        (LEFT + WIDTH - RIGHT) / 2.0,
        bottom + 34.0
    )?;
    for (i, run) in runs.iter().enumerate() {
        let top = TOP + GAP / 2.0 + group * i as f64;
        writeln!(
            svg,
            r#"<text x="8" y="{:.1}" font-weight="bold">{}</text>"#,
            top + ROW * 1.75,
            run.name()
        )?;
        for (j, measured) in run.tools.iter().enumerate() {
            row(&mut svg, measured, top + ROW * (j as f64 + 0.5))?;
        }
    }
    writeln!(svg, "</svg>")?;
    Ok(svg)
}

fn legend(svg: &mut String) -> fmt::Result {
    for (i, name) in ["p50", "p95", "p99"].into_iter().enumerate() {
        let x = LEFT + 8.0 + 60.0 * i as f64;
        mark(svg, i, x, 40.0, "#888")?;
        writeln!(svg, r#"<text x="{:.1}" y="44">{name}</text>"#, x + 10.0)?;
    }
    for (i, tool) in Tool::ALL.into_iter().enumerate() {
        let x = LEFT + 230.0 + 100.0 * i as f64;
        writeln!(
            svg,
            r#"<rect x="{x:.1}" y="35" width="18" height="10" fill="{}"/><text x="{:.1}" y="44">{}</text>"#,
            colour(tool),
            x + 24.0,
            tool.name()
        )?;
    }
    Ok(())
}

fn row(svg: &mut String, measured: &Measured, y: f64) -> fmt::Result {
    let tool = measured.tool;
    writeln!(
        svg,
        r#"<text x="{:.1}" y="{:.1}" text-anchor="end" font-size="11">{}</text>"#,
        LEFT - 10.0,
        y + 4.0,
        tool.name()
    )?;
    let errors = measured
        .real
        .as_ref()
        .ok()
        .and_then(|real| real.rtt_errors(&measured.said));
    let Some(errors) = errors else { return Ok(()) };
    let xs = errors.map(|error| place(error.abs()));
    let (from, to) = (
        xs.iter().copied().fold(WIDTH, f64::min),
        xs.iter().copied().fold(0.0, f64::max),
    );
    writeln!(
        svg,
        r#"<line x1="{from:.1}" y1="{y:.1}" x2="{to:.1}" y2="{y:.1}" stroke="{}" stroke-width="2"/>"#,
        colour(tool)
    )?;
    for (i, x) in xs.into_iter().enumerate() {
        mark(svg, i, x, y, colour(tool))?;
    }
    Ok(())
}

/// A circle, a square, a diamond.
fn mark(svg: &mut String, which: usize, x: f64, y: f64, colour: &str) -> fmt::Result {
    match which {
        0 => writeln!(svg, r#"<circle cx="{x:.1}" cy="{y:.1}" r="5" fill="{colour}"/>"#),
        1 => writeln!(
            svg,
            r#"<rect x="{:.1}" y="{:.1}" width="8" height="8" fill="{colour}"/>"#,
            x - 4.0,
            y - 4.0
        ),
        _ => writeln!(
            svg,
            r#"<path d="M{x:.1} {:.1}l6 6l-6 6l-6 -6z" fill="{colour}"/>"#,
            y - 6.0
        ),
    }
}

/// Where so many ms stand.
fn place(ms: f64) -> f64 {
    let (first, last) = (f64::from(*DECADES.start()), f64::from(*DECADES.end()));
    let decades = ms.max(f64::MIN_POSITIVE).log10().clamp(first, last);
    LEFT + 8.0 + (WIDTH - RIGHT - LEFT - 16.0) * (decades - first) / (last - first)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_axis_holds_every_error() {
        let (first, last) = (place(0.0), place(1e9));
        assert_eq!((place(0.01), place(100.0)), (first, last));
        assert!(first < place(0.1) && place(0.1) < place(1.0) && last <= WIDTH - RIGHT);
    }
}
