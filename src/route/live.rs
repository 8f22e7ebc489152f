//! Which of a leg's installed routes the agent uses right now, and when it moves to another.
//!
//! The controller is seconds behind; an agent hears every packet. At each tick of the grid it decides,
//! in this order:
//!
//! 1. **Access outage**: the route in use is silent and no entry edge is heard. It is this machine's
//!    line: nothing is moved until one is heard again.
//! 2. **Outage** of the route in use: silent steps beyond what its known loss explains, the connection's
//!    end, a first edge that answers nothing that media asks, or a silent next hop, while another entry edge is heard. Bypasses
//!    everything below. Where another route's first edge has just called an edge of it silent, one step is enough.
//! 3. **A new plan** whose primary had no samples yet when it came, and has them now.
//! 4. **Breach**: to a route that its own samples predict inside the budget, or, where there is none, to
//!    one better by the margin; not to one that is held down, and once in [`BREACH_HOLD`].
//! 5. **Loss** by a sequential test, to a route without it; not to one that is held down.
//! 6. **Better** by the margin, good for [`GOOD_FOR`], not held down, after [`LIVE_DWELL`].
//!
//! A leg to a target changes its exit in an outage alone, where no other route with that exit carries anything: the
//! target would see its media from another address.
//!
//! What was in flight while the access line stood still says nothing of routes and is set aside.

mod access;
mod cusum;
mod loss;
mod reason;
mod track;

use std::time::Duration;

use corridor_probes::{EdgeId, Mono, Route};

pub use reason::{AccessOutage, LiveEvent, Reason, Switch};

pub use track::Recent;

use self::{
    access::{Access, Entries},
    track::{Breach, Track},
};
use super::{
    Fate, Fates,
    defaults::{
        BREACH_HOLD, EVALUATION, GOOD_FOR, GRID, LEAVING, LIVE_DWELL, LOSS_HEAVY, OUTCOME_LAG, SILENT_STEPS,
    },
    hold_down::HoldDowns,
    margin::{gain, ms},
};

/// What the agent saw of one installed route since the last tick.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RouteEvidence {
    /// Whole steps of the grid since anything was heard along the route.
    pub silent_steps: u32,
    /// Whether any packet came from the route's first edge within the last three steps.
    pub entry_heard_recently: bool,
    /// Whether the first edge owes an answer to a probe of its own, or is not connected.
    pub entry_overdue: bool,
    /// Whether there is a connection to the first edge.
    pub connected: bool,
    /// Whether the first edge leaves what media asks of it unanswered, while another answers.
    pub entry_silent: bool,
    /// Whether an edge of the route says that the next one is silent.
    pub next_hop_silent: bool,
    /// When the first edge of another route said, of late, that it finds an edge of this one silent. It counts until
    /// the echo of a probe comes that was sent after it.
    pub named_silent: Option<Mono>,
    /// Probes and media of this route whose fate was decided since the last tick: echoed, …
    pub echoed: u32,
    /// … or missed.
    pub missed: u32,
    /// Of media's packets by this route.
    pub media: Fates,
}

impl RouteEvidence {
    /// What it says of every route by the same first edge.
    const fn of_entry(self) -> Self {
        Self {
            silent_steps: 0,
            next_hop_silent: false,
            named_silent: None,
            echoed: 0,
            missed: 0,
            media: Fates::NONE,
            ..self
        }
    }
}

impl Default for RouteEvidence {
    /// Of a route that nothing has been heard of, nor missed.
    fn default() -> Self {
        Self {
            silent_steps: 0,
            entry_heard_recently: false,
            entry_overdue: false,
            connected: true,
            entry_silent: false,
            next_hop_silent: false,
            named_silent: None,
            echoed: 0,
            missed: 0,
            media: Fates::NONE,
        }
    }
}

