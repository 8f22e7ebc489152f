//! Through which edge does the agent report? The nearest one that has its controller, and no moving
//! about for little.

use std::{collections::BTreeMap, time::Duration};

use corridor_probes::EdgeId;

/// Another edge must be nearer by this much, or by a third, whichever is more: a move costs an attach
/// and reports sent twice, and gains nothing that a class would feel.
const MARGIN: Duration = Duration::from_millis(20);

/// What the agent knows of one edge as a carrier of reports.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Carrier {
    /// The edge says that it has its controller.
    pub has_controller: bool,
    pub draining: bool,
    /// Nothing came from it for a while, though it was probed, or asked for signs of life: it may be dead, whatever
    /// its connection says.
    pub silent: bool,
    /// Median round trip of late; unmeasured comes after measured.
    pub rtt: Option<Duration>,
}

/// The edge to report through, given the one in use and those connected. Those without a controller are
/// no use, and silent or draining ones only where there is no other.
pub fn choose(current: Option<EdgeId>, connected: &BTreeMap<EdgeId, Carrier>) -> Option<EdgeId> {
    let usable = || connected.iter().filter(|(_, c)| c.has_controller);
    let trouble = |c: &Carrier| (c.silent, c.draining);
    let rank = |c: &Carrier| (trouble(c), c.rtt.is_none(), c.rtt);
    let (&best, best_carrier) = usable().min_by_key(|&(&id, c)| (rank(c), id))?;
    let Some((&kept, kept_carrier)) = usable().find(|(id, _)| Some(**id) == current) else {
        return Some(best);
    };
    if trouble(kept_carrier) != trouble(best_carrier) {
        return Some(best);
    }
    match (kept_carrier.rtt, best_carrier.rtt) {
        (Some(kept_rtt), Some(best_rtt)) if kept_rtt > best_rtt + MARGIN.max(best_rtt / 3) => Some(best),
        _ => Some(kept),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn e(id: u16) -> EdgeId {
        EdgeId::new(id).unwrap()
    }

    fn near(ms: u64) -> Carrier {
        Carrier {
            has_controller: true,
            draining: false,
            silent: false,
            rtt: Some(Duration::from_millis(ms)),
        }
    }

    fn pick(current: Option<u16>, edges: &[(u16, Carrier)]) -> Option<u16> {
        let edges = edges.iter().map(|&(id, c)| (e(id), c)).collect();
        choose(current.map(e), &edges).map(EdgeId::get)
    }

    #[test]
    fn the_nearest_that_has_its_controller() {
        let cut_off = Carrier {
            has_controller: false,
            ..near(1)
        };
        let unmeasured = Carrier { rtt: None, ..near(0) };
        assert_eq!(
            pick(
                None,
                &[(1, cut_off), (2, near(50)), (3, near(40)), (4, unmeasured)]
            ),
            Some(3)
        );
        assert_eq!(pick(None, &[(1, cut_off)]), None);
        assert_eq!(pick(Some(1), &[(1, cut_off), (4, unmeasured)]), Some(4));
        assert_eq!(pick(None, &[]), None);
    }

    #[test]
    fn moves_only_beyond_the_margin() {
        assert_eq!(
            pick(Some(1), &[(1, near(30)), (2, near(10))]),
            Some(1),
            "just at the margin"
        );
        assert_eq!(pick(Some(1), &[(1, near(31)), (2, near(10))]), Some(2));
        assert_eq!(
            pick(Some(1), &[(1, near(120)), (2, near(90))]),
            Some(1),
            "a third of 90 is 30"
        );
        assert_eq!(pick(Some(1), &[(1, near(121)), (2, near(90))]), Some(2));
    }

    #[test]
    fn leaves_a_draining_edge_and_comes_to_one_only_in_need() {
        let draining = Carrier {
            draining: true,
            ..near(1)
        };
        assert_eq!(pick(Some(1), &[(1, draining), (2, near(200))]), Some(2));
        assert_eq!(pick(Some(1), &[(1, draining)]), Some(1));
    }

    #[test]
    fn leaves_a_silent_edge_even_for_a_draining_one() {
        let silent = Carrier {
            silent: true,
            ..near(1)
        };
        let draining = Carrier {
            draining: true,
            ..near(90)
        };
        assert_eq!(pick(Some(1), &[(1, silent), (2, draining)]), Some(2));
        assert_eq!(pick(Some(1), &[(1, silent)]), Some(1));
    }
}
