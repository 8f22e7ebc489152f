//! The connections between two edges. One is always there, and the mesh is measured by it. While much flows the edge
//! that opened it opens more, each from a socket of its own, so that no one lock, queue or path of several equal
//! ones has all of it. A flow stays on its connection while there is that one.

use std::{collections::BTreeMap, sync::Arc, time::Duration};

use corridor_probes::{EdgeId, Mono};
use tracing::Instrument as _;

use super::{serve, shared::Shared};
use crate::{
    clock::{self, Clock},
    transport::{CloseCode, Connection},
};

/// Datagrams a second, both ways together, that one connection has before there is another: a fifth of a core's time
/// at 10 µs each.
const EACH: u64 = 20_000;
/// Connections beside the first.
const MOST: usize = 3;
/// How often the load is looked at.
const LOOK: Duration = Duration::from_secs(1);
/// So long there must be less before one is let go.
const CALM: Duration = Duration::from_secs(30);
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
    more: BTreeMap<u8, Connection>,
}

impl Trunk {
    pub const fn new(first: Connection) -> Self {
        Self {
            first,
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
        let place = place(flow, self.more.keys().copied());
        place
            .and_then(|place| self.more.get(&place))
            .unwrap_or(&self.first)
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

/// Where a flow goes, of the first connection (`None`) and others: the place that draws the highest number for it, so
/// that a flow moves only if its place goes, or a new one is its own (Thaler and Ravishankar 1998, highest random
/// weight).
fn place(flow: u64, more: impl Iterator<Item = u8>) -> Option<u8> {
    let drawn = |place: u8| mixed(flow ^ mixed(place.into()));
    let all = std::iter::once(0).chain(more);
    all.max_by_key(|place| drawn(*place)).filter(|place| *place > 0)
}

/// The finaliser of SplitMix64 (Steele, Lea and Flood 2014).
const fn mixed(number: u64) -> u64 {
    let number = number.wrapping_add(0x9e37_79b9_7f4a_7c15);
    let number = (number ^ (number >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    let number = (number ^ (number >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    number ^ (number >> 31)
}

/// Whether a peer answers what is sent to it, by counts of packets.
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

/// Returns once a connection's peer leaves unanswered what is sent to it.
pub async fn silent(clock: &dyn Clock, connection: &Connection) {
    let (sent, received) = connection.packets();
    let mut answers = Answers {
        received,
        sent,
        waiting: None,
    };
    loop {
        clock::sleep(clock, STEP).await;
        let (sent, received) = connection.packets();
        let overdue = answers.overdue(sent, received, clock.mono());
        if overdue > connection.rtt() + PATIENCE {
            return;
        }
    }
}

/// How many connections beside the first a load asks for.
fn wanted(a_second: u64) -> usize {
    usize::try_from(a_second / EACH).unwrap_or(MOST).min(MOST)
}

/// Opens more connections to a peer with `connect` while much flows to and from it, and closes what is not needed any
/// more. Never returns.
pub async fn widen<F>(shared: Arc<Shared>, peer: EdgeId, connect: impl Fn() -> F)
where
    F: Future<Output = anyhow::Result<Connection>>,
{
    let mut counted = BTreeMap::new();
    let mut not_before = shared.now();
    let mut calm_since = None;
    loop {
        clock::sleep(&*shared.clock, LOOK).await;
        let now = shared.now();
        let (load, last) = {
            let table = shared.table();
            let Some(trunk) = table.edges.get(&peer) else {
                continue;
            };
            let counts = trunk
                .all()
                .map(|connection| (connection.id(), connection.datagrams()));
            let counts: BTreeMap<_, _> = counts.collect();
            let news = counts
                .iter()
                .map(|(id, count)| count - counted.get(id).unwrap_or(count));
            let load = wanted(news.sum()).cmp(&trunk.more.len());
            counted = counts;
            (
                load,
                trunk
                    .more
                    .last_key_value()
                    .map(|(_, connection)| connection.clone()),
            )
        };
        if load.is_lt() {
            let since = *calm_since.get_or_insert(now);
            if now.since(since) >= CALM
                && let Some(last) = last
            {
                tracing::info!(edge = %peer, "a connection less for what flows");
                last.close(CloseCode::Done, "little flows");
                calm_since = None;
            }
            continue;
        }
        calm_since = None;
        if load.is_gt() && now >= not_before {
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
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn flows_are_spread_evenly_and_move_only_as_they_must() {
        let flows = 0..30_000_u64;
        let by = |places: &[u8]| -> Vec<_> {
            flows
                .clone()
                .map(|flow| place(flow, places.iter().copied()))
                .collect()
        };
        let (two, three) = (by(&[1]), by(&[1, 2]));
        for at in [None, Some(1), Some(2)] {
            let share = three.iter().filter(|place| **place == at).count();
            assert!((9_500..10_500).contains(&share), "{at:?}: {share}");
        }
        let moved = two.iter().zip(&three).filter(|(before, after)| before != after);
        assert!(moved.clone().all(|(_, after)| *after == Some(2)));
        assert!(by(&[]).iter().all(Option::is_none));
    }

    #[test]
    fn connections_are_as_many_as_the_load_asks_for() {
        for (a_second, more) in [(0, 0), (EACH - 1, 0), (EACH, 1), (3 * EACH, 3), (u64::MAX, MOST)] {
            assert_eq!(wanted(a_second), more, "{a_second}");
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
