//! Measuring one way to an edge, or to any STAMP reflector, by hand: what `corridor probe` does.
//!
//! | question | file |
//! |---|---|
//! | what may be asked for | `plan.rs`, `address.rs` |
//! | when is a slot, how large is its probe | `slots.rs` |
//! | which slot is due, what became of a probe, when is it over | `books.rs` |
//! | how are delays of each direction known, and how well | `one_way.rs` |
//! | how are figures made of many values, in bounded memory | `distribution.rs`, `variation.rs`, `order.rs` |
//! | what would a call sound like | `voice.rs` |
//! | what is told at the end, to scripts and to people | `summary.rs`, `text.rs` |
//! | who opens the connection, sends and receives | `run.rs`; with STAMP: `stamp.rs` |
//! | when is the next turn | `pace.rs` |

mod address;
mod books;
mod distribution;
mod one_way;
mod order;
mod pace;
mod plan;
mod progress;
mod run;
mod slots;
mod stamp;
mod summary;
mod text;
mod variation;
mod voice;

pub use address::{Address, AddressError, DEFAULT_PORT};
pub use plan::{INTERVALS, Plan, PlanError, SIZES, STAMP_SIZES};
pub use progress::Progress;
pub use run::{RunError, Stop, Target, Trust, run};
pub use stamp::{StampMeasured, StampTarget, run_stamp};
pub use summary::{Figures, Summary};
pub use text::{live, report};
