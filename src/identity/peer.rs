//! Who is at the other end of a connection, and whether it may still be there.

use std::{collections::BTreeSet, fmt};

use corridor_probes::{AgentId, EdgeId, Wall};
use rustls::pki_types::CertificateDer;

use super::{
    certificate::{Certificate, CertificateError},
    trusted_time::Reading,
};
use crate::{
    media::grant::{GrantId, MAX_REVOKED},
    proto,
};

/// What every name in a certificate of ours ends in. It is never resolved.
const SUFFIX: &str = ".corridor.internal";

/// Who a certificate names.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Peer {
    Agent(AgentId),
    Edge(EdgeId),
    Controller,
}

impl Peer {
    /// The DNS name that stands for it in its certificate, and that a client asks TLS for.
    pub fn dns_name(self) -> String {
        match self {
            Self::Agent(id) => format!("{id}.agent{SUFFIX}"),
            Self::Edge(id) => format!("{}.edge{SUFFIX}", id.get()),
            Self::Controller => format!("controller{SUFFIX}"),
        }
    }

    fn from_dns_name(name: &str) -> Option<Self> {
        let name = name.strip_suffix(SUFFIX)?;
        let peer = match name.rsplit_once('.') {
            None if name == "controller" => Self::Controller,
            Some((id, "agent")) => Self::Agent(id.parse().ok()?),
            Some((id, "edge")) => Self::Edge(EdgeId::new(id.parse().ok()?)?),
            _ => return None,
        };
        // One peer, one name: no other spelling of the same number.
        (peer.dns_name().strip_suffix(SUFFIX) == Some(name)).then_some(peer)
    }
}

impl fmt::Display for Peer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Agent(id) => write!(f, "agent {id}"),
            Self::Edge(id) => write!(f, "edge {id}"),
            Self::Controller => f.write_str("the controller"),
        }
    }
}

/// Agents and edges whose certificates are refused although they have not expired, and grants.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Revoked {
    pub agents: BTreeSet<AgentId>,
    pub edges: BTreeSet<EdgeId>,
    /// [`MAX_REVOKED`] at most.
    pub grants: BTreeSet<GrantId>,
}

impl Revoked {
    pub fn contains(&self, peer: Peer) -> bool {
        match peer {
            Peer::Agent(id) => self.agents.contains(&id),
            Peer::Edge(id) => self.edges.contains(&id),
            Peer::Controller => false,
        }
    }
}

impl From<&proto::Revocations> for Revoked {
    fn from(message: &proto::Revocations) -> Self {
        let edges = message.edges.iter().filter_map(|&id| u16::try_from(id).ok());
        Self {
            agents: message.agents.iter().copied().map(AgentId).collect(),
            edges: edges.filter_map(EdgeId::new).collect(),
            grants: message
                .grants
                .iter()
                .take(MAX_REVOKED)
                .copied()
                .map(GrantId)
                .collect(),
        }
    }
}

/// Why the other end is not accepted.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum PeerError {
    #[error("the peer showed no certificate")]
    NoCertificate,
    #[error(transparent)]
    Certificate(#[from] CertificateError),
    #[error("the peer's certificate names no agent, edge or controller")]
    NoName,
    #[error("the certificate of {peer} expired at {} s after 1970", .at.as_secs())]
    Expired { peer: Peer, at: Wall },
    #[error("the certificate of {peer} is not valid before {} s after 1970", .at.as_secs())]
    NotYetValid { peer: Peer, at: Wall },
    #[error("{0} is revoked")]
    Revoked(Peer),
}

