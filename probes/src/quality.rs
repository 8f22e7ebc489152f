//! How a call sounds: the E-model of ITU-T G.107 (06/2015) with its default values, and what codecs
//! make of loss.

mod emodel;
mod play_out;

use std::time::Duration;

use serde::Serialize;

pub use play_out::{Heard, Losses, heard};

/// A codec as the E-model sees it.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct Codec {
    pub name: &'static str,
    /// Equipment impairment without loss.
    pub ie: f64,
    /// Robustness against random loss; more is better.
    pub bpl: f64,
    /// Framing, look-ahead and decoding.
    pub delay: Duration,
    /// Whether the figures have no ITU table behind them: a MOS from them is provisional.
    pub provisional: bool,
    pub source: &'static str,
}

const G711_DELAY: Duration = Duration::from_millis(20);
const OPUS_DELAY: Duration = Duration::from_micros(26_500);
const OPUS_SOURCE: &str = "one published measurement, its scale not stated";

/// G.711 without concealment, 20 ms packets.
pub const G711: Codec = Codec {
    name: "g711",
    ie: 0.0,
    bpl: 4.3,
    delay: G711_DELAY,
    provisional: false,
    source: "ITU-T G.113 Appendix I",
};
/// G.711 with the concealment of its Appendix I.
pub const G711_PLC: Codec = Codec {
    name: "g711-plc",
    bpl: 25.1,
    ..G711
};
/// Opus, narrowband at 11 kbit/s, 20 ms frames.
pub const OPUS_NB: Codec = Codec {
    name: "opus-nb-11k",
    ie: 2.03,
    bpl: 15.95,
    delay: OPUS_DELAY,
    provisional: true,
    source: OPUS_SOURCE,
};
/// Opus, wideband at 15 kbit/s.
pub const OPUS_WB: Codec = Codec {
    name: "opus-wb-15k",
    ie: 18.06,
    bpl: 18.74,
    ..OPUS_NB
};
/// Opus, super-wideband at 40 kbit/s.
pub const OPUS_SWB: Codec = Codec {
    name: "opus-swb-40k",
    ie: 10.67,
    bpl: 9.79,
    ..OPUS_NB
};
/// All profiles.
pub const CODECS: [Codec; 5] = [G711, G711_PLC, OPUS_NB, OPUS_WB, OPUS_SWB];

/// What the network and the ends do to the voice.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Conditions {
    /// Ta: from one's mouth to the other's ear ([`mouth_to_ear`]).
    pub mouth_to_ear: Duration,
    /// Share of packets lost or too late for the jitter buffer, 0 to 1.
    pub loss: f64,
    /// BurstR ([`crate::LossChain::burst_ratio`]); 1 where it is not known.
    pub burst_ratio: f64,
}

/// How people take a call (ITU-T G.109, G.107 Annex B).
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Satisfaction {
    /// R below 50.
    NotRecommended,
    NearlyAllDissatisfied,
    ManyDissatisfied,
    SomeDissatisfied,
    Satisfied,
    VerySatisfied,
}

/// Network, jitter buffer and codec make the whole way from mouth to ear.
pub fn mouth_to_ear(one_way: Duration, jitter_buffer: Duration, codec: &Codec) -> Duration {
    one_way.saturating_add(jitter_buffer).saturating_add(codec.delay)
}

/// The transmission rating R, at most 93.2; it may fall below 0.
pub fn r_factor(conditions: &Conditions, codec: &Codec) -> f64 {
    let ta_ms = conditions.mouth_to_ear.as_secs_f64() * 1_000.0;
    emodel::without_loss(ta_ms) - loss_impairment(conditions, codec)
}

/// MOS of an R (G.107 Annex B), 1 to 4.5.
pub fn mos(r: f64) -> f64 {
    if r <= 0.0 {
        return 1.0;
    }
    if r >= 100.0 {
        return 4.5;
    }
    // The cubic dips below 1 for the smallest R.
    (1.0 + 0.035 * r + 7e-6 * r * (r - 60.0) * (100.0 - r)).max(1.0)
}

