//! Datagrams of media, laid by hand: what carries a flow along a route, and what opens it.
//!
//! Those that go along a route begin with a [`RouteHeader`], as route probes do; nothing is padded. Kinds:
//!
//! | kind | after the header | direction |
//! |---|---|---|
//! | 0x22 media | 2 B the sender's incarnation; 1 B: bits 0–5 the packet's DSCP (RFC 2474), bits 6–7 part (0 whole, 1 first half, 2 second); the media | both |
//! | 0x23 open | 2 B local port at the far agent (0: the far end is no agent), 2 B length, the signed grant | out |
//! | 0x24 answer | 1 B: [`Answer`] | back |
//! | 0x25 switch | nothing: media's next number, by another route | both |
//! | 0x26 receipt | 4 B the highest number that came; 8 B when it was sent, as its header says; 4 B µs since it came; 16 B: bit `i` says that `highest - 1 - i` came | back |
//!
//! Two more go to the next edge only, while media flows: 0x10 asks for a sign of life, 0x11 is one. Both have
//! the number of the ask (4 B) after the kind.

use std::time::Duration;

use corridor_probes::{
    Route,
    wire::{RouteHeader, WireError},
};

use super::{grant::MAX_GRANT, receipts::Said};
use crate::transport::Dscp;

/// The longest media packet that is carried, in bytes: two halves of it fit any path that QUIC takes, with the
/// longest header.
pub const MAX_MEDIA: usize = 2_200;
/// The longest routed header: three edges and a far agent.
pub const MAX_HEADER: usize = 30 + 2 * Route::MAX_EDGES + 8;
/// What stands between the header and the media, in bytes.
pub const HEAD: usize = 3;

const PART_SHIFT: u8 = 6;

/// The kinds of datagram that media has.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
#[repr(u8)]
pub enum Kind {
    Media = 0x22,
    Open = 0x23,
    Answer = 0x24,
    Switch = 0x25,
    Receipt = 0x26,
}

impl Kind {
    /// The kind of a datagram by its first byte; `None` if it is none of media's.
    pub fn of(datagram: &[u8]) -> Option<Self> {
        match datagram.first()? {
            0x22 => Some(Self::Media),
            0x23 => Some(Self::Open),
            0x24 => Some(Self::Answer),
            0x25 => Some(Self::Switch),
            0x26 => Some(Self::Receipt),
            _ => None,
        }
    }
}

/// A sign of life, or what asks for one.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Word {
    Ask(u32),
    Echo(u32),
}

impl Word {
    /// `None` if it is something else.
    pub fn of(datagram: &[u8]) -> Option<Self> {
        let [kind, seq @ ..] = *datagram
            .first_chunk::<5>()
            .filter(|all| all.len() == datagram.len())?;
        let seq = u32::from_be_bytes(seq);
        match kind {
            0x10 => Some(Self::Ask(seq)),
            0x11 => Some(Self::Echo(seq)),
            _ => None,
        }
    }

    pub fn bytes(self) -> Vec<u8> {
        let (kind, seq) = match self {
            Self::Ask(seq) => (0x10, seq),
            Self::Echo(seq) => (0x11, seq),
        };
        let mut bytes = vec![kind];
        bytes.extend_from_slice(&seq.to_be_bytes());
        bytes
    }
}

/// How much of a media packet a datagram holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Part {
    Whole,
    First,
    Second,
}

/// Why bytes are no media datagram.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum MediaError {
    #[error(transparent)]
    Wire(#[from] WireError),
    #[error("datagram ends too early")]
    Truncated,
    #[error("media of {0} B is longer than {MAX_MEDIA} B")]
    TooLong(usize),
    #[error("neither a whole packet nor a half")]
    BadPart,
    #[error("answer {0} is not known")]
    UnknownAnswer(u8),
    #[error("datagram goes on behind its end")]
    Trailing,
    #[error("a half cannot be split again")]
    Half,
}

