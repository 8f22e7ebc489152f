//! Who is who: the controller's certificate authority, the certificates and keys of agents and edges,
//! the tokens that buy them, TLS made of all that, and the time by which certificates are judged.
//!
//! A certificate is judged three times: by TLS when it is first shown, by [`peer::check`] after every
//! handshake (TLS skips the client's certificate when a session is resumed), and by whoever learns of a
//! revocation while a connection lives.

pub mod ca;
pub mod certificate;
pub mod enrol_client;
mod file;
pub mod key;
pub mod material;
pub mod peer;
mod pem;
#[cfg(test)]
pub(crate) mod testing;
pub mod tls;
pub mod token;
pub mod trusted_time;

pub use ca::{Ca, CaError, RENEWED_AFTER, Roots, Subject};
pub use certificate::{Certificate, CertificateError, Fingerprint, Pin};
pub use enrol_client::EnrolError;
pub use file::{FileError, write as write_private};
pub(crate) use file::{create_dir, read_secret};
pub use key::{Credentials, KeyError, SecretKey, system_rng};
pub use material::{Material, MaterialError, Own};
pub use peer::{Peer, PeerError, Revoked};
pub(crate) use pem::encode_certificates;
pub use tls::{Standing, TlsError};
pub use token::{Token, TokenError};
pub use trusted_time::{Reading, Source, TrustedTime};
