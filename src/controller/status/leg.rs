//! What is shown of a leg: its plan, the route in use, and how that fares.
//!
//! Of the route in use, its newest window is shown. A window closes seconds late and comes with the next
//! report, and a route that was installed just now has none, or one from when it was last installed; then
//! what the agent's own choice saw in the seconds before its report stands in: round trips, not loss. In the
//! second or two before there is that either, the figures are absent, and the quality is the expected one.

use std::time::Duration;

use corridor_probes::{AgentId, Route, Wall};

use super::{Core, event::route_names};
use crate::{
    api::{
        model::{LegStatus, OneWay, Quality, RouteComparison, Rtt},
        time_text,
    },
    controller::{agents::Agent, links::RouteWindow, why},
    proto,
    reporting::route_from,
    route::engine::Plan,
    store::records::{BudgetOn, ClassRecord},
};

/// Figures speak for the present this long: two reports and a bit.
const FRESH: Duration = Duration::from_secs(25);
/// The first figures of a route that was not probed before come this long after it was taken, at most.
const JUST_TAKEN: Duration = Duration::from_secs(5);

/// A leg as it is shown, and what its quality follows from.
#[derive(Debug)]
pub(super) struct Leg {
    pub status: LegStatus,
    /// The agent judges so, by every packet.
    at_risk: bool,
    /// Its 95th percentile is over its share of the budget.
    over: bool,
    is_fresh: bool,
    just_taken: bool,
}

/// What is known of how a route fares.
#[derive(Debug, Clone, Copy, PartialEq)]
struct Figures {
    at: Wall,
    rtt_ms: Option<Rtt>,
    loss: Option<f64>,
    /// Of so few samples that their 95th percentile says little.
    few: bool,
}

impl Core {
    pub(super) fn leg(&self, class: &ClassRecord, subject: &str, now: Wall) -> Option<Leg> {
        let plan = self.planner.leg(&class.id, subject)?;
        let agent = self.agents.by_subject(subject)?;
        let state = agent.legs.get(&class.id);
        let in_use = state.and_then(|s| route_from(s.in_use.as_ref()?));
        let since = state
            .filter(|s| s.since_us > 0)
            .map(|s| Wall::from_micros(s.since_us));
        let names = |route: &Route| route_names(&self.edges, route.edges());
        let name = |id| self.edge_name(id).unwrap_or_else(|| id.to_string());
        let window = in_use
            .or(plan.primary)
            .and_then(|route| self.links.route(agent.record.id, &class.id, route));
        let figures = Figures::newest(
            window.map(Figures::of_window),
            state.and_then(|s| Figures::of_agent(agent, s)),
            since,
            now,
        );
        let budget_ms = plan.budget.as_secs_f64() * 1e3;
        let rtt_ms = figures.and_then(|f| f.rtt_ms);
        let one_way_ms = rtt_ms
            .zip(in_use.or(plan.primary))
            .and_then(|(rtt, route)| self.one_way(class, plan, route, rtt));
        let judged_p95 = one_way_ms
            .map(|one_way| one_way.p95)
            .or(rtt_ms.map(|rtt| rtt.p95));
        let status = LegStatus {
            to: self.far_end_name(&plan.to),
            plan: plan.version,
            primary: plan.primary.as_ref().map(names).unwrap_or_default(),
            standbys: plan.standbys.iter().map(names).collect(),
            in_use: in_use.as_ref().map(names),
            in_use_since: since.filter(|_| in_use.is_some()).map(time_text::text),
            in_use_reason: state
                .zip(in_use)
                .and_then(|(s, route)| why::in_use(&s.reason, route, plan, &name)),
            rtt_ms,
            one_way_ms,
            loss: figures.and_then(|f| f.loss),
            budget_ms,
            switches: state.map_or(0, |s| s.switches),
            reason: plan.reason.describe(&name),
            reason_detail: serde_json::to_value(&plan.reason).unwrap_or_default(),
            compared: in_use
                .or(plan.primary)
                .map(|than| self.compared(plan, agent.record.id, &class.id, than))
                .unwrap_or_default(),
            direct: self.direct(&plan.to, agent.record.id, now),
            age_s: figures.map(|f| now.since(f.at).as_secs_f64()),
        };
        Some(Leg {
            status,
            at_risk: state.is_some_and(|s| s.at_risk),
            is_fresh: figures.is_some_and(|f| f.is_fresh(now)),
            just_taken: since.is_some_and(|since| now.since(since) <= JUST_TAKEN),
            over: figures.is_some_and(|f| !f.few) && judged_p95.is_some_and(|p95| p95 > budget_ms),
        })
    }
}

