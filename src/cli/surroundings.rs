//! What lies around a machine, for people to read.

use super::output;
use crate::api::model::{HostState, Surroundings, Trace, WifiState};

/// A line for each thing: what was seen, or why not.
pub fn lines(seen: &Surroundings) -> Vec<String> {
    let or_why = |what: &str, text: Option<String>| {
        text.or_else(|| seen.not_seen.get(what).map(|why| format!("not seen: {why}")))
    };
    let ms = |ms: f64| format!("{ms:.1} ms");
    let outside = seen.outside_rtt_ms.map(|rtt| match seen.outside_hop {
        Some(hop) => format!("{} at hop {hop}", ms(rtt)),
        None => ms(rtt),
    });
    let stalls = seen.stalls.map(|s| match s.count {
        0 => format!("none, latest waking by {:.0} ms", s.worst_ms),
        count => format!("{count}, worst {:.0} ms", s.worst_ms),
    });
    [
        ("link", or_why("link", seen.link_type.clone())),
        ("gateway", or_why("gateway", seen.gateway_rtt_ms.map(ms))),
        ("outside", or_why("outside", outside)),
        ("Wi-Fi", or_why("wifi", seen.wifi.as_ref().map(wifi))),
        ("machine", or_why("host", seen.host.as_ref().map(host))),
        ("stalls", stalls),
    ]
    .into_iter()
    .filter_map(|(what, text)| Some(format!("{what:<8} {}", text?)))
    .collect()
}

fn wifi(wifi: &WifiState) -> String {
    let parts = [
        wifi.ssid.clone(),
        wifi.signal_dbm.map(|dbm| format!("{dbm} dBm")),
        wifi.tx_mbps.map(|mbps| format!("{mbps:.0} Mbit/s up")),
        wifi.rx_mbps.map(|mbps| format!("{mbps:.0} Mbit/s down")),
        wifi.channel.map(|channel| format!("channel {channel}")),
    ];
    parts.into_iter().flatten().collect::<Vec<_>>().join(", ")
}

fn host(host: &HostState) -> String {
    let gib = |bytes: u64| bytes as f64 / f64::from(1 << 30);
    let memory = host.available_bytes.zip(host.memory_bytes);
    let parts = [
        host.cpu.map(|cpu| format!("CPU {}", output::percent(Some(cpu)))),
        host.load.map(|load| match host.processors {
            Some(n) => format!("load {load:.2} on {n} processors"),
            None => format!("load {load:.2}"),
        }),
        memory.map(|(free, all)| format!("{:.1} of {:.1} GiB free", gib(free), gib(all))),
        host.pressure
            .map(|share| format!("waiting for CPU {}", output::percent(Some(share)))),
    ];
    parts.into_iter().flatten().collect::<Vec<_>>().join(", ")
}

/// What a path is of.
pub fn title(path: &Trace) -> String {
    let why = path.trigger.as_deref().unwrap_or("on schedule").replace('_', " ");
    let reached = if path.reached { "" } else { ", not reached" };
    format!("path to {} ({why}){reached}", path.toward)
}

/// A table of its hops, and what could not be seen.
pub fn hops(path: &Trace) -> String {
    let mut text = String::new();
    if !path.hops.is_empty() {
        text = output::table(
            ["HOP", "ADDRESS", "RTT p50", "WORST", "ANSWERED", "LOSS"],
            path.hops.iter().map(|hop| {
                let loss = match (hop.loss, hop.limits_answers) {
                    (Some(loss), _) => output::percent(Some(loss)),
                    (None, true) => "limits its answers".to_owned(),
                    (None, false) => output::percent(None),
                };
                [
                    hop.hop.to_string(),
                    hop.addresses.join(" "),
                    output::ms(hop.rtt_ms.map(|r| r.p50)),
                    output::ms(hop.rtt_ms.map(|r| r.worst)),
                    format!("{} of {}", hop.answered, hop.sent),
                    hop.unreachable.clone().unwrap_or(loss),
                ]
            }),
        )
        .to_string();
    }
    for why in &path.not_seen {
        if !text.is_empty() {
            text.push('\n');
        }
        text.push_str(why);
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::api::model::StallCount;

    #[test]
    fn what_was_not_seen_is_said() {
        let mut seen = Surroundings {
            at: String::new(),
            link_type: Some("wifi".into()),
            gateway_rtt_ms: None,
            outside_rtt_ms: Some(9.46),
            outside_hop: Some(3),
            wifi: None,
            host: None,
            stalls: Some(StallCount {
                count: 2,
                worst_ms: 350.0,
            }),
            not_seen: [("gateway".to_owned(), "no answer".to_owned())].into(),
        };
        seen.wifi = Some(WifiState {
            signal_dbm: Some(-61),
            tx_mbps: Some(433.3),
            rx_mbps: None,
            channel: Some(36),
            frequency_mhz: Some(5_180),
            ssid: None,
            bssid: None,
        });
        let wanted = [
            "link     wifi",
            "gateway  not seen: no answer",
            "outside  9.5 ms at hop 3",
            "Wi-Fi    -61 dBm, 433 Mbit/s up, channel 36",
            "stalls   2, worst 350 ms",
        ];
        assert_eq!(lines(&seen), wanted);
    }
}
