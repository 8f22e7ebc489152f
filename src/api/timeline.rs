//! A class's timeline: from what its participants' agents reported, the route that was in use at each
//! time and how it fared. Pure; `read.rs` brings the reports.
//!
//! 1. A leg's steps, which route was in use from when, come from `switch` events, which have their own
//!    time, and from the state of the leg in each report, which holds at the report's end.
//! 2. Of the windows that a report has of each route, those of the route that was in use for the most of
//!    them become points. A window may be older than its report by seconds: it closes late.
//! 3. What nobody reported is a gap. Gaps stay.
//! 4. Above [`MAX_POINTS`], neighbours of the same route without a gap between them are merged.

mod around;
pub mod read;

use std::{
    collections::{BTreeMap, BTreeSet},
    time::Duration,
};

use corridor_probes::{AgentId, EdgeId, Ledger, Route, Wall, percentile_of_sorted, samples};

use super::{
    model::{ClassStatus, ParticipantTimeline, Point, Quality, Rtt},
    time_text,
};
use crate::{
    proto::{self, window::Of},
    reporting::{adds_up, route_from},
    store::records::{BudgetOn, ReportRecord, Reporter, Role},
};

/// Points of one participant, but for changes of route and gaps: as many as a screen has columns.
pub const MAX_POINTS: usize = 2_000;
/// Windows of one class taken from one report: three routes, each in a few pieces.
const MAX_WINDOWS: usize = 16;
/// The longest window that makes sense.
const LONGEST: Duration = Duration::from_secs(3_600);
/// Samples of one timeline, 32 MB; windows that come later have no round trips.
const MAX_SAMPLES: usize = 8_000_000;
/// Windows further apart than this have a gap between them: the agent's own are of one second.
const GAP: Duration = Duration::from_millis(1_500);

/// Fewer samples have no 95th percentile to judge by; then the median is judged.
const SAMPLES_FOR_P95: usize = 40;
/// So many silent steps of the grid are an outage.
const SILENT: u32 = 3;
/// Speech suffers audibly from this share lost: the E-model's rating of Opus falls by 23 of 93 points.
const LOSSY: f64 = 0.05;

/// What is known so far.
#[derive(Debug)]
pub struct Builder {
    class: String,
    budget: Budget,
    from: Wall,
    to: Wall,
    participants: Vec<Participant>,
    by_agent: BTreeMap<AgentId, usize>,
    samples_left: usize,
    /// Edges on any route that was installed.
    edges: BTreeSet<EdgeId>,
}

#[derive(Debug, Clone, Copy)]
struct Budget {
    ms: f64,
    on: BudgetOn,
}

#[derive(Debug)]
struct Participant {
    subject: String,
    role: Role,
    steps: Vec<Step>,
    pieces: Vec<Piece>,
    around: around::Around,
}

/// From `at` on `route` is in use.
#[derive(Debug, Clone, Copy)]
struct Step {
    at: Wall,
    route: Route,
    /// What was in use before, if it is said.
    before: Option<Route>,
}

/// One window of one route, or several in a row.
#[derive(Debug, Clone)]
struct Piece {
    start: Wall,
    end: Wall,
    route: Route,
    ledger: Ledger,
    rtts_us: Vec<u32>,
    jitter: Mean,
    quality: Quality,
}

/// A mean over time.
#[derive(Debug, Clone, Copy, Default)]
struct Mean {
    sum: f64,
    weight: f64,
}

impl Builder {
    /// For the participants of `class` between `from` and `to`. `agents` says whose agent is, or was, whose.
    pub fn new(class: &ClassStatus, agents: &BTreeMap<AgentId, String>, from: Wall, to: Wall) -> Self {
        let place = |subject: &String| class.participants.iter().position(|p| p.subject == *subject);
        Self {
            class: class.id.clone(),
            budget: Budget {
                ms: class.budget_ms,
                on: class.budget_on,
            },
            from,
            to,
            participants: class
                .participants
                .iter()
                .map(|p| Participant {
                    subject: p.subject.clone(),
                    role: p.role,
                    steps: Vec::new(),
                    pieces: Vec::new(),
                    around: around::Around::default(),
                })
                .collect(),
            by_agent: agents
                .iter()
                .filter_map(|(agent, subject)| Some((*agent, place(subject)?)))
                .collect(),
            samples_left: MAX_SAMPLES,
            edges: BTreeSet::new(),
        }
    }

