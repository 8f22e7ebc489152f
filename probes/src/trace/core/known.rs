//! What a trace knows so far.

use super::{
    super::{
        hop::{Hop, Series},
        judge::{self, EndLoss, HopState},
        plan::Plan,
        probe::Protocol,
    },
    Phase, Tracer,
};

impl Tracer {
    pub fn plan(&self) -> &Plan {
        &self.plan
    }

    pub fn phase(&self) -> Phase {
        self.phase
    }

    /// What probes are now.
    pub fn protocol(&self) -> Protocol {
        self.protocol
    }

    /// From the first to the end, or to the last that answered.
    pub fn hops(&self) -> &[Hop] {
        let shown = usize::from(self.end.map_or(self.highest, |e| e.ttl));
        self.hops.get(..shown).unwrap_or(&self.hops)
    }

    /// At which hop the target is.
    pub fn distance(&self) -> Option<u8> {
        self.end.filter(|e| e.reached).map(|e| e.ttl)
    }

    /// Loss between here and the target; none unless it was reached.
    pub fn end_loss(&self) -> Option<EndLoss> {
        let check = self.check.as_ref().map(|(_, series)| series);
        self.end_series().map(|s| EndLoss::of(s, check))
    }

    /// How the end was asked again, and what came of it.
    pub fn check(&self) -> Option<(Protocol, &Series)> {
        self.check.as_ref().map(|(protocol, series)| (*protocol, series))
    }

    /// What is to be made of the hop at `index` (0 is the first).
    pub fn state(&self, index: usize) -> HopState {
        judge::hop(self.hops(), index, self.end_loss().as_ref())
    }

    /// Share lost between here and the hop at `index`, there and back; none where missing answers are no
    /// loss, or may be none.
    pub fn loss(&self, index: usize) -> Option<f64> {
        let hop = self.hops().get(index)?;
        match self.end_loss() {
            Some(end) if index + 1 == self.hops().len() => end.share(),
            _ if self.state(index) == HopState::Counted => hop.series().missing_share(),
            _ => None,
        }
    }

    /// Answers that could not be matched to a probe.
    pub fn unmatched(&self) -> u32 {
        self.unmatched
    }

    /// Probes that this machine could not send.
    pub fn unsent(&self) -> u32 {
        self.not_sent
    }

    /// Whether the end said nothing to UDP, and the path was traced anew by ICMP.
    pub fn anew_by_icmp(&self) -> bool {
        self.anew_by_icmp
    }
}
