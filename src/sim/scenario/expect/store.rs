//! What the store and the spools hold.

use std::{collections::BTreeMap, time::Duration};

use corridor_probes::{BootId, Wall, percentile, samples};

use super::{Found, Look, truth};
use crate::{
    proto::{self, window},
    reporting::route_from,
    sim::{Tally, WorldError, WorldSpec},
    store::records::Reporter,
};

const FIRST: Wall = Wall::from_micros(0);
const LAST: Wall = Wall::from_secs(10_000_000_000);

/// All reports of some reporters that the store has, in its order. What it cannot read is left out.
async fn reports(look: &Look<'_>, of: Vec<Reporter>) -> Result<Vec<(Reporter, proto::Report)>, WorldError> {
    let Some(store) = look.world.store() else {
        return Ok(Vec::new());
    };
    let found = store.run(move |store| {
        let mut all = Vec::new();
        store.reports(&of, FIRST, LAST, &mut |record| {
            if let Ok(report) = proto::decode::<proto::Report>(&record.body) {
                all.push((record.reporter, report));
            }
        })?;
        Ok::<_, crate::store::StoreError>(all)
    });
    Ok(found.await??)
}

fn agent(look: &Look<'_>, subject: &str) -> Result<Reporter, WorldError> {
    look.world.agent_id(subject).map(Reporter::Agent)
}

fn everybody(look: &Look<'_>) -> Result<BTreeMap<Reporter, String>, WorldError> {
    let mut all = BTreeMap::new();
    for subject in look.world.agents() {
        all.insert(agent(look, subject)?, subject.to_owned());
    }
    for (name, id) in look.world.edges() {
        all.insert(Reporter::Edge(id), name.to_owned());
    }
    Ok(all)
}

pub(super) async fn ledgers(look: &Look<'_>) -> Found {
    let names = everybody(look)?;
    let all = reports(look, names.keys().copied().collect()).await?;
    let mut wrong = Vec::new();
    let mut seen = 0;
    for (reporter, report) in &all {
        for window in &report.windows {
            for ledger in window.ledger.iter().chain(&window.total) {
                seen += 1;
                if !adds_up(ledger) {
                    wrong.push(format!(
                        "a ledger of {} does not add up: {ledger:?}",
                        names[reporter]
                    ));
                }
            }
        }
    }
    if seen == 0 {
        wrong.push("no ledger is in the store".to_owned());
    }
    wrong.truncate(5);
    Ok(wrong)
}

fn adds_up(l: &proto::Ledger) -> bool {
    l.slots == l.sent + l.slipped + l.local_drops + l.unconnected
        && l.sent == l.received + l.lost_up + l.lost_down + l.late + l.lost_unknown
}

/// All windows that an agent closed are in the store, or in its spool, once.
pub(super) async fn windows(look: &Look<'_>, subject: &str) -> Found {
    let stored = reports(look, vec![agent(look, subject)?]).await?;
    let mut by_identity: BTreeMap<(u64, u64), proto::Report> = BTreeMap::new();
    let mut wrong = Vec::new();
    for (_, report) in stored {
        let identity = (report.boot, report.sequence);
        if by_identity.insert(identity, report).is_some() {
            wrong.push(format!("report {identity:?} of {subject} is in the store twice"));
        }
    }
    if by_identity.is_empty() {
        wrong.push(format!("the store has no report of {subject}"));
    }
    let mut pending = Vec::new();
    if let Some(spool) = look.world.spool(subject) {
        let (waiting, open) = spool
            .run(|spool| {
                Ok::<_, crate::spool::SpoolError>((
                    spool.next_batch(u32::MAX)?,
                    spool.leftover_journal(BootId(0), u32::MAX)?,
                ))
            })
            .await
            .map_err(WorldError::from)?
            .map_err(WorldError::from)?;
        for report in waiting {
            // One that is acknowledged any moment is in both.
            if let Ok(message) = proto::decode::<proto::Report>(&report.body) {
                by_identity
                    .entry((report.boot.0, report.sequence))
                    .or_insert(message);
            }
        }
        for row in open.into_iter().flat_map(|left| left.rows) {
            pending.extend(
                proto::decode::<proto::Report>(&row.body)
                    .into_iter()
                    .flat_map(|r| r.windows),
            );
        }
    }
    let mut held: BTreeMap<String, Tally> = BTreeMap::new();
    let windows = by_identity.values().flat_map(|r| &r.windows).chain(&pending);
    for window in windows {
        let ledger = window.ledger.unwrap_or_default();
        let tally = held.entry(format!("{:016x}", window.session)).or_default();
        tally.slots += u64::from(ledger.slots);
        tally.sent += u64::from(ledger.sent);
        tally.received += u64::from(ledger.received);
        tally.lost_up += u64::from(ledger.lost_up);
        tally.lost_down += u64::from(ledger.lost_down);
        tally.late += u64::from(ledger.late);
        tally.lost_unknown += u64::from(ledger.lost_unknown);
    }
    let closed: BTreeMap<_, _> = look
        .log
        .closed()
        .into_iter()
        .filter(|((who, _), _)| who == subject)
        .map(|((_, session), tally)| (session, tally))
        .collect();
    if closed.is_empty() {
        wrong.push(format!("{subject} has closed no window"));
    }
    for (session, tally) in &closed {
        let there = held.remove(session).unwrap_or_default();
        if there != *tally {
            wrong.push(format!(
                "{subject} closed {tally:?} in session {session}; kept are {there:?}"
            ));
        }
    }
    wrong.extend(
        held.keys()
            .map(|s| format!("{subject} never had a session {s}, which is kept")),
    );
    Ok(wrong)
}

