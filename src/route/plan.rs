//! A leg's plan: which primary, which standbys, and why; and what keeps it from changing all the time.
//!
//! The primary is chosen in this order:
//!
//! 1. Routes with an edge that is down or a link that is out are no candidates; those with a draining
//!    edge are only if there are no others. Towards a target, only routes by the same exit are, as long
//!    as one of them works: another exit is another source address for the target. The exit is that of the
//!    standby that the agent has left the primary for, if it has.
//! 2. A leg without a plan, or with another far end than before, takes the best.
//! 3. A primary that is no candidate is left at once, for a standby while no route is measured.
//! 4. In the leg's first minute the best is taken whenever more routes are measured than were, or the target,
//!    which was not.
//! 5. A primary of which nothing is known any more is left for a measured one.
//! 6. A primary in breach, or spoilt by loss, is left for the best route without either that is not held
//!    down, if chance does not explain the difference; one spoilt by loss for one of better quality where
//!    there is none. Once in a hold-down.
//! 7. A better route must be so by the margin (of delay, or of quality), after the dwell time, and not be
//!    held down nor crowded.
//!
//! Standbys have entry edges of their own. One that the agent uses stays: it left the primary for a reason.
//! One shares no edge with the primary, where there is such a route; the other is the best of the rest.

mod standby;

use std::{borrow::Cow, time::Duration};

use corridor_probes::{AgentId, EdgeId, Route, Wall};
use serde::{Deserialize, Serialize};

use self::standby::Standbys;
use super::{
    Cause, FarEnd, NoDisjoint, NoRoute, Reason,
    defaults::{BREACH_Z, DWELL, FINALISTS, HOLD_DOWN, MAX_EDGES, QUALITY_STEP, SETTLING},
    directions::bound_borne,
    estimate::Distribution,
    hold_down::HoldDowns,
    links::{EdgeState, LinkMap},
    margin::gain,
    score::{Expected, Judging, Snapshot, Standing},
    search,
};

/// One participant and one far end.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Leg<'a> {
    pub from: AgentId,
    pub to: &'a FarEnd,
    /// The leg's share of the budget, as a round trip.
    pub budget: Duration,
    /// What the agent uses now, as far as it has told.
    pub in_use: Option<Route>,
    /// By how many ms the worst pair gains from the hub that the class has moved to, if it has.
    pub hub_gain_ms: Option<f64>,
}

/// What a leg shall use.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct PlanChoice {
    /// `None` if there never was a route; otherwise the last one is kept while there is none.
    pub primary: Option<Route>,
    /// Two at most, best first, with distinct entry edges that are not the primary's.
    pub standbys: Vec<Route>,
    /// Why the primary is what it is.
    pub reason: Reason,
    /// Why no standby shares no edge with the primary, if none does.
    pub no_disjoint: Option<NoDisjoint>,
}

/// What is remembered of a leg from one planning to the next, and across restarts.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct PlanMemory {
    current: Option<Current>,
    held: HoldDowns<Wall>,
    /// When a breach last moved the leg.
    breach_moved: Option<Wall>,
    /// Its routes were judged by their directions.
    #[serde(default)]
    directions: bool,
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
struct Current {
    to: FarEnd,
    /// When the leg had its first plan to this far end.
    began: Wall,
    primary: Route,
    /// Since when.
    since: Wall,
    reason: Reason,
    standbys: Vec<Route>,
    standbys_since: Wall,
    no_disjoint: Option<NoDisjoint>,
    /// Most routes that were measured when the primary was last chosen freely.
    measured: usize,
}

impl PlanMemory {
    /// The plan as it was last made.
    pub fn choice(&self) -> Option<PlanChoice> {
        self.current.as_ref().map(Current::choice)
    }

    /// Whether its routes were judged by their directions, when it was planned last.
    pub const fn judges_directions(&self) -> bool {
        self.directions
    }

    /// Where the last plan led.
    pub fn far_end(&self) -> Option<&FarEnd> {
        self.current.as_ref().map(|c| &c.to)
    }
}

impl Current {
    fn choice(&self) -> PlanChoice {
        PlanChoice {
            primary: Some(self.primary),
            standbys: self.standbys.clone(),
            reason: self.reason.clone(),
            no_disjoint: self.no_disjoint,
        }
    }
}

