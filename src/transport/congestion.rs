//! The congestion controller of connections that carry probes and media: an open window, watched by the
//! circuit breaker.
//!
//! The breaker does not close quinn's window, because in a closed window datagrams wait and are then
//! dropped unseen. [`super::Connection`] asks it before each datagram and drops, counted, above a trickle.

use std::{
    any::Any,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Instant,
};

use corridor_probes::Mono;
use quinn::congestion::{Controller, ControllerFactory};
use quinn_proto::RttEstimator;

use super::breaker::Breaker;

/// Never reached. Above `u32::MAX`, or quinn paces what it sends.
const OPEN_WINDOW: u64 = 1 << 40;

/// A path's breaker, between quinn, which learns of losses, and the connection, which obeys.
#[derive(Debug, Default)]
pub(super) struct PathBreaker(Mutex<Breaker>);

impl PathBreaker {
    /// Notes that a datagram is about to be sent. True if only a trickle may be.
    pub(super) fn sending(&self, now: Mono) -> bool {
        let mut breaker = self.lock();
        breaker.sent(now.since(Mono::ZERO));
        breaker.tripped()
    }

    pub(super) fn tripped(&self) -> bool {
        self.lock().tripped()
    }

    fn lock(&self) -> MutexGuard<'_, Breaker> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Builds a controller for each path.
#[derive(Debug)]
pub(super) struct OpenWindow;

impl ControllerFactory for OpenWindow {
    fn build(self: Arc<Self>, now: Instant, _: u16) -> Box<dyn Controller> {
        Box::new(OpenController {
            origin: now,
            breaker: Arc::default(),
        })
    }
}

/// Clones (quinn makes one when a path moves within its network) share their breaker.
#[derive(Debug, Clone)]
pub(super) struct OpenController {
    origin: Instant,
    breaker: Arc<PathBreaker>,
}

impl OpenController {
    /// The breaker of the path that `connection` uses now, if its controller is of this kind.
    pub(super) fn breaker_of(connection: &quinn::Connection) -> Option<Arc<PathBreaker>> {
        let controller = connection.congestion_state().into_any().downcast::<Self>().ok()?;
        Some(controller.breaker)
    }
}

impl Controller for OpenController {
    // `on_sent` tells of packets that are never acknowledged, too: silence is the sender's to notice.

    fn on_ack(&mut self, now: Instant, _: Instant, bytes: u64, _: bool, _: &RttEstimator) {
        let now = now.saturating_duration_since(self.origin);
        self.breaker.lock().acked(now, bytes);
    }

    fn on_congestion_event(&mut self, now: Instant, _: Instant, _: bool, lost_bytes: u64) {
        let now = now.saturating_duration_since(self.origin);
        self.breaker.lock().lost(now, lost_bytes);
    }

    fn on_mtu_update(&mut self, _: u16) {}

    fn window(&self) -> u64 {
        OPEN_WINDOW
    }

    fn initial_window(&self) -> u64 {
        OPEN_WINDOW
    }

    fn clone_box(&self) -> Box<dyn Controller> {
        Box::new(self.clone())
    }

    fn into_any(self: Box<Self>) -> Box<dyn Any> {
        self
    }
}
