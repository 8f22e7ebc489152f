//! What is to be traced, within bounds.

use std::{net::IpAddr, time::Duration};

use super::{MAX_HOPS, MAX_INTERVAL, MAX_ROUNDS, MIN_INTERVAL, probe::Protocol};

/// What is to be traced, and how.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Plan {
    pub target: IpAddr,
    pub rounds: u32,
    pub interval: Duration,
    pub max_hops: u8,
    pub protocol: Protocol,
    /// Whether echo requests can be sent beside UDP probes.
    pub echo: bool,
}

/// A plan is out of bounds.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum PlanError {
    #[error("{0} rounds: give 1 to {MAX_ROUNDS}")]
    Rounds(u32),
    #[error("an interval of {0:?}: give {MIN_INTERVAL:?} to {MAX_INTERVAL:?}")]
    Interval(Duration),
    #[error("{0} hops: give 1 to {MAX_HOPS}")]
    Hops(u8),
}

impl Plan {
    pub(super) fn check(&self) -> Result<(), PlanError> {
        if !(1..=MAX_ROUNDS).contains(&self.rounds) {
            return Err(PlanError::Rounds(self.rounds));
        }
        if !(MIN_INTERVAL..=MAX_INTERVAL).contains(&self.interval) {
            return Err(PlanError::Interval(self.interval));
        }
        if !(1..=MAX_HOPS).contains(&self.max_hops) {
            return Err(PlanError::Hops(self.max_hops));
        }
        Ok(())
    }
}
