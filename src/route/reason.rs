//! Why a plan is what it is: typed, kept as JSON, and told in one sentence.

use std::fmt;

use corridor_probes::{EdgeId, Route};
use serde::{Deserialize, Serialize};

/// A plan's reason: what caused it, and the figures of the route chosen beside the best one rejected.
///
/// JSON: `{"kind":"better_by","from":[3],"gain_ms":41.0,"chosen":{…},"rejected":{…}}`. Absent is unknown.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Reason {
    #[serde(flatten)]
    pub cause: Cause,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub chosen: Option<Figures>,
    /// The best of the routes that were not chosen.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub rejected: Option<Figures>,
}

/// What a route was expected to do when the decision was made.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct Figures {
    pub route: Route,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub p50_ms: Option<f64>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub p95_ms: Option<f64>,
    /// Share lost, both directions together, 0 to 1.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub loss: Option<f64>,
}

/// What caused a decision.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "snake_case")]
pub enum Cause {
    /// The leg had no plan.
    Initial,
    /// In the leg's first minute: more routes are measured than when it was planned before.
    MoreMeasured,
    /// A better route, beyond margin, dwell time and hold-down.
    BetterBy { from: Route, gain_ms: f64 },
    /// Better by expected quality rather than by delay.
    Quality { from: Route, gain_points: f64 },
    /// The route before was over the budget, this one is predicted inside.
    Breach { from: Route, at_ms: f64, budget_ms: f64 },
    /// The route before loses so much in one direction (share, 0 to 1), this one does not.
    Loss { from: Route, lost: f64 },
    /// A link of the route before answers nothing.
    Outage { from: Route },
    /// An edge of the route before gives its flows away.
    EdgeDraining { edge: EdgeId },
    /// An edge of the route before is gone.
    EdgeDown { edge: EdgeId },
    /// The class's meeting point moved.
    HubMoved {
        from: EdgeId,
        to: EdgeId,
        /// Less delay between the worst teacher–student pair; absent when the old hub failed.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        gain_ms: Option<f64>,
    },
    /// The agent had to move to another exit, and the target knows that one now.
    ExitMoved { from: Route },
    /// No edge has measured the target: exits are compared by the rest of the route.
    TargetUnmeasured,
    /// No route is measured throughout (or the route before no longer is).
    Unmeasured,
    /// The leg's far end, or its share of the budget, is another: the class changed.
    ClassChanged,
    /// No route leads there.
    NoRoute { why: NoRoute },
}

/// Why there is no route.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum NoRoute {
    /// No edge is up.
    NoEdges,
    /// The class has nobody else yet.
    Alone,
    /// Every route's edges or links are down.
    AllOut,
    /// The agent's links reach no edge.
    AgentUnreached,
}

/// Why no standby shares no edge with the primary.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "snake_case")]
pub enum NoDisjoint {
    /// All routes end at the class's hub.
    Hub { edge: EdgeId },
    /// There is one edge only.
    OneEdge,
    /// All other routes pass an edge of the primary.
    AllShare,
    /// There is no primary to be disjoint from.
    NoPrimary,
}

impl Reason {
    pub const fn new(cause: Cause) -> Self {
        Self {
            cause,
            chosen: None,
            rejected: None,
        }
    }

    /// One sentence, with edges called as `name` says.
    pub fn describe(&self, name: &dyn Fn(EdgeId) -> String) -> String {
        let mut text = self.cause.describe(name);
        let unmeasured = |figures: &Figures| figures.p50_ms.is_none();
        if let Some(chosen) = &self.chosen
            && unmeasured(chosen)
            && self.rejected.as_ref().is_none_or(unmeasured)
        {
            // What is compared is not worth telling: neither has figures.
            let route = route_text(&chosen.route, name);
            return match self.cause {
                Cause::Initial | Cause::Unmeasured => {
                    format!("nothing is measured yet: {route} for the time being")
                }
                _ => format!("{text}: {route}, while nothing is measured yet"),
            };
        }
        if let Some(chosen) = &self.chosen {
            text += &format!(": {}", chosen.describe(name));
        }
        if let Some(rejected) = &self.rejected {
            text += &format!(", rather than {}", rejected.describe(name));
        }
        text
    }
}

impl fmt::Display for Reason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.describe(&|edge| edge.to_string()))
    }
}

impl Figures {
    fn describe(&self, name: &dyn Fn(EdgeId) -> String) -> String {
        let route = route_text(&self.route, name);
        match (self.p50_ms, self.p95_ms) {
            (Some(p50), Some(p95)) => format!("{route} ({p50:.0} ms, p95 {p95:.0} ms)"),
            (Some(p50), None) => format!("{route} ({p50:.0} ms)"),
            _ => format!("{route} (not measured)"),
        }
    }
}

