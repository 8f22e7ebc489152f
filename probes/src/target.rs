//! Measuring a target: where media ends that is not another agent. A target speaks no protocol of ours, so it
//! is asked by whatever it answers.
//!
//! | question | file |
//! |---|---|
//! | by what, in which order, and how far off is that | `method.rs` |
//! | which method is used now, when is another looked for, when is the target lost | `ladder.rs` |
//! | how is a STUN server asked | `stun.rs` |

mod ladder;
mod method;
pub mod stun;

pub use ladder::{Answered, Change, Ladder, LadderConfig, Silence, Standing, TrialProbe};
pub use method::Method;
