//! Which agents there are, how each is reached, and whether it is heard.

use std::collections::BTreeMap;

use corridor_probes::{AgentId, BootId, EdgeId, Wall};

use super::{classes::Presence, intake};
use crate::{api::model::AgentState, proto, site::Site, store::records::AgentRecord};

/// A wall clock that is off by more than this is worth a word.
pub const CLOCK_OFF_S: i64 = 2;

/// What is known of one agent.
#[derive(Debug)]
pub struct Agent {
    pub record: AgentRecord,
    /// How it was last reached; `None` until it is heard for the first time since the controller started.
    pub attachment: Option<Attachment>,
    /// The newest state of each leg, by class.
    pub legs: BTreeMap<String, proto::LegState>,
    pub flows: Vec<proto::Flow>,
    /// When that was so, and boot and number of the report that told it.
    pub legs_at: Wall,
    newest: Option<(u64, u64)>,
    pub host: proto::Host,
    pub traffic: Option<proto::Traffic>,
    pub surroundings: Option<proto::Surroundings>,
}

/// An agent's way to the controller.
#[derive(Debug, Clone)]
pub struct Attachment {
    pub uplink: EdgeId,
    /// `None` where its edge does not say it.
    pub site: Option<Site>,
    pub boot: BootId,
    pub attach: u64,
    pub version: String,
    pub platform: String,
    pub link_type: String,
    /// Its wall clock less the controller's, in seconds.
    pub clock_off_s: i64,
    pub heard: Wall,
    pub reached: Reached,
}

/// Whether an agent is heard at its uplink.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Reached {
    Heard,
    /// Nothing came from it for 3 s, though its connection stands; since then.
    Silent(Wall),
    /// Its connection, or its edge's to us, ended; since then.
    Gone(Wall),
}

/// All enrolled agents.
#[derive(Debug, Default)]
pub struct Agents {
    agents: BTreeMap<AgentId, Agent>,
    by_subject: BTreeMap<String, AgentId>,
}

impl Agents {
    pub fn restore(records: impl IntoIterator<Item = AgentRecord>) -> Self {
        let mut agents = Self::default();
        for record in records {
            agents.enrol(record);
        }
        agents
    }

    /// Takes up an agent, or what changed in its record. The newest enrolment of a subject is the
    /// subject's agent.
    pub fn enrol(&mut self, record: AgentRecord) {
        let newest = self
            .by_subject
            .get(&record.subject)
            .and_then(|id| self.agents.get(id))
            .is_none_or(|other| other.record.joined <= record.joined);
        if newest && record.revoked.is_none() {
            self.by_subject.insert(record.subject.clone(), record.id);
        }
        match self.agents.get_mut(&record.id) {
            Some(agent) => agent.record = record,
            None => {
                let agent = Agent {
                    record,
                    attachment: None,
                    legs: BTreeMap::new(),
                    flows: Vec::new(),
                    newest: None,
                    legs_at: Wall::default(),
                    host: proto::Host::default(),
                    traffic: None,
                    surroundings: None,
                };
                self.agents.insert(agent.record.id, agent);
            }
        }
    }

    pub fn get(&self, id: AgentId) -> Option<&Agent> {
        self.agents.get(&id)
    }

    pub fn by_subject(&self, subject: &str) -> Option<&Agent> {
        self.by_subject.get(subject).and_then(|id| self.agents.get(id))
    }

    pub fn iter(&self) -> impl Iterator<Item = &Agent> {
        self.agents.values()
    }

    /// An agent says that it is here. `false` if a newer word of the same agent is known already.
    pub fn attach(&mut self, id: AgentId, uplink: EdgeId, attach: &proto::Attach, now: Wall) -> bool {
        let Some(agent) = self.agents.get_mut(&id) else {
            return false;
        };
        let boot = BootId(attach.boot);
        if agent
            .attachment
            .as_ref()
            .is_some_and(|a| a.boot == boot && a.attach > attach.attach)
        {
            return false;
        }
        agent.attachment = Some(Attachment {
            uplink,
            site: None,
            boot,
            attach: attach.attach,
            version: intake::text(&attach.version),
            platform: intake::text(&attach.platform),
            link_type: intake::text(&attach.link_type),
            clock_off_s: attach.wall_us.saturating_sub(now.as_micros()) / 1_000_000,
            heard: now,
            reached: Reached::Heard,
        });
        agent.record.last_seen = Some(now);
        true
    }

    /// Something came from an agent by this edge.
    pub fn heard(&mut self, id: AgentId, edge: EdgeId, now: Wall) {
        if let Some(attachment) = self.agents.get_mut(&id).and_then(|a| a.attachment.as_mut()) {
            attachment.heard = now;
            if attachment.uplink == edge {
                attachment.reached = Reached::Heard;
            }
        }
        if let Some(agent) = self.agents.get_mut(&id) {
            agent.record.last_seen = Some(now);
        }
    }

