//! What lies around this machine, where it meets the rest: who is looked towards, what is trouble, what is
//! told.

use corridor_probes::surroundings::{Path, Sample, Seen};
use serde_json::json;

use super::*;
use crate::agent::surroundings::{Look, PathLook, Toward, Trouble, Watch, told};

/// What came of a look.
#[derive(Debug)]
pub enum Looked {
    Sample(Sample),
    Path(PathLook, Seen<Path>),
}

impl Core {
    /// Looks around from now on. `seed` is random.
    pub fn watch_surroundings(&mut self, watch: Watch, seed: u64, now: Mono) {
        self.around = Around::new(watch, seed, now);
    }

    /// What is to be looked at now, if anything.
    pub fn next_look(&mut self, now: Mono) -> Option<Look> {
        if self.around.next_wakeup().is_none_or(|at| at > now) {
            return None;
        }
        let usual = self.usual_ways();
        self.around.poll(&usual, now)
    }

    /// The edge in use first, then the targets of classes.
    fn usual_ways(&self) -> Vec<Toward> {
        let entry = self.legs.ways().find_map(|(_, _, entry)| entry);
        let edge = entry.or_else(|| self.nearest()).map(Toward::Edge);
        let targets = self.legs.targets().map(|t| Toward::Target(t.to_owned()));
        edge.into_iter().chain(targets).collect()
    }

    /// What packets to the edge go into: what the operator says counts more than what was seen.
    pub(super) fn link_type(&self) -> String {
        if !self.settings.link_type.is_empty() {
            return self.settings.link_type.clone();
        }
        let seen = self
            .around
            .sample
            .as_ref()
            .and_then(|(_, s)| s.link.as_ref().ok());
        seen.map_or_else(String::new, ToString::to_string)
    }

    /// Looks whether every byte of the line is paid.
    pub(super) fn weigh_line(&mut self, now: Mono) {
        let metered = self.settings.metered.applies(&self.link_type());
        self.set_metered(metered, now);
    }

    pub fn looked(&mut self, looked: Looked, now: Now) {
        match looked {
            Looked::Sample(sample) => {
                self.around.sampled(sample, now.mono);
                self.weigh_line(now.mono);
                if let Some(stalls) = self.around.stalled(now.mono) {
                    let worst_ms = stalls.worst.as_millis();
                    let text = format!(
                        "this machine stalled: {} wakings of {} came late, by up to {worst_ms} ms",
                        stalls.stalls, stalls.wakings
                    );
                    let detail = json!({ "stalls": stalls.stalls, "worst_ms": worst_ms, "text": text });
                    self.event("stalled", detail, now);
                }
            }
            Looked::Path(look, path) => {
                let (asked, trigger) = (look.at, look.trigger.clone());
                self.around.traced(look, path);
                if let (Some(trigger), Some(traced)) = (trigger, &self.around.path) {
                    let text = told::sentence(traced, &self.toward_name(&traced.look.toward));
                    tracing::info!(class = %trigger.class, %text, "path");
                    let at = now.at(asked);
                    self.reporter.event(proto::Event {
                        at_us: at.as_micros(),
                        kind: "trace".to_owned(),
                        class: trigger.class,
                        edge: match traced.look.toward {
                            Toward::Edge(id) => id.get().into(),
                            Toward::Target(_) => 0,
                        },
                        detail: json!({ "text": text }).to_string(),
                        trace: Some(told::trace(at, traced, self.around.watch().full_addresses)),
                    });
                }
            }
        }
    }

    pub(crate) fn toward_name(&self, toward: &Toward) -> String {
        match toward {
            Toward::Edge(id) => self
                .edges
                .get(*id)
                .map_or_else(|| id.to_string(), |e| e.info.name.clone()),
            Toward::Target(target) => target.clone(),
        }
    }

    /// The main loop was to wake at `due` and runs at `now`.
    pub fn woke(&mut self, due: Mono, now: Mono) {
        self.around.woke(due, now);
    }

