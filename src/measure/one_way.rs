//! Delay of each direction, with its bound: from the offset of the edge's clock, which all samples of
//! some seconds bound together.

use std::time::Duration;

use corridor_probes::{ClockConfig, ClockGraph, HistogramError, Mono, Offset, Sample, wire::LinkEcho};

use super::distribution::Distribution;

/// A clock at the far end, as far as it is known to be one: the reflector's within one of our sessions.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Clock {
    pub session: u64,
    pub name: u16,
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
    /// Of the echo that came at `at` in one of our sessions; none where its times are not to be trusted.
    pub fn of(session: u64, at: Mono, echo: &LinkEcho, sample: &Sample) -> Option<Self> {
        Some(Self {
            at,
            within: Duration::from_micros(u64::from(sample.rtt_us) + u64::from(echo.body.residence_us)),
            clock: Clock {
                session,
                name: echo.body.clock(),
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
            up: Distribution::new(),
            down: Distribution::new(),
            bound_us: None,
            last: None,
        }
    }

    /// Takes the samples of about a second together: what a later one tells of the clocks holds for
    /// those before it as well.
    pub fn take(&mut self, samples: &mut [Raw]) -> Result<(), HistogramError> {
        samples.sort_by_key(|s| s.at);
        for s in &*samples {
            let there = Some(s.clock);
            if self.newest != there
                && let Some(old) = self.newest.replace(s.clock)
            {
                self.graph.forget(Some(old));
            }
            self.graph.observe(None, there, s.up_us, s.at, s.within);
            self.graph.observe(there, None, s.down_us, s.at, s.within);
        }
        let (Some(last), Some(there)) = (samples.last(), self.newest) else {
            return Ok(());
        };
        let relation = self.graph.between(None, Some(there), last.at);
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

    /// How far the edge's monotonic clock was ahead of this machine's at the last sample, in µs.
    pub fn offset_us(&self) -> Option<i64> {
        self.last.map(Offset::estimate_us)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const CLOCK: Clock = Clock { session: 0, name: 1 };

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
    fn nothing_is_unknown() {
        let mut ways = OneWays::new();
        ways.take(&mut []).unwrap();
        assert_eq!((ways.bound_us, ways.offset_us()), (None, None));
    }
}