/// Plans a leg at `now` (the controller's time) from the links as `snapshot` has them.
pub fn plan_leg(snapshot: &Snapshot<'_>, now: Wall, leg: &Leg<'_>, memory: &mut PlanMemory) -> PlanChoice {
    let usable = usable(snapshot, leg);
    memory.directions = are_directions_known(snapshot, leg, &usable, memory.directions);
    let by_directions = memory
        .directions
        .then(|| snapshot.judging(Judging::directions(leg.budget)));
    let snapshot = by_directions.as_ref().unwrap_or(snapshot);
    let candidates = Candidates::find(snapshot, leg, usable);
    let before = memory
        .current
        .take()
        .filter(|c| c.to == *leg.to || !candidates.ranked.is_empty());
    let Some(best) = candidates.ranked.first() else {
        let why = NoRoute::of(snapshot.links, leg);
        return no_route(memory, before, why);
    };

    let (mut next, moved) = match before {
        Some(current) if current.to == *leg.to => {
            let moved = decide(snapshot, now, leg, &candidates, &current, memory);
            (current, moved)
        }
        other => {
            let current = Current::begin(leg, now, best.route);
            let cause = first_cause(snapshot, leg, best, other.as_ref());
            (current, Some((best.clone(), cause)))
        }
    };
    if let Some((to, cause)) = moved {
        if next.reason.cause == Cause::TargetUnmeasured && cause != Cause::TargetUnmeasured {
            // Routes counted as measured without their last link.
            next.measured = 0;
        }
        note_move(memory, &next, to.route, &cause, now);
        let rejected = candidates.ranked.iter().find(|x| x.route != to.route);
        next.reason = Reason {
            cause,
            chosen: Some(to.figures()),
            rejected: rejected.map(Expected::figures),
        };
        if next.primary != to.route {
            (next.primary, next.since) = (to.route, now);
        }
    }
    next.measured = next.measured.max(candidates.measured);

    let standbys = Standbys::choose(snapshot, now, leg, &candidates.usable, &next);
    if standbys.routes != next.standbys {
        next.standbys_since = now;
    }
    (next.standbys, next.no_disjoint) = (standbys.routes, standbys.no_disjoint);
    let choice = next.choice();
    memory.current = Some(next);
    choice
}

/// Whether directions are judged, if they are to be: when those of some measured route are known well enough.
/// Between two agents only: elsewhere
/// legs make the way together, and the worse directions of both need not meet.
fn are_directions_known(snapshot: &Snapshot<'_>, leg: &Leg<'_>, usable: &[Route], was_judged: bool) -> bool {
    if snapshot.judges() == Judging::RoundTrips || !matches!(leg.to, FarEnd::Agent(_)) {
        return false;
    }
    // The leg's share is all of the budget, as a round trip.
    let wanted = bound_borne(leg.budget / 2, was_judged);
    let measured = usable
        .iter()
        .filter(|route| snapshot.is_measured(leg.from, route, leg.to));
    let mut bounds = measured.filter_map(|route| snapshot.direction_bound(leg.from, route, leg.to));
    bounds.any(|bound| bound <= wanted)
}

/// All that work, in the search's order; those with a draining edge only if there are no others.
fn usable(snapshot: &Snapshot<'_>, leg: &Leg<'_>) -> Vec<Route> {
    let draining = |route: &Route| {
        route
            .edges()
            .any(|edge| snapshot.links.edge_state(edge) == EdgeState::Draining)
    };
    let mut usable = search::routes(snapshot.links, leg.from, leg.to, MAX_EDGES);
    usable.retain(|route| !snapshot.is_out(leg.from, route, leg.to));
    if usable.iter().any(|route| !draining(route)) {
        usable.retain(|route| !draining(route));
    }
    usable
}

/// The routes that may be primary.
struct Candidates {
    /// All that work, in the search's order: standbys come of these.
    usable: Vec<Route>,
    /// Best first.
    ranked: Vec<Expected>,
    /// How many of them are measured.
    measured: usize,
}

impl Candidates {
    fn find(snapshot: &Snapshot<'_>, leg: &Leg<'_>, usable: Vec<Route>) -> Self {
        let ranked = snapshot.rank(leg.from, leg.to, &usable, leg.budget, FINALISTS);
        let measured = usable
            .iter()
            .filter(|route| snapshot.is_measured(leg.from, route, leg.to))
            .count();
        Self {
            usable,
            ranked,
            measured,
        }
    }

    /// Those with the exit that a target knows the leg by; all where the exit is free, or has failed.
    fn anchored<'c>(
        &'c self,
        snapshot: &Snapshot<'_>,
        leg: &Leg<'_>,
        exit: Option<EdgeId>,
    ) -> Cow<'c, [Expected]> {
        if !matches!(leg.to, FarEnd::Target(_)) {
            return Cow::Borrowed(&self.ranked);
        }
        let same = self.usable.iter().filter(|route| route.exit() == exit);
        let same: Vec<Route> = same.copied().collect();
        if same.is_empty() {
            return Cow::Borrowed(&self.ranked);
        }
        Cow::Owned(snapshot.rank(leg.from, leg.to, &same, leg.budget, FINALISTS))
    }
}

