//! What waits for a connection that cannot send as fast as it is given: a queue for each flow, served in turn by
//! bytes (deficit round robin, Shreedhar and Varghese 1995), those that had nothing waiting first, as in RFC 8290
//! §4.2. Where there is no more room, the oldest datagram of the flow that has most waiting goes: late media is of
//! the least use, and who sends little loses nothing to who sends much. Pure.

use std::collections::{BTreeMap, VecDeque};

use bytes::Bytes;

/// Datagrams that belong together.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct FlowTag(pub u64);

impl FlowTag {
    /// What the connection's owner sends for itself: probes, echoes, signs of life. It is to know which of them
    /// were dropped, so that none is once it waits.
    pub const OWN: Self = Self(0);
}

impl FlowTag {
    /// The queue that the flow is in.
    const fn queue(self) -> Self {
        match self {
            Self::OWN => Self::OWN,
            // Neighbouring numbers fall apart (Knuth's multiplicative hash).
            Self(flow) => Self(1 + (flow.wrapping_mul(0x9E37_79B9_7F4A_7C15) >> 32) % QUEUES),
        }
    }
}

/// Bytes that a flow may send in its turn: a full packet.
const QUANTUM: isize = 1_452;
/// Flows share so many queues, as in RFC 8290: whoever makes up flows gets no more than these, and takes no more of
/// memory and time.
const QUEUES: u64 = 1_024;
/// Of the room, this part is for [`FlowTag::OWN`].
const OWN_SHARE: usize = 4;

#[derive(Debug, Default)]
struct Waiting {
    datagrams: VecDeque<Bytes>,
    bytes: usize,
    /// What it may send still in this turn.
    credit: isize,
}

/// See the module's documentation.
#[derive(Debug)]
pub(super) struct FairQueue {
    flows: BTreeMap<FlowTag, Waiting>,
    /// Those that had nothing waiting when they came, and the others, each in its turn.
    new: VecDeque<FlowTag>,
    old: VecDeque<FlowTag>,
    bytes: usize,
    datagrams: u64,
    room: usize,
}

/// There is no room for it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Full;

impl FairQueue {
    /// Holds so many bytes.
    pub(super) const fn new(room: usize) -> Self {
        Self {
            flows: BTreeMap::new(),
            new: VecDeque::new(),
            old: VecDeque::new(),
            bytes: 0,
            datagrams: 0,
            room,
        }
    }

    /// Takes a datagram in, and answers how many others were dropped for it, itself maybe among them.
    pub(super) fn push(&mut self, flow: FlowTag, datagram: Bytes) -> Result<u32, Full> {
        let flow = flow.queue();
        let len = datagram.len();
        let waiting = self.flows.get(&flow).map_or(0, |waiting| waiting.bytes);
        if len > self.room || flow == FlowTag::OWN && waiting + len > self.room / OWN_SHARE {
            return Err(Full);
        }
        let waiting = self.flows.entry(flow).or_insert_with(|| {
            self.new.push_back(flow);
            Waiting {
                credit: QUANTUM,
                ..Waiting::default()
            }
        });
        waiting.bytes += len;
        waiting.datagrams.push_back(datagram);
        self.bytes += len;
        self.datagrams += 1;
        let mut dropped = 0;
        while self.bytes > self.room && self.drop_oldest() {
            dropped += 1;
        }
        Ok(dropped)
    }

    /// Drops the oldest datagram of the flow that has most waiting, if there is one.
    fn drop_oldest(&mut self) -> bool {
        let flows = self.flows.iter().filter(|(flow, _)| **flow != FlowTag::OWN);
        let Some(flow) = flows
            .max_by_key(|(_, waiting)| waiting.bytes)
            .map(|(flow, _)| *flow)
        else {
            return false;
        };
        self.take(flow).is_some()
    }

    fn take(&mut self, flow: FlowTag) -> Option<Bytes> {
        let waiting = self.flows.get_mut(&flow)?;
        let datagram = waiting.datagrams.pop_front()?;
        waiting.bytes -= datagram.len();
        self.bytes -= datagram.len();
        self.datagrams -= 1;
        Some(datagram)
    }

    /// The datagram whose turn it is.
    pub(super) fn pop(&mut self) -> Option<Bytes> {
        loop {
            let is_new = !self.new.is_empty();
            let turn = if is_new { &mut self.new } else { &mut self.old };
            let flow = *turn.front()?;
            let waiting = self.flows.get_mut(&flow)?;
            if waiting.credit > 0 && !waiting.datagrams.is_empty() {
                let datagram = self.take(flow)?;
                let spent = isize::try_from(datagram.len()).unwrap_or(isize::MAX);
                if let Some(waiting) = self.flows.get_mut(&flow) {
                    waiting.credit -= spent;
                }
                return Some(datagram);
            }
            turn.pop_front();
            if waiting.datagrams.is_empty() && !is_new {
                self.flows.remove(&flow);
                continue;
            }
            if waiting.credit <= 0 {
                waiting.credit += QUANTUM;
            }
            // A new one that has nothing left has its turn among the old all the same, or it could be new again
            // with its next datagram, and go before them for ever.
            self.old.push_back(flow);
        }
    }

