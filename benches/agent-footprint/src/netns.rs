//! Network namespaces: a hub in which everything runs that is not measured, and one for each process that
//! is, joined to the hub by a pair of virtual Ethernet devices, so that its packets can be counted.

use std::{fs, net::Ipv4Addr, path::Path, process::Stdio};

use anyhow::{Context as _, bail};
use tokio::process::Command;

/// The device in a measured process's namespace.
pub const DEVICE: &str = "net0";
const PREFIX: &str = "cfp";

/// All namespaces of this run; deleted when this is dropped.
#[derive(Debug)]
pub struct Net {
    run: u32,
    made: Vec<String>,
    nodes: u8,
}

/// One namespace.
#[derive(Debug, Clone)]
pub struct Node {
    namespace: String,
    /// The hub as it is seen from here.
    pub hub: Ipv4Addr,
}

impl Net {
    /// Makes the hub. What a dead run of this program left is deleted first.
    pub fn new() -> anyhow::Result<(Self, Node)> {
        for name in listed()? {
            if let Some(run) = run_of(&name)
                && !Path::new("/proc").join(run.to_string()).exists()
            {
                ip(&["netns", "del", &name])?;
            }
        }
        let mut net = Self {
            run: std::process::id(),
            made: Vec::new(),
            nodes: 0,
        };
        let namespace = net.namespace("hub")?;
        let hub = Node {
            namespace,
            hub: Ipv4Addr::LOCALHOST,
        };
        Ok((net, hub))
    }

    /// Makes a namespace whose only neighbour is the hub.
    pub fn node(&mut self, hub: &Node, name: &str) -> anyhow::Result<Node> {
        self.nodes += 1;
        let (here, there) = (
            Ipv4Addr::new(10, 77, self.nodes, 2),
            Ipv4Addr::new(10, 77, self.nodes, 1),
        );
        let namespace = self.namespace(name)?;
        let peer = format!("to-{name}");
        ip(&[
            "-n",
            &namespace,
            "link",
            "add",
            DEVICE,
            "type",
            "veth",
            "peer",
            "name",
            &peer,
            "netns",
            &hub.namespace,
        ])?;
        for (namespace, device, address) in [(&namespace, DEVICE, here), (&hub.namespace, &peer, there)] {
            let address = format!("{address}/24");
            ip(&["-n", namespace, "addr", "add", &address, "dev", device])?;
            ip(&["-n", namespace, "link", "set", device, "up"])?;
        }
        // Edges name all addresses of the hub.
        ip(&[
            "-n",
            &namespace,
            "route",
            "add",
            "default",
            "via",
            &there.to_string(),
        ])?;
        Ok(Node {
            namespace,
            hub: there,
        })
    }

    fn namespace(&mut self, name: &str) -> anyhow::Result<String> {
        let namespace = format!("{PREFIX}-{}-{name}", self.run);
        ip(&["netns", "add", &namespace])?;
        self.made.push(namespace.clone());
        // No link-local addresses and no router solicitations: only what programs send is counted.
        // It fails where the kernel has no IPv6, which then sends nothing either.
        let quiet = "echo 1 >/proc/sys/net/ipv6/conf/default/addr_gen_mode";
        let _ = std::process::Command::new("ip")
            .args(["netns", "exec", &namespace, "sh", "-c", quiet])
            .stderr(Stdio::null())
            .status();
        ip(&["-n", &namespace, "link", "set", "lo", "up"])?;
        Ok(namespace)
    }
}

impl Drop for Net {
    fn drop(&mut self) {
        for namespace in &self.made {
            let _ = ip(&["netns", "del", namespace]);
        }
    }
}

