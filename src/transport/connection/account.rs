//! What a connection says about its datagrams: sent, or dropped on this machine, and why.

use std::time::Duration;

/// What [`super::Connection::send_datagram`] did.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SendOutcome {
    /// quinn has it and sends it in its task's next turn. It is lost here after all only if the path's MTU
    /// shrinks or the connection ends before that: [`ConnectionStats::local_drops`] says.
    Queued,
    /// It was taken, and so many that waited were dropped for want of room, of the flow that had most waiting.
    Displaced(u32),
    LocalDrop(LocalDrop),
}

impl SendOutcome {
    /// Whether it is on its way.
    pub const fn is_taken(self) -> bool {
        matches!(self, Self::Queued | Self::Displaced(_))
    }

    /// Datagrams that were dropped, this one or others.
    pub const fn dropped(self) -> u32 {
        match self {
            Self::Queued => 0,
            Self::Displaced(others) => others,
            Self::LocalDrop(_) => 1,
        }
    }
}

/// Why a datagram never left this machine.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum LocalDrop {
    /// There is no room. The new one is dropped, not an older one, so that the caller knows which.
    BufferFull,
    /// Larger than [`super::Connection::max_datagram_size`].
    TooLarge,
    /// The circuit breaker lets only a trickle through.
    Breaker,
    /// The peer takes no datagrams.
    Unsupported,
    Closed,
}

/// Datagrams dropped here, by reason, cumulative.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct LocalDrops {
    pub buffer_full: u64,
    pub too_large: u64,
    pub breaker: u64,
    pub unsupported: u64,
    pub closed: u64,
    /// Older media, for want of room.
    pub displaced: u64,
    /// Queued, and dropped in the queue: the MTU shrank, or the connection ended. Exact whenever the queue
    /// was empty or the connection over, else as of the last such moment.
    pub in_queue: u64,
}

impl LocalDrops {
    pub fn total(&self) -> u64 {
        self.buffer_full
            + self.too_large
            + self.breaker
            + self.unsupported
            + self.closed
            + self.displaced
            + self.in_queue
    }

    pub(super) fn count(&mut self, drop: LocalDrop) {
        *match drop {
            LocalDrop::BufferFull => &mut self.buffer_full,
            LocalDrop::TooLarge => &mut self.too_large,
            LocalDrop::Breaker => &mut self.breaker,
            LocalDrop::Unsupported => &mut self.unsupported,
            LocalDrop::Closed => &mut self.closed,
        } += 1;
    }
}

/// Plain figures, cumulative unless said otherwise. Always
/// `offered = transmitted + queued + local_drops.total()`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ConnectionStats {
    /// Datagrams given to [`super::Connection::send_datagram`].
    pub offered: u64,
    /// Put into packets and handed to the socket.
    pub transmitted: u64,
    /// Waiting now, in quinn's queue or before it.
    pub queued: u64,
    pub local_drops: LocalDrops,
    /// Datagrams that arrived, and those of them that were read.
    pub received: u64,
    pub read: u64,
    /// Those that were dropped because the receive buffer was full, as of the last time that all was read.
    pub unread: u64,
    /// QUIC packets (UDP payloads) and their bytes.
    pub packets_sent: u64,
    pub bytes_sent: u64,
    pub packets_received: u64,
    pub bytes_received: u64,
    /// QUIC's own estimates: smoothed, and least. Not for measuring.
    pub rtt: Duration,
    pub min_rtt: Duration,
    /// The largest UDP payload, in bytes, that is known to pass.
    pub mtu: u16,
    /// Whether the circuit breaker lets only a trickle through.
    pub breaker_tripped: bool,
}
