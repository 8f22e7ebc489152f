//! What the controller keeps: records, and the traits that every backend implements.
//!
//! Methods block, take `&mut self` and the time as an argument: a store lives on a [`worker::Worker`],
//! so there is one writer, and what one closure does is not interleaved with another's. What a method
//! has answered `Ok` to is durable: it outlives the process and, on a disk that keeps its promises, the
//! power.

use std::time::Duration;

use corridor_probes::{AgentId, EdgeId, Wall};

mod error;
pub mod records;
pub mod sqlite;
pub mod worker;

#[cfg(test)]
mod conformance;
#[cfg(test)]
pub(crate) mod crash;

pub use error::{Refusal, StoreError};

use records::{
    AccountRecord, AgentRecord, BearerKind, BearerRecord, ClassRecord, ClassState, EdgeRecord, EventRecord,
    Filed, GrantRecord, NewEdge, PlanRecord, ReportRecord, Reporter, TokenRecord,
};

pub type Result<T> = std::result::Result<T, StoreError>;

/// All that the controller keeps.
pub trait Store: Reports + Tokens + Agents + Edges + Access + Classes + Grants + Log + Meta + Send {
    /// Deletes what is older than it may be. Cheap when there is nothing to delete.
    ///
    /// # Errors
    /// What was deleted before the error stays deleted; call again.
    fn retain(&mut self, now: Wall, keep: &Retention) -> Result<Retained>;

    /// Destroys what ties records to `subject`; the records stay, tied to nobody.
    ///
    /// `pseudonym`, drawn at random by the caller, takes the subject's place wherever it occurs: agents,
    /// classes, plans and events with their bodies. Its agents are revoked and lose key and tags, so
    /// that the person's machine cannot be matched with them; the caller tells the edges. Tokens that
    /// only it could use are deleted. Nothing of it remains readable in the files. Reports carry an
    /// agent's id and no subject, and stay as they are. Reads everything that is kept: seconds on a big
    /// store.
    fn erase_subject(&mut self, subject: &str, pseudonym: &str, now: Wall) -> Result<Erased>;

    /// Size on disk, of everything that belongs to the store.
    fn bytes(&mut self) -> Result<u64>;

    /// Since the store was opened.
    fn counters(&self) -> Counters;
}

/// Agents' and edges' reports.
pub trait Reports {
    /// Keeps a batch and tells of each, in its order, whether it is new. When this answers, all of it
    /// is durable: acknowledge after it, never before.
    ///
    /// A report's identity is (reporter, boot, sequence). Of those with the same one, in a batch or
    /// across days and restarts, the first is kept, for as long as [`Retention::reports`] says.
    ///
    /// # Errors
    /// Acknowledge nothing. Some of the batch may be kept; append it again, and these count as new, so
    /// that each report is told to be new once.
    fn append_reports(&mut self, batch: &[ReportRecord]) -> Result<Vec<Appended>>;

    /// Gives `each` the reports of `reporters` with `from <= filed < to` (see [`ReportRecord::filed`]),
    /// in order of that time, ties in order of arrival.
    fn reports(
        &mut self,
        reporters: &[Reporter],
        from: Wall,
        to: Wall,
        each: &mut dyn FnMut(ReportRecord),
    ) -> Result<()>;

    /// The same for all agents, now or formerly enrolled, of `subjects`: those of a class, say.
    fn reports_of_subjects(
        &mut self,
        subjects: &[&str],
        from: Wall,
        to: Wall,
        each: &mut dyn FnMut(ReportRecord),
    ) -> Result<()>;
}

/// Whether a report was kept.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Appended {
    New(Filed),
    Repeat,
}

/// Join tokens.
pub trait Tokens {
    /// Replaces one of the same id.
    fn put_token(&mut self, token: &TokenRecord) -> Result<()>;
    fn token(&mut self, id: &str) -> Result<Option<TokenRecord>>;
    /// In order of creation.
    fn tokens(&mut self) -> Result<Vec<TokenRecord>>;
    /// Answers whether there is such a token; the time of an earlier revocation stays.
    fn revoke_token(&mut self, id: &str, now: Wall) -> Result<bool>;
}

/// Enrolled agents.
pub trait Agents {
    /// Takes one use of a token and keeps the agent, both or neither. The caller has checked the
    /// token's secret.
    ///
    /// # Errors
    /// [`StoreError::Refused`].
    fn enrol_agent(&mut self, token: &str, now: Wall, agent: &AgentRecord) -> Result<()>;

    fn agent(&mut self, id: AgentId) -> Result<Option<AgentRecord>>;
    /// Of several with the same key, the newest.
    fn agent_by_key(&mut self, public_key: &[u8]) -> Result<Option<AgentRecord>>;
    /// In order of enrolment; revoked ones included.
    fn agents(&mut self) -> Result<Vec<AgentRecord>>;
    /// Changes an enrolled agent; answers whether there is one.
    fn update_agent(&mut self, agent: &AgentRecord) -> Result<bool>;
    /// Sets when agents were last seen, where that is later than what is known.
    fn agents_seen(&mut self, seen: &[(AgentId, Wall)]) -> Result<()>;
}

/// Enrolled edges.
pub trait Edges {
    /// Takes one use of a token and keeps the edge, both or neither. It gets the next id: never given
    /// before, not to an edge that was revoked either. Its name must differ from those of all edges
    /// that are not revoked. The caller has checked the token's secret.
    ///
    /// # Errors
    /// [`StoreError::Refused`].
    fn enrol_edge(&mut self, token: &str, now: Wall, edge: &NewEdge) -> Result<EdgeRecord>;

