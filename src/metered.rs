//! Is this machine's line paid by the byte? The operator says so, or the system shows that the way out is a
//! mobile modem. Desktops know more (NetworkManager, over D-Bus), which is not asked.

use serde::Deserialize;

/// What the operator said.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Metered {
    /// As the system shows.
    #[default]
    Auto,
    Yes,
    No,
}

/// The type of link that counts as metered, where the operator names it.
const CELLULAR: &str = "cellular";

impl Metered {
    /// Whether this machine's line is metered now. `link_type` is what the operator called it; `look`, whether
    /// the system may be looked at.
    pub fn applies(self, link_type: &str, look: bool) -> bool {
        match self {
            Self::Yes => true,
            Self::No => false,
            Self::Auto => link_type == CELLULAR || (look && way_out_is_mobile()),
        }
    }
}

/// Whether packets to anywhere leave by a modem of a mobile network.
#[cfg(target_os = "linux")]
fn way_out_is_mobile() -> bool {
    let read = |path: &str| std::fs::read_to_string(path).unwrap_or_default();
    let interface = default_interface(&read("/proc/net/route"), &read("/proc/net/ipv6_route"));
    interface.is_some_and(|name| is_modem(&read(&format!("/sys/class/net/{name}/uevent"))))
}

#[cfg(not(target_os = "linux"))]
fn way_out_is_mobile() -> bool {
    false
}

/// The interface of the default route with the least metric, IPv4's if there is one. Both files are the
/// kernel's tables as text (proc_net(5)).
#[cfg(any(target_os = "linux", test))]
fn default_interface(route: &str, ipv6_route: &str) -> Option<String> {
    let v4 = route.lines().skip(1).filter_map(|line| {
        let fields: Vec<_> = line.split_whitespace().collect();
        let [name, destination, _, _, _, _, metric, mask, ..] = fields[..] else {
            return None;
        };
        let is_default = destination == "00000000" && mask == "00000000";
        is_default.then_some((metric.parse::<u32>().ok()?, name))
    });
    let v6 = ipv6_route.lines().filter_map(|line| {
        let fields: Vec<_> = line.split_whitespace().collect();
        let [destination, length, _, _, _, metric, _, _, _, name] = fields[..] else {
            return None;
        };
        let is_default = destination.bytes().all(|b| b == b'0') && length == "00" && name != "lo";
        is_default.then_some((u32::from_str_radix(metric, 16).ok()?, name))
    });
    v4.min().or(v6.min()).map(|(_, name)| name.to_owned())
}

/// Drivers of mobile modems say so in their device's description.
#[cfg(any(target_os = "linux", test))]
fn is_modem(uevent: &str) -> bool {
    uevent.lines().any(|line| line == "DEVTYPE=wwan")
}

#[cfg(test)]
mod tests {
    use super::*;

    const ROUTE: &str = "\
Iface\tDestination\tGateway \tFlags\tRefCnt\tUse\tMetric\tMask\t\tMTU\tWindow\tIRTT
eth0\t0000A8C0\t00000000\t0001\t0\t0\t100\t00FFFFFF\t0\t0\t0
wwan0\t00000000\t0100000A\t0003\t0\t0\t700\t00000000\t0\t0\t0
eth0\t00000000\t0100A8C0\t0003\t0\t0\t100\t00000000\t0\t0\t0
";
    const ROUTE_V6: &str = "\
20010db8000000000000000000000000 40 00000000000000000000000000000000 00 00000000000000000000000000000000 00000100 00000001 00000000 00000001     eth0
00000000000000000000000000000000 00 00000000000000000000000000000000 00 fe800000000000000000000000000001 00000400 00000001 00000000 00450003    wwan0
00000000000000000000000000000000 00 00000000000000000000000000000000 00 00000000000000000000000000000000 ffffffff 00000001 00000000 00200200       lo
";

    #[test]
    fn the_way_out_is_the_default_route_with_the_least_metric() {
        let of = |v4, v6| default_interface(v4, v6);
        assert_eq!(of(ROUTE, ROUTE_V6).as_deref(), Some("eth0"));
        assert_eq!(of("", ROUTE_V6).as_deref(), Some("wwan0"));
        assert_eq!(of("header\n", ""), None);
        assert_eq!(of("header\neth0 00000000\n", "short line\n"), None);
        let alone: String = ROUTE.lines().take(3).map(|line| format!("{line}\n")).collect();
        assert_eq!(of(&alone, "").as_deref(), Some("wwan0"));
    }

    #[test]
    fn modems_say_what_they_are() {
        assert!(is_modem("DEVTYPE=wwan\nINTERFACE=wwan0\nIFINDEX=4\n"));
        assert!(!is_modem("DEVTYPE=wlan\nINTERFACE=wlan0\nIFINDEX=3\n"));
        assert!(!is_modem(""));
    }

    #[test]
    fn the_operator_s_word_goes_first() {
        assert!(Metered::Yes.applies("ethernet", false));
        assert!(!Metered::No.applies("cellular", true));
        assert!(Metered::Auto.applies("cellular", false));
        assert!(!Metered::Auto.applies("wifi", false));
    }
}
