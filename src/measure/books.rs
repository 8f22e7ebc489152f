//! The measurement without its I/O: which slot is due, what became of each probe, when all is known.
//!
//! The grid has `plan.slots` slots. Each connection has a probe session of its own, because the edge
//! knows an open prober by its connection only. After the last slot, while echoes are missing, *questions*
//! go out: probes that are in no figure, whose echoes tell where the last ones were lost.

use std::{collections::VecDeque, time::Duration};

use corridor_probes::{
    Arrival, Due, EchoOutcome, HistogramError, Mono, ProbeSession, Profile, Sample, SessionConfig, SessionId,
    Slipped, SlotOutcome, StallWatch, Window,
    stamp::StampEcho,
    wire::{LinkEcho, LinkProbe},
};
use rand::{RngExt as _, SeedableRng as _, rngs::StdRng};

use super::{
    one_way::Raw,
    plan::Plan,
    progress::Progress,
    slots::Slots,
    summary::{Summary, Sums},
};

/// The phase of the grid is drawn from up to this, so that machines started together do not probe
/// together, and nobody waits for the first probe.
const MAX_PHASE: Duration = Duration::from_millis(100);

/// Between the last probe and the first question: what is slower is nearly always lost.
const ASK_AFTER: Duration = Duration::from_secs(1);

/// Between questions: the echo of each tells of up to 16 runs of probes.
const ASK_EVERY: Duration = Duration::from_millis(50);

/// Round trips from which the live median is taken.
const RECENT: usize = 1_000;

/// After every window there is.
const END_OF_TIME: Mono = Mono::from_nanos(i64::MAX);

/// See the module's documentation.
#[derive(Debug)]
pub struct Books {
    plan: Plan,
    config: SessionConfig,
    slots: Slots,
    due: Vec<Due<()>>,
    ready: Option<Mono>,
    /// Slots not booked yet.
    left: u32,
    /// The sessions whose books are open; the last one is in use.
    sessions: VecDeque<Session>,
    connected: bool,
    /// Probes of open windows in the order of sending; no questions.
    sent: VecDeque<Sent>,
    /// When to ask, if an echo is missing after the last probe.
    ask_at: Mono,
    /// The end of the window that the last slot is in.
    last_window_end: Mono,
    stalls: StallWatch,
    /// How often this machine's clock has stepped.
    clock_steps: u32,
    sums: Sums,
    recent: VecDeque<u32>,
    rng: StdRng,
}

#[derive(Debug)]
struct Session {
    number: u64,
    probing: ProbeSession,
}

#[derive(Debug, Clone, Copy)]
struct Sent {
    session: u64,
    seq: u32,
    slot: Mono,
    fate: Fate,
}

#[derive(Debug, Clone, Copy)]
enum Fate {
    Out,
    /// It never left this machine.
    Dropped,
    Late,
    /// Echoed in time, with what was measured, unless a stall has spoilt it.
    Echoed(Option<(Sample, Raw)>),
}

impl Books {
    /// Connected, with the first slot shortly after `now`. `seed` gives phase, ids and numbers.
    pub fn new(plan: Plan, seed: u64, now: Mono) -> Self {
        let mut books = Self::closed(plan, seed, now);
        books.connected();
        books
    }

    /// The same, with one session for good, whose first probe has number `first_seq`.
    pub fn numbered_from(first_seq: u32, plan: Plan, seed: u64, now: Mono) -> (Self, SessionId) {
        let mut books = Self::closed(plan, seed, now);
        let id = books.open(first_seq);
        (books, id)
    }

    fn closed(plan: Plan, seed: u64, now: Mono) -> Self {
        let mut rng = StdRng::seed_from_u64(seed);
        let phase = plan.interval.min(MAX_PHASE).mul_f64(rng.random::<f64>());
        Self {
            plan,
            config: plan.session(),
            slots: Slots::new(&plan, now + phase),
            due: Vec::new(),
            ready: None,
            left: plan.slots,
            sessions: VecDeque::new(),
            connected: false,
            sent: VecDeque::new(),
            ask_at: now,
            last_window_end: now,
            stalls: StallWatch::default(),
            clock_steps: 0,
            sums: Sums::default(),
            recent: VecDeque::new(),
            rng,
        }
    }

