//! What `corridor status` says of links, against the emulator: round trips, and counts to the packet.
//!
//! How counts are compared. All runs in class: every link is probed once a second, and route probes go
//! beside. Link, mesh and route probes are padded to sizes of their own, so that the length of a packet
//! tells what is in it: a datagram of S bytes makes an IP packet of S + 55 to S + 99, with or without
//! acknowledgements, and two datagrams that shared a packet are longer by the second one. Reports, whose
//! packets have any length, go by an edge of their own (`near`), which is not counted.
//!
//! Counts in a status are cumulative over closed windows, so they are of some moment seconds ago, which
//! no clock needs to tell: links keep order, so that a session's first N probes are the link's first N
//! packets of that length since the world began. Of these, the emulator knows each one's fate; those that
//! it delivered are the first echoes of the way back. That N itself is right shows by the rate: as many
//! packets are missing in it as its age has seconds.

use std::{net::UdpSocket, ops::RangeInclusive, thread, time::Duration};

use corridor::api::model::{LinkStatus, Status};
use corridor_netem::{
    log::{self, Packet},
    packet::Proto,
};

use crate::{
    deployment::{Deployment, LINK_SIZE, MESH_SIZE, ROUTE_SIZE, now},
    world::{World, say, unavailable},
};

const NEAR: &str = "near";
const EDGES: [&str; 4] = ["e1", "e2", "e3", NEAR];
const AGENTS: [&str; 2] = ["teacher", "student"];
/// Prober, peer, one-way delay there and back, ms.
const LINKS: &[(&str, &str, f64, f64)] = &[
    ("teacher", "e1", 31.0, 12.0),
    ("teacher", "e2", 45.0, 45.0),
    ("teacher", "e3", 28.0, 60.0),
    ("student", "e1", 50.0, 33.0),
    ("student", "e2", 21.0, 38.0),
    ("student", "e3", 64.0, 27.0),
    ("e1", "e2", 17.0, 23.0),
    ("e1", "e3", 39.0, 36.0),
    ("e2", "e3", 70.0, 15.0),
    ("teacher", NEAR, 1.0, 1.0),
    ("student", NEAR, 1.0, 1.0),
];
/// How often the status is asked for meanwhile. A window has five or ten samples, and what this machine
/// does beside can spoil most of one; it must not spoil most windows.
const SNAPSHOTS: u32 = 6;
/// How long is measured: a few losses on every link.
const MEASURED: Duration = Duration::from_secs(30);
/// How far a median may be from the truth, ms.
const TOLERANCE_MS: f64 = 1.0;
/// Payload of the pings that measure the path's floor.
const PING: usize = 172;
/// How far the count may be from what the age of a status tells: a probe at either end.
const AT_THE_ENDS: f64 = 1.6;

/// Lengths of IP packets with one datagram of `size` in them, alone or beside a route probe.
fn lengths(size: u16) -> [RangeInclusive<u16>; 2] {
    [
        size + 55..=size + 99,
        size + ROUTE_SIZE + 55..=size + ROUTE_SIZE + 110,
    ]
}

fn size_of(prober: &str) -> u16 {
    if AGENTS.contains(&prober) {
        LINK_SIZE
    } else {
        MESH_SIZE
    }
}

/// How a node is called in a status.
fn shown(node: &str) -> String {
    if AGENTS.contains(&node) {
        format!("agent:{node}")
    } else {
        node.to_owned()
    }
}

fn link<'s>(status: &'s Status, from: &str, to: &str) -> &'s LinkStatus {
    let (from, to) = (shown(from), shown(to));
    status
        .links
        .iter()
        .find(|l| l.from == from && l.to == to)
        .unwrap_or_else(|| panic!("no link {from} to {to} in {status:#?}"))
}

/// Packets of `prober`'s probes that have entered so far.
fn entered(world: &World, prober: &str, peer: &str) -> u64 {
    let count = |lengths| world.row(prober, peer, Proto::Udp, lengths).sent;
    lengths(size_of(prober)).map(count).iter().sum()
}

fn median(mut values: Vec<f64>) -> f64 {
    values.sort_by(f64::total_cmp);
    values[values.len() / 2]
}

/// What a path without delay adds to a round trip here: plain UDP between two nodes, less the residence.
fn floor_ms(world: &World) -> f64 {
    let (here, there) = (world.node("teacher"), world.node(NEAR));
    let to = format!("{}:7007", there.address());
    let echo = there.inside(|| UdpSocket::bind(&to));
    let ping = here.inside(|| UdpSocket::bind("0.0.0.0:0"));
    let mut round_trips: Vec<f64> = Vec::new();
    thread::scope(|scope| {
        scope.spawn(|| {
            let mut buffer = [0; PING];
            while let Ok((PING, from)) = echo.recv_from(&mut buffer) {
                echo.send_to(&buffer, from).expect("echo");
            }
        });
        for _ in 0..50 {
            thread::sleep(Duration::from_millis(20));
            let sent = now();
            ping.send_to(&[0; PING], &to).expect("ping");
            ping.recv_from(&mut [0; PING]).expect("an echo");
            round_trips.push(sent.elapsed().as_secs_f64() * 1e3);
        }
        // Anything of another length ends it.
        ping.send_to(&[0], &to).expect("end");
    });
    let length = u16::try_from(PING).expect("small") + 28;
    let residence = |from, to| {
        let row = world.row(from, to, Proto::Udp, length..=length);
        row.residence.expect("pings").p50_ms
    };
    median(round_trips) - residence("teacher", NEAR) - residence(NEAR, "teacher")
}

