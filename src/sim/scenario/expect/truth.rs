//! Measurements against the simulated network's own truth.

use std::{collections::BTreeMap, time::Duration};

use super::{Found, Look};
use crate::{
    api::model::LinkStatus,
    proto::window,
    sim::{
        Fate, LinkShape, TraceEvent,
        scenario::text::{Longer, Span},
    },
};

/// How far a median may be off: tokio's clock has a grain of 1 ms.
const TOLERANCE_MS: f64 = 1.0;
/// A figure older than this says nothing of the present.
const FRESH_S: f64 = 120.0;
/// What QUIC puts around a padded probe, in bytes: header, number, tag and frame; acknowledgements.
const AROUND: std::ops::Range<usize> = 26..64;

/// The machine that a status' link names.
fn machine(name: &str) -> &str {
    name.strip_prefix("agent:").unwrap_or(name)
}

fn shapes(look: &Look<'_>, link: &LinkStatus) -> Result<(LinkShape, LinkShape), crate::sim::WorldError> {
    let from = look.world.host(machine(&link.from))?;
    let to = look.world.host(machine(&link.to))?;
    let network = look.world.network();
    Ok((network.shape(from, to), network.shape(to, from)))
}

/// The middle of what a direction does to a packet, in ms.
fn delay_ms(shape: &LinkShape) -> f64 {
    (shape.delay + shape.jitter / 2).as_secs_f64() * 1e3
}

pub(super) async fn round_trips(look: &Look<'_>) -> Found {
    let status = look.world.controller()?.status().await?;
    let mut wrong = Vec::new();
    let mut seen = 0;
    for link in &status.links {
        let Some(rtt) = link
            .rtt_ms
            .filter(|_| link.age_s.is_some_and(|age| age < FRESH_S))
        else {
            continue;
        };
        let (there, back) = shapes(look, link)?;
        let truth = delay_ms(&there) + delay_ms(&back);
        seen += 1;
        if (rtt.p50 - truth).abs() > TOLERANCE_MS {
            wrong.push(format!(
                "{} to {}: round trip {} ms, in truth {truth} ms",
                link.from, link.to, rtt.p50
            ));
        }
    }
    if seen == 0 {
        wrong.push("no link has a round trip".to_owned());
    }
    Ok(wrong)
}

pub(super) async fn one_way(look: &Look<'_>) -> Found {
    let status = look.world.controller()?.status().await?;
    let mut wrong = Vec::new();
    let mut seen = 0;
    for link in &status.links {
        let (Some(owd), Some(error)) = (link.owd_ms, link.owd_error_ms) else {
            continue;
        };
        let (there, _) = shapes(look, link)?;
        // It is the least delay that is split by the clocks' offset.
        let truth = there.delay.as_secs_f64() * 1e3;
        seen += 1;
        if (owd - truth).abs() > error + TOLERANCE_MS {
            wrong.push(format!(
                "{} to {}: one way {owd} ms, at most {error} off, in truth {truth} ms",
                link.from, link.to
            ));
        }
    }
    if seen == 0 {
        wrong.push("no link has a one-way delay".to_owned());
    }
    Ok(wrong)
}

