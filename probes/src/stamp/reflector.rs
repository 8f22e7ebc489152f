//! The stateful reflector (RFC 8762 §4.3): which packet is answered, under which number.
//!
//! An answer is as long as its question, so that nobody is hit harder through it than by the sender
//! itself. A test session is an address, a port and an identifier; its packets are numbered from 0.

use std::{
    net::{IpAddr, Ipv6Addr, SocketAddr},
    time::Duration,
};

use super::{
    packet::{Mode, PacketError, ReflectorPacket, SenderPacket},
    rate::{Bucket, Rate},
    recent::Recent,
    time::{ErrorEstimate, Stamp},
    tlv,
};
use crate::Mono;

/// What one address is answered: five senders at the 1,000/s that timers can keep, and a fifth of a second
/// of them at once.
pub const SOURCE_RATE: Rate = Rate {
    per_second: 5_000,
    burst: 1_000,
};
/// What all are answered together: a fifth of a core, so that agents' probes do not wait for it.
pub const TOTAL_RATE: Rate = Rate {
    per_second: 20_000,
    burst: 4_000,
};

/// How much a reflector remembers, and how much it answers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct StampLimits {
    /// Test sessions; beyond, the longest idle one is forgotten.
    pub sessions: usize,
    /// A session that is idle for so long has ended.
    pub idle: Duration,
    /// Addresses whose rate is known; beyond, the longest idle one starts anew.
    pub sources: usize,
    pub source_rate: Rate,
    pub total_rate: Rate,
}

impl Default for StampLimits {
    fn default() -> Self {
        Self {
            // About 150 B each: 2.5 MB when full.
            sessions: 16_384,
            // REFWAIT of RFC 5357 §4.2.
            idle: Duration::from_secs(900),
            sources: 16_384,
            source_rate: SOURCE_RATE,
            total_rate: TOTAL_RATE,
        }
    }
}

/// Why a packet is not answered.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Refusal {
    #[error(transparent)]
    Packet(#[from] PacketError),
    #[error("it comes from a reflector's port: two that answer each other would never end")]
    Loop,
    #[error("its address sends too fast")]
    SourceRate,
    #[error("too much comes from all together")]
    TotalRate,
}

/// Counters, cumulative.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct StampStats {
    /// Sessions now.
    pub sessions: usize,
    pub answered: u64,
    pub short: u64,
    pub wrong_key: u64,
    pub looped: u64,
    pub source_rate: u64,
    pub total_rate: u64,
    /// Sessions forgotten for others.
    pub evicted: u64,
}

impl StampStats {
    pub fn refused(&self) -> u64 {
        self.short + self.wrong_key + self.looped + self.source_rate + self.total_rate
    }
}

/// See the module's documentation.
#[derive(Debug)]
pub struct StampReflector {
    /// The reflectors' ports: the registered one, and where this one listens.
    ports: [u16; 2],
    limits: StampLimits,
    /// What each session's next answer is numbered.
    sessions: Recent<(SocketAddr, u16), u32>,
    sources: Recent<IpAddr, Bucket>,
    total: Option<Bucket>,
    stats: StampStats,
}

/// A packet that is to be answered.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Received {
    pub seq: u32,
    pub sender: SenderPacket,
    pub ttl: u8,
}

/// The port registered for STAMP (RFC 8762 §4.1).
const REGISTERED_PORT: u16 = 862;

impl StampReflector {
    /// `port` is the one it listens on.
    pub fn new(port: u16, limits: StampLimits) -> Self {
        Self {
            ports: [REGISTERED_PORT, port],
            limits,
            sessions: Recent::new(limits.sessions, limits.idle),
            sources: Recent::new(limits.sources, limits.source_rate.refill()),
            total: None,
            stats: StampStats::default(),
        }
    }

    /// Takes what came from `from` with `ttl` ([`super::UNKNOWN_TTL`] if that is not known). The answer
    /// is [`Received::answer`].
    pub fn receive(
        &mut self,
        mode: Mode<'_>,
        from: SocketAddr,
        ttl: u8,
        packet: &[u8],
        now: Mono,
    ) -> Result<Received, Refusal> {
        let received = self.judge(mode, from, ttl, packet, now);
        let counter = match received {
            Ok(_) => &mut self.stats.answered,
            Err(Refusal::Packet(PacketError::Short(_))) => &mut self.stats.short,
            Err(Refusal::Packet(PacketError::WrongKey)) => &mut self.stats.wrong_key,
            Err(Refusal::Loop) => &mut self.stats.looped,
            Err(Refusal::SourceRate) => &mut self.stats.source_rate,
            Err(Refusal::TotalRate) => &mut self.stats.total_rate,
        };
        *counter += 1;
        received
    }

    pub fn stats(&self) -> StampStats {
        StampStats {
            sessions: self.sessions.len(),
            evicted: self.sessions.evicted,
            ..self.stats
        }
    }

    /// What costs least is looked at first, and nothing is remembered of a session before its packet is
    /// known to be genuine.
    fn judge(
        &mut self,
        mode: Mode<'_>,
        from: SocketAddr,
        ttl: u8,
        packet: &[u8],
        now: Mono,
    ) -> Result<Received, Refusal> {
        if packet.len() < mode.least_len() {
            return Err(PacketError::Short(packet.len()).into());
        }
        if self.ports.contains(&from.port()) {
            return Err(Refusal::Loop);
        }
        let (source_rate, total_rate) = (self.limits.source_rate, self.limits.total_rate);
        let source = self.sources.get(site(from.ip()), now, || source_rate.full(now));
        if !source.take(source_rate, now) {
            return Err(Refusal::SourceRate);
        }
        let total = self.total.get_or_insert_with(|| total_rate.full(now));
        if !total.take(total_rate, now) {
            return Err(Refusal::TotalRate);
        }
        let sender = SenderPacket::parse(mode, packet)?;
        let next = self.sessions.get((from, sender.ssid), now, || 0);
        let seq = *next;
        *next = next.wrapping_add(1);
        Ok(Received { seq, sender, ttl })
    }
}

impl Received {
    /// Makes the packet the answer to itself, of the same length. `received` and `sent` are this
    /// machine's clock, in nanoseconds since 1970.
    pub fn answer(&self, mode: Mode<'_>, received: u64, sent: u64, packet: &mut Vec<u8>) {
        if let Some(rest) = packet.get_mut(mode.base_len()..) {
            tlv::reflect(rest);
        }
        let len = packet.len();
        let estimate = ErrorEstimate::UNSYNCHRONISED;
        ReflectorPacket {
            seq: self.seq,
            timestamp: Stamp::new(sent, estimate.format),
            estimate,
            ssid: self.sender.ssid,
            received: Stamp::new(received, estimate.format),
            sender_seq: self.sender.seq,
            sender_timestamp: self.sender.timestamp,
            sender_estimate: self.sender.estimate,
            sender_ttl: self.ttl,
        }
        .write(mode, packet);
        packet.truncate(len);
    }
}

/// Whose rate it is: an IPv6 host has 2^64 addresses to send from.
fn site(ip: IpAddr) -> IpAddr {
    match ip.to_canonical() {
        IpAddr::V6(v6) => IpAddr::V6(Ipv6Addr::from_bits(v6.to_bits() >> 64 << 64)),
        v4 => v4,
    }
}

#[cfg(test)]
mod tests;
