//! Real processes over loopback: the shipped binary, its commands, its errors, and what hostile peers may
//! do to it.

mod cli;
mod errors;
mod harness;
mod hostile;
mod probe;
