//! How near do tools come to the truth of a link? `corridor probe`, irtt and fping measure the same emulated
//! links, one after the other, first on a machine that does nothing else, then with every core busy; the
//! emulator says what was really there.
//!
//! | question | file |
//! |---|---|
//! | which links, and why these | `links.rs` |
//! | what is run when, and in which namespaces | `run.rs` |
//! | how is a tool called, what does it say | `tools.rs` |
//! | what does a tool take of the machine | `child.rs` |
//! | what does a path without a link cost | `floor.rs` |
//! | what keeps the cores busy | `busy.rs` |
//! | how far off is a tool | `judge.rs` |
//! | what is written | `page.rs`, `plot.rs` |

mod busy;
mod child;
mod floor;
mod goals;
mod judge;
mod links;
mod page;
mod plot;
mod run;
mod tools;

use std::{
    fs,
    io::{self, Write as _},
    path::PathBuf,
};

use anyhow::{Context as _, bail};
use clap::Parser;
use corridor_bench::bare;

/// Compares corridor probe, irtt and fping with the truth of emulated links (root)
#[derive(Debug, Parser)]
struct Args {
    #[command(flatten)]
    measure: Measure,
    #[command(subcommand)]
    mode: Option<bare::Mode>,
}

#[derive(Debug, clap::Args)]
struct Measure {
    /// Two links and few probes: to see whether it works
    #[arg(long)]
    short: bool,
    /// Only this link of the ladder; may be given again
    #[arg(long, value_name = "NAME")]
    link: Vec<String>,
    /// Probes of each tool on each link; 2000, or 300 in the short form
    #[arg(long, value_parser = clap::value_parser!(u32).range(100..=100_000))]
    count: Option<u32>,
    /// The binary to measure; the one beside this program unless said, as the emulator is
    #[arg(long, value_name = "FILE")]
    corridor: Option<PathBuf>,
    /// Write README.md and the plots into this directory
    #[arg(long, value_name = "DIR")]
    out: Option<PathBuf>,
}

fn main() -> anyhow::Result<()> {
    let args = Args::parse();
    if let Some(mode) = args.mode {
        let mut runtime = tokio::runtime::Builder::new_current_thread();
        return runtime
            .enable_io()
            .enable_time()
            .build()
            .context("no runtime")?
            .block_on(mode.run());
    }
    let setup = check(&args.measure)?;
    let (runs, failed) = run::all(&setup)?;
    let page = page::text(&setup, &runs, &failed)?;
    io::stdout().lock().write_all(page.as_bytes())?;
    if let Some(dir) = &args.measure.out {
        fs::create_dir_all(dir).with_context(|| dir.display().to_string())?;
        for (name, text) in [("README.md", page)].into_iter().chain(plot::files(&runs)) {
            let path = dir.join(name);
            fs::write(&path, text).with_context(|| path.display().to_string())?;
        }
    }
    if !failed.is_empty() {
        bail!("{} of the runs failed", failed.len());
    }
    Ok(())
}

/// Whether this can work here, and with what.
fn check(args: &Measure) -> anyhow::Result<run::Setup> {
    let status = fs::read_to_string("/proc/self/status").context("this needs Linux")?;
    let uid = status.lines().find_map(|line| line.strip_prefix("Uid:"));
    if uid.and_then(|uids| uids.split_whitespace().nth(1)) != Some("0") {
        bail!("this needs root: the links are between network namespaces");
    }
    let mut versions = Vec::new();
    for (tool, package, version) in [
        ("ip", "iproute2", "-V"),
        ("irtt", "irtt", "version"),
        ("fping", "fping", "-v"),
    ] {
        let found = std::process::Command::new(tool).arg(version).output();
        let found = found.with_context(|| format!("`{tool}` is missing (on Debian: {package})"))?;
        let said = String::from_utf8_lossy(&found.stdout).into_owned();
        versions.push(said.lines().next().unwrap_or_default().trim().to_owned());
    }
    let beside = |name: &str| -> anyhow::Result<PathBuf> {
        let path = std::env::current_exe()?.with_file_name(name);
        if !path.is_file() {
            bail!("{} is not there: run `make accuracy`", path.display());
        }
        Ok(path)
    };
    let ladder: Vec<_> = links::LADDER
        .iter()
        .filter(|link| match args.link.as_slice() {
            [] => !args.short || links::SHORT.contains(&link.name),
            names => names.iter().any(|name| name == link.name),
        })
        .collect();
    if ladder.is_empty() {
        let names: Vec<_> = links::LADDER.iter().map(|link| link.name).collect();
        bail!("there is no such link: {}", names.join(", "));
    }
    Ok(run::Setup {
        corridor: match &args.corridor {
            Some(path) => path.canonicalize().with_context(|| path.display().to_string())?,
            None => beside("corridor")?,
        },
        emulator: beside("corridor-netem")?,
        ladder,
        count: args.count.unwrap_or(if args.short { 300 } else { 2_000 }),
        short: args.short,
        versions,
        debug: cfg!(debug_assertions),
    })
}
