//! An edge by itself: a reflector for measuring by hand, known by its certificate's fingerprint.
//!
//! Its identity is one file, `standalone.pem`, with the key in it, so that key and certificate cannot be
//! parted. Nobody judges the certificate by its name, issuer or time.

use std::{
    net::SocketAddr,
    path::{Path, PathBuf},
    sync::Arc,
};

use rand::RngExt as _;
use rcgen::{BasicConstraints, CertificateParams, DistinguishedName, DnType, IsCa};
use rustls::pki_types::{CertificateDer, pem::PemObject as _};

use super::{Edge, EdgeError, Setup};
use crate::{
    identity::{
        self, Certificate, Credentials, FileError, Fingerprint, KeyError, Roots, SecretKey, Standing,
        TlsError, TrustedTime, system_rng, tls,
    },
    machine::Machine,
};

const FILE: &str = "standalone.pem";
/// An Ed25519 key and a small certificate take about 600 bytes.
const MAX_FILE: u64 = 16 * 1024;

/// A running edge, and how to know it.
#[derive(Debug)]
pub struct Standalone {
    pub edge: Edge,
    pub fingerprint: Fingerprint,
}

impl Standalone {
    /// The fingerprint in hexadecimal: 64 digits.
    pub fn fingerprint_hex(&self) -> String {
        self.fingerprint.0.iter().map(|b| format!("{b:02x}")).collect()
    }
}

/// Why no edge can run by itself.
#[derive(Debug, thiserror::Error)]
pub enum StandaloneError {
    #[error(transparent)]
    File(#[from] FileError),
    #[error("{0} holds no key with its certificate")]
    Damaged(PathBuf),
    #[error(transparent)]
    Key(#[from] KeyError),
    #[error("cannot make a certificate")]
    Certificate(#[source] rcgen::Error),
    #[error(transparent)]
    Tls(#[from] TlsError),
    #[error(transparent)]
    Edge(#[from] EdgeError),
}

/// Starts an edge without a controller that answers probes to anybody. With `data` its identity is kept
/// there, and is the same at the next start.
///
/// # Panics
/// Outside a tokio runtime.
pub fn standalone(data: Option<&Path>, listen: Vec<SocketAddr>) -> Result<Standalone, StandaloneError> {
    let identity = match data {
        None => Identity::make()?,
        Some(dir) => Identity::load_or_make(dir)?,
    };
    let fingerprint = Fingerprint::of(&identity.certificate);
    let machine = Machine::system(system_rng().random());
    let edge = Edge::start(Setup {
        standing: identity.standing(TrustedTime::new(machine.clock.clone()))?,
        listen,
        open_probing: true,
        mesh_probe_size: 0,
        controller: None,
        machine,
    })?;
    Ok(Standalone { edge, fingerprint })
}

struct Identity {
    key: SecretKey,
    /// Self-signed.
    certificate: CertificateDer<'static>,
}

impl Identity {
    fn make() -> Result<Self, StandaloneError> {
        let key = SecretKey::generate(&mut system_rng())?;
        let mut params = CertificateParams::default();
        params.not_before = rcgen::date_time_ymd(2020, 1, 1);
        params.not_after = rcgen::date_time_ymd(2120, 1, 1);
        params.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
        params.distinguished_name = DistinguishedName::new();
        params
            .distinguished_name
            .push(DnType::CommonName, "Corridor edge by itself");
        let certificate = params
            .self_signed(key.signer())
            .map_err(StandaloneError::Certificate)?
            .into();
        Ok(Self { key, certificate })
    }

    fn load_or_make(dir: &Path) -> Result<Self, StandaloneError> {
        let path = dir.join(FILE);
        match identity::read_secret(&path, MAX_FILE) {
            Ok(text) => Self::parse(&text).ok_or(StandaloneError::Damaged(path)),
            Err(e) if e.is_not_found() => {
                let made = Self::make()?;
                identity::create_dir(dir)?;
                identity::write_private(&path, made.to_pem().as_bytes())?;
                Ok(made)
            }
            Err(e) => Err(e.into()),
        }
    }

    fn parse(text: &str) -> Option<Self> {
        let key = SecretKey::from_pem(text).ok()?;
        let certificate = CertificateDer::from_pem_slice(text.as_bytes()).ok()?;
        let fits = Certificate::read(&certificate).is_ok_and(|c| c.public_key == key.public_key());
        fits.then_some(Self { key, certificate })
    }

    fn to_pem(&self) -> String {
        let certificate = identity::encode_certificates(std::slice::from_ref(&self.certificate));
        self.key.to_pem() + &certificate
    }

    fn standing(&self, time: TrustedTime) -> Result<Arc<Standing>, StandaloneError> {
        let own = Credentials {
            chain: vec![self.certificate.clone()],
            key: self.key.to_der(),
        };
        // Nobody shows a certificate to it: it trusts itself alone.
        let pem = identity::encode_certificates(&own.chain);
        let roots = Roots::from_pem(&pem).ok_or(StandaloneError::Key(KeyError::NotAKey))?;
        Ok(Standing::new(own, &roots, Arc::new(time), tls::provider())?)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn fingerprint(dir: &Path) -> Result<Fingerprint, StandaloneError> {
        Identity::load_or_make(dir).map(|i| Fingerprint::of(&i.certificate))
    }

    #[test]
    fn an_identity_is_kept() {
        let root = tempfile::tempdir().unwrap();
        let dir = root.path().join("a/b");
        let first = fingerprint(&dir).unwrap();
        assert_eq!(fingerprint(&dir).unwrap(), first);
        assert_ne!(fingerprint(&root.path().join("c")).unwrap(), first);
    }

    #[test]
    fn a_damaged_or_mixed_up_file_is_refused() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join(FILE);
        let (a, b) = (Identity::make().unwrap(), Identity::make().unwrap());
        let mixed = Identity {
            key: b.key,
            certificate: a.certificate.clone(),
        };
        for text in [String::new(), a.key.to_pem(), mixed.to_pem()] {
            identity::write_private(&path, text.as_bytes()).unwrap();
            assert!(
                matches!(fingerprint(dir.path()), Err(StandaloneError::Damaged(p)) if p == path),
                "{text}"
            );
        }
        identity::write_private(&path, a.to_pem().as_bytes()).unwrap();
        assert_eq!(fingerprint(dir.path()).unwrap(), Fingerprint::of(&a.certificate));
    }
}
