//! From reports to plans: feeds the route engine with what is measured, and turns what it plans into
//! messages and records.

use std::{
    borrow::Cow,
    collections::{BTreeMap, BTreeSet},
    time::Duration,
};

use corridor_probes::{AgentId, EdgeId, Mono, Route, Sample, samples};

use super::{
    agents::{Agent, Agents},
    classes::Classes,
    core::Now,
    edges::Edges,
    grants::Grants,
    links,
    settings::Settings,
};
use crate::{
    api::model,
    media::grant::far_end_message,
    proto::{self, window},
    reporting::{chain_from, route_from, route_message},
    route::{
        FarEnd,
        classes::{Class, Member},
        defaults::STALE_MAX,
        directions::Clocks,
        engine::{Engine, LegRecord, Plan, PlanChange},
        estimate::Observation,
        health::{ClassHealth, Health, LegNow, class_health},
        links::{EdgeHealth, EdgeState, LinkKey, LinkMap},
        score::Snapshot,
    },
    store::records::{BudgetOn, ClassRecord, ClassState, PlanRecord, Protect, Reporter},
};

/// A plan that changed.
#[derive(Debug)]
pub struct Change {
    pub class: String,
    pub subject: String,
    pub agent: AgentId,
    /// The primary, if it is another one than before.
    pub new_primary: Option<Route>,
    /// `None`: the leg is over.
    pub plan: Option<Plan>,
    /// To be kept.
    pub record: Option<PlanRecord>,
}

/// What a plan is told with.
#[derive(Debug, Clone, Copy)]
pub struct Beside<'a> {
    pub edges: &'a Edges,
    pub agents: &'a Agents,
    pub classes: &'a Classes,
    pub grants: &'a Grants,
}

/// What is known of a class as a whole.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct ClassView {
    pub hub: Option<EdgeId>,
    pub health: Option<ClassHealth>,
}

/// See the module's documentation.
#[derive(Debug)]
pub struct Planner {
    links: LinkMap,
    engine: Engine,
    views: BTreeMap<String, ClassView>,
    /// Primaries as they were last told, to tell which plans moved media.
    primaries: BTreeMap<(String, String), Route>,
    /// Legs whose plan is from before the start, and until when they stand as they are.
    restored: BTreeSet<(String, String)>,
    settled: Mono,
    settled_unheard: Mono,
    /// Agents that told of their links as they are now, since the start.
    told_now: BTreeSet<AgentId>,
    /// Some live class has a budget on one way.
    wants_directions: bool,
}

/// After a start, edges and agents come back one by one and nothing is measured yet: a plan made of what
/// came first would be worse than the one that stands. An edge's longest wait before it tries again, and
/// a report in class.
const SETTLE: Duration = Duration::from_secs(15);

/// A leg whose agent has not told yet how its links are now stands for so long: an edge's longest wait, an
/// agent's, and three reports in class.
const SETTLE_UNHEARD: Duration = Duration::from_secs(60);

/// A report is about now if a window of it ended within this.
const NOW: Duration = Duration::from_secs(15);

impl Planner {
    pub fn restore(_: &Settings, records: Vec<PlanRecord>, now: Mono) -> Self {
        let mut engine = Engine::default();
        let mut primaries = BTreeMap::new();
        let mut restored = BTreeSet::new();
        for record in records {
            match serde_json::from_str::<LegRecord>(&record.body) {
                Ok(leg) => {
                    if let Some(primary) = leg.plan.primary {
                        primaries.insert((record.class.clone(), record.subject.clone()), primary);
                    }
                    engine.restore(&record.class, &record.subject, leg);
                    restored.insert((record.class, record.subject));
                }
                Err(error) => {
                    tracing::warn!(class = %record.class, subject = %record.subject, %error, "stored plan not understood");
                }
            }
        }
        Self {
            links: LinkMap::default(),
            engine,
            views: BTreeMap::new(),
            primaries,
            restored,
            settled: now + SETTLE,
            settled_unheard: now + SETTLE_UNHEARD,
            told_now: BTreeSet::new(),
            wants_directions: false,
        }
    }

    pub fn leg(&self, class: &str, subject: &str) -> Option<&Plan> {
        self.engine.plan(class, subject)
    }

