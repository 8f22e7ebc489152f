//! Running a scenario: builds its world, does its actions at their times, checks what must hold.

use std::{path::Path, time::Duration};

use tokio::time::Instant;

use super::{
    ScenarioError,
    expect::{self, Look},
    stage::{self, RENEW_EVERY, Stage},
    tell,
    text::{Do, Expect, Scenario},
    timeline,
};
use crate::sim::log::{Entry, Log};

/// How a scenario went.
#[derive(Debug)]
pub struct Outcome {
    /// What did not hold, a sentence each.
    pub failures: Vec<String>,
    pub log: Vec<Entry>,
    /// Packets that the network delivered; each went through quinn at both ends.
    pub packets: u64,
    pub handshakes: u64,
    /// Equal for equal runs.
    pub digest: u64,
}

/// Runs a scenario. `data` is an empty directory for scenarios with `on_disk`.
///
/// Meant for a current-thread runtime with a paused clock: then it repeats with its seed.
pub async fn run(scenario: &Scenario, data: &Path) -> Result<Outcome, ScenarioError> {
    let (log, _collecting) = Log::collect();
    let origin = now();
    let mut stage = Stage::set(scenario, stage::spec(scenario, data)).await?;
    let counts = scenario.expectations.iter().any(|e| e.get_ref().counts.is_some());
    stage.world.network().record(if counts { usize::MAX } else { 0 });
    stage.start(scenario).await?;
    let mut failures = Vec::new();
    for (at, step) in steps(scenario) {
        tokio::time::sleep_until(origin + at).await;
        match step {
            Step::Act(action) => {
                log.note(tell::what(action, None));
                stage.act(at, action).await?;
            }
            Step::Check(expectation) => {
                let look = Look {
                    scenario,
                    world: &stage.world,
                    talks: &stage.talks,
                    log: &log,
                    at,
                };
                let found = expect::check(&look, expectation).await?;
                failures.extend(found.into_iter().map(|what| format!("at {at:?}: {what}")));
            }
            Step::Renew => stage.world.renew_certificates()?,
        }
    }
    let entries = log.entries();
    for entry in &entries {
        let expected = |part: &String| entry.message.contains(part.as_str());
        if entry.level == tracing::Level::ERROR && !scenario.expect_errors.iter().any(expected) {
            failures.push(format!("an error was logged: {entry}"));
        }
    }
    let network = stage.world.network();
    Ok(Outcome {
        failures,
        log: entries,
        packets: network.delivered(),
        handshakes: stage.world.handshakes(),
        digest: network.digest(),
    })
}

#[expect(clippy::disallowed_methods, reason = "the simulation's time is tokio's clock")]
fn now() -> Instant {
    Instant::now()
}

enum Step<'a> {
    Renew,
    Act(&'a Do),
    Check(&'a Expect),
}

/// Everything that is to be done, in order; at the same time, actions come before checks, each in the
/// order of the file.
fn steps(scenario: &Scenario) -> Vec<(Duration, Step<'_>)> {
    let end = scenario.duration.0;
    let acts = timeline::acts(scenario).into_iter();
    let mut all: Vec<_> = acts.map(|(at, action)| (at, 0, Step::Act(action))).collect();
    for expectation in &scenario.expectations {
        let expectation = expectation.get_ref();
        let mut at = expectation.time.map_or(end, |t| t.0);
        while at <= end {
            all.push((at, 1, Step::Check(expectation)));
            match expectation.every {
                Some(every) if !every.0.is_zero() => at += every.0,
                _ => break,
            }
        }
    }
    let mut renewal = RENEW_EVERY;
    while renewal < end {
        all.push((renewal, 0, Step::Renew));
        renewal += RENEW_EVERY;
    }
    all.sort_by_key(|(at, rank, _)| (*at, *rank));
    all.into_iter().map(|(at, _, step)| (at, step)).collect()
}
