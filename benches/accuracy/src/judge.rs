//! How far a tool is off: what it says beside what the emulator did to its packets.

use std::time::Duration;

use corridor_netem::{
    log::Packet,
    stats::VOID_LATENESS,
    truth::{self, Class, Unpaired, Way},
};
use corridor_probes::percentile;

use crate::{
    run::{FAR, HERE},
    tools::{Figures, Said, Tool},
};

/// What was really there, for the packets of one tool.
#[derive(Debug, Clone, PartialEq)]
pub struct Real {
    pub up: Way,
    pub down: Way,
    pub rtt: Option<Figures>,
    /// Medians there and back, ms.
    pub one_way: Option<[f64; 2]>,
    /// How late the emulator was with these packets, 99th percentile, ms.
    pub late_p99: Option<f64>,
    /// It was too late: times prove nothing.
    pub void: bool,
}

/// By the packet log, and what each direction of the path costs without a link.
pub fn real(packets: &[Packet], tool: Tool, floor: [Duration; 2]) -> Result<Real, Unpaired> {
    let (proto, lengths) = tool.class();
    let class = Class {
        client: HERE,
        server: FAR,
        proto,
        lengths,
    };
    let truth = truth::of(packets, &class)?;
    let [there, back] = floor;
    let samples = |of: &dyn Fn(&truth::RoundTrip) -> Duration| -> Vec<Duration> {
        truth.round_trips.iter().map(of).collect()
    };
    let median = |samples: Vec<Duration>| Some(Figures::of(&samples)?.p50);
    let one_way = || {
        Some([
            median(samples(&|trip| trip.up + there))?,
            median(samples(&|trip| trip.down + back))?,
        ])
    };
    let late = percentile(&truth.late, 99.0);
    Ok(Real {
        up: truth.up,
        down: truth.down,
        rtt: Figures::of(&samples(&|trip| trip.total() + there + back)),
        one_way: one_way(),
        late_p99: late.map(|late| late.as_secs_f64() * 1e3),
        void: late.is_some_and(|late| late > VOID_LATENESS),
    })
}

impl Real {
    /// What `said` adds to the 50th, 95th and 99th percentile of round trips, ms.
    pub fn rtt_errors(&self, said: &Said) -> Option<[f64; 3]> {
        let (said, real) = (said.rtt?.all(), self.rtt?.all());
        Some(std::array::from_fn(|i| said[i] - real[i]))
    }

    /// The same of the medians of one-way delays.
    pub fn one_way_errors(&self, said: &Said) -> Option<[f64; 2]> {
        let (said, real) = (said.one_way?.p50, self.one_way?);
        Some(std::array::from_fn(|i| said[i] - real[i]))
    }

    /// Whether every count that the tool gives is the emulator's.
    pub fn counts_agree(&self, said: &Said) -> bool {
        let pair = |of: fn(&Way) -> u64| [of(&self.up), of(&self.down)];
        let agrees = |said: Option<[u64; 2]>, real| said.is_none_or(|said| said == real);
        said.sent == self.up.sent
            && said.received == self.down.sent - self.down.lost
            && agrees(said.lost, pair(|way| way.lost))
            && agrees(said.reordered, pair(|way| way.reordered))
            && said.lost_unknown.is_none_or(|unknown| unknown == 0)
    }
}

#[cfg(test)]
mod tests {
    use corridor_netem::log::{self, Packet};

    use super::*;
    use crate::tools::OneWay;

    fn packets(late_us: u32) -> Vec<Packet> {
        let mut log =
            "entered_ns,from,to,proto,len,dscp,seq,fate,left_ns,residence_us,lateness_us\n".to_owned();
        for seq in 0..3 {
            let (up, down) = (seq * 10_000_000, seq * 10_000_000 + 5_000_000);
            log += &format!("{up},{HERE},{FAR},udp,359,0,{seq},delivered,{down},5000.0,{late_us}.0\n");
            log += &format!(
                "{down},{FAR},{HERE},udp,359,0,{seq},delivered,{},2000.0,0.0\n",
                down + 2_000_000
            );
        }
        log::parse(&log).unwrap()
    }

    #[test]
    fn an_error_is_what_the_tool_adds_to_link_and_floor() {
        let floor = [Duration::from_micros(100), Duration::from_micros(50)];
        let real = real(&packets(10), Tool::Irtt, floor).unwrap();
        assert_eq!(real.rtt.map(|rtt| rtt.p50), Some(7.15));
        let said = Said {
            sent: 3,
            received: 3,
            skipped: None,
            lost: Some([0, 0]),
            lost_unknown: None,
            reordered: None,
            rtt: real.rtt.map(|rtt| Figures { p99: 8.15, ..rtt }),
            one_way: Some(OneWay {
                p50: [5.1, 2.3],
                bound: None,
            }),
            stalled: None,
        };
        let errors = real.rtt_errors(&said).unwrap();
        assert!((errors[2] - 1.0).abs() < 1e-9 && errors[0] == 0.0, "{errors:?}");
        let [up, down] = real.one_way_errors(&said).unwrap();
        assert!(up.abs() < 1e-9 && (down - 0.25).abs() < 1e-9, "{up} {down}");
        assert!(real.counts_agree(&said) && !real.void);
        let wrong = Said {
            lost: Some([1, 0]),
            ..said
        };
        assert!(!real.counts_agree(&wrong));
    }

    #[test]
    fn a_late_emulator_proves_nothing() {
        assert!(real(&packets(400), Tool::Irtt, [Duration::ZERO; 2]).unwrap().void);
    }
}
