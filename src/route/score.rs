//! How good a route is expected to be: what its links say of it, and its cost as an ordered type.

use std::{cell::RefCell, collections::BTreeMap, rc::Rc, time::Duration};

use corridor_probes::{
    AgentId, Mono, Offset, Route,
    quality::{Codec, Conditions, Losses, OPUS_NB, heard, r_factor},
};

use super::{
    FarEnd, Figures,
    classes::Class,
    defaults::{CROWDED, LOSS_SPOILS, P95_SAMPLES, QUALITY_STEP},
    directions::{ClockName, Clocks, NoClocks, Raw, Rough, Worse, bound_borne},
    estimate::Distribution,
    links::{EdgeState, LinkKey, LinkMap, Money},
    margin::ms,
};
use crate::store::records::BudgetOn;

/// How long ago the clocks may have been settled.
const CLOCKS_SETTLED: Duration = Duration::from_secs(5);

/// What speech is coded with, for ranking routes.
const CODEC: &Codec = &OPUS_NB;

/// The link map at one moment. Each link's distribution is built once, when it is first asked for.
#[derive(Debug, Clone)]
pub struct Snapshot<'a> {
    pub links: &'a LinkMap,
    pub now: Mono,
    clocks: &'a dyn Clocks,
    judging: Judging,
    known: Rc<RefCell<BTreeMap<LinkKey, Rc<LinkNow>>>>,
    raw: Cache<LinkKey, Rc<Raw>>,
    ends: Cache<[ClockName; 2], Offset>,
}

/// What was asked for before, and whether it is known.
type Cache<K, V> = Rc<RefCell<BTreeMap<K, Option<V>>>>;

/// By what ways are judged.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Judging {
    RoundTrips,
    /// For want of better: what is meant is half of them.
    HalfRoundTrips,
    /// The worse direction of each, where its bound is at most `within`; half of the round trip and that much
    /// more for the others.
    Directions {
        within: Duration,
    },
}

impl Judging {
    /// By directions, for a leg whose share of the budget is `budget` as a round trip.
    pub fn directions(budget: Duration) -> Self {
        Self::Directions {
            within: bound_borne(budget / 2, true),
        }
    }
}

#[derive(Debug)]
struct LinkNow {
    rtt: Option<Distribution>,
    out: bool,
    /// Believed loss away from the prober and back.
    loss: (f64, f64),
    /// How it comes: BurstR.
    burst_ratio: (f64, f64),
}

/// What a route is expected to do.
#[derive(Debug, Clone, PartialEq)]
pub struct Expected {
    pub route: Route,
    /// A link of it answers nothing.
    pub out: bool,
    /// What is judged, see `judged`; `None` if one of its links is unmeasured.
    pub rtt: Option<Distribution>,
    pub judged: Judged,
    /// Believed loss there and back, each 0 to 1.
    pub loss: (f64, f64),
    /// BurstR there and back, of the link that loses most.
    pub burst_ratio: (f64, f64),
    /// An edge of it is near its capacity.
    pub crowded: bool,
    /// Of its dearest link.
    pub money: Money,
}

/// What delays are judged by.
#[derive(Debug, Clone, PartialEq)]
pub enum Judged {
    /// Round trips over all links.
    RoundTrip,
    /// The same for want of better: what is meant is half of them, each way.
    HalfRoundTrip,
    /// Twice the worse direction, made of these round trips.
    OneWay { rtt: Distribution, bound: Duration },
}

/// Where a route stands against its budget, best first.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Standing {
    Inside,
    /// Inside by its median; its samples are too few for a 95th percentile, and more than one in twenty
    /// of them are over.
    Doubtful,
    /// Over the budget, or spoilt by loss ([`LOSS_SPOILS`]): the expected quality says which is worse.
    Breach,
    /// Nothing recent is known of one of its links.
    Unmeasured,
    /// One of its links answers nothing.
    Out,
}

