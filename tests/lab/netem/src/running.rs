//! A running emulator, as the program that started it sees it.

use std::{
    ffi::OsStr,
    fs::{self, File},
    io::{self, BufRead as _, BufReader},
    path::{Path, PathBuf},
    process::{Child, ChildStdin, Command, Stdio},
    thread,
    time::Duration,
};

use crate::control::{Client, ClientError, Status};

/// Held by the machine's one world, or shared by those that agree to run beside others.
const LOCK: &str = "/run/corridor-lab.lock";
/// How many of those may run at once.
const WORLDS: &str = "CORRIDOR_WORLDS";
/// How often it is looked whether one of them has ended.
const LOOK: Duration = Duration::from_millis(100);

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
    _locks: Locks,
}

#[derive(Debug)]
struct Locks {
    _all: File,
    _own: Option<File>,
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
    /// at a time on a machine, for others could make it late, unless all say that so many may ([`worlds`]):
    /// `waiting` is called if there is none to spare.
    pub fn start(
        program: &Path,
        toml: &str,
        dir: &Path,
        worlds: usize,
        waiting: impl FnOnce(),
    ) -> Result<Self, RunningError> {
        let at = |path: &Path| {
            let path = path.to_owned();
            move |source| RunningError::Path { path, source }
        };
        let locks = one_of(worlds, waiting).map_err(at(Path::new(LOCK)))?;
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
            _locks: locks,
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

/// How many worlds may run at once on this machine, if all of them say so: by `CORRIDOR_WORLDS`.
pub fn worlds() -> usize {
    let set = std::env::var(WORLDS).ok();
    set.and_then(|set| set.parse().ok()).unwrap_or(1)
}

/// Waits until no other world runs on this machine, or fewer than `worlds` that agree to that.
fn one_of(worlds: usize, waiting: impl FnOnce()) -> io::Result<Locks> {
    let all = File::create(LOCK)?;
    let mut waiting = Some(waiting);
    let mut wait = || {
        if let Some(waiting) = waiting.take() {
            waiting();
        }
    };
    if worlds <= 1 {
        if all.try_lock().is_err() {
            wait();
            all.lock()?;
        }
        return Ok(Locks {
            _all: all,
            _own: None,
        });
    }
    if all.try_lock_shared().is_err() {
        wait();
        all.lock_shared()?;
    }
    loop {
        for place in 0..worlds {
            let own = File::create(format!("{LOCK}.{place}"))?;
            if own.try_lock().is_ok() {
                return Ok(Locks {
                    _all: all,
                    _own: Some(own),
                });
            }
        }
        wait();
        thread::sleep(LOOK);
    }
}
