//! The world itself, against tools that know nothing of it.

use std::{net::UdpSocket, os::unix::process::ExitStatusExt, time::Duration};

use corridor_netem::packet::Proto;
use serde_json::Value;

use crate::world::{World, corridor, say, unavailable};

/// Links with a delay of their own in each direction, and loss on two of them.
const THREE: &str = r#"
seed = 3
keep_awake = true
[nodes.a]
addresses = ["10.0.0.1"]
[nodes.b]
addresses = ["10.0.0.2"]
[nodes.c]
addresses = ["10.0.0.3"]
access = { delay_ms = 3 }
[[link]]
between = ["a", "b"]
there = { delay_ms = 20, loss = 0.05, loss_burst = 3 }
back = { delay_ms = 35 }
[[link]]
between = ["b", "c"]
there = { delay_ms = 50 }
back = { delay_ms = 10 }
[[link]]
between = ["c", "a"]
there = { delay_ms = 70 }
back = { delay_ms = 5, loss = 0.1 }
"#;

/// irtt's payload here, and the IP packet that makes.
const PAYLOAD: u16 = 331;
const LENGTH: u16 = PAYLOAD + 28;
/// What a path without delay adds to irtt's figures: its own and the kernel's time on both sides.
const FLOOR_MS: f64 = 1.0;

fn skipped(test: &str) -> bool {
    let why = unavailable();
    if let Some(why) = why {
        say(format_args!("SKIPPED {test}: {why}"));
    }
    why.is_some()
}

#[test]
fn round_trips_and_losses_are_the_emulators() {
    if let Some(why) = unavailable() {
        say(format_args!(
            "SKIPPED round_trips_and_losses_are_the_emulators: {why}"
        ));
        return;
    }
    let world = World::start(THREE);
    for (client, server) in [("a", "b"), ("b", "c"), ("c", "a"), ("b", "a")] {
        world.reset_stats();
        let address = world.node(server).address().to_string();
        let listen = format!("{address}:2112");
        // Without a least interval: irtt drops what comes closer together, as it does after a stall.
        let mut reflector =
            world
                .node(server)
                .spawn("irtt", ["server", "-i", "0", "-b", listen.as_str()], []);
        reflector.wait_for_udp(2112, Duration::from_secs(20));
        let mut probe = world.node(client).spawn(
            "irtt",
            [
                "client",
                "-i",
                "10ms",
                "-d",
                "3s",
                "-l",
                &PAYLOAD.to_string(),
                "-q",
                "-o",
                "-",
                &address,
            ],
            [],
        );
        let status = probe.wait(Duration::from_secs(30));
        assert!(status.success(), "{client} to {server}: {}", probe.stderr());
        drop(reflector);

        let irtt: Value = serde_json::from_str(&probe.stdout()).expect("irtt's JSON");
        let count = |key: &str| irtt["stats"][key].as_u64().unwrap_or_else(|| panic!("no {key}"));
        let up = world.row(client, server, Proto::Udp, LENGTH..=LENGTH);
        let down = world.row(server, client, Proto::Udp, LENGTH..=LENGTH);
        assert_eq!(up.sent, count("packets_sent"));
        // The server's count comes with its replies, so what it received after the last one that arrived
        // is not in it.
        let heard = count("server_packets_received");
        if down.lost == 0 {
            assert_eq!(up.delivered, heard);
        } else {
            assert!((down.delivered..=up.delivered).contains(&heard), "{heard}");
        }
        assert_eq!(down.sent, up.delivered);
        assert_eq!(down.delivered, count("packets_received"));

        let [irtt_min, irtt_median] = ["min", "median"]
            .map(|key| irtt["stats"]["rtt"][key].as_f64().expect("irtt's round trips") / 1e6);
        let (there, back) = (
            up.residence.expect("some passed"),
            down.residence.expect("some passed"),
        );
        say(format_args!(
            "{client} to {server}: median {:.3} ms by the emulator, {irtt_median:.3} by irtt; \
             {} sent, {} lost there, {} back",
            there.p50_ms + back.p50_ms,
            up.sent,
            up.lost,
            down.lost
        ));
        world.void();
        // The best round trip is judged: the others have this machine's stalls in them, which irtt takes
        // for the network's.
        let floor = irtt_min - there.min_ms - back.min_ms;
        assert!(
            (0.0..FLOOR_MS).contains(&floor),
            "{client} to {server}: {floor} ms"
        );
    }
}

#[test]
fn changes_take_effect_while_running() {
    if skipped("changes_take_effect_while_running") {
        return;
    }
    let world = World::start("[nodes.a]\n[nodes.b]\naddresses = [\"10.0.0.2\", \"fd00::2\"]");
    let (a, b) = (world.node("a"), world.node("b"));
    assert_eq!((b.name(), b.addresses().len()), ("b", 2));
    let to = b.inside(|| UdpSocket::bind("10.0.0.2:7000"));
    let from = a.inside(|| UdpSocket::bind("0.0.0.0:0"));
    let send = |packets: u64| {
        world.reset_stats();
        for _ in 0..packets {
            from.send_to(&[0; 72], "10.0.0.2:7000").expect("send");
        }
        world.row("a", "b", Proto::Udp, 100..=100)
    };
    assert_eq!(send(50).delivered, 50);
    world.set("a:b", "blackhole=true");
    assert_eq!(send(50).lost_by.blackhole, 50);
    world.set("links", "blackhole=false delay_ms=40");
    let residence = send(50).residence.expect("they arrived");
    assert!(residence.min_ms >= 40.0, "{residence:?}");
    world.set("a:b", "delay_ms=0");
    world.stall("b", 1_000);
    let row = send(50);
    assert_eq!((row.delivered, row.reordered), (50, 0));
    assert!(row.residence.expect("they arrived").p50_ms > 50.0);
    drop(to);
    assert_eq!(world.row("b", "a", Proto::Tcp, 0..=u16::MAX).sent, 0);
}

#[test]
fn processes_end_as_told_and_with_the_world() {
    if skipped("processes_end_as_told_and_with_the_world") {
        return;
    }
    let limit = Duration::from_secs(20);
    let world = World::start("[nodes.a]\n[nodes.b]");
    let node = world.node("a");
    let mut spins = node.spawn(
        "sh",
        ["-c", "echo $WORD; while :; do :; done"],
        [("WORD", "started")],
    );
    while spins
        .cpu_time()
        .is_some_and(|used| used < Duration::from_millis(100))
    {}
    assert_eq!(
        (spins.stdout().as_str(), spins.stderr().as_str()),
        ("started\n", "")
    );
    assert!(spins.vm_hwm().is_some_and(|bytes| bytes > 100_000));
    assert!(spins.ended().is_none());
    spins.terminate();
    assert_eq!(spins.wait(limit).signal(), Some(libc::SIGTERM));

    let mut killed = node.spawn("sleep", ["1000"], []);
    killed.kill9();
    assert_eq!(killed.wait(limit).signal(), Some(libc::SIGKILL));

    assert!(node.spawn(corridor(), ["--help"], []).wait(limit).success());

    let mut left = node.spawn("sh", ["-c", "echo here; exec sleep 1000"], []);
    while left.stdout().is_empty() {}
    let dir = world.dir().to_owned();
    assert!(dir.exists() && left.pid() > 0);
    drop(world);
    assert!(!dir.exists());
    assert_eq!(left.wait(limit).signal(), Some(libc::SIGKILL));
}
