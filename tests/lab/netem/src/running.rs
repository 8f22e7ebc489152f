//! A running emulator, as the program that started it sees it.

use std::{
    ffi::OsStr,
    fs::{self, File},
    io::{self, BufRead as _, BufReader},
    path::{Path, PathBuf},
    process::{Child, ChildStdin, Command, Stdio},
};

use crate::control::{Client, ClientError, Status};

/// Held by the machine's one world.
const LOCK: &str = "/run/corridor-lab.lock";

/// A world: it ends, and all that runs in its namespaces, when this is dropped or this program ends,
/// however it does.
#[derive(Debug)]
pub struct Running {
    pub client: Client,
    pub status: Status,
    /// Its end is the emulator's end.
    stdin: Option<ChildStdin>,
    emulator: Child,
    log: PathBuf,
    _lock: File,
}

/// Why no world runs.
#[derive(Debug, thiserror::Error)]
pub enum RunningError {
    #[error("cannot use {path}")]
    Path {
        path: PathBuf,
        #[source]
        source: io::Error,
    },
    #[error("the emulator did not start; its reason is above")]
    NotReady,
    #[error(transparent)]
    Client(#[from] ClientError),
}

impl Running {
    /// Runs the world that `toml` describes with the emulator `program`, its files in `dir`. One world runs
    /// at a time on a machine, for two would make each other late: `waiting` is called if there is another.
    pub fn start(
        program: &Path,
        toml: &str,
        dir: &Path,
        waiting: impl FnOnce(),
    ) -> Result<Self, RunningError> {
        let at = |path: &Path| {
            let path = path.to_owned();
            move |source| RunningError::Path { path, source }
        };
        let lock = only_one(waiting).map_err(at(Path::new(LOCK)))?;
        let file = dir.join("world.toml");
        let sock = dir.join("control.sock");
        let log = dir.join("packets.csv");
        fs::write(&file, toml).map_err(at(&file))?;
        let mut emulator = Command::new(program)
            .args(["run", "--exit-with-stdin", "--control"])
            .arg(&sock)
            .arg("--log")
            .arg(&log)
            .arg(&file)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .map_err(at(program))?;
        let lines = emulator.stdout.take().map(|out| BufReader::new(out).lines());
        let is_ready = |line: io::Result<String>| line.is_ok_and(|line| line == "ready");
        if !lines.is_some_and(|mut lines| lines.any(is_ready)) {
            let _ = emulator.wait();
            return Err(RunningError::NotReady);
        }
        let mut client = Client::connect(&sock)?;
        let status = client.status()?;
        Ok(Self {
            client,
            status,
            stdin: emulator.stdin.take(),
            emulator,
            log,
            _lock: lock,
        })
    }

    /// A command that runs `program` in a node's namespace; none if there is no such node. What it becomes
    /// has the id of the child.
    pub fn command(&self, node: &str, program: impl AsRef<OsStr>) -> Option<Command> {
        let node = self.status.nodes.get(node)?;
        let mut command = Command::new("ip");
        command
            .args(["netns", "exec", &node.namespace])
            .arg(program)
            .stdin(Stdio::null());
        Some(command)
    }

    /// Ends the world, and answers its packet log: see [`crate::log`].
    pub fn finish(&mut self) -> Result<String, RunningError> {
        self.end();
        fs::read_to_string(&self.log).map_err(|source| RunningError::Path {
            path: self.log.clone(),
            source,
        })
    }

    /// Ends the world.
    pub fn end(&mut self) {
        drop(self.stdin.take());
        let _ = self.emulator.wait();
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        self.end();
    }
}

/// Waits until no other world runs on this machine.
fn only_one(waiting: impl FnOnce()) -> io::Result<File> {
    let lock = File::create(LOCK)?;
    if lock.try_lock().is_err() {
        waiting();
        lock.lock()?;
    }
    Ok(lock)
}
