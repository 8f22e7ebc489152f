//! The controller without I/O: what comes from edges, agents and the API goes in with the time; messages,
//! records to keep and events come out.

mod granting;

use std::{
    collections::{BTreeMap, BTreeSet, VecDeque},
    sync::Arc,
    time::Duration,
};

use corridor_probes::{AgentId, EdgeId, Mono, Route, Wall};

use super::{
    agents::Agents,
    carried::Carried,
    classes::{ClassError, ClassEvent, Classes, NewClass},
    edges::{Connection, Edges},
    event,
    grants::Grants,
    handle::AskError,
    intake,
    links::Links,
    planner::{Beside, Planner},
    settings::Settings,
    sites::Sites,
};
use crate::{
    identity::Ca,
    proto::{self, controller_to_edge, from_controller, to_controller},
    reporting::route_from,
    route::engine::Plan,
    site::Site,
    store::records::{
        AgentRecord, ClassRecord, ClassState, EdgeRecord, EventRecord, GrantRecord, Outcome, PlanRecord,
        Reporter, Role,
    },
};

/// What the driver shall do, in order.
#[derive(Debug, Clone, PartialEq)]
pub enum Output {
    ToEdge(EdgeId, proto::ControllerToEdge),
    SaveClass(Box<ClassRecord>),
    SaveEdge(Box<EdgeRecord>),
    SavePlan(PlanRecord),
    SaveGrant(GrantRecord),
    Event {
        record: EventRecord,
        /// Beside the record's own: the live classes that it concerns.
        classes: Vec<String>,
    },
}

/// What the store kept.
#[derive(Debug, Default)]
pub struct Restored {
    pub agents: Vec<AgentRecord>,
    pub edges: Vec<EdgeRecord>,
    pub classes: Vec<ClassRecord>,
    pub plans: Vec<PlanRecord>,
    pub grants: Vec<GrantRecord>,
}

/// The time, by both clocks, read once a turn.
#[derive(Debug, Clone, Copy)]
pub struct Now {
    pub mono: Mono,
    pub wall: Wall,
}

/// The controller's state.
#[derive(Debug)]
pub struct Core {
    pub(super) settings: Settings,
    pub(super) started: Now,
    pub(super) edges: Edges,
    pub(super) agents: Agents,
    pub(super) classes: Classes,
    pub(super) links: Links,
    pub(super) planner: Planner,
    grants: Grants,
    carried: Carried,
    pub(super) sites: Sites,
    pub(super) counters: Counters,
    /// What each agent was last told, so that it is told again only on a change.
    told: BTreeMap<AgentId, Told>,
    /// Of what any agent was told last.
    version: u64,
    /// Pairs of edges in a live plan, as the mesh was last told.
    busy: BTreeSet<(EdgeId, EdgeId)>,
    /// The targets that edges were last told to measure.
    targets: Vec<String>,
    /// Those and former ones, of which windows may still come, with the time that they were last wanted.
    told_targets: BTreeMap<String, Wall>,
    revocations: u64,
    out: VecDeque<Output>,
}

#[derive(Debug, Clone, Copy, Default)]
pub struct Counters {
    pub reports: u64,
    pub repeats: u64,
    /// Messages that could not be understood.
    pub malformed: u64,
}

#[derive(Debug, Default)]
struct Told {
    /// With their boots.
    candidates: Vec<(u32, u64)>,
}

/// After a target was last wanted: reports of it that an edge kept meanwhile are taken.
const TARGET_LINGERS: Duration = Duration::from_secs(600);

