//! How much of a building's line may each agent behind it use? Those in class first, all of them alike; what
//! they leave goes to the idle ones.

use std::collections::BTreeMap;

use corridor_probes::{AgentId, Wall};

use super::core::Core;
use crate::{proto::from_controller, route::FarEnd, site::Site, store::records::ClassState};

/// What an idle agent uses at its slowest, in bits a second each way: keep-alives and a report a minute.
/// Nobody in class gets that, up to a quarter of the line.
pub const IDLE_LEAST: u64 = 1_000;

/// A share that grows by less than a tenth is not worth a word. One that shrinks is told at once.
const WORTH_TELLING: (u64, u64) = (11, 10);

/// An agent, as the division sees it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Member {
    pub agent: AgentId,
    /// `None` where its edge does not say it: it shares with nobody.
    pub site: Option<Site>,
    pub in_class: bool,
    /// Bits a second each way, what its peers want of it included.
    pub wants: u64,
    /// Agents that probe it, and that it probes, at the same rate: none may go faster than the slowest.
    pub peers: Vec<AgentId>,
}

/// The most that each agent of a site may use, in bits a second; `None` where all get what they want.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Shares {
    pub in_class: Option<u64>,
    pub idle: Option<u64>,
}

/// One site now.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct SiteNow {
    pub shares: Shares,
    pub in_class: Vec<AgentId>,
    pub idle: Vec<AgentId>,
}

/// See the module's documentation.
#[derive(Debug, Default)]
pub struct Sites {
    sites: BTreeMap<Site, SiteNow>,
    /// What each agent was told last; who is not here has no limit.
    told: BTreeMap<AgentId, u64>,
}

impl Sites {
    /// Divides anew, and answers whose share is to be told.
    pub fn share_out(&mut self, budget: u64, members: &[Member]) -> Vec<AgentId> {
        self.sites.clear();
        for member in members {
            if let Some(site) = member.site {
                let now = self.sites.entry(site).or_default();
                let list = if member.in_class {
                    &mut now.in_class
                } else {
                    &mut now.idle
                };
                list.push(member.agent);
            }
        }
        let wants: BTreeMap<_, _> = members.iter().map(|m| (m.agent, m.wants)).collect();
        for now in self.sites.values_mut() {
            let of = |agents: &[AgentId]| agents.iter().filter_map(|a| wants.get(a).copied()).collect();
            now.shares = divide(budget, of(&now.in_class), of(&now.idle));
        }
        let own: BTreeMap<_, _> = members.iter().map(|m| (m.agent, self.level(m))).collect();
        let mut told = BTreeMap::new();
        let mut news = Vec::new();
        for member in members {
            let peers = member.peers.iter().filter_map(|peer| own.get(peer).copied());
            let slowest = peers.chain([self.level(member)]).flatten().min();
            let share = slowest.filter(|share| *share < member.wants);
            let before = self.told.get(&member.agent).copied();
            let (more, than) = WORTH_TELLING;
            let grows_a_little = |(before, share): (u64, u64)| {
                share >= before && share.saturating_mul(than) < before.saturating_mul(more)
            };
            let kept = before
                .zip(share)
                .filter(|both| grows_a_little(*both))
                .map(|b| b.0);
            let tells = kept.or(share);
            if tells != before {
                news.push(member.agent);
            }
            told.extend(tells.map(|share| (member.agent, share)));
        }
        self.told = told;
        news
    }

    /// What an agent is told, in bits a second; `None` without a limit.
    pub fn share(&self, agent: AgentId) -> Option<u64> {
        self.told.get(&agent).copied()
    }

    pub fn iter(&self) -> impl Iterator<Item = (Site, &SiteNow)> {
        self.sites.iter().map(|(&site, now)| (site, now))
    }

    fn level(&self, member: &Member) -> Option<u64> {
        let shares = self.sites.get(&member.site?)?.shares;
        if member.in_class {
            shares.in_class
        } else {
            shares.idle
        }
    }
}

/// Divides `budget` among agents by what each wants, all in bits a second.
pub fn divide(budget: u64, in_class: Vec<u64>, idle: Vec<u64>) -> Shares {
    let kept = IDLE_LEAST.saturating_mul(idle.len() as u64).min(budget / 4);
    let used = |wants: &[u64], level: Option<u64>| -> u64 {
        wants.iter().map(|w| level.map_or(*w, |l| l.min(*w))).sum()
    };
    let of_class = level(budget.saturating_sub(kept), in_class.clone());
    let rest = budget.saturating_sub(used(&in_class, of_class));
    Shares {
        in_class: of_class,
        idle: level(rest, idle),
    }
}

/// The level up to which everybody gets what it wants, so that all together get no more than `budget`;
/// `None` if that is enough for all.
fn level(mut budget: u64, mut wants: Vec<u64>) -> Option<u64> {
    wants.sort_unstable();
    let mut left = wants.len() as u64;
    for want in wants {
        if want.saturating_mul(left) > budget {
            return Some(budget / left);
        }
        budget -= want;
        left -= 1;
    }
    None
}

impl Core {
    /// Divides the sites' budgets, and tells agents whose share has changed.
    pub(super) fn share_out(&mut self, now: Wall) {
        let budget = u64::from(self.settings.site_budget_kbps) * 1_000;
        let members = self.members();
        for id in self.sites.share_out(budget, &members) {
            self.tell_settings(id, now);
        }
    }

    pub(super) fn tell_settings(&mut self, id: AgentId, now: Wall) {
        let share = self.sites.share(id);
        // A share of 0 would be no limit.
        let share = share.map(|bits| u32::try_from(bits).unwrap_or(u32::MAX).max(1));
        let mut settings = self.settings.for_agent(share);
        settings.version = self.next_version(now);
        self.tell_agent(id, from_controller::Body::Settings(settings));
    }

    /// All agents that are connected.
    fn members(&self) -> Vec<Member> {
        let mut peers: BTreeMap<AgentId, Vec<AgentId>> = BTreeMap::new();
        for class in self.classes.iter().filter(|c| c.state == ClassState::Live) {
            for participant in class.participants.iter().filter(|p| p.left.is_none()) {
                let leg = self.planner.leg(&class.id, &participant.subject);
                let agent = self.agents.by_subject(&participant.subject);
                if let (Some(leg), Some(agent)) = (leg, agent) {
                    let peers = peers.entry(agent.record.id).or_default();
                    if let FarEnd::Agent(peer) = leg.to {
                        peers.push(peer);
                    }
                }
            }
        }
        let wants = |kbps: u32, times: u64| u64::from(kbps) * 1_000 * times;
        self.agents
            .iter()
            .filter(|agent| agent.record.revoked.is_none() && self.agents.uplink(agent.record.id).is_some())
            .map(|agent| {
                let id = agent.record.id;
                let peers = peers.get(&id).cloned();
                let wants = match &peers {
                    None => wants(self.settings.idle_kbps, 1),
                    Some(none) if none.is_empty() => wants(self.settings.in_class_kbps, 1),
                    // As much again for the peer's probes.
                    Some(_) => wants(self.settings.in_class_kbps, 2),
                };
                Member {
                    agent: id,
                    site: agent.attachment.as_ref().and_then(|a| a.site),
                    in_class: peers.is_some(),
                    wants,
                    peers: peers.unwrap_or_default(),
                }
            })
            .collect()
    }
}

#[cfg(test)]
mod tests;
