//! Reports: appended to the file of their day, each once, and read back in order of time.

use std::collections::{BTreeMap, BTreeSet};

use corridor_probes::{BootId, Wall};
use rusqlite::{Connection, Row, TransactionBehavior, params};

use super::{
    Sqlite,
    dedupe::{self, Key},
    rows::{bits, reporter_key, unbits, wall},
};
use crate::store::{
    Appended, Reports, Result,
    records::{Filed, ReportRecord, Reporter},
};

impl Reports for Sqlite {
    fn append_reports(&mut self, batch: &[ReportRecord]) -> Result<Vec<Appended>> {
        if let Some(now) = batch.iter().map(|r| r.received).max() {
            self.saw(now);
        }
        let appended = append(self, batch);
        self.tell_of_damage();
        let appended = appended?;
        for told in &appended {
            match told {
                Appended::New(filed) => {
                    self.counters.reports += 1;
                    self.counters.misdated += u64::from(*filed == Filed::ByReceipt);
                }
                Appended::Repeat => self.counters.repeats += 1,
            }
        }
        Ok(appended)
    }

    fn reports(
        &mut self,
        reporters: &[Reporter],
        from: Wall,
        to: Wall,
        each: &mut dyn FnMut(ReportRecord),
    ) -> Result<()> {
        let last = Wall::from_micros(to.as_micros().saturating_sub(1));
        let mut done = Ok(());
        for day in self.days.in_range(from.utc_day()..=last.utc_day()) {
            done = self
                .days
                .with(day, self.now, |db| read(db, reporters, from, to, each))
                .map(drop);
            if done.is_err() {
                break;
            }
        }
        self.tell_of_damage();
        Ok(done?)
    }

    fn reports_of_subjects(
        &mut self,
        subjects: &[&str],
        from: Wall,
        to: Wall,
        each: &mut dyn FnMut(ReportRecord),
    ) -> Result<()> {
        let agents = self.main(|db| {
            let mut agents = BTreeSet::new();
            let mut of = db.prepare_cached("SELECT id FROM agents WHERE subject = ?1")?;
            for subject in subjects {
                for id in of.query_map([subject], |row| row.get(0))? {
                    agents.insert(Reporter::Agent(corridor_probes::AgentId(unbits(id?))));
                }
            }
            Ok(agents)
        })?;
        self.reports(&agents.into_iter().collect::<Vec<_>>(), from, to, each)
    }
}

fn append(store: &mut Sqlite, batch: &[ReportRecord]) -> Result<Vec<Appended>> {
    let mut first = BTreeSet::new();
    let mut told = vec![Appended::Repeat; batch.len()];
    let mut wanted: Vec<usize> = Vec::new();
    for (i, report) in batch.iter().enumerate() {
        if first.insert(Key::of(report)) {
            wanted.push(i);
        }
    }
    let kept = dedupe::kept(store, &first)?;
    let mut days: BTreeMap<i64, Vec<usize>> = BTreeMap::new();
    for i in wanted {
        let (at, filed) = batch[i].filed();
        let key = Key::of(&batch[i]);
        if store.dedupe.is_untold(&key) && kept.contains(&key) {
            told[i] = Appended::New(filed);
        } else if !kept.contains(&key) {
            days.entry(at.utc_day()).or_default().push(i);
        }
    }
    let mut durable = Vec::new();
    for (day, rows) in days {
        let inserted = store.days.with_new(day, store.now, |db| insert(db, batch, &rows));
        let inserted = match inserted {
            Ok(inserted) => inserted,
            Err(e) => {
                store.dedupe.fail_to_tell(durable);
                return Err(e.into());
            }
        };
        for (i, is_new) in rows.into_iter().zip(inserted) {
            if is_new {
                told[i] = Appended::New(batch[i].filed().1);
                durable.push(Key::of(&batch[i]));
            }
            store.dedupe.keep(Key::of(&batch[i]));
        }
    }
    store.dedupe.tell(&first);
    Ok(told)
}

/// One transaction; answers which of `rows` are new.
fn insert(db: &mut Connection, batch: &[ReportRecord], rows: &[usize]) -> rusqlite::Result<Vec<bool>> {
    let change = db.transaction_with_behavior(TransactionBehavior::Immediate)?;
    let mut inserted = Vec::with_capacity(rows.len());
    {
        let mut insert = change.prepare_cached(
            "INSERT INTO reports (kind, reporter, boot, sequence, filed_us, end_us, received_us, body)
             VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8) ON CONFLICT DO NOTHING",
        )?;
        for report in rows.iter().map(|i| &batch[*i]) {
            let (kind, id) = reporter_key(report.reporter);
            let n = insert.execute(params![
                kind,
                id,
                bits(report.boot.0),
                bits(report.sequence),
                report.filed().0.as_micros(),
                report.end.as_micros(),
                report.received.as_micros(),
                report.body,
            ])?;
            inserted.push(n > 0);
        }
    }
    change.commit()?;
    Ok(inserted)
}

/// The order is found on the index alone, so that bodies are never sorted nor all in memory at once.
fn read(
    db: &Connection,
    reporters: &[Reporter],
    from: Wall,
    to: Wall,
    each: &mut dyn FnMut(ReportRecord),
) -> rusqlite::Result<()> {
    let mut order: Vec<(i64, i64, Reporter)> = Vec::new();
    let mut find = db.prepare_cached(
        "SELECT filed_us, id FROM reports
         WHERE kind = ?1 AND reporter = ?2 AND filed_us >= ?3 AND filed_us < ?4",
    )?;
    for reporter in reporters.iter().collect::<BTreeSet<_>>() {
        let (kind, id) = reporter_key(*reporter);
        let mut rows = find.query((kind, id, from.as_micros(), to.as_micros()))?;
        while let Some(row) = rows.next()? {
            order.push((row.get(0)?, row.get(1)?, *reporter));
        }
    }
    order.sort_unstable();
    let mut get =
        db.prepare_cached("SELECT boot, sequence, end_us, received_us, body FROM reports WHERE id = ?1")?;
    for (_, id, reporter) in order {
        each(get.query_row([id], |row| report(reporter, row))?);
    }
    Ok(())
}

fn report(reporter: Reporter, row: &Row<'_>) -> rusqlite::Result<ReportRecord> {
    Ok(ReportRecord {
        reporter,
        boot: BootId(unbits(row.get(0)?)),
        sequence: unbits(row.get(1)?),
        end: wall(row.get(2)?),
        received: wall(row.get(3)?),
        body: row.get(4)?,
    })
}
