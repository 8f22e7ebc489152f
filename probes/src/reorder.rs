//! Reordering (RFC 4737): which packets came after one sent later, and by how much.

use std::collections::VecDeque;

/// How far back the extent of a reordered packet is searched, in packets.
pub const MAX_EXTENT: usize = 512;

/// Judges packets in order of arrival. Duplicates are the caller's to leave out (§3.3).
#[derive(Debug, Clone, Default)]
pub struct Reordering {
    /// NextExp: one above the highest number so far.
    next_expected: Option<u64>,
    recent: VecDeque<u64>,
    packets: u64,
    reordered: u64,
    largest_extent: u32,
}

/// A reordered packet.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Reordered {
    /// How many packets before it the first one arrived that was sent later (§4.2.1); none if that is
    /// more than [`MAX_EXTENT`].
    pub extent: Option<u32>,
    /// The largest `n` for which it is n-reordered: all of the `n` packets just before it were sent
    /// later (§5.2).
    pub n: u32,
}

impl Reordering {
    /// Takes the number of the next packet to arrive.
    pub fn push(&mut self, seq: u64) -> Option<Reordered> {
        self.packets += 1;
        let in_order = self.next_expected.is_none_or(|next| seq >= next);
        let reordered = (!in_order).then(|| {
            let before = self.recent.iter().rev();
            let n = before.clone().take_while(|&&s| s > seq).count();
            let complete = self.packets <= MAX_EXTENT as u64 + 1;
            let first_later = self.recent.iter().position(|&s| s > seq);
            let extent = match first_later {
                // It may lie further back still.
                Some(0) | None if !complete => None,
                Some(at) => Some((self.recent.len() - at) as u32),
                None => None,
            };
            Reordered { extent, n: n as u32 }
        });
        if in_order {
            self.next_expected = Some(seq.saturating_add(1));
        }
        if let Some(r) = reordered {
            self.reordered += 1;
            self.largest_extent = self.largest_extent.max(r.extent.unwrap_or(MAX_EXTENT as u32));
        }
        if self.recent.len() == MAX_EXTENT {
            self.recent.pop_front();
        }
        self.recent.push_back(seq);
        reordered
    }

    pub fn packets(&self) -> u64 {
        self.packets
    }

    pub fn reordered(&self) -> u64 {
        self.reordered
    }

    /// NextExp (§3.3): one above the highest number so far.
    pub fn next_expected(&self) -> Option<u64> {
        self.next_expected
    }

    /// The largest extent seen, at most [`MAX_EXTENT`]; none if nothing was reordered.
    pub fn largest_extent(&self) -> Option<u32> {
        (self.reordered > 0).then_some(self.largest_extent)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn judge(arrivals: &[u64]) -> Vec<Option<(u32, u32)>> {
        let mut r = Reordering::default();
        let all = arrivals
            .iter()
            .map(|&s| r.push(s).map(|x| (x.extent.unwrap(), x.n)));
        all.collect()
    }

    #[test]
    fn examples() {
        // RFC 4737 §4.2.3 and the like: arrivals, then (extent, n) of each.
        assert_eq!(
            judge(&[1, 2, 3, 7, 8, 9, 10, 4, 5, 6, 11]),
            [
                None,
                None,
                None,
                None,
                None,
                None,
                None,
                Some((4, 4)),
                Some((5, 0)),
                Some((6, 0)),
                None
            ]
        );
        assert_eq!(judge(&[2, 1]), [None, Some((1, 1))]);
        assert_eq!(judge(&[1, 3, 5]), [None; 3]);
        assert_eq!(
            judge(&[1, 4, 2, 5, 3]),
            [None, None, Some((1, 1)), None, Some((3, 1))]
        );
    }

    proptest! {
        #[test]
        fn agrees_with_the_definition(arrivals in prop::collection::vec(0u64..60, 0..80)) {
            let mut seen = Vec::new();
            let arrivals: Vec<_> = arrivals.into_iter().filter(|s| {
                let new = !seen.contains(s);
                seen.push(*s);
                new
            }).collect();
            let judged = judge(&arrivals);
            for (i, &s) in arrivals.iter().enumerate() {
                let first_later = arrivals[..i].iter().position(|&before| before > s);
                prop_assert_eq!(judged[i].map(|j| j.0), first_later.map(|j| (i - j) as u32));
                if let Some((_, n)) = judged[i] {
                    let run = arrivals[..i].iter().rev().take_while(|&&before| before > s).count();
                    prop_assert_eq!(n as usize, run);
                }
            }
        }
    }

    #[test]
    fn memory_is_bounded() {
        let mut r = Reordering::default();
        for seq in 1..2_000 {
            assert_eq!(r.push(seq), None);
        }
        assert_eq!(r.push(0), Some(Reordered { extent: None, n: 512 }));
        assert_eq!(r.largest_extent(), Some(512));
        assert_eq!((r.packets(), r.reordered(), r.recent.len()), (2_000, 1, 512));
    }
}