/// How a leg's other routes compare with the one in use, by each direction.
pub(super) async fn longer(look: &Look<'_>, wanted: &Longer) -> Found {
    let class = look.world.controller()?.class(&wanted.class).await?;
    let leg = class
        .participants
        .iter()
        .filter(|p| p.subject == wanted.agent)
        .flat_map(|p| &p.legs)
        .next();
    let Some(leg) = leg else {
        return Ok(vec![format!(
            "{} has no leg in class {}",
            wanted.agent, wanted.class
        )]);
    };
    let in_use = leg.in_use.as_ref().unwrap_or(&leg.primary);
    let ways = |route: &[String]| {
        let far = leg.to.strip_prefix("agent:").map(str::to_owned);
        let mut names = vec![wanted.agent.clone()];
        names.extend(route.iter().cloned().chain(far));
        let (mut there, mut back) = (0.0, 0.0);
        for step in names.windows(2) {
            if let [from, to] = step {
                let (from, to) = (look.world.host(from)?, look.world.host(to)?);
                there += delay_ms(&look.world.network().shape(from, to));
                back += delay_ms(&look.world.network().shape(to, from));
            }
        }
        Ok::<_, crate::sim::WorldError>((there, back, names.len() as f64 - 1.0))
    };
    let (there, back, steps) = ways(in_use)?;
    let mut wrong = Vec::new();
    let mut found = false;
    for compared in &leg.compared {
        let (other_there, other_back, other_steps) = ways(&compared.route)?;
        let tolerance = compared.error_ms + TOLERANCE_MS * (steps + other_steps);
        for (way, said, truth) in [
            ("up", compared.up_ms, other_there - there),
            ("down", compared.down_ms, other_back - back),
        ] {
            if (said - truth).abs() > tolerance {
                wrong.push(format!(
                    "{} is said to be {said} ms longer {way} than {}, in truth {truth} ms",
                    compared.route.join(" > "),
                    in_use.join(" > ")
                ));
            }
        }
        let is = |by: Option<Span>, said: f64| {
            by.is_none_or(|by| said - compared.error_ms >= by.0.as_secs_f64() * 1e3)
        };
        found |= is(wanted.up, compared.up_ms) && is(wanted.down, compared.down_ms);
    }
    if !found {
        wrong.push(format!("no route is longer as wanted: {:?}", leg.compared));
    }
    Ok(wrong)
}

/// Counts until the end of the newest window that the controller has.
pub(super) async fn counts(look: &Look<'_>) -> Found {
    let status = look.world.controller()?.status().await?;
    let ends = super::store::newest_window_ends(look).await?;
    let trace = look.world.network().take_trace();
    let mut wrong = Vec::new();
    let mut seen = 0;
    for link in &status.links {
        let (from, to) = (machine(&link.from), machine(&link.to));
        // The prober is the one whose report the end comes from.
        let Some((end, is_mesh)) = ends
            .get(&(from.to_owned(), to.to_owned()))
            .or_else(|| ends.get(&(to.to_owned(), from.to_owned())))
        else {
            continue;
        };
        let forward = ends.contains_key(&(from.to_owned(), to.to_owned()));
        let size = if *is_mesh {
            look.scenario.sizes.mesh
        } else {
            look.scenario.sizes.link
        };
        let (there, back) = shapes(look, link)?;
        // An echo belongs to the window of its probe, which left the other end earlier.
        let sent_before = if forward { Duration::ZERO } else { back.delay };
        let (mut sent, mut lost) = (0, 0);
        for packet in of(&trace, from, to, size) {
            let left = match packet.fate {
                Fate::Delivered => packet.at.saturating_sub(there.delay),
                Fate::Lost(_) => packet.at,
            };
            if left.saturating_sub(sent_before) < *end {
                sent += 1;
                lost += u64::from(matches!(packet.fate, Fate::Lost(_)));
            }
        }
        seen += 1;
        if (link.sent, link.lost) != (sent, lost) {
            wrong.push(format!(
                "{} to {}: {} sent and {} lost until {end:?}, in truth {sent} and {lost}",
                link.from, link.to, link.sent, link.lost
            ));
        }
    }
    if seen == 0 {
        wrong.push("no link has counts".to_owned());
    }
    Ok(wrong)
}

fn of<'a>(
    trace: &'a [TraceEvent],
    from: &'a str,
    to: &'a str,
    size: usize,
) -> impl Iterator<Item = &'a TraceEvent> {
    let lengths = size + AROUND.start..size + AROUND.end;
    trace
        .iter()
        .filter(move |p| &*p.from == from && &*p.to == to && lengths.contains(&p.len))
}

/// Ends of windows, by prober and edge, since the world began; and whether it is a link of the mesh.
pub(super) type Ends = BTreeMap<(String, String), (Duration, bool)>;

/// The edge that a window is about, if it is a link's.
pub(super) fn edge_of(window: &crate::proto::Window) -> Option<u32> {
    match window.of {
        Some(window::Of::Edge(id)) => Some(id),
        _ => None,
    }
}
