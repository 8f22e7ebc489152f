use std::time::Duration;

use proptest::prelude::*;
use rand::{SeedableRng as _, rngs::StdRng};
use x509_parser::prelude::{FromDer as _, X509Certificate};

use super::*;
use crate::identity::{
    Ca, Source, Subject,
    ca::{LIFE, MAX_ROOTS},
};

const NOW: Wall = Wall::from_secs(1_800_000_000);

fn ca(seed: u64) -> Ca {
    Ca::ephemeral(NOW, &mut StdRng::seed_from_u64(seed)).unwrap()
}

fn e(id: u16) -> EdgeId {
    EdgeId::new(id).unwrap()
}

fn grant() -> Grant {
    Grant {
        id: GrantId(7),
        class: "math-1".into(),
        agent: AgentId(9),
        far: FarEnd::Agent(AgentId(8)),
        edges: vec![e(1), e(2), e(300)],
        rate_kbps: 4_000,
        from: NOW,
        until: Wall::from_secs(1_800_001_000),
    }
}

fn by(ca: &Ca) -> impl Fn(&[u8]) -> Vec<u8> + '_ {
    |message| ca.sign_message(message, NOW).unwrap()
}

fn secs(s: i64) -> Wall {
    Wall::from_secs(NOW.as_secs() + s)
}

/// What was signed, and its signature, in the shell of a grant.
fn shell(grant: Vec<u8>, signature: Vec<u8>) -> Vec<u8> {
    proto::SignedGrant { grant, signature }.encode_to_vec()
}

#[test]
fn a_grant_comes_back_whole() {
    let ca = ca(1);
    for far in [
        FarEnd::Agent(AgentId(u64::MAX)),
        FarEnd::Target("sfu.example:3478".into()),
        FarEnd::Hub(e(300)),
    ] {
        let grant = Grant { far, ..grant() };
        let bytes = grant.sign(by(&ca));
        assert_eq!(Grant::verify(&bytes, &ca.roots()), Ok(grant));
    }
}

#[test]
fn the_largest_grant_fits_and_a_larger_one_is_none() {
    let ca = ca(1);
    let edges: Vec<_> = (0..).map(|n| e(u16::MAX - n)).take(MAX_EDGES).collect();
    let largest = Grant {
        id: GrantId(u64::MAX),
        class: "c".repeat(MAX_CLASS),
        agent: AgentId(u64::MAX),
        far: FarEnd::Target("t".repeat(MAX_TARGET)),
        edges: edges.into_iter().rev().collect(),
        rate_kbps: u32::MAX,
        from: Wall::from_micros(i64::MIN),
        until: Wall::from_micros(i64::MAX),
    };
    let bytes = largest.sign(by(&ca));
    assert!(bytes.len() <= 600, "{} B", bytes.len());
    assert_eq!(Grant::verify(&bytes, &ca.roots()).as_ref(), Ok(&largest));
    let with = |change: fn(&mut Grant)| {
        let mut grant = grant();
        change(&mut grant);
        Grant::verify(&grant.sign(by(&ca)), &ca.roots())
    };
    for change in [
        (|g| g.class = "c".repeat(MAX_CLASS + 1)) as fn(&mut Grant),
        |g| g.class = String::new(),
        |g| g.far = FarEnd::Target("t".repeat(MAX_TARGET + 1)),
        |g| g.far = FarEnd::Target(String::new()),
        |g| g.edges = (1..=10).map(e).collect(),
        |g| g.edges = Vec::new(),
        |g| g.edges = vec![e(2), e(1)],
        |g| g.edges = vec![e(1), e(1)],
        |g| g.until = Wall::from_micros(NOW.as_micros() - 1),
    ] {
        assert_eq!(with(change), Err(GrantError::Malformed));
    }
    assert!(with(|g| g.until = NOW).is_ok());
    let long = vec![0; MAX_GRANT + 1];
    let refused = Grant::verify(&long, &ca.roots());
    assert_eq!(refused, Err(GrantError::TooLong(MAX_GRANT + 1)));
}

