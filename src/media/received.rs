//! Which packets of a flow have come: each is delivered once, however often and by whichever route it comes.

/// Numbers below the highest that are remembered: half a second at 2,000 packets a second, which is more than two
/// routes differ by.
const WINDOW: u64 = 1_024;
const WORDS: usize = (WINDOW / 64) as usize;

/// What a number is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Seen {
    New,
    /// It came before.
    Repeat,
    /// Too far below the highest to tell.
    TooOld,
}

/// The receiving side of a flow's numbers.
#[derive(Debug, Clone, Default)]
pub struct Received {
    /// The highest number, unwrapped, and the first that came.
    span: Option<(u64, u64)>,
    /// Bit `n % WINDOW` of the ring: number `n` has come.
    seen: [u64; WORDS],
    distinct: u64,
    pub repeated: u64,
    pub too_old: u64,
    /// Came after one with a higher number (RFC 4737).
    pub reordered: u64,
}

impl Received {
    pub fn take(&mut self, seq: u32) -> Seen {
        let Some((first, highest)) = self.span else {
            let seq = u64::from(seq) + (1 << 32);
            self.span = Some((seq, seq));
            self.mark(seq);
            return Seen::New;
        };
        // The nearest number that is cut to this one.
        let ahead = seq.wrapping_sub(highest as u32) as i32;
        let seq = highest.saturating_add_signed(ahead.into());
        if seq > highest {
            for skipped in (highest + 1..=seq).rev().take(WINDOW as usize) {
                self.clear(skipped);
            }
            self.span = Some((first, seq));
            self.mark(seq);
            return Seen::New;
        }
        if highest - seq >= WINDOW {
            self.too_old += 1;
            return Seen::TooOld;
        }
        if self.has(seq) {
            self.repeated += 1;
            return Seen::Repeat;
        }
        self.span = Some((first.min(seq), highest));
        self.reordered += 1;
        self.mark(seq);
        Seen::New
    }

    /// Whether `seq` has come, or is too old to tell.
    pub fn is_settled(&self, seq: u32) -> bool {
        let Some((_, highest)) = self.span else {
            return false;
        };
        let seq = highest.saturating_add_signed((seq.wrapping_sub(highest as u32) as i32).into());
        seq <= highest && (highest - seq >= WINDOW || self.has(seq))
    }

    /// Which of the 128 numbers below `seq` have come: bit `i` is for `seq - 1 - i`.
    pub fn below(&self, seq: u32) -> u128 {
        let Some((_, highest)) = self.span else { return 0 };
        let seq = highest.saturating_add_signed((seq.wrapping_sub(highest as u32) as i32).into());
        let came = |&i: &u32| {
            let number = seq.saturating_sub(1 + u64::from(i));
            highest.saturating_sub(number) < WINDOW && number <= highest && self.has(number)
        };
        (0..u128::BITS).filter(came).fold(0, |seen, i| seen | 1 << i)
    }

    /// How many between the first and the highest have not come: lost, or still on their way.
    pub fn missing(&self) -> u64 {
        self.span.map_or(0, |(first, highest)| {
            (highest - first + 1).saturating_sub(self.distinct)
        })
    }

    fn mark(&mut self, seq: u64) {
        let (word, bit) = place(seq);
        self.seen[word] |= bit;
        self.distinct += 1;
    }

    fn clear(&mut self, seq: u64) {
        let (word, bit) = place(seq);
        self.seen[word] &= !bit;
    }

    fn has(&self, seq: u64) -> bool {
        let (word, bit) = place(seq);
        self.seen[word] & bit != 0
    }
}

const fn place(seq: u64) -> (usize, u64) {
    let at = seq % WINDOW;
    ((at / 64) as usize, 1 << (at % 64))
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use proptest::prelude::*;

    use super::*;

    #[test]
    fn repeats_are_told_across_the_wrap() {
        let mut received = Received::default();
        let numbers = [u32::MAX - 1, u32::MAX, 0, 1];
        for seq in numbers {
            assert_eq!(received.take(seq), Seen::New, "{seq}");
        }
        for seq in numbers {
            assert_eq!(received.take(seq), Seen::Repeat, "{seq}");
        }
        assert_eq!(
            (received.distinct, received.missing(), received.repeated),
            (4, 0, 4)
        );
    }

    #[test]
    fn what_has_come_below_a_number_is_told_across_the_wrap() {
        let mut received = Received::default();
        assert_eq!(received.below(7), 0);
        for seq in [u32::MAX - 2, u32::MAX, 1, 2] {
            received.take(seq);
        }
        assert_eq!(received.below(2), 0b10101);
        assert_eq!(received.below(0), 0b101);
        received.take(200);
        assert_eq!(received.below(200), 0);
        received.take(WINDOW as u32 + 200);
        assert_eq!(received.below(201), 0, "it is forgotten");
    }

    #[test]
    fn a_gap_is_missing_until_it_is_filled() {
        let mut received = Received::default();
        received.take(10);
        received.take(13);
        assert_eq!((received.missing(), received.reordered), (2, 0));
        assert_eq!(received.take(11), Seen::New);
        assert_eq!((received.missing(), received.reordered), (1, 1));
        assert_eq!(received.take(9), Seen::New, "before the first");
        assert_eq!((received.missing(), received.distinct), (1, 4));
    }

    #[test]
    fn what_is_far_below_is_too_old_and_what_is_far_above_clears_the_window() {
        let mut received = Received::default();
        received.take(0);
        received.take(WINDOW as u32 - 1);
        assert_eq!(received.take(0), Seen::Repeat);
        received.take(WINDOW as u32);
        assert_eq!(received.take(0), Seen::TooOld);
        received.take(1_000_000);
        assert_eq!(
            received.take(1_000_000 - 5),
            Seen::New,
            "nothing is left of the old window"
        );
        assert_eq!(received.too_old, 1);
    }

    proptest! {
        #[test]
        fn each_number_is_new_once(start: u32, steps in prop::collection::vec(0..WINDOW as u32, 1..400)) {
            let mut received = Received::default();
            let mut seen = BTreeSet::new();
            for step in steps {
                let seq = start.wrapping_add(step);
                let new = received.take(seq) == Seen::New;
                prop_assert_eq!(new, seen.insert(step));
            }
            prop_assert_eq!(received.distinct, seen.len() as u64);
            let span = u64::from(seen.last().unwrap() - seen.first().unwrap()) + 1;
            prop_assert_eq!(received.missing(), span - seen.len() as u64);
        }
    }
}
