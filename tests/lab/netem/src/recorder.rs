//! Keeps the counters and writes the packet log, on a thread of its own, so that neither a slow disk
//! nor a long answer makes a packet late.

use std::{
    fs::File,
    io::{self, BufWriter, Write},
    sync::{
        Arc,
        mpsc::{self, Receiver, Sender},
    },
    thread::{self, JoinHandle},
};

use crate::{
    config::Config,
    control::{Reply, Row, Stats},
    histogram::{Histogram, Summary},
    log,
    network::Event,
    stats::{Counts, Ledger, Query, is_void},
};

/// What the loop tells the recorder, in the order in which it happened.
#[derive(Debug)]
pub(crate) enum Message {
    Events(Vec<Event>),
    /// Counters start anew for packets of this epoch.
    Reset {
        epoch: u32,
    },
    Stats {
        query: Query,
        unrouted: u64,
        kernel_dropped: u64,
        reply: Sender<Reply>,
    },
}

/// What is to be said at the end.
#[derive(Debug)]
pub struct Outcome {
    /// Lateness of the whole run.
    pub lateness: Option<Summary>,
    pub void: bool,
    /// Why the packet log is not whole.
    pub log_error: Option<io::Error>,
}

/// Ends when every [`Sender`] of its messages is gone.
#[derive(Debug)]
pub(crate) struct Recorder {
    thread: JoinHandle<Outcome>,
}

impl Recorder {
    /// The channel is unbounded: a lost event would be a lie, and what can pile up is what the nodes
    /// can send.
    pub(crate) fn start(config: Arc<Config>, log: Option<File>) -> io::Result<(Self, Sender<Message>)> {
        let (sender, messages) = mpsc::channel();
        let thread = thread::Builder::new()
            .name("recorder".to_owned())
            .spawn(move || record(&config, log, &messages))?;
        Ok((Self { thread }, sender))
    }

    pub(crate) fn join(self) -> io::Result<Outcome> {
        self.thread
            .join()
            .map_err(|_| io::Error::other("the recorder panicked"))
    }
}

fn record(config: &Config, log: Option<File>, messages: &Receiver<Message>) -> Outcome {
    let mut ledger = Ledger::new(0);
    let mut whole_run = Histogram::default();
    let mut log = Log::new(log);
    for message in messages {
        match message {
            Message::Events(events) => {
                for event in &events {
                    ledger.record(event);
                    log.write(config, event);
                }
            }
            Message::Reset { epoch } => {
                whole_run.merge(ledger.lateness());
                ledger = Ledger::new(epoch);
            }
            Message::Stats {
                query,
                unrouted,
                kernel_dropped,
                reply,
            } => {
                let rows = ledger.counts(&query);
                let stats = Stats {
                    void: is_void(ledger.lateness()) || kernel_dropped > 0,
                    lateness: ledger.lateness().summary(),
                    kernel_dropped,
                    unrouted,
                    rows: rows
                        .iter()
                        .map(|(&(from, to), counts)| row(config.name(from), config.name(to), counts))
                        .collect(),
                };
                // Whoever asked may have gone.
                let _ = reply.send(Reply::Stats(stats));
            }
        }
    }
    whole_run.merge(ledger.lateness());
    Outcome {
        lateness: whole_run.summary(),
        void: is_void(&whole_run),
        log_error: log.finish(),
    }
}

fn row(from: &str, to: &str, counts: &Counts) -> Row {
    Row {
        from: from.to_owned(),
        to: to.to_owned(),
        sent: counts.sent,
        delivered: counts.delivered,
        lost: counts.lost_by.total(),
        lost_by: counts.lost_by,
        in_flight: counts.in_flight(),
        reordered: counts.reordered,
        duplicated: counts.duplicated,
        residence: counts.residence_summary(),
    }
}

/// The packet log: a line for every fate. After an error nothing more is written.
struct Log {
    file: Option<BufWriter<File>>,
    error: Option<io::Error>,
}

impl Log {
    fn new(file: Option<File>) -> Self {
        let mut log = Self {
            file: file.map(BufWriter::new),
            error: None,
        };
        log.line(format_args!("{}", log::HEADER));
        log
    }

    fn write(&mut self, config: &Config, event: &Event) {
        if self.file.is_none() {
            return;
        }
        let tag = event.tag();
        let (fate, left) = match event {
            Event::Entered(_) | Event::Copied(_) => return,
            Event::Lost(_, cause) => (cause.name(), None),
            Event::Left { due, at, .. } => (log::DELIVERED, Some((*due, *at))),
        };
        let head = format_args!(
            "{},{},{},{},{},{},{},{fate}",
            tag.entered.as_nanos(),
            config.name(tag.from),
            config.name(tag.to),
            tag.proto.name(),
            tag.len,
            tag.dscp,
            tag.seq
        );
        match left {
            None => self.line(format_args!("{head},,,")),
            Some((due, at)) => self.line(format_args!(
                "{head},{},{:.1},{:.1}",
                at.as_nanos(),
                at.diff_nanos(tag.entered) as f64 / 1e3,
                at.diff_nanos(due) as f64 / 1e3
            )),
        }
    }

    fn line(&mut self, line: std::fmt::Arguments<'_>) {
        let Some(file) = &mut self.file else { return };
        if let Err(error) = writeln!(file, "{line}") {
            self.error = Some(error);
            self.file = None;
        }
    }

    fn finish(mut self) -> Option<io::Error> {
        let flushed = self.file.as_mut().map_or(Ok(()), Write::flush);
        self.error.or(flushed.err())
    }
}
