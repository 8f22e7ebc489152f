//! What came through of what was sent. A payload names its flow and when it was sent; the rest of it is
//! determined by both, and is looked at.

use std::sync::{Mutex, MutexGuard, PoisonError};

use crate::clock::now_ns;

/// Flow and time.
const HEAD: usize = 2 + 8;

/// Fills `payload` for `flow`, sent at `at`.
pub fn fill(payload: &mut [u8], flow: u16, at: u64) {
    let (head, body) = payload.split_at_mut(HEAD);
    head[..2].copy_from_slice(&flow.to_be_bytes());
    head[2..].copy_from_slice(&at.to_be_bytes());
    body.fill(pattern(flow, at));
}

const fn pattern(flow: u16, at: u64) -> u8 {
    (at >> 3) as u8 ^ flow as u8
}

/// Flow and time of a payload; `None` if it is not what was sent.
fn read(payload: &[u8], size: usize) -> Option<(u16, u64)> {
    let (&head, body) = payload.split_first_chunk::<HEAD>()?;
    let [f0, f1, at @ ..] = head;
    let (flow, at) = (u16::from_be_bytes([f0, f1]), u64::from_be_bytes(at));
    let expected = pattern(flow, at);
    (payload.len() == size && body.iter().all(|&byte| byte == expected)).then_some((flow, at))
}

/// What arrived of the packets that were sent within the window.
#[derive(Debug, Clone, Default)]
pub struct Arrived {
    pub packets: u64,
    /// Other bytes than were sent.
    pub damaged: u64,
    /// From the call that sends to the call that answers it, in ns.
    pub delays: Vec<u32>,
}

#[derive(Debug, Default)]
struct State {
    size: usize,
    from: u64,
    to: u64,
    arrived: Arrived,
}

/// All receivers tell it.
#[derive(Debug, Default)]
pub struct Meter(Mutex<State>);

impl Meter {
    /// Counts payloads of `size` bytes that are sent from now on within `from..to`.
    pub fn begin(&self, size: usize, from: u64, to: u64) {
        *self.lock() = State {
            size,
            from,
            to,
            arrived: Arrived::default(),
        };
    }

    pub fn arrived(&self, payload: &[u8]) {
        let now = now_ns();
        let mut state = self.lock();
        match read(payload, state.size) {
            None => state.arrived.damaged += 1,
            Some((_, at)) if (state.from..state.to).contains(&at) => {
                state.arrived.packets += 1;
                let delay = u32::try_from(now.saturating_sub(at)).unwrap_or(u32::MAX);
                state.arrived.delays.push(delay);
            }
            Some(_) => {}
        }
    }

    pub fn take(&self) -> Arrived {
        std::mem::take(&mut self.lock().arrived)
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_sent_is_known_and_damage_too() {
        let mut payload = [0; 200];
        fill(&mut payload, 700, 123_456_789);
        assert_eq!(read(&payload, 200), Some((700, 123_456_789)));
        assert_eq!(read(&payload, 201), None);
        assert_eq!(read(&payload[..9], 9), None);
        payload[199] ^= 1;
        assert_eq!(read(&payload, 200), None);
    }

    #[test]
    fn only_the_window_counts() {
        let meter = Meter::default();
        meter.begin(64, 100, 200);
        let mut payload = [0; 64];
        for at in [99, 100, 199, 200] {
            fill(&mut payload, 1, at);
            meter.arrived(&payload);
        }
        meter.arrived(b"no payload");
        let arrived = meter.take();
        assert_eq!(
            (arrived.packets, arrived.damaged, arrived.delays.len()),
            (2, 1, 2)
        );
        assert_eq!(meter.take().packets, 0);
    }
}
