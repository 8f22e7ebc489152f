//! One direction of a simulated link: what becomes of each packet, and the truth about it. Pure.

use std::{collections::BTreeMap, ops::Range, time::Duration};

use rand::{RngExt as _, rngs::StdRng};

/// How one direction of a link behaves. It may be changed while packets are under way; those keep the
/// fate they were given.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct LinkShape {
    /// One way. Arrivals are rounded to the millisecond, the grain of tokio's clock.
    pub delay: Duration,
    /// Added on top, uniform between zero and this. Jitter alone never reorders, as in a real queue: a
    /// packet waits for the one before it.
    pub jitter: Duration,
    pub loss: Loss,
    /// Bits a second, counted with [`IP_UDP_HEADERS`]; `None` is without limit.
    pub rate: Option<u64>,
    /// The most that a packet waits for the rate before it is dropped instead.
    pub queue: Duration,
    /// Everything is lost.
    pub blackhole: bool,
    /// The share of packets, 0 to 1, that arrive twice.
    pub duplicate: f64,
    /// The share of packets, 0 to 1, that take `reorder_by` longer, while later ones overtake them.
    pub reorder: f64,
    pub reorder_by: Duration,
    /// The largest UDP payload, in bytes, that passes.
    pub mtu: usize,
}

/// IPv4 and UDP headers, in bytes, which take their time on a link too.
pub const IP_UDP_HEADERS: usize = 28;

impl Default for LinkShape {
    fn default() -> Self {
        Self {
            delay: Duration::ZERO,
            jitter: Duration::ZERO,
            loss: Loss::None,
            rate: None,
            queue: Duration::from_millis(200),
            blackhole: false,
            duplicate: 0.0,
            reorder: 0.0,
            reorder_by: Duration::ZERO,
            mtu: 1_500 - IP_UDP_HEADERS,
        }
    }
}

impl LinkShape {
    /// A clean link of this one-way delay.
    pub fn delay(delay: Duration) -> Self {
        Self {
            delay,
            ..Self::default()
        }
    }
}

/// Random loss; probabilities are 0 to 1.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Loss {
    None,
    /// Each packet for itself.
    Random(f64),
    /// In bursts.
    Gilbert(Gilbert),
}

/// The Gilbert–Elliott model: two states with a loss of their own, changed before each packet.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Gilbert {
    pub good_to_bad: f64,
    pub bad_to_good: f64,
    pub loss_in_good: f64,
    pub loss_in_bad: f64,
}

/// Why the network lost a packet.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum LossCause {
    Random,
    Blackhole,
    /// It would have waited longer than the queue holds.
    Queue,
    TooBig,
    /// The receiver slept, was cut off, or had no socket or NAT mapping there any more.
    Unreachable,
}

/// What became of a packet.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Fate {
    Delivered,
    Lost(LossCause),
}

/// The truth about one direction, cumulative, in packets. On a direction with nothing under way,
/// `offered + duplicated = delivered + Σ lost`.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct LinkCounters {
    pub offered: u64,
    /// Extra copies made.
    pub duplicated: u64,
    /// Copies included.
    pub delivered: u64,
    pub lost_random: u64,
    pub lost_blackhole: u64,
    pub lost_queue: u64,
    pub lost_too_big: u64,
    pub lost_unreachable: u64,
    /// Delivered after one that was offered later (RFC 4737, type-P-reordered).
    pub reordered: u64,
    /// The same by UDP payload length, in bytes.
    pub by_length: BTreeMap<usize, Lengths>,
}

/// Packets of one length, or of a range of lengths.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Lengths {
    pub offered: u64,
    pub delivered: u64,
    pub lost: u64,
    pub reordered: u64,
}

impl LinkCounters {
    /// All that were lost, for whatever reason.
    pub fn lost(&self) -> u64 {
        self.lost_random + self.lost_blackhole + self.lost_queue + self.lost_too_big + self.lost_unreachable
    }

    /// Packets whose UDP payload has a length in `range`, so that probes padded into a range of their own
    /// can be told from everything else.
    pub fn lengths(&self, range: Range<usize>) -> Lengths {
        self.by_length
            .range(range)
            .fold(Lengths::default(), |sum, (_, n)| Lengths {
                offered: sum.offered + n.offered,
                delivered: sum.delivered + n.delivered,
                lost: sum.lost + n.lost,
                reordered: sum.reordered + n.reordered,
            })
    }

