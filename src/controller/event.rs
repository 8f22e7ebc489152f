//! Events as they are kept and shown: a kind, whom they are about, one sentence, and the kind's own fields.

use corridor_probes::{EdgeId, Wall};
use serde_json::{Map, Value, json};

use super::{classes::ClassEvent, edges::Edges, planner::Change, why};
use crate::{
    api::{model, time_text},
    proto,
    route::{engine::Plan, live},
    store::records::{EventRecord, Outcome},
    surroundings,
};

/// Who reported an event.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Who {
    Subject(String),
    Edge(String),
}

/// Bytes of a reported event's kind and detail: it comes from outside.
const MAX_KIND: usize = 40;
const MAX_DETAIL: usize = 4_096;

fn record(at: Wall, kind: &str, text: String, mut detail: Map<String, Value>) -> EventRecord {
    detail.insert("text".into(), text.into());
    EventRecord {
        at,
        kind: kind.to_owned(),
        class: None,
        subject: None,
        edge: None,
        detail: Value::Object(detail).to_string(),
    }
}

/// `words` follow the edge's name.
pub fn edge(at: Wall, kind: &str, name: &str, words: &str) -> EventRecord {
    let text = join("edge", name, words);
    EventRecord {
        edge: Some(name.to_owned()),
        ..record(at, kind, text, Map::new())
    }
}

/// `words` follow the subject's name.
pub fn subject(at: Wall, kind: &str, name: &str, words: &str) -> EventRecord {
    let text = join("agent", name, words);
    EventRecord {
        subject: Some(name.to_owned()),
        ..record(at, kind, text, Map::new())
    }
}

/// `words` follow the class's id.
pub fn class(at: Wall, kind: &str, id: &str, words: &str) -> EventRecord {
    let text = join("class", id, words);
    EventRecord {
        class: Some(id.to_owned()),
        ..record(at, kind, text, Map::new())
    }
}

fn join(what: &str, name: &str, words: &str) -> String {
    if words.starts_with('\'') {
        format!("{what} {name}{words}")
    } else {
        format!("{what} {name} {words}")
    }
}

pub fn of_class(at: Wall, happened: &ClassEvent) -> EventRecord {
    let about = |kind: &str, class: &str, subject: &str, words: &str| EventRecord {
        class: Some(class.to_owned()),
        subject: Some(subject.to_owned()),
        ..record(at, kind, format!("{subject} {words}"), Map::new())
    };
    match happened {
        ClassEvent::Began { class: id } => class(at, "began", id, "has begun"),
        ClassEvent::Ended { class: id, outcome } => {
            let words = match outcome {
                Outcome::Completed => "has ended: completed",
                Outcome::CutShort => "has ended: cut short",
                Outcome::Dropped => "has ended: dropped",
                Outcome::NeverStarted => "has ended: it never started",
            };
            class(at, "ended", id, words)
        }
        ClassEvent::Joined { class, subject } => about("joined", class, subject, "has joined"),
        ClassEvent::Left { class, subject } => about("left", class, subject, "has left"),
        ClassEvent::Lost { class, subject } => {
            about("lost", class, subject, "is lost: nothing is heard from its agent")
        }
        ClassEvent::Back { class, subject } => about("back", class, subject, "is back"),
    }
}

/// A plan whose primary changed; other changes of a plan are no event.
pub fn plan(at: Wall, change: &Change, edges: &Edges) -> Option<EventRecord> {
    let (primary, plan) = (change.new_primary?, change.plan.as_ref()?);
    let names = route_names(edges, primary.edges());
    let why = plan
        .reason
        .describe(&|id| route_names(edges, std::iter::once(id)).concat());
    let mut detail = Map::new();
    detail.insert("route".into(), json!(names));
    detail.insert("version".into(), plan.version.into());
    detail.insert("reason".into(), json!(plan.reason));
    let text = format!("{}: plan by {}: {why}", change.subject, chain(&names));
    Some(EventRecord {
        class: Some(change.class.clone()),
        subject: Some(change.subject.clone()),
        ..record(at, "plan", text, detail)
    })
}

