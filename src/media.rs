//! Carrying the media of classes.
//!
//! | question | file |
//! |---|---|
//! | what allows an agent to have edges carry its media | `grant.rs` |

pub mod grant;
