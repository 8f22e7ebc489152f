//! The life of a class: scheduled, live, ended; who is in it, who was lost, how it went.

use std::{
    collections::{BTreeMap, BTreeSet},
    time::Duration,
};

use corridor_probes::Wall;

use crate::{
    config::CLASS_BUDGET,
    store::records::{BudgetOn, ClassRecord, ClassState, Outcome, ParticipantRecord, Protect, Role},
    targets::MAX_TOLD,
};

/// Participants of one class: a lecture with everyone in it, bounded so that one request cannot make
/// planning slow for all.
pub const MAX_PARTICIPANTS: usize = 1_000;
/// Bytes of a class's id or a subject.
pub const MAX_NAME: usize = 128;
/// Budgets that make sense for people talking.
const BUDGETS: std::ops::RangeInclusive<Duration> = Duration::from_millis(10)..=Duration::from_secs(2);
/// A class's target is measured from this long before it begins.
const MEASURE_BEFORE: Duration = Duration::from_secs(300);
/// A class that ends this much before its planned end was cut short.
const EARLY: Duration = Duration::from_secs(300);

/// Why a class could not be created or changed.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ClassError {
    #[error("there is no class '{0}'")]
    Unknown(String),
    #[error("class '{0}' exists already")]
    Exists(String),
    #[error("class '{0}' has ended")]
    Ended(String),
    #[error("{what} '{value}' is not usable: 1 to {MAX_NAME} bytes without spaces or control characters")]
    BadName { what: &'static str, value: String },
    #[error("a class needs a teacher and a student")]
    NoTeacherOrStudent,
    #[error("'{0}' stands in the class twice")]
    Twice(String),
    #[error("a class has at most {MAX_PARTICIPANTS} participants")]
    TooMany,
    #[error("a budget is 10 ms to 2 s")]
    BadBudget,
    #[error("target '{0}' is not HOST:PORT")]
    BadTarget(String),
    #[error("the class would end before it starts")]
    EndsBeforeStart,
    #[error("'{subject}' is not in class '{class}'")]
    NotIn { subject: String, class: String },
}

impl ClassError {
    /// A stable word for the API.
    pub fn code(&self) -> &'static str {
        match self {
            Self::Unknown(_) | Self::NotIn { .. } => "not_found",
            Self::Exists(_) | Self::Ended(_) => "conflict",
            _ => "bad_request",
        }
    }
}

/// What is asked for when a class is created.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NewClass {
    pub id: String,
    pub participants: Vec<(String, Role)>,
    pub target: Option<String>,
    pub budget: Option<Duration>,
    pub budget_on: BudgetOn,
    pub protect: Protect,
    pub start: Option<Wall>,
    pub end: Option<Wall>,
}

impl NewClass {
    /// Live at once, without a target, judged and carried as classes are that say nothing of it.
    pub fn new(id: impl Into<String>, participants: Vec<(String, Role)>) -> Self {
        Self {
            id: id.into(),
            participants,
            target: None,
            budget: None,
            budget_on: BudgetOn::RoundTrip,
            protect: Protect::Off,
            start: None,
            end: None,
        }
    }
}

/// A change that others want to know of.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ClassEvent {
    Began {
        class: String,
    },
    Ended {
        class: String,
        outcome: Outcome,
    },
    Joined {
        class: String,
        subject: String,
    },
    Left {
        class: String,
        subject: String,
    },
    /// Silent for too long without having left.
    Lost {
        class: String,
        subject: String,
    },
    Back {
        class: String,
        subject: String,
    },
}

/// Who is heard: what the registry of agents knows about a subject.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Presence {
    Heard,
    /// Nothing was heard since then.
    SilentSince(Wall),
    /// No agent of this subject was heard since the controller started.
    Unknown,
}

#[derive(Debug)]
struct Class {
    record: ClassRecord,
    /// Participants that are lost now.
    lost: BTreeMap<String, Wall>,
}

/// All classes that are not forgotten yet.
#[derive(Debug, Default)]
pub struct Classes {
    classes: BTreeMap<String, Class>,
}

impl Classes {
    /// Takes up what the store kept.
    pub fn restore(records: impl IntoIterator<Item = ClassRecord>) -> Self {
        let classes = records
            .into_iter()
            .map(|record| {
                (
                    record.id.clone(),
                    Class {
                        record,
                        lost: BTreeMap::new(),
                    },
                )
            })
            .collect();
        Self { classes }
    }

    pub fn get(&self, id: &str) -> Result<&ClassRecord, ClassError> {
        self.classes
            .get(id)
            .map(|c| &c.record)
            .ok_or_else(|| ClassError::Unknown(id.to_owned()))
    }

    pub fn is_live(&self, id: &str) -> bool {
        self.get(id).is_ok_and(|c| c.state == ClassState::Live)
    }

    pub fn iter(&self) -> impl Iterator<Item = &ClassRecord> {
        self.classes.values().map(|c| &c.record)
    }

