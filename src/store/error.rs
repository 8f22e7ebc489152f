//! What may go wrong in a store.

use std::{error::Error, path::PathBuf};

/// Why an enrolment was refused. Nothing was used up.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Refusal {
    #[error("there is no such join token")]
    TokenUnknown,
    #[error("the join token has expired")]
    TokenExpired,
    #[error("the join token was revoked")]
    TokenRevoked,
    #[error("the join token has been used up")]
    TokenUsedUp,
    #[error("the join token is for another service")]
    WrongService,
    #[error("the join token is for another name")]
    WrongName,
    #[error("there is an edge called '{0}' already; revoke it first")]
    NameTaken(String),
    #[error("the agent's id has been given already")]
    IdTaken,
    #[error("all edge numbers have been given")]
    NoEdgeIds,
}

/// A store's error. Unless it says otherwise, what the call should have changed is unchanged.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    /// No room. Nothing was acknowledged; the same call succeeds when there is room again.
    #[error("{}: the disk is full", path.display())]
    Full { path: PathBuf },
    #[error("{}: in use by another process; a data directory has one controller", path.display())]
    Locked { path: PathBuf },
    #[error(
        "{}: written by a newer version (its schema is {found}, this program knows {known}); \
         run that version, or restore a backup made by this one", path.display()
    )]
    Newer { path: PathBuf, found: i64, known: i64 },
    /// Only ever of the file without which nothing goes on; others are set aside.
    #[error(
        "{}: damaged ({detail}). It holds all identities, so the controller does not go on without it. \
         Put a backup of it in its place, or, if there is none, move everything in its directory away to \
         begin with an empty store: every agent and edge must then join anew", path.display()
    )]
    Damaged { path: PathBuf, detail: String },
    #[error(
        "{}: missing, though its directory was in use. Put a backup of it in its place, or, if there is \
         none, move everything in its directory away to begin with an empty store: every agent and edge \
         must then join anew", path.display()
    )]
    Missing { path: PathBuf },
    #[error(transparent)]
    Refused(#[from] Refusal),
    /// An erased subject's pseudonym is in use, or is the subject itself.
    #[error("'{0}' is not free to be a pseudonym")]
    PseudonymTaken(String),
    #[error("{}: {what}", path.display())]
    Backend {
        path: PathBuf,
        /// What was being done.
        what: &'static str,
        #[source]
        source: Box<dyn Error + Send + Sync>,
    },
}
