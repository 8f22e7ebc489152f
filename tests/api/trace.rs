//! `corridor trace`: what it prints, by which code it ends, and Ctrl-C.

use std::net::UdpSocket;

use serde_json::Value;

use crate::harness::{Running, SOON, command, loopback, port, run};

#[test]
fn this_machine_is_one_hop_away() {
    let traced = run([
        "trace",
        "127.0.0.1",
        "--count",
        "2",
        "--interval",
        "100ms",
        "--names",
        "--json",
    ])
    .json();
    assert_eq!(
        (&traced["address"], &traced["distance"]),
        (&"127.0.0.1".into(), &1.into()),
        "{traced}"
    );
    let hops = traced["hops"].as_array().expect("hops");
    assert_eq!(
        (hops.len(), &hops[0]["addresses"][0]),
        (1, &"127.0.0.1".into()),
        "{traced}"
    );
    let table = run(["trace", "127.0.0.1", "--count", "1"]).ok();
    assert!(table.contains("127.0.0.1"), "{table}");
}

#[test]
fn bad_usage_is_told_from_what_cannot_be_reached() {
    for (args, named) in [
        (&["--count", "0"][..], "--count 0"),
        (&["--interval", "1ms"], "--interval 1ms"),
        (&["--max-hops", "65"], "--max-hops 65"),
        (&["-6"], "127.0.0.1 is not an IPv6 address"),
        (&["--method", "tcp"], "tcp"),
        (&["--port", "0"], "0"),
        (&["--colour"], "--colour"),
    ] {
        run([&["trace", "127.0.0.1"], args].concat()).fails(2, &[named]);
    }
    run(["trace", "not a host"]).fails(2, &["\"not a host\" is not a host"]);
    run(["trace"]).fails(2, &["HOST"]);
    run(["trace", "nobody.invalid"]).fails(1, &["cannot resolve nobody.invalid"]);
}

/// A trace without end of a port that is `answered` or not, until it is under way.
fn under_way(answered: bool) -> Running {
    let port = port();
    let far = UdpSocket::bind(loopback(port)).expect("a socket");
    far.set_read_timeout(Some(SOON)).expect("a time-out");
    let port = port.to_string();
    let args = ["trace", "127.0.0.1", "--count", "10000", "--interval", "100ms"];
    let running = Running::start(command(
        args.into_iter()
            .chain(["--method", "udp", "--port", &port, "--json"]),
    ));
    let mut probe = [0; 100];
    // It hears signals before the second round, a tenth of a second after the first.
    for _ in 0..5 {
        let (length, from) = far.recv_from(&mut probe).expect("a probe");
        if answered {
            far.send_to(&probe[..length], from).expect("an answer");
        }
    }
    running
}

#[test]
fn ctrl_c_ends_it_with_what_is_known() {
    let mut running = under_way(true);
    assert_eq!(running.interrupt().code(), Some(0), "{}", running.stderr());
    assert_eq!(running.stderr(), "");
    let traced: Value = serde_json::from_str(&running.stdout()).expect("one object");
    let hop = &traced["hops"][0];
    let answered = hop["answered"].as_u64().expect("a count");
    assert!((4..10_000).contains(&answered), "{traced}");
    assert_eq!(traced["reached"], true, "{traced}");
}

#[test]
fn ctrl_c_before_any_answer_is_a_failure() {
    let mut running = under_way(false);
    assert_eq!(running.interrupt().code(), Some(1), "{}", running.stdout());
    let traced: Value = serde_json::from_str(&running.stdout()).expect("one object");
    assert_eq!(traced["hops"], Value::Array(Vec::new()), "{traced}");
    assert!(
        running
            .stderr()
            .contains("nobody answered on the way to 127.0.0.1")
    );
    assert_eq!(running.stderr().lines().count(), 1);
}