/// One packet of a flow, or half of one.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Media<'a> {
    pub header: RouteHeader,
    /// Numbers count from 0 anew under another one: the sender restarted, or is another exit.
    pub incarnation: u16,
    pub dscp: Dscp,
    pub part: Part,
    pub media: &'a [u8],
}

impl<'a> Media<'a> {
    /// Replaces `out` by this datagram.
    pub fn write(&self, out: &mut Vec<u8>) {
        out.clear();
        self.header.write(out);
        let part = match self.part {
            Part::Whole => 0,
            Part::First => 1,
            Part::Second => 2,
        };
        out.extend_from_slice(&self.incarnation.to_be_bytes());
        out.push(self.dscp.bits() | part << PART_SHIFT);
        out.extend_from_slice(self.media);
    }

    pub fn parse(datagram: &'a [u8]) -> Result<Self, MediaError> {
        let (header, len) = RouteHeader::parse(datagram)?;
        let (&[high, low, head], media) = datagram
            .get(len..)
            .and_then(<[u8]>::split_first_chunk::<HEAD>)
            .ok_or(MediaError::Truncated)?;
        if media.len() > MAX_MEDIA {
            return Err(MediaError::TooLong(media.len()));
        }
        let part = match head >> PART_SHIFT {
            0 => Part::Whole,
            1 => Part::First,
            2 => Part::Second,
            _ => return Err(MediaError::BadPart),
        };
        Ok(Self {
            header,
            incarnation: u16::from_be_bytes([high, low]),
            dscp: Dscp::new(head),
            part,
            media,
        })
    }

    /// The two halves of a packet that is too big for a step.
    pub fn split(&self) -> Result<[Vec<u8>; 2], MediaError> {
        if self.part != Part::Whole {
            return Err(MediaError::Half);
        }
        let (first, second) = self.media.split_at(self.media.len().div_ceil(2));
        Ok(
            [(Part::First, first), (Part::Second, second)].map(|(part, media)| {
                let mut out = Vec::with_capacity(MAX_HEADER + HEAD + media.len());
                Self { part, media, ..*self }.write(&mut out);
                out
            }),
        )
    }
}

/// Asks every edge of a route that relays for an agent, and its far end, to carry a flow.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Open<'a> {
    pub header: RouteHeader,
    /// Where the far agent delivers; 0 if the far end is none.
    pub port: u16,
    /// A signed grant.
    pub grant: &'a [u8],
}

impl<'a> Open<'a> {
    /// Replaces `out` by this datagram.
    pub fn write(&self, out: &mut Vec<u8>) {
        out.clear();
        self.header.write(out);
        out.extend_from_slice(&self.port.to_be_bytes());
        let grant = self.grant.get(..MAX_GRANT).unwrap_or(self.grant);
        // At most MAX_GRANT.
        out.extend_from_slice(&(grant.len() as u16).to_be_bytes());
        out.extend_from_slice(grant);
    }

    pub fn parse(datagram: &'a [u8]) -> Result<Self, MediaError> {
        let (header, len) = RouteHeader::parse(datagram)?;
        let (head, rest) = datagram
            .get(len..)
            .and_then(<[u8]>::split_first_chunk::<4>)
            .ok_or(MediaError::Truncated)?;
        let [p0, p1, l0, l1] = *head;
        let grant_len = usize::from(u16::from_be_bytes([l0, l1]));
        if grant_len > MAX_GRANT {
            return Err(MediaError::TooLong(grant_len));
        }
        let (grant, rest) = rest.split_at_checked(grant_len).ok_or(MediaError::Truncated)?;
        if !rest.is_empty() {
            return Err(MediaError::Trailing);
        }
        Ok(Self {
            header,
            port: u16::from_be_bytes([p0, p1]),
            grant,
        })
    }
}

/// What a flow's far end says of the packets that came there.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Receipt {
    pub header: RouteHeader,
    pub said: Said,
}

impl Receipt {
    /// Behind the header, in bytes.
    const LEN: usize = 4 + 8 + 4 + 16;

