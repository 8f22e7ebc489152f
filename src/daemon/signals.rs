//! When to stop: SIGTERM and SIGINT.

/// Completes on the first signal to stop after this was called: call it before the service starts, so
/// that one that comes meanwhile is not lost.
///
/// # Panics
/// Outside a tokio runtime.
pub fn stop_signal() -> impl Future<Output = ()> {
    #[cfg(unix)]
    {
        use tokio::signal::unix::{SignalKind, signal};
        let signals = (signal(SignalKind::terminate()), signal(SignalKind::interrupt()));
        async {
            let (Ok(mut terminate), Ok(mut interrupt)) = signals else {
                tracing::warn!("signals cannot be waited for");
                return std::future::pending().await;
            };
            tokio::select! {
                biased;
                _ = terminate.recv() => {}
                _ = interrupt.recv() => {}
            }
        }
    }
    #[cfg(not(unix))]
    async {
        let _ = tokio::signal::ctrl_c().await;
    }
}
