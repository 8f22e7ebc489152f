//! What agents tell of their surroundings, as the API shows it. It comes from outside: texts are bounded and
//! plain, figures that make no sense are left out, lists are short.

use corridor_probes::{
    EdgeId, Wall,
    surroundings::{Gap, NotSeen},
    trace::{MAX_ADDRESSES, MAX_HOPS},
};

use crate::{
    api::{
        model::{HostState, StallCount, Surroundings, Trace, TraceHop, TraceRtt, WifiState},
        time_text,
    },
    proto::{self, trace::Toward},
};

/// Longer than any address or name; sentences are [`SENTENCE`].
const MAX_TEXT: usize = 64;
const SENTENCE: usize = 200;
const MAX_GAPS: usize = 8;
/// Figures that can be missing.
const MAX_NOT_SEEN: usize = 8;

/// What lay around a machine.
pub fn shown(said: &proto::Surroundings) -> Surroundings {
    let not_seen = said.not_seen.iter().take(MAX_NOT_SEEN);
    Surroundings {
        at: time_text::text(Wall::from_micros(said.at_us)),
        link_type: some_text(&said.link_type),
        gateway_rtt_ms: said.gateway_rtt_us.map(ms),
        outside_rtt_ms: said.outside_rtt_us.map(ms),
        outside_hop: (said.outside_hop > 0).then_some(said.outside_hop),
        wifi: said.wifi.as_ref().map(wifi),
        host: said.host.as_ref().map(host),
        stalls: said.stalls.map(|s| StallCount {
            count: s.stalls,
            worst_ms: s.worst_ms.into(),
        }),
        not_seen: not_seen
            .map(|n| (text(&n.what, MAX_TEXT), reason(&n.why)))
            .collect(),
    }
}

/// A path. `name` is an edge's.
pub fn shown_trace(said: &proto::Trace, name: impl Fn(EdgeId) -> String) -> Trace {
    let edge = |id: u32| u16::try_from(id).ok().and_then(EdgeId::new);
    let toward = match &said.toward {
        Some(Toward::Edge(id)) => format!("edge:{}", edge(*id).map_or_else(|| id.to_string(), name)),
        Some(Toward::Target(target)) => format!("target:{}", text(target, SENTENCE)),
        None => "unknown".to_owned(),
    };
    let gaps = said.gaps.iter().take(MAX_GAPS).map(|gap| {
        serde_json::from_str::<Gap>(gap)
            .map_or_else(|_| text(gap, SENTENCE), |g| text(&g.to_string(), SENTENCE))
    });
    let nothing = (!said.not_seen.is_empty()).then(|| reason(&said.not_seen));
    Trace {
        at: time_text::text(Wall::from_micros(said.at_us)),
        toward,
        trigger: some_text(&said.trigger),
        method: some_text(&said.method),
        reached: said.distance > 0,
        loss: share(said.loss),
        hops: said.hops.iter().take(MAX_HOPS.into()).map(hop).collect(),
        not_seen: gaps.chain(nothing).collect(),
    }
}

fn hop(said: &proto::Hop) -> TraceHop {
    TraceHop {
        hop: said.hop,
        addresses: said
            .addresses
            .iter()
            .take(MAX_ADDRESSES)
            .map(|a| text(a, MAX_TEXT))
            .collect(),
        sent: said.sent,
        answered: said.answered,
        rtt_ms: (said.answered > 0).then(|| TraceRtt {
            best: ms(said.best_us),
            p50: ms(said.p50_us),
            worst: ms(said.worst_us),
        }),
        loss: share(said.loss),
        limits_answers: said.limits_answers,
        unreachable: some_text(&said.unreachable),
    }
}

