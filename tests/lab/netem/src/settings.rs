//! What one direction of a link (or of a node's access) does to packets, as people write it: in TOML,
//! in JSON over the control socket, and as `key=value` words.

use std::{fmt, num::NonZeroU64, str::FromStr, time::Duration};

use serde::{Deserialize, Serialize};

use crate::model::{Impairment, Jitter, Loss, Rate, Reorder, Shape};

/// Delays above this are a slip of the unit.
const MAX_MS: f64 = 600_000.0;
/// How far behind a packet chosen for reordering falls unless `reorder_ms` says otherwise.
const DEFAULT_REORDER_MS: f64 = 10.0;
/// The queue before a rate limit unless `queue_bytes` says otherwise: 43 full packets.
const DEFAULT_QUEUE_BYTES: u64 = 64 * 1024;

/// Impairments of one direction. What is absent is taken from the settings underneath (a link's from
/// the file's `default`, a change at run time from what was set before), and at the bottom is none.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Settings {
    /// One-way delay, ms.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub delay_ms: Option<f64>,
    /// Spread of the delay, ms: half the width (uniform), the standard deviation (normal), or twice
    /// the mean of what is added (pareto).
    #[serde(skip_serializing_if = "Option::is_none")]
    pub jitter_ms: Option<f64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub jitter_shape: Option<Shape>,
    /// Whether jitter may let a packet overtake an earlier one. Off by default.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub jitter_reorders: Option<bool>,
    /// Share of packets lost, 0 to 1.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub loss: Option<f64>,
    /// Mean length of a run of losses, packets: losses then follow Gilbert's model. 0 makes them independent.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub loss_burst: Option<f64>,
    /// Share of packets held back by `reorder_ms`, so that later ones overtake them.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub reorder: Option<f64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub reorder_ms: Option<f64>,
    /// Share of packets that arrive twice.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub duplicate: Option<f64>,
    /// Rate limit in kbit/s of IP bytes; 0 is none.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub rate_kbit: Option<f64>,
    /// Bytes that may wait for the rate limit; what finds the queue full is lost.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub queue_bytes: Option<u64>,
    /// Larger IP packets are lost without a word, as behind a filter that eats ICMP; 0 is no limit.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub mtu: Option<u16>,
    /// Everything is lost.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub blackhole: Option<bool>,
}

/// A setting that means nothing.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
pub enum SettingsError {
    #[error("{key} = {value} is outside {low}..={high}")]
    OutOfRange {
        key: &'static str,
        value: f64,
        low: f64,
        high: f64,
    },
    #[error("loss = {loss} cannot come in bursts of {burst} packets on average")]
    ImpossibleBurst { loss: f64, burst: f64 },
    #[error("`{0}` is not key=value")]
    NotAPair(String),
    #[error("{0}")]
    Unreadable(String),
}

impl Settings {
    /// These settings, with those of `base` where they say nothing.
    #[must_use]
    pub fn over(&self, base: &Self) -> Self {
        Self {
            delay_ms: self.delay_ms.or(base.delay_ms),
            jitter_ms: self.jitter_ms.or(base.jitter_ms),
            jitter_shape: self.jitter_shape.or(base.jitter_shape),
            jitter_reorders: self.jitter_reorders.or(base.jitter_reorders),
            loss: self.loss.or(base.loss),
            loss_burst: self.loss_burst.or(base.loss_burst),
            reorder: self.reorder.or(base.reorder),
            reorder_ms: self.reorder_ms.or(base.reorder_ms),
            duplicate: self.duplicate.or(base.duplicate),
            rate_kbit: self.rate_kbit.or(base.rate_kbit),
            queue_bytes: self.queue_bytes.or(base.queue_bytes),
            mtu: self.mtu.or(base.mtu),
            blackhole: self.blackhole.or(base.blackhole),
        }
    }

