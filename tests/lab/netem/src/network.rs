//! The network between the nodes: a pure state machine that takes packets in and gives them out when
//! they are due.
//!
//! A packet walks: the sender's stall gate, the sender's access (up), the link, the receiver's access
//! (down), the receiver's stall gate. Each step is taken at the virtual time at which the step before
//! was over, so that a late caller delays nobody, and shared steps see packets in order of time.

use std::{collections::BTreeMap, net::IpAddr, time::Duration};

use corridor_probes::Mono;

use crate::{
    model::{Cause, Impairment, Passage, Pipe},
    packet::{Head, Proto},
    queue::DueQueue,
};

#[cfg(test)]
mod tests;

/// A node, by its place in the configuration.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct NodeIx(pub u16);

/// A packet's identity and what is counted about it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Tag {
    pub from: NodeIx,
    pub to: NodeIx,
    /// Counts the packets that entered from `from` to `to`, whatever they are.
    pub seq: u64,
    pub proto: Proto,
    pub len: u16,
    pub dscp: u8,
    pub entered: Mono,
    /// How many times counters had been reset when it entered.
    pub epoch: u32,
}

/// Something that happened to a packet.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Event {
    Entered(Tag),
    /// One more copy of it is on its way.
    Copied(Tag),
    Lost(Tag, Cause),
    /// Written to the receiver's device at `at`, `at − due` late.
    Left {
        tag: Tag,
        due: Mono,
        at: Mono,
    },
}

impl Event {
    pub const fn tag(&self) -> &Tag {
        match self {
            Self::Entered(tag) | Self::Copied(tag) | Self::Lost(tag, _) | Self::Left { tag, .. } => tag,
        }
    }
}

/// A packet that is to be written to its receiver's device now.
#[derive(Debug)]
pub struct Departure<P> {
    pub tag: Tag,
    pub due: Mono,
    pub payload: P,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Step {
    Up,
    Link,
    Down,
    Exit,
}

#[derive(Debug)]
struct Flight<P> {
    tag: Tag,
    next: Step,
    payload: P,
}

/// One direction between two nodes or of one node's access.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Place {
    Link(NodeIx, NodeIx),
    Up(NodeIx),
    Down(NodeIx),
}

#[derive(Debug)]
pub struct Network<P> {
    addresses: BTreeMap<IpAddr, NodeIx>,
    pipes: BTreeMap<Place, Pipe>,
    stalled_until: BTreeMap<NodeIx, Mono>,
    sequence: BTreeMap<(NodeIx, NodeIx), u64>,
    in_flight: DueQueue<Flight<P>>,
    events: Vec<Event>,
    epoch: u32,
    unrouted: u64,
}

impl<P: Clone> Network<P> {
    /// `pipes` names every direction that does something; the others pass packets at once. Each draws
    /// from a generator of its own, so that traffic on one does not change what another draws.
    pub fn new(
        addresses: BTreeMap<IpAddr, NodeIx>,
        pipes: impl IntoIterator<Item = (Place, Impairment)>,
        seed: u64,
    ) -> Self {
        let mut network = Self {
            addresses,
            pipes: BTreeMap::new(),
            stalled_until: BTreeMap::new(),
            sequence: BTreeMap::new(),
            in_flight: DueQueue::new(),
            events: Vec::new(),
            epoch: 0,
            unrouted: 0,
        };
        for (place, impairment) in pipes {
            network
                .pipes
                .insert(place, Pipe::new(impairment, place_seed(seed, place)));
        }
        network
    }

    /// A packet read from `from`'s device at `now`. Calls must be in order of time.
    pub fn enter(&mut self, now: Mono, from: NodeIx, head: Head, payload: P) {
        let Some(tag) = self.tag(now, from, head) else {
            return;
        };
        let start = now.max(self.stall_end(from));
        let next = Step::Up;
        self.in_flight.push(start, Flight { tag, next, payload });
    }

    /// A packet that `from`'s gateway keeps back.
    pub fn refuse(&mut self, now: Mono, from: NodeIx, head: Head) {
        if let Some(tag) = self.tag(now, from, head) {
            self.events.push(Event::Lost(tag, Cause::Gateway));
        }
    }

