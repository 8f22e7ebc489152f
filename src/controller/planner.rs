//! From reports to plans: feeds the route engine with what is measured, and keeps what was planned.

use std::{
    collections::{BTreeMap, BTreeSet},
    time::Duration,
};

use corridor_probes::{AgentId, EdgeId, Mono, Route, samples};
use serde::{Deserialize, Serialize};

use super::{agents::Agents, classes::Classes, core::Now, edges::Edges, links, settings::Settings};
use crate::{
    api::model,
    proto::{self, far_end, window},
    reporting::route_message,
    route::{
        Cause, FarEnd, Reason,
        defaults::{DWELL, HORIZON, MARGIN, MARGIN_SHARE, MAX_EDGES, STANDBYS},
        estimate::Observation,
        links::{EdgeHealth, EdgeState, LinkKey, LinkMap},
        score::{Expected, Snapshot, Standing},
        search,
    },
    store::records::{ClassRecord, ClassState, PlanRecord, Reporter, Role},
};

/// A leg's plan.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct LegPlan {
    pub version: u64,
    pub far_end: FarEnd,
    /// The primary first, then the standbys.
    pub routes: Vec<Route>,
    pub budget: Duration,
    pub reason: Reason,
}

/// A plan that changed.
#[derive(Debug)]
pub struct Change {
    pub class: String,
    pub subject: String,
    /// The primary, if it is another one than before.
    pub new_primary: Option<Route>,
    pub reason: serde_json::Value,
    pub reason_text: String,
    /// To be kept; `None` when a plan was withdrawn.
    pub record: Option<PlanRecord>,
}

/// What is known of a class as a whole.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub struct ClassView {
    pub hub: Option<EdgeId>,
    /// Round trip of the worst teacher–student pair: median and 95th percentile.
    pub worst_pair_ms: Option<(f64, f64)>,
}

/// See the module's documentation.
#[derive(Debug)]
pub struct Planner {
    links: LinkMap,
    legs: BTreeMap<(String, String), Leg>,
    classes: BTreeMap<String, ClassView>,
    next_version: u64,
}

#[derive(Debug)]
struct Leg {
    plan: LegPlan,
    /// When the primary last changed; `None` for one from before this start.
    since: Option<Mono>,
    agent: Option<AgentId>,
}

impl Planner {
    pub fn restore(_: &Settings, records: Vec<PlanRecord>) -> Self {
        let mut planner = Self {
            links: LinkMap::default(),
            legs: BTreeMap::new(),
            classes: BTreeMap::new(),
            next_version: 1,
        };
        for record in records {
            planner.next_version = planner.next_version.max(record.version + 1);
            match serde_json::from_str::<LegPlan>(&record.body) {
                Ok(plan) => {
                    if let FarEnd::Hub(hub) = plan.far_end {
                        planner.classes.entry(record.class.clone()).or_default().hub = Some(hub);
                    }
                    let leg = Leg {
                        plan,
                        since: None,
                        agent: None,
                    };
                    planner.legs.insert((record.class, record.subject), leg);
                }
                Err(error) => tracing::warn!(class = %record.class, %error, "stored plan not understood"),
            }
        }
        planner
    }

    pub fn leg(&self, class: &str, subject: &str) -> Option<&LegPlan> {
        self.legs
            .get(&(class.to_owned(), subject.to_owned()))
            .map(|leg| &leg.plan)
    }

    pub fn class(&self, id: &str) -> ClassView {
        self.classes.get(id).copied().unwrap_or_default()
    }

