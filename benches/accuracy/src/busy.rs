//! Ordinary work on every core, so that whoever wants to measure has to wait for a processor.

use std::{
    hint, io,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    thread::{self, JoinHandle},
};

/// A thread for each core, bound to it, of ordinary priority. It ends with this.
#[derive(Debug)]
pub struct Spinners {
    end: Arc<AtomicBool>,
    threads: Vec<JoinHandle<()>>,
}

impl Spinners {
    pub fn start() -> io::Result<Self> {
        let mut spinners = Self {
            end: Arc::default(),
            threads: Vec::new(),
        };
        for core in 0..thread::available_parallelism()?.get() {
            let end = Arc::clone(&spinners.end);
            spinners.threads.push(thread::spawn(move || {
                // Where it cannot be bound, the scheduler spreads them.
                let _ = bind_to(core);
                while !end.load(Ordering::Relaxed) {
                    hint::spin_loop();
                }
            }));
        }
        Ok(spinners)
    }
}

impl Drop for Spinners {
    fn drop(&mut self) {
        self.end.store(true, Ordering::Relaxed);
        for thread in self.threads.drain(..) {
            let _ = thread.join();
        }
    }
}

#[expect(unsafe_code, reason = "std has no way to bind a thread to a core")]
fn bind_to(core: usize) -> io::Result<()> {
    // SAFETY: the set is plain data, live during the calls and of the size given; pid 0 is this thread.
    let rc = unsafe {
        let mut set: libc::cpu_set_t = std::mem::zeroed();
        libc::CPU_SET(core, &mut set);
        libc::sched_setaffinity(0, size_of_val(&set), &set)
    };
    if rc == 0 {
        Ok(())
    } else {
        Err(io::Error::last_os_error())
    }
}
