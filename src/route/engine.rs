//! The controller's planner: classes, links and what is remembered in; changed plans out.
//!
//! [`Engine::update`] is called every second and on each significant change. It plans everything anew and
//! answers what changed; everything that must survive a restart is in the [`LegRecord`] of each change.

use std::{
    collections::{BTreeMap, BTreeSet},
    time::Duration,
};

use corridor_probes::{AgentId, Mono, Route, Wall};
use serde::{Deserialize, Serialize};

use super::{
    FarEnd, NoDisjoint, Reason,
    budget::Shares,
    classes::{Class, Meeting, Member},
    defaults::{ADDED_DEAD_BAND, ADDED_GRAIN},
    directions::Clocks,
    health::LegNow,
    hub::{self, Hub, Placed},
    links::LinkMap,
    plan::{Leg, PlanChoice, PlanMemory, plan_leg},
    score::{Expected, Judged, Judging, Snapshot},
};
use crate::store::records::{BudgetOn, Role};

/// One leg's plan, as it is given to the agent and shown.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Plan {
    /// Counts up within the leg.
    pub version: u64,
    pub at: Wall,
    pub to: FarEnd,
    /// `None` while there never was a route.
    pub primary: Option<Route>,
    pub standbys: Vec<Route>,
    /// The leg's share of the budget, on what `budget_on` says.
    pub budget: Duration,
    pub budget_on: BudgetOn,
    /// In the order of [`Self::routes`], in ms: what the target takes from the exit and back, which an agent does not
    /// see; between agents, by how much twice the worse direction exceeds the round trip, where that is judged.
    /// Empty if of none.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub added_ms: Vec<u32>,
    /// Why the primary is what it is.
    pub reason: Reason,
    /// Why no standby shares no edge with the primary, if none does.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub no_disjoint: Option<NoDisjoint>,
}

impl Plan {
    /// The primary first, then the standbys.
    pub fn routes(&self) -> Vec<Route> {
        self.primary
            .into_iter()
            .chain(self.standbys.iter().copied())
            .collect()
    }

    fn differs(&self, other: &Self) -> bool {
        let core = |p: &Self| (p.to.clone(), p.routes(), p.budget, p.budget_on, p.no_disjoint);
        core(self) != core(other)
            || self.added_ms != other.added_ms
            || self.reason.cause != other.reason.cause
    }

    /// What is added to the round trips of `route`.
    pub fn added_ms(&self, route: Route) -> u32 {
        let at = self.routes().iter().position(|&r| r == route);
        at.and_then(|at| self.added_ms.get(at)).copied().unwrap_or(0)
    }
}

/// All that is kept of a leg: its plan, and what the next planning needs. Plain data; as JSON it is the
/// body of a stored plan.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct LegRecord {
    pub agent: AgentId,
    pub plan: Plan,
    memory: PlanMemory,
    /// Its class's meeting point and shares when the plan was made.
    hub: Option<Hub>,
    shares: Option<Shares>,
}

/// A plan that is new, or over.
#[derive(Debug, Clone, PartialEq)]
pub struct PlanChange {
    pub class: String,
    pub subject: String,
    pub agent: AgentId,
    /// `None`: the leg is over.
    pub record: Option<LegRecord>,
}

/// The planner with its memory.
#[derive(Debug, Clone, Default)]
pub struct Engine {
    classes: BTreeMap<String, ClassPlans>,
}

#[derive(Debug, Clone, Default)]
struct ClassPlans {
    hub: Option<Hub>,
    shares: Option<Shares>,
    legs: BTreeMap<String, LegState>,
}

#[derive(Debug, Clone)]
struct LegState {
    agent: AgentId,
    memory: PlanMemory,
    plan: Plan,
}

impl Engine {
    /// Takes back what [`PlanChange::record`] held before a restart: the newest of each leg.
    pub fn restore(&mut self, class: &str, subject: &str, record: LegRecord) {
        let plans = self.classes.entry(class.to_owned()).or_default();
        plans.hub = plans
            .hub
            .into_iter()
            .chain(record.hub)
            .max_by_key(|hub| hub.since);
        plans.shares = plans.shares.or(record.shares);
        let leg = LegState {
            agent: record.agent,
            memory: record.memory,
            plan: record.plan,
        };
        plans.legs.insert(subject.to_owned(), leg);
    }

