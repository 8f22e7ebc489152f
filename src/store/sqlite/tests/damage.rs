//! Damaged, missing and foreign files.

use std::{
    fs,
    path::{Path, PathBuf},
};

use rusqlite::Connection;

use super::{open, reports, sequences};
use crate::store::{
    Appended, EventQuery, Grants as _, Log, Meta, Reports, Retention, Store, StoreError,
    conformance::{DAY, NOON, agent_record, at, enrol},
    records::Filed,
    sqlite::Sqlite,
};

const NEW: Appended = Appended::New(Filed::ByEnd);

/// Overwrites everything from `from` on.
fn spoil(path: &Path, from: usize) {
    let mut bytes = fs::read(path).unwrap();
    bytes[from..].fill(0xa5);
    fs::write(path, bytes).unwrap();
}

fn names(dir: &Path) -> Vec<String> {
    let mut names: Vec<_> = fs::read_dir(dir)
        .unwrap()
        .map(|e| e.unwrap().file_name().into_string().unwrap())
        .collect();
    names.sort();
    names
}

/// Yesterday's and today's reports, closed; answers the path of today's.
fn two_days(dir: &Path) -> PathBuf {
    let mut store = open(dir);
    store.append_reports(&reports(0..50, at(-DAY), 1_000)).unwrap();
    store.append_reports(&reports(50..100, NOON, 1_000)).unwrap();
    dir.join("reports-2026-11-22.db")
}

/// `s` seconds after noon.
fn assert_told(store: &mut Sqlite, s: i64) {
    assert_eq!(store.counters().set_aside, 1);
    let events = store.events(&EventQuery::default()).unwrap();
    assert_eq!(events.len(), 1);
    assert_eq!((events[0].kind.as_str(), events[0].at), ("store_damaged", at(s)));
    let detail: serde_json::Value = serde_json::from_str(&events[0].detail).unwrap();
    let named = |field: &str| detail[field].as_str().unwrap().to_owned();
    assert!(named("file").ends_with("reports-2026-11-22.db"));
    assert!(named("set_aside").ends_with(&format!("reports-2026-11-22.db.damaged-20261122T12000{s}Z")));
}

#[test]
fn a_day_without_a_header_is_set_aside_when_the_store_opens() {
    let dir = tempfile::tempdir().unwrap();
    spoil(&two_days(dir.path()), 0);
    let mut store = open(dir.path());
    assert_told(&mut store, 0);
    assert_eq!(sequences(&mut store), (0..50).collect::<Vec<_>>());
    // What was lost may come again, what was not may not.
    let told = store.append_reports(&reports(49..51, NOON, 1_000)).unwrap();
    assert_eq!(told, [Appended::Repeat, NEW]);
    drop(store);
    assert_eq!(
        names(dir.path()),
        [
            "corridor.db",
            "corridor.lock",
            "reports-2026-11-21.db",
            "reports-2026-11-22.db",
            "reports-2026-11-22.db.damaged-20261122T120000Z",
        ]
    );
    assert_eq!(open(dir.path()).counters().set_aside, 0, "it is not opened again");
}

#[test]
fn a_day_with_spoiled_pages_is_set_aside_when_it_is_read() {
    let dir = tempfile::tempdir().unwrap();
    spoil(&two_days(dir.path()), 8_192);
    let mut store = open(dir.path());
    assert_eq!(sequences(&mut store), (0..50).collect::<Vec<_>>());
    assert_told(&mut store, 0);
}

#[test]
fn a_day_with_spoiled_pages_is_set_aside_when_it_is_written() {
    let dir = tempfile::tempdir().unwrap();
    spoil(&two_days(dir.path()), 8_192);
    let mut store = open(dir.path());
    let told = store.append_reports(&reports(200..300, NOON, 1_000)).unwrap();
    assert_eq!(told, [NEW; 100]);
    assert_eq!(sequences(&mut store), (0..50).chain(200..300).collect::<Vec<_>>());
    assert_told(&mut store, 1);
}

#[test]
fn a_second_damaged_file_gets_a_name_of_its_own() {
    let dir = tempfile::tempdir().unwrap();
    for _ in 0..2 {
        spoil(&two_days(dir.path()), 0);
        drop(open(dir.path()));
    }
    let aside = names(dir.path());
    let aside: Vec<_> = aside.iter().filter(|n| n.contains("damaged")).collect();
    assert_eq!(
        aside,
        [
            "reports-2026-11-22.db.damaged-20261122T120000Z",
            "reports-2026-11-22.db.damaged-20261122T120000Z-1",
        ]
    );
    // They hold what may not be kept for longer than the rest.
    let mut store = open(dir.path());
    let retained = store.retain(at(4 * DAY), &Retention::default()).unwrap();
    assert_eq!(retained.days, 2);
    drop(store);
    assert_eq!(names(dir.path()), ["corridor.db", "corridor.lock"]);
}

