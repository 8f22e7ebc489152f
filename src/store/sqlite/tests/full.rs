//! Full disks.

use std::{
    fs,
    path::{Path, PathBuf},
    process::Command,
};

use super::{open, reports, sequences};
use crate::store::{
    Appended, Log, Meta, Reports, StoreError,
    conformance::{DAY, NOON, at, event},
    records::Filed,
    sqlite::Sqlite,
};

const NEW: Appended = Appended::New(Filed::ByEnd);

/// Lets a day's file grow to so many pages and no further.
fn limit(store: &mut Sqlite, day: i64, pages: i64) {
    store
        .days
        .with_new(day, NOON, |db| {
            db.pragma_update_and_check(None, "max_page_count", pages, |_| Ok(()))
        })
        .unwrap();
}

#[test]
fn a_full_day_acknowledges_nothing_and_works_again_when_there_is_room() {
    let dir = tempfile::tempdir().unwrap();
    let mut store = open(dir.path());
    let today = NOON.utc_day();
    store.append_reports(&reports(0..10, NOON, 1_000)).unwrap();
    limit(&mut store, today, 30);
    let more = reports(10..100, NOON, 1_000);
    for _ in 0..2 {
        let full = store.append_reports(&more).unwrap_err();
        let StoreError::Full { path } = &full else {
            panic!("{full}")
        };
        assert_eq!(path, &dir.path().join("reports-2026-11-22.db"));
        assert_eq!(sequences(&mut store), (0..10).collect::<Vec<_>>());
    }
    limit(&mut store, today, 1_000_000);
    assert_eq!(store.append_reports(&more).unwrap(), [NEW; 90]);
    assert_eq!(sequences(&mut store), (0..100).collect::<Vec<_>>());
}

#[test]
fn what_another_day_kept_before_the_error_is_new_when_it_comes_again() {
    let dir = tempfile::tempdir().unwrap();
    let mut store = open(dir.path());
    let today = NOON.utc_day();
    limit(&mut store, today, 8);
    let mut batch = reports(0..20, at(-DAY), 1_000);
    batch.extend(reports(20..60, NOON, 1_000));
    assert!(matches!(
        store.append_reports(&batch),
        Err(StoreError::Full { .. })
    ));
    assert_eq!(sequences(&mut store), (0..20).collect::<Vec<_>>());
    limit(&mut store, today, 1_000_000);
    assert_eq!(store.append_reports(&batch).unwrap(), [NEW; 60]);
    assert_eq!(sequences(&mut store), (0..60).collect::<Vec<_>>());
    assert_eq!(store.append_reports(&batch).unwrap(), [Appended::Repeat; 60]);
    assert_eq!((store.counters.reports, store.counters.repeats), (60, 60));
}

/// A file system of its own and of a few megabytes, while it lives.
struct Small(PathBuf);

impl Small {
    fn mount(at: &Path, bytes: usize) -> Option<Self> {
        let mounted = Command::new("mount")
            .args(["-t", "tmpfs", "-o", &format!("size={bytes}"), "tmpfs"])
            .arg(at)
            .status()
            .is_ok_and(|s| s.success());
        mounted.then(|| Self(at.to_owned()))
    }
}

impl Drop for Small {
    fn drop(&mut self) {
        let _ = Command::new("umount").arg("-l").arg(&self.0).status();
    }
}

#[test]
fn a_full_disk_acknowledges_nothing_and_works_again_when_there_is_room() {
    let dir = tempfile::tempdir().unwrap();
    let Some(_disk) = Small::mount(dir.path(), 8 << 20) else {
        eprintln!("SKIPPED: mounting a small file system needs root");
        return;
    };
    let mut store = open(dir.path());
    fs::write(dir.path().join("ballast"), vec![0; 4 << 20]).unwrap();
    let mut kept = 0;
    let path = loop {
        match store.append_reports(&reports(kept..kept + 50, NOON, 1_000)) {
            Ok(told) => assert_eq!(told, [NEW; 50]),
            Err(StoreError::Full { path }) => break path,
            Err(other) => panic!("{other}"),
        }
        kept += 50;
    };
    assert_eq!(path, dir.path().join("reports-2026-11-22.db"));
    assert!(kept >= 500, "{kept}");
    assert_eq!(sequences(&mut store), (0..kept).collect::<Vec<_>>());
    // The main file is on it too, and a new day cannot even begin.
    let events = vec![event(NOON, "e"); 2_000];
    assert!(matches!(
        store.append_events(&events),
        Err(StoreError::Full { .. })
    ));
    let tomorrow = store.append_reports(&reports(kept..kept + 50, at(DAY), 1_000));
    assert!(matches!(tomorrow, Err(StoreError::Full { .. })), "{tomorrow:?}");
    assert_eq!(sequences(&mut store), (0..kept).collect::<Vec<_>>());

    fs::remove_file(dir.path().join("ballast")).unwrap();
    store.set_meta("a", b"b").unwrap();
    let told = store
        .append_reports(&reports(kept - 50..kept + 50, NOON, 1_000))
        .unwrap();
    assert_eq!(told[..50], [Appended::Repeat; 50]);
    assert_eq!(told[50..], [NEW; 50]);
    store
        .append_reports(&reports(kept + 50..kept + 60, at(DAY), 1_000))
        .unwrap();
    drop(store);
    let mut store = open(dir.path());
    assert_eq!(sequences(&mut store), (0..kept + 60).collect::<Vec<_>>());
    assert_eq!(store.get_meta("a").unwrap().as_deref(), Some(b"b".as_slice()));
}