pub(super) async fn spooled(look: &Look<'_>, subject: &str) -> Result<u64, WorldError> {
    match look.world.spool(subject) {
        Some(spool) => Ok(spool.run(|spool| spool.stats().reports).await?),
        None => Ok(0),
    }
}

/// A report may be on its way, and one closed since.
const ON_ITS_WAY: u64 = 2;

pub(super) async fn drained(look: &Look<'_>, subject: &str) -> Found {
    let held = spooled(look, subject).await?;
    Ok((held > ON_ITS_WAY)
        .then(|| format!("the spool of {subject} holds {held} reports"))
        .into_iter()
        .collect())
}

pub(super) async fn figures(look: &Look<'_>, wanted: &super::super::text::Figures) -> Found {
    let status = look
        .world
        .agent(&wanted.agent)?
        .status()
        .await
        .ok_or_else(|| super::ScenarioError::Agent(wanted.agent.clone()))?;
    let in_use = status.legs.into_iter().find(|leg| leg.class == wanted.class);
    let ids: BTreeMap<_, _> = look.world.edges().collect();
    let route: Vec<_> = in_use
        .iter()
        .flat_map(|leg| &leg.in_use)
        .filter_map(|name| ids.get(name.as_str()).copied())
        .collect();
    let start = WorldSpec::default().start.as_micros();
    let since = |us: i64| Duration::from_micros(u64::try_from(us - start).unwrap_or(0));
    let (mut rtts, mut sent, mut lost) = (Vec::new(), 0, 0);
    for (_, report) in reports(look, vec![agent(look, &wanted.agent)?]).await? {
        for window in &report.windows {
            let Some(window::Of::Route(of)) = &window.of else {
                continue;
            };
            let is_in_use = route_from(of).is_some_and(|r| r.edges().eq(route.iter().copied()));
            let begins = since(window.start_us);
            let ends = begins + Duration::from_millis(u64::from(window.length_ms));
            if !is_in_use || window.class != wanted.class || begins < wanted.from.0 || ends > wanted.to.0 {
                continue;
            }
            let ledger = window.ledger.unwrap_or_default();
            sent += u64::from(ledger.sent);
            lost += u64::from(ledger.sent - ledger.received);
            rtts.extend(
                samples::decode(&window.samples)
                    .into_iter()
                    .flatten()
                    .map(|s| s.rtt_us),
            );
        }
    }
    let mut wrong = Vec::new();
    let p95 = percentile(&rtts, 95.0).map(|us| Duration::from_micros(us.into()));
    if let Some(max) = wanted.p95_max
        && p95.is_none_or(|p95| p95 > max.0)
    {
        wrong.push(format!(
            "the route of {} has a 95th percentile of {p95:?}",
            wanted.agent
        ));
    }
    if let Some(max) = wanted.lost_max
        && lost > max
    {
        wrong.push(format!(
            "{lost} of {sent} route probes of {} were lost",
            wanted.agent
        ));
    }
    if let Some(min) = wanted.sent_min
        && sent < min
    {
        wrong.push(format!("{} sent {sent} route probes", wanted.agent));
    }
    Ok(wrong)
}

/// The end of the newest window of every link.
pub(super) async fn newest_window_ends(look: &Look<'_>) -> Result<truth::Ends, WorldError> {
    let names = everybody(look)?;
    let start = WorldSpec::default().start.as_micros();
    let mut ends = truth::Ends::new();
    for (reporter, report) in reports(look, names.keys().copied().collect()).await? {
        for window in &report.windows {
            let edge = truth::edge_of(window)
                .and_then(|id| u16::try_from(id).ok())
                .and_then(corridor_probes::EdgeId::new);
            let Some(to) = edge.and_then(|id| names.get(&Reporter::Edge(id))) else {
                continue;
            };
            let end_us = window.start_us + i64::from(window.length_ms) * 1_000 - start;
            let end = Duration::from_micros(u64::try_from(end_us).unwrap_or(0));
            let key = (names[&reporter].clone(), to.clone());
            let entry = ends
                .entry(key)
                .or_insert((end, matches!(reporter, Reporter::Edge(_))));
            entry.0 = entry.0.max(end);
        }
    }
    Ok(ends)
}
