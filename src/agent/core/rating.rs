//! How often each session probes: what is wanted, what is allowed, and what was spent.

use super::*;
use crate::config;

/// A probe a second of 256 bytes at most, each way: the longest is a TCP connection over IPv6, of three packets
/// there. Trials of other methods, every ten minutes, are not in it.
const TARGET_BPS: u64 = 2_048;

/// What the rates hang on, beside links and plans.
#[derive(Debug)]
pub struct RateState {
    places: Places,
    budget: Budget,
    /// By the controller; 0 is not said.
    pub(super) told: proto::Settings,
    pub(super) at_risk: BTreeSet<LegId>,
    metered: bool,
    /// In class, and metered: with another tier the budget begins anew.
    tier: (bool, bool),
    ladder: Ladder,
    pub(super) first_looks: FirstLooks,
}

impl RateState {
    pub(super) fn new(turn: u32, now: Mono) -> Self {
        Self {
            places: Places::new(turn),
            budget: Budget::new(now),
            told: proto::Settings::default(),
            at_risk: BTreeSet::new(),
            metered: false,
            tier: (false, false),
            ladder: Ladder::default(),
            first_looks: FirstLooks::default(),
        }
    }
}

impl Core {
    /// Sets how often each session probes.
    pub(super) fn retune(&mut self, now: Mono) {
        let links: Vec<_> = self.edges.iter().map(|(id, _)| id).collect();
        let routes: Vec<_> = self.legs.routes().collect();
        let best = self.nearest();
        let in_class = !routes.is_empty();
        let tier = (self.in_class(), self.rates.metered);
        if tier != std::mem::replace(&mut self.rates.tier, tier) {
            self.rates.budget.begin(now);
        }
        self.rates.at_risk = self.legs.legs_at_risk();
        self.rates.places.settle(&links);
        let is_at_risk = |leg: LegId| self.rates.at_risk.contains(&leg);
        let at_risk = routes.iter().filter(|(leg, _)| is_at_risk(*leg)).count();
        let wanted = Wanted {
            links: links.len(),
            routes_at_risk: at_risk,
            routes: routes.len() - at_risk,
            answers: self.legs.has_peer(),
        };
        let down = self.rates.budget.down();
        let fit = |down| rates::fit(self.allowed(), &self.settings, &wanted, down);
        let rates = fit(down);
        let above = down.checked_sub(1).map(|up| fit(up).load).unwrap_or(rates.load);
        let places = &self.rates.places;
        for id in links {
            let paced = |pattern| rates::paced(pattern, self.pace);
            let pattern = match (Some(id) == best, in_class) {
                _ if self.rates.first_looks.is_probed(id) => places.link(id, paced(tiers::FIRST_LOOK)),
                (true, true) => places.link(id, paced(rates.best_link)),
                (true, false) => places.first(paced(rates.best_link)),
                (false, _) => places.link(id, paced(rates.other_links)),
            };
            self.prober.set(Key::Link(id), pattern, now);
        }
        for (leg, route) in routes {
            let pattern = if is_at_risk(leg) {
                rates.routes_at_risk
            } else {
                rates.routes
            };
            let pattern = places.first(rates::paced(pattern, self.pace));
            self.prober.set(Key::Route(leg, route), pattern, now);
        }
        self.rates.ladder = Ladder {
            rungs: rates.rungs,
            next_adds: Bytes {
                out: above.out.saturating_sub(rates.load.out),
                back: above.back.saturating_sub(rates.load.back),
            },
        };
    }

    /// What went over the line since the process began.
    pub fn spent(&mut self, mut spent: Spent, now: Mono) {
        spent.backlog = self.reports.backlog;
        let (allowed, ladder) = (self.allowed(), self.rates.ladder);
        if self.rates.budget.look(now, spent, allowed, ladder) {
            tracing::info!(
                rungs_down = self.rates.budget.down(),
                "rates changed for the byte budget"
            );
            self.retune(now);
        }
    }

    /// Whether every byte is paid on this machine's line.
    pub fn set_metered(&mut self, metered: bool, now: Mono) {
        if metered != std::mem::replace(&mut self.rates.metered, metered) {
            self.retune(now);
        }
    }

    /// What is left for this endpoint's packets: probes of hops and targets go by other sockets.
    pub(super) fn allowed(&self) -> Allowed {
        let budget = self.budget();
        let hops = self.around.set_aside_bps(self.in_class());
        let targets = self.targets.len() as u64 * TARGET_BPS;
        Allowed {
            own: budget.own.saturating_sub(hops + targets),
            ..budget
        }
    }

    /// The smallest of what the operator, the controller and the line set.
    fn budget(&self) -> Allowed {
        let said = |kbps: u32| Some(kbps).filter(|kbps| *kbps > 0);
        let (own, told, default, metered) = if self.in_class() {
            (
                self.settings.in_class_kbps,
                said(self.rates.told.in_class_kbps),
                config::IN_CLASS_KBPS,
                config::METERED_IN_CLASS_KBPS,
            )
        } else {
            (
                self.settings.idle_kbps,
                said(self.rates.told.idle_kbps),
                config::IDLE_KBPS,
                config::METERED_IDLE_KBPS,
            )
        };
        let metered = Some(metered).filter(|_| self.rates.metered);
        let limits = [own, told, metered].into_iter().flatten();
        Allowed {
            own: u64::from(limits.min().unwrap_or(default)) * 1_000,
            line: said(self.rates.told.site_share_bps).map(u64::from),
        }
    }

    /// For reports and for who asks.
    pub fn traffic(&self) -> proto::Traffic {
        let (allowed, used) = (self.budget(), self.rates.budget.used());
        let bits = |bits: u64| u32::try_from(bits).unwrap_or(u32::MAX);
        let (own, peers) = used.map_or_else(Default::default, |u| (u.own, u.peers));
        proto::Traffic {
            budget_bps: bits(allowed.own),
            share_bps: allowed.line.map_or(0, bits),
            out_bps: bits(own.out),
            back_bps: bits(own.back),
            peers_out_bps: bits(peers.out),
            peers_back_bps: bits(peers.back),
            rungs_down: self.rates.budget.down(),
            metered: self.rates.metered,
            is_known: used.is_some(),
        }
    }
}
