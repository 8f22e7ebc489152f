//! The tools: how each is called, and what it says, in one shape.

use std::{ops::RangeInclusive, time::Duration};

use anyhow::{Context as _, bail};
use corridor_netem::packet::Proto;
use corridor_probes::percentile;
use serde_json::Value;

use crate::child::Ended;

/// Between two probes of any tool.
pub const INTERVAL: Duration = Duration::from_millis(10);
/// An echo that takes longer is given up by those who can be told so.
const PATIENCE_MS: u32 = 3_000;
pub const QUIC_PORT: u16 = 4_433;
/// Payload of Corridor's probes, and of the bare client's.
pub const SIZE: u16 = 400;
/// Of irtt's packets.
const IRTT_SIZE: u16 = 331;
/// Of fping's.
const FPING_SIZE: u16 = 300;

#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Tool {
    Corridor,
    Irtt,
    Fping,
}

/// A distribution, ms.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Figures {
    pub p50: f64,
    pub p95: f64,
    pub p99: f64,
}

/// What a tool says. What it does not say is none.
#[derive(Debug, Clone, PartialEq)]
pub struct Said {
    pub sent: u64,
    pub received: u64,
    /// Slots of its schedule that it let pass.
    pub skipped: Option<u64>,
    pub lost: Option<[u64; 2]>,
    pub lost_unknown: Option<u64>,
    pub reordered: Option<[u64; 2]>,
    pub rtt: Option<Figures>,
    pub one_way: Option<OneWay>,
    /// Samples that a stall of the machine spoilt: all, and of these the ones kept out of the figures.
    pub stalled: Option<[u64; 2]>,
}

/// Medians of one-way delays there and back, ms.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct OneWay {
    pub p50: [f64; 2],
    /// How far any of them may be off, as the tool says.
    pub bound: Option<f64>,
}

impl Figures {
    /// None without samples.
    pub fn of(samples: &[Duration]) -> Option<Self> {
        let at = |rank| Some(percentile(samples, rank)?.as_secs_f64() * 1e3);
        Some(Self {
            p50: at(50.0)?,
            p95: at(95.0)?,
            p99: at(99.0)?,
        })
    }

    pub fn all(&self) -> [f64; 3] {
        [self.p50, self.p95, self.p99]
    }
}

impl Tool {
    pub const ALL: [Self; 3] = [Self::Corridor, Self::Irtt, Self::Fping];

    pub fn name(self) -> &'static str {
        match self {
            Self::Corridor => "corridor",
            Self::Irtt => "irtt",
            Self::Fping => "fping",
        }
    }

    /// Its packets: protocol, and lengths of IP packets with one probe or answer in them. Beside Corridor's
    /// there may be acknowledgements.
    pub fn class(self) -> (Proto, RangeInclusive<u16>) {
        match self {
            Self::Corridor => (Proto::Udp, SIZE + 55..=SIZE + 250),
            Self::Irtt => (Proto::Udp, IRTT_SIZE + 28..=IRTT_SIZE + 28),
            Self::Fping => (Proto::Icmp, FPING_SIZE + 28..=FPING_SIZE + 28),
        }
    }

    /// What measures the way to `far`, with `count` probes.
    pub fn arguments(self, far: &str, count: u32) -> Vec<String> {
        let interval = format!("{}ms", INTERVAL.as_millis());
        let line = match self {
            Self::Corridor => format!(
                "probe {far}:{QUIC_PORT} --insecure --count {count} --interval {interval} --size {SIZE} --json"
            ),
            Self::Irtt => {
                let duration = (INTERVAL * count).as_millis();
                format!("client -i {interval} -d {duration}ms -l {IRTT_SIZE} -q -o - {far}")
            }
            Self::Fping => {
                let period = INTERVAL.as_millis();
                format!("-C {count} -p {period} -b {FPING_SIZE} -t {PATIENCE_MS} -q {far}")
            }
        };
        line.split(' ').map(str::to_owned).collect()
    }

    /// What answers at `far`; none where the kernel does.
    pub fn server(self, far: &str) -> Option<Vec<String>> {
        let line = match self {
            Self::Corridor => format!("edge --standalone --listen {far}:{QUIC_PORT}"),
            // Without a least interval: it drops what comes closer together, as it does after a stall.
            Self::Irtt => format!("server -i 0 -b {far}:2112"),
            Self::Fping => return None,
        };
        Some(line.split(' ').map(str::to_owned).collect())
    }

    /// Reads what it printed.
    pub fn read(self, ended: &Ended) -> anyhow::Result<Said> {
        let read = match self {
            Self::Corridor => corridor(&ended.stdout),
            Self::Irtt => irtt(&ended.stdout),
            Self::Fping => fping(&ended.stderr),
        };
        read.with_context(|| {
            let (name, code) = (self.name(), ended.code);
            format!("{name} ended with {code:?} and said: {}", ended.stderr.trim())
        })
    }
}

