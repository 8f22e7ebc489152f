//! Private keys. All are Ed25519, so that keys, signatures and certificates have fixed sizes and signing
//! is deterministic; the HTTPS certificate alone is ECDSA P-256, since browsers do not take Ed25519.

use std::fmt;

use rand::{CryptoRng, rand_core::UnwrapErr, rngs::SysRng};
use rcgen::{CertificateParams, DistinguishedName, PublicKeyData as _};
use rustls::pki_types::{CertificateDer, PrivateKeyDer, PrivatePkcs8KeyDer, pem::PemObject as _};

/// RFC 8410 §7: PKCS #8 version 1 of an Ed25519 key, up to its 32 bytes.
const PKCS8_HEAD: [u8; 16] = [
    0x30, 0x2e, 0x02, 0x01, 0x00, 0x30, 0x05, 0x06, 0x03, 0x2b, 0x65, 0x70, 0x04, 0x22, 0x04, 0x20,
];

/// A key could not be made, read or used.
#[derive(Debug, Clone, thiserror::Error)]
pub enum KeyError {
    #[error("this is not an Ed25519 private key in PKCS #8")]
    NotAKey,
    #[error("cannot make a certificate request")]
    Request(#[source] rcgen::Error),
}

/// The operating system's generator. It panics if the system has no randomness to give.
pub fn system_rng() -> UnwrapErr<SysRng> {
    UnwrapErr(SysRng)
}

/// An Ed25519 private key.
pub struct SecretKey {
    pair: rcgen::KeyPair,
}

impl SecretKey {
    pub fn generate(rng: &mut dyn CryptoRng) -> Result<Self, KeyError> {
        let mut der = Vec::with_capacity(PKCS8_HEAD.len() + 32);
        der.extend_from_slice(&PKCS8_HEAD);
        let mut seed = [0; 32];
        rng.fill_bytes(&mut seed);
        der.extend_from_slice(&seed);
        Self::from_der(&PrivatePkcs8KeyDer::from(der))
    }

    pub fn from_pem(text: &str) -> Result<Self, KeyError> {
        let der = PrivatePkcs8KeyDer::from_pem_slice(text.as_bytes()).map_err(|_| KeyError::NotAKey)?;
        Self::from_der(&der)
    }

    fn from_der(der: &PrivatePkcs8KeyDer<'_>) -> Result<Self, KeyError> {
        rcgen::KeyPair::from_pkcs8_der_and_sign_algo(der, &rcgen::PKCS_ED25519)
            .map(|pair| Self { pair })
            .map_err(|_| KeyError::NotAKey)
    }

    pub fn to_pem(&self) -> String {
        self.pair.serialize_pem()
    }

    /// SubjectPublicKeyInfo, DER: 44 bytes.
    pub fn public_key(&self) -> Vec<u8> {
        self.pair.subject_public_key_info()
    }

    /// A PKCS #10 request, PEM, that proves possession of the key and asks for nothing: what the
    /// certificate says is the controller's to decide.
    pub fn request(&self) -> Result<String, KeyError> {
        let mut params = CertificateParams::default();
        params.distinguished_name = DistinguishedName::new();
        let request = params.serialize_request(&self.pair).map_err(KeyError::Request)?;
        request.pem().map_err(KeyError::Request)
    }

    pub(crate) fn signer(&self) -> &rcgen::KeyPair {
        &self.pair
    }

    pub(crate) fn to_der(&self) -> PrivateKeyDer<'static> {
        PrivatePkcs8KeyDer::from(self.pair.serialize_der()).into()
    }
}

impl fmt::Debug for SecretKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("SecretKey(…)")
    }
}

/// What a process shows to prove who it is: its certificate, what links that to its root, and its key.
pub struct Credentials {
    /// The leaf first.
    pub chain: Vec<CertificateDer<'static>>,
    pub key: PrivateKeyDer<'static>,
}

impl Clone for Credentials {
    fn clone(&self) -> Self {
        Self {
            chain: self.chain.clone(),
            key: self.key.clone_key(),
        }
    }
}

impl fmt::Debug for Credentials {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Credentials")
            .field("certificates", &self.chain.len())
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use rand::{SeedableRng as _, rngs::StdRng};

    #[test]
    fn a_seed_gives_one_key_and_one_request() {
        let make = |seed| SecretKey::generate(&mut StdRng::seed_from_u64(seed)).unwrap();
        assert_eq!(make(1).request().unwrap(), make(1).request().unwrap());
        assert_ne!(make(1).public_key(), make(2).public_key());
        assert_eq!(make(1).public_key().len(), 44);
    }

    #[test]
    fn a_key_comes_back_from_its_text() {
        let key = SecretKey::generate(&mut system_rng()).unwrap();
        let again = SecretKey::from_pem(&key.to_pem()).unwrap();
        assert_eq!(again.public_key(), key.public_key());
        assert_eq!(format!("{key:?}"), "SecretKey(…)");
    }

    #[test]
    fn other_keys_are_refused() {
        let p256 = rcgen::KeyPair::generate().unwrap().serialize_pem();
        for text in [
            "",
            "-----BEGIN PRIVATE KEY-----\n-----END PRIVATE KEY-----\n",
            p256.as_str(),
        ] {
            assert!(SecretKey::from_pem(text).is_err(), "{text}");
        }
    }
}
