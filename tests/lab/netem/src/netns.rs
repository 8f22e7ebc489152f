//! A run's network namespaces, each with its node's device in it; and what earlier runs left behind.
//!
//! Namespaces are named `cnm-RUN-NODE`. While a run lives it holds a lock on `/run/corridor-netem/RUN.lock`,
//! by which leftovers are told from runs that are alive.

use std::{
    fs::{self, File, TryLockError},
    io,
    net::IpAddr,
    os::unix::fs::FileExt,
    path::{Path, PathBuf},
    process::{Command, Output},
};

use crate::sys;

const PREFIX: &str = "cnm-";
const STATE_DIR: &str = "/run/corridor-netem";
/// Every node's device, in its own namespace.
pub const DEVICE: &str = "net0";
/// Packets that may wait to be read by the emulator: 100 ms of a flood of 100,000 a second.
pub(crate) const TX_QUEUE_LEN: usize = 10_000;

#[derive(Debug, thiserror::Error)]
pub enum NetnsError {
    #[error("cannot run `{command}`")]
    Spawn {
        command: String,
        #[source]
        source: io::Error,
    },
    #[error("`{command}` failed: {stderr}")]
    Failed { command: String, stderr: String },
    #[error("no device for namespace {namespace}")]
    Device {
        namespace: String,
        #[source]
        source: io::Error,
    },
    #[error("cannot use {path}")]
    State {
        path: PathBuf,
        #[source]
        source: io::Error,
    },
    #[error("run `{0}` is alive already")]
    Taken(String),
    #[error("no namespace for node `{0}`; is the emulator running?")]
    NoNode(String),
    #[error("several runs have a node `{node}`: {runs:?}; choose one with --run")]
    Ambiguous { node: String, runs: Vec<String> },
}

/// One run's claim on its name, and with it on its namespaces. They are deleted when it is dropped.
#[derive(Debug)]
pub struct Run {
    id: String,
    lock: File,
    namespaces: Vec<String>,
    end_processes: bool,
}

/// A node's device and how to ask what the kernel dropped before it.
#[derive(Debug)]
pub struct Device {
    pub tun: File,
    counters: File,
}

impl Run {
    /// Claims `id`, which has letters and digits only. Namespaces that a dead run of that name left are
    /// deleted. With `end_processes`, what still runs in the namespaces at the end is killed.
    pub fn claim(id: &str, end_processes: bool) -> Result<Self, NetnsError> {
        let lock = match lock(id)? {
            Some(lock) => lock,
            None => return Err(NetnsError::Taken(id.to_owned())),
        };
        for name in namespaces()?.iter().filter(|name| split(name).0 == id) {
            delete(name)?;
        }
        Ok(Self {
            id: id.to_owned(),
            lock,
            namespaces: Vec::new(),
            end_processes,
        })
    }

    pub fn id(&self) -> &str {
        &self.id
    }

    /// Where the control socket is unless the user says otherwise.
    pub fn default_socket(&self) -> PathBuf {
        Path::new(STATE_DIR).join(format!("{}.sock", self.id))
    }

    pub fn namespace(&self, node: &str) -> String {
        format!("{PREFIX}{}-{node}", self.id)
    }

    /// Makes a node's namespace with its device, addresses and default routes.
    pub fn add(&mut self, node: &str, addresses: &[IpAddr], mtu: u16) -> Result<Device, NetnsError> {
        let namespace = self.namespace(node);
        ip(&["netns", "add", &namespace])?;
        self.namespaces.push(namespace.clone());
        // No link-local addresses and no router solicitations: only what programs send is on the wire.
        let device = in_namespace(&namespace, || {
            // Absent where the kernel has no IPv6, which then sends nothing either.
            let _ = fs::write("/proc/sys/net/ipv6/conf/default/addr_gen_mode", "1");
            Device::open()
        })
        .map_err(|source| NetnsError::Device {
            namespace: namespace.clone(),
            source,
        })?;
        let ip_in = |args: &[&str]| ip(&[&["-n", &namespace], args].concat());
        ip_in(&["link", "set", "lo", "up"])?;
        let (mtu, queue) = (mtu.to_string(), TX_QUEUE_LEN.to_string());
        ip_in(&["link", "set", DEVICE, "mtu", &mtu, "txqueuelen", &queue, "up"])?;
        for address in addresses {
            let (family, length) = match address {
                IpAddr::V4(_) => ("-4", 32),
                IpAddr::V6(_) => ("-6", 128),
            };
            let prefix = format!("{address}/{length}");
            let nodad: &[&str] = if address.is_ipv6() { &["nodad"] } else { &[] };
            ip_in(&[&["addr", "add", &prefix, "dev", DEVICE], nodad].concat())?;
            ip_in(&[family, "route", "replace", "default", "dev", DEVICE])?;
        }
        Ok(device)
    }
}

impl Drop for Run {
    fn drop(&mut self) {
        for namespace in &self.namespaces {
            if self.end_processes {
                end_processes(namespace);
            }
            let _ = delete(namespace);
        }
        let _ = fs::remove_file(self.default_socket());
        let _ = fs::remove_file(lock_path(&self.id));
        let _ = self.lock.unlock();
    }
}

impl Device {
    /// In the calling thread's namespace.
    fn open() -> io::Result<Self> {
        let tun = sys::open_tun(DEVICE)?;
        // Stays bound to the namespace in which it was opened.
        let counters = File::open("/proc/thread-self/net/dev")?;
        Ok(Self { tun, counters })
    }

    /// Packets that the kernel dropped because this process did not read them in time.
    pub fn dropped(&self) -> io::Result<u64> {
        let mut text = vec![0; 4096];
        let n = self.counters.read_at(&mut text, 0)?;
        text.truncate(n);
        Ok(tx_dropped(&String::from_utf8_lossy(&text)).unwrap_or(0))
    }
}

