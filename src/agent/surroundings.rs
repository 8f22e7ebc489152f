//! When this agent looks around, and when it traces a path: what it sees tells on whose side trouble is.
//!
//! | what | when |
//! |---|---|
//! | a sample (load, link, Wi-Fi, gateway, first hop outside) | every 10 s in class, 60 s idle |
//! | the path to the edge in use, by turns with the target of each class | every 10 min in class, hourly idle, spread |
//! | the path to the edge in question | at once when trouble begins |
//!
//! Traces are bounded ([`trouble::Allowance`]): on and on, one a minute at most, twelve an hour, twice as many in the first. A scheduled
//! one leaves room for one that trouble asks for.

pub mod told;
mod trouble;

use std::{collections::BTreeMap, time::Duration};

use corridor_probes::{
    EdgeId, Mono,
    surroundings::{NotSeen, Outside, Path, Sample, Seen, StallGauge, Stalls},
};
use rand::{RngExt as _, SeedableRng as _, rngs::StdRng};

pub use trouble::Trouble;
use trouble::{Allowance, LinkWatch};

const SAMPLE_IN_CLASS: Duration = Duration::from_secs(10);
const SAMPLE_IDLE: Duration = Duration::from_secs(60);
const PATH_IN_CLASS: Duration = Duration::from_secs(600);
const PATH_IDLE: Duration = Duration::from_secs(3_600);
/// The first path is traced within this, so that a school that starts its day does not trace all at once.
const FIRST_PATH: Duration = Duration::from_secs(30);
/// Between two events that tell of stalls: a machine that is too slow stalls all the time.
const STALLS_EVERY: Duration = Duration::from_secs(300);
/// A change of network shows on the next look, which is not long after it.
const SETTLED: Duration = Duration::from_secs(2);

/// What looking around takes of the budget in class, in bit/s each way, rounded up. A sample of seven probes
/// every 10 s is 358 bit/s over IPv4 and 582 over IPv6; 24 traces in the worst hour, of 15 hops and three rounds,
/// are 154 and 250; reports say 120 bit/s of both.
const SET_ASIDE_IN_CLASS: u64 = 1_000;
/// The same while idle: samples and what reports say of them are a sixth, one trace an hour is 11 bit/s.
const SET_ASIDE_IDLE: u64 = 150;

/// What the operator set.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Watch {
    /// Looks at all; simulated machines have nothing around them.
    pub on: bool,
    /// Sends probes to hops.
    pub trace: bool,
    /// Reads names of wireless networks and access points.
    pub wifi_names: bool,
    /// Tells whole addresses of hops.
    pub full_addresses: bool,
}

impl Watch {
    pub const OFF: Self = Self {
        on: false,
        trace: false,
        wifi_names: false,
        full_addresses: false,
    };
}

/// Where a path leads.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub enum Toward {
    Edge(EdgeId),
    /// `host:port` of a class's target.
    Target(String),
}

/// Why a path is traced out of turn.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Trigger {
    pub trouble: Trouble,
    /// The class it was seen in; empty if in none.
    pub class: String,
}

/// Something to do now, off the main loop.
#[derive(Debug, Clone, PartialEq)]
pub enum Look {
    Sample {
        toward: Option<Toward>,
        /// The hop that was the first outside.
        outside: Seen<u8>,
    },
    Path(PathLook),
}

/// A path to be traced.
#[derive(Debug, Clone, PartialEq)]
pub struct PathLook {
    pub toward: Toward,
    /// `None`: on schedule.
    pub trigger: Option<Trigger>,
    /// When it was asked for.
    pub at: Mono,
}

/// The newest path, and what it was traced for.
#[derive(Debug, Clone, PartialEq)]
pub struct Traced {
    pub look: PathLook,
    pub path: Seen<Path>,
}

/// Cumulative.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Counters {
    pub samples: u64,
    pub paths: u64,
    /// Traces that trouble asked for and that the allowance forbade.
    pub refused: u64,
    /// IP bytes of probes to hops, each way at most.
    pub bytes: u64,
}

/// The state.
#[derive(Debug)]
pub struct Around {
    watch: Watch,
    in_class: bool,
    next_sample: Mono,
    sampling: bool,
    next_path: Mono,
    tracing: bool,
    /// Asked for by trouble, while another trace was under way.
    waiting: Option<PathLook>,
    /// Which of those whose turn it may be had it last.
    turn: usize,
    allowance: Allowance,
    outside: Seen<u8>,
    pub sample: Option<(Mono, Sample)>,
    pub path: Option<Traced>,
    sample_told: bool,
    path_told: bool,
    links: BTreeMap<EdgeId, LinkWatch>,
    /// Classes at risk.
    at_risk: Vec<String>,
    gauge: StallGauge,
    stalls: Stalls,
    /// Stalls of the time between the last two samples.
    pub recent_stalls: Stalls,
    /// When stalls were last told as an event.
    stalls_told: Option<Mono>,
    pub counters: Counters,
    rng: StdRng,
}

