//! What was seen, as it travels.

use corridor_probes::{
    Wall,
    surroundings::{HostLoad, NotSeen, Path, PathHop, Sample, Seen, Stalls, Wifi},
};

use super::{PathLook, Toward, Traced};
use crate::{proto, site::truncated};

/// A sample that was taken at `at`, and the stalls until it.
pub fn sample(at: Wall, sample: &Sample, stalls: Stalls) -> proto::Surroundings {
    let mut not_seen = Vec::new();
    let link = seen("link", &sample.link, &mut not_seen);
    let gateway = seen("gateway", &sample.gateway, &mut not_seen);
    let outside = seen("outside", &sample.outside, &mut not_seen);
    proto::Surroundings {
        at_us: at.as_micros(),
        link_type: link.map_or_else(String::new, ToString::to_string),
        gateway_rtt_us: gateway.map(|&rtt| us(rtt)),
        outside_rtt_us: outside.map(|o| us(o.rtt)),
        outside_hop: outside.map_or(0, |o| o.hop.into()),
        wifi: seen("wifi", &sample.wifi, &mut not_seen).map(wifi),
        host: seen("host", &sample.host, &mut not_seen).map(host),
        stalls: Some(proto::Stalls {
            wakings: stalls.wakings,
            stalls: stalls.stalls,
            worst_ms: u32::try_from(stalls.worst.as_millis()).unwrap_or(u32::MAX),
        }),
        not_seen,
    }
}

fn seen<'a, T>(what: &str, seen: &'a Seen<T>, not_seen: &mut Vec<proto::NotSeen>) -> Option<&'a T> {
    if let Err(why) = seen {
        not_seen.push(proto::NotSeen {
            what: what.to_owned(),
            why: json(why),
        });
    }
    seen.as_ref().ok()
}

/// A path that was asked for at `at`. Addresses are whole only if `full_addresses`.
pub fn trace(at: Wall, traced: &Traced, full_addresses: bool) -> proto::Trace {
    let PathLook { toward, trigger, .. } = &traced.look;
    let trace = proto::Trace {
        at_us: at.as_micros(),
        toward: Some(match toward {
            Toward::Edge(id) => proto::trace::Toward::Edge(id.get().into()),
            Toward::Target(target) => proto::trace::Toward::Target(target.clone()),
        }),
        trigger: trigger
            .as_ref()
            .map_or_else(String::new, |t| t.trouble.text().to_owned()),
        ..proto::Trace::default()
    };
    match &traced.path {
        Err(why) => proto::Trace {
            not_seen: json(why),
            ..trace
        },
        Ok(path) => proto::Trace {
            method: path.method.clone(),
            distance: path.distance.unwrap_or(0).into(),
            loss: path.loss,
            hops: path.hops.iter().map(|h| hop(h, full_addresses)).collect(),
            gaps: path
                .gaps
                .iter()
                .map(|g| serde_json::to_string(g).unwrap_or_default())
                .collect(),
            ..trace
        },
    }
}

/// One sentence on a path that trouble asked for; `toward` is its end's name.
pub fn sentence(traced: &Traced, toward: &str) -> String {
    let because = traced
        .look
        .trigger
        .as_ref()
        .map_or_else(|| "on schedule".to_owned(), |t| format!("because {}", t.trouble));
    let found = match &traced.path {
        Err(why) => why.to_string(),
        Ok(path) => found(path),
    };
    format!("traced the path to {toward}, {because}: {found}")
}

