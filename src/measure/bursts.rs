//! Bursts of loss (RFC 3611 §4.7.2) of a sequence that is too long to keep.

use corridor_probes::{BurstsAndGaps, GMIN};

/// The same as [`BurstsAndGaps::of`], one packet at a time.
#[derive(Debug, Clone, Copy, Default)]
pub struct Bursts {
    packets: u64,
    lost: u64,
    /// Of the bursts that are over.
    over: BurstsAndGaps,
    /// The losses that may be a burst yet, or one that goes on.
    run: Option<Run>,
}

#[derive(Debug, Clone, Copy)]
struct Run {
    first: u64,
    last: u64,
    lost: u64,
}

impl Bursts {
    /// Takes the next packet in the order of sending.
    pub fn push(&mut self, lost: bool) {
        let at = self.packets;
        self.packets += 1;
        if !lost {
            return;
        }
        self.lost += 1;
        match &mut self.run {
            Some(run) if at - run.last <= u64::from(GMIN) => {
                run.last = at;
                run.lost += 1;
            }
            _ => {
                self.close_run();
                self.run = Some(Run {
                    first: at,
                    last: at,
                    lost: 1,
                });
            }
        }
    }

    fn close_run(&mut self) {
        if let Some(run) = self.run.take().filter(|r| r.lost > 1) {
            self.over.bursts = self.over.bursts.saturating_add(1);
            self.over.burst_packets += run.last - run.first + 1;
            self.over.burst_lost += run.lost;
        }
    }

    pub fn finish(mut self) -> BurstsAndGaps {
        self.close_run();
        BurstsAndGaps {
            gap_packets: self.packets - self.over.burst_packets,
            gap_lost: self.lost - self.over.burst_lost,
            ..self.over
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn agrees_with_the_definition(
            gaps in prop::collection::vec(prop_oneof![0usize..4, 14usize..20], 0..40),
            tail in 0usize..40,
        ) {
            let mut lost: Vec<bool> = Vec::new();
            for gap in gaps {
                lost.extend(std::iter::repeat_n(false, gap));
                lost.push(true);
            }
            lost.extend(std::iter::repeat_n(false, tail));
            let mut bursts = Bursts::default();
            lost.iter().for_each(|&l| bursts.push(l));
            prop_assert_eq!(bursts.finish(), BurstsAndGaps::of(&lost, GMIN));
        }
    }
}
