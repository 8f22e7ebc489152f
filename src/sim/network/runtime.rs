//! quinn's timers and tasks on a simulated machine's monotonic clock.

use std::{
    fmt,
    future::Future,
    io,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll, ready},
    time::Instant,
};

use corridor_probes::Mono;
use quinn::{AsyncTimer, AsyncUdpSocket, Runtime};

use super::SimClock;
use crate::clock::Clock as _;

/// The runtime of one simulated machine: quinn sees its drift, and neither time nor timers go on while it
/// sleeps.
#[derive(Debug, Clone)]
pub struct SimRuntime {
    clock: SimClock,
    /// What quinn's clock showed when the machine's monotonic clock showed `epoch_mono`.
    epoch: Instant,
    epoch_mono: Mono,
}

impl SimRuntime {
    #[expect(
        clippy::disallowed_methods,
        reason = "quinn wants an Instant, and has no origin for one"
    )]
    pub fn new(clock: SimClock) -> Self {
        Self {
            epoch: tokio::time::Instant::now().into_std(),
            epoch_mono: clock.mono(),
            clock,
        }
    }

    fn mono_of(&self, at: Instant) -> Mono {
        self.epoch_mono + at.saturating_duration_since(self.epoch)
    }
}

impl Runtime for SimRuntime {
    fn new_timer(&self, at: Instant) -> Pin<Box<dyn AsyncTimer>> {
        let at = self.mono_of(at);
        Box::pin(Timer {
            runtime: self.clone(),
            at,
            sleep: Box::pin(tokio::time::sleep_until(self.clock.instant_of(at))),
        })
    }

    fn spawn(&self, future: Pin<Box<dyn Future<Output = ()> + Send>>) {
        tokio::spawn(future);
    }

    fn wrap_udp_socket(&self, _: std::net::UdpSocket) -> io::Result<Arc<dyn AsyncUdpSocket>> {
        Err(io::Error::new(
            io::ErrorKind::Unsupported,
            "a simulated machine has no sockets of the system",
        ))
    }

    fn now(&self) -> Instant {
        self.epoch + self.clock.mono().since(self.epoch_mono)
    }
}

struct Timer {
    runtime: SimRuntime,
    at: Mono,
    sleep: Pin<Box<tokio::time::Sleep>>,
}

impl fmt::Debug for Timer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Timer")
            .field("at", &self.at)
            .finish_non_exhaustive()
    }
}

impl AsyncTimer for Timer {
    fn reset(mut self: Pin<&mut Self>, at: Instant) {
        let at = self.runtime.mono_of(at);
        let until = self.runtime.clock.instant_of(at);
        self.at = at;
        self.sleep.as_mut().reset(until);
    }

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<()> {
        loop {
            ready!(Future::poll(self.sleep.as_mut(), cx));
            // The machine may have slept since the timer was set.
            if self.runtime.clock.mono() >= self.at && self.runtime.clock.asleep_until().is_none() {
                return Poll::Ready(());
            }
            let wake = self.runtime.clock.asleep_until();
            let until = self.runtime.clock.instant_of(self.at);
            let until = wake.map_or(until, |wake| wake.max(until));
            self.sleep.as_mut().reset(until);
        }
    }
}
