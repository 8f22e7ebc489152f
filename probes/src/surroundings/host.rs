//! How busy a machine is, from the texts of proc(5). Total: any text gives figures or nothing.

/// A machine's load at one time.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub struct HostLoad {
    /// Share of all its processors that was busy since the last reading, 0 to 1; none at the first.
    pub cpu: Option<f64>,
    pub processors: u32,
    /// Processes that run or want to, mean of a minute.
    pub load: Option<f64>,
    pub memory_bytes: Option<u64>,
    /// Of these, to be had without swapping.
    pub available_bytes: Option<u64>,
    /// Share of the last 10 s in which something waited for a processor (PSI), 0 to 1.
    pub pressure: Option<f64>,
}

/// Processor time since the machine's start, in its own ticks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct CpuTimes {
    pub busy: u64,
    pub all: u64,
    pub processors: u32,
}

/// `/proc/stat`. Waiting for a disk is idle; time that a hypervisor took is not.
pub fn cpu_times(stat: &str) -> Option<CpuTimes> {
    let fields = stat.lines().next()?.strip_prefix("cpu ")?;
    // user nice system idle iowait irq softirq steal; guest times are in user's.
    let times: Vec<u64> = fields
        .split_whitespace()
        .take(8)
        .map_while(|f| f.parse().ok())
        .collect();
    let all = times.iter().try_fold(0u64, |sum, &t| sum.checked_add(t))?;
    let idle = times.get(3)?.checked_add(times.get(4).copied().unwrap_or(0))?;
    let is_one = |line: &&str| {
        line.strip_prefix("cpu")
            .is_some_and(|rest| rest.starts_with(|c: char| c.is_ascii_digit()))
    };
    let processors = stat.lines().skip(1).take_while(is_one).count();
    Some(CpuTimes {
        busy: all.checked_sub(idle)?,
        all,
        processors: u32::try_from(processors).ok()?,
    })
}

/// Share that was busy between two readings.
pub fn busy_share(before: CpuTimes, now: CpuTimes) -> Option<f64> {
    let all = now.all.checked_sub(before.all).filter(|&all| all > 0)?;
    let busy = now.busy.checked_sub(before.busy)?;
    Some((busy as f64 / all as f64).min(1.0))
}

/// `/proc/loadavg`: the mean of a minute.
pub fn load(loadavg: &str) -> Option<f64> {
    finite(loadavg.split_whitespace().next()?)
}

/// `/proc/meminfo`: all, and what is to be had, in bytes.
pub fn memory(meminfo: &str) -> (Option<u64>, Option<u64>) {
    let of = |name: &str| {
        let line = meminfo
            .lines()
            .find_map(|l| l.strip_prefix(name)?.strip_prefix(':'))?;
        line.trim()
            .strip_suffix("kB")?
            .trim()
            .parse::<u64>()
            .ok()?
            .checked_mul(1_024)
    };
    (of("MemTotal"), of("MemAvailable"))
}

/// `/proc/pressure/cpu`: the share of the last 10 s.
pub fn pressure(text: &str) -> Option<f64> {
    let some = text.lines().find_map(|l| l.strip_prefix("some "))?;
    let percent = some.split_whitespace().find_map(|f| f.strip_prefix("avg10="))?;
    finite(percent).map(|percent| (percent / 100.0).min(1.0))
}

fn finite(text: &str) -> Option<f64> {
    text.parse().ok().filter(|n: &f64| n.is_finite() && *n >= 0.0)
}

/// Puts one reading of all of them together with the one before.
#[derive(Debug, Default)]
pub struct HostReader {
    before: Option<CpuTimes>,
}

impl HostReader {
    /// Takes the texts of `/proc/stat`, `/proc/loadavg`, `/proc/meminfo` and `/proc/pressure/cpu`; none of
    /// the last where the kernel has none.
    pub fn take(&mut self, stat: &str, loadavg: &str, meminfo: &str, psi: Option<&str>) -> HostLoad {
        let times = cpu_times(stat);
        let (memory_bytes, available_bytes) = memory(meminfo);
        let before = std::mem::replace(&mut self.before, times);
        HostLoad {
            cpu: before
                .zip(times)
                .and_then(|(before, now)| busy_share(before, now)),
            processors: times.map_or(0, |t| t.processors),
            load: load(loadavg),
            memory_bytes,
            available_bytes,
            pressure: psi.and_then(pressure),
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const STAT: &str = "cpu  1000 20 300 8000 400 0 30 50 7 0\ncpu0 500 10 150 4000 200 0 15 25 3 0\ncpu1 500 10 150 4000 200 0 15 25 4 0\nintr 1 2\n";
    const LATER: &str = "cpu  1050 20 320 8100 420 0 30 60 7 0\ncpu0 1 1 1 1\ncpu1 1 1 1 1\n";
    const MEMINFO: &str =
        "MemTotal:       24684564 kB\nMemFree:         1981952 kB\nMemAvailable:   23318116 kB\n";
    const PSI: &str = "some avg10=70.25 avg60=27.81 avg300=14.18 total=4156036839\nfull avg10=0.00 avg60=0.00 avg300=0.00 total=0\n";

    #[test]
    fn two_readings() {
        let mut reader = HostReader::default();
        let first = reader.take(STAT, "2.83 1.83 1.39 3/412 99\n", MEMINFO, Some(PSI));
        let wanted = HostLoad {
            cpu: None,
            processors: 2,
            load: Some(2.83),
            memory_bytes: Some(24_684_564 * 1_024),
            available_bytes: Some(23_318_116 * 1_024),
            pressure: Some(0.7025),
        };
        assert_eq!(first, wanted);
        // 50 user, 20 system, 10 stolen of 200.
        let second = reader.take(LATER, "", "", None);
        assert_eq!(second.cpu, Some(0.4));
        assert_eq!(
            (second.load, second.memory_bytes, second.pressure),
            (None, None, None)
        );
        // Counters that went back, as after a restore from a snapshot.
        assert_eq!(reader.take(STAT, "", "", None).cpu, None);
    }

    proptest! {
        #[test]
        fn any_text(text in "(?s).{0,200}") {
            cpu_times(&text);
            load(&text);
            memory(&text);
            pressure(&text);
        }

        #[test]
        fn a_share_is_a_share(a in prop::array::uniform8(0u64..1 << 40), b in prop::array::uniform8(0u64..1 << 40)) {
            let text = |t: [u64; 8]| format!("cpu  {}\n", t.map(|n| n.to_string()).join(" "));
            if let (Some(a), Some(b)) = (cpu_times(&text(a)), cpu_times(&text(b)))
                && let Some(share) = busy_share(a, b)
            {
                prop_assert!((0.0..=1.0).contains(&share));
            }
        }
    }
}
