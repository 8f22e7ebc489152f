//! TLS made of our identities: who proves what to whom on each kind of connection.
//!
//! | connection | server proves | client proves | function |
//! |---|---|---|---|
//! | agent–edge, edge–edge, edge–controller | by our roots, the name asked for | by our roots | [`server`], [`client`] |
//! | open probing | a fingerprint, or nothing | nothing | [`server`], [`fingerprint_client`], [`insecure_client`] |
//! | HTTPS to the controller | a pinned CA, the controller's name | nothing | [`https_server`], [`pinned_client`] |
//!
//! Only TLS 1.3 (but for HTTPS), no early data. Sessions are resumed; whoever accepts a connection calls
//! [`super::peer::check`], resumed or not.

mod verify;

use std::{
    fmt,
    sync::{Arc, PoisonError, RwLock},
};

use rustls::{
    ClientConfig, RootCertStore, ServerConfig,
    client::{ResolvesClientCert, Resumption, danger::ServerCertVerifier},
    crypto::CryptoProvider,
    server::{ClientHello, NoServerSessionStorage, ResolvesServerCert, ServerSessionMemoryCache},
    sign::CertifiedKey,
    version::{TLS12, TLS13},
};

use super::{
    ca::Roots,
    certificate::{Fingerprint, Pin, sha256},
    key::Credentials,
    trusted_time::TrustedTime,
};

pub use verify::PinMismatch;

/// Sessions that a server remembers, oldest out: about 1 kB each, two for each client.
const SERVER_SESSIONS: usize = 8_192;
/// Servers whose sessions a client remembers.
const CLIENT_SESSIONS: usize = 64;

