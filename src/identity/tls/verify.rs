//! Whom a handshake accepts.

use std::sync::Arc;

use rustls::{
    CertificateError, DigitallySignedStruct, DistinguishedName, Error, OtherError, RootCertStore,
    SignatureScheme,
    client::{
        WebPkiServerVerifier,
        danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier},
    },
    crypto::{CryptoProvider, WebPkiSupportedAlgorithms, verify_tls12_signature, verify_tls13_signature},
    pki_types::{CertificateDer, ServerName, UnixTime},
    server::{
        WebPkiClientVerifier,
        danger::{ClientCertVerified, ClientCertVerifier},
    },
};

use super::Standing;
use crate::identity::{
    certificate::{Certificate, Fingerprint, Pin},
    peer::{Peer, whole_second},
    trusted_time::{Reading, unix_time},
};

/// The other end is not who was pinned: a wrong address, or someone in between.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("its certificate is not of the authority that is expected there")]
pub struct PinMismatch;

fn pin_mismatch() -> Error {
    Error::InvalidCertificate(CertificateError::Other(OtherError(Arc::new(PinMismatch))))
}

fn invalid(error: CertificateError) -> Error {
    Error::InvalidCertificate(error)
}

/// The moment at which to verify the certificate: the best guess, drawn into the certificate's own life
/// as far as the bounds of the controller's time allow.
fn judged_at(leaf: &CertificateDer<'_>, now: Reading) -> Result<UnixTime, Error> {
    let leaf = Certificate::read(leaf).map_err(|_| invalid(CertificateError::BadEncoding))?;
    if leaf.not_after < whole_second(now.earliest) {
        return Err(invalid(CertificateError::Expired));
    }
    if now.latest < leaf.not_before {
        return Err(invalid(CertificateError::NotValidYet));
    }
    Ok(unix_time(now.at.min(leaf.not_after).max(leaf.not_before)))
}

macro_rules! verify_signatures {
    () => {
        fn verify_tls12_signature(
            &self,
            message: &[u8],
            cert: &CertificateDer<'_>,
            dss: &DigitallySignedStruct,
        ) -> Result<HandshakeSignatureValid, Error> {
            verify_tls12_signature(message, cert, dss, &self.algorithms)
        }

        fn verify_tls13_signature(
            &self,
            message: &[u8],
            cert: &CertificateDer<'_>,
            dss: &DigitallySignedStruct,
        ) -> Result<HandshakeSignatureValid, Error> {
            verify_tls13_signature(message, cert, dss, &self.algorithms)
        }

        fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
            self.algorithms.supported_schemes()
        }
    };
}

/// Certificates by our roots, judged by the controller's time.
#[derive(Debug)]
pub(super) struct ByRoots {
    standing: Arc<Standing>,
    /// Of clients.
    mandatory: bool,
    algorithms: WebPkiSupportedAlgorithms,
}

impl ByRoots {
    pub(super) fn clients(standing: &Arc<Standing>, mandatory: bool) -> Self {
        Self {
            mandatory,
            standing: standing.clone(),
            algorithms: standing.provider.signature_verification_algorithms,
        }
    }

    pub(super) fn servers(standing: &Arc<Standing>) -> Self {
        Self::clients(standing, true)
    }
}

impl ServerCertVerifier for ByRoots {
    fn verify_server_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        server_name: &ServerName<'_>,
        ocsp_response: &[u8],
        _: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        let at = judged_at(end_entity, self.standing.time.read())?;
        server_by(self.standing.roots(), &self.standing.provider)?.verify_server_cert(
            end_entity,
            intermediates,
            server_name,
            ocsp_response,
            at,
        )
    }

    verify_signatures!();
}

impl ClientCertVerifier for ByRoots {
    fn client_auth_mandatory(&self) -> bool {
        self.mandatory
    }

    fn root_hint_subjects(&self) -> &[DistinguishedName] {
        // Clients of ours have one certificate to show.
        &[]
    }

    fn verify_client_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        _: UnixTime,
    ) -> Result<ClientCertVerified, Error> {
        let at = judged_at(end_entity, self.standing.time.read())?;
        WebPkiClientVerifier::builder_with_provider(self.standing.roots(), self.standing.provider.clone())
            .build()
            .map_err(|e| Error::General(e.to_string()))?
            .verify_client_cert(end_entity, intermediates, at)
    }

    verify_signatures!();
}

/// The controller, by the public key of a CA that stands in its chain.
#[derive(Debug)]
pub(super) struct ByPin {
    pins: Vec<Pin>,
    provider: Arc<CryptoProvider>,
    algorithms: WebPkiSupportedAlgorithms,
}

impl ByPin {
    pub(super) fn new(pins: &[Pin], provider: &Arc<CryptoProvider>) -> Self {
        Self {
            pins: pins.to_vec(),
            provider: provider.clone(),
            algorithms: provider.signature_verification_algorithms,
        }
    }
}

impl ServerCertVerifier for ByPin {
    fn verify_server_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        _: &ServerName<'_>,
        ocsp_response: &[u8],
        _: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        let mut roots = RootCertStore::empty();
        for certificate in intermediates {
            let read = Certificate::read(certificate).map_err(|_| invalid(CertificateError::BadEncoding))?;
            if read.is_ca && self.pins.contains(&read.pin()) {
                roots.add(certificate.clone().into_owned())?;
            }
        }
        if roots.is_empty() {
            return Err(pin_mismatch());
        }
        let controller = ServerName::try_from(Peer::Controller.dns_name())
            .map_err(|_| Error::General("the controller's name is no DNS name".into()))?;
        let at = judged_at(end_entity, Reading::UNKNOWN)?;
        server_by(Arc::new(roots), &self.provider)?
            .verify_server_cert(end_entity, intermediates, &controller, ocsp_response, at)
            .map_err(|error| match error {
                // The pinned CA is in the chain, as anybody's can be, but has not signed this.
                Error::InvalidCertificate(
                    CertificateError::UnknownIssuer | CertificateError::BadSignature,
                ) => pin_mismatch(),
                error => error,
            })
    }

    verify_signatures!();
}

/// One certificate, whoever it names; or any.
#[derive(Debug)]
pub(super) struct ByFingerprint {
    fingerprint: Option<Fingerprint>,
    algorithms: WebPkiSupportedAlgorithms,
}

impl ByFingerprint {
    pub(super) fn new(fingerprint: Option<Fingerprint>, provider: &CryptoProvider) -> Self {
        Self {
            fingerprint,
            algorithms: provider.signature_verification_algorithms,
        }
    }
}

impl ServerCertVerifier for ByFingerprint {
    fn verify_server_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        _: &[CertificateDer<'_>],
        _: &ServerName<'_>,
        _: &[u8],
        _: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        match self.fingerprint {
            Some(expected) if expected != Fingerprint::of(end_entity) => Err(pin_mismatch()),
            _ => Ok(ServerCertVerified::assertion()),
        }
    }

    verify_signatures!();
}

fn server_by(
    roots: Arc<RootCertStore>,
    provider: &Arc<CryptoProvider>,
) -> Result<Arc<WebPkiServerVerifier>, Error> {
    WebPkiServerVerifier::builder_with_provider(roots, provider.clone())
        .build()
        .map_err(|e| Error::General(e.to_string()))
}
