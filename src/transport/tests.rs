//! Endpoints end to end: over real loopback sockets, and over the simulated network.

pub(crate) mod tls;

mod figures;
mod real;
mod simulated;

use std::{net::SocketAddr, sync::Arc};

use super::{Connection, Endpoint, EndpointSetup, Kind, Network, ServerSetup};
use crate::clock::Clock;
use tls::World;

/// The name in every test server's certificate.
const NAME: &str = "edge-1";

/// A server and a client endpoint, and the authority that both trust.
struct Pair {
    tls: World,
    server: Endpoint,
    client: Endpoint,
}

fn server_setup(tls: &World) -> ServerSetup {
    ServerSetup {
        tls: tls.server(NAME),
        kind: Kind::AgentEdge,
        anonymous: vec![(crate::proto::ALPN_PROBE.to_vec(), Kind::Probe)],
    }
}

fn endpoint(
    network: Arc<dyn Network>,
    clock: Arc<dyn Clock>,
    local: &[&str],
    server: Option<ServerSetup>,
    rng_seed: Option<u64>,
) -> Endpoint {
    Endpoint::new(EndpointSetup {
        network,
        clock,
        local: local.iter().map(|a| a.parse().unwrap()).collect(),
        server,
        reset_key: None,
        rng_seed,
    })
    .unwrap()
}

impl Pair {
    async fn connect_to(&self, addresses: &[SocketAddr]) -> (Connection, Connection) {
        let tls = self.tls.client(crate::proto::ALPN);
        let (client, server) = tokio::join!(
            self.client.connect(addresses, NAME, tls, Kind::AgentEdge),
            self.server.accept()
        );
        (client.unwrap(), server.unwrap())
    }

    async fn connect(&self) -> (Connection, Connection) {
        self.connect_to(&self.server.local_addrs()).await
    }
}
