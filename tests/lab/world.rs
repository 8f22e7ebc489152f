//! The world that lab tests run real processes in: nodes, which are network namespaces, and the
//! emulated network between them.
//!
//! ```text
//! let world = World::start(r#"
//!     default = { delay_ms = 20 }
//!     [nodes.teacher]
//!     [nodes.edge]
//! "#);
//! let edge = world.node("edge").spawn(corridor(), ["edge", "--standalone"], []);
//! world.set("teacher+edge", "loss=0.02 loss_burst=3");
//! let up = world.row("teacher", "edge", Proto::Udp, 1028..=1028);
//! ```
//!
//! The TOML is that of `corridor-netem run`, settings are written as in `corridor-netem ctl SOCK set`:
//! see its `--help`. One world runs at a time on a machine, for others could make it late, unless `CORRIDOR_WORLDS`
//! says how many may: figures then say less, and counts the same. All
//! processes end with the world, however the test ends.

use std::{
    error::Error as _,
    ffi::OsStr,
    fmt,
    fs::{self, File},
    io::{self, Write},
    net::IpAddr,
    ops::RangeInclusive,
    path::{Path, PathBuf},
    process::{Command, Stdio},
    sync::{
        Mutex, MutexGuard, PoisonError,
        atomic::{AtomicU32, Ordering},
    },
    thread,
    time::Duration,
};

use corridor_netem::{
    control::{Reply, Request, Row, Stats, Status},
    netns,
    packet::Proto,
    running::{self, Running},
    stats::Filter,
};
use tempfile::TempDir;

use crate::proc::Proc;

/// How often packets under way are asked for.
const LOOK: Duration = Duration::from_millis(10);

/// A running emulator and all that was started in it.
pub struct World {
    // Ends before its directory goes.
    running: Mutex<Running>,
    status: Status,
    spawned: AtomicU32,
    dir: Option<TempDir>,
}

/// Why there can be no lab here, if there cannot: it needs root and TUN devices. To be said with
/// [`say`], and the test left.
pub fn unavailable() -> Option<&'static str> {
    let status = fs::read_to_string("/proc/self/status").unwrap_or_default();
    if !status.lines().any(|line| line.starts_with("Uid:\t0\t0\t")) {
        return Some("it needs root");
    }
    match File::options().read(true).write(true).open("/dev/net/tun") {
        Ok(_) => None,
        Err(_) => Some("it needs /dev/net/tun"),
    }
}

/// Prints a line past the test harness, which hides what passing tests print.
pub fn say(line: impl fmt::Display) {
    let _ = writeln!(io::stderr(), "lab: {line}");
}

/// The `corridor` binary under test.
pub fn corridor() -> &'static Path {
    Path::new(env!("CARGO_BIN_EXE_corridor"))
}

impl World {
    /// Starts the world that `toml` describes, once no other runs on this machine; panics with the reason
    /// if that is impossible.
    pub fn start(toml: &str) -> Self {
        Self::beside(running::worlds(), toml)
    }

    /// The same, once there is no other, whatever `CORRIDOR_WORLDS` says: this one takes the machine's time.
    pub fn alone(toml: &str) -> Self {
        Self::beside(1, toml)
    }

    fn beside(worlds: usize, toml: &str) -> Self {
        let dir = tempfile::Builder::new()
            .prefix("corridor-lab-")
            .tempdir()
            .expect("make a directory");
        let waiting = || say("waiting for another lab on this machine");
        let running = Running::start(&emulator(), toml, dir.path(), worlds, waiting)
            .unwrap_or_else(|error| panic!("{error}: {:?}", error.source()));
        Self {
            status: running.status.clone(),
            running: Mutex::new(running),
            spawned: AtomicU32::new(0),
            dir: Some(dir),
        }
    }

    /// Names of all nodes.
    pub fn nodes(&self) -> impl Iterator<Item = &str> {
        self.status.nodes.keys().map(String::as_str)
    }

