//! What this machine says of itself: its addresses, its load; and how addresses are told.

use std::net::IpAddr;

use corridor_probes::Mono;

use crate::machine::Machine;

/// This process's own load.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub struct LoadReading {
    /// Share of one core since the last reading; `None` where it is not known, or there was none before.
    pub cpu: Option<f64>,
    /// 0 where it is not known.
    pub rss_bytes: u64,
}

/// Reads this process's load, from one reading to the next.
#[derive(Debug, Default)]
pub struct Load {
    last: Option<(Mono, f64)>,
    /// A simulated machine shares its process with all the others.
    simulated: bool,
}

impl Load {
    /// Of the process that runs on `machine`; a simulated machine has none of its own.
    pub fn of(machine: &Machine) -> Self {
        Self {
            last: None,
            simulated: machine.repeatable,
        }
    }

    pub fn read(&mut self, now: Mono) -> LoadReading {
        if self.simulated {
            return LoadReading::default();
        }
        let Some((cpu_s, rss_bytes)) = process() else {
            return LoadReading::default();
        };
        let cpu = match self.last.replace((now, cpu_s)) {
            Some((then, before)) if now > then => {
                Some(((cpu_s - before) / now.since(then).as_secs_f64()).max(0.0))
            }
            _ => None,
        };
        LoadReading { cpu, rss_bytes }
    }
}

/// CPU seconds and resident bytes of this process.
#[cfg(target_os = "linux")]
fn process() -> Option<(f64, u64)> {
    let stat = std::fs::read_to_string("/proc/self/stat").ok()?;
    // The command's name may hold anything; the fields after it are numbers (proc(5)).
    let fields: Vec<_> = stat.rsplit_once(')')?.1.split_whitespace().collect();
    let number = |i: usize| fields.get(i)?.parse::<u64>().ok();
    // Linux shows times in ticks of 10 ms and memory in pages of 4 KiB on all that we run on.
    let cpu_s = (number(11)? + number(12)?) as f64 / 100.0;
    Some((cpu_s, number(21)? * 4_096))
}

#[cfg(not(target_os = "linux"))]
fn process() -> Option<(f64, u64)> {
    None
}

/// Addresses of this machine that others may reach it at: loopback and link-local left out, unless there
/// is nothing else.
#[cfg(unix)]
#[expect(unsafe_code, reason = "std has no way to list interfaces")]
pub fn addresses() -> Vec<IpAddr> {
    let mut all = Vec::new();
    let mut list: *mut libc::ifaddrs = std::ptr::null_mut();
    // SAFETY: getifaddrs fills `list`, which is freed below and not used after.
    if unsafe { libc::getifaddrs(&mut list) } != 0 {
        return vec![IpAddr::from([127, 0, 0, 1])];
    }
    let mut at = list;
    while !at.is_null() {
        // SAFETY: `at` is a node of the list, which is not freed yet.
        let node = unsafe { &*at };
        at = node.ifa_next;
        let up = node.ifa_flags & (libc::IFF_UP as libc::c_uint) != 0;
        if node.ifa_addr.is_null() || !up {
            continue;
        }
        // SAFETY: the address is valid while the list is, and its family says which type it is.
        let address = unsafe {
            match i32::from((*node.ifa_addr).sa_family) {
                libc::AF_INET => {
                    let v4 = &*node.ifa_addr.cast::<libc::sockaddr_in>();
                    Some(IpAddr::from(u32::from_be(v4.sin_addr.s_addr).to_be_bytes()))
                }
                libc::AF_INET6 => {
                    let v6 = &*node.ifa_addr.cast::<libc::sockaddr_in6>();
                    Some(IpAddr::from(v6.sin6_addr.s6_addr))
                }
                _ => None,
            }
        };
        all.extend(address);
    }
    // SAFETY: `list` came from getifaddrs and is freed once.
    unsafe { libc::freeifaddrs(list) };
    let outward = |ip: &IpAddr| match ip {
        IpAddr::V4(v4) => !v4.is_loopback() && !v4.is_link_local() && !v4.is_unspecified(),
        IpAddr::V6(v6) => !v6.is_loopback() && !v6.is_unicast_link_local() && !v6.is_unspecified(),
    };
    let mut chosen: Vec<_> = all.into_iter().filter(outward).collect();
    if chosen.is_empty() {
        chosen.push(IpAddr::from([127, 0, 0, 1]));
    }
    chosen
}

#[cfg(not(unix))]
pub fn addresses() -> Vec<IpAddr> {
    vec![IpAddr::from([127, 0, 0, 1])]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn load_is_unknown_where_it_is_not_measured() {
        let mut simulated = Load {
            last: None,
            simulated: true,
        };
        let mut own = Load::default();
        for (second, is_known) in [(1, false), (2, cfg!(target_os = "linux"))] {
            let now = Mono::from_millis(second * 1_000);
            assert_eq!(simulated.read(now), LoadReading::default());
            assert_eq!(own.read(now).cpu.is_some(), is_known, "at {second} s");
        }
    }
}
