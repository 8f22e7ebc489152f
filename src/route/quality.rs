//! Expected quality of speech over a route: the E-model's idea in its simplified form (ITU-T G.107; the
//! delay term by Cole and Rosenbluth). Only the ranking of routes rests on it.

use std::time::Duration;

/// Rating with all defaults and nothing impaired.
const BEST: f64 = 93.206;

/// Opus at 20 ms frames: frame, look-ahead and decoder.
const CODEC: Duration = Duration::from_micros(26_500);

/// Robustness of Opus to random loss, in percent (published measurement, narrow band).
const LOSS_ROBUSTNESS: f64 = 15.95;

/// Delay from which conversation suffers noticeably more, in ms mouth to ear.
const DELAY_KNEE_MS: f64 = 177.3;

/// Rating (R, 0 to 93.2; higher is better) from one-way network delay, the jitter buffer it needs, and
/// the share lost. Falls strictly with delay and with loss until it reaches 0.
pub fn rating(one_way: Duration, jitter_buffer: Duration, loss: f64) -> f64 {
    let ms = (one_way + jitter_buffer + CODEC).as_secs_f64() * 1e3;
    let delay = 0.024 * ms + 0.11 * (ms - DELAY_KNEE_MS).max(0.0);
    let percent = loss.clamp(0.0, 1.0) * 100.0;
    let loss = 95.0 * percent / (percent + LOSS_ROBUSTNESS);
    (BEST - delay - loss).max(0.0)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn r(network_ms: u64, loss: f64) -> f64 {
        rating(Duration::from_millis(network_ms), Duration::ZERO, loss)
    }

    #[test]
    fn is_near_the_full_model_to_300_ms() {
        // Mouth to ear, from the full model: 150 ms 89.5, 200 ms 85.8, 300 ms 72.7.
        for (mouth_to_ear_ms, full) in [(150.0, 89.5), (200.0, 85.8), (300.0, 72.7)] {
            let network = Duration::from_secs_f64((mouth_to_ear_ms - 26.5) / 1e3);
            let got = rating(network, Duration::ZERO, 0.0);
            assert!((got - full).abs() < 0.5, "{mouth_to_ear_ms}: {got}");
        }
    }

    #[test]
    fn loss_outweighs_delay_inside_the_budget() {
        assert!(
            r(100, 0.0) > r(10, 0.01),
            "90 ms cost less than one packet in a hundred"
        );
        assert!(r(10, 0.01) > r(300, 0.0), "but not 290");
        assert_eq!(r(5_000, 1.0), 0.0);
    }
}
