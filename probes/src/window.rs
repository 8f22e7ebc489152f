//! The summary of one link or route over an interval.

use std::time::Duration;

use crate::{Ledger, LossChain, Mono, percentile};

/// A window keeps at most so many samples.
pub const MAX_SAMPLES: usize = 512;

/// The most links that a route has: one before each edge, and the one to the far end.
pub const MAX_LINKS: usize = crate::Route::MAX_EDGES + 1;

/// One probe's round trip.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Sample {
    /// The probe's number in its session, unwrapped: its place in the order of sending.
    pub seq: u64,
    /// Round trip in µs, less the time in the far end.
    pub rtt_us: u32,
    /// Received there less sent here, in µs, each on its own clock; none where that clock is not the
    /// one that the window's other values come from.
    pub up_us: Option<i64>,
    pub steps: Steps,
}

impl Sample {
    /// Received here less sent there, in µs, each on its own clock.
    pub fn down_us(&self) -> Option<i64> {
        self.up_us.map(|up| i64::from(self.rtt_us).saturating_sub(up))
    }
}

/// The parts of a route's round trip.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Steps {
    /// Round trip of each link in µs, first to last; none on a plain link, or if stamps are missing or
    /// contradict each other.
    pub links_us: [Option<u32>; MAX_LINKS],
    /// Time spent inside the edges that passed it on, both ways together, in µs.
    pub inside_us: Option<u32>,
}

/// The round trips of one link of a route.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct StepStats {
    pub samples: u32,
    pub min_us: u32,
    pub p50_us: u32,
    pub p95_us: u32,
}

/// Which clocks stamps come from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Clocks {
    /// How often the one here had stepped.
    pub here: u32,
    /// The reflector's name for the one there ([`crate::wire::EchoBody::clock`]).
    pub there: u16,
}

/// Least raw differences between this clock and the reflector's.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RawMinima {
    pub clocks: Clocks,
    /// Least (received there − sent here), in µs, and when that echo came.
    pub up_us: i64,
    pub up_at: Mono,
    /// Least (received here − sent there), in µs, and when that echo came.
    pub down_us: i64,
    pub down_at: Mono,
}

impl RawMinima {
    /// The least of both, of the same clocks.
    #[must_use]
    pub(crate) fn and(self, other: Self) -> Self {
        let (up_us, up_at) = (self.up_us, self.up_at).min((other.up_us, other.up_at));
        let (down_us, down_at) = (self.down_us, self.down_at).min((other.down_us, other.down_at));
        Self {
            clocks: self.clocks,
            up_us,
            up_at,
            down_us,
            down_at,
        }
    }
}

/// A closed interval. Windows of the same session that follow each other merge into one.
#[derive(Debug, Clone, PartialEq)]
pub struct Window {
    pub start: Mono,
    pub length: Duration,
    pub ledger: Ledger,
    /// In the order of sending; at most [`MAX_SAMPLES`].
    pub samples: Vec<Sample>,
    /// How many samples there were, kept or not.
    pub samples_taken: u32,
    pub raw: Option<RawMinima>,
    /// RFC 3550, in µs, as it stood at the window's end.
    pub jitter_up_us: Option<u32>,
    pub jitter_down_us: Option<u32>,
    /// Losses in the order of sending, of the probes of which it is known whether they came up.
    pub chain_up: LossChain,
    /// Losses of echoes, of the probes known to have come up.
    pub chain_down: LossChain,
    /// How many of the late ones were late by their way up, as losses in `chain_up` are: the others were by
    /// their way back, or nobody knows.
    pub late_up: u32,
}

/// Windows that do not follow each other do not merge.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("a window that begins at {later} does not follow one that ends at {end}")]
pub struct MergeError {
    end: Mono,
    later: Mono,
}

impl Window {
    pub fn end(&self) -> Mono {
        self.start + self.length
    }

    /// Joins the window that comes after this one, with a pause between them or without.
    ///
    /// Counts, minima and loss chains come out as if it had been one window from the start. Of more than
    /// [`MAX_SAMPLES`] samples a subset is kept that depends on their numbers alone, so that it is
    /// neither early nor late, fast nor slow, and the same however the windows are grouped.
    pub fn merge(&mut self, later: &Self) -> Result<(), MergeError> {
        if later.start < self.end() {
            return Err(MergeError {
                end: self.end(),
                later: later.start,
            });
        }
        self.length = later.end().since(self.start);
        self.ledger += later.ledger;
        self.raw = match (self.raw, later.raw) {
            (Some(mine), Some(theirs)) if mine.clocks == theirs.clocks => Some(mine.and(theirs)),
            (Some(_), Some(theirs)) => {
                // Two clocks: the newer one counts from here on.
                for sample in &mut self.samples {
                    sample.up_us = None;
                }
                Some(theirs)
            }
            (mine, theirs) => theirs.or(mine),
        };
        self.samples.extend_from_slice(&later.samples);
        self.samples_taken = self.samples_taken.saturating_add(later.samples_taken);
        thin(&mut self.samples);
        self.jitter_up_us = later.jitter_up_us.or(self.jitter_up_us);
        self.jitter_down_us = later.jitter_down_us.or(self.jitter_down_us);
        self.chain_up.join(&later.chain_up);
        self.chain_down.join(&later.chain_down);
        self.late_up = self.late_up.saturating_add(later.late_up);
        Ok(())
    }

    /// Round trip at `percent`, in µs.
    pub fn rtt_us(&self, percent: f64) -> Option<u32> {
        let rtts: Vec<_> = self.samples.iter().map(|s| s.rtt_us).collect();
        percentile(&rtts, percent)
    }

    /// The round trips of link `index` of the route, from the samples that are kept.
    pub fn step(&self, index: usize) -> Option<StepStats> {
        let of = |s: &Sample| s.steps.links_us.get(index).copied().flatten();
        let mut rtts: Vec<_> = self.samples.iter().filter_map(of).collect();
        rtts.sort_unstable();
        let at = |percent| crate::percentile_of_sorted(&rtts, percent);
        Some(StepStats {
            samples: u32::try_from(rtts.len()).unwrap_or(u32::MAX),
            min_us: at(0.0)?,
            p50_us: at(50.0)?,
            p95_us: at(95.0)?,
        })
    }
}

/// Keeps the [`MAX_SAMPLES`] samples whose numbers hash lowest, in the order of sending.
pub(crate) fn thin(samples: &mut Vec<Sample>) {
    if samples.len() > MAX_SAMPLES {
        samples.select_nth_unstable_by_key(MAX_SAMPLES, |s| (splitmix(s.seq), s.seq));
        samples.truncate(MAX_SAMPLES);
        samples.sort_unstable_by_key(|s| s.seq);
    }
}

/// SplitMix64's finaliser: spreads neighbouring numbers evenly.
fn splitmix(seq: u64) -> u64 {
    let z = seq.wrapping_add(0x9e37_79b9_7f4a_7c15);
    let z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    let z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    z ^ (z >> 31)
}

#[cfg(test)]
mod tests;