/// A plan as the agent runs it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LivePlan {
    pub version: u64,
    /// The primary first, then the standbys; all distinct.
    pub routes: Vec<Route>,
    /// The leg's share of the budget, as a round trip.
    pub budget: Duration,
    /// The budget is meant for one way: delays are told as halves.
    pub one_way: bool,
    /// What is added to the round trips of each route before they are compared and judged, in the order of
    /// `routes`; nothing where it says nothing. So much is from the exit to the target and back, or by so much twice
    /// the worse direction exceeds the round trip.
    pub added: Vec<Duration>,
    /// The far end knows the leg by its exit: another one is another address, which it may not take.
    pub anchored: bool,
}

/// The live choice of one leg.
#[derive(Debug, Clone)]
pub struct LiveChoice {
    grid: Duration,
    version: u64,
    one_way: bool,
    anchored: bool,
    tracks: Vec<Track>,
    in_use: usize,
    /// Since when.
    since: Option<Mono>,
    /// The plan's primary waits for samples of its own before it is adopted.
    adopting: bool,
    /// The last track is no route of the plan: it is used until another one has samples, or until then.
    leaving: Option<Mono>,
    access: Access,
    /// Routes left in trouble, and routes left for better ones: the latter are still good in need.
    troubled: HoldDowns<Mono>,
    outgrown: HoldDowns<Mono>,
    last_move: Option<Mono>,
    last_breach_move: Option<Mono>,
    next_evaluation: Option<Mono>,
    /// A route that has been better in every evaluation since.
    better: Option<(usize, Mono)>,
    switches: u64,
}

impl Default for LiveChoice {
    fn default() -> Self {
        Self::new(GRID)
    }
}

impl LiveChoice {
    /// `grid` is the time between probes of each installed route.
    pub fn new(grid: Duration) -> Self {
        Self {
            grid,
            version: 0,
            one_way: false,
            anchored: false,
            tracks: Vec::new(),
            in_use: 0,
            since: None,
            adopting: false,
            leaving: None,
            access: Access::new(grid),
            troubled: HoldDowns::default(),
            outgrown: HoldDowns::default(),
            last_move: None,
            last_breach_move: None,
            next_evaluation: None,
            better: None,
            switches: 0,
        }
    }

    /// Installs a plan and adopts its primary, unless the agent's own evidence calls that down, in breach
    /// or lossy now, or it is the same primary as before and held down. What is known of routes that stay
    /// installed is kept, and so is what is known of their first edges. A primary that nothing is known of yet
    /// is adopted when it has samples; a good route in use that the plan leaves out stays installed for that
    /// long, or for [`LEAVING`], behind those of the plan.
    pub fn set_plan(&mut self, now: Mono, plan: &LivePlan) -> Vec<LiveEvent> {
        let planned = self.planned();
        if planned > 0 && self.routes().take(planned).eq(plan.routes.iter().copied()) {
            // The same routes under other terms: whatever was chosen among them stands.
            self.set_terms(plan);
            return Vec::new();
        }
        let before = self.in_use();
        let primary_before = self.tracks.first().map(|t| t.route);
        let leaves_until = self.leaving.take().unwrap_or(now + LEAVING);
        let mut old = std::mem::take(&mut self.tracks);
        let entries: Vec<_> = old
            .iter()
            .map(|t| (t.route.entry(), t.evidence.of_entry()))
            .collect();
        self.tracks = plan
            .routes
            .iter()
            .map(|route| match old.iter().position(|t| t.route == *route) {
                Some(known) => old.swap_remove(known),
                None => {
                    let mut track = Track::new(*route, self.grid, plan.budget);
                    let known = entries.iter().find(|(entry, _)| *entry == route.entry());
                    if let Some((_, evidence)) = known {
                        track.evidence = *evidence;
                    }
                    track
                }
            })
            .collect();
        self.set_terms(plan);
        self.adopting = false;
        self.better = None;
        let (Some(primary), Some(from)) = (plan.routes.first(), before) else {
            self.in_use = 0;
            self.since = self.in_use().map(|_| now);
            return Vec::new();
        };

        let kept = self.tracks.iter().position(|t| t.route == from);
        let held = primary_before == Some(*primary) && self.troubled.holds(primary, now);
        let to = if self.in_trouble(0, now).is_none() && !held {
            self.adopting = kept.is_some_and(|i| i != 0) && !self.has_samples(0);
            if self.adopting { kept } else { Some(0) }
        } else {
            // The index in use is of the old plan; none of the new one's is to be passed over.
            self.in_use = usize::MAX;
            kept.or_else(|| self.fittest(now, self.keeping(&from), |_| true))
        };
        self.in_use = to.unwrap_or(0);
        if kept.is_none()
            && !self.has_samples(self.in_use)
            && let Some(left_out) = old.into_iter().find(|t| t.route == from)
        {
            self.tracks.push(left_out);
            let last = self.tracks.len() - 1;
            if self.in_trouble(last, now).is_none() && now < leaves_until {
                self.adopting = self.in_use == 0;
                self.in_use = last;
                self.leaving = Some(leaves_until);
            } else {
                self.tracks.pop();
            }
        }
        self.moved(from, now, self.by_plan())
    }