impl Core {
    /// `ca` signs what allows agents to have media carried.
    pub fn new(settings: Settings, ca: Arc<Ca>, restored: Restored, now: Now) -> Self {
        Self {
            started: now,
            edges: Edges::restore(restored.edges),
            agents: Agents::restore(restored.agents),
            classes: Classes::restore(restored.classes),
            links: Links::default(),
            planner: Planner::restore(&settings, restored.plans, now.mono),
            grants: Grants::restore(ca, settings.media_kbps, restored.grants, now.wall, now.mono),
            carried: Carried::default(),
            sites: Sites::default(),
            counters: Counters::default(),
            told: BTreeMap::new(),
            version: 0,
            busy: BTreeSet::new(),
            targets: Vec::new(),
            told_targets: BTreeMap::new(),
            // Grows over restarts too, so that an edge never takes an older list for a newer one.
            revocations: u64::try_from(now.wall.as_micros()).unwrap_or(0),
            out: VecDeque::new(),
            settings,
        }
    }

    /// The next thing to do.
    pub fn poll_output(&mut self) -> Option<Output> {
        self.out.pop_front()
    }

    /// An edge has connected and registered.
    pub fn edge_connected(
        &mut self,
        id: EdgeId,
        connection: Connection,
        register: &proto::EdgeRegister,
        now: Now,
    ) {
        let Some(edge) = self.edges.get(id) else { return };
        let (name, was_up) = (edge.record.name.clone(), edge.connection.is_some());
        if let Some(record) = self.edges.connected(id, connection, register, now.wall) {
            self.out.push_back(Output::SaveEdge(Box::new(record)));
        }
        let draining = self.edges.get(id).is_some_and(|e| e.record.draining);
        self.tell_edge(
            id,
            controller_to_edge::Body::Welcome(proto::Welcome {
                edge: u32::from(id.get()),
                name: name.clone(),
                now_us: now.wall.as_micros(),
            }),
        );
        if draining {
            self.tell_edge(id, controller_to_edge::Body::Drain(self.settings.drain(true)));
        }
        let revocations = self.revocation_list(id);
        self.tell_edge(id, controller_to_edge::Body::Revocations(revocations));
        self.tell_targets_to(id);
        if !was_up {
            self.edge_back(id, event::edge(now.wall, "edge_up", &name, "is connected"));
        }
        self.tell_mesh();
    }

    /// A connection of an edge ended.
    pub fn edge_disconnected(&mut self, id: EdgeId, connection: Connection, why: &str, now: Now) {
        if !self.edges.disconnected(id, connection) {
            return;
        }
        self.agents.uplink_lost(id, now.wall);
        if let Some(name) = self.edges.get(id).map(|e| e.record.name.clone()) {
            let words = format!("is out of reach: {why}");
            self.edge_went(id, event::edge(now.wall, "edge_down", &name, &words), now);
        }
    }

    pub fn edge_status(&mut self, id: EdgeId, status: proto::EdgeStatus, now: Now) {
        self.edges.status(id, status, now.wall);
    }

    /// A message from an agent, passed on by `edge`. Reports do not come this way: they are stored first.
    pub fn agent_said(
        &mut self,
        edge: EdgeId,
        id: AgentId,
        site: Option<Site>,
        body: to_controller::Body,
        now: Now,
    ) {
        let Some(agent) = self.agents.get(id) else { return };
        if agent.record.revoked.is_some() {
            return;
        }
        self.agents.heard(id, edge, now.wall);
        match body {
            to_controller::Body::Attach(attach) => self.attach(edge, id, &attach, now),
            to_controller::Body::Time(request) => {
                let answer = proto::TimeAnswer {
                    mono_us: request.mono_us,
                    now_us: now.wall.as_micros(),
                };
                self.tell_agent(id, from_controller::Body::Time(answer));
            }
            to_controller::Body::ClassRequest(request) => self.class_request(id, &request, now),
            to_controller::Body::Goodbye(_) => self.agents.gone(id, edge, now.wall),
            to_controller::Body::Report(_) => {}
        }
        self.agents.seen_at(id, edge, site);
    }

    pub fn agent_gone(&mut self, edge: EdgeId, id: AgentId, now: Now) {
        self.agents.gone(id, edge, now.wall);
    }

    pub fn agent_silence(&mut self, edge: EdgeId, id: AgentId, silent: bool, now: Now) {
        self.agents.silence(id, edge, silent, now.wall);
    }

