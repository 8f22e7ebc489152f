//! The prober's side of one link or route.
//!
//! A session gives each probe its number, learns from echoes what became of it, and closes the books a
//! while later, one window of slot time after the other. It outlives connections, may lie idle, and
//! does not care at which rate it is driven.
//!
//! How a probe's fate is settled, in this order: an echo within Tmax is `received`, one after it is
//! `late`; a number that the reflector acknowledged is `lost_down`; one that it said it had not got is
//! `lost_up`; then the reflector's count may tell; else it is `lost_unknown`.

mod arrival;
mod evidence;
mod settle;
mod silence;
mod steps;

use std::{collections::VecDeque, time::Duration};

use crate::{Clocks, Ledger, Mono, Sample, SessionId, Slipped, Window, wire::LinkProbe};
pub use arrival::{Arrival, EchoOutcome, Stall};
use evidence::Evidence;
use settle::ClockedJitter;
use silence::Silence;

/// Times that decide what a probe counts as. They are reported with loss figures (RFC 7680 §2.8.2).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SessionConfig {
    /// Length of a window of slot time. Windows begin at multiples of it on the monotonic clock, so
    /// that those of all sessions of a process coincide.
    pub window: Duration,
    /// An echo that takes longer is `late`: nobody waits so long for the other's voice.
    pub tmax: Duration,
    /// How long after its end a window is closed: Tmax, and a second for echoes that tell of others.
    pub close_after: Duration,
    /// How many probes, sent after a window and not echoed, leave no hope of learning where its own were
    /// lost: until then a window in doubt is held, …
    pub doubt_probes: usize,
    /// … but no longer than this beyond `close_after`.
    pub doubt_for: Duration,
}

impl Default for SessionConfig {
    fn default() -> Self {
        Self {
            window: Duration::from_secs(1),
            tmax: Duration::from_secs(2),
            close_after: Duration::from_secs(3),
            // At ten a second this many go out before `close_after` is over; at one a second, with every
            // other round trip lost, all of them are lost once in four thousand windows.
            doubt_probes: 12,
            doubt_for: Duration::from_secs(8),
        }
    }
}

/// Probes whose window is not closed yet, at most: four seconds at 2,000/s. A slot beyond is a local
/// drop.
pub const MAX_OPEN_PROBES: usize = 8_192;

/// Windows that are not collected, at most; the oldest is dropped beyond, and counted.
pub const MAX_OPEN_WINDOWS: usize = 64;

/// What was done with a slot of the schedule.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SlotOutcome {
    /// Its probe goes out; `now` is read just before.
    Sent { now: Mono },
    /// Missed by half an interval.
    Slipped,
    /// This machine could not send it.
    LocalDrop,
    /// There was no connection to send it on.
    Unconnected,
}

/// See the module's documentation.
#[derive(Debug)]
pub struct ProbeSession {
    id: SessionId,
    config: SessionConfig,
    next_seq: u64,
    /// Probes of open windows; the last one has number `next_seq - 1`.
    probes: VecDeque<Probe>,
    windows: VecDeque<OpenWindow>,
    evidence: Evidence,
    silence: Silence,
    /// The highest count that an echo of this epoch came back with.
    newest_echo: Option<(u32, u32)>,
    /// How many reordered probes of this epoch are booked.
    reordered: (u32, u16),
    /// How often this machine's clock has stepped.
    clock_steps: u32,
    /// Raw differences of the newest sample, between which clocks.
    newest_raw: Option<(Clocks, [i64; 2])>,
    jitter_up: ClockedJitter,
    jitter_down: ClockedJitter,
    totals: Ledger,
    windows_dropped: u64,
}

#[derive(Debug, Clone, Copy)]
struct Probe {
    /// Start of the window that its slot is in.
    window: Mono,
    sent: Mono,
    /// The session's `clock_steps` then.
    clock: u32,
    echo: Echo,
    /// Of one whose echo was late: the way up was what took so long.
    late_up: bool,
    /// The reflector has it.
    acked: bool,
    /// The reflector once had later ones, but not this.
    missed: bool,
    /// It came to the reflector after one that was sent later.
    overtaken: bool,
    /// It is booked as such, or one of its like is.
    reordered: bool,
    /// Of an echoed probe, under the epoch that is current: its place in the order of arrival there.
    count: Option<u32>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Echo {
    None,
    InTime,
    Late,
    /// Not to be expected: the probe never left this machine.
    Never,
}

#[derive(Debug)]
struct OpenWindow {
    start: Mono,
    ledger: Ledger,
    /// In the order of arrival.
    arrivals: Vec<Arrived>,
}

#[derive(Debug, Clone, Copy)]
struct Arrived {
    at: Mono,
    sample: Sample,
    /// None of an answer that carries nothing of the far end's.
    there: Option<There>,
}

/// What an echo tells of its probe's arrival at the far end.
#[derive(Debug, Clone, Copy)]
struct There {
    up_us: i64,
    clocks: Clocks,
    epoch: u32,
    count: u32,
}

impl ProbeSession {
    /// A session whose first probe has number `first_seq`: any will do.
    pub fn new(id: SessionId, first_seq: u32, config: SessionConfig) -> Self {
        Self {
            id,
            config,
            // Room below, so that distances never pass zero.
            next_seq: (1 << 32) + u64::from(first_seq),
            probes: VecDeque::new(),
            windows: VecDeque::new(),
            evidence: Evidence::default(),
            silence: Silence::default(),
            newest_echo: None,
            reordered: (0, 0),
            clock_steps: 0,
            newest_raw: None,
            jitter_up: ClockedJitter::default(),
            jitter_down: ClockedJitter::default(),
            totals: Ledger::default(),
            windows_dropped: 0,
        }
    }

