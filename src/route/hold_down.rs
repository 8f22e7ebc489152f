//! Exponential hold-down: a route that was left in trouble is not taken again for a while, and each
//! trouble doubles the while.

use std::{ops::Add, time::Duration};

use corridor_probes::Route;
use serde::{Deserialize, Serialize};

use super::defaults::{FLAPS_FORGOTTEN, HOLD_DOWN, HOLD_DOWN_MAX};

/// The held routes of one leg. `T` is the clock that they are held by: the agent's monotonic one, or the
/// controller's civil time, which goes on after a restart.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct HoldDowns<T> {
    held: Vec<Held<T>>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
struct Held<T> {
    route: Route,
    /// 1 at the first.
    troubles: u32,
    last: T,
}

impl<T: Copy + Ord + Add<Duration, Output = T>> HoldDowns<T> {
    /// Notes that `route` was left.
    pub fn left(&mut self, route: Route, now: T) {
        self.held.retain(|held| now < held.last + FLAPS_FORGOTTEN);
        match self.held.iter_mut().find(|held| held.route == route) {
            Some(held) => {
                held.troubles = held.troubles.saturating_add(1);
                held.last = now;
            }
            None => self.held.push(Held {
                route,
                troubles: 1,
                last: now,
            }),
        }
    }

    /// Whether `route` is not to be taken yet.
    pub fn holds(&self, route: &Route, now: T) -> bool {
        self.held
            .iter()
            .any(|held| held.route == *route && now < held.last + length(held.troubles))
    }
}

impl<T> Default for HoldDowns<T> {
    fn default() -> Self {
        Self { held: Vec::new() }
    }
}

/// Of the `troubles`-th hold-down, from 1.
fn length(troubles: u32) -> Duration {
    let doubled = 1u32.checked_shl(troubles.saturating_sub(1)).unwrap_or(u32::MAX);
    HOLD_DOWN.saturating_mul(doubled).min(HOLD_DOWN_MAX)
}

#[cfg(test)]
mod tests {
    use corridor_probes::{EdgeId, Mono};

    use super::*;

    #[test]
    fn each_trouble_doubles_to_the_limit() {
        let table = [
            (1, 10),
            (2, 20),
            (3, 40),
            (5, 160),
            (6, 300),
            (32, 300),
            (33, 300),
            (u32::MAX, 300),
        ];
        for (troubles, secs) in table {
            assert_eq!(length(troubles), Duration::from_secs(secs), "{troubles}");
        }
    }

    #[test]
    fn holds_until_exactly_its_end_and_forgets() {
        let route = Route::new(&[EdgeId::new(1).unwrap()]).unwrap();
        let at = |s: i64| Mono::from_millis(s * 1_000);
        let mut holds = HoldDowns::default();
        holds.left(route, at(0));
        assert!(holds.holds(&route, at(0) + HOLD_DOWN - Duration::from_nanos(1)));
        assert!(!holds.holds(&route, at(10)));
        assert!(!holds.holds(&Route::DIRECT, at(0)));
        holds.left(route, at(100));
        assert!(holds.holds(&route, at(119)) && !holds.holds(&route, at(120)));
        holds.left(route, at(1_000));
        assert!(!holds.holds(&route, at(1_010)), "forgotten after 900 s");
    }
}
