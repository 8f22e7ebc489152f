//! What lies around a machine: how busy it is, its link, its gateway, the first router outside. Support
//! needs them to say on whose side trouble was.
//!
//! | what | from | file |
//! |---|---|---|
//! | gateways, the way to an edge, the kind of its link | rtnetlink(7), sysfs | `route.rs` |
//! | Wi-Fi: signal, rate, channel | nl80211 over generic netlink | `wifi.rs` |
//! | CPU, load, memory, pressure | proc(5) | `host.rs` |
//! | stalls: how late this process wakes up | its own grid | `stalls.rs` |
//! | a path, hop by hop, as it is reported | [`crate::trace`] | `path.rs` |
//! | what is inside, what outside | RFC 1918, 6598, 4193 | `ranges.rs` |
//!
//! All of that is pure. What reads the system (`look.rs`, its sockets in `socket.rs`) is there with the
//! feature `surroundings`; on other systems than Linux it sees nothing, and says so (`elsewhere.rs`). Nothing needs a privilege. What cannot be seen has its reason in
//! its place ([`NotSeen`]).

pub mod host;
pub mod netlink;
mod path;
pub mod ranges;
pub mod route;
mod stalls;
pub mod wifi;

#[cfg(all(feature = "surroundings", not(target_os = "linux")))]
mod elsewhere;
#[cfg(all(feature = "surroundings", target_os = "linux"))]
mod look;
#[cfg(all(feature = "surroundings", target_os = "linux"))]
mod socket;

use std::{fmt, time::Duration};

use serde::{Deserialize, Serialize};

pub use self::{
    host::HostLoad,
    path::{Gap, Path, PathHop, Times},
    route::LinkType,
    stalls::{LATE, StallGauge, Stalls},
    wifi::Wifi,
};
#[cfg(all(feature = "surroundings", not(target_os = "linux")))]
pub use elsewhere::Looker;
#[cfg(all(feature = "surroundings", target_os = "linux"))]
pub use look::Looker;

/// Why something was not seen.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "snake_case")]
pub enum NotSeen {
    /// There is no way to see it on this operating system, or none was written.
    OtherSystem,
    /// By configuration.
    SwitchedOff,
    /// Nobody to look towards is known yet.
    NobodyYet,
    NoRoute,
    /// There is no default route, and the way to the edge needs no gateway.
    NoGateway,
    NoAnswer,
    NotWireless,
    /// A wireless interface that is connected to no access point.
    NotConnected,
    /// Every hop that answered has a private address.
    NoneOutside,
    /// This kernel has no such figure.
    NotInKernel,
    Failed {
        why: String,
    },
}

impl fmt::Display for NotSeen {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::OtherSystem => "not seen on this system",
            Self::SwitchedOff => "switched off",
            Self::NobodyYet => "no edge is known yet",
            Self::NoRoute => "there is no route",
            Self::NoGateway => "there is no gateway on the way",
            Self::NoAnswer => "no answer",
            Self::NotWireless => "not a wireless link",
            Self::NotConnected => "connected to no access point",
            Self::NoneOutside => "no hop outside private networks answered",
            Self::NotInKernel => "this kernel does not tell",
            Self::Failed { why } => why,
        })
    }
}

/// What is looked at.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Scope {
    /// Whether hops are probed.
    pub hops: bool,
    /// Whether names of wireless networks and access points are read: they tell where a person is.
    pub wifi_names: bool,
}

/// Something, or why it was not seen.
pub type Seen<T> = Result<T, NotSeen>;

/// What was seen at one time.
#[derive(Debug, Clone, PartialEq)]
pub struct Sample {
    /// Of the way to the edge.
    pub link: Seen<LinkType>,
    /// Round trip to the first hop, or to the default gateway where that does not answer.
    pub gateway: Seen<Duration>,
    pub outside: Seen<Outside>,
    pub wifi: Seen<Wifi>,
    pub host: Seen<HostLoad>,
    /// Probes that this took, answers included in [`Self::bytes`].
    pub probes: u32,
    /// IP bytes, each way at most.
    pub bytes: u32,
}

impl Sample {
    /// Nothing was seen, for one reason.
    pub fn nothing(why: NotSeen) -> Self {
        Self {
            link: Err(why.clone()),
            gateway: Err(why.clone()),
            outside: Err(why.clone()),
            wifi: Err(why.clone()),
            host: Err(why),
            probes: 0,
            bytes: 0,
        }
    }
}

/// The first hop with a public address.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Outside {
    pub hop: u8,
    pub rtt: Duration,
}
