//! Who still answers? While media flows, the peer that it goes to is asked for a tiny echo on every step of
//! 20 ms, and the peers that it could go to instead on every other one, so that a peer which dies is known to
//! be dead 60 ms after its last word, and that the others live is known at the same moment. Pure.
//!
//! Anything heard of a peer counts, echo or not. Silence is three steps without a word, or more where the peer
//! is known to lose asks or echoes: as many as leave less than one false alarm in an hour where losses are
//! independent, `50/s · 3600 s · pᵏ < 1` for a share `p` that is lost, and 15 at most, which a share of 0.44 needs.
//! Where all peers are silent at once nobody is called so: it is this machine's own line, and when it is back they
//! have a round trip to answer. Another peer must have been heard within the last 40 ms.

use std::{
    collections::{BTreeMap, BTreeSet},
    time::Duration,
};

use corridor_probes::Mono;

/// Between two asks of the peer in use.
pub const STEP: Duration = Duration::from_millis(20);
/// Steps without a word that are silence where nothing is known to be lost.
const MISSES: u32 = 3;
/// Beyond so many, silence is no quicker than that of route probes.
const MOST_MISSES: u32 = 15;
/// Who was heard within this proves that the line works: after what a silent peer should have answered last but
/// one, and as often as a standby is asked.
const LATELY: Duration = Duration::from_millis(40);
/// See the module's documentation.
const ALARMS: f64 = 50.0 * 3_600.0;
/// Weight of one ask in the share that is lost: some hundred count.
const WEIGHT: f64 = 0.01;
/// A first echo may take so long.
const UNKNOWN_RTT: Duration = Duration::from_millis(500);

/// A flow that had no packet for so long does not flow: nobody is asked for its sake.
pub const FLOWS: Duration = Duration::from_secs(1);

/// How often a peer is asked.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Pace {
    /// On every step: media goes there.
    InUse,
    /// On every other step: media could go there.
    Standby,
}

impl Pace {
    const fn every(self) -> Duration {
        match self {
            Self::InUse => STEP,
            Self::Standby => STEP.saturating_mul(2),
        }
    }
}

/// Who is to be asked, each at its quickest.
pub fn wanted<K: Ord>(ways: impl IntoIterator<Item = (K, Pace)>) -> BTreeMap<K, Pace> {
    let mut wanted = BTreeMap::new();
    for (key, pace) in ways {
        let known = wanted.entry(key).or_insert(pace);
        *known = pace.min(*known);
    }
    wanted
}

#[derive(Debug)]
struct Peer {
    pace: Pace,
    next: Mono,
    seq: u32,
    /// Since when it is asked without a pause, and until when its silence means nothing.
    excused: Mono,
    heard: Option<Mono>,
    /// The newest that were asked, by `seq % RECENT`.
    asked: [Option<(u32, Mono)>; RECENT],
    rtt: Option<Duration>,
    /// Up to which numbers the fate is known.
    settled: u32,
    lost: f64,
    silent: bool,
}

/// Asks that are remembered: a second of them.
const RECENT: usize = 64;

/// A peer fell silent, or is heard again.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Change<K> {
    pub peer: K,
    pub silent: bool,
    /// Since something was heard of it.
    pub after: Duration,
}

/// All peers that are asked.
#[derive(Debug)]
pub struct Liveness<K> {
    peers: BTreeMap<K, Peer>,
    polled: Option<Mono>,
    /// All were overdue: the line stood still.
    stood_still: bool,
}

impl<K> Default for Liveness<K> {
    fn default() -> Self {
        Self {
            peers: BTreeMap::new(),
            polled: None,
            stood_still: false,
        }
    }
}

impl<K: Copy + Ord> Liveness<K> {
    /// Asks these from now on, and no others.
    pub fn set(&mut self, wanted: &BTreeMap<K, Pace>, now: Mono) {
        self.peers.retain(|peer, _| wanted.contains_key(peer));
        for (&key, &pace) in wanted {
            let peer = self.peers.entry(key).or_insert_with(|| Peer {
                pace,
                next: now,
                seq: 0,
                excused: now + UNKNOWN_RTT,
                heard: None,
                asked: [None; RECENT],
                rtt: None,
                settled: 0,
                lost: 0.0,
                silent: false,
            });
            if peer.pace != pace {
                peer.pace = pace;
                peer.next = peer.next.min(now + pace.every());
            }
        }
    }

