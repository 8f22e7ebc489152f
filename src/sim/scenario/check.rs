//! Whether a scenario makes sense, before anything of it is built.

use std::{collections::BTreeSet, ops::Range};

use super::{
    expect,
    text::{Between, Do, Link, Scenario},
};
use crate::sim::CONTROLLER;

/// What is wrong, and the bytes of the text that say so, where they can be told.
pub(super) type Problem = (Option<Range<usize>>, String);

/// Machines of a kind: each has one octet of its address.
const MOST: usize = 250;
/// The longest name of a machine, in bytes.
const LONGEST_NAME: usize = 63;
/// How often one action may be repeated.
const MOST_TIMES: u32 = 100_000;
/// 10 Gbit/s.
const FASTEST_KBPS: u64 = 10_000_000;

/// The first thing about a scenario that cannot be.
pub(super) fn check(scenario: &Scenario) -> Result<(), Problem> {
    let machines = machines(scenario)?;
    if scenario.repeat.is_some_and(|repeat| repeat >= scenario.duration) {
        return Err((
            None,
            "what repeats begins before the end: repeat < duration".to_owned(),
        ));
    }
    link(&scenario.default).map_err(|what| (None, format!("default: {what}")))?;
    for spanned in &scenario.links {
        between(spanned.get_ref(), &machines).map_err(|what| (Some(spanned.span()), what))?;
    }
    for spanned in &scenario.actions {
        action(spanned.get_ref(), scenario, &machines).map_err(|what| (Some(spanned.span()), what))?;
    }
    for spanned in &scenario.expectations {
        let given = expect::things(spanned.get_ref());
        if given != 1 {
            let what = format!("an expectation names one thing that must hold, this one {given}");
            return Err((Some(spanned.span()), what));
        }
    }
    Ok(())
}

type Names<'a> = BTreeSet<&'a str>;

/// The names of all machines. They are names of directories too.
fn machines(scenario: &Scenario) -> Result<Names<'_>, Problem> {
    let mut names = Names::from([CONTROLLER]);
    for (kind, named) in [
        ("edges", scenario.edges.keys().collect::<Vec<_>>()),
        ("agents", scenario.agents.keys().collect()),
    ] {
        if named.len() > MOST {
            return Err((
                None,
                format!("{} {kind} are too many: at most {MOST}", named.len()),
            ));
        }
        for name in named {
            let plain = |b: u8| b.is_ascii_alphanumeric() || b"-_".contains(&b);
            if name.is_empty() || name.len() > LONGEST_NAME || !name.bytes().all(plain) {
                let rule = format!("1 to {LONGEST_NAME} letters, digits, '-' and '_'");
                return Err((None, format!("'{name}' is no name of a machine: {rule}")));
            }
            if !names.insert(name) {
                return Err((None, format!("there are two machines '{name}'")));
            }
        }
    }
    Ok(names)
}

/// How many things an action names.
fn things(action: &Do) -> usize {
    let Do {
        time: _,
        every: _,
        times: _,
        kill,
        start,
        link,
        heal,
        cut,
        join,
        stall,
        sleep,
        step_clock,
        address,
        rebind_nat,
        probing,
        create,
        end,
        drain,
        talk,
    } = action;
    [
        kill.is_some(),
        start.is_some(),
        link.is_some(),
        heal.is_some(),
        cut.is_some(),
        join.is_some(),
        stall.is_some(),
        sleep.is_some(),
        step_clock.is_some(),
        address.is_some(),
        rebind_nat.is_some(),
        probing.is_some(),
        create.is_some(),
        end.is_some(),
        drain.is_some(),
        talk.is_some(),
    ]
    .into_iter()
    .filter(|given| *given)
    .count()
}

fn action(action: &Do, scenario: &Scenario, machines: &Names<'_>) -> Result<(), String> {
    let given = things(action);
    if given != 1 {
        return Err(format!("an action names one thing to do, this one {given}"));
    }
    if action.times.is_some_and(|times| times > MOST_TIMES) {
        return Err(format!("times: at most {MOST_TIMES}"));
    }
    let Do {
        time: _,
        every: _,
        times: _,
        kill,
        start,
        link,
        heal,
        cut,
        join,
        stall,
        sleep,
        step_clock,
        address,
        rebind_nat,
        probing: _,
        create,
        end: _,
        drain,
        talk,
    } = action;
    let named = [kill, start, cut, join].into_iter().flatten();
    let timed = [stall, sleep].into_iter().flatten().map(|f| &f.machine);
    let named = named
        .chain(timed)
        .chain(step_clock.as_ref().map(|s| &s.machine))
        .chain(address.as_ref().map(|a| &a.machine))
        .chain(heal.iter().flatten());
    for name in named {
        known(name, machines)?;
    }
    if let Some(link) = link {
        between(link, machines)?;
    }
    if let Some(edge) = drain.as_ref().filter(|e| !scenario.edges.contains_key(*e)) {
        return Err(format!("there is no edge '{edge}'"));
    }
    if let Some(name) = rebind_nat
        .as_ref()
        .filter(|a| !scenario.agents.get(*a).is_some_and(|a| a.nat))
    {
        return Err(format!("there is no agent '{name}' behind a NAT"));
    }
    let talkers = talk.iter().flat_map(|talk| &talk.between);
    let mut people = create.iter().flat_map(|class| class.who.keys()).chain(talkers);
    match people.find(|subject| !scenario.agents.contains_key(*subject)) {
        Some(subject) => Err(format!("there is no agent '{subject}'")),
        None => Ok(()),
    }
}

fn known(name: &str, machines: &Names<'_>) -> Result<(), String> {
    if machines.contains(name) {
        Ok(())
    } else {
        Err(format!("there is no machine '{name}'"))
    }
}

fn between(both: &Between, machines: &Names<'_>) -> Result<(), String> {
    let [a, b] = &both.between;
    known(a, machines)?;
    known(b, machines)?;
    if a == b {
        return Err(format!("a link is between two machines, not '{a}' and itself"));
    }
    [&both.both, &both.there, &both.back]
        .into_iter()
        .try_for_each(link)
}

fn link(link: &Link) -> Result<(), String> {
    for (what, share) in [
        ("loss", link.loss),
        ("duplicate", link.duplicate),
        ("reorder", link.reorder),
    ] {
        if let Some(share) = share.filter(|share| !(0.0..=1.0).contains(share)) {
            return Err(format!("{what} is a share from 0 to 1, not {share}"));
        }
    }
    match link.rate_kbps {
        Some(kbps) if !(1..=FASTEST_KBPS).contains(&kbps) => {
            Err(format!("rate_kbps is 1 to {FASTEST_KBPS}, not {kbps}"))
        }
        _ => Ok(()),
    }
}
