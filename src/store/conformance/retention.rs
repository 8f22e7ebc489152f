use corridor_probes::AgentId;

use super::{
    Backend, DAY, NOON, agent, agent_record, all, at, classes::class, enrol, event, plan, report, token,
};
use crate::store::{
    Appended, ClassQuery, Erased, EventQuery, Retained, Retention, Store, StoreError,
    records::{BearerKind, BearerRecord, ClassState, EventRecord, Filed, Level, Service},
};

pub(crate) fn deletes_what_is_too_old<B: Backend>() {
    let mut backend = B::new();
    let mut store = backend.open();
    // At noon, 48 h reach to noon two days ago: that day stays whole, the one before goes.
    let reports: Vec<_> = [-3, -2, -1, 0]
        .into_iter()
        .zip(0..)
        .map(|(day, sequence)| report(agent(1), 1, sequence, at(day * DAY)))
        .collect();
    store.append_reports(&reports).unwrap();
    let old = -400 * DAY - 101;
    store
        .put_class(&class("old", ClassState::Ended, old, &["a"]))
        .unwrap();
    store
        .put_class(&class("long", ClassState::Live, old, &["a"]))
        .unwrap();
    // It ended 100 s after it was created: just inside.
    store
        .put_class(&class("kept", ClassState::Ended, old + 1, &["a"]))
        .unwrap();
    for s in [-400 * DAY - 1, -400 * DAY] {
        store.append_plans(&[plan("kept", "a", 1, at(s), "{}")]).unwrap();
        store.append_events(&[event(at(s), "e")]).unwrap();
        let mut t = token(&format!("t{s}"), Service::Agent, 1);
        t.expires = at(s);
        store.put_token(&t).unwrap();
    }
    for (hash, expires) in [(1, Some(NOON)), (2, Some(at(1))), (3, None)] {
        store
            .put_bearer(&BearerRecord {
                secret_hash: [hash; 32],
                kind: BearerKind::Session,
                name: "ada".into(),
                level: Level::Admin,
                created: at(-1),
                expires,
            })
            .unwrap();
    }

    let keep = Retention::default();
    let gone = Retained {
        days: 1,
        classes: 1,
        plans: 1,
        events: 1,
        tokens: 1,
        bearers: 1,
        grants: 0,
    };
    assert_eq!(store.retain(NOON, &keep).unwrap(), gone);
    assert_eq!(store.retain(NOON, &keep).unwrap(), Retained::default());
    let mut store = backend.again(store);
    assert_eq!(all(&mut *store, &[agent(1)]), reports[1..]);
    let classes = store.classes(&ClassQuery::default()).unwrap();
    let ids: Vec<_> = classes.iter().map(|c| c.id.as_str()).collect();
    assert_eq!(ids, ["kept", "long"]);
    assert_eq!(store.plans("kept").unwrap().len(), 1);
    assert_eq!(store.events(&EventQuery::default()).unwrap().len(), 1);
    assert_eq!(store.tokens().unwrap().len(), 1);
    assert_eq!(store.bearers(BearerKind::Session).unwrap().len(), 2);

    // A day goes when its last microsecond is out, not before.
    let midnight = at(-12 * 3_600);
    let mut days = |us| {
        let now = corridor_probes::Wall::from_micros(midnight.as_micros() + 2 * DAY * 1_000_000 + us);
        store.retain(now, &keep).unwrap().days
    };
    assert_eq!(days(-1), 1, "the day before yesterday");
    assert_eq!(days(0), 1, "yesterday");
    assert_eq!(all(&mut *store, &[agent(1)]), reports[3..]);
    let told = store.append_reports(&reports[..1]).unwrap();
    assert_eq!(told, [Appended::New(Filed::ByEnd)], "a deleted day can come back");
}

fn of(subject: &str, detail: &str) -> EventRecord {
    EventRecord {
        subject: (!subject.is_empty()).then(|| subject.to_owned()),
        detail: detail.into(),
        ..event(NOON, "e")
    }
}

