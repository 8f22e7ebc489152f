//! What comes over the wire: encodings that must stay.

#![allow(clippy::unwrap_used, reason = "what does not hold panics")]

mod golden;
mod messages;
