//! The round trip of each link of a route, from the stamps of its edges.

use crate::{
    Steps,
    wire::{RouteEcho, Stamp},
};

/// Splits `total_us`, from sending the probe to receiving its echo, over the route's links.
///
/// Every edge that passed the probe on has stamped it out and back. Between two stamps of one edge lies
/// the rest of the route; what the next edge sees of that rest, taken away, leaves the link between
/// them. Each difference is taken on one clock.
pub(super) fn of(echo: &RouteEcho, total_us: u32) -> Steps {
    let passing = match echo.header.far {
        Some(_) => echo.header.route.len(),
        None => echo.header.route.len().saturating_sub(1),
    };
    let stamps = echo.stamps.as_slice();
    if stamps.len() != 2 * passing {
        return Steps::default();
    }
    let (out, back) = stamps.split_at(passing);
    split(out, back, total_us, echo.body.residence_us).unwrap_or_default()
}

fn split(out: &[Stamp], back: &[Stamp], total_us: u32, residence_us: u32) -> Option<Steps> {
    let mut steps = Steps::default();
    let mut inside = 0u32;
    // What lies beyond the node before: at first all of it.
    let mut beyond = total_us;
    let pairs = out.iter().zip(back.iter().rev());
    for (link, (out, back)) in steps.links_us.iter_mut().zip(pairs) {
        let seen = back.send_us.wrapping_sub(out.recv_us);
        let rest = back.recv_us.wrapping_sub(out.send_us);
        *link = Some(difference(beyond, seen)?);
        inside = inside.checked_add(difference(seen, rest)?)?;
        beyond = rest;
    }
    *steps.links_us.get_mut(out.len())? = Some(difference(beyond, residence_us)?);
    steps.inside_us = Some(inside);
    Some(steps)
}

/// Stamps are cut to whole µs, so that a very short way may come out a little below zero.
fn difference(whole: u32, part: u32) -> Option<u32> {
    const GRAIN: u32 = 2;
    match whole.checked_sub(part) {
        Some(d) => Some(d),
        None if part - whole <= GRAIN => Some(0),
        None => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn stamp(recv_us: u32, send_us: u32) -> Stamp {
        Stamp { recv_us, send_us }
    }

    #[test]
    fn each_link_by_differences_on_one_clock() {
        // Clocks of e1 and e2 about to wrap and far ahead. Links 10+20, 30+40, 50+60 µs; e1 holds a
        // packet 1 then 2 µs, e2 3 then 4, the far end 5.
        let e1 = u32::MAX - 20;
        let e2 = 1_000_000;
        let out = [stamp(e1, e1 + 1), stamp(e2, e2 + 3)];
        let e2_back = e2 + 3 + 50 + 5 + 60;
        let e1_back = e1.wrapping_add(1 + 30 + 3 + 50 + 5 + 60 + 4 + 40);
        let back = [
            stamp(e2_back, e2_back + 4),
            stamp(e1_back, e1_back.wrapping_add(2)),
        ];
        let total = 10 + 1 + 30 + 3 + 50 + 5 + 60 + 4 + 40 + 2 + 20;
        let steps = split(&out, &back, total, 5).unwrap();
        assert_eq!(steps.links_us, [Some(30), Some(70), Some(110), None]);
        assert_eq!(steps.inside_us, Some(1 + 2 + 3 + 4));
        assert_eq!(split(&out, &back, total - 40, 5), None, "more than the whole");
    }

    #[test]
    fn without_passing_edges_there_is_one_link() {
        let steps = split(&[], &[], 100, 30).unwrap();
        assert_eq!(
            (steps.links_us[0], steps.links_us[1], steps.inside_us),
            (Some(70), None, Some(0))
        );
        assert_eq!(
            split(&[], &[], 29, 30).unwrap().links_us[0],
            Some(0),
            "the grain of stamps"
        );
        assert_eq!(split(&[], &[], 20, 30), None);
    }
}