/// Says who showed `chain`, and refuses the expired and the revoked.
///
/// To be called after every handshake, with the chain that TLS holds: rustls verifies signatures and
/// names when a certificate is first shown, but looks at the client's no more when it resumes a session.
/// Nothing is known not to be valid while `now` ([`Wall`], or a [`Reading`] with its bounds) leaves it open.
pub fn check(
    chain: &[CertificateDer<'_>],
    now: impl Into<Reading>,
    revoked: &Revoked,
) -> Result<Peer, PeerError> {
    let leaf = Certificate::read(chain.first().ok_or(PeerError::NoCertificate)?)?;
    let peer = of(&leaf)?;
    let now = now.into();
    if leaf.not_after < whole_second(now.earliest) {
        return Err(PeerError::Expired {
            peer,
            at: leaf.not_after,
        });
    }
    if now.latest < leaf.not_before {
        return Err(PeerError::NotYetValid {
            peer,
            at: leaf.not_before,
        });
    }
    if revoked.contains(peer) {
        return Err(PeerError::Revoked(peer));
    }
    Ok(peer)
}

/// Who `certificate` names. Only one of our names may stand in it.
pub fn of(certificate: &Certificate) -> Result<Peer, PeerError> {
    let mut peers = certificate
        .dns_names
        .iter()
        .filter_map(|n| Peer::from_dns_name(n));
    match (peers.next(), peers.next()) {
        (Some(peer), None) => Ok(peer),
        _ => Err(PeerError::NoName),
    }
}

/// Certificates know seconds, and their last one is theirs whole (RFC 5280 §4.1.2.5).
pub(super) fn whole_second(at: Wall) -> Wall {
    Wall::from_secs(at.as_secs())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::identity::{
        ca::{BACKDATED, Ca, LIFE, Subject},
        key::SecretKey,
        trusted_time::Source,
    };
    use rand::{SeedableRng as _, rngs::StdRng};
    use std::time::Duration;

    const NOW: Wall = Wall::from_secs(1_800_000_000);
    const AGENT: Peer = Peer::Agent(AgentId(0xab));

    fn chain() -> Vec<CertificateDer<'static>> {
        let rng = &mut StdRng::seed_from_u64(1);
        let ca = Ca::ephemeral(NOW, rng).unwrap();
        let key = SecretKey::generate(rng).unwrap();
        ca.issue(Subject::Agent(AgentId(0xab)), &key.public_key(), NOW, rng)
            .unwrap()
    }

    #[test]
    fn names_stand_for_one_peer_each() {
        for peer in [
            AGENT,
            Peer::Agent(AgentId(u64::MAX)),
            Peer::Edge(EdgeId::new(1).unwrap()),
            Peer::Edge(EdgeId::new(u16::MAX).unwrap()),
            Peer::Controller,
        ] {
            assert_eq!(Peer::from_dns_name(&peer.dns_name()), Some(peer));
        }
        for name in [
            "corridor.internal",
            "controller",
            "controller.corridor.internal.example.org",
            "x.controller.corridor.internal",
            "0.edge.corridor.internal",
            "01.edge.corridor.internal",
            "+1.edge.corridor.internal",
            "65536.edge.corridor.internal",
            "ab.agent.corridor.internal",
            "00000000000000AB.agent.corridor.internal",
            "1.x.edge.corridor.internal",
        ] {
            assert_eq!(Peer::from_dns_name(name), None, "{name}");
        }
    }

    #[test]
    fn expiry_and_revocation_are_judged_exactly() {
        let chain = chain();
        let none = Revoked::default();
        let second = Duration::from_secs(1);
        let (first, last) = (NOW - BACKDATED, NOW + LIFE);
        for (now, expected) in [
            (first, Ok(AGENT)),
            (
                first - second,
                Err(PeerError::NotYetValid {
                    peer: AGENT,
                    at: first,
                }),
            ),
            (last, Ok(AGENT)),
            (last + Duration::from_millis(999), Ok(AGENT)),
            (
                last + second,
                Err(PeerError::Expired {
                    peer: AGENT,
                    at: last,
                }),
            ),
        ] {
            assert_eq!(check(&chain, now, &none), expected, "{now:?}");
        }
        let mut revoked = Revoked::default();
        revoked.agents.insert(AgentId(0xac));
        assert_eq!(check(&chain, NOW, &revoked), Ok(AGENT));
        revoked.agents.insert(AgentId(0xab));
        assert_eq!(check(&chain, NOW, &revoked), Err(PeerError::Revoked(AGENT)));
        assert_eq!(check(&[], NOW, &none), Err(PeerError::NoCertificate));
    }

    #[test]
    fn revocations_are_read_from_their_message() {
        let message = proto::Revocations {
            version: 3,
            agents: vec![5, 5, u64::MAX],
            edges: vec![0, 7, 65_535, 65_536],
            grants: (0..=MAX_REVOKED as u64).collect(),
        };
        let revoked = Revoked::from(&message);
        assert_eq!(revoked.agents, BTreeSet::from([AgentId(5), AgentId(u64::MAX)]));
        let edges = [7, 65_535].map(|id| EdgeId::new(id).unwrap());
        assert_eq!(revoked.edges, BTreeSet::from(edges));
        assert!(!revoked.contains(Peer::Controller));
        let last = |n: usize| revoked.grants.contains(&GrantId(n as u64));
        assert!(last(MAX_REVOKED - 1) && !last(MAX_REVOKED), "bounded");
    }

    #[test]
    fn a_bound_convicts_only_of_what_it_excludes() {
        let chain = chain();
        let none = Revoked::default();
        let since = |earliest| Reading {
            at: earliest,
            earliest,
            latest: Wall::from_micros(i64::MAX),
            source: Source::Stored,
        };
        // A machine that was off when this was issued, with a dead clock.
        assert_eq!(check(&chain, since(NOW - LIFE * 9), &none), Ok(AGENT));
        assert!(check(&chain, since(NOW + LIFE * 2), &none).is_err());
        assert_eq!(check(&chain, Reading::UNKNOWN, &none), Ok(AGENT));
    }
}
