//! Names and addresses of peers.

use std::net::SocketAddr;

/// Names looked up at once for one peer.
const MAX_NAMES: usize = 16;

/// Every address of `host:port` texts, in their order; what cannot be resolved is left out.
pub async fn all(texts: &[String]) -> Vec<SocketAddr> {
    let mut addresses = Vec::new();
    for text in texts.iter().take(MAX_NAMES) {
        match text.parse() {
            Ok(address) => addresses.push(address),
            Err(_) => match tokio::net::lookup_host(text.as_str()).await {
                Ok(found) => addresses.extend(found),
                Err(error) => tracing::debug!(name = %text, %error, "name not resolved"),
            },
        }
    }
    addresses.dedup();
    addresses
}