    /// A new connection stands.
    pub fn connected(&mut self) {
        let first_seq = self.rng.random();
        self.open(first_seq);
    }

    fn open(&mut self, first_seq: u32) -> SessionId {
        let number = self.sessions.back().map_or(0, |s| s.number + 1);
        let id = SessionId(self.rng.random());
        let mut probing = ProbeSession::new(id, first_seq, self.config);
        probing.clock_stepped(self.clock_steps);
        self.sessions.push_back(Session { number, probing });
        self.connected = true;
        id
    }

    /// This machine's monotonic clock has stepped against others: it slept.
    pub fn clock_stepped(&mut self) {
        self.clock_steps += 1;
        for session in &mut self.sessions {
            session.probing.clock_stepped(self.clock_steps);
        }
    }

    /// The connection is over; its last `unsent` probes never left this machine.
    pub fn disconnected(&mut self, unsent: u64) {
        self.connected = false;
        let Some(session) = self.sessions.back_mut() else {
            return;
        };
        session.probing.retire();
        let number = session.number;
        let newest = self.sent.iter().rev().filter(|s| s.session == number);
        let unsent = usize::try_from(unsent).unwrap_or(usize::MAX);
        let dropped: Vec<_> = newest.take(unsent).map(|s| s.seq).collect();
        for seq in dropped {
            self.local_drop(seq);
        }
    }

    // ---- sending ----

    /// The next slot that is due. Book it with [`Self::send`] or [`Self::unconnected`].
    pub fn next_due(&mut self, now: Mono) -> Option<Mono> {
        if self.ready.is_none() && self.left > 0 {
            self.stalls.look(self.next_slot(), now);
            let mut due = std::mem::take(&mut self.due);
            self.slots.poll(now, &mut due);
            for due in due.drain(..) {
                match due {
                    Due::Slipped(run) => self.slipped(run),
                    Due::Send { at, .. } if self.left > 0 => self.ready = Some(at),
                    Due::Send { .. } => {}
                }
            }
            self.due = due;
        }
        self.ready
    }

    /// Books the slot at `slot` as sent now; answers the probe to send.
    pub fn send(&mut self, slot: Mono, now: Mono) -> Option<LinkProbe> {
        let probe = self.book(slot, SlotOutcome::Sent { now })?;
        self.ask_at = now + ASK_AFTER;
        self.sent.push_back(Sent {
            session: self.sessions.back()?.number,
            seq: probe.seq,
            slot,
            fate: Fate::Out,
        });
        Some(probe)
    }

    /// Bytes of the probe of the slot that was due last.
    pub fn size(&self) -> usize {
        self.slots.size(&self.plan)
    }

    /// Books the slot at `slot` as having had no connection.
    pub fn unconnected(&mut self, slot: Mono) {
        self.book(slot, SlotOutcome::Unconnected);
    }

    /// The probe or question `seq` of the connection in use left this machine at `at`.
    pub fn on_sent(&mut self, seq: u32, at: Mono) {
        if let Some(session) = self.sessions.back_mut() {
            session.probing.on_sent(seq, at);
        }
    }

    /// The probe or question `seq` of the connection in use never left this machine.
    pub fn local_drop(&mut self, seq: u32) {
        let Some(session) = self.sessions.back_mut() else {
            return;
        };
        let number = session.number;
        if session.probing.on_local_drop(seq)
            && let Some(sent) = self.find(number, seq)
        {
            sent.fate = Fate::Dropped;
        }
    }

    /// A question, if it is time for one.
    pub fn question(&mut self, now: Mono) -> Option<LinkProbe> {
        if now < self.ask_at()? {
            return None;
        }
        self.ask_at = now + ASK_EVERY;
        // Its window is one that holds no slot, and is in no figure.
        let at = self.last_window_end;
        let session = self.sessions.back_mut()?;
        session.probing.slot(at, SlotOutcome::Sent { now })
    }

