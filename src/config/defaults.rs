//! Every default, with its reason.

use std::{
    net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr},
    ops::RangeInclusive,
    time::Duration,
};

/// QUIC of edges. 443/udp is better known to firewalls but may not be bound by everyone.
pub const EDGE_PORT: u16 = 4433;

/// STAMP of edges, when it is asked for: the port registered for it (RFC 8762 §4.1), where other tools look
/// unless told otherwise. Below 1024, so it needs a privilege.
pub const STAMP_PORT: u16 = 862;

/// HTTPS of the controller (TCP), and where edges reach it over QUIC (UDP, the same number, so that one
/// rule in a firewall covers both).
pub const CONTROLLER_PORT: u16 = 8443;

/// Plain HTTP of `corridor up`, on loopback, for a browser on the same machine.
pub const LOCAL_HTTP: SocketAddr = SocketAddr::new(IpAddr::V4(Ipv4Addr::LOCALHOST), 8420);

/// All addresses of both families: Linux gives IPv4 through a dual-stack socket.
pub const fn any(port: u16) -> SocketAddr {
    SocketAddr::new(IpAddr::V6(Ipv6Addr::UNSPECIFIED), port)
}

/// A probe smaller than its own header is no probe, and one above 1,200 bytes would not pass every
/// path before MTU discovery has ended.
pub const PROBE_SIZES: RangeInclusive<u16> = 128..=1_150;

/// One probe a second and a report a minute need about 3 kbit/s.
pub const MIN_BUDGET_KBPS: u32 = 4;

/// What an idle agent may send, and receive: invisible on any line that can carry a class.
pub const IDLE_KBPS: u32 = 10;

/// In class: three routes probed ten times a second, other candidates once, reports included.
pub const IN_CLASS_KBPS: u32 = 60;

/// The same where every byte is paid: 22 MB a day, and 14 MB an hour of class.
pub const METERED_IDLE_KBPS: u32 = 2;

/// See [`METERED_IDLE_KBPS`]: routes probed five times a second.
pub const METERED_IN_CLASS_KBPS: u32 = 30;

/// What all agents behind one public address use together: a fiftieth of the 100 Mbit/s of a school, and a
/// tenth of a thin line of 20. It is what 33 agents in class want.
pub const SITE_BUDGET_KBPS: u32 = 2_000;

/// What edges carry of one agent's media, each way: two video streams of 1.5 Mbit/s (720p), voice, and room for
/// a shared screen; what a home's uplink has at most is no more by much.
pub const MEDIA_KBPS: u32 = 4_000;

/// Less is no voice: narrowband Opus with what RTP adds.
pub const MIN_MEDIA_KBPS: u32 = 24;

/// Edges that one agent keeps connections to. More cost keep-alives and win nothing: the best few by
/// measured delay hardly change.
pub const MAX_CANDIDATES: u32 = 8;

/// Unacknowledged reports on disk: at 1.4 kB every 10 s in class, days; idle, months.
pub const SPOOL_BYTES: u64 = 32 << 20;

/// Raw reports. Roll-ups and class records last longer.
pub const KEEP_REPORTS: Duration = Duration::from_secs(48 * 3_600);

/// Class records, long enough for a complaint about last year's course.
pub const KEEP_CLASSES: Duration = Duration::from_secs(400 * 86_400);

/// A participant is lost after this long without a word: three reports' time at risk would be 15 s, but
/// an agent in class is heard every few hundred milliseconds.
pub const LOST_AFTER: Duration = Duration::from_secs(10);

/// How long a draining edge waits for its agents to leave before it closes their connections.
pub const DRAIN: Duration = Duration::from_secs(30);

/// The round trip that a class must stay under at the 95th percentile.
pub const CLASS_BUDGET: Duration = Duration::from_millis(200);