    /// A report that the store has taken. `new`: not a repeat. Acknowledges it either way.
    pub fn stored(&mut self, from: Reporter, via: EdgeId, mut report: proto::Report, new: bool, now: Now) {
        let ack = proto::ReportAck {
            boot: report.boot,
            sequence: report.sequence,
        };
        match from {
            Reporter::Agent(id) => self.tell_agent_via(via, id, from_controller::Body::ReportAck(ack)),
            Reporter::Edge(id) => self.tell_own(id, from_controller::Body::ReportAck(ack)),
        }
        if !new {
            self.counters.repeats += 1;
            return;
        }
        self.counters.reports += 1;
        let may_measure = |name: &str| {
            self.told_targets.contains_key(name)
                && match from {
                    Reporter::Edge(_) => true,
                    Reporter::Agent(id) => {
                        self.links.target(name, from).is_some() || self.planner.has_target(id, name)
                    }
                }
        };
        self.counters.malformed += intake::clean(&mut report, &self.edges, may_measure, now.wall);
        let report = &report;
        self.links.take(from, report);
        self.planner.observe(from, report, now);
        if let Reporter::Agent(id) = from {
            self.agents.heard(id, via, now.wall);
            self.agents.report(id, report);
        }
        self.report_events(from, report);
    }

    /// The store has taken up or changed an agent.
    pub fn agent_changed(&mut self, record: AgentRecord, now: Now) {
        let before = self.agents.get(record.id).and_then(|a| a.record.revoked);
        let (id, subject, revoked) = (record.id, record.subject.clone(), record.revoked.is_some());
        self.agents.enrol(record);
        if revoked && before.is_none() {
            self.event(event::subject(
                now.wall,
                "revoked",
                &subject,
                "'s certificate is revoked",
            ));
            self.grants.revoke_agent(id, now.wall);
            self.keep_grants();
            self.tell_revocations();
        }
    }

    /// The store has taken up or changed an edge.
    pub fn edge_changed(&mut self, record: EdgeRecord, now: Now) {
        let before = self.edges.get(record.id).and_then(|e| e.record.revoked);
        let (name, revoked) = (record.name.clone(), record.revoked.is_some());
        self.edges.enrol(record);
        if revoked && before.is_none() {
            self.event(event::edge(
                now.wall,
                "revoked",
                &name,
                "'s certificate is revoked",
            ));
            self.tell_revocations();
        }
        self.tell_mesh();
    }

    pub fn create_class(&mut self, new: NewClass, now: Now) -> Result<String, AskError> {
        let record = self.classes.create(now.wall, new)?.clone();
        let id = record.id.clone();
        let is_live = record.state == ClassState::Live;
        let words = if is_live {
            "is created"
        } else {
            "is created, to begin later"
        };
        self.event(event::class(now.wall, "created", &id, words));
        if is_live {
            let began = ClassEvent::Began { class: id.clone() };
            self.event(event::of_class(now.wall, &began));
        }
        self.out.push_back(Output::SaveClass(Box::new(record)));
        self.replan(now);
        Ok(id)
    }

    pub fn end_class(&mut self, id: &str, outcome: Option<Outcome>, now: Now) -> Result<(), AskError> {
        let (_, happened) = self.classes.end(now.wall, id, outcome)?;
        self.happened(&happened, now);
        self.replan(now);
        Ok(())
    }

    pub fn join_class(&mut self, id: &str, subject: &str, role: Role, now: Now) -> Result<(), AskError> {
        let (_, happened) = self.classes.join(now.wall, id, subject, role)?;
        if let Some(happened) = happened {
            self.happened(&happened, now);
        }
        self.replan(now);
        Ok(())
    }

    pub fn leave_class(&mut self, id: &str, subject: &str, now: Now) -> Result<(), AskError> {
        let (_, happened) = self.classes.leave(now.wall, id, subject)?;
        if let Some(happened) = happened {
            self.happened(&happened, now);
        }
        self.replan(now);
        Ok(())
    }