    /// Replaces `out` by this datagram.
    pub fn write(&self, out: &mut Vec<u8>) {
        out.clear();
        self.header.write(out);
        let Said {
            newest,
            sent_us,
            waited,
            seen,
        } = self.said;
        out.extend_from_slice(&newest.to_be_bytes());
        out.extend_from_slice(&sent_us.to_be_bytes());
        let waited = u32::try_from(waited.as_micros()).unwrap_or(u32::MAX);
        out.extend_from_slice(&waited.to_be_bytes());
        out.extend_from_slice(&seen.to_be_bytes());
    }

    pub fn parse(datagram: &[u8]) -> Result<Self, MediaError> {
        let (header, len) = RouteHeader::parse(datagram)?;
        let (body, rest) = datagram
            .get(len..)
            .and_then(<[u8]>::split_first_chunk::<{ Self::LEN }>)
            .ok_or(MediaError::Truncated)?;
        if !rest.is_empty() {
            return Err(MediaError::Trailing);
        }
        let field = |at: usize, len: usize| {
            let bytes = body.get(at..at + len).unwrap_or_default();
            bytes
                .iter()
                .fold(0, |all: u128, &byte| all << 8 | u128::from(byte))
        };
        Ok(Self {
            header,
            said: Said {
                newest: field(0, 4) as u32,
                sent_us: field(4, 8) as i64,
                waited: Duration::from_micros(field(12, 4) as u64),
                seen: field(16, 16),
            },
        })
    }
}

/// What an edge or a far end says to a flow.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[repr(u8)]
pub enum Answer {
    /// It is carried by this route from now on.
    Carried = 0,
    /// Nobody here knows this flow: open it (again).
    Unknown = 1,
    /// The grant is malformed or not signed by the controller.
    BadGrant = 2,
    Expired = 3,
    Revoked = 4,
    /// The grant is another agent's.
    NotYours = 5,
    /// The grant does not name this route, or this far end.
    NotGranted = 6,
    /// The far agent accepts nothing at this port.
    PortRefused = 7,
    /// The far agent is not connected to the last edge.
    FarAway = 8,
    /// The target's name stands for no address.
    NoAddress = 9,
    /// The target's address is one that edges do not send to.
    AddressRefused = 10,
    /// Too many flows, or flows too fast.
    TooMany = 11,
    /// No socket could be opened.
    NoSocket = 12,
    /// The edge gives its flows away and takes no new ones.
    Draining = 13,
}

impl Answer {
    const ALL: [Self; 14] = [
        Self::Carried,
        Self::Unknown,
        Self::BadGrant,
        Self::Expired,
        Self::Revoked,
        Self::NotYours,
        Self::NotGranted,
        Self::PortRefused,
        Self::FarAway,
        Self::NoAddress,
        Self::AddressRefused,
        Self::TooMany,
        Self::NoSocket,
        Self::Draining,
    ];

    /// One sentence for people.
    pub const fn text(self) -> &'static str {
        match self {
            Self::Carried => "carried",
            Self::Unknown => "an edge has not been told of this flow",
            Self::BadGrant => "the grant is not signed by the controller",
            Self::Expired => "the grant has expired",
            Self::Revoked => "the grant is revoked",
            Self::NotYours => "the grant is another agent's",
            Self::NotGranted => "the grant does not name this route and far end",
            Self::PortRefused => "the other agent accepts nothing at this port",
            Self::FarAway => "the other agent is not connected to the last edge",
            Self::NoAddress => "the target's name stands for no address",
            Self::AddressRefused => "the target's address is one that edges do not send to",
            Self::TooMany => "too many flows",
            Self::NoSocket => "the edge could not open a socket",
            Self::Draining => "the edge is draining",
        }
    }

    /// Replaces `out` by the answer, with a header that goes back.
    pub fn write(self, header: &RouteHeader, out: &mut Vec<u8>) {
        out.clear();
        header.write(out);
        out.push(self as u8);
    }

    pub fn parse(datagram: &[u8]) -> Result<(RouteHeader, Self), MediaError> {
        let (header, len) = RouteHeader::parse(datagram)?;
        let [code] = *datagram.get(len..).unwrap_or_default() else {
            return Err(MediaError::Truncated);
        };
        let answer = Self::ALL.get(usize::from(code)).copied();
        Ok((header, answer.ok_or(MediaError::UnknownAnswer(code))?))
    }
}

