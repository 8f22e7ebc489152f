use super::{Backend, at, plan};
use crate::store::{
    ClassQuery,
    records::{BudgetOn, ClassRecord, ClassState, Outcome, ParticipantRecord, Protect, Role},
};

pub(crate) fn class(id: &str, state: ClassState, created: i64, subjects: &[&str]) -> ClassRecord {
    ClassRecord {
        id: id.into(),
        state,
        outcome: (state == ClassState::Ended).then_some(Outcome::CutShort),
        target: Some("sfu.example:3478".into()),
        budget_us: 200_000,
        budget_on: BudgetOn::OneWay,
        protect: Protect::AtRisk,
        created: at(created),
        start: Some(at(created + 60)),
        end: None,
        began: Some(at(created + 61)),
        ended: (state == ClassState::Ended).then_some(at(created + 100)),
        participants: subjects
            .iter()
            .enumerate()
            .map(|(i, subject)| ParticipantRecord {
                subject: (*subject).into(),
                role: if i == 0 { Role::Teacher } else { Role::Student },
                joined: Some(at(created + 70)),
                left: None,
            })
            .collect(),
    }
}

pub(crate) fn round_trip_and_queries<B: Backend>() {
    let mut backend = B::new();
    let mut store = backend.open();
    let old = class("old", ClassState::Ended, 0, &["t", "a"]);
    let mut live = class("live", ClassState::Live, 10, &["t", "b", "a"]);
    let next = class("next", ClassState::Scheduled, 20, &["u"]);
    for class in [&old, &live, &next] {
        store.put_class(class).unwrap();
    }
    // The order is kept, and who is not in it any more is gone.
    live.participants.swap(0, 2);
    live.participants.remove(1);
    live.participants[1].left = Some(at(99));
    live.outcome = Some(Outcome::Dropped);
    store.put_class(&live).unwrap();

    let mut store = backend.again(store);
    assert_eq!(store.class("live").unwrap().as_ref(), Some(&live));
    assert_eq!(store.class("none").unwrap(), None);
    let mut ids = |query: ClassQuery| {
        let found = store.classes(&query).unwrap();
        found.into_iter().map(|c| c.id).collect::<Vec<_>>()
    };
    let subject = |s: &str| ClassQuery {
        subject: Some(s.into()),
        ..ClassQuery::default()
    };
    assert_eq!(ids(ClassQuery::default()), ["next", "live", "old"]);
    assert_eq!(ids(subject("a")), ["live", "old"]);
    assert_eq!(ids(subject("b")), [""; 0]);
    let ended = ClassQuery {
        state: Some(ClassState::Ended),
        ..subject("t")
    };
    assert_eq!(ids(ended), ["old"]);
    let (from, to) = (Some(at(10)), Some(at(20)));
    let span = ClassQuery {
        from,
        to,
        ..ClassQuery::default()
    };
    assert_eq!(ids(span), ["live"], "from is in, to is out");
    let two = ClassQuery {
        limit: Some(2),
        ..ClassQuery::default()
    };
    assert_eq!(ids(two), ["next", "live"]);
    let all = store.classes(&ClassQuery::default()).unwrap();
    assert_eq!(all, [next, live, old], "lists have participants too");
}

pub(crate) fn plans<B: Backend>() {
    let mut backend = B::new();
    let mut store = backend.open();
    let given = [
        plan("c", "b", 1, at(1), "b1"),
        plan("c", "a", 2, at(2), "a2"),
        plan("c", "a", 10, at(3), "a10"),
        plan("d", "a", 99, at(3), "other class"),
        plan("c", "a", 9, at(4), "a9"),
    ];
    store.append_plans(&given).unwrap();
    let mut store = backend.again(store);
    let newest = store.newest_plans("c").unwrap();
    assert_eq!(newest, [given[2].clone(), given[0].clone()]);
    let history: Vec<_> = store.plans("c").unwrap().into_iter().map(|p| p.body).collect();
    assert_eq!(history, ["b1", "a2", "a10", "a9"]);
    assert_eq!(store.newest_plans("none").unwrap(), []);
}
