//! How much it holds, on disk and in memory.

use std::{fs, path::Path, process::Command};

use super::{A, B, NOW, row, rows, waiting};
use crate::spool::{Dropped, JournalRow, Spool, SpoolError};

#[test]
fn the_oldest_goes_when_it_is_full_and_is_counted_for_good() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("spool.db");
    // Each takes 100 B.
    let body = [0; 36];
    let mut spool = Spool::open(&path, 500, NOW).unwrap();
    for sequence in 0..5 {
        spool.close_report(A, sequence, &body, 0).unwrap();
    }
    assert_eq!(spool.stats().bytes, 500);
    assert_eq!(spool.stats().dropped, Dropped::default(), "exactly full");
    spool.close_report(B, 0, &body, 0).unwrap();
    assert_eq!(waiting(&mut spool), [(A, 1), (A, 2), (A, 3), (A, 4), (B, 0)]);
    // A bigger one drives out as many as it must.
    spool.close_report(B, 1, &[0; 200], 0).unwrap();
    assert_eq!(waiting(&mut spool), [(A, 4), (B, 0), (B, 1)]);
    let four = Dropped { reports: 4, rows: 0 };
    assert_eq!(spool.stats().dropped, four);
    drop(spool);

    let mut spool = Spool::open(&path, 500, NOW).unwrap();
    assert_eq!(spool.stats().dropped, four);
    let too_large = spool.close_report(B, 2, &[0; 437], 0);
    assert!(matches!(
        too_large,
        Err(SpoolError::TooLarge {
            bytes: 437,
            limit: 500
        })
    ));
    assert_eq!(waiting(&mut spool).len(), 3, "it drives out nothing");
    spool.close_report(B, 2, &[0; 436], 0).unwrap();
    assert_eq!(waiting(&mut spool), [(B, 2)]);
    assert_eq!(spool.stats().dropped, Dropped { reports: 8, rows: 0 });
}

#[test]
fn reports_go_before_the_journal_and_the_journal_is_bounded_too() {
    let mut spool = Spool::in_memory(1_000).unwrap();
    spool.close_report(A, 0, &[0; 100], 0).unwrap();
    let journal = |second| JournalRow {
        body: vec![0; 136],
        ..row(second)
    };
    for second in 1..=7 {
        spool.journal(A, &[journal(second)]).unwrap();
    }
    assert_eq!(spool.stats().dropped, Dropped { reports: 1, rows: 2 });
    let left = spool.leftover_journal(B, 100).unwrap().unwrap();
    let seconds: Vec<_> = left.rows.iter().map(|r| r.second).collect();
    assert_eq!(seconds, [3, 4, 5, 6, 7]);
    // A limit that was lowered is kept from the next change on.
    spool.limit = 300;
    spool.acknowledge(A, 9).unwrap();
    assert_eq!((spool.stats().journal_rows, spool.stats().bytes), (1, 200));
}

#[test]
fn the_file_stays_near_its_limit() {
    const LIMIT: u64 = 2 << 20;
    let dir = tempfile::tempdir().unwrap();
    for body in [400, 1_500, 2_100, 4_200, 30_000] {
        let path = dir.path().join(format!("{body}.db"));
        let mut spool = Spool::open(&path, LIMIT, NOW).unwrap();
        let mut worst = 0;
        let reports = 2 * LIMIT / (body + 64);
        for sequence in 0..reports {
            // As it goes: a few seconds, then a report of them.
            spool.journal(A, &rows(0..=2)).unwrap();
            let body = vec![7; usize::try_from(body).unwrap()];
            spool.close_report(A, sequence, &body, 2).unwrap();
            if sequence % 64 == 0 {
                worst = worst.max(size(dir.path()));
            }
        }
        assert!(spool.stats().dropped.reports > reports / 3);
        assert!(spool.stats().bytes > LIMIT * 9 / 10);
        let allowed = LIMIT * 2 + (2 << 20);
        assert!(worst < allowed, "bodies of {body} B: {worst} B on disk");
        println!(
            "bodies of {body} B: {:.2} times the limit",
            worst as f64 / LIMIT as f64
        );
        drop(spool);
        fs::remove_file(path).unwrap();
    }
}

