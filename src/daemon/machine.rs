//! This machine, and where its services keep their data.

use std::path::PathBuf;

use anyhow::Context as _;
use rand::TryRng as _;

use crate::machine::Machine;

/// This machine with its own clocks, network and randomness.
pub fn system() -> anyhow::Result<Machine> {
    let seed = rand::rngs::SysRng
        .try_next_u64()
        .context("the system gives no random numbers")?;
    Ok(Machine::system(seed))
}

/// Where a service keeps its data when nothing else is said: `$XDG_DATA_HOME/corridor/NAME`.
pub fn default_data(name: &str) -> PathBuf {
    let absolute = |path: &PathBuf| path.is_absolute();
    let base = std::env::var_os("XDG_DATA_HOME")
        .map(PathBuf::from)
        .filter(absolute)
        .unwrap_or_else(|| {
            let home = std::env::var_os("HOME").map(PathBuf::from).filter(absolute);
            home.unwrap_or_else(|| PathBuf::from("/var/lib"))
                .join(".local/share")
        });
    base.join("corridor").join(name)
}
