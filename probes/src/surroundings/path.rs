//! A path, hop by hop, as it is reported: the figures of a trace and what it could not see.

use std::{fmt, net::IpAddr, time::Duration};

use serde::{Deserialize, Serialize};

use super::{Outside, ranges};
use crate::trace::{Hop, HopState, Phase, Protocol, Tracer};

/// IP bytes of a probe and of its answer, whichever is longer: an error quotes the probe after 28 bytes of
/// its own (48 of IPv6, where the probe has 56).
const BYTES_V4: u32 = 64;
const BYTES_V6: u32 = 104;

/// One trace.
#[derive(Debug, Clone, PartialEq)]
pub struct Path {
    pub target: IpAddr,
    /// By what: `udp`, `icmp` or `raw`.
    pub method: String,
    /// At which hop the target is, if it was reached.
    pub distance: Option<u8>,
    /// Between here and the target, there and back; none if it is not known.
    pub loss: Option<f64>,
    pub hops: Vec<PathHop>,
    pub gaps: Vec<Gap>,
    pub probes: u32,
}

/// One hop.
#[derive(Debug, Clone, PartialEq)]
pub struct PathHop {
    pub hop: u8,
    /// Most answers first.
    pub addresses: Vec<IpAddr>,
    pub sent: u32,
    pub answered: u32,
    pub rtt: Option<Times>,
    /// See [`Tracer::loss`].
    pub loss: Option<f64>,
    pub limits_answers: bool,
    /// It says that the target is unreachable, and why.
    pub unreachable: Option<&'static str>,
}

/// Round trips of a hop.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Times {
    pub best: Duration,
    pub p50: Duration,
    pub worst: Duration,
}

/// What a trace could not see, and why.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "snake_case")]
pub enum Gap {
    /// A way to send probes that is not possible here.
    Method {
        why: String,
    },
    /// The end says nothing to UDP, or something drops it, and echo requests cannot be sent here.
    EndDeafToUdp,
    EndSilent,
    /// The last hop refuses.
    EndRefused {
        why: String,
    },
    /// Probes that this machine could not send.
    Unsent {
        probes: u32,
    },
    /// It took too long.
    BrokenOff,
}

impl fmt::Display for Gap {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Method { why } => write!(f, "not possible here: {why}"),
            Self::EndDeafToUdp => {
                f.write_str("not reached: the end says nothing to UDP, and echo requests cannot be sent here")
            }
            Self::EndSilent => f.write_str("not reached: the end says nothing, or something drops it"),
            Self::EndRefused { why } => write!(f, "not reached: the last hop says {why}"),
            Self::Unsent { probes } => write!(f, "{probes} probes could not be sent by this machine"),
            Self::BrokenOff => f.write_str("broken off: it took too long"),
        }
    }
}

impl Path {
    /// `method` is what probes went by at last; `refused` says which were tried before and why they are not
    /// possible; `has_echo` that the end could be asked by echo requests.
    pub fn of(tracer: &Tracer, method: String, refused: Vec<String>, has_echo: bool) -> Self {
        let hops: Vec<_> = (1u8..)
            .zip(tracer.hops())
            .enumerate()
            .map(|(index, (ttl, hop))| path_hop(tracer, index, ttl, hop))
            .collect();
        let mut gaps: Vec<_> = refused.into_iter().map(|why| Gap::Method { why }).collect();
        if tracer.phase() != Phase::Done {
            gaps.push(Gap::BrokenOff);
        } else if tracer.distance().is_none() {
            let refusal = tracer.hops().last().and_then(Hop::unreachable);
            gaps.push(match refusal {
                Some(why) => Gap::EndRefused {
                    why: why.text().to_owned(),
                },
                None if tracer.protocol() == Protocol::Udp && !has_echo => Gap::EndDeafToUdp,
                None => Gap::EndSilent,
            });
        }
        if tracer.unsent() > 0 {
            gaps.push(Gap::Unsent {
                probes: tracer.unsent(),
            });
        }
        let checked = tracer.check().map_or(0, |(_, series)| series.sent());
        Self {
            target: tracer.plan().target,
            method,
            distance: tracer.distance(),
            loss: tracer.end_loss().and_then(|end| end.share()),
            probes: hops.iter().map(|h| h.sent).sum::<u32>().saturating_add(checked),
            hops,
            gaps,
        }
    }

    /// IP bytes that it took, each way at most.
    pub fn bytes(&self) -> u32 {
        bytes(self.target, self.probes)
    }

