//! A scenario as it is written: TOML.

use std::{collections::BTreeMap, time::Duration};

use serde::{Deserialize, Deserializer};
use toml::Spanned;

use crate::store::records::{BudgetOn, Protect, Role};

/// A span of time: `250ms`, `12s`, `8d 2h`.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct Span(pub Duration);

impl<'de> Deserialize<'de> for Span {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        let text = String::deserialize(from)?;
        if text == "0" {
            return Ok(Self(Duration::ZERO));
        }
        parsed(&text, &text).map(Self)
    }
}

/// Far beyond any use, and far from where sums of times overflow.
const LONGEST: Duration = Duration::from_secs(100 * 366 * 86_400);

fn parsed<E: serde::de::Error>(span: &str, text: &str) -> Result<Duration, E> {
    let d = humantime::parse_duration(span).map_err(|e| E::custom(format!("'{text}' is no time: {e}")))?;
    if d > LONGEST {
        return Err(E::custom(format!("'{text}' is longer than a hundred years")));
    }
    Ok(d)
}

/// A span that may be negative: `-1h`.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Signed {
    pub us: i64,
}

impl<'de> Deserialize<'de> for Signed {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        let text = String::deserialize(from)?;
        let (sign, rest) = match text.strip_prefix('-') {
            Some(rest) => (-1, rest),
            None => (1, text.as_str()),
        };
        let d = parsed(rest, &text)?;
        let us = i64::try_from(d.as_micros()).map_err(serde::de::Error::custom)?;
        Ok(Self { us: sign * us })
    }
}

/// The whole file.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Scenario {
    /// What it shows: one sentence.
    pub about: String,
    #[serde(default = "one")]
    pub seed: u64,
    /// Time from start to end.
    pub duration: Span,
    /// When watched, what happens from this time to the end happens again and again. Classes that are
    /// created in it get another id each time.
    pub repeat: Option<Span>,
    /// Stores and spools in files instead of in memory.
    #[serde(default)]
    pub on_disk: bool,
    #[serde(default)]
    pub certificates_age: Span,
    /// Slows all probing from the beginning: see [`Do::probing`].
    pub probing: Option<Span>,
    /// Bytes of each kind of probe, for counting them on the network.
    #[serde(default)]
    pub sizes: Sizes,
    /// kbit/s of an agent in class; the default budget without.
    pub in_class_kbps: Option<u32>,
    /// The shape of links that are not named, each way.
    #[serde(default)]
    pub default: Link,
    pub edges: BTreeMap<String, Edge>,
    pub agents: BTreeMap<String, Agent>,
    #[serde(default)]
    pub links: Vec<Spanned<Between>>,
    #[serde(default, rename = "at")]
    pub actions: Vec<Spanned<Do>>,
    #[serde(default, rename = "expect")]
    pub expectations: Vec<Spanned<Expect>>,
    /// Parts of messages at ERROR that are part of the scenario.
    #[serde(default)]
    pub expect_errors: Vec<String>,
}

fn one() -> u64 {
    1
}

#[derive(Debug, Clone, Copy, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Sizes {
    pub link: usize,
    pub route: usize,
    pub mesh: usize,
}

#[derive(Debug, Clone, Copy, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Clock {
    pub offset: Signed,
    pub drift_ppm: f64,
}

#[derive(Debug, Clone, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Edge {
    pub region: Option<String>,
    pub clock: Clock,
}

#[derive(Debug, Clone, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Agent {
    pub region: Option<String>,
    pub clock: Clock,
    pub nat: bool,
    pub spool_bytes: Option<u64>,
}

/// What a link's direction is like; what is not said stays as it was.
#[derive(Debug, Clone, Copy, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Link {
    pub delay: Option<Span>,
    /// On top of what it is.
    pub add_delay: Option<Span>,
    pub jitter: Option<Span>,
    /// Share of packets, each lost for itself.
    pub loss: Option<f64>,
    pub rate_kbps: Option<u64>,
    pub blackhole: Option<bool>,
    pub duplicate: Option<f64>,
    pub reorder: Option<f64>,
    pub reorder_by: Option<Span>,
}

/// A link between two machines: `both` directions alike, or `there` (first to second) and `back`.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Between {
    pub between: [String; 2],
    #[serde(default)]
    pub both: Link,
    #[serde(default)]
    pub there: Link,
    #[serde(default)]
    pub back: Link,
}