    /// What no report had yet.
    pub(super) fn surroundings_to_tell(
        &mut self,
        now: Now,
    ) -> (Option<proto::Surroundings>, Option<proto::Trace>) {
        let full = self.around.watch().full_addresses;
        let (sample, path) = self.around.take_news();
        let sample = sample.map(|(at, sample, stalls)| told::sample(now.at(at), sample, stalls));
        (
            sample,
            path.map(|traced| told::trace(now.at(traced.look.at), traced, full)),
        )
    }

    /// What the live choice did, and how the legs are.
    pub(super) fn watch_legs(&mut self, happened: &[Happened], now: Mono) {
        for happened in happened {
            let (trouble, left) = match happened.kind {
                "switch" => {
                    let reason = happened.detail["reason"]["kind"].as_str().unwrap_or_default();
                    let left: Option<Route> = serde_json::from_value(happened.detail["from"].clone()).ok();
                    (Trouble::of_switch(reason), left.and_then(|route| route.entry()))
                }
                "access_outage" => (Some(Trouble::AccessOutage), None),
                _ => (None, None),
            };
            let of_class = self.legs.ways().find(|(class, ..)| *class == happened.class);
            let entry = left
                .or(of_class.and_then(|(_, _, entry)| entry))
                .or_else(|| self.nearest());
            if let (Some(trouble), Some(entry)) = (trouble, entry) {
                self.around
                    .trouble(trouble, &happened.class, Toward::Edge(entry), now);
            }
        }
        self.around.legs(self.legs.ways(), now);
    }

    /// An edge is heard no more.
    pub(super) fn watch_silence(&mut self, edge: EdgeId, now: Mono) {
        if let Some(class) = self.is_in_use(edge) {
            self.around
                .trouble(Trouble::LinkSilent, &class, Toward::Edge(edge), now);
        }
    }

    pub(super) fn watch_round_trip(&mut self, edge: EdgeId, rtt: Duration, now: Mono) {
        if self.is_in_use(edge).is_some() {
            self.around.link_sample(edge, rtt, now);
        }
    }

    pub(super) fn watch_window(&mut self, edge: EdgeId, window: &corridor_probes::Window, now: Mono) {
        let ledger = &window.ledger;
        if self.is_in_use(edge).is_some() {
            self.around.link_window(edge, ledger.sent, ledger.lost(), now);
        }
    }

    /// The class whose route in use enters by an edge; an empty name outside classes, of the nearest edge.
    fn is_in_use(&self, edge: EdgeId) -> Option<String> {
        if self.in_class() {
            let mut ways = self.legs.ways();
            return ways
                .find(|(_, _, entry)| *entry == Some(edge))
                .map(|(class, ..)| class.to_owned());
        }
        (self.nearest() == Some(edge)).then(String::new)
    }
}

#[cfg(test)]
mod tests {
    use corridor_probes::surroundings::{LinkType, NotSeen};

    use super::*;

    const EDGE: EdgeId = EdgeId::new(1).expect("not 0");
    const ON: Watch = Watch {
        on: true,
        trace: true,
        wifi_names: false,
        full_addresses: false,
    };

    fn now(ms: i64) -> Now {
        Now {
            mono: Mono::from_millis(ms),
            controller: Wall::from_secs(1_800_000_000) + Duration::from_millis(ms.unsigned_abs()),
            controller_error: None,
            wall: Wall::from_secs(0),
        }
    }

    /// One edge, connected; looked around once.
    fn agent() -> Core {
        let settings = Settings {
            link_probe_size: 0,
            route_probe_size: 0,
            idle_kbps: Some(10),
            in_class_kbps: Some(60),
            metered: crate::metered::Metered::No,
            version: "1".into(),
            platform: "test".into(),
            link_type: String::new(),
        };
        let edge = proto::EdgeInfo {
            id: 1,
            name: "fra".into(),
            ..proto::EdgeInfo::default()
        };
        let start = now(0);
        let mut core = Core::new(AgentId(7), BootId(9), 1, settings, vec![edge], start.mono);
        core.watch_surroundings(ON, 1, start.mono);
        core.connected(EDGE, 1, start);
        assert!(matches!(
            core.next_look(start.mono),
            Some(Look::Sample {
                toward: Some(Toward::Edge(EDGE)),
                ..
            })
        ));
        core.looked(Looked::Sample(Sample::nothing(NotSeen::NoAnswer)), start);
        core
    }

