//! What agents and edges are told of grants, by the whole core.

use std::collections::VecDeque;

use super::*;
use crate::{
    config,
    controller::{
        NewClass,
        core::{Core, Now, Output, Restored},
        edges::Connection,
        settings::Settings,
    },
    proto::{self, controller_to_edge, from_controller, to_controller},
    store::records::{AgentRecord, ClassRecord, EdgeRecord, PlanRecord, Protect, Role},
};

const TEACHER: AgentId = AgentId(1);
const STUDENT: AgentId = AgentId(2);

/// A controller with two edges that are connected, and two agents; what it said, and what it kept.
struct School {
    core: Core,
    ca: Arc<Ca>,
    /// The newest of each.
    plans: BTreeMap<AgentId, proto::Plans>,
    lists: BTreeMap<EdgeId, proto::Revocations>,
    /// Edges that were told a list, in order.
    told: VecDeque<EdgeId>,
    grants: BTreeMap<GrantId, GrantRecord>,
    records: Vec<PlanRecord>,
    class: Option<ClassRecord>,
}

fn agent((id, subject): (AgentId, &str)) -> AgentRecord {
    AgentRecord {
        id,
        subject: subject.into(),
        public_key: vec![],
        tags: BTreeMap::new(),
        joined: at(0),
        revoked: None,
        last_seen: None,
    }
}

fn restored() -> Restored {
    let edge = |n| EdgeRecord {
        id: e(n),
        name: format!("e{n}"),
        region: None,
        addresses: vec![],
        public_key: vec![],
        tags: BTreeMap::new(),
        joined: at(0),
        revoked: None,
        draining: false,
    };
    Restored {
        agents: [(TEACHER, "t1"), (STUDENT, "s1")].map(agent).into(),
        edges: [1, 2].map(edge).into(),
        ..Restored::default()
    }
}

fn now(s: i64) -> Now {
    Now {
        mono: Mono::from_millis(s * 1_000),
        wall: at(s),
    }
}

fn core(ca: &Arc<Ca>, restored: Restored, s: i64) -> Core {
    let settings = Settings::new(&config::Controller::default(), &config::Edge::default());
    Core::new(settings, ca.clone(), restored, now(s))
}

impl School {
    fn new() -> Self {
        let ca = ca();
        let mut school = Self {
            core: core(&ca, restored(), 0),
            ca,
            plans: BTreeMap::new(),
            lists: BTreeMap::new(),
            told: VecDeque::new(),
            grants: BTreeMap::new(),
            records: Vec::new(),
            class: None,
        };
        school.connect(0);
        school
    }

    fn connect(&mut self, s: i64) {
        for n in [1, 2] {
            let register = proto::EdgeRegister::default();
            self.core.edge_connected(e(n), Connection(1), &register, now(s));
        }
        for id in [TEACHER, STUDENT] {
            let attach = to_controller::Body::Attach(proto::Attach::default());
            self.core.agent_said(e(1), id, None, attach, now(s));
        }
        self.listen();
    }

    /// With what was kept.
    fn restart(&mut self, s: i64) {
        let live = |class: &ClassRecord| class.ended.is_none();
        let restored = Restored {
            classes: self.class.iter().filter(|c| live(c)).cloned().collect(),
            plans: self.records.clone(),
            grants: self.grants.values().cloned().collect(),
            ..restored()
        };
        self.core = core(&self.ca, restored, s);
        (self.plans, self.lists) = Default::default();
        self.connect(s);
    }

    fn create(&mut self, end: Option<i64>, s: i64) {
        let class = NewClass {
            protect: Protect::AtRisk,
            end: end.map(at),
            ..NewClass::new(
                CLASS,
                vec![("t1".into(), Role::Teacher), ("s1".into(), Role::Student)],
            )
        };
        self.core.create_class(class, now(s)).unwrap();
        self.listen();
    }

    fn tick(&mut self, s: i64) {
        self.core.tick(now(s));
        self.listen();
    }

    fn listen(&mut self) {
        while let Some(output) = self.core.poll_output() {
            match output {
                Output::SaveGrant(record) => {
                    self.grants.insert(record.id, record);
                }
                Output::SavePlan(record) => self.records.push(record),
                Output::SaveClass(record) => self.class = Some(*record),
                Output::ToEdge(edge, message) => match message.body {
                    Some(controller_to_edge::Body::Revocations(list)) => {
                        self.lists.insert(edge, list);
                        self.told.push_back(edge);
                    }
                    Some(controller_to_edge::Body::ToAgent(message)) => self.said(&message),
                    _ => {}
                },
                _ => {}
            }
        }
    }

    fn said(&mut self, message: &proto::ToAgent) {
        let said = proto::decode::<proto::FromController>(&message.payload).unwrap();
        if let Some(from_controller::Body::Plans(plans)) = said.body {
            self.plans.insert(AgentId(message.agent), plans);
        }
    }