#[test]
fn what_another_signed_or_nobody_did_is_none() {
    let (ours, theirs) = (ca(1), ca(2));
    let bytes = grant().sign(by(&theirs));
    assert_eq!(Grant::verify(&bytes, &ours.roots()), Err(GrantError::Signature));
    for signature in [vec![0; 64], vec![255; 64]] {
        let forged = grant().sign(|_| signature.clone());
        assert_eq!(Grant::verify(&forged, &ours.roots()), Err(GrantError::Signature));
    }
    for length in [0, 63, 65] {
        let short = grant().sign(|_| vec![1; length]);
        assert_eq!(Grant::verify(&short, &ours.roots()), Err(GrantError::Malformed));
    }
}

#[test]
fn a_grant_with_one_bit_turned_or_cut_off_is_none() {
    let ca = ca(1);
    let roots = ca.roots();
    let bytes = grant().sign(by(&ca));
    for bit in 0..bytes.len() * 8 {
        let mut bad = bytes.clone();
        bad[bit / 8] ^= 1 << (bit % 8);
        assert!(Grant::verify(&bad, &roots).is_err(), "bit {bit}");
    }
    for length in 0..bytes.len() {
        assert!(Grant::verify(&bytes[..length], &roots).is_err(), "{length} B");
    }
}

#[test]
fn every_root_that_is_known_will_do_and_a_new_one_signs_once_everybody_knows_it() {
    let ca = ca(1);
    let old = ca.roots();
    let before = grant().sign(by(&ca));
    ca.rotate(NOW, &mut StdRng::seed_from_u64(2)).unwrap();
    let new = ca.roots();
    let signed = |at| grant().sign(|message| ca.sign_message(message, at).unwrap());
    let almost = NOW + (LIFE - Duration::from_micros(1));
    for bytes in [before, signed(almost)] {
        assert!(Grant::verify(&bytes, &old).is_ok());
        assert!(Grant::verify(&bytes, &new).is_ok());
    }
    let later = signed(NOW + LIFE);
    assert_eq!(Grant::verify(&later, &old), Err(GrantError::Signature));
    assert!(Grant::verify(&later, &new).is_ok());
    for n in 2..MAX_ROOTS {
        ca.rotate(NOW, &mut StdRng::seed_from_u64(n as u64 + 1)).unwrap();
    }
    assert_eq!(ca.roots().certificates().len(), MAX_ROOTS);
    assert!(Grant::verify(&later, &ca.roots()).is_ok());
}

#[test]
fn signatures_of_certificates_and_of_grants_are_not_each_others() {
    let ca = ca(1);
    let subject = Subject::Agent(AgentId(9));
    let own = ca
        .credentials(subject, NOW, &mut StdRng::seed_from_u64(3))
        .unwrap();
    for certificate in [&own.chain[0], &ca.roots().certificates()[0]] {
        let (_, read) = X509Certificate::from_der(certificate).unwrap();
        let signed = read.tbs_certificate.as_ref().to_vec();
        let signature = read.signature_value.data.to_vec();
        let shown = shell(signed, signature);
        assert_eq!(Grant::verify(&shown, &ca.roots()), Err(GrantError::Signature));
    }
    // What is signed for a grant is never DER of a certificate, whatever the grant says.
    grant().sign(|message| {
        assert!(message.starts_with(DOMAIN));
        assert!(X509Certificate::from_der(message).is_err());
        vec![0; 64]
    });
    // Nor is a grant that was signed without the domain one.
    let bare = grant().message().encode_to_vec();
    let signature = by(&ca)(&bare);
    assert_eq!(
        Grant::verify(&shell(bare, signature), &ca.roots()),
        Err(GrantError::Signature)
    );
}

