//! The edge to report through: chosen, told, and asked for the time.

use super::*;

/// An attach that is not answered is said again: its edge's controller may have gone meanwhile.
const ATTACH_AGAIN: Duration = Duration::from_secs(5);
/// How often the controller's time is asked for.
const TIME_EVERY: Duration = Duration::from_secs(600);

impl Core {
    pub(super) fn choose_uplink(&mut self, now: Now) {
        let rtt = |id| self.prober.session(Key::Link(id)).and_then(|s| s.usual_rtt());
        let chosen = uplink::choose(self.reports.uplink, &self.edges.carriers(rtt));
        if chosen == self.reports.uplink {
            return;
        }
        if let Some(old) = self.reports.uplink
            && self.edges.is_connected(old)
        {
            self.control(
                old,
                agent_to_edge::Body::UseUplink(proto::UseUplink { wanted: false }),
            );
        }
        self.reports.uplink = chosen;
        self.reports.attached = false;
        if chosen.is_some() {
            self.attach(now);
        }
        self.retune(now.mono);
    }

    pub(super) fn attach(&mut self, now: Now) {
        let Some(uplink) = self.reports.uplink else {
            // The next uplink attaches; until then there is nothing to wake up for.
            self.reports.attach_again = None;
            return;
        };
        self.reports.attached = false;
        self.reports.attach += 1;
        self.reports.attach_again = Some(now.mono + ATTACH_AGAIN);
        self.control(
            uplink,
            agent_to_edge::Body::UseUplink(proto::UseUplink { wanted: true }),
        );
        let attach = proto::Attach {
            boot: self.boot.0,
            attach: self.reports.attach,
            version: self.settings.version.clone(),
            platform: self.settings.platform.clone(),
            wall_us: now.wall.as_micros(),
            mono_us: now.mono.as_micros(),
            clock_error_ms: 0,
            plans: self.legs.held(),
            link_type: self.link_type(),
        };
        self.up(to_controller::Body::Attach(attach));
    }

    pub(super) fn ask_time(&mut self, now: Now) {
        self.reports.attach_again = Some(now.mono + TIME_EVERY);
        self.up(to_controller::Body::Time(proto::TimeRequest {
            mono_us: now.mono.as_micros(),
        }));
    }

    /// Sends to the controller by the uplink; `false` without one.
    pub(super) fn up(&mut self, body: to_controller::Body) -> bool {
        let Some(uplink) = self.reports.uplink else {
            return false;
        };
        let message = proto::ToController { body: Some(body) };
        self.control(
            uplink,
            agent_to_edge::Body::Up(prost::Message::encode_to_vec(&message)),
        );
        true
    }

    /// A killed edge closes no connection: reports must not wait until that runs out.
    pub(super) fn notice_silence(&mut self, now: Now) {
        let often: Vec<_> = self
            .edges
            .iter()
            .map(|(id, _)| id)
            .filter(|&id| self.is_probed_often(id))
            .collect();
        let mut new = false;
        for id in often {
            if self.edges.note_silence(id, now.mono) {
                self.watch_silence(id, now.mono);
                new = true;
            }
        }
        if new {
            self.choose_uplink(now);
        }
    }
}