/// A route's cost. Fields are compared in order, less is better:
///
/// 1. `standing`: outage, unmeasured, budget breach or heavy loss, doubt;
/// 2. `crowded`: an edge of it is near its capacity;
/// 3. `impairment`: expected quality lost, in whole steps of [`QUALITY_STEP`];
/// 4. `money`: class of its dearest link;
/// 5. `median_us`: among routes of one quality the shorter wins, to the microsecond;
/// 6. `edges`: stability: fewer parts that may fail;
/// 7. `route`: so that the order is total.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Cost {
    pub standing: Standing,
    pub crowded: bool,
    pub impairment: u32,
    pub money: Money,
    pub median_us: u32,
    pub edges: usize,
    pub route: Route,
}

impl<'a> Snapshot<'a> {
    pub fn new(links: &'a LinkMap, now: Mono) -> Self {
        Self {
            links,
            now,
            clocks: &NoClocks,
            judging: Judging::RoundTrips,
            known: Rc::default(),
            raw: Rc::default(),
            ends: Rc::default(),
        }
    }

    /// With what is known of clocks.
    #[must_use]
    pub fn with_clocks(self, clocks: &'a dyn Clocks) -> Self {
        Self { clocks, ..self }
    }

    /// The same links, judged otherwise.
    #[must_use]
    pub fn judging(&self, judging: Judging) -> Self {
        Self {
            judging,
            ..self.clone()
        }
    }

    /// As the budget of `class` is judged while directions are not known.
    #[must_use]
    pub fn judging_for(&self, class: &Class) -> Self {
        self.judging(match class.budget_on {
            BudgetOn::RoundTrip => Judging::RoundTrips,
            BudgetOn::OneWay => Judging::HalfRoundTrips,
        })
    }

    pub const fn judges(&self) -> Judging {
        self.judging
    }

    /// Whether any edge has measured a target.
    pub fn target_measured(&self, target: &str) -> bool {
        self.links.live_edges().any(|edge| {
            let link = self.link(&LinkKey::EdgeTarget(edge, target.to_owned()));
            link.rtt.is_some() || link.out
        })
    }

    /// What a target usually takes from the exit of `route` and back; `None` while that is not measured.
    pub fn beyond_exit(&self, route: Route, to: &FarEnd) -> Option<Duration> {
        let FarEnd::Target(target) = to else { return None };
        let link = self.link(&LinkKey::EdgeTarget(route.exit()?, target.clone()));
        link.rtt.as_ref().map(Distribution::median)
    }

    /// What `route` is expected to do. Towards a target that nobody has measured, the last link is left
    /// out: exits are compared by the rest of the route.
    pub fn expect(&self, from: AgentId, route: &Route, to: &FarEnd) -> Expected {
        let expected = self.expect_along(route, &self.steps(from, route, to));
        match self.judging {
            Judging::Directions { within } => self.by_directions(from, to, expected, within),
            Judging::RoundTrips | Judging::HalfRoundTrips => expected,
        }
    }

    fn by_directions(&self, from: AgentId, to: &FarEnd, expected: Expected, within: Duration) -> Expected {
        let Some(rtt) = expected.rtt else {
            return expected;
        };
        let worse = self
            .whole_way(from, &expected.route, to)
            .and_then(|raw| self.worse(&raw))
            .filter(|worse| worse.bound <= within)
            .unwrap_or_else(|| Worse::by_half(&rtt, within));
        Expected {
            rtt: Some(worse.twice),
            judged: Judged::OneWay {
                rtt,
                bound: worse.bound,
            },
            ..expected
        }
    }

    /// The raw differences of all of a route, combined; `None` if they, or the clocks, are not known.
    pub fn whole_way(&self, from: AgentId, route: &Route, to: &FarEnd) -> Option<Raw> {
        let mut links = self.raw_links(from, route, to)?.into_iter();
        let first = links.next()?;
        links.try_fold(first, |way, next| way.then(&next))
    }

