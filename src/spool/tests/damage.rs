//! Damaged and foreign files.

use std::{fs, path::Path};

use rusqlite::Connection;

use super::{A, B, NOW, open, rows, waiting};
use crate::{
    spool::{Dropped, Spool, SpoolError},
    store::sqlite::file::FileError,
};

/// A spool with a hundred reports, closed.
fn filled(path: &Path) {
    let mut spool = open(path);
    for sequence in 0..100 {
        spool.close_report(A, sequence, &[1; 1_000], 0).unwrap();
    }
}

fn spoil(path: &Path, from: usize) {
    let mut bytes = fs::read(path).unwrap();
    bytes[from..].fill(0xa5);
    fs::write(path, bytes).unwrap();
}

#[test]
fn a_damaged_file_is_set_aside_when_it_is_opened() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("spool.db");
    for from in [0, 4_096] {
        filled(&path);
        spoil(&path, from);
        let damaged = fs::read(&path).unwrap();
        let mut spool = open(&path);
        let aside = spool.set_aside().unwrap().to_owned();
        assert!(
            aside
                .to_string_lossy()
                .contains("spool.db.damaged-20261122T120000Z")
        );
        assert_eq!(fs::read(aside).unwrap(), damaged);
        assert_eq!(waiting(&mut spool), []);
        spool.close_report(B, 0, b"after", 0).unwrap();
        drop(spool);
        let mut spool = open(&path);
        assert_eq!(spool.set_aside(), None);
        assert_eq!(waiting(&mut spool), [(B, 0)]);
        drop(spool);
        fs::remove_file(&path).unwrap();
    }
}

/// Damage that comes while the spool is open: it goes on in a new file, what was lost is counted, and
/// the boot's sequences go on.
#[test]
fn a_file_that_proves_damaged_later_is_set_aside_then() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("spool.db");
    let mut spool = open(&path);
    // More than the cache holds.
    for sequence in 0..700 {
        spool.close_report(A, sequence, &[1; 1_000], 0).unwrap();
    }
    drop(spool);
    let mut spool = open(&path);
    assert_eq!(spool.stats().reports, 700);
    spoil(&path, 4_096);
    let error = spool.next_batch(700).unwrap_err();
    assert!(matches!(error, SpoolError::Damaged { .. }), "{error}");
    assert!(spool.set_aside().is_some());
    let lost = Dropped {
        reports: 700,
        rows: 0,
    };
    assert_eq!(spool.stats().dropped, lost);
    assert_eq!(waiting(&mut spool), []);
    spool.journal(A, &rows(1..=3)).unwrap();
    spool.close_report(A, 700, b"after", 3).unwrap();
    drop(spool);
    let mut spool = open(&path);
    assert_eq!(spool.stats().dropped, lost, "kept in the new file");
    assert_eq!(waiting(&mut spool), [(A, 700)]);
}

#[test]
fn sequences_go_on_after_damage() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("spool.db");
    let mut spool = open(&path);
    spool.close_report(A, 41, b"x", 0).unwrap();
    spool.begin_anew(&path, "for the test");
    assert_eq!(spool.next_sequence(A).unwrap(), 42);
    assert!(matches!(
        spool.close_report(A, 41, b"x", 0),
        Err(SpoolError::SequenceUsed { next: 42, .. })
    ));
    spool.close_report(A, 42, b"x", 0).unwrap();
    assert_eq!(waiting(&mut spool), [(A, 42)]);
}

#[test]
fn a_newer_versions_spool_is_refused() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("spool.db");
    filled(&path);
    let db = Connection::open(&path).unwrap();
    db.pragma_update(None, "user_version", 2).unwrap();
    drop(db);
    let error = Spool::open(&path, 1_000, NOW).unwrap_err();
    let SpoolError::File(FileError::Newer {
        found: 2, known: 1, ..
    }) = &error
    else {
        panic!("{error}");
    };
    assert!(error.to_string().contains("spool.db"), "{error}");
}