    /// Lets go of the route that the plan left out, once another is used, or its time is over.
    fn leave(&mut self, now: Mono) -> Vec<LiveEvent> {
        let (Some(until), Some(last)) = (self.leaving, self.tracks.len().checked_sub(1)) else {
            return Vec::new();
        };
        let mut events = Vec::new();
        if self.in_use == last {
            if now < until {
                return events;
            }
            let from = self.tracks[last].route;
            self.in_use = self.fittest(now, self.keeping(&from), |_| true).unwrap_or(0);
            events = self.moved(from, now, self.by_plan());
        }
        self.leaving = None;
        self.tracks.pop();
        self.better = None;
        events
    }

    const fn by_plan(&self) -> Reason {
        Reason::Plan {
            version: self.version,
        }
    }

    fn set_terms(&mut self, plan: &LivePlan) {
        let planned = self.planned();
        for (i, track) in self.tracks.iter_mut().take(planned).enumerate() {
            track.set_terms(plan.budget, plan.added.get(i).copied().unwrap_or_default());
        }
        self.version = plan.version;
        self.one_way = plan.one_way;
        self.anchored = plan.anchored;
    }

    /// How many tracks are the plan's.
    fn planned(&self) -> usize {
        self.tracks.len() - usize::from(self.leaving.is_some())
    }

