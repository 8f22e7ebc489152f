//! Delay variation of one direction (RFC 5481), from raw differences between two clocks: only their
//! changes count.
//!
//! PDV is above the least delay of an epoch, which ends with a proven change of path, with another clock,
//! or after a minute, since clocks drift apart.

use std::time::Duration;

use corridor_probes::{HistogramError, Mono, pdv_percent};

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
    /// When each packet was sent, and its raw delay.
    epoch: Vec<(Mono, i64)>,
    epoch_began: Option<(Clock, Mono)>,
}

/// What is reported of PDV, in µs.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct PdvFigures {
    pub p99: f64,
    /// Where there are values enough for it.
    pub p999: Option<f64>,
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
        self.epoch.push((at, raw_us));
        Ok(())
    }

    /// Packets whose slots were at `since` or later took another path than those before.
    pub fn path_changed(&mut self, since: Mono) -> Result<(), HistogramError> {
        let from = self.epoch.partition_point(|&(at, _)| at < since);
        let newer = self.epoch.split_off(from);
        self.close_epoch()?;
        self.epoch = newer;
        self.epoch_began = self.epoch_began.map(|(clock, began)| (clock, began.max(since)));
        Ok(())
    }

    /// PDV of all packets so far.
    pub fn pdv_us(&mut self) -> Result<Option<PdvFigures>, HistogramError> {
        self.close_epoch()?;
        self.epoch_began = None;
        let Some(p99) = self.pdv.percentile_us(99.0) else {
            return Ok(None);
        };
        let percent = pdv_percent(self.pdv.count());
        let high = self.pdv.percentile_us(percent);
        Ok(Some(PdvFigures {
            p99,
            p999: high.filter(|_| percent > 99.0),
        }))
    }

    fn close_epoch(&mut self) -> Result<(), HistogramError> {
        let delays: Vec<_> = self.epoch.drain(..).map(|(_, raw_us)| raw_us).collect();
        for us in corridor_probes::pdv(&delays) {
            self.pdv.record(us)?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const A: Clock = Clock {
        session: 0,
        name: 1,
        steps: 0,
    };
    const B: Clock = Clock { name: 2, ..A };

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
            let p99 = of(packets).pdv_us().unwrap().map(|f| f.p99);
            assert_eq!(p99, wanted, "{packets:?}");
        }
    }

    #[test]
    fn the_least_delay_begins_anew_with_the_path() {
        // 30 ms more from second 20 on: variation of a path, not of both.
        let packets: Vec<_> = (0..40)
            .map(|s| (A, s as u64, s, if s < 20 { 10_000 + s } else { 40_000 - s }))
            .collect();
        let mut one_path = of(&packets);
        let mut two_paths = of(&packets);
        two_paths.path_changed(Mono::from_millis(20_000)).unwrap();
        assert_eq!(one_path.pdv_us().unwrap().unwrap().p99, 29_980.0);
        assert_eq!(two_paths.pdv_us().unwrap().unwrap().p99, 19.0);
    }

    #[test]
    fn the_highest_percentile_needs_thousands_of_packets() {
        for (packets, known) in [(2_999, false), (3_000, true)] {
            let mut v = of(&(0..packets).map(|i| (A, i, 0, i as i64)).collect::<Vec<_>>());
            let figures = v.pdv_us().unwrap().unwrap();
            assert_eq!(figures.p999.is_some(), known, "{packets}");
        }
    }
}
