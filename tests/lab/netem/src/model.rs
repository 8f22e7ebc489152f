//! What one direction does to the packets that pass it: pure, seeded, with time passed in.
//!
//! A packet meets, in this order: blackhole, MTU, the rate limit's queue, loss, delay and jitter
//! (kept in order unless jitter may reorder), reordering, duplication. Loss comes after the queue, as
//! on a radio link: a packet that is lost has used its share of the rate.

use std::{num::NonZeroU64, time::Duration};

use corridor_probes::Mono;
use rand::{RngExt, SeedableRng, rngs::StdRng};
use serde::{Deserialize, Serialize};

#[cfg(test)]
mod tests;

/// Shape of jitter.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Shape {
    /// Delay ± spread, evenly.
    #[default]
    Uniform,
    /// Spread is the standard deviation; cut off at no delay.
    Normal,
    /// Only ever later: most by little, few by much (shifted Pareto, exponent 3, at most 50 × spread).
    Pareto,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Jitter {
    pub spread: Duration,
    pub shape: Shape,
    /// Whether a packet may overtake an earlier one.
    pub reorders: bool,
}

#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Loss {
    None,
    /// Each packet by itself, with this probability.
    Random(f64),
    /// Gilbert's two states, stepped once a packet; everything is lost in the bad one.
    Gilbert {
        to_bad: f64,
        to_good: f64,
    },
}

impl Loss {
    /// Loss of a `share` of packets, in runs of `burst` packets on average; independent if `burst` is 0.
    /// `None` if such runs are impossible: a mean run is at least one packet, and so is the mean gap.
    pub fn new(share: f64, burst: f64) -> Option<Self> {
        if share <= 0.0 {
            return Some(Self::None);
        }
        if burst == 0.0 || share >= 1.0 {
            return Some(Self::Random(share));
        }
        let to_good = 1.0 / burst;
        let to_bad = share * to_good / (1.0 - share);
        (burst >= 1.0 && to_bad <= 1.0).then_some(Self::Gilbert { to_bad, to_good })
    }
}

/// A share of packets is held back by a fixed time, behind those that follow.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Reorder {
    pub share: f64,
    pub by: Duration,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Rate {
    /// Of IP bytes.
    pub bits_per_s: NonZeroU64,
    /// What may wait, the packet being sent included.
    pub queue_bytes: u64,
}

/// All that one direction does. Made by [`crate::Settings::impairment`].
#[derive(Debug, Clone, PartialEq)]
pub struct Impairment {
    pub delay: Duration,
    pub jitter: Option<Jitter>,
    pub loss: Loss,
    pub reorder: Option<Reorder>,
    pub duplicate: f64,
    pub rate: Option<Rate>,
    /// Largest IP packet that passes, bytes.
    pub mtu: Option<u16>,
    pub blackhole: bool,
}

/// Why a packet was lost.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Cause {
    Blackhole,
    Mtu,
    /// The rate limit's queue was full.
    Queue,
    /// By the drawn loss.
    Chance,
    /// The destination's device took no more.
    Device,
    /// A node's filter or address translator did not let it pass.
    Gateway,
}

impl Cause {
    pub const ALL: [Self; 5] = [
        Self::Blackhole,
        Self::Mtu,
        Self::Queue,
        Self::Chance,
        Self::Device,
    ];

    pub const fn name(self) -> &'static str {
        match self {
            Self::Blackhole => "blackhole",
            Self::Mtu => "mtu",
            Self::Queue => "queue",
            Self::Chance => "chance",
            Self::Device => "device",
            Self::Gateway => "gateway",
        }
    }
}

/// What became of a packet in one direction.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Passage {
    Lost(Cause),
    /// It comes out at `at`, twice if `twice`.
    Out {
        at: Mono,
        twice: bool,
    },
}

