//! `corridor agent`: the daemon on an endpoint.

use std::path::PathBuf;

use clap::Subcommand;

use super::{
    Failure,
    client::{ApiArgs, segment},
    output,
    service::{self, JoinArgs},
    surroundings,
};
use crate::{
    agent::AgentReport,
    config::Config,
    daemon::{self, AgentQuestion, AgentService, ask_agent, default_data},
    store::records::Service,
    transport::ArrivalTimes,
};

#[derive(Debug, clap::Args)]
#[command(args_conflicts_with_subcommands = true)]
pub struct Args {
    #[command(subcommand)]
    command: Option<AgentCommand>,
    #[command(flatten)]
    run: DataArg,
}

#[derive(Debug, Subcommand)]
enum AgentCommand {
    /// Run the agent (also without a word)
    Run(DataArg),
    /// Enrol this machine with a controller
    Join {
        #[command(flatten)]
        join: JoinArgs,
        /// Pseudonymous id of the person or room; a token may carry it
        #[arg(long, value_name = "S")]
        subject: Option<String>,
    },
    /// Show what the running agent sees and does
    Status {
        #[arg(long)]
        json: bool,
        #[command(flatten)]
        data: DataArg,
    },
    /// Refuse a subject's agent from now on: its certificate is revoked; asks the controller
    Revoke {
        subject: String,
        #[command(flatten)]
        api: ApiArgs,
    },
    /// Print all that the agent sends about this machine
    ShowData {
        #[command(flatten)]
        data: DataArg,
    },
    /// Come into a class that names this subject
    JoinClass {
        class: String,
        #[command(flatten)]
        data: DataArg,
    },
    /// Leave a class
    LeaveClass {
        class: String,
        #[command(flatten)]
        data: DataArg,
    },
}

#[derive(Debug, clap::Args)]
struct DataArg {
    /// Where the identity and the spool are kept
    #[arg(long, value_name = "DIR")]
    data: Option<PathBuf>,
}

impl DataArg {
    fn path(&self, config: &Config) -> PathBuf {
        self.data
            .clone()
            .or_else(|| config.agent.data.clone())
            .unwrap_or_else(|| default_data("agent"))
    }
}

impl Args {
    pub fn run(self, config: &Config) -> Result<(), Failure> {
        match self.command {
            None => run(&self.run.path(config), config),
            Some(AgentCommand::Run(data)) => run(&data.path(config), config),
            Some(AgentCommand::Join { join, subject }) => {
                let data = join
                    .data
                    .clone()
                    .or_else(|| config.agent.data.clone())
                    .unwrap_or_else(|| default_data("agent"));
                service::join(&join, &data, Service::Agent, subject.as_deref(), None)
            }
            Some(AgentCommand::Status { json, data }) => {
                let report = ask(&data.path(config), &AgentQuestion::Status)?;
                match report {
                    Some(report) if json => output::json(&report),
                    Some(report) => show(&report),
                    None => Err(Failure::runtime("the agent answered without a status")),
                }
            }
            Some(AgentCommand::Revoke { subject, api }) => {
                api.client()?
                    .post::<()>(&format!("agents/{}/revoke", segment(&subject)), &())?;
                output::line(format!("agent of {subject} is revoked"))
            }
            Some(AgentCommand::ShowData { data }) => show_data(&data.path(config)),
            Some(AgentCommand::JoinClass { class, data }) => class_change(&data.path(config), class, true),
            Some(AgentCommand::LeaveClass { class, data }) => class_change(&data.path(config), class, false),
        }
    }
}

/// The agent: one thread for everything but the disk.
fn run(data: &std::path::Path, config: &Config) -> Result<(), Failure> {
    daemon::start_logging(&config.log, "info").map_err(Failure::Usage)?;
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .map_err(|e| Failure::Runtime(e.into()))?;
    runtime.block_on(async {
        let stop = daemon::stop_signal();
        let agent = AgentService::start(daemon::system()?, data.to_owned(), config)?;
        tracing::info!(subject = %agent.subject, "agent runs");
        tokio::spawn(daemon::keep_small());
        stop.await;
        agent.stop().await;
        Ok(())
    })
}

fn ask(data: &std::path::Path, question: &AgentQuestion) -> Result<Option<AgentReport>, Failure> {
    ask_agent(data, question).map_err(Failure::Runtime)
}

fn class_change(data: &std::path::Path, class: String, join: bool) -> Result<(), Failure> {
    ask(
        data,
        &AgentQuestion::Class {
            class: class.clone(),
            join,
        },
    )?;
    output::line(if join {
        format!("in class {class}")
    } else {
        format!("left class {class}")
    })
}

fn show(report: &AgentReport) -> Result<(), Failure> {
    output::line(format!("agent of {}, version {}", report.subject, report.version))?;
    output::line(match &report.uplink {
        Some(edge) => format!("reports through {edge}"),
        None => "the controller is out of reach; reports are kept".to_owned(),
    })?;
    if let Some(off) = report.clock_off_ms.filter(|off| off.abs() > 2_000.0) {
        output::line(format!("this machine's clock is off by {:.0} s", off / 1e3))?;
    }
    if report.arrival_times == Some(ArrivalTimes::Program) {
        output::line("arrivals are timed by the program: the kernel stamps no packets here")?;
    }
    if let Some(traffic) = &report.traffic {
        output::line(output::traffic(traffic))?;
    }
    if let Some(seen) = &report.surroundings {
        for line in surroundings::lines(seen) {
            output::line(line)?;
        }
    }
    output::line("")?;
    output::line(output::table(
        ["EDGE", "STATE", "RTT p90", "HEARD s", "SENT", "LOST", ""],
        report.edges.iter().map(|e| {
            let state = match (e.connected, e.draining) {
                (true, false) => "up",
                (true, true) => "draining",
                (false, _) => "down",
            };
            [
                e.name.clone(),
                state.to_owned(),
                output::ms(e.rtt_ms),
                output::ms(e.heard_s),
                e.sent.to_string(),
                e.lost.to_string(),
                e.last_error.clone().unwrap_or_default(),
            ]
        }),
    ))?;
    for leg in &report.legs {
        output::line(format!(
            "\nclass {}: by {}, plan {}, {} switches{}",
            leg.class,
            output::chain(&leg.in_use),
            leg.plan,
            leg.switches,
            if leg.at_risk { ", at risk" } else { "" },
        ))?;
        output::line(output::table(
            ["ROUTE", "RTT p90", "SENT", "LOST"],
            leg.routes.iter().map(|r| {
                [
                    output::chain(&r.edges),
                    output::ms(r.rtt_ms),
                    r.sent.to_string(),
                    r.lost.to_string(),
                ]
            }),
        ))?;
    }
    if let Some(path) = &report.path {
        output::line(format!("\n{}", surroundings::title(path)))?;
        output::line(surroundings::hops(path))?;
    }
    Ok(())
}

/// The reports as they lie in the spool, spelt out, and what else is told to whom.
fn show_data(data: &std::path::Path) -> Result<(), Failure> {
    let shown = crate::agent::shown_data(data).map_err(Failure::Runtime)?;
    output::json(&shown)
}