    /// The targets of classes that are live, or begin so soon that it should be known by then how far they
    /// are: each once, live classes' first, [`MAX_TOLD`] at most.
    pub fn targets(&self, now: Wall) -> Vec<String> {
        let soon = |c: &&ClassRecord| {
            c.state == ClassState::Scheduled && c.start.is_some_and(|start| start <= now + MEASURE_BEFORE)
        };
        let live = self.iter().filter(|c| c.state == ClassState::Live);
        let mut targets: Vec<String> = Vec::new();
        let mut known = BTreeSet::new();
        for class in live.chain(self.iter().filter(soon)) {
            if let Some(target) = &class.target
                && targets.len() < MAX_TOLD
                && known.insert(target.as_str())
            {
                targets.push(target.clone());
            }
        }
        targets
    }

    /// Whether a participant is lost now.
    pub fn is_lost(&self, class: &str, subject: &str) -> bool {
        self.classes
            .get(class)
            .is_some_and(|c| c.lost.contains_key(subject))
    }

    pub fn create(&mut self, now: Wall, new: NewClass) -> Result<&ClassRecord, ClassError> {
        let record = check(now, new)?;
        if self.classes.contains_key(&record.id) {
            return Err(ClassError::Exists(record.id));
        }
        let id = record.id.clone();
        let class = self.classes.entry(id).or_insert(Class {
            record,
            lost: BTreeMap::new(),
        });
        Ok(&class.record)
    }

    /// Ends a class; the outcome is judged from what happened where it is not given.
    pub fn end(
        &mut self,
        now: Wall,
        id: &str,
        outcome: Option<Outcome>,
    ) -> Result<(&ClassRecord, ClassEvent), ClassError> {
        let class = self.live_mut(id)?;
        let outcome = outcome.unwrap_or_else(|| class.judge(now));
        class.record.state = ClassState::Ended;
        class.record.outcome = Some(outcome);
        class.record.ended = Some(now);
        for participant in &mut class.record.participants {
            if participant.joined.is_some() && participant.left.is_none() {
                participant.left = Some(now);
            }
        }
        Ok((
            &class.record,
            ClassEvent::Ended {
                class: id.to_owned(),
                outcome,
            },
        ))
    }

    /// Adds a subject, or brings one back who had left.
    pub fn join(
        &mut self,
        now: Wall,
        id: &str,
        subject: &str,
        role: Role,
    ) -> Result<(&ClassRecord, Option<ClassEvent>), ClassError> {
        name("subject", subject)?;
        let class = self.live_mut(id)?;
        let live = class.record.state == ClassState::Live;
        let event = ClassEvent::Joined {
            class: id.to_owned(),
            subject: subject.to_owned(),
        };
        let participants = &mut class.record.participants;
        if let Some(participant) = participants.iter_mut().find(|p| p.subject == subject) {
            let changed = participant.left.take().is_some() || (live && participant.joined.is_none());
            if live && changed {
                participant.joined = Some(now);
            }
            return Ok((&class.record, changed.then_some(event)));
        }
        if participants.len() >= MAX_PARTICIPANTS {
            return Err(ClassError::TooMany);
        }
        participants.push(ParticipantRecord {
            subject: subject.to_owned(),
            role,
            joined: live.then_some(now),
            left: None,
        });
        Ok((&class.record, Some(event)))
    }

    pub fn leave(
        &mut self,
        now: Wall,
        id: &str,
        subject: &str,
    ) -> Result<(&ClassRecord, Option<ClassEvent>), ClassError> {
        let class = self.live_mut(id)?;
        let participant = class
            .record
            .participants
            .iter_mut()
            .find(|p| p.subject == subject)
            .ok_or_else(|| ClassError::NotIn {
                subject: subject.to_owned(),
                class: id.to_owned(),
            })?;
        let changed = participant.left.is_none();
        if changed {
            participant.left = Some(now);
        }
        class.lost.remove(subject);
        let event = ClassEvent::Left {
            class: id.to_owned(),
            subject: subject.to_owned(),
        };
        Ok((&class.record, changed.then_some(event)))
    }

    /// Lets time pass: classes begin and end at their set times, participants appear, are lost, and come
    /// back. Answers what changed and the ids of the classes to be saved.
    pub fn tick(
        &mut self,
        now: Wall,
        lost_after: Duration,
        presence: impl Fn(&str) -> Presence,
    ) -> Vec<ClassEvent> {
        let mut events = Vec::new();
        for (id, class) in &mut self.classes {
            let record = &mut class.record;
            if record.state == ClassState::Scheduled && record.start.is_none_or(|start| start <= now) {
                record.state = ClassState::Live;
                record.began = Some(now);
                events.push(ClassEvent::Began { class: id.clone() });
            }
            if record.state != ClassState::Live {
                continue;
            }
            if record.end.is_some_and(|end| end <= now) {
                let outcome = class.judge(now);
                let record = &mut class.record;
                record.state = ClassState::Ended;
                record.outcome = Some(outcome);
                record.ended = Some(now);
                events.push(ClassEvent::Ended {
                    class: id.clone(),
                    outcome,
                });
                continue;
            }
            class.follow(id, now, lost_after, &presence, &mut events);
        }
        events
    }

