//! The binary that is measured.

use std::path::PathBuf;

use anyhow::bail;

/// The one that was named, or else `corridor` beside this program; `how` says how to build it.
pub fn to_measure(named: Option<&PathBuf>, how: &str) -> anyhow::Result<PathBuf> {
    let corridor = match named {
        Some(path) => path.clone(),
        None => std::env::current_exe()?.with_file_name("corridor"),
    };
    if !corridor.is_file() {
        bail!(
            "{} is not there: build it with `cargo build --release`, or run `{how}`",
            corridor.display()
        );
    }
    Ok(corridor.canonicalize()?)
}
