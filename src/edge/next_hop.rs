//! When is a next hop silent, and who must hear of it?
//!
//! Any packet heard from a peer is a heartbeat. A hop is silent when three steps of the grid have passed
//! beyond its round trip since the first of at least three datagrams that were handed to it, and nothing
//! came from it meanwhile. While media flows to a hop it is asked for signs of life, and silence is known sooner
//! ([`crate::media::liveness`]). Those who sent by that hop lately are told, and told again when it is back.

use std::{
    collections::{BTreeMap, BTreeSet},
    time::Duration,
};

use corridor_probes::{AgentId, EdgeId, Mono};

use crate::media::liveness::FLOWS;

/// A step of the grid of route probes, and so the least rate of what is forwarded for a live route.
const STEP: Duration = Duration::from_millis(100);
const SILENT_STEPS: u32 = 3;
/// One lost datagram is no silence, nor are two.
const MIN_FORWARDED: u32 = 3;
/// Who sent by a hop this lately has a route over it.
const LATELY: Duration = Duration::from_secs(2);
/// Senders remembered for one hop; beyond it the newest are not told, and find out by themselves.
const MAX_SENDERS: usize = 20_000;
/// What a round trip to an unmeasured peer is taken for: across the world.
const UNKNOWN_RTT: Duration = Duration::from_millis(300);

/// Tell `agent` that `next` is silent, or that it is heard again.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Notice {
    pub agent: AgentId,
    pub next: EdgeId,
    pub silent: bool,
    pub silent_for: Duration,
}

#[derive(Debug, Default)]
struct Hop {
    rtt: Option<Duration>,
    heard: Option<Mono>,
    /// The first datagram handed over since the hop was last heard, and how many were.
    waiting: Option<(Mono, u32)>,
    senders: BTreeMap<AgentId, Mono>,
    told: BTreeSet<AgentId>,
    /// When media last went there.
    media: Option<Mono>,
}

/// The next hops of this edge.
#[derive(Debug, Default)]
pub struct NextHops {
    hops: BTreeMap<EdgeId, Hop>,
}

impl NextHops {
    /// A datagram of `origin` was handed to `next`.
    pub fn forwarded(&mut self, next: EdgeId, origin: AgentId, now: Mono) {
        let hop = self.hops.entry(next).or_default();
        let (first, count) = hop.waiting.unwrap_or((now, 0));
        hop.waiting = Some((first, count.saturating_add(1)));
        if hop.senders.len() < MAX_SENDERS || hop.senders.contains_key(&origin) {
            hop.senders.insert(origin, now);
        }
    }

    /// A datagram of media was handed to `next`, for `sender`.
    pub fn carried(&mut self, next: EdgeId, sender: AgentId, now: Mono) {
        self.forwarded(next, sender, now);
        if let Some(hop) = self.hops.get_mut(&next) {
            hop.media = Some(now);
        }
    }

    /// The hops that media flows to.
    pub fn carrying(&self, now: Mono) -> impl Iterator<Item = EdgeId> + '_ {
        let flows = move |hop: &Hop| hop.media.is_some_and(|at| now.since(at) < FLOWS);
        self.hops
            .iter()
            .filter(move |(_, hop)| flows(hop))
            .map(|(&next, _)| next)
    }

    /// A hop that media flows to answers nothing for so long. Answers whom to tell.
    pub fn fell_silent(&mut self, next: EdgeId, silent_for: Duration, now: Mono) -> Vec<Notice> {
        let Some(hop) = self.hops.get_mut(&next) else {
            return Vec::new();
        };
        hop.senders.retain(|_, last| now.since(*last) <= LATELY);
        hop.tell(next, silent_for)
    }

    /// Anything came from `peer`. Answers whom to tell that it is back.
    pub fn heard(&mut self, peer: EdgeId, now: Mono) -> Vec<Notice> {
        let Some(hop) = self.hops.get_mut(&peer) else {
            return Vec::new();
        };
        hop.heard = Some(now);
        hop.waiting = None;
        std::mem::take(&mut hop.told)
            .into_iter()
            .map(|agent| Notice {
                agent,
                next: peer,
                silent: false,
                silent_for: Duration::ZERO,
            })
            .collect()
    }

    /// The round trip to a peer, from this edge's own probes.
    pub fn measured(&mut self, peer: EdgeId, rtt: Duration) {
        self.hops.entry(peer).or_default().rtt = Some(rtt);
    }

    /// Whether anybody sent by any hop of late.
    pub fn has_senders(&self) -> bool {
        self.hops.values().any(|hop| !hop.senders.is_empty())
    }

    /// Forgets a peer that is no longer part of the mesh.
    pub fn remove(&mut self, peer: EdgeId) {
        self.hops.remove(&peer);
    }

    /// Answers whom to tell that a hop is silent; each is told once. Called on every step of the grid.
    pub fn poll(&mut self, now: Mono) -> Vec<Notice> {
        let mut notices = Vec::new();
        for (&next, hop) in &mut self.hops {
            hop.senders.retain(|_, last| now.since(*last) <= LATELY);
            let Some((first, count)) = hop.waiting else {
                continue;
            };
            let patience = hop.rtt.unwrap_or(UNKNOWN_RTT) + STEP * SILENT_STEPS;
            if count < MIN_FORWARDED || now.since(first) < patience {
                continue;
            }
            let silent_for = now.since(hop.heard.unwrap_or(first));
            notices.extend(hop.tell(next, silent_for));
        }
        notices
    }
}

