//! Logs go to stderr: lines for people, or one JSON object each.

use std::io::IsTerminal as _;

use tracing_subscriber::EnvFilter;

use crate::config;

/// Starts logging; `RUST_LOG` goes over the configuration. Answers an error for a filter that makes no
/// sense.
pub fn start(config: &config::Log, default: &str) -> anyhow::Result<()> {
    let text = std::env::var("RUST_LOG").ok().or_else(|| config.filter.clone());
    let filter = EnvFilter::try_new(text.as_deref().unwrap_or(default))
        .map_err(|e| anyhow::anyhow!("log filter '{}': {e}", text.unwrap_or_default()))?;
    let colour = std::io::stderr().is_terminal() && std::env::var_os("NO_COLOR").is_none();
    let builder = tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(std::io::stderr);
    // A second start in one process (tests) keeps the first.
    let _ = if config.json.unwrap_or(false) {
        builder.json().try_init()
    } else {
        builder.with_ansi(colour).try_init()
    };
    Ok(())
}