    /// Every installed route, those of the plan first.
    pub fn routes(&self) -> impl Iterator<Item = Route> + '_ {
        self.tracks.iter().map(|t| t.route)
    }

    /// A round trip of the route at `route_idx` of [`Self::routes`]; media's count as probes' do.
    pub fn on_sample(&mut self, route_idx: usize, now: Mono, rtt: Duration) {
        if route_idx >= self.tracks.len() {
            return;
        }
        let in_flight_in_stall = self.access.on_sample(now, rtt);
        if !in_flight_in_stall && let Some(track) = self.tracks.get_mut(route_idx) {
            track.on_sample(now, rtt);
        }
    }

    /// Once a grid step or more often. `evidence` is in the order of [`Self::routes`].
    pub fn on_tick(&mut self, now: Mono, evidence: &[RouteEvidence]) -> Vec<LiveEvent> {
        let excused = self.access.is_out() || self.access.stalled_within(now, OUTCOME_LAG);
        for (track, seen) in self.tracks.iter_mut().zip(evidence) {
            track.on_tick(now, *seen, excused);
        }
        let evaluation = self.next_evaluation.is_none_or(|at| at <= now);
        if evaluation {
            self.next_evaluation = Some(now + EVALUATION);
            self.tracks.iter_mut().for_each(Track::evaluate);
        }
        let Some(used) = self.tracks.get(self.in_use) else {
            return Vec::new();
        };

        let silent = used.evidence.silent_steps >= SILENT_STEPS || !used.evidence.connected;
        let entries = Entries {
            any_heard: self.tracks.iter().any(|t| t.evidence.entry_heard_recently),
            all_overdue: self.tracks.iter().all(|t| t.evidence.entry_overdue),
        };
        let mut events: Vec<LiveEvent> = self
            .access
            .on_tick(now, entries, silent)
            .map(LiveEvent::AccessOutage)
            .into_iter()
            .collect();
        if self.access.is_out() {
            return events;
        }
        if let Some((to, reason)) = self.decide(now, evaluation) {
            let from = std::mem::replace(&mut self.in_use, to);
            let from = self.tracks[from].route;
            events.extend(self.moved(from, now, reason));
        }
        events.extend(self.leave(now));
        events
    }

    /// The route in use; `None` without a plan.
    pub fn in_use(&self) -> Option<Route> {
        self.tracks.get(self.in_use).map(|t| t.route)
    }

    /// Since when it is in use.
    pub const fn in_use_since(&self) -> Option<Mono> {
        self.since
    }

    /// How it fared in the last seconds; `None` while it has too few samples.
    pub fn recent(&self) -> Option<Recent> {
        self.tracks.get(self.in_use).and_then(Track::recent)
    }

    /// The route in use, if the plan leaves it out.
    pub fn leaving(&self) -> Option<Route> {
        self.leaving.and(self.in_use())
    }

    /// Its index in the plan; none while it is a route that the plan left out.
    pub fn in_use_index(&self) -> Option<usize> {
        (self.in_use < self.planned()).then_some(self.in_use)
    }

    /// Version of the plan that is installed.
    pub const fn plan_version(&self) -> u64 {
        self.version
    }

    /// Moves since the start, those for a new plan included.
    pub const fn switches(&self) -> u64 {
        self.switches
    }

    /// Whether the leg is at risk: out, lossy or in breach on the route in use, or its 95th percentile is
    /// over the budget now.
    pub fn at_risk(&self, now: Mono) -> bool {
        self.access.is_out()
            || self.in_trouble(self.in_use, now).is_some()
            || self.tracks.get(self.in_use).is_some_and(Track::p95_is_over)
    }

    fn decide(&mut self, now: Mono, evaluation: bool) -> Option<(usize, Reason)> {
        self.outage(now)
            .or_else(|| self.adoption(now))
            .or_else(|| self.breach(now))
            .or_else(|| self.loss(now))
            .or_else(|| if evaluation { self.better(now) } else { None })
    }

    /// A delay in the budget's terms.
    fn told(&self, delay: Duration) -> f64 {
        ms(if self.one_way { delay / 2 } else { delay })
    }

    fn outage(&self, now: Mono) -> Option<(usize, Reason)> {
        let reason = self.out(self.in_use, now)?;
        // That the first edge alone is silent says already that another is heard.
        if reason != Reason::EntrySilent && !self.another_entry_heard(now) {
            return None;
        }
        let used = self.tracks.get(self.in_use)?.route;
        let entry_lost = matches!(reason, Reason::EntrySilent | Reason::Disconnected);
        let anchor = match self.keeping(&used) {
            // The exit itself is what is lost.
            Anchor::At(exit) if entry_lost && used.entry() == Some(exit) => Anchor::Lost(exit),
            anchor => anchor,
        };
        Some((self.fittest(now, anchor, |_| true)?, reason))
    }

    /// The exit that the far end knows a leg by which uses `route`.
    fn keeping(&self, route: &Route) -> Anchor {
        let exit = route.exit().filter(|_| self.anchored);
        exit.map_or(Anchor::None, Anchor::At)
    }

    /// Whether the leg may move to a route without the need that an outage is.
    fn keeps_exit(&self, to: &Track) -> bool {
        let used = self.tracks.get(self.in_use);
        !self.anchored || used.is_none_or(|used| used.route.exit() == to.route.exit())
    }

    fn adoption(&mut self, now: Mono) -> Option<(usize, Reason)> {
        let ready = self.adopting && self.has_samples(0) && self.in_trouble(0, now).is_none();
        if !ready {
            return None;
        }
        self.adopting = false;
        Some((0, self.by_plan()))
    }

    fn breach(&self, now: Mono) -> Option<(usize, Reason)> {
        let used = self.tracks.get(self.in_use)?;
        let breach = used.breach()?;
        if self
            .last_breach_move
            .is_some_and(|last| now.since(last) < BREACH_HOLD)
        {
            return None;
        }
        let to = self
            .fittest(now, Anchor::None, |t| {
                self.keeps_exit(t)
                    && t.predicted_inside()
                    && t.is_clean()
                    && !self.troubled.holds(&t.route, now)
            })
            .or_else(|| {
                self.fittest(now, Anchor::None, |t| {
                    self.keeps_exit(t)
                        && !self.troubled.holds(&t.route, now)
                        && t.is_fresh(now)
                        && gain(used.quick_median(), t.pessimistic_median()).is_some()
                })
            })?;
        let Breach { p95, at } = breach;
        let of_to = &self.tracks[to];
        let reason = Reason::Breach {
            p95,
            one_way: self.one_way,
            at_ms: self.told(at),
            budget_ms: self.told(of_to.budget()),
            to_ms: if p95 { of_to.p95() } else { of_to.quick_median() }.map(|d| self.told(d)),
        };
        Some((to, reason))
    }

    fn loss(&self, now: Mono) -> Option<(usize, Reason)> {
        let used = self.tracks.get(self.in_use).filter(|t| t.is_lossy())?;
        let lost = used.recent_loss();
        let desperate = used.breach().is_some() || lost >= LOSS_HEAVY;
        let to = self.fittest(now, Anchor::None, |t| {
            self.keeps_exit(t)
                && t.is_clean()
                && t.recent_loss() <= lost / 2.0
                && (desperate || t.predicted_inside())
                && !self.troubled.holds(&t.route, now)
        })?;
        let reason = Reason::Loss {
            from: lost,
            to: self.tracks[to].recent_loss(),
        };
        Some((to, reason))
    }

    /// Called once an evaluation period: what is better must be so in all evaluations of [`GOOD_FOR`].
    fn better(&mut self, now: Mono) -> Option<(usize, Reason)> {
        let used = self.tracks.get(self.in_use)?.steady_median();
        let to = self.fittest(now, Anchor::None, |t| {
            self.keeps_exit(t)
                && t.is_good(now)
                && gain(used, t.steady_median()).is_some()
                && !self.troubled.holds(&t.route, now)
                && !self.outgrown.holds(&t.route, now)
        });
        let since = match (to, self.better) {
            (Some(to), Some((same, since))) if same == to => since,
            _ => now,
        };
        self.better = to.map(|to| (to, since));
        let to = to.filter(|_| {
            now.since(since) >= GOOD_FOR && self.last_move.is_none_or(|last| now.since(last) >= LIVE_DWELL)
        })?;
        let gain = gain(used, self.tracks[to].steady_median())?;
        Some((
            to,
            Reason::Better {
                gain_ms: self.told(gain),
            },
        ))
    }

    /// The fittest of the other routes that carry something and pass `filter`: those with the exit that the far end
    /// knows first, then those of which no edge has just been called silent, then inside the budget, then without loss, then by median, then in the plan's order.
    fn fittest(&self, now: Mono, anchor: Anchor, filter: impl Fn(&Track) -> bool) -> Option<usize> {
        let fitness = |i: &usize| {
            let track = &self.tracks[*i];
            Fitness {
                another_exit: anchor.is_left_by(&track.route),
                is_named: track.is_named(),
                standing: match track.quick_median() {
                    _ if track.predicted_inside() => Standing::Inside,
                    None => Standing::Unmeasured,
                    Some(_) => Standing::Breach,
                },
                lossy: !track.is_clean(),
                held: self.troubled.holds(&track.route, now),
                median: track.quick_median().unwrap_or(Duration::MAX),
                index: *i,
            }
        };
        (0..self.tracks.len())
            .filter(|&i| i != self.in_use && self.out(i, now).is_none())
            .filter(|&i| self.tracks[i].evidence.entry_heard_recently)
            .filter(|&i| filter(&self.tracks[i]))
            .min_by_key(fitness)
    }

    /// Why a route carries nothing, if so. Silence that a stall of the access line explains does not count.
    fn out(&self, index: usize, now: Mono) -> Option<Reason> {
        let track = self.tracks.get(index)?;
        let rtt = track.quick_round_trip().unwrap_or_default();
        let silent = self
            .access
            .silence_since_stall(now, track.evidence.silent_steps, rtt);
        let mut reason = track.out(silent)?;
        if let Reason::Silent { for_ms, .. } = &mut reason {
            let since = track.last_sample().map(|at| now.since(at).as_millis());
            *for_ms = since.and_then(|ms| u32::try_from(ms).ok());
        }
        Some(reason)
    }

    /// Why a route should not be adopted now.
    fn in_trouble(&self, index: usize, now: Mono) -> Option<Trouble> {
        let track = self.tracks.get(index)?;
        if self.out(index, now).is_some() {
            Some(Trouble::Out)
        } else if track.breach().is_some() {
            Some(Trouble::Breach)
        } else if track.is_lossy() {
            Some(Trouble::Lossy)
        } else {
            None
        }
    }

    /// Whether another entry edge was heard in the same interval, or another route by the same. Where a route is
    /// sampled on the grid, its samples must go on: "heard in the last three steps" is still true of a line that stands
    /// still since two.
    fn another_entry_heard(&self, now: Mono) -> bool {
        let Some(used) = self.tracks.get(self.in_use) else {
            return false;
        };
        let others = self.tracks.iter().filter(|t| t.route != used.route);
        others.filter(|t| t.evidence.entry_heard_recently).any(|t| {
            let goes_on = t
                .last_sample()
                .is_some_and(|last| now.since(last) < self.access.gap());
            if t.is_regular() {
                goes_on
            } else {
                t.route.entry() != used.route.entry()
            }
        })
    }

    fn has_samples(&self, index: usize) -> bool {
        self.tracks.get(index).is_some_and(|t| t.quick_median().is_some())
    }

    fn moved(&mut self, from: Route, now: Mono, reason: Reason) -> Vec<LiveEvent> {
        let Some(to) = self.in_use().filter(|to| *to != from) else {
            return Vec::new();
        };
        match reason {
            Reason::Plan { .. } => {}
            Reason::Better { .. } => self.outgrown.left(from, now),
            Reason::Breach { .. } => {
                self.last_breach_move = Some(now);
                self.troubled.left(from, now);
            }
            Reason::Loss { .. }
            | Reason::Silent { .. }
            | Reason::Disconnected
            | Reason::EntrySilent
            | Reason::NextHopSilent => self.troubled.left(from, now),
        }
        self.last_move = Some(now);
        self.since = Some(now);
        self.better = None;
        self.switches += 1;
        vec![LiveEvent::Switch(Switch { from, to, reason })]
    }
}

/// What keeps a route from being adopted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Trouble {
    Out,
    Breach,
    Lossy,
}

/// What the far end's knowledge of a leg asks for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Anchor {
    None,
    /// It knows this exit.
    At(EdgeId),
    /// It did, and that one is gone.
    Lost(EdgeId),
}

impl Anchor {
    fn is_left_by(self, route: &Route) -> bool {
        match self {
            Self::None => false,
            Self::At(exit) => route.exit() != Some(exit),
            Self::Lost(exit) => route.exit() == Some(exit),
        }
    }
}

/// How fit a route is to take over, best first.
#[derive(Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Fitness {
    another_exit: bool,
    /// An edge of it has just been called silent.
    is_named: bool,
    standing: Standing,
    lossy: bool,
    held: bool,
    median: Duration,
    index: usize,
}

#[derive(Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Standing {
    Inside,
    Breach,
    Unmeasured,
}

#[cfg(test)]
mod tests;
