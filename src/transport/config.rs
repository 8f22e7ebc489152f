//! Every constant of our QUIC connections, each with its reason.

use std::{sync::Arc, time::Duration};

use quinn::{IdleTimeout, MtuDiscoveryConfig, TransportConfig, VarInt};

use super::congestion::OpenWindow;

/// What a connection is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Kind {
    /// Agent to edge: probes and media as datagrams, bounded control streams.
    AgentEdge,
    /// Edge to edge: the same, for many at once.
    EdgeEdge,
    /// Edge to controller: streams under ordinary congestion control.
    EdgeController,
    /// Open probing: datagrams only.
    Probe,
}

/// Above every NAT's memory that keep-alives can hold, and above a once-a-minute burst.
pub const IDLE_TIMEOUT: Duration = Duration::from_secs(120);
/// Between edges, and from an edge to its controller, something is sent every second: a peer that was
/// killed and started anew has forgotten the connection, and must be missed soon.
pub const TRUNK_IDLE_TIMEOUT: Duration = Duration::from_secs(10);
/// Leaves room for two that are lost.
pub const TRUNK_KEEP_ALIVE: Duration = Duration::from_secs(3);
/// Between two stateless resets. An edge that restarts owes one to each of its agents; with quinn's 20 ms the
/// last of 500 wait for theirs through ever longer retransmissions. Only packets with a connection id of ours
/// are answered, and by shorter ones, so that nothing can be played back and forth.
pub const RESET_INTERVAL: Duration = Duration::from_millis(1);
/// Whoever probes without being known should not hold state for long.
pub const PROBE_IDLE_TIMEOUT: Duration = Duration::from_secs(30);
/// NATs forget UDP after 30 s and more (RFC 4787 asks for 120, many do not). The client alone sends them:
/// one side is enough.
pub const KEEP_ALIVE: Duration = Duration::from_secs(25);
/// At 1 Mbit/s this is 130 ms of queue: what waits longer in this machine is better dropped, and counted.
/// quinn holds datagrams only until its task runs, so that a healthy machine uses a fraction of it.
pub const DATAGRAM_SEND_BUFFER: usize = 16 * 1024;
/// An edge sends to its peers for many flows between two turns of the connection's task.
pub const EDGE_DATAGRAM_SEND_BUFFER: usize = 64 * 1024;
/// 400 probes or 50 full packets wait for a reader that is late; older ones are of no use.
pub const DATAGRAM_RECEIVE_BUFFER: usize = 64 * 1024;
/// The same for a connection that carries the flows of many.
pub const EDGE_DATAGRAM_RECEIVE_BUFFER: usize = 512 * 1024;
/// Unacknowledged stream bytes of an agent: what could stand before media in the uplink's queue, were
/// there no token bucket. 16 KiB still carries 256 kbit/s at 500 ms.
pub const STREAM_SEND_WINDOW: u64 = 16 * 1024;
/// What a peer may send unread on one stream. A control message is at most 256 KiB and read as it comes.
pub const STREAM_RECEIVE_WINDOW: u32 = 64 * 1024;
/// What a peer may send unread on all streams: bounds an edge's memory for an agent.
pub const RECEIVE_WINDOW: u32 = 128 * 1024;
/// Edge to controller: the reports of thousands of agents, at up to 100 ms RTT and 100 Mbit/s.
pub const CONTROLLER_WINDOW: u32 = 2 * 1024 * 1024;
/// One control stream, and room for what later versions add.
pub const MAX_STREAMS: u32 = 4;
/// A tunnel or PPPoE on the way shows within a minute, not the ten that are quinn's default.
pub const MTU_DISCOVERY_INTERVAL: Duration = Duration::from_secs(60);
/// Ethernet less IPv6 and UDP headers; probing beyond that finds nothing on the Internet.
pub const MTU_UPPER_BOUND: u16 = 1_452;

