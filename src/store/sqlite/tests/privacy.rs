//! Who can read the files, and what is left in them.

use std::{
    fs,
    os::unix::fs::{DirBuilderExt, PermissionsExt},
    path::Path,
};

use super::{open, reports};
use crate::store::{
    Classes, Log, Reports, Store,
    conformance::{NOON, agent_record, at, enrol, event, plan},
    records::EventRecord,
};

fn mode(path: &Path) -> u32 {
    fs::metadata(path).unwrap().permissions().mode() & 0o777
}

#[test]
fn files_are_their_owners_alone() {
    let dir = tempfile::tempdir().unwrap();
    let made = dir.path().join("a/b");
    let open_to_all = dir.path().join("open");
    fs::DirBuilder::new().mode(0o755).create(&open_to_all).unwrap();
    for place in [&made, &open_to_all] {
        let mut store = open(place);
        store.append_reports(&reports(0..3, NOON, 10)).unwrap();
        assert_eq!(mode(place), 0o700);
        let mut files = 0;
        for entry in fs::read_dir(place).unwrap() {
            let path = entry.unwrap().path();
            assert_eq!(mode(&path), 0o600, "{}", path.display());
            files += 1;
        }
        assert!(files > 5, "logs are among them");
    }
}

#[test]
fn a_directory_with_other_things_in_it_is_left_open() {
    let dir = tempfile::tempdir().unwrap();
    let shared = dir.path().join("shared");
    fs::DirBuilder::new().mode(0o755).create(&shared).unwrap();
    fs::write(shared.join("other"), b"").unwrap();
    open(&shared);
    assert_eq!(mode(&shared), 0o755);
}

fn occurs(dir: &Path, needle: &str) -> Vec<String> {
    let mut found = Vec::new();
    for entry in fs::read_dir(dir).unwrap() {
        let entry = entry.unwrap();
        let bytes = fs::read(entry.path()).unwrap();
        if bytes.windows(needle.len()).any(|w| w == needle.as_bytes()) {
            found.push(entry.file_name().into_string().unwrap());
        }
    }
    found
}

/// The tables grow, shrink and are rewritten as they are in a year, so that pages are split, joined and
/// freed; then not a byte of the subject is left.
#[test]
fn an_erased_subject_is_in_no_file() {
    let dir = tempfile::tempdir().unwrap();
    let mut store = open(dir.path());
    let name = |n: u64| format!("pupil-{n:05}-of-the-school");
    let agents: Vec<_> = (0..150).map(|n| agent_record(n, &name(n))).collect();
    enrol(&mut store, &agents);
    for round in 0..3u64 {
        for n in 0..80u64 {
            let subject = name((n * 37 + round) % 150);
            let body = format!(
                r#"{{"to":"agent:{}","pad":"{}"}}"#,
                name(n),
                "x".repeat(60 * usize::try_from(n).unwrap() % 3_000)
            );
            let of = EventRecord {
                subject: Some(subject.clone()),
                detail: body.clone(),
                ..event(at(i64::try_from(n).unwrap()), "e")
            };
            let plan = plan("c", &subject, round, NOON, &body);
            store.append_plans(&[plan]).unwrap();
            store.append_events(&[of]).unwrap();
        }
        for mut agent in agents.iter().cloned() {
            agent.tags.insert(
                "round".into(),
                "y".repeat(usize::try_from((agent.id.0 * 7 + round * 50) % 300).unwrap()),
            );
            assert!(crate::store::Agents::update_agent(&mut store, &agent).unwrap());
        }
    }
    for erased in [3, 37, 149, 74, 50] {
        let subject = name(erased);
        assert!(!occurs(dir.path(), &subject).is_empty());
        store
            .erase_subject(&subject, &format!("gone-{erased}"), NOON)
            .unwrap();
        assert_eq!(occurs(dir.path(), &subject), [""; 0], "{subject}");
    }
    assert!(!occurs(dir.path(), &name(4)).is_empty(), "nobody else");
}
