//! Why a route is in use, in words: what the agent says, and where that is that a plan asks for it, the
//! plan's own reason.

use corridor_probes::{EdgeId, Route};

use crate::route::{engine::Plan, live::Reason};

/// Why `route` is in use, from the agent's newest word (a [`Reason`] as JSON, or `null` while it has not
/// moved yet). `None` if that is not known.
pub fn in_use(said: &str, route: Route, plan: &Plan, name: &dyn Fn(EdgeId) -> String) -> Option<String> {
    let of_plan = || (plan.primary == Some(route)).then(|| plan.reason.describe(name));
    match serde_json::from_str::<Option<Reason>>(said) {
        Ok(Some(Reason::Plan { version })) => Some(match of_plan() {
            // Later plans with the same primary have the same reason for it.
            Some(reason) if version <= plan.version => by_plan(version, &reason),
            _ => Reason::Plan { version }.to_string(),
        }),
        Ok(Some(reason)) => Some(reason.to_string()),
        Ok(None) => of_plan(),
        Err(_) => None,
    }
}

/// What stands in the place of an agent's word that plan `version` moved it, while that is `plan`.
pub fn moved(version: u64, plan: &Plan, name: &dyn Fn(EdgeId) -> String) -> Option<String> {
    (plan.version == version).then(|| by_plan(version, &plan.reason.describe(name)))
}

fn by_plan(version: u64, reason: &str) -> String {
    format!("plan {version}: {reason}")
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use corridor_probes::{AgentId, Wall};

    use super::*;
    use crate::{
        route::{self, Cause, FarEnd},
        store::records::BudgetOn,
    };

    fn route(edge: u16) -> Route {
        Route::new(&[EdgeId::new(edge).unwrap()]).unwrap()
    }

    fn plan() -> Plan {
        Plan {
            version: 3,
            at: Wall::from_secs(0),
            to: FarEnd::Agent(AgentId(7)),
            primary: Some(route(1)),
            standbys: vec![route(2)],
            budget: Duration::from_millis(200),
            budget_on: BudgetOn::RoundTrip,
            added_ms: Vec::new(),
            reason: route::Reason::new(Cause::EdgeDown {
                edge: EdgeId::new(2).unwrap(),
            }),
            no_disjoint: None,
        }
    }

    #[test]
    fn a_plans_own_reason_is_told_where_it_is_known() {
        let name = |id: EdgeId| format!("edge{}", id.get());
        let because = "edge edge2 is down";
        for (said, on, is) in [
            ("null", 1, Some(because.to_owned())),
            ("null", 2, None),
            (
                r#"{"kind":"plan","version":3}"#,
                1,
                Some(format!("plan 3: {because}")),
            ),
            (
                r#"{"kind":"plan","version":2}"#,
                1,
                Some(format!("plan 2: {because}")),
            ),
            (
                r#"{"kind":"plan","version":4}"#,
                1,
                Some("the controller's plan 4".to_owned()),
            ),
            (
                r#"{"kind":"plan","version":2}"#,
                2,
                Some("the controller's plan 2".to_owned()),
            ),
            (
                r#"{"kind":"better","gain_ms":41.0}"#,
                1,
                Some("the other route is 41 ms better".to_owned()),
            ),
            ("", 1, None),
            (r#"{"kind":"of a later release"}"#, 1, None),
        ] {
            assert_eq!(in_use(said, route(on), &plan(), &name), is, "{said} {on}");
        }
        assert_eq!(moved(3, &plan(), &name), Some(format!("plan 3: {because}")));
        assert_eq!(moved(2, &plan(), &name), None);
    }
}
