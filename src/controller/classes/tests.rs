use super::*;

fn at(s: i64) -> Wall {
    Wall::from_secs(1_000 + s)
}

fn new(id: &str) -> NewClass {
    NewClass::new(id, vec![("t".into(), Role::Teacher), ("s".into(), Role::Student)])
}

const LOST: Duration = Duration::from_secs(10);

#[test]
fn bad_classes_are_refused() {
    type Case = (fn(&mut NewClass), fn(&ClassError) -> bool);
    let cases: [Case; 9] = [
        (|c| c.id.clear(), |e| matches!(e, ClassError::BadName { .. })),
        (
            |c| c.id = "a b".into(),
            |e| matches!(e, ClassError::BadName { .. }),
        ),
        (
            |c| c.participants[1].0 = "t".into(),
            |e| matches!(e, ClassError::Twice(_)),
        ),
        (
            |c| c.participants.truncate(1),
            |e| *e == ClassError::NoTeacherOrStudent,
        ),
        (
            |c| c.target = Some("nowhere".into()),
            |e| matches!(e, ClassError::BadTarget(_)),
        ),
        (
            |c| c.target = Some("x:0".into()),
            |e| matches!(e, ClassError::BadTarget(_)),
        ),
        (
            |c| c.budget = Some(Duration::from_millis(9)),
            |e| *e == ClassError::BadBudget,
        ),
        (|c| c.end = Some(at(0)), |e| *e == ClassError::EndsBeforeStart),
        (
            |c| {
                c.participants = (0..=MAX_PARTICIPANTS)
                    .map(|i| (i.to_string(), Role::Student))
                    .collect()
            },
            |e| *e == ClassError::TooMany,
        ),
    ];
    for (i, (spoil, expected)) in cases.into_iter().enumerate() {
        let mut class = new("c");
        spoil(&mut class);
        let error = Classes::default().create(at(0), class).unwrap_err();
        assert!(expected(&error), "case {i}: {error}");
    }
}

#[test]
fn the_same_id_is_not_given_twice() {
    let mut classes = Classes::default();
    classes.create(at(0), new("c")).unwrap();
    assert_eq!(
        classes.create(at(1), new("c")),
        Err(ClassError::Exists("c".into()))
    );
}

#[test]
fn begins_and_ends_at_its_set_times() {
    let mut classes = Classes::default();
    let class = NewClass {
        start: Some(at(10)),
        end: Some(at(100)),
        ..new("c")
    };
    assert_eq!(classes.create(at(0), class).unwrap().state, ClassState::Scheduled);
    assert_eq!(classes.tick(at(9), LOST, |_| Presence::Heard), []);
    let events = classes.tick(at(10), LOST, |_| Presence::Heard);
    assert_eq!(events[0], ClassEvent::Began { class: "c".into() });
    assert_eq!(events.len(), 3, "both joined: {events:?}");
    let events = classes.tick(at(100), LOST, |_| Presence::Heard);
    assert_eq!(
        events,
        [ClassEvent::Ended {
            class: "c".into(),
            outcome: Outcome::Completed
        }]
    );
}

#[test]
fn silence_of_ten_seconds_is_a_loss_and_a_word_ends_it() {
    let mut classes = Classes::default();
    classes.create(at(0), new("c")).unwrap();
    classes.tick(at(1), LOST, |_| Presence::Heard);
    let silent = |s: &str| {
        if s == "s" {
            Presence::SilentSince(at(5))
        } else {
            Presence::Heard
        }
    };
    assert_eq!(classes.tick(at(14), LOST, silent), []);
    let names = ("c".to_owned(), "s".to_owned());
    assert_eq!(
        classes.tick(at(15), LOST, silent),
        [ClassEvent::Lost {
            class: names.0.clone(),
            subject: names.1.clone()
        }]
    );
    assert!(classes.is_lost("c", "s"));
    assert_eq!(classes.tick(at(16), LOST, silent), [], "said once");
    assert_eq!(
        classes.tick(at(17), LOST, |_| Presence::Heard),
        [ClassEvent::Back {
            class: names.0,
            subject: names.1
        }]
    );
}