    /// Takes the windows of a report into the link estimates.
    pub fn observe(&mut self, from: Reporter, report: &proto::Report, _: &Agents, now: Now) {
        for window in &report.windows {
            let Some(window::Of::Edge(id)) = window.of else {
                continue;
            };
            let Some(edge) = u16::try_from(id).ok().and_then(EdgeId::new) else {
                continue;
            };
            let age = now.wall.since(links::end(window));
            if age > HORIZON {
                continue;
            }
            let key = match from {
                Reporter::Agent(agent) => LinkKey::AgentEdge(agent, edge),
                Reporter::Edge(other) => LinkKey::edges(other, edge),
            };
            let rtts: Vec<u32> = samples::decode(&window.samples)
                .map(|samples| samples.into_iter().map(|s| s.rtt_us).collect())
                .unwrap_or_default();
            let ledger = window.ledger.unwrap_or_default();
            self.links.observe(
                key,
                &Observation {
                    at: now.mono - age,
                    length: Duration::from_millis(u64::from(window.length_ms)),
                    rtt_us: &rtts,
                    sent: ledger.sent,
                    lost_up: ledger.lost_up,
                    lost_down: ledger.lost_down + ledger.lost_unknown + ledger.late,
                    jitter_us: Some(window.jitter_up_us.max(window.jitter_down_us))
                        .filter(|_| !rtts.is_empty()),
                },
            );
        }
    }

    /// What an agent says it holds, after a restart of the controller.
    pub fn held(&mut self, _: AgentId, plans: &[proto::HeldPlan]) {
        // Versions never go back, whatever was lost with a damaged store.
        let newest = plans.iter().map(|p| p.version).max().unwrap_or(0);
        self.next_version = self.next_version.max(newest.saturating_add(1));
    }

    pub fn forget_agent(&mut self, agent: AgentId) {
        self.legs.retain(|_, leg| leg.agent != Some(agent));
    }

    /// Plans every leg of every live class anew, and answers what changed.
    pub fn update(&mut self, classes: &Classes, agents: &Agents, edges: &Edges, now: Now) -> Vec<Change> {
        for edge in edges.iter() {
            let state = match edge.state() {
                model::EdgeState::Up => EdgeState::Up,
                model::EdgeState::Draining => EdgeState::Draining,
                model::EdgeState::Down => EdgeState::Down,
            };
            self.links.set_edge(
                edge.record.id,
                EdgeHealth {
                    state,
                    load: Some(edge.status.cpu),
                },
            );
        }
        self.links.forget_stale(now.mono);
        let live: BTreeMap<&str, &ClassRecord> = classes
            .iter()
            .filter(|c| c.state == ClassState::Live)
            .map(|c| (c.id.as_str(), c))
            .collect();
        let mut changes = self.withdraw(&live);
        for class in live.values() {
            changes.extend(self.plan_class(class, agents, now));
        }
        changes
    }

    /// Takes back the plans of classes that are over and of participants who left.
    fn withdraw(&mut self, live: &BTreeMap<&str, &ClassRecord>) -> Vec<Change> {
        let mut changes = Vec::new();
        self.legs.retain(|(class, subject), leg| {
            let present = live.get(class.as_str()).is_some_and(|c| {
                c.participants
                    .iter()
                    .any(|p| p.subject == *subject && p.left.is_none())
            });
            if !present {
                changes.push(Change {
                    class: class.clone(),
                    subject: subject.clone(),
                    new_primary: None,
                    reason: serde_json::to_value(&leg.plan.reason).unwrap_or_default(),
                    reason_text: String::new(),
                    record: None,
                });
            }
            present
        });
        self.classes.retain(|class, _| live.contains_key(class.as_str()));
        changes
    }

    fn plan_class(&mut self, class: &ClassRecord, agents: &Agents, now: Now) -> Vec<Change> {
        let present: Vec<(&str, Role, AgentId)> = class
            .participants
            .iter()
            .filter(|p| p.left.is_none())
            .filter_map(|p| {
                Some((
                    p.subject.as_str(),
                    p.role,
                    agents.by_subject(&p.subject)?.record.id,
                ))
            })
            .collect();
        let in_class = class.participants.iter().filter(|p| p.left.is_none()).count();
        let budget = Duration::from_micros(u64::from(class.budget_us));
        let two = class.target.is_none() && in_class == 2;
        // A pair's delay is two legs' where they meet in between: each has half.
        let share = if two { budget } else { budget / 2 };
        let hub = match (&class.target, two) {
            (None, false) => {
                let kept = self.class(&class.id).hub;
                self.place_hub(kept, &present, share, now.mono)
            }
            _ => None,
        };
        let mut changes = Vec::new();
        let mut expected = BTreeMap::new();
        for &(subject, _, agent) in &present {
            let far = match (&class.target, hub) {
                (Some(target), _) => FarEnd::Target(target.clone()),
                (None, Some(hub)) => FarEnd::Hub(hub),
                (None, None) => {
                    let Some(&(_, _, peer)) = present.iter().find(|(s, ..)| *s != subject) else {
                        continue;
                    };
                    FarEnd::Agent(peer)
                }
            };
            let (change, expectation) = self.plan_leg(&class.id, subject, agent, far, share, now);
            changes.extend(change);
            if let Some(expectation) = expectation {
                expected.insert(subject, expectation);
            }
        }
        let worst_pair_ms = worst_pair(&present, &expected, two);
        self.classes
            .insert(class.id.clone(), ClassView { hub, worst_pair_ms });
        changes
    }