    /// Takes a stored report. One that cannot be read, or is of nobody in the class, says nothing.
    pub fn take(&mut self, record: &ReportRecord) {
        let Reporter::Agent(agent) = record.reporter else {
            return;
        };
        let Some(participant) = self
            .by_agent
            .get(&agent)
            .and_then(|&i| self.participants.get_mut(i))
        else {
            return;
        };
        let Ok(report) = proto::decode::<proto::Report>(&record.body) else {
            return;
        };
        participant.steps.extend(steps(&report, &self.class));
        participant.around.take(&report, self.from, self.to);
        let at_risk = report.legs.iter().any(|l| l.class == self.class && l.at_risk);
        let windows = report.windows.iter().filter(|w| w.class == self.class);
        for window in windows.take(MAX_WINDOWS) {
            let Some(mut piece) = piece(window, self.samples_left) else {
                continue;
            };
            if piece.end > self.from && piece.start < self.to {
                self.samples_left -= piece.rtts_us.len();
                self.edges.extend(piece.route.edges());
                piece.quality = judge(&piece, self.budget, at_risk);
                participant.pieces.push(piece);
            }
        }
    }

    /// The edges on the routes that the participants' agents had installed, in use or standing by.
    pub fn edges(&self) -> &BTreeSet<EdgeId> {
        &self.edges
    }

    /// The timelines, in the participants' order; `edges` has the names.
    pub fn finish(self, edges: &BTreeMap<EdgeId, String>) -> Vec<ParticipantTimeline> {
        let (from, to) = (self.from, self.to);
        let participants = self.participants.into_iter();
        participants
            .map(|mut participant| {
                participant.steps.sort_by_key(|step| step.at);
                let steps = &participant.steps;
                let mut pieces = participant.pieces;
                pieces.retain(|p| in_use(steps, p.start, p.end) == Some(p.route));
                pieces.sort_by_key(|p| (p.end, p.start));
                let points = thin(pieces, from, to);
                let (surroundings, paths) = participant.around.finish(from, to, edges);
                ParticipantTimeline {
                    surroundings,
                    paths,
                    subject: participant.subject,
                    role: participant.role,
                    points: points.iter().map(|p| point(p, edges)).collect(),
                }
            })
            .collect()
    }
}

fn steps(report: &proto::Report, class: &str) -> impl Iterator<Item = Step> {
    let switches = report.events.iter().filter_map(move |event| {
        if event.kind != "switch" || event.class != class {
            return None;
        }
        let mut detail: serde_json::Value = serde_json::from_str(&event.detail).ok()?;
        let mut route = |key| serde_json::from_value::<Route>(detail.get_mut(key)?.take()).ok();
        Some(Step {
            at: Wall::from_micros(event.at_us),
            before: route("from"),
            route: route("to")?,
        })
    });
    let states = report.legs.iter().filter_map(move |leg| {
        let route = route_from(leg.in_use.as_ref().filter(|_| leg.class == class)?)?;
        Some(Step {
            at: Wall::from_micros(report.end_us),
            route,
            before: None,
        })
    });
    switches.chain(states)
}

/// The route that was in use for the most of the time between `start` and `end`; of two, the later.
fn in_use(steps: &[Step], start: Wall, end: Wall) -> Option<Route> {
    let next = steps.partition_point(|step| step.at <= start);
    let mut route = match next.checked_sub(1) {
        Some(last) => steps[last].route,
        // Before the first step, what it says was before it, or else the same.
        None => steps.first().map(|first| first.before.unwrap_or(first.route))?,
    };
    let mut shares: Vec<(Route, Duration)> = Vec::new();
    let mut since = start;
    let mut used = |route, time: Duration| match shares.iter().position(|(r, _)| *r == route) {
        Some(known) => {
            let (_, share) = shares.remove(known);
            shares.push((route, share + time));
        }
        None => shares.push((route, time)),
    };
    for step in steps[next..].iter().take_while(|step| step.at < end) {
        used(route, step.at.since(since));
        (route, since) = (step.route, step.at);
    }
    used(route, end.since(since));
    shares
        .iter()
        .max_by_key(|(_, share)| *share)
        .map(|(route, _)| *route)
}

fn piece(window: &proto::Window, samples_left: usize) -> Option<Piece> {
    let Some(Of::Route(route)) = &window.of else {
        return None;
    };
    let length = Duration::from_millis(window.length_ms.into());
    if length.is_zero() || length > LONGEST {
        return None;
    }
    let books = window.ledger.unwrap_or_default();
    if !adds_up(&books) {
        return None;
    }
    let start = Wall::from_micros(window.start_us);
    let sampled = samples::decode(&window.samples).unwrap_or_default();
    let mut rtts_us: Vec<_> = sampled.iter().map(|s| s.rtt_us).collect();
    rtts_us.truncate(samples_left);
    let jitter_us = window.jitter_up_us.max(window.jitter_down_us);
    let weight = if jitter_us > 0 { length.as_secs_f64() } else { 0.0 };
    Some(Piece {
        start,
        end: start + length,
        route: route_from(route)?,
        ledger: ledger(&books),
        rtts_us,
        jitter: Mean {
            sum: f64::from(jitter_us) * weight,
            weight,
        },
        quality: Quality::Unknown,
    })
}

