//! One end of a flow, which sends and receives: numbers, repeats, halves, counts.

use std::{borrow::Cow, collections::VecDeque};

use corridor_probes::{Mono, Route, wire::RouteHeader};
use serde::{Deserialize, Serialize};

use super::{
    join::Join,
    received::{Received, Seen},
    wire::{HEAD, MAX_HEADER, MAX_MEDIA, Media, Part},
};
use crate::transport::Dscp;

/// What one end of a flow counts, cumulative. Packets are media's own; bytes are their payload.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Counts {
    pub sent: u64,
    pub sent_bytes: u64,
    /// Copies by a second route.
    pub protecting: u64,
    /// Not taken by this machine's own socket or connection, or refused here for its size.
    pub dropped: u64,
    pub received: u64,
    pub received_bytes: u64,
    /// Between the first and the newest number, and not (yet) come.
    pub lost: u64,
    pub repeated: u64,
    pub too_old: u64,
    pub reordered: u64,
    /// Put together of two halves.
    pub joined: u64,
    /// Half lost.
    pub half_lost: u64,
}

impl Counts {
    const ZERO: Self = Self {
        sent: 0,
        sent_bytes: 0,
        protecting: 0,
        dropped: 0,
        received: 0,
        received_bytes: 0,
        lost: 0,
        repeated: 0,
        too_old: 0,
        reordered: 0,
        joined: 0,
        half_lost: 0,
    };
}

/// Incarnations of the other end that are remembered: two exits that both answer, and those before them.
const INCARNATIONS: usize = 4;

/// What comes of one incarnation of the other end.
#[derive(Debug, Default)]
struct Receiving {
    incarnation: u16,
    received: Received,
    join: Join,
}

/// One end of a flow.
#[derive(Debug)]
pub struct End {
    incarnation: u16,
    next: u32,
    /// Of the other end's incarnations, the newest last.
    receiving: VecDeque<Receiving>,
    /// What the others counted that are forgotten.
    counts: Counts,
}

impl End {
    /// `incarnation` is drawn at random, so that the other end tells it from those before.
    pub const fn new(incarnation: u16) -> Self {
        Self {
            incarnation,
            next: 0,
            receiving: VecDeque::new(),
            counts: Counts::ZERO,
        }
    }

    /// The datagram that carries `media` under the next number; `header` says where from and to.
    /// `None` if it is longer than is carried.
    pub fn wrap(&mut self, header: RouteHeader, dscp: Dscp, media: &[u8], now: Mono) -> Option<Vec<u8>> {
        if media.len() > MAX_MEDIA {
            self.counts.dropped += 1;
            return None;
        }
        let header = RouteHeader {
            seq: self.next,
            sent_us: now.as_micros(),
            ..header
        };
        self.next = self.next.wrapping_add(1);
        self.counts.sent += 1;
        self.counts.sent_bytes += media.len() as u64;
        let mut out = Vec::with_capacity(MAX_HEADER + HEAD + media.len());
        let datagram = Media {
            header,
            incarnation: self.incarnation,
            dscp,
            part: Part::Whole,
            media,
        };
        datagram.write(&mut out);
        Some(out)
    }

    /// A copy of what was wrapped last, by another route.
    pub fn copy(&mut self, datagram: &[u8], route: Route) -> Option<Vec<u8>> {
        let media = Media::parse(datagram).ok()?;
        let header = media.header.by(route);
        let mut out = Vec::with_capacity(datagram.len() + 2);
        Media { header, ..media }.write(&mut out);
        self.counts.protecting += 1;
        Some(out)
    }

    /// The number that the next packet will have.
    pub const fn next(&self) -> u32 {
        self.next
    }

    /// Something was not taken by the socket or connection that it was handed to.
    pub const fn dropped(&mut self) {
        self.counts.dropped += 1;
    }

    /// The packet that this datagram brings, if it is new and whole.
    pub fn unwrap<'m>(&mut self, media: &Media<'m>, now: Mono) -> Option<Cow<'m, [u8]>> {
        let seq = media.header.seq;
        let from = self.receiving(media.incarnation);
        let packet = match media.part {
            Part::Whole => {
                from.join.forget(seq);
                Cow::Borrowed(media.media)
            }
            // Halves of a packet that came whole by another route: one repeat.
            Part::Second if from.received.is_settled(seq) => return None,
            Part::First if from.received.is_settled(seq) => {
                from.received.take(seq);
                return None;
            }
            part => Cow::Owned(from.join.take(seq, part, media.media, now)?),
        };
        if from.received.take(seq) != Seen::New {
            return None;
        }
        self.counts.received += 1;
        self.counts.received_bytes += packet.len() as u64;
        Some(packet)
    }

    /// What has come of one incarnation of the other end.
    pub fn received(&self, incarnation: u16) -> Option<&Received> {
        let mut known = self.receiving.iter();
        known
            .find(|from| from.incarnation == incarnation)
            .map(|from| &from.received)
    }

    pub fn expire(&mut self, now: Mono) {
        for from in &mut self.receiving {
            from.join.expire(now);
        }
    }

    pub fn counts(&self) -> Counts {
        let all = self.receiving.iter();
        all.fold(self.counts, |counts, from| from.counted(counts))
    }

    fn receiving(&mut self, incarnation: u16) -> &mut Receiving {
        let known = self
            .receiving
            .iter()
            .position(|from| from.incarnation == incarnation);
        let at = known.unwrap_or_else(|| {
            if self.receiving.len() >= INCARNATIONS
                && let Some(oldest) = self.receiving.pop_front()
            {
                self.counts = oldest.counted(self.counts);
            }
            self.receiving.push_back(Receiving {
                incarnation,
                ..Receiving::default()
            });
            self.receiving.len() - 1
        });
        &mut self.receiving[at]
    }
}

