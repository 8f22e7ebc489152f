//! Processes of the real binary, on ports of their own, with their data in temporary directories. What is
//! started here is killed when it is dropped, and nothing else is.

use std::{
    collections::BTreeSet,
    ffi::OsStr,
    fs::File,
    io::{Read as _, Write as _},
    net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream, UdpSocket},
    path::{Path, PathBuf},
    process::{Child, Command, ExitStatus, Stdio},
    sync::{Mutex, PoisonError},
    thread,
    time::Duration,
};

use serde_json::Value;
use tempfile::TempDir;

/// How often a condition is looked at.
const LOOK: Duration = Duration::from_millis(100);
/// For whatever takes a second on an idle machine.
pub const SOON: Duration = Duration::from_secs(60);

/// Waits until `look` answers something; panics with `what` after `limit`.
#[track_caller]
pub fn wait_for<T>(what: &str, limit: Duration, mut look: impl FnMut() -> Option<T>) -> T {
    let mut left = limit;
    loop {
        if let Some(found) = look() {
            return found;
        }
        let Some(less) = left.checked_sub(LOOK) else {
            panic!("after {limit:?} still not: {what}");
        };
        left = less;
        thread::sleep(LOOK);
    }
}

/// A port that nobody has, neither TCP nor UDP, outside the range that the kernel gives to clients.
pub fn port() -> u16 {
    static TAKEN: Mutex<BTreeSet<u16>> = Mutex::new(BTreeSet::new());
    let mut taken = TAKEN.lock().unwrap_or_else(PoisonError::into_inner);
    // Processes of one run begin at different places.
    let first = 10_000 + u16::try_from(std::process::id() * 31 % 20_000).expect("below 20,000");
    let free = |port: &u16| {
        let at = (Ipv4Addr::LOCALHOST, *port);
        !taken.contains(port) && TcpListener::bind(at).is_ok() && UdpSocket::bind(at).is_ok()
    };
    let port = (first..30_000)
        .chain(10_000..first)
        .find(free)
        .expect("a free port");
    taken.insert(port);
    port
}

pub fn loopback(port: u16) -> SocketAddr {
    (Ipv4Addr::LOCALHOST, port).into()
}

/// What a command that has ended left behind.
#[derive(Debug)]
pub struct Ended {
    pub code: Option<i32>,
    pub stdout: String,
    pub stderr: String,
}

impl Ended {
    /// It did what it was asked, and complained about nothing.
    #[track_caller]
    pub fn ok(self) -> String {
        assert_eq!(
            (self.code, self.stderr.as_str()),
            (Some(0), ""),
            "{}",
            self.stdout
        );
        self.stdout
    }

    #[track_caller]
    pub fn json(self) -> Value {
        let text = self.ok();
        serde_json::from_str(&text).unwrap_or_else(|e| panic!("{e}: {text}"))
    }

    /// It failed with `code`, said nothing on stdout and one line on stderr, which holds every one of
    /// `named`.
    #[track_caller]
    pub fn fails(self, code: i32, named: &[&str]) {
        assert_eq!(self.code, Some(code), "{self:?}");
        assert_eq!(self.stdout, "", "{self:?}");
        assert_eq!(self.stderr.lines().count(), 1, "one line: {}", self.stderr);
        assert!(self.stderr.starts_with("corridor: "), "{}", self.stderr);
        for name in named {
            assert!(self.stderr.contains(name), "{name:?} is not in: {}", self.stderr);
        }
    }
}

/// The binary with `args`, and nothing of this environment that it would read.
pub fn command<S: AsRef<OsStr>>(args: impl IntoIterator<Item = S>) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_corridor"));
    command.args(args).stdin(Stdio::null());
    for (name, _) in std::env::vars_os() {
        let name = name.to_string_lossy().into_owned();
        if name.starts_with("CORRIDOR_") || ["RUST_LOG", "RUST_BACKTRACE", "COLUMNS"].contains(&&*name) {
            command.env_remove(name);
        }
    }
    command
}

/// Runs the binary to its end.
#[track_caller]
pub fn run<S: AsRef<OsStr>>(args: impl IntoIterator<Item = S>) -> Ended {
    finish(command(args))
}

/// Runs a command to its end; panics if that takes longer than [`SOON`].
#[track_caller]
pub fn finish(command: Command) -> Ended {
    let mut running = Running::start(command);
    let status = running.wait(SOON);
    Ended {
        code: status.code(),
        stdout: running.stdout(),
        stderr: running.stderr(),
    }
}

/// A process of the binary, killed when dropped.
#[derive(Debug)]
pub struct Running {
    child: Child,
    said: TempDir,
}

impl Running {
    #[track_caller]
    pub fn start(mut command: Command) -> Self {
        let said = tempfile::tempdir().expect("a temporary directory");
        let file = |name: &str| File::create(said.path().join(name)).expect("a file for what it says");
        let child = command
            .stdout(file("stdout"))
            .stderr(file("stderr"))
            .spawn()
            .expect("start the binary");
        Self { child, said }
    }