    /// The worse direction of a way, as well as the clocks of its ends are known.
    pub fn worse(&self, raw: &Raw) -> Option<Worse> {
        Some(raw.worse(self.ends(raw.clocks())?))
    }

    /// How far the estimate of a direction of `route` may be off; `None` if it is not known at all.
    pub fn direction_bound(&self, from: AgentId, route: &Route, to: &FarEnd) -> Option<Duration> {
        let (rough, ends) = self.rough(from, route, to)?;
        Some(rough.bound(ends))
    }

    fn rough(&self, from: AgentId, route: &Route, to: &FarEnd) -> Option<(Rough, Offset)> {
        let links = self.raw_links(from, route, to)?;
        let rough = links
            .iter()
            .try_fold(Rough::default(), |way, next| way.then(next))?;
        Some((rough, self.ends(rough.ends()?)?))
    }

    /// The links of a route as it walks them; targets show no clock.
    fn raw_links(&self, from: AgentId, route: &Route, to: &FarEnd) -> Option<Vec<Raw>> {
        let keys = LinkMap::keys(from, route, to);
        let walked = keys.iter().enumerate().map(|(i, key)| {
            let raw = self.raw(key)?;
            Some(if is_forward(key, i, route) {
                Raw::clone(&raw)
            } else {
                raw.turned()
            })
        });
        walked.collect()
    }

    fn raw(&self, key: &LinkKey) -> Option<Rc<Raw>> {
        if let Some(known) = self.raw.borrow().get(key) {
            return known.clone();
        }
        let directions = self.links.directions(key);
        let raw = directions.and_then(|d| d.now(self.now, self.clocks)).map(Rc::new);
        self.raw.borrow_mut().insert(key.clone(), raw.clone());
        raw
    }

    fn ends(&self, clocks: [ClockName; 2]) -> Option<Offset> {
        if let Some(known) = self.ends.borrow().get(&clocks) {
            return *known;
        }
        let [here, there] = clocks;
        let relation = self.clocks.relation(here, there);
        let offset = relation.map(|r| r.over(r.at + CLOCKS_SETTLED, CLOCKS_SETTLED));
        self.ends.borrow_mut().insert(clocks, offset);
        offset
    }

    /// Whether a link of `route`, or an edge of it, carries nothing.
    pub fn is_out(&self, from: AgentId, route: &Route, to: &FarEnd) -> bool {
        route
            .edges()
            .any(|edge| self.links.edge_state(edge) == EdgeState::Down)
            || self.steps(from, route, to).iter().any(|s| s.link.out)
    }

    /// Median round trip of one link; `None` unmeasured or out.
    pub fn link_median(&self, key: &LinkKey) -> Option<Duration> {
        self.link(key).rtt.as_ref().map(Distribution::median)
    }

    /// Whether all its links are measured.
    pub fn is_measured(&self, from: AgentId, route: &Route, to: &FarEnd) -> bool {
        self.steps(from, route, to).iter().all(|s| s.link.rtt.is_some())
    }

    /// All of `routes` with their expectations, best first by [`Expected::cost`].
    ///
    /// Distributions are combined for the `finalists` that lead by sums of percentiles; the rest is left
    /// out.
    pub fn rank(
        &self,
        from: AgentId,
        to: &FarEnd,
        routes: &[Route],
        budget: Duration,
        finalists: usize,
    ) -> Vec<Expected> {
        let skip_target = self.skips_target(to);
        let within = match self.judging {
            Judging::Directions { within } => Some(within),
            Judging::RoundTrips | Judging::HalfRoundTrips => None,
        };
        let mut candidates: Vec<(Cost, Vec<Step>)> = routes
            .iter()
            .map(|route| {
                let steps = self.steps_unless(from, route, to, skip_target);
                let worse = within.and_then(|within| {
                    let (rough, ends) = self.rough(from, route, to)?;
                    (rough.bound(ends) <= within).then(|| rough.worse(ends))
                });
                (self.cheap_cost(route, &steps, worse, budget), steps)
            })
            .collect();
        candidates.sort_by_key(|(cost, _)| *cost);
        candidates.truncate(finalists);
        let mut finalists: Vec<Expected> = candidates
            .iter()
            .map(|(cost, steps)| {
                let expected = self.expect_along(&cost.route, steps);
                match within {
                    Some(within) => self.by_directions(from, to, expected, within),
                    None => expected,
                }
            })
            .collect();
        finalists.sort_by_cached_key(|expected| expected.cost(budget));
        finalists
    }