    fn edge(&mut self, id: EdgeId) -> Result<Option<EdgeRecord>>;
    /// Of several with the same key, the newest.
    fn edge_by_key(&mut self, public_key: &[u8]) -> Result<Option<EdgeRecord>>;
    /// In order of enrolment, which is that of their ids; revoked ones included.
    fn edges(&mut self) -> Result<Vec<EdgeRecord>>;
    /// Changes an enrolled edge; answers whether there is one.
    ///
    /// # Errors
    /// [`Refusal::NameTaken`].
    fn update_edge(&mut self, edge: &EdgeRecord) -> Result<bool>;
}

/// Accounts, and the bearer secrets of sessions and API tokens.
pub trait Access {
    /// Replaces one of the same name.
    fn put_account(&mut self, account: &AccountRecord) -> Result<()>;
    fn account(&mut self, name: &str) -> Result<Option<AccountRecord>>;
    /// In order of their names.
    fn accounts(&mut self) -> Result<Vec<AccountRecord>>;
    /// Deletes its sessions too; answers whether there was such an account.
    fn delete_account(&mut self, name: &str) -> Result<bool>;

    fn put_bearer(&mut self, bearer: &BearerRecord) -> Result<()>;
    /// Expired or not: the caller compares.
    fn bearer(&mut self, secret_hash: &[u8; 32]) -> Result<Option<BearerRecord>>;
    /// In order of creation.
    fn bearers(&mut self, kind: BearerKind) -> Result<Vec<BearerRecord>>;
    /// Answers whether there was one.
    fn delete_bearer(&mut self, secret_hash: &[u8; 32]) -> Result<bool>;
    /// Deletes all of one account, or an API token by its name; answers how many.
    fn delete_bearers(&mut self, kind: BearerKind, name: &str) -> Result<u64>;
}

/// Classes, and the plans given for their legs.
pub trait Classes {
    /// Keeps a class with its participants, in their order, in place of one of the same id.
    fn put_class(&mut self, class: &ClassRecord) -> Result<()>;
    fn class(&mut self, id: &str) -> Result<Option<ClassRecord>>;
    /// Newest first.
    fn classes(&mut self, query: &ClassQuery) -> Result<Vec<ClassRecord>>;

    fn append_plans(&mut self, plans: &[PlanRecord]) -> Result<()>;
    /// The plan with the highest version of each subject of a class, in order of subjects.
    fn newest_plans(&mut self, class: &str) -> Result<Vec<PlanRecord>>;
    /// All plans of a class, oldest first.
    fn plans(&mut self, class: &str) -> Result<Vec<PlanRecord>>;
}

/// Grants that were given, until [`Store::retain`] finds them expired.
pub trait Grants {
    /// Each replaces one of the same id.
    fn put_grants(&mut self, grants: &[GrantRecord]) -> Result<()>;
    /// In order of their ids; revoked ones included.
    fn grants(&mut self) -> Result<Vec<GrantRecord>>;
}

/// What a list of classes is narrowed to; everything, by default.
#[derive(Debug, Clone, Default)]
pub struct ClassQuery {
    pub state: Option<ClassState>,
    /// Classes in which it takes part.
    pub subject: Option<String>,
    /// Created at or after.
    pub from: Option<Wall>,
    /// Created before.
    pub to: Option<Wall>,
    pub limit: Option<u32>,
}

/// Events.
pub trait Log {
    fn append_events(&mut self, events: &[EventRecord]) -> Result<()>;
    fn events(&mut self, query: &EventQuery) -> Result<Vec<EventRecord>>;
}

/// What a list of events is narrowed to; everything, oldest first, by default.
#[derive(Debug, Clone, Default)]
pub struct EventQuery {
    pub class: Option<String>,
    pub subject: Option<String>,
    pub edge: Option<String>,
    pub kind: Option<String>,
    /// At or after.
    pub from: Option<Wall>,
    /// Before.
    pub to: Option<Wall>,
    pub limit: Option<u32>,
    pub newest_first: bool,
}

/// Small values under a name: the controller's own state.
pub trait Meta {
    fn get_meta(&mut self, name: &str) -> Result<Option<Vec<u8>>>;
    fn set_meta(&mut self, name: &str, value: &[u8]) -> Result<()>;
}

/// How long records are kept.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Retention {
    /// Raw reports; they go by whole UTC days, so that up to a day more is kept.
    pub reports: Duration,
    /// Classes from their end, plans, events, and join tokens from their expiry. Bearers go when they
    /// expire, grants an hour later (those who judge them may be behind).
    pub records: Duration,
}

impl Default for Retention {
    /// 48 hours: what support looks at in detail is today's and yesterday's. 400 days: a school year
    /// and the next one's beginning, so that this week can be compared with the same one a year ago.
    fn default() -> Self {
        Self {
            reports: Duration::from_secs(48 * 3_600),
            records: Duration::from_secs(400 * 86_400),
        }
    }
}

/// How long after its end a grant is kept: see [`Retention::records`].
pub const GRANT_LINGERS: Duration = Duration::from_secs(3_600);

/// What [`Store::retain`] deleted.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Retained {
    /// Days of raw reports.
    pub days: u64,
    pub classes: u64,
    pub plans: u64,
    pub events: u64,
    pub tokens: u64,
    pub bearers: u64,
    pub grants: u64,
}

/// What [`Store::erase_subject`] changed.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Erased {
    /// Revoked, if they were not: edges must be told.
    pub agents: Vec<AgentId>,
    pub participations: u64,
    pub plans: u64,
    pub events: u64,
    pub tokens: u64,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Counters {
    /// Reports kept.
    pub reports: u64,
    /// Reports that came again.
    pub repeats: u64,
    /// Of `reports`, those filed by receipt because their end was nonsense.
    pub misdated: u64,
    /// Damaged files that were set aside.
    pub set_aside: u64,
}
