//! From closed windows to reports: to the disk, from there up, and gone when acknowledged.

use super::*;

/// How long an agent keeps a report open.
pub(super) const REPORT_IDLE: Duration = Duration::from_secs(60);
const REPORT_IN_CLASS: Duration = Duration::from_secs(10);
const REPORT_AT_RISK: Duration = Duration::from_secs(5);
/// The first reports of a boot come sooner: whoever installs an agent wants to see that it works.
const FIRST_REPORTS: u32 = 3;
/// Events are told at once, but not each by itself.
pub(super) const REPORT_EVENTS: Duration = Duration::from_millis(200);
/// From when a link comes up in class until a whole second of it is closed, which happens 3 s late: it may be what a
/// class waits for.
pub(super) const FIRST_WINDOW: Duration = Duration::from_millis(5_200);

impl Core {
    /// The disk handed over stored reports, oldest first.
    pub fn loaded(&mut self, reports: Vec<(ReportKey, Vec<u8>)>, now: Mono) {
        self.reports.loading = false;
        let before = self.reports.outbox.room();
        for (key, body) in reports {
            if self.reports.outbox.room() == 0 {
                break;
            }
            if self.reports.outbox.contains(key) {
                continue;
            }
            let Some(message) = report_message(&body) else {
                // A damaged row would come again for ever.
                self.counters.malformed += 1;
                self.out.push_back(Output::Acknowledged(key));
                continue;
            };
            self.reports.backlog = self.reports.backlog + on_the_line(body.len());
            self.reports.outbox.sent(key, body, now);
            self.up(message);
        }
        self.reports.drained = self.reports.outbox.room() == before;
    }

    /// The disk is ready to hand over what former runs left.
    pub fn disk_ready(&mut self) {
        self.reports.drained = false;
        self.load_more();
    }

    /// The disk has taken the report `sequence` of this boot: not before may it go out, since what a crash
    /// leaves in the journal becomes a report of the same number.
    pub fn stored(&mut self, sequence: u64, now: Mono) {
        let fresh = self.reports.fresh.take_if(|(key, _)| key.1 <= sequence);
        if let Some((key, body)) = fresh
            && key.1 == sequence
            && self.reports.attached
            && self.reports.outbox.has_room_ahead()
            && let Some(message) = report_message(&body)
        {
            self.reports.outbox.sent_ahead(key, body, now);
            self.up(message);
        }
        self.disk_ready();
    }

    pub fn host(&mut self, host: proto::Host) {
        self.reports.host = host;
    }

    pub(super) fn close_windows(&mut self, now: Now) {
        let mut journal = Vec::new();
        while let Some(closed) = self.prober.poll_window(now.mono) {
            if let Key::Link(edge) = closed.key {
                self.watch_window(edge, &closed.window, now.mono);
            }
            let about = match closed.key {
                Key::Link(edge) => About::Link(edge),
                Key::Route(leg, route) => match self.legs.about(leg, route) {
                    Some(about) => about,
                    None => continue,
                },
            };
            let closed = Closed {
                about,
                session: closed.session.0,
                total: closed.total,
                window: closed.window,
                every: self.prober.every(closed.key).max(self.usual_interval()),
            };
            journal.push(self.book(closed, now));
        }
        if !journal.is_empty() {
            self.out.push_back(Output::Journal(journal));
        }
    }

    /// A window of a target closed, which others measure.
    pub fn target_closed(&mut self, closed: Closed, now: Now) {
        let window = self.book(closed, now);
        self.out.push_back(Output::Journal(vec![window]));
    }

    /// Logs a window and puts it into the next report; answers what is to be journalled.
    fn book(&mut self, closed: Closed, now: Now) -> proto::Window {
        let message = crate::reporting::message(&closed, |m| now.at(m));
        log_window(&message);
        self.reporter.take(closed);
        message
    }

    pub(super) fn report_interval(&self) -> Duration {
        if self.reports.closed < FIRST_REPORTS || self.rates.first_looks.is_untold() {
            return REPORT_AT_RISK;
        }
        self.usual_interval()
    }

    fn usual_interval(&self) -> Duration {
        match (self.legs.is_empty(), self.legs.at_risk()) {
            (true, _) => REPORT_IDLE,
            (false, true) => REPORT_AT_RISK,
            (false, false) => REPORT_IN_CLASS,
        }
    }

    /// Whether something is to be told at once.
    pub(super) fn has_news(&self) -> bool {
        self.reporter.has_events() || self.legs.has_news()
    }

    /// When there is something to be told of links that came up in class.
    pub(super) fn first_figures_due(&self) -> Option<Mono> {
        let first = self.reports.first_figures?;
        Some(self.reporter.due_at(REPORT_EVENTS)?.max(first))
    }

    pub(super) fn report_if_due(&mut self, now: Now) {
        let first = self.first_figures_due().is_some_and(|at| at <= now.mono);
        let interval = if first || self.has_news() {
            REPORT_EVENTS
        } else {
            self.report_interval()
        };
        if self.reporter.due_at(interval).is_none_or(|at| at > now.mono) {
            return;
        }
        let (surroundings, path) = self.surroundings_to_tell(now);
        let rest = Rest {
            legs: self.legs.states(|m| now.at(m)),
            flows: self.reports.flows.clone(),
            host: self.reports.host,
            wall: now.wall,
            time_error: now.controller_error,
            traffic: Some(self.traffic()),
            surroundings,
            path,
        };
        let report = self.reporter.close(now.mono, rest, |m| now.at(m));
        self.legs.told();
        if first {
            self.reports.first_figures = None;
        }
        self.counters.reports += 1;
        self.reports.closed = self.reports.closed.saturating_add(1);
        let body = prost::Message::encode_to_vec(&report);
        self.reports.fresh = Some(((self.boot, report.sequence), body.clone()));
        self.out.push_back(Output::Store {
            sequence: report.sequence,
            body,
        });
    }

    pub(super) fn load_more(&mut self) {
        let room = self.reports.outbox.room();
        if self.reports.attached && room > 0 && !self.reports.loading && !self.reports.drained {
            self.reports.loading = true;
            // Those under way are the oldest, and come again.
            self.out.push_back(Output::Load(self.reports.outbox.len() + room));
        }
    }
}

/// What a report of `len` bytes takes in IP bytes: full packets, an acknowledgement for every other one, and the
/// controller's answer.
pub(super) fn on_the_line(len: usize) -> Bytes {
    const FULL: u64 = 1_200;
    const AROUND: u64 = 80;
    let packets = len as u64 / FULL + 1;
    Bytes {
        out: len as u64 + packets * AROUND,
        back: packets * AROUND / 2 + 2 * AROUND,
    }
}

/// A stored report as a message; `None` if its row is damaged.
pub(super) fn report_message(body: &[u8]) -> Option<to_controller::Body> {
    proto::decode(body).ok().map(to_controller::Body::Report)
}

/// Each window as it closes, before anything else is done with it: what the store must hold.
fn log_window(window: &proto::Window) {
    if !tracing::enabled!(target: "corridor::window", tracing::Level::DEBUG) {
        return;
    }
    let ledger = window.ledger.unwrap_or_default();
    tracing::debug!(
        target: "corridor::window",
        of = ?window.of,
        class = %window.class,
        session = %format_args!("{:016x}", window.session),
        start_us = window.start_us,
        length_ms = window.length_ms,
        slots = ledger.slots,
        sent = ledger.sent,
        received = ledger.received,
        lost_up = ledger.lost_up,
        lost_down = ledger.lost_down,
        late = ledger.late,
        lost_unknown = ledger.lost_unknown,
        "closed"
    );
}
