//! The agent's disk: the spool, on a thread of its own, so that a slow disk delays no probe.

use corridor_probes::BootId;

use super::{core::Output, outbox::ReportKey};
use crate::{
    proto,
    spool::{JournalRow, Spool},
    store::worker::Worker,
};

/// Rows of a former boot's journal that make one report: with up to 40 windows a second and 30 bytes of
/// samples each, well below a control message's limit.
const LEFTOVER_ROWS: u32 = 30;

/// What the disk answers.
#[derive(Debug)]
pub enum Answer {
    /// The report of this number.
    Stored(u64),
    Loaded(Vec<(ReportKey, Vec<u8>)>),
}

/// The spool and what this boot has written to its journal.
#[derive(Debug)]
pub struct Disk {
    spool: Worker<Spool>,
    boot: BootId,
    batch: i64,
}

impl Disk {
    pub fn new(spool: Worker<Spool>, boot: BootId) -> Self {
        Self {
            spool,
            boot,
            batch: 0,
        }
    }

    /// Makes reports of what former boots left behind: their last seconds.
    pub async fn recover(&self) {
        let boot = self.boot;
        let recovered = self
            .spool
            .run(move |spool| {
                let mut reports = 0;
                while let Some(left) = spool.leftover_journal(boot, LEFTOVER_ROWS)? {
                    let Some(last) = left.rows.last().map(|row| row.second) else {
                        break;
                    };
                    let rows = left.rows.iter().map(|row| row.body.as_slice());
                    let report = from_rows(left.boot, left.next_sequence, rows);
                    let body = prost::Message::encode_to_vec(&report);
                    spool.close_report(left.boot, left.next_sequence, &body, last)?;
                    reports += 1;
                }
                Ok::<_, crate::spool::SpoolError>(reports)
            })
            .await;
        match recovered {
            Ok(Ok(0)) => {}
            Ok(Ok(reports)) => {
                tracing::info!(reports, "made reports of what a former run left in the journal")
            }
            Ok(Err(error)) => tracing::warn!(%error, "the journal of a former run cannot be read"),
            Err(error) => tracing::warn!(%error, "spool gone"),
        }
    }

    /// Starts the work that an output asks for; `answer` is called when it is done, if it has an answer.
    pub fn run(&mut self, output: Output, answer: impl FnOnce(Answer) + Send + 'static) {
        match output {
            Output::Journal(windows) => {
                self.batch += 1;
                let (boot, second) = (self.boot, self.batch);
                let report = proto::Report {
                    windows,
                    ..proto::Report::default()
                };
                let body = prost::Message::encode_to_vec(&report);
                self.submit(
                    move |spool| {
                        spool
                            .journal(boot, &[JournalRow { second, body }])
                            .map_err(Into::into)
                    },
                    |()| {},
                );
            }
            Output::Store { sequence, body } => {
                let (boot, through) = (self.boot, self.batch);
                self.submit(
                    move |spool| {
                        spool
                            .close_report(boot, sequence, &body, through)
                            .map_err(Into::into)
                    },
                    move |()| answer(Answer::Stored(sequence)),
                );
            }
            Output::Load(n) => {
                let n = u32::try_from(n).unwrap_or(u32::MAX);
                self.submit(
                    move |spool| {
                        let batch = spool.next_batch(n).unwrap_or_default();
                        Ok(batch
                            .into_iter()
                            .map(|r| ((r.boot, r.sequence), r.body))
                            .collect())
                    },
                    |reports| answer(Answer::Loaded(reports)),
                );
            }
            Output::Acknowledged((boot, sequence)) => self.submit(
                move |spool| spool.acknowledge(boot, sequence).map(|_| ()).map_err(Into::into),
                |()| {},
            ),
            _ => {}
        }
    }

    /// Queues work; a queue that is full means a disk that stands still: the work is dropped and said so.
    fn submit<R: Send + 'static>(
        &self,
        work: impl FnOnce(&mut Spool) -> anyhow::Result<R> + Send + 'static,
        done: impl FnOnce(R) + Send + 'static,
    ) {
        match self.spool.submit(work) {
            Ok(answer) => {
                tokio::spawn(async move {
                    match answer.await {
                        Ok(Ok(value)) => done(value),
                        Ok(Err(error)) => tracing::warn!(error = format!("{error:#}"), "spool"),
                        Err(error) => tracing::warn!(%error, "spool"),
                    }
                });
            }
            Err(error) => tracing::warn!(%error, "spool does not keep up"),
        }
    }

    /// Waits until all that was queued is done, and closes the spool.
    pub async fn close(self) {
        self.spool.close().await;
    }

    pub fn worker(&self) -> Worker<Spool> {
        self.spool.clone()
    }
}

/// One report of a journal's rows. A row that cannot be read is left out.
fn from_rows<'a>(boot: BootId, sequence: u64, rows: impl Iterator<Item = &'a [u8]>) -> proto::Report {
    let windows: Vec<_> = rows
        .filter_map(|body| proto::decode::<proto::Report>(body).ok())
        .flat_map(|report| report.windows)
        .collect();
    let end_us = windows
        .iter()
        .map(|w| w.start_us + i64::from(w.length_ms) * 1_000)
        .max()
        .unwrap_or(0);
    proto::Report {
        boot: boot.0,
        sequence,
        end_us,
        windows,
        ..proto::Report::default()
    }
}
