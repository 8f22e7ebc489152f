//! When is it, and when is the next tick? tokio's own timers have a grain of a millisecond, in which fifty
//! packets would be due at once.

use std::{
    fs::File,
    io::{self, Read as _},
    os::fd::{FromRawFd as _, RawFd},
    sync::OnceLock,
    time::{Duration, Instant},
};

use tokio::io::unix::AsyncFd;

/// Nanoseconds since this was first asked.
#[expect(clippy::disallowed_methods, reason = "dates packets on a real network")]
pub fn now_ns() -> u64 {
    static BEGIN: OnceLock<Instant> = OnceLock::new();
    let begin = *BEGIN.get_or_init(Instant::now);
    begin.elapsed().as_nanos() as u64
}

/// The kernel's timer (timerfd_create(2)).
#[derive(Debug)]
pub struct Ticks {
    timer: AsyncFd<File>,
}

impl Ticks {
    /// Ticks `every` so often.
    #[expect(unsafe_code, reason = "std has no timerfd")]
    pub fn every(every: Duration) -> io::Result<Self> {
        let spec = libc::timespec {
            tv_sec: 0,
            tv_nsec: i64::from(every.subsec_nanos()),
        };
        let spec = libc::itimerspec {
            it_interval: spec,
            it_value: spec,
        };
        // SAFETY: no pointers are passed.
        let fd: RawFd =
            unsafe { libc::timerfd_create(libc::CLOCK_MONOTONIC, libc::TFD_NONBLOCK | libc::TFD_CLOEXEC) };
        if fd < 0 {
            return Err(io::Error::last_os_error());
        }
        // SAFETY: the descriptor is new and nobody else's.
        let timer = unsafe { File::from_raw_fd(fd) };
        // SAFETY: `spec` lives through the call; the old value is not asked for.
        if unsafe { libc::timerfd_settime(fd, 0, &spec, std::ptr::null_mut()) } < 0 {
            return Err(io::Error::last_os_error());
        }
        // SAFETY: the file owns its descriptor and is not touched but to be read.
        let timer = unsafe { AsyncFd::register(timer) }?;
        Ok(Self { timer })
    }

    /// Waits for the next one, however many have passed.
    pub async fn next(&self) -> io::Result<()> {
        loop {
            let mut ready = self.timer.readable().await?;
            let mut passed = [0; 8];
            if ready
                .try_io(|timer| timer.get_ref().read_exact(&mut passed))
                .is_ok()
            {
                return Ok(());
            }
        }
    }
}
