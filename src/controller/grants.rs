//! The grants of all legs: made when a leg's plan wants another one, taken back when the leg is over.
//!
//! A grant's number is a hash of class, agent, far end and the time of its first making. It needs no randomness,
//! stays the same while the grant is made anew, and is another one when somebody who left comes back: what was
//! taken back then stays taken back, and what is given now is not on the list. A leg whose far end changes keeps
//! the grant for the one before until it is over, since its agent goes on by the old plan until it has the new
//! one.
//!
//! Nothing is signed with a plan or a report, but on a change of what the grant says, and when a third of its life
//! is over.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
    time::Duration,
};

use corridor_probes::{AgentId, EdgeId, Mono, Route, Wall};

use crate::{
    identity::{Ca, CaError, certificate::sha256},
    media::grant::{Grant, GrantError, GrantId, MAX_EDGES, MAX_REVOKED, far_end_message},
    route::{FarEnd, engine::Plan},
    store::{GRANT_LINGERS, records::GrantRecord},
};

/// A grant without a set end lasts for so long, as certificates do: the controller may be away meanwhile.
const LIFE: Duration = Duration::from_secs(14 * 86_400);
/// With a set end, so long beyond it: lessons overrun, and the controller may be away when this one does.
const AFTER_END: Duration = Duration::from_secs(4 * 3_600);
/// How long before its making a grant begins: clocks of those who judge it may be behind.
const BACKDATED: Duration = Duration::from_secs(60);
/// How often all legs are looked at, changed or not. No life is so short that this matters.
const SWEEP_EVERY: Duration = Duration::from_secs(60);

/// See the module's documentation.
#[derive(Debug)]
pub struct Grants {
    ca: Arc<Ca>,
    rate_kbps: u32,
    /// By class and agent: one for each far end that the leg has had.
    given: BTreeMap<String, BTreeMap<AgentId, Vec<Given>>>,
    revoked: BTreeMap<GrantId, Wall>,
    /// Of each edge, those that name it, by the time at which they expire.
    revoked_at: BTreeMap<EdgeId, BTreeSet<(Wall, GrantId)>>,
    /// Edges whose list is longer than they were told.
    untold: BTreeSet<EdgeId>,
    unsaved: Vec<GrantRecord>,
    next_sweep: Mono,
}

#[derive(Debug)]
struct Given {
    /// As it was last made.
    grant: Grant,
    record: GrantRecord,
}

impl Grants {
    /// Takes up what the store kept. `rate_kbps`: of each agent's media, each way.
    pub fn restore(ca: Arc<Ca>, rate_kbps: u32, records: Vec<GrantRecord>, now: Wall, mono: Mono) -> Self {
        let mut grants = Self {
            ca,
            rate_kbps,
            given: BTreeMap::new(),
            revoked: BTreeMap::new(),
            revoked_at: BTreeMap::new(),
            untold: BTreeSet::new(),
            unsaved: Vec::new(),
            next_sweep: mono,
        };
        let roots = grants.ca.roots();
        for record in records.into_iter().filter(|record| !is_over(record.until, now)) {
            if record.revoked.is_some() {
                grants.list(&record);
                continue;
            }
            match Grant::verify(&record.signed, &roots) {
                Ok(grant) => grants.take(Given { grant, record }),
                Err(error) => grants.lost(record, &error, now),
            }
        }
        grants
    }

    /// Makes the grants of a class's legs what their plans want, and takes back those of legs that are over.
    /// `end`: the class's set end. Answers the agents that have another one than before.
    pub fn follow<'p>(
        &mut self,
        class: &str,
        end: Option<Wall>,
        legs: impl Iterator<Item = (AgentId, &'p Plan)>,
        now: Wall,
    ) -> Vec<AgentId> {
        let mut before = self.given.remove(class).unwrap_or_default();
        let mut legs_now = BTreeMap::new();
        let mut changed = Vec::new();
        for (agent, plan) in legs {
            let mut given = before.remove(&agent).unwrap_or_default();
            match self.give(class, end, agent, plan, &mut given, now) {
                Ok(true) => changed.push(agent),
                Ok(false) => {}
                Err(error) => {
                    tracing::error!(class, %agent, %error, "a grant is not made");
                }
            }
            legs_now.insert(agent, given);
        }
        for given in before.into_values().flatten() {
            self.revoke(given.record, now);
        }
        legs_now.retain(|_, given| !given.is_empty());
        if !legs_now.is_empty() {
            self.given.insert(class.to_owned(), legs_now);
        }
        changed
    }