/// Handshakes under way on one socket above which a client must prove its address first (QUIC Retry): the
/// state of the pending is what a flood with false addresses aims at. A round trip more for honest ones.
pub const RETRY_ABOVE: usize = 32;
/// Handshakes under way on one socket at most: each takes about 1 ms of CPU and 50 kB. Clients beyond that
/// are left to send their first packet again, a second later.
pub const MAX_HANDSHAKES: usize = 256;
/// First packets that wait for the acceptor's next turn, before quinn refuses.
pub const MAX_INCOMING: usize = 1_024;
/// A handshake that has not ended by then is given up, on either side.
pub const HANDSHAKE_TIMEOUT: Duration = Duration::from_secs(10);
/// Between the attempts at a peer's addresses (RFC 8305 §5 recommends 250 ms).
pub const ATTEMPT_DELAY: Duration = Duration::from_millis(250);
/// More addresses of one peer than this are not tried.
pub const MAX_ADDRESSES: usize = 16;
/// Established connections that wait for the service to take them.
pub const ACCEPT_QUEUE: usize = 64;

/// The largest UDP payload taken from a peer: Ethernet's. Larger would only widen every receive buffer.
pub const MAX_UDP_PAYLOAD: u16 = 1_472;

/// Which end of the connection a configuration is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Side {
    Client,
    Server,
}

/// quinn's configuration of one connection. A server has one for all that connect to it: its kind is what
/// it mostly serves, and what differs by client is set by the client's end.
pub(super) fn transport(kind: Kind, side: Side) -> Arc<TransportConfig> {
    let mut config = TransportConfig::default();
    let mut mtu = MtuDiscoveryConfig::default();
    mtu.interval(MTU_DISCOVERY_INTERVAL).upper_bound(MTU_UPPER_BOUND);
    // The shorter time-out of the two ends counts: a server's is what it mostly serves.
    let (time_out, keep_alive) = match kind {
        Kind::AgentEdge => (IDLE_TIMEOUT, KEEP_ALIVE),
        Kind::EdgeEdge | Kind::EdgeController => (TRUNK_IDLE_TIMEOUT, TRUNK_KEEP_ALIVE),
        Kind::Probe => (PROBE_IDLE_TIMEOUT, KEEP_ALIVE),
    };
    config
        .max_idle_timeout(idle(time_out))
        .keep_alive_interval((side == Side::Client).then_some(keep_alive))
        .max_concurrent_uni_streams(0u32.into())
        .max_concurrent_bidi_streams(if kind == Kind::Probe { 0 } else { MAX_STREAMS }.into())
        .mtu_discovery_config(Some(mtu))
        .stream_receive_window(STREAM_RECEIVE_WINDOW.into())
        .receive_window(RECEIVE_WINDOW.into())
        .send_window(STREAM_SEND_WINDOW)
        .datagram_send_buffer_size(DATAGRAM_SEND_BUFFER)
        .datagram_receive_buffer_size(Some(DATAGRAM_RECEIVE_BUFFER));
    match kind {
        Kind::AgentEdge | Kind::Probe => {
            config.congestion_controller_factory(Arc::new(OpenWindow));
        }
        Kind::EdgeEdge => {
            config
                .congestion_controller_factory(Arc::new(OpenWindow))
                .datagram_send_buffer_size(EDGE_DATAGRAM_SEND_BUFFER)
                .datagram_receive_buffer_size(Some(EDGE_DATAGRAM_RECEIVE_BUFFER));
        }
        // quinn's own controller stays.
        Kind::EdgeController => {
            config
                .stream_receive_window(CONTROLLER_WINDOW.into())
                .receive_window((2 * CONTROLLER_WINDOW).into())
                .send_window(u64::from(CONTROLLER_WINDOW));
        }
    }
    Arc::new(config)
}

/// The same of a connection that an edge has opened to this server of another kind: it carries the flows of many.
/// What else differs its own end sets.
pub(super) fn transport_of_trunk(kind: Kind) -> Arc<TransportConfig> {
    let mut config = transport(kind, Side::Server);
    if let Some(config) = Arc::get_mut(&mut config) {
        config
            .datagram_send_buffer_size(EDGE_DATAGRAM_SEND_BUFFER)
            .datagram_receive_buffer_size(Some(EDGE_DATAGRAM_RECEIVE_BUFFER));
    }
    config
}

/// Our time-outs are far below what a VarInt of milliseconds holds.
fn idle(d: Duration) -> Option<IdleTimeout> {
    let ms = u32::try_from(d.as_millis()).unwrap_or(u32::MAX);
    Some(IdleTimeout::from(VarInt::from_u32(ms)))
}