    /// The edge where the worst teacher–student pair is nearest, then the mean; the present one unless
    /// another gains beyond the margin.
    fn place_hub(
        &self,
        kept: Option<EdgeId>,
        present: &[(&str, Role, AgentId)],
        share: Duration,
        now: Mono,
    ) -> Option<EdgeId> {
        let snapshot = Snapshot::new(&self.links, now);
        let judged = |hub: EdgeId| -> Option<(Duration, Duration)> {
            let leg = |agent: AgentId| {
                let far = FarEnd::Hub(hub);
                let routes = search::routes(&self.links, agent, &far, MAX_EDGES);
                snapshot
                    .rank(agent, &far, &routes, share)
                    .first()
                    .and_then(Expected::median)
            };
            let of = |role: Role| {
                present
                    .iter()
                    .filter(move |(_, r, _)| *r == role)
                    .map(|(_, _, a)| leg(*a))
            };
            let teachers: Vec<_> = of(Role::Teacher).collect::<Option<_>>()?;
            let students: Vec<_> = of(Role::Student).collect::<Option<_>>()?;
            let worst = *teachers.iter().max()? + *students.iter().max()?;
            let sum: Duration = teachers.iter().chain(&students).sum();
            Some((worst, sum))
        };
        let up = |hub: EdgeId| self.links.edge_state(hub) == EdgeState::Up;
        let best = self
            .links
            .live_edges()
            .filter(|&e| up(e))
            .filter_map(|e| judged(e).map(|cost| (cost, e)))
            .min();
        match (kept.filter(|&e| up(e)), best) {
            (Some(kept), Some((cost, best))) => match judged(kept) {
                Some(current) if !gains(current.0, cost.0) => Some(kept),
                _ => Some(best),
            },
            (Some(kept), None) => Some(kept),
            (None, Some((_, best))) => Some(best),
            (None, None) => self.links.live_edges().find(|&e| up(e)),
        }
    }

