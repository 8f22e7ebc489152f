//! The base packets of RFC 8762 §4.2.1 and §4.3.1, with the session identifier of RFC 8972 §3.

use super::time::{ErrorEstimate, Stamp};

/// Bytes of a base packet without authentication.
pub const UNAUTHENTICATED_LEN: usize = 44;
/// Bytes of the shortest packet without authentication: TWAMP Light's end with the TTL (RFC 5357 §4.2.1),
/// STAMP's have three more that must be zero (RFC 8762 §4.6 has them work together).
pub const TWAMP_LEN: usize = 41;
/// Bytes of a base packet with it.
pub const AUTHENTICATED_LEN: usize = 112;
/// HMAC-SHA-256, cut off after 128 bits.
pub const TAG_LEN: usize = 16;
/// What stands for a TTL that could not be read (RFC 8762 §4.3.1).
pub const UNKNOWN_TTL: u8 = 255;

/// What the tag of an authenticated packet covers: six blocks.
const COVERED: usize = AUTHENTICATED_LEN - TAG_LEN;

/// The key of a session, where it is authenticated.
pub trait Authenticator {
    /// HMAC-SHA-256 of `bytes`, its first 128 bits.
    fn tag(&self, bytes: &[u8]) -> [u8; TAG_LEN];
}

/// The layout of the packets of a session.
#[derive(Clone, Copy)]
pub enum Mode<'a> {
    Unauthenticated,
    Authenticated(&'a dyn Authenticator),
}

/// Why a packet is refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum PacketError {
    #[error("{0} B are too short for a STAMP packet")]
    Short(usize),
    #[error("its tag is not made with this key")]
    WrongKey,
}

/// Where the fields are: the authenticated packets have each in a block of its own.
struct Layout {
    len: usize,
    /// What a packet must have: all fields up to the TTL.
    least: usize,
    timestamp: usize,
    estimate: usize,
    ssid: usize,
    received: usize,
    sender_seq: usize,
    sender_timestamp: usize,
    sender_estimate: usize,
    sender_ttl: usize,
}

const PLAIN: Layout = Layout {
    len: UNAUTHENTICATED_LEN,
    least: TWAMP_LEN,
    timestamp: 4,
    estimate: 12,
    ssid: 14,
    received: 16,
    sender_seq: 24,
    sender_timestamp: 28,
    sender_estimate: 36,
    sender_ttl: 40,
};

const SEALED: Layout = Layout {
    len: AUTHENTICATED_LEN,
    least: AUTHENTICATED_LEN,
    timestamp: 16,
    estimate: 24,
    ssid: 26,
    received: 32,
    sender_seq: 48,
    sender_timestamp: 64,
    sender_estimate: 72,
    sender_ttl: 80,
};

impl std::fmt::Debug for Mode<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::Unauthenticated => "Unauthenticated",
            Self::Authenticated(_) => "Authenticated",
        })
    }
}

impl Mode<'_> {
    /// Bytes of a base packet.
    pub fn base_len(self) -> usize {
        self.layout().len
    }

    /// Bytes of the shortest packet that is taken.
    pub fn least_len(self) -> usize {
        self.layout().least
    }

    fn layout(self) -> &'static Layout {
        match self {
            Self::Unauthenticated => &PLAIN,
            Self::Authenticated(_) => &SEALED,
        }
    }

    fn seal(self, packet: &mut [u8]) {
        if let Self::Authenticated(key) = self
            && let Some((covered, rest)) = packet.split_at_mut_checked(COVERED)
            && let Some(tag) = rest.first_chunk_mut()
        {
            *tag = key.tag(covered);
        }
    }

    /// The base of a packet that is long enough and, where there is a key, made with it.
    fn open(self, packet: &[u8]) -> Result<&[u8], PacketError> {
        let short = PacketError::Short(packet.len());
        let base = packet.get(..self.least_len()).ok_or(short)?;
        if let Self::Authenticated(key) = self {
            let (covered, tag) = base.split_at(COVERED);
            // Every byte is looked at, so that the time taken does not tell how many are right.
            let wrong = key.tag(covered).iter().zip(tag).fold(0, |d, (a, b)| d | (a ^ b));
            if wrong != 0 {
                return Err(PacketError::WrongKey);
            }
        }
        Ok(base)
    }
}

/// What a sender says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SenderPacket {
    pub seq: u32,
    pub timestamp: Stamp,
    pub estimate: ErrorEstimate,
    /// Names the session beside addresses and ports; 0 is none.
    pub ssid: u16,
}

