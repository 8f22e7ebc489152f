//! How a class is doing: the delay between each teacher and student, and what is wrong.

use std::{fmt, time::Duration};

use corridor_probes::Route;
use serde::{Deserialize, Serialize};

use super::{
    FarEnd,
    classes::{Class, Meeting, Member},
    defaults::AT_RISK_BELOW,
    directions::{Raw, Worse, bound_borne},
    estimate::Distribution,
    margin::ms,
    score::{Expected, Snapshot},
};
use crate::store::records::BudgetOn;

/// A member's leg with the route that it uses.
#[derive(Debug, Clone, PartialEq)]
pub struct LegNow<'a> {
    pub member: &'a Member,
    pub to: FarEnd,
    /// What the agent says it uses, or its plan's primary.
    pub route: Option<Route>,
}

/// Best first; a class is as well as its worst part.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Health {
    Good,
    /// Nothing recent is known.
    Unknown,
    /// Over the budget, or likely to be soon.
    AtRisk,
    /// Some leg carries nothing.
    Outage,
}

/// How a class is doing.
#[derive(Debug, Clone, PartialEq)]
pub struct ClassHealth {
    pub health: Health,
    /// The worst measured pair, by its 95th percentile.
    pub worst: Option<PairDelay>,
    /// All that is wrong, worst first; empty when all is good.
    pub findings: Vec<Finding>,
}

/// Delay between a teacher and a student.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct PairDelay {
    pub teacher: String,
    pub student: String,
    /// Of the round trip.
    pub p50_ms: f64,
    pub p95_ms: f64,
    /// Where the budget is on one way.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub one_way: Option<OneWayDelay>,
}

/// What is held against a budget on one way.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct OneWayDelay {
    /// Of the worse direction, at the estimate plus `error_ms`; of half of the round trip without it.
    pub p50_ms: f64,
    pub p95_ms: f64,
    /// How far the estimates may be off.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub error_ms: Option<f64>,
}

/// The delay between two members as it is judged.
#[derive(Debug, Clone, PartialEq)]
struct Between {
    round_trip: Distribution,
    /// The same, or twice the worse direction.
    judged: Distribution,
    /// How far the directions' estimates may be off, where they are judged.
    bound: Option<Duration>,
}

/// Something that is wrong in a class.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "snake_case")]
pub enum Finding {
    /// The leg has no route, or a link of it answers nothing.
    LegOut { subject: String },
    /// The pair's 95th percentile is over the budget.
    Over { pair: PairDelay, budget_ms: f64 },
    /// The leg's route loses so much in one direction (share, 0 to 1) that speech cannot be mended.
    Lossy { subject: String, loss: f64 },
    /// It is inside, but may not be for long.
    Unlikely {
        pair: PairDelay,
        budget_ms: f64,
        /// That it stays inside, 0 to 1.
        likely: f64,
    },
    /// The agent is not heard.
    Away { subject: String },
    /// A link of its route is not measured.
    Unmeasured { subject: String },
}