    pub fn class(&self, id: &str) -> ClassView {
        self.views.get(id).cloned().unwrap_or_default()
    }

    /// Takes the windows of a report into the link estimates. What is too old to matter is left out: an
    /// agent that was away brings hours of it.
    pub fn observe(&mut self, from: Reporter, report: &proto::Report, now: Now) {
        for window in &report.windows {
            let age = now.wall.since(links::end(window));
            if age >= STALE_MAX {
                continue;
            }
            let ledger = window.ledger.unwrap_or_default();
            let (key, ledger) = match (&window.of, from) {
                (Some(window::Of::Edge(id)), from) => {
                    let Some(edge) = u16::try_from(*id).ok().and_then(EdgeId::new) else {
                        continue;
                    };
                    let key = match from {
                        Reporter::Agent(agent) => {
                            if age < NOW && !self.restored.is_empty() {
                                self.told_now.insert(agent);
                            }
                            LinkKey::AgentEdge(agent, edge)
                        }
                        Reporter::Edge(other) => LinkKey::edges(other, edge),
                    };
                    (key, ledger)
                }
                (Some(window::Of::Target(target)), Reporter::Edge(edge)) => {
                    let Some(ledger) = links::counted(target, ledger) else {
                        continue;
                    };
                    (LinkKey::EdgeTarget(edge, target.name.clone()), ledger)
                }
                _ => continue,
            };
            let samples = samples::decode(&window.samples).unwrap_or_default();
            let at = now.mono - age;
            if self.wants_directions {
                self.observe_directions(from, report.boot, &key, window, at, &samples);
            }
            let rtts: Vec<u32> = samples.iter().map(|s| s.rtt_us).collect();
            self.links.observe(
                key,
                &Observation {
                    at,
                    length: Duration::from_millis(window.length_ms.into()),
                    every: Duration::from_millis(window.every_ms.into()),
                    rtt_us: &rtts,
                    sent: ledger.sent,
                    lost_up: ledger.lost_up,
                    lost_down: ledger.lost_down + ledger.lost_unknown + ledger.late,
                    kept_out: ledger.excluded,
                    chains: [&window.chain_up, &window.chain_down].map(|chain| chain_from(chain.as_deref())),
                },
            );
        }
    }

    /// Takes what a link's window shows of each direction.
    fn observe_directions(
        &mut self,
        from: Reporter,
        boot: u64,
        key: &LinkKey,
        window: &proto::Window,
        at: Mono,
        samples: &[Sample],
    ) {
        let edge = match (key, from) {
            (LinkKey::AgentEdge(_, edge), _) => *edge,
            // The prober of a pair is its lower edge: what the other one says is of a time when it was not.
            (LinkKey::EdgeEdge(lower, upper), Reporter::Edge(prober)) if prober == *lower => *upper,
            _ => return,
        };
        let up = samples.iter().filter_map(|s| s.up_us).collect();
        let down = samples.iter().filter_map(Sample::down_us).collect();
        let clocks = links::clocks_of(from, boot, edge, window);
        let length = Duration::from_millis(window.length_ms.into());
        self.links
            .observe_directions(key.clone(), clocks, at, length, [up, down]);
    }

    /// Plans every leg of every live class, and answers what changed.
    pub fn update(
        &mut self,
        classes: &Classes,
        agents: &Agents,
        edges: &Edges,
        clocks: &dyn Clocks,
        now: Now,
    ) -> Vec<Change> {
        self.release(agents, now);
        for edge in edges.iter() {
            let state = match edge.state() {
                // Not back yet, which is no news of it.
                _ if edge.last_seen.is_none() && now.mono < self.settled => EdgeState::Up,
                model::EdgeState::Up => EdgeState::Up,
                model::EdgeState::Draining => EdgeState::Draining,
                model::EdgeState::Down => EdgeState::Down,
            };
            let load = edge.status.cpu.filter(|_| edge.connection.is_some());
            self.links.set_edge(edge.record.id, EdgeHealth { state, load });
        }
        self.links.forget_stale(now.mono);
        let live: Vec<Class> = classes
            .iter()
            .filter(|c| c.state == ClassState::Live)
            .map(|c| class(c, agents))
            .collect();
        self.wants_directions = live.iter().any(|class| class.budget_on == BudgetOn::OneWay);
        let changes = self
            .engine
            .update(now.mono, now.wall, &self.links, clocks, &self.to_plan(&live));
        self.view(&live, clocks, now);
        changes
            .into_iter()
            .map(|change| self.change(change, now))
            .collect()
    }

