//! A link emulator in user space: nodes are network namespaces with one TUN device each, and this
//! process is the network between them. It delays, loses, reorders, duplicates, limits and stalls
//! packets per direction as told, and counts exactly what it did, which makes it the truth that
//! measurements are compared with.
//!
//! The decisions are pure ([`model`], [`network`], [`stats`]); the rest of the crate moves bytes.

mod awake;
pub mod config;
pub mod control;
pub mod emulator;
pub mod gateway;
pub mod histogram;
pub mod log;
pub mod model;
pub mod netns;
pub mod network;
pub mod packet;
pub mod queue;
mod recorder;
pub mod running;
mod settings;
pub mod stats;
mod sys;
pub mod truth;

pub use recorder::Outcome;
pub use settings::{Settings, SettingsError};