    /// Takes back all that an agent holds.
    pub fn revoke_agent(&mut self, agent: AgentId, now: Wall) {
        let legs = self.given.values_mut().filter_map(|legs| legs.remove(&agent));
        let over: Vec<_> = legs.flatten().collect();
        for given in over {
            self.revoke(given.record, now);
        }
    }

    /// What a leg's agent is to show (`SignedGrant`), if there is one for where it leads.
    pub fn signed(&self, class: &str, agent: AgentId, far: &FarEnd) -> Option<&[u8]> {
        let given = self.given.get(class)?.get(&agent)?;
        let found = given.iter().find(|given| given.grant.far == *far)?;
        Some(&found.record.signed)
    }

    /// Classes with a grant that stands.
    pub fn classes(&self) -> impl Iterator<Item = &str> {
        self.given.keys().map(String::as_str)
    }

    /// Whether all classes are to be followed now, changed or not. Forgets what has expired, then.
    pub fn sweep(&mut self, mono: Mono, now: Wall) -> bool {
        if mono < self.next_sweep {
            return false;
        }
        self.next_sweep = mono + SWEEP_EVERY;
        self.revoked.retain(|_, until| !is_over(*until, now));
        for listed in self.revoked_at.values_mut() {
            listed.retain(|(until, _)| !is_over(*until, now));
        }
        for given in self.given.values_mut().flat_map(BTreeMap::values_mut) {
            given.retain(|given| !is_over(given.record.until, now));
        }
        true
    }

    /// Grants that an edge shall refuse: [`MAX_REVOKED`] at most, those that last longest if there are more.
    pub fn revoked_at(&self, edge: EdgeId) -> Vec<u64> {
        let listed = self.revoked_at.get(&edge).into_iter().flatten();
        let mut ids: Vec<_> = listed.rev().take(MAX_REVOKED).map(|(_, id)| id.0).collect();
        ids.sort_unstable();
        ids
    }

    /// Edges that are to be told their list anew: once.
    pub fn take_untold(&mut self) -> BTreeSet<EdgeId> {
        std::mem::take(&mut self.untold)
    }

    /// What is to be kept: once.
    pub fn take_unsaved(&mut self) -> Vec<GrantRecord> {
        std::mem::take(&mut self.unsaved)
    }

    /// Makes a leg's grant, if it is to be another than it is.
    fn give(
        &mut self,
        class: &str,
        end: Option<Wall>,
        agent: AgentId,
        plan: &Plan,
        given: &mut Vec<Given>,
        now: Wall,
    ) -> Result<bool, CaError> {
        let edges = edges(plan);
        if edges.is_empty() {
            return Ok(false);
        }
        let until = until(end, now);
        let known = given.iter().position(|given| given.grant.far == plan.to);
        let (id, from) = match known.and_then(|at| given.get(at)) {
            Some(known) if !known.is_due(&edges, self.rate_kbps, until, now) => return Ok(false),
            Some(known) => (known.grant.id, known.grant.from),
            None => {
                let from = now - BACKDATED;
                (self.free_id(class, agent, &plan.to, from), from)
            }
        };
        let grant = Grant {
            id,
            class: class.to_owned(),
            agent,
            far: plan.to.clone(),
            edges,
            rate_kbps: self.rate_kbps,
            from,
            until,
        };
        let signed = grant.signed_by(|message| self.ca.sign_message(message, now))?;
        let before = known.map(|at| given.swap_remove(at).record);
        let record = record(&grant, signed, before.as_ref());
        self.unsaved.push(record.clone());
        given.push(Given { grant, record });
        Ok(true)
    }