pub fn satisfaction(r: f64) -> Satisfaction {
    match r {
        r if r >= 90.0 => Satisfaction::VerySatisfied,
        r if r >= 80.0 => Satisfaction::Satisfied,
        r if r >= 70.0 => Satisfaction::SomeDissatisfied,
        r if r >= 60.0 => Satisfaction::ManyDissatisfied,
        r if r >= 50.0 => Satisfaction::NearlyAllDissatisfied,
        _ => Satisfaction::NotRecommended,
    }
}

/// Ie,eff (G.107 §7.5).
fn loss_impairment(conditions: &Conditions, codec: &Codec) -> f64 {
    let percent = conditions.loss.clamp(0.0, 1.0) * 100.0;
    let burst_ratio = conditions.burst_ratio.max(1.0);
    codec.ie + (95.0 - codec.ie) * percent / (percent / burst_ratio + codec.bpl)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn r(ta_ms: u64, loss: f64, burst_ratio: f64, codec: &Codec) -> f64 {
        let conditions = Conditions {
            mouth_to_ear: Duration::from_millis(ta_ms),
            loss,
            burst_ratio,
        };
        r_factor(&conditions, codec)
    }

    fn close(got: f64, wanted: f64, by: f64) {
        assert!((got - wanted).abs() <= by, "{got} is not {wanted}");
    }

    #[test]
    fn all_defaults_give_the_golden_value() {
        close(r(0, 0.0, 1.0, &G711), 93.206, 0.0005);
        close(mos(r(0, 0.0, 1.0, &G711)), 4.4094, 0.00005);
    }

    #[test]
    fn delay_alone() {
        for (ta, wanted) in [(150, 89.5), (200, 85.8), (300, 72.7), (400, 62.2)] {
            close(r(ta, 0.0, 1.0, &G711), wanted, 0.05);
        }
    }

    #[test]
    fn loss_alone() {
        let best = r(0, 0.0, 1.0, &G711);
        for (codec, loss, burst_ratio, wanted) in [
            (&G711, 0.01, 1.0, 95.0 / 5.3),
            (&G711_PLC, 0.01, 1.0, 95.0 / 26.1),
            (&G711, 0.02, 2.0, 190.0 / 5.3),
            (&G711, 0.02, 0.1, 190.0 / 6.3),
            (&OPUS_NB, 0.05, 1.0, 2.03 + 92.97 * 5.0 / 20.95),
        ] {
            close(best - r(0, loss, burst_ratio, codec), wanted, 1e-9);
        }
        let provisional: Vec<_> = CODECS.iter().map(|c| c.provisional).collect();
        assert_eq!(provisional, [false, false, true, true, true]);
    }

    #[test]
    fn mos_by_its_bands() {
        for (r, wanted) in [
            (90.0, 4.34),
            (80.0, 4.03),
            (70.0, 3.60),
            (60.0, 3.10),
            (50.0, 2.58),
        ] {
            // The table of Annex B rounds some of them up.
            close(mos(r), wanted, 0.0065);
        }
        assert_eq!(
            (mos(-5.0), mos(0.0), mos(1.0), mos(100.0), mos(120.0)),
            (1.0, 1.0, 1.0, 4.5, 4.5)
        );
        assert_eq!(satisfaction(80.0), Satisfaction::Satisfied);
        assert_eq!(satisfaction(79.9), Satisfaction::SomeDissatisfied);
        assert_eq!(satisfaction(f64::NAN), Satisfaction::NotRecommended);
    }

    #[test]
    fn worse_is_never_better() {
        // Below 2 ms the model's talker echo turns slightly negative.
        for ta in 2..1_000 {
            assert!(
                r(ta + 1, 0.0, 1.0, &G711) <= r(ta, 0.0, 1.0, &G711) + 1e-9,
                "{ta}"
            );
        }
        let whole = mouth_to_ear(Duration::from_millis(50), Duration::from_millis(40), &OPUS_NB);
        assert_eq!(whole, Duration::from_micros(116_500));
        assert!(r(u64::MAX, 1.0, f64::MAX, &G711).is_finite());
    }
}