    /// Who is to be asked now, and by which number.
    pub fn asks(&mut self, now: Mono) -> Vec<(K, u32)> {
        let mut asks = Vec::new();
        for (&key, peer) in &mut self.peers {
            if now < peer.next {
                continue;
            }
            let every = peer.pace.every();
            if now.since(peer.next) >= every {
                // This machine stood still: nobody was asked meanwhile.
                peer.next = now;
                peer.excused = now + peer.rtt.unwrap_or(UNKNOWN_RTT);
            }
            peer.next = peer.next + every;
            let seq = peer.seq;
            peer.seq = seq.wrapping_add(1);
            peer.asked[seq as usize % RECENT] = Some((seq, now));
            asks.push((key, seq));
        }
        asks
    }

    /// Anything came of a peer.
    pub fn heard(&mut self, key: K, now: Mono) -> Option<Change<K>> {
        if std::mem::take(&mut self.stood_still) {
            // Who is heard first after that proves nothing of the others: they are asked anew.
            for peer in self.peers.values_mut() {
                let answers = peer.rtt.unwrap_or(UNKNOWN_RTT) + peer.pace.every();
                peer.excused = peer.excused.max(now + answers);
            }
        }
        let peer = self.peers.get_mut(&key)?;
        let after = now.since(peer.heard.unwrap_or(peer.excused));
        peer.heard = Some(now);
        std::mem::take(&mut peer.silent).then_some(Change {
            peer: key,
            silent: false,
            after,
        })
    }

    /// The echo of an ask came.
    pub fn echoed(&mut self, key: K, seq: u32, now: Mono) -> Option<Change<K>> {
        if let Some(peer) = self.peers.get_mut(&key) {
            peer.echoed(seq, now);
        }
        self.heard(key, now)
    }

    /// Who fell silent. `witness`: when anybody else was last heard by the same line.
    pub fn poll(&mut self, now: Mono, witness: Option<Mono>) -> Vec<Change<K>> {
        self.polled = Some(now);
        let silent: Vec<(K, Duration)> = self
            .peers
            .iter()
            .filter_map(|(&key, peer)| Some((key, peer.silence(now)?)))
            .collect();
        if silent.is_empty() {
            return Vec::new();
        }
        self.stood_still |= silent.len() == self.peers.len();
        let overdue = |key: &K| silent.iter().any(|(other, _)| other == key);
        // Who is silent already proves nothing of the line; who has not been asked for long enough, neither.
        let others = self.peers.iter().filter(|(key, _)| !overdue(key));
        let heard = others.filter_map(|(_, peer)| peer.heard).max().max(witness);
        if heard.is_none_or(|at| now.since(at) > LATELY) {
            return Vec::new();
        }
        let mut changes = Vec::new();
        for (key, after) in silent {
            if let Some(peer) = self.peers.get_mut(&key)
                && !peer.silent
            {
                peer.silent = true;
                changes.push(Change {
                    peer: key,
                    silent: true,
                    after,
                });
            }
        }
        changes
    }

    /// Who is silent now.
    pub fn silent(&self) -> BTreeSet<K> {
        let silent = self.peers.iter().filter(|(_, peer)| peer.silent);
        silent.map(|(&key, _)| key).collect()
    }

    /// Whether this one is asked.
    pub fn asks_of(&self, key: K) -> bool {
        self.peers.contains_key(&key)
    }

    /// When [`Self::asks`] or [`Self::poll`] next has something.
    pub fn next_wakeup(&self) -> Option<Mono> {
        let asks = self.peers.values().map(|peer| peer.next);
        let silences = self.peers.values().filter(|peer| !peer.silent);
        // Those past it already, for want of anybody heard, are looked at with the next ask.
        let silences = silences
            .map(Peer::falls_silent)
            .filter(|at| self.polled.is_none_or(|polled| *at > polled));
        asks.chain(silences).min()
    }

