//! All targets of a process without I/O: names and answers go in with the time; what to look up and send, and
//! closed windows, come out.

mod link;
mod session;

use std::{
    collections::{BTreeMap, VecDeque},
    net::{IpAddr, SocketAddr},
    num::NonZeroU32,
    time::Duration,
};

use corridor_probes::{
    Arrival, Due, Ledger, LossChain, Mono, Pattern, Sample, Schedule, SlotOutcome, StallWatch, Steps, Window,
    stamp::ReflectorPacket,
    target::{Answered, Method, Silence, Standing, TrialProbe},
};
use rand::{RngExt as _, SeedableRng as _, rngs::StdRng};

use self::link::Link;
use super::{MAX_NAME, MAX_TARGETS, Net, address, run::Settings};
use crate::{
    prober::GRID,
    reporting::{About, By, Closed, Unmeasured},
};

/// A target, by a number of this process; one that changes its address gets another.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct No(u32);

/// What a probe is sent for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Purpose {
    Trial,
    /// Measuring: the session of this number, which counts up with each of a target.
    Session(u32),
}

/// Probes that go by one socket.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Key {
    pub no: No,
    pub method: Method,
    pub purpose: Purpose,
}

/// A probe to be sent now.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Probe {
    pub key: Key,
    /// The target's own.
    pub address: SocketAddr,
    pub number: u32,
    pub at: Mono,
}

/// What came back.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Answer {
    /// The number of the probe, and nothing else.
    Number(u32),
    Stamp(ReflectorPacket),
}

/// What the driver shall do.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Output {
    /// Look this name up.
    Resolve(String),
    Send(Probe),
    /// Let go of a target's sockets.
    Close(No, Scope),
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Scope {
    /// Those of sessions before the one of this number.
    Before(u32),
    All,
}

/// Names are looked up again after this, whether they could be or not.
const RESOLVE_EVERY: Duration = Duration::from_secs(300);
/// Each target is probed at every tenth step of the grid: once a second.
const EVERY: Pattern = Pattern::every(NonZeroU32::new(10).expect("not 0"));
/// That a target is not measured is told so often: a report holds it, and what is known of it stays recent.
const TELL_UNMEASURED: Duration = Duration::from_secs(10);
/// Closed windows that nobody has collected.
const MAX_CLOSED: usize = 1_024;

#[derive(Debug)]
pub struct Core {
    settings: Settings,
    origin_ns: i128,
    targets: BTreeMap<String, Target>,
    schedule: Schedule<No>,
    stalls: StallWatch,
    rng: StdRng,
    next_no: u32,
    out: VecDeque<Output>,
    closed: VecDeque<Closed>,
    /// Targets that were not taken, because there were too many or their name is none.
    refused: u64,
}

#[derive(Debug)]
struct Target {
    port: u16,
    next_resolve: Mono,
    /// Why it has no address to be measured at.
    trouble: Option<String>,
    link: Option<Link>,
    next_told: Mono,
}

impl Core {
    /// `origin_ns`: this machine's wall clock, in nanoseconds since 1970, when its monotonic one was at zero.
    pub fn new(settings: Settings, seed: u64, origin_ns: i128, now: Mono) -> Self {
        let mut rng = StdRng::seed_from_u64(seed);
        let phase = GRID.mul_f64(rng.random::<f64>());
        Self {
            settings,
            origin_ns,
            targets: BTreeMap::new(),
            schedule: Schedule::new(now, phase, GRID),
            stalls: StallWatch::default(),
            rng,
            next_no: 0,
            out: VecDeque::new(),
            closed: VecDeque::new(),
            refused: 0,
        }
    }

    /// All targets that are to be measured, each time.
    pub fn set(&mut self, targets: &[String], now: Mono) {
        let gone: Vec<_> = self
            .targets
            .keys()
            .filter(|t| !targets.contains(t))
            .cloned()
            .collect();
        for name in gone {
            self.unlink(&name);
            self.targets.remove(&name);
        }
        for name in targets {
            if self.targets.contains_key(name) {
                continue;
            }
            let port = name.rsplit_once(':').and_then(|(_, port)| port.parse().ok());
            let Some(port) = port.filter(|_| self.targets.len() < MAX_TARGETS && name.len() <= MAX_NAME)
            else {
                self.refused += 1;
                continue;
            };
            let target = Target {
                port,
                next_resolve: now,
                trouble: None,
                link: None,
                next_told: now,
            };
            self.targets.insert(name.clone(), target);
        }
    }

    pub fn refused(&self) -> u64 {
        self.refused
    }

