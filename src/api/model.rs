//! The API's JSON: what `/api/v1` answers and takes. Names of edges and subjects of agents are the keys
//! throughout; what is unknown is absent; times are RFC 3339 in UTC unless a name ends in `_ms` or `_s`.

mod accounts;
mod surroundings;

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

pub use accounts::{
    ApiTokenInfo, CreateApiToken, CreateToken, CreatedApiToken, CreatedToken, Login, NewPassword, Session,
    TokenInfo,
};
pub use surroundings::{HostState, StallCount, Surroundings, Trace, TraceHop, TraceRtt, WifiState};

use crate::{
    proto,
    store::records::{BudgetOn, ClassState, Outcome, Protect, Role, Service},
};

/// `GET /api/v1/status`, and `corridor status --json`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct Status {
    pub controller: ControllerStatus,
    pub edges: Vec<EdgeStatus>,
    pub agents: Vec<AgentStatus>,
    pub links: Vec<LinkStatus>,
    pub classes: Vec<ClassStatus>,
    /// Public addresses that several agents use.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub sites: Vec<SiteStatus>,
}

/// Agents behind one public address, which is shown truncated: two sites may look alike.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct SiteStatus {
    pub address: String,
    pub agents: u32,
    pub in_class: u32,
    /// What they may use together, each way, kbit/s of IP bytes.
    pub budget_kbps: f64,
    /// The most that each of those in class may; absent while all get what they want.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub share_in_class_kbps: Option<f64>,
    /// The same, of the others.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub share_idle_kbps: Option<f64>,
    /// What they said they used, in their newest reports.
    pub out_kbps: f64,
    pub back_kbps: f64,
}

/// What an agent may send and get, and did over the last minute: kbit/s of IP bytes, all packets counted.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct TrafficStatus {
    /// For itself, each way.
    pub budget_kbps: f64,
    /// Of its site's line, each way, peers' probes included; absent without a limit.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub share_kbps: Option<f64>,
    /// For itself.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub out_kbps: Option<f64>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub back_kbps: Option<f64>,
    /// Peers' probes, and the answers to them: those are in the peers' budgets.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub peers_out_kbps: Option<f64>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub peers_back_kbps: Option<f64>,
    /// How many steps its rates are below what the budget was planned for, because more went over the line.
    pub rungs_down: u32,
    /// Every byte is paid, so the budget is smaller.
    pub metered: bool,
}

impl From<&proto::Traffic> for TrafficStatus {
    fn from(traffic: &proto::Traffic) -> Self {
        let kbps = |bits: u32| f64::from(bits) / 1e3;
        let used = |bits: u32| traffic.is_known.then_some(kbps(bits));
        Self {
            budget_kbps: kbps(traffic.budget_bps),
            share_kbps: (traffic.share_bps > 0).then_some(kbps(traffic.share_bps)),
            out_kbps: used(traffic.out_bps),
            back_kbps: used(traffic.back_bps),
            peers_out_kbps: used(traffic.peers_out_bps),
            peers_back_kbps: used(traffic.peers_back_bps),
            rungs_down: traffic.rungs_down,
            metered: traffic.metered,
        }
    }
}

