//! Each leg's share of its class's budget.
//!
//! In a class of two without a target each leg is the whole way and has the whole budget. Elsewhere a
//! teacher's leg and a student's leg make the way together, and their shares make the budget: a pair
//! whose legs both keep their shares at the 95th percentile keeps the budget (the 95th percentile of a
//! sum of independent delays is at most about the sum of theirs).
//!
//! The shares are as the legs' own delays: that of the farthest teacher to that of the farthest student,
//! so that headroom, or its lack, is the same part of each. Neither is below a quarter of the budget; a
//! share stays until it is off by a tenth of the budget. Observers have a student's share.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::defaults::{SHARE_DEAD_BAND, SHARE_GRAIN, SHARE_MAX, SHARE_MIN};
use crate::store::records::Role;

/// Shares of one class's budget; they add up to it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Shares {
    pub teacher: Duration,
    pub student: Duration,
}

impl Shares {
    /// Half each: of a class whose legs are not measured.
    pub fn even(budget: Duration) -> Self {
        Self::with_teacher(budget, budget / 2)
    }

    /// By the delays of the farthest teacher's and the farthest student's leg; `before` is kept while it
    /// is near enough.
    pub fn of(
        budget: Duration,
        teacher: Option<Duration>,
        student: Option<Duration>,
        before: Option<Self>,
    ) -> Self {
        let before = before.filter(|b| b.teacher + b.student == budget);
        let (Some(teacher), Some(student)) = (teacher, student) else {
            return before.unwrap_or_else(|| Self::even(budget));
        };
        let whole = (teacher + student).as_secs_f64();
        let part = if whole > 0.0 {
            teacher.as_secs_f64() / whole
        } else {
            0.5
        };
        let exact = budget.mul_f64(part.clamp(SHARE_MIN, SHARE_MAX));
        let grains = (exact.as_secs_f64() / SHARE_GRAIN.as_secs_f64()).round() as u32;
        let fresh = Self::with_teacher(budget, (SHARE_GRAIN * grains).min(budget));
        match before {
            Some(before) if before.teacher.abs_diff(exact) < budget.mul_f64(SHARE_DEAD_BAND) => before,
            _ => fresh,
        }
    }

    pub const fn for_role(&self, role: Role) -> Duration {
        match role {
            Role::Teacher => self.teacher,
            Role::Student | Role::Observer => self.student,
        }
    }

    fn with_teacher(budget: Duration, teacher: Duration) -> Self {
        Self {
            teacher,
            student: budget.saturating_sub(teacher),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MS: fn(u64) -> Duration = Duration::from_millis;

    fn of(teacher: u64, student: u64, before: Option<u64>) -> (u128, u128) {
        let before = before.map(|t| Shares::with_teacher(MS(200), MS(t)));
        let shares = Shares::of(MS(200), Some(MS(teacher)), Some(MS(student)), before);
        (shares.teacher.as_millis(), shares.student.as_millis())
    }

    #[test]
    fn shares_are_as_the_delays_and_add_up() {
        for (teacher, student, want) in [
            (50, 50, (100, 100)),
            (30, 60, (65, 135)),
            (120, 180, (80, 120)),
            (1, 300, (50, 150)),
            (300, 1, (150, 50)),
            (0, 0, (100, 100)),
        ] {
            assert_eq!(of(teacher, student, None), want, "{teacher} {student}");
        }
    }

    #[test]
    fn small_changes_keep_the_share() {
        assert_eq!(of(59, 41, Some(100)), (100, 100), "118, which rounds to 120");
        assert_eq!(of(60, 40, Some(100)), (120, 80), "20 ms are a tenth");
        let even = Shares::even(MS(200));
        let unknown = Shares::of(MS(200), None, Some(MS(10)), None);
        assert_eq!(unknown, even);
        let other_budget = Shares::of(MS(300), Some(MS(50)), Some(MS(50)), Some(even));
        assert_eq!((other_budget.teacher, other_budget.student), (MS(150), MS(150)));
    }
}
