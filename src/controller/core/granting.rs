//! Grants and revocations: when the core makes and takes back, and what edges are told of it.

use std::collections::BTreeSet;

use corridor_probes::{AgentId, EdgeId};

use super::{Core, Now, Output};
use crate::{
    proto::{self, controller_to_edge},
    store::records::ClassState,
};

impl Core {
    /// Makes the grants of classes whose plans changed what they are to be; now and then, those of all. Answers
    /// the agents that are to be told.
    pub(super) fn grant(&mut self, mut classes: BTreeSet<String>, now: Now) -> Vec<AgentId> {
        if self.grants.sweep(now.mono, now.wall) {
            let live = self.classes.iter().filter(|c| c.state == ClassState::Live);
            classes.extend(live.map(|c| c.id.clone()));
            classes.extend(self.grants.classes().map(str::to_owned));
        }
        let mut changed = Vec::new();
        for class in classes {
            let end = self.classes.get(&class).ok().and_then(|c| c.end);
            let agents = &self.agents;
            let is_enrolled = |id| agents.get(id).is_some_and(|a| a.record.revoked.is_none());
            let legs = self.planner.legs_of(&class).filter(|&(id, _)| is_enrolled(id));
            changed.extend(self.grants.follow(&class, end, legs, now.wall));
        }
        self.keep_grants();
        changed
    }

    pub(super) fn keep_grants(&mut self) {
        let unsaved = self.grants.take_unsaved();
        self.out.extend(unsaved.into_iter().map(Output::SaveGrant));
    }

    pub(super) fn tell_revocations(&mut self) {
        self.grants.take_untold();
        self.tell_revocations_to(self.connected_edges());
    }

    /// Once a tick: the classes of a school end all at once, and each time an edge is told its whole list.
    pub(super) fn tell_revoked_grants(&mut self) {
        let untold = self.grants.take_untold();
        let mut ids = self.connected_edges();
        ids.retain(|id| untold.contains(id));
        if !ids.is_empty() {
            self.tell_revocations_to(ids);
        }
    }

    fn tell_revocations_to(&mut self, ids: Vec<EdgeId>) {
        self.revocations += 1;
        for id in ids {
            let list = self.revocation_list(id);
            self.tell_edge(id, controller_to_edge::Body::Revocations(list));
        }
    }

    pub(super) fn revocation_list(&self, of: EdgeId) -> proto::Revocations {
        proto::Revocations {
            version: self.revocations,
            agents: self
                .agents
                .iter()
                .filter(|a| a.record.revoked.is_some())
                .map(|a| a.record.id.0)
                .collect(),
            edges: self
                .edges
                .revoked()
                .into_iter()
                .map(|e| u32::from(e.get()))
                .collect(),
            grants: self.grants.revoked_at(of),
        }
    }
}
