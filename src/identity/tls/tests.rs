use std::time::Duration;

use corridor_probes::{AgentId, EdgeId, Wall};
use rand::{SeedableRng as _, rngs::StdRng};
use rustls::{
    ClientConnection, Error, HandshakeKind, ServerConnection,
    pki_types::{CertificateDer, ServerName},
};

use super::*;
use crate::identity::{
    ca::{Ca, LIFE, Subject},
    peer::{self, Peer, PeerError, Revoked},
    testing::FakeClock,
};

const NOW: Wall = Wall::from_secs(1_800_000_000);
const YEAR: Duration = Duration::from_secs(365 * 86_400);
const ALPN: &[u8] = b"corridor/1";
const AGENT: Peer = Peer::Agent(AgentId(5));

fn edge() -> Peer {
    Peer::Edge(EdgeId::new(7).unwrap())
}

fn ca(seed: u64) -> Ca {
    Ca::ephemeral(NOW, &mut StdRng::seed_from_u64(seed)).unwrap()
}

fn credentials(ca: &Ca, peer: Peer, now: Wall) -> Credentials {
    let subject = match peer {
        Peer::Agent(id) => Subject::Agent(id),
        Peer::Edge(id) => Subject::Edge { id, name: "fra-1" },
        Peer::Controller => Subject::Controller,
    };
    ca.credentials(subject, now, &mut StdRng::seed_from_u64(77))
        .unwrap()
}

/// `clock` is the machine's wall clock; the controller's time is learnt to be `NOW` if `knows` so.
fn standing_at(ca: &Ca, peer: Peer, clock: Wall, knows: bool) -> Arc<Standing> {
    let time = Arc::new(TrustedTime::new(FakeClock::at(clock)));
    if knows {
        time.learn(NOW, time.mono(), time.mono());
    }
    Standing::new(credentials(ca, peer, NOW), &ca.roots(), time, provider()).unwrap()
}

fn standing(ca: &Ca, peer: Peer) -> Arc<Standing> {
    standing_at(ca, peer, NOW, false)
}

fn mutual(standing: &Arc<Standing>) -> Arc<ServerConfig> {
    Arc::new(server(standing, ClientCertificates::Required, &[ALPN]).unwrap())
}

fn by(standing: &Arc<Standing>) -> Arc<ClientConfig> {
    Arc::new(client(standing, &[ALPN]).unwrap())
}

/// Moves bytes between the two until both are done.
fn shake(
    client: &Arc<ClientConfig>,
    server: &Arc<ServerConfig>,
    name: &str,
) -> Result<(ClientConnection, ServerConnection), Error> {
    let name = ServerName::try_from(name.to_owned()).unwrap();
    let mut client = ClientConnection::new(client.clone(), name).unwrap();
    let mut server = ServerConnection::new(server.clone()).unwrap();
    for _ in 0..10 {
        let mut wire = Vec::new();
        while client.wants_write() {
            client.write_tls(&mut wire).unwrap();
        }
        let mut from = wire.as_slice();
        while !from.is_empty() {
            server.read_tls(&mut from).unwrap();
            server.process_new_packets()?;
        }
        let mut wire = Vec::new();
        while server.wants_write() {
            server.write_tls(&mut wire).unwrap();
        }
        let mut from = wire.as_slice();
        while !from.is_empty() {
            client.read_tls(&mut from).unwrap();
            client.process_new_packets()?;
        }
    }
    assert!(!client.is_handshaking() && !server.is_handshaking());
    Ok((client, server))
}

