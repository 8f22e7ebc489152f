//! A process that was started here, and what the kernel says of it (proc(5)).

use std::{
    fs::{self, File},
    path::Path,
    time::{Duration, Instant},
};

use anyhow::{Context as _, bail};
use corridor_bench::memory::{Memory, field};
use tokio::process::{Child, Command};

use crate::netns::Counters;

/// Killed when dropped.
#[derive(Debug)]
pub struct Process {
    name: String,
    pub child: Child,
    pid: u32,
}

impl Process {
    /// Starts it; what it says on stderr goes to a file of its name in `dir`.
    pub fn start(name: &str, dir: &Path, mut command: Command) -> anyhow::Result<Self> {
        let log = File::create(dir.join(format!("{name}.log")))?;
        let child = command
            .stderr(log)
            .spawn()
            .with_context(|| format!("cannot start {name}"))?;
        let pid = child.id().with_context(|| format!("{name} has ended"))?;
        Ok(Self {
            name: name.to_owned(),
            child,
            pid,
        })
    }

    pub fn check(&mut self) -> anyhow::Result<()> {
        if let Some(status) = self.child.try_wait()? {
            bail!("{} has ended: {status}", self.name);
        }
        Ok(())
    }

    pub fn read(&mut self) -> anyhow::Result<Reading> {
        self.check()?;
        Reading::of(self.pid).with_context(|| format!("figures of {}", self.name))
    }
}

/// What the kernel says of a process at one moment.
#[derive(Debug, Clone, Copy)]
pub struct Reading {
    pub at: Instant,
    /// User's and system's.
    pub cpu: Duration,
    /// Times that a thread of it slept, of its own will. What ended threads did is not in here.
    pub switches: u64,
    pub threads: usize,
    pub memory: Memory,
    pub wire: Counters,
}

impl Reading {
    #[expect(clippy::disallowed_methods, reason = "dates figures of real processes")]
    fn of(pid: u32) -> anyhow::Result<Self> {
        let dir = Path::new("/proc").join(pid.to_string());
        let read = |name: &str| {
            let path = dir.join(name);
            fs::read_to_string(&path).with_context(|| path.display().to_string())
        };
        let (mut switches, mut threads) = (0, 0);
        for task in fs::read_dir(dir.join("task"))? {
            // A thread may end between the two.
            if let Ok(status) = fs::read_to_string(task?.path().join("status")) {
                switches += field(&status, "voluntary_ctxt_switches").unwrap_or(0);
                threads += 1;
            }
        }
        Ok(Self {
            at: Instant::now(),
            cpu: cpu(&read("stat")?).context("no CPU time in stat")?,
            switches,
            threads,
            memory: Memory::parse(&read("status")?).context("no memory in status")?,
            wire: Counters::of(pid)?,
        })
    }
}

/// Linux shows times in ticks of 10 ms on all that we run on.
const TICK: Duration = Duration::from_millis(10);

/// User's and system's CPU time in the text of `stat`. The command's name may hold anything.
fn cpu(stat: &str) -> Option<Duration> {
    let fields: Vec<_> = stat.rsplit_once(')')?.1.split_whitespace().collect();
    let ticks = |i: usize| fields.get(i)?.parse::<u32>().ok();
    Some(TICK * ticks(11)?.checked_add(ticks(12)?)?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_what_the_kernel_writes() {
        let stat = "7 (a) b) S 1 2 3 4 5 6 7 8 9 10 150 25 0 0 20 0 2 0 9 9 9";
        assert_eq!(cpu(stat), Some(Duration::from_millis(1_750)));
        assert_eq!(cpu("7 (a"), None);
    }

    #[test]
    fn reads_this_process() {
        assert!(cpu(&fs::read_to_string("/proc/self/stat").unwrap()).is_some());
    }
}
