//! What a measurement comes to.

use std::time::Duration;

use corridor_probes::{
    BurstCounter, BurstsAndGaps, HistogramError, Ledger, LossChain, Mono, PathTest, PathWatch, Sample,
    Window,
    quality::{Codec, mos},
    stamp::ReflectorKind,
};
use serde::Serialize;

use super::{
    distribution::Distribution,
    one_way::{OneWays, Raw},
    order::Order,
    variation::{PdvFigures, Variation},
    voice::{self, DelayFrom, Direction, Voice},
};
use crate::transport::ArrivalTimes;

/// A distribution in ms.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct Figures {
    pub min: f64,
    pub mean: f64,
    pub p50: f64,
    pub p95: f64,
    pub p99: f64,
    pub max: f64,
}

/// Gilbert's chain of one direction: how likely a loss is after a packet that came, and a packet that comes
/// after a loss.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct Gilbert {
    pub p: f64,
    pub q: f64,
}

/// The end of a measurement, as scripts get it: counts as they stand in a [`Ledger`], times in ms. What
/// is not known is left out.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Summary {
    pub slots: u32,
    pub sent: u32,
    pub slipped: u32,
    pub local_drops: u32,
    pub unconnected: u32,
    pub received: u32,
    pub lost_up: u32,
    pub lost_down: u32,
    pub late: u32,
    pub lost_unknown: u32,
    /// Echoes after this are late (RFC 7680 §2.8.2: a loss figure is told with its threshold).
    pub tmax_ms: f64,
    /// RFC 4737 §3.
    pub reordered_up: u32,
    pub reordered_down: u32,
    /// RFC 4737 §4.2: how many packets came before the most overtaken one that were sent after it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub reorder_extent_up: Option<u32>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub reorder_extent_down: Option<u32>,
    pub stalled: u32,
    pub excluded: u32,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub rtt_ms: Option<Figures>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub owd_up_ms: Option<Figures>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub owd_down_ms: Option<Figures>,
    /// RFC 5481 §4.1, signed.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub ipdv_up_ms: Option<Figures>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub ipdv_down_ms: Option<Figures>,
    /// How far any one-way delay may be off.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub owd_error_ms: Option<f64>,
    /// How far the edge's monotonic clock is ahead of this machine's.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub clock_offset_ms: Option<f64>,
    /// RFC 3550, as it stood at the end.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub jitter_up_ms: Option<f64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub jitter_down_ms: Option<f64>,
    /// RFC 5481 §4.2, against the least delay of the path, anew every minute.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub pdv_up_p99_ms: Option<f64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub pdv_down_p99_ms: Option<f64>,
    /// The same, of thousands of packets only.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub pdv_up_p999_ms: Option<f64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub pdv_down_p999_ms: Option<f64>,
    /// Proven changes of path.
    pub path_changes: u32,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub gilbert_up: Option<Gilbert>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub gilbert_down: Option<Gilbert>,
    /// Of the direction that lost more; none without loss.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub burst_ratio: Option<f64>,
    /// Of the worse direction.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub mos: Option<f64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub r_factor: Option<f64>,
    /// Of that direction: the way from mouth to ear, where the network's part of it is known from, what the
    /// jitter buffer adds, and the share of packets that come too late for it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub mouth_to_ear_ms: Option<f64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub mouth_to_ear_from: Option<DelayFrom>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub jitter_buffer_ms: Option<f64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub discarded: Option<f64>,
    pub codec: &'static str,
    /// Who says when answers came here.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub arrival_times: Option<ArrivalTimes>,
    /// Packets that the network delivered here twice.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub duplicates_down: Option<u64>,
    /// The media stream whose packets were sent.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub profile: Option<&'static str>,
    /// Whether the codec's figures have no ITU table behind them, so that MOS and R are provisional.
    pub codec_provisional: bool,
    pub codec_source: &'static str,
    /// Of a STAMP reflector that has answered.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub reflector: Option<ReflectorKind>,
    /// Of the round trip: what did not come back in time is lost.
    #[serde(skip)]
    pub bursts: BurstsAndGaps,
}

