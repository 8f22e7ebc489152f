//! The ladder: links as people have them, from the best to the worst. Directions differ, as they do there.

/// One rung.
#[derive(Debug)]
pub struct Link {
    pub name: &'static str,
    pub why: &'static str,
    /// Settings of the emulator, see `corridor-netem ctl set --help`.
    pub there: &'static str,
    pub back: &'static str,
    /// How often it is measured under each load, with another draw of its randomness each time.
    pub rounds: u32,
}

/// What the short form takes.
pub const SHORT: [&str; 2] = ["LAN", "cable"];

pub const LADDER: [Link; 7] = [
    Link {
        name: "LAN",
        why: "a switch between: nothing but the tools' own errors shows",
        there: "delay_ms=0.3 jitter_ms=0.05",
        back: "delay_ms=0.2 jitter_ms=0.05",
        rounds: 1,
    },
    Link {
        name: "fibre",
        why: "passive optical: upstream waits for its grant, a fraction of a millisecond; hardly any loss",
        there: "delay_ms=6 jitter_ms=0.4",
        back: "delay_ms=5 jitter_ms=0.2 loss=0.001",
        rounds: 1,
    },
    Link {
        name: "cable",
        why: "DOCSIS: upstream asks for each slot, which takes some milliseconds that vary",
        there: "delay_ms=14 jitter_ms=4 loss=0.004 loss_burst=2",
        back: "delay_ms=9 jitter_ms=1.5 loss=0.001",
        rounds: 1,
    },
    Link {
        name: "mixed",
        why: "directions that differ in everything, with losses in runs and 1 % overtaken: what must be counted apart",
        there: "delay_ms=15 jitter_ms=2 loss=0.02 loss_burst=4 reorder=0.01 reorder_ms=25",
        back: "delay_ms=25 jitter_ms=2 loss=0.005 loss_burst=2 reorder=0.01 reorder_ms=25",
        rounds: 5,
    },
    Link {
        name: "LTE",
        why: "scheduling and HARQ: most packets a little late, some by retransmissions; loss at handovers",
        there: "delay_ms=28 jitter_ms=8 jitter_shape=normal loss=0.006 loss_burst=3",
        back: "delay_ms=20 jitter_ms=5 jitter_shape=normal loss=0.003 loss_burst=2",
        rounds: 1,
    },
    Link {
        name: "bad Wi-Fi",
        why: "far from the access point: long tails, losses in runs, and packets that overtake each other",
        there: "delay_ms=8 jitter_ms=4 jitter_shape=pareto loss=0.03 loss_burst=4 reorder=0.01 reorder_ms=25",
        back: "delay_ms=7 jitter_ms=3 jitter_shape=pareto loss=0.015 loss_burst=3 reorder=0.005 reorder_ms=25",
        rounds: 1,
    },
    Link {
        name: "GEO",
        why: "a satellite at 36,000 km: half a second, and fades that take runs of packets",
        there: "delay_ms=275 jitter_ms=6 loss=0.008 loss_burst=6",
        back: "delay_ms=265 jitter_ms=3 loss=0.004 loss_burst=4",
        rounds: 1,
    },
];

#[cfg(test)]
mod tests {
    use corridor_netem::Settings;

    use super::*;

    #[test]
    fn every_rung_can_be_set() {
        for link in &LADDER {
            for settings in [link.there, link.back] {
                let settings: Settings = settings.parse().unwrap();
                settings.impairment().unwrap();
            }
        }
        assert!(SHORT.iter().all(|name| LADDER.iter().any(|l| l.name == *name)));
    }
}