fn shown(chain: Option<&[CertificateDer<'static>]>, now: Wall, revoked: &Revoked) -> Result<Peer, PeerError> {
    peer::check(chain.unwrap_or_default(), now, revoked)
}

fn invalid(result: Result<(ClientConnection, ServerConnection), Error>) -> String {
    match result {
        Err(Error::InvalidCertificate(e)) => format!("{e:?}").split(['(', ' ']).next().unwrap().to_owned(),
        Err(e) => e.to_string(),
        Ok(_) => "accepted".into(),
    }
}

#[test]
fn both_prove_who_they_are() {
    let ca = ca(1);
    let (client, server) = shake(
        &by(&standing(&ca, AGENT)),
        &mutual(&standing(&ca, edge())),
        &edge().dns_name(),
    )
    .unwrap();
    let none = Revoked::default();
    assert_eq!(shown(server.peer_certificates(), NOW, &none), Ok(AGENT));
    assert_eq!(shown(client.peer_certificates(), NOW, &none), Ok(edge()));
    assert_eq!(server.alpn_protocol(), Some(ALPN));
    assert_eq!(server.protocol_version(), Some(rustls::ProtocolVersion::TLSv1_3));
}

#[test]
fn a_resumed_session_is_judged_like_a_new_one() {
    let ca = ca(1);
    let (client, server) = (by(&standing(&ca, AGENT)), mutual(&standing(&ca, edge())));
    let mut revoked = Revoked::default();
    for kind in [
        HandshakeKind::Full,
        HandshakeKind::Resumed,
        HandshakeKind::Resumed,
    ] {
        let (client, server) = shake(&client, &server, &edge().dns_name()).unwrap();
        assert_eq!(server.handshake_kind(), Some(kind));
        assert_eq!(shown(server.peer_certificates(), NOW, &revoked), Ok(AGENT));
        assert_eq!(shown(client.peer_certificates(), NOW, &revoked), Ok(edge()));
    }
    // TLS lets both in again; the check does not.
    revoked.agents.insert(AgentId(5));
    revoked.edges.insert(EdgeId::new(7).unwrap());
    let (client, server) = shake(&client, &server, &edge().dns_name()).unwrap();
    assert_eq!(server.handshake_kind(), Some(HandshakeKind::Resumed));
    assert_eq!(
        shown(server.peer_certificates(), NOW, &revoked),
        Err(PeerError::Revoked(AGENT))
    );
    assert_eq!(
        shown(client.peer_certificates(), NOW, &revoked),
        Err(PeerError::Revoked(edge()))
    );
    let late = NOW + LIFE * 2;
    assert!(matches!(
        shown(server.peer_certificates(), late, &Revoked::default()),
        Err(PeerError::Expired { .. })
    ));
}

#[test]
fn strangers_and_impostors_are_refused() {
    let (ours, theirs) = (ca(1), ca(2));
    let agent = || by(&standing(&ours, AGENT));
    let at_edge = edge().dns_name();
    let stranger = mutual(&standing(&theirs, edge()));
    assert_eq!(invalid(shake(&agent(), &stranger, &at_edge)), "UnknownIssuer");
    // An agent of theirs that trusts our edges.
    let time = Arc::new(TrustedTime::new(FakeClock::at(NOW)));
    let trusting = Standing::new(credentials(&theirs, AGENT, NOW), &ours.roots(), time, provider()).unwrap();
    assert_eq!(
        invalid(shake(&by(&trusting), &mutual(&standing(&ours, edge())), &at_edge)),
        "UnknownIssuer"
    );
    // An agent cannot be a server, nor an edge another edge or the controller.
    let agent_as_edge = mutual(&standing(&ours, AGENT));
    assert_eq!(
        invalid(shake(&agent(), &agent_as_edge, &AGENT.dns_name())),
        "InvalidPurposeContext"
    );
    for name in ["8.edge.corridor.internal", "controller.corridor.internal"] {
        let answer = invalid(shake(&agent(), &mutual(&standing(&ours, edge())), name));
        assert_eq!(answer, "NotValidForNameContext", "{name}");
    }
}

#[test]
fn who_shows_no_certificate_gets_as_far_as_the_server_says() {
    let ca = ca(1);
    let stranger = Arc::new(insecure_client(&provider(), &[ALPN]).unwrap());
    let agent = by(&standing(&ca, AGENT));
    let edge_standing = standing(&ca, edge());
    use ClientCertificates::{None, Optional, Required};
    for (clients, strangers, agents) in [
        (Required, false, true),
        (Optional, true, true),
        (None, true, false),
    ] {
        let config = Arc::new(server(&edge_standing, clients, &[ALPN]).unwrap());
        let shaken = shake(&stranger, &config, "anything");
        assert_eq!(shaken.is_ok(), strangers, "{clients:?}");
        if let Ok((_, server)) = shaken {
            assert_eq!(
                shown(server.peer_certificates(), NOW, &Revoked::default()),
                Err(PeerError::NoCertificate)
            );
        }
        let (_, server) = shake(&agent, &config, &edge().dns_name()).unwrap();
        assert_eq!(server.peer_certificates().is_some(), agents, "{clients:?}");
    }
    // Optional is not "whatever": who shows one must show a good one.
    let time = Arc::new(TrustedTime::new(FakeClock::at(NOW)));
    let other = super::tests::ca(2);
    let bad = Standing::new(credentials(&other, AGENT, NOW), &ca.roots(), time, provider()).unwrap();
    let config = Arc::new(server(&edge_standing, Optional, &[ALPN]).unwrap());
    assert_eq!(
        invalid(shake(&by(&bad), &config, &edge().dns_name())),
        "UnknownIssuer"
    );
}

#[test]
fn a_clock_a_year_off_does_not_matter_once_the_controllers_time_is_known() {
    let ca = ca(1);
    for clock in [NOW - YEAR, NOW + YEAR] {
        for (knows, expected) in [(true, "accepted"), (false, "refused")] {
            let wrong_client = by(&standing_at(&ca, AGENT, clock, knows));
            let right_server = mutual(&standing(&ca, edge()));
            let wrong_server = mutual(&standing_at(&ca, edge(), clock, knows));
            let right_client = by(&standing(&ca, AGENT));
            for (client, server) in [(wrong_client, right_server), (right_client, wrong_server)] {
                let answer = invalid(shake(&client, &server, &edge().dns_name()));
                match expected {
                    "accepted" => assert_eq!(answer, "accepted"),
                    _ if clock < NOW => assert_eq!(answer, "NotValidYet"),
                    _ => assert_eq!(answer, "Expired"),
                }
            }
        }
    }
}

#[test]
fn time_that_is_only_a_lower_bound_convicts_only_the_surely_expired() {
    let ca = ca(1);
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("time");
    let client_since = |bound: Wall| {
        std::fs::write(&path, bound.as_micros().to_string()).unwrap();
        let time = Arc::new(TrustedTime::open(&path, FakeClock::at(Wall::from_secs(0))));
        let own = credentials(&ca, AGENT, NOW);
        by(&Standing::new(own, &ca.roots(), time, provider()).unwrap())
    };
    for (bound, expected) in [
        (NOW - YEAR, "accepted"),
        (NOW, "accepted"),
        (NOW + LIFE, "accepted"),
        (NOW + LIFE + Duration::from_secs(1), "Expired"),
    ] {
        let shaken = shake(
            &client_since(bound),
            &mutual(&standing(&ca, edge())),
            &edge().dns_name(),
        );
        assert_eq!(invalid(shaken), expected, "{bound:?}");
    }
}

fn https(ca: &Ca) -> Arc<ServerConfig> {
    let rng = &mut StdRng::seed_from_u64(5);
    let own = ca.issue_https(&["school.example".into()], NOW, rng).unwrap();
    let time = Arc::new(TrustedTime::new(FakeClock::at(NOW)));
    Arc::new(https_server(&Standing::new(own, &ca.roots(), time, provider()).unwrap()).unwrap())
}

fn pinned(pin: Pin) -> Arc<ClientConfig> {
    Arc::new(pinned_client(&provider(), &[pin]).unwrap())
}

#[test]
fn a_pin_finds_the_controller_by_whatever_address() {
    let ours = ca(1);
    let pin = ours.pin().unwrap();
    for dialled in ["localhost", "192.0.2.1", "2001:db8::1", "school.example"] {
        shake(&pinned(pin), &https(&ours), dialled).unwrap();
    }
    // And after rotations, by the pin of a token made before.
    ours.rotate(NOW, &mut StdRng::seed_from_u64(8)).unwrap();
    ours.rotate(NOW, &mut StdRng::seed_from_u64(9)).unwrap();
    for pin in ours.roots().pins() {
        shake(&pinned(pin), &https(&ours), "localhost").unwrap();
    }
    assert_ne!(ours.pin().unwrap(), pin);
}

#[test]
fn a_pin_refuses_whoever_is_in_between() {
    let (ours, theirs) = (ca(1), ca(2));
    let pin = ours.pin().unwrap();
    let mismatch = "Other";
    assert_eq!(
        invalid(shake(&pinned(pin), &https(&theirs), "localhost")),
        mismatch
    );

    // Their own leaf, with our CA's public certificate in the chain.
    let serve = |own: Credentials| {
        let time = Arc::new(TrustedTime::new(FakeClock::at(NOW)));
        let standing = Standing::new(own, &ours.roots(), time, provider()).unwrap();
        Arc::new(https_server(&standing).unwrap())
    };
    let rng = &mut StdRng::seed_from_u64(5);
    let mut own = theirs.issue_https(&[], NOW, rng).unwrap();
    own.chain.extend(ours.roots().certificates().iter().cloned());
    assert_eq!(invalid(shake(&pinned(pin), &serve(own), "localhost")), mismatch);

    // A CA of theirs that bears our CA's name and key, signed by themselves.
    let mut own = theirs.issue_https(&[], NOW, rng).unwrap();
    own.chain.truncate(1);
    own.chain.push(ours.roots().certificates()[0].clone());
    assert_eq!(invalid(shake(&pinned(pin), &serve(own), "localhost")), mismatch);

    // Edges and agents have certificates of ours, and are not the controller.
    for (peer, error) in [
        (edge(), "NotValidForNameContext"),
        (AGENT, "InvalidPurposeContext"),
    ] {
        let mut own = credentials(&ours, peer, NOW);
        own.chain.extend(ours.roots().certificates().iter().cloned());
        assert_eq!(invalid(shake(&pinned(pin), &serve(own), "localhost")), error);
    }
    // Nor may a leaf of ours be taken for a CA.
    let own = credentials(&ours, Peer::Controller, NOW);
    let leaf_pin = crate::identity::Certificate::read(&own.chain[0]).unwrap().pin();
    assert_eq!(
        invalid(shake(&pinned(leaf_pin), &serve(own), "localhost")),
        mismatch
    );
}

#[test]
fn a_fingerprint_is_of_one_certificate() {
    let ca = ca(1);
    let edge_standing = standing(&ca, edge());
    let server = Arc::new(server(&edge_standing, ClientCertificates::None, &[ALPN]).unwrap());
    let fingerprint = Fingerprint::of(&credentials(&ca, edge(), NOW).chain[0]);
    let good = Arc::new(fingerprint_client(&provider(), fingerprint, &[ALPN]).unwrap());
    shake(&good, &server, "192.0.2.1").unwrap();
    let mut other = fingerprint;
    other.0[31] ^= 1;
    let bad = Arc::new(fingerprint_client(&provider(), other, &[ALPN]).unwrap());
    assert_eq!(invalid(shake(&bad, &server, "192.0.2.1")), "Other");
}

#[test]
fn renewal_and_rotation_need_no_new_configuration() {
    let ca = ca(1);
    let old_roots = ca.roots();
    let edge_standing = standing(&ca, edge());
    let (old_client, server) = (by(&standing(&ca, AGENT)), mutual(&edge_standing));
    let old_server = mutual(&standing(&ca, edge()));

    ca.rotate(NOW, &mut StdRng::seed_from_u64(8)).unwrap();
    let later = NOW + Duration::from_secs(3_600);
    edge_standing
        .renew(credentials(&ca, edge(), later), &ca.roots())
        .unwrap();
    // The client trusts the old root only, and has a certificate by it.
    let (client, server) = shake(&old_client, &server, &edge().dns_name()).unwrap();
    let read = crate::identity::Certificate::read(&client.peer_certificates().unwrap()[0]).unwrap();
    assert_eq!(read.not_after, later + LIFE);
    assert!(server.peer_certificates().is_some());
    // The other way round: who has a certificate by the new root is understood where only the old is known.
    assert_ne!(ca.roots(), old_roots);
    shake(&by(&standing(&ca, AGENT)), &old_server, &edge().dns_name()).unwrap();
}

#[test]
fn quic_takes_these_configurations() {
    let ca = ca(1);
    let server = server(&standing(&ca, edge()), ClientCertificates::Optional, &[ALPN]).unwrap();
    quinn::crypto::rustls::QuicServerConfig::try_from(server).unwrap();
    for config in [
        client(&standing(&ca, AGENT), &[ALPN]).unwrap(),
        insecure_client(&provider(), &[ALPN]).unwrap(),
    ] {
        quinn::crypto::rustls::QuicClientConfig::try_from(config).unwrap();
    }
}
