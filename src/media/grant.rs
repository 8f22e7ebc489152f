//! Grants: the controller's word on what edges carry, for whom, from where to where and until when.
//!
//! Edges must be able to judge a flow while the controller is away, so they do not ask it: the agent shows what
//! the controller has signed. A grant names the agent, and is worth nothing in the hands of another.
//!
//! On the wire it is a `SignedGrant`: the bytes of a `Grant`, and an Ed25519 signature by a root of the CA over
//! [`DOMAIN`] and these bytes. Certificates are signed by the same keys, over DER, which begins with 0x30: what
//! was signed as the one is never the other.

use std::fmt;

use corridor_probes::{AgentId, EdgeId, Route, Wall};
use prost::Message as _;
use ring::signature::{ED25519, UnparsedPublicKey};
use serde::{Deserialize, Serialize};

use crate::{
    identity::{Certificate, Reading, Roots},
    proto::{self, far_end},
    route::FarEnd,
};

/// What every message that is signed as a grant begins with.
pub const DOMAIN: &[u8] = b"corridor grant 1\0";
/// Bytes of an encoded `SignedGrant`, at most: it fits into one datagram. Ours have 120 to 600.
pub const MAX_GRANT: usize = 1_000;
/// A plan has three routes of three edges, at most.
pub const MAX_EDGES: usize = 9;
/// Bytes of a class's id, as of any name.
pub const MAX_CLASS: usize = 128;
/// Bytes of `host:port`.
pub const MAX_TARGET: usize = 255;
/// Revoked grants that an edge is told of, and remembers: 80 kB of a message of 256.
pub const MAX_REVOKED: usize = 8_192;

/// Ed25519 (RFC 8032 §5.1.6).
const SIGNATURE: usize = 64;
/// SubjectPublicKeyInfo of an Ed25519 key, up to its 32 bytes (RFC 8410 §4).
const SPKI_HEAD: [u8; 12] = [
    0x30, 0x2a, 0x30, 0x05, 0x06, 0x03, 0x2b, 0x65, 0x70, 0x03, 0x21, 0x00,
];

/// A grant's number. It stays the same when the grant is made anew, so that one word revokes all that were
/// made: those with one number have class, agent and far end in common.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct GrantId(pub u64);

impl fmt::Display for GrantId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:016x}", self.0)
    }
}

/// What edges carry for an agent in a class.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Grant {
    pub id: GrantId,
    /// 1 to [`MAX_CLASS`] bytes.
    pub class: String,
    /// Who may open flows with it.
    pub agent: AgentId,
    /// A target has 1 to [`MAX_TARGET`] bytes.
    pub far: FarEnd,
    /// Every edge that may carry: 1 to [`MAX_EDGES`], distinct, in ascending order.
    pub edges: Vec<EdgeId>,
    /// Of the agent, in each direction: kbit/s of media, as IP payload.
    pub rate_kbps: u32,
    /// Controller's time.
    pub from: Wall,
    /// The last moment at which it holds, in the controller's time.
    pub until: Wall,
}

/// Why bytes are no grant, or a grant does not allow what was asked for.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum GrantError {
    #[error("a grant of {0} bytes is over the limit of {MAX_GRANT}")]
    TooLong(usize),
    #[error("the grant is malformed")]
    Malformed,
    #[error("the grant is signed by no root that is known here")]
    Signature,
    #[error("grant {id} expired at {} s after 1970", .at.as_secs())]
    Expired { id: GrantId, at: Wall },
    #[error("grant {id} is not valid before {} s after 1970", .at.as_secs())]
    NotYetValid { id: GrantId, at: Wall },
    #[error("grant {id} is not for agent {agent}")]
    Agent { id: GrantId, agent: AgentId },
    #[error("grant {0} leads to another far end")]
    FarEnd(GrantId),
    #[error("grant {id} does not name edge {edge}")]
    Edge { id: GrantId, edge: EdgeId },
    #[error("grant {0} is for routes with an edge")]
    NoEdge(GrantId),
}

impl Grant {
    /// The bytes of a `SignedGrant`. `sign` answers an Ed25519 signature over what it is given, by a root's key.
    pub fn sign(&self, sign: impl FnOnce(&[u8]) -> Vec<u8>) -> Vec<u8> {
        self.signed_by(|message| Ok::<_, std::convert::Infallible>(sign(message)))
            .unwrap_or_else(|never| match never {})
    }

    /// The same, by a signer that may fail.
    ///
    /// # Errors
    /// The signer's.
    pub fn signed_by<E>(&self, sign: impl FnOnce(&[u8]) -> Result<Vec<u8>, E>) -> Result<Vec<u8>, E> {
        let grant = self.message().encode_to_vec();
        let signature = sign(&to_sign(&grant))?;
        Ok(proto::SignedGrant { grant, signature }.encode_to_vec())
    }

