//! A relay whose line is full: one flow brings twice what goes out, and another little.

use std::{
    net::{Ipv4Addr, UdpSocket},
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    thread,
    time::Duration,
};

use crate::{
    deployment::{Deployment, LIMIT, now},
    talks::{AGENTS, PORT, accept, carried, client, forward, server, talked, toml},
    world::{Node, World, say, unavailable},
};

/// Where the flow that is too much goes.
const MUCH: &str = "6000";
/// Bytes of one of its packets.
const SIZE: usize = 1_200;
/// Of the relay's line.
const LINE: u64 = 8_000_000;

/// Sends packets from a node to a port of its loopback, at `bits` of payload a second.
fn flood(node: Node<'_>, port: u16, bits: u64, lasts: Duration) -> thread::JoinHandle<u64> {
    let socket = node.inside(|| UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)));
    thread::spawn(move || {
        let started = now();
        let mut sent = 0;
        while started.elapsed() < lasts {
            let due = started.elapsed().as_micros() as u64 * bits / 8_000_000 / SIZE as u64;
            while sent < due {
                let _ = socket.send_to(&[7; SIZE], (Ipv4Addr::LOCALHOST, port));
                sent += 1;
            }
            thread::sleep(Duration::from_millis(2));
        }
        sent
    })
}

/// Counts what comes to a port of a node's loopback, until the test's process ends.
fn count(node: Node<'_>, port: u16) -> Arc<AtomicU64> {
    let socket = node.inside(|| UdpSocket::bind((Ipv4Addr::LOCALHOST, port)));
    let came = Arc::new(AtomicU64::new(0));
    let counted = came.clone();
    thread::spawn(move || {
        let mut packet = [0; 2_048];
        while socket.recv_from(&mut packet).is_ok() {
            counted.fetch_add(1, Ordering::Relaxed);
        }
    });
    came
}

#[test]
fn who_sends_little_through_a_full_relay_loses_little() {
    if let Some(why) = unavailable() {
        say(format_args!(
            "SKIPPED who_sends_little_through_a_full_relay: {why}"
        ));
        return;
    }
    // Nothing but e1 > e2 will do.
    let world = World::alone(&toml(
        "[nodes.ctl]\n[nodes.e1]\n[nodes.e2]\n[nodes.teacher]\n[nodes.student]\n",
        &[
            ("teacher", "e1", 10),
            ("e1", "e2", 20),
            ("e2", "student", 10),
            ("teacher", "e2", 10),
            ("e1", "student", 10),
        ],
    ));
    let deployment = Deployment::start(&world, &["e1", "e2"], &AGENTS);
    for link in ["teacher+e2", "e1+student"] {
        world.set(link, "blackhole=true");
    }
    accept(&deployment, PORT);
    accept(&deployment, MUCH);
    let to = |port: &str| format!("agent:student:{port}");
    carried(&deployment, &["--budget", "2s"], PORT, &to(PORT), |leg| {
        leg.in_use.as_ref().is_some_and(|route| route == &["e1", "e2"])
    });
    forward(&deployment, MUCH, &to(MUCH));
    let _server = server(&world);
    let much: u16 = MUCH.parse().expect("a port");
    let came = count(world.node("student"), much);
    // The kernel's own limit: what it does not take yet stays with the edge.
    let rate = format!("qdisc add dev net0 root tbf rate {LINE} burst 16kb limit 8mb");
    let mut tc = world.node("e1").spawn("tc", rate.split(' '), []);
    assert!(tc.wait(LIMIT).success(), "{}", tc.stderr());

    let drops = || {
        let edges = deployment.status().edges;
        let edge = edges.into_iter().find(|edge| edge.name == "e1");
        edge.map_or(0, |edge| edge.local_drops)
    };
    let before = drops();
    let lasts = Duration::from_secs(8);
    let flooding = flood(world.node("teacher"), much, 2 * LINE, lasts);
    thread::sleep(Duration::from_secs(1));
    let talk = talked(client(&world, "5s"));
    let sent = flooding.join().expect("the sender");
    thread::sleep(Duration::from_secs(3));
    let told = drops() - before;
    let came = came.load(Ordering::Relaxed);
    say(format_args!(
        "a relay with {} Mbit/s of line: of {sent} packets of one flow at twice that, {came} came, {told} were dropped \
         by the relay, it says; of the other's {}, {} were lost there and {} back, median {:.0} ms",
        LINE / 1_000_000,
        talk.sent,
        talk.lost_up,
        talk.lost_down,
        talk.median_ms,
    ));
    world.void();
    assert!(told > sent / 5, "{told} of {sent}");
    assert!(came > sent / 5, "{came} of {sent}");
    assert!(talk.lost_up + talk.lost_down <= talk.sent / 50, "{talk:?}");
}
