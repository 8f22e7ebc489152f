//! Ends of processes, and two of them at a time.

use std::{collections::BTreeSet, thread, time::Duration};

use corridor_probes::BootId;

use super::{NOW, leftovers, open};
use crate::{
    spool::{JournalRow, Spool, SpoolError},
    store::crash::{Killed, place, say},
};

const CHILD: &str = "spool::tests::crashes::journals_until_killed";

/// Seconds that a report's body says it covers.
fn seconds(body: &[u8]) -> Vec<i64> {
    let words = std::str::from_utf8(body).unwrap().split_whitespace();
    words.map(|n| n.parse().unwrap()).collect()
}

/// Says `j SECOND` after a second is journalled, `c SEQUENCE` after a report is closed, and `a SEQUENCE`
/// before it acknowledges one.
#[test]
#[ignore = "the child of every_second_is_in_one_place_after_kill_9"]
fn journals_until_killed() {
    let Some(dir) = place() else { return };
    let boot = BootId(
        std::fs::read_to_string(dir.join("boot"))
            .unwrap()
            .parse()
            .unwrap(),
    );
    let mut spool = open(&dir.join("spool.db"));
    let mut covered = Vec::new();
    for second in 0.. {
        let body = format!("{second}").into_bytes();
        spool.journal(boot, &[JournalRow { second, body }]).unwrap();
        say(&format!("j {second}"));
        covered.push(second.to_string());
        if covered.len() == 4 {
            let sequence = spool.next_sequence(boot).unwrap();
            let body = covered.join(" ");
            spool
                .close_report(boot, sequence, body.as_bytes(), second)
                .unwrap();
            say(&format!("c {sequence}"));
            covered.clear();
            if sequence % 3 == 2 {
                say(&format!("a {}", sequence - 2));
                assert!(spool.acknowledge(boot, sequence - 2).unwrap());
            }
        }
    }
}

#[test]
fn every_second_is_in_one_place_after_kill_9() {
    let dir = tempfile::tempdir().unwrap();
    for (boot, lines) in [(1u64, 1), (2, 6), (3, 40), (4, 333), (5, 1_000)] {
        std::fs::write(dir.path().join("boot"), boot.to_string()).unwrap();
        let mut child = Killed::start(CHILD, dir.path());
        let mut said = child.hear(lines);
        said.extend(child.kill());
        let numbers = |of: &str| -> Vec<i64> {
            let found = said.iter().filter_map(|line| line.strip_prefix(of));
            found.map(|n| n.parse().unwrap()).collect()
        };
        let (journalled, closed, acknowledged) = (numbers("j "), numbers("c "), numbers("a "));

        let mut spool = open(&dir.path().join("spool.db"));
        let reports = spool.next_batch(u32::MAX).unwrap();
        let reports: Vec<_> = reports.into_iter().filter(|r| r.boot == BootId(boot)).collect();
        let sequences: BTreeSet<_> = reports
            .iter()
            .map(|r| i64::try_from(r.sequence).unwrap())
            .collect();
        assert_eq!(sequences.len(), reports.len());
        for sequence in &closed {
            assert!(sequences.contains(sequence) || acknowledged.contains(sequence));
        }
        let mut found: Vec<i64> = reports.iter().flat_map(|r| seconds(&r.body)).collect();
        // A report that was acknowledged took its seconds with it.
        found.extend(
            acknowledged
                .iter()
                .filter(|a| !sequences.contains(a))
                .flat_map(|a| a * 4..a * 4 + 4),
        );
        let next = spool.next_sequence(BootId(boot)).unwrap();
        assert!(closed.iter().all(|c| *c < i64::try_from(next).unwrap()));
        for leftover in leftovers(&mut spool, BootId(99)) {
            assert_eq!((leftover.boot, leftover.next_sequence), (BootId(boot), next));
            found.extend(leftover.rows.iter().map(|r| r.second));
        }
        found.sort_unstable();
        let whole: Vec<_> = (0..i64::try_from(found.len()).unwrap()).collect();
        assert_eq!(found, whole, "each second once, none between is missing");
        // One more may have been journalled than was said.
        let unsaid = found.len() - journalled.len();
        assert!(unsaid <= 1, "{unsaid}");
    }
}

#[test]
#[ignore = "the child of one_process_at_a_time"]
fn holds_the_spool() {
    let Some(dir) = place() else { return };
    let _spool = open(&dir.join("spool.db"));
    say("open");
    loop {
        thread::sleep(Duration::from_secs(60));
    }
}

#[test]
fn one_process_at_a_time() {
    let dir = tempfile::tempdir().unwrap();
    let mut child = Killed::start("spool::tests::crashes::holds_the_spool", dir.path());
    child.hear(1);
    let refused = Spool::open(&dir.path().join("spool.db"), 1_000, NOW).unwrap_err();
    assert!(matches!(refused, SpoolError::Locked { .. }), "{refused}");
    child.kill();
    open(&dir.path().join("spool.db"));
}
