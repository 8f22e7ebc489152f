//! Delay variation of one direction (RFC 5481), from raw differences between two clocks: only their
//! changes count.

use std::time::Duration;

use corridor_probes::{HistogramError, Mono};

use super::{distribution::Distribution, one_way::Clock};

/// PDV is against the least delay of so long a time: clocks that differ by 20 ppm drift apart by 1.2 ms
/// in it, and not by more however long the measurement.
const EPOCH: Duration = Duration::from_secs(60);
/// Or of so many packets.
const EPOCH_PACKETS: usize = 65_536;

/// One direction's IPDV and PDV, in µs.
#[derive(Debug)]
pub struct Variation {
    pub ipdv: Distribution,
    pdv: Distribution,
    last: Option<(Clock, u64, i64)>,
    epoch: Vec<i64>,
    epoch_began: Option<(Clock, Mono)>,
}

impl Variation {
    pub fn new() -> Self {
        Self {
            ipdv: Distribution::new(),
            pdv: Distribution::new(),
            last: None,
            epoch: Vec::new(),
            epoch_began: None,
        }
    }

    /// Takes the next packet in the order of sending: its number, when its slot was, and its raw delay
    /// against `clock`.
    pub fn push(&mut self, clock: Clock, seq: u64, at: Mono, raw_us: i64) -> Result<(), HistogramError> {
        if let Some((before, last, last_us)) = self.last.replace((clock, seq, raw_us))
            && before == clock
            && last.checked_add(1) == Some(seq)
        {
            self.ipdv.record(raw_us.saturating_sub(last_us))?;
        }
        let goes_on = self.epoch.len() < EPOCH_PACKETS
            && self
                .epoch_began
                .is_some_and(|(c, began)| c == clock && at.since(began) < EPOCH);
        if !goes_on {
            self.close_epoch()?;
            self.epoch_began = Some((clock, at));
        }
        self.epoch.push(raw_us);
        Ok(())
    }

    /// PDV of all packets so far at `percent`, in µs.
    pub fn pdv_us(&mut self, percent: f64) -> Result<Option<f64>, HistogramError> {
        self.close_epoch()?;
        self.epoch_began = None;
        Ok(self.pdv.percentile_us(percent))
    }

    fn close_epoch(&mut self) -> Result<(), HistogramError> {
        for us in corridor_probes::pdv(&self.epoch) {
            self.pdv.record(us)?;
        }
        self.epoch.clear();
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const A: Clock = Clock { session: 0, epoch: 1 };
    const B: Clock = Clock { session: 0, epoch: 2 };

    /// Clock, number, second of its slot, raw delay in µs.
    type Packet = (Clock, u64, i64, i64);

    fn of(packets: &[Packet]) -> Variation {
        let mut v = Variation::new();
        for &(clock, seq, at_s, raw) in packets {
            v.push(clock, seq, Mono::from_millis(at_s * 1_000), raw).unwrap();
        }
        v
    }

    #[test]
    fn neighbours_only_and_on_one_clock() {
        let table: [(&[Packet], Option<f64>); 4] = [
            (&[(A, 1, 0, 10)], None),
            (&[(A, 1, 0, 10), (A, 2, 0, 4)], Some(-6.0)),
            (&[(A, 1, 0, 10), (A, 3, 0, 4)], None),
            (&[(A, 1, 0, 10), (B, 2, 0, 4)], None),
        ];
        for (packets, wanted) in table {
            assert_eq!(of(packets).ipdv.percentile_us(50.0), wanted, "{packets:?}");
        }
    }

    #[test]
    fn the_least_delay_is_that_of_the_minute_and_the_clock() {
        let table: [(&[Packet], Option<f64>); 5] = [
            (&[], None),
            (&[(A, 1, 0, 10)], Some(0.0)),
            (&[(A, 1, 0, 10), (A, 2, 59, 17)], Some(7.0)),
            (&[(A, 1, 0, 10), (A, 2, 60, 17)], Some(0.0)),
            (&[(A, 1, 0, 10), (B, 2, 1, 900), (B, 3, 1, 905)], Some(5.0)),
        ];
        for (packets, wanted) in table {
            assert_eq!(of(packets).pdv_us(100.0).unwrap(), wanted, "{packets:?}");
        }
    }
}
