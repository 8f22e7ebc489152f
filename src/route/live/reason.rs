//! Why the agent moved a leg to another route.

use std::{fmt, time::Duration};

use corridor_probes::Route;
use serde::{Deserialize, Serialize};
/// Something that the live choice did or found.
#[derive(Debug, Clone, PartialEq)]
pub enum LiveEvent {
    /// The leg's media goes by another route from now on.
    Switch(Switch),
    /// No entry edge is heard: it is this machine's line, and no route is to blame.
    AccessOutage(AccessOutage),
}

#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct Switch {
    pub from: Route,
    pub to: Route,
    pub reason: Reason,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum AccessOutage {
    Began,
    Ended { after: Duration },
}

/// Why a route was left. JSON: an object with a `kind`.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "snake_case")]
pub enum Reason {
    /// Nothing was heard along the route for this many steps of the grid, while another entry edge was;
    /// `needed` is the length of a run that its known loss does not explain.
    Silent {
        steps: u32,
        needed: u32,
        /// Since the newest echo, as far as one is remembered.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        for_ms: Option<u32>,
    },
    /// The connection to the route's first edge ended.
    Disconnected,
    /// The route's first edge did not answer what media asked of it, every 20 ms, while another did.
    EntrySilent,
    /// An edge says that the next one is silent.
    NextHopSilent,
    /// Delay over the budget. `p95` says by which figure: the 95th percentile of 5 s, or else the median
    /// of the last samples.
    Breach {
        p95: bool,
        /// Of the worse direction, or half of the round trip, as the budget is on one way.
        #[serde(default, skip_serializing_if = "std::ops::Not::not")]
        one_way: bool,
        at_ms: f64,
        budget_ms: f64,
        /// The same figure of the route taken.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        to_ms: Option<f64>,
    },
    /// Probes or media are lost beyond what is borne; both shares are recent ones, 0 to 1.
    Loss { from: f64, to: f64 },
    /// The other route has been better beyond the margin.
    Better { gain_ms: f64 },
    /// The controller's plan says so.
    Plan { version: u64 },
}

impl fmt::Display for Reason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Silent { for_ms, .. } => {
                f.write_str("nothing was heard on it")?;
                if let Some(ms) = for_ms {
                    write!(f, " for {}", time(*ms))?;
                }
                f.write_str(" while another edge was heard")
            }
            Self::Disconnected => f.write_str("the connection to its first edge ended"),
            Self::EntrySilent => f.write_str("its first edge fell silent while another was heard"),
            Self::NextHopSilent => f.write_str("an edge on it says that the next hop is silent"),
            Self::Breach {
                p95,
                one_way,
                at_ms,
                budget_ms,
                ..
            } => {
                let figure = if *p95 { "p95" } else { "median" };
                let way = if *one_way { "one-way " } else { "" };
                write!(
                    f,
                    "its {way}{figure} was {at_ms:.0} ms, over the budget of {budget_ms:.0} ms"
                )
            }
            Self::Loss { from, to } => {
                write!(
                    f,
                    "it lost {:.1} %, the other route {:.1} %",
                    from * 100.0,
                    to * 100.0
                )
            }
            Self::Better { gain_ms } => write!(f, "the other route is {gain_ms:.0} ms better"),
            Self::Plan { version } => write!(f, "the controller's plan {version}"),
        }
    }
}

/// `320 ms`, `1.2 s`.
fn time(ms: u32) -> String {
    if ms < 1_000 {
        format!("{ms} ms")
    } else {
        format!("{:.1} s", f64::from(ms) / 1e3)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn silence_is_told_as_time() {
        for (for_ms, told) in [
            (Some(320), " for 320 ms"),
            (Some(999), " for 999 ms"),
            (Some(1_249), " for 1.2 s"),
            (None, ""),
        ] {
            let silent = Reason::Silent {
                steps: 3,
                needed: 3,
                for_ms,
            };
            assert_eq!(
                silent.to_string(),
                format!("nothing was heard on it{told} while another edge was heard")
            );
        }
        // As agents of earlier releases tell it.
        let reason = serde_json::from_str::<Reason>(r#"{"kind":"silent","steps":3,"needed":3}"#).unwrap();
        assert!(matches!(reason, Reason::Silent { for_ms: None, .. }));
    }
}
