//! What became of the probes of one route, as soon as it can be said: echoed, or missed for now. The
//! session's books close seconds later; the live choice cannot wait for them.

use std::{collections::VecDeque, time::Duration};

use corridor_probes::Mono;

/// An echo that is this much later than usual is missed. If it comes after all, the delay shows in the
/// samples.
const GRACE: Duration = Duration::from_millis(100);
/// While no round trip is known.
const UNKNOWN_RTT: Duration = Duration::from_secs(1);
/// At ten a second, this is more than any round trip that counts.
const MAX_OPEN: usize = 64;

#[derive(Debug, Default)]
pub struct Outcomes {
    open: VecDeque<(u32, Mono)>,
    echoed: u32,
}

impl Outcomes {
    pub fn sent(&mut self, seq: u32, now: Mono) {
        if self.open.len() == MAX_OPEN {
            self.open.pop_front();
        }
        self.open.push_back((seq, now));
    }

    pub fn echoed(&mut self, seq: u32) {
        if let Some(at) = self.open.iter().position(|(s, _)| *s == seq) {
            self.open.remove(at);
            self.echoed += 1;
        }
    }

    /// Echoed and missed since the last call, given the route's usual round trip.
    pub fn take(&mut self, now: Mono, usual_rtt: Option<Duration>) -> (u32, u32) {
        let patience = usual_rtt.unwrap_or(UNKNOWN_RTT) + GRACE;
        let mut missed = 0;
        while self
            .open
            .front()
            .is_some_and(|(_, sent)| now.since(*sent) > patience)
        {
            self.open.pop_front();
            missed += 1;
        }
        (std::mem::take(&mut self.echoed), missed)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(ms: i64) -> Mono {
        Mono::from_millis(ms)
    }

    #[test]
    fn each_probe_is_echoed_or_missed_once() {
        let mut outcomes = Outcomes::default();
        for seq in 0..4 {
            outcomes.sent(seq, at(i64::from(seq) * 100));
        }
        outcomes.echoed(0);
        outcomes.echoed(2);
        outcomes.echoed(2);
        let rtt = Some(Duration::from_millis(50));
        assert_eq!(
            outcomes.take(at(250), rtt),
            (2, 0),
            "the probe of 100 ms has until 250"
        );
        assert_eq!(outcomes.take(at(251), rtt), (0, 1));
        outcomes.echoed(1);
        assert_eq!(
            outcomes.take(at(1_000), rtt),
            (0, 1),
            "what was missed is not echoed later"
        );
    }
}
