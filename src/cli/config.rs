//! `corridor config`: checks a file, and prints what is made from the program itself.

use std::path::PathBuf;

use clap::{CommandFactory as _, Subcommand};

use super::{Cli, Failure, output};
use crate::config::Config;

#[derive(Debug, clap::Args)]
pub struct Args {
    #[command(subcommand)]
    command: ConfigCommand,
}

#[derive(Debug, Subcommand)]
enum ConfigCommand {
    /// Check a configuration file: every error at once
    Check { file: PathBuf },
    /// Print completions for a shell
    Completions { shell: clap_complete::Shell },
    /// Write man pages to a directory
    Man { dir: PathBuf },
    /// Print the API's description (OpenAPI 3.1)
    Openapi,
}

impl Args {
    pub fn run(self) -> Result<(), Failure> {
        match self.command {
            ConfigCommand::Check { file } => {
                Config::load(Some(&file), std::iter::empty())?;
                output::line(format!("{}: no errors", file.display()))
            }
            ConfigCommand::Completions { shell } => {
                // Into memory first: written to a pipe that closes, it would panic.
                let mut text = Vec::new();
                clap_complete::generate(shell, &mut Cli::command(), "corridor", &mut text);
                output::line(String::from_utf8_lossy(&text).trim_end())
            }
            ConfigCommand::Man { dir } => {
                clap_mangen::generate_to(Cli::command(), &dir).map_err(|e| {
                    Failure::Runtime(anyhow::Error::new(e).context(dir.display().to_string()))
                })?;
                output::line(format!("man pages are in {}", dir.display()))
            }
            ConfigCommand::Openapi => {
                let text = crate::api::openapi_json().map_err(|e| Failure::Runtime(e.into()))?;
                output::line(text.trim_end())
            }
        }
    }
}
