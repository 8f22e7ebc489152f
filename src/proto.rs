//! Control messages: their generated types, framing and version rules.

mod frame;

pub use frame::{FrameError, MAX_FRAME, MAX_PARTS, decode, encode, read, write};

/// ALPN of the full protocol, with its major version: mutual TLS, everything allowed.
pub const ALPN: &[u8] = b"corridor/1";
/// ALPN of further connections between edges that are connected by the first: datagrams only.
pub const ALPN_TRUNK: &[u8] = b"corridor-trunk/1";
/// ALPN of open probing: no client certificate; reaches the reflector and nothing else.
pub const ALPN_PROBE: &[u8] = b"corridor-probe/1";
/// ALPN between edges and the controller.
pub const ALPN_CONTROL: &[u8] = b"corridor-control/1";

mod generated {
    include!(concat!(env!("OUT_DIR"), "/corridor.v1.rs"));
}

pub use generated::*;
