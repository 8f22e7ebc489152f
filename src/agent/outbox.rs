//! Which stored reports are on their way: a few at a time, again when no acknowledgement comes. A report
//! just closed goes ahead of the backlog, so that the controller sees now before it has read the past.

use std::{collections::BTreeMap, time::Duration};

use corridor_probes::{BootId, Mono};

/// Reports under way at once, at least. Two keep the pipe from standing still for a round trip; more would
/// only fill a thin uplink with what can wait.
const LEAST: usize = 2;
/// Small ones may be more, up to so many bytes together: a second of an agent's streams in class.
const WINDOW_BYTES: usize = 4_096;
const MOST: usize = 16;

/// An acknowledgement waits for a commit, and the way to the controller may be long.
const FIRST_WAIT: Duration = Duration::from_secs(10);
const LONGEST_WAIT: Duration = Duration::from_secs(120);

/// A report's identity at its sender.
pub type ReportKey = (BootId, u64);

/// The reports that were handed to the uplink and not yet acknowledged.
#[derive(Debug, Default)]
pub struct Outbox {
    in_flight: BTreeMap<ReportKey, Sent>,
    /// The one of them that went ahead of the backlog.
    ahead: Option<ReportKey>,
}

#[derive(Debug)]
struct Sent {
    again_at: Mono,
    wait: Duration,
    body: Vec<u8>,
}

impl Outbox {
    /// How many more reports may be taken from the spool, beside one that went ahead.
    pub fn room(&self) -> usize {
        let backlog = self.in_flight.iter().filter(|(key, _)| Some(**key) != self.ahead);
        let (len, bytes) = backlog.fold((0, 0), |(len, bytes), (_, s)| (len + 1, bytes + s.body.len()));
        let window = if bytes < WINDOW_BYTES { MOST } else { LEAST };
        window.saturating_sub(len)
    }

    /// How many are under way.
    pub fn len(&self) -> usize {
        self.in_flight.len()
    }

    /// Whether a report that has just been closed may go ahead of the backlog: one at a time.
    pub fn has_room_ahead(&self) -> bool {
        self.ahead.is_none()
    }

    /// A report that has just been closed goes out.
    pub fn sent_ahead(&mut self, key: ReportKey, body: Vec<u8>, now: Mono) {
        self.sent(key, body, now);
        self.ahead = Some(key);
    }

    pub fn contains(&self, key: ReportKey) -> bool {
        self.in_flight.contains_key(&key)
    }

    /// A report goes out for the first time.
    pub fn sent(&mut self, key: ReportKey, body: Vec<u8>, now: Mono) {
        self.in_flight.insert(
            key,
            Sent {
                again_at: now + FIRST_WAIT,
                wait: FIRST_WAIT,
                body,
            },
        );
    }

    /// The controller has stored a report. `false` if it was not waited for.
    pub fn acknowledged(&mut self, key: ReportKey) -> bool {
        self.ahead.take_if(|ahead| *ahead == key);
        self.in_flight.remove(&key).is_some()
    }

    /// The uplink changed: what was under way on the old one may be lost, so it is due at once.
    pub fn uplink_changed(&mut self, now: Mono) {
        for sent in self.in_flight.values_mut() {
            sent.again_at = now;
            sent.wait = FIRST_WAIT;
        }
    }

    pub fn next_wakeup(&self) -> Option<Mono> {
        self.in_flight.values().map(|s| s.again_at).min()
    }

    /// The reports that must be sent again, oldest first; each waits twice as long as before.
    pub fn due(&mut self, now: Mono) -> Vec<Vec<u8>> {
        let mut due = Vec::new();
        for sent in self.in_flight.values_mut().filter(|s| s.again_at <= now) {
            sent.wait = (sent.wait * 2).min(LONGEST_WAIT);
            sent.again_at = now + sent.wait;
            due.push(sent.body.clone());
        }
        due
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(s: i64) -> Mono {
        Mono::from_millis(s * 1_000)
    }

    const A: ReportKey = (BootId(1), 1);
    const B: ReportKey = (BootId(1), 2);

    #[test]
    fn sends_again_later_and_later_until_acknowledged() {
        let mut outbox = Outbox::default();
        outbox.sent(A, vec![1], at(0));
        assert_eq!(outbox.due(at(9)), Vec::<Vec<u8>>::new());
        assert_eq!(outbox.due(at(10)), [vec![1]]);
        assert_eq!(outbox.next_wakeup(), Some(at(30)));
        assert_eq!(outbox.due(at(30)), [vec![1]]);
        assert_eq!(outbox.next_wakeup(), Some(at(70)));
        assert!(outbox.acknowledged(A));
        assert!(
            !outbox.acknowledged(A),
            "the second acknowledgement is for nothing"
        );
        assert_eq!(outbox.next_wakeup(), None);
    }

    #[test]
    fn two_reports_are_under_way_or_a_few_kilobytes_of_small_ones() {
        for (bytes, under_way) in [(1, MOST), (400, 11), (2_048, 2), (5_000, 2)] {
            let mut outbox = Outbox::default();
            let mut n = 0;
            while outbox.room() > 0 {
                n += 1;
                outbox.sent((BootId(1), n), vec![0; bytes], at(0));
            }
            assert_eq!(outbox.len(), under_way, "{bytes}");
        }
    }

    #[test]
    fn one_report_at_a_time_goes_ahead_of_a_full_window() {
        let mut outbox = Outbox::default();
        outbox.sent((BootId(1), 1), vec![0; 5_000], at(0));
        outbox.sent((BootId(1), 2), vec![0; 5_000], at(0));
        assert_eq!((outbox.room(), outbox.has_room_ahead()), (0, true));
        let now = (BootId(1), 9);
        outbox.sent_ahead(now, vec![0; 5_000], at(0));
        assert_eq!((outbox.room(), outbox.has_room_ahead()), (0, false));
        outbox.acknowledged((BootId(1), 1));
        assert_eq!((outbox.room(), outbox.has_room_ahead()), (1, false));
        outbox.acknowledged(now);
        assert_eq!((outbox.room(), outbox.has_room_ahead()), (1, true));
    }

    #[test]
    fn a_new_uplink_makes_all_due_in_order() {
        let mut outbox = Outbox::default();
        outbox.sent(B, vec![2], at(0));
        outbox.sent(A, vec![1], at(0));
        outbox.uplink_changed(at(1));
        assert_eq!(outbox.due(at(1)), [vec![1], vec![2]]);
        assert_eq!(outbox.due(at(1)), Vec::<Vec<u8>>::new());
    }
}