    /// Forgets classes that ended before `before`; the store keeps them.
    pub fn forget_ended(&mut self, before: Wall) {
        self.classes
            .retain(|_, c| c.record.ended.is_none_or(|ended| ended >= before));
    }

    fn live_mut(&mut self, id: &str) -> Result<&mut Class, ClassError> {
        let class = self
            .classes
            .get_mut(id)
            .ok_or_else(|| ClassError::Unknown(id.to_owned()))?;
        if class.record.state == ClassState::Ended {
            return Err(ClassError::Ended(id.to_owned()));
        }
        Ok(class)
    }
}

impl Class {
    fn follow(
        &mut self,
        id: &str,
        now: Wall,
        lost_after: Duration,
        presence: &impl Fn(&str) -> Presence,
        events: &mut Vec<ClassEvent>,
    ) {
        for participant in self.record.participants.iter_mut().filter(|p| p.left.is_none()) {
            let subject = &participant.subject;
            let names = || (id.to_owned(), subject.clone());
            match presence(subject) {
                Presence::Heard if participant.joined.is_none() => {
                    participant.joined = Some(now);
                    let (class, subject) = names();
                    events.push(ClassEvent::Joined { class, subject });
                }
                Presence::Heard if self.lost.remove(subject).is_some() => {
                    let (class, subject) = names();
                    events.push(ClassEvent::Back { class, subject });
                }
                Presence::SilentSince(since)
                    if participant.joined.is_some()
                        && now.since(since) >= lost_after
                        && !self.lost.contains_key(subject) =>
                {
                    self.lost.insert(subject.clone(), since);
                    let (class, subject) = names();
                    events.push(ClassEvent::Lost { class, subject });
                }
                Presence::Heard | Presence::SilentSince(_) | Presence::Unknown => {}
            }
        }
    }

    /// How the class went, from who was there: without a teacher or without any student it never
    /// started; it was dropped if its end found the teacher, or every student, lost; it was cut short if
    /// it ended well before its planned end.
    fn judge(&self, now: Wall) -> Outcome {
        let of = |role| self.record.participants.iter().filter(move |p| p.role == role);
        let came = |role| of(role).any(|p| p.joined.is_some());
        if !came(Role::Teacher) || !came(Role::Student) {
            return Outcome::NeverStarted;
        }
        let all_lost = |role| {
            of(role)
                .filter(|p| p.joined.is_some())
                .all(|p| self.lost.contains_key(&p.subject))
        };
        if all_lost(Role::Teacher) || all_lost(Role::Student) {
            return Outcome::Dropped;
        }
        match self.record.end {
            Some(end) if now < end && end.since(now) > EARLY => Outcome::CutShort,
            _ => Outcome::Completed,
        }
    }
}

fn name(what: &'static str, value: &str) -> Result<(), ClassError> {
    let fine = (1..=MAX_NAME).contains(&value.len())
        && !value.contains(|c: char| c.is_whitespace() || c.is_control());
    if fine {
        Ok(())
    } else {
        Err(ClassError::BadName {
            what,
            value: value.chars().take(40).collect(),
        })
    }
}

fn check(now: Wall, new: NewClass) -> Result<ClassRecord, ClassError> {
    name("class id", &new.id)?;
    if new.participants.len() > MAX_PARTICIPANTS {
        return Err(ClassError::TooMany);
    }
    let mut seen = std::collections::BTreeSet::new();
    for (subject, _) in &new.participants {
        name("subject", subject)?;
        if !seen.insert(subject) {
            return Err(ClassError::Twice(subject.clone()));
        }
    }
    let has = |role| new.participants.iter().any(|(_, r)| *r == role);
    if !has(Role::Teacher) || !has(Role::Student) {
        return Err(ClassError::NoTeacherOrStudent);
    }
    if let Some(target) = &new.target {
        let port = target
            .rsplit_once(':')
            .filter(|(host, _)| !host.is_empty())
            .map(|(_, port)| port);
        if !port.is_some_and(|p| p.parse::<u16>().is_ok_and(|p| p > 0)) || target.len() > 255 {
            return Err(ClassError::BadTarget(target.chars().take(80).collect()));
        }
    }
    let budget = new.budget.unwrap_or(CLASS_BUDGET);
    if !BUDGETS.contains(&budget) {
        return Err(ClassError::BadBudget);
    }
    let live = new.start.is_none_or(|start| start <= now);
    if new.end.is_some_and(|end| end <= new.start.unwrap_or(now)) {
        return Err(ClassError::EndsBeforeStart);
    }
    Ok(ClassRecord {
        id: new.id,
        state: if live {
            ClassState::Live
        } else {
            ClassState::Scheduled
        },
        outcome: None,
        target: new.target,
        budget_us: u32::try_from(budget.as_micros()).unwrap_or(u32::MAX),
        budget_on: new.budget_on,
        protect: new.protect,
        created: now,
        start: new.start,
        end: new.end,
        began: live.then_some(now),
        ended: None,
        participants: new
            .participants
            .into_iter()
            .map(|(subject, role)| ParticipantRecord {
                subject,
                role,
                joined: None,
                left: None,
            })
            .collect(),
    })
}

#[cfg(test)]
mod tests;