#[test]
fn a_grant_holds_from_its_first_moment_to_its_last() {
    let (grant, id) = (grant(), GrantId(7));
    let over = GrantError::Expired { id, at: secs(1_000) };
    let early = GrantError::NotYetValid { id, at: NOW };
    let just = Duration::from_micros(1);
    for (at, held) in [
        (NOW - just, Err(early)),
        (NOW, Ok(())),
        (secs(1_000), Ok(())),
        (secs(1_000) + just, Err(over)),
    ] {
        assert_eq!(grant.check_time(at), held);
    }
    // Where the time is not known exactly, only what is certain is refused.
    let about = |s: i64| Reading {
        at: secs(s),
        earliest: secs(s - 10),
        latest: secs(s + 10),
        source: Source::Wall,
    };
    for (s, held) in [(-11, false), (-10, true), (1_010, true), (1_011, false)] {
        assert_eq!(grant.check_time(about(s)).is_ok(), held, "{s}");
    }
}

#[test]
fn it_is_for_one_agent_one_far_end_and_the_edges_it_names() {
    let (grant, id) = (grant(), GrantId(7));
    let route = |edges: &[u16]| Route::new(&edges.iter().map(|&n| e(n)).collect::<Vec<_>>()).unwrap();
    let (me, peer) = (AgentId(9), FarEnd::Agent(AgentId(8)));
    let allowed = |agent, edges: &[u16], far: &FarEnd| {
        grant.check_agent(agent)?;
        grant.check_far_end(far)?;
        grant.check_route(&route(edges))
    };
    for edges in [&[1][..], &[300, 1], &[2, 300, 1]] {
        assert_eq!(allowed(me, edges, &peer), Ok(()));
    }
    let agent = AgentId(8);
    assert_eq!(allowed(agent, &[1], &peer), Err(GrantError::Agent { id, agent }));
    for (edges, edge) in [(&[3][..], 3), (&[1, 4], 4), (&[5, 1], 5), (&[1, 6, 2], 6)] {
        let edge = e(edge);
        assert_eq!(allowed(me, edges, &peer), Err(GrantError::Edge { id, edge }));
    }
    assert_eq!(allowed(me, &[], &peer), Err(GrantError::NoEdge(id)));
    for far in [FarEnd::Agent(me), FarEnd::Hub(e(1)), FarEnd::Target("t:1".into())] {
        assert_eq!(allowed(me, &[1], &far), Err(GrantError::FarEnd(id)));
    }
    let hub = FarEnd::Hub(e(2));
    let meets = Grant {
        far: hub,
        ..grant.clone()
    };
    assert_eq!(meets.check_route(&route(&[1, 2])), Ok(()));
    let past = meets.check_route(&route(&[2, 1]));
    assert_eq!(past, Err(GrantError::FarEnd(id)), "it does not end there");
    assert_eq!(grant.check_edge(e(300)), Ok(()));
}

#[test]
fn what_is_wrong_is_said_in_one_line() {
    let (id, at) = (GrantId(7), NOW);
    for error in [
        GrantError::TooLong(2_000),
        GrantError::Malformed,
        GrantError::Signature,
        GrantError::Expired { id, at },
        GrantError::NotYetValid { id, at },
        GrantError::Agent {
            id,
            agent: AgentId(1),
        },
        GrantError::FarEnd(id),
        GrantError::Edge { id, edge: e(1) },
        GrantError::NoEdge(id),
    ] {
        let said = error.to_string();
        assert!(!said.contains('\n') && said.contains("grant"), "{said}");
    }
}

proptest! {
    #[test]
    fn no_bytes_make_it_panic_nor_are_a_grant(bytes in prop::collection::vec(any::<u8>(), 0..600)) {
        let ca = ca(1);
        prop_assert!(Grant::verify(&bytes, &ca.roots()).is_err());
        // Not even where they are signed, unless they are one.
        let shown = shell(bytes.clone(), by(&ca)(&to_sign(&bytes)));
        if let Ok(grant) = Grant::verify(&shown, &ca.roots()) {
            prop_assert_eq!(Grant::verify(&grant.sign(by(&ca)), &ca.roots()), Ok(grant));
        }
    }
}