/// One direction, with what it remembers.
#[derive(Debug)]
pub struct Pipe {
    impairment: Impairment,
    rng: StdRng,
    /// Gilbert's state.
    bad: bool,
    /// When the rate limit has sent all it accepted.
    busy_until: Mono,
    /// The latest time at which a packet comes out that later ones must not overtake.
    last_out: Mono,
}

impl Pipe {
    pub fn new(impairment: Impairment, seed: u64) -> Self {
        Self {
            impairment,
            rng: StdRng::seed_from_u64(seed),
            bad: false,
            busy_until: Mono::from_nanos(i64::MIN),
            last_out: Mono::from_nanos(i64::MIN),
        }
    }

    /// Changes what happens to packets from now on. Those on their way keep their time, and an ordered
    /// direction stays ordered: after its delay fell, packets wait for those sent before the change.
    pub fn set(&mut self, impairment: Impairment) {
        self.impairment = impairment;
    }

    /// A packet of `len` IP bytes comes in at `now`. Calls must be in order of time.
    pub fn pass(&mut self, now: Mono, len: u16) -> Passage {
        if self.impairment.blackhole {
            return Passage::Lost(Cause::Blackhole);
        }
        if self.impairment.mtu.is_some_and(|mtu| len > mtu) {
            return Passage::Lost(Cause::Mtu);
        }
        let Some(sent) = self.queue(now, len) else {
            return Passage::Lost(Cause::Queue);
        };
        if self.draw_loss() {
            return Passage::Lost(Cause::Chance);
        }
        let mut at = sent + self.draw_delay();
        if !self.impairment.jitter.is_some_and(|jitter| jitter.reorders) {
            at = at.max(self.last_out);
            self.last_out = at;
        }
        if let Some(reorder) = self.impairment.reorder
            && self.rng.random_bool(reorder.share)
        {
            // `last_out` stays: those behind are not to wait for this one.
            at = at + reorder.by;
        }
        let twice = self.impairment.duplicate > 0.0 && self.rng.random_bool(self.impairment.duplicate);
        Passage::Out { at, twice }
    }

    /// When the rate limit has sent the packet; `None` if its queue is full.
    fn queue(&mut self, now: Mono, len: u16) -> Option<Mono> {
        let Some(rate) = self.impairment.rate else {
            return Some(now);
        };
        let start = self.busy_until.max(now);
        let wait = start.since(now);
        let waiting = (wait.as_nanos() * u128::from(rate.bits_per_s.get())).div_ceil(8_000_000_000);
        if waiting + u128::from(len) > u128::from(rate.queue_bytes) {
            return None;
        }
        let nanos = u64::from(len) * 8_000_000_000 / rate.bits_per_s;
        self.busy_until = start + Duration::from_nanos(nanos);
        Some(self.busy_until)
    }

    fn draw_loss(&mut self) -> bool {
        match self.impairment.loss {
            Loss::None => false,
            Loss::Random(share) => self.rng.random_bool(share),
            Loss::Gilbert { to_bad, to_good } => {
                let change = if self.bad { to_good } else { to_bad };
                self.bad ^= self.rng.random_bool(change);
                self.bad
            }
        }
    }

    fn draw_delay(&mut self) -> Duration {
        let delay = self.impairment.delay;
        let Some(jitter) = self.impairment.jitter else {
            return delay;
        };
        let spread = jitter.spread.as_secs_f64();
        let extra = match jitter.shape {
            Shape::Uniform => spread * (2.0 * self.unit() - 1.0),
            Shape::Normal => {
                // Box and Muller; 1 − u is never 0.
                let radius = (-2.0 * (1.0 - self.unit()).ln()).sqrt();
                spread * radius * (std::f64::consts::TAU * self.unit()).cos()
            }
            Shape::Pareto => spread * ((1.0 - self.unit()).powf(-1.0 / 3.0) - 1.0).min(50.0),
        };
        Duration::from_secs_f64((delay.as_secs_f64() + extra).max(0.0))
    }

    /// Evenly from [0, 1).
    fn unit(&mut self) -> f64 {
        self.rng.random()
    }
}