impl Cause {
    fn describe(&self, name: &dyn Fn(EdgeId) -> String) -> String {
        match self {
            Self::Initial => "best route when the leg began".to_owned(),
            Self::MoreMeasured => "best route once more of them were measured".to_owned(),
            Self::BetterBy { from, gain_ms } => {
                format!("{gain_ms:.0} ms better than {}", route_text(from, name))
            }
            Self::Quality { from, gain_points } => format!(
                "speech expected {gain_points:.0} points better (of 100, by the E-model's rating) than by {}",
                route_text(from, name)
            ),
            Self::Breach {
                from,
                at_ms,
                budget_ms,
            } => format!(
                "{} was at {at_ms:.0} ms, over its budget of {budget_ms:.0} ms",
                route_text(from, name)
            ),
            Self::Loss { from, lost } => {
                format!(
                    "{} lost {:.0} % in one direction",
                    route_text(from, name),
                    lost * 100.0
                )
            }
            Self::Outage { from } => format!("a link of {} answered nothing", route_text(from, name)),
            Self::EdgeDraining { edge } => format!("edge {} is draining", name(*edge)),
            Self::EdgeDown { edge } => format!("edge {} is down", name(*edge)),
            Self::HubMoved { from, to, gain_ms } => {
                let moved = format!("the meeting point moved from {} to {}", name(*from), name(*to));
                match gain_ms {
                    Some(gain) => format!("{moved}, which brings the worst pair {gain:.0} ms closer"),
                    None => moved,
                }
            }
            Self::ExitMoved { from } => {
                format!(
                    "the agent had to leave {}, and the target knows its exit now",
                    route_text(from, name)
                )
            }
            Self::TargetUnmeasured => {
                "no edge has measured the target, so exits are compared by the rest of the route".to_owned()
            }
            Self::Unmeasured => "no route is measured throughout".to_owned(),
            Self::ClassChanged => "the class changed".to_owned(),
            Self::NoRoute { why } => match why {
                NoRoute::NoEdges => "no route: no edge is up",
                NoRoute::Alone => "no route: nobody else is in the class",
                NoRoute::AllOut => "no route: every route has an edge or link that is down",
                NoRoute::AgentUnreached => "no route: the agent reaches no edge",
            }
            .to_owned(),
        }
    }
}

fn route_text(route: &Route, name: &dyn Fn(EdgeId) -> String) -> String {
    if route.is_direct() {
        return "direct".to_owned();
    }
    route.edges().map(name).collect::<Vec<_>>().join(" > ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn json_is_tagged_and_comes_back() {
        let e = |id| EdgeId::new(id).unwrap();
        let reason = Reason {
            cause: Cause::BetterBy {
                from: Route::new(&[e(3)]).unwrap(),
                gain_ms: 41.5,
            },
            chosen: Some(Figures {
                route: Route::new(&[e(1), e(2)]).unwrap(),
                p50_ms: Some(80.0),
                p95_ms: None,
                loss: None,
            }),
            rejected: None,
        };
        let json = serde_json::to_value(&reason).unwrap();
        assert_eq!(
            json,
            serde_json::json!({
                "kind": "better_by", "from": [3], "gain_ms": 41.5,
                "chosen": {"route": [1, 2], "p50_ms": 80.0},
            })
        );
        assert_eq!(serde_json::from_value::<Reason>(json).unwrap(), reason);
        assert_eq!(reason.to_string(), "42 ms better than e3: e1 > e2 (80 ms)");
    }

    #[test]
    fn causes_without_fields_come_back_too() {
        for cause in [
            Cause::Initial,
            Cause::MoreMeasured,
            Cause::NoRoute { why: NoRoute::AllOut },
            Cause::TargetUnmeasured,
        ] {
            let reason = Reason::new(cause);
            let json = serde_json::to_string(&reason).unwrap();
            assert_eq!(serde_json::from_str::<Reason>(&json).unwrap(), reason, "{json}");
        }
    }

    #[test]
    fn figures_are_compared_where_there_are_any() {
        let e = |id| EdgeId::new(id).unwrap();
        let figures = |id, p50_ms| Figures {
            route: Route::new(&[e(id)]).unwrap(),
            p50_ms,
            p95_ms: None,
            loss: None,
        };
        let best = "best route when the leg began: e1 (80 ms)";
        for (cause, chosen, rejected, told) in [
            (Cause::Initial, Some(80.0), None, best.to_owned()),
            (
                Cause::Initial,
                Some(80.0),
                Some(None),
                format!("{best}, rather than e2 (not measured)"),
            ),
            (
                Cause::MoreMeasured,
                Some(80.0),
                Some(Some(90.0)),
                "best route once more of them were measured: e1 (80 ms), rather than e2 (90 ms)".into(),
            ),
            (
                Cause::Unmeasured,
                None,
                Some(None),
                "nothing is measured yet: e1 for the time being".into(),
            ),
            (
                Cause::EdgeDown { edge: e(3) },
                None,
                None,
                "edge e3 is down: e1, while nothing is measured yet".into(),
            ),
            (
                Cause::Quality {
                    from: Route::new(&[e(2)]).unwrap(),
                    gain_points: 12.0,
                },
                Some(80.0),
                None,
                "speech expected 12 points better (of 100, by the E-model's rating) than by e2: e1 (80 ms)"
                    .into(),
            ),
        ] {
            let reason = Reason {
                cause,
                chosen: Some(figures(1, chosen)),
                rejected: rejected.map(|p50| figures(2, p50)),
            };
            assert_eq!(reason.to_string(), told);
        }
    }
}