    pub fn is_empty(&self) -> bool {
        self.peers.is_empty()
    }
}

impl Peer {
    fn echoed(&mut self, seq: u32, now: Mono) {
        let asked = self.asked.get_mut(seq as usize % RECENT).and_then(|slot| {
            slot.filter(|(asked, _)| *asked == seq)?;
            slot.take()
        });
        let Some((_, at)) = asked else { return };
        let rtt = now.since(at);
        if self.rtt.is_none() {
            // What was allowed for a round trip that nobody knew is over.
            self.excused = self.excused.min(now);
        }
        // The least of late, so that a queue which has gone is forgotten.
        self.rtt = Some(self.rtt.map_or(rtt, |old| rtt.min(old + old / 64)));
        let ahead = seq.wrapping_sub(self.settled);
        if ahead < RECENT as u32 {
            for _ in 0..ahead {
                self.lost += WEIGHT * (1.0 - self.lost);
            }
            self.lost -= WEIGHT * self.lost;
            self.settled = seq.wrapping_add(1);
        } else if ahead < u32::MAX / 2 {
            self.settled = seq.wrapping_add(1);
        }
    }

    /// When it is silent, if nothing is heard until then.
    fn falls_silent(&self) -> Mono {
        let heard = self.heard.unwrap_or(self.excused).max(self.excused);
        // A standby that is asked on every other step is due a step later.
        heard + STEP * misses(self.lost) + (self.pace.every() - STEP)
    }

    /// For how long nothing has been heard, if that is silence.
    fn silence(&self, now: Mono) -> Option<Duration> {
        (now >= self.falls_silent()).then(|| now.since(self.heard.unwrap_or(self.excused)))
    }
}

