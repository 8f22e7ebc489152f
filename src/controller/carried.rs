//! Which classes are told of it when an edge goes and comes back: those with a route over it. A dead edge is
//! planned around before its connection ends, and planned in again after it is back; so those count too that
//! had such a route a moment ago, and when it is back those that were told when it went.

use std::{
    collections::{BTreeMap, BTreeSet},
    time::Duration,
};

use corridor_probes::{EdgeId, Mono};

/// Connections to dead edges end within 10 s; legs are moved meanwhile, one by one.
const MOMENT: Duration = Duration::from_secs(30);
/// Classes named with one event; others see it when they read their timeline. More at once than anybody
/// watches, and a feed's message stays small.
const MAX_CLASSES: usize = 500;

/// What edges carried.
#[derive(Debug, Default)]
pub struct Carried {
    /// The edges of each leg's plan, by class and subject.
    legs: BTreeMap<(String, String), BTreeSet<EdgeId>>,
    /// Classes of which a leg was planned away from an edge, and when.
    left: BTreeMap<EdgeId, BTreeMap<String, Mono>>,
    /// Classes that were told that an edge went.
    told: BTreeMap<EdgeId, BTreeSet<String>>,
}

impl Carried {
    /// A leg's plan changed; `edges` are those of its routes now.
    pub fn planned(&mut self, class: &str, subject: &str, edges: BTreeSet<EdgeId>, now: Mono) {
        let leg = (class.to_owned(), subject.to_owned());
        let before = if edges.is_empty() {
            self.legs.remove(&leg)
        } else {
            self.legs.insert(leg, edges.clone())
        };
        for edge in before.unwrap_or_default().difference(&edges) {
            self.left.entry(*edge).or_default().insert(class.to_owned(), now);
        }
    }

    /// An edge goes down or drains; `over` are the live classes with a route over it now.
    pub fn went(&mut self, edge: EdgeId, mut over: BTreeSet<String>, now: Mono) -> Vec<String> {
        let left = self.left.remove(&edge).unwrap_or_default();
        let just = left.into_iter().filter(|(_, at)| now.since(*at) <= MOMENT);
        over.extend(just.map(|(class, _)| class));
        self.told.entry(edge).or_default().extend(over.iter().cloned());
        named(over)
    }

    /// It is back.
    pub fn back(&mut self, edge: EdgeId, mut over: BTreeSet<String>) -> Vec<String> {
        over.extend(self.told.remove(&edge).unwrap_or_default());
        named(over)
    }

    /// Forgets classes that are over, and what was long ago.
    pub fn forget(&mut self, now: Mono, is_live: impl Fn(&str) -> bool) {
        self.legs.retain(|(class, _), _| is_live(class));
        for classes in self.told.values_mut() {
            classes.retain(|class| is_live(class));
        }
        self.left.retain(|_, classes| {
            classes.retain(|class, at| now.since(*at) <= MOMENT && is_live(class));
            !classes.is_empty()
        });
    }
}

fn named(classes: BTreeSet<String>) -> Vec<String> {
    classes.into_iter().take(MAX_CLASSES).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_class_hears_of_an_edge_that_it_was_just_planned_around_and_of_its_return() {
        let [dead, other] = [1, 2].map(|id| EdgeId::new(id).unwrap());
        let set = |all: &[&str]| all.iter().map(|c| (*c).to_owned()).collect::<BTreeSet<_>>();
        let at = |s: i64| Mono::from_millis(s * 1_000);
        let mut carried = Carried::default();
        for (class, planned, moved) in [("early", 0, 1), ("late", 0, 36), ("over", 0, 37)] {
            carried.planned(class, "t1", [dead].into(), at(planned));
            carried.planned(class, "t1", [other].into(), at(moved));
        }
        carried.forget(at(38), |class| class != "over");
        assert_eq!(carried.went(dead, set(&["still"]), at(40)), ["late", "still"]);
        carried.forget(at(400), |class| class != "still");
        assert_eq!(carried.back(dead, set(&["new"])), ["late", "new"]);
        assert!(carried.back(dead, set(&[])).is_empty());
        assert!(carried.went(other, set(&[]), at(400)).is_empty());
        let many = (0..=MAX_CLASSES).map(|i| i.to_string()).collect();
        assert_eq!(carried.went(other, many, at(401)).len(), MAX_CLASSES);
    }
}
