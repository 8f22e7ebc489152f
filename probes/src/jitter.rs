//! Interarrival jitter (RFC 3550 §6.4.1).

/// The running estimate of one direction. Transit times are fed in order of arrival; they may be raw
/// differences between two clocks, since only their changes count.
#[derive(Debug, Clone, Copy, PartialEq, Default)]
pub struct Jitter {
    last_us: Option<i64>,
    estimate_us: Option<f64>,
}

impl Jitter {
    /// Takes the transit time of the next packet, in µs.
    pub fn push(&mut self, transit_us: i64) {
        if let Some(last) = self.last_us.replace(transit_us) {
            let d = transit_us.saturating_sub(last).unsigned_abs() as f64;
            let j = self.estimate_us.unwrap_or(0.0);
            self.estimate_us = Some(j + (d - j) / 16.0);
        }
    }

    /// The next transit time is on another clock: it is compared with nothing.
    pub fn forget_clock(&mut self) {
        self.last_us = None;
    }

    /// The estimate in µs; none before the second packet.
    pub fn estimate_us(&self) -> Option<f64> {
        self.estimate_us
    }

    /// The estimate in whole µs.
    pub fn rounded_us(&self) -> Option<u32> {
        self.estimate_us.map(|j| j.round() as u32)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn after(transits: &[i64]) -> Option<f64> {
        let mut j = Jitter::default();
        transits.iter().for_each(|&t| j.push(t));
        j.estimate_us()
    }

    #[test]
    fn follows_the_recurrence() {
        let table: [(&[i64], Option<f64>); 6] = [
            (&[], None),
            (&[5], None),
            (&[5, 5], Some(0.0)),
            (&[0, 16], Some(1.0)),
            (&[16, 0], Some(1.0)),
            (&[0, 16, 0], Some(1.0 + 15.0 / 16.0)),
        ];
        for (transits, wanted) in table {
            assert_eq!(after(transits), wanted, "{transits:?}");
        }
    }

    #[test]
    fn a_clock_offset_changes_nothing_and_a_new_clock_is_no_jitter() {
        assert_eq!(after(&[0, 16, 4]), after(&[1_000_000, 1_000_016, 1_000_004]));
        let mut j = Jitter::default();
        j.push(0);
        j.push(16);
        j.forget_clock();
        j.push(i64::MAX);
        assert_eq!(j.estimate_us(), Some(1.0));
        j.push(i64::MIN);
        assert!(j.rounded_us().is_some());
    }
}