#[test]
fn without_its_main_file_nothing_goes_on() {
    for spoiling in ["header", "pages", "empty", "gone", "gone without mark"] {
        let dir = tempfile::tempdir().unwrap();
        two_days(dir.path());
        let path = dir.path().join("corridor.db");
        match spoiling {
            "header" => spoil(&path, 0),
            "pages" => {
                let mut store = open(dir.path());
                let agents: Vec<_> = (0..200).map(|n| agent_record(n, "s")).collect();
                enrol(&mut store, &agents);
                drop(store);
                let root: i64 = Connection::open(&path)
                    .unwrap()
                    .query_row(
                        "SELECT rootpage FROM sqlite_schema WHERE name = 'agents'",
                        [],
                        |r| r.get(0),
                    )
                    .unwrap();
                let mut bytes = fs::read(&path).unwrap();
                let at = usize::try_from(root - 1).unwrap() * 4_096;
                bytes[at..at + 4_096].fill(0xa5);
                fs::write(&path, bytes).unwrap();
            }
            "empty" => fs::write(&path, b"").unwrap(),
            "gone" => fs::remove_file(&path).unwrap(),
            _ => {
                fs::remove_file(&path).unwrap();
                fs::remove_file(dir.path().join("corridor.lock")).unwrap();
            }
        }
        let before = fs::read(&path).ok();
        let error = Sqlite::open(dir.path(), NOON).unwrap_err();
        let is_missing = matches!(error, StoreError::Missing { .. });
        let is_damaged = matches!(error, StoreError::Damaged { .. });
        assert_eq!(
            is_damaged,
            ["header", "pages"].contains(&spoiling),
            "{spoiling}: {error}"
        );
        assert_eq!(is_missing, !is_damaged, "{spoiling}: {error}");
        let said = error.to_string();
        assert!(
            said.contains(&*path.to_string_lossy()) && said.contains("backup"),
            "{said}"
        );
        assert_eq!(fs::read(&path).ok(), before, "{spoiling}: it is left as it is");
    }
}

#[test]
fn a_newer_versions_store_is_refused_and_left_as_it_is() {
    for (name, steps) in [("corridor.db", 2), ("reports-2026-11-22.db", 1)] {
        let dir = tempfile::tempdir().unwrap();
        two_days(dir.path());
        let path = dir.path().join(name);
        let db = Connection::open(&path).unwrap();
        db.pragma_update(None, "user_version", 99).unwrap();
        drop(db);
        let before = fs::read(&path).unwrap();
        let error = Sqlite::open(dir.path(), NOON).unwrap_err();
        let StoreError::Newer {
            path: named,
            found: 99,
            known,
        } = &error
        else {
            panic!("{error}");
        };
        assert_eq!((named, *known), (&path, steps));
        assert_eq!(fs::read(&path).unwrap(), before);
    }
}

#[test]
fn an_older_versions_store_goes_on_with_what_it_has() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("corridor.db");
    fs::write(dir.path().join("corridor.lock"), b"").unwrap();
    let db = Connection::open(&path).unwrap();
    db.execute_batch(include_str!("../main_1.sql")).unwrap();
    db.execute("INSERT INTO meta (name, value) VALUES ('a', x'07')", [])
        .unwrap();
    db.pragma_update(None, "user_version", 1).unwrap();
    drop(db);
    let mut store = open(dir.path());
    assert_eq!(store.get_meta("a").unwrap(), Some(vec![7]));
    assert_eq!(store.grants().unwrap(), []);
}

#[test]
fn an_interrupted_beginning_is_no_damage() {
    let dir = tempfile::tempdir().unwrap();
    fs::write(dir.path().join("corridor.lock"), b"").unwrap();
    fs::write(dir.path().join("corridor.db"), b"").unwrap();
    let mut store = open(dir.path());
    store.set_meta("a", b"b").unwrap();
    // A day's file that was made and not filled.
    fs::write(dir.path().join("reports-2026-11-20.db"), b"").unwrap();
    drop(store);
    let mut store = open(dir.path());
    assert_eq!(store.get_meta("a").unwrap().as_deref(), Some(b"b".as_slice()));
    assert_eq!(sequences(&mut store), [0; 0]);
}
