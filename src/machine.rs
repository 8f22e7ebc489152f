//! What a service runs on: clocks, network, randomness. The system's, or a simulated machine's.

use std::sync::Arc;

use rand::{SeedableRng as _, rngs::StdRng};

use crate::{
    clock::{Clock, SystemClock},
    transport::{Network, UdpNetwork},
};

/// One machine.
#[derive(Debug, Clone)]
pub struct Machine {
    pub clock: Arc<dyn Clock>,
    pub network: Arc<dyn Network>,
    /// Where this process's random numbers come from: drawn from the system, or given by a simulation.
    pub seed: u64,
    /// Everything that can be repeated is: simulations only.
    pub repeatable: bool,
}

impl Machine {
    /// This machine with its own clocks and network.
    ///
    /// # Panics
    /// Outside a tokio runtime.
    pub fn system(seed: u64) -> Self {
        let clock: Arc<dyn Clock> = Arc::new(SystemClock::new());
        Self {
            network: Arc::new(UdpNetwork::new(Arc::clone(&clock))),
            clock,
            seed,
            repeatable: false,
        }
    }

    /// A generator of its own for each purpose.
    pub fn rng(&self, purpose: &str) -> StdRng {
        let salt = purpose.bytes().fold(0xcbf2_9ce4_8422_2325_u64, |h, b| {
            (h ^ u64::from(b)).wrapping_mul(0x0100_0000_01b3)
        });
        StdRng::seed_from_u64(self.seed ^ salt)
    }

    /// The seed of an endpoint: none outside simulations.
    pub fn endpoint_seed(&self) -> Option<u64> {
        self.repeatable.then_some(self.seed)
    }
}