    fn plan_leg(
        &mut self,
        class: &str,
        subject: &str,
        agent: AgentId,
        far_end: FarEnd,
        budget: Duration,
        now: Now,
    ) -> (Option<Change>, Option<Expected>) {
        let snapshot = Snapshot::new(&self.links, now.mono);
        let routes = search::routes(&self.links, agent, &far_end, MAX_EDGES);
        let ranked = snapshot.rank(agent, &far_end, &routes, budget);
        let key = (class.to_owned(), subject.to_owned());
        let current = self.legs.get(&key).filter(|leg| leg.plan.far_end == far_end);
        let Some(chosen) = choose(current, &ranked, &self.links, budget, now.mono) else {
            return (None, None);
        };
        let (primary, cause) = chosen;
        let expected = ranked.iter().find(|e| e.route == primary).cloned();
        let standbys = standbys(primary, &ranked, current.map(|leg| leg.plan.routes.as_slice()));
        let routes: Vec<_> = std::iter::once(primary).chain(standbys).collect();
        let agent_changed = self
            .legs
            .get(&key)
            .is_some_and(|leg| leg.agent.is_some_and(|a| a != agent));
        let same = current
            .is_some_and(|leg| leg.plan.routes == routes && leg.plan.budget == budget && !agent_changed);
        if same {
            if let Some(leg) = self.legs.get_mut(&key) {
                leg.agent = Some(agent);
            }
            return (None, expected);
        }
        let new_primary = current.is_none_or(|leg| leg.plan.routes.first() != Some(&primary));
        let since = match current {
            Some(leg) if !new_primary => leg.since,
            _ => Some(now.mono),
        };
        let reason = if new_primary {
            let rejected = ranked.iter().find(|e| e.route != primary).map(Expected::figures);
            Reason {
                cause,
                chosen: expected.as_ref().map(Expected::figures),
                rejected,
            }
        } else {
            current.map_or(Reason::new(Cause::Initial), |leg| leg.plan.reason.clone())
        };
        let plan = LegPlan {
            version: self.next_version,
            far_end,
            routes,
            budget,
            reason,
        };
        self.next_version += 1;
        let change = Change {
            class: class.to_owned(),
            subject: subject.to_owned(),
            new_primary: new_primary.then_some(primary),
            reason: serde_json::to_value(&plan.reason).unwrap_or_default(),
            reason_text: plan.reason.to_string(),
            record: Some(PlanRecord {
                class: class.to_owned(),
                subject: subject.to_owned(),
                version: plan.version,
                at: now.wall,
                body: serde_json::to_string(&plan).unwrap_or_default(),
            }),
        };
        self.legs.insert(
            key,
            Leg {
                plan,
                since,
                agent: Some(agent),
            },
        );
        (Some(change), expected)
    }

    /// All plans of an agent, as it is told them.
    pub fn plans_of(&self, agent: AgentId, edges: &Edges) -> proto::Plans {
        let plans: Vec<_> = self
            .legs
            .iter()
            .filter(|(_, leg)| leg.agent == Some(agent))
            .map(|((class, _), leg)| message(class, &leg.plan, edges))
            .collect();
        proto::Plans {
            version: self.next_version,
            plans,
        }
    }

