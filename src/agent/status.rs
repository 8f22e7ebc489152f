//! What the agent says of itself: `corridor agent status`.

use std::net::SocketAddr;

use corridor_probes::{EdgeId, Route};
use serde::{Deserialize, Serialize};

use super::{
    carrying::{CarryCounts, Forward, Shown},
    core::{Core, Key, Now},
    surroundings::told,
};
use crate::{
    api::model::{Surroundings, Trace, TrafficStatus},
    media::{end::Counts, origin::To},
    reporting::{About, route_from},
    surroundings::{shown, shown_trace},
    transport::ArrivalTimes,
};

/// The agent's own view, as JSON.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct AgentReport {
    pub subject: String,
    pub version: String,
    /// The edge that carries its reports; absent while the controller is out of reach.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub uplink: Option<String>,
    pub edges: Vec<EdgeReport>,
    pub legs: Vec<LegReport>,
    pub reports_closed: u64,
    pub reports_acknowledged: u64,
    /// Other agents' route probes that were answered.
    #[serde(default)]
    pub answered: u64,
    /// Datagrams and messages that could not be understood, or were not for this agent.
    pub refused: u64,
    /// This machine's wall clock less the controller's time; absent until that is known.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub clock_off_ms: Option<f64>,
    /// Who says when packets came here; absent before any has come.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub arrival_times: Option<ArrivalTimes>,
    /// What it may send and get, and did.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub traffic: Option<TrafficStatus>,
    /// What lies around this machine, as it was seen last.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub surroundings: Option<Surroundings>,
    /// The path that was traced last.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub path: Option<Trace>,
    /// Paths traced, and IP bytes that went into probes of hops, each way at most.
    #[serde(default)]
    pub paths: u64,
    #[serde(default)]
    pub hop_probe_bytes: u64,
    /// The media that is carried from and to this machine.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub media: Option<MediaReport>,
}

