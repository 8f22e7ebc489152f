use corridor_probes::{AgentId, EdgeId};

use super::{Backend, NOON, agent_record, at, new_edge, token};
use crate::store::{
    Refusal, StoreError,
    records::{EdgeRecord, Service},
};

fn refusal<T: std::fmt::Debug>(result: Result<T, StoreError>) -> Refusal {
    match result.unwrap_err() {
        StoreError::Refused(refusal) => refusal,
        other => panic!("{other}"),
    }
}

pub(crate) fn tokens<B: Backend>() {
    let mut backend = B::new();
    let mut store = backend.open();
    let (mut a, mut b) = (token("a", Service::Agent, 1), token("b", Service::Edge, u32::MAX));
    (a.created, b.subject) = (at(1), Some("fra1".into()));
    store.put_token(&a).unwrap();
    store.put_token(&b).unwrap();
    assert!(store.revoke_token("a", at(5)).unwrap());
    assert!(store.revoke_token("a", at(9)).unwrap());
    assert!(!store.revoke_token("c", at(5)).unwrap());
    a.revoked = Some(at(5));
    let mut store = backend.again(store);
    assert_eq!(store.token("a").unwrap().as_ref(), Some(&a));
    assert_eq!(store.token("c").unwrap(), None);
    assert_eq!(store.tokens().unwrap(), [b, a], "in order of creation");
}

pub(crate) fn agents_join_with_a_token<B: Backend>() {
    let mut backend = B::new();
    let mut store = backend.open();
    store.put_token(&token("t", Service::Agent, 2)).unwrap();
    let mut first = agent_record(u64::MAX, "s1");
    let second = agent_record(2, "s1");
    store.enrol_agent("t", NOON, &first).unwrap();
    store.enrol_agent("t", NOON, &second).unwrap();
    let mut store = backend.again(store);
    assert_eq!(store.token("t").unwrap().unwrap().uses_left, 0);
    assert_eq!(
        refusal(store.enrol_agent("t", NOON, &agent_record(3, "s3"))),
        Refusal::TokenUsedUp
    );

    assert_eq!(store.agent(AgentId(2)).unwrap().as_ref(), Some(&second));
    assert_eq!(store.agent(AgentId(3)).unwrap(), None);
    assert_eq!(
        store.agent_by_key(&first.public_key).unwrap().as_ref(),
        Some(&first)
    );
    assert_eq!(store.agent_by_key(b"?").unwrap(), None);

    first.revoked = Some(at(7));
    assert!(store.update_agent(&first).unwrap());
    assert!(!store.update_agent(&agent_record(3, "s3")).unwrap());
    let seen = [(first.id, at(9)), (AgentId(3), at(9)), (first.id, at(8))];
    store.agents_seen(&seen).unwrap();
    first.last_seen = Some(at(9));
    let agents = store.agents().unwrap();
    assert_eq!(agents.len(), 2);
    assert!(agents.contains(&first) && agents.contains(&second));
}

pub(crate) fn edges_get_numbers_and_names<B: Backend>() {
    let mut backend = B::new();
    let mut store = backend.open();
    store.put_token(&token("t", Service::Edge, 10)).unwrap();
    let mut one = store.enrol_edge("t", NOON, &new_edge("fra1")).unwrap();
    let new = new_edge("fra1");
    let expected = EdgeRecord {
        id: EdgeId::new(1).unwrap(),
        name: new.name,
        region: new.region,
        addresses: new.addresses,
        public_key: new.public_key,
        tags: new.tags,
        joined: NOON,
        revoked: None,
        draining: false,
    };
    assert_eq!(one, expected);
    let taken = Refusal::NameTaken("fra1".into());
    assert_eq!(refusal(store.enrol_edge("t", NOON, &new_edge("fra1"))), taken);
    assert_eq!(store.token("t").unwrap().unwrap().uses_left, 9);

    // A revoked edge's name is free again, its number is not.
    one.revoked = Some(at(1));
    one.draining = true;
    assert!(store.update_edge(&one).unwrap());
    let mut store = backend.again(store);
    let two = store.enrol_edge("t", NOON, &new_edge("fra1")).unwrap();
    assert_eq!(two.id.get(), 2);
    assert_eq!(store.edges().unwrap(), [one.clone(), two.clone()]);
    assert_eq!(
        store.edge_by_key(b"fra1").unwrap().as_ref(),
        Some(&two),
        "the newest of the key"
    );
    assert_eq!(store.edge(one.id).unwrap().as_ref(), Some(&one));
    one.revoked = None;
    assert_eq!(refusal(store.update_edge(&one)), taken);
    let nobody = EdgeRecord {
        id: EdgeId::new(9).unwrap(),
        name: "new".into(),
        ..one
    };
    assert!(!store.update_edge(&nobody).unwrap());
}

pub(crate) fn refusals_use_nothing_up<B: Backend>() {
    let mut backend = B::new();
    let mut store = backend.open();
    let t = token("t", Service::Agent, 3);
    let (mut revoked, mut named) = (t.clone(), t.clone());
    (revoked.id, revoked.revoked) = ("revoked".into(), Some(at(-1)));
    (named.id, named.subject) = ("named".into(), Some("s1".into()));
    for token in [&t, &revoked, &named] {
        store.put_token(token).unwrap();
    }
    let expires = t.expires;
    let just_before = expires - std::time::Duration::from_micros(1);
    let (s1, s2) = (agent_record(1, "s1"), agent_record(2, "s2"));
    for (token, now, agent, expected) in [
        ("none", NOON, &s1, Refusal::TokenUnknown),
        ("revoked", NOON, &s1, Refusal::TokenRevoked),
        ("t", expires, &s1, Refusal::TokenExpired),
        ("named", NOON, &s2, Refusal::WrongName),
    ] {
        assert_eq!(refusal(store.enrol_agent(token, now, agent)), expected);
    }
    assert_eq!(
        refusal(store.enrol_edge("t", NOON, &new_edge("e"))),
        Refusal::WrongService
    );
    assert_eq!(store.agents().unwrap(), []);
    assert_eq!(store.edges().unwrap(), []);

    store.enrol_agent("named", just_before, &s1).unwrap();
    assert_eq!(
        refusal(store.enrol_agent("t", NOON, &agent_record(1, "s3"))),
        Refusal::IdTaken
    );
    assert_eq!(store.token("t").unwrap().unwrap().uses_left, 3);
    assert_eq!(store.token("named").unwrap().unwrap().uses_left, 2);
}