fn size(dir: &Path) -> u64 {
    let files = fs::read_dir(dir).unwrap();
    files.map(|f| f.unwrap().metadata().unwrap().len()).sum()
}

#[test]
fn on_a_full_disk_drops_are_counted_and_it_goes_on_when_there_is_room() {
    let dir = tempfile::tempdir().unwrap();
    let mounted = Command::new("mount")
        .args(["-t", "tmpfs", "-o", "size=4m", "tmpfs"])
        .arg(dir.path())
        .status()
        .is_ok_and(|s| s.success());
    if !mounted {
        eprintln!("SKIPPED: mounting a small file system needs root");
        return;
    }
    let disk = Unmount(dir.path());
    let path = dir.path().join("spool.db");
    let mut spool = Spool::open(&path, 1 << 20, NOW).unwrap();
    spool.close_report(A, 0, b"kept", 0).unwrap();
    fill(&dir.path().join("ballast"));
    let mut lost = Dropped::default();
    let mut kept = 1;
    for second in 0..200 {
        match spool.journal(
            A,
            &[JournalRow {
                second,
                body: vec![1; 2_000],
            }],
        ) {
            Ok(()) => {}
            Err(SpoolError::Full { .. }) => lost.rows += 1,
            Err(other) => panic!("{other}"),
        }
        match spool.close_report(A, u64::try_from(second).unwrap() + 1, &[2; 6_000], second) {
            Ok(()) => kept += 1,
            Err(SpoolError::Full { .. }) => lost.reports += 1,
            Err(other) => panic!("{other}"),
        }
    }
    assert!(lost.reports > 0 && lost.rows > 0, "{lost:?}");
    assert_eq!(spool.stats().dropped, lost);
    assert_eq!(waiting(&mut spool).len(), kept);

    fs::remove_file(dir.path().join("ballast")).unwrap();
    let next = spool.next_sequence(A).unwrap();
    spool.close_report(A, next, b"again", 1_000).unwrap();
    assert_eq!(spool.stats().journal_rows, 0);
    assert_eq!(spool.stats().dropped, lost);
    drop(spool);
    let mut spool = Spool::open(&path, 1 << 20, NOW).unwrap();
    assert_eq!(spool.stats().dropped, lost, "in the file now");
    assert_eq!(waiting(&mut spool).len(), kept + 1);
    drop(spool);
    drop(disk);
}

struct Unmount<'a>(&'a Path);

impl Drop for Unmount<'_> {
    fn drop(&mut self) {
        let _ = Command::new("umount").arg("-l").arg(self.0).status();
    }
}

fn fill(path: &Path) {
    use std::io::Write;
    let mut file = fs::File::create(path).unwrap();
    while file.write_all(&[0; 4_096]).is_ok() {}
}

/// Resident memory of this process, kB: what it wrote to, and what is code and files. Linux only.
fn resident() -> String {
    let status = fs::read_to_string("/proc/self/status").unwrap_or_default();
    let lines = status
        .lines()
        .filter(|l| l.starts_with("RssAnon") || l.starts_with("RssFile"));
    lines.collect::<Vec<_>>().join(" ").replace(['\t', ' '], "")
}

#[test]
#[ignore = "prints figures; to be run alone"]
fn memory_of_a_full_spool() {
    let dir = tempfile::tempdir().unwrap();
    let before = resident();
    let mut spool = Spool::open(&dir.path().join("spool.db"), super::super::DEFAULT_LIMIT, NOW).unwrap();
    let opened = resident();
    for second in 0..40_000 {
        spool
            .journal(
                A,
                &[JournalRow {
                    second,
                    body: vec![1; 1_000],
                }],
            )
            .unwrap();
        if second % 10 == 9 {
            let sequence = spool.next_sequence(A).unwrap();
            spool.close_report(A, sequence, &[2; 9_000], second).unwrap();
            spool.next_batch(2).unwrap();
        }
    }
    println!("{:?}", spool.stats());
    println!(
        "resident kB: before {before:?}, open {opened:?}, full {:?}",
        resident()
    );
}