    pub fn id(&self) -> SessionId {
        self.id
    }

    pub fn config(&self) -> SessionConfig {
        self.config
    }

    /// Counts of all windows closed so far.
    pub fn totals(&self) -> Ledger {
        self.totals
    }

    /// Windows that were dropped because nobody collected them.
    pub fn windows_dropped(&self) -> u64 {
        self.windows_dropped
    }

    /// Books the slot at `at`, which the schedule gave. For [`SlotOutcome::Sent`] it answers the probe
    /// to send; none if too many are open, which is a local drop.
    pub fn slot(&mut self, at: Mono, outcome: SlotOutcome) -> Option<LinkProbe> {
        let full = self.probes.len() >= MAX_OPEN_PROBES;
        let window = self.window_for(at);
        let ledger = &mut window.ledger;
        ledger.slots = ledger.slots.saturating_add(1);
        let counter = match outcome {
            SlotOutcome::Sent { .. } if full => &mut ledger.local_drops,
            SlotOutcome::Sent { .. } => &mut ledger.sent,
            SlotOutcome::Slipped => &mut ledger.slipped,
            SlotOutcome::LocalDrop => &mut ledger.local_drops,
            SlotOutcome::Unconnected => &mut ledger.unconnected,
        };
        *counter = counter.saturating_add(1);
        let start = window.start;
        match outcome {
            SlotOutcome::Sent { now } if !full => Some(self.send(start, now)),
            _ => None,
        }
    }

    /// Books a run of slots that the schedule missed. A run longer than 16 windows is a sleep of this
    /// machine: what is beyond stands in the last of them.
    pub fn slipped<K>(&mut self, run: &Slipped<K>) {
        const SPREAD: u64 = 16;
        let span = run.last.since(run.first);
        let windows = (span.as_nanos() / self.config.window.as_nanos().max(1)) as u64 + 1;
        let spread = windows.min(SPREAD).min(run.count.max(1));
        let mut left = run.count;
        for i in 0..spread {
            let share = if i + 1 == spread {
                left
            } else {
                // Rounded up, so that every slot is booked where windows are few.
                run.count.div_ceil(windows).min(left)
            };
            left -= share;
            let share = u32::try_from(share).unwrap_or(u32::MAX);
            let ledger = &mut self.window_for(run.first + self.config.window * i as u32).ledger;
            // Both by the same number, so that the ledger adds up even at the end of its range.
            let share = share.min(u32::MAX - ledger.slots);
            ledger.slots += share;
            ledger.slipped += share;
        }
    }

    /// The transport says that it dropped this probe before it reached the network. `false` if the probe
    /// is not open, or its echo came.
    pub fn on_local_drop(&mut self, seq: u32) -> bool {
        let Some(at) = self.unwrap_seq(seq).and_then(|seq| self.index_of(seq)) else {
            return false;
        };
        let probe = &mut self.probes[at];
        if probe.echo != Echo::None || probe.acked {
            return false;
        }
        probe.echo = Echo::Never;
        let (start, reordered) = (probe.window, probe.reordered);
        if let Some(window) = self.open_window(start) {
            let ledger = &mut window.ledger;
            ledger.sent = ledger.sent.saturating_sub(1);
            ledger.local_drops = ledger.local_drops.saturating_add(1);
            // Some are booked that are no probe's of this window.
            let booked = ledger.reordered_up.saturating_sub(u32::from(reordered));
            ledger.reordered_up = booked.min(ledger.sent);
        }
        true
    }

    /// The probe left this machine at `at`, somewhat after the time that it was booked with. No effect if the
    /// probe is not open, or its echo came.
    pub fn on_sent(&mut self, seq: u32, at: Mono) {
        let probe = self.unwrap_seq(seq).and_then(|seq| self.index_of(seq));
        if let Some(probe) = probe.map(|at| &mut self.probes[at])
            && probe.echo == Echo::None
        {
            probe.sent = probe.sent.max(at);
        }
    }

