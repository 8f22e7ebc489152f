//! Which method a target is measured by.
//!
//! ```text
//!               none answers
//!   start: trial ----------> unmeasured --- after 1, 2, 4 … 10 min: trial
//!              |                                   |
//!              | the best that answers             | the best that answers
//!              v                                   v
//!          measured by it <------------------------+
//!           |     |    ^
//!           |     |    | it answers again, or a trial finds one that does
//!           |     |   lost: its losses count --- after 1, 2, 4 … 10 min: trial
//!           |     |    ^
//!           |     |    | none answers (unmeasured, where losses do not count)
//!           |     10 unanswered in a row: trial -- another answers: this method has failed
//!           every 10 min: trial -- a better one answers: it is taken
//! ```
//!
//! A trial asks by all methods at once, three times each, 200 ms apart. A method answers that answered two of
//! them. It ends when the best has, and soon after the last probe where a worse one has: a better one would have taken
//! about as long, since the way is the same. What the trial saw of the method taken is the target's first figures.
//! Of answers to measuring probes the ladder hears only how many are overdue in a row.

use std::{collections::VecDeque, time::Duration};

use super::Method;
use crate::Mono;

/// Times and counts of a ladder.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct LadderConfig {
    /// Between the probes of one method in a trial.
    pub spacing: Duration,
    /// How long the last of them may be answered: as long as any probe ([`crate::SessionConfig::tmax`]) …
    pub patience: Duration,
    /// … or, where a method answers already, three of its round trips and so much.
    pub grace: Duration,
    /// So many measuring probes unanswered in a row put the method in doubt.
    pub doubt: u32,
    /// From one look for a better method to the next.
    pub look: Duration,
    /// After a trial that nothing answered; doubled each time up to `retry_max`.
    pub retry_min: Duration,
    pub retry_max: Duration,
}

impl Default for LadderConfig {
    fn default() -> Self {
        Self {
            spacing: Duration::from_millis(200),
            patience: Duration::from_secs(2),
            grace: Duration::from_millis(200),
            doubt: 10,
            look: Duration::from_secs(600),
            retry_min: Duration::from_secs(60),
            retry_max: Duration::from_secs(600),
        }
    }
}

/// Probes of one method in a trial, …
const TRIES: u32 = 3;
/// … and how many of them must be answered.
const ENOUGH: usize = 2;
const METHODS: usize = Method::ALL.len();

/// How a target stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Standing {
    /// The first trial is not over.
    Trying,
    By(Method),
    /// Nothing answers any more; probes go on by the method that did.
    Lost(Method),
    Unmeasured,
}

impl Standing {
    /// By what it is probed.
    pub fn method(self) -> Option<Method> {
        match self {
            Self::By(method) | Self::Lost(method) => Some(method),
            Self::Trying | Self::Unmeasured => None,
        }
    }
}

/// Why a method does not measure a target.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Silence {
    /// It cannot be tried; why.
    Impossible(String),
    /// So many of three trial probes were answered.
    Unanswered { answered: usize },
}

impl std::fmt::Display for Silence {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Impossible(why) => f.write_str(why),
            Self::Unanswered { answered } => write!(f, "{answered} of {TRIES} answered"),
        }
    }
}

/// A probe of a trial, to be sent now.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct TrialProbe {
    pub method: Method,
    /// Never given again for this method.
    pub number: u32,
}

/// The target stands otherwise than before.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Change {
    pub from: Standing,
    pub to: Standing,
    /// The method before has failed, since the target answers another: what went unanswered was no loss.
    pub failed: bool,
    /// What the trial saw of the method that was taken.
    pub seen: [Option<Answered>; TRIES as usize],
}

/// A trial probe that was answered.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Answered {
    pub sent: Mono,
    pub rtt: Duration,
}

/// See the module's documentation.
#[derive(Debug)]
pub struct Ladder {
    config: LadderConfig,
    standing: Standing,
    trial: Option<Trial>,
    /// When the next one begins by itself.
    next_trial: Mono,
    retry: Duration,
    /// A doubt that a trial did not bear out is not looked into again before.
    doubt_from: Mono,
    next_number: u32,
    probes: VecDeque<TrialProbe>,
    changes: VecDeque<Change>,
    /// Of the last trial.
    silences: [Option<Silence>; METHODS],
}

