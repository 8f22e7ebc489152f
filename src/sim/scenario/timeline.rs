//! When what a scenario says happens.

use std::{collections::BTreeSet, time::Duration};

use super::text::{Do, Scenario};

/// All actions up to the scenario's end in the order of their times, those of one time in the order of the
/// file.
pub(super) fn acts(scenario: &Scenario) -> Vec<(Duration, &Do)> {
    let mut all = Vec::new();
    for action in scenario.actions.iter().map(toml::Spanned::get_ref) {
        let every = action.every.map_or(Duration::ZERO, |e| e.0);
        let times = (0..action.times.unwrap_or(1))
            .map(|n| action.time.0.saturating_add(every.saturating_mul(n)))
            .take_while(|at| *at <= scenario.duration.0);
        all.extend(times.map(|at| (at, action)));
    }
    all.sort_by_key(|(at, _)| *at);
    all
}

/// An action in a round.
#[derive(Debug, Clone)]
pub(super) struct Act {
    /// Since the beginning of the first round.
    pub due: Duration,
    /// By the file.
    pub at: Duration,
    pub action: Do,
    /// How long what it does lasts, if a later one takes it back.
    pub lasts: Option<Duration>,
}

/// Goes through all actions, and through those that repeat again and again.
#[derive(Debug)]
pub(super) struct Rounds<'a> {
    acts: Vec<(Duration, &'a Do)>,
    next: usize,
    round: u32,
    repeated: Option<Repeated<'a>>,
}

#[derive(Debug)]
struct Repeated<'a> {
    /// Place of the first action that repeats.
    first: usize,
    takes: Duration,
    /// Ids of classes that each round has anew.
    classes: BTreeSet<&'a str>,
}

impl<'a> Rounds<'a> {
    pub fn new(scenario: &'a Scenario) -> Self {
        let acts = acts(scenario);
        let repeated = scenario.repeat.and_then(|from| {
            let first = acts.iter().position(|(at, _)| *at >= from.0)?;
            let created = acts.iter().skip(first).filter_map(|(_, a)| a.create.as_ref());
            Some(Repeated {
                first,
                takes: scenario.duration.0.saturating_sub(from.0),
                classes: created.map(|class| class.id.as_str()).collect(),
            })
        });
        Self {
            acts,
            next: 0,
            round: 0,
            repeated,
        }
    }
}

impl Iterator for Rounds<'_> {
    type Item = Act;

    fn next(&mut self) -> Option<Act> {
        if self.next == self.acts.len() {
            self.next = self.repeated.as_ref()?.first;
            self.round = self.round.saturating_add(1);
        }
        let (at, action) = *self.acts.get(self.next)?;
        self.next += 1;
        let undone = self
            .acts
            .iter()
            .skip(self.next)
            .find(|(_, later)| undoes(later, action));
        let mut act = Act {
            due: at,
            at,
            action: action.clone(),
            lasts: undone.map(|(until, _)| until.saturating_sub(at)),
        };
        if let (Some(repeated), 1..) = (&self.repeated, self.round) {
            act.due = at.saturating_add(repeated.takes.saturating_mul(self.round));
            let of_class = match (&mut act.action.create, &mut act.action.end) {
                (Some(class), _) => Some(&mut class.id),
                (None, end) => end.as_mut(),
            };
            if let Some(id) = of_class.filter(|id| repeated.classes.contains(id.as_str())) {
                id.push_str(&format!("-round-{}", u64::from(self.round) + 1));
            }
        }
        Some(act)
    }
}

/// Whether `later` takes back what `action` did.
fn undoes(later: &Do, action: &Do) -> bool {
    let same = |a: &Option<String>, b: &Option<String>| a.is_some() && a == b;
    let healed = match (&later.heal, &action.link) {
        (Some([a, b]), Some(link)) => {
            let [c, d] = &link.between;
            (a, b) == (c, d) || (a, b) == (d, c)
        }
        _ => false,
    };
    healed || same(&later.start, &action.kill) || same(&later.join, &action.cut)
}
