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
#[derive(Debug)]
pub struct SystemClock {
    origin: tokio::time::Instant,
    origin_boot: Duration,
}

impl SystemClock {
    #[expect(clippy::disallowed_methods, reason = "this is the seam")]
    pub fn new() -> Self {
        Self {
            origin: tokio::time::Instant::now(),
            origin_boot: boot_clock(),
        }
    }
}

impl Default for SystemClock {
    fn default() -> Self {
        Self::new()
    }
}

impl Clock for SystemClock {
    #[expect(clippy::disallowed_methods, reason = "this is the seam")]
    fn mono(&self) -> Mono {
        Mono::ZERO + tokio::time::Instant::now().duration_since(self.origin)
    }

    fn boot_time(&self) -> Mono {
        Mono::ZERO + boot_clock().saturating_sub(self.origin_boot)
    }

    #[expect(clippy::disallowed_methods, reason = "this is the seam")]
    fn wall(&self) -> Wall {
        match std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH) {
            Ok(d) => Wall::from_micros(0) + d,
            Err(before) => Wall::from_micros(0) - before.duration(),
        }
    }

    fn sleep_until(&self, at: Mono) -> Pin<Box<dyn Future<Output = ()> + Send>> {
        let at = self.origin + at.since(Mono::ZERO);
        Box::pin(tokio::time::sleep_until(at))
    }

    /// Some 0.1 ms late: a thread sleeps the last stretch.
    #[expect(clippy::disallowed_methods, reason = "this is the seam")]
    fn sleep_finely_until(&self, at: Mono) -> Pin<Box<dyn Future<Output = ()> + Send>> {
        let at = self.origin + at.since(Mono::ZERO);
        Box::pin(async move {
            tokio::time::sleep_until(at - FINE).await;
            let rest = at.saturating_duration_since(tokio::time::Instant::now());
            if rest.is_zero() {
                return;
            }
            let slept = tokio::task::spawn_blocking(move || std::thread::sleep(rest)).await;
            if slept.is_err() {
                tokio::time::sleep_until(at).await;
            }
        })
    }
}

/// The last stretch before a time, which the runtime's timers, with their grain of 1 ms, cannot hit.
const FINE: Duration = Duration::from_millis(3);

#[cfg(target_os = "linux")]
#[expect(unsafe_code, reason = "std has no way to read CLOCK_BOOTTIME")]
fn boot_clock() -> Duration {
    let mut ts = libc::timespec {
        tv_sec: 0,
        tv_nsec: 0,
    };
    // SAFETY: `ts` is a valid timespec that outlives the call.
    let rc = unsafe { libc::clock_gettime(libc::CLOCK_BOOTTIME, &mut ts) };
    if rc != 0 {
        return Duration::ZERO;
    }
    Duration::new(
        u64::try_from(ts.tv_sec).unwrap_or(0),
        u32::try_from(ts.tv_nsec).unwrap_or(0),
    )
}

/// Other systems' monotonic clocks count sleep already, or tell of it in other ways.
#[cfg(not(target_os = "linux"))]
fn boot_clock() -> Duration {
    Duration::ZERO
}
