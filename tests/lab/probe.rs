//! What `corridor probe` says of a link, against the emulator: counts to the packet, one-way delays
//! within their stated bound. Round trips are printed beside the truth.

use std::time::Duration;

use corridor_netem::{
    control::Row,
    log,
    packet::Proto,
    truth::{self, Class, RoundTrip},
};
use corridor_probes::percentile;
use serde_json::Value;

use crate::world::{World, corridor, say, unavailable};

/// Delay, jitter, loss in bursts and reordering, of each direction its own.
const LINK: &str = r#"
seed = 11
keep_awake = true
[nodes.a]
[nodes.b]
[[link]]
between = ["a", "b"]
there = { delay_ms = 15, jitter_ms = 2, loss = 0.02, loss_burst = 4, reorder = 0.01, reorder_ms = 25 }
back = { delay_ms = 25, jitter_ms = 2, loss = 0.005, loss_burst = 2, reorder = 0.01, reorder_ms = 25 }
"#;
const COUNT: u64 = 2_000;
const SIZE: u16 = 400;
/// Lengths of IP packets with one probe or echo in them, and with whatever acknowledgements beside it.
const LENGTHS: std::ops::RangeInclusive<u16> = SIZE + 55..=SIZE + 250;
const LIMIT: Duration = Duration::from_secs(60);

/// The figures of a distribution that `corridor probe` prints, in percent.
const RANKS: [(&str, f64); 3] = [("p50", 50.0), ("p95", 95.0), ("p99", 99.0)];

#[test]
fn a_probe_counts_what_the_emulator_does() {
    if let Some(why) = unavailable() {
        say(format_args!(
            "SKIPPED a_probe_counts_what_the_emulator_does: {why}"
        ));
        return;
    }
    let world = World::start(LINK);
    let listen = format!("{}:4433", world.node("b").address());
    let edge = ["edge", "--standalone", "--listen", &listen];
    let mut edge = world.node("b").spawn(corridor(), edge, []);
    edge.wait_for_udp(4433, LIMIT);
    let (count, size) = (COUNT.to_string(), SIZE.to_string());
    let probe = [
        "probe",
        &listen,
        "--insecure",
        "--count",
        &count,
        "--interval",
        "10ms",
        "--size",
        &size,
        "--json",
    ];
    let mut probe = world.node("a").spawn(corridor(), probe, []);
    assert!(probe.wait(LIMIT).success(), "{}", probe.stderr());
    let said: Value = serde_json::from_str(&probe.stdout()).expect("JSON");
    say(format_args!("{said}"));
    drop(edge);

    let row = |from, to| world.row(from, to, Proto::Udp, LENGTHS);
    let (up, down) = (row("a", "b"), row("b", "a"));
    world.void();
    let packets = log::parse(&world.finish()).expect("the log");
    let class = Class {
        client: "a",
        server: "b",
        proto: Proto::Udp,
        lengths: LENGTHS,
    };
    let truth = truth::of(&packets, &class).expect("every probe that came was answered");
    compare_times(&said, &truth.round_trips);
    compare_counts(&said, &up, &down);
}

fn compare_counts(said: &Value, up: &Row, down: &Row) {
    let count = |key: &str| said[key].as_u64().unwrap_or_else(|| panic!("no {key}"));
    say(format_args!(
        "there: sent {} lost {} reordered {}; back: sent {} lost {} reordered {}",
        up.sent, up.lost, up.reordered, down.sent, down.lost, down.reordered
    ));
    assert_eq!(count("sent"), up.sent);
    assert_eq!(count("lost_unknown"), 0);
    assert_eq!(count("lost_up"), up.lost);
    assert_eq!(count("lost_down"), down.lost);
    assert_eq!(count("received") + count("late"), down.delivered);
    assert_eq!(count("reordered_up"), up.reordered);
    assert_eq!(count("reordered_down"), down.reordered);
}

/// The medians of one-way delays are within their bound; the others have this machine's stalls in them,
/// and are printed as round trips are.
fn compare_times(said: &Value, truth: &[RoundTrip]) {
    let bound = said["owd_error_ms"].as_f64().expect("a bound");
    let compare = |key: &str, of: fn(&RoundTrip) -> Duration| {
        let real: Vec<Duration> = truth.iter().map(of).collect();
        let off = RANKS.map(|(name, rank)| {
            let measured = said[key][name].as_f64();
            let measured = measured.unwrap_or_else(|| panic!("no {name} of {key}"));
            let real = percentile(&real, rank).expect("some came back").as_secs_f64() * 1e3;
            say(format_args!(
                "{key} {name}: {measured:.3}, {real:.3} between the devices"
            ));
            measured - real
        });
        off[0]
    };
    compare("rtt_ms", RoundTrip::total);
    let off = [
        compare("owd_up_ms", |trip| trip.up),
        compare("owd_down_ms", |trip| trip.down),
    ];
    say(format_args!("one-way delays are within {bound:.3} ms, they say"));
    assert!(off.iter().all(|off| off.abs() <= bound), "{off:?}");
}
