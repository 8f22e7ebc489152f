//! The jitter buffer: when the receiver plays what it gets, and what comes too late for that.
//!
//! **The model** is an adaptive buffer at its best: it plays every packet one time after it was said, that
//! time which makes the sum of all impairments least, by the delays that were measured (the criterion of
//! minimum overall impairment, Sun and Ifeachor, "New models for perceived voice quality prediction and
//! their applications in playout buffer optimization for VoIP networks", IEEE ICC 2004). What comes later
//! is discarded and counts as lost (Ppl of G.107 §7.5); what the buffer holds packets back for is part of
//! the way from mouth to ear (Ta). Real buffers adapt while they go and do a little worse.

use std::time::Duration;

use super::{Codec, Conditions, r_factor};

/// One direction of a call as it is heard.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Heard {
    /// The rating R.
    pub r: f64,
    /// Ta: network, buffer and codec.
    pub mouth_to_ear: Duration,
    /// How long the buffer holds back a packet of the least delay.
    pub buffer: Duration,
    /// Share of the packets that arrive which come too late to be played.
    pub discarded: f64,
}

/// What is lost on the way there, before the buffer.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Losses {
    /// Share of packets, 0 to 1.
    pub lost: f64,
    /// BurstR; 1 where it is not known.
    pub burst_ratio: f64,
}

impl Losses {
    /// With a share of what arrives discarded, each packet for itself, as delays are taken to be independent.
    ///
    /// Losses follow Gilbert's chain (p = L / BurstR into a loss, q = (1 - L) / BurstR out of it, G.107
    /// §7.5). A packet is missing that is lost or discarded; the chain of what is missing has p' and q' as the
    /// shares of changes in it.
    fn and_discarded(self, discarded: f64) -> Self {
        let Self { lost, burst_ratio } = self;
        let missing = lost + (1.0 - lost) * discarded;
        if discarded <= 0.0 || missing <= 0.0 {
            return self;
        }
        let (p, q) = (lost / burst_ratio, (1.0 - lost) / burst_ratio);
        let kept = 1.0 - discarded;
        let into = 1.0 - (1.0 - p) * kept;
        let out = kept * (lost * q + (1.0 - lost) * discarded * (1.0 - p)) / missing;
        Self {
            lost: missing,
            burst_ratio: if into + out > 0.0 {
                (1.0 / (into + out)).max(1.0)
            } else {
                1.0
            },
        }
    }
}

/// How a call is heard with the best buffer for it; none without delays.
///
/// `delays` are one-way delays in ascending order, each with the share (0 to 1) of arriving packets that
/// come within it: the last one's is 1.
pub fn heard(
    delays: impl IntoIterator<Item = (Duration, f64)>,
    losses: Losses,
    codec: &Codec,
) -> Option<Heard> {
    let mut least = None;
    let mut best: Option<Heard> = None;
    for (played, within) in delays {
        let least = *least.get_or_insert(played);
        let discarded = (1.0 - within).clamp(0.0, 1.0);
        let mouth_to_ear = played.saturating_add(codec.delay);
        let missing = losses.and_discarded(discarded);
        let r = r_factor(
            &Conditions {
                mouth_to_ear,
                loss: missing.lost,
                burst_ratio: missing.burst_ratio,
            },
            codec,
        );
        if best.is_none_or(|best| r > best.r) {
            best = Some(Heard {
                r,
                mouth_to_ear,
                buffer: played.saturating_sub(least),
                discarded,
            });
        }
    }
    best
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::quality::{G711, G711_PLC, OPUS_NB};

    const NONE: Losses = Losses {
        lost: 0.0,
        burst_ratio: 1.0,
    };

    /// Delays in ms, each as likely as the others.
    fn of(delays_ms: &[u64], losses: Losses, codec: &Codec) -> Heard {
        let n = delays_ms.len() as f64;
        let points = delays_ms.iter().zip(1..);
        heard(
            points.map(|(&ms, i)| (Duration::from_millis(ms), f64::from(i) / n)),
            losses,
            codec,
        )
        .unwrap()
    }

    #[test]
    fn without_variation_there_is_no_buffer() {
        assert_eq!(heard([], NONE, &G711), None);
        let steady = of(&[80; 50], NONE, &G711);
        assert_eq!((steady.buffer, steady.discarded), (Duration::ZERO, 0.0));
        assert_eq!(steady.mouth_to_ear, Duration::from_millis(100));
        assert!((steady.r - 90.9).abs() < 0.5, "{steady:?}");
    }

    #[test]
    fn little_jitter_is_waited_for_and_rare_spikes_are_not() {
        // 40 ms of jitter cost less delay than the packets are worth.
        let jitter: Vec<_> = (60..100).collect();
        let waits = of(&jitter, NONE, &OPUS_NB);
        assert_eq!((waits.buffer, waits.discarded), (Duration::from_millis(39), 0.0));
        // One in a hundred comes after 800 ms.
        let mut spikes = vec![60; 99];
        spikes.push(800);
        let lets_go = of(&spikes, NONE, &OPUS_NB);
        assert_eq!(lets_go.buffer, Duration::ZERO);
        assert!((lets_go.discarded - 0.01).abs() < 1e-12);
        // A fifth of them does: waiting is bad, and losing them worse.
        let fifth: Vec<_> = [60; 80].into_iter().chain([400; 20]).collect();
        assert_eq!(of(&fifth, NONE, &G711).discarded, 0.0);
    }

    #[test]
    fn discards_are_not_as_bursty_as_losses() {
        // 30 lost in a row of 30,000, and a twentieth discarded here and there.
        let bursty = Losses {
            lost: 0.001,
            burst_ratio: 30.0,
        };
        let both = bursty.and_discarded(0.05);
        assert!((both.lost - 0.050_95).abs() < 1e-5, "{both:?}");
        assert!((both.burst_ratio - 1.018).abs() < 1e-3, "{both:?}");
        assert_eq!(bursty.and_discarded(0.0), bursty);
        let random = Losses {
            lost: 0.2,
            burst_ratio: 1.0,
        };
        assert!((random.and_discarded(0.1).burst_ratio - 1.0).abs() < 1e-9);
        assert_eq!(NONE.and_discarded(1.0).lost, 1.0);
    }

    #[test]
    fn what_is_discarded_is_lost() {
        let spikes: Vec<_> = [60; 90].into_iter().chain([5_000; 10]).collect();
        let discarded = of(&spikes, Losses { lost: 0.2, ..NONE }, &G711_PLC);
        let lost = of(
            &[60],
            Losses {
                lost: 0.2 + 0.8 * 0.1,
                ..NONE
            },
            &G711_PLC,
        );
        assert!((discarded.discarded - 0.1).abs() < 1e-12);
        assert!((discarded.r - lost.r).abs() < 1e-9, "{discarded:?} {lost:?}");
    }
}
