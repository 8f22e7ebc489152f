//! Of what the controller says, which is the newest? What waited at an edge that was out of reach comes after what
//! was said later by another.

use crate::proto::from_controller::Body;

/// Older by more than this is no message that waited, since connections end before: the controller's clock was set
/// back. In microseconds.
const SET_BACK_US: u64 = 600_000_000;

/// The newest version of each kind of message that replaces those before.
#[derive(Debug, Default)]
pub(super) struct Newest {
    candidates: u64,
    plans: u64,
    settings: u64,
}

impl Newest {
    /// Whether the message is to be taken: it replaces nothing, or nothing that is newer.
    pub(super) fn take(&mut self, body: &Body) -> bool {
        let (newest, version) = match body {
            Body::Candidates(candidates) => (&mut self.candidates, candidates.version),
            Body::Plans(plans) => (&mut self.plans, plans.version),
            Body::Settings(settings) => (&mut self.settings, settings.version),
            Body::Attached(_) | Body::ReportAck(_) | Body::ClassAnswer(_) | Body::Time(_) => return true,
        };
        if version == 0 {
            return true;
        }
        let is_newest = version >= *newest || *newest - version > SET_BACK_US;
        if is_newest {
            *newest = version;
        }
        is_newest
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::proto;

    fn plans(version: u64) -> Body {
        Body::Plans(proto::Plans {
            version,
            plans: Vec::new(),
        })
    }

    #[test]
    fn what_waited_is_dropped_and_a_clock_that_was_set_back_is_followed() {
        let mut newest = Newest::default();
        let now = 1_795_000_000_000_000;
        let takes = [
            (now, true),
            (now, true),
            (now - 1, false),
            (now + 1, true),
            (now, false),
            (0, true),
            (now + 1 - SET_BACK_US, false),
            (now - SET_BACK_US, true),
            (now - SET_BACK_US + 1, true),
        ];
        for (version, wanted) in takes {
            assert_eq!(newest.take(&plans(version)), wanted, "{version}");
        }
        let settings = proto::Settings {
            version: 1,
            ..proto::Settings::default()
        };
        assert!(newest.take(&Body::Settings(settings)), "each kind by itself");
    }
}
