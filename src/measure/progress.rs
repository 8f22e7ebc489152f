//! What can be told while a measurement runs.

/// Where a measurement stands.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Progress {
    pub rtt_now_us: Option<u32>,
    /// Of the last thousand.
    pub rtt_median_us: Option<u32>,
    /// Of windows that are closed, so some seconds behind.
    pub sent: u32,
    pub lost_up: u32,
    pub lost_down: u32,
    pub lost_unknown: u32,
    /// Of all.
    pub slots: u32,
    pub slots_left: u32,
    pub connected: bool,
}
