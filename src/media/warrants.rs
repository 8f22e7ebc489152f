//! What a signed grant is worth to a process: by the roots that it knows, the controller's time, and the list of
//! what was revoked.

use std::{fmt, sync::Arc, time::Duration};

use super::{
    gate::Warrants,
    grant::{Grant, GrantError, GrantId},
    wire::Answer,
};
use crate::identity::Standing;

/// See the module's documentation.
pub struct Judge<R> {
    standing: Arc<Standing>,
    is_revoked: R,
}

impl<R: Fn(GrantId) -> bool> Judge<R> {
    /// `is_revoked` is asked each time.
    pub const fn new(standing: Arc<Standing>, is_revoked: R) -> Self {
        Self { standing, is_revoked }
    }
}

impl<R: Fn(GrantId) -> bool + Send + Sync> Warrants for Judge<R> {
    fn judge(&self, signed: &[u8]) -> Result<(Grant, Duration), Answer> {
        let grant = Grant::verify(signed, &self.standing.known_roots())?;
        let now = self.standing.time().read();
        grant.check_time(now)?;
        if (self.is_revoked)(grant.id) {
            return Err(Answer::Revoked);
        }
        let life = grant.until.since(now.earliest);
        Ok((grant, life))
    }
}

impl<R> fmt::Debug for Judge<R> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Judge").finish_non_exhaustive()
    }
}

impl From<GrantError> for Answer {
    fn from(error: GrantError) -> Self {
        match error {
            GrantError::TooLong(_) | GrantError::Malformed | GrantError::Signature => Self::BadGrant,
            GrantError::Expired { .. } | GrantError::NotYetValid { .. } => Self::Expired,
            GrantError::Agent { .. } => Self::NotYours,
            GrantError::FarEnd(_) | GrantError::Edge { .. } | GrantError::NoEdge(_) => Self::NotGranted,
        }
    }
}
