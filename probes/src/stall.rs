//! Did this machine stand still? Told by its own lateness, where the system does not say when a packet came.

use std::time::Duration;

use crate::{Arrival, Mono, Stall};

/// A slot found due later than this shows that the machine stood still: well above what its timers err.
const LATE: Duration = Duration::from_millis(2);

/// Echoes that are read so soon after a stall may have come during it.
const AFTERMATH: Duration = Duration::from_millis(1);

/// Watches how late the slots of a schedule are found due.
#[derive(Debug, Default)]
pub struct StallWatch {
    suspect_until: Option<Mono>,
}

impl StallWatch {
    /// The slot at `slot`, the next one, is looked for at `now`.
    pub fn look(&mut self, slot: Option<Mono>, now: Mono) {
        if overdue(slot, now) {
            self.suspect_until = Some(now + AFTERMATH);
        }
    }

    /// An arrival of which nobody knows whether it waited, judged: `next_slot` is the next slot of the
    /// schedule, not yet looked for.
    #[must_use]
    pub fn judge(&self, arrival: Arrival, next_slot: Option<Mono>) -> Arrival {
        let Arrival { at, stall } = arrival;
        if stall != Stall::Unknown {
            return arrival;
        }
        let suspect = self.suspect_until.is_some_and(|until| at < until) || overdue(next_slot, at);
        let stall = if suspect { Stall::Suspect } else { Stall::None };
        Arrival { at, stall }
    }
}

fn overdue(slot: Option<Mono>, now: Mono) -> bool {
    slot.is_some_and(|slot| now.since(slot) >= LATE)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ms(ms: u64) -> Mono {
        Mono::ZERO + Duration::from_millis(ms)
    }

    #[test]
    fn what_is_read_during_a_stall_or_right_after_is_suspect() {
        let mut watch = StallWatch::default();
        let judge = |watch: &StallWatch, at| watch.judge(at, Some(ms(100))).stall;
        assert_eq!(judge(&watch, ms(101).into()), Stall::None);
        assert_eq!(judge(&watch, ms(102).into()), Stall::Suspect);
        watch.look(Some(ms(100)), ms(101));
        assert_eq!(judge(&watch, ms(101).into()), Stall::None);
        watch.look(Some(ms(100)), ms(150));
        let next = Some(ms(200));
        assert_eq!(watch.judge(ms(150).into(), next).stall, Stall::Suspect);
        assert_eq!(watch.judge(ms(151).into(), next).stall, Stall::None);
    }

    #[test]
    fn who_knows_better_is_believed() {
        let mut watch = StallWatch::default();
        watch.look(Some(ms(100)), ms(150));
        for stall in [Stall::None, Stall::Corrected, Stall::Suspect] {
            let arrival = Arrival { at: ms(150), stall };
            assert_eq!(watch.judge(arrival, Some(ms(100))), arrival);
        }
    }
}
