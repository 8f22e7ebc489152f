//! What lies around machines, and paths hop by hop.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

/// What lies around a machine. What is absent was not seen: `not_seen` says why.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct Surroundings {
    /// When that was.
    pub at: String,
    /// What packets to the edge go into: `ethernet`, `wifi`, `cellular`, `vpn`, `loopback` or `unknown`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub link_type: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub gateway_rtt_ms: Option<f64>,
    /// Round trip to the first router with a public address.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub outside_rtt_ms: Option<f64>,
    /// Which hop that is.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub outside_hop: Option<u32>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub wifi: Option<WifiState>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub host: Option<HostState>,
    /// Since what was seen before.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub stalls: Option<StallCount>,
    /// One sentence each for `link`, `gateway`, `outside`, `wifi` and `host`.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub not_seen: BTreeMap<String, String>,
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct WifiState {
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub signal_dbm: Option<i32>,
    /// At which the machine sends and receives on the air.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tx_mbps: Option<f64>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub rx_mbps: Option<f64>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub channel: Option<u32>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub frequency_mhz: Option<u32>,
    /// Only where the machine's configuration says so, as the next.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ssid: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub bssid: Option<String>,
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct HostState {
    /// Share of all processors that was busy.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cpu: Option<f64>,
    /// Processes that run or want to, mean of a minute.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub load: Option<f64>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub processors: Option<u32>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub memory_bytes: Option<u64>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub available_bytes: Option<u64>,
    /// Share of 10 s in which something waited for a processor.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub pressure: Option<f64>,
}

/// How late the agent woke up: a machine that stalls delays a class as a network does.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct StallCount {
    /// Wakings that came 50 ms late or more.
    pub count: u32,
    pub worst_ms: f64,
}

/// A path, hop by hop.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct Trace {
    /// When it was asked for.
    pub at: String,
    /// `edge:NAME` or `target:HOST:PORT`.
    pub toward: String,
    /// The trouble that it was made for, such as `breach`, `outage`, `link_slow`; absent: on schedule.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub trigger: Option<String>,
    /// By what: `udp`, `icmp` or `raw`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub method: Option<String>,
    pub reached: bool,
    /// Share lost between the machine and the end, there and back.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub loss: Option<f64>,
    pub hops: Vec<TraceHop>,
    /// What could not be seen, and why: sentences.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub not_seen: Vec<String>,
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct TraceHop {
    pub hop: u32,
    /// Who answered, most often first; truncated unless the machine's configuration says otherwise.
    pub addresses: Vec<String>,
    pub sent: u32,
    pub answered: u32,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub rtt_ms: Option<TraceRtt>,
    /// Share lost up to here, there and back; absent where missing answers may be none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub loss: Option<f64>,
    pub limits_answers: bool,
    /// What it says of the end.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub unreachable: Option<String>,
}

#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct TraceRtt {
    pub best: f64,
    pub p50: f64,
    pub worst: f64,
}
