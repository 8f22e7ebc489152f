//! The state of everything, as the API shows it.

mod leg;
mod target;

use corridor_probes::{AgentId, EdgeId, Wall};

use super::{
    agents::{Agent, CLOCK_OFF_S},
    core::{Core, Now},
    event::{self, route_names},
    links::{self, Link},
    sites::SiteNow,
};
use crate::{
    api::{
        model::{
            AgentStatus, ClassStatus, ControllerStatus, EdgeStatus, FlowStatus, LinkStatus,
            ParticipantStatus, Quality, Rtt, SiteStatus, Status, TrafficStatus,
        },
        time_text,
    },
    proto,
    reporting::route_from,
    store::records::{ClassRecord, ClassState, ParticipantRecord, Reporter},
};

use leg::Leg;

impl Core {
    pub fn status(&self, now: Now, store_bytes: u64) -> Status {
        Status {
            controller: ControllerStatus {
                version: env!("CARGO_PKG_VERSION").to_owned(),
                now: time_text::text(now.wall),
                uptime_s: now.mono.since(self.started.mono).as_secs(),
                reports: self.counters.reports,
                repeats: self.counters.repeats,
                store_bytes,
            },
            edges: self.edges.iter().map(edge).collect(),
            agents: self.agents.iter().map(|a| self.agent(a, now.wall)).collect(),
            links: self
                .links
                .iter()
                .flat_map(|(from, to, link)| self.link(from, to, link, now.wall))
                .chain(self.target_links(now.wall))
                .collect(),
            classes: self.classes.iter().map(|c| self.class(c, now.wall)).collect(),
            sites: self.shared_sites(),
        }
    }

    /// Those with more than one agent, or where one may not use what it wants.
    fn shared_sites(&self) -> Vec<SiteStatus> {
        let shown = |now: &SiteNow| {
            now.in_class.len() + now.idle.len() > 1
                || now.shares.in_class.is_some()
                || now.shares.idle.is_some()
        };
        self.sites
            .iter()
            .filter(|(_, now)| shown(now))
            .map(|(site, now)| {
                let agents = || now.in_class.iter().chain(&now.idle);
                let sum = |of: fn(&proto::Traffic) -> u32| {
                    let traffic = agents().filter_map(|&id| self.agents.get(id)?.traffic.as_ref());
                    kbps(traffic.map(|t| u64::from(of(t))).sum())
                };
                let count = |n: usize| u32::try_from(n).unwrap_or(u32::MAX);
                SiteStatus {
                    address: site.to_string(),
                    agents: count(agents().count()),
                    in_class: count(now.in_class.len()),
                    budget_kbps: f64::from(self.settings.site_budget_kbps),
                    share_in_class_kbps: now.shares.in_class.map(kbps),
                    share_idle_kbps: now.shares.idle.map(kbps),
                    out_kbps: sum(|t| t.out_bps.saturating_add(t.peers_out_bps)),
                    back_kbps: sum(|t| t.back_bps.saturating_add(t.peers_back_bps)),
                }
            })
            .collect()
    }

    pub fn class_status(&self, id: &str, now: Now) -> Option<ClassStatus> {
        self.classes
            .get(id)
            .ok()
            .map(|record| self.class(record, now.wall))
    }

    fn agent(&self, agent: &Agent, now: Wall) -> AgentStatus {
        let subject = &agent.record.subject;
        let classes: Vec<_> = self
            .classes
            .iter()
            .filter(|c| c.state == ClassState::Live)
            .filter(|c| {
                c.participants
                    .iter()
                    .any(|p| p.subject == *subject && p.left.is_none())
            })
            .map(|c| c.id.clone())
            .collect();
        let attachment = agent.attachment.as_ref();
        let surroundings = agent.surroundings.as_ref().map(crate::surroundings::shown);
        let said = |text: &String| Some(text.clone()).filter(|t| !t.is_empty());
        AgentStatus {
            subject: subject.clone(),
            id: agent.record.id.to_string(),
            state: agent.state(now, !classes.is_empty()),
            uplink: attachment
                .and_then(|a| self.edges.get(a.uplink))
                .map(|e| e.record.name.clone()),
            version: attachment.and_then(|a| said(&a.version)),
            platform: attachment.and_then(|a| said(&a.platform)),
            link_type: attachment
                .and_then(|a| said(&a.link_type))
                .or_else(|| surroundings.as_ref()?.link_type.clone()),
            clock_off_s: attachment
                .map(|a| a.clock_off_s)
                .filter(|off| off.abs() > CLOCK_OFF_S),
            tags: agent.record.tags.clone(),
            classes,
            last_seen: agent.record.last_seen.map(time_text::text),
            spool_rows: agent.host.spool_rows,
            spool_dropped: agent.host.spool_dropped,
            traffic: agent.traffic.as_ref().map(TrafficStatus::from),
            surroundings,
        }
    }

