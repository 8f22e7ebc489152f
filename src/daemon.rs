//! Services as processes on this machine: they open their data, start, say that they are ready, and stop
//! on a signal.

mod agent;
mod controller;
mod demo;
mod edge;
mod files;
mod local;
mod logging;
mod machine;
mod renewal;
mod rescue;
mod resident;
mod signals;
mod up;

pub use agent::AgentService;
pub use controller::{ControllerService, LocalAccess};
pub use demo::Demo;
pub use edge::{EdgeService, stamp};
pub use local::{Question as AgentQuestion, Said as AgentSaid, ask as ask_agent};
pub use logging::start as start_logging;
pub use machine::{default_data, system};
pub use resident::keep_small;
pub use signals::stop_signal;
pub use up::{Options as UpOptions, Up};
