//! `corridor trace` as nobody in particular, along a chain of routers.

use std::{
    fs,
    os::unix::fs::PermissionsExt as _,
    process::{Command, Output},
};

use corridor_netem::netns::in_namespace;
use serde_json::Value;

use crate::world::{corridor, say, unavailable};

/// Client, three routers, target.
const NODES: usize = 5;

/// Namespaces `ctr-PID-0` to `ctr-PID-4`, each joined to the next by a veth pair.
struct Chain {
    id: u32,
}

impl Chain {
    fn start() -> Self {
        let chain = Self {
            id: std::process::id(),
        };
        for n in 0..NODES {
            ip(&format!("netns add {}", chain.name(n)));
            ip(&format!("-n {} link set lo up", chain.name(n)));
            for key in ["ipv4/ip_forward", "ipv6/conf/all/forwarding"] {
                chain.set(n, key, "1");
            }
        }
        for n in 0..NODES - 1 {
            let (here, next) = (chain.name(n), chain.name(n + 1));
            ip(&format!(
                "link add on netns {here} type veth peer name back netns {next}"
            ));
            for (name, device, end) in [(&here, "on", 1), (&next, "back", 2)] {
                ip(&format!("-n {name} addr add 10.77.{n}.{end}/24 dev {device}"));
                ip(&format!(
                    "-6 -n {name} addr add fd77:{n}::{end}/64 dev {device} nodad"
                ));
                ip(&format!("-n {name} link set dev {device} up"));
            }
        }
        for n in 0..NODES - 1 {
            let name = chain.name(n);
            ip(&format!("-n {name} route add default via 10.77.{n}.2"));
            ip(&format!("-6 -n {name} route add default via fd77:{n}::2"));
            // Back to the client.
            for far in 0..n {
                let next = chain.name(n + 1);
                ip(&format!("-n {next} route add 10.77.{far}.0/24 via 10.77.{n}.1"));
                ip(&format!("-6 -n {next} route add fd77:{far}::/64 via fd77:{n}::1"));
            }
        }
        chain
    }

    fn name(&self, node: usize) -> String {
        format!("ctr-{}-{node}", self.id)
    }

    fn set(&self, node: usize, key: &str, value: &str) {
        let path = format!("/proc/sys/net/{key}");
        in_namespace(&self.name(node), || fs::write(&path, value)).unwrap_or_else(|e| panic!("{key}: {e}"));
    }

    /// Traces from the client without any privilege.
    fn trace(&self, program: &str, args: &str) -> Value {
        let output = Command::new("ip")
            .args([
                "netns",
                "exec",
                &self.name(0),
                "setpriv",
                "--reuid=65534",
                "--regid=65534",
            ])
            .args(["--clear-groups", "--inh-caps=-all", "--bounding-set=-all"])
            .args([program, "trace", "--json"])
            .args(args.split(' '))
            .output()
            .expect("start a trace");
        assert!(output.status.success(), "{args}: {}", text(&output));
        serde_json::from_slice(&output.stdout).expect("one JSON object")
    }
}

impl Drop for Chain {
    fn drop(&mut self) {
        for n in 0..NODES {
            let _ = Command::new("ip").args(["netns", "del", &self.name(n)]).output();
        }
    }
}

fn ip(args: &str) {
    let output = Command::new("ip").args(args.split(' ')).output().expect("run ip");
    assert!(output.status.success(), "ip {args}: {}", text(&output));
}

fn text(output: &Output) -> String {
    String::from_utf8_lossy(&output.stderr).into_owned()
}

#[test]
fn every_hop_is_shown_without_privilege_and_a_limit_is_no_loss() {
    if let Some(why) = unavailable() {
        say(format_args!(
            "SKIPPED every_hop_is_shown_without_privilege: {why}"
        ));
        return;
    }
    // Where nobody in particular may read it.
    let dir = tempfile::tempdir().expect("a directory");
    fs::set_permissions(dir.path(), fs::Permissions::from_mode(0o755)).expect("permissions");
    let program = dir.path().join("corridor");
    fs::copy(corridor(), &program).expect("a copy");
    let program = program.display().to_string();
    let chain = Chain::start();
    // Linux answers one a second to one asker, or less: faster asking needs it off.
    for n in 0..NODES {
        chain.set(n, "ipv4/icmp_ratelimit", "0");
        chain.set(n, "ipv6/icmp/ratelimit", "0");
    }

    for (target, hop) in [("10.77.3.2", "10.77.N.2"), ("fd77:3::2", "fd77:N::2")] {
        let seen = chain.trace(&program, &format!("{target} --count 4 --interval 200ms"));
        assert_eq!(
            (&seen["method"], &seen["distance"]),
            (&"udp".into(), &4.into()),
            "{seen}"
        );
        assert_eq!(seen["loss"], 0.0, "{seen}");
        let hops = seen["hops"].as_array().expect("hops");
        assert_eq!(hops.len(), 4, "{seen}");
        for (n, shown) in hops.iter().enumerate() {
            let wanted = hop.replace('N', &n.to_string()).replace(":0::", "::");
            assert_eq!(shown["addresses"], serde_json::json!([wanted]), "{seen}");
            assert!(
                shown["rtt_ms"]["p50"].as_f64().is_some_and(|ms| ms > 0.0),
                "{seen}"
            );
        }
        say(format_args!(
            "{target} as nobody: four hops, the last {} ms",
            hops[3]["rtt_ms"]["p50"]
        ));
    }

    // The second router answers one in five seconds.
    chain.set(2, "ipv4/icmp_ratelimit", "5000");
    let seen = chain.trace(&program, "10.77.3.2 --count 20 --interval 200ms");
    assert_eq!(
        (&seen["loss"], &seen["hops"][1]["limits_answers"]),
        (&0.0.into(), &true.into()),
        "{seen}"
    );
    assert!(seen["hops"][1].get("loss").is_none(), "{seen}");
    // And now the end.
    chain.set(2, "ipv4/icmp_ratelimit", "0");
    chain.set(4, "ipv4/icmp_ratelimit", "1000");
    let seen = chain.trace(&program, "10.77.3.2 --count 30 --interval 200ms");
    assert_eq!(
        (&seen["loss"], &seen["end_limits_answers"]),
        (&0.0.into(), &true.into()),
        "{seen}"
    );
    say(format_args!("a limiting end: {}", seen["notes"]));
}
