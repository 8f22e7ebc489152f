//! The source-routed header that route probes and media share.

use super::{FIRST_ROUTED_KIND, LAST_ROUTED_KIND, WireError, reader::Reader};
use crate::{AgentId, EdgeId, Route};

/// Which way along the route a datagram goes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Direction {
    /// From the origin to the far end.
    Out,
    /// From the far end to the origin.
    Back,
}

/// The head of every datagram that is forwarded along a route: 30 B, and 2 B an edge, and 8 B if the
/// far end is an agent.
///
/// | size | field |
/// |---|---|
/// | 1 | kind, 0x20 to 0x3f |
/// | 1 | flags: bit 0 back, bit 1 far end is an agent, bits 2–3 edges, bits 4–5 index, 6–7 zero |
/// | 2 each | the edges, in the order of the way out |
/// | 8 | origin |
/// | 8 | far end, if an agent |
/// | 8 | flow: the probe session, or the media flow |
/// | 4 | sequence number |
/// | 8 | sent, µs, on the clock of whoever made the datagram; an echo carries its probe's |
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RouteHeader {
    pub kind: u8,
    pub direction: Direction,
    pub route: Route,
    /// How many edges lie on the origin's side of the datagram. On the way out the next edge is
    /// `route[index]`, on the way back it is `route[index - 1]`.
    pub index: u8,
    pub origin: AgentId,
    /// The peer agent; none if the last edge is the far end.
    pub far: Option<AgentId>,
    pub flow: u64,
    pub seq: u32,
    pub sent_us: i64,
}

/// What an edge does with a routed datagram.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum NextStep {
    /// Hand it to this edge.
    Edge(EdgeId),
    /// Hand it to this agent.
    Agent(AgentId),
    /// Answer it, or hand it to the target: this edge is the far end.
    Answer,
}

impl NextStep {
    /// The edge that it goes to.
    pub const fn edge(self) -> Option<EdgeId> {
        match self {
            Self::Edge(edge) => Some(edge),
            Self::Agent(_) | Self::Answer => None,
        }
    }
}

/// What an agent does with a routed datagram.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum AgentStep {
    /// Answer it: this agent is the far end.
    Answer,
    /// It is back where it came from.
    Home,
}

/// Why a routed datagram is refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum StepError {
    #[error("edge {me} is not at place {index} of route {route}")]
    NotAtThisEdge { me: EdgeId, index: u8, route: Route },
    #[error("agent {0} is not the next step")]
    NotAtThisAgent(AgentId),
    #[error(transparent)]
    Wire(#[from] WireError),
}

const BACK: u8 = 1;
const FAR_AGENT: u8 = 1 << 1;
const LEN_SHIFT: u8 = 2;
const INDEX_SHIFT: u8 = 4;
const RESERVED: u8 = 0b1100_0000;
const FLAGS_AT: usize = 1;

impl RouteHeader {
    /// The header as an origin sends it.
    pub fn out(kind: u8, route: Route, origin: AgentId, far: Option<AgentId>) -> Self {
        Self {
            kind,
            direction: Direction::Out,
            route,
            index: 0,
            origin,
            far,
            flow: 0,
            seq: 0,
            sent_us: 0,
        }
    }

    /// The header as the far end sends it back, of the same flow, number and time.
    #[must_use]
    pub fn back(&self, kind: u8) -> Self {
        let len = self.len();
        Self {
            kind,
            direction: Direction::Back,
            // The last edge, where it is the far end, lies behind the datagram already.
            index: if self.far.is_some() {
                len
            } else {
                len.saturating_sub(1)
            },
            ..*self
        }
    }

    /// The header as the edge at `place` of the route sends it back, of the same flow, number and time: nobody
    /// beyond that edge has seen it.
    #[must_use]
    pub fn back_from(&self, place: u8, kind: u8) -> Self {
        Self {
            kind,
            direction: Direction::Back,
            index: place.min(self.len()),
            ..*self
        }
    }

    /// The same, by another route from end to end: its index is that of the end where it begins.
    #[must_use]
    pub fn by(&self, route: Route) -> Self {
        let header = Self {
            route,
            index: 0,
            ..*self
        };
        match self.direction {
            Direction::Out => header,
            Direction::Back => header.back(self.kind),
        }
    }

    /// Who gets this next. `None` if the route leads nowhere.
    pub fn next(&self) -> Option<NextStep> {
        let index = usize::from(self.index);
        match self.direction {
            Direction::Out => match (self.route.get(index), self.far) {
                (Some(edge), _) => Some(NextStep::Edge(edge)),
                (None, Some(far)) => Some(NextStep::Agent(far)),
                (None, None) => None,
            },
            Direction::Back => match index.checked_sub(1) {
                Some(before) => self.route.get(before).map(NextStep::Edge),
                None => Some(NextStep::Agent(self.origin)),
            },
        }
    }

    /// Appends the header to `out`.
    pub fn write(&self, out: &mut Vec<u8>) {
        out.push(self.kind);
        let mut flags = self.len() << LEN_SHIFT | self.index << INDEX_SHIFT;
        if self.direction == Direction::Back {
            flags |= BACK;
        }
        if self.far.is_some() {
            flags |= FAR_AGENT;
        }
        out.push(flags);
        for edge in self.route.edges() {
            out.extend_from_slice(&edge.get().to_be_bytes());
        }
        out.extend_from_slice(&self.origin.0.to_be_bytes());
        if let Some(far) = self.far {
            out.extend_from_slice(&far.0.to_be_bytes());
        }
        out.extend_from_slice(&self.flow.to_be_bytes());
        out.extend_from_slice(&self.seq.to_be_bytes());
        out.extend_from_slice(&self.sent_us.to_be_bytes());
    }