fn wifi(said: &proto::Wifi) -> WifiState {
    let mbps = |kbps: u32| (kbps > 0).then(|| f64::from(kbps) / 1e3);
    let frequency = (said.frequency_mhz > 0).then_some(said.frequency_mhz);
    let octets: Vec<_> = said.bssid.iter().map(|octet| format!("{octet:02x}")).collect();
    WifiState {
        signal_dbm: (said.signal_dbm < 0).then_some(said.signal_dbm),
        tx_mbps: mbps(said.tx_kbps),
        rx_mbps: mbps(said.rx_kbps),
        channel: frequency.and_then(corridor_probes::surroundings::wifi::channel),
        frequency_mhz: frequency,
        ssid: some_text(&said.ssid),
        bssid: (octets.len() == 6).then(|| octets.join(":")),
    }
}

fn host(said: &proto::HostLoad) -> HostState {
    HostState {
        cpu: share(said.cpu),
        load: said.load.filter(|load| load.is_finite() && *load >= 0.0),
        processors: (said.processors > 0).then_some(said.processors),
        memory_bytes: (said.memory_bytes > 0).then_some(said.memory_bytes),
        available_bytes: said.available_bytes,
        pressure: share(said.pressure),
    }
}

fn ms(us: u32) -> f64 {
    f64::from(us) / 1e3
}

fn share(said: Option<f64>) -> Option<f64> {
    said.filter(|share| (0.0..=1.0).contains(share))
}

fn some_text(said: &str) -> Option<String> {
    Some(text(said, MAX_TEXT)).filter(|t| !t.is_empty())
}

/// A reason as a sentence; one that a newer agent has is shown as it came.
fn reason(json: &str) -> String {
    let known = serde_json::from_str::<NotSeen>(json).map(|why| why.to_string());
    text(known.as_deref().unwrap_or(json), SENTENCE)
}

fn text(said: &str, most: usize) -> String {
    said.chars().filter(|c| !c.is_control()).take(most).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nonsense_is_left_out() {
        let said = proto::Surroundings {
            link_type: "wi\u{1b}fi".repeat(40),
            host: Some(proto::HostLoad {
                cpu: Some(f64::NAN),
                load: Some(-1.0),
                pressure: Some(1.5),
                ..proto::HostLoad::default()
            }),
            wifi: Some(proto::Wifi {
                signal_dbm: 5,
                bssid: vec![1; 7],
                frequency_mhz: 5_180,
                ..proto::Wifi::default()
            }),
            not_seen: vec![
                proto::NotSeen {
                    what: "gateway".into(),
                    why: r#"{"kind":"no_answer"}"#.into(),
                };
                100
            ],
            ..proto::Surroundings::default()
        };
        let shown = shown(&said);
        let host = shown.host.unwrap();
        assert_eq!(
            (host.cpu, host.load, host.pressure, host.memory_bytes),
            (None, None, None, None)
        );
        let wifi = shown.wifi.unwrap();
        assert_eq!(
            (wifi.signal_dbm, wifi.bssid, wifi.channel),
            (None, None, Some(36))
        );
        assert_eq!(shown.link_type.map(|t| t.chars().count()), Some(MAX_TEXT));
        assert_eq!(shown.not_seen.len(), 1);
        assert_eq!(shown.not_seen["gateway"], "no answer");
    }

    #[test]
    fn lists_are_bounded_and_unknown_reasons_shown_as_they_came() {
        let said = proto::Trace {
            toward: Some(Toward::Edge(70_000)),
            hops: vec![proto::Hop::default(); 1_000],
            gaps: vec![r#"{"kind":"of_the_future"}"#.into(); 100],
            not_seen: r#"{"kind":"no_route"}"#.into(),
            ..proto::Trace::default()
        };
        let shown = shown_trace(&said, |_| "e".into());
        assert_eq!((shown.toward.as_str(), shown.hops.len()), ("edge:70000", 64));
        assert_eq!(shown.not_seen.len(), MAX_GAPS + 1);
        assert_eq!(shown.not_seen[0], r#"{"kind":"of_the_future"}"#);
        assert_eq!(shown.not_seen[MAX_GAPS], "there is no route");
        assert_eq!(shown.hops[0].rtt_ms, None);
    }
}
