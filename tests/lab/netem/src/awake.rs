//! Keeps the machine's processors from sleeping while there is traffic.
//!
//! A virtual machine's idle processor is given back to its host, and may be late to return by tens of
//! milliseconds. A thread for each processor that spins at the idle priority prevents that and takes
//! nothing from any other thread, but it shows as load, and on real hardware it is of no use.

use std::{
    hint, io,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    thread::{self, Thread},
    time::Duration,
};

use corridor_probes::Mono;

use crate::sys;

/// How long after the last packet the processors may sleep.
const LINGER: Duration = Duration::from_secs(1);

#[derive(Debug)]
pub(crate) struct Awake {
    wanted: Arc<AtomicBool>,
    threads: Vec<Thread>,
    until: Option<Mono>,
}

impl Awake {
    /// Starts the threads, asleep.
    pub(crate) fn start() -> io::Result<Self> {
        let wanted = Arc::new(AtomicBool::new(false));
        let mut threads = Vec::new();
        for cpu in 0..thread::available_parallelism()?.get() {
            let wanted = Arc::clone(&wanted);
            let spinner = thread::Builder::new()
                .name("keep-awake".to_owned())
                .spawn(move || {
                    // At any other priority it would take time from what is measured.
                    if sys::idle_priority_on(cpu).is_ok() {
                        spin(&wanted);
                    }
                })?;
            threads.push(spinner.thread().clone());
        }
        Ok(Self {
            wanted,
            threads,
            until: None,
        })
    }

    /// A packet came or went at `now`.
    pub(crate) fn traffic(&mut self, now: Mono) {
        if self.until.replace(now + LINGER).is_none() {
            self.wanted.store(true, Ordering::Relaxed);
            self.threads.iter().for_each(Thread::unpark);
        }
    }

    /// When [`Self::rest`] is to be called.
    pub(crate) fn until(&self) -> Option<Mono> {
        self.until
    }

    /// Lets the processors sleep if there has been no traffic for a while.
    pub(crate) fn rest(&mut self, now: Mono) {
        if self.until.is_some_and(|until| until <= now) {
            self.until = None;
            self.wanted.store(false, Ordering::Relaxed);
        }
    }
}

fn spin(wanted: &AtomicBool) -> ! {
    loop {
        while wanted.load(Ordering::Relaxed) {
            hint::spin_loop();
        }
        thread::park();
    }
}
