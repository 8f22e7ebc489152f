//! Reading certificates and certificate requests: hostile bytes in, typed facts out.

use std::fmt;

use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
use corridor_probes::Wall;
use ring::digest::{SHA256, digest};
use rustls::pki_types::{CertificateDer, CertificateSigningRequestDer, pem::PemObject as _};
use x509_parser::{
    certification_request::X509CertificationRequest,
    extensions::GeneralName,
    oid_registry::OID_SIG_ED25519,
    prelude::{FromDer as _, X509Certificate},
};

/// The longest certificate request, PEM, in bytes; ours have about 250.
pub const MAX_REQUEST: usize = 4 * 1024;

/// Why bytes are not a certificate (or a request for one) that can be used.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum CertificateError {
    #[error("the certificate is malformed")]
    Malformed,
    #[error("the certificate request is over {MAX_REQUEST} bytes long")]
    RequestTooLong,
    #[error("the certificate request is not PKCS #10 in PEM")]
    NotARequest,
    #[error("the certificate request is not for an Ed25519 key")]
    RequestKey,
    #[error("the certificate request is not signed by its own key")]
    RequestSignature,
}

macro_rules! hash {
    ($(#[$doc:meta])* $name:ident) => {
        $(#[$doc])*
        #[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub struct $name(pub [u8; 32]);

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(&URL_SAFE_NO_PAD.encode(self.0))
            }
        }

        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(f, concat!(stringify!($name), "({})"), self)
            }
        }

        impl std::str::FromStr for $name {
            type Err = BadHash;

            fn from_str(text: &str) -> Result<Self, BadHash> {
                let mut hash = [0; 32];
                match URL_SAFE_NO_PAD.decode_slice(text, &mut hash) {
                    Ok(32) => Ok(Self(hash)),
                    _ => Err(BadHash),
                }
            }
        }
    };
}

/// A text is not a SHA-256 in base64url.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("a fingerprint has 43 characters of base64url")]
pub struct BadHash;

hash! {
    /// SHA-256 of a public key (SubjectPublicKeyInfo, DER): names a CA whatever certificates it has.
    /// As text: 43 characters of base64url.
    Pin
}
hash! {
    /// SHA-256 of a whole certificate, DER. As text: 43 characters of base64url.
    Fingerprint
}

impl Pin {
    pub fn of(public_key: &[u8]) -> Self {
        Self(sha256(public_key))
    }
}

impl Fingerprint {
    pub fn of(certificate: &CertificateDer<'_>) -> Self {
        Self(sha256(certificate))
    }
}

pub(crate) fn sha256(bytes: &[u8]) -> [u8; 32] {
    let mut hash = [0; 32];
    hash.copy_from_slice(digest(&SHA256, bytes).as_ref());
    hash
}

/// What Corridor wants to know of a certificate. Reading one verifies nothing.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Certificate {
    /// DNS names among the subject's alternative names, at most 16.
    pub dns_names: Vec<String>,
    pub not_before: Wall,
    /// The last second at which it is valid.
    pub not_after: Wall,
    /// SubjectPublicKeyInfo, DER.
    pub public_key: Vec<u8>,
    pub is_ca: bool,
}

impl Certificate {
    pub fn read(der: &CertificateDer<'_>) -> Result<Self, CertificateError> {
        let (rest, x509) = X509Certificate::from_der(der).map_err(|_| CertificateError::Malformed)?;
        if !rest.is_empty() {
            return Err(CertificateError::Malformed);
        }
        let names = x509
            .subject_alternative_name()
            .map_err(|_| CertificateError::Malformed)?;
        let dns_names = names.iter().flat_map(|n| &n.value.general_names);
        Ok(Self {
            dns_names: dns_names
                .filter_map(|name| match name {
                    GeneralName::DNSName(name) => Some((*name).to_owned()),
                    _ => None,
                })
                .take(16)
                .collect(),
            not_before: Wall::from_secs(x509.validity().not_before.timestamp()),
            not_after: Wall::from_secs(x509.validity().not_after.timestamp()),
            public_key: x509.public_key().raw.to_vec(),
            is_ca: x509.is_ca(),
        })
    }

