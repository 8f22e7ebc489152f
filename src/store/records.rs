//! The rows that the controller keeps, as types.

use std::{collections::BTreeMap, fmt, str::FromStr, time::Duration};

use corridor_probes::{AgentId, BootId, EdgeId, Wall};
use serde::{Deserialize, Serialize};

use crate::media::grant::GrantId;

/// What a token or a certificate is for.
#[derive(
    Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, utoipa::ToSchema,
)]
#[serde(rename_all = "snake_case")]
pub enum Service {
    Agent,
    Edge,
}

/// A join token. Only a hash of its secret is kept.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TokenRecord {
    /// 16 hex digits; shown in lists and used to revoke it.
    pub id: String,
    /// SHA-256 of the secret.
    pub secret_hash: [u8; 32],
    pub service: Service,
    /// The only subject (or edge name) that may join with it, if set.
    pub subject: Option<String>,
    pub tags: BTreeMap<String, String>,
    pub uses_left: u32,
    pub created: Wall,
    pub expires: Wall,
    pub revoked: Option<Wall>,
}

/// An enrolled agent.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AgentRecord {
    pub id: AgentId,
    pub subject: String,
    /// SubjectPublicKeyInfo, DER.
    pub public_key: Vec<u8>,
    pub tags: BTreeMap<String, String>,
    pub joined: Wall,
    pub revoked: Option<Wall>,
    pub last_seen: Option<Wall>,
}

/// An enrolled edge.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct EdgeRecord {
    pub id: EdgeId,
    pub name: String,
    pub region: Option<String>,
    /// `host:port` where agents and other edges reach it, most wanted first.
    pub addresses: Vec<String>,
    pub public_key: Vec<u8>,
    pub tags: BTreeMap<String, String>,
    pub joined: Wall,
    pub revoked: Option<Wall>,
    pub draining: bool,
}

/// An edge that asks to be enrolled: an [`EdgeRecord`] but for what the store gives it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NewEdge {
    pub name: String,
    pub region: Option<String>,
    /// As in [`EdgeRecord`].
    pub addresses: Vec<String>,
    /// SubjectPublicKeyInfo, DER.
    pub public_key: Vec<u8>,
    pub tags: BTreeMap<String, String>,
}

/// What an account or an API token may do; each level may do all that the ones before it may.
#[derive(
    Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, utoipa::ToSchema,
)]
#[serde(rename_all = "snake_case")]
pub enum Level {
    Viewer,
    Support,
    Operator,
    Admin,
}

/// A person who may log in.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AccountRecord {
    pub name: String,
    /// PHC string, Argon2id.
    pub password_hash: String,
    pub level: Level,
    pub created: Wall,
}

/// A browser's session or an API token: a bearer secret of which only the SHA-256 is kept.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BearerRecord {
    pub secret_hash: [u8; 32],
    pub kind: BearerKind,
    /// The account, or the API token's own name.
    pub name: String,
    pub level: Level,
    pub created: Wall,
    pub expires: Option<Wall>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum BearerKind {
    Session,
    ApiToken,
}

/// A participant's role in a class.
#[derive(
    Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, utoipa::ToSchema,
)]
#[serde(rename_all = "snake_case")]
pub enum Role {
    Teacher,
    Student,
    Observer,
}

#[derive(
    Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, utoipa::ToSchema,
)]
#[serde(rename_all = "snake_case")]
pub enum ClassState {
    Scheduled,
    Live,
    Ended,
}

/// How a class went.
#[derive(
    Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, utoipa::ToSchema,
)]
#[serde(rename_all = "snake_case")]
pub enum Outcome {
    Completed,
    CutShort,
    Dropped,
    NeverStarted,
}

/// What a class's budget is judged on.
#[derive(
    Debug,
    Clone,
    Copy,
    PartialEq,
    Eq,
    PartialOrd,
    Ord,
    Hash,
    Default,
    Serialize,
    Deserialize,
    utoipa::ToSchema,
)]
#[serde(rename_all = "snake_case")]
pub enum BudgetOn {
    #[default]
    RoundTrip,
    OneWay,
}

/// Whether the same packet is sent over two routes.
#[derive(
    Debug,
    Clone,
    Copy,
    PartialEq,
    Eq,
    PartialOrd,
    Ord,
    Hash,
    Default,
    Serialize,
    Deserialize,
    utoipa::ToSchema,
)]
#[serde(rename_all = "snake_case")]
pub enum Protect {
    #[default]
    Off,
    AtRisk,
    Always,
}

