//! Reordering within any range of lengths, asked for after the fact.
//!
//! A packet is reordered (RFC 4737 §3) if one that entered later arrived before it. Within a range of
//! lengths, only packets of the range count, both as the late one and as the one that overtook it.
//! Since a range is an interval around the late packet's own length, it holds some overtaker exactly
//! if it holds the overtaker nearest in length, from below or from above; so those two are all that
//! has to be kept of a late packet.

use std::{collections::BTreeMap, ops::RangeInclusive};

#[derive(Debug, Default)]
pub struct Reordering {
    /// The highest sequence number that has arrived, and the same by length.
    highest: Option<u64>,
    highest_by_len: BTreeMap<u16, u64>,
    late: BTreeMap<Late, u64>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
struct Late {
    len: u16,
    /// Length of the overtaker nearest in length among those not longer.
    below: Option<u16>,
    /// The same among those not shorter.
    above: Option<u16>,
}

impl Reordering {
    pub fn arrived(&mut self, seq: u64, len: u16) {
        if self.highest.is_some_and(|highest| highest > seq) {
            let overtook = |(&len, &highest): (&u16, &u64)| (highest > seq).then_some(len);
            let below = self.highest_by_len.range(..=len).rev().find_map(overtook);
            let above = self.highest_by_len.range(len..).find_map(overtook);
            *self.late.entry(Late { len, below, above }).or_default() += 1;
        }
        self.highest = self.highest.max(Some(seq));
        let highest = self.highest_by_len.entry(len).or_insert(seq);
        *highest = seq.max(*highest);
    }

    /// How many packets of these lengths came after one of these lengths that had entered later.
    pub fn reordered(&self, lengths: RangeInclusive<u16>) -> u64 {
        let inside = |len: Option<u16>| len.is_some_and(|len| lengths.contains(&len));
        self.late
            .range(late(*lengths.start(), None)..=late(*lengths.end(), Some(u16::MAX)))
            .filter(|(late, _)| inside(late.below) || inside(late.above))
            .map(|(_, &count)| count)
            .sum()
    }
}

fn late(len: u16, neighbour: Option<u16>) -> Late {
    Late {
        len,
        below: neighbour,
        above: neighbour,
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn equals_the_definition_on_every_range(
            arrivals in prop::collection::vec(0u16..8, 0..40).prop_flat_map(|lens| {
                Just(lens.into_iter().enumerate().collect::<Vec<_>>()).prop_shuffle()
            }),
            low in 0u16..8, high in 0u16..8,
        ) {
            let mut reordering = Reordering::default();
            for &(seq, len) in &arrivals {
                reordering.arrived(seq as u64, len);
            }
            let class: Vec<_> = arrivals.iter().filter(|(_, len)| (low..=high).contains(len)).collect();
            let expected = (0..class.len()).filter(|&i| class[..i].iter().any(|(seq, _)| *seq > class[i].0)).count();
            if low <= high {
                prop_assert_eq!(reordering.reordered(low..=high), expected as u64);
            }
        }
    }
}