    fn lose(&mut self, cause: LossCause, len: usize) {
        *match cause {
            LossCause::Random => &mut self.lost_random,
            LossCause::Blackhole => &mut self.lost_blackhole,
            LossCause::Queue => &mut self.lost_queue,
            LossCause::TooBig => &mut self.lost_too_big,
            LossCause::Unreachable => &mut self.lost_unreachable,
        } += 1;
        self.by_length.entry(len).or_default().lost += 1;
    }
}

/// When a packet that was offered arrives, as time since the network's origin.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Arrival {
    pub(super) at: Duration,
    pub(super) copies: u8,
    /// Its place in the order in which packets were offered.
    pub(super) number: u64,
}

/// One direction with its state. Its random numbers are its own, so that traffic elsewhere does not
/// change its losses.
#[derive(Debug)]
pub(super) struct Direction {
    pub(super) shape: LinkShape,
    pub(super) counters: LinkCounters,
    /// Nothing arrives before this.
    pub(super) stalled_until: Duration,
    rng: StdRng,
    bad: bool,
    busy_until: Duration,
    last_arrival: Duration,
    next_number: u64,
    highest_delivered: Option<u64>,
}

impl Direction {
    pub(super) fn new(shape: LinkShape, rng: StdRng) -> Self {
        Self {
            shape,
            counters: LinkCounters::default(),
            stalled_until: Duration::ZERO,
            rng,
            bad: false,
            busy_until: Duration::ZERO,
            last_arrival: Duration::ZERO,
            next_number: 0,
            highest_delivered: None,
        }
    }

    /// Decides about a packet with `len` bytes of UDP payload that enters at `now`.
    pub(super) fn offer(&mut self, now: Duration, len: usize) -> Result<Arrival, LossCause> {
        self.counters.offered += 1;
        self.counters.by_length.entry(len).or_default().offered += 1;
        let number = self.next_number;
        self.next_number += 1;
        let result = self.decide(now, len, number);
        match result {
            Ok(arrival) => self.counters.duplicated += u64::from(arrival.copies - 1),
            Err(cause) => self.counters.lose(cause, len),
        }
        result
    }

    fn decide(&mut self, now: Duration, len: usize, number: u64) -> Result<Arrival, LossCause> {
        let shape = self.shape;
        if shape.blackhole {
            return Err(LossCause::Blackhole);
        }
        if len > shape.mtu {
            return Err(LossCause::TooBig);
        }
        if self.unlucky(shape.loss) {
            return Err(LossCause::Random);
        }
        let mut at = now;
        if let Some(rate) = shape.rate {
            let start = now.max(self.busy_until);
            if start - now > shape.queue {
                return Err(LossCause::Queue);
            }
            let bits = (len + IP_UDP_HEADERS) as u128 * 8;
            let takes = bits * 1_000_000_000 / u128::from(rate.max(1));
            self.busy_until = start + Duration::from_nanos(u64::try_from(takes).unwrap_or(u64::MAX / 4));
            at = self.busy_until;
        }
        at += shape.delay;
        if !shape.jitter.is_zero() {
            at += shape.jitter.mul_f64(self.rng.random::<f64>());
        }
        at = at.max(self.last_arrival);
        if shape.reorder > 0.0 && self.rng.random::<f64>() < shape.reorder {
            at += shape.reorder_by;
        } else {
            self.last_arrival = at;
        }
        let twice = shape.duplicate > 0.0 && self.rng.random::<f64>() < shape.duplicate;
        Ok(Arrival {
            at,
            copies: 1 + u8::from(twice),
            number,
        })
    }

    fn unlucky(&mut self, loss: Loss) -> bool {
        match loss {
            Loss::None => false,
            Loss::Random(p) => self.rng.random::<f64>() < p,
            Loss::Gilbert(g) => {
                let change = if self.bad { g.bad_to_good } else { g.good_to_bad };
                self.bad ^= self.rng.random::<f64>() < change;
                let p = if self.bad { g.loss_in_bad } else { g.loss_in_good };
                self.rng.random::<f64>() < p
            }
        }
    }

    /// Counts a packet, or a copy, as arrived.
    pub(super) fn delivered(&mut self, number: u64, len: usize) {
        let lengths = self.counters.by_length.entry(len).or_default();
        self.counters.delivered += 1;
        lengths.delivered += 1;
        if self.highest_delivered.is_some_and(|highest| number < highest) {
            self.counters.reordered += 1;
            lengths.reordered += 1;
        }
        self.highest_delivered = self.highest_delivered.max(Some(number));
    }

