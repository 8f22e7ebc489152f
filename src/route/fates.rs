//! What became of media's packets on a route.

/// How many packets came, and how many are missed.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Fate {
    pub came: u32,
    pub missed: u32,
}

impl Fate {
    pub const fn count(&mut self, came: bool) {
        if came {
            self.came = self.came.saturating_add(1);
        } else {
            self.missed = self.missed.saturating_add(1);
        }
    }

    #[must_use]
    pub const fn and(self, other: Self) -> Self {
        Self {
            came: self.came.saturating_add(other.came),
            missed: self.missed.saturating_add(other.missed),
        }
    }

    pub const fn is_empty(self) -> bool {
        self.came == 0 && self.missed == 0
    }
}

/// Of both ways.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Fates {
    pub there: Fate,
    pub back: Fate,
}

impl Fates {
    pub const NONE: Self = Self {
        there: Fate { came: 0, missed: 0 },
        back: Fate { came: 0, missed: 0 },
    };

    #[must_use]
    pub const fn and(self, other: Self) -> Self {
        Self {
            there: self.there.and(other.there),
            back: self.back.and(other.back),
        }
    }
}
