//! Delay of each direction, with its bound: from the offset of the edge's clock, which all samples of
//! some seconds bound together.

use std::time::Duration;

use corridor_probes::{
    ClockConfig, ClockGraph, HistogramError, Mono, Observed, Offset, Sample, wire::LinkEcho,
};

use super::distribution::Distribution;

/// A clock at the far end, as far as it is known to be one: the reflector's within one of our sessions.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Clock {
    pub session: u64,
    pub name: u16,
    /// How often it, or this machine's own, was seen to step.
    pub steps: u32,
}

/// Raw differences of one probe, each `received − sent` on the clocks of the two ends, in µs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Raw {
    /// When the echo came, and how long before that the probe went out.
    pub at: Mono,
    pub within: Duration,
    pub clock: Clock,
    pub up_us: i64,
    pub down_us: i64,
}

impl Raw {
    /// Of the echo that came at `at` in one of our sessions, after this machine's clock had stepped so often;
    /// none where its times are not to be trusted.
    pub fn of(session: u64, steps: u32, at: Mono, echo: &LinkEcho, sample: &Sample) -> Option<Self> {
        Some(Self {
            at,
            within: Duration::from_micros(u64::from(sample.rtt_us) + u64::from(echo.body.residence_us)),
            clock: Clock {
                session,
                name: echo.body.clock(),
                steps,
            },
            up_us: sample.up_us?,
            down_us: sample.down_us()?,
        })
    }
}

/// One-way delays in µs.
#[derive(Debug)]
pub struct OneWays {
    /// `None` is this machine's clock.
    graph: ClockGraph<Option<Clock>>,
    newest: Option<Clock>,
    /// Steps that samples have shown.
    steps: u32,
    pub up: Distribution,
    pub down: Distribution,
    /// The largest bound of any of them.
    pub bound_us: Option<u64>,
    last: Option<Offset>,
}

impl OneWays {
    pub fn new() -> Self {
        Self {
            graph: ClockGraph::new(ClockConfig::default()),
            newest: None,
            steps: 0,
            up: Distribution::new(),
            down: Distribution::new(),
            bound_us: None,
            last: None,
        }
    }

    /// Takes the samples of about a second together: what a later one tells of the clocks holds for
    /// those before it as well. Where they show that a clock stepped, those after it are of another one, by
    /// which they are called from then on.
    pub fn take(&mut self, samples: &mut [Raw]) -> Result<(), HistogramError> {
        let mut arrived: Vec<usize> = (0..samples.len()).collect();
        arrived.sort_by_key(|&i| samples[i].at);
        for &i in &arrived {
            let s = &mut samples[i];
            s.clock.steps += self.steps;
            if self.observe(s) == Observed::ClockStep {
                self.steps += 1;
                s.clock.steps += 1;
                self.observe(s);
            }
        }
        let (Some(&last), Some(there)) = (arrived.last(), self.newest) else {
            return Ok(());
        };
        let relation = self.graph.between(None, Some(there), samples[last].at);
        for s in &*samples {
            // Of a clock that is gone nothing is known any more.
            let Some(relation) = relation.filter(|_| s.clock == there) else {
                continue;
            };
            let offset = relation.over(s.at, s.within);
            self.up.record(s.up_us.saturating_sub(offset.estimate_us()))?;
            self.down.record(s.down_us.saturating_add(offset.estimate_us()))?;
            self.bound_us = self.bound_us.max(Some(offset.bound_us()));
            self.last = Some(offset);
        }
        Ok(())
    }

    fn observe(&mut self, s: &Raw) -> Observed {
        let there = Some(s.clock);
        if self.newest != there
            && let Some(old) = self.newest.replace(s.clock)
        {
            self.graph.forget(Some(old));
        }
        match self.graph.observe(None, there, s.up_us, s.at, s.within) {
            Observed::Consistent => self.graph.observe(there, None, s.down_us, s.at, s.within),
            step => step,
        }
    }

    /// How far the edge's monotonic clock was ahead of this machine's at the last sample, in µs.
    pub fn offset_us(&self) -> Option<i64> {
        self.last.map(Offset::estimate_us)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const CLOCK: Clock = Clock {
        session: 0,
        name: 1,
        steps: 0,
    };

    fn raw(at_ms: i64, clock: Clock, offset: i64, up: i64, down: i64) -> Raw {
        Raw {
            at: Mono::from_millis(at_ms),
            within: Duration::ZERO,
            clock,
            up_us: up + offset,
            down_us: down - offset,
        }
    }

    #[test]
    fn truth_is_within_the_bound_whatever_the_offset() {
        for offset in [0, -3_600_000_000, 7_000_000_000_000] {
            let mut ways = OneWays::new();
            // 30 ms up and 10 down, with queues up to 40 ms upwards.
            for second in 0..20 {
                let mut samples: Vec<_> = (0..50)
                    .map(|i| {
                        let queue = (i * 7_919 + second * 31) % 40_000;
                        raw(second * 1_000 + i * 20, CLOCK, offset, 30_000 + queue, 10_000)
                    })
                    .collect();
                ways.take(&mut samples).unwrap();
            }
            let bound = ways.bound_us.unwrap() as f64;
            assert!((10_000.0..45_000.0).contains(&bound), "{bound}");
            let (up, down) = (ways.up.figures().unwrap(), ways.down.figures().unwrap());
            assert!((up.min - 30.0).abs() * 1e3 <= bound, "{up:?}");
            assert!((down.p50 - 10.0).abs() * 1e3 <= bound, "{down:?}");
            assert!((ways.offset_us().unwrap() - offset).unsigned_abs() as f64 <= bound);
        }
    }

    #[test]
    fn another_clock_begins_anew() {
        let mut ways = OneWays::new();
        let other = Clock { name: 2, ..CLOCK };
        ways.take(&mut [raw(0, CLOCK, 1_000, 10, 10), raw(20, CLOCK, 1_000, 10, 10)])
            .unwrap();
        ways.take(&mut [raw(40, other, -1_000_000, 10, 10)]).unwrap();
        assert_eq!(ways.offset_us(), Some(-1_000_000));
        assert!(ways.bound_us.unwrap() <= 15, "{:?}", ways.bound_us);
        assert_eq!(ways.up.figures().unwrap().max, 0.01);
    }

    #[test]
    fn a_step_within_a_batch_makes_another_clock_of_it() {
        let mut ways = OneWays::new();
        let mut batch = |from: i64| {
            let offset = |i| if i < 25 { 0 } else { 1_000_000 };
            let mut samples: Vec<_> = (from..from + 50)
                .map(|i| raw(i * 20, CLOCK, offset(i), 10_000, 10_000))
                .collect();
            ways.take(&mut samples).unwrap();
            samples.iter().map(|s| s.clock.steps).collect::<Vec<_>>()
        };
        assert_eq!(batch(0), [[0; 25], [1; 25]].concat());
        assert_eq!(batch(50), [1; 50], "and so it stays");
        let figures = [ways.up.figures().unwrap(), ways.down.figures().unwrap()];
        assert!(
            figures
                .iter()
                .all(|f| (f.min - 10.0).abs() < 0.1 && (f.max - 10.0).abs() < 0.1),
            "{figures:?}"
        );
        assert!((ways.offset_us().unwrap() - 1_000_000).abs() <= 10_001);
    }

    #[test]
    fn nothing_is_unknown() {
        let mut ways = OneWays::new();
        ways.take(&mut []).unwrap();
        assert_eq!((ways.bound_us, ways.offset_us()), (None, None));
    }
}
