//! How a command fails: one line on stderr, and an exit code.

use std::{fmt, process::ExitCode};

/// Why a command did not do what it was asked.
#[derive(Debug)]
pub enum Failure {
    /// Bad usage or input: exit code 2.
    Usage(anyhow::Error),
    /// It could not be done: exit code 1.
    Runtime(anyhow::Error),
}

impl Failure {
    pub fn usage(message: impl fmt::Display) -> Self {
        Self::Usage(anyhow::anyhow!("{message}"))
    }

    pub fn runtime(message: impl fmt::Display) -> Self {
        Self::Runtime(anyhow::anyhow!("{message}"))
    }

    pub fn exit_code(&self) -> ExitCode {
        ExitCode::from(match self {
            Self::Runtime(_) => 1,
            Self::Usage(_) => 2,
        })
    }
}

/// The error and its causes, on one line, nothing said twice.
impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (Self::Usage(error) | Self::Runtime(error)) = self;
        let mut line = String::new();
        for cause in error.chain() {
            let text = cause.to_string();
            if line.contains(text.as_str()) {
                continue;
            }
            if !line.is_empty() {
                line.push_str(": ");
            }
            line.push_str(&text);
        }
        f.write_str(&line.replace('\n', " "))
    }
}

impl From<anyhow::Error> for Failure {
    fn from(error: anyhow::Error) -> Self {
        Self::Runtime(error)
    }
}

impl From<crate::config::ConfigError> for Failure {
    fn from(error: crate::config::ConfigError) -> Self {
        Self::Usage(error.into())
    }
}
