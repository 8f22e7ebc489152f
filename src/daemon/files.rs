//! How many files, sockets among them, this process may have open.

use std::io;

/// Raises the limit as far as the system lets us, and answers it: services are started with 1,024, so that programs
/// which use `select` do not fail, while an edge needs a socket for each flow that ends there.
///
/// # Errors
/// What the system says.
#[cfg(unix)]
#[expect(unsafe_code, reason = "std has no limits of resources")]
pub fn raise_limit() -> io::Result<u64> {
    let mut limit = libc::rlimit {
        rlim_cur: 0,
        rlim_max: 0,
    };
    // SAFETY: `limit` is valid for writing.
    if unsafe { libc::getrlimit(libc::RLIMIT_NOFILE, &mut limit) } != 0 {
        return Err(io::Error::last_os_error());
    }
    limit.rlim_cur = limit.rlim_max;
    // SAFETY: `limit` is valid for reading.
    if unsafe { libc::setrlimit(libc::RLIMIT_NOFILE, &limit) } != 0 {
        return Err(io::Error::last_os_error());
    }
    Ok(limit.rlim_cur)
}

/// There is no such limit.
#[cfg(not(unix))]
pub fn raise_limit() -> io::Result<u64> {
    Ok(u64::MAX)
}
