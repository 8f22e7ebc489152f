//! The few system calls that std has no way to.
#![expect(unsafe_code, reason = "raw system calls; each says why it is sound")]

use std::{
    ffi::CString,
    fs::File,
    io,
    mem::MaybeUninit,
    os::{
        fd::{AsRawFd, BorrowedFd, FromRawFd, OwnedFd},
        unix::fs::OpenOptionsExt,
    },
    ptr,
    time::Duration,
};

use corridor_probes::Mono;

/// The machine's monotonic clock.
pub fn mono_now() -> Mono {
    let mut ts = libc::timespec {
        tv_sec: 0,
        tv_nsec: 0,
    };
    // SAFETY: `ts` is a valid timespec that outlives the call, which cannot fail for this clock.
    unsafe { libc::clock_gettime(libc::CLOCK_MONOTONIC, &mut ts) };
    Mono::from_nanos(ts.tv_sec * 1_000_000_000 + ts.tv_nsec)
}

/// Waits until one of `fds` is ready, or `timeout` is over (`None`: without end). Signals that are not
/// blocked end the wait early, which callers see as nothing ready.
pub fn poll(fds: &mut [libc::pollfd], timeout: Option<Duration>) -> io::Result<usize> {
    let ts = timeout.map(|t| libc::timespec {
        tv_sec: t.as_secs() as libc::time_t,
        tv_nsec: libc::c_long::from(t.subsec_nanos() as i32),
    });
    let ts = ts.as_ref().map_or(ptr::null(), ptr::from_ref);
    // SAFETY: `fds` is a valid slice of its own length, `ts` is null or points to a live timespec.
    let ready = unsafe { libc::ppoll(fds.as_mut_ptr(), fds.len() as libc::nfds_t, ts, ptr::null()) };
    match check(ready) {
        Ok(ready) => Ok(ready as usize),
        Err(error) if error.kind() == io::ErrorKind::Interrupted => Ok(0),
        Err(error) => Err(error),
    }
}

pub fn poll_in(fd: BorrowedFd<'_>) -> libc::pollfd {
    libc::pollfd {
        fd: fd.as_raw_fd(),
        events: libc::POLLIN,
        revents: 0,
    }
}

/// Blocks `signals` for this thread and those it starts from now on; the descriptor returned is
/// readable once one of them was sent to the process.
pub fn signals(signals: &[libc::c_int]) -> io::Result<OwnedFd> {
    let mut set = MaybeUninit::<libc::sigset_t>::uninit();
    // SAFETY: sigemptyset initialises the set before it is used; the other calls read it; signalfd
    // returns a new descriptor that nothing else owns.
    unsafe {
        libc::sigemptyset(set.as_mut_ptr());
        for &signal in signals {
            libc::sigaddset(set.as_mut_ptr(), signal);
        }
        match libc::pthread_sigmask(libc::SIG_BLOCK, set.as_ptr(), ptr::null_mut()) {
            0 => {}
            error => return Err(io::Error::from_raw_os_error(error)),
        }
        let fd = check(libc::signalfd(
            -1,
            set.as_ptr(),
            libc::SFD_CLOEXEC | libc::SFD_NONBLOCK,
        ))?;
        Ok(OwnedFd::from_raw_fd(fd))
    }
}

/// Puts the calling thread before all ordinary ones. Its children start as ordinary ones.
pub fn realtime(priority: libc::c_int) -> io::Result<()> {
    let param = libc::sched_param {
        sched_priority: priority,
    };
    // SAFETY: `param` is valid and only read; pid 0 is the calling thread.
    check(unsafe { libc::sched_setscheduler(0, libc::SCHED_FIFO | libc::SCHED_RESET_ON_FORK, &param) })
        .map(drop)
}

/// Keeps all memory of this process, present and future, out of swap.
pub fn lock_memory() -> io::Result<()> {
    // SAFETY: takes flags only.
    check(unsafe { libc::mlockall(libc::MCL_CURRENT | libc::MCL_FUTURE) }).map(drop)
}

/// Moves the calling thread into a network namespace. It stays there: use a thread that ends soon.
pub fn enter_netns(namespace: &File) -> io::Result<()> {
    // SAFETY: takes a live descriptor and a flag only.
    check(unsafe { libc::setns(namespace.as_raw_fd(), libc::CLONE_NEWNET) }).map(drop)
}

/// A new TUN device in the calling thread's network namespace: whole IP packets without a header of
/// their own, so the kernel does segmentation and checksums before they get here. It does not block,
/// and it is gone when the file is closed.
pub fn open_tun(name: &str) -> io::Result<File> {
    let tun = File::options()
        .read(true)
        .write(true)
        .custom_flags(libc::O_NONBLOCK)
        .open("/dev/net/tun")?;
    let name = CString::new(name)?;
    let name = name.as_bytes_with_nul();
    if name.len() > libc::IFNAMSIZ {
        return Err(io::Error::new(
            io::ErrorKind::InvalidInput,
            "interface name too long",
        ));
    }
    // SAFETY: ifreq is plain data for which all zeroes are valid.
    let mut request: libc::ifreq = unsafe { std::mem::zeroed() };
    for (to, &from) in request.ifr_name.iter_mut().zip(name) {
        *to = from as libc::c_char;
    }
    request.ifr_ifru.ifru_flags = (libc::IFF_TUN | libc::IFF_NO_PI) as libc::c_short;
    // SAFETY: TUNSETIFF reads and writes one ifreq, which outlives the call.
    check(unsafe { libc::ioctl(tun.as_raw_fd(), libc::TUNSETIFF, &mut request) })?;
    Ok(tun)
}

fn check(rc: libc::c_int) -> io::Result<libc::c_int> {
    if rc < 0 {
        Err(io::Error::last_os_error())
    } else {
        Ok(rc)
    }
}

/// Ends a process at once.
pub fn kill(pid: libc::pid_t) {
    // SAFETY: takes numbers only; a process that is gone already is what was wanted.
    unsafe { libc::kill(pid, libc::SIGKILL) };
}

/// Lets the calling thread run on one processor only, and only when nobody else wants it.
pub fn idle_priority_on(cpu: usize) -> io::Result<()> {
    let param = libc::sched_param { sched_priority: 0 };
    // SAFETY: the set and `param` are plain data, live during the calls, of the sizes given; pid 0 is
    // the calling thread.
    unsafe {
        let mut set: libc::cpu_set_t = std::mem::zeroed();
        libc::CPU_SET(cpu, &mut set);
        check(libc::sched_setaffinity(0, size_of_val(&set), &set))?;
        check(libc::sched_setscheduler(0, libc::SCHED_IDLE, &param)).map(drop)
    }
}
