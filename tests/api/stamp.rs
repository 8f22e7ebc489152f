//! STAMP between real processes: `corridor edge --stamp` answers, `corridor probe --stamp` measures, and a
//! bare socket sends what nobody should.

use std::{
    net::{SocketAddr, UdpSocket},
    path::{Path, PathBuf},
    process::Command,
    time::Duration,
};

use serde_json::Value;

use crate::harness::{Ended, Running, SOON, command, loopback, port, run, wait_for};

/// An edge by itself that answers STAMP.
struct Edge {
    process: Running,
    stamp: SocketAddr,
}

fn edge(key: Option<&Path>) -> Edge {
    let stamp = loopback(port());
    let mut command = command(["edge", "--standalone", "--listen", "127.0.0.1:0", "--stamp"]);
    command.arg(stamp.to_string());
    if let Some(key) = key {
        command.arg("--stamp-key").arg(key);
    }
    let mut process = Running::start(command);
    process.says("fingerprint ");
    assert!(process.stdout().contains(&format!("STAMP on {stamp}/udp")));
    Edge { process, stamp }
}

impl Edge {
    /// Ends it; answers what it logged.
    fn stopped(mut self) -> String {
        let pid = self.process.pid().to_string();
        assert!(
            Command::new("kill")
                .args(["-INT", &pid])
                .status()
                .unwrap()
                .success()
        );
        assert!(self.process.wait(SOON).success());
        self.process.stderr()
    }
}

fn key(dir: &Path, name: &str, text: &str) -> PathBuf {
    let path = dir.join(name);
    corridor::identity::write_private(&path, text.as_bytes()).unwrap();
    path
}

fn probe(to: SocketAddr, args: &[&str]) -> Ended {
    let to = to.to_string();
    let mut all = vec!["probe", "--stamp", &to, "--interval", "10ms"];
    all.extend(args);
    run(all)
}

fn counts(json: &Value, names: &[&str]) -> Vec<u64> {
    names.iter().map(|n| json[n].as_u64().unwrap()).collect()
}

const SENT_AND_LOST: [&str; 6] = ["sent", "received", "lost_up", "lost_down", "late", "lost_unknown"];

#[test]
fn every_probe_is_answered_and_measured_both_ways() {
    let edge = edge(None);
    let json = probe(edge.stamp, &["--count", "50", "--size", "300", "--json"]).json();
    let sent = json["sent"].as_u64().unwrap();
    assert!(sent > 0);
    assert_eq!(counts(&json, &SENT_AND_LOST), [sent, sent, 0, 0, 0, 0], "{json}");
    assert_eq!(json["reflector"], "stateful");
    for name in ["rtt_ms", "owd_up_ms", "owd_down_ms", "ipdv_up_ms", "ipdv_down_ms"] {
        assert!(json[name]["p99"].is_f64(), "{name} in {json}");
    }
    let offset = json["clock_offset_ms"].as_f64().unwrap();
    assert!(offset.abs() < 100.0, "one clock for both: {offset}");
    assert!(json["owd_error_ms"].is_f64() && json["mos"].is_f64(), "{json}");
    let text = probe(edge.stamp, &["--count", "20"]).ok();
    assert!(
        text.contains("stateful") && text.lines().all(|l| l.chars().count() <= 80),
        "{text}"
    );
    let log = edge.stopped();
    assert!(log.contains("wrong_key=0") && log.contains("too_fast=0"), "{log}");
}

