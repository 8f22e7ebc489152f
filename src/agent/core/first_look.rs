//! Idle, a link that has just come up is looked at and told of at once, whenever its turn in the minute comes:
//! what is not measured is not chosen. In class its turn comes every second.

use std::{collections::BTreeMap, time::Duration};

use corridor_probes::{EdgeId, Mono};

/// As long is it probed at [`corridor_probes::tiers::FIRST_LOOK`].
const LOOK: Duration = Duration::from_secs(1);
/// From then until what was seen is in a report: its window closes 3 s late, or 11 s where a probe of it went
/// unanswered.
const TOLD: Duration = Duration::from_secs(14);

/// Links that came up a moment ago.
#[derive(Debug, Default)]
pub struct FirstLooks {
    looks: BTreeMap<EdgeId, Look>,
}

/// Each until a moment.
#[derive(Debug, Clone, Copy)]
enum Look {
    Probed(Mono),
    Untold(Mono),
}

impl FirstLooks {
    pub fn came_up(&mut self, edge: EdgeId, now: Mono) {
        self.looks.insert(edge, Look::Probed(now + LOOK));
    }

    /// Lets time pass. Whether a link is to be probed otherwise from now on.
    pub fn pass(&mut self, now: Mono) -> bool {
        let mut changed = false;
        for look in self.looks.values_mut() {
            if let Look::Probed(until) = *look
                && until <= now
            {
                *look = Look::Untold(until + TOLD);
                changed = true;
            }
        }
        self.looks.retain(|_, look| look.until() > now);
        changed
    }

    pub fn is_probed(&self, edge: EdgeId) -> bool {
        matches!(self.looks.get(&edge), Some(Look::Probed(_)))
    }

    /// Whether there is something to be told soon.
    pub fn is_untold(&self) -> bool {
        !self.looks.is_empty()
    }

    pub fn next_wakeup(&self) -> Option<Mono> {
        self.looks.values().map(|look| look.until()).min()
    }
}

impl Look {
    fn until(self) -> Mono {
        match self {
            Self::Probed(until) | Self::Untold(until) => until,
        }
    }
}
