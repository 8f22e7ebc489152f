//! The plans that the agent holds, and the route that each leg uses.

use std::{
    collections::{BTreeMap, BTreeSet},
    time::Duration,
};

use corridor_probes::{AgentId, EdgeId, Mono, Route, Wall};
use serde_json::{Value, json};

use super::{
    core::Key,
    edges::{Edge, Edges},
    outcomes::Outcomes,
};
use crate::{
    media::origin,
    prober::{GRID, Prober},
    proto::{self, far_end},
    reporting::{About, route_from, route_message},
    route::{
        Fates,
        defaults::SILENT_STEPS,
        live::{AccessOutage, LiveChoice, LiveEvent, LivePlan, RouteEvidence, Switch},
    },
    store::records::Protect,
};

/// A leg, by a number of this process: it outlives changes of its plan.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct LegId(u32);

/// Plans in one message, and routes in one plan: more is no plan of ours.
const MAX_PLANS: usize = 64;
const MAX_ROUTES: usize = 3;

/// An answer on a link is overdue when it is later than usual by two steps of the grid.
const OVERDUE: Duration = Duration::from_millis(200);

#[derive(Debug)]
struct Leg {
    id: LegId,
    far: Option<proto::FarEnd>,
    far_agent: Option<AgentId>,
    far_subject: String,
    /// What edges carry its media for; empty if nothing is granted.
    grant: Vec<u8>,
    /// As the grant says.
    rate_kbps: u32,
    protect: Protect,
    /// The primary first.
    routes: Vec<Installed>,
    edges: BTreeMap<EdgeId, proto::EdgeInfo>,
    live: LiveChoice,
    /// Why the last switch was made, as JSON.
    reason: Value,
    at_risk: bool,
    /// The route whose figures the last report had.
    told: Option<Route>,
}

/// A route that is probed all the time.
#[derive(Debug)]
struct Installed {
    route: Route,
    outcomes: Outcomes,
    /// Since the last step.
    media: Fates,
}

/// All legs, by class.
#[derive(Debug, Default)]
pub struct Legs {
    legs: BTreeMap<String, Leg>,
    next_id: u32,
    /// Counts up when something changes that media goes by.
    revision: u64,
}

