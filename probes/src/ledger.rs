//! The ledger of probe slots: where every one of them went.

use std::ops::AddAssign;

use serde::{Deserialize, Serialize};

/// Counts of one window or of a whole session. Every slot of the schedule stands in exactly one of
/// `sent`, `slipped`, `local_drops` and `unconnected`; every probe sent stands in exactly one of
/// `received`, `lost_up`, `lost_down`, `late` and `lost_unknown`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Ledger {
    pub slots: u32,
    pub sent: u32,
    /// Slots missed by half an interval: this machine was not there in time.
    pub slipped: u32,
    /// Probes that this machine dropped before they reached the network.
    pub local_drops: u32,
    /// Slots without a connection to send on.
    pub unconnected: u32,
    /// Echoes within Tmax.
    pub received: u32,
    /// Never came to the reflector.
    pub lost_up: u32,
    /// Came to the reflector, but the echo never came back.
    pub lost_down: u32,
    /// Echoes after Tmax, but before the window closed.
    pub late: u32,
    /// Lost with nothing to tell in which direction.
    pub lost_unknown: u32,
    /// RFC 4737, by the order in which probes came to the reflector.
    pub reordered_up: u32,
    /// RFC 4737, by the order in which the reflector's echoes came back.
    pub reordered_down: u32,
    /// Echoes of probes whose echo had come before.
    pub duplicates: u32,
    /// Probes touched by a stall of this machine.
    pub stalled: u32,
    /// Echoes that count as received but give no sample: a stall could not be taken out of them, or
    /// their times contradict each other.
    pub excluded: u32,
}

/// The ledger does not add up.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum LedgerError {
    #[error("{slots} slots, but {accounted} accounted for")]
    Slots { slots: u32, accounted: u64 },
    #[error("{sent} probes sent, but {accounted} accounted for")]
    Sent { sent: u32, accounted: u64 },
}

impl Ledger {
    /// The two sums that always hold on a closed window.
    pub fn check(&self) -> Result<(), LedgerError> {
        let sum = |of: &[u32]| of.iter().map(|&n| u64::from(n)).sum::<u64>();
        let accounted = sum(&[self.sent, self.slipped, self.local_drops, self.unconnected]);
        if accounted != u64::from(self.slots) {
            let slots = self.slots;
            return Err(LedgerError::Slots { slots, accounted });
        }
        let accounted = sum(&[
            self.received,
            self.lost_up,
            self.lost_down,
            self.late,
            self.lost_unknown,
        ]);
        if accounted != u64::from(self.sent) {
            let sent = self.sent;
            return Err(LedgerError::Sent { sent, accounted });
        }
        Ok(())
    }

    /// Probes without an echo within Tmax (RFC 7680 counts a late one as lost).
    pub fn lost(&self) -> u32 {
        self.sent.saturating_sub(self.received)
    }

    /// Share of probes lost on the round trip, 0 to 1.
    pub fn loss(&self) -> Option<f64> {
        ratio(self.lost(), self.sent)
    }

    /// Share lost on the way up, of the probes of which the direction is known.
    pub fn loss_up(&self) -> Option<f64> {
        ratio(self.lost_up, self.sent.saturating_sub(self.lost_unknown))
    }

    /// Share lost on the way down, of the probes known to have come up.
    pub fn loss_down(&self) -> Option<f64> {
        let came_up = self
            .sent
            .saturating_sub(self.lost_unknown)
            .saturating_sub(self.lost_up);
        ratio(self.lost_down, came_up)
    }
}

fn ratio(part: u32, whole: u32) -> Option<f64> {
    (whole > 0).then(|| f64::from(part) / f64::from(whole))
}

impl AddAssign for Ledger {
    fn add_assign(&mut self, o: Self) {
        for (mine, theirs) in [
            (&mut self.slots, o.slots),
            (&mut self.sent, o.sent),
            (&mut self.slipped, o.slipped),
            (&mut self.local_drops, o.local_drops),
            (&mut self.unconnected, o.unconnected),
            (&mut self.received, o.received),
            (&mut self.lost_up, o.lost_up),
            (&mut self.lost_down, o.lost_down),
            (&mut self.late, o.late),
            (&mut self.lost_unknown, o.lost_unknown),
            (&mut self.reordered_up, o.reordered_up),
            (&mut self.reordered_down, o.reordered_down),
            (&mut self.duplicates, o.duplicates),
            (&mut self.stalled, o.stalled),
            (&mut self.excluded, o.excluded),
        ] {
            *mine = mine.saturating_add(theirs);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn adds_up_or_says_where_it_does_not() {
        let good = Ledger {
            slots: 10,
            sent: 6,
            slipped: 1,
            local_drops: 2,
            unconnected: 1,
            received: 2,
            lost_up: 1,
            lost_down: 1,
            late: 1,
            lost_unknown: 1,
            ..Ledger::default()
        };
        assert_eq!(good.check(), Ok(()));
        let mut twice = good;
        twice += good;
        assert_eq!((twice.check(), twice.slots), (Ok(()), 20));
        let slots = Ledger { slots: 11, ..good };
        assert_eq!(
            slots.check(),
            Err(LedgerError::Slots {
                slots: 11,
                accounted: 10
            })
        );
        let sent = Ledger { late: 0, ..good };
        assert_eq!(
            sent.check(),
            Err(LedgerError::Sent {
                sent: 6,
                accounted: 5
            })
        );
    }

    #[test]
    fn each_direction_has_its_own_denominator() {
        let ledger = Ledger {
            sent: 10,
            received: 4,
            lost_up: 2,
            lost_down: 3,
            lost_unknown: 1,
            ..Ledger::default()
        };
        assert_eq!(ledger.loss(), Some(0.6));
        assert_eq!(ledger.loss_up(), Some(2.0 / 9.0));
        assert_eq!(ledger.loss_down(), Some(3.0 / 7.0));
        assert_eq!(Ledger::default().loss(), None);
    }
}