impl Core {
    /// What is held against the leg's share of the budget, if that is on one way: as the agent judges it, by what
    /// its plan adds to round trips.
    fn one_way(&self, class: &ClassRecord, plan: &Plan, route: Route, rtt: Rtt) -> Option<OneWay> {
        if class.budget_on == BudgetOn::RoundTrip {
            return None;
        }
        let added = f64::from(plan.added_ms(route));
        let of_pair = self.planner.class(&class.id).worst_one_way();
        Some(OneWay {
            p50: (rtt.p50 + added) / 2.0,
            p95: (rtt.p95 + added) / 2.0,
            error: of_pair
                .filter(|_| !plan.added_ms.is_empty())
                .and_then(|one_way| one_way.error),
        })
    }

    /// The plan's other routes against `than`.
    fn compared(&self, plan: &Plan, agent: AgentId, class: &str, than: Route) -> Vec<RouteComparison> {
        let others = plan.routes().into_iter().filter(|route| *route != than);
        let compared = others.filter_map(|route| {
            let (up, down) = self.links.longer(agent, class, route, than)?;
            Some(RouteComparison {
                route: route_names(&self.edges, route.edges()),
                up_ms: up.delay,
                down_ms: down.delay,
                error_ms: up.error.max(down.error),
            })
        });
        compared.collect()
    }
}

impl Leg {
    /// `expected` is how the class is expected to do by what is measured of the links on its routes.
    pub(super) fn quality(&self, expected: Quality) -> Quality {
        if !self.is_fresh {
            return match expected {
                _ if !self.just_taken => Quality::Unknown,
                Quality::Good if self.at_risk => Quality::AtRisk,
                Quality::Good | Quality::AtRisk => expected,
                Quality::Outage | Quality::Unknown => Quality::Unknown,
            };
        }
        match self.status.rtt_ms {
            // Probes went out and none came back.
            None => Quality::Outage,
            Some(_) if self.at_risk || self.over => Quality::AtRisk,
            Some(_) => Quality::Good,
        }
    }
}

impl Figures {
    fn is_fresh(&self, now: Wall) -> bool {
        now.since(self.at) <= FRESH
    }

    fn of_window(window: &RouteWindow) -> Self {
        let ledger = window.window.ledger.unwrap_or_default();
        let lost = ledger.sent.checked_sub(ledger.received);
        Self {
            at: window.at,
            rtt_ms: window.rtt_ms(),
            loss: lost
                .filter(|_| ledger.sent > 0)
                .map(|lost| f64::from(lost) / f64::from(ledger.sent)),
            few: false,
        }
    }

    fn of_agent(agent: &Agent, state: &proto::LegState) -> Option<Self> {
        let ms = |us: u32| f64::from(us) / 1e3;
        (state.rtt_p50_us > 0).then(|| Self {
            at: agent.legs_at,
            rtt_ms: Some(Rtt {
                p50: ms(state.rtt_p50_us),
                p95: ms(state.rtt_p95_us.max(state.rtt_p50_us)),
            }),
            loss: None,
            few: true,
        })
    }

