//! How far packets were overtaken (RFC 4737), of each direction.

use std::collections::BTreeSet;

use corridor_probes::{MAX_EXTENT, Reordering, wire::EchoBody};

/// Largest extents of reordering (RFC 4737 §4.2). What is known of the way up is the order in which the
/// reflector counted the probes whose echoes came back.
#[derive(Debug, Default)]
pub struct Order {
    state: Option<State>,
    largest_up: Option<u32>,
    largest_down: Option<u32>,
}

/// Of one state of the reflector within one session: its counts compare with no other's.
#[derive(Debug)]
struct State {
    of: (u64, u32),
    up: Reordering,
    down: Reordering,
    /// (count, number) of echoes that are not judged yet, since one with a lower count may still come.
    waiting: BTreeSet<(u32, u32)>,
}

impl Order {
    /// Takes the next echo to arrive: of the probe `seq` of a session.
    pub fn echo(&mut self, session: u64, seq: u32, body: &EchoBody) {
        let of = (session, body.epoch);
        if self.state.as_ref().is_none_or(|s| s.of != of) {
            self.close();
        }
        let state = self.state.get_or_insert_with(|| State {
            of,
            up: Reordering::default(),
            down: Reordering::default(),
            waiting: BTreeSet::new(),
        });
        state.down.push(body.count.into());
        state.waiting.insert((body.count, seq));
        if state.waiting.len() > MAX_EXTENT
            && let Some((_, seq)) = state.waiting.pop_first()
        {
            state.up.push(state.unwrap(seq));
        }
    }

    /// Up and down, in packets; none where nothing was reordered.
    pub fn largest_extents(&mut self) -> (Option<u32>, Option<u32>) {
        self.close();
        (self.largest_up, self.largest_down)
    }

    fn close(&mut self) {
        let Some(mut state) = self.state.take() else {
            return;
        };
        while let Some((_, seq)) = state.waiting.pop_first() {
            state.up.push(state.unwrap(seq));
        }
        self.largest_up = self.largest_up.max(state.up.largest_extent());
        self.largest_down = self.largest_down.max(state.down.largest_extent());
    }
}

impl State {
    /// Numbers wrap at 32 bits; those of one state lie near its first.
    fn unwrap(&self, seq: u32) -> u64 {
        let near = self.up.next_expected().unwrap_or((1 << 32) + u64::from(seq));
        near.saturating_add_signed(i64::from(seq.wrapping_sub(near as u32) as i32))
    }
}

#[cfg(test)]
mod tests {
    use corridor_probes::wire::AckRanges;

    use super::*;

    fn echo(epoch: u32, count: u32) -> EchoBody {
        EchoBody {
            epoch,
            recv_us: 0,
            residence_us: 0,
            count,
            overtaken: false,
            reordered: 0,
            base: 0,
            ranges: AckRanges::EMPTY,
        }
    }

    /// Echoes as (number, count) in the order in which they come back.
    fn extents(echoes: &[(u32, u32)]) -> (Option<u32>, Option<u32>) {
        let mut order = Order::default();
        for &(seq, count) in echoes {
            order.echo(0, seq, &echo(1, count));
        }
        order.largest_extents()
    }

    #[test]
    fn each_direction_by_itself() {
        assert_eq!(extents(&[]), (None, None));
        assert_eq!(extents(&[(1, 1), (2, 2), (4, 3)]), (None, None));
        // Probe 1 came to the reflector behind 2 and 3.
        assert_eq!(extents(&[(2, 1), (3, 2), (1, 3)]), (Some(2), None));
        // Its echo came behind those of 2 and 3.
        assert_eq!(extents(&[(2, 2), (3, 3), (1, 1)]), (None, Some(2)));
        let top = u32::MAX;
        assert_eq!(extents(&[(top, 1), (0, 2), (1, 3)]), (None, None), "numbers wrap");
        assert_eq!(extents(&[(0, 1), (top, 2)]), (Some(1), None));
    }

    #[test]
    fn counts_of_two_lives_are_not_compared() {
        let mut order = Order::default();
        order.echo(0, 1, &echo(1, 700));
        order.echo(0, 2, &echo(2, 1));
        order.echo(1, 1, &echo(2, 1));
        assert_eq!(order.largest_extents(), (None, None));
    }
}