/// Judges a class by its legs, which are in the order of its members (those without a leg left out).
/// `was_judged` says that directions were, when it was judged before.
pub fn class_health(
    snapshot: &Snapshot<'_>,
    class: &Class,
    legs: &[LegNow<'_>],
    was_judged: bool,
) -> ClassHealth {
    let expected: Vec<Option<Expected>> = legs
        .iter()
        .map(|leg| Some(snapshot.expect(leg.member.agent, &leg.route?, &leg.to)))
        .collect();
    let mut findings: Vec<Finding> = legs
        .iter()
        .zip(&expected)
        .filter_map(|(leg, expected)| leg_finding(leg, expected.as_ref()))
        .collect();

    let leg_of = |index: usize| legs.iter().position(|leg| *leg.member == class.members[index]);
    let mut worst: Option<PairDelay> = None;
    for (a, b) in class.pairs() {
        let (Some(a), Some(b)) = (leg_of(a), leg_of(b)) else {
            continue;
        };
        let (Some(of_a), Some(of_b)) = (&expected[a], &expected[b]) else {
            continue;
        };
        let (of_a, of_b) = ((&legs[a], of_a), (&legs[b], of_b));
        let Some(delay) = between(snapshot, class, of_a, of_b, was_judged) else {
            continue;
        };
        let one_way = || OneWayDelay {
            p50_ms: ms(delay.judged.median() / 2),
            p95_ms: ms(delay.judged.p95() / 2),
            error_ms: delay.bound.map(ms),
        };
        let pair = PairDelay {
            teacher: legs[a].member.subject.clone(),
            student: legs[b].member.subject.clone(),
            p50_ms: ms(delay.round_trip.median()),
            p95_ms: ms(delay.round_trip.p95()),
            one_way: (class.budget_on == BudgetOn::OneWay).then(one_way),
        };
        findings.extend(pair_finding(&pair, &delay.judged, class));
        if worst
            .as_ref()
            .is_none_or(|w| w.judged_p95_ms() < pair.judged_p95_ms())
        {
            worst = Some(pair);
        }
    }
    findings.sort_by_key(|finding| std::cmp::Reverse(finding.health()));
    let nothing = if worst.is_some() || class.pairs().is_empty() {
        Health::Good
    } else {
        Health::Unknown
    };
    ClassHealth {
        health: findings.iter().map(Finding::health).max().unwrap_or(nothing),
        worst,
        findings,
    }
}

/// The delay between two members: with a target or a hub both legs combined, between two peers the worse
/// of the two, each of which is the whole way.
fn between(
    snapshot: &Snapshot<'_>,
    class: &Class,
    a: (&LegNow<'_>, &Expected),
    b: (&LegNow<'_>, &Expected),
    was_judged: bool,
) -> Option<Between> {
    let raw = |(leg, _): (&LegNow<'_>, &Expected)| {
        snapshot.whole_way(leg.member.agent, leg.route.as_ref()?, &leg.to)
    };
    let ways: Vec<(Distribution, Option<Raw>)> = if class.meeting() == Meeting::Peers {
        let legs = [a, b].into_iter();
        legs.filter_map(|leg| Some((leg.1.rtt.clone()?, raw(leg))))
            .collect()
    } else {
        let round_trip = a.1.rtt.as_ref()?.then(b.1.rtt.as_ref()?);
        let there = raw(a).zip(raw(b));
        vec![(round_trip, there.and_then(|(a, b)| a.then(&b.turned())))]
    };
    let wanted = (class.budget_on == BudgetOn::OneWay).then(|| bound_borne(class.budget, was_judged));
    let worse = |raw: &Option<Raw>| {
        let worse = snapshot.worse(raw.as_ref()?)?;
        (worse.bound <= wanted?).then_some(worse)
    };
    let worse: Vec<Option<Worse>> = ways.iter().map(|(_, raw)| worse(raw)).collect();
    // All alike: what is known less well would look better.
    let all = worse.iter().all(Option::is_some);
    let judged = ways.into_iter().zip(worse).map(|((round_trip, _), worse)| {
        let worse = worse.filter(|_| all);
        Between {
            bound: worse.as_ref().map(|worse| worse.bound),
            judged: worse.map_or_else(|| round_trip.clone(), |worse| worse.twice),
            round_trip,
        }
    });
    judged.max_by_key(|between| between.judged.p95())
}

impl PairDelay {
    fn judged_p95_ms(&self) -> f64 {
        self.one_way.map_or(self.p95_ms, |one_way| one_way.p95_ms)
    }
}

/// How likely it is that the 95th percentile stays inside `budget`: that no more than one in twenty of
/// all delays are over it, given how many of these were. By the normal approximation of the binomial
/// with continuity correction, so that one delay of sixty is no alarm.
pub fn likely_inside(delay: &Distribution, budget: Duration) -> f64 {
    let n = delay.samples() as f64;
    let over = (1.0 - delay.share_within(budget)) * n;
    let borne = 0.05 * n;
    let deviation = (0.05 * 0.95 * n).sqrt();
    let z = (borne - (over - 0.5).max(0.0)) / deviation;
    // The logistic function stands in for the normal one: within 0.01 everywhere.
    1.0 / (1.0 + (-1.702 * z).exp())
}

fn leg_finding(leg: &LegNow<'_>, expected: Option<&Expected>) -> Option<Finding> {
    let subject = leg.member.subject.clone();
    match expected {
        _ if !leg.member.connected => Some(Finding::Away { subject }),
        None => Some(Finding::LegOut { subject }),
        Some(expected) if expected.out => Some(Finding::LegOut { subject }),
        Some(expected) if expected.rtt.is_none() => Some(Finding::Unmeasured { subject }),
        Some(expected) => expected
            .spoiling_loss()
            .map(|loss| Finding::Lossy { subject, loss }),
    }
}

fn pair_finding(pair: &PairDelay, delay: &Distribution, class: &Class) -> Option<Finding> {
    let (pair, budget_ms) = (pair.clone(), ms(class.budget));
    let budget = class.round_trip_budget();
    if delay.p95() > budget {
        return Some(Finding::Over { pair, budget_ms });
    }
    // Too few samples to be unsure of: only what was over is a sign.
    let likely = likely_inside(delay, budget);
    let some_over = delay.share_within(budget) < 1.0;
    (some_over && likely < AT_RISK_BELOW).then_some(Finding::Unlikely {
        pair,
        budget_ms,
        likely,
    })
}

impl Finding {
    pub const fn health(&self) -> Health {
        match self {
            Self::LegOut { .. } => Health::Outage,
            Self::Over { .. } | Self::Lossy { .. } | Self::Unlikely { .. } => Health::AtRisk,
            Self::Away { .. } | Self::Unmeasured { .. } => Health::Unknown,
        }
    }
}

impl fmt::Display for PairDelay {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (teacher, student, p95) = (&self.teacher, &self.student, self.judged_p95_ms());
        write!(f, "{teacher} to {student}: p95 {p95:.0} ms")?;
        match self.one_way.map(|one_way| one_way.error_ms) {
            None => Ok(()),
            Some(Some(error)) => write!(f, " one way, the {error:.0} ms that it may be off included"),
            Some(None) => write!(f, " each way, as half of the round trip"),
        }
    }
}

impl fmt::Display for Finding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::LegOut { subject } => write!(f, "{subject} has no working route"),
            Self::Over { pair, budget_ms } => write!(f, "{pair}, over the budget of {budget_ms:.0} ms"),
            Self::Lossy { subject, loss } => {
                write!(
                    f,
                    "the route of {subject} loses {:.0} % in one direction",
                    loss * 100.0
                )
            }
            Self::Unlikely {
                pair,
                budget_ms,
                likely,
            } => write!(
                f,
                "{pair}, {:.0} % likely to stay inside the budget of {budget_ms:.0} ms",
                likely * 100.0
            ),
            Self::Away { subject } => write!(f, "the agent of {subject} is not heard"),
            Self::Unmeasured { subject } => write!(f, "the route of {subject} is not measured"),
        }
    }
}

