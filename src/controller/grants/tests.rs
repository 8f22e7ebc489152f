mod told;

use rand::{SeedableRng as _, rngs::StdRng};

use super::*;
use crate::{
    identity::Roots,
    route::{Cause, Reason},
    store::records::BudgetOn,
};

const CLASS: &str = "math-1";
const ME: AgentId = AgentId(9);
const PEER: FarEnd = FarEnd::Agent(AgentId(8));

fn at(s: i64) -> Wall {
    Wall::from_secs(1_800_000_000 + s)
}

fn days(n: i64) -> i64 {
    n * 86_400
}

fn e(id: u16) -> EdgeId {
    EdgeId::new(id).unwrap()
}

fn ca() -> Arc<Ca> {
    let ca = Ca::ephemeral(at(0), &mut StdRng::seed_from_u64(1));
    Arc::new(ca.unwrap())
}

fn plan(to: FarEnd, edges: &[u16]) -> Plan {
    let mut routes = edges.iter().map(|&n| Route::new(&[e(n)]).unwrap());
    Plan {
        version: 1,
        at: at(0),
        to,
        primary: routes.next(),
        standbys: routes.collect(),
        budget: Duration::from_millis(200),
        budget_on: BudgetOn::RoundTrip,
        added_ms: Vec::new(),
        reason: Reason::new(Cause::Initial),
        no_disjoint: None,
    }
}

/// One leg's grants, with what was kept of them.
struct World {
    ca: Arc<Ca>,
    grants: Grants,
    store: BTreeMap<GrantId, GrantRecord>,
}

impl World {
    fn new() -> Self {
        let ca = ca();
        Self {
            grants: Grants::restore(ca.clone(), 4_000, Vec::new(), at(0), Mono::ZERO),
            store: BTreeMap::new(),
            ca,
        }
    }

    /// Whether another grant is told.
    fn follow(&mut self, end: Option<Wall>, plan: Option<&Plan>, now: Wall) -> bool {
        let legs = plan.map(|plan| (ME, plan)).into_iter();
        let changed = self.grants.follow(CLASS, end, legs, now);
        self.keep();
        !changed.is_empty()
    }

    fn keep(&mut self) {
        let unsaved = self.grants.take_unsaved();
        self.store
            .extend(unsaved.into_iter().map(|record| (record.id, record)));
    }

    fn restart(&mut self, rate_kbps: u32, now: Wall) {
        let kept = self.store.values().cloned().collect();
        self.grants = Grants::restore(self.ca.clone(), rate_kbps, kept, now, Mono::ZERO);
    }

    fn held(&self, far: &FarEnd) -> Option<Grant> {
        let signed = self.grants.signed(CLASS, ME, far)?;
        Some(Grant::verify(signed, &self.ca.roots()).unwrap())
    }

    fn revoked(&self, edge: u16) -> Vec<u64> {
        self.grants.revoked_at(e(edge))
    }
}

#[test]
fn a_leg_holds_a_grant_for_the_edges_of_its_routes() {
    let mut world = World::new();
    assert!(
        !world.follow(None, Some(&plan(PEER, &[])), at(0)),
        "no route, no grant"
    );
    assert!(world.follow(None, Some(&plan(PEER, &[300, 2])), at(0)));
    let held = world.held(&PEER).unwrap();
    assert_eq!((held.agent, &*held.class, &held.far), (ME, CLASS, &PEER));
    assert_eq!(held.edges, [e(2), e(300)]);
    assert_eq!(
        (held.rate_kbps, held.from, held.until),
        (4_000, at(-60), at(days(14)))
    );
    assert_eq!(world.held(&FarEnd::Hub(e(2))), None);
    // The same plan, or routes in another order, are the same grant.
    assert!(!world.follow(None, Some(&plan(PEER, &[2, 300])), at(1)));
    assert!(world.follow(None, Some(&plan(PEER, &[2])), at(2)));
    let next = world.held(&PEER).unwrap();
    assert_eq!((next.id, next.from), (held.id, held.from));
    assert_eq!(next.edges, [e(2)]);
    // Both were out, so whoever stood in either is to know.
    assert!(!world.follow(None, None, at(3)));
    assert_eq!(world.held(&PEER), None);
    assert_eq!(world.grants.take_untold(), [e(2), e(300)].into());
    assert_eq!(world.revoked(300), [held.id.0]);
    assert_eq!(world.revoked(3), [0u64; 0]);
}

#[test]
fn it_lasts_beyond_a_set_end_and_is_renewed_without_one() {
    let plan = plan(PEER, &[1]);
    let mut lesson = World::new();
    let end = Some(at(2_700));
    assert!(lesson.follow(end, Some(&plan), at(0)));
    assert_eq!(lesson.held(&PEER).unwrap().until, at(2_700 + 4 * 3_600));
    assert!(
        !lesson.follow(end, Some(&plan), at(2_699)),
        "it would be the same"
    );

    let third = days(14) / 3;
    let mut open = World::new();
    assert!(open.follow(None, Some(&plan), at(0)));
    let first = open.held(&PEER).unwrap();
    assert!(!open.follow(None, Some(&plan), at(third - 1)));
    assert!(open.follow(None, Some(&plan), at(third)));
    let second = open.held(&PEER).unwrap();
    assert_eq!((second.id, second.until), (first.id, at(third + days(14))));

    // A far end in time is come nearer to.
    let far = Some(at(days(15)));
    let mut long = World::new();
    assert!(long.follow(far, Some(&plan), at(0)));
    assert_eq!(long.held(&PEER).unwrap().until, at(days(14)));
    assert!(long.follow(far, Some(&plan), at(days(5))));
    assert_eq!(long.held(&PEER).unwrap().until, at(days(15) + 4 * 3_600));
    assert!(!long.follow(far, Some(&plan), at(days(14))));
}

