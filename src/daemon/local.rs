//! Asking the agent on this machine: a Unix socket in its data directory, one JSON question and one JSON
//! answer a line, open to the agent's own user alone.

use std::{net::SocketAddr, path::Path};

use serde::{Deserialize, Serialize};
use tokio_util::sync::CancellationToken;

use crate::agent::{AgentReport, Forward, Handle, MAX_FORWARDS};

/// A question.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(tag = "ask", rename_all = "snake_case", deny_unknown_fields)]
pub enum Question {
    Status,
    Class { class: String, join: bool },
    Forward(Forward),
    StopForward { listen: SocketAddr },
    Accept { port: u16 },
}

#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
enum Reply {
    Status(Box<AgentReport>),
    Done,
    /// A local port is read at this address.
    Listens(SocketAddr),
    Error(String),
}

/// What a question that was understood is answered with.
#[derive(Debug)]
pub enum Said {
    Status(Box<AgentReport>),
    Done,
    Listens(SocketAddr),
}

const SOCKET: &str = "agent.sock";
/// Bytes of a question.
#[cfg(unix)]
const MAX_QUESTION: u64 = 4_096;

/// Answers questions until told to stop. Without a socket the agent goes on, and says so.
#[cfg(unix)]
pub fn serve(data: &Path, handle: Handle, stop: CancellationToken) {
    use std::os::unix::fs::PermissionsExt as _;

    let path = data.join(SOCKET);
    // What a former run left; another running agent holds the spool's lock, so it is not its.
    let _ = std::fs::remove_file(&path);
    let listener = match tokio::net::UnixListener::bind(&path) {
        Ok(listener) => listener,
        Err(error) => {
            tracing::warn!(path = %path.display(), %error, "no local socket: status cannot be asked");
            return;
        }
    };
    if let Err(error) = std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o600)) {
        tracing::warn!(path = %path.display(), %error, "permissions of the local socket");
    }
    tokio::spawn(async move {
        loop {
            let stream = tokio::select! {
                biased;
                () = stop.cancelled() => break,
                accepted = listener.accept() => accepted,
            };
            if let Ok((stream, _)) = stream {
                tokio::spawn(answer(stream, handle.clone()));
            }
        }
        let _ = std::fs::remove_file(path);
    });
}

#[cfg(not(unix))]
pub fn serve(_: &Path, _: Handle, _: CancellationToken) {}

#[cfg(unix)]
async fn answer(stream: tokio::net::UnixStream, handle: Handle) {
    use tokio::io::{AsyncBufReadExt as _, AsyncReadExt as _, AsyncWriteExt as _, BufReader};

    let (read, mut write) = stream.into_split();
    let mut line = String::new();
    if BufReader::new(read.take(MAX_QUESTION))
        .read_line(&mut line)
        .await
        .is_err()
    {
        return;
    }
    let reply = match serde_json::from_str(&line) {
        Ok(Question::Status) => match handle.status().await {
            Some(report) => Reply::Status(Box::new(report)),
            None => Reply::Error("the agent is stopping".to_owned()),
        },
        Ok(Question::Class { class, join }) => done(handle.class(&class, join).await),
        Ok(Question::Forward(forward)) => handle
            .forward(forward)
            .await
            .map_or_else(Reply::Error, Reply::Listens),
        Ok(Question::StopForward { listen }) => {
            let stopped = handle.stop_forward(listen).await;
            done(stopped.and_then(|was| {
                was.then_some(())
                    .ok_or(format!("nothing is carried from {listen}"))
            }))
        }
        Ok(Question::Accept { port }) => {
            let accepted = handle.accept(port).await;
            let most = format!("no more than {MAX_FORWARDS} ports are accepted");
            done(accepted.and_then(|room| room.then_some(()).ok_or(most)))
        }
        Err(error) => Reply::Error(format!("question not understood: {error}")),
    };
    if let Ok(mut text) = serde_json::to_string(&reply) {
        text.push('\n');
        let _ = write.write_all(text.as_bytes()).await;
    }
}

#[cfg(unix)]
fn done(result: Result<(), String>) -> Reply {
    result.map_or_else(Reply::Error, |()| Reply::Done)
}

/// Asks the agent whose data is under `data`.
#[cfg(unix)]
pub fn ask(data: &Path, question: &Question) -> anyhow::Result<Said> {
    use std::io::{BufRead as _, BufReader, Write as _};

    use anyhow::Context as _;

    let path = data.join(SOCKET);
    let mut stream = std::os::unix::net::UnixStream::connect(&path)
        .with_context(|| format!("no agent answers at {} (is it running?)", path.display()))?;
    stream.set_read_timeout(Some(std::time::Duration::from_secs(15)))?;
    writeln!(stream, "{}", serde_json::to_string(question)?)?;
    let mut line = String::new();
    BufReader::new(stream)
        .read_line(&mut line)
        .context("the agent does not answer")?;
    match serde_json::from_str(&line).context("the agent's answer makes no sense")? {
        Reply::Status(report) => Ok(Said::Status(report)),
        Reply::Done => Ok(Said::Done),
        Reply::Listens(at) => Ok(Said::Listens(at)),
        Reply::Error(error) => anyhow::bail!(error),
    }
}

#[cfg(not(unix))]
pub fn ask(_: &Path, _: &Question) -> anyhow::Result<Said> {
    anyhow::bail!("local questions need Unix sockets")
}