#[cfg(test)]
mod tests {
    use corridor_probes::{AgentId, EdgeId, Mono};

    use super::*;
    use crate::{
        route::{
            estimate::Observation,
            links::{EdgeHealth, EdgeState, LinkKey, LinkMap},
        },
        store::records::{BudgetOn, Role},
    };

    fn edge() -> EdgeId {
        EdgeId::new(1).unwrap()
    }

    /// A teacher and students, each with its own round trips to the one edge; empty is silence.
    fn judge(target: bool, rtts: &[Vec<u32>]) -> ClassHealth {
        judge_losing(target, rtts, 0)
    }

    /// The same, with so many of each hundred probes lost on their way to the edge.
    fn judge_losing(target: bool, rtts: &[Vec<u32>], lost_up: u32) -> ClassHealth {
        let mut map = LinkMap::default();
        let health = EdgeHealth {
            state: EdgeState::Up,
            load: None,
        };
        map.set_edge(edge(), health);
        let seen = |rtt_us| Observation {
            at: Mono::ZERO,
            length: Duration::from_secs(10),
            rtt_us,
            sent: 100,
            lost_up,
            lost_down: 0,
            kept_out: 0,
            every: Duration::ZERO,
            chains: Default::default(),
        };
        let mut members = Vec::new();
        for (id, rtts) in (1..).zip(rtts) {
            map.observe(LinkKey::AgentEdge(AgentId(id), edge()), &seen(rtts));
            members.push(Member {
                subject: format!("s{id}"),
                role: if id == 1 { Role::Teacher } else { Role::Student },
                agent: AgentId(id),
                connected: true,
                in_use: None,
            });
        }
        let target = target.then(|| "sfu:1".to_owned());
        if let Some(target) = &target {
            map.observe(LinkKey::EdgeTarget(edge(), target.clone()), &seen(&[0; 60]));
        }
        let class = Class {
            id: "c".into(),
            target,
            budget: Duration::from_millis(200),
            budget_on: BudgetOn::RoundTrip,
            members,
        };
        let legs: Vec<_> = class
            .legs(Some(edge()))
            .into_iter()
            .map(|(member, to)| LegNow {
                member,
                to,
                route: Route::new(&[edge()]).ok(),
            })
            .collect();
        class_health(&Snapshot::new(&map, Mono::ZERO), &class, &legs, false)
    }

