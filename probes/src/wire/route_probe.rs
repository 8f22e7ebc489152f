//! The probe of a whole route and its echo, stamped by every edge on the way.
//!
//! After the header: number of stamps (1 B), length of the body (1 B), the stamps (8 B each), the body,
//! padding. An edge finds its place without understanding the body. A stamp takes its room from the
//! padding while there is any, so that a padded probe keeps its length all the way.

use super::{Direction, EchoBody, Kind, LinkProbe, RouteHeader, WireError, check_len, pad, reader::Reader};
use crate::{AgentId, Mono, Route, SessionId};

/// When a datagram came to an edge and left it: µs on that edge's clock, cut to 32 bits. Only
/// differences of stamps of the same edge mean anything.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Stamp {
    pub recv_us: u32,
    pub send_us: u32,
}

impl Stamp {
    const LEN: usize = 8;

    pub fn new(recv: Mono, send: Mono) -> Self {
        // Cut on purpose: differences stay right for 71 minutes.
        Self {
            recv_us: recv.as_micros() as u32,
            send_us: send.as_micros() as u32,
        }
    }
}

/// The stamps so far, in the order in which they were made: at most three edges out and three back.
/// The far end's own times are in the echo's body.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Stamps {
    stamps: [Stamp; Self::MAX],
    len: u8,
}

impl Stamps {
    pub const MAX: usize = 2 * Route::MAX_EDGES;

    /// `false` if there is no room.
    pub fn push(&mut self, stamp: Stamp) -> bool {
        let Some(slot) = self.stamps.get_mut(usize::from(self.len)) else {
            return false;
        };
        *slot = stamp;
        self.len += 1;
        true
    }

    pub fn as_slice(&self) -> &[Stamp] {
        &self.stamps[..usize::from(self.len)]
    }
}

/// A probe on its way out.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RouteProbe {
    pub header: RouteHeader,
    /// See [`LinkProbe::floor`].
    pub floor: u16,
    pub stamps: Stamps,
}

/// A probe's echo on its way back.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RouteEcho {
    pub header: RouteHeader,
    pub stamps: Stamps,
    pub body: EchoBody,
}

impl RouteProbe {
    /// A probe as the origin sends it; `probe` is what its session gave for the slot.
    pub fn new(route: Route, origin: AgentId, far: Option<AgentId>, probe: LinkProbe) -> Self {
        Self {
            header: RouteHeader {
                flow: probe.session.0,
                seq: probe.seq,
                sent_us: probe.sent_us,
                ..RouteHeader::out(Kind::RouteProbe as u8, route, origin, far)
            },
            floor: probe.floor,
            stamps: Stamps::default(),
        }
    }

    pub fn session(&self) -> SessionId {
        SessionId(self.header.flow)
    }

    /// What the far end sends back.
    pub fn answer(&self, body: EchoBody) -> RouteEcho {
        RouteEcho {
            header: self.header.back(Kind::RouteEcho as u8),
            stamps: self.stamps,
            body,
        }
    }

    /// Replaces `out` by this probe, padded with zeros to `size` bytes.
    pub fn write(&self, out: &mut Vec<u8>, size: usize) {
        out.clear();
        self.header.write(out);
        write_stamps(out, &self.stamps, |out| {
            out.extend_from_slice(&self.floor.to_be_bytes());
        });
        pad(out, size);
    }

    pub fn parse(datagram: &[u8]) -> Result<Self, WireError> {
        let parts = Parts::parse(datagram, Kind::RouteProbe)?;
        let mut body = Reader::new(parts.body);
        let floor = body.u16()?;
        if body.left() > 0 {
            return Err(bad_body(parts.body));
        }
        Ok(Self {
            header: parts.header,
            floor,
            stamps: parts.stamps,
        })
    }
}

impl RouteEcho {
    pub fn session(&self) -> SessionId {
        SessionId(self.header.flow)
    }

    /// Replaces `out` by this echo, padded with zeros to `size` bytes: the length of the probe.
    pub fn write(&self, out: &mut Vec<u8>, size: usize) {
        out.clear();
        self.header.write(out);
        write_stamps(out, &self.stamps, |out| self.body.write(out));
        pad(out, size);
    }