    /// No more slots: what is on its way is still waited for.
    pub fn stop(&mut self) {
        self.left = 0;
        self.ready = None;
    }

    // ---- receiving ----

    /// Takes a datagram. What is no echo of ours is ignored.
    pub fn datagram(&mut self, arrival: impl Into<Arrival>, datagram: &[u8]) {
        if let Ok(echo) = LinkEcho::parse(datagram) {
            self.echo(arrival.into(), &echo, true, |session, arrival| {
                session.on_link_echo(arrival, &echo)
            });
        }
    }

    /// Takes an answer of a STAMP reflector.
    pub fn stamp(&mut self, arrival: impl Into<Arrival>, stamp: &StampEcho) {
        // Without a count of what came to it, a reflector's order is not known.
        let in_order = stamp.counted;
        self.echo(arrival.into(), &stamp.echo, in_order, |session, arrival| {
            session.on_stamp_echo(arrival, stamp)
        });
    }

    fn echo(
        &mut self,
        arrival: Arrival,
        echo: &LinkEcho,
        in_order: bool,
        take: impl FnOnce(&mut ProbeSession, Arrival) -> EchoOutcome,
    ) {
        let arrival = self.stalls.judge(arrival, self.next_slot());
        let mut sessions = self.sessions.iter_mut();
        let Some(session) = sessions.find(|s| s.probing.id() == echo.session) else {
            return;
        };
        let number = session.number;
        let fate = match take(&mut session.probing, arrival) {
            EchoOutcome::Sample(sample) => Fate::Echoed(
                Raw::of(number, self.clock_steps, arrival.at, echo, &sample).map(|r| (sample, r)),
            ),
            EchoOutcome::Excluded => Fate::Echoed(None),
            EchoOutcome::Late { .. } => Fate::Late,
            EchoOutcome::Duplicate | EchoOutcome::Stale | EchoOutcome::Unknown => return,
        };
        // A question is in no figure.
        let Some(sent) = self.find(number, echo.seq) else {
            return;
        };
        sent.fate = fate;
        if in_order {
            self.sums.order.echo(number, echo.seq, &echo.body);
        }
        if let Fate::Echoed(Some((sample, _))) = fate {
            if self.recent.len() == RECENT {
                self.recent.pop_front();
            }
            self.recent.push_back(sample.rtt_us);
        }
    }

    // ---- time ----

    /// Closes the windows that are due. To be called once a turn.
    pub fn close_windows(&mut self, now: Mono) -> Result<(), HistogramError> {
        while let Some((number, window)) = self.next_window(now) {
            self.take_window(number, &window)?;
        }
        while self.sessions.len() > 1
            && self
                .sessions
                .front()
                .is_some_and(|s| s.probing.next_close().is_none())
        {
            self.sessions.pop_front();
        }
        Ok(())
    }

    /// When there is something to do next.
    pub fn next_wakeup(&self) -> Mono {
        let slot = self.next_slot();
        let closes = self.sessions.iter().filter_map(|s| s.probing.next_close()).min();
        let end = (self.left == 0).then(|| self.end());
        let all = [slot, closes, self.ask_at(), end];
        all.into_iter().flatten().min().unwrap_or(self.ask_at)
    }

    /// All slots are booked, and every echo has come or cannot come any more.
    pub fn is_over(&self, now: Mono) -> bool {
        self.left == 0 && (!self.is_waiting() || now >= self.end())
    }

    pub fn progress(&self) -> Progress {
        let mut recent: Vec<_> = self.recent.iter().copied().collect();
        recent.sort_unstable();
        let ledger = &self.sums.ledger;
        Progress {
            rtt_now_us: self.recent.back().copied(),
            rtt_median_us: corridor_probes::percentile_of_sorted(&recent, 50.0),
            sent: ledger.sent,
            lost_up: ledger.lost_up,
            lost_down: ledger.lost_down.saturating_add(ledger.late),
            lost_unknown: ledger.lost_unknown,
            slots: self.plan.slots,
            slots_left: self.left,
            connected: self.connected,
        }
    }