/// What a reflector answers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ReflectorPacket {
    /// Its own count from 0 if it is stateful, else the sender's number.
    pub seq: u32,
    /// When this was sent.
    pub timestamp: Stamp,
    pub estimate: ErrorEstimate,
    pub ssid: u16,
    /// When the sender's packet came.
    pub received: Stamp,
    pub sender_seq: u32,
    pub sender_timestamp: Stamp,
    pub sender_estimate: ErrorEstimate,
    /// Which the sender's packet came with.
    pub sender_ttl: u8,
}

impl SenderPacket {
    /// Writes the base packet to the front of `out`, which keeps what is beyond it.
    pub fn write(&self, mode: Mode<'_>, out: &mut Vec<u8>) {
        let l = mode.layout();
        let packet = front(out, l);
        self.put(l, packet);
        mode.seal(packet);
    }

    /// Reads a packet. What must be zero is not looked at, and what follows the base neither.
    pub fn parse(mode: Mode<'_>, packet: &[u8]) -> Result<Self, PacketError> {
        Ok(Self::get(mode.layout(), mode.open(packet)?))
    }

    fn put(&self, l: &Layout, packet: &mut [u8]) {
        put(packet, 0, self.seq.to_be_bytes());
        put(packet, l.timestamp, self.timestamp.0.to_be_bytes());
        put(packet, l.estimate, self.estimate.to_bits().to_be_bytes());
        put(packet, l.ssid, self.ssid.to_be_bytes());
    }

    fn get(l: &Layout, base: &[u8]) -> Self {
        Self {
            seq: u32::from_be_bytes(get(base, 0)),
            timestamp: Stamp(u64::from_be_bytes(get(base, l.timestamp))),
            estimate: ErrorEstimate::from_bits(u16::from_be_bytes(get(base, l.estimate))),
            ssid: u16::from_be_bytes(get(base, l.ssid)),
        }
    }
}

impl ReflectorPacket {
    /// It begins with the fields of a sender's, at the same places.
    fn front(&self) -> SenderPacket {
        SenderPacket {
            seq: self.seq,
            timestamp: self.timestamp,
            estimate: self.estimate,
            ssid: self.ssid,
        }
    }

    /// Writes the base packet to the front of `out`, which keeps what is beyond it.
    pub fn write(&self, mode: Mode<'_>, out: &mut Vec<u8>) {
        let l = mode.layout();
        let packet = front(out, l);
        self.front().put(l, packet);
        put(packet, l.received, self.received.0.to_be_bytes());
        put(packet, l.sender_seq, self.sender_seq.to_be_bytes());
        put(packet, l.sender_timestamp, self.sender_timestamp.0.to_be_bytes());
        put(
            packet,
            l.sender_estimate,
            self.sender_estimate.to_bits().to_be_bytes(),
        );
        put(packet, l.sender_ttl, [self.sender_ttl]);
        mode.seal(packet);
    }

    /// Reads an answer. What must be zero is not looked at, and what follows the base neither.
    pub fn parse(mode: Mode<'_>, packet: &[u8]) -> Result<Self, PacketError> {
        let (l, base) = (mode.layout(), mode.open(packet)?);
        let [sender_ttl] = get(base, l.sender_ttl);
        let front = SenderPacket::get(l, base);
        Ok(Self {
            seq: front.seq,
            timestamp: front.timestamp,
            estimate: front.estimate,
            ssid: front.ssid,
            received: Stamp(u64::from_be_bytes(get(base, l.received))),
            sender_seq: u32::from_be_bytes(get(base, l.sender_seq)),
            sender_timestamp: Stamp(u64::from_be_bytes(get(base, l.sender_timestamp))),
            sender_estimate: ErrorEstimate::from_bits(u16::from_be_bytes(get(base, l.sender_estimate))),
            sender_ttl,
        })
    }
}

/// The base at the front of `out`, zeroed, made longer where it is too short.
fn front<'a>(out: &'a mut Vec<u8>, layout: &Layout) -> &'a mut [u8] {
    if out.len() < layout.len {
        out.resize(layout.len, 0);
    }
    let front = &mut out[..layout.len];
    front.fill(0);
    front
}

fn put<const N: usize>(packet: &mut [u8], at: usize, bytes: [u8; N]) {
    packet[at..at + N].copy_from_slice(&bytes);
}

fn get<const N: usize>(base: &[u8], at: usize) -> [u8; N] {
    std::array::from_fn(|i| base[at + i])
}

#[cfg(test)]
mod tests;