    /// This machine's monotonic clock has stepped against others (it slept), so many times in all. What is under
    /// way has no times that mean anything, and raw differences from before and after are never compared.
    pub fn clock_stepped(&mut self, times: u32) {
        self.clock_steps = times;
    }

    /// Another packet came from the far end at `now`: a sign of life as good as an echo.
    pub fn heard(&mut self, now: Mono) {
        self.silence.heard(now);
    }

    /// How many probes in a row have gone without the echo that should have come by now, since the far
    /// end was last heard. An echo should have come once the session's usual round trip has passed, and as much
    /// more as that lies above its median.
    pub fn silent_steps(&self, now: Mono) -> u32 {
        self.silence.steps(&self.probes, self.next_seq, now)
    }

    /// When [`Self::silent_steps`] reaches `steps` if nothing is heard; none if too few probes are out.
    pub fn silent_at(&self, steps: u32) -> Option<Mono> {
        self.silence.reaches(&self.probes, self.next_seq, steps)
    }

    /// The round trip within which nine of the last ten echoes came; none before the first.
    pub fn usual_rtt(&self) -> Option<Duration> {
        self.silence.usual_rtt()
    }

    /// When [`Self::poll_window`] next has something, if no echo comes before.
    pub fn next_close(&self) -> Option<Mono> {
        let start = self.windows.front()?.start;
        let close = self.close_time(start);
        Some(if self.is_in_doubt(start) {
            close + self.config.doubt_for
        } else {
            close
        })
    }

    /// The oldest window, once it is due to be closed. Call until there is none.
    pub fn poll_window(&mut self, now: Mono) -> Option<Window> {
        if self.next_close()? > now {
            return None;
        }
        self.close_oldest()
    }

    /// No more probes will be sent, so that no later echo will tell of these: no window is held for one.
    pub fn retire(&mut self) {
        self.config.doubt_for = Duration::ZERO;
    }

    /// Whether an echo that may still come could tell where a probe of the window was lost.
    fn is_in_doubt(&self, start: Mono) -> bool {
        let later = self.probes.partition_point(|p| p.window <= start);
        let awaited = |p: &Probe| p.echo == Echo::None;
        self.probes.len() - later < self.config.doubt_probes
            && self.probes.range(..later).any(Probe::is_undecided)
            && self.probes.range(later..).all(awaited)
    }

    /// From when an echo changes nothing in the books of its own probe.
    fn close_time(&self, start: Mono) -> Mono {
        start + self.config.window + self.config.close_after
    }

    /// The open window that `at` falls in, made if needed. Slot times go upwards; one that does not is
    /// booked in the newest window.
    fn window_for(&mut self, at: Mono) -> &mut OpenWindow {
        let length = i64::try_from(self.config.window.as_nanos())
            .unwrap_or(i64::MAX)
            .max(1);
        let start = Mono::from_nanos(at.as_nanos().div_euclid(length).saturating_mul(length));
        if self.windows.back().is_none_or(|w| w.start < start) {
            if self.windows.len() >= MAX_OPEN_WINDOWS && self.close_oldest().is_some() {
                self.windows_dropped += 1;
            }
            self.windows.push_back(OpenWindow {
                start,
                ledger: Ledger::default(),
                arrivals: Vec::new(),
            });
        }
        let newest = self.windows.len() - 1;
        &mut self.windows[newest]
    }

    fn open_window(&mut self, start: Mono) -> Option<&mut OpenWindow> {
        let at = self.windows.binary_search_by_key(&start, |w| w.start).ok()?;
        self.windows.get_mut(at)
    }

    fn send(&mut self, window: Mono, now: Mono) -> LinkProbe {
        let seq = self.next_seq;
        let floor = self.evidence.wanted_floor(&self.probes, seq);
        self.next_seq += 1;
        self.probes.push_back(Probe {
            window,
            sent: now,
            clock: self.clock_steps,
            late_up: false,
            echo: Echo::None,
            acked: false,
            missed: false,
            overtaken: false,
            reordered: false,
            count: None,
        });
        LinkProbe {
            session: self.id,
            // The wire carries the low 32 bits.
            seq: seq as u32,
            sent_us: now.as_micros(),
            floor: u16::try_from(seq - floor).unwrap_or(u16::MAX),
        }
    }

    fn first_open(&self) -> u64 {
        self.next_seq - self.probes.len() as u64
    }

    /// The number below `next_seq` that the 32 bits on the wire stand for.
    fn unwrap_seq(&self, seq: u32) -> Option<u64> {
        let below = (self.next_seq as u32).wrapping_sub(seq);
        if below == 0 || below > u32::MAX / 2 {
            return None;
        }
        self.next_seq.checked_sub(below.into())
    }

    fn index_of(&self, seq: u64) -> Option<usize> {
        let at = usize::try_from(seq.checked_sub(self.first_open())?).ok()?;
        (at < self.probes.len()).then_some(at)
    }
}

#[cfg(test)]
mod tests;
