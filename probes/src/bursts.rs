//! Do losses come in bursts? Gilbert's two-state chain, and bursts and gaps as RFC 3611 defines them.

use serde::{Deserialize, Serialize};

/// RFC 3611 §4.7.2: this many packets received in a row end a burst.
pub const GMIN: u32 = 16;

/// How often a received packet follows a received one, and so on: all that Gilbert's chain needs.
/// Joins exactly with the chain of what comes next.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct LossChain {
    kept_after_kept: u32,
    lost_after_kept: u32,
    kept_after_lost: u32,
    lost_after_lost: u32,
    /// Whether the first and the last packet were lost, as far as that is known; none without packets.
    ends: Option<(Option<bool>, Option<bool>)>,
}

impl LossChain {
    /// Takes the fate of the next packet.
    pub fn push(&mut self, lost: bool) {
        self.end(Some(lost));
    }

    /// The fate of the next packet is not known, or it was not sent: those before and after it are no
    /// neighbours.
    pub fn push_unknown(&mut self) {
        self.end(None);
    }

    fn end(&mut self, lost: Option<bool>) {
        self.join(&Self {
            ends: Some((lost, lost)),
            ..Self::default()
        });
    }

    /// Goes on with `next`.
    pub fn join(&mut self, next: &Self) {
        let Some((next_first, next_last)) = next.ends else {
            return;
        };
        for (mine, theirs) in [
            (&mut self.kept_after_kept, next.kept_after_kept),
            (&mut self.lost_after_kept, next.lost_after_kept),
            (&mut self.kept_after_lost, next.kept_after_lost),
            (&mut self.lost_after_lost, next.lost_after_lost),
        ] {
            *mine = mine.saturating_add(theirs);
        }
        let Some((first, last)) = self.ends else {
            self.ends = next.ends;
            return;
        };
        if let Some(pair) = last.zip(next_first) {
            let step = match pair {
                (false, false) => &mut self.kept_after_kept,
                (false, true) => &mut self.lost_after_kept,
                (true, false) => &mut self.kept_after_lost,
                (true, true) => &mut self.lost_after_lost,
            };
            *step = step.saturating_add(1);
        }
        self.ends = Some((first, next_last));
    }

    /// How often which packet follows which, as [`Self::of_pairs`] takes it.
    pub const fn pairs(&self) -> [u32; 4] {
        [
            self.kept_after_kept,
            self.lost_after_kept,
            self.kept_after_lost,
            self.lost_after_lost,
        ]
    }

    /// How often a received packet follows a received one, a lost one a received one, a received one a lost one,
    /// and a lost one a lost one; what comes before and after is not known.
    pub const fn of_pairs(pairs: [u32; 4]) -> Self {
        let [kept_after_kept, lost_after_kept, kept_after_lost, lost_after_lost] = pairs;
        Self {
            kept_after_kept,
            lost_after_kept,
            kept_after_lost,
            lost_after_lost,
            ends: Some((None, None)),
        }
    }

    /// p: how likely a loss is after a received packet.
    pub fn p(&self) -> Option<f64> {
        share(self.lost_after_kept, self.kept_after_kept)
    }

    /// q: how likely a received packet is after a loss.
    pub fn q(&self) -> Option<f64> {
        share(self.kept_after_lost, self.lost_after_lost)
    }

    /// BurstR of ITU-T G.107: 1 for random loss, more for bursts. 1/(p + q), at least 1; none where
    /// either cannot be known, or nothing changes.
    pub fn burst_ratio(&self) -> Option<f64> {
        let sum = self.p()? + self.q()?;
        (sum > 0.0).then(|| (1.0 / sum).max(1.0))
    }
}

fn share(part: u32, rest: u32) -> Option<f64> {
    let whole = u64::from(part) + u64::from(rest);
    (whole > 0).then(|| f64::from(part) / whole as f64)
}

/// Bursts and gaps of a sequence of packets (RFC 3611 §4.7.2).
///
/// By the definition and not by the code of its appendix A.2, which does not reproduce the RFC's own
/// example: a burst is the longest run that begins and ends with a loss and holds no [`GMIN`] received
/// packets in a row; a loss with at least so many received on either side (or the end of the sequence) is
/// in a gap. What came too late to be played is lost here.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct BurstsAndGaps {
    pub bursts: u32,
    pub burst_packets: u64,
    pub burst_lost: u64,
    pub gap_packets: u64,
    pub gap_lost: u64,
}

/// Finds [`BurstsAndGaps`] one packet at a time, in constant memory.
#[derive(Debug, Clone, Copy)]
pub struct BurstCounter {
    gmin: u32,
    packets: u64,
    lost: u64,
    /// Of the bursts that are over.
    over: BurstsAndGaps,
    /// The losses that may be a burst yet, or one that goes on.
    run: Option<Run>,
}

#[derive(Debug, Clone, Copy)]
struct Run {
    first: u64,
    last: u64,
    lost: u64,
}

impl Default for BurstCounter {
    fn default() -> Self {
        Self::new(GMIN)
    }
}

impl BurstCounter {
    /// So many received packets in a row end a burst.
    pub fn new(gmin: u32) -> Self {
        Self {
            gmin,
            packets: 0,
            lost: 0,
            over: BurstsAndGaps::default(),
            run: None,
        }
    }

    /// Takes the fate of the next packet in the order of sending.
    pub fn push(&mut self, lost: bool) {
        let at = self.packets;
        self.packets += 1;
        if !lost {
            return;
        }
        self.lost += 1;
        match &mut self.run {
            Some(run) if at - run.last <= u64::from(self.gmin) => {
                run.last = at;
                run.lost += 1;
            }
            _ => {
                self.close_run();
                self.run = Some(Run {
                    first: at,
                    last: at,
                    lost: 1,
                });
            }
        }
    }

