//! `corridor edge`: a relay and reflector.

use std::{net::SocketAddr, path::PathBuf};

use clap::Subcommand;

use super::{
    Failure,
    client::{ApiArgs, segment},
    output,
    service::{self, JoinArgs},
};
use crate::{
    api::model::DrainEdge,
    config::{self, Config},
    daemon::{self, EdgeService, default_data},
    edge::standalone,
    store::records::Service,
};

#[derive(Debug, clap::Args)]
#[command(args_conflicts_with_subcommands = true)]
pub struct Args {
    #[command(subcommand)]
    command: Option<EdgeCommand>,
    #[command(flatten)]
    run: RunArgs,
}

#[derive(Debug, Subcommand)]
enum EdgeCommand {
    /// Run the edge (also without a word)
    Run(RunArgs),
    /// Enrol this machine as an edge
    Join {
        #[command(flatten)]
        join: JoinArgs,
        /// Name of the edge, as in fra-1; a token may carry it
        #[arg(long)]
        name: Option<String>,
        #[arg(long)]
        region: Option<String>,
    },
    /// Refuse an edge from now on: its certificate is revoked; asks the controller
    Revoke {
        name: String,
        #[command(flatten)]
        api: ApiArgs,
    },
    /// Let an edge give its agents away and take no new ones; asks the controller
    Drain {
        name: String,
        /// Let it take agents again
        #[arg(long)]
        off: bool,
        #[command(flatten)]
        api: ApiArgs,
    },
}

#[derive(Debug, clap::Args)]
struct RunArgs {
    /// Where the identity is kept
    #[arg(long, value_name = "DIR")]
    data: Option<PathBuf>,
    /// UDP address to listen on; may be given again
    #[arg(long, value_name = "ADDR")]
    listen: Vec<SocketAddr>,
    /// A reflector without a controller, which answers anyone's probes
    #[arg(long)]
    standalone: bool,
    /// Answer STAMP (RFC 8762) too, to anyone; on port 862 of every address unless given
    #[arg(long, value_name = "ADDR", num_args = 0..=1, default_missing_value = "[::]:862")]
    stamp: Option<SocketAddr>,
    /// File with a key, without which STAMP is not answered
    #[arg(long, value_name = "FILE")]
    stamp_key: Option<PathBuf>,
}

impl Args {
    pub fn run(self, config: &Config) -> Result<(), Failure> {
        match self.command {
            None => self.run.run(config),
            Some(EdgeCommand::Run(args)) => args.run(config),
            Some(EdgeCommand::Join { join, name, region }) => {
                let data = join
                    .data
                    .clone()
                    .or_else(|| config.edge.data.clone())
                    .unwrap_or_else(|| default_data("edge"));
                let region = region.or_else(|| config.edge.region.clone());
                service::join(&join, &data, Service::Edge, name.as_deref(), region.as_deref())
            }
            Some(EdgeCommand::Revoke { name, api }) => {
                api.client()?
                    .post::<()>(&format!("edges/{}/revoke", segment(&name)), &())?;
                output::line(format!("edge {name} is revoked"))
            }
            Some(EdgeCommand::Drain { name, off, api }) => {
                let path = format!("edges/{}/drain", segment(&name));
                api.client()?.post::<()>(&path, &DrainEdge { on: !off })?;
                output::line(if off {
                    format!("{name} takes agents again")
                } else {
                    format!("{name} is draining")
                })
            }
        }
    }
}

impl RunArgs {
    fn run(self, config: &Config) -> Result<(), Failure> {
        daemon::start_logging(&config.log, "info").map_err(Failure::Usage)?;
        let mut config = config.clone();
        let edge_config = &mut config.edge;
        if !self.listen.is_empty() {
            edge_config.listen = Some(self.listen);
        }
        edge_config.stamp = self.stamp.or(edge_config.stamp);
        edge_config.stamp_key = self.stamp_key.or(edge_config.stamp_key.take());
        if edge_config.stamp_key.is_some() && edge_config.stamp.is_none() {
            return Err(Failure::usage("a key for nothing: --stamp-key goes with --stamp"));
        }
        let runtime = service::runtime()?;
        if self.standalone {
            let data = self.data.or_else(|| config.edge.data.clone());
            return runtime.block_on(run_standalone(data, config.edge));
        }
        let data = self
            .data
            .or_else(|| config.edge.data.clone())
            .unwrap_or_else(|| default_data("edge"));
        runtime.block_on(async {
            let stop = daemon::stop_signal();
            let edge = EdgeService::start(daemon::system()?, data, &config)?;
            tracing::info!(name = %edge.name, listen = ?edge.local_addrs(), "edge runs");
            if let Some(address) = edge.stamp_addr() {
                tracing::info!(%address, "STAMP is answered");
            }
            stop.await;
            // A second signal ends the wait for agents to leave.
            tokio::select! {
                biased;
                () = edge.stop() => {}
                () = daemon::stop_signal() => {}
            }
            Ok(())
        })
    }
}

async fn run_standalone(data: Option<PathBuf>, config: config::Edge) -> Result<(), Failure> {
    let stamp = daemon::stamp(&daemon::system()?, &config)?;
    let listen = config
        .listen
        .unwrap_or_else(|| vec![config::any(config::EDGE_PORT)]);
    let running = standalone(data.as_deref(), listen).map_err(|e| Failure::Runtime(e.into()))?;
    for address in running.edge.local_addrs() {
        output::line(format!("listening on {address}/udp"))?;
    }
    if let Some(stamp) = &stamp {
        output::line(format!("STAMP on {}/udp", stamp.local_addr()))?;
    }
    let stop = daemon::stop_signal();
    output::line(format!("fingerprint {}", running.fingerprint_hex()))?;
    stop.await;
    running.edge.stop(std::time::Duration::ZERO).await;
    if let Some(stamp) = stamp {
        stamp.stop().await;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use clap::Parser as _;

    use super::*;

    #[derive(Debug, clap::Parser)]
    struct Cli {
        #[command(flatten)]
        args: Args,
    }

    #[test]
    fn stamp_is_off_unless_asked_for() {
        let stamp = |line: &str| {
            let words = std::iter::once("edge").chain(line.split_whitespace());
            Cli::try_parse_from(words).unwrap().args.run.stamp
        };
        assert_eq!(stamp(""), None);
        let default = Some(config::any(config::STAMP_PORT));
        assert_eq!(
            (stamp("--stamp"), stamp("--stamp --standalone")),
            (default, default)
        );
        assert_eq!(
            stamp("--stamp 127.0.0.1:9862"),
            Some(([127, 0, 0, 1], 9_862).into())
        );
    }
}