    /// The path that is asked for by trouble at `ms`, if one is.
    fn asked(core: &mut Core, ms: i64) -> Option<PathLook> {
        match core.next_look(now(ms).mono) {
            Some(Look::Path(look)) if look.trigger.is_some() => Some(look),
            _ => None,
        }
    }

    /// The reports that it closes until `ms`.
    fn reports(core: &mut Core, ms: i64) -> Vec<proto::Report> {
        core.handle_timeout(now(ms));
        std::iter::from_fn(|| core.poll_output())
            .filter_map(|output| match output {
                Output::Store { body, .. } => proto::decode(&body).ok(),
                _ => None,
            })
            .collect()
    }

    #[test]
    fn a_line_is_metered_while_packets_go_into_a_modem_and_probing_goes_on() {
        let mut core = agent();
        core.settings.metered = crate::metered::Metered::Auto;
        core.settings.idle_kbps = None;
        for (link, metered) in [
            (LinkType::Cellular, true),
            (LinkType::Wifi, false),
            (LinkType::Cellular, true),
        ] {
            let mut sample = Sample::nothing(NotSeen::NoAnswer);
            sample.link = Ok(link);
            core.looked(Looked::Sample(sample), now(1_000));
            assert_eq!(core.traffic().metered, metered, "{link}");
            assert_eq!(core.link_type(), link.to_string());
        }
        // Often enough that silence still means something.
        assert!(core.is_probed_often(EDGE));
    }

    #[test]
    fn a_link_that_gets_slow_is_traced_and_told_at_once() {
        let mut core = agent();
        for ms in [(40, 16), (190, 5)]
            .into_iter()
            .flat_map(|(ms, n)| std::iter::repeat_n(ms, n))
        {
            core.watch_round_trip(EDGE, Duration::from_millis(ms), now(1_000).mono);
        }
        let look = asked(&mut core, 1_000).unwrap();
        assert_eq!(look.toward, Toward::Edge(EDGE));
        core.looked(Looked::Path(look, Err(NotSeen::NoRoute)), now(5_000));
        let reports = reports(&mut core, 5_300);
        let event = reports
            .iter()
            .flat_map(|r| &r.events)
            .find(|e| e.kind == "trace")
            .unwrap();
        let at = Wall::from_secs(1_800_000_001).as_micros();
        let trace = event.trace.as_ref().unwrap();
        assert_eq!(
            (event.at_us, event.edge, trace.at_us),
            (at, 1, at),
            "when it was asked for"
        );
        assert_eq!(
            (trace.trigger.as_str(), trace.not_seen.as_str()),
            ("link_slow", r#"{"kind":"no_route"}"#)
        );
        assert!(
            event.detail.contains("further away than usual"),
            "{}",
            event.detail
        );
        // Beside it, the sample.
        assert!(reports[0].surroundings.is_some() && reports[0].path.is_none());
    }

    #[test]
    fn a_connection_that_ends_is_trouble() {
        let mut core = agent();
        core.disconnected(EDGE, 1, "gone", now(1_000));
        let trigger = asked(&mut core, 1_000).and_then(|look| look.trigger).unwrap();
        assert_eq!(
            (trigger.trouble, trigger.class.as_str()),
            (Trouble::LinkSilent, "")
        );
    }

    #[test]
    fn stalls_are_told_once_in_a_while() {
        let mut core = agent();
        for at in [60_000, 120_000, 500_000] {
            core.woke(now(at - 400).mono, now(at).mono);
            while let Some(look) = core.next_look(now(at).mono) {
                match look {
                    Look::Sample { .. } => {
                        core.looked(Looked::Sample(Sample::nothing(NotSeen::NoAnswer)), now(at));
                    }
                    Look::Path(look) => core.looked(Looked::Path(look, Err(NotSeen::NoAnswer)), now(at)),
                }
            }
            let told = reports(&mut core, at + 300);
            let stalled = told
                .iter()
                .flat_map(|r| &r.events)
                .filter(|e| e.kind == "stalled")
                .count();
            assert_eq!(stalled, usize::from(at != 120_000), "at {at}");
        }
    }
}
