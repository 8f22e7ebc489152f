//! The `corridor` program.

use std::process::ExitCode;

use corridor::cli::Cli;

fn main() -> ExitCode {
    match Cli::from_command_line().and_then(Cli::run) {
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