    /// What a lookup gave. A target keeps its address as long as it has it.
    pub fn resolved(&mut self, name: &str, found: Result<Vec<IpAddr>, String>, own: &[IpAddr], now: Mono) {
        let Some(target) = self.targets.get_mut(name) else {
            return;
        };
        let found = match found {
            Ok(found) => found,
            // What was known goes on being measured.
            Err(_) if target.link.is_some() => return,
            Err(why) => return target.tell_trouble(why, now),
        };
        let chosen = choose(&found, &self.settings.allow, own);
        let current = target.link.as_ref().map(|link| link.address.ip());
        if current.is_some_and(|ip| found.contains(&ip) && chosen.is_ok()) {
            return;
        }
        let port = target.port;
        self.unlink(name);
        let Some(target) = self.targets.get_mut(name) else {
            return;
        };
        match chosen {
            Ok(ip) => {
                let no = No(self.next_no);
                self.next_no = self.next_no.wrapping_add(1);
                target.trouble = None;
                let address = SocketAddr::new(ip.to_canonical(), port);
                target.link = Some(Link::new(no, address, now));
            }
            Err(why) => target.tell_trouble(why, now),
        }
    }

    /// An answer to a probe of `key`. `at` is when it came, as well as is known.
    pub fn answered(&mut self, key: Key, answer: &Answer, at: Mono, now: Mono) {
        let arrival = self.stalls.judge(Arrival::from(at), self.schedule.next_wakeup());
        let Some(link) = self.link(key.no) else { return };
        let number = match answer {
            Answer::Number(number) => *number,
            Answer::Stamp(packet) => packet.sender_seq,
        };
        match (key.purpose, answer) {
            (Purpose::Trial, _) => {
                let method = key.method;
                link.ladder
                    .answered(TrialProbe { method, number }, arrival.at, now);
            }
            (Purpose::Session(of), answer) => {
                if let Some(session) = link.session_of(of) {
                    session.answered(arrival, answer);
                }
            }
        }
    }

    /// A probe was handed over at that time.
    pub fn sent(&mut self, probe: &Probe, at: Mono) {
        let Probe { key, number, .. } = *probe;
        if let (Purpose::Trial, Some(link)) = (key.purpose, self.link(key.no)) {
            let method = key.method;
            link.ladder.sent(TrialProbe { method, number }, at);
        }
    }

    /// A probe could not be sent. `impossible`: nor could any other by this method, and why.
    pub fn not_sent(&mut self, probe: &Probe, impossible: Option<String>, now: Mono) {
        let Some(link) = self.link(probe.key.no) else {
            return;
        };
        match (probe.key.purpose, impossible) {
            (Purpose::Trial, Some(why)) => link.ladder.impossible(probe.key.method, why, now),
            (Purpose::Trial, None) => {}
            (Purpose::Session(of), _) => {
                if let Some(session) = link.session_of(of) {
                    session.books.on_local_drop(probe.number);
                }
            }
        }
    }

    /// When [`Self::poll`] next has something to do.
    pub fn next_wakeup(&self) -> Option<Mono> {
        let targets = self.targets.values().map(Target::next_wakeup);
        targets.chain(self.schedule.next_wakeup()).min()
    }

    /// Lets time pass; answers the next thing to do. Call until there is none.
    pub fn poll(&mut self, now: Mono) -> Option<Output> {
        if self.out.is_empty() {
            self.turn(now);
        }
        self.out.pop_front()
    }

    /// The next window that has closed.
    pub fn poll_closed(&mut self) -> Option<Closed> {
        self.closed.pop_front()
    }

    fn turn(&mut self, now: Mono) {
        self.stalls.look(self.schedule.next_wakeup(), now);
        let mut due = Vec::new();
        self.schedule.poll(now, &mut due);
        for due in due {
            match due {
                Due::Send { key, at } => self.slot(key, at, now),
                Due::Slipped(run) => {
                    if let Some(session) = self.link(run.key).and_then(|l| l.session.as_mut()) {
                        session.books.slipped(&run);
                    }
                }
            }
        }
        for (name, target) in &mut self.targets {
            if now >= target.next_resolve {
                target.next_resolve = now + RESOLVE_EVERY;
                self.out.push_back(Output::Resolve(name.clone()));
            }
            if let Some(link) = &mut target.link {
                let (no, address) = (link.no, link.address);
                while let Some(TrialProbe { method, number }) = link.ladder.poll(now) {
                    if let Some(why) = self.settings.speaks_against(method) {
                        link.ladder.impossible(method, why, now);
                        continue;
                    }
                    let key = Key {
                        no,
                        method,
                        purpose: Purpose::Trial,
                    };
                    self.out.push_back(Output::Send(Probe {
                        key,
                        address,
                        number,
                        at: now,
                    }));
                }
                if let Some(session) = &link.session {
                    link.ladder.overdue(session.books.silent_steps(now), now);
                }
                link.close_windows(name, now);
                while let Some(change) = link.ladder.poll_change() {
                    tracing::info!(target_name = %name, from = ?change.from, to = ?change.to, failed = change.failed, "target");
                    if link.change(name, change, &mut self.rng, self.origin_ns, now) {
                        // The last one's answers may still be on their way.
                        let before = link.sessions.saturating_sub(1);
                        self.out.push_back(Output::Close(no, Scope::Before(before)));
                        match link.session {
                            Some(_) => self.schedule.set(no, EVERY, now),
                            None => {
                                self.schedule.remove(no);
                            }
                        }
                    }
                }
                self.closed.extend(link.release());
            }
            self.closed.extend(target.unmeasured(name, now));
        }
        while self.closed.len() > MAX_CLOSED {
            self.closed.pop_front();
        }
    }