#[test]
fn another_far_end_is_another_grant_and_all_end_with_the_leg() {
    let mut world = World::new();
    let hub = FarEnd::Hub(e(2));
    assert!(world.follow(None, Some(&plan(PEER, &[1])), at(0)));
    assert!(world.follow(None, Some(&plan(hub.clone(), &[2])), at(5)));
    let (first, second) = (world.held(&PEER).unwrap().id, world.held(&hub).unwrap().id);
    assert_ne!(first, second);
    assert!(
        world.revoked(1).is_empty(),
        "the agent may not have the new plan yet"
    );
    assert!(!world.follow(None, Some(&plan(PEER, &[1])), at(6)), "and back");
    world.follow(None, None, at(7));
    assert_eq!(world.revoked(1), [first.0]);
    assert_eq!(world.revoked(2), [second.0]);
}

#[test]
fn who_comes_back_has_a_grant_that_is_not_on_the_list() {
    let mut world = World::new();
    let plan = plan(PEER, &[1]);
    for n in 0..3 {
        // Even at once.
        assert!(world.follow(None, Some(&plan), at(0)));
        let id = world.held(&PEER).unwrap().id.0;
        assert!(!world.revoked(1).contains(&id));
        world.follow(None, None, at(0));
        assert!(world.revoked(1).contains(&id));
        assert_eq!(world.revoked(1).len(), n + 1);
    }
    assert!(world.follow(None, Some(&plan), at(0)));
    world.grants.revoke_agent(AgentId(1), at(1));
    assert!(world.held(&PEER).is_some());
    world.grants.revoke_agent(ME, at(1));
    assert_eq!((world.held(&PEER), world.revoked(1).len()), (None, 4));
}

#[test]
fn a_restart_changes_nothing() {
    let mut world = World::new();
    let plan = plan(PEER, &[1]);
    world.follow(None, Some(&plan), at(0));
    let held = world.held(&PEER).unwrap();
    world.restart(4_000, at(10));
    assert_eq!(world.held(&PEER), Some(held.clone()));
    assert!(!world.follow(None, Some(&plan), at(10)));
    world.follow(None, None, at(11));
    world.restart(4_000, at(12));
    assert_eq!((world.held(&PEER), world.revoked(1)), (None, vec![held.id.0]));
    // One that was out when its class ended, and the controller with it, is taken back after the start.
    let mut crashed = World::new();
    crashed.follow(None, Some(&plan), at(0));
    crashed.restart(4_000, at(10));
    assert_eq!(crashed.grants.classes().collect::<Vec<_>>(), [CLASS]);
    crashed.follow(None, None, at(10));
    assert_eq!(crashed.revoked(1).len(), 1);
    // Another rate is another grant of the same number.
    let mut faster = World::new();
    faster.follow(None, Some(&plan), at(0));
    faster.restart(8_000, at(10));
    assert!(faster.follow(None, Some(&plan), at(10)));
    let new = faster.held(&PEER).unwrap();
    assert_eq!((new.id, new.rate_kbps), (held.id, 8_000));
}

#[test]
fn a_stored_grant_of_a_root_that_is_gone_is_taken_back() {
    let mut world = World::new();
    let plan = plan(PEER, &[1]);
    world.follow(None, Some(&plan), at(0));
    let id = world.held(&PEER).unwrap().id;
    let other = Ca::ephemeral(at(0), &mut StdRng::seed_from_u64(2)).unwrap();
    let known: Roots = other.roots();
    assert_ne!(known, world.ca.roots());
    world.ca = Arc::new(other);
    world.restart(4_000, at(10));
    assert_eq!((world.held(&PEER), world.revoked(1)), (None, vec![id.0]));
    assert!(world.follow(None, Some(&plan), at(10)));
    assert_ne!(world.held(&PEER).unwrap().id, id);
}

#[test]
fn what_has_expired_is_forgotten() {
    let mut world = World::new();
    let end = Some(at(100));
    world.follow(end, Some(&plan(PEER, &[1])), at(0));
    world.follow(end, None, at(100));
    let over = 100 + 4 * 3_600 + 3_600;
    assert!(world.grants.sweep(Mono::ZERO, at(over)));
    assert_eq!(world.revoked(1).len(), 1);
    assert!(!world.grants.sweep(Mono::from_millis(59_999), at(over + 1)));
    assert!(world.grants.sweep(Mono::from_millis(60_000), at(over + 1)));
    assert_eq!(world.revoked(1).len(), 0);
    world.restart(4_000, at(over + 1));
    assert_eq!(world.revoked(1).len(), 0);
}

#[test]
fn an_edge_is_told_as_many_as_it_remembers_those_that_last_longest() {
    let mut world = World::new();
    let record = |n: u64| GrantRecord {
        id: GrantId(n),
        class: CLASS.into(),
        agent: ME,
        until: at(i64::try_from(n).unwrap()),
        edges: vec![e(1)],
        revoked: Some(at(0)),
        signed: Vec::new(),
    };
    let most = MAX_REVOKED as u64;
    world.store = (1..=most + 5).map(|n| (GrantId(n), record(n))).collect();
    world.restart(4_000, at(0));
    let told = world.revoked(1);
    assert_eq!(told, (6..=most + 5).collect::<Vec<_>>());
    let message = crate::proto::Revocations {
        grants: told,
        ..Default::default()
    };
    let bytes = crate::proto::encode(&message).unwrap();
    assert!(crate::proto::decode::<crate::proto::Revocations>(&bytes[4..]).is_ok());
}
