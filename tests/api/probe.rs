//! `corridor probe` as scripts run it, against an edge by itself over loopback.

#![expect(clippy::unwrap_used, reason = "helpers of tests")]

use std::{
    net::SocketAddr,
    process::{Command, Output, Stdio},
    time::Duration,
};

use corridor::edge::{Standalone, standalone};
use serde_json::Value;

/// An edge on a runtime of its own, for as long as this lives.
struct Edge {
    address: SocketAddr,
    fingerprint: String,
    hex: String,
    _runtime: tokio::runtime::Runtime,
    _edge: Standalone,
}

fn edge() -> Edge {
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(1)
        .enable_all()
        .build()
        .unwrap();
    let edge = {
        let _inside = runtime.enter();
        standalone(None, vec!["127.0.0.1:0".parse().unwrap()]).unwrap()
    };
    Edge {
        address: edge.edge.local_addrs()[0],
        fingerprint: edge.fingerprint.to_string(),
        hex: edge.fingerprint_hex(),
        _runtime: runtime,
        _edge: edge,
    }
}

fn probe(args: &[&str]) -> Output {
    command(args).output().unwrap()
}

fn command(args: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_corridor"));
    command.arg("probe").args(args).env_remove("RUST_LOG");
    command
}

fn error_line(out: &Output) -> String {
    let text = String::from_utf8(out.stderr.clone()).unwrap();
    assert_eq!(text.lines().count(), 1, "{text}");
    text
}

fn count(json: &Value, name: &str) -> u64 {
    json[name].as_u64().unwrap_or_else(|| panic!("{name} in {json}"))
}

const COUNTS: [&str; 14] = [
    "slots",
    "sent",
    "slipped",
    "local_drops",
    "unconnected",
    "received",
    "lost_up",
    "lost_down",
    "late",
    "lost_unknown",
    "reordered_up",
    "reordered_down",
    "stalled",
    "excluded",
];
const DISTRIBUTIONS: [&str; 5] = ["rtt_ms", "owd_up_ms", "owd_down_ms", "ipdv_up_ms", "ipdv_down_ms"];
const NUMBERS: [&str; 12] = [
    "tmax_ms",
    "discarded",
    "jitter_buffer_ms",
    "mouth_to_ear_ms",
    "owd_error_ms",
    "clock_offset_ms",
    "jitter_up_ms",
    "jitter_down_ms",
    "pdv_up_p99_ms",
    "pdv_down_p99_ms",
    "mos",
    "r_factor",
];

#[test]
fn one_json_object_with_every_name_that_is_known() {
    let edge = edge();
    let address = edge.address.to_string();
    let out = probe(&[
        &address,
        "--fingerprint",
        &edge.hex,
        "--count",
        "60",
        "--interval",
        "10ms",
        "--size",
        "200",
        "--json",
    ]);
    assert!(out.status.success() && out.stderr.is_empty(), "{out:?}");
    let json: Value = serde_json::from_slice(&out.stdout).unwrap();
    assert_eq!(count(&json, "slots"), 60);
    let sum = |names: &[&str]| names.iter().map(|n| count(&json, n)).sum::<u64>();
    assert_eq!(sum(&COUNTS[1..5]), sum(&COUNTS[..1]));
    assert_eq!(sum(&COUNTS[5..10]), sum(&COUNTS[1..2]));
    for name in DISTRIBUTIONS {
        let mut keys: Vec<_> = json[name].as_object().unwrap().keys().collect();
        keys.sort();
        assert_eq!(keys, ["max", "mean", "min", "p50", "p95", "p99"], "{name}");
    }
    for name in NUMBERS {
        assert!(json[name].is_f64(), "{name} in {json}");
    }
    assert_eq!(json["codec"], "opus-nb-11k");
    assert_eq!(json.get("burst_ratio"), None, "nothing was lost");
    assert_eq!(json["codec_provisional"], true);
    for name in ["codec_source", "mouth_to_ear_from"] {
        assert!(json[name].is_string(), "{name} in {json}");
    }
    let times = if cfg!(target_os = "linux") {
        "kernel"
    } else {
        "program"
    };
    assert_eq!(json["arrival_times"], times);
    let others = [
        "arrival_times",
        "codec",
        "codec_provisional",
        "codec_source",
        "duplicates_down",
        "mouth_to_ear_from",
        "path_changes",
    ];
    assert_eq!(
        (count(&json, "path_changes"), count(&json, "duplicates_down")),
        (0, 0)
    );
    let names = COUNTS.len() + DISTRIBUTIONS.len() + NUMBERS.len() + others.len();
    assert_eq!(json.as_object().unwrap().len(), names, "{json}");
}