    /// What these settings mean, or everything that is wrong with them.
    pub fn impairment(&self) -> Result<Impairment, Vec<SettingsError>> {
        let mut errors = Vec::new();
        let mut within = |key, value: Option<f64>, high: f64| {
            let value = value.unwrap_or(0.0);
            if (0.0..=high).contains(&value) {
                return value;
            }
            errors.push(SettingsError::OutOfRange {
                key,
                value,
                low: 0.0,
                high,
            });
            0.0
        };
        let delay = within("delay_ms", self.delay_ms, MAX_MS);
        let jitter = within("jitter_ms", self.jitter_ms, MAX_MS);
        let loss = within("loss", self.loss, 1.0);
        let burst = within("loss_burst", self.loss_burst, 1e6);
        let reorder = within("reorder", self.reorder, 1.0);
        let reorder_ms = within("reorder_ms", self.reorder_ms.or(Some(DEFAULT_REORDER_MS)), MAX_MS);
        let duplicate = within("duplicate", self.duplicate, 1.0);
        let rate_kbit = within("rate_kbit", self.rate_kbit, 1e9);
        let loss = match Loss::new(loss, burst) {
            Some(loss) => loss,
            None => {
                errors.push(SettingsError::ImpossibleBurst { loss, burst });
                Loss::None
            }
        };
        if !errors.is_empty() {
            return Err(errors);
        }
        Ok(Impairment {
            delay: from_ms(delay),
            jitter: (jitter > 0.0).then(|| Jitter {
                spread: from_ms(jitter),
                shape: self.jitter_shape.unwrap_or_default(),
                reorders: self.jitter_reorders.unwrap_or(false),
            }),
            loss,
            reorder: (reorder > 0.0).then(|| Reorder {
                share: reorder,
                by: from_ms(reorder_ms),
            }),
            duplicate,
            rate: NonZeroU64::new((rate_kbit * 1_000.0) as u64).map(|bits_per_s| Rate {
                bits_per_s,
                queue_bytes: self.queue_bytes.unwrap_or(DEFAULT_QUEUE_BYTES),
            }),
            mtu: self.mtu.filter(|&mtu| mtu > 0),
            blackhole: self.blackhole.unwrap_or(false),
        })
    }
}

fn from_ms(ms: f64) -> Duration {
    Duration::from_secs_f64(ms / 1_000.0)
}

/// Reads `delay_ms=20 loss=0.01 jitter_shape=normal`.
impl FromStr for Settings {
    type Err = SettingsError;

    fn from_str(words: &str) -> Result<Self, Self::Err> {
        let mut object = serde_json::Map::new();
        for word in words.split_whitespace() {
            let (key, value) = word
                .split_once('=')
                .ok_or_else(|| SettingsError::NotAPair(word.to_owned()))?;
            let value = serde_json::from_str(value).unwrap_or_else(|_| value.into());
            object.insert(key.to_owned(), value);
        }
        serde_json::from_value(object.into()).map_err(|e| SettingsError::Unreadable(e.to_string()))
    }
}

/// The form that [`FromStr`] reads.
impl fmt::Display for Settings {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let json = serde_json::to_value(self).map_err(|_| fmt::Error)?;
        let Some(object) = json.as_object().filter(|object| !object.is_empty()) else {
            return f.write_str("clear");
        };
        for (i, (key, value)) in object.iter().enumerate() {
            let space = if i > 0 { " " } else { "" };
            match value.as_str() {
                Some(text) => write!(f, "{space}{key}={text}")?,
                None => write!(f, "{space}{key}={value}")?,
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_and_typed_meaning() {
        let s: Settings =
            "delay_ms=20.5 jitter_ms=3 jitter_shape=pareto loss=0.02 loss_burst=4 rate_kbit=512 mtu=1280"
                .parse()
                .unwrap();
        assert_eq!(s.to_string().parse::<Settings>().unwrap(), s);
        let i = s.impairment().unwrap();
        assert_eq!(i.delay, Duration::from_micros(20_500));
        assert_eq!(
            i.jitter,
            Some(Jitter {
                spread: Duration::from_millis(3),
                shape: Shape::Pareto,
                reorders: false
            })
        );
        assert_eq!(
            i.rate,
            Some(Rate {
                bits_per_s: NonZeroU64::new(512_000).unwrap(),
                queue_bytes: DEFAULT_QUEUE_BYTES
            })
        );
        assert_eq!(i.mtu, Some(1280));
    }

    #[test]
    fn later_settings_win_and_zero_takes_back() {
        let base: Settings = "delay_ms=20 rate_kbit=100 mtu=1280 loss=0.1".parse().unwrap();
        let patch: Settings = "rate_kbit=0 mtu=0 loss=0".parse().unwrap();
        let i = patch.over(&base).impairment().unwrap();
        assert_eq!(
            (i.delay, i.rate, i.mtu, i.loss),
            (Duration::from_millis(20), None, None, Loss::None)
        );
    }

    #[test]
    fn all_errors_at_once() {
        let s: Settings = "delay_ms=-1 loss=1.5 duplicate=2".parse().unwrap();
        assert_eq!(s.impairment().unwrap_err().len(), 3);
        let s: Settings = "loss=0.9 loss_burst=2".parse().unwrap();
        assert_eq!(
            s.impairment().unwrap_err(),
            [SettingsError::ImpossibleBurst {
                loss: 0.9,
                burst: 2.0
            }]
        );
        let nan = Settings {
            delay_ms: Some(f64::NAN),
            ..Settings::default()
        };
        assert!(nan.impairment().is_err());
    }

    #[test]
    fn unknown_words_are_refused() {
        for words in ["dealy_ms=3", "delay_ms", "delay_ms=fast", "jitter_shape=round"] {
            assert!(words.parse::<Settings>().is_err(), "{words}");
        }
    }
}
