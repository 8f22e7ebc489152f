//! Which sequence numbers have been received: a bitmap that slides upwards.

use crate::wire::AckRanges;

const WORDS: usize = 64;

/// The last 4,096 numbers, or a few less, up to the highest one received.
#[derive(Debug)]
pub(super) struct SeenNumbers {
    /// Word `n` of all numbers (`number / 64 == n`) is at `n % WORDS`.
    bits: Box<[u64; WORDS]>,
    highest: Option<u64>,
}

impl Default for SeenNumbers {
    fn default() -> Self {
        Self {
            bits: Box::new([0; WORDS]),
            highest: None,
        }
    }
}

impl SeenNumbers {
    /// How many numbers are remembered at most.
    pub(super) const REACH: u64 = WORDS as u64 * 64;

    /// What the 32 bits on the wire stand for, near the highest number so far; none if that is too old.
    pub(super) fn unwrap(&self, seq: u32) -> Option<u64> {
        let Some(highest) = self.highest else {
            // Room below, for what was sent before the first to arrive.
            return Some((1 << 32) + u64::from(seq));
        };
        let distance = seq.wrapping_sub(highest as u32) as i32;
        highest
            .checked_add_signed(distance.into())
            .filter(|&n| n >= self.lowest())
    }

    pub(super) fn highest(&self) -> Option<u64> {
        self.highest
    }

    /// Whether the number is new. It must not be below the lowest one remembered.
    pub(super) fn insert(&mut self, number: u64) -> bool {
        let word = number / 64;
        let first_fresh = match self.highest {
            None => word,
            Some(highest) => highest / 64 + 1,
        };
        // Words that slide in begin empty; after a jump that is all of them.
        for fresh in first_fresh.max(word.saturating_sub(WORDS as u64 - 1))..=word {
            self.bits[index(fresh)] = 0;
        }
        self.highest = self.highest.max(Some(number));
        let bits = &mut self.bits[index(word)];
        let bit = 1 << (number % 64);
        let new = *bits & bit == 0;
        *bits |= bit;
        new
    }

    /// Ranges from `from` upwards, or from the lowest number remembered, and where they begin: never
    /// above `number`.
    pub(super) fn ranges(&self, from: u64, number: u64) -> (u64, AckRanges) {
        let base = from.max(self.lowest()).min(number);
        let mut ranges = AckRanges::EMPTY;
        let mut at = base;
        while let Some(start) = self.next(at, true) {
            let end = self.next(start, false).unwrap_or(start + 1);
            // Both fit: the bitmap is narrower than the widest span.
            let (gap, len) = ((start - at) as u32, (end - start) as u32);
            if ranges.push(gap, len).is_err() {
                break;
            }
            at = end;
        }
        (base, ranges)
    }

    fn lowest(&self) -> u64 {
        let word = self.highest.unwrap_or(0) / 64;
        word.saturating_sub(WORDS as u64 - 1) * 64
    }

    /// The first number from `from` to just above the highest that was received, or was not.
    fn next(&self, from: u64, received: bool) -> Option<u64> {
        let highest = self.highest?;
        let end = if received { highest } else { highest + 1 };
        let mut at = from;
        while at <= end {
            let mut bits = if at / 64 > highest / 64 {
                0
            } else {
                self.bits[index(at / 64)]
            };
            if !received {
                bits = !bits;
            }
            bits >>= at % 64;
            if bits != 0 {
                let found = at + u64::from(bits.trailing_zeros());
                return (found <= end).then_some(found);
            }
            at = (at / 64 + 1) * 64;
        }
        None
    }
}

fn index(word: u64) -> usize {
    (word % WORDS as u64) as usize
}