    pub fn drain(&mut self, name: &str, on: bool, now: Now) -> Result<(), AskError> {
        let id = self
            .edges
            .by_name(name)
            .map(|e| e.record.id)
            .ok_or_else(|| AskError::NotFound {
                what: "edge",
                name: name.to_owned(),
            })?;
        if let Some(record) = self.edges.drain(id, on) {
            self.out.push_back(Output::SaveEdge(Box::new(record)));
        }
        self.tell_edge(id, controller_to_edge::Body::Drain(self.settings.drain(on)));
        if on {
            let record = event::edge(now.wall, "edge_draining", name, "is draining");
            self.edge_went(id, record, now);
        } else {
            let words = "takes flows again";
            self.edge_back(id, event::edge(now.wall, "edge_undrained", name, words));
        }
        self.tell_mesh();
        self.replan(now);
        Ok(())
    }

    /// Lets time pass: about once a second.
    pub fn tick(&mut self, now: Now) {
        let agents = &self.agents;
        let events = self
            .classes
            .tick(now.wall, self.settings.lost_after, |s| agents.presence(s));
        for happened in &events {
            self.happened(happened, now);
        }
        self.classes.forget_ended(now.wall - self.settings.keep_ended);
        let classes = &self.classes;
        self.carried.forget(now.mono, |class| classes.is_live(class));
        self.replan(now);
        self.tell_revoked_grants();
        self.tell_candidates(now.wall);
        self.share_out(now.wall);
        self.links.settle_clocks(now.wall);
    }

    pub fn malformed(&mut self) {
        self.counters.malformed += 1;
    }

    /// Forgets links not measured since `before`, and routes of classes that are over.
    pub fn forget_links(&mut self, before: Wall) {
        let classes = &self.classes;
        self.links.forget(before, |class| classes.is_live(class));
    }

    fn attach(&mut self, edge: EdgeId, id: AgentId, attach: &proto::Attach, now: Now) {
        if !self.agents.attach(id, edge, attach, now.wall) {
            return;
        }
        let subject = self
            .agents
            .get(id)
            .map(|a| a.record.subject.clone())
            .unwrap_or_default();
        self.tell_agent(
            id,
            from_controller::Body::Attached(proto::Attached {
                now_us: now.wall.as_micros(),
                subject,
            }),
        );
        self.tell_settings(id, now.wall);
        self.told.remove(&id);
        self.tell_candidates_of(id, now.wall);
        self.tell_plans(id, now.wall);
    }

    fn class_request(&mut self, id: AgentId, request: &proto::ClassRequest, now: Now) {
        let Some(subject) = self.agents.get(id).map(|a| a.record.subject.clone()) else {
            return;
        };
        // An agent may come and go in classes that name it, no more.
        let named = self.classes.get(&request.class).ok().and_then(|c| {
            c.participants
                .iter()
                .find(|p| p.subject == subject)
                .map(|p| p.role)
        });
        let result = match named {
            None => Err(AskError::Class(ClassError::NotIn {
                subject,
                class: request.class.clone(),
            })),
            Some(role) if request.join => self.join_class(&request.class, &subject, role, now),
            Some(_) => self.leave_class(&request.class, &subject, now),
        };
        let error = result.err().map(|e| e.to_string()).unwrap_or_default();
        let answer = proto::ClassAnswer {
            request: request.request,
            error,
        };
        self.tell_agent(id, from_controller::Body::ClassAnswer(answer));
    }

    /// Keeps and tells what happened to a class.
    fn happened(&mut self, happened: &ClassEvent, now: Now) {
        self.event(event::of_class(now.wall, happened));
        let (ClassEvent::Began { class }
        | ClassEvent::Ended { class, .. }
        | ClassEvent::Joined { class, .. }
        | ClassEvent::Left { class, .. }
        | ClassEvent::Lost { class, .. }
        | ClassEvent::Back { class, .. }) = happened;
        if let Ok(record) = self.classes.get(class) {
            self.out.push_back(Output::SaveClass(Box::new(record.clone())));
        }
    }