impl Figures {
    /// Of values in µs, to a tenth of one.
    pub(super) fn from_us(min: f64, mean: f64, p50: f64, p95: f64, p99: f64, max: f64) -> Self {
        let [min, mean, p50, p95, p99, max] = [min, mean, p50, p95, p99, max].map(ms);
        Self {
            min,
            mean,
            p50,
            p95,
            p99,
            max,
        }
    }
}

impl Summary {
    /// Whether the two sums hold that make a ledger.
    pub fn adds_up(&self) -> bool {
        let sum = |of: &[u32]| of.iter().map(|&n| u64::from(n)).sum::<u64>();
        let slots = [self.sent, self.slipped, self.local_drops, self.unconnected];
        let sent = [
            self.received,
            self.lost_up,
            self.lost_down,
            self.late,
            self.lost_unknown,
        ];
        sum(&slots) == u64::from(self.slots) && sum(&sent) == u64::from(self.sent)
    }
}

/// Everything that is summed up on the way.
#[derive(Debug)]
pub struct Sums {
    pub ledger: Ledger,
    pub bursts: BurstCounter,
    pub one_ways: OneWays,
    pub order: Order,
    /// Of the late ones, by their way up.
    late_up: u32,
    chain_up: LossChain,
    chain_down: LossChain,
    jitter_up_us: Option<u32>,
    jitter_down_us: Option<u32>,
    rtt: Distribution,
    up: Variation,
    down: Variation,
    path: PathWatch,
    path_changes: u32,
}

impl Default for Sums {
    fn default() -> Self {
        Self {
            ledger: Ledger::default(),
            bursts: BurstCounter::default(),
            one_ways: OneWays::new(),
            order: Order::default(),
            late_up: 0,
            chain_up: LossChain::default(),
            chain_down: LossChain::default(),
            jitter_up_us: None,
            jitter_down_us: None,
            rtt: Distribution::new(),
            up: Variation::new(),
            down: Variation::new(),
            path: PathWatch::new(PathTest::default()),
            path_changes: 0,
        }
    }
}

impl Sums {
    /// Takes the next window's counts.
    pub fn window(&mut self, window: &Window) {
        self.ledger += window.ledger;
        self.late_up = self.late_up.saturating_add(window.late_up);
        self.chain_up.join(&window.chain_up);
        self.chain_down.join(&window.chain_down);
        self.jitter_up_us = window.jitter_up_us.or(self.jitter_up_us);
        self.jitter_down_us = window.jitter_down_us.or(self.jitter_down_us);
    }

    /// Takes the samples of the next window in the order of sending, each with when its slot was.
    pub fn samples(&mut self, samples: &[(Mono, Sample)], raws: &mut [Raw]) -> Result<(), HistogramError> {
        // First of all: it finds out where a clock has stepped.
        self.one_ways.take(raws)?;
        for ((slot, sample), raw) in samples.iter().zip(&*raws) {
            self.sample(*slot, sample, raw)?;
        }
        Ok(())
    }

    fn sample(&mut self, slot: Mono, sample: &Sample, raw: &Raw) -> Result<(), HistogramError> {
        self.rtt.record(sample.rtt_us.into())?;
        self.up.push(raw.clock, sample.seq, slot, raw.up_us)?;
        self.down.push(raw.clock, sample.seq, slot, raw.down_us)?;
        if let Some(change) = self.path.push(slot, sample.rtt_us) {
            self.path_changes += 1;
            // Which direction's path it was, round trips do not tell; anew, the other's least is soon found.
            self.up.path_changed(change.since)?;
            self.down.path_changed(change.since)?;
        }
        Ok(())
    }

