//! What an edge lets through: the flows that a grant opened at it, and how fast each may be. An edge is the
//! gate of a flow where the flow enters the mesh and where it leaves it; edges between keep nothing.

use std::{collections::BTreeMap, fmt, time::Duration};

use corridor_probes::{AgentId, EdgeId, Mono, Route, wire::RouteHeader};

use super::{
    grant::{Grant, GrantError, GrantId},
    wire::{Answer, Open},
};
use crate::{route::FarEnd, transport::TokenBucket};

/// Flows of all agents at one edge: 5,000 agents with four each.
const MAX_FLOWS: usize = 20_000;
/// Flows that one agent opens at one edge: a seminar's participants, each with voice, video and screen.
const MAX_AGENT_FLOWS: usize = 128;
/// A flow that is neither used nor opened again is forgotten after this. Its agent opens it again every
/// [`super::origin::REFRESH`].
pub const IDLE: Duration = Duration::from_secs(120);
/// Openings and answers of one agent, in the long run and at once: each costs a signature's check.
const OPENINGS_A_SECOND: u64 = 40;
const OPENINGS_AT_ONCE: usize = 200;
/// A newer grant with other edges takes over from the one before after this: until then packets are under way by the
/// old routes, and the far end answers by them.
const TAKES_OVER: Duration = Duration::from_secs(3);
/// What a flow may send at once: half a second of its rate, so that a video frame fits.
const BURST: Duration = Duration::from_millis(500);

/// A flow: who opened it, and the number that it goes by.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct FlowKey {
    pub origin: AgentId,
    pub flow: u64,
}

impl FlowKey {
    pub const fn of(header: &RouteHeader) -> Self {
        Self {
            origin: header.origin,
            flow: header.flow,
        }
    }
}

/// Whoever can tell what a signed grant is worth now.
pub trait Warrants: fmt::Debug + Send + Sync {
    /// The grant and for how long it is still good.
    fn judge(&self, signed: &[u8]) -> Result<(Grant, Duration), Answer>;
}

/// Why a datagram of media is not let through.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Stopped {
    /// The sender is told.
    Answer(Answer),
    /// More than its grant allows: dropped, and counted.
    TooFast,
}

/// Which way a datagram goes that an agent hands in.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Way {
    Out = 0,
    Back = 1,
}

#[derive(Debug)]
struct Entry {
    grant: GrantId,
    far: FarEnd,
    edges: Vec<EdgeId>,
    /// Those of the same grant as it was before, and until when they count.
    before: (Vec<EdgeId>, Mono),
    rate_kbps: u32,
    until: Mono,
    used: Mono,
    /// Out and back.
    buckets: [TokenBucket; 2],
}

impl Entry {
    fn names(&self, route: &Route, now: Mono) -> bool {
        let all_of = |edges: &[EdgeId]| route.edges().all(|edge| edges.contains(&edge));
        let (before, until) = &self.before;
        all_of(&self.edges) || now < *until && all_of(before)
    }

    fn set_edges(&mut self, grant: GrantId, edges: Vec<EdgeId>, now: Mono) {
        if grant != self.grant {
            self.before = (Vec::new(), now);
        } else if edges != self.edges {
            self.before = (std::mem::take(&mut self.edges), now + TAKES_OVER);
        }
        self.edges = edges;
    }
}

/// All that an agent sends and gets, whatever the flow.
#[derive(Debug)]
struct Party {
    sends: TokenBucket,
    /// Of targets, which are no party themselves.
    gets: TokenBucket,
    rate_kbps: u32,
    openings: TokenBucket,
    used: Mono,
}

/// The gate of one edge.
#[derive(Debug, Default)]
pub struct Gate {
    flows: BTreeMap<FlowKey, Entry>,
    parties: BTreeMap<AgentId, Party>,
}

impl Gate {
    /// Opens a flow, or opens it again with a newer grant. `header` is of a datagram on its way out.
    pub fn open(&mut self, open: &Open<'_>, now: Mono, warrants: &dyn Warrants) -> Result<&FarEnd, Answer> {
        let header = &open.header;
        let judged = self
            .may_open(header.origin, now)
            .and_then(|()| warrants.judge(open.grant))
            .and_then(|(grant, life)| {
                fits(&grant, header).map_err(Answer::from)?;
                Ok((grant, life))
            });
        let (grant, life) = judged?;
        let key = FlowKey::of(header);
        if !self.flows.contains_key(&key) && !self.has_room(header.origin) {
            return Err(Answer::TooMany);
        }
        // A flow that led elsewhere would keep what was opened for it.
        if self.flows.get(&key).is_some_and(|entry| entry.far != grant.far) {
            return Err(Answer::NotGranted);
        }
        let (until, rate_kbps) = (now + life, grant.rate_kbps);
        let entry = self.flows.entry(key).or_insert_with(|| Entry {
            grant: grant.id,
            far: grant.far.clone(),
            edges: grant.edges.clone(),
            before: (Vec::new(), now),
            rate_kbps,
            until,
            used: now,
            buckets: [bucket(rate_kbps, BURST), bucket(rate_kbps, BURST)],
        });
        if entry.rate_kbps != rate_kbps {
            for bucket in &mut entry.buckets {
                bucket.set_rate(now, bits(rate_kbps));
            }
        }
        entry.set_edges(grant.id, grant.edges, now);
        (entry.grant, entry.rate_kbps, entry.until, entry.used) = (grant.id, rate_kbps, until, now);
        Ok(&entry.far)
    }

