//! Halves of packets that were too big for a step, until the other half comes.

use std::{collections::VecDeque, time::Duration};

use corridor_probes::Mono;

use super::wire::Part;

/// Halves take the same route; what is later than this lost its other half.
const PATIENCE: Duration = Duration::from_millis(100);
/// Halves that wait: 100 ms at 2,500 packets a second.
const MOST: usize = 256;

#[derive(Debug)]
struct Half {
    seq: u32,
    part: Part,
    media: Vec<u8>,
    since: Mono,
}

/// The halves of one flow.
#[derive(Debug, Default)]
pub struct Join {
    halves: VecDeque<Half>,
    /// Packets put together.
    pub joined: u64,
    /// Halves whose other half did not come in time.
    pub given_up: u64,
}

impl Join {
    /// The whole packet, if this half completes one.
    pub fn take(&mut self, seq: u32, part: Part, media: &[u8], now: Mono) -> Option<Vec<u8>> {
        self.expire(now);
        let Some(at) = self.halves.iter().position(|half| half.seq == seq) else {
            if self.halves.len() >= MOST {
                self.halves.pop_front();
                self.given_up += 1;
            }
            self.halves.push_back(Half {
                seq,
                part,
                media: media.to_vec(),
                since: now,
            });
            return None;
        };
        if self.halves.get(at).is_none_or(|half| half.part == part) {
            // The same half again, by another route.
            return None;
        }
        let other = self.halves.remove(at)?;
        self.joined += 1;
        Some(match part {
            Part::Second => [other.media.as_slice(), media].concat(),
            Part::First | Part::Whole => [media, other.media.as_slice()].concat(),
        })
    }

    /// The packet came whole by another route.
    pub fn forget(&mut self, seq: u32) {
        self.halves.retain(|half| half.seq != seq);
    }

    /// Gives up on what waits for too long.
    pub fn expire(&mut self, now: Mono) {
        while self
            .halves
            .front()
            .is_some_and(|half| now.since(half.since) > PATIENCE)
        {
            self.halves.pop_front();
            self.given_up += 1;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(ms: i64) -> Mono {
        Mono::from_millis(ms)
    }

    #[test]
    fn halves_are_joined_in_either_order() {
        let mut join = Join::default();
        assert_eq!(join.take(1, Part::First, b"ab", at(0)), None);
        assert_eq!(join.take(2, Part::Second, b"yz", at(1)), None);
        assert_eq!(join.take(1, Part::First, b"ab", at(2)), None, "a repeat");
        assert_eq!(
            join.take(1, Part::Second, b"cd", at(3)).as_deref(),
            Some(&b"abcd"[..])
        );
        assert_eq!(
            join.take(2, Part::First, b"wx", at(4)).as_deref(),
            Some(&b"wxyz"[..])
        );
        assert_eq!((join.joined, join.given_up), (2, 0));
    }

    #[test]
    fn a_half_alone_is_given_up() {
        let mut join = Join::default();
        join.take(1, Part::First, b"ab", at(0));
        assert_eq!(join.take(1, Part::Second, b"cd", at(101)), None);
        assert_eq!(join.given_up, 1);
        for seq in 0..2 * MOST as u32 {
            join.take(10 + seq, Part::First, b"", at(150));
        }
        assert_eq!(join.halves.len(), MOST);
    }
}
