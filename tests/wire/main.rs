//! The fuzz targets on a stable compiler, in the gate: the files under `fuzz/corpus` and
//! `fuzz/regressions`, and bytes of proptest's, through the same functions as `make fuzz` uses.

#![allow(
    clippy::print_stdout,
    clippy::unwrap_used,
    reason = "what does not hold panics, and the input before it is named"
)]

mod golden;
mod messages;
mod regressions;
mod seeds;
#[path = "../../fuzz/src/lib.rs"]
mod targets;

use std::{fs, path::PathBuf};

use proptest::prelude::*;
use targets::{TARGETS, Target};

/// Under `fuzz/`.
fn dir(kind: &str, target: &str) -> PathBuf {
    [env!("CARGO_MANIFEST_DIR"), "fuzz", kind, target]
        .iter()
        .collect()
}

/// The files of a directory, by name; none if there is no such directory.
fn files(kind: &str, target: &str) -> Vec<(String, Vec<u8>)> {
    let mut files: Vec<_> = fs::read_dir(dir(kind, target))
        .into_iter()
        .flatten()
        .map(|entry| {
            let path = entry.unwrap().path();
            let name = path.file_name().unwrap().to_string_lossy().into_owned();
            (name, fs::read(path).unwrap())
        })
        .collect();
    files.sort();
    files
}

fn target(name: &str) -> fn(&[u8]) {
    let (_, run) = TARGETS.iter().find(|(n, _)| *n == name).expect(name);
    *run
}

#[test]
fn every_seed_holds() {
    for (name, run) in TARGETS {
        let seeds = files("corpus", name);
        assert!(!seeds.is_empty(), "{name} has no seeds");
        for (file, bytes) in seeds {
            println!("{name} {file}");
            run(&bytes);
        }
    }
}

#[test]
fn every_target_has_its_program() {
    let mut programs: Vec<_> = fs::read_dir(dir("fuzz_targets", ""))
        .unwrap()
        .map(|entry| {
            entry
                .unwrap()
                .path()
                .file_stem()
                .unwrap()
                .to_string_lossy()
                .into_owned()
        })
        .collect();
    let mut names: Vec<_> = TARGETS.iter().map(|(name, _)| (*name).to_owned()).collect();
    programs.sort();
    names.sort();
    assert_eq!(programs, names);
}

/// One of the seeds of a target, as the start of another input.
fn seed(target: Target) -> impl Strategy<Value = Vec<u8>> {
    let seeds: Vec<_> = files("corpus", target.0)
        .into_iter()
        .map(|(_, bytes)| bytes)
        .collect();
    prop::sample::select(seeds)
}

/// Any bytes, and seeds with a few bytes changed, cut off or put in.
fn inputs(target: Target) -> impl Strategy<Value = Vec<u8>> {
    let anything = prop::collection::vec(any::<u8>(), 0..400);
    let change = (any::<prop::sample::Index>(), any::<u8>(), 0u8..3);
    let nearly = (seed(target), prop::collection::vec(change, 1..6)).prop_map(|(mut bytes, changes)| {
        for (at, byte, how) in changes {
            let at = at.index(bytes.len() + 1);
            match how {
                0 if at < bytes.len() => bytes[at] = byte,
                1 => bytes.insert(at, byte),
                _ => bytes.truncate(at.max(1)),
            }
        }
        bytes
    });
    prop_oneof![1 => anything, 3 => nearly]
}

#[test]
fn any_bytes_hold() {
    for &target in TARGETS {
        let config = ProptestConfig {
            failure_persistence: None,
            max_shrink_iters: 200,
            ..ProptestConfig::with_cases(128)
        };
        let mut runner = proptest::test_runner::TestRunner::new(config);
        let run = target.1;
        let result = runner.run(&inputs(target), |bytes| {
            run(&bytes);
            Ok(())
        });
        result.unwrap_or_else(|e| panic!("{}: {e}", target.0));
    }
}

/// As many windows as a frame can name: without a bound 131,000 of them would be decoded.
#[test]
fn a_frame_of_empty_windows_is_bounded() {
    let mut report = [0x32, 0].repeat(corridor::proto::MAX_FRAME / 2 - 8);
    target("control_messages")(&report);
    let n = report.len();
    let whole = [
        &[0x12][..],
        &[
            0x80 | (n & 0x7f) as u8,
            0x80 | (n >> 7 & 0x7f) as u8,
            (n >> 14) as u8,
        ],
        &report,
    ]
    .concat();
    target("control_messages")(&whole);
    report.truncate(corridor::proto::MAX_PARTS * 2);
    target("control_messages")(&report);
}