/// An event that an agent or an edge reported. What it says of itself is data: bounded, and shown as text.
/// `plan` is the leg's, if the event is of a leg: where the agent followed it, its reason is the event's.
pub fn reported(who: &Who, event: &proto::Event, edges: &Edges, plan: Option<&Plan>) -> EventRecord {
    let kind: String = event
        .kind
        .chars()
        .filter(|c| c.is_ascii_lowercase() || *c == '_')
        .take(MAX_KIND)
        .collect();
    let said = if event.detail.len() <= MAX_DETAIL {
        &event.detail
    } else {
        ""
    };
    let mut detail = match serde_json::from_str(said) {
        Ok(Value::Object(detail)) => detail,
        _ => Map::new(),
    };
    // Routes come as numbers of edges; people read names.
    for key in ["from", "to", "route"] {
        let Some(ids) = detail.get(key).and_then(Value::as_array) else {
            continue;
        };
        let ids = ids
            .iter()
            .filter_map(|id| EdgeId::new(u16::try_from(id.as_u64()?).ok()?))
            .collect::<Vec<_>>();
        let names = route_names(edges, ids.into_iter());
        detail.insert(key.into(), json!(names));
    }
    let said = detail
        .get("text")
        .and_then(Value::as_str)
        .unwrap_or_default()
        .replace(char::is_control, " ");
    let followed = detail.get("reason").and_then(plan_followed);
    let said = followed
        .zip(plan)
        .and_then(|(version, plan)| {
            why::moved(version, plan, &|id| {
                route_names(edges, std::iter::once(id)).concat()
            })
        })
        .unwrap_or(said);
    let routes = |key: &str| {
        let names = detail
            .get(key)?
            .as_array()?
            .iter()
            .filter_map(Value::as_str)
            .map(str::to_owned);
        Some(chain(&names.collect::<Vec<_>>()))
    };
    let name = match who {
        Who::Subject(name) => name,
        Who::Edge(name) => name,
    };
    let text = match (kind.as_str(), routes("from"), routes("to")) {
        ("switch", Some(from), Some(to)) => format!("{name}: route {from} -> {to}: {said}"),
        _ if said.is_empty() => format!("{name}: {}", kind.replace('_', " ")),
        _ => format!("{name}: {said}"),
    };
    detail.remove("trace");
    if let Some(trace) = &event.trace {
        let shown = surroundings::shown_trace(trace, |id| route_names(edges, std::iter::once(id)).concat());
        detail.insert("trace".into(), json!(shown));
    }
    let mut out = record(Wall::from_micros(event.at_us), &kind, text, detail);
    match who {
        Who::Subject(name) => out.subject = Some(name.clone()),
        Who::Edge(name) => out.edge = Some(name.clone()),
    }
    if !event.class.is_empty() {
        let plain = event.class.chars().filter(|c| !c.is_control());
        out.class = Some(plain.take(super::classes::MAX_NAME).collect());
    }
    if let Some(edge) = u16::try_from(event.edge)
        .ok()
        .and_then(EdgeId::new)
        .and_then(|id| edges.get(id))
    {
        out.edge = Some(edge.record.name.clone());
    }
    out
}

/// The plan for which an agent moved, if that is why it did.
fn plan_followed(reason: &Value) -> Option<u64> {
    match serde_json::from_value(reason.clone()) {
        Ok(live::Reason::Plan { version }) => Some(version),
        _ => None,
    }
}

