//! Where drivers read time: the machine's clocks behind one seam, so that a simulated machine can have
//! an offset, drift, steps and sleep of its own.

use std::{fmt, future::Future, pin::Pin, time::Duration};

use corridor_probes::{Mono, Wall};

/// A machine's clocks. Implementations: [`SystemClock`], and the simulation's.
pub trait Clock: fmt::Debug + Send + Sync + 'static {
    /// The monotonic clock, which stops while the machine sleeps.
    fn mono(&self) -> Mono;

    /// A monotonic clock that goes on while the machine sleeps. A jump of this against [`Self::mono`]
    /// means that the machine slept.
    fn boot_time(&self) -> Mono;

    /// The wall clock, right or wrong.
    fn wall(&self) -> Wall;

    /// Completes at or after `at` on the monotonic clock. Timers have a grain of about 1 ms: read
    /// [`Self::mono`] afterwards, never take `at` for the time.
    fn sleep_until(&self, at: Mono) -> Pin<Box<dyn Future<Output = ()> + Send>>;

    /// The same, finer than timers where the machine can.
    fn sleep_finely_until(&self, at: Mono) -> Pin<Box<dyn Future<Output = ()> + Send>> {
        self.sleep_until(at)
    }
}

/// Sleeps for `d` on `clock`'s monotonic time.
pub fn sleep(clock: &dyn Clock, d: Duration) -> Pin<Box<dyn Future<Output = ()> + Send>> {
    clock.sleep_until(clock.mono() + d)
}

/// Notices that the machine slept: boot time runs ahead of monotonic time then.
#[derive(Debug)]
pub struct SleepWatch {
    /// The most that boot time was ahead, in nanoseconds. A reading may come out too low, where the machine
    /// stood still between the two clocks, but never too high.
    lead_ns: i64,
}

/// Sleeps are longer than this, and the readings of two clocks are closer together.
const SLEEP_MIN: Duration = Duration::from_millis(10);

impl SleepWatch {
    pub fn new(clock: &dyn Clock) -> Self {
        Self { lead_ns: lead(clock) }
    }

    /// For how long the machine slept since this was last asked.
    pub fn slept(&mut self, clock: &dyn Clock) -> Option<Duration> {
        let lead_ns = lead(clock);
        let more = u64::try_from(lead_ns.saturating_sub(self.lead_ns)).unwrap_or(0);
        self.lead_ns = self.lead_ns.max(lead_ns);
        Some(Duration::from_nanos(more)).filter(|&slept| slept >= SLEEP_MIN)
    }
}

fn lead(clock: &dyn Clock) -> i64 {
    // Boot time first: see the field.
    clock.boot_time().diff_nanos(clock.mono())
}

/// This machine's own clocks.
///
/// On Linux the monotonic clock is the raw one: NTP slews the other by up to 500 ppm while it puts the time
/// right, and what is worked out of clocks takes them for crystals.
#[derive(Debug)]
pub struct SystemClock {
    origin: Reading,
}

impl SystemClock {
    pub fn new() -> Self {
        Self {
            origin: Reading::now(),
        }
    }
}

impl Default for SystemClock {
    fn default() -> Self {
        Self::new()
    }
}

impl Clock for SystemClock {
    fn mono(&self) -> Mono {
        self.origin.mono()
    }

    fn boot_time(&self) -> Mono {
        self.origin.boot_time()
    }

    #[expect(clippy::disallowed_methods, reason = "this is the seam")]
    fn wall(&self) -> Wall {
        match std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH) {
            Ok(d) => Wall::from_micros(0) + d,
            Err(before) => Wall::from_micros(0) - before.duration(),
        }
    }

    fn sleep_until(&self, at: Mono) -> Pin<Box<dyn Future<Output = ()> + Send>> {
        Box::pin(self.origin.sleep_until(at))
    }

    /// Some 0.1 ms late: a thread sleeps the last stretch.
    fn sleep_finely_until(&self, at: Mono) -> Pin<Box<dyn Future<Output = ()> + Send>> {
        let origin = self.origin;
        Box::pin(async move {
            origin.sleep_until(at - FINE).await;
            let rest = at.since(origin.mono());
            if rest.is_zero() {
                return;
            }
            let slept = tokio::task::spawn_blocking(move || std::thread::sleep(rest)).await;
            if slept.is_err() {
                origin.sleep_until(at).await;
            }
        })
    }
}

