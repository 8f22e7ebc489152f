//! Ends of processes, and two of them at a time.

use std::{collections::BTreeMap, thread, time::Duration};

use super::{open, reports};
use crate::store::{
    Appended, Reports, StoreError,
    conformance::{DAY, NOON, agent, all, at, edge, report},
    crash::{Killed, place, say},
    records::ReportRecord,
    sqlite::Sqlite,
};

/// The batch that a child of `round` appends as its `n`th: two reporters, two days.
fn batch(round: u64, n: u64) -> Vec<ReportRecord> {
    (n * 40..(n + 1) * 40)
        .map(|sequence| {
            let who = if sequence % 3 == 0 { edge(1) } else { agent(1) };
            let day = i64::from(sequence % 5 == 0) * DAY;
            let mut report = report(who, round, sequence, at(-day));
            report.body.resize(3_000, 7);
            report
        })
        .collect()
}

#[test]
#[ignore = "the child of what_was_acknowledged_survives_kill_9"]
fn appends_until_killed() {
    let Some(dir) = place() else { return };
    let mut store = open(&dir);
    let round: u64 = std::fs::read_to_string(dir.join("round"))
        .unwrap()
        .parse()
        .unwrap();
    for n in 0.. {
        store.append_reports(&batch(round, n)).unwrap();
        say(&n.to_string());
    }
}

#[test]
fn what_was_acknowledged_survives_kill_9() {
    let dir = tempfile::tempdir().unwrap();
    let mut acknowledged = BTreeMap::new();
    for (round, lines) in [(0, 1), (1, 7), (2, 30), (3, 3), (4, 60)] {
        std::fs::write(dir.path().join("round"), round.to_string()).unwrap();
        let mut child = Killed::start("store::sqlite::tests::crashes::appends_until_killed", dir.path());
        let mut said = child.hear(lines);
        said.extend(child.kill());
        acknowledged.insert(round, said.len());
    }
    let mut store = open(dir.path());
    let mut kept: BTreeMap<_, Vec<ReportRecord>> = BTreeMap::new();
    for report in all(&mut store, &[agent(1), edge(1)]) {
        let key = (report.boot.0, report.sequence);
        kept.entry(key).or_default().push(report);
    }
    for (round, batches) in acknowledged {
        for n in 0..u64::try_from(batches).unwrap() {
            let batch = batch(round, n);
            for report in &batch {
                assert_eq!(kept[&(round, report.sequence)], std::slice::from_ref(report));
            }
            assert_eq!(store.append_reports(&batch).unwrap(), vec![Appended::Repeat; 40]);
        }
    }
    assert!(kept.values().all(|same| same.len() == 1));
}

#[test]
#[ignore = "the child of one_process_at_a_time"]
fn holds_the_store() {
    let Some(dir) = place() else { return };
    let _store = open(&dir);
    say("open");
    loop {
        thread::sleep(Duration::from_secs(60));
    }
}

#[test]
fn one_process_at_a_time() {
    let dir = tempfile::tempdir().unwrap();
    let mut child = Killed::start("store::sqlite::tests::crashes::holds_the_store", dir.path());
    child.hear(1);
    let refused = Sqlite::open(dir.path(), NOON).unwrap_err();
    assert!(matches!(refused, StoreError::Locked { .. }), "{refused}");
    assert!(refused.to_string().contains("one controller"), "{refused}");
    child.kill();
    let store = open(dir.path());
    let here = Sqlite::open(dir.path(), NOON);
    assert!(matches!(here, Err(StoreError::Locked { .. })), "nor twice in one");
    drop(store);
    open(dir.path());
}

#[test]
fn a_reader_beside_it_is_no_trouble() {
    let dir = tempfile::tempdir().unwrap();
    let mut store = open(dir.path());
    store.append_reports(&reports(0..10, NOON, 100)).unwrap();
    let path = dir.path().join("reports-2026-11-22.db");
    let reader = rusqlite::Connection::open(path).unwrap();
    let count = || -> i64 {
        reader
            .query_row("SELECT count(*) FROM reports", [], |row| row.get(0))
            .unwrap()
    };
    assert_eq!(count(), 10);
    reader.execute_batch("BEGIN; SELECT * FROM reports").unwrap();
    store.append_reports(&reports(10..20, NOON, 100)).unwrap();
    reader.execute_batch("COMMIT").unwrap();
    assert_eq!(count(), 20);
}