    fn slot(&mut self, no: No, at: Mono, now: Mono) {
        let Some(link) = self.link(no) else { return };
        let address = link.address;
        let Some(session) = &mut link.session else { return };
        let Some(probe) = session.books.slot(at, SlotOutcome::Sent { now }) else {
            return;
        };
        let key = Key {
            no,
            method: session.method,
            purpose: Purpose::Session(session.no),
        };
        self.out.push_back(Output::Send(Probe {
            key,
            address,
            number: probe.seq,
            at: now,
        }));
    }

    fn link(&mut self, no: No) -> Option<&mut Link> {
        let mut links = self.targets.values_mut().filter_map(|t| t.link.as_mut());
        links.find(|link| link.no == no)
    }

    /// A target has its address no more. What its sessions have not told by now is of no use to anybody.
    fn unlink(&mut self, name: &str) {
        if let Some(link) = self.targets.get_mut(name).and_then(|t| t.link.take()) {
            self.schedule.remove(link.no);
            self.out.push_back(Output::Close(link.no, Scope::All));
        }
    }
}

/// The first that may be probed.
fn choose(found: &[IpAddr], allow: &[Net], own: &[IpAddr]) -> Result<IpAddr, String> {
    let mut refused = None;
    for &ip in found {
        match address::check(ip, allow, own) {
            Ok(()) => return Ok(ip),
            Err(why) => refused = refused.or(Some(why)),
        }
    }
    Err(refused.map_or_else(|| "the name has no address".to_owned(), |why| why.to_string()))
}

impl Target {
    fn tell_trouble(&mut self, why: String, now: Mono) {
        if self.trouble.as_ref() != Some(&why) {
            self.trouble = Some(why);
            self.next_told = now;
        }
    }

    fn next_wakeup(&self) -> Mono {
        let link = self.link.as_ref().map(Link::next_wakeup);
        let told = self.is_unmeasured().then_some(self.next_told);
        link.into_iter()
            .chain(told)
            .chain([self.next_resolve])
            .min()
            .unwrap_or(self.next_resolve)
    }

    fn is_unmeasured(&self) -> bool {
        match &self.link {
            Some(link) => link.ladder.standing() == Standing::Unmeasured,
            None => self.trouble.is_some(),
        }
    }

    /// A window that says that nothing was measured, and why, now and then.
    fn unmeasured(&mut self, name: &str, now: Mono) -> Option<Closed> {
        if !self.is_unmeasured() || now < self.next_told {
            return None;
        }
        self.next_told = now + TELL_UNMEASURED;
        let silences = self.link.iter().flat_map(|link| link.ladder.silences());
        let whys = silences.map(|(method, why): (Method, &Silence)| Unmeasured {
            what: method.word().to_owned(),
            why: why.to_string(),
        });
        let trouble = self.trouble.iter().filter(|_| self.link.is_none());
        let trouble = trouble.map(|why| Unmeasured {
            what: "address".to_owned(),
            why: why.clone(),
        });
        let about = About::Target {
            target: name.to_owned(),
            by: By::Nothing(trouble.chain(whys).collect()),
        };
        Some(of_no_session(about, 0, &[], now))
    }
}

/// What is known of the last second without a session: these round trips, each of a probe that was answered.
fn of_no_session(about: About, id: u64, seen: &[Answered], now: Mono) -> Closed {
    let samples = (0..).zip(seen).map(|(seq, answered)| Sample {
        seq,
        rtt_us: u32::try_from(answered.rtt.as_micros()).unwrap_or(u32::MAX),
        up_us: None,
        steps: Steps::default(),
    });
    let samples: Vec<_> = samples.collect();
    let count = u32::try_from(samples.len()).unwrap_or(u32::MAX);
    let ledger = Ledger {
        slots: count,
        sent: count,
        received: count,
        ..Ledger::default()
    };
    let length = Duration::from_secs(1);
    let window = Window {
        start: now - length,
        length,
        ledger,
        samples,
        samples_taken: count,
        raw: None,
        jitter_up_us: None,
        jitter_down_us: None,
        late_up: 0,
        chain_up: LossChain::default(),
        chain_down: LossChain::default(),
    };
    Closed {
        about,
        session: id,
        total: window.ledger,
        window,
        every: GRID * EVERY.period().get(),
    }
}

#[cfg(test)]
mod tests;
