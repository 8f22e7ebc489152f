//! A simulated machine's clocks: offset, drift, steps and sleep of its own, over tokio's clock.

use std::{
    future::Future,
    pin::Pin,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use corridor_probes::{Mono, Wall};
use tokio::time::Instant;

use crate::clock::Clock;

const PPB: i128 = 1_000_000_000;

/// The clocks of one simulated machine. Clones are the same machine.
///
/// Drift applies to all three clocks. While the machine sleeps, the monotonic clock stands still, boot
/// time and wall time go on, and timers that fall due fire after wake-up.
#[derive(Debug, Clone)]
pub struct SimClock {
    state: Arc<Mutex<State>>,
}

/// All readings follow from the last change (`anchor`) alone, so that reading often rounds nothing away.
#[derive(Debug)]
struct State {
    anchor: Instant,
    mono_ns: i64,
    boot_ns: i64,
    /// What the wall clock would show at boot time 0, in microseconds since 1970.
    wall_origin_us: i64,
    drift_ppb: i64,
    /// The machine fell asleep at `anchor` and wakes (or woke) then.
    sleep_end: Option<Instant>,
}

impl SimClock {
    /// A right clock: `wall` is what it shows now, and it does not drift.
    pub fn new(wall: Wall) -> Self {
        Self::with_drift(wall, 0)
    }

    /// A clock that runs fast (or, negative, slow) by `drift_ppb` parts in 10⁹; 1,000 is 1 ppm. Wall time
    /// starts at `wall`, so an offset is part of that.
    pub fn with_drift(wall: Wall, drift_ppb: i64) -> Self {
        Self {
            state: Arc::new(Mutex::new(State {
                anchor: now(),
                mono_ns: 0,
                boot_ns: 0,
                wall_origin_us: wall.as_micros(),
                drift_ppb: drift_ppb.clamp(-MAX_DRIFT_PPB, MAX_DRIFT_PPB),
                sleep_end: None,
            })),
        }
    }

    /// The same, with a monotonic clock that shows `mono` now: its origin means nothing.
    #[must_use]
    pub fn from_origin(self, mono: Mono) -> Self {
        self.lock().mono_ns = mono.as_nanos();
        self
    }

    /// Steps the wall clock by `us` microseconds; the other clocks do not notice.
    pub fn step_wall(&self, us: i64) {
        let mut state = self.lock();
        state.wall_origin_us = state.wall_origin_us.saturating_add(us);
    }

    /// Changes the drift from now on. Timers that are set already fire when they would have.
    pub fn set_drift(&self, drift_ppb: i64) {
        let now = now();
        let mut state = self.lock();
        if !state.asleep(now) {
            state.settle(now);
        }
        state.drift_ppb = drift_ppb.clamp(-MAX_DRIFT_PPB, MAX_DRIFT_PPB);
    }

    /// Suspends the machine for `d` from now; a machine that sleeps already sleeps until the later end.
    /// [`super::SimHost::sleep`] does this and tells the network.
    pub(super) fn sleep(&self, d: Duration) {
        let now = now();
        let mut state = self.lock();
        match state.sleep_end {
            Some(end) if end > now => state.sleep_end = Some(end.max(now + d)),
            _ => {
                state.settle(now);
                state.sleep_end = Some(now + d);
            }
        }
    }

    /// When the machine wakes up, while it sleeps.
    pub fn asleep_until(&self) -> Option<Instant> {
        let now = now();
        self.lock().sleep_end.filter(|end| *end > now)
    }

    /// The instant of tokio's clock at which the monotonic clock will show `at` (or the past).
    pub(super) fn instant_of(&self, at: Mono) -> Instant {
        self.lock().instant_of(at)
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// 10 %: no oscillator is worse, and the arithmetic stays far from its limits.
const MAX_DRIFT_PPB: i64 = 100_000_000;

#[expect(clippy::disallowed_methods, reason = "this is the simulated machine's seam")]
fn now() -> Instant {
    Instant::now()
}

impl State {
    fn asleep(&self, now: Instant) -> bool {
        self.sleep_end.is_some_and(|end| end > now)
    }

    /// Real nanoseconds to this machine's, by its drift.
    fn scaled(&self, d: Duration) -> i64 {
        let ns = d.as_nanos() as i128;
        (ns + ns * i128::from(self.drift_ppb) / PPB) as i64
    }

    fn mono(&self, now: Instant) -> i64 {
        let awake_since = self.sleep_end.unwrap_or(self.anchor);
        self.mono_ns + self.scaled(now.saturating_duration_since(awake_since))
    }

    fn boot(&self, now: Instant) -> i64 {
        self.boot_ns + self.scaled(now.saturating_duration_since(self.anchor))
    }

    /// Moves the anchor to `now`. Not while asleep: the anchor is when sleep began.
    fn settle(&mut self, now: Instant) {
        (self.mono_ns, self.boot_ns) = (self.mono(now), self.boot(now));
        self.anchor = now;
        self.sleep_end = None;
    }

    fn instant_of(&self, at: Mono) -> Instant {
        let from = self.sleep_end.unwrap_or(self.anchor);
        let need = i128::from(at.as_nanos()) - i128::from(self.mono_ns);
        if need <= 0 {
            return from;
        }
        let rate = PPB + i128::from(self.drift_ppb);
        let real = u64::try_from((need * PPB + rate - 1) / rate)
            .unwrap_or(FAR_NS)
            .min(FAR_NS);
        let mut d = Duration::from_nanos(real);
        // `scaled` rounds too, at most by one: `at` must be reached, and not a tick later than needed.
        if i128::from(self.scaled(d)) < need {
            d += Duration::from_nanos(1);
        }
        from + d
    }
}

/// About 30 years, as far as tokio itself looks ahead.
const FAR_NS: u64 = 86_400 * 365 * 30 * 1_000_000_000;

impl Clock for SimClock {
    fn mono(&self) -> Mono {
        let now = now();
        Mono::from_nanos(self.lock().mono(now))
    }

    fn boot_time(&self) -> Mono {
        let now = now();
        Mono::from_nanos(self.lock().boot(now))
    }

    fn wall(&self) -> Wall {
        let now = now();
        let state = self.lock();
        Wall::from_micros(state.wall_origin_us + state.boot(now).div_euclid(1_000))
    }

    fn sleep_until(&self, at: Mono) -> Pin<Box<dyn Future<Output = ()> + Send>> {
        let clock = self.clone();
        Box::pin(async move {
            while clock.mono() < at || clock.asleep_until().is_some() {
                let until = clock.instant_of(at).max(clock.asleep_until().unwrap_or_else(now));
                tokio::time::sleep_until(until).await;
            }
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::clock::sleep;

    const NOON: Wall = Wall::from_secs(1_800_000_000);

    #[tokio::test(start_paused = true)]
    async fn drift_is_exact_over_a_day_however_often_it_is_read() {
        let clock = SimClock::with_drift(NOON, 50_000);
        for _ in 0..86_400 {
            tokio::time::sleep(Duration::from_secs(1)).await;
            let _ = clock.mono();
        }
        assert_eq!(clock.mono(), Mono::from_millis(86_400_000 + 4_320));
        assert_eq!(clock.boot_time(), clock.mono());
        assert_eq!(clock.wall().since(NOON), Duration::from_millis(86_404_320));
    }

    #[tokio::test(start_paused = true)]
    async fn timers_reach_their_time_and_not_much_more() {
        for ppb in [-100_000_000, -37_123, -1, 0, 1, 99_999, 100_000_000] {
            let clock = SimClock::with_drift(NOON, ppb);
            for ms in [1, 7, 100, 12_345, 3_600_000] {
                let at = clock.mono() + Duration::from_millis(ms);
                clock.sleep_until(at).await;
                let over = clock.mono().diff_nanos(at);
                assert!(
                    (0..2_200_000).contains(&over),
                    "{ppb} ppb, {ms} ms: {over} ns over"
                );
            }
        }
    }

    #[tokio::test(start_paused = true)]
    async fn sleep_stops_the_monotonic_clock_and_its_timers_only() {
        let clock = SimClock::new(NOON);
        let timer = tokio::spawn({
            let clock = clock.clone();
            async move {
                sleep(&clock, Duration::from_secs(10)).await;
                (clock.mono(), clock.boot_time())
            }
        });
        tokio::time::sleep(Duration::from_secs(4)).await;
        clock.sleep(Duration::from_secs(3_600));
        tokio::time::sleep(Duration::from_secs(3_599)).await;
        assert_eq!(clock.mono(), Mono::from_millis(4_000));
        assert_eq!(clock.boot_time(), Mono::from_millis(3_603_000));
        assert_eq!(clock.wall().since(NOON), Duration::from_secs(3_603));
        assert!(clock.asleep_until().is_some());
        let (mono, boot) = timer.await.unwrap();
        assert_eq!(mono, Mono::from_millis(10_000));
        assert_eq!(boot, Mono::from_millis(3_610_000));
    }

    #[tokio::test(start_paused = true)]
    async fn a_timer_that_falls_due_in_sleep_fires_on_waking() {
        let clock = SimClock::new(NOON);
        let at = clock.mono();
        clock.sleep(Duration::from_secs(60));
        clock.sleep_until(at).await;
        assert_eq!(clock.boot_time(), Mono::from_millis(60_000));
        assert_eq!(clock.mono(), Mono::ZERO);
    }

    #[tokio::test(start_paused = true)]
    async fn sleeping_again_extends_and_steps_touch_the_wall_only() {
        let clock = SimClock::new(NOON);
        clock.sleep(Duration::from_secs(10));
        clock.sleep(Duration::from_secs(5));
        tokio::time::sleep(Duration::from_secs(6)).await;
        clock.sleep(Duration::from_secs(10));
        tokio::time::sleep(Duration::from_secs(14)).await;
        assert_eq!(clock.mono(), Mono::from_millis(4_000));
        assert_eq!(clock.boot_time(), Mono::from_millis(20_000));
        let (mono, boot) = (clock.mono(), clock.boot_time());
        clock.step_wall(-3_600_000_000);
        assert_eq!((clock.mono(), clock.boot_time()), (mono, boot));
        assert_eq!(clock.wall(), Wall::from_secs(1_800_000_000 + 20 - 3_600));
    }
}
