//! The standbys of a plan.

use std::time::Duration;

use corridor_probes::{Route, Wall};

use super::{Current, Leg};
use crate::route::{
    FarEnd, NoDisjoint,
    defaults::{DWELL, STANDBY_FINALISTS, STANDBYS},
    margin::gain,
    score::{Expected, Snapshot},
};

pub(super) struct Standbys {
    pub(super) routes: Vec<Route>,
    pub(super) no_disjoint: Option<NoDisjoint>,
}

impl Standbys {
    /// The best standbys of `usable` for the plan's primary, or those that it has, if they will do.
    pub(super) fn choose(
        snapshot: &Snapshot<'_>,
        now: Wall,
        leg: &Leg<'_>,
        usable: &[Route],
        plan: &Current,
    ) -> Self {
        let fresh = best(snapshot, leg, usable, plan.primary);
        let routes = if keeps(snapshot, now, leg, usable, plan, &fresh) {
            plan.standbys.clone()
        } else {
            fresh.iter().map(|x| x.route).collect()
        };
        let disjoint = routes.iter().any(|r| is_disjoint(r, &plan.primary));
        Self {
            no_disjoint: (!disjoint).then(|| why_none(snapshot, leg)),
            routes,
        }
    }
}

/// 1. The one in use.
/// 2. To a target, the best route that shares the exit with the primary, and no other edge.
/// 3. The best route that shares no edge with the primary: to a target by whatever entry, for it is for the death of
///    the exit.
/// 4. The best ones with entry edges of their own.
fn best(snapshot: &Snapshot<'_>, leg: &Leg<'_>, usable: &[Route], primary: Route) -> Vec<Expected> {
    let best_of = |filter: &dyn Fn(&Route) -> bool| {
        let routes: Vec<Route> = usable.iter().filter(|r| filter(r)).copied().collect();
        snapshot
            .rank(leg.from, leg.to, &routes, leg.budget, STANDBY_FINALISTS)
            .into_iter()
            .next()
    };
    let in_use = leg
        .in_use
        .filter(|r| usable.contains(r) && r.entry() != primary.entry());
    let mut chosen: Vec<Expected> = in_use
        .map(|r| snapshot.expect(leg.from, &r, leg.to))
        .into_iter()
        .collect();
    let enters_elsewhere = |r: &Route, chosen: &[Expected]| {
        r.entry() != primary.entry() && chosen.iter().all(|c| c.route.entry() != r.entry())
    };
    let anchored = matches!(leg.to, FarEnd::Target(_));
    let keeps_exit = |r: Route| r.exit() == primary.exit();
    if anchored && !in_use.is_some_and(keeps_exit) {
        chosen.extend(best_of(&|r| shares_exit_alone(r, &primary)));
    }
    if chosen.len() < STANDBYS && !in_use.is_some_and(|r| is_disjoint(&r, &primary)) {
        chosen.extend(best_of(&|r| {
            is_disjoint(r, &primary) && (anchored || enters_elsewhere(r, &chosen))
        }));
    }
    while chosen.len() < STANDBYS {
        let next = best_of(&|r| enters_elsewhere(r, &chosen));
        let Some(next) = next else { break };
        chosen.push(next);
    }
    chosen.sort_by_key(|x| x.cost(leg.budget));
    chosen
}

/// Whether the plan's standbys stay: they still work for its primary, do as much as fresh ones would, and
/// those are not better beyond the margin, or the dwell time is not over.
fn keeps(
    snapshot: &Snapshot<'_>,
    now: Wall,
    leg: &Leg<'_>,
    usable: &[Route],
    plan: &Current,
    fresh: &[Expected],
) -> bool {
    let held = &plan.standbys;
    let anchored = matches!(leg.to, FarEnd::Target(_));
    let works = held.iter().all(|r| usable.contains(r))
        && held.len() == fresh.len()
        && (anchored || distinct_entries(held, &plan.primary))
        && fresh
            .iter()
            .all(|x| Some(x.route) != leg.in_use || held.contains(&x.route));
    let loses = |kind: fn(&Route, &Route) -> bool| {
        let has = |r: &Route| kind(r, &plan.primary);
        fresh.iter().any(|x| has(&x.route)) && !held.iter().any(has)
    };
    if !works || loses(is_disjoint) || anchored && loses(shares_exit_alone) {
        return false;
    }
    if now < plan.standbys_since + DWELL {
        return true;
    }
    let mut held: Vec<Expected> = held
        .iter()
        .map(|r| snapshot.expect(leg.from, r, leg.to))
        .collect();
    held.sort_by_key(|x| x.cost(leg.budget));
    // One that shares nothing with the primary is of use only as far as it is good.
    let [held_disjoint, fresh_disjoint] =
        [&held[..], fresh].map(|all| all.iter().find(|x| is_disjoint(&x.route, &plan.primary)));
    let disjoint = held_disjoint.zip(fresh_disjoint);
    held.iter()
        .zip(fresh)
        .chain(disjoint)
        .all(|(held, fresh)| !is_better(held, fresh, leg.budget))
}

fn is_better(held: &Expected, fresh: &Expected, budget: Duration) -> bool {
    fresh.standing(budget) < held.standing(budget)
        || fresh.cost(budget) < held.cost(budget) && gain(held.median(), fresh.median()).is_some()
}

fn distinct_entries(standbys: &[Route], primary: &Route) -> bool {
    standbys.iter().enumerate().all(|(i, route)| {
        route.entry() != primary.entry() && standbys[..i].iter().all(|r| r.entry() != route.entry())
    })
}

/// Both leave by the same edge, and by no other both: neither enters where both leave.
fn shares_exit_alone(a: &Route, b: &Route) -> bool {
    let exit = a.exit();
    let before = |route: &Route| {
        route
            .edges()
            .filter(|&edge| Some(edge) != exit)
            .collect::<Vec<_>>()
    };
    let (before_a, before_b) = (before(a), before(b));
    exit == b.exit() && !before_a.is_empty() && before_a.iter().all(|edge| !before_b.contains(edge))
}

/// No edge of one is an edge of the other.
fn is_disjoint(a: &Route, b: &Route) -> bool {
    a != b && a.edges().all(|edge| !b.contains(edge))
}

fn why_none(snapshot: &Snapshot<'_>, leg: &Leg<'_>) -> NoDisjoint {
    match leg.to {
        FarEnd::Hub(edge) => NoDisjoint::Hub { edge: *edge },
        _ if snapshot.links.live_edges().count() <= 1 => NoDisjoint::OneEdge,
        _ => NoDisjoint::AllShare,
    }
}