/// Whether the leg leaves its primary, and why.
fn decide(
    snapshot: &Snapshot<'_>,
    now: Wall,
    leg: &Leg<'_>,
    candidates: &Candidates,
    current: &Current,
    memory: &PlanMemory,
) -> Option<(Expected, Cause)> {
    let from = current.primary;
    let left_for = leg
        .in_use
        .filter(|route| current.standbys.contains(route) && candidates.usable.contains(route));
    let pool = candidates.anchored(snapshot, leg, left_for.unwrap_or(from).exit());
    if !candidates.usable.contains(&from) {
        let to = successor(snapshot, leg, candidates, current, pool.first()?);
        return Some((to, why_unusable(snapshot, &from)));
    }
    let settling = now < current.began + SETTLING;
    let target_news = current.reason.cause == Cause::TargetUnmeasured
        && matches!(leg.to, FarEnd::Target(target) if snapshot.target_measured(target));
    if settling && (target_news || candidates.measured > current.measured) {
        let best = candidates.ranked.first()?;
        let first = match first_cause(snapshot, leg, best, None) {
            Cause::Initial => Cause::MoreMeasured,
            other => other,
        };
        // What was chosen blind and proves best has a reason now.
        let blind = match current.reason.cause {
            Cause::Unmeasured => first != Cause::Unmeasured,
            Cause::TargetUnmeasured => target_news && first != Cause::Unmeasured,
            _ => false,
        };
        return (best.route != from || blind).then(|| (best.clone(), first));
    }
    // Long enough after it was told of the plan that the agent has had its way.
    if now >= current.since + HOLD_DOWN
        && matches!(leg.to, FarEnd::Target(_))
        && let Some(used) = left_for.filter(|used| used.exit() != from.exit())
    {
        return Some((
            snapshot.expect(leg.from, &used, leg.to),
            Cause::ExitMoved { from },
        ));
    }
    let expected = snapshot.expect(leg.from, &from, leg.to);
    let standing = expected.standing(leg.budget);
    let free = |x: &&Expected| !memory.held.holds(&x.route, now);
    if standing == Standing::Unmeasured {
        let to = pool
            .iter()
            .find(free)
            .filter(|x| x.standing(leg.budget) < Standing::Unmeasured)?;
        return Some((to.clone(), Cause::Unmeasured));
    }
    let breach_may_move = memory.breach_moved.is_none_or(|last| last + HOLD_DOWN <= now);
    if standing == Standing::Breach
        && breach_may_move
        && let Some(to) = pool.iter().find(free)
        && let Some(cause) = relief(&expected, to, leg.budget)
    {
        return Some((to.clone(), cause));
    }
    if now < current.since + DWELL {
        return None;
    }
    let to = pool.iter().filter(|x| !x.crowded).find(free)?;
    better(&expected, to, leg.budget).map(|cause| (to.clone(), cause))
}

/// Who follows a primary that is no candidate any more: the best, but while nothing is known of that a standby,
/// which the agent measures all the time and has moved to already.
fn successor(
    snapshot: &Snapshot<'_>,
    leg: &Leg<'_>,
    candidates: &Candidates,
    current: &Current,
    best: &Expected,
) -> Expected {
    if best.standing(leg.budget) < Standing::Unmeasured {
        return best.clone();
    }
    let mut standbys = current.standbys.iter().filter(|s| candidates.usable.contains(s));
    standbys
        .next()
        .map_or_else(|| best.clone(), |s| snapshot.expect(leg.from, s, leg.to))
}

/// Why `current`, which is in breach or spoilt by loss, is left for `to` at once, if so.
fn relief(current: &Expected, to: &Expected, budget: Duration) -> Option<Cause> {
    let from = current.route;
    let relieved = to.standing(budget) < Standing::Breach;
    if let Some(lost) = current.spoiling_loss() {
        return if relieved {
            Some(Cause::Loss { from, lost })
        } else {
            quality(current, to)
        };
    }
    (relieved && beyond_chance(current, to, budget)).then(|| Cause::Breach {
        from,
        at_ms: current.told(current.p95().or(current.median()).unwrap_or_default()),
        budget_ms: current.told(budget),
    })
}