/// A class: one session of teaching.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ClassRecord {
    pub id: String,
    pub state: ClassState,
    pub outcome: Option<Outcome>,
    /// `host:port` of the media server, if the class has one.
    pub target: Option<String>,
    pub budget_us: u32,
    pub budget_on: BudgetOn,
    pub protect: Protect,
    pub created: Wall,
    /// Planned times.
    pub start: Option<Wall>,
    pub end: Option<Wall>,
    /// When it really began and ended.
    pub began: Option<Wall>,
    pub ended: Option<Wall>,
    pub participants: Vec<ParticipantRecord>,
}

/// One subject's part in one class.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ParticipantRecord {
    pub subject: String,
    pub role: Role,
    /// When it was last seen to join and to leave (or to be lost).
    pub joined: Option<Wall>,
    pub left: Option<Wall>,
}

/// A plan as it was given: kept so that a class can be explained later, and so that hysteresis goes on
/// after a restart.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PlanRecord {
    pub class: String,
    pub subject: String,
    pub version: u64,
    pub at: Wall,
    /// The plan and its reason, as the route engine serialises them.
    pub body: String,
}

/// A grant that was given: kept until it expires, so that it can be taken back after a restart too. It names
/// no subject.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct GrantRecord {
    pub id: GrantId,
    pub class: String,
    pub agent: AgentId,
    /// Of the one that lasts longest of those made under this number.
    pub until: Wall,
    /// All that were ever named under this number, in ascending order.
    pub edges: Vec<EdgeId>,
    pub revoked: Option<Wall>,
    /// As it was last made (`SignedGrant`); empty once it is revoked.
    pub signed: Vec<u8>,
}

/// Who wrote a report.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Reporter {
    Agent(AgentId),
    Edge(EdgeId),
}

impl fmt::Display for Reporter {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Agent(id) => write!(f, "agent:{id}"),
            Self::Edge(id) => write!(f, "edge:{}", id.get()),
        }
    }
}

/// Not the text of a [`Reporter`].
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("'{0}' names neither an agent nor an edge")]
pub struct BadReporter(String);

impl FromStr for Reporter {
    type Err = BadReporter;

    fn from_str(s: &str) -> Result<Self, BadReporter> {
        let bad = || BadReporter(s.to_owned());
        match s.split_once(':').ok_or_else(bad)? {
            ("agent", id) => id.parse().map(Self::Agent).map_err(|_| bad()),
            ("edge", id) => id
                .parse()
                .ok()
                .and_then(EdgeId::new)
                .map(Self::Edge)
                .ok_or_else(bad),
            _ => Err(bad()),
        }
    }
}

/// One report: a row, with all its windows in one blob. `(reporter, boot, sequence)` is its identity:
/// delivery is at least once, and the store keeps the first.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ReportRecord {
    pub reporter: Reporter,
    pub boot: BootId,
    pub sequence: u64,
    /// When it closed, in the controller's time; it names the day's file if it is believable, see
    /// [`Self::filed`].
    pub end: Wall,
    pub received: Wall,
    /// The `Report` message as it came.
    pub body: Vec<u8>,
}

/// Which of its times a report is filed under.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Filed {
    ByEnd,
    /// Its end is nonsense.
    ByReceipt,
}

impl ReportRecord {
    /// A report may be this much older than its receipt: no spool lasts longer, so an older one tells
    /// of a wrong clock.
    pub const OLDEST: Duration = Duration::from_secs(30 * 86_400);
    /// A report may be this much newer than its receipt: more than any error that an estimate of the
    /// controller's time is left with.
    pub const NEWEST: Duration = Duration::from_secs(86_400);

    /// The time under which it is kept and found: its end, if that is within
    /// `[received - OLDEST, received + NEWEST]`, else when it was received.
    pub fn filed(&self) -> (Wall, Filed) {
        if self.received - Self::OLDEST <= self.end && self.end <= self.received + Self::NEWEST {
            (self.end, Filed::ByEnd)
        } else {
            (self.received, Filed::ByReceipt)
        }
    }
}

/// Something that happened, for timelines and support.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct EventRecord {
    pub at: Wall,
    pub kind: String,
    pub class: Option<String>,
    pub subject: Option<String>,
    pub edge: Option<String>,
    /// The kind's own fields, a JSON object.
    pub detail: String,
}
