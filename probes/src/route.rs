//! A route: the edges a packet passes, in order.

use std::fmt;

use serde::{Deserialize, Serialize};

use crate::EdgeId;

/// An ordered list of 0 to 3 distinct edges. Empty is `direct`.
///
/// That no edge stands in it twice makes a forwarding loop impossible: each edge hands the packet to
/// the next one named, and there is no way back to an earlier one.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default, Serialize, Deserialize)]
#[serde(into = "Vec<EdgeId>", try_from = "Vec<EdgeId>")]
pub struct Route {
    edges: [Option<EdgeId>; Self::MAX_EDGES],
}

/// Why a list of edges is not a route.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum RouteError {
    #[error("a route has at most 3 edges, not {0}")]
    TooLong(usize),
    #[error("edge {0} stands in the route twice")]
    Repeated(EdgeId),
}

impl Route {
    pub const MAX_EDGES: usize = 3;
    pub const DIRECT: Self = Self { edges: [None; 3] };

    pub fn new(edges: &[EdgeId]) -> Result<Self, RouteError> {
        if edges.len() > Self::MAX_EDGES {
            return Err(RouteError::TooLong(edges.len()));
        }
        let mut route = Self::DIRECT;
        for (i, &edge) in edges.iter().enumerate() {
            if edges[..i].contains(&edge) {
                return Err(RouteError::Repeated(edge));
            }
            route.edges[i] = Some(edge);
        }
        Ok(route)
    }

    pub fn edges(&self) -> impl DoubleEndedIterator<Item = EdgeId> + '_ {
        self.edges.iter().copied().flatten()
    }

    pub fn len(&self) -> usize {
        self.edges().count()
    }

    pub fn is_direct(&self) -> bool {
        self.edges[0].is_none()
    }

    /// `is_direct` by the name that goes with [`Self::len`].
    pub fn is_empty(&self) -> bool {
        self.is_direct()
    }

    pub fn contains(&self, edge: EdgeId) -> bool {
        self.edges().any(|e| e == edge)
    }

    /// The edge nearest to the sender.
    pub fn entry(&self) -> Option<EdgeId> {
        self.edges[0]
    }

    /// The edge nearest to the far end.
    pub fn exit(&self) -> Option<EdgeId> {
        self.edges().next_back()
    }

    /// The edge at `index`, counted from the sender.
    pub fn get(&self, index: usize) -> Option<EdgeId> {
        self.edges.get(index).copied().flatten()
    }

    pub fn position(&self, edge: EdgeId) -> Option<usize> {
        self.edges().position(|e| e == edge)
    }

    /// The same edges, walked the other way.
    #[must_use]
    pub fn reversed(&self) -> Self {
        let mut back = Self::DIRECT;
        for (slot, edge) in back.edges.iter_mut().zip(self.edges().rev()) {
            *slot = Some(edge);
        }
        back
    }
}

impl From<Route> for Vec<EdgeId> {
    fn from(route: Route) -> Self {
        route.edges().collect()
    }
}

impl TryFrom<Vec<EdgeId>> for Route {
    type Error = RouteError;
    fn try_from(edges: Vec<EdgeId>) -> Result<Self, RouteError> {
        Self::new(&edges)
    }
}

impl fmt::Debug for Route {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl fmt::Display for Route {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.is_direct() {
            return f.write_str("direct");
        }
        for (i, edge) in self.edges().enumerate() {
            if i > 0 {
                f.write_str(">")?;
            }
            write!(f, "{edge}")?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn e(id: u16) -> EdgeId {
        EdgeId::new(id).unwrap()
    }

    #[test]
    fn holds_at_most_three_distinct_edges() {
        assert_eq!(Route::new(&[e(1), e(2), e(3), e(4)]), Err(RouteError::TooLong(4)));
        assert_eq!(Route::new(&[e(1), e(2), e(1)]), Err(RouteError::Repeated(e(1))));
        let route = Route::new(&[e(1), e(2), e(3)]).unwrap();
        assert_eq!(
            (route.entry(), route.exit(), route.len()),
            (Some(e(1)), Some(e(3)), 3)
        );
        assert_eq!(route.reversed(), Route::new(&[e(3), e(2), e(1)]).unwrap());
        assert_eq!(route.to_string(), "e1>e2>e3");
        assert_eq!(Route::DIRECT.to_string(), "direct");
    }

    #[test]
    fn direct_has_no_ends() {
        assert!(Route::DIRECT.is_direct());
        assert_eq!(Route::DIRECT.entry(), None);
        assert_eq!(Route::DIRECT.reversed(), Route::DIRECT);
    }
}