    /// Datagrams that wait.
    pub(super) const fn len(&self) -> u64 {
        self.datagrams
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn datagram(len: usize, number: u8) -> Bytes {
        let mut datagram = vec![0; len];
        datagram[0] = number;
        datagram.into()
    }

    fn numbers(queue: &mut FairQueue) -> Vec<u8> {
        std::iter::from_fn(|| queue.pop())
            .map(|datagram| datagram[0])
            .collect()
    }

    #[test]
    fn one_flow_is_served_in_its_order() {
        let mut queue = FairQueue::new(10_000);
        for number in 0..9 {
            assert_eq!(queue.push(FlowTag(7), datagram(1_000, number)), Ok(0));
        }
        assert_eq!(numbers(&mut queue), (0..9).collect::<Vec<_>>());
        assert!(queue.len() == 0 && queue.pop().is_none());
        assert!(queue.flows.is_empty() && queue.old.is_empty() && queue.new.is_empty());
    }

    #[test]
    fn flows_are_served_in_turn_by_bytes() {
        let mut queue = FairQueue::new(100_000);
        for number in 0..20 {
            queue.push(FlowTag(1), datagram(1_452, number)).unwrap();
        }
        for number in 100..140 {
            queue.push(FlowTag(2), datagram(363, number)).unwrap();
        }
        let first: Vec<u8> = (0..25).map(|_| queue.pop().unwrap()[0]).collect();
        let of_second = first.iter().filter(|number| **number >= 100).count();
        assert_eq!(
            of_second, 20,
            "four small ones for each that is four times as long: {first:?}"
        );
    }

    #[test]
    fn who_sends_little_waits_for_a_turn_at_most_and_loses_nothing_to_who_sends_much() {
        let mut queue = FairQueue::new(20_000);
        let (mut dropped, mut popped) = (0, 0);
        for round in 0..50 {
            for _ in 0..4 {
                dropped += queue.push(FlowTag(1), datagram(1_000, 1)).unwrap();
            }
            dropped += queue.push(FlowTag(2), datagram(200, 100 + round)).unwrap();
            let out: Vec<_> = (0..3).map(|_| queue.pop().unwrap()[0]).collect();
            assert!(out.contains(&(100 + round)), "{round} {out:?}");
            popped += 3;
        }
        assert!(dropped > 50);
        assert_eq!(u64::from(dropped) + popped + queue.len(), 250);
        assert!(numbers(&mut queue).iter().all(|number| *number == 1));
    }

    #[test]
    fn the_oldest_goes_where_there_is_no_room() {
        let mut queue = FairQueue::new(3_000);
        let dropped: Vec<_> = (0..5)
            .map(|n| queue.push(FlowTag(1), datagram(1_000, n)).unwrap())
            .collect();
        assert_eq!(dropped, [0, 0, 0, 1, 1]);
        assert_eq!(numbers(&mut queue), [2, 3, 4]);
        assert_eq!(queue.push(FlowTag(1), datagram(3_001, 0)), Err(Full));
    }

    #[test]
    fn of_ones_own_the_newest_is_refused_and_none_dropped() {
        let mut queue = FairQueue::new(4_000);
        assert_eq!(queue.push(FlowTag::OWN, datagram(600, 1)), Ok(0));
        assert_eq!(queue.push(FlowTag::OWN, datagram(600, 2)), Err(Full));
        for number in 10..20 {
            queue.push(FlowTag(1), datagram(1_000, number)).unwrap();
        }
        assert_eq!(numbers(&mut queue), [1, 17, 18, 19]);
    }

    #[test]
    fn whoever_makes_up_flows_takes_no_more_than_the_queues() {
        let mut queue = FairQueue::new(200_000);
        for flow in 1..20_000 {
            queue.push(FlowTag(flow), datagram(70, 1)).unwrap();
        }
        assert!(queue.flows.len() as u64 <= QUEUES, "{}", queue.flows.len());
        assert!(queue.new.len() + queue.old.len() <= queue.flows.len());
    }

    proptest! {
        /// Whatever is pushed comes out once, in the order of its flow, or is counted as dropped.
        #[test]
        fn nothing_is_lost_uncounted(steps in prop::collection::vec((0u64..5, 1usize..1_500, 0u8..3), 0..300)) {
            let mut queue = FairQueue::new(8_000);
            let (mut pushed, mut refused, mut dropped, mut popped) = (0u64, 0u64, 0u64, 0u64);
            let mut last = BTreeMap::new();
            let mut check = |datagram: &Bytes| {
                let (flow, number) = (datagram[0], u32::from_be_bytes(datagram[1..5].try_into().unwrap()));
                let newer = last.insert(flow, number).is_none_or(|last| last < number);
                assert!(newer, "{flow} {number}");
            };
            for (number, (flow, len, pops)) in steps.iter().enumerate() {
                let mut bytes = vec![0; len + 5];
                bytes[0] = *flow as u8;
                bytes[1..5].copy_from_slice(&(number as u32).to_be_bytes());
                pushed += 1;
                match queue.push(FlowTag(*flow), bytes.into()) {
                    Ok(others) => dropped += u64::from(others),
                    Err(Full) => refused += 1,
                }
                for _ in 0..*pops {
                    popped += queue.pop().iter().inspect(|datagram| check(datagram)).count() as u64;
                }
                assert_eq!(pushed, refused + dropped + popped + queue.len());
                assert!(queue.bytes <= 8_000);
            }
            popped += std::iter::from_fn(|| queue.pop()).inspect(|datagram| check(datagram)).count() as u64;
            assert_eq!(pushed, refused + dropped + popped);
            assert!(queue.flows.is_empty() && queue.bytes == 0);
        }
    }
}