    /// The only plan of an agent, and its grant.
    fn plan(&self, agent: AgentId) -> (proto::Plan, Grant) {
        let [plan] = &*self.plans[&agent].plans else {
            panic!("{:?}", self.plans[&agent]);
        };
        let grant = Grant::verify(&plan.grant, &self.ca.roots()).unwrap();
        (plan.clone(), grant)
    }

    fn refused(&self, edge: u16) -> &[u64] {
        &self.lists[&e(edge)].grants
    }
}

#[test]
fn a_plan_comes_with_what_its_agent_needs_to_have_media_carried() {
    let mut school = School::new();
    school.create(Some(2_700), 1);
    for (me, peer, subject) in [(TEACHER, STUDENT, "s1"), (STUDENT, TEACHER, "t1")] {
        let (plan, grant) = school.plan(me);
        assert_eq!(
            (plan.far_subject.as_str(), plan.protect.as_str()),
            (subject, "at_risk")
        );
        assert_eq!(grant.far, FarEnd::Agent(peer));
        let routes = plan
            .routes
            .iter()
            .map(|r| crate::reporting::route_from(r).unwrap());
        for route in routes {
            assert_eq!(grant.check_route(&route), Ok(()));
        }
        assert_eq!((grant.agent, grant.check_time(at(1))), (me, Ok(())));
        assert_eq!(grant.until, at(2_700 + 4 * 3_600));
        assert_eq!(grant.rate_kbps, config::MEDIA_KBPS);
    }
    assert_eq!(school.grants.len(), 2);
    let before = school.grants.clone();
    for s in 2..200 {
        school.tick(s);
    }
    assert_eq!(school.grants, before, "nothing is signed while nothing changes");
}

#[test]
fn grants_of_a_class_that_ended_are_refused_at_once_after_reconnecting_and_after_a_restart() {
    let mut school = School::new();
    school.create(None, 1);
    let ids: BTreeSet<u64> = school.grants.keys().map(|id| id.0).collect();
    school.told.clear();
    school.core.end_class(CLASS, None, now(5)).unwrap();
    school.tick(5);
    let all = |school: &School| -> BTreeSet<u64> {
        let edges = [1, 2].into_iter();
        edges.flat_map(|n| school.refused(n).to_vec()).collect()
    };
    assert_eq!(all(&school), ids);
    assert!(school.told.len() <= 2, "once each: {:?}", school.told);
    assert!(school.plans[&STUDENT].plans.is_empty());
    assert!(school.grants.values().all(|g| g.revoked == Some(at(5))));

    school.lists.clear();
    school.connect(10);
    assert_eq!(all(&school), ids);
    school.restart(20);
    assert_eq!(all(&school), ids);
    // Until they would have expired.
    school.restart(days(14) + 3_600 + 6);
    assert_eq!(all(&school), BTreeSet::new());
}

#[test]
fn who_leaves_loses_the_grant_and_gets_another_one_with_coming_back() {
    let mut school = School::new();
    school.create(None, 1);
    let id = school.plan(STUDENT).1.id;
    let other = school.plan(TEACHER).1.id;
    school.core.leave_class(CLASS, "s1", now(2)).unwrap();
    school.tick(2);
    // Alone, the teacher has no leg either.
    for edge in school.grants[&id].edges.clone() {
        let refused = school.refused(edge.get());
        assert!(refused.contains(&id.0) && refused.contains(&other.0));
    }
    school
        .core
        .join_class(CLASS, "s1", Role::Student, now(2))
        .unwrap();
    school.tick(3);
    let again = school.plan(STUDENT).1;
    assert_ne!(again.id, id);
    assert!(
        again
            .edges
            .iter()
            .all(|n| !school.refused(n.get()).contains(&again.id.0))
    );
}

#[test]
fn a_revoked_agent_holds_no_grant_and_gets_none() {
    let mut school = School::new();
    school.create(None, 1);
    let id = school.plan(STUDENT).1.id;
    let revoked = AgentRecord {
        revoked: Some(at(2)),
        ..agent((STUDENT, "s1"))
    };
    school.core.agent_changed(revoked, now(2));
    school.listen();
    for edge in school.grants[&id].edges.clone() {
        assert_eq!(school.refused(edge.get()), [id.0], "at once");
    }
    for s in 3..70 {
        school.tick(s);
    }
    let held = school.grants.values().filter(|g| g.revoked.is_none());
    assert!(held.map(|g| g.agent).eq([TEACHER]));
}

#[test]
fn after_a_restart_a_live_class_goes_on_with_its_grants() {
    let mut school = School::new();
    school.create(None, 1);
    let before = school.plan(STUDENT).1;
    school.restart(10);
    school.tick(10);
    assert_eq!(school.plan(STUDENT).1, before);
    // A store of before there were any has none: they are made, and told.
    school.grants.clear();
    school.restart(20);
    school.tick(20);
    assert_eq!(school.plan(STUDENT).1.agent, STUDENT);
    // And without the class that they were for, they are taken back.
    school.class = None;
    school.restart(30);
    school.tick(30);
    assert!(school.grants.values().all(|g| g.revoked.is_some()));
}
