//! Waking up for a slot.

use std::{pin::Pin, sync::Arc, time::Duration};

use corridor_probes::Mono;

use crate::clock::Clock;

/// The last stretch before a slot, which the runtime's timers, with their grain of 1 ms, cannot hit.
const FINE: Duration = Duration::from_millis(3);

/// Completes at `at`, some 0.1 ms late: a thread sleeps the last stretch.
pub fn sleep_until(clock: &Arc<dyn Clock>, at: Mono) -> Pin<Box<dyn Future<Output = ()> + Send>> {
    let clock = clock.clone();
    Box::pin(async move {
        if at.since(clock.mono()) > FINE {
            clock.sleep_until(at - FINE).await;
        }
        let rest = at.since(clock.mono());
        if rest.is_zero() {
            return;
        }
        let slept = tokio::task::spawn_blocking(move || std::thread::sleep(rest)).await;
        if slept.is_err() {
            clock.sleep_until(at).await;
        }
    })
}