impl Status {
    /// Takes out what a client that watches thousands of agents, once a second, does not need.
    pub fn leave_to_timelines(&mut self) {
        for agent in &mut self.agents {
            agent.surroundings = None;
        }
    }
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct ControllerStatus {
    pub version: String,
    /// The controller's time.
    pub now: String,
    pub uptime_s: u64,
    pub reports: u64,
    /// Reports that came again and were dropped.
    pub repeats: u64,
    pub store_bytes: u64,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum EdgeState {
    Up,
    Draining,
    Down,
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct EdgeStatus {
    pub name: String,
    pub state: EdgeState,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub region: Option<String>,
    pub addresses: Vec<String>,
    pub agents: u32,
    /// Share of one core; absent where the edge cannot measure it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub cpu: Option<f64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub rss_bytes: Option<u64>,
    pub forwarded: u64,
    pub local_drops: u64,
    pub refused: u64,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub version: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub last_seen: Option<String>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum AgentState {
    Up,
    Silent,
    Gone,
    Revoked,
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct AgentStatus {
    pub subject: String,
    pub id: String,
    pub state: AgentState,
    /// The edge that carries its reports.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub uplink: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub version: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub platform: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub link_type: Option<String>,
    /// How far its wall clock is off the controller's; present beyond 2 s.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub clock_off_s: Option<i64>,
    pub tags: BTreeMap<String, String>,
    /// Classes it is in now.
    pub classes: Vec<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub last_seen: Option<String>,
    pub spool_rows: u32,
    pub spool_dropped: u64,
    /// By its newest report.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub traffic: Option<TrafficStatus>,
    /// As its agent saw them last. Left out of the live feed: a class's timeline has them.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub surroundings: Option<Surroundings>,
}

#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct Rtt {
    pub p50: f64,
    pub p95: f64,
}

/// One direction of one link. `from` and `to` are an edge's name, or `agent:SUBJECT`. The link to a target, `to`
/// being `target:HOST:PORT`, is both directions in one: where something was lost is not known.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct LinkStatus {
    pub from: String,
    pub to: String,
    /// Length of the newest window.
    pub window_s: f64,
    /// Probes sent in this direction since the prober's start (echoes, for the way back).
    pub sent: u64,
    /// Of these, lost.
    pub lost: u64,
    /// Share lost in the newest window. An echo that takes longer than 2 s counts as lost on the way back.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub loss: Option<f64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub rtt_ms: Option<Rtt>,
    /// Least one-way delay of the newest window.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub owd_ms: Option<f64>,
    /// Bound of `owd_ms`; never one without the other.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub owd_error_ms: Option<f64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub jitter_ms: Option<f64>,
    /// Share of the newest window's answers whose times do not count, since the prober's machine or the far
    /// end stood still; their arrival does.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub kept_out: Option<f64>,
    /// Age of the newest window.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub age_s: Option<f64>,
    /// By what a target is measured: `stamp`, `stun`, `icmp` or `tcp`; absent while it is not, and on other
    /// links. By `tcp` losses are not known.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub method: Option<String>,
}

/// How a class's target is measured from one edge or agent.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct TargetStatus {
    /// The edge's name, or `agent:SUBJECT`.
    pub from: String,
    /// `stamp`, `stun`, `icmp` or `tcp`; absent while it is not measured.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub method: Option<String>,
    /// In which direction the method's round trips err from the media's, and why.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub bias: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub rtt_ms: Option<Rtt>,
    /// Seconds since the newest window.
    pub age_s: f64,
    /// While it is not measured: why.
    pub unmeasured: Vec<UnmeasuredReason>,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct UnmeasuredReason {
    /// A method, or `address`.
    pub what: String,
    pub why: String,
}

/// A delay as it is held against a budget on one way.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct OneWay {
    /// Of the worse direction: the estimate, and `error` on top. Half of the round trip without `error`.
    pub p50: f64,
    pub p95: f64,
    /// How far the estimates may be off; absent if by more than a fifth of the class's budget, or if nobody
    /// knows.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub error: Option<f64>,
}

/// How a participant, or a class, is doing.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum Quality {
    /// Inside the budget, and expected to stay.
    Good,
    /// In breach, or less than 90 % likely to stay inside the budget.
    AtRisk,
    /// No route carries anything, or the participant is lost.
    Outage,
    /// Nothing recent is known.
    Unknown,
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct ClassStatus {
    pub id: String,
    pub state: ClassState,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub outcome: Option<Outcome>,
    pub quality: Quality,
    /// The hub edge, for classes that need a meeting point.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub hub: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub target: Option<String>,
    /// How the target is measured from the edges that planned routes lead out of; while there are none, from
    /// all, 16 at most.
    #[serde(default)]
    pub target_links: Vec<TargetStatus>,
    pub budget_ms: f64,
    pub budget_on: BudgetOn,
    pub protect: Protect,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub start: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub end: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub began: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub ended: Option<String>,
    /// Worst teacher–student round trip.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub rtt_ms: Option<Rtt>,
    /// The same, as it is judged where the budget is on one way.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub one_way_ms: Option<OneWay>,
    pub participants: Vec<ParticipantStatus>,
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct ParticipantStatus {
    pub subject: String,
    pub role: Role,
    pub quality: Quality,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub joined: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub left: Option<String>,
    pub legs: Vec<LegStatus>,
    /// The media that edges carry from and to this participant, by its agent's last report.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub flows: Vec<FlowStatus>,
}

/// One flow of media at one of its ends: cumulative, in packets and bytes of media.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct FlowStatus {
    /// The same at both ends.
    pub id: String,
    /// Another agent began it.
    pub ends_here: bool,
    /// Names of the edges by which the last packet went, or goes back, in the order of the way from who began it;
    /// absent before there was one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub route: Option<Vec<String>>,
    /// Changes of its route.
    pub moves: u64,
    pub sent: u64,
    pub sent_bytes: u64,
    pub received: u64,
    pub received_bytes: u64,
    /// Missing between the first and the newest that came.
    pub lost: u64,
    pub repeated: u64,
    pub reordered: u64,
    /// Not taken by the participant's own machine.
    pub dropped: u64,
    /// Nothing could be done with: no route was open.
    pub undone: u64,
    /// To the far end and back, of late; of flows that begin here, and where something is known.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub rtt_ms: Option<f64>,
    /// Missed at the far end.
    pub lost_there: u64,
    /// Not sent, because it was more than is granted.
    pub too_fast: u64,
    /// Not sent, because the flow kept losing most of what it sent.
    pub throttled: u64,
    /// Whether that is so now.
    pub is_throttled: bool,
    /// Copies by a second route.
    pub protecting: u64,
    /// Why a route is not open to it; absent if all are.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub refused: Option<String>,
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct LegStatus {
    /// The far end: `agent:SUBJECT`, `target:HOST:PORT` or `hub:EDGE`.
    pub to: String,
    pub plan: u64,
    /// Names of edges.
    pub primary: Vec<String>,
    pub standbys: Vec<Vec<String>>,
    /// The route that the agent says it uses.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub in_use: Option<Vec<String>>,
    /// Since when it uses it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub in_use_since: Option<String>,
    /// Why it uses it: one sentence.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub in_use_reason: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub rtt_ms: Option<Rtt>,
    /// The same, as it is judged where the budget is on one way.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub one_way_ms: Option<OneWay>,
    /// Share lost on the route in use, both directions; absent until a window of it has closed.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub loss: Option<f64>,
    pub budget_ms: f64,
    pub switches: u64,
    /// Why the primary is what it is: one sentence.
    pub reason: String,
    /// The same, typed: an object with a `kind`.
    #[schema(value_type = Object)]
    pub reason_detail: serde_json::Value,
    /// The leg's other routes against the one in use, as far as both are measured to the same far end.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub compared: Vec<RouteComparison>,
    /// How the target is measured from the agent itself, without any edge: what the routes are to beat.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub direct: Option<TargetStatus>,
    /// Seconds since what `rtt_ms` and `loss` are of: the newest window of the route in use, or the agent's
    /// newest word where that is older than the route's use.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub age_s: Option<f64>,
}

/// A route against the route in use, each direction by itself. The clocks of the two ends cancel.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct RouteComparison {
    /// Names of edges.
    pub route: Vec<String>,
    /// By how much its median delay to the far end is longer; negative where it is shorter.
    pub up_ms: f64,
    /// The same of the way back.
    pub down_ms: f64,
    /// Bound of both: what the clocks may have drifted meanwhile.
    pub error_ms: f64,
}

/// `POST /api/v1/classes`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct CreateClass {
    pub id: String,
    pub participants: Vec<NewParticipant>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub target: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub budget_ms: Option<f64>,
    #[serde(default)]
    pub budget_on: BudgetOn,
    #[serde(default)]
    pub protect: Protect,
    /// Live at once without it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub start: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub end: Option<String>,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct NewParticipant {
    pub subject: String,
    pub role: Role,
}

/// `POST /api/v1/classes/{id}/end`.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct EndClass {
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub outcome: Option<Outcome>,
}

