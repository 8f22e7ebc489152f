//! The run: which cases, through which relays, in which order.

use std::{
    fs,
    path::{Path, PathBuf},
    process::{Command, Stdio},
    time::Duration,
};

use anyhow::{Context as _, bail};
use corridor_bench::{binary, machine, table::print};
use tokio::signal::unix::{SignalKind, signal};

use crate::{
    Measure,
    cases::CASES,
    load::{self, Processors},
    results::Results,
    table::{self, Report},
    world::World,
};

/// Measures, prints the tables, writes them if asked to. A signal ends it, and all that it started.
pub async fn run(args: &Measure) -> anyhow::Result<()> {
    let corridor = check(args)?;
    let (mut interrupt, mut terminate) = (signal(SignalKind::interrupt())?, signal(SignalKind::terminate())?);
    let dir = tempfile::tempdir()?;
    let measured = tokio::select! {
        measured = measure(args, &corridor, dir.path()) => measured,
        _ = interrupt.recv() => Err(anyhow::anyhow!("interrupted")),
        _ = terminate.recv() => Err(anyhow::anyhow!("terminated")),
    };
    let report = match measured {
        Ok(report) => report,
        Err(error) => {
            let kept = dir.keep();
            return Err(error.context(format!("logs are in {}", kept.display())));
        }
    };
    let text = table::text(&report)?;
    print(&text)?;
    if let Some(out) = &args.out {
        fs::write(out, table::page(&text)).with_context(|| out.display().to_string())?;
    }
    Ok(())
}

/// Whether this can work here; answers the binary to measure.
fn check(args: &Measure) -> anyhow::Result<PathBuf> {
    if cfg!(debug_assertions) && args.out.is_some() {
        bail!("figures of a debug build are not worth keeping: run with --release, or `make bench-relay`");
    }
    let coturn = Command::new("turnserver")
        .arg("--version")
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .status();
    coturn.context("`turnserver` is missing (on Debian: apt-get install coturn)")?;
    binary::to_measure(args.corridor.as_ref(), "make bench-relay")
}

async fn measure(args: &Measure, corridor: &Path, dir: &Path) -> anyhow::Result<Report> {
    let (load, before) = (machine::load()?, Processors::read()?);
    tokio::time::sleep(Duration::from_secs(1)).await;
    let idle = Processors::read()?.since(before).idle();
    let mut world = World::start(corridor, dir).await?;
    let wanted = |name: &str| args.only.as_deref().is_none_or(|word| name.contains(word));
    let through = |name: &str| args.through.as_deref().is_none_or(|word| name.contains(word));
    let mut cases: Vec<_> = CASES
        .iter()
        .filter(|case| wanted(case.name))
        .map(|case| (case, Results::default()))
        .collect();
    for _ in 0..args.rounds {
        for (case, results) in &mut cases {
            for &system in case.systems.iter().filter(|system| through(system.name())) {
                let window = Duration::from_secs(args.seconds);
                let figures = load::measure(&mut world, system, case.load, window)
                    .await
                    .with_context(|| format!("{}: {system:?}", case.name))?;
                results.add(system, figures);
            }
        }
    }
    Ok(Report { cases, idle, load })
}