    /// Plans all `classes`, which are all that are live, at `now` on the clock of `links` and `wall` in
    /// the controller's time, with what is known of clocks. Answers what changed, by class and
    /// subject.
    pub fn update(
        &mut self,
        now: Mono,
        wall: Wall,
        links: &LinkMap,
        clocks: &dyn Clocks,
        classes: &[Class],
    ) -> Vec<PlanChange> {
        let snapshot = Snapshot::new(links, now).with_clocks(clocks);
        let live: BTreeSet<&str> = classes.iter().map(|c| c.id.as_str()).collect();
        let mut changes = Vec::new();
        for (id, plans) in &mut self.classes {
            if !live.contains(id.as_str()) {
                changes.extend(plans.drop_legs(id, |_| true));
            }
        }
        self.classes.retain(|id, _| live.contains(id.as_str()));
        for class in classes {
            let plans = self.classes.entry(class.id.clone()).or_default();
            changes.extend(plans.update(&snapshot.judging_for(class), wall, class));
        }
        changes.sort_by(|a, b| (&a.class, &a.subject).cmp(&(&b.class, &b.subject)));
        changes
    }

    /// The plan of a leg.
    pub fn plan(&self, class: &str, subject: &str) -> Option<&Plan> {
        Some(&self.classes.get(class)?.legs.get(subject)?.plan)
    }

    /// The plans of an agent, by class.
    pub fn plans_of(&self, agent: AgentId) -> impl Iterator<Item = (&str, &Plan)> + '_ {
        self.classes.iter().flat_map(move |(id, plans)| {
            plans
                .legs
                .values()
                .filter(move |leg| leg.agent == agent)
                .map(move |leg| (id.as_str(), &leg.plan))
        })
    }

    /// The plans of a class, with their agents, by subject.
    pub fn legs_of(&self, class: &str) -> impl Iterator<Item = (AgentId, &Plan)> + '_ {
        let plans = self.classes.get(class);
        let legs = plans.into_iter().flat_map(|plans| plans.legs.values());
        legs.map(|leg| (leg.agent, &leg.plan))
    }

    /// A class's meeting point.
    pub fn hub(&self, class: &str) -> Option<Hub> {
        self.classes.get(class)?.hub
    }

    /// A class's legs as planned, for [`super::health::class_health`].
    pub fn legs_now<'c>(&self, class: &'c Class) -> Vec<LegNow<'c>> {
        class
            .members
            .iter()
            .filter_map(|member| {
                let plan = self.plan(&class.id, &member.subject)?;
                Some(LegNow {
                    member,
                    to: plan.to.clone(),
                    route: plan.primary,
                })
            })
            .collect()
    }
}

impl ClassPlans {
    fn update(&mut self, snapshot: &Snapshot<'_>, wall: Wall, class: &Class) -> Vec<PlanChange> {
        let hub_gain_ms = self.place(snapshot, wall, class);
        let legs = class.legs(self.hub.map(|h| h.edge));
        let mut changes = self.drop_legs(&class.id, |subject| {
            !class.members.iter().any(|m| m.subject == subject) || class.meeting() == Meeting::Nowhere
        });

        let before = self.legs.clone();
        self.shares = self
            .shares
            .or_else(|| Some(Shares::even(class.round_trip_budget())));
        self.plan_all(snapshot, wall, class, &legs, hub_gain_ms);
        let shares = self.fresh_shares(snapshot, class);
        if self.shares != Some(shares) {
            // Plans do not depend on shares but for what is a breach: once more is enough.
            self.shares = Some(shares);
            self.plan_all(snapshot, wall, class, &legs, hub_gain_ms);
        }

        for (subject, leg) in &mut self.legs {
            let old = before.get(subject).filter(|old| old.agent == leg.agent);
            if old.is_some_and(|old| !old.plan.differs(&leg.plan)) {
                // The same: neither its version nor its time moves.
                leg.plan = old.map_or_else(|| leg.plan.clone(), |old| old.plan.clone());
                continue;
            }
            leg.plan.version = before.get(subject).map_or(0, |old| old.plan.version) + 1;
            changes.push(PlanChange {
                class: class.id.clone(),
                subject: subject.clone(),
                agent: leg.agent,
                record: Some(LegRecord {
                    agent: leg.agent,
                    plan: leg.plan.clone(),
                    memory: leg.memory.clone(),
                    hub: self.hub,
                    shares: self.shares,
                }),
            });
        }
        changes
    }

    /// Places the class, if it needs a place; answers what a move has gained.
    fn place(&mut self, snapshot: &Snapshot<'_>, wall: Wall, class: &Class) -> Option<f64> {
        if class.meeting() != Meeting::Hub {
            self.hub = None;
            return None;
        }
        // Without any edge up, the place it had stays its place.
        let Placed { hub, gain_ms } = hub::place(snapshot, wall, class, self.hub)?;
        self.hub = Some(hub);
        gain_ms
    }