#[test]
fn a_key_is_needed_and_a_wrong_one_is_told_at_both_ends() {
    let dir = tempfile::tempdir().unwrap();
    let right = key(dir.path(), "right", "hex:000102030405060708090a0b0c0d0e0f\n");
    let wrong = key(dir.path(), "wrong", "hex:000102030405060708090a0b0c0d0e10\n");
    let edge = edge(Some(&right));
    let with = |key: &Path| {
        let key = key.to_str().unwrap();
        probe(edge.stamp, &["--count", "10", "--json", "--stamp-key", key])
    };
    let json = with(&right).json();
    assert_eq!(json["received"], json["sent"], "{json}");
    for (ended, why) in [
        (with(&wrong), "another key"),
        (probe(edge.stamp, &["--count", "10", "--json"]), "--stamp-key"),
    ] {
        assert_eq!(ended.code, Some(1), "{ended:?}");
        assert_eq!(ended.stderr.lines().count(), 1, "{ended:?}");
        assert!(
            ended.stderr.contains("none of ") && ended.stderr.contains(why),
            "{ended:?}"
        );
        let json: Value = serde_json::from_str(&ended.stdout).unwrap();
        assert_eq!(
            (json.get("rtt_ms"), json.get("reflector")),
            (None, None),
            "{json}"
        );
    }
    let log = edge.stopped();
    let last = log.lines().last().unwrap();
    assert!(
        !last.contains("wrong_key=0") && !last.contains("short=0"),
        "{log}"
    );
}

#[test]
fn short_packets_get_nothing_and_long_ones_their_own_length() {
    let edge = edge(None);
    let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
    socket.connect(edge.stamp).unwrap();
    socket.set_read_timeout(Some(SOON)).unwrap();
    let mut answer = [0; 2_000];
    for (seq, len) in [41, 44, 46, 200, 1_472].into_iter().enumerate() {
        for short in [1, 14, 40] {
            socket.send(&[0; 100][..short]).unwrap();
        }
        // An extension that nobody knows, where one fits.
        let mut packet = vec![0; len];
        if len > 100 {
            packet[44..48].copy_from_slice(&[0x80, 200, 0, 8]);
        }
        socket.send(&packet).unwrap();
        assert_eq!(socket.recv(&mut answer).unwrap(), len);
        assert_eq!(u32::from_be_bytes(answer[..4].try_into().unwrap()), seq as u32);
        if len > 100 {
            assert_eq!(answer[44..48], [0x80, 200, 0, 8], "still marked as unknown");
        }
    }
    let log = edge.stopped();
    let last = log.lines().last().unwrap();
    assert!(last.contains("answered=5") && last.contains("short=15"), "{log}");
}

#[test]
fn a_flood_is_cut_and_others_are_still_answered() {
    let edge = edge(None);
    let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
    // Another address of this machine: each has a rate of its own.
    let flood = UdpSocket::bind("127.0.0.2:0").unwrap();
    for socket in [&socket, &flood] {
        socket.connect(edge.stamp).unwrap();
    }
    socket.set_read_timeout(Some(Duration::from_millis(200))).unwrap();
    let sent = 30_000;
    for _ in 0..sent {
        // The kernel may have no room for it.
        let _ = flood.send(&[0; 44]);
    }
    // Where the flood fills the kernel's buffer, the packet of another is lost before the edge sees it.
    let answered = wait_for("an answer to another", SOON, || {
        socket.send(&[0; 44]).unwrap();
        socket.recv(&mut [0; 100]).ok()
    });
    assert_eq!(answered, 44);
    let log = edge.stopped();
    let last = log.lines().last().unwrap();
    assert!(!last.contains("too_fast=0"), "{log}");
}

#[test]
fn wrong_usage_is_one_line() {
    let dir = tempfile::tempdir().unwrap();
    let empty = key(dir.path(), "empty", "\n");
    let empty = empty.to_str().unwrap();
    let free = loopback(port());
    probe(free, &["--stamp-key", empty]).fails(2, &[empty, "no key"]);
    probe(free, &["--size", "43"]).fails(2, &["43", "44"]);
    run(["probe", "edge", "--stamp-key", empty]).fails(2, &["--stamp"]);
    run(["edge", "--standalone", "--stamp-key", empty]).fails(2, &["--stamp"]);
    let listen = [
        "edge",
        "--standalone",
        "--listen",
        "127.0.0.1:0",
        "--stamp",
        "127.0.0.1:0",
    ];
    run(listen.into_iter().chain(["--stamp-key", empty])).fails(1, &[empty]);
    let taken = UdpSocket::bind("127.0.0.1:0").unwrap();
    let taken = taken.local_addr().unwrap().to_string();
    run([
        "edge",
        "--standalone",
        "--listen",
        "127.0.0.1:0",
        "--stamp",
        &taken,
    ])
    .fails(1, &["STAMP", &taken]);
}