    /// The header and its length in bytes; what follows is the kind's own.
    pub fn parse(datagram: &[u8]) -> Result<(Self, usize), WireError> {
        let mut r = Reader::new(datagram);
        let kind = r.u8()?;
        if !(FIRST_ROUTED_KIND..=LAST_ROUTED_KIND).contains(&kind) {
            return Err(WireError::UnknownKind(kind));
        }
        let flags = r.u8()?;
        if flags & RESERVED != 0 {
            return Err(WireError::ReservedFlags(flags));
        }
        let len = flags >> LEN_SHIFT & 3;
        let index = flags >> INDEX_SHIFT & 3;
        if index > len {
            return Err(WireError::BadIndex { index, len });
        }
        let route = read_route(&mut r, len)?;
        let origin = AgentId(r.u64()?);
        let far = if flags & FAR_AGENT == 0 {
            None
        } else {
            Some(AgentId(r.u64()?))
        };
        if far.is_none() && len == 0 {
            return Err(WireError::Nowhere);
        }
        if flags & BACK != 0 && far.is_none() && index == len {
            // The last edge is the far end, and lies behind whatever it sends back.
            return Err(WireError::BadIndex { index, len });
        }
        if far == Some(origin) {
            return Err(WireError::SelfEnded(origin));
        }
        let header = Self {
            kind,
            direction: if flags & BACK == 0 {
                Direction::Out
            } else {
                Direction::Back
            },
            route,
            index,
            origin,
            far,
            flow: r.u64()?,
            seq: r.u32()?,
            sent_us: r.i64()?,
        };
        Ok((header, datagram.len() - r.left()))
    }

    /// What edge `me`, to which this was handed, does with it.
    pub fn step_at_edge(&self, me: EdgeId) -> Result<NextStep, StepError> {
        let wrong = StepError::NotAtThisEdge {
            me,
            index: self.index,
            route: self.route,
        };
        let index = usize::from(self.index);
        match self.direction {
            Direction::Out => {
                if self.route.get(index) != Some(me) {
                    return Err(wrong);
                }
                Ok(match (self.route.get(index + 1), self.far) {
                    (Some(next), _) => NextStep::Edge(next),
                    (None, Some(far)) => NextStep::Agent(far),
                    (None, None) => NextStep::Answer,
                })
            }
            Direction::Back => {
                let Some(mine) = index.checked_sub(1) else {
                    return Err(wrong);
                };
                // A far end has no way back through itself.
                let is_far_end = self.far.is_none() && index == self.route.len();
                if self.route.get(mine) != Some(me) || is_far_end {
                    return Err(wrong);
                }
                Ok(match mine.checked_sub(1).and_then(|i| self.route.get(i)) {
                    Some(next) => NextStep::Edge(next),
                    None => NextStep::Agent(self.origin),
                })
            }
        }
    }

    /// What agent `me`, to which this was handed, does with it.
    pub fn step_at_agent(&self, me: AgentId) -> Result<AgentStep, StepError> {
        match self.direction {
            Direction::Out if self.index == self.len() && self.far == Some(me) => Ok(AgentStep::Answer),
            Direction::Back if self.index == 0 && self.origin == me => Ok(AgentStep::Home),
            _ => Err(StepError::NotAtThisAgent(me)),
        }
    }

    /// Who must have handed this in: anyone else is forging. `None` if the route itself is one that
    /// nobody can hand in.
    pub fn handed_by(&self) -> Option<NextStep> {
        let index = usize::from(self.index);
        match self.direction {
            Direction::Out => match index.checked_sub(1) {
                Some(before) => self.route.get(before).map(NextStep::Edge),
                None => Some(NextStep::Agent(self.origin)),
            },
            Direction::Back => match self.route.get(index) {
                Some(before) => Some(NextStep::Edge(before)),
                None => self.far.map(NextStep::Agent),
            },
        }
    }

    fn len(&self) -> u8 {
        // At most Route::MAX_EDGES.
        self.route.len() as u8
    }
}

/// Moves a routed datagram of any kind past the edge that it is at, in place. What `step_at_edge` said
/// before is where it goes.
pub fn advance(datagram: &mut [u8]) -> Result<(), WireError> {
    let (header, _) = RouteHeader::parse(datagram)?;
    let len = header.len();
    let index = match header.direction {
        Direction::Out => Some(header.index + 1).filter(|&i| i <= len),
        Direction::Back => header.index.checked_sub(1),
    }
    .ok_or(WireError::BadIndex {
        index: header.index,
        len,
    })?;
    let flags = datagram.get_mut(FLAGS_AT).ok_or(WireError::Truncated)?;
    *flags = *flags & !(3 << INDEX_SHIFT) | index << INDEX_SHIFT;
    Ok(())
}

fn read_route(r: &mut Reader<'_>, len: u8) -> Result<Route, WireError> {
    let mut edges = [None; Route::MAX_EDGES];
    for slot in &mut edges[..usize::from(len)] {
        *slot = Some(EdgeId::new(r.u16()?).ok_or(WireError::NoEdge)?);
    }
    Ok(match edges {
        [Some(a), Some(b), Some(c)] => Route::new(&[a, b, c])?,
        [Some(a), Some(b), _] => Route::new(&[a, b])?,
        [Some(a), ..] => Route::new(&[a])?,
        _ => Route::DIRECT,
    })
}