/// Fates of the packets of one direction whose lengths say that a probe of `size` is in them, in the
/// order of their sending: delivered or not.
fn fates(packets: &[Packet], from: &str, to: &str, size: u16) -> Vec<bool> {
    let lengths = lengths(size);
    let mut found: Vec<&Packet> = packets
        .iter()
        .filter(|p| p.from == from && p.to == to && p.proto == Proto::Udp)
        .filter(|p| lengths.iter().any(|range| range.contains(&p.len)))
        .collect();
    found.sort_by_key(|p| p.seq);
    found.iter().map(|p| p.delivery.is_some()).collect()
}

fn lost(fates: &[bool]) -> u64 {
    fates.iter().filter(|delivered| !**delivered).count() as u64
}

#[test]
fn links_are_what_the_emulator_makes_them() {
    if let Some(why) = unavailable() {
        say(format_args!(
            "SKIPPED links_are_what_the_emulator_makes_them: {why}"
        ));
        return;
    }
    let nodes = "keep_awake = true\n[nodes.ctl]\n[nodes.e1]\n[nodes.e2]\n[nodes.e3]\n[nodes.near]\n\
                 [nodes.teacher]\n[nodes.student]";
    let world = World::start(nodes);
    for (prober, peer, there, back) in LINKS {
        world.set(&format!("{prober}:{peer}"), &format!("delay_ms={there}"));
        world.set(&format!("{peer}:{prober}"), &format!("delay_ms={back}"));
    }
    let deployment = Deployment::start(&world, &EDGES, &AGENTS);
    deployment.begin_class("c", "teacher", "student");
    let counted = || LINKS.iter().filter(|(_, peer, ..)| *peer != NEAR);
    for (prober, peer, ..) in counted() {
        world.set(&format!("{prober}+{peer}"), "loss=0.05");
    }
    let floor = floor_ms(&world);
    // Counters of lengths that entered before; the log keeps them.
    let before: Vec<u64> = counted().map(|(a, b, ..)| entered(&world, a, b)).collect();
    world.reset_stats();
    let statuses: Vec<Status> = (0..SNAPSHOTS)
        .map(|_| {
            thread::sleep(MEASURED / SNAPSHOTS);
            deployment.status()
        })
        .collect();
    let status = statuses.last().expect("some");
    let after: Vec<u64> = counted()
        .zip(before)
        .map(|((a, b, ..), before)| before + entered(&world, a, b))
        .collect();

    for agent in &status.agents {
        assert_eq!(agent.uplink.as_deref(), Some(NEAR), "reports go by {NEAR}");
    }
    let void = world.void();
    say(format_args!("the path's floor: {floor:.3} ms"));
    for (prober, peer, ..) in LINKS {
        let [alone, _] = lengths(size_of(prober));
        let residence = |from, to| {
            let row = world.row(from, to, Proto::Udp, alone.clone());
            row.residence.expect("some passed").p50_ms
        };
        let truth = residence(prober, peer) + residence(peer, prober) + floor;
        // A window whose few probes were all lost has no round trip.
        let p50 = |status| Some(link(status, prober, peer).rtt_ms?.p50);
        let medians: Vec<f64> = statuses.iter().filter_map(p50).collect();
        assert!(
            medians.len() > statuses.len() / 2,
            "{prober} - {peer}: measured in {} of {} windows",
            medians.len(),
            statuses.len()
        );
        let measured = median(medians);
        let off = measured - truth;
        say(format_args!(
            "{prober} - {peer}: p50 {measured:.3} ms, truth {truth:.3}, off by {off:+.3}"
        ));
        assert!(
            void || off.abs() < TOLERANCE_MS,
            "{prober} - {peer}: {off} ms off"
        );
    }

    drop(deployment);
    let packets = log::parse(&world.finish()).expect("the packet log");
    for ((prober, peer, ..), entered) in counted().zip(after) {
        let (up, down) = (link(status, prober, peer), link(status, peer, prober));
        let size = size_of(prober);
        let there = fates(&packets, prober, peer, size);
        let back = fates(&packets, peer, prober, size);
        let count = |n: u64| usize::try_from(n).expect("few");
        let there = &there[..count(up.sent)];
        let delivered = up.sent - lost(there);
        let back = &back[..count(down.sent)];
        say(format_args!(
            "{prober} > {peer}: sent {} lost {} ({} by the emulator); back: sent {} ({delivered}) lost {} ({})",
            up.sent,
            up.lost,
            lost(there),
            down.sent,
            down.lost,
            lost(back)
        ));
        assert_eq!(up.lost, lost(there), "{prober} > {peer}");
        assert_eq!(down.sent, delivered, "{prober} > {peer}: echoes");
        assert_eq!(down.lost, lost(back), "{peer} > {prober}");
        let missing = (entered - up.sent) as f64;
        let age = up.age_s.expect("it is measured");
        assert!(
            (missing - age).abs() <= AT_THE_ENDS,
            "{prober} > {peer}: {missing} packets in the {age} s since its window"
        );
    }
}
