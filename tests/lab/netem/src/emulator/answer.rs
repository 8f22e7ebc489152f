//! What the emulator does when it is asked over the control socket.

use std::time::Duration;

use super::{Emulator, EmulatorError, Turn};
use crate::{
    control::{At, Reply, Request},
    netns,
    network::{NodeIx, Place},
    recorder::Message,
    settings::Settings,
    stats::{Filter, Query},
    sys,
};

impl Emulator {
    /// Answers requests. What was sent before a request is read before it is answered, so that it is
    /// counted, and treated as it was to be treated then.
    pub(super) fn answer(&mut self) -> Result<Turn, EmulatorError> {
        while let Some((request, reply)) = self.outside.requests.next() {
            for i in (0u16..).take(self.devices.len()) {
                self.read(NodeIx(i), netns::TX_QUEUE_LEN)?;
            }
            let answer = match request {
                Request::Set {
                    at,
                    settings,
                    replace,
                } => self.set(&at, &settings, replace),
                Request::Stall { node, ms } => self.stall(&node, ms),
                Request::Status => Ok(Reply::Status(self.status())),
                Request::ResetStats => {
                    self.reset();
                    Ok(Reply::Done)
                }
                Request::Stats { filter } => match self.query(&filter) {
                    Ok(query) => {
                        self.flush();
                        self.send(Message::Stats {
                            query,
                            unrouted: self.network.unrouted(),
                            kernel_dropped: self.dropped() - self.dropped_before,
                            reply,
                        });
                        continue;
                    }
                    Err(error) => Err(error),
                },
                Request::Quit => {
                    let _ = reply.send(Reply::Done);
                    return Ok(Turn::End);
                }
            };
            // Whoever asked may have gone.
            let _ = reply.send(answer.unwrap_or_else(|error| Reply::Error { error }));
        }
        Ok(Turn::GoOn)
    }

    fn set(&mut self, at: &At, settings: &Settings, replace: bool) -> Result<Reply, String> {
        let mut changes = Vec::new();
        for place in self.places(at)? {
            let base = self.settings.get(&place).filter(|_| !replace);
            let settings = settings.over(base.unwrap_or(&Settings::default()));
            let impairment = settings.impairment().map_err(|errors| {
                let errors: Vec<_> = errors.iter().map(ToString::to_string).collect();
                format!("{}: {}", self.config.describe(place), errors.join("; "))
            })?;
            changes.push((place, settings, impairment));
        }
        for (place, settings, impairment) in changes {
            self.network.set(place, impairment, self.config.seed);
            self.settings.insert(place, settings);
        }
        Ok(Reply::Done)
    }

    fn places(&self, at: &At) -> Result<Vec<Place>, String> {
        let link = |from: &str, to: &str| match (self.node(from)?, self.node(to)?) {
            (from, to) if from == to => Err("a node has no link to itself".to_owned()),
            (from, to) => Ok(Place::Link(from, to)),
        };
        Ok(match at {
            At::OneWay(from, to) => vec![link(from, to)?],
            At::BothWays(a, b) => vec![link(a, b)?, link(b, a)?],
            At::Up(node) => vec![Place::Up(self.node(node)?)],
            At::Down(node) => vec![Place::Down(self.node(node)?)],
            At::Access(node) => vec![Place::Up(self.node(node)?), Place::Down(self.node(node)?)],
            At::Links => self
                .settings
                .keys()
                .copied()
                .filter(|place| matches!(place, Place::Link(..)))
                .collect(),
        })
    }

    fn stall(&mut self, node: &str, ms: u64) -> Result<Reply, String> {
        let node = self.node(node)?;
        self.network
            .stall(sys::mono_now(), node, Duration::from_millis(ms));
        Ok(Reply::Done)
    }

    fn reset(&mut self) {
        self.flush();
        let epoch = self.network.next_epoch();
        self.dropped_before = self.dropped();
        self.send(Message::Reset { epoch });
    }

    fn query(&self, filter: &Filter) -> Result<Query, String> {
        let node = |name: &Option<String>| name.as_deref().map(|name| self.node(name)).transpose();
        Ok(Query {
            from: node(&filter.from)?,
            to: node(&filter.to)?,
            proto: filter.proto,
            min_len: filter.min_len,
            max_len: filter.max_len,
        })
    }

    fn node(&self, name: &str) -> Result<NodeIx, String> {
        self.config
            .find(name)
            .ok_or_else(|| format!("there is no node `{name}`"))
    }

    /// What the kernel dropped before this process could read it, since the start.
    fn dropped(&self) -> u64 {
        self.devices
            .iter()
            .map(|device| device.dropped().unwrap_or(0))
            .sum()
    }
}
