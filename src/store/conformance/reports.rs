use std::collections::BTreeSet;

use corridor_probes::Wall;
use proptest::prelude::*;

use super::{Backend, DAY, NOON, agent, agent_record, all, at, between, edge, enrol, report};
use crate::store::{
    Appended, Counters,
    records::{Filed, ReportRecord},
};

const NEW: Appended = Appended::New(Filed::ByEnd);
const MISDATED: Appended = Appended::New(Filed::ByReceipt);

pub(crate) fn come_back_whole_in_order_of_time<B: Backend>() {
    let mut backend = B::new();
    let mut store = backend.open();
    let midnight = 12 * 3_600;
    let mut odd = report(agent(u64::MAX), u64::MAX, u64::MAX, at(midnight));
    odd.body = vec![0, 255, 0];
    let batch = [
        report(agent(1), 1, 3, at(midnight + 5)),
        report(agent(1), 1, 1, at(10)),
        odd,
        report(edge(1), 1, 1, at(11)),
        report(agent(1), 2, 0, at(midnight - 1)),
        report(agent(1), 1, 2, at(10)),
    ];
    assert_eq!(store.append_reports(&batch).unwrap(), [NEW; 6]);
    assert_eq!(store.append_reports(&[]).unwrap(), []);
    let mut store = backend.again(store);
    let of = |indices: &[usize]| indices.iter().map(|i| batch[*i].clone()).collect::<Vec<_>>();
    assert_eq!(all(&mut *store, &[agent(1)]), of(&[1, 5, 4, 0]));
    assert_eq!(all(&mut *store, &[edge(1)]), of(&[3]));
    assert_eq!(all(&mut *store, &[agent(2)]), []);
    assert_eq!(all(&mut *store, &[]), []);
    let everyone = [edge(1), agent(u64::MAX), agent(1), agent(1)];
    assert_eq!(
        all(&mut *store, &everyone),
        of(&[1, 5, 3, 4, 2, 0]),
        "across days and reporters"
    );
    for (from, to, expected) in [
        (10, 11, [1, 5].as_slice()),
        (10, 12, &[1, 5, 3]),
        (midnight - 1, midnight, &[4]),
        (midnight, midnight + 5, &[2]),
        (midnight, midnight + 6, &[2, 0]),
        (11, 11, &[]),
        (12, 10, &[]),
    ] {
        let found = between(&mut *store, &everyone, at(from), at(to));
        assert_eq!(found, of(expected), "{from}..{to}");
    }
}

pub(crate) fn are_kept_once<B: Backend>() {
    let mut backend = B::new();
    let mut store = backend.open();
    let first = report(agent(1), 1, 5, NOON);
    // The same identity, filed under another day: an estimate of the time that has changed.
    let mut moved = report(agent(1), 1, 5, at(-3 * DAY));
    moved.body = b"not this one".to_vec();
    let told = store
        .append_reports(&[first.clone(), moved.clone(), first.clone()])
        .unwrap();
    assert_eq!(told, [NEW, Appended::Repeat, Appended::Repeat]);
    let mut store = backend.again(store);
    assert_eq!(
        store.append_reports(&[moved, first.clone()]).unwrap(),
        [Appended::Repeat; 2]
    );
    // Other identities: below, above, another boot, another reporter, an edge of the same number.
    let others = [
        report(agent(1), 1, 4, at(DAY)),
        report(agent(1), 1, 6, NOON),
        report(agent(1), 2, 5, NOON),
        report(agent(2), 1, 5, NOON),
        report(edge(1), 1, 5, NOON),
    ];
    assert_eq!(store.append_reports(&others).unwrap(), [NEW; 5]);
    assert_eq!(store.append_reports(&others).unwrap(), [Appended::Repeat; 5]);
    let kept = all(&mut *store, &[agent(1), agent(2), edge(1)]);
    assert_eq!(kept.len(), 6);
    assert!(kept.contains(&first));
}

#[derive(Debug, Clone)]
enum Step {
    Append(Vec<ReportRecord>),
    Again,
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let any = (
        0..3u64,
        0..2u64,
        prop_oneof![0..12u64, (u64::MAX - 2)..=u64::MAX],
        -3..3i64,
    );
    let one = any.prop_map(|(who, boot, sequence, day)| {
        let who = if who == 2 { edge(1) } else { agent(who) };
        report(who, boot, sequence, at(day * DAY))
    });
    let step = prop_oneof![
        4 => prop::collection::vec(one, 0..12).prop_map(Step::Append),
        1 => Just(Step::Again),
    ];
    prop::collection::vec(step, 1..10)
}