    /// Counts a packet, or a copy, that reached the far end in vain.
    pub(super) fn undeliverable(&mut self, len: usize) {
        self.counters.lose(LossCause::Unreachable, len);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use rand::SeedableRng as _;

    const MS: Duration = Duration::from_millis(1);

    fn direction(shape: LinkShape) -> Direction {
        Direction::new(shape, StdRng::seed_from_u64(7))
    }

    #[test]
    fn a_clean_link_only_delays() {
        let mut d = direction(LinkShape::delay(40 * MS));
        for n in 0..1_000u32 {
            let arrival = d.offer(n * MS, 1_200).unwrap();
            assert_eq!((arrival.at, arrival.copies), (n * MS + 40 * MS, 1));
        }
        assert_eq!(d.counters.lost(), 0);
    }

    #[test]
    fn jitter_keeps_the_order_and_stays_in_its_range() {
        let mut d = direction(LinkShape {
            jitter: 10 * MS,
            ..LinkShape::delay(20 * MS)
        });
        let mut last = Duration::ZERO;
        for n in 0..5_000u32 {
            let at = d.offer(n * MS, 200).unwrap().at;
            assert!(at >= last && at >= n * MS + 20 * MS && at <= n * MS + 30 * MS);
            last = at;
        }
    }

    #[test]
    fn the_rate_serialises_and_the_queue_ends() {
        // 1,222 B of payload are 1,250 B on the wire: 10 ms at 1 Mbit/s. The queue of 50 ms takes the
        // packets that wait 0, 10, 20, 30, 40 and 50 ms.
        let mut d = direction(LinkShape {
            rate: Some(1_000_000),
            queue: 50 * MS,
            ..LinkShape::default()
        });
        for n in 1..=6 {
            assert_eq!(d.offer(Duration::ZERO, 1_222).unwrap().at, n * 10 * MS);
        }
        assert_eq!(d.offer(Duration::ZERO, 1_222), Err(LossCause::Queue));
        assert_eq!(d.offer(30 * MS, 1_222).unwrap().at, 70 * MS);
    }

    #[test]
    fn gilbert_loses_in_bursts_at_its_own_share() {
        let mut d = direction(LinkShape {
            loss: Loss::Gilbert(Gilbert {
                good_to_bad: 0.01,
                bad_to_good: 0.25,
                loss_in_good: 0.0,
                loss_in_bad: 1.0,
            }),
            ..LinkShape::default()
        });
        let lost: Vec<bool> = (0..200_000)
            .map(|_| d.offer(Duration::ZERO, 100).is_err())
            .collect();
        let share = lost.iter().filter(|l| **l).count() as f64 / lost.len() as f64;
        let bursts = lost.windows(2).filter(|w| !w[0] && w[1]).count() as f64;
        let length = share * lost.len() as f64 / bursts;
        assert!((share - 0.01 / 0.26).abs() < 0.004, "{share}");
        assert!((length - 4.0).abs() < 0.3, "{length}");
    }

    #[test]
    fn counters_add_up_and_lengths_tell_apart() {
        let mut d = direction(LinkShape {
            loss: Loss::Random(0.3),
            duplicate: 0.2,
            reorder: 0.1,
            reorder_by: 5 * MS,
            mtu: 1_000,
            ..LinkShape::delay(10 * MS)
        });
        let mut arrivals = Vec::new();
        for n in 0..10_000u32 {
            let len = [100, 700, 1_001][n as usize % 3];
            if let Ok(arrival) = d.offer(n * MS, len) {
                arrivals.extend(std::iter::repeat_n(
                    (arrival.at, arrival.number, len),
                    arrival.copies.into(),
                ));
            }
        }
        arrivals.sort();
        let mut late = 0;
        let mut highest = 0;
        for (_, number, len) in &arrivals {
            late += u64::from(*number < highest);
            highest = highest.max(*number);
            d.delivered(*number, *len);
        }
        let c = &d.counters;
        assert_eq!(c.offered + c.duplicated, c.delivered + c.lost());
        assert_eq!(c.reordered, late);
        assert!(late > 400);
        assert_eq!(c.lost_too_big, 3_333);
        let (small, all) = (c.lengths(0..700), c.lengths(0..2_000));
        assert_eq!(small.offered, 3_334);
        assert_eq!(
            (all.offered, all.delivered, all.lost),
            (c.offered, c.delivered, c.lost())
        );
    }
}