fn found(path: &Path) -> String {
    let ms = |hop: &PathHop| hop.rtt.map(|t| format!("{:.1} ms", t.p50.as_secs_f64() * 1e3));
    let first = path.hops.first().and_then(ms);
    let first = first.map_or_else(
        || "the first does not answer".to_owned(),
        |ms| format!("the first {ms}"),
    );
    let last = path.hops.iter().rev().find_map(|h| Some((h.hop, ms(h)?)));
    let end = match (last, path.distance) {
        (None, _) => return "no hop answered".to_owned(),
        (Some((_, ms)), Some(_)) => format!("the end {ms}"),
        (Some((hop, ms)), None) => format!("nothing beyond hop {hop}, {ms}"),
    };
    let hops = path.hops.len();
    let plural = if hops == 1 { "hop" } else { "hops" };
    match path.loss.filter(|&loss| loss > 0.0) {
        Some(loss) => format!("{hops} {plural}, {first}, {end}, {:.0} % lost", loss * 100.0),
        None => format!("{hops} {plural}, {first}, {end}"),
    }
}

fn hop(hop: &PathHop, full_addresses: bool) -> proto::Hop {
    let mut addresses: Vec<_> = hop
        .addresses
        .iter()
        .map(|&a| {
            if full_addresses {
                a.to_string()
            } else {
                truncated(a)
            }
        })
        .collect();
    addresses.dedup();
    let time = |of: fn(&corridor_probes::surroundings::Times) -> std::time::Duration| {
        hop.rtt.as_ref().map_or(0, |times| us(of(times)).max(1))
    };
    proto::Hop {
        hop: hop.hop.into(),
        addresses,
        sent: hop.sent,
        answered: hop.answered,
        best_us: time(|t| t.best),
        p50_us: time(|t| t.p50),
        worst_us: time(|t| t.worst),
        loss: hop.loss,
        limits_answers: hop.limits_answers,
        unreachable: hop.unreachable.unwrap_or_default().to_owned(),
    }
}

fn wifi(wifi: &Wifi) -> proto::Wifi {
    let name = wifi.name.as_ref();
    proto::Wifi {
        signal_dbm: wifi.signal_dbm.unwrap_or(0).into(),
        tx_kbps: wifi.tx_kbps.unwrap_or(0),
        rx_kbps: wifi.rx_kbps.unwrap_or(0),
        frequency_mhz: wifi.frequency_mhz.unwrap_or(0),
        ssid: name.and_then(|n| n.ssid.clone()).unwrap_or_default(),
        bssid: name.and_then(|n| n.bssid).map_or_else(Vec::new, |b| b.to_vec()),
    }
}

fn host(load: &HostLoad) -> proto::HostLoad {
    proto::HostLoad {
        cpu: load.cpu,
        load: load.load,
        processors: load.processors,
        memory_bytes: load.memory_bytes.unwrap_or(0),
        available_bytes: load.available_bytes,
        pressure: load.pressure,
    }
}

fn us(time: std::time::Duration) -> u32 {
    u32::try_from(time.as_micros()).unwrap_or(u32::MAX)
}