    /// Both directions of a link, each with its own counts.
    fn link(&self, from: Reporter, to: EdgeId, link: &Link, now: Wall) -> Vec<LinkStatus> {
        let (Some(here), Some(there)) = (self.reporter_name(from), self.edge_name(to)) else {
            return Vec::new();
        };
        let totals = link.totals();
        let (up, down) = link.window.ledger.as_ref().map_or((None, None), links::losses);
        let one_way = self.links.one_way(from, to);
        let jitter = |us: u32| (!link.rtts.is_empty()).then(|| f64::from(us) / 1e3);
        let common = LinkStatus {
            from: String::new(),
            to: String::new(),
            window_s: f64::from(link.window.length_ms) / 1e3,
            sent: 0,
            lost: 0,
            loss: None,
            rtt_ms: link.rtt_ms(),
            owd_ms: None,
            owd_error_ms: None,
            jitter_ms: None,
            kept_out: link.window.ledger.as_ref().and_then(links::kept_out),
            age_s: Some(now.since(link.at).as_secs_f64()),
            method: None,
        };
        vec![
            LinkStatus {
                from: here.clone(),
                to: there.clone(),
                sent: totals.sent,
                lost: totals.lost_up,
                loss: up,
                owd_ms: one_way.map(|(up, _)| up.delay),
                owd_error_ms: one_way.map(|(up, _)| up.error),
                jitter_ms: jitter(link.window.jitter_up_us),
                ..common.clone()
            },
            LinkStatus {
                from: there,
                to: here,
                sent: totals.answered,
                lost: totals.lost_down,
                loss: down,
                owd_ms: one_way.map(|(_, down)| down.delay),
                owd_error_ms: one_way.map(|(_, down)| down.error),
                jitter_ms: jitter(link.window.jitter_down_us),
                ..common
            },
        ]
    }

    fn class(&self, record: &ClassRecord, now: Wall) -> ClassStatus {
        let view = self.planner.class(&record.id);
        let live = record.state == ClassState::Live;
        let participants: Vec<_> = record
            .participants
            .iter()
            .map(|p| self.participant(record, p, live, view.quality(), now))
            .collect();
        let quality = if live {
            worst(&participants, view.quality())
        } else {
            Quality::Unknown
        };
        ClassStatus {
            id: record.id.clone(),
            state: record.state,
            outcome: record.outcome,
            quality,
            hub: view.hub.and_then(|hub| self.edge_name(hub)),
            target: record.target.clone(),
            target_links: self.target_of(record, live, now),
            budget_ms: f64::from(record.budget_us) / 1e3,
            budget_on: record.budget_on,
            protect: record.protect,
            start: record.start.map(time_text::text),
            end: record.end.map(time_text::text),
            began: record.began.map(time_text::text),
            ended: record.ended.map(time_text::text),
            rtt_ms: view
                .worst_pair_ms()
                .filter(|_| live)
                .map(|(p50, p95)| Rtt { p50, p95 }),
            one_way_ms: view.worst_one_way().filter(|_| live),
            participants,
        }
    }

    fn participant(
        &self,
        class: &ClassRecord,
        participant: &ParticipantRecord,
        live: bool,
        expected: Quality,
        now: Wall,
    ) -> ParticipantStatus {
        let leg = if live && participant.left.is_none() {
            self.leg(class, &participant.subject, now)
        } else {
            None
        };
        ParticipantStatus {
            subject: participant.subject.clone(),
            role: participant.role,
            quality: self.quality(class, participant, live, expected, leg.as_ref()),
            joined: participant.joined.map(time_text::text),
            left: participant.left.map(time_text::text),
            legs: leg.map(|leg| leg.status).into_iter().collect(),
            flows: if live {
                self.flows(class, &participant.subject)
            } else {
                Vec::new()
            },
        }
    }

