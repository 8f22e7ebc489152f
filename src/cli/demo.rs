//! `corridor demo`.

use std::{
    fs::File,
    io::Read as _,
    net::SocketAddr,
    path::{Path, PathBuf},
};

use super::{Failure, output, service};
use crate::{
    config::{self, Config},
    daemon::{self, Demo},
    sim::scenario::{Scenario, ScenarioError},
};

/// The longest scenario that is read, in bytes.
const MAX_SCENARIO: u64 = 1 << 20;

/// `corridor demo`
#[derive(Debug, clap::Args)]
pub struct Args {
    /// Plain HTTP address of the page, on loopback [default: 127.0.0.1:8420]
    #[arg(long, value_name = "ADDR", value_parser = service::loopback)]
    http: Option<SocketAddr>,
    /// Another scenario, as in tests/sim/scenarios; what it expects is not judged
    #[arg(long, value_name = "FILE")]
    scenario: Option<PathBuf>,
}

impl Args {
    pub fn run(self, config: &Config) -> Result<(), Failure> {
        // What breaks on schedule is no news to who watches.
        daemon::start_logging(&config.log, "error").map_err(Failure::Usage)?;
        let scenario = match &self.scenario {
            Some(path) => read(path)?,
            None => Scenario::demo().map_err(|e| Failure::Runtime(e.into()))?,
        };
        let http = self.http.or(config.controller.http).unwrap_or(config::LOCAL_HTTP);
        service::runtime()?.block_on(async {
            let stop = daemon::stop_signal();
            let demo = Demo::start(&daemon::system()?, scenario, http).await;
            let mut demo = demo.map_err(|e| self.of(e))?;
            let watched = self.watch(&mut demo, stop).await;
            demo.stop().await;
            watched
        })
    }

    /// Tells what happens until `stop`, or until nobody reads it.
    async fn watch(&self, demo: &mut Demo, stop: impl Future<Output = ()>) -> Result<(), Failure> {
        for line in demo.greeting() {
            if !output::written(line)? {
                return Ok(());
            }
        }
        tokio::pin!(stop);
        loop {
            let line = tokio::select! {
                biased;
                () = &mut stop => return Ok(()),
                line = demo.next() => line.map_err(|e| self.of(e))?,
            };
            if !output::written(line)? {
                return Ok(());
            }
        }
    }

    /// What a scenario's file got wrong is bad input; all else is a failure.
    fn of(&self, error: anyhow::Error) -> Failure {
        match (&self.scenario, error.downcast_ref::<ScenarioError>()) {
            (Some(path), Some(ScenarioError::Failed { .. })) => {
                Failure::Usage(error.context(path.display().to_string()))
            }
            _ => Failure::Runtime(error),
        }
    }
}

fn read(path: &Path) -> Result<Scenario, Failure> {
    let wrong = |what: &dyn std::fmt::Display| Failure::usage(format!("{}: {what}", path.display()));
    let mut text = String::new();
    File::open(path)
        .and_then(|file| file.take(MAX_SCENARIO + 1).read_to_string(&mut text))
        .map_err(|e| wrong(&format_args!("cannot be read: {e}")))?;
    if text.len() as u64 > MAX_SCENARIO {
        return Err(wrong(&format_args!(
            "a scenario has at most {MAX_SCENARIO} bytes"
        )));
    }
    Scenario::parse(&text).map_err(|e| wrong(&e))
}