/// Runs a profile; answers its JSON once its books add up.
fn profile(edge: &Edge, profile: &str, more: &[&str]) -> Value {
    let address = edge.address.to_string();
    let common = [
        &address,
        "--fingerprint",
        &edge.hex,
        "--profile",
        profile,
        "--json",
    ];
    let out = probe(&[&common[..], more].concat());
    assert!(out.status.success() && out.stderr.is_empty(), "{out:?}");
    let json: Value = serde_json::from_slice(&out.stdout).unwrap();
    let sum = |names: &[&str]| names.iter().map(|n| count(&json, n)).sum::<u64>();
    assert_eq!(sum(&COUNTS[1..5]), sum(&COUNTS[..1]), "{json}");
    assert_eq!(sum(&COUNTS[5..10]), sum(&COUNTS[1..2]), "{json}");
    assert_eq!(json["profile"], profile);
    assert!(
        count(&json, "received") > 0 && json["rtt_ms"]["p50"].is_f64(),
        "{json}"
    );
    json
}

#[test]
fn profiles_send_as_media_does_and_every_slot_is_accounted_for() {
    let edge = edge();
    let voice = profile(&edge, "opus", &["--duration", "1s"]);
    assert_eq!(count(&voice, "slots"), 50);
    // A key frame of 20 packets, then 29 frames of 3.
    let camera = profile(&edge, "video", &["--duration", "1s"]);
    assert_eq!(count(&camera, "slots"), 107);
    let short = profile(&edge, "video", &["--count", "25", "--size", "1100"]);
    assert_eq!(count(&short, "slots"), 25);
    assert_eq!(short["lost_up"], 0);
    let help = probe(&["--help"]);
    let help = String::from_utf8(help.stdout).unwrap();
    for part in [
        "--profile",
        "opus",
        "A voice",
        "video",
        "A camera",
        "key frame every 4s",
    ] {
        assert!(help.contains(part), "{part:?} in {help}");
    }
}

#[test]
fn people_get_a_summary_that_fits_and_no_live_line_in_a_pipe() {
    let edge = edge();
    let address = edge.address.to_string();
    let out = probe(&[
        &address,
        "--fingerprint",
        &edge.fingerprint,
        "--count",
        "20",
        "--codec",
        "g711",
    ]);
    assert!(out.status.success() && out.stderr.is_empty(), "{out:?}");
    let text = String::from_utf8(out.stdout).unwrap();
    assert!(text.lines().all(|l| l.chars().count() <= 80), "{text}");
    for part in [
        "20 in all",
        "rtt ",
        "±",
        "RFC 3550",
        "MOS",
        "codec g711, mouth to ear",
    ] {
        assert!(text.contains(part), "{part:?} in {text}");
    }
}

#[test]
fn bad_input_is_one_line_and_2() {
    let edge = edge();
    let address = edge.address.to_string();
    for args in [
        vec!["edge:0", "--insecure"],
        vec!["not an address", "--insecure"],
        vec![&address, "--insecure", "--size", "22"],
        vec![&address, "--insecure", "--size", "1415"],
        vec![&address, "--insecure", "--interval", "0ms"],
        vec![&address, "--insecure", "--codec", "mp3"],
        vec![&address, "--fingerprint", "abc"],
    ] {
        let out = probe(&args);
        assert_eq!((out.status.code(), out.stdout.len()), (Some(2), 0), "{args:?}");
        error_line(&out);
    }
    let out = probe(&[&address]);
    assert_eq!(out.status.code(), Some(2));
    let line = error_line(&out);
    assert!(
        line.contains("--insecure") && line.contains("--fingerprint"),
        "{line}"
    );
}

#[test]
fn another_edge_than_the_pinned_one_is_one_line_and_1() {
    let (edge, other) = (edge(), edge());
    let out = probe(&[&edge.address.to_string(), "--fingerprint", &other.hex, "--json"]);
    assert_eq!((out.status.code(), out.stdout.len()), (Some(1), 0));
    let line = error_line(&out);
    assert!(line.contains("fingerprint"), "{line}");
}

#[test]
fn a_dead_address_is_one_line_and_1() {
    let free = std::net::UdpSocket::bind("127.0.0.1:0").unwrap();
    let address = free.local_addr().unwrap().to_string();
    let out = probe(&[&address, "--insecure"]);
    assert_eq!(out.status.code(), Some(1));
    assert!(error_line(&out).contains(&format!("nothing answers at {address}")));
}

#[cfg(unix)]
#[test]
fn an_interrupt_ends_it_early_with_the_summary() {
    let edge = edge();
    let child = command(&[
        &edge.address.to_string(),
        "--insecure",
        "--duration",
        "1h",
        "--json",
    ])
    .stdout(Stdio::piped())
    .spawn()
    .unwrap();
    std::thread::sleep(Duration::from_secs(2));
    let killed = Command::new("kill")
        .args(["-INT", &child.id().to_string()])
        .status()
        .unwrap();
    assert!(killed.success());
    let out = child.wait_with_output().unwrap();
    assert_eq!(out.status.code(), Some(0));
    let json: Value = serde_json::from_slice(&out.stdout).unwrap();
    assert!(count(&json, "received") > 0, "{json}");
    assert!(count(&json, "slots") < 10_000, "{json}");
}