    /// A node of the TOML.
    pub fn node(&self, name: &str) -> Node<'_> {
        let (name, status) = self
            .status
            .nodes
            .get_key_value(name)
            .unwrap_or_else(|| panic!("this world has no node `{name}`"));
        Node {
            world: self,
            name,
            namespace: &status.namespace,
            addresses: &status.addresses,
        }
    }

    /// A directory for this world's files. It is removed with the world, unless the test failed.
    pub fn dir(&self) -> &Path {
        self.dir.as_ref().expect("lives as long as the world").path()
    }

    /// Changes what directions do from now on: `a:b`, `a+b`, `a/up`, `a/down`, `a/access` or `links`, and
    /// settings such as `delay_ms=80 loss=0.05`. What is not named stays.
    pub fn set(&self, at: &str, settings: &str) {
        let at = at.parse().unwrap_or_else(|error| panic!("{error}"));
        let settings = settings.parse().unwrap_or_else(|error| panic!("{error}"));
        self.request(&Request::Set {
            at,
            settings,
            replace: false,
        });
    }

    /// Holds all that goes to or comes from `node` for `ms` milliseconds, then lets it go at once.
    /// Returns when the stall has begun.
    pub fn stall(&self, node: &str, ms: u64) {
        let node = node.to_owned();
        self.request(&Request::Stall { node, ms });
    }

    /// Counters of the packets that entered since the start or the last [`Self::reset_stats`].
    pub fn stats(&self, filter: Filter) -> Stats {
        self.running()
            .client
            .stats(filter)
            .unwrap_or_else(|error| panic!("{error}"))
    }

    pub fn reset_stats(&self) {
        self.request(&Request::ResetStats);
    }

    /// Counts of one direction over packets of these lengths (IP bytes, headers included), once none of
    /// them is under way; all zero if there was none.
    pub fn row(&self, from: &str, to: &str, proto: Proto, lengths: RangeInclusive<u16>) -> Row {
        let filter = Filter {
            from: Some(from.to_owned()),
            to: Some(to.to_owned()),
            proto: Some(proto),
            min_len: Some(*lengths.start()),
            max_len: Some(*lengths.end()),
        };
        loop {
            match self.stats(filter.clone()).rows.pop() {
                Some(row) if row.in_flight > 0 => thread::sleep(LOOK),
                Some(row) => return row,
                None => {
                    return Row {
                        from: from.to_owned(),
                        to: to.to_owned(),
                        ..Row::default()
                    };
                }
            }
        }
    }

    /// Whether figures of time since the last [`Self::reset_stats`] prove nothing, because this machine
    /// made the emulator late. Says so if they do not. Counts are exact all the same, unless the kernel
    /// dropped packets, which panics.
    pub fn void(&self) -> bool {
        let stats = self.stats(Filter::default());
        assert_eq!(
            stats.kernel_dropped, 0,
            "packets were dropped before the emulator saw them"
        );
        if stats.void {
            let p99 = stats.lateness.map_or(0.0, |lateness| lateness.p99_ms);
            say(format_args!(
                "VOID: this machine was late by {p99:.3} ms (p99); its times prove nothing"
            ));
        }
        stats.void
    }

    /// Ends the world, and answers its log of packets: see `corridor-netem run --help`.
    pub fn finish(&self) -> String {
        self.running().finish().unwrap_or_else(|error| panic!("{error}"))
    }

    fn request(&self, request: &Request) -> Reply {
        self.running()
            .client
            .request(request)
            .unwrap_or_else(|error| panic!("{error}"))
    }

    fn running(&self) -> MutexGuard<'_, Running> {
        self.running.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// What was started in the world is killed with it, and its namespaces are deleted.
impl Drop for World {
    fn drop(&mut self) {
        self.running().end();
        if thread::panicking()
            && let Some(dir) = self.dir.take()
        {
            say(format_args!("kept {}", dir.keep().display()));
        }
    }
}

/// A node of a world.
#[derive(Clone, Copy)]
pub struct Node<'a> {
    world: &'a World,
    name: &'a str,
    namespace: &'a str,
    addresses: &'a [IpAddr],
}

impl<'a> Node<'a> {
    pub fn name(self) -> &'a str {
        self.name
    }

    /// The first of its addresses in the TOML.
    pub fn address(self) -> IpAddr {
        *self.addresses.first().expect("every node has an address")
    }

    pub fn addresses(self) -> &'a [IpAddr] {
        self.addresses
    }

    /// Starts `program` in this node, with the environment of the test and `envs`. Its output goes to
    /// files in [`World::dir`], named after the node, the program and how many were started before.
    pub fn spawn<A: AsRef<OsStr>>(
        self,
        program: impl AsRef<OsStr>,
        args: impl IntoIterator<Item = A>,
        envs: impl IntoIterator<Item = (&'a str, &'a str)>,
    ) -> Proc {
        let number = self.world.spawned.fetch_add(1, Ordering::Relaxed);
        let program = program.as_ref();
        let short = Path::new(program).file_name().unwrap_or(program).display();
        let name = format!("{}-{short}-{number}", self.name);
        let file = |extension: &str| -> PathBuf { self.world.dir().join(format!("{name}.{extension}")) };
        let (out, err) = (file("out"), file("err"));
        let child = Command::new("ip")
            .args(["netns", "exec", self.namespace])
            .arg(program)
            .args(args)
            .envs(envs)
            .stdin(Stdio::null())
            .stdout(File::create(&out).expect("make its stdout"))
            .stderr(File::create(&err).expect("make its stderr"))
            .spawn()
            .unwrap_or_else(|error| panic!("start {name}: {error}"));
        Proc::new(name, child, out, err)
    }

    /// Does `work` inside this node, for the test's own sockets: they stay this node's, wherever they are
    /// used afterwards.
    pub fn inside<T: Send>(self, work: impl FnOnce() -> io::Result<T> + Send) -> T {
        netns::in_namespace(self.namespace, work).unwrap_or_else(|error| panic!("in {}: {error}", self.name))
    }
}

/// The emulator's binary, which is built into the directory that the tests are built into.
fn emulator() -> PathBuf {
    let test = std::env::current_exe().expect("this test's path");
    let path = test.ancestors().nth(2).map(|dir| dir.join("corridor-netem"));
    match path {
        Some(path) if path.is_file() => path,
        _ => panic!("the emulator is not built: run `cargo build -p corridor-netem` with the same profile"),
    }
}
