//! What edges say, and the controller through them.

use super::*;

impl Core {
    /// A control message from an edge.
    pub fn edge_said(&mut self, edge: EdgeId, body: edge_to_agent::Body, now: Now) {
        self.edges.heard(edge, now.mono);
        match body {
            edge_to_agent::Body::Hello(hello) => {
                if let Some(state) = self.edges.get_mut(edge) {
                    state.has_controller = hello.controller_connected;
                    state.boot = hello.boot;
                }
                self.choose_uplink(now);
            }
            edge_to_agent::Body::Uplink(uplink) => {
                if let Some(state) = self.edges.get_mut(edge) {
                    state.has_controller = uplink.controller_connected;
                }
                if self.reports.uplink == Some(edge) && uplink.controller_connected {
                    // The controller behind it is back, and does not know us.
                    self.attach(now);
                }
                self.choose_uplink(now);
            }
            edge_to_agent::Body::Down(bytes) => match proto::decode::<proto::FromController>(&bytes) {
                Ok(proto::FromController { body: Some(body) }) => self.controller_said(body, now),
                Ok(_) => {}
                Err(_) => self.counters.malformed += 1,
            },
            edge_to_agent::Body::NextHopSilent(notice) => self.next_hop_silent(edge, &notice, now),
            edge_to_agent::Body::Draining(draining) => {
                if let Some(state) = self.edges.get_mut(edge) {
                    state.draining = draining.seconds_left > 0;
                }
                self.choose_uplink(now);
                self.step(now);
            }
        }
    }

    pub(super) fn controller_said(&mut self, body: from_controller::Body, now: Now) {
        if !self.newest.take(&body) {
            self.counters.outdated += 1;
            return;
        }
        match body {
            from_controller::Body::Attached(_) => {
                self.reports.attached = true;
                self.reports.attach_again = Some(now.mono);
                self.reports.outbox.uplink_changed(now.mono);
                self.load_more();
            }
            from_controller::Body::ReportAck(ack) => {
                let key = (BootId(ack.boot), ack.sequence);
                if self.reports.outbox.acknowledged(key) {
                    self.counters.acknowledged += 1;
                    self.out.push_back(Output::Acknowledged(key));
                }
                self.load_more();
            }
            from_controller::Body::Candidates(candidates) => self.take_edges(candidates.edges, now),
            from_controller::Body::Plans(plans) => self.plans(&plans, now),
            from_controller::Body::ClassAnswer(answer) => {
                self.out.push_back(Output::ClassAnswer {
                    request: answer.request,
                    error: answer.error,
                });
            }
            from_controller::Body::Time(answer) => self.out.push_back(Output::LearnTime {
                now: Wall::from_micros(answer.now_us),
                sent: Mono::from_micros(answer.mono_us),
                received: now.mono,
            }),
            from_controller::Body::Settings(settings) => {
                self.rates.told = settings;
                self.retune(now.mono);
            }
        }
    }

    /// The controller's choice of edges to measure.
    pub fn take_edges(&mut self, edges: Vec<proto::EdgeInfo>, now: Now) {
        for info in &edges {
            self.look_after_restart(info);
        }
        self.out.push_back(Output::SaveEdges(edges.clone()));
        self.set_candidates(edges, now.mono);
    }

    /// An edge that has restarted does not know of the connection: whatever is said to it resets that, and
    /// the dialler waits its random part of the spread before it comes back. Without this an idle agent
    /// would find out at its next keep-alive.
    pub(super) fn look_after_restart(&mut self, info: &proto::EdgeInfo) {
        let Some(id) = edge_id(info.id) else { return };
        let restarted = self
            .edges
            .get(id)
            .is_some_and(|e| e.is_welcome() && info.boot != 0 && e.boot != info.boot);
        if restarted {
            let wanted = self.reports.uplink == Some(id);
            self.control(id, agent_to_edge::Body::UseUplink(proto::UseUplink { wanted }));
        }
    }

    pub(super) fn plans(&mut self, plans: &proto::Plans, now: Now) {
        let was_in_class = self.in_class();
        let changed = self.legs.set_plans(plans, now.mono);
        for rejected in &changed.rejected {
            self.counters.malformed += 1;
            tracing::warn!(class = %rejected, "plan cannot be understood");
        }
        self.tell(changed.happened, now);
        self.remove(changed.removed);
        self.want(now.mono);
        self.keep_uplink(now);
        let targets: BTreeSet<_> = self.legs.targets().map(str::to_owned).collect();
        if targets != self.targets {
            self.targets.clone_from(&targets);
            self.out.push_back(Output::Targets(targets.into_iter().collect()));
        }
        self.retune(now.mono);
        if self.in_class() != was_in_class {
            self.next_step = now.mono;
            self.around.set_in_class(self.in_class(), now.mono);
            self.out.push_back(Output::StreamRate {
                in_class: self.in_class(),
            });
        }
        self.step(now);
    }

    pub(super) fn next_hop_silent(&mut self, edge: EdgeId, notice: &proto::NextHopSilent, now: Now) {
        let (Some(next), Some(state)) = (edge_id(notice.next), self.edges.get_mut(edge)) else {
            return;
        };
        if notice.silent {
            state.silent_hops.insert(next, now.mono);
        } else {
            state.silent_hops.remove(&next);
        }
        self.step(now);
        self.look_sooner(now.mono);
    }
}
