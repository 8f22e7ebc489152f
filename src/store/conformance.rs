//! What every backend must do: the suite that each runs, by [`conformance_suite!`].

use corridor_probes::{AgentId, BootId, EdgeId, Wall};

use super::{
    Store,
    records::{AgentRecord, EventRecord, NewEdge, PlanRecord, ReportRecord, Reporter, Service, TokenRecord},
};

pub(crate) mod access;
pub(crate) mod classes;
pub(crate) mod enrolment;
pub(crate) mod grants;
pub(crate) mod log;
pub(crate) mod reports;
pub(crate) mod retention;

/// A backend under test. A value of it is one place where data outlive a store.
pub(crate) trait Backend {
    fn new() -> Self;
    /// Opens the store at this place, which is closed.
    fn open(&mut self) -> Box<dyn Store>;
    /// Whether what was stored is there when the store is opened again.
    fn lasts(&self) -> bool;

    /// Closes and opens again, if this backend's data last.
    fn again(&mut self, store: Box<dyn Store>) -> Box<dyn Store> {
        if self.lasts() {
            drop(store);
            self.open()
        } else {
            store
        }
    }
}

/// Makes a test of each of the suite's checks for a type that is a [`Backend`].
macro_rules! conformance_suite {
    ($backend:ty) => {
        $crate::store::conformance::conformance_suite! { $backend:
            access::{accounts_and_bearers, meta},
            classes::{round_trip_and_queries, plans},
            enrolment::{tokens, agents_join_with_a_token, edges_get_numbers_and_names,
                refusals_use_nothing_up},
            grants::{grants_until_they_expire},
            log::{events_by_everything},
            reports::{come_back_whole_in_order_of_time, are_kept_once, are_kept_once_whatever_comes,
                nonsense_ends_are_filed_by_receipt, of_subjects},
            retention::{deletes_what_is_too_old, erases_a_subject},
        }
    };
    ($backend:ty: $($file:ident::{$($check:ident),* $(,)?}),* $(,)?) => { $($(
        #[test]
        fn $check() {
            $crate::store::conformance::$file::$check::<$backend>();
        }
    )*)* };
}
pub(crate) use conformance_suite;

/// 2026-11-22T12:00:00Z.
pub(crate) const NOON: Wall = Wall::from_secs(1_795_348_800);
pub(crate) const DAY: i64 = 86_400;

/// Seconds from [`NOON`].
pub(crate) fn at(s: i64) -> Wall {
    Wall::from_secs(NOON.as_secs() + s)
}

pub(crate) fn agent(n: u64) -> Reporter {
    Reporter::Agent(AgentId(n))
}

pub(crate) fn edge(n: u16) -> Reporter {
    Reporter::Edge(EdgeId::new(n).unwrap())
}

/// Received a second after its end.
pub(crate) fn report(reporter: Reporter, boot: u64, sequence: u64, end: Wall) -> ReportRecord {
    ReportRecord {
        reporter,
        boot: BootId(boot),
        sequence,
        end,
        received: end + std::time::Duration::from_secs(1),
        body: format!("{reporter} {boot} {sequence}").into_bytes(),
    }
}

/// Everything of some reporters, in the order in which it comes.
pub(crate) fn all(store: &mut dyn Store, reporters: &[Reporter]) -> Vec<ReportRecord> {
    between(
        store,
        reporters,
        Wall::from_micros(i64::MIN),
        Wall::from_micros(i64::MAX),
    )
}

pub(crate) fn between(
    store: &mut dyn Store,
    reporters: &[Reporter],
    from: Wall,
    to: Wall,
) -> Vec<ReportRecord> {
    let mut found = Vec::new();
    store
        .reports(reporters, from, to, &mut |report| found.push(report))
        .unwrap();
    found
}

pub(crate) fn token(id: &str, service: Service, uses: u32) -> TokenRecord {
    TokenRecord {
        id: id.into(),
        secret_hash: [7; 32],
        service,
        subject: None,
        tags: [("school".to_owned(), "x".to_owned())].into(),
        uses_left: uses,
        created: at(-10),
        expires: at(3_600),
        revoked: None,
    }
}

pub(crate) fn agent_record(id: u64, subject: &str) -> AgentRecord {
    AgentRecord {
        id: AgentId(id),
        subject: subject.into(),
        public_key: id.to_be_bytes().to_vec(),
        tags: [("room".to_owned(), format!("of {subject}"))].into(),
        joined: NOON,
        revoked: None,
        last_seen: None,
    }
}

/// Enrols agents with a token made for it.
pub(crate) fn enrol(store: &mut dyn Store, agents: &[AgentRecord]) {
    store.put_token(&token("enrol", Service::Agent, 1_000)).unwrap();
    for agent in agents {
        store.enrol_agent("enrol", NOON, agent).unwrap();
    }
}

pub(crate) fn new_edge(name: &str) -> NewEdge {
    NewEdge {
        name: name.into(),
        region: Some("eu".into()),
        addresses: vec!["192.0.2.1:4433".into(), "[2001:db8::1]:443".into()],
        public_key: name.as_bytes().to_vec(),
        tags: [("site".to_owned(), "a".to_owned())].into(),
    }
}

pub(crate) fn plan(class: &str, subject: &str, version: u64, at: Wall, body: &str) -> PlanRecord {
    PlanRecord {
        class: class.into(),
        subject: subject.into(),
        version,
        at,
        body: body.into(),
    }
}

pub(crate) fn event(at: Wall, kind: &str) -> EventRecord {
    EventRecord {
        at,
        kind: kind.into(),
        class: None,
        subject: None,
        edge: None,
        detail: "{}".into(),
    }
}
