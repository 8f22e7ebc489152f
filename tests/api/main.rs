//! Real processes over loopback: the shipped binary, its commands, its errors, and what hostile peers may
//! do to it.

#![allow(
    clippy::unwrap_used,
    clippy::print_stderr,
    clippy::print_stdout,
    reason = "helpers of tests: what cannot go on panics, and figures are printed"
)]

mod cli;
mod demo;
mod errors;
mod harness;
mod hostile;
mod library;
mod media;
mod password;
mod probe;
mod robust;
mod scale;
mod stamp;
mod target;
mod trace;
