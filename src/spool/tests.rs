use std::path::Path;

use corridor_probes::{BootId, Wall};

use super::{Dropped, JournalRow, Leftover, Spool, SpoolError, SpooledReport};

mod bounds;
mod crashes;
mod damage;

const NOW: Wall = Wall::from_secs(1_795_348_800);
const A: BootId = BootId(u64::MAX);
const B: BootId = BootId(1);

fn open(path: &Path) -> Spool {
    Spool::open(path, 1 << 20, NOW).unwrap()
}

fn row(second: i64) -> JournalRow {
    JournalRow {
        second,
        body: format!("second {second}").into_bytes(),
    }
}

fn rows(seconds: std::ops::RangeInclusive<i64>) -> Vec<JournalRow> {
    seconds.map(row).collect()
}

/// What awaits, as (boot, sequence).
fn waiting(spool: &mut Spool) -> Vec<(BootId, u64)> {
    let batch = spool.next_batch(u32::MAX).unwrap();
    batch.into_iter().map(|r| (r.boot, r.sequence)).collect()
}

/// What is in the journal of all boots but `current`, oldest boot first.
fn leftovers(spool: &mut Spool, current: BootId) -> Vec<Leftover> {
    let mut found = Vec::new();
    while let Some(leftover) = spool.leftover_journal(current, 1_000).unwrap() {
        let last = leftover.rows.last().unwrap().second;
        spool
            .close_report(leftover.boot, leftover.next_sequence, b"", last)
            .unwrap();
        found.push(leftover);
    }
    found
}

#[test]
fn a_report_replaces_the_journal_it_covers() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("spool.db");
    let mut spool = open(&path);
    spool.journal(A, &rows(1..=10)).unwrap();
    assert_eq!((spool.stats().journal_rows, spool.stats().reports), (10, 0));
    spool.close_report(A, 0, b"to 7", 7).unwrap();
    assert_eq!((spool.stats().journal_rows, spool.stats().reports), (3, 1));
    // Of rows of the same second, the last counts.
    let newer = JournalRow {
        second: 8,
        body: b"newer".to_vec(),
    };
    spool.journal(A, std::slice::from_ref(&newer)).unwrap();
    assert_eq!(spool.stats().journal_rows, 3);
    let before = spool.stats();
    drop(spool);

    let mut spool = open(&path);
    assert_eq!(spool.stats(), before, "counted again from the file");
    let expected = SpooledReport {
        boot: A,
        sequence: 0,
        body: b"to 7".to_vec(),
    };
    assert_eq!(spool.next_batch(5).unwrap(), [expected]);
    let leftover = Leftover {
        boot: A,
        next_sequence: 1,
        rows: vec![newer, row(9), row(10)],
    };
    assert_eq!(spool.leftover_journal(B, 10).unwrap(), Some(leftover));
    assert_eq!(
        spool.leftover_journal(A, 10).unwrap(),
        None,
        "one's own is no leftover"
    );
}

#[test]
fn leftovers_come_oldest_boot_first_and_in_pieces() {
    let mut spool = Spool::in_memory(1 << 20).unwrap();
    spool.journal(A, &rows(-2..=2)).unwrap();
    spool.journal(B, &rows(7..=8)).unwrap();
    spool.journal(BootId(5), &rows(100..=100)).unwrap();
    let first = spool.leftover_journal(BootId(5), 3).unwrap().unwrap();
    assert_eq!((first.boot, first.rows), (A, rows(-2..=0)));
    spool.close_report(A, first.next_sequence, b"first", 0).unwrap();
    let rest = leftovers(&mut spool, BootId(5));
    let rest: Vec<_> = rest
        .into_iter()
        .map(|l| (l.boot, l.next_sequence, l.rows))
        .collect();
    assert_eq!(rest, [(A, 1, rows(1..=2)), (B, 0, rows(7..=8))]);
    assert_eq!(waiting(&mut spool), [(A, 0), (A, 1), (B, 0)]);
    assert_eq!(spool.stats().journal_rows, 1);
}

#[test]
fn batches_are_oldest_first_and_last_until_acknowledged() {
    let mut spool = Spool::in_memory(1 << 20).unwrap();
    for (boot, sequence) in [(A, 0), (B, 0), (A, 1), (A, 5)] {
        spool.close_report(boot, sequence, b"body", 0).unwrap();
    }
    for _ in 0..2 {
        let two = spool.next_batch(2).unwrap();
        assert_eq!(
            two.iter().map(|r| (r.boot, r.sequence)).collect::<Vec<_>>(),
            [(A, 0), (B, 0)]
        );
    }
    assert!(spool.acknowledge(B, 0).unwrap());
    assert!(!spool.acknowledge(B, 0).unwrap());
    assert!(!spool.acknowledge(B, 1).unwrap());
    assert_eq!(waiting(&mut spool), [(A, 0), (A, 1), (A, 5)]);
    for sequence in [5, 0, 1] {
        assert!(spool.acknowledge(A, sequence).unwrap());
    }
    assert_eq!(waiting(&mut spool), []);
    assert_eq!(spool.stats(), super::Stats::default());
}

#[test]
fn a_sequence_is_never_used_twice_within_a_boot() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("spool.db");
    let mut spool = open(&path);
    assert_eq!(spool.next_sequence(A).unwrap(), 0);
    spool.close_report(A, 0, b"", 0).unwrap();
    spool.close_report(A, 7, b"", 0).unwrap();
    let refused = |spool: &mut Spool, given| {
        let error = spool.close_report(A, given, b"", 0).unwrap_err();
        let SpoolError::SequenceUsed {
            boot: A,
            given: g,
            next,
        } = error
        else {
            panic!("{error}");
        };
        assert_eq!(g, given);
        next
    };
    assert!(spool.acknowledge(A, 7).unwrap());
    for given in [0, 3, 7] {
        assert_eq!(refused(&mut spool, given), 8, "gone or skipped, it is used");
    }
    assert_eq!(spool.stats().dropped, Dropped::default(), "nothing was lost");
    spool.journal(A, &rows(1..=1)).unwrap();
    assert!(spool.acknowledge(A, 0).unwrap());
    drop(spool);
    let mut spool = open(&path);
    assert_eq!(spool.next_sequence(A).unwrap(), 8, "it has a journal still");
    assert_eq!(spool.next_sequence(B).unwrap(), 0);
    spool.close_report(A, u64::MAX - 1, b"", 0).unwrap();
    assert_eq!(refused(&mut spool, u64::MAX), u64::MAX, "there is none after it");
}