/// Steps without a word that are silence where this share of asks goes unanswered.
fn misses(lost: f64) -> u32 {
    if lost <= 0.0 {
        return MISSES;
    }
    let enough = (ALARMS.ln() / -lost.min(0.99).ln()).ceil();
    (enough as u32).clamp(MISSES, MOST_MISSES)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(ms: i64) -> Mono {
        Mono::from_millis(ms)
    }

    fn wanted(standbys: &[u8]) -> BTreeMap<u8, Pace> {
        let standbys = standbys.iter().map(|&key| (key, Pace::Standby));
        std::iter::once((0, Pace::InUse)).chain(standbys).collect()
    }

    /// Lets time pass by the millisecond; peers answer after their round trip, as `answers` says of each ask.
    struct Line {
        liveness: Liveness<u8>,
        under_way: Vec<(Mono, u8, u32)>,
        now: Mono,
    }

    impl Line {
        fn new(standbys: &[u8]) -> Self {
            let mut liveness = Liveness::default();
            liveness.set(&wanted(standbys), at(0));
            Self {
                liveness,
                under_way: Vec::new(),
                now: at(0),
            }
        }

        fn run(&mut self, ms: i64, rtt_ms: u64, answers: impl Fn(u8, u32) -> bool) -> Vec<(i64, u8, bool)> {
            let mut changes = Vec::new();
            for _ in 0..ms {
                self.now = self.now + Duration::from_millis(1);
                let now = self.now;
                for (key, seq) in self.liveness.asks(now) {
                    if answers(key, seq) {
                        self.under_way
                            .push((now + Duration::from_millis(rtt_ms), key, seq));
                    }
                }
                let due: Vec<_> = self.under_way.extract_if(.., |(due, ..)| *due <= now).collect();
                for (_, key, seq) in due {
                    changes.extend(self.liveness.echoed(key, seq, now));
                }
                changes.extend(self.liveness.poll(now, None));
                assert!(self.liveness.next_wakeup().unwrap() > now);
            }
            let told = |c: Change<u8>| (self.now.as_micros() / 1_000, c.peer, c.silent);
            changes.into_iter().map(told).collect()
        }
    }

    #[test]
    fn a_peer_that_dies_is_silent_60_ms_after_its_last_word() {
        for rtt in [5, 20, 80, 300] {
            let mut line = Line::new(&[1, 2]);
            assert_eq!(line.run(2_000, rtt, |_, _| true), [], "{rtt}");
            // What was asked before still comes: the last word is a round trip away at most.
            let rest = i64::try_from(rtt).unwrap() + 59 - 20;
            assert_eq!(line.run(rest, rtt, |key, _| key != 0), [], "{rtt}");
            let changes = line.run(22, rtt, |key, _| key != 0);
            assert_eq!(changes.len(), 1, "{rtt}");
            assert_eq!((changes[0].1, changes[0].2), (0, true));
            assert_eq!(line.liveness.silent(), BTreeSet::from([0]));
            let back = line.run(600, rtt, |_, _| true);
            assert_eq!(back.iter().map(|c| (c.1, c.2)).collect::<Vec<_>>(), [(0, false)]);
        }
    }

    #[test]
    fn where_nobody_is_heard_it_is_the_line() {
        let mut line = Line::new(&[1, 2]);
        line.run(1_000, 20, |_, _| true);
        assert_eq!(line.run(1_000, 20, |_, _| false), []);
        assert_eq!(line.run(1_000, 20, |_, _| true), []);
        let mut alone = Line::new(&[]);
        alone.run(1_000, 20, |_, _| true);
        assert_eq!(
            alone.run(1_000, 20, |_, _| false),
            [],
            "there is nobody else to go to"
        );
    }

    #[test]
    fn anything_heard_is_a_word() {
        let mut line = Line::new(&[1]);
        line.run(1_000, 20, |_, _| true);
        for _ in 0..50 {
            assert_eq!(line.run(20, 20, |key, _| key != 0), []);
            line.liveness.heard(0, line.now);
        }
    }

    #[test]
    fn known_loss_asks_for_more_patience() {
        assert_eq!(
            [0.0, 0.01, 0.02, 0.1, 0.2, 0.3, 0.9].map(misses),
            [3, 3, 4, 6, 8, 11, MOST_MISSES]
        );
        let mut line = Line::new(&[1]);
        // Every third ask is lost; then two and two: never more than the known loss explains.
        assert_eq!(line.run(20_000, 20, |key, seq| key != 0 || seq % 3 != 0), []);
        assert_eq!(line.run(10_000, 20, |key, seq| key != 0 || seq % 8 > 5), []);
    }

    #[test]
    fn who_has_not_answered_yet_is_not_silent_and_a_stall_of_ours_is_nobodys_silence() {
        let mut line = Line::new(&[1]);
        assert_eq!(line.run(499, 400, |_, _| true), []);
        line.run(1_000, 20, |_, _| true);
        // This machine stands still for a second.
        line.now = line.now + Duration::from_secs(1);
        line.under_way.clear();
        assert_eq!(line.run(500, 20, |_, _| true), []);
    }

    #[test]
    fn who_has_answered_once_is_missed_as_soon_as_anybody() {
        let mut line = Line::new(&[1]);
        // Its first answer comes after 80 ms, the last that it still gives after 180.
        assert_eq!(line.run(105, 80, |_, _| true), []);
        assert_eq!(line.run(134, 80, |key, _| key != 0), []);
        assert_eq!(line.run(1, 80, |key, _| key != 0), [(240, 0, true)]);
    }

    #[test]
    fn only_those_wanted_are_asked_each_at_its_pace() {
        let mut liveness = Liveness::default();
        liveness.set(&wanted(&[1]), at(0));
        let mut asked = [0; 2];
        for ms in 0..200 {
            for (key, _) in liveness.asks(at(ms)) {
                asked[usize::from(key)] += 1;
            }
        }
        assert_eq!(asked, [10, 5]);
        liveness.set(&BTreeMap::from([(1, Pace::InUse)]), at(200));
        assert_eq!(liveness.asks(at(220)).len(), 1);
        liveness.set(&BTreeMap::new(), at(221));
        assert!(liveness.is_empty() && liveness.next_wakeup().is_none());
    }
}
