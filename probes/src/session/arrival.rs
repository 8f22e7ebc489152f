//! An echo comes in: when, and what it measures.

use std::time::Duration;

use super::Probe;
use crate::{Mono, Sample, Steps, wire::EchoBody};

/// When an echo came in, as well as is known.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Arrival {
    pub at: Mono,
    pub stall: Stall,
}

/// Whether this machine stood still between the network and the reading of the clock.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Stall {
    #[default]
    None,
    /// It did, and `at` has been corrected.
    Corrected,
    /// It did or may have, and `at` is not to be trusted: the echo counts, its times do not.
    Suspect,
}

impl From<Mono> for Arrival {
    fn from(at: Mono) -> Self {
        Self {
            at,
            stall: Stall::None,
        }
    }
}

/// What an echo turned out to be.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum EchoOutcome {
    /// In time, and measured.
    Sample(Sample),
    /// In time, but its times are not to be trusted.
    Excluded,
    /// After Tmax.
    Late { rtt: Duration },
    /// This probe's echo had come before.
    Duplicate,
    /// The probe's window is closed.
    Stale,
    /// No such probe was sent.
    Unknown,
}

/// The sample of an echo in time; none if its times are not to be trusted.
pub(super) fn measure(
    seq: u64,
    probe: &Probe,
    arrival: Arrival,
    body: &EchoBody,
    steps: impl FnOnce(u32) -> Steps,
) -> Option<(Sample, i64)> {
    if arrival.stall == Stall::Suspect {
        return None;
    }
    let total_ns = u64::try_from(arrival.at.diff_nanos(probe.sent)).ok()?;
    let total_us = u32::try_from((total_ns + 500) / 1_000).ok()?;
    let rtt_us = total_us.checked_sub(body.residence_us)?;
    let up_us = body.recv_us.checked_sub(probe.sent.as_micros())?;
    let sample = Sample {
        seq,
        rtt_us,
        up_us: Some(up_us),
        steps: steps(total_us),
    };
    Some((sample, up_us))
}