/// `POST /api/v1/classes/{id}/participants` (join) and `DELETE …/participants/{subject}` (leave).
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct JoinClass {
    pub subject: String,
    pub role: Role,
}

/// `GET /api/v1/classes/{id}/timeline`: what happened to each participant, and how it fared.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct Timeline {
    pub class: ClassStatus,
    pub from: String,
    pub to: String,
    pub participants: Vec<ParticipantTimeline>,
    pub events: Vec<Event>,
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct ParticipantTimeline {
    pub subject: String,
    pub role: Role,
    /// Ascending in time; a gap in time is a gap in knowledge and must not be joined.
    pub points: Vec<Point>,
    /// What lay around its machine, ascending in time; of many that are close together the worst.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub surroundings: Vec<Surroundings>,
    /// Paths that were traced on schedule, ascending in time. Those that trouble asked for are in events.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub paths: Vec<Trace>,
}

/// One window of the route in use.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct Point {
    /// End of the window.
    pub at: String,
    pub length_s: f64,
    pub route: Vec<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub rtt_ms: Option<Rtt>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub loss_up: Option<f64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub loss_down: Option<f64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub jitter_ms: Option<f64>,
    pub quality: Quality,
}

/// Something that happened.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct Event {
    pub at: String,
    /// `plan`, `switch`, `access_outage`, `joined`, `left`, `lost`, `slept`, `moved`, `edge_down`, `stalled`,
    /// `trace`, … The `detail.trace` of a `trace` is a [`Trace`].
    pub kind: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub class: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub subject: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub edge: Option<String>,
    /// In the live feed, of an edge that goes or comes back: the live classes whose routes it is on, or was
    /// when it went.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub classes: Vec<String>,
    /// One sentence.
    pub text: String,
    #[schema(value_type = Object)]
    pub detail: serde_json::Value,
}

