//! One flow at its origin: by which routes it may go, and what may go now.

use super::*;

/// How a route stands to a flow.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Opening {
    Asked { times: u32, next: Mono },
    Carried { refresh: Mono },
    Refused { why: Answer, again: Mono },
}

impl Opening {
    /// The route is asked at `now`, whatever it answered.
    pub(super) const fn ask_at(&mut self, now: Mono) {
        match self {
            Self::Asked { next, .. } => *next = now,
            Self::Carried { refresh } => *refresh = now,
            Self::Refused { again, .. } => *again = now,
        }
    }

    pub(super) const fn next(self) -> Mono {
        match self {
            Self::Asked { next, .. } => next,
            Self::Carried { refresh } => refresh,
            Self::Refused { again, .. } => again,
        }
    }
}

#[derive(Debug)]
pub(super) struct Flow {
    pub(super) forward: u32,
    pub(super) local: SocketAddr,
    /// The leg's class; none while no leg leads there.
    pub(super) class: Option<String>,
    pub(super) end: End,
    pub(super) under_way: UnderWay,
    pub(super) coming_back: ComingBack,
    /// Each packet goes by two routes: what comes says nothing of either.
    pub(super) is_twice: bool,
    pub(super) breaker: Breaker,
    pub(super) trickle: TokenBucket,
    pub(super) rate: Rate,
    pub(super) rtt: Option<Duration>,
    pub(super) openings: BTreeMap<Route, Opening>,
    /// Where the last packet went.
    pub(super) route: Option<Route>,
    pub(super) moves: u64,
    pub(super) early: VecDeque<(Mono, Dscp, Vec<u8>)>,
    pub(super) used: Mono,
    /// Packets that nothing could be done with.
    pub(super) undone: u64,
    pub(super) throttled: u64,
    pub(super) too_fast: u64,
    pub(super) lost_there: u64,
}

/// What may be sent in a time, as edges will have it: what they would drop is better dropped here, where it is no
/// loss of a route's.
#[derive(Debug, Default)]
pub(super) struct Rate {
    kbps: u32,
    bucket: Option<TokenBucket>,
}

impl Rate {
    /// Whether so many bytes may go now, at this rate; at 0 it is not known, and all may.
    pub(super) fn takes(&mut self, kbps: u32, bytes: usize, now: Mono) -> bool {
        if kbps != self.kbps {
            self.kbps = kbps;
            self.bucket = (kbps > 0).then(|| gate::bucket(kbps, BURST));
        }
        self.bucket
            .as_mut()
            .is_none_or(|bucket| bucket.take(now, bytes).is_ok())
    }
}

impl Flow {
    /// Whether a packet is not to be sent, because most of what was sent of late is lost: a circuit breaker (RFC
    /// 8083), which lets a trickle through that shows when it is better.
    pub(super) fn is_throttled(&mut self, bytes: usize, now: Mono) -> bool {
        self.breaker.sent(now.since(Mono::ZERO));
        let throttled = self.breaker.tripped() && self.trickle.take(now, bytes).is_err();
        self.throttled += u64::from(throttled);
        throttled
    }

    /// The route in use if it is open, else another that is. To a target that is one by the exit that the flow has, or is
    /// to have, as long as any of those is open or may still open: it would see packets from two addresses.
    pub(super) fn way(&self, leg: &Leg) -> Option<Route> {
        let carried = |route: &Route| matches!(self.openings.get(route), Some(Opening::Carried { .. }));
        if carried(&leg.in_use) {
            return Some(leg.in_use);
        }
        let mut others = leg.routes.iter().copied().filter(carried);
        if !matches!(leg.far, Far::Target(_)) {
            return others.next();
        }
        let exit = self.route.filter(carried).unwrap_or(leg.in_use).exit();
        let may_open = |route: &Route| match self.openings.get(route) {
            None => true,
            Some(Opening::Asked { times, .. }) => *times < UNANSWERED,
            Some(Opening::Refused { .. } | Opening::Carried { .. }) => false,
        };
        let mut alike = leg.routes.iter().filter(|route| route.exit() == exit);
        alike.clone().copied().find(carried).or_else(|| {
            let waits = alike.any(may_open);
            others.next().filter(|_| !waits)
        })
    }

    /// The route of the copy, where the flow is protected: one that shares no edge with the first, but for
    /// the exit where a target knows the flow by it.
    pub(super) fn second(&self, leg: &Leg, first: Route) -> Option<Route> {
        let wanted = match leg.protect {
            Protect::Off => false,
            Protect::AtRisk => leg.at_risk,
            Protect::Always => true,
        };
        if !wanted {
            return None;
        }
        let anchored = matches!(leg.far, Far::Target(_))
            .then_some(first.exit())
            .flatten();
        // A copy by another exit would be one more packet from another address.
        let leaves_alike = |route: &Route| anchored.is_none() || route.exit() == anchored;
        let apart = |route: &Route| {
            let mut shared = route.edges().filter(|&edge| first.edges().any(|of| of == edge));
            leaves_alike(route) && shared.all(|edge| Some(edge) == anchored && route.entry() != anchored)
        };
        let mut carried = leg
            .routes
            .iter()
            .filter(|route| matches!(self.openings.get(route), Some(Opening::Carried { .. })));
        carried.find(|&route| *route != first && apart(route)).copied()
    }

    /// Which time the route is to be asked now, if it is.
    pub(super) fn asks(&mut self, route: Route, now: Mono) -> Option<u32> {
        let opening = self
            .openings
            .entry(route)
            .or_insert(Opening::Asked { times: 0, next: now });
        if opening.next() > now {
            return None;
        }
        let asked = |times: u32| {
            let wait = ASK_AGAIN * 2_u32.saturating_pow(times.min(8));
            let next = now + wait.min(ASK_AGAIN_MOST);
            Opening::Asked {
                times: times.saturating_add(1),
                next,
            }
        };
        Some(match opening {
            Opening::Asked { times, .. } => {
                let times = *times;
                *opening = asked(times);
                times
            }
            Opening::Refused { .. } => {
                *opening = asked(0);
                0
            }
            // It stays carried until somebody says otherwise.
            Opening::Carried { refresh } => {
                *refresh = now + REFRESH;
                0
            }
        })
    }

    pub(super) fn wait(&mut self, dscp: Dscp, media: &[u8], now: Mono) {
        self.forget_early(now);
        if self.early.len() >= EARLY {
            self.early.pop_front();
            self.undone += 1;
        }
        self.early.push_back((now, dscp, media.to_vec()));
    }

    pub(super) fn forget_early(&mut self, now: Mono) {
        while self
            .early
            .front()
            .is_some_and(|(at, ..)| now.since(*at) > EARLY_FOR)
        {
            self.early.pop_front();
            self.undone += 1;
        }
    }
}
