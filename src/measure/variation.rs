//! Delay variation of one direction (RFC 5481), from raw differences between two clocks: only their
//! changes count.
//!
//! PDV is above the least delay of an epoch, which ends with a proven change of path, with another clock,
//! or after a minute, since clocks drift apart. Changes are proven later: an epoch stays open until none can be
//! in it any more. One of a few packets has no least delay to speak of, and is left out.

use std::{collections::VecDeque, time::Duration};

use corridor_probes::{HistogramError, Mono, PathTest, pdv_percent};

use super::{distribution::Distribution, one_way::Clock};

/// PDV is against the least delay of so long a time: clocks that differ by 20 ppm drift apart by 1.2 ms
/// in it, and not by more however long the measurement.
const EPOCH: Duration = Duration::from_secs(60);
/// Or of so many packets.
const EPOCH_PACKETS: usize = 65_536;
/// And of so many at least.
const FEWEST: usize = 10;

/// One direction's IPDV and PDV, in µs.
#[derive(Debug)]
pub struct Variation {
    pub ipdv: Distribution,
    pdv: Distribution,
    last: Option<(Clock, u64, i64)>,
    /// Oldest first; the last one grows.
    epochs: VecDeque<Epoch>,
}

#[derive(Debug)]
struct Epoch {
    clock: Clock,
    began: Mono,
    /// When each packet was sent, and its raw delay.
    packets: Vec<(Mono, i64)>,
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
            epochs: VecDeque::new(),
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
        let goes_on =
            |e: &&mut Epoch| e.clock == clock && at.since(e.began) < EPOCH && e.packets.len() < EPOCH_PACKETS;
        match self.epochs.back_mut().filter(goes_on) {
            Some(epoch) => epoch.packets.push((at, raw_us)),
            None => {
                self.epochs.push_back(Epoch {
                    clock,
                    began: at,
                    packets: vec![(at, raw_us)],
                });
                self.close_settled(at)?;
            }
        }
        Ok(())
    }

    /// Packets whose slots were at `since` or later took another path than those before.
    pub fn path_changed(&mut self, since: Mono) -> Result<(), HistogramError> {
        let before = |e: &Epoch| e.packets.last().is_some_and(|&(at, _)| at < since);
        let Some(at) = self.epochs.iter().position(|e| !before(e)) else {
            return Ok(());
        };
        for epoch in self.epochs.drain(..at) {
            close(&mut self.pdv, epoch)?;
        }
        let Some(first) = self.epochs.front_mut() else {
            return Ok(());
        };
        let from = first.packets.partition_point(|&(at, _)| at < since);
        let newer = first.packets.split_off(from);
        let older = Epoch {
            packets: std::mem::replace(&mut first.packets, newer),
            ..*first
        };
        first.began = first.began.max(since);
        close(&mut self.pdv, older)
    }

    /// PDV of all packets so far.
    pub fn pdv_us(&mut self) -> Result<Option<PdvFigures>, HistogramError> {
        for epoch in self.epochs.drain(..) {
            close(&mut self.pdv, epoch)?;
        }
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

    /// Closes epochs in which no change of path can be proven any more.
    fn close_settled(&mut self, now: Mono) -> Result<(), HistogramError> {
        let test = PathTest::default();
        loop {
            let mut later = self.epochs.iter().skip(1);
            let since = later.clone().map(|e| e.packets.len()).sum::<usize>();
            let Some(next) = later.next() else {
                return Ok(());
            };
            // A run is as long as it takes, and longer than stretches before it: twice that is enough.
            let proven = since >= 2 * test.run as usize && now.since(next.began) >= 2 * test.hold;
            if !proven && self.epochs.len() <= OPEN {
                return Ok(());
            }
            if let Some(epoch) = self.epochs.pop_front() {
                close(&mut self.pdv, epoch)?;
            }
        }
    }
}

/// Epochs open at once at most: of a packet a second, so many hold the packets of a run.
const OPEN: usize = 8;

fn close(pdv: &mut Distribution, epoch: Epoch) -> Result<(), HistogramError> {
    if epoch.packets.len() < FEWEST {
        return Ok(());
    }
    let delays: Vec<_> = epoch.packets.into_iter().map(|(_, raw_us)| raw_us).collect();
    for us in corridor_probes::pdv(&delays) {
        pdv.record(us)?;
    }
    Ok(())
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

    /// Clock, second, raw delay in µs.
    type Run = (Clock, i64, i64);

    /// Ten packets of each.
    fn ten_of_each(runs: &[Run]) -> Vec<Packet> {
        let each = runs.iter().flat_map(|&run| [run; FEWEST]);
        each.zip(0..)
            .map(|((clock, s, raw), seq)| (clock, seq, s, raw))
            .collect()
    }

    #[test]
    fn the_least_delay_is_that_of_the_minute_and_the_clock() {
        let table: [(&[Run], Option<f64>); 5] = [
            (&[], None),
            (&[(A, 0, 10)], Some(0.0)),
            (&[(A, 0, 10), (A, 59, 17)], Some(7.0)),
            (&[(A, 0, 10), (A, 60, 17)], Some(0.0)),
            (&[(A, 0, 10), (B, 1, 900), (B, 1, 905)], Some(5.0)),
        ];
        for (runs, wanted) in table {
            let p99 = of(&ten_of_each(runs)).pdv_us().unwrap().map(|f| f.p99);
            assert_eq!(p99, wanted, "{runs:?}");
        }
    }

    #[test]
    fn of_a_few_packets_nothing_is_told() {
        let packets: Vec<_> = (0..FEWEST as u64).map(|i| (A, i, 0, i as i64)).collect();
        assert!(of(&packets).pdv_us().unwrap().is_some());
        assert_eq!(of(&packets[1..]).pdv_us().unwrap(), None);
        // One a minute: each is the least of its own.
        let rare: Vec<_> = (0..100).map(|i| (A, i, i as i64 * 60, i as i64 % 7)).collect();
        assert_eq!(of(&rare).pdv_us().unwrap(), None);
    }

    #[test]
    fn a_change_that_is_proven_minutes_later_still_begins_an_epoch() {
        // 30 ms more from 90 s on, which 200 packets prove.
        let packets: Vec<_> = (0..600)
            .map(|s| (A, s as u64, s, if s < 90 { 10_000 } else { 40_000 }))
            .collect();
        let mut v = of(&packets[..290]);
        v.path_changed(Mono::from_millis(90_000)).unwrap();
        for &(clock, seq, at_s, raw) in &packets[290..] {
            v.push(clock, seq, Mono::from_millis(at_s * 1_000), raw).unwrap();
        }
        assert!(v.epochs.len() <= OPEN, "{}", v.epochs.len());
        assert_eq!(v.pdv_us().unwrap().unwrap().p99, 0.0);
        assert_eq!(
            of(&packets).pdv_us().unwrap().unwrap().p99,
            30_000.0,
            "not told of it"
        );
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