fn fill(store: &mut dyn Store) {
    enrol(
        store,
        &[
            agent_record(1, "s1"),
            agent_record(2, "s10"),
            agent_record(3, "s1"),
        ],
    );
    let mut own = token("own", Service::Agent, 1);
    own.subject = Some("s1".into());
    let mut edges = token("edges", Service::Edge, 1);
    edges.subject = Some("s1".into());
    store.put_token(&own).unwrap();
    store.put_token(&edges).unwrap();
    store.append_reports(&[report(agent(1), 1, 1, NOON)]).unwrap();
    store
        .put_class(&class("c", ClassState::Live, 0, &["s10", "s1"]))
        .unwrap();
    let plans = [
        plan("c", "s1", 1, NOON, r#"{"to":"hub:fra1","p95":0.1}"#),
        plan("c", "s10", 1, NOON, r#"{"to":"agent:s1"}"#),
        plan("c", "s10", 2, NOON, r#"{"to":"agent:s10"}"#),
    ];
    store.append_plans(&plans).unwrap();
    let events = [
        of("s1", r#"{"by":"s1"}"#),
        of("", r#"{"moved":["s10","s1"]}"#),
        of("s10", "{}"),
    ];
    store.append_events(&events).unwrap();
}

pub(crate) fn erases_a_subject<B: Backend>() {
    let mut backend = B::new();
    let mut store = backend.open();
    fill(&mut *store);
    for taken in ["s1", "s10", ""] {
        let refused = store.erase_subject("s1", taken, at(5));
        assert!(matches!(refused, Err(StoreError::PseudonymTaken(_))), "{taken}");
    }
    let erased = store.erase_subject("s1", "gone-1", at(5)).unwrap();
    let expected = Erased {
        agents: vec![AgentId(1), AgentId(3)],
        participations: 1,
        plans: 2,
        events: 2,
        tokens: 1,
    };
    assert_eq!(erased, expected);
    assert_eq!(
        store.erase_subject("s1", "gone-2", at(5)).unwrap(),
        Erased::default()
    );

    let mut store = backend.again(store);
    let one = store.agent(AgentId(1)).unwrap().unwrap();
    assert_eq!(one.subject, "gone-1");
    assert_eq!((one.public_key.len(), one.tags.len()), (0, 0));
    assert_eq!((one.joined, one.revoked), (NOON, Some(at(5))));
    assert_eq!(
        store.agent(AgentId(2)).unwrap(),
        Some(agent_record(2, "s10")),
        "nobody else's"
    );
    let subjects: Vec<_> = store.class("c").unwrap().unwrap().participants;
    assert_eq!(
        subjects.iter().map(|p| p.subject.as_str()).collect::<Vec<_>>(),
        ["s10", "gone-1"]
    );
    let plans: Vec<_> = store.plans("c").unwrap();
    let plans: Vec<_> = plans
        .iter()
        .map(|p| (p.subject.as_str(), p.body.as_str()))
        .collect();
    assert_eq!(
        plans,
        [
            ("gone-1", r#"{"to":"hub:fra1","p95":0.1}"#),
            ("s10", r#"{"to":"agent:gone-1"}"#),
            ("s10", r#"{"to":"agent:s10"}"#),
        ]
    );
    let events = store.events(&EventQuery::default()).unwrap();
    assert_eq!(
        events,
        [
            of("gone-1", r#"{"by":"gone-1"}"#),
            of("", r#"{"moved":["s10","gone-1"]}"#),
            of("s10", "{}"),
        ]
    );
    let tokens: Vec<_> = store.tokens().unwrap().into_iter().map(|t| t.id).collect();
    assert_eq!(tokens, ["edges", "enrol"], "an edge of that name is nobody");
    assert_eq!(all(&mut *store, &[agent(1)]).len(), 1, "the records stay");
    let mut found = 0;
    store
        .reports_of_subjects(&["gone-1"], NOON, at(1), &mut |_| found += 1)
        .unwrap();
    assert_eq!(found, 1);
}