    /// Which of a window's and the agent's own figures speak for the route that is in use `since` then.
    fn newest(window: Option<Self>, agent: Option<Self>, since: Option<Wall>, now: Wall) -> Option<Self> {
        // One without an answer may be of an outage that was over when the route was taken.
        let counts =
            |w: &Self| w.is_fresh(now) && (w.rtt_ms.is_some() || since.is_none_or(|since| w.at > since));
        window
            .filter(counts)
            .or(agent.filter(|a| a.is_fresh(now)))
            .or(window)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_agents_own_figures_stand_in_while_no_window_is_of_now() {
        let at = |s: i64| Wall::from_secs(1_800_000_000 + s);
        let rtt = |p50| Some(Rtt { p50, p95: p50 });
        let window = |s, rtt_ms| Figures {
            at: at(s),
            rtt_ms,
            loss: Some(0.0),
            few: false,
        };
        let agent = |s| Figures {
            at: at(s),
            rtt_ms: rtt(2.0),
            loss: None,
            few: true,
        };
        let now = at(1_000);
        for (window, agent, since, is) in [
            // A standby that was measured all along.
            (
                Some(window(996, rtt(1.0))),
                Some(agent(1_000)),
                Some(at(1_000)),
                Some(996),
            ),
            // A route that was installed minutes ago, or never.
            (
                Some(window(700, rtt(1.0))),
                Some(agent(1_000)),
                Some(at(1_000)),
                Some(1_000),
            ),
            (None, Some(agent(990)), Some(at(990)), Some(990)),
            // Out before it was taken, and since.
            (
                Some(window(985, None)),
                Some(agent(990)),
                Some(at(990)),
                Some(990),
            ),
            (
                Some(window(995, None)),
                Some(agent(999)),
                Some(at(990)),
                Some(995),
            ),
            // Nothing is of now: the window with its age, and never the agent's without one.
            (Some(window(700, rtt(1.0))), Some(agent(974)), None, Some(700)),
            (None, Some(agent(974)), None, None),
            (None, None, None, None),
        ] {
            let newest = Figures::newest(window, agent, since, now);
            assert_eq!(newest.map(|f| f.at), is.map(at), "{window:?} {agent:?} {since:?}");
        }
    }

    #[test]
    fn a_route_just_taken_is_as_good_as_it_is_expected_to_be() {
        use Quality::{AtRisk, Good, Outage, Unknown};
        let rtt = Some(Rtt { p50: 1.0, p95: 1.0 });
        for (is_fresh, just_taken, at_risk, rtt_ms, expected, is) in [
            (false, true, false, None, Good, Good),
            (false, true, true, None, Good, AtRisk),
            (false, true, false, None, AtRisk, AtRisk),
            (false, true, false, None, Outage, Unknown),
            (false, true, false, None, Unknown, Unknown),
            (false, true, false, rtt, Good, Good),
            (false, false, false, None, Good, Unknown),
            (false, false, true, rtt, Good, Unknown),
            (true, true, false, rtt, AtRisk, Good),
            (true, true, true, rtt, Good, AtRisk),
            (true, false, false, None, Good, Outage),
        ] {
            let leg = Leg {
                status: LegStatus {
                    to: String::new(),
                    plan: 1,
                    primary: Vec::new(),
                    standbys: Vec::new(),
                    in_use: None,
                    in_use_since: None,
                    in_use_reason: None,
                    rtt_ms,
                    one_way_ms: None,
                    loss: None,
                    budget_ms: 200.0,
                    switches: 0,
                    reason: String::new(),
                    reason_detail: serde_json::Value::Null,
                    compared: Vec::new(),
                    direct: None,
                    age_s: None,
                },
                at_risk,
                over: false,
                is_fresh,
                just_taken,
            };
            let case = (is_fresh, just_taken, at_risk, rtt_ms, expected);
            assert_eq!(leg.quality(expected), is, "{case:?}");
        }
    }
}