    fn flows(&self, class: &ClassRecord, subject: &str) -> Vec<FlowStatus> {
        let agent = self.agents.by_subject(subject);
        let flows = agent.map_or(&[][..], |agent| &agent.flows).iter();
        flows
            .filter(|flow| flow.class == class.id)
            .map(|flow| FlowStatus {
                id: format!("{:016x}", flow.id),
                ends_here: flow.ends_here,
                route: flow
                    .route
                    .as_ref()
                    .and_then(route_from)
                    .map(|route| route_names(&self.edges, route.edges())),
                moves: flow.moves,
                sent: flow.sent,
                sent_bytes: flow.sent_bytes,
                received: flow.received,
                received_bytes: flow.received_bytes,
                lost: flow.lost,
                repeated: flow.repeated,
                reordered: flow.reordered,
                dropped: flow.dropped,
                undone: flow.undone,
                rtt_ms: (flow.rtt_us > 0).then(|| f64::from(flow.rtt_us) / 1e3),
                lost_there: flow.lost_there,
                too_fast: flow.too_fast,
                throttled: flow.throttled,
                is_throttled: flow.is_throttled,
                protecting: flow.protecting,
                refused: Some(flow.refused.clone()).filter(|why| !why.is_empty()),
            })
            .collect()
    }

    fn quality(
        &self,
        class: &ClassRecord,
        participant: &ParticipantRecord,
        live: bool,
        expected: Quality,
        leg: Option<&Leg>,
    ) -> Quality {
        if !live || participant.left.is_some() {
            return Quality::Unknown;
        }
        if self.classes.is_lost(&class.id, &participant.subject) {
            return Quality::Outage;
        }
        leg.map_or(Quality::Unknown, |leg| leg.quality(expected))
    }

    pub(super) fn edge_name(&self, id: EdgeId) -> Option<String> {
        self.edges.get(id).map(|e| e.record.name.clone())
    }

    fn subject_of(&self, id: AgentId) -> Option<String> {
        self.agents.get(id).map(|a| a.record.subject.clone())
    }

    fn reporter_name(&self, reporter: Reporter) -> Option<String> {
        match reporter {
            Reporter::Agent(id) => self.subject_of(id).map(|subject| format!("agent:{subject}")),
            Reporter::Edge(id) => self.edge_name(id),
        }
    }

    fn far_end_name(&self, far: &crate::route::FarEnd) -> String {
        match far {
            crate::route::FarEnd::Agent(id) => {
                format!("agent:{}", self.subject_of(*id).unwrap_or_else(|| id.to_string()))
            }
            crate::route::FarEnd::Target(target) => format!("target:{target}"),
            crate::route::FarEnd::Hub(id) => {
                format!("hub:{}", self.edge_name(*id).unwrap_or_else(|| id.to_string()))
            }
        }
    }
}

fn kbps(bits: u64) -> f64 {
    bits as f64 / 1e3
}

fn edge(edge: &super::edges::Edge) -> EdgeStatus {
    let status = &edge.status;
    let up = edge.connection.is_some();
    EdgeStatus {
        name: edge.record.name.clone(),
        state: edge.state(),
        region: edge.record.region.clone(),
        addresses: edge.record.addresses.clone(),
        agents: if up { status.agents } else { 0 },
        cpu: status.cpu.filter(|_| up),
        rss_bytes: (up && status.rss_bytes > 0).then_some(status.rss_bytes),
        forwarded: status.forwarded,
        local_drops: status.local_drops,
        refused: status.refused,
        version: edge.version.clone(),
        last_seen: edge.last_seen.map(time_text::text),
    }
}

/// A class is as well as its worst present participant, and its pairs as they are expected to do; one
/// that never came says nothing yet. What participants measure counts before what is expected: an
/// unknown expectation makes a class that is measured good no worse.
fn worst(participants: &[ParticipantStatus], expected: Quality) -> Quality {
    let present = participants
        .iter()
        .filter(|p| p.left.is_none() && p.joined.is_some());
    let rank = |q: Quality| match q {
        Quality::Good => 0,
        Quality::Unknown => 1,
        Quality::AtRisk => 2,
        Quality::Outage => 3,
    };
    let measured = present
        .map(|p| p.quality)
        .max_by_key(|&q| rank(q))
        .unwrap_or(Quality::Unknown);
    match (measured, expected) {
        (Quality::Good, Quality::AtRisk) => Quality::AtRisk,
        _ => measured,
    }
}
