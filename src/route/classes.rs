//! Which legs a class has.

use std::time::Duration;

use corridor_probes::{AgentId, EdgeId, Route};

use super::FarEnd;
use crate::store::records::{BudgetOn, Role};

/// A live class, as far as routes are concerned.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Class {
    pub id: String,
    /// `host:port` of its media server, if it has one.
    pub target: Option<String>,
    pub budget: Duration,
    pub budget_on: BudgetOn,
    /// Those who are in it.
    pub members: Vec<Member>,
}

/// A participant with its agent.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Member {
    pub subject: String,
    pub role: Role,
    pub agent: AgentId,
    /// Whether the agent is heard. One that is not keeps its plan.
    pub connected: bool,
    /// The route that the agent says it uses.
    pub in_use: Option<Route>,
}

/// How a class's media meets.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Meeting {
    /// Fewer than two and no target: there is nobody to send to.
    Nowhere,
    /// Exactly two without a target: each sends to the other.
    Peers,
    /// At the target.
    Target,
    /// Three or more without a target: at an edge.
    Hub,
}

impl Class {
    pub fn meeting(&self) -> Meeting {
        match (&self.target, self.members.len()) {
            (Some(_), _) => Meeting::Target,
            (None, 0 | 1) => Meeting::Nowhere,
            (None, 2) => Meeting::Peers,
            (None, _) => Meeting::Hub,
        }
    }

    /// Each member's far end; `hub` is the class's meeting point, where it needs one.
    pub fn legs(&self, hub: Option<EdgeId>) -> Vec<(&Member, FarEnd)> {
        let far_end = |index: usize| match self.meeting() {
            Meeting::Nowhere => None,
            Meeting::Peers => self.members.get(1 - index).map(|peer| FarEnd::Agent(peer.agent)),
            Meeting::Target => self.target.clone().map(FarEnd::Target),
            Meeting::Hub => hub.map(FarEnd::Hub),
        };
        self.members
            .iter()
            .enumerate()
            .filter_map(|(i, member)| Some((member, far_end(i)?)))
            .collect()
    }

    /// Pairs of a teacher and a student, by index: what the budget is for. A class that lacks one of the
    /// two roles is judged by all its pairs, observers excepted where others are.
    pub fn pairs(&self) -> Vec<(usize, usize)> {
        let of = |role| {
            (0..self.members.len())
                .filter(|&i| self.members[i].role == role)
                .collect::<Vec<_>>()
        };
        let (teachers, students) = (of(Role::Teacher), of(Role::Student));
        if !teachers.is_empty() && !students.is_empty() {
            return teachers
                .iter()
                .flat_map(|&t| students.iter().map(move |&s| (t, s)))
                .collect();
        }
        let active: Vec<usize> = (0..self.members.len())
            .filter(|&i| self.members[i].role != Role::Observer)
            .collect();
        let all = if active.len() >= 2 {
            active
        } else {
            (0..self.members.len()).collect()
        };
        all.iter()
            .enumerate()
            .flat_map(|(n, &a)| all[n + 1..].iter().map(move |&b| (a, b)))
            .collect()
    }

    /// The budget as a round trip: of one that is set on one way, twice as much.
    pub fn round_trip_budget(&self) -> Duration {
        match self.budget_on {
            BudgetOn::RoundTrip => self.budget,
            BudgetOn::OneWay => self.budget * 2,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn class(target: Option<&str>, roles: &[Role]) -> Class {
        Class {
            id: "c".into(),
            target: target.map(Into::into),
            budget: Duration::from_millis(200),
            budget_on: BudgetOn::RoundTrip,
            members: (1..)
                .zip(roles)
                .map(|(id, role)| Member {
                    subject: format!("s{id}"),
                    role: *role,
                    agent: AgentId(id),
                    connected: true,
                    in_use: None,
                })
                .collect(),
        }
    }

    #[test]
    fn far_ends_by_number_and_target() {
        use Role::{Observer, Student, Teacher};
        let hub = EdgeId::new(7);
        let far_ends = |class: &Class, hub| {
            let legs = class.legs(hub);
            legs.into_iter().map(|(_, to)| to.to_string()).collect::<Vec<_>>()
        };
        assert!(far_ends(&class(None, &[Teacher]), hub).is_empty());
        assert_eq!(
            far_ends(&class(None, &[Teacher, Observer]), hub),
            ["agent:0000000000000002", "agent:0000000000000001"]
        );
        assert_eq!(
            far_ends(&class(None, &[Teacher, Student, Student]), hub),
            ["hub:e7"; 3]
        );
        assert!(
            far_ends(&class(None, &[Teacher, Student, Student]), None).is_empty(),
            "not placed yet"
        );
        assert_eq!(far_ends(&class(Some("m:1"), &[Teacher]), hub), ["target:m:1"]);
    }

    #[test]
    fn the_budget_is_for_teacher_and_student() {
        use Role::{Observer, Student, Teacher};
        let pairs = |roles: &[Role]| class(None, roles).pairs();
        assert_eq!(pairs(&[Student, Teacher, Observer, Student]), [(1, 0), (1, 3)]);
        assert_eq!(
            pairs(&[Student, Observer, Student]),
            [(0, 2)],
            "no teacher: between students"
        );
        assert_eq!(pairs(&[Teacher, Observer]), [(0, 1)]);
        assert!(pairs(&[Teacher]).is_empty());
    }
}
