//! `corridor controller`.

use std::{net::SocketAddr, path::PathBuf};

use clap::Subcommand;

use super::{Failure, output, password, service};
use crate::{
    config::Config,
    daemon::{self, ControllerService, default_data},
};

#[derive(Debug, clap::Args)]
#[command(args_conflicts_with_subcommands = true)]
pub struct Args {
    #[command(subcommand)]
    command: Option<ControllerCommand>,
    #[command(flatten)]
    run: RunArgs,
}

#[derive(Debug, Subcommand)]
enum ControllerCommand {
    /// Run the controller (also without a word)
    Run(RunArgs),
    /// Give an account a new password, for who is locked out
    ///
    /// Run it on the controller's machine, as the user whose data it is, whether the controller runs or
    /// not. The password is printed, only this once, and the account's sessions end.
    Password(password::Args),
}

impl Args {
    pub fn run(self, config: &Config) -> Result<(), Failure> {
        match self.command {
            None => self.run.run(config),
            Some(ControllerCommand::Run(args)) => args.run(config),
            Some(ControllerCommand::Password(args)) => args.run(config),
        }
    }
}

#[derive(Debug, clap::Args)]
struct RunArgs {
    /// Where everything is kept
    #[arg(long, value_name = "DIR")]
    data: Option<PathBuf>,
    /// HTTPS address for enrolment, API and pages
    #[arg(long, value_name = "ADDR")]
    https: Option<SocketAddr>,
    /// Plain HTTP address for API and pages: loopback only
    #[arg(long, value_name = "ADDR", value_parser = service::loopback)]
    http: Option<SocketAddr>,
    /// UDP address where edges connect
    #[arg(long, value_name = "ADDR")]
    quic: Option<SocketAddr>,
    /// Name or address under which other machines reach this one
    #[arg(long, value_name = "NAME")]
    public: Option<String>,
}

impl RunArgs {
    fn run(self, config: &Config) -> Result<(), Failure> {
        daemon::start_logging(&config.log, "info").map_err(Failure::Usage)?;
        let mut config = config.clone();
        let controller = &mut config.controller;
        controller.https = self.https.or(controller.https);
        controller.http = self.http.or(controller.http);
        controller.quic = self.quic.or(controller.quic);
        controller.public = self.public.or_else(|| controller.public.clone());
        let data = self
            .data
            .or_else(|| controller.data.clone())
            .unwrap_or_else(|| default_data("controller"));
        service::runtime()?.block_on(async {
            let stop = daemon::stop_signal();
            let controller = ControllerService::start(daemon::system()?, data, &config).await?;
            for line in controller.greeting() {
                output::line(line)?;
            }
            stop.await;
            controller.stop().await;
            Ok(())
        })
    }
}