    fn plan_all(
        &mut self,
        snapshot: &Snapshot<'_>,
        wall: Wall,
        class: &Class,
        legs: &[(&Member, FarEnd)],
        hub_gain_ms: Option<f64>,
    ) {
        for (member, to) in legs {
            let known = self
                .legs
                .remove(&member.subject)
                .filter(|leg| leg.agent == member.agent);
            if let Some(leg) = known.clone().filter(|_| !member.connected) {
                self.legs.insert(member.subject.clone(), leg);
                continue;
            }
            let (mut memory, before) = known.map(|leg| (leg.memory, Some(leg.plan))).unwrap_or_default();
            let budget = self.budget(class, member.role);
            let leg = Leg {
                from: member.agent,
                to,
                budget,
                in_use: member.in_use,
                hub_gain_ms,
            };
            let choice = plan_leg(snapshot, wall, &leg, &mut memory);
            let mut plan = plan(class, to, wall, budget, choice);
            let before = before.as_ref();
            if matches!(to, FarEnd::Target(_)) {
                plan.added_ms = added(&plan, before, |route| snapshot.beyond_exit(route, to));
            } else if memory.judges_directions() {
                let snapshot = snapshot.judging(Judging::directions(budget));
                let expect = |route| snapshot.expect(member.agent, &route, to);
                plan.added_ms = added(&plan, before, |route| exceeds(&expect(route)));
            }
            let leg = LegState {
                agent: member.agent,
                memory,
                plan,
            };
            self.legs.insert(member.subject.clone(), leg);
        }
    }

    /// A leg's share, as a round trip.
    fn budget(&self, class: &Class, role: Role) -> Duration {
        let whole = class.round_trip_budget();
        match class.meeting() {
            Meeting::Peers | Meeting::Nowhere => whole,
            Meeting::Target | Meeting::Hub => {
                self.shares.unwrap_or_else(|| Shares::even(whole)).for_role(role)
            }
        }
    }

    /// Shares by the legs as they are planned now.
    fn fresh_shares(&self, snapshot: &Snapshot<'_>, class: &Class) -> Shares {
        let farthest = |role: Role| {
            class
                .members
                .iter()
                .filter(|m| m.role == role)
                .filter_map(|m| {
                    let plan = &self.legs.get(&m.subject)?.plan;
                    let expected = snapshot.expect(m.agent, &plan.primary?, &plan.to);
                    expected.p95().or(expected.median())
                })
                .max()
        };
        Shares::of(
            class.round_trip_budget(),
            farthest(Role::Teacher),
            farthest(Role::Student),
            self.shares,
        )
    }

    fn drop_legs(&mut self, class: &str, over: impl Fn(&str) -> bool) -> Vec<PlanChange> {
        let (dropped, kept) = std::mem::take(&mut self.legs)
            .into_iter()
            .partition(|(subject, _)| over(subject));
        self.legs = kept;
        let dropped: BTreeMap<String, LegState> = dropped;
        dropped
            .into_iter()
            .map(|(subject, leg)| PlanChange {
                class: class.to_owned(),
                subject,
                agent: leg.agent,
                record: None,
            })
            .collect()
    }
}

/// As planned; its version is given when it is known to be new.
fn plan(class: &Class, to: &FarEnd, wall: Wall, budget: Duration, choice: PlanChoice) -> Plan {
    Plan {
        version: 0,
        at: wall,
        to: to.clone(),
        primary: choice.primary,
        standbys: choice.standbys,
        budget: match class.budget_on {
            BudgetOn::RoundTrip => budget,
            BudgetOn::OneWay => budget / 2,
        },
        budget_on: class.budget_on,
        added_ms: Vec::new(),
        reason: choice.reason,
        no_disjoint: choice.no_disjoint,
    }
}

/// See [`Plan::added_ms`]; as `before` has it while it is near enough.
fn added(plan: &Plan, before: Option<&Plan>, exact: impl Fn(Route) -> Option<Duration>) -> Vec<u32> {
    let routes = plan.routes().into_iter();
    let added: Vec<u32> = routes
        .map(|route| {
            let old = before.map_or(0, |before| before.added_ms(route));
            let Some(exact) = exact(route) else {
                // Not measured now.
                return old;
            };
            if Duration::from_millis(old.into()).abs_diff(exact) < ADDED_DEAD_BAND {
                return old;
            }
            let grains = exact.as_micros().div_ceil(ADDED_GRAIN.as_micros());
            u32::try_from(grains * ADDED_GRAIN.as_millis()).unwrap_or(u32::MAX)
        })
        .collect();
    if added.iter().all(|&ms| ms == 0) {
        return Vec::new();
    }
    added
}

/// By how much what is judged is more than the round trip, at the 95th percentile.
fn exceeds(expected: &Expected) -> Option<Duration> {
    match (&expected.judged, &expected.rtt) {
        (Judged::OneWay { rtt, .. }, Some(judged)) => Some(judged.p95().saturating_sub(rtt.p95())),
        _ => None,
    }
}

#[cfg(test)]
mod tests;