    fn link(&self, key: &LinkKey) -> Rc<LinkNow> {
        if let Some(known) = self.known.borrow().get(key) {
            return Rc::clone(known);
        }
        let now = self.now;
        let link = self.links.link(key);
        let believed = |loss: super::estimate::Loss| loss.believed().unwrap_or(0.0);
        let known = Rc::new(LinkNow {
            rtt: link.and_then(|l| l.rtt(now)),
            out: link.is_some_and(|l| l.is_out(now)),
            loss: link
                .and_then(|l| l.loss(now))
                .map_or((0.0, 0.0), |(up, down)| (believed(up), believed(down))),
            burst_ratio: link.map_or((1.0, 1.0), |l| l.burst_ratios(now)),
        });
        self.known.borrow_mut().insert(key.clone(), Rc::clone(&known));
        known
    }

    fn skips_target(&self, to: &FarEnd) -> bool {
        matches!(to, FarEnd::Target(target) if !self.target_measured(target))
    }

    fn steps(&self, from: AgentId, route: &Route, to: &FarEnd) -> Vec<Step> {
        self.steps_unless(from, route, to, self.skips_target(to))
    }

    fn steps_unless(&self, from: AgentId, route: &Route, to: &FarEnd, skip_target: bool) -> Vec<Step> {
        LinkMap::keys(from, route, to)
            .into_iter()
            .filter(|key| !(skip_target && matches!(key, LinkKey::EdgeTarget(..))))
            .enumerate()
            .map(|(i, key)| Step {
                link: self.link(&key),
                money: self.links.money(&key),
                forward: is_forward(&key, i, route),
            })
            .collect()
    }

    fn expect_along(&self, route: &Route, steps: &[Step]) -> Expected {
        let rtt = steps
            .iter()
            .map(|step| step.link.rtt.clone())
            .reduce(|sum, next| Some(sum?.then(&next?)))
            .flatten();
        Expected {
            rtt,
            ..self.expect_but_rtt(route, steps)
        }
    }

    fn expect_but_rtt(&self, route: &Route, steps: &[Step]) -> Expected {
        let kept = |loss: &dyn Fn(&Step) -> f64| steps.iter().map(|s| 1.0 - loss(s)).product::<f64>();
        let bursts = |way: &dyn Fn(&Step) -> (f64, f64)| {
            let most = steps.iter().map(way).max_by(|a, b| a.0.total_cmp(&b.0));
            most.map_or(1.0, |(_, burst_ratio)| burst_ratio)
        };
        Expected {
            route: *route,
            out: steps.iter().any(|s| s.link.out),
            rtt: None,
            judged: match self.judging {
                Judging::RoundTrips => Judged::RoundTrip,
                Judging::HalfRoundTrips | Judging::Directions { .. } => Judged::HalfRoundTrip,
            },
            loss: (1.0 - kept(&Step::loss_there), 1.0 - kept(&Step::loss_back)),
            burst_ratio: (bursts(&Step::there), bursts(&Step::back)),
            crowded: route
                .edges()
                .any(|edge| self.links.load(edge).is_some_and(|load| load >= CROWDED)),
            money: steps.iter().map(|s| s.money).max().unwrap_or_default(),
        }
    }