    /// Reads the bytes of a `SignedGrant`, once they have shown to be signed by one of `roots`.
    ///
    /// That it holds now, for whom and by which way, is for the checks below to say; whether it is revoked, for whoever keeps
    /// the controller's list.
    ///
    /// # Errors
    /// [`GrantError::TooLong`], [`GrantError::Malformed`], [`GrantError::Signature`].
    pub fn verify(bytes: &[u8], roots: &Roots) -> Result<Self, GrantError> {
        if bytes.len() > MAX_GRANT {
            return Err(GrantError::TooLong(bytes.len()));
        }
        let signed = proto::SignedGrant::decode(bytes).map_err(|_| GrantError::Malformed)?;
        if signed.signature.len() != SIGNATURE {
            return Err(GrantError::Malformed);
        }
        let message = to_sign(&signed.grant);
        // The newest is the likeliest.
        let mut keys = roots.certificates().iter().rev().filter_map(|root| {
            let spki = Certificate::read(root).ok()?.public_key;
            spki.strip_prefix(&SPKI_HEAD).map(<[u8]>::to_vec)
        });
        let is_by = |key: Vec<u8>| {
            UnparsedPublicKey::new(&ED25519, key)
                .verify(&message, &signed.signature)
                .is_ok()
        };
        if !keys.any(is_by) {
            return Err(GrantError::Signature);
        }
        let grant = proto::Grant::decode(&*signed.grant).map_err(|_| GrantError::Malformed)?;
        Self::read(grant).ok_or(GrantError::Malformed)
    }

    /// Nothing is known not to hold while `now` ([`Wall`], or a [`Reading`] with its bounds) leaves it open.
    ///
    /// # Errors
    /// [`GrantError::Expired`], [`GrantError::NotYetValid`].
    pub fn check_time(&self, now: impl Into<Reading>) -> Result<(), GrantError> {
        let (id, now) = (self.id, now.into());
        if self.until < now.earliest {
            return Err(GrantError::Expired { id, at: self.until });
        }
        if now.latest < self.from {
            return Err(GrantError::NotYetValid { id, at: self.from });
        }
        Ok(())
    }

    /// # Errors
    /// [`GrantError::Agent`].
    pub fn check_agent(&self, agent: AgentId) -> Result<(), GrantError> {
        match self.agent == agent {
            true => Ok(()),
            false => Err(GrantError::Agent { id: self.id, agent }),
        }
    }

    /// # Errors
    /// [`GrantError::FarEnd`].
    pub fn check_far_end(&self, far: &FarEnd) -> Result<(), GrantError> {
        match self.far == *far {
            true => Ok(()),
            false => Err(GrantError::FarEnd(self.id)),
        }
    }

    /// Every edge of the route must be named, entry and exit among them; a hub must be its exit.
    ///
    /// # Errors
    /// [`GrantError::NoEdge`], [`GrantError::Edge`], [`GrantError::FarEnd`].
    pub fn check_route(&self, route: &Route) -> Result<(), GrantError> {
        let exit = route.exit().ok_or(GrantError::NoEdge(self.id))?;
        for edge in route.edges() {
            self.check_edge(edge)?;
        }
        match self.far {
            FarEnd::Hub(hub) if hub != exit => Err(GrantError::FarEnd(self.id)),
            _ => Ok(()),
        }
    }

    /// Whether an edge may carry anything by this grant.
    ///
    /// # Errors
    /// [`GrantError::Edge`].
    pub fn check_edge(&self, edge: EdgeId) -> Result<(), GrantError> {
        match self.edges.binary_search(&edge) {
            Ok(_) => Ok(()),
            Err(_) => Err(GrantError::Edge { id: self.id, edge }),
        }
    }

    fn message(&self) -> proto::Grant {
        proto::Grant {
            id: self.id.0,
            class: self.class.clone(),
            agent: self.agent.0,
            far_end: Some(far_end_message(&self.far)),
            edges: self.edges.iter().map(|e| u32::from(e.get())).collect(),
            rate_kbps: self.rate_kbps,
            from_us: self.from.as_micros(),
            until_us: self.until.as_micros(),
        }
    }

    fn read(message: proto::Grant) -> Option<Self> {
        let edges: Option<Vec<_>> = message.edges.iter().copied().map(edge_from).collect();
        let grant = Self {
            id: GrantId(message.id),
            class: message.class,
            agent: AgentId(message.agent),
            far: far_end_from(message.far_end.as_ref()?)?,
            edges: edges?,
            rate_kbps: message.rate_kbps,
            from: Wall::from_micros(message.from_us),
            until: Wall::from_micros(message.until_us),
        };
        let fine = (1..=MAX_CLASS).contains(&grant.class.len())
            && (1..=MAX_EDGES).contains(&grant.edges.len())
            && grant.edges.is_sorted_by(|a, b| a < b)
            && grant.from <= grant.until;
        fine.then_some(grant)
    }
}

fn to_sign(grant: &[u8]) -> Vec<u8> {
    [DOMAIN, grant].concat()
}

/// As messages have it.
pub fn far_end_message(far: &FarEnd) -> proto::FarEnd {
    let of = match far {
        FarEnd::Agent(id) => far_end::Of::Agent(id.0),
        FarEnd::Target(target) => far_end::Of::Target(target.clone()),
        FarEnd::Hub(edge) => far_end::Of::Hub(u32::from(edge.get())),
    };
    proto::FarEnd { of: Some(of) }
}

/// Reads a far end from a message; `None` if it is none.
pub fn far_end_from(message: &proto::FarEnd) -> Option<FarEnd> {
    match message.of.as_ref()? {
        far_end::Of::Agent(id) => Some(FarEnd::Agent(AgentId(*id))),
        far_end::Of::Target(target) => {
            let fits = (1..=MAX_TARGET).contains(&target.len());
            fits.then(|| FarEnd::Target(target.clone()))
        }
        far_end::Of::Hub(edge) => edge_from(*edge).map(FarEnd::Hub),
    }
}

fn edge_from(id: u32) -> Option<EdgeId> {
    EdgeId::new(u16::try_from(id).ok()?)
}

#[cfg(test)]
mod tests;