    fn read(&self, name: &str) -> String {
        let bytes = std::fs::read(self.said.path().join(name)).unwrap_or_default();
        String::from_utf8_lossy(&bytes).into_owned()
    }

    pub fn stdout(&self) -> String {
        self.read("stdout")
    }

    pub fn stderr(&self) -> String {
        self.read("stderr")
    }

    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    pub fn ended(&mut self) -> Option<ExitStatus> {
        self.child.try_wait().expect("ask for a child's end")
    }

    #[track_caller]
    pub fn wait(&mut self, limit: Duration) -> ExitStatus {
        let mut left = limit;
        loop {
            if let Some(status) = self.ended() {
                return status;
            }
            left = left
                .checked_sub(LOOK / 10)
                .unwrap_or_else(|| panic!("still runs after {limit:?}: {}{}", self.stdout(), self.stderr()));
            thread::sleep(LOOK / 10);
        }
    }

    /// Waits until its stdout or stderr holds `text`; panics when it ends before that.
    #[track_caller]
    pub fn says(&mut self, text: &str) {
        wait_for(text, SOON, || {
            let said = self.stdout() + &self.stderr();
            let found = said.contains(text);
            assert!(
                found || self.ended().is_none(),
                "it ended without {text:?}: {said}"
            );
            found.then_some(())
        });
    }

    /// SIGKILL, as a crash would.
    pub fn kill9(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }

    /// SIGTERM, and waits for the end.
    #[track_caller]
    pub fn terminate(&mut self) -> ExitStatus {
        self.end_by(libc::SIGTERM)
    }

    /// SIGINT, as Ctrl-C sends it, and waits for the end.
    #[track_caller]
    pub fn interrupt(&mut self) -> ExitStatus {
        self.end_by(libc::SIGINT)
    }

    #[track_caller]
    #[expect(unsafe_code, reason = "std sends SIGKILL only")]
    fn end_by(&mut self, signal: libc::c_int) -> ExitStatus {
        let pid = libc::pid_t::try_from(self.pid()).expect("a process id");
        // SAFETY: takes numbers only, and the child has not been waited for.
        unsafe { libc::kill(pid, signal) };
        self.wait(SOON)
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        self.kill9();
        if thread::panicking() {
            eprintln!("--- it said:\n{}{}", self.stdout(), self.stderr());
        }
    }
}

/// `corridor up`, or a controller, on ports of its own.
#[derive(Debug)]
pub struct Up {
    pub running: Running,
    pub plan: Plan,
    /// Goes when this goes.
    _dir: Option<TempDir>,
}

/// Where a controller, or all of them, shall run.
#[derive(Debug, Clone)]
pub struct Plan {
    pub data: PathBuf,
    pub http: u16,
    pub https: u16,
    /// The edge's port, or of a controller alone its QUIC port.
    pub listen: u16,
    word: &'static str,
    environment: Vec<(String, String)>,
}

impl Plan {
    /// The command that starts it.
    pub fn command(&self) -> Command {
        let mut command = command([self.word, "--data"]);
        command
            .arg(&self.data)
            .args(["--http", &loopback(self.http).to_string()])
            .args(["--https", &loopback(self.https).to_string()])
            .arg(if self.word == "up" { "--listen" } else { "--quic" })
            .arg(loopback(self.listen).to_string())
            .envs(self.environment.iter().map(|(k, v)| (k, v)));
        command
    }

    #[track_caller]
    fn start(&self) -> Running {
        let mut running = Running::start(self.command());
        // The greeting is the last thing before it waits for signals.
        running.says(if self.word == "up" {
            "corridor agent join"
        } else {
            "login     "
        });
        running
    }
}

impl Up {
    #[track_caller]
    pub fn start() -> Self {
        Self::with("up", &[])
    }

    /// A controller alone: its QUIC port is `listen`.
    #[track_caller]
    pub fn controller() -> Self {
        Self::with("controller", &[])
    }

    /// With more in the environment.
    #[track_caller]
    pub fn with(word: &'static str, environment: &[(&str, &str)]) -> Self {
        let dir = tempfile::tempdir().expect("a temporary directory");
        let data = dir.path().join("data");
        Self {
            _dir: Some(dir),
            ..Self::at(word, environment, data)
        }
    }

    /// With its data at `data`, which stays.
    #[track_caller]
    pub fn at(word: &'static str, environment: &[(&str, &str)], data: PathBuf) -> Self {
        let (http, https, listen) = (port(), port(), port());
        let environment = environment
            .iter()
            .map(|(k, v)| ((*k).to_owned(), (*v).to_owned()))
            .collect();
        let up = Plan {
            data,
            http,
            https,
            listen,
            word,
            environment,
        };
        Self {
            running: up.start(),
            plan: up,
            _dir: None,
        }
    }