/// Media, as this agent sees it.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct MediaReport {
    /// Local ports that are carried.
    pub forwards: Vec<Forward>,
    /// Ports of this machine that other agents of a class may reach.
    pub accepts: Vec<u16>,
    /// One for each local sender to each forward.
    pub flows: Vec<FlowReport>,
    /// Flows of other agents that end here.
    pub ends: Vec<EndReport>,
    #[serde(flatten)]
    pub counts: CarryCounts,
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct FlowReport {
    pub id: String,
    /// Where its packets come from.
    pub local: SocketAddr,
    pub to: Option<To>,
    /// Absent while no class leads there.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub class: Option<String>,
    /// By which the last packet went.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub route: Option<Vec<String>>,
    /// Changes of its route.
    pub moves: u64,
    /// Routes that are open to it, by the edges.
    pub open: Vec<Vec<String>>,
    /// Routes that are not, and why.
    pub refused: Vec<(Vec<String>, String)>,
    /// Packets that nothing could be done with: no class leads there, or no route was open in time.
    pub undone: u64,
    /// Of late, to the far end and back, by its receipts.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub rtt_ms: Option<f64>,
    /// Packets that are missed at the far end, by the same; nothing is known of what goes twice.
    pub lost_there: u64,
    /// Packets that were not sent, because they were more than the grant allows.
    pub too_fast: u64,
    /// Packets that were not sent, because the flow kept losing most of what it sent.
    pub throttled: u64,
    /// Whether that is so now.
    pub is_throttled: bool,
    #[serde(flatten)]
    pub counts: Counts,
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct EndReport {
    pub id: String,
    /// By which answers go back.
    pub route: Vec<String>,
    pub moves: u64,
    #[serde(flatten)]
    pub counts: Counts,
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct EdgeReport {
    pub name: String,
    pub connected: bool,
    pub draining: bool,
    /// The 90th percentile of the last round trips.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub rtt_ms: Option<f64>,
    /// Since something was heard from it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub heard_s: Option<f64>,
    pub sent: u64,
    pub lost: u64,
    /// Why there is no connection.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub last_error: Option<String>,
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct LegReport {
    pub class: String,
    pub plan: u64,
    pub in_use: Vec<String>,
    pub switches: u64,
    pub at_risk: bool,
    pub reason: serde_json::Value,
    /// The installed routes, the primary first.
    #[serde(default)]
    pub routes: Vec<RouteReport>,
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct RouteReport {
    pub edges: Vec<String>,
    /// The 90th percentile of the last round trips.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub rtt_ms: Option<f64>,
    pub sent: u64,
    pub lost: u64,
}

/// Collects it.
pub fn report(core: &Core, subject: &str, now: Now) -> AgentReport {
    let name = |id| name(core, id);
    let edges = core
        .edges
        .iter()
        .map(|(id, edge)| {
            let session = core.prober.session(Key::Link(id));
            let totals = session.map(|s| s.totals()).unwrap_or_default();
            EdgeReport {
                name: edge.info.name.clone(),
                connected: edge.is_welcome(),
                draining: edge.draining,
                rtt_ms: session.and_then(|s| s.usual_rtt()).map(|d| d.as_secs_f64() * 1e3),
                heard_s: edge.heard.map(|at| now.mono.since(at).as_secs_f64()),
                sent: totals.sent.into(),
                lost: totals.lost().into(),
                last_error: edge.last_end.clone().filter(|_| edge.connection.is_none()),
            }
        })
        .collect();
    let legs = core
        .legs
        .states(|m| now.at(m))
        .into_iter()
        .map(|leg| LegReport {
            in_use: leg
                .in_use
                .as_ref()
                .and_then(route_from)
                .map(|r| r.edges().map(name).collect())
                .unwrap_or_default(),
            routes: routes(core, &leg.class),
            class: leg.class,
            plan: leg.plan,
            switches: leg.switches,
            at_risk: leg.at_risk,
            reason: serde_json::from_str(&leg.reason).unwrap_or_default(),
        })
        .collect();
    let around = &core.around;
    let off_us = now.wall.as_micros() - now.controller.as_micros();
    AgentReport {
        subject: subject.to_owned(),
        version: core.settings.version.clone(),
        uplink: core.uplink().map(name),
        edges,
        legs,
        reports_closed: core.counters.reports,
        reports_acknowledged: core.counters.acknowledged,
        answered: core.counters.answered,
        refused: core.counters.refused + core.counters.malformed + core.counters.outdated,
        arrival_times: None,
        traffic: Some(TrafficStatus::from(&core.traffic())),
        clock_off_ms: now.controller_error.map(|_| off_us as f64 / 1e3),
        surroundings: around
            .sample
            .as_ref()
            .map(|(at, sample)| shown(&told::sample(now.at(*at), sample, around.recent_stalls))),
        path: around.path.as_ref().map(|traced| {
            let at = now.at(traced.look.at);
            shown_trace(&told::trace(at, traced, around.watch().full_addresses), name)
        }),
        paths: around.counters.paths,
        hop_probe_bytes: around.counters.bytes,
        media: None,
    }
}

/// What carrying says of itself, with edges by their names.
pub fn media(core: &Core, shown: Shown) -> MediaReport {
    let named = |route: Route| route.edges().map(|id| name(core, id)).collect::<Vec<_>>();
    let to = |forward: u32| shown.forwards.get(&forward).map(|f| f.to.clone());
    let flows = shown.flows.into_iter().map(|flow| FlowReport {
        id: flow_name(flow.id.0),
        local: flow.local,
        to: to(flow.forward),
        class: flow.class,
        route: flow.route.map(named),
        moves: flow.moves,
        open: flow.carried.into_iter().map(named).collect(),
        refused: flow
            .refused
            .into_iter()
            .map(|(route, why)| (named(route), why.text().to_owned()))
            .collect(),
        undone: flow.undone,
        rtt_ms: flow.rtt.map(|rtt| rtt.as_secs_f64() * 1e3),
        lost_there: flow.lost_there,
        too_fast: flow.too_fast,
        throttled: flow.throttled,
        is_throttled: flow.is_throttled,
        counts: flow.counts,
    });
    let ends = shown.ends.into_iter().map(|end| EndReport {
        id: flow_name(end.key.flow),
        route: named(end.route),
        moves: end.moves,
        counts: end.counts,
    });
    MediaReport {
        flows: flows.collect(),
        ends: ends.collect(),
        forwards: shown.forwards.into_values().collect(),
        accepts: shown.accepts,
        counts: shown.counts,
    }
}

fn flow_name(id: u64) -> String {
    format!("{id:016x}")
}

fn name(core: &Core, id: EdgeId) -> String {
    core.edges
        .get(id)
        .map_or_else(|| id.to_string(), |e| e.info.name.clone())
}

/// The routes that are installed for a class.
fn routes(core: &Core, class: &str) -> Vec<RouteReport> {
    let of_class = |about: About| matches!(about, About::Route { class: its, .. } if its == class);
    core.legs
        .routes()
        .filter(|&(leg, route)| core.legs.about(leg, route).is_some_and(of_class))
        .map(|(leg, route)| {
            let session = core.prober.session(Key::Route(leg, route));
            let totals = session.map(|s| s.totals()).unwrap_or_default();
            RouteReport {
                edges: route.edges().map(|id| name(core, id)).collect(),
                rtt_ms: session.and_then(|s| s.usual_rtt()).map(|d| d.as_secs_f64() * 1e3),
                sent: totals.sent.into(),
                lost: totals.lost().into(),
            }
        })
        .collect()
}