/// The last stretch before a time, which the runtime's timers, with their grain of 1 ms, cannot hit.
const FINE: Duration = Duration::from_millis(3);

/// When a [`SystemClock`] was made.
#[cfg(target_os = "linux")]
#[derive(Debug, Clone, Copy)]
struct Reading {
    raw: Duration,
    /// How far boot time was ahead of the monotonic clock: for so long the machine had slept.
    slept: Duration,
}

#[cfg(target_os = "linux")]
impl Reading {
    fn now() -> Self {
        Self {
            raw: read(libc::CLOCK_MONOTONIC_RAW),
            slept: slept(),
        }
    }

    fn mono(self) -> Mono {
        Mono::ZERO + read(libc::CLOCK_MONOTONIC_RAW).saturating_sub(self.raw)
    }

    fn boot_time(self) -> Mono {
        let slept = slept();
        self.mono() + slept.saturating_sub(self.slept)
    }

    /// Timers run by the clock that is slewed.
    async fn sleep_until(self, at: Mono) {
        loop {
            let rest = at.since(self.mono());
            if rest.is_zero() {
                return;
            }
            tokio::time::sleep(rest).await;
        }
    }
}

/// Both of these are slewed alike. Boot time is read first: the difference may come out too low, where the
/// machine stands still between the two, and never too high.
#[cfg(target_os = "linux")]
fn slept() -> Duration {
    let boot = read(libc::CLOCK_BOOTTIME);
    boot.saturating_sub(read(libc::CLOCK_MONOTONIC))
}

#[cfg(target_os = "linux")]
#[expect(unsafe_code, reason = "std reads one monotonic clock, and not this one")]
fn read(clock: libc::clockid_t) -> Duration {
    let mut ts = libc::timespec {
        tv_sec: 0,
        tv_nsec: 0,
    };
    // SAFETY: `ts` is a valid timespec that outlives the call.
    let rc = unsafe { libc::clock_gettime(clock, &mut ts) };
    if rc != 0 {
        return Duration::ZERO;
    }
    Duration::new(
        u64::try_from(ts.tv_sec).unwrap_or(0),
        u32::try_from(ts.tv_nsec).unwrap_or(0),
    )
}

/// Other systems' monotonic clocks are not slewed. They count sleep already, or tell of it in other ways.
#[cfg(not(target_os = "linux"))]
#[derive(Debug, Clone, Copy)]
struct Reading(tokio::time::Instant);

#[cfg(not(target_os = "linux"))]
impl Reading {
    #[expect(clippy::disallowed_methods, reason = "this is the seam")]
    fn now() -> Self {
        Self(tokio::time::Instant::now())
    }

    #[expect(clippy::disallowed_methods, reason = "this is the seam")]
    fn mono(self) -> Mono {
        Mono::ZERO + tokio::time::Instant::now().duration_since(self.0)
    }

    fn boot_time(self) -> Mono {
        Mono::ZERO
    }

    async fn sleep_until(self, at: Mono) {
        tokio::time::sleep_until(self.0 + at.since(Mono::ZERO)).await;
    }
}

#[cfg(all(test, target_os = "linux"))]
mod tests {
    use super::*;

    #[tokio::test]
    async fn time_passes_on_all_clocks_and_sleeps_are_not_too_short() {
        let clock = SystemClock::new();
        let mut sleeps = SleepWatch::new(&clock);
        for wait in [0, 1, 20] {
            let at = clock.mono() + Duration::from_millis(wait);
            clock.sleep_until(at).await;
            assert!(clock.mono() >= at);
            clock.sleep_finely_until(at + FINE * 2).await;
            assert!(clock.mono() >= at + FINE * 2);
        }
        assert_eq!(sleeps.slept(&clock), None);
        let (boot, mono) = (clock.boot_time(), clock.mono());
        assert!(
            boot <= mono && mono.since(boot) < Duration::from_secs(1),
            "{boot} {mono}"
        );
    }
}