    fn close_run(&mut self) {
        if let Some(run) = self.run.take().filter(|r| r.lost > 1) {
            self.over.bursts = self.over.bursts.saturating_add(1);
            self.over.burst_packets += run.last - run.first + 1;
            self.over.burst_lost += run.lost;
        }
    }

    /// As if the sequence ended here.
    pub fn finish(mut self) -> BurstsAndGaps {
        self.close_run();
        BurstsAndGaps {
            gap_packets: self.packets - self.over.burst_packets,
            gap_lost: self.lost - self.over.burst_lost,
            ..self.over
        }
    }
}

impl BurstsAndGaps {
    /// Share of packets lost within bursts.
    pub fn burst_density(&self) -> Option<f64> {
        (self.burst_packets > 0).then(|| self.burst_lost as f64 / self.burst_packets as f64)
    }

    /// Share of packets lost within gaps.
    pub fn gap_density(&self) -> Option<f64> {
        (self.gap_packets > 0).then(|| self.gap_lost as f64 / self.gap_packets as f64)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn chain(lost: &[bool]) -> LossChain {
        let mut c = LossChain::default();
        lost.iter().for_each(|&l| c.push(l));
        c
    }

    fn parse(s: &str) -> Vec<bool> {
        s.bytes().map(|b| b == b'x').collect()
    }

    #[test]
    fn across_what_is_not_known_nobody_is_a_neighbour() {
        let mut c = chain(&parse("..x"));
        c.push_unknown();
        let mut next = chain(&parse("x..x"));
        next.push_unknown();
        assert_eq!(
            (c.q(), c.p()),
            (None, Some(0.5)),
            "what follows the loss is not known"
        );
        c.join(&next);
        // Lost after kept: once of two and once of two; kept after lost: once of one.
        assert_eq!((c.p(), c.q()), (Some(0.5), Some(1.0)));
        let mut stepwise = chain(&parse("..x"));
        stepwise.push_unknown();
        for lost in parse("x..x") {
            stepwise.push(lost);
        }
        stepwise.push_unknown();
        assert_eq!(stepwise, c);
    }

    #[test]
    fn gilbert_by_hand() {
        let c = chain(&parse("..xx..x."));
        assert_eq!((c.p(), c.q()), (Some(2.0 / 4.0), Some(2.0 / 3.0)));
        assert_eq!(c.burst_ratio(), Some(1.0), "less than random is called random");
        let c = chain(&parse("....xxxx...."));
        assert_eq!(c.burst_ratio(), Some(1.0 / (1.0 / 7.0 + 1.0 / 4.0)));
        for unknown in ["", ".", "x", "....", "xxxx", "...x"] {
            assert_eq!(chain(&parse(unknown)).burst_ratio(), None, "{unknown}");
        }
    }

    fn counted(lost: &[bool], gmin: u32) -> BurstsAndGaps {
        let mut counter = BurstCounter::new(gmin);
        lost.iter().for_each(|&l| counter.push(l));
        counter.finish()
    }

    /// The definition, of the whole sequence at once.
    fn defined(lost: &[bool], gmin: u32) -> BurstsAndGaps {
        let mut sum = BurstsAndGaps::default();
        let losses: Vec<_> = (0..lost.len()).filter(|&i| lost[i]).collect();
        for run in losses.chunk_by(|&a, &b| b - a - 1 < gmin as usize) {
            if let (&[first, ..], &[.., last]) = (run, run)
                && run.len() > 1
            {
                sum.bursts += 1;
                sum.burst_packets += (last - first + 1) as u64;
                sum.burst_lost += run.len() as u64;
            }
        }
        sum.gap_packets = lost.len() as u64 - sum.burst_packets;
        sum.gap_lost = losses.len() as u64 - sum.burst_lost;
        sum
    }

    #[test]
    fn bursts_by_the_definition() {
        let of = |s: &str| {
            let b = counted(&parse(s), 4);
            (b.bursts, b.burst_packets, b.burst_lost, b.gap_packets, b.gap_lost)
        };
        assert_eq!(of(""), (0, 0, 0, 0, 0));
        assert_eq!(of("....x...."), (0, 0, 0, 9, 1), "one loss alone is in a gap");
        assert_eq!(of("xx"), (1, 2, 2, 0, 0));
        assert_eq!(of("x...x"), (1, 5, 2, 0, 0), "three received do not end it");
        assert_eq!(of("x....x"), (0, 0, 0, 6, 2), "four do");
        assert_eq!(of("..xx...x....x.."), (1, 6, 3, 9, 1));
    }

    proptest! {
        #[test]
        fn chains_join_exactly(lost in prop::collection::vec(any::<bool>(), 0..60), at in 0usize..60) {
            let at = at.min(lost.len());
            let mut joined = chain(&lost[..at]);
            joined.join(&chain(&lost[at..]));
            prop_assert_eq!(joined, chain(&lost));
        }

        #[test]
        fn counting_agrees_with_the_definition(
            gaps in prop::collection::vec(prop_oneof![0usize..4, 14usize..20], 0..40),
            tail in 0usize..40,
        ) {
            let mut lost: Vec<bool> = Vec::new();
            for gap in gaps {
                lost.extend(std::iter::repeat_n(false, gap));
                lost.push(true);
            }
            lost.extend(std::iter::repeat_n(false, tail));
            let b = counted(&lost, GMIN);
            prop_assert_eq!(b, defined(&lost, GMIN));
            prop_assert_eq!(b.burst_packets + b.gap_packets, lost.len() as u64);
            prop_assert_eq!(b.burst_lost + b.gap_lost, lost.iter().filter(|&&l| l).count() as u64);
        }
    }
}