/// Whether more of `current` than of `to` is over the budget than chance explains. Stalls of a line that
/// all routes share hit a few samples of each, and not the same number.
fn beyond_chance(current: &Expected, to: &Expected, budget: Duration) -> bool {
    let (Some(was), Some(is)) = (&current.rtt, &to.rtt) else {
        return true;
    };
    let over = |d: &Distribution| 1.0 - d.share_within(budget);
    let variance = |d: &Distribution| over(d) * (1.0 - over(d)) / d.samples().max(1) as f64;
    let fewer = over(was) - over(is);
    fewer > 0.0 && fewer >= BREACH_Z * (variance(was) + variance(is)).sqrt()
}

/// Whether `to` is better than `current` beyond the margin, and by what.
fn better(current: &Expected, to: &Expected, budget: Duration) -> Option<Cause> {
    // A crowded edge is given to nobody new; those it has stay, or all would leave at once.
    let cost = |x: &Expected| super::score::Cost {
        crowded: false,
        ..x.cost(budget)
    };
    let from = current.route;
    if from == to.route || cost(to) >= cost(current) {
        return None;
    }
    if let Some(cause) = quality(current, to) {
        return Some(cause);
    }
    let gain = gain(current.median(), to.median())?;
    Some(Cause::BetterBy {
        from,
        gain_ms: current.told(gain),
    })
}

/// Whether speech over `to` is expected to be a step better than over `current`.
fn quality(current: &Expected, to: &Expected) -> Option<Cause> {
    let gain = to.rating()? - current.rating()?;
    (gain >= QUALITY_STEP).then(|| Cause::Quality {
        from: current.route,
        gain_points: (gain * 10.0).round() / 10.0,
    })
}

fn first_cause(snapshot: &Snapshot<'_>, leg: &Leg<'_>, best: &Expected, other: Option<&Current>) -> Cause {
    let moved_from = other.map(|c| &c.to);
    match (leg.to, moved_from) {
        (FarEnd::Hub(to), Some(FarEnd::Hub(from))) => Cause::HubMoved {
            from: *from,
            to: *to,
            gain_ms: leg.hub_gain_ms,
        },
        (_, Some(_)) => Cause::ClassChanged,
        _ if best.standing(leg.budget) == Standing::Unmeasured => Cause::Unmeasured,
        (FarEnd::Target(target), None) if !snapshot.target_measured(target) => Cause::TargetUnmeasured,
        _ => Cause::Initial,
    }
}

fn why_unusable(snapshot: &Snapshot<'_>, route: &Route) -> Cause {
    let with = |state| {
        route
            .edges()
            .find(|&edge| snapshot.links.edge_state(edge) == state)
    };
    if let Some(edge) = with(EdgeState::Down) {
        Cause::EdgeDown { edge }
    } else if let Some(edge) = with(EdgeState::Draining) {
        Cause::EdgeDraining { edge }
    } else {
        Cause::Outage { from: *route }
    }
}

fn note_move(memory: &mut PlanMemory, current: &Current, to: Route, cause: &Cause, now: Wall) {
    let left = match cause {
        Cause::Breach { .. } | Cause::Loss { .. } | Cause::Quality { .. } => {
            memory.breach_moved = Some(now);
            true
        }
        Cause::Outage { .. } | Cause::EdgeDown { .. } | Cause::BetterBy { .. } => true,
        _ => false,
    };
    if left && current.primary != to {
        memory.held.left(current.primary, now);
    }
}

/// While there is no route, the last one stays: nothing is gained by taking it away.
fn no_route(memory: &mut PlanMemory, before: Option<Current>, why: NoRoute) -> PlanChoice {
    memory.current = before;
    let reason = Reason::new(Cause::NoRoute { why });
    match memory.choice() {
        Some(choice) => PlanChoice { reason, ..choice },
        None => PlanChoice {
            primary: None,
            standbys: Vec::new(),
            reason,
            no_disjoint: Some(NoDisjoint::NoPrimary),
        },
    }
}

impl Current {
    fn begin(leg: &Leg<'_>, now: Wall, primary: Route) -> Self {
        Self {
            to: leg.to.clone(),
            began: now,
            primary,
            since: now,
            reason: Reason::new(Cause::Initial),
            standbys: Vec::new(),
            standbys_since: now,
            no_disjoint: None,
            measured: 0,
        }
    }
}

impl NoRoute {
    fn of(links: &LinkMap, leg: &Leg<'_>) -> Self {
        if links.live_edges().next().is_none() {
            Self::NoEdges
        } else if search::routes(links, leg.from, leg.to, MAX_EDGES).is_empty() {
            Self::AgentUnreached
        } else {
            Self::AllOut
        }
    }
}

#[cfg(test)]
mod tests;
