//! The few system calls that neither std nor socket2 has.
#![expect(unsafe_code, reason = "raw system calls; each says why it is sound")]

use std::{
    ffi::{CStr, c_int},
    io,
    net::{IpAddr, SocketAddr},
    os::fd::{AsRawFd, BorrowedFd},
    time::Duration,
};

use socket2::SockAddr;

/// Switches an option of a socket on.
pub(super) fn switch_on(socket: BorrowedFd<'_>, level: c_int, option: c_int) -> io::Result<()> {
    let on: c_int = 1;
    // SAFETY: the descriptor is open, and the value is an int that outlives the call, of the size given.
    let rc = unsafe {
        libc::setsockopt(
            socket.as_raw_fd(),
            level,
            option,
            (&raw const on).cast(),
            size_of::<c_int>() as libc::socklen_t,
        )
    };
    if rc == 0 {
        Ok(())
    } else {
        Err(io::Error::last_os_error())
    }
}

/// Waits until one of two sockets has something to read or an error to tell, or `timeout` is over. A
/// signal ends it early.
pub(super) fn wait(sockets: [Option<BorrowedFd<'_>>; 2], timeout: Duration) -> io::Result<()> {
    // poll(2) passes over negative descriptors. Errors are told without being asked for.
    let mut fds = sockets.map(|s| libc::pollfd {
        fd: s.map_or(-1, |s| s.as_raw_fd()),
        events: libc::POLLIN,
        revents: 0,
    });
    let timeout = libc::timespec {
        tv_sec: libc::time_t::try_from(timeout.as_secs()).unwrap_or(libc::time_t::MAX),
        tv_nsec: libc::c_long::from(timeout.subsec_nanos() as i32),
    };
    // SAFETY: `fds` and `timeout` are live and valid; no signal mask is given.
    let rc = unsafe {
        libc::ppoll(
            fds.as_mut_ptr(),
            fds.len() as libc::nfds_t,
            &timeout,
            std::ptr::null(),
        )
    };
    match rc {
        0.. => Ok(()),
        _ => match io::Error::last_os_error() {
            e if e.kind() == io::ErrorKind::Interrupted => Ok(()),
            e => Err(e),
        },
    }
}

/// The name that DNS has for an address, if it has one. It blocks as long as the resolver does.
pub fn reverse_name(address: IpAddr) -> Option<String> {
    let address = SockAddr::from(SocketAddr::new(address, 0));
    let mut name = [0u8; libc::NI_MAXHOST as usize];
    // SAFETY: the address is valid for its length; the kernel's libc writes at most the buffer's length,
    // the terminating zero included. No service name is asked for.
    let rc = unsafe {
        libc::getnameinfo(
            address.as_ptr().cast(),
            address.len(),
            name.as_mut_ptr().cast(),
            name.len() as libc::socklen_t,
            std::ptr::null_mut(),
            0,
            libc::NI_NAMEREQD,
        )
    };
    if rc != 0 {
        return None;
    }
    let name = CStr::from_bytes_until_nul(&name).ok()?.to_str().ok()?;
    // It is printed on a terminal: what DNS allows, no more.
    let plain = name
        .bytes()
        .all(|b| b.is_ascii_alphanumeric() || b"-._".contains(&b));
    (plain && !name.is_empty()).then(|| name.to_owned())
}

/// A buffer that was made of initialised bytes, back as bytes, after a system call wrote to it.
pub(super) fn initialised<const N: usize>(buffer: &[std::mem::MaybeUninit<u8>; N]) -> &[u8; N] {
    // SAFETY: callers made it with `MaybeUninit::new`, and a system call writes initialised bytes only.
    // A `MaybeUninit<u8>` has the layout of a `u8`.
    unsafe { &*(&raw const *buffer).cast() }
}
