//! How fast it is, printed; to be run by hand with `--release`, `--ignored` and `--nocapture`.

use std::time::Instant;

use super::open;
use crate::store::{
    Reports, Store,
    conformance::{agent, at, report},
    records::ReportRecord,
};

/// In arrival order of `agents` agents that report in turn.
fn batch(from: u64, n: u64, agents: u64, bytes: usize) -> Vec<ReportRecord> {
    (from..from + n)
        .map(|i| {
            let who = (i % agents).wrapping_mul(0x9e37_79b9_7f4a_7c15);
            let mut report = report(agent(who), who, i / agents, at(i64::try_from(i / 2_000).unwrap()));
            report.body = (0..bytes)
                .map(|k| u8::try_from((i + u64::try_from(k).unwrap()) % 251).unwrap())
                .collect();
            report
        })
        .collect()
}

#[test]
#[ignore = "prints figures"]
#[expect(clippy::disallowed_methods, reason = "it measures")]
fn appended_rows_a_second() {
    const ROWS: u64 = 200_000;
    for (bytes, size) in [(500, 1_000), (5_000, 1_000), (2_000, 1_000), (500, 3_000)] {
        let dir = tempfile::tempdir_in(".").unwrap();
        let mut store = open(dir.path());
        let (mut spent, mut worst) = (0.0, 0.0_f64);
        for from in (0..ROWS).step_by(usize::try_from(bytes).unwrap()) {
            let batch = batch(from, bytes, 20_000, size);
            let start = Instant::now();
            let told = store.append_reports(&batch).unwrap();
            let took = start.elapsed().as_secs_f64();
            assert!(told.iter().all(|t| matches!(t, crate::store::Appended::New(_))));
            spent += took;
            worst = worst.max(took);
        }
        println!(
            "batches of {bytes}, bodies of {size} B, 20,000 agents: {:.0} rows/s, slowest batch {:.0} ms, {} MB on disk",
            f64::from(u32::try_from(ROWS).unwrap()) / spent,
            worst * 1e3,
            store.bytes().unwrap() / 1_000_000,
        );
        let start = Instant::now();
        let mut n = 0;
        store
            .reports(&[agent(0)], at(-1), at(100_000), &mut |_| n += 1)
            .unwrap();
        println!(
            "    one agent's {n} reports read in {:.2} ms",
            start.elapsed().as_secs_f64() * 1e3
        );
    }
}