    /// The first hop that answered from a public address.
    pub fn outside(&self) -> Option<Outside> {
        self.hops.iter().find_map(|hop| {
            let is_outside = !ranges::is_inside(*hop.addresses.first()?);
            is_outside.then(|| {
                Some(Outside {
                    hop: hop.hop,
                    rtt: hop.rtt?.p50,
                })
            })?
        })
    }
}

/// IP bytes of so many probes to `target`, or of their answers.
pub(super) fn bytes(target: IpAddr, probes: u32) -> u32 {
    let each = if target.is_ipv6() { BYTES_V6 } else { BYTES_V4 };
    probes.saturating_mul(each)
}

fn path_hop(tracer: &Tracer, index: usize, ttl: u8, hop: &Hop) -> PathHop {
    let series = hop.series();
    let time = |ms: f64| Duration::try_from_secs_f64(ms / 1e3).unwrap_or_default();
    PathHop {
        hop: ttl,
        addresses: hop.seen().iter().map(|s| s.address).collect(),
        sent: series.sent(),
        answered: series.answered(),
        rtt: series.figures().map(|f| Times {
            best: time(f.best),
            p50: time(f.p50),
            worst: time(f.worst),
        }),
        loss: tracer.loss(index),
        limits_answers: tracer.state(index) == HopState::LimitsAnswers,
        unreachable: hop.unreachable().map(|u| u.text()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        Mono,
        trace::{Answer, Meaning, Plan, Step},
    };

    /// Runs a trace over routers that answer after their number of ms, all but those in `silent`.
    fn traced(routers: &[&str], silent: &[u8], reached: bool) -> Tracer {
        let plan = Plan {
            target: "198.51.100.9".parse().unwrap(),
            rounds: 2,
            interval: Duration::from_secs(1),
            max_hops: u8::try_from(routers.len()).unwrap(),
            protocol: Protocol::Udp,
            echo: false,
        };
        let mut tracer = Tracer::new(plan, 0).unwrap();
        let mut now = Mono::ZERO;
        loop {
            match tracer.poll(now) {
                Step::Done => return tracer,
                Step::Wait(until) => now = until,
                Step::Send(probe) => {
                    tracer.sent(probe, now);
                    if silent.contains(&probe.ttl) {
                        continue;
                    }
                    let last = usize::from(probe.ttl) == routers.len();
                    let answer = Answer {
                        number: Some(probe.number),
                        from: routers[usize::from(probe.ttl) - 1].parse().unwrap(),
                        protocol: Protocol::Udp,
                        meaning: if last && reached {
                            Meaning::Reached
                        } else {
                            Meaning::TimeExceeded
                        },
                    };
                    tracer.answer(answer, now + Duration::from_millis(probe.ttl.into()));
                }
            }
        }
    }

    #[test]
    fn hops_times_and_the_first_outside() {
        let tracer = traced(
            &["192.168.1.1", "100.64.0.1", "203.0.113.1", "198.51.100.9"],
            &[2],
            true,
        );
        let path = Path::of(&tracer, "udp".into(), Vec::new(), false);
        assert_eq!(
            (path.distance, path.loss, path.probes, path.bytes()),
            (Some(4), Some(0.0), 8, 512)
        );
        let outside = Outside {
            hop: 3,
            rtt: Duration::from_millis(3),
        };
        assert_eq!(path.outside(), Some(outside));
        let seen: Vec<_> = path.hops.iter().map(|h| (h.sent, h.answered, h.loss)).collect();
        assert_eq!(
            seen,
            [
                (2, 2, Some(0.0)),
                (2, 0, None),
                (2, 2, Some(0.0)),
                (2, 2, Some(0.0))
            ]
        );
        assert_eq!(path.gaps, []);
    }

    #[test]
    fn what_was_not_seen_has_its_reason() {
        let tracer = traced(&["192.168.1.1", "10.0.0.1"], &[], false);
        let path = Path::of(&tracer, "udp".into(), vec!["raw: no CAP_NET_RAW".into()], false);
        let wanted = [
            Gap::Method {
                why: "raw: no CAP_NET_RAW".into(),
            },
            Gap::EndDeafToUdp,
        ];
        assert_eq!((path.outside(), &path.gaps[..]), (None, &wanted[..]));
        assert_eq!(
            Path::of(&tracer, "udp".into(), Vec::new(), true).gaps,
            [Gap::EndSilent]
        );
    }
}