    /// The cost with the route's percentiles guessed from its links': medians add, and so do the squares
    /// of what the 95th percentiles lie above them (exact for normal distributions).
    ///
    /// Where directions are judged, `worse` has them of the worse one, if that is known well enough.
    fn cheap_cost(
        &self,
        route: &Route,
        steps: &[Step],
        worse: Option<[Duration; 2]>,
        budget: Duration,
    ) -> Cost {
        let mut median = Duration::ZERO;
        let mut above = 0.0;
        let mut samples = usize::MAX;
        let mut measured = !steps.is_empty();
        for step in steps {
            let Some(rtt) = &step.link.rtt else {
                measured = false;
                break;
            };
            median += rtt.median();
            above += (rtt.p95() - rtt.median()).as_secs_f64().powi(2);
            samples = samples.min(rtt.samples());
        }
        let high = median + Duration::from_secs_f64(above.sqrt());
        let [median, high] = match (self.judging, worse) {
            (Judging::Directions { .. }, Some(worse)) => worse,
            (Judging::Directions { within }, None) => [median, high].map(|rtt| rtt + within * 2),
            (Judging::RoundTrips | Judging::HalfRoundTrips, _) => [median, high],
        };
        let guess = measured.then_some(Percentiles {
            median,
            high,
            founded: samples >= P95_SAMPLES,
        });
        let expected = self.expect_but_rtt(route, steps);
        // As if the buffer waited for the 95th percentile and nothing came later.
        let played = guess.map(|g| if g.founded { g.high } else { g.median });
        let rating = played.and_then(|rtt| expected.heard([(rtt / 2, 1.0)]));
        expected.cost_with(guess, rating, budget)
    }
}

/// Whether the link at place `i` of a route is walked from its prober's end, or towards it.
fn is_forward(key: &LinkKey, i: usize, route: &Route) -> bool {
    match key {
        LinkKey::AgentEdge(..) => i == 0,
        LinkKey::EdgeEdge(lower, _) => i.checked_sub(1).and_then(|i| route.get(i)) == Some(*lower),
        LinkKey::EdgeTarget(..) | LinkKey::AgentTarget(..) => true,
    }
}

/// A link as a route walks it.
#[derive(Debug)]
struct Step {
    link: Rc<LinkNow>,
    money: Money,
    forward: bool,
}

impl Step {
    /// Loss and BurstR in the direction of the route.
    fn there(&self) -> (f64, f64) {
        self.way(self.forward)
    }

    fn back(&self) -> (f64, f64) {
        self.way(!self.forward)
    }

    fn way(&self, away: bool) -> (f64, f64) {
        let LinkNow {
            loss, burst_ratio, ..
        } = &*self.link;
        if away {
            (loss.0, burst_ratio.0)
        } else {
            (loss.1, burst_ratio.1)
        }
    }

    fn loss_there(&self) -> f64 {
        self.there().0
    }

    fn loss_back(&self) -> f64 {
        self.back().0
    }
}

#[derive(Debug, Clone, Copy)]
struct Percentiles {
    median: Duration,
    /// The 95th percentile, if there are samples enough for one.
    high: Duration,
    founded: bool,
}

impl Percentiles {
    fn p95(self) -> Option<Duration> {
        self.founded.then_some(self.high)
    }
}

impl Expected {
    pub fn median(&self) -> Option<Duration> {
        self.rtt.as_ref().map(Distribution::median)
    }

    /// `None` without the [`P95_SAMPLES`] it needs.
    pub fn p95(&self) -> Option<Duration> {
        self.percentiles()?.p95()
    }

    pub fn standing(&self, budget: Duration) -> Standing {
        self.standing_with(self.percentiles(), budget)
    }

    /// Expected rating (E-model's R, 0 to 93.2); `None` unmeasured.
    ///
    /// Of the worse direction's loss and of half of each round trip, with the jitter buffer that is best for
    /// these: what comes too late for it counts as lost. Of samples too few for a 95th percentile, the median:
    /// what the buffer would be for, they do not say.
    pub fn rating(&self) -> Option<f64> {
        let rtt = self.rtt.as_ref()?;
        if rtt.samples() < P95_SAMPLES {
            return self.heard([(rtt.median() / 2, 1.0)]);
        }
        self.heard(rtt.shares().map(|(rtt, within)| (rtt / 2, within)))
    }