impl Around {
    /// `seed` is random.
    pub fn new(watch: Watch, seed: u64, now: Mono) -> Self {
        let mut rng = StdRng::seed_from_u64(seed);
        let first_path = now + spread(&mut rng, FIRST_PATH);
        Self {
            watch,
            in_class: false,
            next_sample: now,
            sampling: false,
            next_path: first_path,
            tracing: false,
            waiting: None,
            turn: 0,
            allowance: Allowance::new(now),
            outside: Err(NotSeen::NobodyYet),
            sample: None,
            path: None,
            sample_told: true,
            path_told: true,
            links: BTreeMap::new(),
            at_risk: Vec::new(),
            gauge: StallGauge::default(),
            stalls: Stalls::default(),
            recent_stalls: Stalls::default(),
            stalls_told: None,
            counters: Counters::default(),
            rng,
        }
    }

    pub fn watch(&self) -> Watch {
        self.watch
    }

    /// A class begins, or the last one is over.
    pub fn set_in_class(&mut self, in_class: bool, now: Mono) {
        if self.in_class == in_class {
            return;
        }
        self.in_class = in_class;
        if in_class {
            self.next_sample = self.next_sample.min(now);
            self.next_path = self.next_path.min(now + spread(&mut self.rng, FIRST_PATH));
        }
    }

    /// This machine may be somewhere else now.
    pub fn moved(&mut self, now: Mono) {
        self.next_sample = self.next_sample.min(now + SETTLED);
        self.next_path = self
            .next_path
            .min(now + SETTLED + spread(&mut self.rng, FIRST_PATH));
        self.outside = Err(NotSeen::NobodyYet);
        self.links.clear();
    }

    pub fn next_wakeup(&self) -> Option<Mono> {
        if !self.watch.on {
            return None;
        }
        let sample = (!self.sampling).then_some(self.next_sample);
        let path = (self.watch.trace && !self.tracing).then_some(self.next_path);
        let waiting = self.waiting.as_ref().filter(|_| !self.tracing).map(|w| w.at);
        [sample, path, waiting].into_iter().flatten().min()
    }

    /// What is to be done now, if anything. `usual` is whom paths lead to: the edge in use first.
    pub fn poll(&mut self, usual: &[Toward], now: Mono) -> Option<Look> {
        if !self.watch.on {
            return None;
        }
        if !self.tracing
            && let Some(look) = self.waiting.take()
        {
            self.tracing = true;
            return Some(Look::Path(look));
        }
        if !self.sampling && now >= self.next_sample {
            let every = if self.in_class {
                SAMPLE_IN_CLASS
            } else {
                SAMPLE_IDLE
            };
            self.next_sample = now + every;
            self.sampling = true;
            self.recent_stalls = self.gauge.take();
            self.stalls = self.stalls.and(self.recent_stalls);
            return Some(Look::Sample {
                toward: usual.first().cloned(),
                outside: self.outside.clone(),
            });
        }
        if self.watch.trace && !self.tracing && now >= self.next_path {
            return self.scheduled(usual, now);
        }
        None
    }

    fn scheduled(&mut self, usual: &[Toward], now: Mono) -> Option<Look> {
        let every = if self.in_class { PATH_IN_CLASS } else { PATH_IDLE };
        self.next_path = now + every / 2 + spread(&mut self.rng, every);
        if usual.is_empty() || !self.allowance.take_with_one_left(now) {
            // Nobody to look towards, or there was trouble lately, which was looked into.
            self.next_path = now + spread(&mut self.rng, FIRST_PATH * 2) + FIRST_PATH;
            return None;
        }
        let toward = usual.get(self.turn % usual.len())?.clone();
        self.turn = self.turn.wrapping_add(1);
        self.tracing = true;
        Some(Look::Path(PathLook {
            toward,
            trigger: None,
            at: now,
        }))
    }

