//! Scenarios in virtual time: the whole of Corridor in one process, days in seconds. Each file of
//! `scenarios/` is a test of its own.

#![allow(clippy::unwrap_used, reason = "helpers of tests: what cannot go on panics")]

mod budget;
mod degrade;
mod grants;
mod ledger;

use std::{fmt::Write as _, io::Write as _, path::Path};

use corridor::sim::scenario::{Outcome, Scenario, run};

/// Runs a scenario file to its end, in virtual time.
fn play(toml: &str) -> Outcome {
    play_parsed(&Scenario::parse(toml).unwrap_or_else(|e| panic!("{e}")))
}

fn play_parsed(scenario: &Scenario) -> Outcome {
    let data = tempfile::tempdir().unwrap();
    tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .start_paused(true)
        .build()
        .unwrap()
        .block_on(run(scenario, data.path()))
        .unwrap_or_else(|e| panic!("{}", with_sources(&e)))
}

fn with_sources(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(error) = source {
        let _ = write!(text, ": {error}");
        source = error.source();
    }
    text
}

fn lines(outcome: &Outcome) -> String {
    outcome.log.iter().map(|entry| format!("{entry}\n")).collect()
}

#[expect(
    clippy::disallowed_methods,
    reason = "how long a scenario takes is shown, not asserted"
)]
fn check(name: &str, toml: &str) {
    let began = std::time::Instant::now();
    let outcome = play(toml);
    let wall = began.elapsed().as_secs_f64();
    let virtual_time = Scenario::parse(toml).unwrap().duration.0;
    // Past the harness, which hides what passing tests print.
    let _ = writeln!(
        std::io::stderr(),
        "sim: {name}: {virtual_time:?} in {wall:.1} s, {} packets ({:.0} a second), {} handshakes",
        outcome.packets,
        outcome.packets as f64 / wall,
        outcome.handshakes
    );
    if let Some(dir) = std::env::var_os("CORRIDOR_SIM_LOGS") {
        std::fs::write(Path::new(&dir).join(format!("{name}.log")), lines(&outcome)).unwrap();
    }
    assert!(
        outcome.failures.is_empty(),
        "{}\n\nthe last of the log:\n{}",
        outcome.failures.join("\n"),
        outcome
            .log
            .iter()
            .rev()
            .take(40)
            .rev()
            .map(|e| format!("{e}\n"))
            .collect::<String>()
    );
}

macro_rules! scenarios {
    ($($(#[$attribute:meta])* $name:ident)*) => {
        $(
            #[test]
            $(#[$attribute])*
            fn $name() {
                check(stringify!($name), include_str!(concat!("scenarios/", stringify!($name), ".toml")));
            }
        )*

        #[test]
        fn every_scenario_file_is_run() {
            let named = [$(stringify!($name)),*];
            let dir = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/sim/scenarios");
            for entry in std::fs::read_dir(dir).unwrap() {
                let path = entry.unwrap().path();
                let stem = path.file_stem().unwrap().to_str().unwrap();
                assert!(named.contains(&stem), "{} is not in the list", path.display());
            }
        }
    };
}

scenarios! {
    access_stalls
    address_change
    agent_offline_full_spool
    clocks
    clocks_adrift
    #[ignore = "minutes in a debug build: make test"]
    controller_away_8_days
    controller_restart
    edge_dies
    ledger_stress
    lossy_link
    media_drains
    media_edge_dies
    media_exit_dies
    media_moves
    middle_link_dies
    middle_link_slow
    one_way_budget
    sleep_resume
    steady
    two_edges_flap
}

/// A whole round of what `corridor demo` shows, by the expectations in its file.
#[test]
#[ignore = "minutes in a debug build: make test"]
fn whole_demo() {
    check("demo", include_str!("../../src/sim/demo.toml"));
}

/// What is random on the way (keys of TLS) must not show: neither in what is logged, nor in when which
/// packet of which length took which way.
#[test]
fn the_same_seed_gives_the_same_log_and_packets() {
    let mut scenario = Scenario::parse(include_str!("scenarios/lossy_link.toml")).unwrap();
    let [first, second] = [(); 2].map(|()| play_parsed(&scenario));
    assert_eq!(lines(&first), lines(&second));
    assert_eq!(first.digest, second.digest);
    scenario.seed += 1;
    assert_ne!(play_parsed(&scenario).digest, first.digest, "the seed is used");
}
