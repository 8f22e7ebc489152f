//! What the kernel tells of a machine's surroundings, and what agents tell of theirs.

use corridor::{
    proto,
    surroundings::{shown, shown_trace},
};
use corridor_probes::surroundings::{
    host::{HostReader, cpu_times},
    netlink::{Message, attributes, messages},
    route::{self, Sysfs, link_type},
    wifi,
};
use serde_json::Value;

use super::memory::at_most;

/// The number that nl80211 has here.
const FAMILY: u16 = 0x1c;
/// Bytes in an attribute, at most: of a link's name, or of its driver's.
const MAX_ATTRIBUTE: usize = u16::MAX as usize;

/// Netlink messages with routes, links, families, interfaces and access points: taken apart without an end
/// that is beyond the bytes, and what is read makes sense.
pub fn netlink_answers(data: &[u8]) {
    let count = at_most(0, || messages(data).count());
    assert!(count <= data.len() / 16);
    for message in messages(data) {
        assert!(message.body.len() + 16 <= data.len());
        let _ = (message.is_last(), message.error());
        let attributes = at_most(0, || attributes(message.body).count());
        assert!(attributes <= message.body.len() / 4);
        link(&message);
        wireless(&message);
    }
    let ways = || messages(data).filter_map(|m| at_most(0, || route::way(&m)));
    if let Some(way) = route::default_way(ways()) {
        assert!(way.prefix == 0 && way.is_unicast && way.gateway.is_some());
        assert!(ways().all(|w| w.prefix > 0
            || w.table != way.table
            || !w.is_unicast
            || w.gateway.is_none()
            || w.priority >= way.priority));
        // What is asked towards it is a request of one message.
        let asked = way.gateway.map(|gateway| route::way_request(gateway, 7));
        assert_eq!(messages(&asked.unwrap_or_default()).count(), 1);
    }
}

fn link(message: &Message<'_>) {
    let Some(link) = at_most(2 * MAX_ATTRIBUTE, || route::link(message)) else {
        return;
    };
    // Its name becomes a part of a path.
    assert!(!link.name.is_empty() && !link.name.contains('/') && link.name != "..");
    let devtype = route::devtype(&format!("INTERFACE=x\nDEVTYPE={}\n", link.name));
    assert!(devtype.is_some_and(|d| link.name.starts_with(&d)));
    assert!(!link_type(&link, &Sysfs::default()).text().is_empty());
}

fn wireless(message: &Message<'_>) {
    let _ = at_most(0, || wifi::family(message));
    if let Some(interface) = at_most(MAX_ATTRIBUTE, || wifi::interface(FAMILY, message)) {
        assert!(interface.ssid.is_none_or(|s| s.len() <= 32));
        let channel = interface.frequency_mhz.and_then(wifi::channel);
        assert!(channel.is_none_or(|c| (1..=233).contains(&c)));
    }
    if let Some(point) = at_most(0, || wifi::access_point(FAMILY, message)) {
        assert!(point.signal_dbm.is_none_or(|dbm| dbm < 0));
        for kbps in [point.tx_kbps, point.rx_kbps].into_iter().flatten() {
            assert!(kbps > 0 && kbps.is_multiple_of(100));
        }
    }
}

/// Texts of proc(5), one after the other with zeros between, four a reading: shares are 0 to 1, figures are
/// numbers.
pub fn host_load(data: &[u8]) {
    let Ok(text) = std::str::from_utf8(data) else {
        return;
    };
    let texts: Vec<_> = text.split('\0').collect();
    let mut reader = HostReader::default();
    for reading in texts.chunks(4) {
        let text = |i: usize| reading.get(i).copied();
        let seen = reader.take(
            text(0).unwrap_or_default(),
            text(1).unwrap_or_default(),
            text(2).unwrap_or_default(),
            text(3),
        );
        for share in [seen.cpu, seen.pressure].into_iter().flatten() {
            assert!((0.0..=1.0).contains(&share), "{seen:?}");
        }
        assert!(seen.load.is_none_or(|load| load.is_finite() && load >= 0.0));
        assert!(cpu_times(text(0).unwrap_or_default()).is_none_or(|times| times.busy <= times.all));
    }
}

/// What agents tell of their surroundings and of paths, as the API shows it: short, plain, and JSON that is
/// read again.
pub fn surroundings_shown(data: &[u8]) {
    if let Ok(said) = proto::decode::<proto::Surroundings>(data) {
        let shown = shown(&said);
        assert!(shown.not_seen.len() <= 8);
        if let Some(host) = &shown.host {
            let mut shares = [host.cpu, host.pressure].into_iter().flatten();
            assert!(shares.all(|share| (0.0..=1.0).contains(&share)));
            assert!(host.load.is_none_or(|load| load.is_finite() && load >= 0.0));
        }
        shown_plainly(serde_json::to_string(&shown), 16 * 1024);
    }
    if let Ok(said) = proto::decode::<proto::Trace>(data) {
        let shown = shown_trace(&said, |id| format!("edge-{id}"));
        assert!(shown.loss.is_none_or(|loss| (0.0..=1.0).contains(&loss)));
        assert!(shown.hops.len() <= usize::from(corridor_probes::trace::MAX_HOPS));
        assert_eq!(shown.reached, said.distance > 0);
        shown_plainly(serde_json::to_string(&shown), 512 * 1024);
    }
}

fn shown_plainly(shown: serde_json::Result<String>, most: usize) {
    let text = shown.expect("it can be shown");
    assert!(text.len() <= most, "{} B", text.len());
    assert!(is_plain(&serde_json::from_str(&text).expect("JSON")), "{text}");
}

fn is_plain(value: &Value) -> bool {
    match value {
        Value::String(text) => !text.contains(char::is_control),
        Value::Array(items) => items.iter().all(is_plain),
        Value::Object(fields) => fields
            .iter()
            .all(|(name, v)| !name.contains(char::is_control) && is_plain(v)),
        Value::Null | Value::Bool(_) | Value::Number(_) => true,
    }
}
