use std::path::Path;

use corridor_probes::Wall;

use super::Sqlite;
use crate::store::{
    Appended, Reports, Store,
    conformance::{Backend, DAY, NOON, agent, all, at, conformance_suite, report},
    records::ReportRecord,
};

struct InFiles(tempfile::TempDir);

impl Backend for InFiles {
    fn new() -> Self {
        Self(tempfile::tempdir().unwrap())
    }

    fn open(&mut self) -> Box<dyn Store> {
        Box::new(open(self.0.path()))
    }

    fn lasts(&self) -> bool {
        true
    }
}

struct InMemory;

impl Backend for InMemory {
    fn new() -> Self {
        Self
    }

    fn open(&mut self) -> Box<dyn Store> {
        Box::new(Sqlite::in_memory().unwrap())
    }

    fn lasts(&self) -> bool {
        false
    }
}

fn open(dir: &Path) -> Sqlite {
    Sqlite::open(dir, NOON).unwrap()
}

mod in_files {
    super::conformance_suite!(super::InFiles);
}

mod in_memory {
    super::conformance_suite!(super::InMemory);
}

mod crashes;
mod damage;
mod full;
mod privacy;
mod speed;

/// Reports of one agent, numbered, with bodies of `bytes`.
fn reports(sequences: std::ops::Range<u64>, end: Wall, bytes: usize) -> Vec<ReportRecord> {
    sequences
        .map(|n| {
            let mut report = report(agent(1), 1, n, end);
            report.body = vec![u8::try_from(n % 251).unwrap(); bytes];
            report
        })
        .collect()
}

fn sequences(store: &mut Sqlite) -> Vec<u64> {
    let mut found: Vec<_> = all(store, &[agent(1)]).into_iter().map(|r| r.sequence).collect();
    found.sort_unstable();
    found
}

#[test]
fn few_days_are_open_at_a_time_and_all_are_read() {
    let dir = tempfile::tempdir().unwrap();
    let mut store = open(dir.path());
    let batch: Vec<_> = (0..20u64)
        .map(|n| report(agent(1), 1, n, at(-DAY * i64::try_from(n).unwrap())))
        .collect();
    store.append_reports(&batch).unwrap();
    assert_eq!(store.days.open_now(), 8);
    let newest_last: Vec<_> = batch.iter().rev().cloned().collect();
    assert_eq!(all(&mut store, &[agent(1)]), newest_last);
    assert_eq!(store.days.open_now(), 8);
    assert_eq!(
        store.append_reports(&batch).unwrap(),
        vec![Appended::Repeat; 20],
        "and none is forgotten"
    );
}

#[test]
fn bytes_are_those_of_all_files() {
    let dir = tempfile::tempdir().unwrap();
    let mut store = open(dir.path());
    let empty = store.bytes().unwrap();
    store.append_reports(&reports(0..100, NOON, 10_000)).unwrap();
    let full = store.bytes().unwrap();
    assert!(full > empty + 1_000_000, "{full}");
    std::fs::write(dir.path().join("other"), [0; 100]).unwrap();
    assert_eq!(store.bytes().unwrap(), full);
    let mut memory = Sqlite::in_memory().unwrap();
    memory.append_reports(&reports(0..100, NOON, 10_000)).unwrap();
    assert!(memory.bytes().unwrap() > 1_000_000);
}