    /// Lets go of restored plans that may be made anew.
    fn release(&mut self, agents: &Agents, now: Now) {
        if self.restored.is_empty() || now.mono < self.settled {
            return;
        }
        let unheard = now.mono < self.settled_unheard;
        let told = &self.told_now;
        self.restored.retain(|(_, subject)| {
            let agent = agents.by_subject(subject).map(|a| a.record.id);
            unheard && agent.is_some_and(|id| !told.contains(&id))
        });
        if self.restored.is_empty() {
            self.told_now.clear();
        }
    }

    /// The classes as they are to be planned: a restored leg stands as one whose agent is away does.
    fn to_plan<'c>(&self, live: &'c [Class]) -> Cow<'c, [Class]> {
        if self.restored.is_empty() {
            return Cow::Borrowed(live);
        }
        let mut held = live.to_vec();
        for class in &mut held {
            for member in &mut class.members {
                let key = (class.id.clone(), member.subject.clone());
                member.connected &= !self.restored.contains(&key);
            }
        }
        Cow::Owned(held)
    }

    /// Judges every class by the routes that its agents say they use.
    fn view(&mut self, live: &[Class], clocks: &dyn Clocks, now: Now) {
        let snapshot = Snapshot::new(&self.links, now.mono).with_clocks(clocks);
        self.views = live
            .iter()
            .map(|class| {
                let mut legs: Vec<LegNow<'_>> = self.engine.legs_now(class);
                for leg in &mut legs {
                    leg.route = leg.member.in_use.or(leg.route);
                }
                let before = self.views.get(&class.id).and_then(ClassView::worst_one_way);
                let was_judged = before.is_some_and(|one_way| one_way.error.is_some());
                let snapshot = snapshot.judging_for(class);
                let view = ClassView {
                    hub: self.engine.hub(&class.id).map(|h| h.edge),
                    health: Some(class_health(&snapshot, class, &legs, was_judged)),
                };
                (class.id.clone(), view)
            })
            .collect();
    }

    fn change(&mut self, change: PlanChange, now: Now) -> Change {
        let PlanChange {
            class,
            subject,
            agent,
            record,
        } = change;
        let key = (class.clone(), subject.clone());
        let primary = record.as_ref().and_then(|r| r.plan.primary);
        let before = match primary {
            Some(primary) => self.primaries.insert(key, primary),
            None => self.primaries.remove(&key),
        };
        let kept = record.as_ref().map(|record| PlanRecord {
            class: class.clone(),
            subject: subject.clone(),
            version: record.plan.version,
            at: now.wall,
            body: serde_json::to_string(record).unwrap_or_default(),
        });
        Change {
            new_primary: primary.filter(|p| before != Some(*p)),
            plan: record.map(|r| r.plan),
            record: kept,
            class,
            subject,
            agent,
        }
    }

    /// All plans of an agent, as it is told them.
    pub fn plans_of(&self, agent: AgentId, beside: Beside<'_>) -> impl Iterator<Item = proto::Plan> {
        self.engine
            .plans_of(agent)
            .map(move |(class, plan)| message(class, agent, plan, beside))
    }

    /// The legs of a class: their agents and plans.
    pub fn legs_of(&self, class: &str) -> impl Iterator<Item = (AgentId, &Plan)> + '_ {
        self.engine.legs_of(class)
    }

    /// Whether a plan of an agent leads to this target.
    pub fn has_target(&self, agent: AgentId, name: &str) -> bool {
        let mut plans = self.engine.plans_of(agent);
        plans.any(|(_, plan)| matches!(&plan.to, FarEnd::Target(target) if target == name))
    }

    /// Pairs of neighbouring edges in any plan of a live class.
    pub fn busy_pairs(&self, classes: &Classes) -> BTreeSet<(EdgeId, EdgeId)> {
        let live = classes.iter().filter(|c| c.state == ClassState::Live);
        live.flat_map(|c| c.participants.iter().filter_map(|p| self.leg(&c.id, &p.subject)))
            .flat_map(Plan::routes)
            .flat_map(|route| {
                let edges: Vec<_> = route.edges().collect();
                edges
                    .windows(2)
                    .map(|w| (w[0].min(w[1]), w[0].max(w[1])))
                    .collect::<Vec<_>>()
            })
            .collect()
    }
}

