//! `corridor agent`: the daemon on an endpoint.

use std::{net::SocketAddr, path::PathBuf};

use clap::Subcommand;

use super::{
    Failure,
    client::{ApiArgs, segment},
    output,
    service::{self, JoinArgs},
    surroundings,
};
use crate::{
    agent::{AgentReport, CarryCounts, Forward, MediaReport},
    config::Config,
    daemon::{self, AgentQuestion, AgentSaid, AgentService, ask_agent, default_data},
    media::origin::To,
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
    /// Carry what comes to a local UDP port, until the agent stops; [[agent.forward]] does so always
    Forward {
        /// Local address that programs send to
        #[arg(long, value_name = "ADDR")]
        listen: SocketAddr,
        /// HOST:PORT, a class's target, or agent:SUBJECT:PORT
        #[arg(long, value_name = "TO")]
        to: To,
        /// Of several classes that lead there, this one
        #[arg(long, value_name = "ID")]
        class: Option<String>,
        #[command(flatten)]
        data: DataArg,
    },
    /// Carry what comes to a local port no more
    StopForward {
        /// As it was given to `forward`
        listen: SocketAddr,
        #[command(flatten)]
        data: DataArg,
    },
    /// Let other agents of a class send to a UDP port of this machine, until the agent stops
    Accept {
        /// UDP port of loopback that a program listens on
        port: u16,
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
                match ask(&data.path(config), &AgentQuestion::Status)? {
                    AgentSaid::Status(report) if json => output::json(&report),
                    AgentSaid::Status(report) => show(&report),
                    AgentSaid::Done | AgentSaid::Listens(_) => {
                        Err(Failure::runtime("the agent answered without a status"))
                    }
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
            Some(AgentCommand::Forward {
                listen,
                to,
                class,
                data,
            }) => forward(&data.path(config), Forward { listen, to, class }),
            Some(AgentCommand::StopForward { listen, data }) => {
                ask(&data.path(config), &AgentQuestion::StopForward { listen })?;
                output::line(format!("{listen} is carried no more"))
            }
            Some(AgentCommand::Accept { port, data }) => {
                ask(&data.path(config), &AgentQuestion::Accept { port })?;
                output::line(format!("agents of a class may send to port {port}"))
            }
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

fn ask(data: &std::path::Path, question: &AgentQuestion) -> Result<AgentSaid, Failure> {
    ask_agent(data, question).map_err(Failure::Runtime)
}

fn forward(data: &std::path::Path, forward: Forward) -> Result<(), Failure> {
    let to = forward.to.clone();
    match ask(data, &AgentQuestion::Forward(forward))? {
        AgentSaid::Listens(at) => output::line(format!("{at} is carried to {to}")),
        AgentSaid::Done | AgentSaid::Status(_) => {
            Err(Failure::runtime("the agent answered without an address"))
        }
    }
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
    if let Some(media) = &report.media {
        show_media(media)?;
    }
    if let Some(path) = &report.path {
        output::line(format!("\n{}", surroundings::title(path)))?;
        output::line(surroundings::hops(path))?;
    }
    Ok(())
}

fn show_media(media: &MediaReport) -> Result<(), Failure> {
    for forward in &media.forwards {
        output::line(format!("\n{} is carried to {}", forward.listen, forward.to))?;
    }
    if !media.flows.is_empty() {
        output::line("")?;
        output::line(output::table(
            [
                "FLOW FROM",
                "CLASS",
                "ROUTE",
                "RTT MS",
                "SENT",
                "GOT",
                "LOST",
                "AGAIN",
                "MOVES",
            ],
            media.flows.iter().map(|flow| {
                [
                    flow.local.to_string(),
                    flow.class
                        .clone()
                        .unwrap_or_else(|| "none leads there".to_owned()),
                    flow.route
                        .as_deref()
                        .map_or_else(|| "-".to_owned(), output::chain),
                    output::ms(flow.rtt_ms),
                    flow.counts.sent.to_string(),
                    flow.counts.received.to_string(),
                    lost(flow.lost_there, flow.counts.lost),
                    flow.counts.repeated.to_string(),
                    flow.moves.to_string(),
                ]
            }),
        ))?;
        output::line("")?;
        output::line(output::table(
            [
                "FLOW FROM",
                "SENT B",
                "GOT B",
                "COPIES",
                "DROPPED HERE",
                "TOO FAST",
            ],
            media.flows.iter().map(|flow| {
                [
                    flow.local.to_string(),
                    flow.counts.sent_bytes.to_string(),
                    flow.counts.received_bytes.to_string(),
                    flow.counts.protecting.to_string(),
                    flow.counts.dropped.to_string(),
                    flow.too_fast.to_string(),
                ]
            }),
        ))?;
        for flow in media.flows.iter().filter(|flow| flow.is_throttled) {
            output::line(format!(
                "{}: held back, because most of what it sends is lost",
                flow.local
            ))?;
        }
        for (flow, (route, why)) in media
            .flows
            .iter()
            .flat_map(|f| f.refused.iter().map(move |r| (f, r)))
        {
            output::line(format!("{}: {}: {why}", flow.local, output::chain(route)))?;
        }
    }
    if !media.ends.is_empty() {
        output::line("")?;
        output::line(output::table(
            ["FLOW TO HERE", "BACK BY", "SENT", "GOT", "LOST", "AGAIN", "MOVES"],
            media.ends.iter().map(|end| {
                [
                    end.id.clone(),
                    output::chain(&end.route),
                    end.counts.sent.to_string(),
                    end.counts.received.to_string(),
                    end.counts.lost.to_string(),
                    end.counts.repeated.to_string(),
                    end.moves.to_string(),
                ]
            }),
        ))?;
    }
    let told = not_carried(&media.counts);
    if !told.is_empty() {
        output::line(format!("\nnot carried: {}", told.join(", ")))?;
    }
    Ok(())
}

/// What media was not carried for, as far as there is any.
fn not_carried(counts: &CarryCounts) -> Vec<String> {
    let CarryCounts {
        malformed,
        forged,
        refused,
        unknown,
        too_many,
        strangers,
        displaced,
    } = *counts;
    [
        (
            displaced,
            "gave way to newer ones as this machine's line was full",
        ),
        (too_many, "of more flows than one agent may have"),
        (refused, "of flows or programs that were refused"),
        (strangers, "from programs that a flow does not lead to"),
        (unknown, "of flows that nobody opened"),
        (forged, "by another route than they say"),
        (malformed, "malformed"),
    ]
    .into_iter()
    .filter(|(count, _)| *count > 0)
    .map(|(count, what)| format!("{count} {what}"))
    .collect()
}

/// The reports as they lie in the spool, spelt out, and what else is told to whom.
fn show_data(data: &std::path::Path) -> Result<(), Failure> {
    let shown = crate::agent::shown_data(data).map_err(Failure::Runtime)?;
    output::json(&shown)
}
/// Packets lost there and back, in a word or four.
fn lost(there: u64, back: u64) -> String {
    match (there, back) {
        (0, 0) => "0".to_owned(),
        (there, back) => format!("{there} up {back} down"),
    }
}