    /// Lets through what `sender`, an agent, hands in of a flow, or not.
    pub fn admit(
        &mut self,
        sender: AgentId,
        header: &RouteHeader,
        way: Way,
        bytes: usize,
        now: Mono,
    ) -> Result<(), Stopped> {
        let stopped = |answer| Err(Stopped::Answer(answer));
        let Some(entry) = self.flows.get_mut(&FlowKey::of(header)) else {
            return stopped(Answer::Unknown);
        };
        if entry.until < now {
            return stopped(Answer::Expired);
        }
        let far = match &entry.far {
            FarEnd::Agent(id) => Some(*id),
            FarEnd::Target(_) | FarEnd::Hub(_) => None,
        };
        if !entry.names(&header.route, now) || header.far != far {
            return stopped(Answer::NotGranted);
        }
        entry.used = now;
        let rate_kbps = entry.rate_kbps;
        let taken = entry.buckets[way as usize].take(now, bytes);
        let party = self.party(sender, rate_kbps, now);
        if taken.is_err() || party.sends.take(now, bytes).is_err() {
            return Err(Stopped::TooFast);
        }
        Ok(())
    }

    /// Lets through what a target answers, or not.
    pub fn admit_answer(&mut self, key: FlowKey, bytes: usize, now: Mono) -> bool {
        let Some(entry) = self.flows.get_mut(&key).filter(|entry| entry.until >= now) else {
            return false;
        };
        let rate_kbps = entry.rate_kbps;
        let taken = entry.buckets[Way::Back as usize].take(now, bytes);
        let party = self.party(key.origin, rate_kbps, now);
        taken.is_ok() && party.gets.take(now, bytes).is_ok()
    }

    /// Whether a flow that comes from another edge was opened here; it counts as used.
    pub fn knows(&mut self, header: &RouteHeader, now: Mono) -> Result<(), Stopped> {
        match self.flows.get_mut(&FlowKey::of(header)) {
            Some(entry) if entry.until >= now => {
                entry.used = now;
                Ok(())
            }
            Some(_) => Err(Stopped::Answer(Answer::Expired)),
            None => Err(Stopped::Answer(Answer::Unknown)),
        }
    }

    /// Where an opened flow leads.
    pub fn far_end(&self, key: FlowKey) -> Option<&FarEnd> {
        self.flows.get(&key).map(|entry| &entry.far)
    }

    /// Whether an agent may open, or answer an opening, now.
    pub fn may_open(&mut self, agent: AgentId, now: Mono) -> Result<(), Answer> {
        self.party(agent, 0, now)
            .openings
            .take(now, 1)
            .map_err(|_| Answer::TooMany)
    }

    /// Flows by revoked grants end, and are answered as unknown; opening them again says why.
    pub fn revoke(&mut self, is_revoked: impl Fn(GrantId) -> bool) {
        self.flows.retain(|_, entry| !is_revoked(entry.grant));
    }

    /// Forgets what nobody uses.
    pub fn expire(&mut self, now: Mono) {
        self.flows
            .retain(|_, entry| entry.until >= now && now.since(entry.used) < IDLE);
        self.parties.retain(|_, party| now.since(party.used) < IDLE);
    }

    /// Whether any flow was used since.
    pub fn in_use(&self, since: Mono) -> bool {
        self.flows.values().any(|entry| entry.used >= since)
    }

    pub fn flows(&self) -> usize {
        self.flows.len()
    }

    fn has_room(&self, origin: AgentId) -> bool {
        let of = |flow| FlowKey { origin, flow };
        let own = self.flows.range(of(0)..=of(u64::MAX)).count();
        self.flows.len() < MAX_FLOWS && own < MAX_AGENT_FLOWS
    }

