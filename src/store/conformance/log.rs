use super::{Backend, at, event};
use crate::store::{EventQuery, records::EventRecord};

pub(crate) fn events_by_everything<B: Backend>() {
    let mut backend = B::new();
    let mut store = backend.open();
    let with = |s, kind: &str, class: Option<&str>, subject: Option<&str>, edge: Option<&str>| EventRecord {
        class: class.map(str::to_owned),
        subject: subject.map(str::to_owned),
        edge: edge.map(str::to_owned),
        detail: format!(r#"{{"n":"{kind}"}}"#),
        ..event(at(s), kind)
    };
    let events = [
        with(3, "switch", Some("c"), Some("a"), None),
        with(1, "joined", Some("c"), Some("a"), None),
        with(2, "edge_down", None, None, Some("fra1")),
        with(2, "switch", Some("d"), Some("a"), Some("fra1")),
        with(2, "switch", Some("c"), Some("b"), None),
    ];
    store.append_events(&events[..2]).unwrap();
    store.append_events(&events[2..]).unwrap();
    store.append_events(&[]).unwrap();
    let mut store = backend.again(store);

    let any = EventQuery::default;
    let name = |s: &str| Some(s.to_owned());
    for (query, expected) in [
        (any(), vec![1, 2, 3, 4, 0]),
        (
            EventQuery {
                class: name("c"),
                ..any()
            },
            vec![1, 4, 0],
        ),
        (
            EventQuery {
                subject: name("a"),
                ..any()
            },
            vec![1, 3, 0],
        ),
        (
            EventQuery {
                edge: name("fra1"),
                ..any()
            },
            vec![2, 3],
        ),
        (
            EventQuery {
                kind: name("switch"),
                ..any()
            },
            vec![3, 4, 0],
        ),
        (
            EventQuery {
                class: name("c"),
                subject: name("a"),
                ..any()
            },
            vec![1, 0],
        ),
        (
            EventQuery {
                from: Some(at(2)),
                to: Some(at(3)),
                ..any()
            },
            vec![2, 3, 4],
        ),
        (
            EventQuery {
                newest_first: true,
                limit: Some(2),
                ..any()
            },
            vec![0, 4],
        ),
        (
            EventQuery {
                limit: Some(0),
                ..any()
            },
            vec![],
        ),
    ] {
        let expected: Vec<_> = expected.into_iter().map(|i: usize| events[i].clone()).collect();
        assert_eq!(store.events(&query).unwrap(), expected, "{query:?}");
    }
}