/// As much of it as points show.
fn ledger(l: &proto::Ledger) -> Ledger {
    Ledger {
        sent: l.sent,
        unconnected: l.unconnected,
        received: l.received,
        lost_up: l.lost_up,
        lost_down: l.lost_down,
        lost_unknown: l.lost_unknown,
        ..Ledger::default()
    }
}

/// How a window was, by the first of these that holds:
///
/// | quality | when |
/// |---|---|
/// | outage | three probes or more, and no echo; or none sent, and no connection for three or more |
/// | unknown | no echo |
/// | at risk | the agent judged so; or the 95th percentile of the round trip is over the class's budget (the median, where there are fewer than 40 samples; half of it, where the budget is one way); or 5 % are lost |
/// | good | else |
fn judge(piece: &Piece, budget: Budget, at_risk: bool) -> Quality {
    let Ledger {
        sent,
        received,
        unconnected,
        ..
    } = piece.ledger;
    if received == 0 {
        let is_silent = sent >= SILENT || (sent == 0 && unconnected >= SILENT);
        return if is_silent {
            Quality::Outage
        } else {
            Quality::Unknown
        };
    }
    let over_budget = rtt(&piece.rtts_us).is_some_and(|rtt| {
        let judged = if piece.rtts_us.len() < SAMPLES_FOR_P95 {
            rtt.p50
        } else {
            rtt.p95
        };
        let share = match budget.on {
            BudgetOn::RoundTrip => 1.0,
            BudgetOn::OneWay => 0.5,
        };
        judged * share > budget.ms
    });
    if at_risk || over_budget || piece.ledger.loss().is_some_and(|loss| loss >= LOSSY) {
        Quality::AtRisk
    } else {
        Quality::Good
    }
}

/// Merges neighbours whose ends fall into the same of [`MAX_POINTS`] equal spans.
fn thin(pieces: Vec<Piece>, from: Wall, to: Wall) -> Vec<Piece> {
    if pieces.len() <= MAX_POINTS {
        return pieces;
    }
    let width = (to.since(from).as_micros() / MAX_POINTS as u128).max(1);
    let span = |piece: &Piece| piece.end.since(from).as_micros() / width;
    let mut thinned: Vec<Piece> = Vec::new();
    for piece in pieces {
        match thinned.last_mut() {
            Some(last)
                if last.route == piece.route
                    && piece.start <= last.end + GAP
                    && span(last) == span(&piece) =>
            {
                last.absorb(piece);
            }
            _ => thinned.push(piece),
        }
    }
    thinned
}

impl Piece {
    fn absorb(&mut self, next: Self) {
        self.start = self.start.min(next.start);
        self.end = self.end.max(next.end);
        self.ledger += next.ledger;
        self.rtts_us.extend(next.rtts_us);
        self.jitter.sum += next.jitter.sum;
        self.jitter.weight += next.jitter.weight;
        // The worst of what is known: a short outage must not vanish in a long window.
        self.quality = match (self.quality, next.quality) {
            (Quality::Unknown, other) | (other, Quality::Unknown) => other,
            (one, other) => one.max(other),
        };
    }
}

fn point(piece: &Piece, edges: &BTreeMap<EdgeId, String>) -> Point {
    let name = |id: EdgeId| edges.get(&id).cloned().unwrap_or_else(|| id.to_string());
    let jitter = piece.jitter;
    Point {
        at: time_text::text(piece.end),
        length_s: piece.end.since(piece.start).as_secs_f64(),
        route: piece.route.edges().map(name).collect(),
        rtt_ms: rtt(&piece.rtts_us),
        loss_up: piece.ledger.loss_up(),
        loss_down: piece.ledger.loss_down(),
        jitter_ms: (jitter.weight > 0.0).then(|| jitter.sum / jitter.weight / 1e3),
        quality: piece.quality,
    }
}

/// By nearest rank.
fn rtt(rtts_us: &[u32]) -> Option<Rtt> {
    let mut sorted = rtts_us.to_vec();
    sorted.sort_unstable();
    let at = |percent| percentile_of_sorted(&sorted, percent).map(|us| f64::from(us) / 1e3);
    Some(Rtt {
        p50: at(50.0)?,
        p95: at(95.0)?,
    })
}

#[cfg(test)]
mod tests;
