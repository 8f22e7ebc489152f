//! Datagrams, laid by hand: what probes and echoes look like on the wire.
//!
//! The first byte is the kind. A kind's layout never changes; a new layout is a new kind. Numbers are
//! big-endian. Every datagram may end in zero bytes, which are padding: probes are padded to a wanted
//! size so that they can be told from other packets by their length, and echoes to the size of what
//! they answer.
//!
//! Parsing takes a slice, allocates nothing, and checks every bound; writing replaces the contents of
//! the caller's buffer, which is reused from one datagram to the next.

mod link;
mod ranges;
mod reader;
mod route_header;
mod route_probe;

pub use link::{EchoBody, LinkEcho, LinkProbe};
pub use ranges::{AckRanges, RangeError};
pub use route_header::{AgentStep, Direction, NextStep, RouteHeader, StepError, advance};
pub use route_probe::{RouteEcho, RouteProbe, Stamp, Stamps, stamp_and_advance};

use crate::{AgentId, RouteError};

/// No probe or echo is longer than this, padding included: an Ethernet frame's worth, in bytes.
pub const MAX_DATAGRAM: usize = 1_500;

/// Kinds from here to [`LAST_ROUTED_KIND`] start with a [`RouteHeader`], whatever follows it.
pub const FIRST_ROUTED_KIND: u8 = 0x20;
/// See [`FIRST_ROUTED_KIND`].
pub const LAST_ROUTED_KIND: u8 = 0x3f;

/// The kinds of datagram that measuring has. Media has others.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
#[repr(u8)]
pub enum Kind {
    LinkProbe = 0x01,
    LinkEcho = 0x02,
    RouteProbe = 0x20,
    RouteEcho = 0x21,
}

impl Kind {
    /// The kind of a datagram by its first byte.
    pub fn of(datagram: &[u8]) -> Result<Self, WireError> {
        match *datagram.first().ok_or(WireError::Truncated)? {
            0x01 => Ok(Self::LinkProbe),
            0x02 => Ok(Self::LinkEcho),
            0x20 => Ok(Self::RouteProbe),
            0x21 => Ok(Self::RouteEcho),
            other => Err(WireError::UnknownKind(other)),
        }
    }
}

/// Why bytes are not a datagram of the expected kind.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum WireError {
    #[error("datagram of unknown kind {0:#04x}")]
    UnknownKind(u8),
    #[error("datagram of kind {got:#04x} where {wanted:?} is expected")]
    WrongKind { wanted: Kind, got: u8 },
    #[error("datagram ends too early")]
    Truncated,
    #[error("datagram of {0} B is longer than any probe")]
    TooLong(usize),
    #[error("datagram goes on with bytes that are not padding")]
    Trailing,
    #[error("acknowledged ranges: {0}")]
    Ranges(#[from] RangeError),
    #[error("reserved flags set: {0:#010b}")]
    ReservedFlags(u8),
    #[error("route: {0}")]
    Route(#[from] RouteError),
    #[error("route names edge 0")]
    NoEdge,
    #[error("route of {len} edges has no place {index}")]
    BadIndex { index: u8, len: u8 },
    #[error("route without edges and without a far end")]
    Nowhere,
    #[error("agent {0} is its own far end")]
    SelfEnded(AgentId),
    #[error("{got} hop stamps where at most {most} fit the route so far")]
    TooManyStamps { got: u8, most: u8 },
    #[error("body of {0} B does not fit its kind")]
    BadBody(u8),
}

/// Checks what every kind has in common, and takes the kind byte off.
fn open(datagram: &[u8], wanted: Kind) -> Result<reader::Reader<'_>, WireError> {
    check_len(datagram)?;
    let mut reader = reader::Reader::new(datagram);
    match reader.u8()? {
        got if got == wanted as u8 => Ok(reader),
        got => Err(WireError::WrongKind { wanted, got }),
    }
}

fn check_len(datagram: &[u8]) -> Result<(), WireError> {
    if datagram.len() > MAX_DATAGRAM {
        return Err(WireError::TooLong(datagram.len()));
    }
    Ok(())
}

/// Pads with zeros up to `size` bytes, and never beyond [`MAX_DATAGRAM`].
fn pad(out: &mut Vec<u8>, size: usize) {
    let size = size.min(MAX_DATAGRAM);
    if out.len() < size {
        out.resize(size, 0);
    }
}

#[cfg(test)]
mod tests;
