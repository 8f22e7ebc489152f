//! A tool's process: started, watched to its end, and what it took.

use std::{
    fs::{self, File},
    io,
    path::Path,
    process::{Child, Command},
    thread,
    time::Duration,
};

use anyhow::Context as _;
use corridor_bench::memory::Memory;

/// How often its memory and its end are looked for.
const LOOK: Duration = Duration::from_millis(50);

/// A process that has ended.
#[derive(Debug)]
pub struct Ended {
    /// None if a signal ended it.
    pub code: Option<i32>,
    pub stdout: String,
    pub stderr: String,
    /// User's and system's, of all its threads, from its start.
    pub cpu: Duration,
    /// As it was last seen.
    pub memory: Option<Memory>,
}

/// A process that runs beside. It is killed when this is dropped.
#[derive(Debug)]
pub struct Beside(Option<Child>);

impl Beside {
    pub fn new(child: Child) -> Self {
        Self(Some(child))
    }

    pub fn child(&mut self) -> Option<&mut Child> {
        self.0.as_mut()
    }

    /// Lets it live.
    pub fn release(mut self) -> Option<Child> {
        self.0.take()
    }
}

impl Drop for Beside {
    fn drop(&mut self) {
        if let Some(child) = &mut self.0 {
            let _ = child.kill();
            let _ = child.wait();
        }
    }
}

/// Starts what runs beside; what it says goes to files of its name in `dir`.
pub fn beside(name: &str, dir: &Path, mut command: Command) -> anyhow::Result<Beside> {
    let (out, err) = outputs(name, dir)?;
    let child = command.stdout(out).stderr(err).spawn();
    Ok(Beside::new(
        child.with_context(|| format!("cannot start {name}"))?,
    ))
}

/// Runs `command` to its end; what it says goes to files of its name in `dir`.
pub fn run(name: &str, dir: &Path, mut command: Command) -> anyhow::Result<Ended> {
    let (out, err) = outputs(name, dir)?;
    let child = command.stdout(out).stderr(err).spawn();
    let child = child.with_context(|| format!("cannot start {name}"))?;
    watch(name, dir, child)
}

/// Waits for the end of a child whose output goes to files of `name` in `dir`, or to pipes.
pub fn watch(name: &str, dir: &Path, child: Child) -> anyhow::Result<Ended> {
    // From here on it is this that waits for it, not std.
    let pid = child.id();
    drop(child);
    let mut memory = None;
    let (status, cpu) = loop {
        if let Some(ended) = wait4(pid).with_context(|| name.to_owned())? {
            break ended;
        }
        // The first look may be at `ip` still; the last one counts.
        memory = Memory::of(pid).ok().or(memory);
        thread::sleep(LOOK);
    };
    let said = |extension: &str| {
        let path = dir.join(format!("{name}.{extension}"));
        fs::read_to_string(path).unwrap_or_default()
    };
    Ok(Ended {
        code: libc::WIFEXITED(status).then(|| libc::WEXITSTATUS(status)),
        stdout: said("out"),
        stderr: said("err"),
        cpu,
        memory,
    })
}

fn outputs(name: &str, dir: &Path) -> anyhow::Result<(File, File)> {
    let file = |extension: &str| {
        let path = dir.join(format!("{name}.{extension}"));
        File::create(&path).with_context(|| path.display().to_string())
    };
    Ok((file("out")?, file("err")?))
}

/// How a child ended and the CPU time that it took; none while it runs.
#[expect(unsafe_code, reason = "std says nothing of what a child took")]
fn wait4(pid: u32) -> io::Result<Option<(libc::c_int, Duration)>> {
    let pid = libc::pid_t::try_from(pid).map_err(io::Error::other)?;
    let mut status = 0;
    // SAFETY: rusage is plain data for which all zeroes are valid; both pointers are to live values.
    let (rc, usage) = unsafe {
        let mut usage: libc::rusage = std::mem::zeroed();
        let rc = libc::wait4(pid, &mut status, libc::WNOHANG, &mut usage);
        (rc, usage)
    };
    match rc {
        0 => Ok(None),
        -1 => Err(io::Error::last_os_error()),
        _ => Ok(Some((status, time(usage.ru_utime) + time(usage.ru_stime)))),
    }
}

fn time(time: libc::timeval) -> Duration {
    let (seconds, micros) = (u64::try_from(time.tv_sec), u64::try_from(time.tv_usec));
    Duration::from_secs(seconds.unwrap_or(0)) + Duration::from_micros(micros.unwrap_or(0))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn says_what_a_child_said_and_took() {
        let dir = tempfile::tempdir().unwrap();
        let mut command = Command::new("sh");
        command.args([
            "-c",
            "echo here; echo there >&2; i=0; while [ $i -lt 200000 ]; do i=$((i+1)); done; exit 3",
        ]);
        let ended = run("sh", dir.path(), command).unwrap();
        assert_eq!(
            (ended.code, ended.stdout.as_str(), ended.stderr.as_str()),
            (Some(3), "here\n", "there\n")
        );
        assert!(ended.cpu > Duration::from_millis(1), "{:?}", ended.cpu);
        assert!(ended.memory.is_some_and(|memory| memory.peak > 0));
    }
}