impl Hop {
    /// Tells each sender once.
    fn tell(&mut self, next: EdgeId, silent_for: Duration) -> Vec<Notice> {
        let told = &mut self.told;
        let new = self.senders.keys().filter(|&&agent| told.insert(agent));
        new.map(|&agent| Notice {
            agent,
            next,
            silent: true,
            silent_for,
        })
        .collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(ms: i64) -> Mono {
        Mono::from_millis(ms)
    }

    fn hops(rtt_ms: u64) -> (NextHops, EdgeId) {
        let mut hops = NextHops::default();
        let next = EdgeId::new(7).unwrap();
        hops.measured(next, Duration::from_millis(rtt_ms));
        hops.heard(next, at(0));
        (hops, next)
    }

    #[test]
    fn three_steps_beyond_the_round_trip_are_silence() {
        let (mut hops, next) = hops(80);
        for step in 1..=4 {
            hops.forwarded(next, AgentId(1), at(step * 100));
        }
        assert_eq!(hops.poll(at(479)), []);
        let notices = hops.poll(at(480));
        assert_eq!(
            notices,
            [Notice {
                agent: AgentId(1),
                next,
                silent: true,
                silent_for: Duration::from_millis(480)
            }]
        );
        assert_eq!(hops.poll(at(500)), [], "told once");
    }

    #[test]
    fn two_datagrams_are_too_few() {
        let (mut hops, next) = hops(10);
        hops.forwarded(next, AgentId(1), at(100));
        hops.forwarded(next, AgentId(1), at(200));
        assert_eq!(hops.poll(at(1_000)), []);
    }

    #[test]
    fn anything_heard_is_a_heartbeat_and_ends_the_silence() {
        let (mut hops, next) = hops(10);
        for step in 1..=5 {
            hops.forwarded(next, AgentId(1), at(step * 100));
            assert_eq!(hops.heard(next, at(step * 100 + 50)), []);
        }
        assert_eq!(hops.poll(at(560)), []);
        for step in 6..=10 {
            hops.forwarded(next, AgentId(1), at(step * 100));
        }
        assert_eq!(hops.poll(at(1_000)).len(), 1);
        let back = hops.heard(next, at(1_010));
        assert_eq!((back.len(), back[0].silent), (1, false));
    }

    #[test]
    fn only_those_who_sent_lately_are_told() {
        let (mut hops, next) = hops(10);
        hops.forwarded(next, AgentId(1), at(100));
        for step in 0..4 {
            hops.forwarded(next, AgentId(2), at(2_200 + step * 100));
        }
        let notices = hops.poll(at(2_600));
        assert_eq!(notices.iter().map(|n| n.agent).collect::<Vec<_>>(), [AgentId(2)]);
        hops.forwarded(next, AgentId(3), at(2_650));
        let notices = hops.poll(at(2_700));
        assert_eq!(
            notices.iter().map(|n| n.agent).collect::<Vec<_>>(),
            [AgentId(3)],
            "the newcomer too"
        );
    }

    #[test]
    fn a_hop_that_nobody_uses_is_never_silent() {
        let (mut hops, _) = hops(10);
        assert_eq!(hops.poll(at(100_000)), []);
    }
}