impl ClassView {
    /// Median and 95th percentile of the worst teacher–student pair, in ms.
    pub fn worst_pair_ms(&self) -> Option<(f64, f64)> {
        self.health
            .as_ref()?
            .worst
            .as_ref()
            .map(|pair| (pair.p50_ms, pair.p95_ms))
    }

    /// What the worst pair's one-way delay is judged by, if it is.
    pub fn worst_one_way(&self) -> Option<model::OneWay> {
        let one_way = self.health.as_ref()?.worst.as_ref()?.one_way?;
        Some(model::OneWay {
            p50: one_way.p50_ms,
            p95: one_way.p95_ms,
            error: one_way.error_ms,
        })
    }

    pub fn quality(&self) -> model::Quality {
        match self.health.as_ref().map(|h| h.health) {
            Some(Health::Good) => model::Quality::Good,
            Some(Health::AtRisk) => model::Quality::AtRisk,
            Some(Health::Outage) => model::Quality::Outage,
            Some(Health::Unknown) | None => model::Quality::Unknown,
        }
    }
}

/// The route that an agent says it uses in a class.
fn in_use(agent: &Agent, class: &str) -> Option<Route> {
    route_from(agent.legs.get(class)?.in_use.as_ref()?)
}

/// A class as the engine wants it: those who are in it and whose agent is enrolled.
fn class(record: &ClassRecord, agents: &Agents) -> Class {
    let members = record
        .participants
        .iter()
        .filter(|p| p.left.is_none())
        .filter_map(|p| {
            let agent = agents.by_subject(&p.subject)?;
            Some(Member {
                subject: p.subject.clone(),
                role: p.role,
                agent: agent.record.id,
                connected: agents.uplink(agent.record.id).is_some(),
                in_use: in_use(agent, &record.id),
            })
        })
        .collect();
    Class {
        id: record.id.clone(),
        target: record.target.clone(),
        budget: Duration::from_micros(u64::from(record.budget_us)),
        budget_on: record.budget_on,
        members,
    }
}

fn message(class: &str, agent: AgentId, plan: &Plan, beside: Beside<'_>) -> proto::Plan {
    let routes = plan.routes();
    let named: BTreeSet<_> = routes.iter().flat_map(Route::edges).collect();
    // The agent judges round trips: one that is set on one way is judged on both.
    let budget = match plan.budget_on {
        BudgetOn::RoundTrip => plan.budget,
        BudgetOn::OneWay => plan.budget * 2,
    };
    let far_subject = match &plan.to {
        FarEnd::Agent(peer) => beside.agents.get(*peer).map(|a| a.record.subject.clone()),
        FarEnd::Target(_) | FarEnd::Hub(_) => None,
    };
    let protect = beside.classes.get(class).map(|c| c.protect).unwrap_or_default();
    let grant = beside.grants.signed(class, agent, &plan.to);
    proto::Plan {
        class: class.to_owned(),
        version: plan.version,
        far_end: Some(far_end_message(&plan.to)),
        routes: routes.iter().map(|&r| route_message(r)).collect(),
        budget_us: u32::try_from(budget.as_micros()).unwrap_or(u32::MAX),
        budget_one_way: plan.budget_on == BudgetOn::OneWay,
        added_ms: plan.added_ms.clone(),
        reason: serde_json::to_string(&plan.reason).unwrap_or_default(),
        edges: named
            .into_iter()
            .filter_map(|id| Some(beside.edges.get(id)?.info()))
            .collect(),
        grant: grant.map(<[u8]>::to_vec).unwrap_or_default(),
        far_subject: far_subject.unwrap_or_default(),
        protect: word(protect).to_owned(),
    }
}

/// As messages have it.
fn word(protect: Protect) -> &'static str {
    match protect {
        Protect::Off => "off",
        Protect::AtRisk => "at_risk",
        Protect::Always => "always",
    }
}

#[cfg(test)]
mod tests;