/// Against a set: what is told to be new is what was not there, and all of it is there once.
pub(crate) fn are_kept_once_whatever_comes<B: Backend>() {
    let config = ProptestConfig {
        cases: 24,
        failure_persistence: None,
        ..ProptestConfig::default()
    };
    proptest!(config, |(steps in steps())| {
        let mut backend = B::new();
        let mut store = backend.open();
        let mut expected: Vec<ReportRecord> = Vec::new();
        let mut identities = BTreeSet::new();
        for step in steps {
            match step {
                Step::Again => store = backend.again(store),
                Step::Append(batch) => {
                    let told = store.append_reports(&batch).unwrap();
                    for (report, told) in batch.into_iter().zip(told) {
                        let is_new = identities.insert((report.reporter, report.boot, report.sequence));
                        prop_assert_eq!(told, if is_new { NEW } else { Appended::Repeat });
                        if is_new {
                            expected.push(report);
                        }
                    }
                }
            }
        }
        expected.sort_by_key(|r| r.end);
        let mut kept = all(&mut *store, &[agent(0), agent(1), edge(1)]);
        prop_assert!(kept.is_sorted_by_key(|r| r.end));
        let key = |r: &ReportRecord| (r.end, r.reporter, r.boot, r.sequence);
        expected.sort_by_key(key);
        kept.sort_by_key(key);
        prop_assert_eq!(kept, expected);
    });
}

pub(crate) fn nonsense_ends_are_filed_by_receipt<B: Backend>() {
    let mut backend = B::new();
    let mut store = backend.open();
    let ends = [
        (at(-30 * DAY), NEW),
        (Wall::from_micros(at(-30 * DAY).as_micros() - 1), MISDATED),
        (at(DAY), NEW),
        (Wall::from_micros(at(DAY).as_micros() + 1), MISDATED),
        (Wall::from_secs(0), MISDATED),
        // 2031-01-01
        (Wall::from_secs(1_924_992_000), MISDATED),
        (Wall::from_micros(i64::MIN), MISDATED),
        (Wall::from_micros(i64::MAX), MISDATED),
    ];
    let batch: Vec<_> = ends
        .iter()
        .zip(0..)
        .map(|((end, _), sequence)| ReportRecord {
            received: NOON,
            ..report(agent(1), 1, sequence, *end)
        })
        .collect();
    let told = store.append_reports(&batch).unwrap();
    assert_eq!(told, ends.map(|(_, told)| told));
    let expected = Counters {
        reports: 8,
        misdated: 6,
        ..Counters::default()
    };
    assert_eq!(store.counters(), expected);

    let mut store = backend.again(store);
    assert_eq!(
        store.append_reports(&batch).unwrap(),
        vec![Appended::Repeat; 8],
        "they are found among the repeats too"
    );
    let today = between(&mut *store, &[agent(1)], NOON, at(1));
    let sequences: Vec<_> = today.iter().map(|r| r.sequence).collect();
    assert_eq!(sequences, [1, 3, 4, 5, 6, 7]);
    assert_eq!(today[2], batch[4], "the end stays as it was said");
}

pub(crate) fn of_subjects<B: Backend>() {
    let mut backend = B::new();
    let mut store = backend.open();
    let agents = [
        agent_record(1, "a"),
        agent_record(2, "b"),
        agent_record(3, "a"),
        agent_record(4, "c"),
    ];
    enrol(&mut *store, &agents);
    let batch: Vec<_> = [(3, 5), (1, 4), (2, 3), (4, 2), (1, 1)]
        .map(|(id, s)| report(agent(id), 1, u64::try_from(s).unwrap(), at(s)))
        .into();
    store.append_reports(&batch).unwrap();
    let mut found = Vec::new();
    store
        .reports_of_subjects(&["b", "a", "nobody"], at(2), at(6), &mut |r| found.push(r))
        .unwrap();
    assert_eq!(found, [&batch[2], &batch[1], &batch[0]].map(Clone::clone));
}
