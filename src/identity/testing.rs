//! A clock that tests set.

use std::{
    future::Future,
    pin::Pin,
    sync::{
        Arc,
        atomic::{AtomicI64, Ordering},
    },
    time::Duration,
};

use corridor_probes::{Mono, Wall};

use crate::clock::Clock;

/// The wall clock is where it is put; the monotonic ones move when told to.
#[derive(Debug)]
pub(crate) struct FakeClock {
    wall_us: AtomicI64,
    mono_us: AtomicI64,
    boot_us: AtomicI64,
}

impl FakeClock {
    pub(crate) fn at(wall: Wall) -> Arc<Self> {
        Arc::new(Self {
            wall_us: AtomicI64::new(wall.as_micros()),
            mono_us: AtomicI64::new(0),
            boot_us: AtomicI64::new(0),
        })
    }

    pub(crate) fn advance(&self, d: Duration) {
        let us = d.as_micros() as i64;
        self.wall_us.fetch_add(us, Ordering::SeqCst);
        self.mono_us.fetch_add(us, Ordering::SeqCst);
        self.boot_us.fetch_add(us, Ordering::SeqCst);
    }

    /// Time that only the clock over sleep sees (and not the wall clock, which is broken here).
    pub(crate) fn sleep(&self, d: Duration) {
        self.boot_us.fetch_add(d.as_micros() as i64, Ordering::SeqCst);
    }
}

impl Clock for FakeClock {
    fn mono(&self) -> Mono {
        Mono::from_micros(self.mono_us.load(Ordering::SeqCst))
    }

    fn boot_time(&self) -> Mono {
        Mono::from_micros(self.boot_us.load(Ordering::SeqCst))
    }

    fn wall(&self) -> Wall {
        Wall::from_micros(self.wall_us.load(Ordering::SeqCst))
    }

    fn sleep_until(&self, _: Mono) -> Pin<Box<dyn Future<Output = ()> + Send>> {
        Box::pin(std::future::pending())
    }
}