    /// Starts it again on the same data and ports.
    #[track_caller]
    pub fn restart(&mut self) {
        self.running = self.plan.start();
    }

    pub fn data(&self) -> PathBuf {
        self.plan.data.clone()
    }

    pub fn url(&self) -> String {
        format!("https://{}", loopback(self.plan.https))
    }

    /// Runs a command that asks this controller.
    #[track_caller]
    pub fn ask<S: AsRef<OsStr>>(&self, args: impl IntoIterator<Item = S>) -> Ended {
        let mut command = command(args);
        command.arg("--data").arg(self.data());
        finish(command)
    }

    #[track_caller]
    pub fn status(&self) -> Value {
        self.ask(["status", "--json"]).json()
    }

    /// A join token, with more arguments.
    #[track_caller]
    pub fn token(&self, service: &str, more: &[&str]) -> String {
        let args = ["token", "create", "--service", service];
        self.ask(args.iter().chain(more)).ok().trim().to_owned()
    }

    /// Joins as `service`, keeping the identity at `data`.
    #[track_caller]
    pub fn join(&self, service: &str, token: &str, data: &Path, more: &[&str]) -> Ended {
        join(&self.url(), service, token, data, more)
    }

    /// Posts `body` to the API over plain HTTP, as the local administrator; the answer must be good.
    #[track_caller]
    pub fn post(&self, path: &str, body: &str) -> String {
        self.http("POST", path, body)
    }

    #[track_caller]
    pub fn get(&self, path: &str) -> Value {
        serde_json::from_str(&self.http("GET", path, "")).expect("JSON")
    }

    #[track_caller]
    fn http(&self, method: &str, path: &str, body: &str) -> String {
        let access = std::fs::read(self.data().join("local-access.json")).expect("the way in");
        let access: Value = serde_json::from_slice(&access).expect("JSON");
        let token = access["token"].as_str().expect("a token");
        let mut stream = TcpStream::connect(loopback(self.plan.http)).expect("connect");
        let length = body.len();
        // HTTP/1.0: the answer comes whole, and ends with the connection.
        let request = format!(
            "{method} /api/v1/{path} HTTP/1.0\r\nHost: localhost\r\nAuthorization: Bearer {token}\r\n\
             Content-Type: application/json\r\nContent-Length: {length}\r\n\r\n{body}"
        );
        stream.write_all(request.as_bytes()).expect("send the request");
        let mut answer = String::new();
        stream.read_to_string(&mut answer).expect("read the answer");
        let (head, body) = answer.split_once("\r\n\r\n").expect("a head");
        assert_eq!(
            head.split(' ').nth(1).map(|code| &code[..1]),
            Some("2"),
            "{answer}"
        );
        body.to_owned()
    }

    /// An enrolled agent of `subject`, running.
    #[track_caller]
    pub fn agent(&self, subject: &str) -> Service {
        let dir = tempfile::tempdir().expect("a temporary directory");
        let token = self.token("agent", &[]);
        self.join("agent", &token, dir.path(), &["--subject", subject])
            .ok();
        let mut command = command(["agent", "--data"]);
        command.arg(dir.path());
        Service::start(dir, command)
    }

    /// An enrolled edge of `name`, running at `port`.
    #[track_caller]
    pub fn edge(&self, name: &str, port: u16) -> Service {
        let dir = tempfile::tempdir().expect("a temporary directory");
        let token = self.token("edge", &[]);
        self.join("edge", &token, dir.path(), &["--name", name]).ok();
        let mut command = command(["edge", "--listen", &loopback(port).to_string(), "--data"]);
        command.arg(dir.path());
        Service::start(dir, command)
    }

    /// Waits until the agents of `subjects`, and they at least, are up.
    #[track_caller]
    pub fn agents_up(&self, subjects: &[&str]) {
        wait_for(&format!("{subjects:?} are up"), SOON, || {
            let status = self.status();
            let up = |subject: &&str| state(&status, "agents", "subject", subject) == Some("up".to_owned());
            subjects.iter().all(up).then_some(())
        });
    }
}

/// The state of the agent or edge called so, if the status has it.
pub fn state(status: &Value, list: &str, key: &str, name: &str) -> Option<String> {
    let item = status[list].as_array()?.iter().find(|item| item[key] == name)?;
    item["state"].as_str().map(str::to_owned)
}

/// A service that runs by an identity of its own.
#[derive(Debug)]
pub struct Service {
    pub running: Running,
    pub dir: TempDir,
}

impl Service {
    fn start(dir: TempDir, command: Command) -> Self {
        Self {
            running: Running::start(command),
            dir,
        }
    }

    pub fn data(&self) -> &Path {
        self.dir.path()
    }
}

#[track_caller]
pub fn join(url: &str, service: &str, token: &str, data: &Path, more: &[&str]) -> Ended {
    let mut command = command([service, "join", url, "--join", token, "--data"]);
    command.arg(data).args(more);
    finish(command)
}
