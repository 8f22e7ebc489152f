//! Reads what lies around this machine. It blocks: for a few seconds where hops do not answer.

use std::{
    fs, io,
    net::IpAddr,
    ops::ControlFlow,
    path::Path as FilePath,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use super::{
    LinkType, NotSeen, Outside, Path, Sample, Scope, Seen, Wifi,
    host::{HostLoad, HostReader},
    path::bytes,
    ranges,
    route::{self, Sysfs, Way},
    socket::Netlink,
    wifi::{self, Name},
};
use crate::trace::{Clocks, MAX_HOPS, Method, TraceError, Tracing, Wanted};

/// A path that takes longer to trace is broken off; what was seen of it stands.
const PATH_PATIENCE: Duration = Duration::from_secs(20);
/// Where traceroute begins: nobody listens there.
const PORT: u16 = 33_434;
/// Rounds of a path: enough for a median, and to see loss of a third.
const ROUNDS: u32 = 3;
/// Linux answers one a second to one asker.
const INTERVAL: Duration = Duration::from_secs(1);
/// The most that a path may be long: longer ones are loops.
const MAX_PATH: u8 = 30;
/// Odd, so that seeds of all traces differ.
const NEXT_SEED: u64 = 0x9e37_79b9_7f4a_7c15;

/// Looks around, time after time.
#[derive(Debug)]
pub struct Looker {
    host: HostReader,
    scope: Scope,
    seed: u64,
    stop: Arc<AtomicBool>,
    /// By what hops were seen last; UDP, which needs no privilege, at first.
    method: Method,
}

/// Probes that went out, and the hops that answered the only probe of each.
#[derive(Debug, Default)]
struct Glance {
    probes: u32,
    hops: Vec<Option<(IpAddr, Duration)>>,
}

impl Looker {
    /// `seed` is random: it tells these probes from others'. Whatever waits is broken off within a tenth of
    /// a second once `stop` is set.
    pub fn new(seed: u64, scope: Scope, stop: Arc<AtomicBool>) -> Self {
        Self {
            host: HostReader::default(),
            scope,
            seed,
            stop,
            method: Method::Udp,
        }
    }

    /// Everything, on the way to `toward`. `outside` is the hop that was the first outside when the whole path
    /// was traced, or why there is none.
    pub fn sample(&mut self, toward: Option<IpAddr>, outside: Seen<u8>, clocks: &impl Clocks) -> Sample {
        let host = self.read_host();
        let mut routes = match Netlink::open(libc::NETLINK_ROUTE) {
            Ok(routes) => routes,
            Err(error) => {
                let why = failed("rtnetlink", &error);
                return Sample {
                    host,
                    ..Sample::nothing(why)
                };
            }
        };
        let (way, default) = (
            toward.map(|target| way_to(&mut routes, target)),
            default_way(&mut routes, toward.is_some_and(|t| t.is_ipv6())),
        );
        let used = match &way {
            Some(way) => way.clone(),
            None => default.ok_or(NotSeen::NobodyYet),
        };
        let link = used.clone().and_then(|way| link_of(&mut routes, way));
        let wifi = self.wifi(&mut routes, link.as_ref().ok().copied(), default);
        let (gateway, outside, spent) = match toward {
            Some(_) if !self.scope.hops => (Err(NotSeen::SwitchedOff), Err(NotSeen::SwitchedOff), 0),
            Some(target) => self.hops(target, &used, default, outside, clocks),
            None => (Err(NotSeen::NobodyYet), Err(NotSeen::NobodyYet), 0),
        };
        Sample {
            link: link.map(|link| link.kind),
            gateway,
            outside,
            wifi,
            host,
            probes: spent,
            bytes: toward.map_or(0, |target| bytes(target, spent)),
        }
    }

    /// Sends probes as another did last: what works for whole paths works for their first hops.
    pub fn probe_as(&mut self, other: &Self) {
        self.method = other.method;
    }

    /// The whole path to `target`.
    pub fn path(&mut self, target: IpAddr, clocks: &impl Clocks) -> Seen<Path> {
        let wanted = Wanted {
            target,
            rounds: ROUNDS,
            interval: INTERVAL,
            max_hops: MAX_PATH.min(MAX_HOPS),
            method: None,
            port: PORT,
            seed: self.next_seed(),
        };
        let mut tracing = Tracing::open(&wanted).map_err(unable)?;
        self.run(&mut tracing, clocks)?;
        self.method = tracing.method();
        let refused = tracing.refused().iter().map(ToString::to_string).collect();
        Ok(Path::of(
            tracing.tracer(),
            tracing.method().to_string(),
            refused,
            tracing.echo_method().is_some(),
        ))
    }

    /// The gateway and the first hop outside, by one probe each and one more where that is silent.
    fn hops(
        &mut self,
        target: IpAddr,
        way: &Seen<Way>,
        default: Option<Way>,
        outside: Seen<u8>,
        clocks: &impl Clocks,
    ) -> (Seen<Duration>, Seen<Outside>, u32) {
        let way = match way {
            Ok(way) => *way,
            Err(why) => return (Err(why.clone()), Err(why.clone()), 0),
        };
        let mut probes = 0;
        let mut first = Err(NotSeen::NoGateway);
        let mut beyond = Err(NotSeen::NoGateway);
        if way.gateway.is_some() {
            let glance = self.glance(target, outside.clone().unwrap_or(1), clocks);
            probes += glance.as_ref().map_or(0, |g| g.probes);
            let at = |hop: u8| match &glance {
                Ok(glance) => glance
                    .hops
                    .get(usize::from(hop).saturating_sub(1))
                    .copied()
                    .flatten()
                    .ok_or(NotSeen::NoAnswer),
                Err(why) => Err(why.clone()),
            };
            first = at(1).map(|(_, rtt)| rtt);
            beyond = outside.and_then(|hop| {
                let (address, rtt) = at(hop)?;
                // The path may have changed since.
                (!ranges::is_inside(address))
                    .then_some(Outside { hop, rtt })
                    .ok_or(NotSeen::NoneOutside)
            });
        }
        // A router that says nothing of others' packets may answer for itself.
        let itself = way.gateway.or(default.and_then(|d| d.gateway));
        if first.is_err()
            && let Some(gateway) = itself.filter(|g| !is_link_local(*g))
        {
            let glance = self.glance(gateway, 1, clocks);
            probes += glance.as_ref().map_or(0, |g| g.probes);
            first = glance.and_then(|g| {
                g.hops
                    .first()
                    .copied()
                    .flatten()
                    .map(|(_, rtt)| rtt)
                    .ok_or(NotSeen::NoAnswer)
            });
        }
        (first, beyond, probes)
    }

    /// One probe to each of the first hops towards `target`.
    fn glance(&mut self, target: IpAddr, hops: u8, clocks: &impl Clocks) -> Seen<Glance> {
        let wanted = Wanted {
            target,
            rounds: 1,
            interval: INTERVAL,
            max_hops: hops.clamp(1, MAX_PATH),
            // One way, or a silent end would be asked by all of them.
            method: Some(self.method),
            port: PORT,
            seed: self.next_seed(),
        };
        let mut tracing = Tracing::open(&wanted).map_err(unable)?;
        self.run(&mut tracing, clocks)?;
        let tracer = tracing.tracer();
        let path = Path::of(tracer, String::new(), Vec::new(), false);
        Ok(Glance {
            probes: path.probes,
            hops: path
                .hops
                .iter()
                .map(|hop| Some((*hop.addresses.first()?, hop.rtt?.best)))
                .collect(),
        })
    }

    /// Runs a trace to its end, or for as long as anybody waits for it.
    fn run(&self, tracing: &mut Tracing, clocks: &impl Clocks) -> Seen<()> {
        let until = clocks.mono() + PATH_PATIENCE;
        let go_on = |_: &Tracing| match clocks.mono() < until && !self.stop.load(Ordering::Relaxed) {
            true => ControlFlow::Continue(()),
            false => ControlFlow::Break(()),
        };
        tracing.run(clocks, go_on).map_err(unable)
    }

    fn next_seed(&mut self) -> u64 {
        self.seed = self.seed.wrapping_add(NEXT_SEED);
        self.seed
    }

    fn read_host(&mut self) -> Seen<HostLoad> {
        let read = |name| fs::read_to_string(FilePath::new("/proc").join(name));
        let texts = read("stat").and_then(|stat| Ok((stat, read("loadavg")?, read("meminfo")?)));
        let (stat, loadavg, meminfo) = texts.map_err(|e| failed("/proc", &e))?;
        // Kernels without PSI have no such file.
        let psi = read("pressure/cpu").ok();
        Ok(self.host.take(&stat, &loadavg, &meminfo, psi.as_deref()))
    }

    /// Of the interface that is used, if it is wireless, else of the default route's: what a tunnel goes
    /// through.
    fn wifi(&self, routes: &mut Netlink, used: Option<Used>, default: Option<Way>) -> Seen<Wifi> {
        let is_wifi = |link: &Used| link.kind == LinkType::Wifi;
        let link = match used.filter(is_wifi) {
            Some(link) => link,
            None => link_of(routes, default.ok_or(NotSeen::NotWireless)?)?,
        };
        if !is_wifi(&link) {
            return Err(NotSeen::NotWireless);
        }
        read_wifi(link.index, self.scope.wifi_names)
    }
}

/// An interface on the way.
#[derive(Debug, Clone, Copy)]
struct Used {
    index: u32,
    kind: LinkType,
}

fn read_wifi(index: u32, names: bool) -> Seen<Wifi> {
    let told = |error: io::Error| match error.raw_os_error() {
        Some(libc::ENOENT) => NotSeen::NotInKernel,
        Some(libc::ENODEV) => NotSeen::NotWireless,
        _ => failed("nl80211", &error),
    };
    let mut generic = Netlink::open(libc::NETLINK_GENERIC).map_err(told)?;
    let mut family = None;
    generic
        .ask(wifi::family_request, |m| family = family.or(wifi::family(m)))
        .map_err(told)?;
    let family = family.ok_or(NotSeen::NotInKernel)?;
    let mut interface = None;
    generic
        .ask(
            |n| wifi::interface_request(family, index, n),
            |m| {
                interface = interface.take().or_else(|| wifi::interface(family, m));
            },
        )
        .map_err(told)?;
    let interface = interface.filter(|i| i.is_station).ok_or(NotSeen::NotConnected)?;
    let mut point = None;
    generic
        .ask(
            |n| wifi::stations_request(family, index, n),
            |m| {
                point = point.take().or_else(|| wifi::access_point(family, m));
            },
        )
        .map_err(told)?;
    let point = point.ok_or(NotSeen::NotConnected)?;
    Ok(Wifi {
        signal_dbm: point.signal_dbm,
        tx_kbps: point.tx_kbps,
        rx_kbps: point.rx_kbps,
        frequency_mhz: interface.frequency_mhz,
        name: names.then_some(Name {
            ssid: interface.ssid,
            bssid: point.address,
        }),
    })
}

fn way_to(routes: &mut Netlink, target: IpAddr) -> Seen<Way> {
    let mut found = None;
    let asked = routes.ask(
        |n| route::way_request(target, n),
        |m| found = found.or(route::way(m)),
    );
    match asked.map_err(|e| (e.raw_os_error(), e)) {
        Ok(()) => found.ok_or(NotSeen::NoRoute),
        Err((Some(libc::ENETUNREACH | libc::EHOSTUNREACH), _)) => Err(NotSeen::NoRoute),
        Err((_, error)) => Err(failed("rtnetlink", &error)),
    }
}

fn default_way(routes: &mut Netlink, v6: bool) -> Option<Way> {
    let mut all = Vec::new();
    // Without an answer there is none that is known.
    let _ = routes.ask(
        |n| route::ways_request(v6, n),
        |m| all.extend(route::way(m).filter(|w| w.prefix == 0)),
    );
    route::default_way(all.into_iter())
}

fn link_of(routes: &mut Netlink, way: Way) -> Seen<Used> {
    let index = way.interface.ok_or(NotSeen::NoRoute)?;
    let mut found = None;
    routes
        .ask(
            |n| route::link_request(index, n),
            |m| found = found.take().or_else(|| route::link(m)),
        )
        .map_err(|e| failed("rtnetlink", &e))?;
    let link = found.ok_or(NotSeen::NoRoute)?;
    let at = FilePath::new("/sys/class/net").join(&link.name);
    let uevent = fs::read_to_string(at.join("uevent")).unwrap_or_default();
    let sysfs = Sysfs {
        wireless: at.join("wireless").exists() || at.join("phy80211").exists(),
        devtype: route::devtype(&uevent),
    };
    Ok(Used {
        index,
        kind: route::link_type(&link, &sysfs),
    })
}

fn is_link_local(address: IpAddr) -> bool {
    matches!(address, IpAddr::V6(v6) if v6.is_unicast_link_local())
}

fn unable(error: TraceError) -> NotSeen {
    match &error {
        TraceError::Send { source, .. } if source.kind() == io::ErrorKind::NetworkUnreachable => {
            NotSeen::NoRoute
        }
        // Not where to: addresses are told truncated, or not at all.
        TraceError::Send { source, .. } => failed("sending", source),
        _ => {
            let mut why = error.to_string();
            if let Some(source) = std::error::Error::source(&error) {
                why = format!("{why}: {source}");
            }
            NotSeen::Failed { why }
        }
    }
}

fn failed(what: &str, error: &io::Error) -> NotSeen {
    NotSeen::Failed {
        why: format!("{what}: {error}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn this_machine_tells_of_itself() {
        let mut routes = Netlink::open(libc::NETLINK_ROUTE).unwrap();
        for target in ["127.0.0.1", "127.1.2.3"] {
            let way = way_to(&mut routes, target.parse().unwrap()).unwrap();
            assert_eq!(way.gateway, None);
            assert_eq!(link_of(&mut routes, way).unwrap().kind, LinkType::Loopback);
        }
        let nowhere = Way {
            interface: Some(u32::MAX >> 1),
            ..way_to(&mut routes, [127, 0, 0, 1].into()).unwrap()
        };
        assert!(link_of(&mut routes, nowhere).is_err());
        let mut looker = Looker::new(
            1,
            Scope {
                hops: false,
                wifi_names: false,
            },
            Arc::default(),
        );
        let (first, second) = (looker.read_host().unwrap(), looker.read_host().unwrap());
        assert!(first.cpu.is_none() && first.processors > 0 && second.memory_bytes > second.available_bytes);
    }
}
