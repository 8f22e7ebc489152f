//! The other end of the control socket, for the command line and for tests.

use std::{
    io::{self, BufRead, BufReader, Write},
    os::unix::net::UnixStream,
    path::{Path, PathBuf},
    time::Duration,
};

use super::{Reply, Request, Stats, Status};
use crate::stats::Filter;

/// Longer than any answer takes; without it a hung emulator would hang its callers.
const TIMEOUT: Duration = Duration::from_secs(20);

#[derive(Debug)]
pub struct Client {
    path: PathBuf,
    stream: BufReader<UnixStream>,
}

#[derive(Debug, thiserror::Error)]
pub enum ClientError {
    #[error("cannot talk to the emulator at {path}")]
    Io {
        path: PathBuf,
        #[source]
        source: io::Error,
    },
    #[error("the emulator at {path} ended")]
    Ended { path: PathBuf },
    #[error("the emulator at {path} answered what nobody asked: {line}")]
    Unexpected { path: PathBuf, line: String },
    #[error("the emulator refused: {0}")]
    Refused(String),
}

impl Client {
    pub fn connect(path: &Path) -> Result<Self, ClientError> {
        let connect = || {
            let stream = UnixStream::connect(path)?;
            stream.set_read_timeout(Some(TIMEOUT))?;
            Ok(BufReader::new(stream))
        };
        match connect() {
            Ok(stream) => Ok(Self {
                path: path.to_owned(),
                stream,
            }),
            Err(source) => Err(ClientError::Io {
                path: path.to_owned(),
                source,
            }),
        }
    }

    /// Sends a request and waits for its reply; a refusal is an error.
    pub fn request(&mut self, request: &Request) -> Result<Reply, ClientError> {
        let line = self.exchange(request).map_err(|source| ClientError::Io {
            path: self.path.clone(),
            source,
        })?;
        if line.is_empty() {
            return Err(ClientError::Ended {
                path: self.path.clone(),
            });
        }
        match serde_json::from_str(&line) {
            Ok(Reply::Error { error }) => Err(ClientError::Refused(error)),
            Ok(reply) => Ok(reply),
            Err(_) => Err(self.unexpected(line)),
        }
    }

    pub fn stats(&mut self, filter: Filter) -> Result<Stats, ClientError> {
        match self.request(&Request::Stats { filter })? {
            Reply::Stats(stats) => Ok(stats),
            other => Err(self.unexpected(format!("{other:?}"))),
        }
    }

    pub fn status(&mut self) -> Result<Status, ClientError> {
        match self.request(&Request::Status)? {
            Reply::Status(status) => Ok(status),
            other => Err(self.unexpected(format!("{other:?}"))),
        }
    }

    fn exchange(&mut self, request: &Request) -> io::Result<String> {
        let mut line = serde_json::to_string(request)?;
        line.push('\n');
        self.stream.get_mut().write_all(line.as_bytes())?;
        line.clear();
        self.stream.read_line(&mut line)?;
        Ok(line)
    }

    fn unexpected(&self, line: String) -> ClientError {
        ClientError::Unexpected {
            path: self.path.clone(),
            line,
        }
    }
}
