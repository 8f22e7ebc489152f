//! What agents show to edges, so that these carry their media.

use std::sync::LazyLock;

use corridor::{
    identity::Roots,
    media::grant::{DOMAIN, Grant, MAX_CLASS, MAX_EDGES, MAX_GRANT, MAX_TARGET},
    proto,
    route::FarEnd,
};
use corridor_probes::{AgentId, Route, Wall};
use prost::Message as _;

use super::authority::{NOW, ca};

/// Bytes that nobody signed are no grant. Those that the controller would have signed (the first byte says
/// that) are one within its bounds, which is the same when it is made again, or none.
pub fn grants(data: &[u8]) {
    static ROOTS: LazyLock<Roots> = LazyLock::new(|| ca().roots());
    let (&first, rest) = data.split_first().unwrap_or((&0, &[]));
    let is_signed = first % 2 == 1;
    let shown = if is_signed { signed(rest) } else { rest.to_vec() };
    match Grant::verify(&shown, &ROOTS) {
        Ok(grant) => {
            assert!(is_signed, "a forged grant");
            assert!(shown.len() <= MAX_GRANT);
            check(&grant, &ROOTS);
        }
        Err(error) => {
            let said = error.to_string();
            assert!(!said.is_empty() && !said.contains('\n'), "{said:?}");
        }
    }
}

fn signed(grant: &[u8]) -> Vec<u8> {
    let signature = sign(&[DOMAIN, grant].concat());
    let grant = grant.to_vec();
    proto::SignedGrant { grant, signature }.encode_to_vec()
}

fn sign(message: &[u8]) -> Vec<u8> {
    ca().sign_message(message, NOW).expect("a signature")
}

fn check(grant: &Grant, roots: &Roots) {
    assert!((1..=MAX_CLASS).contains(&grant.class.len()));
    assert!((1..=MAX_EDGES).contains(&grant.edges.len()));
    assert!(grant.edges.is_sorted() && grant.from <= grant.until);
    if let FarEnd::Target(target) = &grant.far {
        assert!((1..=MAX_TARGET).contains(&target.len()));
    }
    assert_eq!(Grant::verify(&grant.sign(sign), roots).as_ref(), Ok(grant));
    let other = AgentId(!grant.agent.0);
    let last = grant.edges.last().copied();
    let by = match grant.far {
        FarEnd::Hub(hub) => Some(hub),
        _ => last,
    };
    let Some(route) = by.and_then(|edge| Route::new(&[edge]).ok()) else {
        return;
    };
    let is_named = by.is_some_and(|edge| grant.edges.contains(&edge));
    let allowed = |agent, at: Wall| {
        grant.check_agent(agent).is_ok() && grant.check_time(at).is_ok() && grant.check_route(&route).is_ok()
    };
    assert_eq!(allowed(grant.agent, grant.until), is_named);
    assert!(!allowed(other, grant.until));
}
