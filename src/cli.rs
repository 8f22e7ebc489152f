//! The command line: parse, build, run, drain. One file a subcommand.

mod agent;
mod class;
mod client;
mod config;
mod controller;
mod demo;
mod edge;
mod failure;
mod output;
mod password;
mod probe;
mod service;
mod status;
mod surroundings;
mod token;
#[cfg(target_os = "linux")]
mod trace;
mod up;
mod usage;

use std::path::PathBuf;

use clap::{Parser, Subcommand};

pub use failure::Failure;

use crate::config::Config;

/// Keeps online classes inside a delay budget.
#[derive(Debug, Parser)]
#[command(name = "corridor", version, max_term_width = 80, propagate_version = true)]
pub struct Cli {
    /// Configuration file (TOML); CORRIDOR_SECTION_KEY in the environment goes over it
    #[arg(long, global = true, value_name = "FILE", env = "CORRIDOR_CONFIG")]
    config: Option<PathBuf>,
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Run controller, one edge and one agent on this machine
    Up(up::Args),
    /// Watch a simulated world that goes wrong on schedule
    ///
    /// Teachers and students on four continents, edges and a controller run in this process over a
    /// simulated network, at the pace of real time, with the page open on them. What is done to them is
    /// printed line by line as it happens. It needs no privileges, talks to nobody outside, and leaves
    /// nothing behind.
    Demo(demo::Args),
    /// Run the controller, or set a new password for who is locked out
    Controller(controller::Args),
    /// Run an edge, enrol one, or drain one
    Edge(edge::Args),
    /// Run the agent, enrol it, or ask it what it does
    Agent(agent::Args),
    /// Measure the way to an edge
    Probe(probe::Args),
    /// Show the hops to a host, their delays, and where packets are lost
    ///
    /// Needs no privileges. A table is drawn while it runs, if stderr is a terminal, and printed at the
    /// end. Hops that answer only so often are shown as such, not as loss; what the end leaves unanswered
    /// is asked again to tell a limit from loss.
    #[cfg(target_os = "linux")]
    Trace(trace::Args),
    /// Show edges, agents, links and classes
    Status(status::Args),
    /// Create, end and look at classes
    Class(class::Args),
    /// Create, list and revoke join tokens
    Token(token::Args),
    /// Check a configuration file; print completions, man pages, the API's description
    Config(config::Args),
}

impl Cli {
    /// Parses this process's arguments. Asked for help or the version, prints that and ends the process.
    pub fn from_command_line() -> Result<Self, Failure> {
        Self::try_parse().or_else(|error| {
            if error.use_stderr()
                && error.kind() != clap::error::ErrorKind::DisplayHelpOnMissingArgumentOrSubcommand
            {
                Err(Failure::usage(usage::one_line(&error)))
            } else {
                error.exit()
            }
        })
    }

    /// Runs the command that was asked for.
    pub fn run(self) -> Result<(), Failure> {
        if let Command::Config(args) = self.command {
            return args.run();
        }
        let config = Config::load(self.config.as_deref(), std::env::vars())?;
        match self.command {
            Command::Up(args) => args.run(&config),
            Command::Demo(args) => args.run(&config),
            Command::Controller(args) => args.run(&config),
            Command::Edge(args) => args.run(&config),
            Command::Agent(args) => args.run(&config),
            Command::Probe(args) => probe::run(&args),
            #[cfg(target_os = "linux")]
            Command::Trace(args) => trace::run(&args),
            Command::Status(args) => args.run(),
            Command::Class(args) => args.run(),
            Command::Token(args) => args.run(),
            Command::Config(_) => Ok(()),
        }
    }
}
