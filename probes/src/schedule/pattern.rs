//! Which steps of the grid are slots of a session.

use std::num::NonZeroU32;

/// `burst` slots, `gap` steps apart, every `period` steps from step `offset` on.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Pattern {
    period: NonZeroU32,
    burst: NonZeroU32,
    gap: NonZeroU32,
    /// Less than `period`.
    offset: u32,
}

/// The slots of one burst reach into the next.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("{burst} slots {gap} steps apart do not fit into {period} steps")]
pub struct PatternError {
    burst: NonZeroU32,
    gap: NonZeroU32,
    period: NonZeroU32,
}

impl Pattern {
    /// A slot every `steps` steps.
    pub const fn every(steps: NonZeroU32) -> Self {
        Self {
            period: steps,
            burst: NonZeroU32::MIN,
            gap: NonZeroU32::MIN,
            offset: 0,
        }
    }

    /// `burst` slots, `gap` steps apart, every `period` steps.
    pub const fn burst(burst: NonZeroU32, gap: NonZeroU32, period: NonZeroU32) -> Result<Self, PatternError> {
        if (burst.get() as u64 - 1) * gap.get() as u64 >= period.get() as u64 {
            return Err(PatternError { burst, gap, period });
        }
        Ok(Self {
            period,
            burst,
            gap,
            offset: 0,
        })
    }

    /// The same, `steps` steps later in its period.
    pub const fn shifted(self, steps: u32) -> Self {
        let period = self.period.get() as u64;
        Self {
            offset: ((self.offset as u64 + steps as u64) % period) as u32,
            ..self
        }
    }

    /// Slots in [`Self::period`] steps.
    pub const fn slots(self) -> NonZeroU32 {
        self.burst
    }

    /// Steps after which the pattern begins again.
    pub const fn period(self) -> NonZeroU32 {
        self.period
    }

    /// Steps between neighbouring slots.
    pub fn spacing(self) -> u32 {
        if self.burst.get() == 1 {
            self.period.get()
        } else {
            self.gap.get()
        }
    }

    /// How many slots the steps below `step` hold.
    pub(super) fn slots_before(self, step: u64) -> u64 {
        let step = step.saturating_sub(self.offset.into());
        let (full, rest) = (step / self.period64(), step % self.period64());
        full * self.burst64() + rest.div_ceil(self.gap64()).min(self.burst64())
    }

    /// The last slot below `step`.
    pub(super) fn slot_before(self, step: u64) -> Option<u64> {
        self.slots_before(step).checked_sub(1).map(|n| self.nth(n))
    }

    /// The first slot from `step` on.
    pub(super) fn slot_at_or_after(self, step: u64) -> u64 {
        self.nth(self.slots_before(step))
    }

    /// The step of slot number `n`.
    fn nth(self, n: u64) -> u64 {
        u64::from(self.offset) + n / self.burst64() * self.period64() + n % self.burst64() * self.gap64()
    }

    fn period64(self) -> u64 {
        self.period.get().into()
    }

    fn burst64(self) -> u64 {
        self.burst.get().into()
    }

    fn gap64(self) -> u64 {
        self.gap.get().into()
    }
}