    /// Where the edge that it reports through sees it.
    pub fn seen_at(&mut self, id: AgentId, edge: EdgeId, site: Option<Site>) {
        if let Some(attachment) = self.agents.get_mut(&id).and_then(|a| a.attachment.as_mut())
            && attachment.uplink == edge
        {
            attachment.site = site;
        }
    }

    /// An edge says that nothing comes from an agent, or that it came back. The silence began 3 s ago.
    pub fn silence(&mut self, id: AgentId, edge: EdgeId, silent: bool, now: Wall) {
        let Some(attachment) = self.agents.get_mut(&id).and_then(|a| a.attachment.as_mut()) else {
            return;
        };
        if attachment.uplink != edge {
            return;
        }
        match (silent, attachment.reached) {
            (true, Reached::Heard) => {
                attachment.reached = Reached::Silent(now - crate::edge::SILENT_AFTER);
            }
            (false, Reached::Silent(_)) => {
                attachment.reached = Reached::Heard;
                attachment.heard = now;
            }
            _ => {}
        }
    }

    /// An agent's connection to this edge ended.
    pub fn gone(&mut self, id: AgentId, edge: EdgeId, now: Wall) {
        if let Some(attachment) = self.agents.get_mut(&id).and_then(|a| a.attachment.as_mut())
            && attachment.uplink == edge
        {
            attachment.reached = match attachment.reached {
                Reached::Silent(since) | Reached::Gone(since) => Reached::Gone(since),
                Reached::Heard => Reached::Gone(now),
            };
        }
    }

    /// An edge is out of reach, and with it all who report through it.
    pub fn uplink_lost(&mut self, edge: EdgeId, now: Wall) {
        let ids: Vec<_> = self.agents.keys().copied().collect();
        for id in ids {
            self.gone(id, edge, now);
        }
    }

    pub fn report(&mut self, id: AgentId, report: &proto::Report) {
        let Some(agent) = self.agents.get_mut(&id) else {
            return;
        };
        if agent.attachment.as_ref().is_some_and(|a| a.boot.0 != report.boot) {
            // A former boot's leftovers say nothing about now.
            return;
        }
        let this = (report.boot, report.sequence);
        if agent
            .newest
            .is_some_and(|newest| newest.0 == this.0 && newest.1 > this.1)
        {
            // Of the backlog, which newer reports go ahead of.
            return;
        }
        agent.newest = Some(this);
        agent.legs_at = Wall::from_micros(report.end_us);
        agent.legs = report
            .legs
            .iter()
            .map(|leg| (leg.class.clone(), leg.clone()))
            .collect();
        agent.flows.clone_from(&report.flows);
        if let Some(host) = &report.host {
            agent.host = *host;
            agent.host.cpu = intake::share(host.cpu);
        }
        agent.traffic = report.traffic;
        if let Some(surroundings) = report.surroundings.as_deref() {
            agent.surroundings = Some(surroundings.clone());
        }
    }

    /// The edge that an agent is reached through, if it is.
    pub fn uplink(&self, id: AgentId) -> Option<EdgeId> {
        let attachment = self.agents.get(&id)?.attachment.as_ref()?;
        (!matches!(attachment.reached, Reached::Gone(_))).then_some(attachment.uplink)
    }

    pub fn presence(&self, subject: &str) -> Presence {
        match self
            .by_subject(subject)
            .and_then(|a| a.attachment.as_ref())
            .map(|a| a.reached)
        {
            None => Presence::Unknown,
            Some(Reached::Heard) => Presence::Heard,
            Some(Reached::Silent(since) | Reached::Gone(since)) => Presence::SilentSince(since),
        }
    }
}

impl Agent {
    /// `in_class`: an agent in class is silent after 3 s, an idle one after 120 s.
    pub fn state(&self, now: Wall, in_class: bool) -> AgentState {
        if self.record.revoked.is_some() {
            return AgentState::Revoked;
        }
        match self.attachment.as_ref().map(|a| a.reached) {
            None | Some(Reached::Gone(_)) => AgentState::Gone,
            Some(Reached::Heard) => AgentState::Up,
            Some(Reached::Silent(since)) => {
                let limit = if in_class {
                    crate::edge::SILENT_AFTER
                } else {
                    IDLE_SILENT_AFTER
                };
                if now.since(since) >= limit {
                    AgentState::Silent
                } else {
                    AgentState::Up
                }
            }
        }
    }
}

/// An idle agent sends little: its silence means something later.
const IDLE_SILENT_AFTER: std::time::Duration = std::time::Duration::from_secs(120);