    pub fn summary(mut self, codec: &Codec, tmax: Duration) -> Result<Summary, HistogramError> {
        let l = self.ledger;
        let voice = self.quality(codec);
        let heard = voice.map(|v| v.heard);
        let (up, down) = (self.up.pdv_us()?, self.down.pdv_us()?);
        let pdv = |of: Option<PdvFigures>| of.map(|f| ms(f.p99));
        let high = |of: Option<PdvFigures>| of.and_then(|f| f.p999).map(ms);
        let (reorder_extent_up, reorder_extent_down) = self.order.largest_extents();
        Ok(Summary {
            slots: l.slots,
            sent: l.sent,
            slipped: l.slipped,
            local_drops: l.local_drops,
            unconnected: l.unconnected,
            received: l.received,
            lost_up: l.lost_up,
            lost_down: l.lost_down,
            late: l.late,
            lost_unknown: l.lost_unknown,
            tmax_ms: tmax.as_secs_f64() * 1e3,
            reordered_up: l.reordered_up,
            reordered_down: l.reordered_down,
            reorder_extent_up,
            reorder_extent_down,
            stalled: l.stalled,
            excluded: l.excluded,
            rtt_ms: self.rtt.figures(),
            owd_up_ms: self.one_ways.up.figures(),
            owd_down_ms: self.one_ways.down.figures(),
            ipdv_up_ms: self.up.ipdv.figures(),
            ipdv_down_ms: self.down.ipdv.figures(),
            owd_error_ms: self.one_ways.bound_us.map(|us| ms(us as f64)),
            clock_offset_ms: self.one_ways.offset_us().map(|us| ms(us as f64)),
            jitter_up_ms: self.jitter_up_us.map(|us| ms(us.into())),
            jitter_down_ms: self.jitter_down_us.map(|us| ms(us.into())),
            pdv_up_p99_ms: pdv(up),
            pdv_down_p99_ms: pdv(down),
            pdv_up_p999_ms: high(up),
            pdv_down_p999_ms: high(down),
            path_changes: self.path_changes,
            gilbert_up: gilbert(&self.chain_up),
            gilbert_down: gilbert(&self.chain_down),
            burst_ratio: self.burst_ratio().map(hundredths),
            mos: heard.map(|h| hundredths(mos(h.r))),
            // The scale begins at 0; the sum of impairments may be more.
            r_factor: heard.map(|h| hundredths(h.r.max(0.0))),
            mouth_to_ear_ms: heard.map(|h| ms(h.mouth_to_ear.as_secs_f64() * 1e6)),
            mouth_to_ear_from: voice.map(|v| v.delay_from),
            jitter_buffer_ms: heard.map(|h| ms(h.buffer.as_secs_f64() * 1e6)),
            discarded: heard.map(|h| (h.discarded * 1e4).round() / 1e4),
            codec: codec.name,
            arrival_times: None,
            duplicates_down: None,
            profile: None,
            codec_provisional: codec.provisional,
            codec_source: codec.source,
            reflector: None,
            bursts: self.bursts.finish(),
        })
    }

    fn burst_ratio(&self) -> Option<f64> {
        let (up, down) = (self.chain_up.burst_ratio(), self.chain_down.burst_ratio());
        let [lost_up, lost_down] = self.missing();
        if lost_up >= lost_down {
            up.or(down)
        } else {
            down.or(up)
        }
    }

    /// What did not come in time for want of each direction: lost there, or late by it.
    fn missing(&self) -> [u32; 2] {
        let (l, late_up) = (self.ledger, self.late_up.min(self.ledger.late));
        [
            l.lost_up.saturating_add(late_up),
            l.lost_down.saturating_add(l.late - late_up),
        ]
    }

    fn quality(&self, codec: &Codec) -> Option<Voice> {
        let l = self.ledger;
        let bound = self.one_ways.bound_us? as f64;
        let direction = |delays, lost: u32, of: u32, chain: &LossChain| {
            let lost = f64::from(lost) + f64::from(l.lost_unknown);
            Direction {
                delays,
                bound,
                loss: (lost / f64::from(of.max(1))).min(1.0),
                burst_ratio: chain.burst_ratio(),
            }
        };
        let [lost_up, lost_down] = self.missing();
        let up = direction(&self.one_ways.up, lost_up, l.sent, &self.chain_up);
        let came_up = l.sent.saturating_sub(lost_up);
        let down = direction(&self.one_ways.down, lost_down, came_up, &self.chain_down);
        voice::quality(&[up, down], self.rtt.percentile_us(50.0)?, codec)
    }
}

fn gilbert(chain: &LossChain) -> Option<Gilbert> {
    let round = |v: f64| (v * 1e6).round() / 1e6;
    Some(Gilbert {
        p: round(chain.p()?),
        q: round(chain.q()?),
    })
}

/// µs to ms, to a tenth of a µs.
fn ms(us: f64) -> f64 {
    (us * 10.0).round() / 10_000.0
}

fn hundredths(v: f64) -> f64 {
    (v * 100.0).round() / 100.0
}