    /// Closes every window, due or not.
    pub fn finish(mut self) -> Result<Summary, HistogramError> {
        self.stop();
        self.close_windows(END_OF_TIME)?;
        let mut summary = self.sums.summary(&self.plan.codec, self.config.tmax)?;
        summary.profile = self.plan.profile.map(Profile::name);
        Ok(summary)
    }

    // ---- helpers ----

    fn book(&mut self, slot: Mono, outcome: SlotOutcome) -> Option<LinkProbe> {
        self.ready = None;
        self.left = self.left.saturating_sub(1);
        self.reach(slot);
        self.sessions.back_mut()?.probing.slot(slot, outcome)
    }

    fn slipped(&mut self, mut run: Slipped<()>) {
        let count = u32::try_from(run.count).unwrap_or(u32::MAX).min(self.left);
        if count == 0 {
            return;
        }
        run.count = count.into();
        run.last = run
            .last
            .min(run.first + self.plan.interval.saturating_mul(count - 1));
        self.left -= count;
        self.reach(run.last);
        if let Some(session) = self.sessions.back_mut() {
            session.probing.slipped(&run);
        }
    }

    /// The windows reach as far as the slot at `at`.
    fn reach(&mut self, at: Mono) {
        let length = i64::try_from(self.config.window.as_nanos()).unwrap_or(i64::MAX);
        let start = at.as_nanos().div_euclid(length).saturating_mul(length);
        self.last_window_end = Mono::from_nanos(start) + self.config.window;
    }

    fn next_slot(&self) -> Option<Mono> {
        let next = self.slots.next_wakeup().filter(|_| self.left > 0);
        self.ready.or(next)
    }

    /// Whether an echo may still come.
    fn is_waiting(&self) -> bool {
        let current = self.sessions.back().map(|s| s.number);
        let out = |s: &Sent| matches!(s.fate, Fate::Out) && Some(s.session) == current;
        self.connected && self.sent.iter().any(out)
    }

    fn ask_at(&self) -> Option<Mono> {
        let asks = self.left == 0 && self.is_waiting();
        asks.then_some(self.ask_at)
    }

    /// When nothing more is waited for: as late as a window closes by default, however slow the grid.
    fn end(&self) -> Mono {
        self.last_window_end + SessionConfig::default().close_after
    }

    fn find(&mut self, session: u64, seq: u32) -> Option<&mut Sent> {
        // The newest first: echoes come for those.
        let mut newest = self.sent.iter_mut().rev();
        newest.find(|s| s.session == session && s.seq == seq)
    }

    /// The oldest window of all sessions.
    fn next_window(&mut self, now: Mono) -> Option<(u64, Window)> {
        let sessions = self.sessions.iter_mut();
        let oldest = sessions.min_by_key(|s| s.probing.next_close().unwrap_or(END_OF_TIME))?;
        Some((oldest.number, oldest.probing.poll_window(now)?))
    }

    fn take_window(&mut self, number: u64, window: &Window) -> Result<(), HistogramError> {
        if window.start >= self.last_window_end && self.left == 0 {
            // Questions only.
            return Ok(());
        }
        self.sums.window(window);
        let (mut measured_here, mut raws) = (Vec::new(), Vec::new());
        while let Some(sent) = self.sent.front().copied() {
            if sent.session != number || sent.slot >= window.end() {
                break;
            }
            self.sent.pop_front();
            match sent.fate {
                Fate::Dropped => {}
                Fate::Out | Fate::Late => self.sums.bursts.push(true),
                Fate::Echoed(measured) => {
                    self.sums.bursts.push(false);
                    if let Some((sample, raw)) = measured {
                        measured_here.push((sent.slot, sample));
                        raws.push(raw);
                    }
                }
            }
        }
        self.sums.samples(&measured_here, &mut raws)
    }
}

#[cfg(test)]
mod tests;
