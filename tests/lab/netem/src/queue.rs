//! Things that are due at a time; those due at the same time come out in the order they went in.

use std::{
    cmp::{Ordering, Reverse},
    collections::BinaryHeap,
};

use corridor_probes::Mono;

#[derive(Debug)]
pub struct DueQueue<T> {
    heap: BinaryHeap<Reverse<Entry<T>>>,
    pushed: u64,
}

#[derive(Debug)]
struct Entry<T> {
    due: Mono,
    order: u64,
    item: T,
}

impl<T> Entry<T> {
    fn key(&self) -> (Mono, u64) {
        (self.due, self.order)
    }
}

impl<T> PartialEq for Entry<T> {
    fn eq(&self, other: &Self) -> bool {
        self.key() == other.key()
    }
}

impl<T> Eq for Entry<T> {}

impl<T> PartialOrd for Entry<T> {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl<T> Ord for Entry<T> {
    fn cmp(&self, other: &Self) -> Ordering {
        self.key().cmp(&other.key())
    }
}

impl<T> DueQueue<T> {
    pub fn new() -> Self {
        Self {
            heap: BinaryHeap::new(),
            pushed: 0,
        }
    }

    pub fn push(&mut self, due: Mono, item: T) {
        let order = self.pushed;
        self.pushed += 1;
        self.heap.push(Reverse(Entry { due, order, item }));
    }

    pub fn next_due(&self) -> Option<Mono> {
        self.heap.peek().map(|Reverse(entry)| entry.due)
    }

    /// The first thing due at or before `now`, with the time at which it was due.
    pub fn pop(&mut self, now: Mono) -> Option<(Mono, T)> {
        if self.next_due()? > now {
            return None;
        }
        self.heap.pop().map(|Reverse(entry)| (entry.due, entry.item))
    }
}

impl<T> Default for DueQueue<T> {
    fn default() -> Self {
        Self::new()
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn comes_out_like_a_stable_sort(dues in prop::collection::vec(0i64..20, 0..200), until in 0i64..25) {
            let mut queue = DueQueue::new();
            for (i, &due) in dues.iter().enumerate() {
                queue.push(Mono::from_nanos(due), i);
            }
            let mut expected: Vec<(i64, usize)> = dues.iter().copied().zip(0..).filter(|&(due, _)| due <= until).collect();
            expected.sort_by_key(|&(due, _)| due);
            let mut out = Vec::new();
            while let Some((due, i)) = queue.pop(Mono::from_nanos(until)) {
                out.push((due.as_nanos(), i));
            }
            prop_assert_eq!(out, expected);
            prop_assert_eq!(queue.next_due().map(Mono::as_nanos), dues.iter().copied().filter(|&due| due > until).min());
        }
    }
}