/// As the API shows it.
pub fn shown(record: &EventRecord) -> model::Event {
    let detail: Value = serde_json::from_str(&record.detail).unwrap_or_else(|_| json!({}));
    model::Event {
        at: time_text::text(record.at),
        kind: record.kind.clone(),
        class: record.class.clone(),
        subject: record.subject.clone(),
        edge: record.edge.clone(),
        classes: Vec::new(),
        text: detail
            .get("text")
            .and_then(Value::as_str)
            .unwrap_or(&record.kind)
            .to_owned(),
        detail,
    }
}

/// Names of edges; one that is not known any more is shown by its number.
pub fn route_names(edges: &Edges, route: impl Iterator<Item = EdgeId>) -> Vec<String> {
    route
        .map(|id| {
            edges
                .get(id)
                .map_or_else(|| id.to_string(), |e| e.record.name.clone())
        })
        .collect()
}

fn chain(names: &[String]) -> String {
    if names.is_empty() {
        "direct".to_owned()
    } else {
        names.join(" > ")
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use corridor_probes::{AgentId, Route};

    use super::*;
    use crate::{
        route::{Cause, FarEnd, Reason},
        store::records::BudgetOn,
    };

    #[test]
    fn a_move_for_a_plan_is_told_with_the_plans_reason() {
        let edge = |id| EdgeId::new(id).unwrap();
        let plan = Plan {
            version: 3,
            at: Wall::from_secs(0),
            to: FarEnd::Agent(AgentId(7)),
            primary: Route::new(&[edge(1)]).ok(),
            standbys: Vec::new(),
            budget: Duration::from_millis(200),
            budget_on: BudgetOn::RoundTrip,
            added_ms: Vec::new(),
            reason: Reason::new(Cause::EdgeDown { edge: edge(2) }),
            no_disjoint: None,
        };
        let who = Who::Subject("t1".into());
        let moved = |version: u64| proto::Event {
            kind: "switch".into(),
            class: "c1".into(),
            detail: json!({
                "from": [2], "to": [1], "reason": { "kind": "plan", "version": version },
                "text": "the agent's words",
            })
            .to_string(),
            ..proto::Event::default()
        };
        for (version, plan, why) in [
            (3, Some(&plan), "plan 3: edge e2 is down"),
            (2, Some(&plan), "the agent's words"),
            (3, None, "the agent's words"),
        ] {
            let record = reported(&who, &moved(version), &Edges::default(), plan);
            let text = shown(&record).text;
            assert_eq!(text, format!("t1: route e2 -> e1: {why}"));
        }
    }

    #[test]
    fn a_path_is_kept_with_its_event() {
        let trace = proto::Trace {
            toward: Some(proto::trace::Toward::Edge(2)),
            trigger: "breach".into(),
            distance: 1,
            hops: vec![proto::Hop {
                hop: 1,
                addresses: vec!["192.0.2.0/24".into()],
                sent: 3,
                answered: 3,
                p50_us: 160_000,
                ..proto::Hop::default()
            }],
            ..proto::Trace::default()
        };
        let event = proto::Event {
            kind: "trace".into(),
            class: "c1".into(),
            // What the agent itself calls a trace is not taken for one.
            detail: json!({ "text": "traced", "trace": "mine" }).to_string(),
            trace: Some(trace),
            ..proto::Event::default()
        };
        let record = reported(&Who::Subject("t1".into()), &event, &Edges::default(), None);
        let shown = shown(&record);
        assert_eq!(
            (shown.text.as_str(), shown.class.as_deref()),
            ("t1: traced", Some("c1"))
        );
        let trace: model::Trace = serde_json::from_value(shown.detail["trace"].clone()).unwrap();
        assert_eq!((trace.toward.as_str(), trace.reached), ("edge:e2", true));
        assert_eq!(trace.hops[0].rtt_ms.map(|rtt| rtt.p50), Some(160.0));
        // Without one there is none, whatever the detail says.
        let without = proto::Event { trace: None, ..event };
        let record = reported(&Who::Subject("t1".into()), &without, &Edges::default(), None);
        assert!(super::shown(&record).detail.get("trace").is_none());
    }
}
