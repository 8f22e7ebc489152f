//! A relay's process, and what the kernel says that it took.

use std::{
    fs::{self, File},
    path::Path,
    process::{Child, Command, Stdio},
};

use anyhow::{Context as _, bail};
use corridor_bench::memory::field;

/// Killed when dropped.
#[derive(Debug)]
pub struct Process {
    name: String,
    child: Child,
}

impl Process {
    /// Starts it; what it says goes to a file of its name in `dir`.
    pub fn start(name: &str, dir: &Path, mut command: Command) -> anyhow::Result<Self> {
        let log = File::create(dir.join(format!("{name}.log")))?;
        command.stdin(Stdio::null()).stdout(log.try_clone()?).stderr(log);
        let child = command.spawn().with_context(|| format!("cannot start {name}"))?;
        Ok(Self {
            name: name.to_owned(),
            child,
        })
    }

    pub fn usage(&mut self) -> anyhow::Result<Usage> {
        if let Some(status) = self.child.try_wait()? {
            bail!("{} has ended: {status}", self.name);
        }
        Usage::of(&self.child.id().to_string()).with_context(|| format!("figures of {}", self.name))
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// What a process has taken so far. Threads that have ended are not in it: relays keep theirs.
#[derive(Debug, Clone, Copy, Default)]
pub struct Usage {
    /// On a processor, user's and system's, in ns.
    pub cpu: u64,
    /// Times that a thread slept of its own will.
    pub sleeps: u64,
}

impl Usage {
    /// `pid` may be `self`.
    pub fn of(pid: &str) -> anyhow::Result<Self> {
        let mut usage = Self::default();
        for task in fs::read_dir(format!("/proc/{pid}/task"))? {
            let task = task?.path();
            // A thread may end between the two.
            let (Ok(schedstat), Ok(status)) = (
                fs::read_to_string(task.join("schedstat")),
                fs::read_to_string(task.join("status")),
            ) else {
                continue;
            };
            usage.cpu += on_cpu(&schedstat).context("no time in schedstat")?;
            usage.sleeps += field(&status, "voluntary_ctxt_switches").unwrap_or(0);
        }
        Ok(usage)
    }

    pub const fn since(self, before: Self) -> Self {
        Self {
            cpu: self.cpu.saturating_sub(before.cpu),
            sleeps: self.sleeps.saturating_sub(before.sleeps),
        }
    }
}

/// This process's nice value, which those that it starts inherit (proc(5), field 19).
pub fn nice() -> anyhow::Result<i32> {
    let stat = fs::read_to_string("/proc/self/stat")?;
    let fields = stat.rsplit_once(')').map(|(_, fields)| fields.split_whitespace());
    let nice = fields.and_then(|mut fields| fields.nth(16));
    Ok(nice.context("/proc/self/stat is short")?.parse()?)
}

/// The first number of `schedstat` (the kernel's Documentation/scheduler/sched-stats.rst).
fn on_cpu(schedstat: &str) -> Option<u64> {
    schedstat.split_whitespace().next()?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_what_the_kernel_writes() {
        assert_eq!(on_cpu("123456 78 9\n"), Some(123_456));
        assert_eq!(on_cpu(""), None);
        assert!(Usage::of("self").unwrap().cpu > 0);
    }
}
