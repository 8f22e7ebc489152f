//! The connections between two edges. One is always there, and the mesh is measured by it. While much flows the edge
//! that opened it opens more, each from a socket of its own, so that no one lock, queue or path of several equal
//! ones has all of it. They stay until the first ends: to let one go would lose what is under way on it. A flow stays on
//! its connection while that answers.

use std::{collections::BTreeMap, sync::Arc, time::Duration};

use corridor_probes::{EdgeId, Mono};
use tracing::Instrument as _;

use super::{serve, shared::Shared};
use crate::{clock, transport::Connection};

/// Datagrams a second, both ways together, that one connection has before there is another, unless the configuration
/// says otherwise: a fifth of a core's time at 10 µs each.
pub const TRUNK_ABOVE: u64 = 20_000;
/// Connections beside the first.
const MOST: usize = 3;
/// How often the load is looked at.
const LOOK: Duration = Duration::from_secs(1);
/// After one could not be opened: the peer may be of a version that takes none.
const AGAIN: Duration = Duration::from_secs(60);
/// After one was opened: what flows is to find it.
const SETTLE: Duration = Duration::from_secs(3);
/// How often it is looked whether one answers.
const STEP: Duration = Duration::from_millis(50);
/// What an acknowledgement may take beyond the round trip: RFC 9000's 25 ms, and two steps.
const PATIENCE: Duration = Duration::from_millis(125);

/// The connections to one other edge.
#[derive(Debug)]
pub struct Trunk {
    first: Connection,
    /// It leaves unanswered what is sent by it.
    first_is_silent: bool,
    more: BTreeMap<u8, Connection>,
}

impl Trunk {
    pub const fn new(first: Connection) -> Self {
        Self {
            first,
            first_is_silent: false,
            more: BTreeMap::new(),
        }
    }

    /// What is not media goes by it.
    pub const fn first(&self) -> &Connection {
        &self.first
    }

    pub fn all(&self) -> impl Iterator<Item = &Connection> {
        std::iter::once(&self.first).chain(self.more.values())
    }

    /// Whether there is a choice.
    pub fn is_one(&self) -> bool {
        self.more.is_empty()
    }

    /// The connection of a flow.
    pub fn of(&self, flow: u64) -> &Connection {
        let first = (!self.first_is_silent).then_some(0);
        let place = place(flow, first.into_iter().chain(self.more.keys().copied()));
        place
            .and_then(|place| self.more.get(&place))
            .unwrap_or(&self.first)
    }

    /// While the first does not answer, flows go by the others.
    pub const fn set_first_silent(&mut self, is_silent: bool) {
        self.first_is_silent = is_silent;
    }

    /// Takes another connection, unless there are enough.
    pub fn add(&mut self, connection: Connection) -> bool {
        let free = (1..).find(|place| !self.more.contains_key(place));
        let Some(place) = free.filter(|_| self.more.len() < MOST) else {
            return false;
        };
        self.more.insert(place, connection);
        true
    }

    /// Forgets one that has ended.
    pub fn remove(&mut self, id: usize) {
        self.more.retain(|_, connection| connection.id() != id);
    }
}

/// Where a flow goes: the place that draws the highest number for it, so that a flow moves only if its place goes, or
/// a new one is its own (Thaler and Ravishankar 1998, highest random weight).
fn place(flow: u64, places: impl Iterator<Item = u8>) -> Option<u8> {
    let drawn = |place: u8| mixed(flow ^ mixed(place.into()));
    places.max_by_key(|place| drawn(*place))
}

