//! What does an edge take to relay a packet? The release binary's edge runs as a real process, and beside it, under
//! the same load of the same generator in the same run, coturn, a bare QUIC relay and a plain UDP forwarder.
//!
//! | question | file |
//! |---|---|
//! | what is measured, and what is the goal | `cases.rs` |
//! | what runs, and how do packets get through it | `world.rs` |
//! | how do agents get identities and grants without a controller | `realm.rs` |
//! | what do the generator's ends say to an edge | `agents.rs`, to coturn `turn.rs`, edges to edges `trunk.rs`, where do flows end `target.rs` |
//! | what are the other relays | `bare.rs`, `forward.rs` |
//! | when is what sent, and what was it while it was | `load.rs` |
//! | what arrived, and was it what was sent | `meter.rs` |
//! | where do CPU times come from | `process.rs` |
//! | what do several rounds say together | `results.rs` |
//! | what is printed | `table.rs`, `notes.md` |

mod agents;
mod bare;
mod cases;
mod clock;
mod forward;
mod load;
mod meter;
mod process;
mod quic;
mod realm;
mod results;
mod run;
mod table;
mod target;
mod trunk;
mod turn;
mod world;

use std::path::PathBuf;

use anyhow::Context as _;
use clap::Parser;

/// Measures the edge as a relay beside coturn, bare quinn and a plain UDP forwarder
#[derive(Debug, Parser)]
struct Args {
    #[command(flatten)]
    measure: Measure,
    #[command(subcommand)]
    mode: Option<Mode>,
}

#[derive(Debug, clap::Args)]
struct Measure {
    /// Times that all is measured; the table shows medians
    #[arg(long, default_value_t = 3, value_parser = clap::value_parser!(u32).range(1..=99))]
    rounds: u32,
    /// Seconds of one measurement
    #[arg(long, default_value_t = 2, value_parser = clap::value_parser!(u64).range(1..=60))]
    seconds: u64,
    /// Only cases whose name has this in it
    #[arg(long, value_name = "WORD")]
    only: Option<String>,
    /// Only through relays whose name has this in it
    #[arg(long, value_name = "WORD")]
    through: Option<String>,
    /// The binary to measure; the one beside this program unless said
    #[arg(long, value_name = "FILE")]
    corridor: Option<PathBuf>,
    /// Write the table to this file, too
    #[arg(long, value_name = "FILE")]
    out: Option<PathBuf>,
}

/// What this is when it starts itself.
#[derive(Debug, clap::Subcommand)]
enum Mode {
    #[command(hide = true)]
    Relay(bare::Bare),
    #[command(hide = true)]
    Forward(forward::Forward),
}

fn main() -> anyhow::Result<()> {
    let args = Args::parse();
    match args.mode {
        None => {
            // One thread: what it can send is what one processor can.
            let mut runtime = tokio::runtime::Builder::new_current_thread();
            let runtime = runtime.enable_all().build().context("no runtime")?;
            runtime.block_on(run::run(&args.measure))
        }
        Some(Mode::Relay(bare)) => bare.run(),
        Some(Mode::Forward(forward)) => forward.run(),
    }
}
