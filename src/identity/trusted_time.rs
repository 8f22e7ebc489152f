//! The controller's time on a machine whose own wall clock may be wrong by years.
//!
//! [`Estimate`] is the pure core; [`TrustedTime`] reads the clocks for it, shares it between tasks, hands
//! it to TLS, and keeps its lower bound on disk.

mod estimate;

use std::{
    fmt,
    path::Path,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use corridor_probes::{Mono, Wall};
use rustls::{pki_types::UnixTime, time_provider::TimeProvider};

use super::file::{self, FileError};
use crate::clock::Clock;

pub use estimate::{DRIFT_PPM, Estimate, Reading, Source, WallError};

/// The controller's time as far as this process knows it. Carried on [`Clock::boot_time`], so that sleep
/// does not lose it.
pub struct TrustedTime {
    clock: Arc<dyn Clock>,
    estimate: Mutex<Estimate>,
}

impl TrustedTime {
    /// Nothing known yet: the wall clock is believed. The controller itself stays so.
    pub fn new(clock: Arc<dyn Clock>) -> Self {
        Self::with(clock, Estimate::default())
    }

    /// With the lower bound that [`Self::save`] left at `path`. A file that is missing, or damaged (which
    /// is logged), is as none.
    pub fn open(path: &Path, clock: Arc<dyn Clock>) -> Self {
        let stored = match load(path) {
            Ok(stored) => stored,
            Err(error) => {
                tracing::warn!(%error, "the stored time is not used");
                None
            }
        };
        Self::with(clock, Estimate::stored(stored))
    }

    fn with(clock: Arc<dyn Clock>, estimate: Estimate) -> Self {
        Self {
            clock,
            estimate: Mutex::new(estimate),
        }
    }

    /// The clock to take `sent` and `received` of [`Self::learn`] from.
    pub fn mono(&self) -> Mono {
        self.clock.boot_time()
    }

    /// The controller said `answer` to a question asked at `sent` and answered at `received`, both read
    /// from [`Self::mono`].
    pub fn learn(&self, answer: Wall, sent: Mono, received: Mono) {
        self.lock().learn(answer, sent, received);
    }

    pub fn read(&self) -> Reading {
        let (mono, wall) = (self.clock.boot_time(), self.clock.wall());
        self.lock().read(mono, wall)
    }

    /// The best guess.
    pub fn now(&self) -> Wall {
        self.read().at
    }

    /// How far this machine's wall clock is off; `None` while the controller's time is not known.
    pub fn wall_error(&self) -> Option<WallError> {
        let (mono, wall) = (self.clock.boot_time(), self.clock.wall());
        self.lock().wall_error(mono, wall)
    }

    /// Writes the lower bound, if the controller's time is known. It blocks on the disk: worth doing after
    /// learning it, every hour or so, and at the end.
    pub fn save(&self, path: &Path) -> Result<(), FileError> {
        let reading = self.read();
        if reading.source != Source::Learnt {
            return Ok(());
        }
        file::write(path, format!("{}\n", reading.earliest.as_micros()).as_bytes())
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Estimate> {
        // An estimate is replaced whole: one that a panic left behind is as good as any.
        self.estimate.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl fmt::Debug for TrustedTime {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("TrustedTime").field(&self.read()).finish()
    }
}

/// For the ages of TLS sessions; certificates are judged by [`TrustedTime::read`].
impl TimeProvider for TrustedTime {
    fn current_time(&self) -> Option<UnixTime> {
        Some(unix_time(self.now()))
    }
}

pub(crate) fn unix_time(at: Wall) -> UnixTime {
    let since = Duration::from_micros(u64::try_from(at.as_micros()).unwrap_or(0));
    UnixTime::since_unix_epoch(since)
}

fn load(path: &Path) -> Result<Option<Wall>, FileError> {
    let text = match file::read(path, 64) {
        Ok(text) => text,
        Err(e) if e.is_not_found() => return Ok(None),
        Err(e) => return Err(e),
    };
    match text.trim_end().parse() {
        Ok(us) => Ok(Some(Wall::from_micros(us))),
        Err(_) => Err(FileError::damaged(path, "it holds no time")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::identity::testing::FakeClock;

    const YEAR: i64 = 365 * 86_400;

    #[test]
    fn a_restart_with_a_clock_years_behind_does_not_go_back() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("time");
        let clock = FakeClock::at(Wall::from_secs(40 * YEAR));
        let time = TrustedTime::open(&path, clock.clone());
        time.save(&path).unwrap();
        assert!(!path.exists(), "what the wall clock says is not worth keeping");
        time.learn(Wall::from_secs(50 * YEAR), time.mono(), time.mono());
        clock.sleep(Duration::from_secs(60));
        assert_eq!(time.now(), Wall::from_secs(50 * YEAR + 60));
        time.save(&path).unwrap();

        let again = TrustedTime::open(&path, FakeClock::at(Wall::from_secs(40 * YEAR)));
        let reading = again.read();
        assert_eq!(reading.source, Source::Stored);
        let lost = Wall::from_secs(50 * YEAR + 60).since(reading.at);
        assert!(lost < Duration::from_millis(20), "{lost:?}");
    }

    #[test]
    fn a_damaged_file_is_as_none() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("time");
        for text in ["", "yesterday", "1e9", "99999999999999999999"] {
            std::fs::write(&path, text).unwrap();
            let time = TrustedTime::open(&path, FakeClock::at(Wall::from_secs(7)));
            assert_eq!(
                (time.now(), time.read().source),
                (Wall::from_secs(7), Source::Wall)
            );
        }
    }
}
