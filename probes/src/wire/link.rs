//! The probe of one link and its echo.

use super::{AckRanges, Kind, WireError, open, pad, reader::Reader};
use crate::{Arrival, Mono, SessionId, Stall};

/// A probe of one link, or what a route probe carries of its session: 23 B before padding.
///
/// | at | size | field |
/// |---|---|---|
/// | 0 | 1 | kind 0x01 |
/// | 1 | 8 | session |
/// | 9 | 4 | sequence number |
/// | 13 | 8 | sent, µs |
/// | 21 | 2 | floor |
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct LinkProbe {
    pub session: SessionId,
    /// Wraps; both ends unwrap it.
    pub seq: u32,
    /// When it was sent, in µs on the prober's monotonic clock.
    pub sent_us: i64,
    /// How far below `seq` the ranges of the echo shall begin: at the lowest number whose fate the
    /// prober still wants to know.
    pub floor: u16,
}

impl LinkProbe {
    /// Replaces `out` by this probe, padded with zeros to `size` bytes.
    pub fn write(&self, out: &mut Vec<u8>, size: usize) {
        out.clear();
        out.push(Kind::LinkProbe as u8);
        out.extend_from_slice(&self.session.0.to_be_bytes());
        out.extend_from_slice(&self.seq.to_be_bytes());
        out.extend_from_slice(&self.sent_us.to_be_bytes());
        out.extend_from_slice(&self.floor.to_be_bytes());
        pad(out, size);
    }

    pub fn parse(datagram: &[u8]) -> Result<Self, WireError> {
        let mut r = open(datagram, Kind::LinkProbe)?;
        let probe = Self {
            session: SessionId(r.u64()?),
            seq: r.u32()?,
            sent_us: r.i64()?,
            floor: r.u16()?,
        };
        r.finish()?;
        Ok(probe)
    }
}

/// What a reflector answers, on links and at the far end of routes alike.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct EchoBody {
    /// Names the state that `count` and `ranges` come from: another value means that the reflector
    /// began anew. The lower half names its clock ([`Self::clock`]).
    pub epoch: u32,
    /// When the probe came in, in µs on the reflector's monotonic clock.
    pub recv_us: i64,
    /// From then until the echo went out, in µs; [`Self::UNKNOWN_RESIDENCE`] if the reflector cannot tell
    /// when the probe came in.
    pub residence_us: u32,
    /// Different probes received in this session so far, this one included: its place in the order
    /// of arrival.
    pub count: u32,
    /// It came after one with a higher number (RFC 4737).
    pub overtaken: bool,
    /// How many of this session have done so, this one included, in 15 bits; wraps. Where echoes are lost,
    /// their `overtaken` is lost with them.
    pub reordered: u16,
    /// How far below this number the ranges begin.
    pub base: u16,
    pub ranges: AckRanges,
}

impl EchoBody {
    /// The most bytes that a body takes: the fixed part and 16 pairs of three-byte numbers.
    pub(super) const MAX_LEN: usize = 25 + AckRanges::MAX * 2 * 3;

    /// The largest number of [`Self::reordered`].
    pub const REORDERED: u16 = (1 << 15) - 1;

    /// Longer than any echo is waited for, so that nothing can be measured with it.
    pub const UNKNOWN_RESIDENCE: u32 = u32::MAX;

    /// Which of the reflector's clocks its stamps come from: another process has another, and so has one that
    /// slept.
    pub const fn clock(&self) -> u16 {
        self.epoch as u16
    }

    /// The same, going out at `send` where it came in at `recv`, both on the reflector's clock.
    #[must_use]
    pub fn sent_after(mut self, recv: Arrival, send: Mono) -> Self {
        self.residence_us = match recv.stall {
            Stall::Suspect => Self::UNKNOWN_RESIDENCE,
            Stall::Unknown | Stall::None | Stall::Corrected => {
                u32::try_from(send.since(recv.at).as_micros()).unwrap_or(Self::UNKNOWN_RESIDENCE)
            }
        };
        self
    }

    pub(super) fn write(&self, out: &mut Vec<u8>) {
        out.extend_from_slice(&self.epoch.to_be_bytes());
        out.extend_from_slice(&self.recv_us.to_be_bytes());
        out.extend_from_slice(&self.residence_us.to_be_bytes());
        out.extend_from_slice(&self.count.to_be_bytes());
        let order = u16::from(self.overtaken) << 15 | self.reordered & Self::REORDERED;
        out.extend_from_slice(&order.to_be_bytes());
        out.extend_from_slice(&self.base.to_be_bytes());
        self.ranges.write(out);
    }

    pub(super) fn read(r: &mut Reader<'_>) -> Result<Self, WireError> {
        let (epoch, recv_us, residence_us, count) = (r.u32()?, r.i64()?, r.u32()?, r.u32()?);
        let order = r.u16()?;
        Ok(Self {
            epoch,
            recv_us,
            residence_us,
            count,
            overtaken: order > Self::REORDERED,
            reordered: order & Self::REORDERED,
            base: r.u16()?,
            ranges: AckRanges::read(r)?,
        })
    }
}

/// The echo of a link probe: 38 B and the ranges, before padding.
///
/// | at | size | field |
/// |---|---|---|
/// | 0 | 1 | kind 0x02 |
/// | 1 | 8 | session |
/// | 9 | 4 | sequence number |
/// | 13 | 4 | epoch |
/// | 17 | 8 | received, µs |
/// | 25 | 4 | residence, µs; all ones if not known |
/// | 29 | 4 | count |
/// | 33 | 2 | first bit: overtaken; the others: reordered |
/// | 35 | 2 | base |
/// | 37 | 1 | number of ranges, at most 16 |
/// | 38 | | per range: gap, length, as varints |
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct LinkEcho {
    pub session: SessionId,
    pub seq: u32,
    pub body: EchoBody,
}

impl LinkEcho {
    /// Replaces `out` by this echo, padded with zeros to `size` bytes: the probe's own length, so that
    /// both directions carry the same size.
    pub fn write(&self, out: &mut Vec<u8>, size: usize) {
        out.clear();
        out.push(Kind::LinkEcho as u8);
        out.extend_from_slice(&self.session.0.to_be_bytes());
        out.extend_from_slice(&self.seq.to_be_bytes());
        self.body.write(out);
        pad(out, size);
    }

    pub fn parse(datagram: &[u8]) -> Result<Self, WireError> {
        let mut r = open(datagram, Kind::LinkEcho)?;
        let echo = Self {
            session: SessionId(r.u64()?),
            seq: r.u32()?,
            body: EchoBody::read(&mut r)?,
        };
        r.finish()?;
        Ok(echo)
    }
}
