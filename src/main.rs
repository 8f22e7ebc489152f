//! The `corridor` program.

use std::process::ExitCode;

use clap::Parser as _;
use corridor::cli::Cli;

fn main() -> ExitCode {
    match Cli::parse().run() {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => {
            // The one line that an error is.
            #[expect(clippy::print_stderr, reason = "this is where errors are told")]
            {
                eprintln!("corridor: {failure}");
            }
            failure.exit_code()
        }
    }
}
