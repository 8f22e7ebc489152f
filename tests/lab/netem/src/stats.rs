//! What became of the packets, counted by (from, to, protocol, IP length), so that probes padded to
//! lengths that nothing else has can be counted exactly.
//!
//! A packet is counted once, however many copies of it there are: `delivered` when its first copy
//! arrives, `lost` when its last copy is lost and none arrived; further copies that arrive are
//! `duplicated`. At every moment `sent = delivered + lost + in_flight`.

use std::{
    collections::{BTreeMap, btree_map::Entry},
    ops::AddAssign,
    time::Duration,
};

use serde::{Deserialize, Serialize};

use crate::{
    histogram::{Histogram, Summary},
    model::Cause,
    network::{Event, NodeIx, Tag},
    packet::Proto,
    stats::reorder::Reordering,
};

mod reorder;
#[cfg(test)]
mod tests;

/// A run whose 99th percentile of lateness passes this proves nothing.
pub const VOID_LATENESS: Duration = Duration::from_micros(300);

/// Which packets are asked about; what is absent does not matter.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Filter {
    #[serde(skip_serializing_if = "Option::is_none")]
    pub from: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub to: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub proto: Option<Proto>,
    /// Lengths of IP packets, headers included, bytes.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub min_len: Option<u16>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub max_len: Option<u16>,
}

/// [`Filter`] with the nodes looked up.
#[derive(Debug, Clone, Copy, Default)]
pub struct Query {
    pub from: Option<NodeIx>,
    pub to: Option<NodeIx>,
    pub proto: Option<Proto>,
    pub min_len: Option<u16>,
    pub max_len: Option<u16>,
}

impl Query {
    fn pair(&self, from: NodeIx, to: NodeIx) -> bool {
        self.from.is_none_or(|node| node == from) && self.to.is_none_or(|node| node == to)
    }

    fn class(&self, proto: Proto, len: u16) -> bool {
        self.proto.is_none_or(|wanted| wanted == proto) && self.lengths().contains(&len)
    }

    fn lengths(&self) -> std::ops::RangeInclusive<u16> {
        self.min_len.unwrap_or(0)..=self.max_len.unwrap_or(u16::MAX)
    }
}

/// Lost packets by cause.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct LostBy {
    pub blackhole: u64,
    pub mtu: u64,
    pub queue: u64,
    pub chance: u64,
    pub device: u64,
    pub gateway: u64,
}

impl LostBy {
    fn of(&mut self, cause: Cause) -> &mut u64 {
        match cause {
            Cause::Blackhole => &mut self.blackhole,
            Cause::Mtu => &mut self.mtu,
            Cause::Queue => &mut self.queue,
            Cause::Chance => &mut self.chance,
            Cause::Device => &mut self.device,
            Cause::Gateway => &mut self.gateway,
        }
    }

    pub fn total(&self) -> u64 {
        self.blackhole + self.mtu + self.queue + self.chance + self.device + self.gateway
    }
}

impl AddAssign for LostBy {
    fn add_assign(&mut self, other: Self) {
        self.blackhole += other.blackhole;
        self.mtu += other.mtu;
        self.queue += other.queue;
        self.chance += other.chance;
        self.device += other.device;
        self.gateway += other.gateway;
    }
}

/// Counts of one direction between two nodes, over the packets asked about.
#[derive(Debug, Clone, Default)]
pub struct Counts {
    pub sent: u64,
    pub delivered: u64,
    pub lost_by: LostBy,
    pub duplicated: u64,
    /// Delivered after a packet that entered later (RFC 4737 Type-P-Reordered, by entry order), among
    /// the packets asked about.
    pub reordered: u64,
    /// From entry to exit, first copies.
    pub residence: Histogram,
}

impl Counts {
    fn merge(&mut self, other: &Self) {
        self.sent += other.sent;
        self.delivered += other.delivered;
        self.lost_by += other.lost_by;
        self.duplicated += other.duplicated;
        self.reordered += other.reordered;
        self.residence.merge(&other.residence);
    }

    pub fn in_flight(&self) -> u64 {
        self.sent - self.delivered - self.lost_by.total()
    }

