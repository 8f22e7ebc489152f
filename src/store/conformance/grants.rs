use corridor_probes::{AgentId, EdgeId};

use super::{Backend, NOON, at};
use crate::{
    media::grant::GrantId,
    store::{Retention, records::GrantRecord},
};

fn grant(id: u64, until_s: i64) -> GrantRecord {
    GrantRecord {
        id: GrantId(id),
        class: "math-1".into(),
        agent: AgentId(u64::MAX),
        until: at(until_s),
        edges: [1, 300].into_iter().filter_map(EdgeId::new).collect(),
        revoked: None,
        signed: vec![10, 0, 255],
    }
}

pub(crate) fn grants_until_they_expire<B: Backend>() {
    let mut backend = B::new();
    let mut store = backend.open();
    let mut kept = [grant(1, -3_600), grant(7, 5), grant(u64::MAX, 5)];
    let over = grant(2, -3_601);
    store.put_grants(&kept).unwrap();
    store.put_grants(&[over]).unwrap();
    (kept[1].revoked, kept[1].signed) = (Some(NOON), Vec::new());
    (kept[2].until, kept[2].edges) = (at(9), Vec::new());
    store.put_grants(&kept[1..]).unwrap();
    let mut store = backend.again(store);
    assert_eq!(store.grants().unwrap().len(), 4);
    assert_eq!(store.retain(NOON, &Retention::default()).unwrap().grants, 1);
    assert_eq!(store.grants().unwrap(), kept);
}