/// One action at one time, or `times` times, `every` so often.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Do {
    pub time: Span,
    pub every: Option<Span>,
    pub times: Option<u32>,
    /// `kill -9` of a machine's service.
    pub kill: Option<String>,
    /// Starts it again.
    pub start: Option<String>,
    pub link: Option<Between>,
    /// A link gets its first shape back.
    pub heal: Option<[String; 2]>,
    /// Cuts a machine off the network.
    pub cut: Option<String>,
    /// Joins it again.
    pub join: Option<String>,
    /// Holds everything to and from a machine for a while, then delivers it.
    pub stall: Option<For>,
    /// Suspends a machine.
    pub sleep: Option<For>,
    pub step_clock: Option<Step>,
    /// Gives a machine another address.
    pub address: Option<Address>,
    /// A machine's NAT forgets its mappings.
    pub rebind_nat: Option<String>,
    /// Agents probe at most once in this time; `0` is as often as they would.
    pub probing: Option<Span>,
    pub create: Option<Class>,
    pub end: Option<String>,
    pub drain: Option<String>,
    /// Two programs begin to talk by media, until the end.
    pub talk: Option<Talk>,
}

#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Talk {
    /// What expectations call it.
    pub name: String,
    /// The agents whose machines they run on; the first opens the flow.
    pub between: [String; 2],
    pub class: String,
    /// The second machine is the class's target: its program has its agent carry nothing, and is reached at its own
    /// address.
    #[serde(default)]
    pub to_target: bool,
    /// One packet in this time, …
    #[serde(default = "voice")]
    pub every: Span,
    /// … of so many bytes.
    #[serde(default = "voice_size")]
    pub size: usize,
}

/// As voice does.
fn voice() -> Span {
    Span(Duration::from_millis(20))
}

fn voice_size() -> usize {
    160
}

#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct For {
    pub machine: String,
    #[serde(rename = "for")]
    pub lasts: Span,
}

#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Step {
    pub machine: String,
    pub by: Signed,
}

#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Address {
    pub machine: String,
    pub to: std::net::IpAddr,
}

#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Class {
    pub id: String,
    /// Subjects and their roles.
    pub who: BTreeMap<String, Role>,
    pub target: Option<String>,
    pub budget: Option<Span>,
    #[serde(default)]
    pub budget_on: BudgetOn,
    #[serde(default)]
    pub protect: Protect,
}

/// One thing that must hold: at `time`, at the end without, or for counts between `from` and `to`.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Expect {
    pub time: Option<Span>,
    /// From `time` to the end, so often.
    pub every: Option<Span>,
    pub in_use: Option<InUse>,
    pub switches: Option<Count>,
    pub events: Option<Count>,
    pub quality: Option<Quality>,
    pub edge: Option<EdgeIs>,
    /// Figures of a route's windows in the store.
    pub figures: Option<Figures>,
    /// Round trips of all links are the network's, to 1 ms.
    pub rtt: Option<bool>,
    /// One-way delays of all links are the network's, to their bound.
    pub one_way: Option<bool>,
    /// Another route of a leg is longer than the one in use in one direction, and all differences are the
    /// network's, to their bound.
    pub longer: Option<Longer>,
    /// Probes sent and lost are the network's, on all links.
    pub counts: Option<bool>,
    /// All ledgers in the store add up.
    pub ledgers: Option<bool>,
    /// What these agents closed is in the store or on its way, once each.
    pub windows: Option<Vec<String>>,
    /// The spools of these agents hold no more than is on its way.
    pub drained: Option<Vec<String>>,
    /// An agent's spool holds at least so many reports.
    pub spooled: Option<Spooled>,
    /// What became of the packets of a talk that were sent within a time.
    pub talk: Option<Heard>,
}

#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Heard {
    pub name: String,
    pub from: Span,
    pub to: Span,
    pub sent_min: Option<usize>,
    pub lost_there_max: Option<usize>,
    pub lost_back_max: Option<usize>,
    /// Came more than once.
    #[serde(default)]
    pub repeated_max: usize,
    pub rtt_max: Option<Span>,
}

#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Longer {
    pub agent: String,
    pub class: String,
    /// By so much on the way there, or on the way back.
    pub up: Option<Span>,
    pub down: Option<Span>,
}

#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct InUse {
    pub agent: String,
    pub class: String,
    /// The whole route.
    pub is: Option<Vec<String>>,
    /// An edge that it avoids.
    pub without: Option<String>,
}

/// Lines of the log: moves of an agent, or events of a kind at the controller.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Count {
    pub agent: Option<String>,
    pub kind: Option<String>,
    pub from: Option<Span>,
    pub to: Option<Span>,
    pub min: Option<usize>,
    pub max: Option<usize>,
}

#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Quality {
    pub class: String,
    pub is: crate::api::model::Quality,
}

#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct EdgeIs {
    pub name: String,
    pub is: crate::api::model::EdgeState,
}

#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Figures {
    pub agent: String,
    pub class: String,
    pub from: Span,
    pub to: Span,
    pub p95_max: Option<Span>,
    pub lost_max: Option<u64>,
    pub sent_min: Option<u64>,
}

#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Spooled {
    pub agent: String,
    pub min: u64,
}