/// Why no TLS configuration could be made.
#[derive(Debug, thiserror::Error)]
pub enum TlsError {
    #[error("the key and certificate cannot be used for TLS")]
    Credentials(#[source] rustls::Error),
    #[error("a root certificate cannot be used for TLS")]
    Root(#[source] rustls::Error),
    #[error("TLS cannot be set up")]
    Config(#[source] rustls::Error),
}

/// The cryptography that everything uses outside simulations.
pub fn provider() -> Arc<CryptoProvider> {
    Arc::new(rustls::crypto::ring::default_provider())
}

/// Who this process is and whom it trusts. Configurations made of it see at once when it is renewed.
pub struct Standing {
    provider: Arc<CryptoProvider>,
    time: Arc<TrustedTime>,
    reset_key: [u8; 32],
    own: RwLock<Arc<CertifiedKey>>,
    roots: RwLock<Arc<RootCertStore>>,
    /// The same, for what is not TLS.
    known_roots: RwLock<Arc<Roots>>,
}

impl Standing {
    pub fn new(
        credentials: Credentials,
        roots: &Roots,
        time: Arc<TrustedTime>,
        provider: Arc<CryptoProvider>,
    ) -> Result<Arc<Self>, TlsError> {
        let labelled = [b"corridor stateless reset", credentials.key.secret_der()].concat();
        Ok(Arc::new(Self {
            reset_key: sha256(&labelled),
            own: RwLock::new(certified(credentials, &provider)?),
            roots: RwLock::new(store(roots)?),
            known_roots: RwLock::new(Arc::new(roots.clone())),
            time,
            provider,
        }))
    }

    /// Takes the place of what was there, for handshakes from now on. For a renewal, that is, for the same
    /// peer: after joining anew make a new [`Standing`], or sessions of the old identity are resumed.
    pub fn renew(&self, credentials: Credentials, roots: &Roots) -> Result<(), TlsError> {
        let (own, stored) = (certified(credentials, &self.provider)?, store(roots)?);
        *self.own.write().unwrap_or_else(PoisonError::into_inner) = own;
        *self.roots.write().unwrap_or_else(PoisonError::into_inner) = stored;
        *self.known_roots.write().unwrap_or_else(PoisonError::into_inner) = Arc::new(roots.clone());
        Ok(())
    }

    /// A secret that lasts as long as the own key, for QUIC's stateless resets (RFC 9000 §10.3).
    pub fn reset_key(&self) -> [u8; 32] {
        self.reset_key
    }

    pub fn time(&self) -> &Arc<TrustedTime> {
        &self.time
    }

    /// The roots that certificates and grants are judged by now.
    pub fn known_roots(&self) -> Arc<Roots> {
        self.known_roots
            .read()
            .unwrap_or_else(PoisonError::into_inner)
            .clone()
    }

    fn own(&self) -> Arc<CertifiedKey> {
        self.own.read().unwrap_or_else(PoisonError::into_inner).clone()
    }

    fn roots(&self) -> Arc<RootCertStore> {
        self.roots.read().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

impl fmt::Debug for Standing {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let chain = &self.own().cert;
        f.debug_struct("Standing")
            .field("own", &chain.first().map(Fingerprint::of))
            .field("time", &self.time)
            .finish_non_exhaustive()
    }
}

/// What a QUIC server wants of its clients.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ClientCertificates {
    /// A certificate by our roots, or no connection.
    Required,
    /// One by our roots, or none: for an edge that also allows open probing. Whoever accepts the
    /// connection tells the two apart by ALPN, and refuses all but probing without a certificate.
    Optional,
    /// Not asked for: open probing only.
    None,
}

/// A QUIC server of ours.
pub fn server(
    standing: &Arc<Standing>,
    clients: ClientCertificates,
    alpn: &[&[u8]],
) -> Result<ServerConfig, TlsError> {
    let builder = ServerConfig::builder_with_details(standing.provider.clone(), standing.time.clone())
        .with_protocol_versions(&[&TLS13])
        .map_err(TlsError::Config)?;
    let builder = match clients {
        ClientCertificates::None => builder.with_no_client_auth(),
        ClientCertificates::Required => {
            builder.with_client_cert_verifier(Arc::new(verify::ByRoots::clients(standing, true)))
        }
        ClientCertificates::Optional => {
            builder.with_client_cert_verifier(Arc::new(verify::ByRoots::clients(standing, false)))
        }
    };
    let mut config = builder.with_cert_resolver(Arc::new(Own(standing.clone())));
    config.session_storage = ServerSessionMemoryCache::new(SERVER_SESSIONS);
    config.alpn_protocols = protocols(alpn);
    Ok(config)
}

/// A QUIC client of ours: shows its own certificate, and expects one by our roots that names whom it
/// asks for ([`super::Peer::dns_name`]).
pub fn client(standing: &Arc<Standing>, alpn: &[&[u8]]) -> Result<ClientConfig, TlsError> {
    let config = ClientConfig::builder_with_details(standing.provider.clone(), standing.time.clone())
        .with_protocol_versions(&[&TLS13])
        .map_err(TlsError::Config)?
        .dangerous()
        .with_custom_certificate_verifier(Arc::new(verify::ByRoots::servers(standing)))
        .with_client_cert_resolver(Arc::new(Own(standing.clone())));
    Ok(finish_client(config, alpn))
}

/// A prober without an identity that knows the server's certificate by its fingerprint.
pub fn fingerprint_client(
    provider: &Arc<CryptoProvider>,
    fingerprint: Fingerprint,
    alpn: &[&[u8]],
) -> Result<ClientConfig, TlsError> {
    probing_client(provider, Some(fingerprint), alpn)
}

/// A prober that takes any server: who answers, and who listens, is not known.
pub fn insecure_client(provider: &Arc<CryptoProvider>, alpn: &[&[u8]]) -> Result<ClientConfig, TlsError> {
    probing_client(provider, None, alpn)
}

fn probing_client(
    provider: &Arc<CryptoProvider>,
    fingerprint: Option<Fingerprint>,
    alpn: &[&[u8]],
) -> Result<ClientConfig, TlsError> {
    let verifier = verify::ByFingerprint::new(fingerprint, provider);
    anonymous_client(provider, &[&TLS13], Arc::new(verifier), alpn)
}

/// A client of the controller's HTTPS that knows its CA by pins: any of them will do. It takes whatever
/// host name or address was dialled, and does not judge by time, which it may be about to ask for.
pub fn pinned_client(provider: &Arc<CryptoProvider>, pins: &[Pin]) -> Result<ClientConfig, TlsError> {
    let verifier = verify::ByPin::new(pins, provider);
    // TLS 1.2 for the sake of proxies that break and mend TLS only as far as they know it; no ALPN, so
    // HTTP/1.1.
    anonymous_client(provider, &[&TLS13, &TLS12], Arc::new(verifier), &[])
}

/// A client of the controller's HTTPS that has its roots. Like [`pinned_client`], by their keys.
pub fn rooted_client(provider: &Arc<CryptoProvider>, roots: &Roots) -> Result<ClientConfig, TlsError> {
    pinned_client(provider, &roots.pins())
}

fn anonymous_client(
    provider: &Arc<CryptoProvider>,
    versions: &[&'static rustls::SupportedProtocolVersion],
    verifier: Arc<dyn ServerCertVerifier>,
    alpn: &[&[u8]],
) -> Result<ClientConfig, TlsError> {
    let config = ClientConfig::builder_with_provider(provider.clone())
        .with_protocol_versions(versions)
        .map_err(TlsError::Config)?
        .dangerous()
        .with_custom_certificate_verifier(verifier)
        .with_no_client_auth();
    Ok(finish_client(config, alpn))
}

/// The controller's HTTPS server: no client certificates, HTTP/2 and HTTP/1.1. `standing` holds what
/// [`super::Ca::issue_https`] gave, and is renewed in place.
pub fn https_server(standing: &Arc<Standing>) -> Result<ServerConfig, TlsError> {
    let mut config = ServerConfig::builder_with_details(standing.provider.clone(), standing.time.clone())
        .with_protocol_versions(&[&TLS13, &TLS12])
        .map_err(TlsError::Config)?
        .with_no_client_auth()
        .with_cert_resolver(Arc::new(Own(standing.clone())));
    // Clients come to join once, or are browsers, which manage: nothing to remember.
    config.session_storage = Arc::new(NoServerSessionStorage {});
    config.alpn_protocols = protocols(&[b"h2", b"http/1.1"]);
    Ok(config)
}

fn finish_client(mut config: ClientConfig, alpn: &[&[u8]]) -> ClientConfig {
    config.resumption = Resumption::in_memory_sessions(CLIENT_SESSIONS);
    config.alpn_protocols = protocols(alpn);
    config
}

fn protocols(alpn: &[&[u8]]) -> Vec<Vec<u8>> {
    alpn.iter().map(|p| p.to_vec()).collect()
}

fn certified(credentials: Credentials, provider: &CryptoProvider) -> Result<Arc<CertifiedKey>, TlsError> {
    CertifiedKey::from_der(credentials.chain, credentials.key, provider)
        .map(Arc::new)
        .map_err(TlsError::Credentials)
}

fn store(roots: &Roots) -> Result<Arc<RootCertStore>, TlsError> {
    let mut store = RootCertStore::empty();
    for root in roots.certificates() {
        store.add(root.clone()).map_err(TlsError::Root)?;
    }
    Ok(Arc::new(store))
}

/// Shows the certificate that [`Standing`] holds at that moment.
#[derive(Debug)]
struct Own(Arc<Standing>);

impl ResolvesServerCert for Own {
    fn resolve(&self, _: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        Some(self.0.own())
    }
}

impl ResolvesClientCert for Own {
    fn resolve(&self, _: &[&[u8]], _: &[rustls::SignatureScheme]) -> Option<Arc<CertifiedKey>> {
        Some(self.0.own())
    }

    fn has_certs(&self) -> bool {
        true
    }
}

#[cfg(test)]
mod tests;
