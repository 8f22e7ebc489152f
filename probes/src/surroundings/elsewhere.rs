//! Where nothing can be seen: every other operating system.

use std::{
    net::IpAddr,
    sync::{Arc, atomic::AtomicBool},
};

use super::{NotSeen, Path, Sample, Scope, Seen};
use crate::trace::Clocks;

/// Sees nothing, and says so.
#[derive(Debug)]
pub struct Looker;

impl Looker {
    pub fn new(_: u64, _: Scope, _: Arc<AtomicBool>) -> Self {
        Self
    }

    pub fn sample(&mut self, _: Option<IpAddr>, _: Seen<u8>, _: &impl Clocks) -> Sample {
        Sample::nothing(NotSeen::OtherSystem)
    }

    pub fn path(&mut self, _: IpAddr, _: &impl Clocks) -> Seen<Path> {
        Err(NotSeen::OtherSystem)
    }

    pub fn probe_as(&mut self, _: &Self) {}
}
