//! The E-model's parts that do not depend on loss: Ro − Is, and Id (G.107 §7.2–7.4), with the default
//! values of its Table 2 and the delays of a symmetric call (T = Ta, Tr = 2·Ta), in ms.

use std::sync::LazyLock;

const SLR: f64 = 8.0;
const RLR: f64 = 2.0;
const OLR: f64 = SLR + RLR;
const STMR: f64 = 15.0;
const DR: f64 = 3.0;
const LSTR: f64 = STMR + DR;
const DS: f64 = 3.0;
const TELR: f64 = 65.0;
const WEPL: f64 = 110.0;
const QDU: f64 = 1.0;
const NC: f64 = -70.0;
const NFOR: f64 = -64.0;
const PS: f64 = 35.0;
const PR: f64 = 35.0;
/// Sensitivity to delay, and the least delay that is noticed (ms).
const SENSITIVITY: f64 = 1.0;
const NOTICED_MS: f64 = 100.0;

/// Whole ms of Ta that are worked out once; beyond, each time.
const TABLE_MS: usize = 1_000;

/// Ro − Is − Id. To within 0.002 from 3 ms on, since between whole ms it is taken to be straight: routes
/// are rated by the million.
pub(super) fn without_loss(ta_ms: f64) -> f64 {
    static TABLE: LazyLock<Vec<f64>> = LazyLock::new(|| (0..=TABLE_MS).map(|ms| exact(ms as f64)).collect());
    let at = ta_ms.max(0.0);
    let below = at as usize;
    match (TABLE.get(below), TABLE.get(below.saturating_add(1))) {
        (Some(low), Some(high)) => low + (high - low) * (at - below as f64),
        _ => exact(at),
    }
}

fn exact(ta_ms: f64) -> f64 {
    base(ta_ms) - delay_impairment(ta_ms)
}

/// Ro − Is: noise, loudness, side tone, quantisation. Echo in the side tone makes it depend on delay.
fn base(ta_ms: f64) -> f64 {
    let ro = ro();
    ro - loudness() - side_tone(ta_ms) - quantisation(ro)
}

/// Id = Idte + Idle + Idd.
fn delay_impairment(ta_ms: f64) -> f64 {
    talker_echo(ta_ms) + listener_echo(2.0 * ta_ms) + absolute_delay(ta_ms)
}

fn decibels(power: f64) -> f64 {
    10.0 * power.log10()
}

fn power(decibels: f64) -> f64 {
    10f64.powf(decibels / 10.0)
}

/// No: all noise as the listener has it, in dBm0p.
fn noise() -> f64 {
    let sending_room = PS - SLR - DS - 100.0 + 0.004 * (PS - OLR - DS - 14.0).powi(2);
    let effective_room = PR + decibels(1.0 + power(10.0 - LSTR));
    let receiving_room = RLR - 121.0 + effective_room + 0.008 * (effective_room - 35.0).powi(2);
    let floor = NFOR + RLR;
    decibels(power(NC) + power(sending_room) + power(receiving_room) + power(floor))
}

fn ro() -> f64 {
    15.0 - 1.5 * (SLR + noise())
}

/// Iolr: too loud.
fn loudness() -> f64 {
    let x = OLR + 0.2 * (64.0 + noise() - RLR);
    20.0 * ((1.0 + (x / 8.0).powi(8)).powf(1.0 / 8.0) - x / 8.0)
}

/// Ist: a side tone that does not suit.
fn side_tone(t_ms: f64) -> f64 {
    let stmr = -decibels(power(-STMR) + (-t_ms / 4.0).exp() * power(-TELR));
    let part = |offset: f64, scale: f64, order: i32| {
        (1.0 + ((stmr + offset) / scale).powi(order)).powf(1.0 / f64::from(order))
    };
    12.0 * part(-13.0, 6.0, 8) - 28.0 * part(1.0, 19.4, 35) - 13.0 * part(-3.0, 33.0, 13) + 29.0
}

/// Iq: quantising distortion.
fn quantisation(ro: f64) -> f64 {
    let q = 37.0 - 15.0 * f64::log10(QDU);
    let g = 1.07 + 0.258 * q + 0.0602 * q * q;
    let y = (ro - 100.0) / 15.0 + 46.0 / 8.4 - g / 9.0;
    let z = 46.0 / 30.0 - g / 40.0;
    15.0 * (1.0 + 10f64.powf(y) + 10f64.powf(z)).log10()
}

/// Idte: one's own voice coming back.
fn talker_echo(t_ms: f64) -> f64 {
    let masked =
        TELR - 40.0 * ((1.0 + t_ms / 10.0) / (1.0 + t_ms / 150.0)).log10() + 6.0 * (-0.3 * t_ms * t_ms).exp();
    let re = 80.0 + 2.5 * (masked - 14.0);
    let roe = -1.5 * (noise() - RLR);
    let half = (roe - re) / 2.0;
    (half + half.hypot(10.0) - 1.0) * (1.0 - (-t_ms).exp())
}

/// Idle: the other's voice a second time.
fn listener_echo(tr_ms: f64) -> f64 {
    let rle = 10.5 * (WEPL + 7.0) * (tr_ms + 1.0).powf(-0.25);
    let half = (ro() - rle) / 2.0;
    half + half.hypot(13.0)
}

/// Idd: too long a delay even without echo.
fn absolute_delay(ta_ms: f64) -> f64 {
    if ta_ms <= NOTICED_MS {
        return 0.0;
    }
    let x = (ta_ms / NOTICED_MS).log2();
    let order = 6.0 * SENSITIVITY;
    let part = |x: f64| (1.0 + x.powf(order)).powf(1.0 / order);
    25.0 * (part(x) - 3.0 * part(x / 3.0) + 2.0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn absolute_delay_has_the_exponent_six_times_sensitivity() {
        assert_eq!(absolute_delay(100.0), 0.0);
        assert!(
            (absolute_delay(200.0) - 3.04).abs() < 0.01,
            "{}",
            absolute_delay(200.0)
        );
    }

    #[test]
    fn the_table_is_the_formula() {
        for tenths in 0..20_000 {
            let ms = f64::from(tenths) / 10.0 + 3.0;
            let off = (without_loss(ms) - exact(ms)).abs();
            assert!(off < 2e-3, "{ms} ms: {off}");
        }
        assert_eq!((without_loss(0.0), without_loss(-1.0)), (exact(0.0), exact(0.0)));
    }

    #[test]
    fn parts_at_their_defaults() {
        // G.107 gives No = −61.18 dBm0p and Ro = 94.77 for its default values.
        assert!((noise() + 61.18).abs() < 0.005, "{}", noise());
        assert!((ro() - 94.77).abs() < 0.005, "{}", ro());
    }
}