/// A type with no map and no number in it is always JSON.
fn json(why: &NotSeen) -> String {
    serde_json::to_string(why).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use corridor_probes::{
        EdgeId, Mono,
        surroundings::{Gap, LinkType, Outside, Times, wifi::Name},
    };

    use super::*;
    use crate::{
        agent::surroundings::{Trigger, Trouble},
        surroundings::{shown, shown_trace},
    };

    fn traced(path: Seen<Path>) -> Traced {
        let trigger = Trigger {
            trouble: Trouble::Breach,
            class: "c".into(),
        };
        Traced {
            look: PathLook {
                toward: Toward::Edge(EdgeId::new(3).unwrap()),
                trigger: Some(trigger),
                at: Mono::ZERO,
            },
            path,
        }
    }

    fn a_path() -> Path {
        let hop = |hop: u8, address: &str, ms: u64| PathHop {
            hop,
            addresses: vec![address.parse().unwrap()],
            sent: 3,
            answered: 3,
            rtt: Some(Times {
                best: Duration::from_millis(ms),
                p50: Duration::from_millis(ms),
                worst: Duration::from_millis(ms),
            }),
            loss: Some(0.0),
            limits_answers: false,
            unreachable: None,
        };
        Path {
            target: "203.0.113.9".parse().unwrap(),
            method: "udp".into(),
            distance: Some(2),
            loss: Some(0.25),
            hops: vec![hop(1, "192.168.1.1", 2), hop(2, "203.0.113.9", 160)],
            gaps: vec![Gap::BrokenOff],
            probes: 6,
        }
    }

    #[test]
    fn addresses_are_whole_only_if_the_operator_says_so() {
        for (full, wanted) in [
            (false, ["192.168.1.0/24", "203.0.113.0/24"]),
            (true, ["192.168.1.1", "203.0.113.9"]),
        ] {
            let said = trace(Wall::from_secs(1), &traced(Ok(a_path())), full);
            let got: Vec<_> = said.hops.iter().flat_map(|h| h.addresses.clone()).collect();
            assert_eq!(got, wanted);
        }
    }

    #[test]
    fn a_path_and_what_is_shown_of_it() {
        let traced = traced(Ok(a_path()));
        let shown = shown_trace(&trace(Wall::from_secs(1_800_000_000), &traced, false), |_| {
            "fra".into()
        });
        assert_eq!(
            (shown.toward.as_str(), shown.trigger.as_deref()),
            ("edge:fra", Some("breach"))
        );
        assert_eq!(
            (shown.reached, shown.loss, shown.hops.len()),
            (true, Some(0.25), 2)
        );
        assert_eq!(shown.hops[1].rtt_ms.map(|r| r.p50), Some(160.0));
        assert_eq!(shown.not_seen, ["broken off: it took too long"]);
        assert_eq!(
            sentence(&traced, "fra"),
            "traced the path to fra, because the route was over the budget: 2 hops, the first 2.0 ms, the end \
             160.0 ms, 25 % lost"
        );
        let nothing = super::tests::traced(Err(NotSeen::NoRoute));
        assert!(sentence(&nothing, "fra").ends_with(": there is no route"));
    }

    #[test]
    fn a_sample_and_what_is_shown_of_it() {
        let taken = Sample {
            link: Ok(LinkType::Wifi),
            gateway: Err(NotSeen::NoAnswer),
            outside: Ok(Outside {
                hop: 3,
                rtt: Duration::from_micros(9_500),
            }),
            wifi: Ok(Wifi {
                signal_dbm: Some(-61),
                tx_kbps: Some(433_300),
                rx_kbps: None,
                frequency_mhz: Some(5_180),
                name: Some(Name {
                    ssid: Some("room 7".into()),
                    bssid: Some([2, 0, 0, 0, 1, 0xa]),
                }),
            }),
            host: Err(NotSeen::OtherSystem),
            probes: 2,
            bytes: 128,
        };
        let stalls = Stalls {
            wakings: 100,
            stalls: 2,
            worst: Duration::from_millis(350),
        };
        let shown = shown(&sample(Wall::from_secs(1_800_000_000), &taken, stalls));
        assert_eq!(shown.link_type.as_deref(), Some("wifi"));
        assert_eq!(
            (shown.gateway_rtt_ms, shown.outside_rtt_ms, shown.outside_hop),
            (None, Some(9.5), Some(3))
        );
        let wifi = shown.wifi.unwrap();
        assert_eq!(
            (wifi.signal_dbm, wifi.tx_mbps, wifi.channel),
            (Some(-61), Some(433.3), Some(36))
        );
        assert_eq!(
            (wifi.ssid.as_deref(), wifi.bssid.as_deref()),
            (Some("room 7"), Some("02:00:00:00:01:0a"))
        );
        assert_eq!(shown.stalls.map(|s| (s.count, s.worst_ms)), Some((2, 350.0)));
        let why: Vec<_> = shown
            .not_seen
            .iter()
            .map(|(k, v)| (k.as_str(), v.as_str()))
            .collect();
        assert_eq!(
            why,
            [("gateway", "no answer"), ("host", "not seen on this system")]
        );
    }
}