    fn heard(&self, delays: impl IntoIterator<Item = (Duration, f64)>) -> Option<f64> {
        let (lost, burst_ratio) = if self.loss.0 >= self.loss.1 {
            (self.loss.0, self.burst_ratio.0)
        } else {
            (self.loss.1, self.burst_ratio.1)
        };
        let losses = Losses { lost, burst_ratio };
        heard(delays, losses, CODEC).map(|heard| heard.r.max(0.0))
    }

    pub fn cost(&self, budget: Duration) -> Cost {
        self.cost_with(self.percentiles(), self.rating(), budget)
    }

    /// In the terms of the budget.
    pub fn figures(&self) -> Figures {
        Figures {
            route: self.route,
            p50_ms: self.median().map(|d| self.told(d)),
            p95_ms: self.p95().map(|d| self.told(d)),
            loss: self
                .rtt
                .is_some()
                .then_some(1.0 - (1.0 - self.loss.0) * (1.0 - self.loss.1)),
        }
    }

    /// A delay as it is told, in ms: what is compared as a round trip may stand for one way.
    pub fn told(&self, delay: Duration) -> f64 {
        match self.judged {
            Judged::RoundTrip => ms(delay),
            Judged::HalfRoundTrip | Judged::OneWay { .. } => ms(delay / 2),
        }
    }

    /// The round trip; `None` if one of its links is unmeasured.
    pub fn round_trip(&self) -> Option<&Distribution> {
        match &self.judged {
            Judged::OneWay { rtt, .. } => Some(rtt),
            Judged::RoundTrip | Judged::HalfRoundTrip => self.rtt.as_ref(),
        }
    }

    /// Believed loss of the worse direction, if that is so heavy that speech suffers more than from a breach.
    pub fn spoiling_loss(&self) -> Option<f64> {
        Some(self.loss.0.max(self.loss.1)).filter(|&loss| loss >= LOSS_SPOILS)
    }

    fn percentiles(&self) -> Option<Percentiles> {
        let rtt = self.rtt.as_ref()?;
        Some(Percentiles {
            median: rtt.median(),
            high: rtt.p95(),
            founded: rtt.samples() >= P95_SAMPLES,
        })
    }

    /// The 95th percentile is judged where there is one, else the median; but what few samples there are
    /// can cast doubt.
    fn standing_with(&self, of: Option<Percentiles>, budget: Duration) -> Standing {
        match of {
            _ if self.out => Standing::Out,
            None => Standing::Unmeasured,
            Some(p) if p.p95().unwrap_or(p.median) > budget => Standing::Breach,
            Some(_) if self.spoiling_loss().is_some() => Standing::Breach,
            Some(p) if p.high > budget => Standing::Doubtful,
            Some(_) => Standing::Inside,
        }
    }

    fn cost_with(&self, p: Option<Percentiles>, rating: Option<f64>, budget: Duration) -> Cost {
        Cost {
            standing: self.standing_with(p, budget),
            crowded: self.crowded,
            impairment: rating.map_or(u32::MAX, |r| ((best_rating() - r) / QUALITY_STEP) as u32),
            money: self.money,
            median_us: p.map_or(u32::MAX, |p| {
                u32::try_from(p.median.as_micros()).unwrap_or(u32::MAX)
            }),
            edges: self.route.len(),
            route: self.route,
        }
    }
}

/// Of a way without delay or loss.
fn best_rating() -> f64 {
    let conditions = Conditions {
        mouth_to_ear: CODEC.delay,
        loss: 0.0,
        burst_ratio: 1.0,
    };
    r_factor(&conditions, CODEC)
}

#[cfg(test)]
mod tests;
