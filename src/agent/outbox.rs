//! Which stored reports are on their way: a few at a time, again when no acknowledgement comes. A report
//! just closed goes ahead of the backlog, so that the controller sees now before it has read the past.

use std::{collections::BTreeMap, time::Duration};

use corridor_probes::{BootId, Mono};

/// Reports under way at once. Two keep the pipe from standing still for a round trip; more would only
/// fill a thin uplink with what can wait.
pub const WINDOW: usize = 2;

/// An acknowledgement waits for a commit, and the way to the controller may be long.
const FIRST_WAIT: Duration = Duration::from_secs(10);
const LONGEST_WAIT: Duration = Duration::from_secs(120);

/// A report's identity at its sender.
pub type ReportKey = (BootId, u64);

/// The reports that were handed to the uplink and not yet acknowledged.
#[derive(Debug, Default)]
pub struct Outbox {
    in_flight: BTreeMap<ReportKey, Sent>,
}

#[derive(Debug)]
struct Sent {
    again_at: Mono,
    wait: Duration,
    body: Vec<u8>,
}

impl Outbox {
    /// How many more reports may be taken from the spool.
    pub fn room(&self) -> usize {
        WINDOW.saturating_sub(self.in_flight.len())
    }

    /// Whether a report that has just been closed may go ahead of the backlog: one at a time.
    pub fn has_room_ahead(&self) -> bool {
        self.in_flight.len() <= WINDOW
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
    fn a_new_uplink_makes_all_due_in_order() {
        let mut outbox = Outbox::default();
        outbox.sent(B, vec![2], at(0));
        outbox.sent(A, vec![1], at(0));
        assert_eq!(outbox.room(), 0);
        outbox.uplink_changed(at(1));
        assert_eq!(outbox.due(at(1)), [vec![1], vec![2]]);
        assert_eq!(outbox.due(at(1)), Vec::<Vec<u8>>::new());
    }
}
