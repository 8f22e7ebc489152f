//! Who is enrolled: what enrolment needs of the controller's store.

use std::{collections::BTreeMap, fmt};

use corridor_probes::{AgentId, Wall};
use futures_util::future::BoxFuture;

use crate::{
    api::{error::Unavailable, model::JoinEdge},
    identity::{Own, Token, TokenError},
    store::records::{Service, TokenRecord},
};

/// Someone who asks to join. Its request was signed by the key; its token is not checked yet.
#[derive(Debug, Clone)]
pub struct Candidate {
    pub token: Token,
    pub service: Service,
    /// The subject of an agent, the name of an edge, if it said one.
    pub name: Option<String>,
    pub region: Option<String>,
    /// SubjectPublicKeyInfo, DER.
    pub public_key: Vec<u8>,
    /// Drawn at random, for an agent.
    pub agent_id: AgentId,
    /// The controller's time.
    pub now: Wall,
}

/// As what a candidate may join.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Admitted {
    pub name: String,
    /// The token's.
    pub tags: BTreeMap<String, String>,
}

impl Candidate {
    /// Whether it may join, given its token's record. `repeated` says that its key is enrolled already
    /// under this token's service: then the answer to its first request was lost, and needs no second use.
    pub fn admit(&self, record: Option<&TokenRecord>, repeated: bool) -> Result<Admitted, Refusal> {
        match self
            .token
            .check(record, self.service, self.name.as_deref(), self.now)
        {
            Ok(()) => {}
            Err(TokenError::UsedUp) if repeated => {}
            Err(e) => return Err(e.into()),
        }
        let record = record.ok_or(TokenError::Unknown)?;
        let name = record.subject.clone().or_else(|| self.name.clone());
        Ok(Admitted {
            name: name.ok_or(Refusal::NoName)?,
            tags: record.tags.clone(),
        })
    }
}

/// An enrolled agent or edge.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Member {
    pub own: Own,
    /// The subject, or the edge's name.
    pub name: String,
    pub revoked: bool,
    /// Whose place it took, when it joined just now.
    pub replaced: Option<Own>,
    /// Edges to begin with, for an agent.
    pub edges: Vec<JoinEdge>,
    /// Where edges reach the controller over QUIC, `host:port`; for an edge.
    pub controller: Option<String>,
}

/// Why a candidate does not become a member.
#[derive(Debug, thiserror::Error)]
pub enum Refusal {
    #[error(transparent)]
    Token(#[from] TokenError),
    #[error("neither the join token nor this machine says its name: give one")]
    NoName,
    #[error("this key is enrolled under another name, or was revoked: make a new one")]
    KeyInUse,
    #[error("there are no more numbers for edges")]
    Full,
    #[error(transparent)]
    Unavailable(#[from] Unavailable),
}

/// The controller's list of agents, edges and join tokens.
pub trait Directory: fmt::Debug + Send + Sync + 'static {
    /// In one transaction, so that a token of one use lets exactly one in:
    ///
    /// 1. finds the token's record by [`Token::id`], and the member with [`Candidate::public_key`];
    /// 2. calls [`Candidate::admit`] with both, and changes nothing if that refuses;
    /// 3. a key that is enrolled already: as this service and name, and not revoked, is answered again as
    ///    it is, without a use taken; otherwise [`Refusal::KeyInUse`];
    /// 4. takes one of the token's uses;
    /// 5. revokes whoever is enrolled under the same name and service and is not revoked, and says so in
    ///    [`Member::replaced`]: the newest to join is the subject's machine, or the edge of that name;
    /// 6. inserts the new one: an agent as [`Candidate::agent_id`], an edge with a number that was never
    ///    given before ([`Refusal::Full`] when there is none).
    ///
    /// After it, and only then, the revocation is told to edges.
    fn enrol(&self, candidate: Candidate) -> BoxFuture<'_, Result<Member, Refusal>>;

    /// Whose key this is (SubjectPublicKeyInfo, DER), revoked or not.
    fn member(&self, public_key: Vec<u8>) -> BoxFuture<'_, Result<Option<Member>, Unavailable>>;
}
