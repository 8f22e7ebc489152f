use super::{Backend, at};
use crate::store::records::{AccountRecord, BearerKind, BearerRecord, Level};

fn account(name: &str, level: Level) -> AccountRecord {
    AccountRecord {
        name: name.into(),
        password_hash: format!("$argon2id${name}"),
        level,
        created: at(1),
    }
}

fn bearer(hash: u8, kind: BearerKind, name: &str) -> BearerRecord {
    BearerRecord {
        secret_hash: [hash; 32],
        kind,
        name: name.into(),
        level: Level::Support,
        created: at(i64::from(hash)),
        expires: (kind == BearerKind::Session).then_some(at(100)),
    }
}

pub(crate) fn accounts_and_bearers<B: Backend>() {
    let mut backend = B::new();
    let mut store = backend.open();
    let (zoe, ada) = (account("zoe", Level::Viewer), account("ada", Level::Admin));
    store.put_account(&zoe).unwrap();
    store.put_account(&account("ada", Level::Operator)).unwrap();
    store.put_account(&ada).unwrap();
    let sessions = [2, 1, 3].map(|n| bearer(n, BearerKind::Session, if n == 3 { "zoe" } else { "ada" }));
    let script = bearer(9, BearerKind::ApiToken, "ada");
    for bearer in sessions.iter().chain([&script]) {
        store.put_bearer(bearer).unwrap();
    }

    let mut store = backend.again(store);
    assert_eq!(store.account("ada").unwrap().as_ref(), Some(&ada));
    assert_eq!(store.account("eve").unwrap(), None);
    assert_eq!(store.accounts().unwrap(), [ada, zoe.clone()]);
    assert_eq!(store.bearer(&[9; 32]).unwrap().as_ref(), Some(&script));
    assert_eq!(store.bearer(&[8; 32]).unwrap(), None);
    let by_creation = [1, 0, 2].map(|i| sessions[i].clone());
    assert_eq!(store.bearers(BearerKind::Session).unwrap(), by_creation);

    assert!(store.delete_account("ada").unwrap());
    assert!(!store.delete_account("ada").unwrap());
    assert_eq!(store.bearers(BearerKind::Session).unwrap(), [sessions[2].clone()]);
    assert_eq!(store.bearers(BearerKind::ApiToken).unwrap(), [script]);
    assert_eq!(store.delete_bearers(BearerKind::ApiToken, "ada").unwrap(), 1);
    assert!(store.delete_bearer(&[3; 32]).unwrap());
    assert!(!store.delete_bearer(&[3; 32]).unwrap());
    assert_eq!(store.accounts().unwrap(), [zoe]);
}

pub(crate) fn meta<B: Backend>() {
    let mut backend = B::new();
    let mut store = backend.open();
    assert_eq!(store.get_meta("ca").unwrap(), None);
    store.set_meta("ca", b"one").unwrap();
    store.set_meta("ca", b"two\0").unwrap();
    store.set_meta("empty", b"").unwrap();
    let mut store = backend.again(store);
    assert_eq!(
        store.get_meta("ca").unwrap().as_deref(),
        Some(b"two\0".as_slice())
    );
    assert_eq!(store.get_meta("empty").unwrap().as_deref(), Some(b"".as_slice()));
}
