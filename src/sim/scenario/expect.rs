//! What must hold, and how a scenario finds out. Each check answers sentences about what does not hold.

mod store;
mod truth;

use std::time::Duration;

use super::{
    ScenarioError,
    stage::Talks,
    text::{Count, Expect, Heard, InUse, Scenario},
};
use crate::sim::{
    World,
    log::{Entry, Log},
};

/// What checks look at.
#[derive(Debug, Clone, Copy)]
pub(super) struct Look<'a> {
    pub scenario: &'a Scenario,
    pub world: &'a World,
    pub talks: &'a Talks,
    pub log: &'a Log,
    pub at: Duration,
}

type Found = Result<Vec<String>, ScenarioError>;

/// How many things an expectation names.
pub(super) fn things(expectation: &Expect) -> usize {
    let Expect {
        time: _,
        every: _,
        in_use,
        switches,
        events,
        quality,
        edge,
        figures,
        rtt,
        one_way,
        longer,
        counts,
        ledgers,
        windows,
        drained,
        spooled,
        talk,
    } = expectation;
    [
        in_use.is_some(),
        switches.is_some(),
        events.is_some(),
        quality.is_some(),
        edge.is_some(),
        figures.is_some(),
        rtt.is_some(),
        one_way.is_some(),
        longer.is_some(),
        counts.is_some(),
        ledgers.is_some(),
        windows.is_some(),
        drained.is_some(),
        spooled.is_some(),
        talk.is_some(),
    ]
    .into_iter()
    .filter(|given| *given)
    .count()
}

pub(super) async fn check(look: &Look<'_>, expectation: &Expect) -> Found {
    let mut found = Vec::new();
    if let Some(in_use) = &expectation.in_use {
        found.extend(route_in_use(look, in_use).await?);
    }
    if let Some(count) = &expectation.switches {
        found.extend(counted(look, "moves", count, is_switch));
    }
    if let Some(count) = &expectation.events {
        found.extend(counted(look, "events", count, is_event));
    }
    if let Some(quality) = &expectation.quality {
        let class = look.world.controller()?.class(&quality.class).await?;
        if class.quality != quality.is {
            found.push(format!(
                "class {} is {:?}, not {:?}: {}",
                quality.class,
                class.quality,
                quality.is,
                serde_json::to_string(&class).unwrap_or_default()
            ));
        }
    }
    if let Some(edge) = &expectation.edge {
        let status = look.world.controller()?.status().await?;
        let state = status.edges.iter().find(|e| e.name == edge.name).map(|e| e.state);
        if state != Some(edge.is) {
            found.push(format!("edge {} is {state:?}, not {:?}", edge.name, edge.is));
        }
    }
    if let Some(figures) = &expectation.figures {
        found.extend(store::figures(look, figures).await?);
    }
    if expectation.rtt == Some(true) {
        found.extend(truth::round_trips(look).await?);
    }
    if expectation.one_way == Some(true) {
        found.extend(truth::one_way(look).await?);
    }
    if let Some(wanted) = &expectation.longer {
        found.extend(truth::longer(look, wanted).await?);
    }
    if expectation.counts == Some(true) {
        found.extend(truth::counts(look).await?);
    }
    if expectation.ledgers == Some(true) {
        found.extend(store::ledgers(look).await?);
    }
    for agent in expectation.windows.iter().flatten() {
        found.extend(store::windows(look, agent).await?);
    }
    for agent in expectation.drained.iter().flatten() {
        found.extend(store::drained(look, agent).await?);
    }
    if let Some(wanted) = &expectation.talk {
        found.extend(heard(look, wanted));
    }
    if let Some(spooled) = &expectation.spooled {
        let held = store::spooled(look, &spooled.agent).await?;
        if held < spooled.min {
            found.push(format!(
                "the spool of {} holds {held} reports, not {} or more",
                spooled.agent, spooled.min
            ));
        }
    }
    Ok(found)
}

/// What is wrong with what a talk says.
fn heard(look: &Look<'_>, wanted: &Heard) -> Option<String> {
    let Some((begun, talk)) = look.talks.get(&wanted.name) else {
        return Some(format!("nobody talks as {}", wanted.name));
    };
    let told = talk.told(
        wanted.from.0.saturating_sub(*begun),
        wanted.to.0.saturating_sub(*begun),
    );
    let over = |most: Option<usize>, count: usize| most.is_some_and(|most| count > most);
    let wrong = wanted.sent_min.is_some_and(|least| told.sent < least)
        || over(wanted.lost_there_max, told.lost_there)
        || over(wanted.lost_back_max, told.lost_back)
        || told.repeated > wanted.repeated_max
        || wanted.rtt_max.is_some_and(|most| told.worst_rtt > most.0);
    wrong.then(|| format!("talk {}: {told:?}, wanted {wanted:?}", wanted.name))
}

async fn route_in_use(look: &Look<'_>, expected: &InUse) -> Found {
    let status = look
        .world
        .agent(&expected.agent)?
        .status()
        .await
        .ok_or_else(|| ScenarioError::Agent(expected.agent.clone()))?;
    let Some(leg) = status.legs.iter().find(|leg| leg.class == expected.class) else {
        return Ok(vec![format!(
            "{} has no leg in class {}",
            expected.agent, expected.class
        )]);
    };
    let wrong = expected.is.as_ref().is_some_and(|is| *is != leg.in_use)
        || expected.without.as_ref().is_some_and(|e| leg.in_use.contains(e));
    Ok(wrong
        .then(|| format!("{} uses {}", expected.agent, leg.in_use.join(" > ")))
        .into_iter()
        .collect())
}

/// A move of the live choice. Moves that a new plan asked for count too.
fn is_switch(entry: &Entry, count: &Count) -> bool {
    let by = count
        .agent
        .as_ref()
        .is_none_or(|agent| entry.who == format!("agent {agent}"));
    by && entry.message == "live choice" && field(entry, "kind") == Some("switch")
}

/// An event at the controller.
fn is_event(entry: &Entry, count: &Count) -> bool {
    let about = |name, wanted: &Option<String>| {
        wanted
            .as_ref()
            .is_none_or(|wanted| field(entry, name) == Some(wanted.as_str()))
    };
    entry.who == "controller"
        && entry.message == "event"
        && about("kind", &count.kind)
        && about("subject", &count.agent)
}

fn field<'a>(entry: &'a Entry, name: &str) -> Option<&'a str> {
    entry.fields.get(name).map(String::as_str)
}

fn counted(look: &Look<'_>, what: &str, count: &Count, is: fn(&Entry, &Count) -> bool) -> Option<String> {
    let from = count.from.map_or(Duration::ZERO, |t| t.0);
    let to = count.to.map_or(look.at, |t| t.0);
    let all: Vec<_> = look
        .log
        .entries()
        .into_iter()
        .filter(|e| (from..=to).contains(&e.at) && is(e, count))
        .collect();
    let few = count.min.is_some_and(|min| all.len() < min);
    let many = count.max.is_some_and(|max| all.len() > max);
    (few || many).then(|| {
        let lines: Vec<_> = all.iter().take(10).map(|e| format!("\n    {e}")).collect();
        format!(
            "{} {what} from {from:?} to {to:?} ({count:?}){}",
            all.len(),
            lines.concat()
        )
    })
}