#[derive(Debug)]
struct Trial {
    began: Mono,
    first_number: u32,
    steps: u32,
    /// The method in use was in doubt.
    doubt: bool,
    sent: [[Option<Mono>; TRIES as usize]; METHODS],
    answered: [[Option<Answered>; TRIES as usize]; METHODS],
    impossible: [Option<String>; METHODS],
}

impl Ladder {
    /// For a target that is to be measured from `now` on.
    pub fn new(config: LadderConfig, now: Mono) -> Self {
        Self {
            config,
            standing: Standing::Trying,
            trial: None,
            next_trial: now,
            retry: config.retry_min,
            doubt_from: now,
            next_number: 0,
            probes: VecDeque::new(),
            changes: VecDeque::new(),
            silences: [const { None }; METHODS],
        }
    }

    pub fn standing(&self) -> Standing {
        self.standing
    }

    /// Why each method that did not answer in the last trial does not measure the target, best method first.
    pub fn silences(&self) -> impl Iterator<Item = (Method, &Silence)> {
        let silences = Method::ALL.into_iter().zip(&self.silences);
        silences.filter_map(|(method, silence)| Some((method, silence.as_ref()?)))
    }

    /// When [`Self::poll`] next has something to do.
    pub fn next_wakeup(&self) -> Mono {
        match &self.trial {
            Some(trial) if trial.steps < TRIES => trial.began + self.config.spacing * trial.steps,
            Some(trial) => self.end_of(trial),
            None => self.next_trial,
        }
    }

    /// Lets time pass; answers the next probe to send, of which [`Self::sent`] is to be told. Call until there is none.
    pub fn poll(&mut self, now: Mono) -> Option<TrialProbe> {
        if self.trial.is_none() && now >= self.next_trial {
            self.begin(false, now);
        }
        if let Some(trial) = &mut self.trial {
            while trial.steps < TRIES && now >= trial.began + self.config.spacing * trial.steps {
                let number = trial.first_number.wrapping_add(trial.steps);
                let possible = Method::ALL.into_iter().zip(&trial.impossible);
                let possible = possible.filter(|(_, why)| why.is_none());
                self.probes
                    .extend(possible.map(|(method, _)| TrialProbe { method, number }));
                trial.steps += 1;
            }
        }
        if self.trial.as_ref().is_some_and(|t| now >= self.end_of(t)) {
            self.end(now);
        }
        self.probes.pop_front()
    }

    /// How the target stands otherwise since the last call.
    pub fn poll_change(&mut self) -> Option<Change> {
        self.changes.pop_front()
    }

    /// A trial probe was sent at that time.
    pub fn sent(&mut self, probe: TrialProbe, at: Mono) {
        let Some(trial) = &mut self.trial else { return };
        let index = probe.number.wrapping_sub(trial.first_number) as usize;
        if let Some(sent) = trial.sent[probe.method as usize].get_mut(index) {
            *sent = Some(at);
        }
    }

    /// A trial probe was answered; `at` is when the answer came.
    pub fn answered(&mut self, probe: TrialProbe, at: Mono, now: Mono) {
        let Some(trial) = &mut self.trial else { return };
        let index = probe.number.wrapping_sub(trial.first_number) as usize;
        let Some(Some(sent)) = trial.sent[probe.method as usize].get(index).copied() else {
            return;
        };
        let rtt = at.since(sent);
        trial.answered[probe.method as usize][index].get_or_insert(Answered { sent, rtt });
        self.end_if_decided(now);
    }

    /// A trial probe cannot be sent by this method at all.
    pub fn impossible(&mut self, method: Method, why: String, now: Mono) {
        let Some(trial) = &mut self.trial else { return };
        trial.impossible[method as usize] = Some(why);
        self.probes.retain(|p| p.method != method);
        self.end_if_decided(now);
    }