    /// Turns what is known into plans; tells agents whose plans changed, and edges which pairs matter.
    fn replan(&mut self, now: Now) {
        self.tell_targets(now.wall);
        let clocks = self.links.clocks();
        let changes = self
            .planner
            .update(&self.classes, &self.agents, &self.edges, clocks, now);
        let (mut agents, mut classes) = (BTreeSet::new(), BTreeSet::new());
        for change in changes {
            agents.insert(change.agent);
            classes.insert(change.class.clone());
            let routes = change.plan.as_ref().map(Plan::routes).unwrap_or_default();
            let edges = routes.iter().flat_map(Route::edges).collect();
            self.carried
                .planned(&change.class, &change.subject, edges, now.mono);
            if let Some(happened) = event::plan(now.wall, &change, &self.edges) {
                self.event(happened);
            }
            if let Some(record) = change.record {
                self.out.push_back(Output::SavePlan(record));
            }
        }
        agents.extend(self.grant(classes, now));
        for id in agents {
            self.tell_plans(id, now.wall);
        }
        let busy = self.planner.busy_pairs(&self.classes);
        if busy != self.busy {
            self.busy = busy;
            self.tell_mesh();
        }
    }

    fn report_events(&mut self, from: Reporter, report: &proto::Report) {
        let reporter = match from {
            Reporter::Agent(id) => self
                .agents
                .get(id)
                .map(|a| event::Who::Subject(a.record.subject.clone())),
            Reporter::Edge(id) => self
                .edges
                .get(id)
                .map(|e| event::Who::Edge(e.record.name.clone())),
        };
        let Some(reporter) = reporter else { return };
        for reported in &report.events {
            let plan = match &reporter {
                event::Who::Subject(subject) => self.planner.leg(&reported.class, subject),
                event::Who::Edge(_) => None,
            };
            let record = event::reported(&reporter, reported, &self.edges, plan);
            self.event(record);
        }
    }

    /// The version of something that replaces what an agent was told before.
    pub(super) fn next_version(&mut self, now: Wall) -> u64 {
        let now = u64::try_from(now.as_micros()).unwrap_or_default();
        self.version = now.max(self.version + 1);
        self.version
    }

    fn tell_plans(&mut self, id: AgentId, now: Wall) {
        let beside = Beside {
            edges: &self.edges,
            agents: &self.agents,
            classes: &self.classes,
            grants: &self.grants,
        };
        let plans = self.planner.plans_of(id, beside).collect();
        let version = self.next_version(now);
        let plans = proto::Plans { version, plans };
        self.tell_agent(id, from_controller::Body::Plans(plans));
    }

    fn tell_candidates(&mut self, now: Wall) {
        let ids: Vec<_> = self
            .agents
            .iter()
            .filter(|a| a.attachment.is_some())
            .map(|a| a.record.id)
            .collect();
        for id in ids {
            self.tell_candidates_of(id, now);
        }
    }

    fn tell_candidates_of(&mut self, id: AgentId, now: Wall) {
        let Some(agent) = self.agents.get(id) else { return };
        let region = agent.record.tags.get("region").map(String::as_str);
        let links = &self.links;
        let mut chosen: Vec<_> = self
            .edges
            .candidates(self.settings.candidates, region, id.0, |edge| {
                links.agent_rtt_us(id, edge)
            })
            .into_iter()
            .filter_map(|e| Some(self.edges.get(e)?.info()))
            .collect();
        // Their order is not told, so that a change of rank alone is no news.
        chosen.sort_unstable_by_key(|info| info.id);
        let told = self.told.entry(id).or_default();
        let news = |told: &[(u32, u64)]| {
            let known = |info: &proto::EdgeInfo| {
                told.iter()
                    .any(|&(id, boot)| id == info.id && (info.boot == 0 || info.boot == boot))
            };
            told.len() != chosen.len() || !chosen.iter().all(known)
        };
        if !news(&told.candidates) {
            return;
        }
        told.candidates = chosen.iter().map(|info| (info.id, info.boot)).collect();
        let candidates = proto::Candidates {
            version: self.next_version(now),
            edges: chosen,
        };
        self.tell_agent(id, from_controller::Body::Candidates(candidates));
    }