    /// A number that has not been taken back.
    fn free_id(&self, class: &str, agent: AgentId, far: &FarEnd, from: Wall) -> GrantId {
        let mut nth = 0;
        loop {
            let id = id(class, agent, far, from, nth);
            if !self.revoked.contains_key(&id) {
                return id;
            }
            nth += 1;
        }
    }

    fn take(&mut self, given: Given) {
        let legs = self.given.entry(given.record.class.clone()).or_default();
        legs.entry(given.record.agent).or_default().push(given);
    }

    /// A grant of before the start that nobody would take: whoever holds it still does not get any further with
    /// it, where its root is known.
    fn lost(&mut self, record: GrantRecord, error: &GrantError, now: Wall) {
        tracing::warn!(class = %record.class, agent = %record.agent, %error, "stored grant not understood");
        self.revoke(record, now);
    }

    fn revoke(&mut self, mut record: GrantRecord, now: Wall) {
        record.revoked = Some(now);
        record.signed = Vec::new();
        self.list(&record);
        self.untold.extend(&record.edges);
        self.unsaved.push(record);
    }

    fn list(&mut self, record: &GrantRecord) {
        self.revoked.insert(record.id, record.until);
        for &edge in &record.edges {
            let listed = self.revoked_at.entry(edge).or_default();
            listed.insert((record.until, record.id));
            if listed.len() == MAX_REVOKED + 1 {
                tracing::warn!(
                    %edge,
                    at_most = MAX_REVOKED,
                    "more grants are revoked than an edge is told: those that expire first are left out"
                );
            }
        }
    }
}

impl Given {
    fn is_due(&self, edges: &[EdgeId], rate_kbps: u32, until: Wall, now: Wall) -> bool {
        let says_other = self.grant.edges != edges || self.grant.rate_kbps != rate_kbps;
        let lasts = self.grant.until.since(now);
        says_other || (self.grant.until < until && lasts <= LIFE * 2 / 3)
    }
}

fn record(grant: &Grant, signed: Vec<u8>, before: Option<&GrantRecord>) -> GrantRecord {
    let named = before.map_or(&[][..], |before| &before.edges);
    let edges: BTreeSet<_> = named.iter().chain(&grant.edges).copied().collect();
    GrantRecord {
        id: grant.id,
        class: grant.class.clone(),
        agent: grant.agent,
        until: before.map_or(grant.until, |before| before.until.max(grant.until)),
        edges: edges.into_iter().collect(),
        revoked: None,
        signed,
    }
}

/// Every edge of the plan's routes, in ascending order.
fn edges(plan: &Plan) -> Vec<EdgeId> {
    let routes = plan.routes();
    let edges: BTreeSet<_> = routes.iter().flat_map(Route::edges).collect();
    edges.into_iter().take(MAX_EDGES).collect()
}

fn until(end: Option<Wall>, now: Wall) -> Wall {
    let most = now + LIFE;
    end.map_or(most, |end| most.min(end + AFTER_END))
}

/// Nobody takes a grant any more that expired so long ago, so that no list needs it.
fn is_over(until: Wall, now: Wall) -> bool {
    until + GRANT_LINGERS < now
}

fn id(class: &str, agent: AgentId, far: &FarEnd, from: Wall, nth: u32) -> GrantId {
    let far = prost::Message::encode_to_vec(&far_end_message(far));
    let length = class.len().to_be_bytes();
    let hashed = [
        &b"corridor grant id\0"[..],
        &length,
        class.as_bytes(),
        &agent.0.to_be_bytes(),
        &from.as_micros().to_be_bytes(),
        &nth.to_be_bytes(),
        &far,
    ]
    .concat();
    let hash = sha256(&hashed);
    let first = hash.first_chunk().copied().unwrap_or_default();
    GrantId(u64::from_be_bytes(first))
}

#[cfg(test)]
mod tests;