/// The finaliser of SplitMix64 (Steele, Lea and Flood 2014).
const fn mixed(number: u64) -> u64 {
    let number = number.wrapping_add(0x9e37_79b9_7f4a_7c15);
    let number = (number ^ (number >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    let number = (number ^ (number >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    number ^ (number >> 31)
}

/// Whether a peer answers what is sent to it, by counts: of what wants an acknowledgement, and of packets that came.
#[derive(Debug)]
struct Answers {
    received: u64,
    /// What had been sent when something was last received.
    sent: u64,
    /// Since when there is something that is not answered.
    waiting: Option<Mono>,
}

impl Answers {
    /// How long an answer is overdue for, at these counts.
    fn overdue(&mut self, sent: u64, received: u64, now: Mono) -> Duration {
        if received != self.received {
            (self.received, self.sent, self.waiting) = (received, sent, None);
        }
        if sent == self.sent {
            return Duration::ZERO;
        }
        now.since(*self.waiting.get_or_insert(now))
    }
}

/// Watches whether a connection's peer answers what is sent to it.
#[derive(Debug)]
struct Watch<'c> {
    connection: &'c Connection,
    answers: Answers,
}

impl<'c> Watch<'c> {
    fn new(connection: &'c Connection) -> Self {
        let (sent, received) = connection.answered();
        let answers = Answers {
            received,
            sent,
            waiting: None,
        };
        Self { connection, answers }
    }

    fn is_silent(&mut self, now: Mono) -> bool {
        let (sent, received) = self.connection.answered();
        self.answers.overdue(sent, received, now) > self.connection.rtt() + PATIENCE
    }
}

/// Watches one of the connections beside the first, and that: returns once it is silent itself.
pub async fn silent(shared: &Shared, peer: EdgeId, connection: &Connection) {
    let first = |trunk: &Trunk| trunk.first().clone();
    let Some(first) = shared.table().edges.get(&peer).map(first) else {
        return;
    };
    let (mut own, mut of_first) = (Watch::new(connection), Watch::new(&first));
    // Whoever watched it before may have ended without seeing it answer again.
    let mut told = None;
    loop {
        clock::sleep(&*shared.clock, STEP).await;
        let now = shared.now();
        let is_silent = of_first.is_silent(now);
        if told != Some(is_silent) {
            if is_silent || told.is_some() {
                tracing::info!(edge = %peer, is_silent, "the first of several connections");
            }
            told = Some(is_silent);
            if let Some(trunk) = shared.table_mut().edges.get_mut(&peer)
                && trunk.first().id() == first.id()
            {
                trunk.set_first_silent(is_silent);
            }
        }
        if own.is_silent(now) {
            return;
        }
    }
}

/// How many connections beside the first a load asks for, where each is to have no more than `each`.
fn wanted(a_second: u64, each: u64) -> usize {
    let wanted = a_second / each.max(1);
    usize::try_from(wanted).unwrap_or(MOST).min(MOST)
}

/// Opens more connections to a peer with `connect` while much flows to and from it. Never returns.
pub async fn widen<F>(shared: Arc<Shared>, peer: EdgeId, above: u64, connect: impl Fn() -> F)
where
    F: Future<Output = anyhow::Result<Connection>>,
{
    let mut counted = BTreeMap::new();
    let mut not_before = shared.now();
    loop {
        clock::sleep(&*shared.clock, LOOK).await;
        let needs_more = {
            let table = shared.table();
            let Some(trunk) = table.edges.get(&peer) else {
                continue;
            };
            let counts: BTreeMap<_, _> = trunk
                .all()
                .map(|connection| (connection.id(), connection.datagrams()))
                .collect();
            let news = |(id, count): (&usize, &u64)| count.saturating_sub(*counted.get(id).unwrap_or(count));
            let wanted = wanted(counts.iter().map(news).sum(), above);
            counted = counts;
            wanted > trunk.more.len()
        };
        if !needs_more || shared.now() < not_before {
            continue;
        }
        match connect().await {
            Ok(connection) => {
                tracing::info!(edge = %peer, "another connection for what flows");
                tokio::spawn(serve::more(shared.clone(), peer, connection).in_current_span());
                not_before = shared.now() + SETTLE;
            }
            Err(error) => {
                tracing::debug!(edge = %peer, %error, "no other connection");
                not_before = shared.now() + AGAIN;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn flows_are_spread_evenly_and_move_only_as_they_must() {
        let flows = 0..30_000_u64;
        let by = |places: &[u8]| -> Vec<_> {
            let place = |flow| place(flow, places.iter().copied()).unwrap();
            flows.clone().map(place).collect()
        };
        let (two, three) = (by(&[0, 1]), by(&[0, 1, 2]));
        for at in 0..3 {
            let share = three.iter().filter(|place| **place == at).count();
            assert!((9_500..10_500).contains(&share), "{at}: {share}");
        }
        let mut moved = two.iter().zip(&three).filter(|(before, after)| before != after);
        assert!(moved.all(|(_, after)| *after == 2));
        assert_eq!(place(7, std::iter::empty()), None);
    }

    #[test]
    fn connections_are_as_many_as_the_load_asks_for() {
        for (a_second, more) in [(0, 0), (99, 0), (100, 1), (399, 3), (u64::MAX, MOST)] {
            assert_eq!(wanted(a_second, 100), more, "{a_second}");
        }
    }

    #[test]
    fn what_is_sent_wants_an_answer() {
        let at = Mono::from_millis;
        let mut answers = Answers {
            received: 5,
            sent: 7,
            waiting: None,
        };
        let overdue = [
            answers.overdue(7, 5, at(1_000)),
            answers.overdue(8, 5, at(1_050)),
            answers.overdue(9, 5, at(1_250)),
            // It may be the answer to what was before, and so all that was sent until then is off the account.
            answers.overdue(10, 6, at(1_300)),
            answers.overdue(11, 6, at(1_350)),
            answers.overdue(11, 6, at(1_400)),
        ];
        assert_eq!(overdue.map(|overdue| overdue.as_millis()), [0, 0, 200, 0, 0, 50]);
    }
}
