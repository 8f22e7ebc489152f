//! Names of hops, asked for at the end and at once, for a bounded time.

use std::{collections::BTreeMap, net::IpAddr, sync::mpsc, thread, time::Duration};

use corridor_probes::trace::{Tracing, reverse_name};

/// A resolver tries for 5 s and more. What has no name by then has none.
const PATIENCE: Duration = Duration::from_secs(3);
/// Addresses asked for: all of an ordinary path.
const MAX_NAMES: usize = 64;

/// Names by address.
pub type Names = BTreeMap<IpAddr, String>;

/// The names of all that answered.
pub fn of(tracing: &Tracing) -> Names {
    let mut addresses: Vec<IpAddr> = tracing
        .tracer()
        .hops()
        .iter()
        .flat_map(|hop| hop.seen().iter().map(|s| s.address))
        .collect();
    addresses.sort_unstable();
    addresses.dedup();
    addresses.truncate(MAX_NAMES);
    let (tell, told) = mpsc::channel();
    for &address in &addresses {
        let tell = tell.clone();
        // Those that are still waiting when the process ends, end with it.
        let _ = thread::Builder::new().spawn(move || tell.send((address, reverse_name(address))));
    }
    drop(tell);
    let mut names = Names::new();
    let mut left = PATIENCE;
    let step = Duration::from_millis(50);
    while !left.is_zero() {
        match told.recv_timeout(step) {
            Ok((address, name)) => names.extend(name.map(|n| (address, n))),
            Err(mpsc::RecvTimeoutError::Timeout) => left = left.saturating_sub(step),
            Err(mpsc::RecvTimeoutError::Disconnected) => break,
        }
    }
    names
}