    fn steady(ms: u32) -> Vec<u32> {
        vec![ms * 1_000; 60]
    }

    #[test]
    fn legs_are_combined_as_distributions() {
        // One in twelve of each leg's round trips is 100 ms more: rarely both at once.
        let spiky: Vec<u32> = (0..60)
            .map(|i| if i % 12 == 0 { 160_000 } else { 60_000 })
            .collect();
        let class = judge(true, &[spiky.clone(), spiky]);
        let worst = class.worst.unwrap();
        assert_eq!((worst.p50_ms, worst.p95_ms), (120.0, 220.0), "and not 320");
        assert_eq!(class.health, Health::AtRisk);
    }

    #[test]
    fn the_worst_pair_and_the_worst_finding_count() {
        let class = judge(false, &[steady(50), steady(100), steady(150), steady(151)]);
        assert_eq!(class.worst.as_ref().unwrap().student, "s4");
        assert_eq!(class.health, Health::AtRisk);
        assert_eq!(class.findings.len(), 1, "200 ms are inside: {:?}", class.findings);
        assert_eq!(
            class.findings[0].to_string(),
            "s1 to s4: p95 201 ms, over the budget of 200 ms"
        );
        let class = judge(false, &[steady(50), steady(200), vec![]]);
        assert_eq!(class.health, Health::Outage);
        assert!(matches!(class.findings[0], Finding::LegOut { .. }));
        assert_eq!(
            judge(false, &[steady(50), steady(60), steady(1)]).health,
            Health::Good
        );
    }

    #[test]
    fn one_delay_of_sixty_is_no_alarm_but_two_are() {
        for (over, health) in [(0, Health::Good), (1, Health::Good), (2, Health::AtRisk)] {
            let mut rtts = steady(120);
            rtts[..over].fill(400_000);
            assert_eq!(judge(true, &[steady(50), rtts]).health, health, "{over}");
        }
    }

    #[test]
    fn heavy_loss_on_a_leg_is_told_and_puts_the_class_at_risk() {
        let class = judge_losing(false, &[steady(50), steady(60)], 40);
        assert_eq!(class.health, Health::AtRisk);
        assert_eq!(
            class.findings[0].to_string(),
            "the route of s1 loses 31 % in one direction"
        );
        assert_eq!(
            judge_losing(false, &[steady(50), steady(60)], 15).health,
            Health::Good
        );
    }

    #[test]
    fn between_two_peers_each_leg_is_the_whole_way() {
        let class = judge(false, &[steady(80), steady(90)]);
        let worst = class.worst.unwrap();
        assert_eq!(worst.p95_ms, 170.0, "80 + 90, once");
        assert_eq!(class.health, Health::Good);
    }
}