#[cfg(test)]
mod tests {
    use corridor_probes::{AgentId, EdgeId};

    use super::*;

    fn header(kind: Kind) -> RouteHeader {
        let e = |id| EdgeId::new(id).unwrap();
        let route = Route::new(&[e(1), e(2), e(3)]).unwrap();
        RouteHeader {
            flow: 7,
            seq: 9,
            sent_us: 11,
            ..RouteHeader::out(kind as u8, route, AgentId(1), Some(AgentId(2)))
        }
    }

    #[test]
    fn media_comes_back_and_its_halves_make_it_whole() {
        let bytes: Vec<u8> = (0..=255).cycle().take(MAX_MEDIA).collect();
        for len in [0, 1, 2, 1_201, MAX_MEDIA] {
            let media = Media {
                header: header(Kind::Media),
                incarnation: 513,
                dscp: Dscp::new(46),
                part: Part::Whole,
                media: &bytes[..len],
            };
            let mut out = vec![1, 2, 3];
            media.write(&mut out);
            assert_eq!(Kind::of(&out), Some(Kind::Media));
            assert_eq!(Media::parse(&out), Ok(media));
            let halves = media.split().unwrap();
            let halves = halves.each_ref().map(|half| Media::parse(half).unwrap());
            assert_eq!(halves.map(|half| half.part), [Part::First, Part::Second]);
            assert_eq!(halves.map(|half| half.media).concat(), &bytes[..len]);
            assert_eq!(halves[0].split(), Err(MediaError::Half));
            assert!(
                halves
                    .iter()
                    .all(|half| MAX_HEADER + HEAD + half.media.len() <= 1_162)
            );
        }
    }

    #[test]
    fn what_is_no_media_is_refused() {
        let mut out = Vec::new();
        header(Kind::Media).write(&mut out);
        assert_eq!(Media::parse(&out), Err(MediaError::Truncated), "no head");
        out.extend_from_slice(&[0, 0, 3 << PART_SHIFT]);
        assert_eq!(Media::parse(&out), Err(MediaError::BadPart));
        let last = out.len() - 1;
        out[last] = 0;
        out.resize(out.len() + MAX_MEDIA + 1, 0);
        assert_eq!(Media::parse(&out), Err(MediaError::TooLong(MAX_MEDIA + 1)));
    }

    #[test]
    fn words_come_back() {
        for word in [Word::Ask(u32::MAX), Word::Echo(7)] {
            assert_eq!(Word::of(&word.bytes()), Some(word));
            assert_eq!(Word::of(&word.bytes()[..4]), None);
            assert_eq!(Word::of(&[word.bytes(), vec![0]].concat()), None);
        }
    }

    #[test]
    fn opens_and_answers_come_back() {
        let open = Open {
            header: header(Kind::Open),
            port: 5004,
            grant: &[5; 300],
        };
        let mut out = Vec::new();
        open.write(&mut out);
        assert_eq!(Open::parse(&out), Ok(open));
        out.push(0);
        assert_eq!(Open::parse(&out), Err(MediaError::Trailing));
        out.truncate(out.len() - 2);
        assert_eq!(Open::parse(&out), Err(MediaError::Truncated));
        for answer in Answer::ALL {
            let back = open.header.back(Kind::Answer as u8);
            answer.write(&back, &mut out);
            assert_eq!(Answer::parse(&out), Ok((back, answer)));
            assert!(!answer.text().is_empty());
        }
        *out.last_mut().unwrap() = Answer::ALL.len() as u8;
        assert_eq!(Answer::parse(&out), Err(MediaError::UnknownAnswer(14)));
    }
}