impl Node {
    /// A command that runs `program` in this namespace, with no variable of this environment that
    /// `corridor` would read. What it becomes has the id of the child, and is killed when this program
    /// ends, however it ends.
    pub fn command(&self, program: &Path) -> Command {
        let mut command = Command::new("setpriv");
        command
            .args(["--pdeathsig", "KILL", "ip", "netns", "exec", &self.namespace])
            .arg(program)
            .stdin(Stdio::null())
            .kill_on_drop(true);
        for (name, _) in std::env::vars_os() {
            let text = name.to_string_lossy();
            if text.starts_with("CORRIDOR_") || text == "RUST_LOG" || text == "RUST_BACKTRACE" {
                command.env_remove(&name);
            }
        }
        command
    }
}

/// What crossed a device, in packets and bytes of IP.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Counters {
    pub out_packets: u64,
    pub out_bytes: u64,
    pub in_packets: u64,
    pub in_bytes: u64,
}

/// An Ethernet header, which the kernel counts with a packet.
const ETHERNET: u64 = 14;

impl Counters {
    /// Of [`DEVICE`] in the namespace that the process is in.
    pub fn of(pid: u32) -> anyhow::Result<Self> {
        let path = format!("/proc/{pid}/net/dev");
        let text = fs::read_to_string(&path).with_context(|| path.clone())?;
        Self::parse(&text).with_context(|| format!("{path}: no figures of {DEVICE}"))
    }

    fn parse(text: &str) -> Option<Self> {
        let line = text
            .lines()
            .find_map(|line| line.trim_start().strip_prefix(DEVICE)?.strip_prefix(':'))?;
        let fields: Vec<u64> = line.split_whitespace().filter_map(|f| f.parse().ok()).collect();
        let (in_packets, out_packets) = (*fields.get(1)?, *fields.get(9)?);
        Some(Self {
            out_packets,
            out_bytes: fields.get(8)?.checked_sub(out_packets * ETHERNET)?,
            in_packets,
            in_bytes: fields.first()?.checked_sub(in_packets * ETHERNET)?,
        })
    }

    pub fn since(self, before: Self) -> Self {
        Self {
            out_packets: self.out_packets - before.out_packets,
            out_bytes: self.out_bytes - before.out_bytes,
            in_packets: self.in_packets - before.in_packets,
            in_bytes: self.in_bytes - before.in_bytes,
        }
    }
}

/// The run, a process id, that made a namespace of this name.
fn run_of(namespace: &str) -> Option<u32> {
    let rest = namespace.strip_prefix(PREFIX)?.strip_prefix('-')?;
    rest.split_once('-')?.0.parse().ok()
}

fn listed() -> anyhow::Result<Vec<String>> {
    let text = ip(&["netns", "list"])?;
    Ok(text
        .lines()
        .filter_map(|line| line.split_whitespace().next())
        .map(str::to_owned)
        .collect())
}

fn ip(args: &[&str]) -> anyhow::Result<String> {
    let output = std::process::Command::new("ip")
        .args(args)
        .output()
        .context("cannot run `ip` (iproute2)")?;
    if !output.status.success() {
        let error = String::from_utf8_lossy(&output.stderr);
        bail!("`ip {}` failed: {}", args.join(" "), error.trim());
    }
    Ok(String::from_utf8_lossy(&output.stdout).into_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_the_kernels_counters() {
        let text = "Inter-|   Receive  |  Transmit\n    lo: 1 2 3 4 5 6 7 8 9 10 11 12 13 14 15 16\n  \
                    net0: 1140 10 0 0 0 0 0 0 2280 20 0 0 0 0 0 0\n";
        let read = Counters::parse(text).unwrap();
        assert_eq!((read.in_packets, read.in_bytes), (10, 1_000));
        assert_eq!((read.out_packets, read.out_bytes), (20, 2_000));
        assert_eq!(Counters::parse("    lo: 1 2\n"), None);
    }

    #[test]
    fn only_this_programs_namespaces_have_a_run() {
        assert_eq!(run_of("cfp-42-hub"), Some(42));
        assert_eq!(run_of("cnm-42-hub"), None);
        assert_eq!(run_of("cfp-x-hub"), None);
        assert_eq!(run_of("cfp"), None);
    }
}