#[test]
fn who_has_left_is_not_lost() {
    let mut classes = Classes::default();
    classes.create(at(0), new("c")).unwrap();
    classes.tick(at(1), LOST, |_| Presence::Heard);
    classes.leave(at(2), "c", "s").unwrap();
    assert_eq!(
        classes.tick(at(60), LOST, |_| Presence::SilentSince(at(2))).len(),
        1,
        "the teacher only"
    );
}

#[test]
fn the_outcome_follows_from_who_was_there() {
    let run = |presence: fn(&str) -> Presence, planned: Option<Wall>, end: Wall| {
        let mut classes = Classes::default();
        classes
            .create(
                at(0),
                NewClass {
                    end: planned,
                    ..new("c")
                },
            )
            .unwrap();
        classes.tick(at(1), LOST, |s| {
            if presence(s) == Presence::Unknown {
                Presence::Unknown
            } else {
                Presence::Heard
            }
        });
        classes.tick(at(50), LOST, presence);
        classes.end(end, "c", None).unwrap().0.outcome.unwrap()
    };
    assert_eq!(run(|_| Presence::Heard, None, at(60)), Outcome::Completed);
    assert_eq!(run(|_| Presence::Heard, Some(at(400)), at(60)), Outcome::CutShort);
    assert_eq!(
        run(|_| Presence::Heard, Some(at(360)), at(60)),
        Outcome::Completed
    );
    let no_student = |s: &str| {
        if s == "s" {
            Presence::Unknown
        } else {
            Presence::Heard
        }
    };
    assert_eq!(run(no_student, None, at(60)), Outcome::NeverStarted);
    let student_lost = |s: &str| {
        if s == "s" {
            Presence::SilentSince(at(2))
        } else {
            Presence::Heard
        }
    };
    assert_eq!(run(student_lost, None, at(60)), Outcome::Dropped);
}

#[test]
fn an_ended_class_takes_nobody() {
    let mut classes = Classes::default();
    classes.create(at(0), new("c")).unwrap();
    classes.end(at(1), "c", Some(Outcome::Completed)).unwrap();
    assert_eq!(
        classes.join(at(2), "c", "x", Role::Student),
        Err(ClassError::Ended("c".into()))
    );
    assert_eq!(
        classes.end(at(2), "c", None).unwrap_err(),
        ClassError::Ended("c".into())
    );
}

#[test]
fn one_who_left_may_come_back() {
    let mut classes = Classes::default();
    classes.create(at(0), new("c")).unwrap();
    classes.join(at(1), "c", "s", Role::Student).unwrap();
    classes.leave(at(2), "c", "s").unwrap();
    let (class, event) = classes.join(at(3), "c", "s", Role::Student).unwrap();
    assert_eq!(class.participants[1].left, None);
    assert!(event.is_some());
    assert_eq!(
        classes.join(at(4), "c", "s", Role::Student).unwrap().1,
        None,
        "already there"
    );
}

#[test]
fn targets_of_classes_that_are_live_or_begin_within_five_minutes() {
    let mut classes = Classes::default();
    let mut create = |id: &str, target: Option<&str>, start: Option<i64>| {
        let class = NewClass {
            target: target.map(Into::into),
            start: start.map(at),
            ..new(id)
        };
        classes.create(at(0), class).unwrap();
    };
    create("a", Some("soon:1"), Some(301));
    create("b", Some("live:1"), None);
    create("c", None, None);
    create("d", Some("live:1"), None);
    create("e", Some("ends:1"), None);
    assert_eq!(classes.targets(at(0)), ["live:1", "ends:1"]);
    classes.end(at(0), "e", None).unwrap();
    assert_eq!(classes.targets(at(0)), ["live:1"]);
    assert_eq!(classes.targets(at(1)), ["live:1", "soon:1"], "live ones first");
    for i in 0..MAX_TOLD {
        let class = NewClass {
            target: Some(format!("t{i}:1")),
            ..new(&format!("x{i}"))
        };
        classes.create(at(0), class).unwrap();
    }
    assert_eq!(classes.targets(at(1)).len(), MAX_TOLD);
}