    /// So many measuring probes in a row are overdue.
    pub fn overdue(&mut self, steps: u32, now: Mono) {
        match self.standing {
            Standing::Lost(method) if steps == 0 => {
                self.next_trial = now + self.config.look;
                self.stand(Standing::By(method), false, Default::default());
            }
            Standing::By(_)
                if steps >= self.config.doubt && self.trial.is_none() && now >= self.doubt_from =>
            {
                self.begin(true, now);
            }
            _ => {}
        }
    }

    fn begin(&mut self, doubt: bool, now: Mono) {
        self.trial = Some(Trial {
            began: now,
            first_number: self.next_number,
            steps: 0,
            doubt,
            sent: [[None; TRIES as usize]; METHODS],
            answered: [[None; TRIES as usize]; METHODS],
            impossible: [const { None }; METHODS],
        });
        self.next_number = self.next_number.wrapping_add(TRIES);
    }

    fn end_of(&self, trial: &Trial) -> Mono {
        let last = trial.began + self.config.spacing * (TRIES - 1);
        let best = Method::ALL.into_iter().find(|&method| trial.answers(method));
        let longest = best.and_then(|method| trial.seen(method).map(|answered| answered.rtt).max());
        let patience = longest.map(|rtt| rtt * 3 + self.config.grace);
        last + patience.unwrap_or(self.config.patience).min(self.config.patience)
    }

    fn end_if_decided(&mut self, now: Mono) {
        if self.trial.as_ref().is_some_and(Trial::is_decided) {
            self.end(now);
        }
    }

    fn end(&mut self, now: Mono) {
        let Some(trial) = self.trial.take() else { return };
        self.probes.clear();
        self.silences = Method::ALL.map(|method| trial.silence(method));
        let best = Method::ALL.into_iter().find(|&m| trial.answers(m));
        if trial.doubt {
            self.doubt_from = now + self.config.retry_min;
        }
        let next = match (self.standing, best) {
            // It answers, or nobody asked for another; only a better one is taken.
            (Standing::By(method), Some(best)) if !trial.doubt => Standing::By(method.min(best)),
            (Standing::By(method), None) if !trial.doubt => Standing::By(method),
            (_, Some(best)) => Standing::By(best),
            (Standing::By(method) | Standing::Lost(method), None) if method.counts_losses() => {
                Standing::Lost(method)
            }
            (_, None) => Standing::Unmeasured,
        };
        if matches!(next, Standing::By(_)) {
            self.retry = self.config.retry_min;
            self.next_trial = now + self.config.look;
        } else {
            if next != self.standing {
                self.retry = self.config.retry_min;
            }
            self.next_trial = now + self.retry;
            self.retry = (self.retry * 2).min(self.config.retry_max);
        }
        let failed = trial.doubt && matches!(next, Standing::By(_));
        let seen = next.method().map(|method| trial.answered[method as usize]);
        self.stand(next, failed, seen.unwrap_or_default());
    }

    fn stand(&mut self, to: Standing, failed: bool, seen: [Option<Answered>; TRIES as usize]) {
        let from = std::mem::replace(&mut self.standing, to);
        if from != to {
            self.changes.push_back(Change {
                from,
                to,
                failed,
                seen,
            });
        }
    }
}

impl Trial {
    fn answers(&self, method: Method) -> bool {
        self.seen(method).count() >= ENOUGH
    }

    fn seen(&self, method: Method) -> impl Iterator<Item = Answered> + '_ {
        self.answered[method as usize].iter().flatten().copied()
    }

    fn silence(&self, method: Method) -> Option<Silence> {
        if self.answers(method) {
            return None;
        }
        Some(match &self.impossible[method as usize] {
            Some(why) => Silence::Impossible(why.clone()),
            None => Silence::Unanswered {
                answered: self.seen(method).count(),
            },
        })
    }

    /// No answer that may still come makes a difference: the best that answers has none above it that may.
    fn is_decided(&self) -> bool {
        let mut open = Method::ALL.into_iter();
        let first = open.find(|&m| self.answers(m) || self.impossible[m as usize].is_none());
        first.is_none_or(|method| self.answers(method))
    }
}

#[cfg(test)]
mod tests;