    pub fn pin(&self) -> Pin {
        Pin::of(&self.public_key)
    }
}

/// The public key (SubjectPublicKeyInfo, DER) that a PKCS #10 request in PEM is for, once its signature
/// has shown that the sender has the private one. Whatever else the request asks for is ignored.
pub fn requested_key(request: &str) -> Result<Vec<u8>, CertificateError> {
    if request.len() > MAX_REQUEST {
        return Err(CertificateError::RequestTooLong);
    }
    let der = CertificateSigningRequestDer::from_pem_slice(request.as_bytes())
        .map_err(|_| CertificateError::NotARequest)?;
    let (rest, parsed) =
        X509CertificationRequest::from_der(&der).map_err(|_| CertificateError::NotARequest)?;
    if !rest.is_empty() {
        return Err(CertificateError::NotARequest);
    }
    let key = &parsed.certification_request_info.subject_pki;
    if key.algorithm.algorithm != OID_SIG_ED25519 || key.subject_public_key.data.len() != 32 {
        return Err(CertificateError::RequestKey);
    }
    parsed
        .verify_signature()
        .map_err(|_| CertificateError::RequestSignature)?;
    Ok(key.raw.to_vec())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::identity::{key::SecretKey, pem};
    use proptest::prelude::*;
    use rand::{SeedableRng as _, rngs::StdRng};

    fn request() -> (SecretKey, String) {
        let key = SecretKey::generate(&mut StdRng::seed_from_u64(3)).unwrap();
        let request = key.request().unwrap();
        (key, request)
    }

    fn der(request: &str) -> Vec<u8> {
        CertificateSigningRequestDer::from_pem_slice(request.as_bytes())
            .unwrap()
            .to_vec()
    }

    #[test]
    fn a_request_gives_its_key() {
        let (key, request) = request();
        assert_eq!(requested_key(&request).unwrap(), key.public_key());
    }

    #[test]
    fn a_request_with_one_bit_turned_is_never_taken_for_another_key() {
        let (key, request) = request();
        let good = der(&request);
        for bit in 0..good.len() * 8 {
            let mut bad = good.clone();
            bad[bit / 8] ^= 1 << (bit % 8);
            if let Ok(found) = requested_key(&pem::encode("CERTIFICATE REQUEST", &bad)) {
                assert_eq!(found, key.public_key(), "bit {bit}");
            }
        }
    }

    #[test]
    fn other_keys_and_garbage_are_refused() {
        let p256 = rcgen::KeyPair::generate().unwrap();
        let other = rcgen::CertificateParams::default()
            .serialize_request(&p256)
            .unwrap()
            .pem()
            .unwrap();
        let mut trailing = der(&request().1);
        trailing.push(0);
        for (text, error) in [
            (other.as_str(), CertificateError::RequestKey),
            ("", CertificateError::NotARequest),
            (
                &pem::encode("CERTIFICATE", &der(&request().1)),
                CertificateError::NotARequest,
            ),
            (
                &pem::encode("CERTIFICATE REQUEST", &trailing),
                CertificateError::NotARequest,
            ),
            (&"x".repeat(MAX_REQUEST + 1), CertificateError::RequestTooLong),
        ] {
            assert_eq!(requested_key(text), Err(error), "{text}");
        }
    }

    #[test]
    fn a_hash_comes_back_from_its_text() {
        let pin = Pin::of(b"key");
        assert_eq!(pin.to_string().parse(), Ok(pin));
        assert_eq!(pin.to_string().len(), 43);
        for bad in [
            "",
            "AAAA",
            &format!("{pin}A"),
            &pin.to_string().replace(|c: char| c.is_ascii_lowercase(), "+"),
        ] {
            assert_eq!(bad.parse::<Pin>(), Err(BadHash), "{bad}");
        }
    }

    proptest! {
        #[test]
        fn no_bytes_make_a_parser_panic(bytes in proptest::collection::vec(any::<u8>(), 0..600)) {
            let _ = Certificate::read(&CertificateDer::from(bytes.clone()));
            let _ = requested_key(&pem::encode("CERTIFICATE REQUEST", &bytes));
        }
    }
}
