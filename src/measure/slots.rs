//! The slots of a measurement: an even grid, or the packets of a media stream.

use std::num::NonZeroU32;

use corridor_probes::{Due, Mono, Pattern, Schedule, Timetable};

use super::plan::Plan;

/// When each probe is sent.
#[derive(Debug)]
pub enum Slots {
    Even(Schedule<()>),
    Profile(Timetable),
}

impl Slots {
    /// The slots of `plan`, from `start` on.
    pub fn new(plan: &Plan, start: Mono) -> Self {
        match plan.profile {
            Some(profile) => Self::Profile(Timetable::new(profile, start)),
            None => {
                let mut schedule = Schedule::new(start, std::time::Duration::ZERO, plan.interval);
                schedule.set((), Pattern::every(NonZeroU32::MIN), start);
                Self::Even(schedule)
            }
        }
    }

    pub fn next_wakeup(&self) -> Option<Mono> {
        match self {
            Self::Even(schedule) => schedule.next_wakeup(),
            Self::Profile(table) => Some(table.next_wakeup()),
        }
    }

    /// Appends what is due: missed slots, and at most one to send.
    pub fn poll(&mut self, now: Mono, due: &mut Vec<Due<()>>) {
        match self {
            Self::Even(schedule) => schedule.poll(now, due),
            Self::Profile(table) => table.poll(now, due),
        }
    }

    /// Bytes of the probe of the slot that was due last.
    pub fn size(&self, plan: &Plan) -> usize {
        match self {
            Self::Even(_) => plan.size,
            Self::Profile(table) => table.size(),
        }
    }
}
