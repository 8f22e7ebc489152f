//! What does the agent take of a machine? The release binary runs as real processes: a controller, three
//! edges, a student's agent and a teacher's, in a class of two. The teacher's agent is measured, and beside
//! it, in the same run, bare QUIC clients that send the same probes at the same times and do nothing else.
//!
//! | question | file |
//! |---|---|
//! | what does the bare client do | `../common/src/bare.rs`, how large are its datagrams `sizes.rs` |
//! | what runs around the agent, and is its plan what it should be | `deployment.rs` |
//! | where do the figures come from | `process.rs` |
//! | who sees whose packets | `netns.rs` |
//! | what is measured when | `run.rs` |
//! | what is printed | `table.rs` |

mod deployment;
mod netns;
mod process;
mod run;
mod sizes;
mod table;

use std::path::PathBuf;

use anyhow::Context as _;
use clap::Parser;
use corridor_bench::bare::Mode;

/// Measures the agent's CPU, memory and traffic beside a bare QUIC client's (root)
#[derive(Debug, Parser)]
struct Args {
    #[command(flatten)]
    measure: Measure,
    #[command(subcommand)]
    mode: Option<Mode>,
}

#[derive(Debug, clap::Args)]
struct Measure {
    /// Minutes in class
    #[arg(long, default_value_t = 2, value_parser = clap::value_parser!(u64).range(1..=240))]
    minutes: u64,
    /// Minutes idle after that; half as many as in class unless said
    #[arg(long, value_parser = clap::value_parser!(u64).range(1..=240))]
    idle: Option<u64>,
    /// The binary to measure; the one beside this program unless said
    #[arg(long, value_name = "FILE")]
    corridor: Option<PathBuf>,
    /// Write the table to this file, too
    #[arg(long, value_name = "FILE")]
    out: Option<PathBuf>,
}

fn main() -> anyhow::Result<()> {
    let args = Args::parse();
    let mut runtime = tokio::runtime::Builder::new_current_thread();
    runtime.enable_io().enable_time();
    let runtime = runtime.build().context("no runtime")?;
    match args.mode {
        None => runtime.block_on(run::run(&args.measure)),
        Some(mode) => runtime.block_on(mode.run()),
    }
}
