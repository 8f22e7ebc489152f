//! STAMP, the Simple Two-way Active Measurement Protocol (RFC 8762), with the extensions of RFC 8972 as
//! far as others' tests need them: measuring with, and being measured by, routers and other tools.
//!
//! | question | file |
//! |---|---|
//! | how is time written, and how good is it | `time.rs` |
//! | where is which field, and when is a packet genuine | `packet.rs` |
//! | what happens to extensions and padding | `tlv.rs` |
//! | which packet is answered, and how | `reflector.rs`, rates in `rate.rs`, bounded memory in `recent.rs` |
//! | what do answers tell of loss and order | `echoes.rs` |

mod echoes;
mod packet;
mod rate;
mod recent;
mod reflector;
#[cfg(test)]
mod testing;
mod time;
mod tlv;

pub use echoes::{Echoes, FIRST_SEQ, ReflectorKind, StampEcho};
pub use packet::{
    AUTHENTICATED_LEN, Authenticator, Mode, PacketError, ReflectorPacket, SenderPacket, TAG_LEN, TWAMP_LEN,
    UNAUTHENTICATED_LEN, UNKNOWN_TTL,
};
pub use rate::Rate;
pub use reflector::{Received, Refusal, SOURCE_RATE, StampLimits, StampReflector, StampStats, TOTAL_RATE};
pub use time::{ErrorEstimate, Stamp, TimestampFormat};
pub use tlv::pad;
