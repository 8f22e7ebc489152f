//! The command line.

use std::{ffi::OsString, path::PathBuf};

use clap::{Parser, Subcommand};
use corridor_netem::{Settings, control::At, packet::Proto, stats::Filter};

/// A link emulator in user space, for Linux without netem.
///
/// Each node is a network namespace with one TUN device; this process is the network between them. It
/// needs root. Packets sent through it are delayed, lost, reordered and so on as the file says, and
/// counted exactly.
#[derive(Debug, Parser)]
#[command(name = "corridor-netem", version, after_help = EXAMPLE)]
pub struct Cli {
    #[command(subcommand)]
    pub command: Command,
}

const EXAMPLE: &str = "\
Try it:
  corridor-netem run tests/lab/netem/examples/three.toml --control /tmp/netem.sock &
  corridor-netem exec alice fping -c 100 -p 20 -q 10.0.0.2
  corridor-netem ctl /tmp/netem.sock set alice+bob delay_ms=80 loss=0.05 loss_burst=3
  corridor-netem ctl /tmp/netem.sock stats --proto icmp
  corridor-netem ctl /tmp/netem.sock quit";

const SETTINGS: &str = "\
Settings, each for one direction:
  delay_ms=20           one-way delay
  jitter_ms=5           spread of the delay; the order of packets is kept
  jitter_shape=uniform  or normal, or pareto
  jitter_reorders=true  jitter may reorder
  loss=0.01             share of packets lost
  loss_burst=3          mean length of a run of losses (Gilbert); 0: independent
  reorder=0.02          share of packets held back by reorder_ms, behind later ones
  reorder_ms=10
  duplicate=0.01        share of packets that arrive twice
  rate_kbit=512         rate limit of IP bytes; 0: none
  queue_bytes=65536     what may wait for it; the rest is lost
  mtu=1280              larger IP packets are lost silently; 0: no limit
  blackhole=true        everything is lost";

#[derive(Debug, Subcommand)]
pub enum Command {
    /// Run the world that FILE describes, until SIGINT, SIGTERM or `ctl SOCK quit`.
    ///
    /// Prints `ready` once every node can be used, and the lateness of the whole run at its end. Exits
    /// with 1 if the run is void: p99 lateness above 0.3 ms.
    #[command(after_help = SETTINGS)]
    Run {
        /// TOML: nodes, links, defaults; see tests/lab/netem/examples
        file: PathBuf,
        /// Where to put the control socket [default: /run/corridor-netem/RUN.sock]
        #[arg(long, value_name = "SOCK")]
        control: Option<PathBuf>,
        /// Write a CSV line for every packet
        #[arg(long, value_name = "FILE")]
        log: Option<PathBuf>,
        /// Name of this run, part of its namespaces' names [default: the process id]
        #[arg(long, value_name = "ID", value_parser = run_id)]
        run: Option<String>,
        /// End when standard input ends, and kill what still runs in the namespaces then
        #[arg(long)]
        exit_with_stdin: bool,
    },
    /// Talk to a running emulator.
    Ctl {
        sock: PathBuf,
        #[command(subcommand)]
        request: Ctl,
    },
    /// Run a command inside a node.
    Exec {
        /// The run, if several have such a node
        #[arg(long, value_name = "ID")]
        run: Option<String>,
        node: String,
        #[arg(required = true, trailing_var_arg = true, allow_hyphen_values = true)]
        command: Vec<OsString>,
    },
    /// Delete namespaces that dead runs left behind. Living runs are not touched.
    Clean,
}

#[derive(Debug, Subcommand)]
pub enum Ctl {
    /// Change what directions do, from now on; what is not named stays.
    #[command(after_help = SETTINGS)]
    Set {
        /// a:b (one way), a+b (both ways), a/up, a/down, a/access, or links (all)
        at: At,
        /// key=value …
        #[arg(value_parser = setting)]
        settings: Vec<Settings>,
        /// What is not named becomes none
        #[arg(long)]
        replace: bool,
    },
    /// Hold all packets to and from a node, then let them go at once.
    Stall { node: String, ms: u64 },
    /// Counters since the last reset.
    Stats {
        #[arg(long)]
        from: Option<String>,
        #[arg(long)]
        to: Option<String>,
        /// udp, tcp, icmp or other
        #[arg(long, value_parser = proto)]
        proto: Option<Proto>,
        /// Shortest IP packet counted, bytes, headers included
        #[arg(long, value_name = "BYTES")]
        min_len: Option<u16>,
        /// Longest IP packet counted
        #[arg(long, value_name = "BYTES")]
        max_len: Option<u16>,
        /// Print the reply as it came
        #[arg(long)]
        json: bool,
    },
    /// Start all counters anew.
    ResetStats,
    /// Print what runs, and what its links do, as JSON.
    Status,
    /// End the emulator.
    Quit,
}

fn run_id(text: &str) -> Result<String, String> {
    let good = (1..=16).contains(&text.len()) && text.bytes().all(|b| b.is_ascii_alphanumeric());
    if good {
        Ok(text.to_owned())
    } else {
        Err("1 to 16 letters and digits".to_owned())
    }
}

fn setting(text: &str) -> Result<Settings, String> {
    text.parse()
        .map_err(|e: corridor_netem::SettingsError| e.to_string())
}

fn proto(text: &str) -> Result<Proto, String> {
    serde_json::from_value(text.into()).map_err(|e| e.to_string())
}

impl Ctl {
    pub fn filter(self) -> Option<Filter> {
        match self {
            Self::Stats {
                from,
                to,
                proto,
                min_len,
                max_len,
                ..
            } => Some(Filter {
                from,
                to,
                proto,
                min_len,
                max_len,
            }),
            _ => None,
        }
    }
}