    fn tell_mesh(&mut self) {
        for id in self.connected_edges() {
            let mesh = self.edges.mesh(id, &self.busy, &self.settings);
            self.tell_edge(id, controller_to_edge::Body::Mesh(mesh));
        }
    }

    /// Tells every edge which targets to measure, if they are others than before.
    fn tell_targets(&mut self, now: Wall) {
        let targets = self.classes.targets(now);
        if targets == self.targets {
            return;
        }
        for name in self.targets.iter().chain(&targets) {
            self.told_targets.insert(name.clone(), now);
        }
        self.targets = targets;
        let wanted = &self.targets;
        self.told_targets
            .retain(|name, at| wanted.contains(name) || now.since(*at) < TARGET_LINGERS);
        for id in self.connected_edges() {
            self.tell_targets_to(id);
        }
    }

    fn connected_edges(&self) -> Vec<EdgeId> {
        let connected = self.edges.iter().filter(|e| e.connection.is_some());
        connected.map(|e| e.record.id).collect()
    }

    fn tell_targets_to(&mut self, id: EdgeId) {
        let targets = self.targets.clone();
        self.tell_edge(id, controller_to_edge::Body::Targets(proto::Targets { targets }));
    }

    fn event(&mut self, record: EventRecord) {
        self.out.push_back(Output::Event {
            record,
            classes: Vec::new(),
        });
    }

    /// An edge goes, and its classes are told.
    fn edge_went(&mut self, id: EdgeId, record: EventRecord, now: Now) {
        let over = self.classes_over(id);
        let classes = self.carried.went(id, over, now.mono);
        self.out.push_back(Output::Event { record, classes });
    }

    fn edge_back(&mut self, id: EdgeId, record: EventRecord) {
        let over = self.classes_over(id);
        let classes = self.carried.back(id, over);
        self.out.push_back(Output::Event { record, classes });
    }

    /// The live classes with a planned route, or one in use, over this edge.
    fn classes_over(&self, edge: EdgeId) -> BTreeSet<String> {
        let passes = |class: &str, subject: &str| {
            let planned = self.planner.leg(class, subject).map(|plan| plan.routes());
            let in_use = self
                .agents
                .by_subject(subject)
                .and_then(|a| route_from(a.legs.get(class)?.in_use.as_ref()?));
            let mut routes = planned.into_iter().flatten().chain(in_use);
            routes.any(|route| route.edges().any(|e| e == edge))
        };
        let live = self.classes.iter().filter(|c| c.state == ClassState::Live);
        live.filter(|c| {
            let mut present = c.participants.iter().filter(|p| p.left.is_none());
            present.any(|p| passes(&c.id, &p.subject))
        })
        .map(|c| c.id.clone())
        .collect()
    }

    fn tell_edge(&mut self, id: EdgeId, body: controller_to_edge::Body) {
        self.out
            .push_back(Output::ToEdge(id, proto::ControllerToEdge { body: Some(body) }));
    }

    fn tell_own(&mut self, id: EdgeId, body: from_controller::Body) {
        let message = proto::FromController { body: Some(body) };
        self.tell_edge(
            id,
            controller_to_edge::Body::Own(prost::Message::encode_to_vec(&message)),
        );
    }

    /// By the agent's uplink; an agent that has none is told when it attaches.
    pub(super) fn tell_agent(&mut self, id: AgentId, body: from_controller::Body) {
        if let Some(via) = self.agents.uplink(id) {
            self.tell_agent_via(via, id, body);
        }
    }

    fn tell_agent_via(&mut self, via: EdgeId, id: AgentId, body: from_controller::Body) {
        let message = proto::FromController { body: Some(body) };
        let payload = prost::Message::encode_to_vec(&message);
        self.tell_edge(
            via,
            controller_to_edge::Body::ToAgent(proto::ToAgent { agent: id.0, payload }),
        );
    }
}
