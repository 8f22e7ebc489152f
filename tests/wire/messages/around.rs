//! What agents tell of their surroundings, of paths and of what they send.

use corridor::proto::*;

use super::check;

/// `event` is one without a trace.
pub fn values(with: &mut dyn FnMut(&'static str, Vec<u8>), event: Event) {
    let surroundings = surroundings(with);
    let path = path(with);
    let traced = Event {
        trace: Some(path.clone()),
        ..event
    };
    let traced = check(with, "Event.traced", traced);
    let traffic = check(
        with,
        "Traffic",
        Traffic {
            budget_bps: 60_000,
            share_bps: 40_000,
            out_bps: 31_000,
            back_bps: 30_000,
            peers_out_bps: 900,
            peers_back_bps: 800,
            rungs_down: 2,
            metered: true,
            is_known: true,
        },
    );
    let report = check(
        with,
        "Report.around",
        Report {
            boot: 5,
            sequence: 43,
            events: vec![traced],
            surroundings: Some(Box::new(surroundings)),
            path: Some(Box::new(path)),
            traffic: Some(traffic),
            ..Report::default()
        },
    );
    let body = Some(to_controller::Body::Report(report));
    check(with, "ToController.report.around", ToController { body });
}

fn surroundings(with: &mut dyn FnMut(&'static str, Vec<u8>)) -> Surroundings {
    let wifi = Wifi {
        signal_dbm: -61,
        tx_kbps: 866_700,
        rx_kbps: 156_000,
        frequency_mhz: 5_180,
        ssid: "room 7".into(),
        bssid: vec![2, 0, 0, 0, 1, 0],
    };
    let wifi = check(with, "Wifi", wifi);
    let host = HostLoad {
        cpu: Some(0.25),
        load: Some(1.5),
        processors: 4,
        memory_bytes: 8_000_000_000,
        available_bytes: Some(3_000_000_000),
        pressure: Some(0.125),
    };
    let host = check(with, "HostLoad", host);
    let stalls = Stalls {
        wakings: 6_000,
        stalls: 2,
        worst_ms: 340,
    };
    let stalls = check(with, "Stalls", stalls);
    let not_seen = NotSeen {
        what: "outside".into(),
        why: r#"{"kind":"none_outside"}"#.into(),
    };
    let not_seen = check(with, "NotSeen", not_seen);
    check(
        with,
        "Surroundings",
        Surroundings {
            at_us: 1_800_000_000_400_000,
            link_type: "wifi".into(),
            gateway_rtt_us: Some(2_100),
            outside_rtt_us: Some(9_800),
            outside_hop: 3,
            wifi: Some(wifi),
            host: Some(host),
            stalls: Some(stalls),
            not_seen: vec![not_seen],
        },
    )
}

fn path(with: &mut dyn FnMut(&'static str, Vec<u8>)) -> Trace {
    let hop = Hop {
        hop: 2,
        addresses: vec!["192.0.2.0/24".into(), "2001:db8::/48".into()],
        sent: 10,
        answered: 8,
        best_us: 9_000,
        p50_us: 9_800,
        worst_us: 40_000,
        loss: Some(0.25),
        limits_answers: true,
        unreachable: "administratively prohibited".into(),
    };
    let hop = check(with, "Hop", hop);
    let target = Trace {
        toward: Some(trace::Toward::Target("sfu.example:3478".into())),
        not_seen: r#"{"kind":"no_route"}"#.into(),
        ..Trace::default()
    };
    check(with, "Trace.target", target);
    check(
        with,
        "Trace",
        Trace {
            at_us: 1_800_000_000_450_000,
            toward: Some(trace::Toward::Edge(7)),
            trigger: "loss".into(),
            method: "udp".into(),
            distance: 9,
            loss: Some(0.0625),
            hops: vec![hop],
            gaps: vec![r#"{"kind":"end_silent"}"#.into()],
            not_seen: String::new(),
        },
    )
}