    /// Pairs of neighbouring edges in any plan.
    pub fn busy_pairs(&self) -> BTreeSet<(EdgeId, EdgeId)> {
        self.legs
            .values()
            .flat_map(|leg| leg.plan.routes.iter())
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

/// The primary, and why: the best ranked, unless the present one is as good within the margin, or has
/// stood too short a time.
fn choose(
    current: Option<&Leg>,
    ranked: &[Expected],
    links: &LinkMap,
    budget: Duration,
    now: Mono,
) -> Option<(Route, Cause)> {
    let best = ranked.first()?;
    let Some((leg, kept)) = current.and_then(|leg| Some((leg, *leg.plan.routes.first()?))) else {
        let cause = if best.median().is_some() {
            Cause::Initial
        } else {
            Cause::Unmeasured
        };
        return Some((best.route, cause));
    };
    if best.route == kept {
        return Some((kept, Cause::Initial));
    }
    let gone = kept.edges().find(|&e| links.edge_state(e) == EdgeState::Down);
    let draining = kept.edges().find(|&e| links.edge_state(e) == EdgeState::Draining);
    let Some(known) = ranked.iter().find(|e| e.route == kept) else {
        let cause = match gone {
            Some(edge) => Cause::EdgeDown { edge },
            None => Cause::Unmeasured,
        };
        return Some((best.route, cause));
    };
    let (of_kept, of_best) = (known.standing(budget), best.standing(budget));
    if let Some(edge) = draining
        && !best
            .route
            .edges()
            .any(|e| links.edge_state(e) == EdgeState::Draining)
    {
        return Some((best.route, Cause::EdgeDraining { edge }));
    }
    if of_kept == Standing::Out && of_best < of_kept {
        return Some((best.route, Cause::Outage { from: kept }));
    }
    let ms = |d: Option<Duration>| d.map_or(0.0, |d| d.as_secs_f64() * 1e3);
    if of_kept == Standing::Breach && of_best == Standing::Inside {
        let at_ms = ms(known.p95().or(known.median()));
        return Some((
            best.route,
            Cause::Breach {
                from: kept,
                at_ms,
                budget_ms: ms(Some(budget)),
            },
        ));
    }
    if leg.since.is_some_and(|since| now.since(since) < DWELL) {
        return Some((kept, Cause::Initial));
    }
    match (known.median(), best.median()) {
        (Some(old), Some(new)) if gains(old, new) => Some((
            best.route,
            Cause::BetterBy {
                from: kept,
                gain_ms: ms(Some(old - new)),
            },
        )),
        (None, Some(_)) => Some((best.route, Cause::Unmeasured)),
        _ => Some((kept, Cause::Initial)),
    }
}

/// Whether `new` is better than `old` beyond the margin: max of 20 ms and 10 %.
fn gains(old: Duration, new: Duration) -> bool {
    old.checked_sub(new)
        .is_some_and(|gain| gain > MARGIN.max(old.mul_f64(MARGIN_SHARE)))
}

/// Standbys with entry edges of their own; the first shares no edge with the primary at either end where
/// that exists. Those installed already stay while they are measured, so that they need not be learnt anew.
fn standbys(primary: Route, ranked: &[Expected], installed: Option<&[Route]>) -> Vec<Route> {
    let mut chosen: Vec<Route> = Vec::new();
    let kept: Vec<_> = ranked
        .iter()
        .filter(|e| installed.is_some_and(|r| r.contains(&e.route)) && !e.out)
        .map(|e| e.route)
        .collect();
    let candidates = || {
        kept.iter()
            .copied()
            .chain(ranked.iter().filter(|e| !e.out).map(|e| e.route))
    };
    let apart = |r: &Route| r.entry() != primary.entry() && r.exit() != primary.exit();
    chosen.extend(candidates().find(apart));
    for route in candidates() {
        if chosen.len() >= STANDBYS {
            break;
        }
        let taken = std::iter::once(&primary)
            .chain(&chosen)
            .any(|r| r.entry() == route.entry());
        if !taken {
            chosen.push(route);
        }
    }
    chosen
}

/// The worst teacher–student pair: in a class of two the worse of the two legs, else both legs combined.
fn worst_pair(
    present: &[(&str, Role, AgentId)],
    expected: &BTreeMap<&str, Expected>,
    two: bool,
) -> Option<(f64, f64)> {
    let of = |role: Role| -> Option<Vec<_>> {
        present
            .iter()
            .filter(|(_, r, _)| *r == role)
            .map(|(subject, ..)| expected.get(subject)?.rtt.clone())
            .collect()
    };
    let (teachers, students) = (of(Role::Teacher)?, of(Role::Student)?);
    let ms = |d: Duration| d.as_secs_f64() * 1e3;
    let pairs = teachers.iter().flat_map(|t| students.iter().map(move |s| (t, s)));
    pairs
        .map(|(t, s)| {
            if two {
                let worse = if t.p95() >= s.p95() { t } else { s };
                (ms(worse.median()), ms(worse.p95()))
            } else {
                let both = t.then(s);
                (ms(both.median()), ms(both.p95()))
            }
        })
        .max_by(|a, b| a.1.total_cmp(&b.1))
}

fn message(class: &str, plan: &LegPlan, edges: &Edges) -> proto::Plan {
    let of = match &plan.far_end {
        FarEnd::Agent(id) => far_end::Of::Agent(id.0),
        FarEnd::Target(target) => far_end::Of::Target(target.clone()),
        FarEnd::Hub(edge) => far_end::Of::Hub(u32::from(edge.get())),
    };
    let named: BTreeSet<_> = plan.routes.iter().flat_map(Route::edges).collect();
    proto::Plan {
        class: class.to_owned(),
        version: plan.version,
        far_end: Some(proto::FarEnd { of: Some(of) }),
        routes: plan.routes.iter().map(|&r| route_message(r)).collect(),
        budget_us: u32::try_from(plan.budget.as_micros()).unwrap_or(u32::MAX),
        budget_one_way: false,
        reason: serde_json::to_string(&plan.reason).unwrap_or_default(),
        edges: named
            .into_iter()
            .filter_map(|id| Some(edges.get(id)?.info()))
            .collect(),
    }
}
