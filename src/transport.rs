//! QUIC endpoints over a [`Network`] seam: real UDP sockets or the simulated network.
//!
//! | question | file |
//! |---|---|
//! | what is a machine's network | `network.rs` |
//! | how are real sockets opened and counted | `udp.rs` |
//! | how many bytes went over the line | `traffic.rs` |
//! | how did a program mark its packets for routers | `dscp.rs` |
//! | which packets came twice | `duplicates.rs` |
//! | who notices that addresses changed | `interfaces.rs` |
//! | which timeouts, buffers and windows, and why | `config.rs` |
//! | which address answers first, how handshakes are accepted | `endpoint.rs` |
//! | when did a datagram's packet really come and go | `packets.rs`, `kernel_time.rs` |
//! | was this datagram sent, dropped here, when was the peer heard | `connection.rs` |
//! | how fast may a stream write | `bucket.rs`, `stream.rs` |
//! | when is a route too lossy to keep sending | `breaker.rs`, `congestion.rs` |
//! | why did a connection end | `close.rs` |
//!
//! # Determinism
//! With a seed ([`EndpointSetup::rng_seed`]) everything in an endpoint that could change what is sent,
//! when, and how long it is follows from the seed: quinn's own generator (packet numbers skipped, padding,
//! the order and the grease of transport parameters), connection ids, the keys of retry tokens and of
//! stateless resets; tokens are dated by the runtime's clock. What stays random are bytes whose number
//! does not vary: the TLS randoms and X25519 keys, session ids and tickets, the order of ClientHello's
//! extensions, and so all ciphertext. Nothing branches on them, and everything is keyed by handle, so the
//! order of events cannot change. That holds for certificates with Ed25519 keys (signatures of one length;
//! ECDSA's vary) and serial numbers of a fixed length, on a current-thread runtime, with biased selects.

mod breaker;
mod bucket;
mod close;
pub mod config;
mod congestion;
mod connection;
mod dscp;
mod duplicates;
mod endpoint;
mod fair;
mod interfaces;
mod kernel_time;
mod network;
mod packets;
mod plain;
mod seed;
mod stream;
#[cfg(test)]
mod tests;
mod traffic;
mod udp;

pub use breaker::{Breaker, BreakerInterval, TRICKLE_BPS};
pub use bucket::{StreamBucket, StreamRate, TokenBucket};
pub use close::{CloseCode, Closed};
pub use config::Kind;
pub use connection::{Connection, ConnectionStats, LocalDrop, LocalDrops, Received, SendOutcome};
pub use dscp::{Dscp, Marked};
pub use duplicates::{Duplicates, LOOKED_AT, MAX_PEERS, REMEMBERED, Seen};
pub use endpoint::{ConnectError, Endpoint, EndpointError, EndpointSetup, EndpointStats, ServerSetup};
pub use fair::FlowTag;
pub use network::{ArrivalTimes, BindError, DatagramSocket, Network, SocketCounters};
pub use packets::{PacketLog, STALL};
pub(crate) use plain::{PlainSender, PlainSocket};
pub use stream::{ControlReceiver, ControlSender, StreamError};
pub use traffic::{ACKNOWLEDGEMENT, PACKET, header};
pub use udp::UdpNetwork;