fn corridor(stdout: &str) -> anyhow::Result<Said> {
    let json: Value = serde_json::from_str(stdout)?;
    let count = |key: &str| json[key].as_u64().with_context(|| format!("no {key}"));
    let figure = |of: &str, key: &str| json[of][key].as_f64();
    let rtt = || {
        Some(Figures {
            p50: figure("rtt_ms", "p50")?,
            p95: figure("rtt_ms", "p95")?,
            p99: figure("rtt_ms", "p99")?,
        })
    };
    let one_way = || {
        Some(OneWay {
            p50: [figure("owd_up_ms", "p50")?, figure("owd_down_ms", "p50")?],
            bound: Some(json["owd_error_ms"].as_f64()?),
        })
    };
    Ok(Said {
        sent: count("sent")?,
        received: count("received")? + count("late")?,
        skipped: Some(count("slipped")? + count("local_drops")? + count("unconnected")?),
        lost: Some([count("lost_up")?, count("lost_down")?]),
        lost_unknown: Some(count("lost_unknown")?),
        reordered: Some([count("reordered_up")?, count("reordered_down")?]),
        rtt: rtt(),
        one_way: one_way(),
        stalled: Some([count("stalled")?, count("excluded")?]),
    })
}

fn irtt(stdout: &str) -> anyhow::Result<Said> {
    let json: Value = serde_json::from_str(stdout)?;
    let stats = &json["stats"];
    let count = |key: &str| stats[key].as_u64().with_context(|| format!("no {key}"));
    let (sent, heard, received) = (
        count("packets_sent")?,
        count("server_packets_received")?,
        count("packets_received")?,
    );
    let trips = json["round_trips"].as_array().context("no round trips")?;
    let rtt: Vec<_> = trips
        .iter()
        .filter_map(|trip| trip["delay"]["rtt"].as_i64())
        .map(|nanos| Duration::from_nanos(nanos.max(0).unsigned_abs()))
        .collect();
    let median = |key: &str| Some(stats[key]["median"].as_f64()? / 1e6);
    let one_way = || {
        Some(OneWay {
            p50: [median("send_delay")?, median("receive_delay")?],
            bound: None,
        })
    };
    Ok(Said {
        sent,
        received,
        skipped: Some(count("timer_misses")?),
        lost: Some([sent.saturating_sub(heard), heard.saturating_sub(received)]),
        lost_unknown: None,
        reordered: None,
        rtt: Figures::of(&rtt),
        one_way: one_way(),
        stalled: None,
    })
}

/// `10.0.0.2 : 40.1 - 40.2`
fn fping(stderr: &str) -> anyhow::Result<Said> {
    let mut lines = stderr.lines().filter_map(|line| line.split_once(" : "));
    let (_, list) = lines.next_back().context("no list of round trips")?;
    let (mut sent, mut rtt) = (0, Vec::new());
    for word in list.split_whitespace() {
        sent += 1;
        if word == "-" {
            continue;
        }
        match word
            .parse::<f64>()
            .map(|ms| Duration::try_from_secs_f64(ms / 1e3))
        {
            Ok(Ok(took)) => rtt.push(took),
            _ => bail!("{word} is no round trip"),
        }
    }
    Ok(Said {
        sent,
        received: rtt.len() as u64,
        skipped: None,
        lost: None,
        lost_unknown: None,
        reordered: None,
        rtt: Figures::of(&rtt),
        one_way: None,
        stalled: None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fping_lists_round_trips_and_misses() {
        let said = fping("10.0.0.2 : 40.25 - 40.75 40.5\n").unwrap();
        assert_eq!((said.sent, said.received), (4, 3));
        assert_eq!(said.rtt.map(|rtt| rtt.all()), Some([40.5, 40.75, 40.75]));
        assert!(fping("10.0.0.2 : 40.1 x").is_err() && fping("").is_err());
    }

    #[test]
    fn irtt_counts_there_and_back() {
        let said = irtt(
            r#"{"stats": {"packets_sent": 10, "server_packets_received": 8, "packets_received": 7,
            "timer_misses": 1, "send_delay": {"median": 2000000}, "receive_delay": {"median": 1000000}},
            "round_trips": [{"delay": {"rtt": 3000000}}, {"delay": {}}, {"delay": {"rtt": 5000000}}]}"#,
        )
        .unwrap();
        assert_eq!((said.lost, said.skipped), (Some([2, 1]), Some(1)));
        assert_eq!(said.rtt.map(|rtt| rtt.all()), Some([3.0, 5.0, 5.0]));
        assert_eq!(said.one_way.map(|ways| ways.p50), Some([2.0, 1.0]));
        assert!(irtt("{}").is_err());
    }

    #[test]
    fn corridor_says_which_way() {
        let counts = r#"{"sent": 9, "received": 6, "late": 1, "slipped": 1, "local_drops": 0,
            "unconnected": 0, "lost_up": 1, "lost_down": 1, "lost_unknown": 0, "reordered_up": 0,
            "reordered_down": 2, "stalled": 2, "excluded": 1}"#;
        let said = corridor(counts).unwrap();
        assert_eq!((said.received, said.reordered), (7, Some([0, 2])));
        assert_eq!((said.rtt, said.one_way), (None, None), "absent when unknown");
    }

    #[test]
    fn classes_do_not_overlap() {
        let classes = Tool::ALL.map(Tool::class);
        for (i, (proto, lengths)) in classes.iter().enumerate() {
            for (other, others) in &classes[..i] {
                assert!(proto != other || lengths.end() < others.start() || others.end() < lengths.start());
            }
            assert!(!lengths.contains(&crate::floor::LENGTH));
        }
    }
}