    /// Counts a packet as entered; `None` if nobody has its destination.
    fn tag(&mut self, now: Mono, from: NodeIx, head: Head) -> Option<Tag> {
        let Some(&to) = self.addresses.get(&head.to) else {
            self.unrouted += 1;
            return None;
        };
        let sequence = self.sequence.entry((from, to)).or_default();
        let tag = Tag {
            from,
            to,
            seq: *sequence,
            proto: head.proto,
            len: head.len,
            dscp: head.dscp,
            entered: now,
            epoch: self.epoch,
        };
        *sequence += 1;
        self.events.push(Event::Entered(tag));
        Some(tag)
    }

    /// The next packet that is due to leave at or before `now`.
    pub fn leave(&mut self, now: Mono) -> Option<Departure<P>> {
        while let Some((due, flight)) = self.in_flight.pop(now) {
            if flight.next != Step::Exit {
                self.step(due, flight);
                continue;
            }
            let open = self.stall_end(flight.tag.to);
            if open > due {
                self.in_flight.push(open, flight);
                continue;
            }
            return Some(Departure {
                tag: flight.tag,
                due,
                payload: flight.payload,
            });
        }
        None
    }

    /// When [`Self::leave`] is to be called next.
    pub fn next_due(&self) -> Option<Mono> {
        self.in_flight.next_due()
    }

    /// Takes the steps that a packet takes at `now`, until one makes it wait, loses it, or it is out.
    fn step(&mut self, now: Mono, mut flight: Flight<P>) {
        let Tag { from, to, len, .. } = flight.tag;
        loop {
            let (place, next) = match flight.next {
                Step::Up => (Place::Up(from), Step::Link),
                Step::Link => (Place::Link(from, to), Step::Down),
                Step::Down => (Place::Down(to), Step::Exit),
                Step::Exit => {
                    self.in_flight.push(now, flight);
                    return;
                }
            };
            flight.next = next;
            let Some(pipe) = self.pipes.get_mut(&place) else {
                continue;
            };
            match pipe.pass(now, len) {
                Passage::Lost(cause) => {
                    self.events.push(Event::Lost(flight.tag, cause));
                    return;
                }
                Passage::Out { at, twice } => {
                    if twice {
                        self.events.push(Event::Copied(flight.tag));
                        let payload = flight.payload.clone();
                        self.in_flight.push(at, Flight { payload, ..flight });
                    }
                    if at > now || twice {
                        self.in_flight.push(at, flight);
                        return;
                    }
                }
            }
        }
    }

    /// Changes one direction from now on.
    pub fn set(&mut self, place: Place, impairment: Impairment, seed: u64) {
        match self.pipes.get_mut(&place) {
            Some(pipe) => pipe.set(impairment),
            None => {
                self.pipes
                    .insert(place, Pipe::new(impairment, place_seed(seed, place)));
            }
        }
    }

    /// Holds all that goes to or comes from `node` until `hold` from now, then lets it go at once.
    pub fn stall(&mut self, now: Mono, node: NodeIx, hold: Duration) {
        self.stalled_until.insert(node, now + hold);
    }

    fn stall_end(&self, node: NodeIx) -> Mono {
        self.stalled_until
            .get(&node)
            .copied()
            .unwrap_or(Mono::from_nanos(i64::MIN))
    }

    /// Packets that enter from now on are counted in this new epoch.
    pub fn next_epoch(&mut self) -> u32 {
        self.epoch += 1;
        self.unrouted = 0;
        self.epoch
    }

    /// Packets to addresses that no node has, since the last reset.
    pub fn unrouted(&self) -> u64 {
        self.unrouted
    }

    /// What happened since this was last asked, in order. Departures are the caller's to add.
    pub fn take_events(&mut self, into: &mut Vec<Event>) {
        into.append(&mut self.events);
    }
}

fn place_seed(seed: u64, place: Place) -> u64 {
    let (kind, a, b) = match place {
        Place::Link(from, to) => (1, from.0, to.0),
        Place::Up(node) => (2, node.0, 0),
        Place::Down(node) => (3, node.0, 0),
    };
    let place = (kind << 32) | (u64::from(a) << 16) | u64::from(b);
    // An odd factor spreads neighbouring places over all bits; the generator mixes the rest.
    seed ^ place.wrapping_mul(0x9e37_79b9_7f4a_7c15)
}