/// What new plans or a step changed.
#[derive(Debug, Default)]
pub struct Changed {
    /// Routes that are installed no more.
    pub removed: Vec<(LegId, Route)>,
    /// Classes whose plan cannot be understood; what was held for them stays.
    pub rejected: Vec<String>,
    pub happened: Vec<Happened>,
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
        self.revision += 1;
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
                changed.remove(&leg);
            }
        }
        for plan in plans.plans.iter().take(MAX_PLANS) {
            match understood(plan) {
                Some(new) => {
                    let happened = self.install(plan, new, now, &mut changed);
                    changed.happened.extend(happened);
                }
                None => changed.rejected.push(plan.class.clone()),
            }
        }
        changed
    }

    fn install(
        &mut self,
        plan: &proto::Plan,
        new: Understood,
        now: Mono,
        changed: &mut Changed,
    ) -> Vec<Happened> {
        if self
            .legs
            .get(&plan.class)
            .is_some_and(|leg| leg.far != plan.far_end)
            && let Some(old) = self.legs.remove(&plan.class)
        {
            // Another far end is another leg: nothing measured for the old one holds.
            changed.remove(&old);
        }
        let next_id = &mut self.next_id;
        let leg = self.legs.entry(plan.class.clone()).or_insert_with(|| {
            *next_id += 1;
            Leg {
                id: LegId(*next_id),
                far: plan.far_end.clone(),
                far_agent: new.far_agent,
                far_subject: String::new(),
                grant: Vec::new(),
                rate_kbps: 0,
                protect: Protect::Off,
                routes: Vec::new(),
                edges: BTreeMap::new(),
                live: LiveChoice::new(GRID),
                reason: Value::Null,
                at_risk: false,
                told: None,
            }
        });
        let live = LivePlan {
            version: plan.version,
            routes: new.routes,
            budget: Duration::from_micros(u64::from(plan.budget_us)),
            one_way: plan.budget_one_way,
            added: new.added,
            anchored: new.anchored,
        };
        let events = leg.live.set_plan(now, &live);
        let infos = std::mem::replace(&mut leg.edges, new.edges);
        for entry in leg.live.routes().filter_map(|route| route.entry()) {
            if let Some(info) = infos.get(&entry) {
                leg.edges.entry(entry).or_insert_with(|| info.clone());
            }
        }
        let mut old = std::mem::take(&mut leg.routes);
        leg.routes = leg
            .live
            .routes()
            .map(|route| match old.iter().position(|o| o.route == route) {
                Some(known) => old.swap_remove(known),
                None => Installed {
                    route,
                    outcomes: Outcomes::default(),
                    media: Fates::default(),
                },
            })
            .collect();
        changed.removed.extend(old.iter().map(|o| (leg.id, o.route)));
        leg.far_subject.clone_from(&plan.far_subject);
        leg.grant = plan.grant.to_vec();
        leg.rate_kbps = rate_kbps(&leg.grant).unwrap_or(0);
        leg.protect = protect(&plan.protect);
        events
            .into_iter()
            .map(|event| leg.happened(&plan.class, event))
            .collect()
    }

    /// Every installed route.
    pub fn routes(&self) -> impl Iterator<Item = (LegId, Route)> + '_ {
        self.legs
            .values()
            .flat_map(|leg| leg.routes.iter().map(|r| (leg.id, r.route)))
    }

    /// The entry edges of all routes: connections to them must stand.
    pub fn entries(&self) -> BTreeMap<EdgeId, proto::EdgeInfo> {
        self.legs
            .values()
            .flat_map(|leg| {
                leg.routes
                    .iter()
                    .filter_map(|r| Some((r.route.entry()?, leg.edges.get(&r.route.entry()?)?.clone())))
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

    /// A probe of a route goes out.
    pub fn sent(&mut self, id: LegId, route: Route, seq: u32, now: Mono) {
        if let Some((_, installed, _)) = self.installed(id, route) {
            installed.outcomes.sent(seq, now);
        }
    }

    /// The echo of a probe came at `at`, in time and measured.
    pub fn sample(&mut self, id: LegId, route: Route, seq: u32, at: Mono, rtt: Duration) {
        if let Some((index, installed, live)) = self.installed(id, route) {
            installed.outcomes.echoed(seq);
            live.on_sample(index, at, rtt);
        }
    }

    /// The echo of a probe came in time, but when is not known.
    pub fn echoed(&mut self, id: LegId, route: Route, seq: u32) {
        if let Some((_, installed, _)) = self.installed(id, route) {
            installed.outcomes.echoed(seq);
        }
    }

    /// What became of media's packets by a route of a class.
    pub fn media(&mut self, class: &str, route: Route, fates: Fates) {
        let leg = self.legs.get_mut(class);
        let installed = leg.and_then(|leg| leg.routes.iter_mut().find(|r| r.route == route));
        if let Some(installed) = installed {
            installed.media = installed.media.and(fates);
        }
    }

    fn installed(&mut self, id: LegId, route: Route) -> Option<(usize, &mut Installed, &mut LiveChoice)> {
        let leg = self.legs.values_mut().find(|leg| leg.id == id)?;
        let index = leg.routes.iter().position(|r| r.route == route)?;
        Some((index, leg.routes.get_mut(index)?, &mut leg.live))
    }

    /// One step of the live choice of every leg; there is one `every` so often.
    pub fn step(&mut self, now: Mono, every: Duration, edges: &Edges, prober: &Prober<Key>) -> Changed {
        let mut changed = Changed::default();
        for (class, leg) in &mut self.legs {
            let id = leg.id;
            let evidence: Vec<_> = leg
                .routes
                .iter_mut()
                .map(|installed| evidence(installed, id, now, every, edges, prober))
                .collect();
            let before = (leg.live.in_use(), leg.at_risk);
            for event in leg.live.on_tick(now, &evidence) {
                changed.happened.push(leg.happened(class, event));
            }
            let left = leg.live.routes().count();
            if left < leg.routes.len() {
                let left = leg.routes.drain(left..);
                changed
                    .removed
                    .extend(left.map(|installed| (id, installed.route)));
                self.revision += 1;
            }
            leg.at_risk = leg.live.at_risk(now);
            if before != (leg.live.in_use(), leg.at_risk) {
                self.revision += 1;
            }
        }
        changed
    }

    /// The class that this agent has with another.
    pub fn class_with(&self, agent: AgentId) -> Option<String> {
        let mut legs = self.legs.iter();
        let (class, _) = legs.find(|(_, leg)| leg.far_agent == Some(agent))?;
        Some(class.clone())
    }

    /// Another number says that [`Self::for_media`] may have changed.
    pub const fn revision(&self) -> u64 {
        self.revision
    }

    /// The legs whose media edges carry.
    pub fn for_media(&self) -> Vec<origin::Leg> {
        let legs = self.legs.iter().filter(|(_, leg)| !leg.grant.is_empty());
        legs.filter_map(|(class, leg)| {
            Some(origin::Leg {
                class: class.clone(),
                far: match leg.far.as_ref()?.of.as_ref()? {
                    far_end::Of::Agent(id) => origin::Far::Agent {
                        id: AgentId(*id),
                        subject: leg.far_subject.clone(),
                    },
                    far_end::Of::Target(target) => origin::Far::Target(target.clone()),
                    far_end::Of::Hub(_) => return None,
                },
                routes: leg.routes.iter().map(|installed| installed.route).collect(),
                in_use: leg.live.in_use()?,
                leaving: leg.live.leaving(),
                grant: leg.grant.clone(),
                rate_kbps: leg.rate_kbps,
                protect: leg.protect,
                at_risk: leg.at_risk,
            })
        })
        .collect()
    }

    pub fn legs_at_risk(&self) -> BTreeSet<LegId> {
        let at_risk = self.legs.values().filter(|leg| leg.at_risk);
        at_risk.map(|leg| leg.id).collect()
    }

    /// Whether another agent probes this one: it is the far end of a leg, and this is its.
    pub fn has_peer(&self) -> bool {
        self.legs.values().any(|leg| leg.far_agent.is_some())
    }

    /// Every leg: its class, whether it is at risk, and the edge that its route in use enters by.
    pub fn ways(&self) -> impl Iterator<Item = (&str, bool, Option<EdgeId>)> {
        self.legs.iter().map(|(class, leg)| {
            let entry = leg.live.in_use().and_then(|route| route.entry());
            (class.as_str(), leg.at_risk, entry)
        })
    }

    /// The targets of classes, `host:port`.
    pub fn targets(&self) -> impl Iterator<Item = &str> {
        self.legs
            .values()
            .filter_map(|leg| match leg.far.as_ref()?.of.as_ref()? {
                far_end::Of::Target(target) => Some(target.as_str()),
                far_end::Of::Agent(_) | far_end::Of::Hub(_) => None,
            })
    }

    pub fn at_risk(&self) -> bool {
        self.legs.values().any(|leg| leg.at_risk)
    }

    /// Whether the route in use of a leg has figures, and no report had any of it: what was taken without
    /// having been probed before is not known to anybody else until then.
    pub fn has_news(&self) -> bool {
        self.legs
            .values()
            .any(|leg| leg.told != leg.live.in_use() && leg.live.recent().is_some())
    }

    /// A report has the states.
    pub fn told(&mut self) {
        for leg in self.legs.values_mut() {
            leg.told = leg.live.in_use().filter(|_| leg.live.recent().is_some());
        }
    }

    /// For reports. `to_wall` turns this machine's monotonic time into the controller's.
    pub fn states(&self, to_wall: impl Fn(Mono) -> Wall) -> Vec<proto::LegState> {
        let us = |d: Duration| u32::try_from(d.as_micros()).unwrap_or(u32::MAX);
        self.legs
            .iter()
            .map(|(class, leg)| {
                let recent = leg.live.recent();
                let since = leg.live.in_use_since();
                proto::LegState {
                    class: class.clone(),
                    plan: leg.live.plan_version(),
                    in_use: leg.live.in_use().map(route_message),
                    switches: leg.live.switches(),
                    reason: leg.reason.to_string(),
                    at_risk: leg.at_risk,
                    rtt_p50_us: recent.map_or(0, |r| us(r.p50)),
                    rtt_p95_us: recent.map_or(0, |r| us(r.p95)),
                    since_us: since.map_or(0, |at| to_wall(at).as_micros()),
                }
            })
            .collect()
    }

    /// For a controller that may have restarted.
    pub fn held(&self) -> Vec<proto::HeldPlan> {
        self.legs
            .iter()
            .map(|(class, leg)| proto::HeldPlan {
                class: class.clone(),
                version: leg.live.plan_version(),
                in_use: leg
                    .live
                    .in_use_index()
                    .and_then(|i| u32::try_from(i).ok())
                    .unwrap_or(0),
            })
            .collect()
    }
}

impl Changed {
    fn remove(&mut self, leg: &Leg) {
        self.removed.extend(leg.routes.iter().map(|r| (leg.id, r.route)));
    }
}

impl Leg {
    fn happened(&mut self, class: &str, event: LiveEvent) -> Happened {
        let (kind, detail) = match event {
            LiveEvent::Switch(Switch { from, to, reason }) => {
                self.reason = json!(reason);
                let mut text = reason.to_string();
                let of = self.far.as_ref().and_then(|far| far.of.as_ref());
                let exit_changed = matches!(of, Some(far_end::Of::Target(_))) && from.exit() != to.exit();
                if exit_changed {
                    // Whatever goes by the address of who speaks begins anew there.
                    text.push_str("; the target sees its media from another address");
                }
                let mut detail = json!({ "from": from, "to": to, "reason": reason, "text": text });
                if exit_changed {
                    detail["exit_changed"] = true.into();
                }
                ("switch", detail)
            }
            LiveEvent::AccessOutage(AccessOutage::Began) => (
                "access_outage",
                json!({ "text": "no edge is heard: this machine's own line" }),
            ),
            LiveEvent::AccessOutage(AccessOutage::Ended { after }) => {
                let seconds = after.as_secs_f64();
                let text = format!("its own line carries again after {seconds:.1} s");
                ("access_back", json!({ "seconds": seconds, "text": text }))
            }
        };
        Happened {
            kind,
            class: class.to_owned(),
            detail,
        }
    }
}

/// What a signed grant allows, whoever signed it: edges judge that.
fn rate_kbps(signed: &[u8]) -> Option<u32> {
    let signed: proto::SignedGrant = proto::decode(signed).ok()?;
    let grant: proto::Grant = proto::decode(&signed.grant).ok()?;
    Some(grant.rate_kbps)
}

/// As plans say it; what a newer controller says otherwise is the default.
fn protect(text: &str) -> Protect {
    match text {
        "at_risk" => Protect::AtRisk,
        "always" => Protect::Always,
        _ => Protect::Off,
    }
}

/// What was seen of a route since the last step.
fn evidence(
    installed: &mut Installed,
    leg: LegId,
    now: Mono,
    every: Duration,
    edges: &Edges,
    prober: &Prober<Key>,
) -> RouteEvidence {
    let route = installed.route;
    let session = prober.session(Key::Route(leg, route));
    let entry = route.entry().and_then(|entry| edges.get(entry));
    let usual = session.and_then(|s| s.usual_rtt());
    let (echoed, missed) = installed.outcomes.take(now, usual);
    let hops = route.edges().zip(route.edges().skip(1));
    RouteEvidence {
        silent_steps: session.map_or(0, |s| s.silent_steps(now)),
        entry_heard_recently: entry
            .and_then(|e| e.heard)
            .is_some_and(|at| now.since(at) <= every * SILENT_STEPS),
        entry_overdue: is_overdue(route, now, entry, prober),
        connected: entry.is_some_and(|e| e.connection.is_some()),
        entry_silent: entry.is_some_and(|e| e.unheard),
        // Only the entry edge speaks to this agent; it tells of its own next hop.
        next_hop_silent: hops
            .take(1)
            .any(|(from, next)| edges.get(from).is_some_and(|e| e.silent_hops.contains_key(&next))),
        named_silent: route
            .edges()
            .skip(1)
            .filter_map(|hop| edges.named_silent(hop, route.entry(), now))
            .max(),
        echoed,
        missed,
        media: std::mem::take(&mut installed.media),
    }
}

/// Whether the route's entry edge owes an answer on its own link, by more than jitter would explain.
fn is_overdue(route: Route, now: Mono, entry: Option<&Edge>, prober: &Prober<Key>) -> bool {
    let link = route.entry().and_then(|id| prober.session(Key::Link(id)));
    entry.is_none_or(|e| e.connection.is_none())
        || link.is_none_or(|link| link.silent_steps(now - OVERDUE) > 0)
}

struct Understood {
    far_agent: Option<AgentId>,
    routes: Vec<Route>,
    /// See [`LivePlan::anchored`].
    anchored: bool,
    /// Of each route, see [`LivePlan::added`].
    added: Vec<Duration>,
    edges: BTreeMap<EdgeId, proto::EdgeInfo>,
}

/// A plan whose routes and far end make sense; direct routes are left out, since nothing probes them.
fn understood(plan: &proto::Plan) -> Option<Understood> {
    let of = plan.far_end.as_ref()?.of.as_ref()?;
    let far_agent = match of {
        far_end::Of::Agent(id) => Some(AgentId(*id)),
        far_end::Of::Target(_) | far_end::Of::Hub(_) => None,
    };
    let added = |i| Duration::from_millis(plan.added_ms.get(i).copied().unwrap_or(0).into());
    let (mut routes, mut of_routes) = (Vec::new(), Vec::new());
    for (i, route) in plan.routes.iter().take(MAX_ROUTES).enumerate() {
        let route = route_from(route)?;
        if !route.is_direct() {
            routes.push(route);
            of_routes.push(added(i));
        }
    }
    let edges = plan
        .edges
        .iter()
        .filter_map(|info| Some((EdgeId::new(u16::try_from(info.id).ok()?)?, info.clone())))
        .collect();
    Some(Understood {
        far_agent,
        anchored: matches!(of, far_end::Of::Target(_)),
        routes,
        added: of_routes,
        edges,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn plans(routes: &[u32]) -> proto::Plans {
        let plan = proto::Plan {
            class: "c1".into(),
            version: 1,
            far_end: Some(proto::FarEnd {
                of: Some(far_end::Of::Hub(routes[0])),
            }),
            routes: routes
                .iter()
                .map(|&edge| proto::Route { edges: vec![edge] })
                .collect(),
            budget_us: 200_000,
            ..proto::Plan::default()
        };
        proto::Plans {
            version: 1,
            plans: vec![plan],
        }
    }

    #[test]
    fn a_move_to_another_exit_says_that_the_target_sees_another_address() {
        let mut legs = Legs::default();
        let mut told = plans(&[1, 2]);
        told.plans[0].far_end = Some(proto::FarEnd {
            of: Some(far_end::Of::Target("sfu:1".into())),
        });
        legs.set_plans(&told, Mono::ZERO);
        let (id, second) = legs.routes().nth(1).unwrap();
        for i in 1..=8 {
            let at = Mono::from_millis(i * 100);
            legs.sample(id, second, 0, at, Duration::from_millis(80));
        }
        told.plans[0].version = 2;
        told.plans[0].routes.reverse();
        told.plans[0].routes.pop();
        let happened = legs.set_plans(&told, Mono::ZERO).happened;
        let text = happened[0].detail["text"].as_str().unwrap();
        assert!(
            text.ends_with("; the target sees its media from another address"),
            "{text}"
        );
        assert_eq!(happened[0].detail["exit_changed"], true);
    }

    #[test]
    fn a_route_that_a_plan_leaves_out_is_kept_with_its_entry_while_it_is_used() {
        let mut legs = Legs::default();
        let mut told = plans(&[1]);
        let info = |id| proto::EdgeInfo {
            id,
            ..proto::EdgeInfo::default()
        };
        told.plans[0].far_end = Some(proto::FarEnd {
            of: Some(far_end::Of::Target("sfu:1".into())),
        });
        told.plans[0].edges = vec![info(1)];
        legs.set_plans(&told, Mono::ZERO);
        let edge = |id| EdgeId::new(id).unwrap();
        let entries = |legs: &Legs| legs.entries().into_keys().collect::<Vec<_>>();
        told.plans[0].version = 2;
        told.plans[0].routes = vec![proto::Route { edges: vec![2] }];
        told.plans[0].edges = vec![info(2)];
        let changed = legs.set_plans(&told, Mono::from_millis(500));
        assert_eq!((changed.removed.len(), changed.happened.len()), (0, 0));
        assert_eq!(entries(&legs), [edge(1), edge(2)]);

        let mut core_edges = Edges::default();
        core_edges.want(&legs.entries());
        for id in [1, 2] {
            core_edges.connected(edge(id), 1, Mono::ZERO);
        }
        let prober = Prober::new(Mono::ZERO, 1, corridor_probes::SessionConfig::default());
        let step = |legs: &mut Legs, ms| legs.step(Mono::from_millis(ms), GRID, &core_edges, &prober);
        assert_eq!(step(&mut legs, 2_499).removed, []);
        let changed = step(&mut legs, 2_500);
        let routes = |changed: &Changed| changed.removed.iter().map(|r| r.1).collect::<Vec<_>>();
        assert_eq!(routes(&changed), [Route::new(&[edge(1)]).unwrap()]);
        assert_eq!((changed.happened.len(), entries(&legs)), (1, vec![edge(2)]));
    }

    #[test]
    fn the_first_figures_of_a_route_that_was_taken_unprobed_are_news() {
        let mut legs = Legs::default();
        legs.set_plans(&plans(&[1]), Mono::ZERO);
        let (id, route) = legs.routes().next().unwrap();
        legs.told();
        for i in 1..=8 {
            assert!(!legs.has_news(), "after {i} samples");
            let at = Mono::from_millis(i * 100);
            legs.sample(id, route, 0, at, Duration::from_millis(80));
        }
        assert!(legs.has_news());
        let wall = |at: Mono| Wall::from_micros(1_000_000 + at.as_micros());
        let state = legs.states(wall).pop().unwrap();
        assert_eq!(
            (state.rtt_p50_us, state.rtt_p95_us, state.since_us),
            (80_000, 80_000, 1_000_000)
        );
        legs.told();
        assert!(!legs.has_news());
    }
}