    /// An agent, which has a flow of this rate: the highest counts.
    fn party(&mut self, agent: AgentId, rate_kbps: u32, now: Mono) -> &mut Party {
        let party = self.parties.entry(agent).or_insert_with(|| Party {
            sends: bucket(0, BURST),
            gets: bucket(0, BURST),
            rate_kbps: 0,
            // A token is a byte.
            openings: TokenBucket::new(OPENINGS_A_SECOND * 8, OPENINGS_AT_ONCE),
            used: now,
        });
        if party.rate_kbps < rate_kbps {
            party.rate_kbps = rate_kbps;
            (party.sends, party.gets) = (bucket(rate_kbps, BURST), bucket(rate_kbps, BURST));
        }
        party.used = now;
        party
    }
}

/// Whether the grant is this flow's.
fn fits(grant: &Grant, header: &RouteHeader) -> Result<(), GrantError> {
    grant.check_agent(header.origin)?;
    match (header.far, &grant.far) {
        (Some(far), _) => grant.check_far_end(&FarEnd::Agent(far))?,
        (None, FarEnd::Target(_)) => {}
        // Nothing carries media to a meeting point alone.
        (None, FarEnd::Agent(_) | FarEnd::Hub(_)) => return Err(GrantError::FarEnd(grant.id)),
    }
    grant.check_route(&header.route)
}

const fn bits(rate_kbps: u32) -> u64 {
    rate_kbps as u64 * 1_000
}

/// Lets through so much, and what comes within `burst` at once.
pub(super) fn bucket(rate_kbps: u32, burst: Duration) -> TokenBucket {
    let burst = bits(rate_kbps) as f64 / 8.0 * burst.as_secs_f64();
    TokenBucket::new(bits(rate_kbps), burst as usize)
}

#[cfg(test)]
mod tests {
    use corridor_probes::Wall;

    use super::*;
    use crate::media::wire::Kind;

    const A: AgentId = AgentId(1);
    const B: AgentId = AgentId(2);

    fn at(ms: i64) -> Mono {
        Mono::from_millis(ms)
    }

    fn e(id: u16) -> EdgeId {
        EdgeId::new(id).unwrap()
    }

    fn header(flow: u64, edges: &[u16]) -> RouteHeader {
        let edges: Vec<_> = edges.iter().map(|&id| e(id)).collect();
        RouteHeader {
            flow,
            ..RouteHeader::out(Kind::Media as u8, Route::new(&edges).unwrap(), A, Some(B))
        }
    }

    /// The first byte of a "signed" grant says what it is; more are edges.
    #[derive(Debug)]
    struct Paper;

    impl Warrants for Paper {
        fn judge(&self, signed: &[u8]) -> Result<(Grant, Duration), Answer> {
            let [kind, edges @ ..] = signed else {
                return Err(Answer::BadGrant);
            };
            let kind = *kind;
            let edges = if edges.is_empty() { &[1, 2] } else { edges };
            let grant = Grant {
                id: GrantId(kind.into()),
                class: "math".into(),
                agent: if kind == 9 { B } else { A },
                far: FarEnd::Agent(if kind == 8 { AgentId(3) } else { B }),
                edges: edges.iter().map(|&id| e(id.into())).collect(),
                rate_kbps: 80,
                from: Wall::from_micros(0),
                until: Wall::from_micros(0),
            };
            Ok((grant, Duration::from_secs(600)))
        }
    }

    fn open(gate: &mut Gate, header: RouteHeader, grant: &[u8], now: Mono) -> Result<(), Answer> {
        let open = Open {
            header,
            port: 1,
            grant,
        };
        gate.open(&open, now, &Paper).map(|_| ())
    }

    #[test]
    fn what_is_under_way_passes_while_a_newer_grant_takes_over() {
        let mut gate = Gate::default();
        let refused = Err(Stopped::Answer(Answer::NotGranted));
        let answer = |gate: &mut Gate, edges: &[u16], now| {
            let back = header(7, edges).back(Kind::Media as u8);
            gate.admit(B, &back, Way::Back, 100, now)
        };
        open(&mut gate, header(7, &[1, 2]), &[1], at(0)).unwrap();
        assert_eq!(answer(&mut gate, &[3, 2], at(0)), refused);
        open(&mut gate, header(7, &[3, 2]), &[1, 2, 3], at(1_000)).unwrap();
        assert_eq!(answer(&mut gate, &[3, 2], at(1_000)), Ok(()));
        // Opened again by another route: the same grant still.
        open(&mut gate, header(7, &[2]), &[1, 2, 3], at(2_000)).unwrap();
        assert_eq!(answer(&mut gate, &[1, 2], at(3_999)), Ok(()));
        assert_eq!(answer(&mut gate, &[1, 2], at(4_000)), refused);
        // Nothing is left of a grant of another number, which may have been taken back.
        open(&mut gate, header(7, &[1, 2]), &[1, 1, 2], at(5_000)).unwrap();
        assert_eq!(answer(&mut gate, &[3, 2], at(5_000)), Ok(()));
        open(&mut gate, header(7, &[1, 2]), &[2, 1, 2], at(5_000)).unwrap();
        assert_eq!(answer(&mut gate, &[3, 2], at(5_000)), refused);
    }

