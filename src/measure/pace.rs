//! The turns of a measurement's loop: what every turn begins with, and when the next one must come.

use std::{pin::Pin, sync::Arc, time::Duration};

use corridor_probes::{HistogramError, Mono};

use super::{books::Books, progress::Progress};
use crate::clock::{Clock, SleepWatch};

const STOOD_STILL: Duration = Duration::from_millis(500);

/// How often progress is told.
const PROGRESS: Duration = Duration::from_millis(200);

pub(super) struct Pace {
    clock: Arc<dyn Clock>,
    sleeps: SleepWatch,
    next_progress: Mono,
    wakeup: Mono,
    /// When the timer was to fire that fired last.
    fired: Mono,
    timer: Pin<Box<dyn Future<Output = ()> + Send>>,
}

impl Pace {
    pub(super) fn new(clock: &Arc<dyn Clock>) -> Self {
        let now = clock.mono();
        Self {
            clock: clock.clone(),
            sleeps: SleepWatch::new(&**clock),
            next_progress: now,
            wakeup: now,
            fired: now,
            timer: clock.sleep_finely_until(now),
        }
    }

    /// Closes windows, tells progress and sets the timer; whether the measurement is over.
    pub(super) fn turn(
        &mut self,
        books: &mut Books,
        progress: &mut dyn FnMut(&Progress),
    ) -> Result<bool, HistogramError> {
        self.notice_sleep(books);
        let now = self.clock.mono();
        books.close_windows(now)?;
        if books.is_over(now) {
            return Ok(true);
        }
        if now >= self.next_progress {
            progress(&books.progress());
            self.next_progress = now + PROGRESS;
        }
        let next = books.next_wakeup().min(self.next_progress);
        if next != self.wakeup {
            self.wakeup = next;
            self.timer = self.clock.sleep_finely_until(next);
        }
        Ok(false)
    }

    /// To be called before anything that came is looked at: it may have come while the machine slept.
    pub(super) fn notice_sleep(&mut self, books: &mut Books) {
        if let Some(slept) = self.sleeps.slept(&*self.clock) {
            tracing::info!(?slept, "this machine slept");
            books.clock_stepped();
        }
    }

    /// Whether the timer fired so late that this machine must have stood still.
    pub(super) fn stood_still(&self) -> bool {
        self.clock.mono().since(self.fired) >= STOOD_STILL
    }

    /// Until the next turn must come. Cancel-safe.
    pub(super) async fn due(&mut self) {
        (&mut self.timer).await;
        self.fired = self.wakeup;
        // Ready for good once it has fired: the next turn makes a new one.
        self.wakeup = Mono::from_nanos(i64::MIN);
    }
}