impl Receiving {
    fn counted(&self, counts: Counts) -> Counts {
        Counts {
            lost: counts.lost + self.received.missing(),
            repeated: counts.repeated + self.received.repeated,
            too_old: counts.too_old + self.received.too_old,
            reordered: counts.reordered + self.received.reordered,
            joined: counts.joined + self.join.joined,
            half_lost: counts.half_lost + self.join.given_up,
            ..counts
        }
    }
}

#[cfg(test)]
mod tests {
    use corridor_probes::{AgentId, EdgeId, Route};

    use super::*;
    use crate::media::wire::Kind;

    fn header() -> RouteHeader {
        let route = Route::new(&[EdgeId::new(1).unwrap()]).unwrap();
        RouteHeader::out(Kind::Media as u8, route, AgentId(1), Some(AgentId(2)))
    }

    #[test]
    fn what_goes_twice_comes_once() {
        let (mut here, mut there) = (End::new(1), End::new(2));
        let now = Mono::from_millis(5);
        for i in 0..3_u8 {
            let datagram = here.wrap(header(), Dscp::BEST_EFFORT, &[i; 10], now).unwrap();
            let media = Media::parse(&datagram).unwrap();
            assert_eq!(media.header.sent_us, 5_000);
            if i == 1 {
                continue;
            }
            assert_eq!(there.unwrap(&media, now).as_deref(), Some(&[i; 10][..]));
            assert_eq!(there.unwrap(&media, now), None);
        }
        let counts = there.counts();
        assert_eq!((counts.received, counts.received_bytes), (2, 20));
        assert_eq!((counts.lost, counts.repeated), (1, 2));
        assert_eq!(here.counts().sent_bytes, 30);
    }

    #[test]
    fn another_incarnation_counts_from_0_and_both_may_talk() {
        let mut there = End::new(9);
        let now = Mono::ZERO;
        let (mut old, mut new) = (End::new(1), End::new(2));
        let mut say = |from: &mut End| {
            let datagram = from.wrap(header(), Dscp::BEST_EFFORT, b"voice", now).unwrap();
            there.unwrap(&Media::parse(&datagram).unwrap(), now).is_some()
        };
        assert!((0..3_000).all(|_| say(&mut old)));
        assert!((0..50).all(|_| say(&mut new) && say(&mut old)));
        for incarnation in 3..20 {
            assert!(say(&mut End::new(incarnation)));
        }
        let counts = there.counts();
        assert_eq!((counts.received, counts.lost, counts.repeated), (3_117, 0, 0));
        assert_eq!(there.receiving.len(), INCARNATIONS);
    }

    #[test]
    fn a_packet_that_comes_whole_and_in_halves_is_one_repeat() {
        let (mut here, mut there) = (End::new(1), End::new(2));
        let now = Mono::ZERO;
        for halves_first in [true, false] {
            let whole = here.wrap(header(), Dscp::BEST_EFFORT, &[7; 100], now).unwrap();
            let whole = Media::parse(&whole).unwrap();
            let [first, second] = whole.split().unwrap();
            let [first, second] = [&first, &second].map(|half| Media::parse(half).unwrap());
            let order = if halves_first {
                [first, whole, second]
            } else {
                [whole, first, second]
            };
            let came = order.iter().filter(|media| there.unwrap(media, now).is_some());
            assert_eq!(came.count(), 1);
        }
        there.expire(now + std::time::Duration::from_secs(1));
        let counts = there.counts();
        assert_eq!((counts.received, counts.half_lost, counts.repeated), (2, 0, 1));
    }

    #[test]
    fn halves_count_as_the_packet_they_make_and_too_long_ones_not_at_all() {
        let (mut here, mut there) = (End::new(1), End::new(2));
        let now = Mono::ZERO;
        let bytes = vec![3; MAX_MEDIA];
        let whole = here.wrap(header(), Dscp::BEST_EFFORT, &bytes, now).unwrap();
        let [first, second] = Media::parse(&whole).unwrap().split().unwrap();
        assert_eq!(there.unwrap(&Media::parse(&second).unwrap(), now), None);
        let first = Media::parse(&first).unwrap();
        assert_eq!(there.unwrap(&first, now).as_deref(), Some(&bytes[..]));
        let counts = there.counts();
        assert_eq!((counts.received, counts.joined, counts.lost), (1, 1, 0));
        assert_eq!(
            here.wrap(header(), Dscp::BEST_EFFORT, &[0; MAX_MEDIA + 1], now),
            None
        );
        assert_eq!((here.counts().sent, here.counts().dropped), (1, 1));
    }
}
