//! What is known of one hop: its probes' fates, its round-trip times, who answers there.

use std::net::IpAddr;

use super::{MAX_ADDRESSES, probe::Unreachable};
use crate::{DelaySummary, ipdv};

/// Probes of one kind and their fates. A probe is open until it is answered or given up; open ones are
/// neither answered nor missing.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Series {
    sent: u32,
    missing: u32,
    /// Place among those sent, and round trip in µs, in order of arrival.
    answered: Vec<(u32, u32)>,
}

/// Round-trip times in ms, and how they vary.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Figures {
    pub last: f64,
    pub best: f64,
    pub mean: f64,
    pub worst: f64,
    pub p50: f64,
    pub p95: f64,
    /// Mean difference between neighbours that were both answered; none without such a pair.
    pub jitter: Option<f64>,
}

impl Series {
    /// Counts a probe, and says its place.
    pub(super) fn send(&mut self) -> u32 {
        self.sent = self.sent.saturating_add(1);
        self.sent
    }

    pub(super) fn answer(&mut self, place: u32, rtt_us: u32) {
        self.answered.push((place, rtt_us));
    }

    pub(super) fn give_up(&mut self) {
        self.missing = self.missing.saturating_add(1);
    }

    pub fn sent(&self) -> u32 {
        self.sent
    }

    pub fn answered(&self) -> u32 {
        u32::try_from(self.answered.len()).unwrap_or(u32::MAX)
    }

    pub fn missing(&self) -> u32 {
        self.missing
    }

    /// Those whose fate is known.
    pub fn settled(&self) -> u32 {
        self.answered().saturating_add(self.missing)
    }

    /// Of those whose fate is known; none without any.
    pub fn missing_share(&self) -> Option<f64> {
        (self.settled() > 0).then(|| f64::from(self.missing) / f64::from(self.settled()))
    }

    /// Places of those answered, ascending.
    pub(super) fn places(&self) -> Vec<u32> {
        let mut places: Vec<_> = self.answered.iter().map(|&(place, _)| place).collect();
        places.sort_unstable();
        places
    }

    /// None before the first answer.
    pub fn figures(&self) -> Option<Figures> {
        let &(_, last) = self.answered.last()?;
        let all = DelaySummary::of(self.answered.iter().map(|&(_, us)| i64::from(us)))?;
        let mut in_order: Vec<_> = self
            .answered
            .iter()
            .map(|&(place, us)| (u64::from(place), i64::from(us)))
            .collect();
        in_order.sort_unstable();
        let steps = ipdv(&in_order);
        let jitter = (!steps.is_empty())
            .then(|| steps.iter().map(|d| d.abs() as f64).sum::<f64>() / steps.len() as f64 / 1e3);
        let ms = |us: i64| us as f64 / 1e3;
        Some(Figures {
            last: f64::from(last) / 1e3,
            best: ms(all.min),
            mean: all.mean / 1e3,
            worst: ms(all.max),
            p50: ms(all.p50),
            p95: ms(all.p95),
            jitter,
        })
    }
}

/// A router that answered at a hop, and how often.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Seen {
    pub address: IpAddr,
    pub answers: u32,
}

/// One hop.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Hop {
    pub(super) series: Series,
    seen: Vec<Seen>,
    /// Someone there refuses probes.
    pub(super) unreachable: Option<Unreachable>,
    /// Some answers said too little of the probe and were matched by who sent them.
    pub(super) by_address: bool,
}

impl Hop {
    pub fn series(&self) -> &Series {
        &self.series
    }

    /// Most answers first, at most [`MAX_ADDRESSES`].
    pub fn seen(&self) -> &[Seen] {
        &self.seen
    }

    pub fn unreachable(&self) -> Option<Unreachable> {
        self.unreachable
    }

    /// Whether answers here were matched to probes by their sender alone.
    pub fn matched_by_address(&self) -> bool {
        self.by_address
    }

    pub(super) fn see(&mut self, address: IpAddr) {
        if let Some(seen) = self.seen.iter_mut().find(|s| s.address == address) {
            seen.answers = seen.answers.saturating_add(1);
        } else if self.seen.len() < MAX_ADDRESSES {
            self.seen.push(Seen { address, answers: 1 });
        }
        self.seen.sort_by_key(|s| std::cmp::Reverse(s.answers));
    }

    pub(super) fn is_home_of(&self, address: IpAddr) -> bool {
        self.seen.iter().any(|s| s.address == address)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// `None` is a probe that nobody answered.
    fn series(fates: &[Option<u32>]) -> Series {
        let mut s = Series::default();
        for fate in fates {
            let place = s.send();
            match fate {
                Some(us) => s.answer(place, *us),
                None => s.give_up(),
            }
        }
        s
    }

    #[test]
    fn jitter_is_between_two_answered_neighbours() {
        let table: [(&[Option<u32>], Option<f64>); 6] = [
            (&[Some(333_000)], None),
            (&[Some(333_000), Some(123_000), Some(123_000)], Some(105.0)),
            (&[Some(10_000), None, Some(90_000)], None),
            (&[None, Some(10_000), Some(12_000)], Some(2.0)),
            (&[Some(10_000), Some(10_000)], Some(0.0)),
            (
                &[Some(1_000), Some(3_000), None, Some(9_000), Some(5_000)],
                Some(3.0),
            ),
        ];
        for (fates, wanted) in table {
            assert_eq!(series(fates).figures().unwrap().jitter, wanted, "{fates:?}");
        }
    }

    #[test]
    fn what_was_lost_is_no_figure() {
        assert_eq!(series(&[None, None]).figures(), None);
        assert_eq!(series(&[]).missing_share(), None);
        let s = series(&[None, Some(20_000), Some(10_000), None]);
        let f = s.figures().unwrap();
        assert_eq!((f.best, f.worst, f.mean, f.last), (10.0, 20.0, 15.0, 10.0));
        assert_eq!((s.sent(), s.answered(), s.missing()), (4, 2, 2));
        assert_eq!(s.missing_share(), Some(0.5));
    }

    #[test]
    fn open_probes_are_not_missing() {
        let mut s = series(&[Some(1)]);
        s.send();
        assert_eq!((s.settled(), s.missing_share()), (1, Some(0.0)));
    }

    #[test]
    fn addresses_are_few_and_the_busiest_comes_first() {
        let mut hop = Hop::default();
        let ip = |n: u8| IpAddr::from([192, 0, 2, n]);
        for n in [1, 2, 2, 3, 4, 5, 5, 5] {
            hop.see(ip(n));
        }
        assert_eq!(hop.seen().len(), MAX_ADDRESSES);
        assert_eq!(
            hop.seen()[0],
            Seen {
                address: ip(2),
                answers: 2
            }
        );
        assert!(hop.is_home_of(ip(4)) && !hop.is_home_of(ip(5)));
    }

    proptest! {
        #[test]
        fn figures_are_in_order(fates in prop::collection::vec(prop::option::of(0u32..5_000_000), 0..60)) {
            let s = series(&fates);
            prop_assert_eq!(s.settled(), s.sent());
            if let Some(f) = s.figures() {
                prop_assert!(f.best <= f.p50 && f.p50 <= f.p95 && f.p95 <= f.worst);
                prop_assert!(f.best <= f.mean + 1e-9 && f.mean <= f.worst + 1e-9);
            } else {
                prop_assert_eq!(s.answered(), 0);
            }
        }
    }
}
