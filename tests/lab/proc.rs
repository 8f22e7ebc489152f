//! A process in a node: started, watched, ended.

use std::{
    fs,
    path::PathBuf,
    process::{Child, ExitStatus},
    thread,
    time::Duration,
};

/// How often an end is looked for.
const LOOK: Duration = Duration::from_millis(10);

/// A process that runs in a node's namespace. It is killed when this is dropped.
#[derive(Debug)]
pub struct Proc {
    name: String,
    child: Child,
    stdout: PathBuf,
    stderr: PathBuf,
}

impl Proc {
    /// `child` writes to the two files.
    pub(crate) fn new(name: String, child: Child, stdout: PathBuf, stderr: PathBuf) -> Self {
        Self {
            name,
            child,
            stdout,
            stderr,
        }
    }

    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// SIGKILL, and waits for the end: what a crash or a pulled plug looks like.
    pub fn kill9(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }

    /// SIGTERM, without waiting.
    #[expect(unsafe_code, reason = "std sends SIGKILL only")]
    pub fn terminate(&self) {
        let pid = libc::pid_t::try_from(self.pid()).expect("a process id");
        // SAFETY: takes numbers only. The child has not been reaped while `self.child` is not waited
        // for, so that the id is still its own; after that the signal goes nowhere, or ids have wrapped.
        unsafe { libc::kill(pid, libc::SIGTERM) };
    }

    /// Waits for the end, for at most `limit`; panics with the process's errors after that.
    pub fn wait(&mut self, limit: Duration) -> ExitStatus {
        let mut left = limit;
        loop {
            if let Some(status) = self.ended() {
                return status;
            }
            left = left.checked_sub(LOOK).unwrap_or_else(|| {
                panic!(
                    "{} still runs after {limit:?}; it said:\n{}",
                    self.name,
                    self.stderr()
                )
            });
            thread::sleep(LOOK);
        }
    }

    /// Waits until it, or another process in its node, has bound a UDP `port`; panics if it ends before
    /// that, or after `limit`.
    pub fn wait_for_udp(&mut self, port: u16, limit: Duration) {
        let wanted = format!("{port:04X}");
        let mut left = limit;
        while !self.udp_ports().contains(&wanted) {
            left = left.checked_sub(LOOK).unwrap_or_default();
            assert!(
                self.ended().is_none() && !left.is_zero(),
                "{} has not bound UDP port {port}; it said:\n{}",
                self.name,
                self.stderr()
            );
            thread::sleep(LOOK);
        }
    }

    /// The UDP ports bound in its namespace, as four hexadecimal digits; none while it is still on
    /// its way there.
    fn udp_ports(&self) -> Vec<String> {
        let namespace = |pid: &str| fs::read_link(format!("/proc/{pid}/ns/net")).ok();
        let pid = self.pid().to_string();
        if namespace(&pid) == namespace("self") {
            return Vec::new();
        }
        let table = |name| fs::read_to_string(format!("/proc/{pid}/net/{name}")).unwrap_or_default();
        [table("udp"), table("udp6")]
            .iter()
            .flat_map(|table| table.lines().skip(1))
            .filter_map(|line| line.split_whitespace().nth(1)?.rsplit(':').next())
            .map(str::to_owned)
            .collect()
    }

    /// How it ended, if it has.
    pub fn ended(&mut self) -> Option<ExitStatus> {
        self.child.try_wait().expect("wait for a child")
    }

    /// All it has written to standard output so far.
    pub fn stdout(&self) -> String {
        fs::read_to_string(&self.stdout).unwrap_or_default()
    }

    /// All it has written to standard error so far.
    pub fn stderr(&self) -> String {
        fs::read_to_string(&self.stderr).unwrap_or_default()
    }

    /// CPU time used so far by all its threads, user and system, with the scheduler's precision. Includes
    /// about 1 ms for entering the namespace. `None` once it has been waited for.
    #[expect(unsafe_code, reason = "std cannot read another process's CPU clock")]
    pub fn cpu_time(&self) -> Option<Duration> {
        let pid = libc::pid_t::try_from(self.pid()).ok()?;
        let mut clock = 0;
        let mut ts = libc::timespec {
            tv_sec: 0,
            tv_nsec: 0,
        };
        // SAFETY: both pointers are to live values of the right type.
        let rc = unsafe {
            match libc::clock_getcpuclockid(pid, &mut clock) {
                0 => libc::clock_gettime(clock, &mut ts),
                error => error,
            }
        };
        if rc != 0 {
            return None;
        }
        Some(Duration::new(
            u64::try_from(ts.tv_sec).ok()?,
            u32::try_from(ts.tv_nsec).ok()?,
        ))
    }

    /// The most memory it ever had resident, bytes. `None` once it has ended.
    pub fn vm_hwm(&self) -> Option<u64> {
        let status = fs::read_to_string(format!("/proc/{}/status", self.pid())).ok()?;
        let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:"))?;
        let kib: u64 = line.trim().strip_suffix("kB")?.trim().parse().ok()?;
        Some(kib * 1024)
    }
}

impl Drop for Proc {
    fn drop(&mut self) {
        self.kill9();
    }
}