/// The transmit drops of [`DEVICE`] in the text of `/proc/net/dev`: the twelfth figure of its line.
fn tx_dropped(text: &str) -> Option<u64> {
    let line = text
        .lines()
        .find_map(|line| line.trim_start().strip_prefix(DEVICE)?.strip_prefix(':'))?;
    line.split_whitespace().nth(11)?.parse().ok()
}

/// The namespace of `node`, in `run` or in the only run that has such a node.
pub fn find(run: Option<&str>, node: &str) -> Result<String, NetnsError> {
    let mut found = namespaces()?;
    found.retain(|name| {
        let (its_run, its_node) = split(name);
        its_node == node && run.is_none_or(|run| run == its_run)
    });
    match found.len() {
        0 => Err(NetnsError::NoNode(node.to_owned())),
        1 => Ok(found.remove(0)),
        _ => Err(NetnsError::Ambiguous {
            node: node.to_owned(),
            runs: found.iter().map(|name| split(name).0.to_owned()).collect(),
        }),
    }
}

/// Deletes the namespaces of runs that are no longer alive; returns their names.
pub fn clean() -> Result<Vec<String>, NetnsError> {
    let mut deleted = Vec::new();
    let all = namespaces()?;
    let mut runs: Vec<&str> = all.iter().map(|name| split(name).0).collect();
    runs.dedup();
    for run in runs {
        // The lock is held until this run's namespaces are gone, so that nobody claims it meanwhile.
        let Some(_lock) = lock(run)? else { continue };
        for name in all.iter().filter(|name| split(name).0 == run) {
            delete(name)?;
            deleted.push(name.clone());
        }
        let _ = fs::remove_file(Path::new(STATE_DIR).join(format!("{run}.sock")));
        let _ = fs::remove_file(lock_path(run));
    }
    Ok(deleted)
}

fn lock_path(run: &str) -> PathBuf {
    Path::new(STATE_DIR).join(format!("{run}.lock"))
}

/// `None` if a living process holds it.
fn lock(run: &str) -> Result<Option<File>, NetnsError> {
    let path = lock_path(run);
    let state = |source| NetnsError::State {
        path: path.clone(),
        source,
    };
    fs::create_dir_all(STATE_DIR).map_err(state)?;
    let file = File::create(&path).map_err(state)?;
    match file.try_lock() {
        Ok(()) => Ok(Some(file)),
        Err(TryLockError::WouldBlock) => Ok(None),
        Err(TryLockError::Error(source)) => Err(state(source)),
    }
}

/// This emulator's namespaces, sorted.
fn namespaces() -> Result<Vec<String>, NetnsError> {
    let listing = ip(&["netns", "list"])?;
    let text = String::from_utf8_lossy(&listing.stdout);
    let mut names: Vec<String> = text
        .lines()
        .filter_map(|line| line.split_whitespace().next())
        .filter(|name| name.starts_with(PREFIX))
        .map(str::to_owned)
        .collect();
    names.sort();
    Ok(names)
}

/// Run and node in a namespace's name.
fn split(namespace: &str) -> (&str, &str) {
    let rest = namespace.strip_prefix(PREFIX).unwrap_or(namespace);
    rest.split_once('-').unwrap_or((rest, ""))
}

fn delete(namespace: &str) -> Result<(), NetnsError> {
    ip(&["netns", "del", namespace]).map(drop)
}

/// Kills what runs in a namespace that this run made.
fn end_processes(namespace: &str) {
    let Ok(listing) = ip(&["netns", "pids", namespace]) else {
        return;
    };
    let text = String::from_utf8_lossy(&listing.stdout);
    for pid in text.split_whitespace().filter_map(|pid| pid.parse().ok()) {
        sys::kill(pid);
    }
}

/// Does `work` inside a namespace. Sockets that it opens stay bound to that namespace, wherever they are
/// used afterwards.
pub fn in_namespace<T: Send>(namespace: &str, work: impl FnOnce() -> io::Result<T> + Send) -> io::Result<T> {
    let handle = File::open(Path::new("/run/netns").join(namespace))?;
    // On a thread of its own, which ends in there: this one must not be moved.
    std::thread::scope(|scope| {
        let inside = scope.spawn(move || {
            sys::enter_netns(&handle)?;
            work()
        });
        inside
            .join()
            .unwrap_or_else(|_| Err(io::Error::other("the thread inside the namespace panicked")))
    })
}

fn ip(args: &[&str]) -> Result<Output, NetnsError> {
    let command = || format!("ip {}", args.join(" "));
    let output = Command::new("ip")
        .args(args)
        .output()
        .map_err(|source| NetnsError::Spawn {
            command: command(),
            source,
        })?;
    if output.status.success() {
        return Ok(output);
    }
    Err(NetnsError::Failed {
        command: command(),
        stderr: String::from_utf8_lossy(&output.stderr).trim().to_owned(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names() {
        assert_eq!(split("cnm-42-edge-1"), ("42", "edge-1"));
        assert_eq!(split("cnm-42"), ("42", ""));
    }

    #[test]
    fn finds_the_transmit_drops() {
        let text = "Inter-|   Receive  |  Transmit\n    lo: 1 2 3 4 5 6 7 8 9 10 11 99 13 14 15 16\n  \
                    net0: 100 2 0 0 0 0 0 0 900 9 0 12 0 0 0 0\n";
        assert_eq!(tx_dropped(text), Some(12));
        assert_eq!(tx_dropped("    lo: 1 2 3\n"), None);
    }
}