    pub fn residence_summary(&self) -> Option<Summary> {
        self.residence.summary()
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
struct Class {
    from: NodeIx,
    to: NodeIx,
    proto: Proto,
    len: u16,
}

/// A packet of which there is more than one copy.
#[derive(Debug)]
struct Copies {
    under_way: u32,
    arrived: bool,
}

/// All counters since the last reset.
#[derive(Debug, Default)]
pub struct Ledger {
    epoch: u32,
    classes: BTreeMap<Class, Counts>,
    /// For one protocol, and (`None`) for all together.
    order: BTreeMap<(NodeIx, NodeIx, Option<Proto>), Reordering>,
    copied: BTreeMap<(NodeIx, NodeIx, u64), Copies>,
    lateness: Histogram,
}

impl Ledger {
    /// Counters of packets that enter in `epoch`; older packets count nowhere.
    pub fn new(epoch: u32) -> Self {
        Self {
            epoch,
            ..Self::default()
        }
    }

    pub fn record(&mut self, event: &Event) {
        if let Event::Left { due, at, .. } = event {
            self.lateness.record(at.since(*due));
        }
        let tag = event.tag();
        if tag.epoch != self.epoch {
            return;
        }
        match event {
            Event::Entered(_) => self.class(tag).sent += 1,
            Event::Copied(_) => {
                let copies = self.copied.entry(copy_key(tag)).or_insert(Copies {
                    under_way: 1,
                    arrived: false,
                });
                copies.under_way += 1;
            }
            Event::Lost(_, cause) => {
                if self.last_copy_gone(tag) {
                    *self.class(tag).lost_by.of(*cause) += 1;
                }
            }
            Event::Left { at, .. } => {
                if !self.first_copy_here(tag) {
                    self.class(tag).duplicated += 1;
                    return;
                }
                let counts = self.class(tag);
                counts.delivered += 1;
                counts.residence.record(at.since(tag.entered));
                for proto in [None, Some(tag.proto)] {
                    let order = self.order.entry((tag.from, tag.to, proto)).or_default();
                    order.arrived(tag.seq, tag.len);
                }
            }
        }
    }

    /// A copy arrived: whether it is the packet's first.
    fn first_copy_here(&mut self, tag: &Tag) -> bool {
        let Entry::Occupied(mut entry) = self.copied.entry(copy_key(tag)) else {
            return true;
        };
        let copies = entry.get_mut();
        let first = !std::mem::replace(&mut copies.arrived, true);
        copies.under_way -= 1;
        if copies.under_way == 0 {
            entry.remove();
        }
        first
    }

    /// A copy was lost: whether the packet is lost with it.
    fn last_copy_gone(&mut self, tag: &Tag) -> bool {
        let Entry::Occupied(mut entry) = self.copied.entry(copy_key(tag)) else {
            return true;
        };
        let copies = entry.get_mut();
        copies.under_way -= 1;
        if copies.under_way > 0 {
            return false;
        }
        !entry.remove().arrived
    }

    fn class(&mut self, tag: &Tag) -> &mut Counts {
        let Tag {
            from, to, proto, len, ..
        } = *tag;
        self.classes.entry(Class { from, to, proto, len }).or_default()
    }

    /// Counts by (from, to), of the packets asked about.
    pub fn counts(&self, query: &Query) -> BTreeMap<(NodeIx, NodeIx), Counts> {
        let mut pairs: BTreeMap<_, Counts> = BTreeMap::new();
        for (class, counts) in &self.classes {
            if query.pair(class.from, class.to) && query.class(class.proto, class.len) {
                pairs.entry((class.from, class.to)).or_default().merge(counts);
            }
        }
        for (&(from, to), counts) in &mut pairs {
            if let Some(order) = self.order.get(&(from, to, query.proto)) {
                counts.reordered = order.reordered(query.lengths());
            }
        }
        pairs
    }

    /// How late packets left, all of them.
    pub fn lateness(&self) -> &Histogram {
        &self.lateness
    }
}

/// Whether figures measured with this lateness prove nothing.
pub fn is_void(lateness: &Histogram) -> bool {
    lateness.quantile(0.99).is_some_and(|p99| p99 > VOID_LATENESS)
}

fn copy_key(tag: &Tag) -> (NodeIx, NodeIx, u64) {
    (tag.from, tag.to, tag.seq)
}