    #[test]
    fn nothing_passes_that_no_grant_opened() {
        let mut gate = Gate::default();
        let unknown = Err(Stopped::Answer(Answer::Unknown));
        let pass = |gate: &mut Gate, header: &RouteHeader| gate.admit(A, header, Way::Out, 100, at(0));
        assert_eq!(pass(&mut gate, &header(7, &[1, 2])), unknown);
        for (grant, edges, why) in [
            (&[][..], &[1][..], Answer::BadGrant),
            (&[9], &[1], Answer::NotYours),
            (&[8], &[1], Answer::NotGranted),
            (&[1], &[1, 3], Answer::NotGranted),
        ] {
            assert_eq!(open(&mut gate, header(7, edges), grant, at(0)), Err(why));
        }
        assert_eq!(pass(&mut gate, &header(7, &[1])), unknown);

        open(&mut gate, header(7, &[1, 2]), &[1], at(0)).unwrap();
        assert_eq!(pass(&mut gate, &header(7, &[2])), Ok(()));
        assert_eq!(pass(&mut gate, &header(8, &[2])), unknown, "another flow");
        let forged = header(7, &[1, 3]);
        let not_granted = Err(Stopped::Answer(Answer::NotGranted));
        assert_eq!(pass(&mut gate, &forged), not_granted);
        let elsewhere = RouteHeader {
            far: Some(AgentId(3)),
            ..header(7, &[1])
        };
        assert_eq!(pass(&mut gate, &elsewhere), not_granted);
    }

    #[test]
    fn a_flow_ends_with_its_grant_with_its_revocation_and_unused() {
        let mut gate = Gate::default();
        let pass = |gate: &mut Gate, now| gate.admit(A, &header(7, &[1]), Way::Out, 10, now);
        open(&mut gate, header(7, &[1]), &[1], at(0)).unwrap();
        assert_eq!(pass(&mut gate, at(600_000)), Ok(()));
        assert_eq!(
            pass(&mut gate, at(600_001)),
            Err(Stopped::Answer(Answer::Expired))
        );
        open(&mut gate, header(7, &[1]), &[5], at(600_100)).unwrap();
        gate.revoke(|grant| grant == GrantId(1));
        assert_eq!(pass(&mut gate, at(600_200)), Ok(()), "it has a newer grant");
        gate.revoke(|grant| grant == GrantId(5));
        assert_eq!(
            pass(&mut gate, at(600_300)),
            Err(Stopped::Answer(Answer::Unknown))
        );

        open(&mut gate, header(7, &[1]), &[1], at(600_300)).unwrap();
        gate.expire(at(720_299));
        assert_eq!(gate.flows(), 1);
        gate.expire(at(720_300));
        assert_eq!(gate.flows(), 0);
    }

    #[test]
    fn each_way_has_the_granted_rate_and_an_agents_flows_share_it() {
        let mut gate = Gate::default();
        for flow in [7, 8] {
            open(&mut gate, header(flow, &[1]), &[1], at(0)).unwrap();
        }
        // 80 kbit/s: 5,000 B at once, 10,000 B a second.
        let sent = |gate: &mut Gate, agent, flow, way, from: i64| {
            let times = (0..1_000).map(|i| from + i);
            times
                .filter(|&ms| gate.admit(agent, &header(flow, &[1]), way, 100, at(ms)).is_ok())
                .count()
        };
        assert_eq!(sent(&mut gate, A, 7, Way::Out, 0), 149);
        assert_eq!(sent(&mut gate, B, 7, Way::Back, 0), 149);
        assert_eq!(sent(&mut gate, A, 8, Way::Out, 1_000), 100, "of what both may");
    }

    #[test]
    fn an_agent_opens_no_more_than_so_many_and_not_too_often() {
        let mut gate = Gate::default();
        for flow in 0..MAX_AGENT_FLOWS as u64 {
            open(&mut gate, header(flow, &[1]), &[1], at(0)).unwrap();
        }
        assert_eq!(
            open(&mut gate, header(999, &[1]), &[1], at(0)),
            Err(Answer::TooMany)
        );
        assert_eq!(open(&mut gate, header(3, &[1]), &[1], at(0)), Ok(()), "again");
        let opened = (0..1_000).filter(|_| open(&mut gate, header(3, &[1]), &[1], at(0)).is_ok());
        assert_eq!(opened.count(), OPENINGS_AT_ONCE - MAX_AGENT_FLOWS - 2);
        assert_eq!(open(&mut gate, header(3, &[1]), &[1], at(25)), Ok(()));
    }
}
