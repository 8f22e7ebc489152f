//! One end of a flow, which sends and receives: numbers, repeats, halves, counts.

use std::borrow::Cow;

use corridor_probes::{Mono, Route, wire::RouteHeader};
use serde::{Deserialize, Serialize};

use super::{
    join::Join,
    received::{Received, Seen},
    wire::{MAX_MEDIA, Media, Part},
};

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

/// One end of a flow.
#[derive(Debug, Default)]
pub struct End {
    next: u32,
    received: Received,
    join: Join,
    counts: Counts,
}

impl End {
    /// The datagram that carries `media` under the next number; `header` says where from and to.
    /// `None` if it is longer than is carried.
    pub fn wrap(&mut self, header: RouteHeader, media: &[u8], now: Mono) -> Option<Vec<u8>> {
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
        let mut out = Vec::with_capacity(super::wire::MAX_HEADER + 1 + media.len());
        let datagram = Media {
            header,
            dscp: 0,
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
        let packet = match media.part {
            Part::Whole => Cow::Borrowed(media.media),
            // Halves of a packet that came whole by another route.
            _ if self.received.is_settled(seq) => {
                self.received.take(seq);
                return None;
            }
            part => Cow::Owned(self.join.take(seq, part, media.media, now)?),
        };
        if self.received.take(seq) != Seen::New {
            return None;
        }
        self.counts.received += 1;
        self.counts.received_bytes += packet.len() as u64;
        Some(packet)
    }

    /// Whether a datagram of this number is newer than any that came.
    pub fn is_news(&self, seq: u32) -> bool {
        self.received.is_news(seq)
    }

    /// The newest number that came.
    pub fn newest(&self) -> Option<u32> {
        self.received.highest()
    }

    pub fn expire(&mut self, now: Mono) {
        self.join.expire(now);
    }

    pub fn counts(&self) -> Counts {
        Counts {
            lost: self.received.missing(),
            repeated: self.received.repeated,
            too_old: self.received.too_old,
            reordered: self.received.reordered,
            joined: self.join.joined,
            half_lost: self.join.given_up,
            ..self.counts
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
        let (mut here, mut there) = (End::default(), End::default());
        let now = Mono::from_millis(5);
        for i in 0..3_u8 {
            let datagram = here.wrap(header(), &[i; 10], now).unwrap();
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
    fn halves_count_as_the_packet_they_make_and_too_long_ones_not_at_all() {
        let (mut here, mut there) = (End::default(), End::default());
        let now = Mono::ZERO;
        let bytes = vec![3; MAX_MEDIA];
        let whole = here.wrap(header(), &bytes, now).unwrap();
        let [first, second] = Media::parse(&whole).unwrap().split().unwrap();
        assert_eq!(there.unwrap(&Media::parse(&second).unwrap(), now), None);
        let first = Media::parse(&first).unwrap();
        assert_eq!(there.unwrap(&first, now).as_deref(), Some(&bytes[..]));
        let counts = there.counts();
        assert_eq!((counts.received, counts.joined, counts.lost), (1, 1, 0));
        assert_eq!(here.wrap(header(), &[0; MAX_MEDIA + 1], now), None);
        assert_eq!((here.counts().sent, here.counts().dropped), (1, 1));
    }
}
