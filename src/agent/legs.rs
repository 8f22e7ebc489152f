//! The plans that the agent holds, and the route that each leg uses.

use std::{collections::BTreeMap, time::Duration};

use corridor_probes::{AgentId, EdgeId, Mono, Route};
use serde_json::{Value, json};

use super::{core::Key, edges::Edges};
use crate::{
    prober::Prober,
    proto::{self, far_end},
    reporting::{About, route_from, route_message},
};

/// A leg, by a number of this process: it outlives changes of its plan.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct LegId(u32);

/// Plans in one message, and routes in one plan: more is no plan of ours.
const MAX_PLANS: usize = 64;
const MAX_ROUTES: usize = 3;

#[derive(Debug)]
struct Leg {
    id: LegId,
    version: u64,
    far: Option<proto::FarEnd>,
    far_agent: Option<AgentId>,
    /// The primary first.
    routes: Vec<Route>,
    edges: BTreeMap<EdgeId, proto::EdgeInfo>,
    budget: Duration,
    in_use: usize,
    switches: u64,
    reason: Value,
    at_risk: bool,
}

/// All legs, by class.
#[derive(Debug, Default)]
pub struct Legs {
    legs: BTreeMap<String, Leg>,
    next_id: u32,
}

/// What new plans changed.
#[derive(Debug, Default)]
pub struct Changed {
    /// Routes that are installed no more.
    pub removed: Vec<(LegId, Route)>,
    /// Classes whose plan cannot be understood; what was held for them stays.
    pub rejected: Vec<String>,
}

/// Something that the live choice did.
#[derive(Debug, PartialEq)]
pub struct Happened {
    pub kind: &'static str,
    pub class: String,
    pub detail: Value,
}

impl Legs {
    pub fn is_empty(&self) -> bool {
        self.legs.is_empty()
    }

    /// Takes the controller's plans: all of them, each time.
    pub fn set_plans(&mut self, plans: &proto::Plans, now: Mono) -> Changed {
        let mut changed = Changed::default();
        let named: Vec<_> = plans
            .plans
            .iter()
            .take(MAX_PLANS)
            .map(|p| p.class.as_str())
            .collect();
        let over: Vec<_> = self
            .legs
            .keys()
            .filter(|class| !named.contains(&class.as_str()))
            .cloned()
            .collect();
        for class in over {
            if let Some(leg) = self.legs.remove(&class) {
                changed.removed.extend(leg.routes.iter().map(|&r| (leg.id, r)));
            }
        }
        for plan in plans.plans.iter().take(MAX_PLANS) {
            match understood(plan) {
                Some(new) => self.install(plan, new, now, &mut changed),
                None => changed.rejected.push(plan.class.clone()),
            }
        }
        changed
    }

    fn install(&mut self, plan: &proto::Plan, new: Understood, now: Mono, changed: &mut Changed) {
        let _ = now;
        let same_end = self
            .legs
            .get(&plan.class)
            .is_some_and(|leg| leg.far == plan.far_end);
        if !same_end {
            // Another far end is another leg: nothing measured for the old one holds.
            if let Some(old) = self.legs.remove(&plan.class) {
                changed.removed.extend(old.routes.iter().map(|&r| (old.id, r)));
            }
            let id = LegId(self.next_id);
            self.next_id += 1;
            self.legs.insert(
                plan.class.clone(),
                Leg {
                    id,
                    version: plan.version,
                    far: plan.far_end.clone(),
                    far_agent: new.far_agent,
                    routes: new.routes,
                    edges: new.edges,
                    budget: Duration::from_micros(u64::from(plan.budget_us)),
                    in_use: 0,
                    switches: 0,
                    reason: Value::Null,
                    at_risk: false,
                },
            );
            return;
        }
        if let Some(leg) = self.legs.get_mut(&plan.class) {
            let gone = leg.routes.iter().filter(|r| !new.routes.contains(r));
            changed.removed.extend(gone.map(|&r| (leg.id, r)));
            leg.version = plan.version;
            leg.routes = new.routes;
            leg.edges = new.edges;
            leg.budget = Duration::from_micros(u64::from(plan.budget_us));
            leg.in_use = 0;
        }
    }

    /// Every installed route.
    pub fn routes(&self) -> impl Iterator<Item = (LegId, Route)> + '_ {
        self.legs
            .values()
            .flat_map(|leg| leg.routes.iter().map(|&r| (leg.id, r)))
    }

    /// The entry edges of all routes: connections to them must stand.
    pub fn entries(&self) -> BTreeMap<EdgeId, proto::EdgeInfo> {
        self.legs
            .values()
            .flat_map(|leg| {
                leg.routes
                    .iter()
                    .filter_map(|r| Some((r.entry()?, leg.edges.get(&r.entry()?)?.clone())))
            })
            .collect()
    }

    pub fn far_agent(&self, id: LegId) -> Option<AgentId> {
        self.legs.values().find(|leg| leg.id == id)?.far_agent
    }

    /// What a route of a leg is called in reports.
    pub fn about(&self, id: LegId, route: Route) -> Option<About> {
        let (class, leg) = self.legs.iter().find(|(_, leg)| leg.id == id)?;
        Some(About::Route {
            class: class.clone(),
            route,
            far: leg.far_agent,
        })
    }

    /// A round trip of a route was measured.
    pub fn sample(&mut self, id: LegId, route: Route, at: Mono, rtt: Duration) {
        let _ = (id, route, at, rtt);
    }

    /// One step of the live choice of every leg.
    pub fn step(&mut self, now: Mono, edges: &Edges, prober: &Prober<Key>) -> Vec<Happened> {
        let _ = (now, edges, prober, json!({}));
        Vec::new()
    }

    pub fn at_risk(&self) -> bool {
        self.legs.values().any(|leg| leg.at_risk)
    }

    /// For reports.
    pub fn states(&self) -> Vec<proto::LegState> {
        self.legs
            .iter()
            .map(|(class, leg)| proto::LegState {
                class: class.clone(),
                plan: leg.version,
                in_use: leg.routes.get(leg.in_use).map(|&r| route_message(r)),
                switches: leg.switches,
                reason: leg.reason.to_string(),
                at_risk: leg.at_risk,
            })
            .collect()
    }

    /// For a controller that may have restarted.
    pub fn held(&self) -> Vec<proto::HeldPlan> {
        self.legs
            .iter()
            .map(|(class, leg)| proto::HeldPlan {
                class: class.clone(),
                version: leg.version,
                in_use: u32::try_from(leg.in_use).unwrap_or(u32::MAX),
            })
            .collect()
    }
}

struct Understood {
    far_agent: Option<AgentId>,
    routes: Vec<Route>,
    edges: BTreeMap<EdgeId, proto::EdgeInfo>,
}

/// A plan whose routes and far end make sense; direct routes are left out, since nothing probes them.
fn understood(plan: &proto::Plan) -> Option<Understood> {
    let far_agent = match plan.far_end.as_ref()?.of.as_ref()? {
        far_end::Of::Agent(id) => Some(AgentId(*id)),
        far_end::Of::Target(_) | far_end::Of::Hub(_) => None,
    };
    let routes: Option<Vec<_>> = plan.routes.iter().take(MAX_ROUTES).map(route_from).collect();
    let mut routes = routes?;
    routes.retain(|r| !r.is_direct());
    let edges = plan
        .edges
        .iter()
        .filter_map(|info| Some((EdgeId::new(u16::try_from(info.id).ok()?)?, info.clone())))
        .collect();
    Some(Understood {
        far_agent,
        routes,
        edges,
    })
}
