//! What the QUIC ends here have in common: a window that never closes, room for bursts, and who they are.

use std::{
    any::Any,
    net::{Ipv4Addr, SocketAddr},
    sync::Arc,
    time::Instant,
};

use anyhow::Context as _;
use quinn::{
    ClientConfig, Endpoint, ServerConfig, TransportConfig,
    congestion::{Controller, ControllerFactory},
    crypto::rustls::{QuicClientConfig, QuicServerConfig},
};

/// Any port of loopback.
pub const ANY: SocketAddr = SocketAddr::new(std::net::IpAddr::V4(Ipv4Addr::LOCALHOST), 0);
/// Neither ever fills up.
const BUFFER: usize = 8 << 20;
/// Above `u32::MAX`, or quinn paces what it sends.
const WINDOW: u64 = 1 << 40;

#[derive(Debug, Clone)]
struct Open;

impl Controller for Open {
    fn on_congestion_event(&mut self, _: Instant, _: Instant, _: bool, _: u64) {}

    fn on_mtu_update(&mut self, _: u16) {}

    fn window(&self) -> u64 {
        WINDOW
    }

    fn initial_window(&self) -> u64 {
        WINDOW
    }

    fn clone_box(&self) -> Box<dyn Controller> {
        Box::new(self.clone())
    }

    fn into_any(self: Box<Self>) -> Box<dyn Any> {
        self
    }
}

impl ControllerFactory for Open {
    fn build(self: Arc<Self>, _: Instant, _: u16) -> Box<dyn Controller> {
        Box::new(Self)
    }
}

fn transport() -> Arc<TransportConfig> {
    let mut config = TransportConfig::default();
    config
        .congestion_controller_factory(Arc::new(Open))
        .datagram_receive_buffer_size(Some(BUFFER))
        .datagram_send_buffer_size(BUFFER);
    Arc::new(config)
}

pub fn client(tls: rustls::ClientConfig) -> anyhow::Result<ClientConfig> {
    let mut config = ClientConfig::new(Arc::new(QuicClientConfig::try_from(tls)?));
    config.transport_config(transport());
    Ok(config)
}

pub fn server(tls: rustls::ServerConfig) -> anyhow::Result<ServerConfig> {
    let mut config = ServerConfig::with_crypto(Arc::new(QuicServerConfig::try_from(tls)?));
    config.transport_config(transport());
    Ok(config)
}

/// A connection by a socket of its own, which lives as long as the connection.
pub async fn connect(config: ClientConfig, to: SocketAddr, name: &str) -> anyhow::Result<quinn::Connection> {
    let endpoint = Endpoint::client(ANY)?;
    let connecting = endpoint.connect_with(config, to, name)?;
    connecting.await.with_context(|| format!("{name} at {to}"))
}
