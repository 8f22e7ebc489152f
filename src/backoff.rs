//! How long to wait before the next attempt at a connection.

use std::time::Duration;

use rand::{RngExt as _, SeedableRng as _, rngs::StdRng};

/// Waits that grow with failure, each drawn at random so that many who lost the same peer do not come
/// back together.
#[derive(Debug)]
pub struct Backoff {
    /// The first wait after a connection that had stood is drawn from zero to this.
    spread: Duration,
    first: Duration,
    longest: Duration,
    failures: u32,
    rng: StdRng,
}

impl Backoff {
    /// Agents after losing an edge: spread over 10 s, so that an edge that restarts is not run over.
    pub fn agent(seed: u64) -> Self {
        Self::new(
            seed,
            Duration::from_secs(10),
            Duration::from_secs(1),
            Duration::from_secs(60),
        )
    }

    /// Edges after losing each other: few, and much depends on them.
    pub fn mesh(seed: u64) -> Self {
        Self::new(
            seed,
            Duration::from_millis(500),
            Duration::from_millis(500),
            Duration::from_secs(10),
        )
    }

    /// An edge after losing its controller.
    pub fn controller(seed: u64) -> Self {
        Self::new(
            seed,
            Duration::from_secs(1),
            Duration::from_millis(500),
            Duration::from_secs(15),
        )
    }

    fn new(seed: u64, spread: Duration, first: Duration, longest: Duration) -> Self {
        Self {
            spread,
            first,
            longest,
            failures: 0,
            rng: StdRng::seed_from_u64(seed),
        }
    }

    /// A connection stood: the next wait is a first one again.
    pub fn succeeded(&mut self) {
        self.failures = 0;
    }

    /// The wait before the next attempt: uniform over the spread at first, then between half and all of
    /// a limit that doubles.
    pub fn next_wait(&mut self) -> Duration {
        let share = self.rng.random::<f64>();
        let wait = match self.failures {
            0 => self.spread.mul_f64(share),
            n => {
                let limit = self.first.saturating_mul(1 << n.min(16)).min(self.longest);
                limit.mul_f64(0.5 + share / 2.0)
            }
        };
        self.failures = self.failures.saturating_add(1);
        wait
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_wait_of_many_fills_the_spread() {
        let mut waits: Vec<_> = (0..500).map(|seed| Backoff::agent(seed).next_wait()).collect();
        waits.sort();
        assert!(waits[0] < Duration::from_secs(1) && waits[499] > Duration::from_secs(9));
        let median = waits[250].as_secs_f64();
        assert!((4.0..6.0).contains(&median), "{median}");
    }

    #[test]
    fn later_waits_grow_to_a_limit() {
        let mut backoff = Backoff::controller(1);
        let waits: Vec<_> = (0..10).map(|_| backoff.next_wait()).collect();
        assert!(waits[1..].iter().all(|w| *w >= Duration::from_millis(500)));
        assert!(waits[8] >= Duration::from_millis(7_500) && waits[9] <= Duration::from_secs(15));
        backoff.succeeded();
        assert!(backoff.next_wait() <= Duration::from_secs(1));
    }
}