/// `GET /api/v1/live`: server-sent events. `event: status` carries a whole [`Status`] at first and then
/// at most once a second when something changed; `event: event` carries one [`Event`].
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
#[serde(tag = "type", rename_all = "snake_case")]
pub enum Live {
    Status(Box<Status>),
    Event(Event),
}

/// `POST /api/v1/edges/{name}/drain`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct DrainEdge {
    pub on: bool,
}

/// `POST /api/v1/join`: no account needed, the token is the proof.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct Join {
    pub token: String,
    /// What wants to join: a token for the other kind is refused.
    pub service: Service,
    /// The subject of an agent, the name of an edge.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub name: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub region: Option<String>,
    /// A PKCS #10 request, PEM, signed by the key that never leaves its machine.
    pub csr: String,
}

/// `POST /api/v1/renew`: a request signed by the enrolled key; no other proof is needed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct Renew {
    pub csr: String,
}

/// The answer to both.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Joined {
    pub service: Service,
    /// The agent's id (16 hex digits) or the edge's number.
    pub id: String,
    /// The subject, or the edge's name.
    pub name: String,
    /// The certificate, then what links its issuer to older roots, PEM.
    pub chain: String,
    /// Every CA certificate to trust, PEM: more than one while the key is being rotated.
    pub roots: String,
    /// Edges to begin with, for an agent.
    pub edges: Vec<JoinEdge>,
    /// Where edges reach the controller over QUIC, `host:port`; for an edge.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub controller: Option<String>,
    /// The controller's time, microseconds since 1970.
    pub now_us: i64,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct JoinEdge {
    pub id: u16,
    pub name: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub region: Option<String>,
    pub addresses: Vec<String>,
}

/// `GET /api/v1/time`: no account needed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Time {
    pub now_us: i64,
}

/// Every error's body.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Error {
    /// A stable word, such as `not_found`, `token_expired`, `too_many_requests`.
    pub code: String,
    /// One clear sentence.
    pub message: String,
}
