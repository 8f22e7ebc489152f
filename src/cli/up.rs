//! `corridor up`.

use std::{net::SocketAddr, path::PathBuf};

use super::{Failure, output, service};
use crate::{
    config::Config,
    daemon::{self, Up, UpOptions},
};

/// `corridor up`
#[derive(Debug, clap::Args)]
pub struct Args {
    /// Where everything is kept
    #[arg(long, value_name = "DIR")]
    data: Option<PathBuf>,
    /// Plain HTTP address of the page, on loopback [default: 127.0.0.1:8420]
    #[arg(long, value_name = "ADDR", value_parser = service::loopback)]
    http: Option<SocketAddr>,
    /// HTTPS address for other machines [default: [::]:8443]
    #[arg(long, value_name = "ADDR")]
    https: Option<SocketAddr>,
    /// UDP address of the edge [default: [::]:4433]
    #[arg(long, value_name = "ADDR")]
    listen: Option<SocketAddr>,
    /// Name or address under which other machines reach this one
    #[arg(long, value_name = "NAME")]
    public: Option<String>,
}

impl Args {
    pub fn run(self, config: &Config) -> Result<(), Failure> {
        daemon::start_logging(&config.log, "warn").map_err(Failure::Usage)?;
        let options = UpOptions {
            data: self.data.unwrap_or_else(service::default_up_data),
            http: self.http,
            https: self.https,
            listen: self.listen,
            public: self.public,
        };
        service::runtime()?.block_on(async {
            let stop = daemon::stop_signal();
            let up = Up::start(daemon::system()?, options, config).await?;
            for line in up.greeting() {
                output::line(line)?;
            }
            stop.await;
            up.stop().await;
            Ok(())
        })
    }
}
