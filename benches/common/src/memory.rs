//! What the kernel says of a process in `/proc/PID/status` (proc(5)).

use std::{fs, io};

/// Resident memory in KiB.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Memory {
    pub now: u64,
    pub peak: u64,
    /// Of `now`: its own, and pages of files, which other processes may share.
    pub own: u64,
    pub files: u64,
}

impl Memory {
    /// Of a process that has not ended.
    pub fn of(pid: u32) -> io::Result<Self> {
        let status = fs::read_to_string(format!("/proc/{pid}/status"))?;
        Self::parse(&status).ok_or_else(|| io::Error::other("no memory in its status"))
    }

    /// In the text of `status`.
    pub fn parse(status: &str) -> Option<Self> {
        Some(Self {
            now: field(status, "VmRSS")?,
            peak: field(status, "VmHWM")?,
            own: field(status, "RssAnon")?,
            files: field(status, "RssFile")?,
        })
    }
}

/// The number in a line `NAME: NUMBER …` of `status`.
pub fn field(status: &str, name: &str) -> Option<u64> {
    let line = status
        .lines()
        .find_map(|line| line.strip_prefix(name)?.strip_prefix(':'))?;
    line.split_whitespace().next()?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_what_the_kernel_writes() {
        let status = "VmHWM:\t  900 kB\nVmRSS:\t  800 kB\nRssAnon:\t 300 kB\nRssFile:\t 500 kB\n";
        let read = Memory::parse(status).unwrap();
        assert_eq!((read.now, read.peak, read.own, read.files), (800, 900, 300, 500));
    }

    #[test]
    fn reads_this_process() {
        assert!(Memory::of(std::process::id()).is_ok_and(|memory| memory.now > 0));
    }
}