    /// Trouble has begun on the way to `toward`: its path is traced at once, if that is allowed.
    pub fn trouble(&mut self, trouble: Trouble, class: &str, toward: Toward, now: Mono) {
        if !self.watch.on || !self.watch.trace || self.waiting.is_some() {
            return;
        }
        if !self.allowance.take(now) {
            self.counters.refused += 1;
            return;
        }
        self.waiting = Some(PathLook {
            toward,
            trigger: Some(Trigger {
                trouble,
                class: class.to_owned(),
            }),
            at: now,
        });
    }

    /// Legs as they are now, as (class, at risk, the edge that its route in use enters by).
    pub fn legs<'a>(&mut self, legs: impl Iterator<Item = (&'a str, bool, Option<EdgeId>)>, now: Mono) {
        if !self.watch.on {
            return;
        }
        let mut begun = None;
        let mut risky = Vec::new();
        for (class, at_risk, entry) in legs {
            if !at_risk {
                continue;
            }
            if !self.at_risk.iter().any(|c| c == class) {
                begun = begun.or(entry.map(|entry| (class, entry)));
            }
            risky.push(class);
        }
        if self.at_risk != risky {
            self.at_risk = risky.iter().map(|&c| c.to_owned()).collect();
        }
        if let Some((class, entry)) = begun {
            self.trouble(Trouble::AtRisk, class, Toward::Edge(entry), now);
        }
    }

    /// A round trip on the link to an edge that matters.
    pub fn link_sample(&mut self, edge: EdgeId, rtt: Duration, now: Mono) {
        if self.watch.on && self.links.entry(edge).or_default().sample(rtt, now) {
            self.trouble(Trouble::LinkSlow, "", Toward::Edge(edge), now);
        }
    }

    /// A window of that link has closed.
    pub fn link_window(&mut self, edge: EdgeId, sent: u32, lost: u32, now: Mono) {
        if self.watch.on && self.links.entry(edge).or_default().fates(sent, lost) {
            self.trouble(Trouble::LinkLossy, "", Toward::Edge(edge), now);
        }
    }

    /// Of the budget, in bit/s each way.
    pub fn set_aside_bps(&self, in_class: bool) -> u64 {
        match (self.watch.on, in_class) {
            (false, _) => 0,
            (true, true) => SET_ASIDE_IN_CLASS,
            (true, false) => SET_ASIDE_IDLE,
        }
    }

    /// A link that is no more.
    pub fn forget_link(&mut self, edge: EdgeId) {
        self.links.remove(&edge);
    }

    /// The main loop was to wake at `due` and runs at `now`.
    pub fn woke(&mut self, due: Mono, now: Mono) {
        self.gauge.woke(due, now);
    }

    /// The stalls of the time between the last two samples, if a class would have noticed them and that was
    /// not told lately.
    pub fn stalled(&mut self, now: Mono) -> Option<Stalls> {
        let lately = self.stalls_told.is_some_and(|at| now.since(at) < STALLS_EVERY);
        let news = self.recent_stalls.is_trouble() && !lately;
        news.then(|| {
            self.stalls_told = Some(now);
            self.recent_stalls
        })
    }

    pub fn sampled(&mut self, sample: Sample, now: Mono) {
        self.sampling = false;
        self.counters.samples += 1;
        self.counters.bytes += u64::from(sample.bytes);
        self.sample = Some((now, sample));
        self.sample_told = false;
    }

    /// A path was traced. What is not told with an event is told with the next report.
    pub fn traced(&mut self, look: PathLook, path: Seen<Path>) {
        self.tracing = false;
        self.counters.paths += 1;
        if let Ok(path) = &path {
            self.counters.bytes += u64::from(path.bytes());
            if matches!(look.toward, Toward::Edge(_)) {
                let outside = path.outside().map(|Outside { hop, .. }| hop);
                self.outside = outside.ok_or(NotSeen::NoneOutside);
            }
        }
        self.path_told = look.trigger.is_some();
        self.path = Some(Traced { look, path });
    }

    /// What no report had yet: the sample with the stalls until it, and the scheduled path.
    pub fn take_news(&mut self) -> (Option<(Mono, &Sample, Stalls)>, Option<&Traced>) {
        let sample = self.sample.as_ref().filter(|_| !self.sample_told);
        let sample = sample.map(|(at, sample)| (*at, sample, std::mem::take(&mut self.stalls)));
        let path = self.path.as_ref().filter(|_| !self.path_told);
        (self.sample_told, self.path_told) = (true, true);
        (sample, path)
    }
}

/// A random part of `of`.
fn spread(rng: &mut StdRng, of: Duration) -> Duration {
    of.mul_f64(rng.random_range(0.0..1.0))
}

#[cfg(test)]
mod tests;