    pub fn parse(datagram: &[u8]) -> Result<Self, WireError> {
        let parts = Parts::parse(datagram, Kind::RouteEcho)?;
        let mut r = Reader::new(parts.body);
        let body = EchoBody::read(&mut r)?;
        if r.left() > 0 {
            return Err(bad_body(parts.body));
        }
        Ok(Self {
            header: parts.header,
            stamps: parts.stamps,
            body,
        })
    }
}

/// Adds an edge's stamp to a route probe or echo and moves it past that edge, in place. The rest of the
/// datagram is left as it is, and its length too while there is padding to take from.
pub fn stamp_and_advance(datagram: &mut Vec<u8>, recv: Mono, send: Mono) -> Result<(), WireError> {
    let kind = Kind::of(datagram)?;
    let parts = Parts::parse(datagram, kind)?;
    let got = parts.stamps.len;
    let (counter_at, insert_at, padding) = (parts.counter_at, parts.stamps_end, parts.padding);
    super::advance(datagram)?;
    let stamp = Stamp::new(recv, send);
    datagram.truncate(datagram.len() - padding.min(Stamp::LEN));
    let mut bytes = [0; Stamp::LEN];
    bytes[..4].copy_from_slice(&stamp.recv_us.to_be_bytes());
    bytes[4..].copy_from_slice(&stamp.send_us.to_be_bytes());
    datagram.splice(insert_at..insert_at, bytes);
    if let Some(counter) = datagram.get_mut(counter_at) {
        *counter = got + 1;
    }
    Ok(())
}

impl RouteHeader {
    /// How many edges have passed the datagram on by now.
    fn stamps_so_far(&self) -> u8 {
        let len = self.route.len() as u8;
        match self.direction {
            Direction::Out => self.index,
            // Out and back; the last edge passes nothing on where it is the far end.
            Direction::Back if self.far.is_some() => len + (len - self.index),
            Direction::Back => (2 * len.saturating_sub(1)).saturating_sub(self.index),
        }
    }
}

/// A route probe or echo, taken apart.
struct Parts<'a> {
    header: RouteHeader,
    stamps: Stamps,
    body: &'a [u8],
    counter_at: usize,
    stamps_end: usize,
    padding: usize,
}

impl<'a> Parts<'a> {
    fn parse(datagram: &'a [u8], wanted: Kind) -> Result<Self, WireError> {
        check_len(datagram)?;
        let (header, counter_at) = RouteHeader::parse(datagram)?;
        let direction = match wanted {
            Kind::RouteProbe => Direction::Out,
            Kind::RouteEcho => Direction::Back,
            Kind::LinkProbe | Kind::LinkEcho => return Err(WireError::UnknownKind(header.kind)),
        };
        if header.kind != wanted as u8 || header.direction != direction {
            return Err(WireError::WrongKind {
                wanted,
                got: header.kind,
            });
        }
        let mut r = Reader::new(&datagram[counter_at..]);
        let count = r.u8()?;
        let body_len = r.u8()?;
        let most = header.stamps_so_far();
        if count > most {
            return Err(WireError::TooManyStamps { got: count, most });
        }
        if usize::from(body_len) > EchoBody::MAX_LEN {
            return Err(WireError::BadBody(body_len));
        }
        let mut stamps = Stamps::default();
        for _ in 0..count {
            let stamp = Stamp {
                recv_us: r.u32()?,
                send_us: r.u32()?,
            };
            if !stamps.push(stamp) {
                return Err(WireError::TooManyStamps { got: count, most });
            }
        }
        let stamps_end = datagram.len() - r.left();
        let body = r.take(usize::from(body_len))?;
        let padding = r.left();
        r.finish()?;
        Ok(Self {
            header,
            stamps,
            body,
            counter_at,
            stamps_end,
            padding,
        })
    }
}

fn write_stamps(out: &mut Vec<u8>, stamps: &Stamps, body: impl FnOnce(&mut Vec<u8>)) {
    out.push(stamps.len);
    let body_len_at = out.len();
    out.push(0);
    for stamp in stamps.as_slice() {
        out.extend_from_slice(&stamp.recv_us.to_be_bytes());
        out.extend_from_slice(&stamp.send_us.to_be_bytes());
    }
    let body_at = out.len();
    body(out);
    // At most EchoBody::MAX_LEN.
    out[body_len_at] = (out.len() - body_at) as u8;
}

fn bad_body(body: &[u8]) -> WireError {
    WireError::BadBody(u8::try_from(body.len()).unwrap_or(u8::MAX))
}
