//! The controller's certificate authority: its roots, and what they issue.
//!
//! A root is a key, its own certificate, and, but for the first one, a link: a certificate for the same
//! key signed by the root before. The newest root issues, and chains carry the links, so that whoever
//! trusts any root, however old, accepts what is issued today: after a rotation nobody has to enrol anew,
//! and nothing has to reach anybody first.

mod disk;

use std::{
    net::IpAddr,
    path::{Path, PathBuf},
    sync::{PoisonError, RwLock},
    time::Duration,
};

use corridor_probes::{AgentId, EdgeId, Wall};
use rand::CryptoRng;
use rcgen::{
    BasicConstraints, CertificateParams, DistinguishedName, DnType, ExtendedKeyUsagePurpose, IsCa, Issuer,
    KeyUsagePurpose, PublicKeyData, SanType, SerialNumber, SigningKey as _, SubjectPublicKeyInfo,
};
use rustls::pki_types::{CertificateDer, PrivatePkcs8KeyDer};
use time::OffsetDateTime;

use super::{
    certificate::{Certificate, CertificateError, Pin},
    file::FileError,
    key::{Credentials, KeyError, SecretKey},
    peer::Peer,
    pem,
};

/// In seconds.
const DAY: u64 = 86_400;
/// How long a certificate lives from its issue.
pub const LIFE: Duration = Duration::from_secs(14 * DAY);
/// How long before its issue its life begins: clocks of those who judge it may be behind.
pub const BACKDATED: Duration = Duration::from_secs(DAY);
/// The age from which a certificate is renewed: nine days are left for the controller to be away.
pub const RENEWED_AFTER: Duration = Duration::from_secs(5 * DAY);
/// A root's life. It ends with a rotation, not by itself.
const ROOT_LIFE: Duration = Duration::from_secs(20 * 365 * DAY);
/// The most roots that are kept side by side; chains and lists of roots stay bounded by it.
pub const MAX_ROOTS: usize = 4;

/// Why the authority could not be opened, or did not issue.
#[derive(Debug, thiserror::Error)]
pub enum CaError {
    #[error(transparent)]
    File(#[from] FileError),
    #[error("cannot read {path}")]
    Dir {
        path: PathBuf,
        #[source]
        source: std::io::Error,
    },
    #[error("{path} is not a root of the certificate authority")]
    NotARoot {
        path: PathBuf,
        #[source]
        source: Option<KeyError>,
    },
    #[error("{0} holds a root's key and certificate that do not belong together")]
    Mismatch(PathBuf),
    #[error(transparent)]
    Key(#[from] KeyError),
    #[error(transparent)]
    Certificate(#[from] CertificateError),
    #[error("cannot make a certificate")]
    Make(#[source] rcgen::Error),
    #[error("the clock stands at {} s after 1970, for which no certificate can be issued", .0.as_secs())]
    Time(Wall),
    #[error("there are {MAX_ROOTS} roots already")]
    TooManyRoots,
    #[error("there is no root")]
    NoRoot,
}

/// Whom a certificate is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Subject<'a> {
    Agent(AgentId),
    Edge { id: EdgeId, name: &'a str },
    Controller,
}

impl Subject<'_> {
    pub fn peer(self) -> Peer {
        match self {
            Self::Agent(id) => Peer::Agent(id),
            Self::Edge { id, .. } => Peer::Edge(id),
            Self::Controller => Peer::Controller,
        }
    }
}

/// CA certificates to trust. Never empty.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Roots(Vec<CertificateDer<'static>>);

impl Roots {
    /// `None` unless `text` holds at least one certificate, and nothing but CA certificates.
    pub fn from_pem(text: &str) -> Option<Self> {
        let roots = pem::certificates(text)?;
        let all_cas = roots.iter().all(|r| Certificate::read(r).is_ok_and(|c| c.is_ca));
        all_cas.then_some(Self(roots))
    }

    pub fn to_pem(&self) -> String {
        pem::encode_certificates(&self.0)
    }

    /// Oldest first.
    pub fn certificates(&self) -> &[CertificateDer<'static>] {
        &self.0
    }

    pub fn pins(&self) -> Vec<Pin> {
        let read = self.0.iter().map(Certificate::read);
        read.flatten().map(|c| c.pin()).collect()
    }
}

/// The controller's certificate authority.
#[derive(Debug)]
pub struct Ca {
    /// Where the roots are kept; `None` in simulations.
    dir: Option<PathBuf>,
    /// Oldest first, never empty.
    roots: RwLock<Vec<Root>>,
}

#[derive(Debug)]
struct Root {
    /// Counts up from 1.
    number: u32,
    key: SecretKey,
    certificate: CertificateDer<'static>,
    /// The same key, certified by the root before.
    link: Option<CertificateDer<'static>>,
}

impl Ca {
    /// With one root that is kept nowhere.
    pub fn ephemeral(now: Wall, rng: &mut dyn CryptoRng) -> Result<Self, CaError> {
        Ok(Self {
            dir: None,
            roots: RwLock::new(vec![Root::make(None, now, rng)?]),
        })
    }

    /// With the roots under `dir`; makes it, and the first root, where there is none. Nobody but the owner
    /// may read them, or this refuses.
    pub fn open(dir: &Path, now: Wall, rng: &mut dyn CryptoRng) -> Result<Self, CaError> {
        let mut roots = disk::load(dir)?;
        if roots.is_empty() {
            let root = Root::make(None, now, rng)?;
            disk::save(dir, &root)?;
            roots.push(root);
        }
        Ok(Self {
            dir: Some(dir.to_owned()),
            roots: RwLock::new(roots),
        })
    }

    /// Adds a root, which issues from now on. What the older ones issued stays good.
    pub fn rotate(&self, now: Wall, rng: &mut dyn CryptoRng) -> Result<(), CaError> {
        let mut roots = self.roots.write().unwrap_or_else(PoisonError::into_inner);
        if roots.len() >= MAX_ROOTS {
            return Err(CaError::TooManyRoots);
        }
        let root = Root::make(roots.last(), now, rng)?;
        if let Some(dir) = &self.dir {
            disk::save(dir, &root)?;
        }
        roots.push(root);
        Ok(())
    }

    pub fn roots(&self) -> Roots {
        self.with_roots(|roots| Roots(roots.iter().map(|r| r.certificate.clone()).collect()))
    }

    /// The newest root's public key: what a join token pins.
    pub fn pin(&self) -> Result<Pin, CaError> {
        self.with_newest(|root| Ok(Pin::of(&root.key.public_key())))
    }

    /// A certificate for `public_key` (SubjectPublicKeyInfo, DER), followed by the links from the root
    /// that signed it to the oldest.
    pub fn issue(
        &self,
        subject: Subject<'_>,
        public_key: &[u8],
        now: Wall,
        rng: &mut dyn CryptoRng,
    ) -> Result<Vec<CertificateDer<'static>>, CaError> {
        let key = SubjectPublicKeyInfo::from_der(public_key).map_err(CaError::Make)?;
        let name = [SanType::DnsName(ia5(subject.peer().dns_name())?)];
        let common = match subject {
            Subject::Agent(id) => id.to_string(),
            Subject::Edge { name, .. } => name.to_owned(),
            Subject::Controller => "controller".to_owned(),
        };
        let mut params = leaf(&common, &name, now, rng)?;
        params.extended_key_usages = match subject {
            // An agent never answers for anybody.
            Subject::Agent(_) => vec![ExtendedKeyUsagePurpose::ClientAuth],
            Subject::Edge { .. } | Subject::Controller => vec![
                ExtendedKeyUsagePurpose::ClientAuth,
                ExtendedKeyUsagePurpose::ServerAuth,
            ],
        };
        self.sign(&params, &key)
    }

    /// A new key and its certificate: for the controller's QUIC, and for everybody in simulations, where
    /// nobody needs to join.
    pub fn credentials(
        &self,
        subject: Subject<'_>,
        now: Wall,
        rng: &mut dyn CryptoRng,
    ) -> Result<Credentials, CaError> {
        let key = SecretKey::generate(rng)?;
        Ok(Credentials {
            chain: self.issue(subject, &key.public_key(), now, rng)?,
            key: key.to_der(),
        })
    }

    /// A new key and certificate for the controller's HTTPS: ECDSA P-256 for the sake of browsers (the key
    /// comes from the system's generator), also for the given host names and addresses. The chain ends
    /// with every root itself, for those who know one by its pin only.
    pub fn issue_https(
        &self,
        hosts: &[String],
        now: Wall,
        rng: &mut dyn CryptoRng,
    ) -> Result<Credentials, CaError> {
        let mut names = vec![SanType::DnsName(ia5(Peer::Controller.dns_name())?)];
        for host in hosts {
            names.push(match host.parse::<IpAddr>() {
                Ok(ip) => SanType::IpAddress(ip),
                Err(_) => SanType::DnsName(ia5(host.clone())?),
            });
        }
        let mut params = leaf("controller", &names, now, rng)?;
        params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
        let key = rcgen::KeyPair::generate().map_err(CaError::Make)?;
        let mut chain = self.sign(&params, &key)?;
        chain.extend(self.roots().0);
        Ok(Credentials {
            chain,
            key: PrivatePkcs8KeyDer::from(key.serialize_der()).into(),
        })
    }

    /// Ed25519 over `message`, which must begin with what no certificate and no other kind of message begins
    /// with.
    ///
    /// No chain goes with such a signature, so whoever judges it must know the root by itself. The newest one
    /// becomes known with renewals: it signs once it is older than any certificate that is still in use, and the
    /// one before it until then.
    ///
    /// # Errors
    /// [`CaError::NoRoot`], [`CaError::Make`].
    pub fn sign_message(&self, message: &[u8], now: Wall) -> Result<Vec<u8>, CaError> {
        self.with_roots(|roots| {
            let known = |root: &&Root| root.made().is_ok_and(|made| made + LIFE <= now);
            let root = roots.iter().rev().find(known).or_else(|| roots.first());
            let key = root.ok_or(CaError::NoRoot)?.key.signer();
            key.sign(message).map_err(CaError::Make)
        })
    }

    fn sign(
        &self,
        params: &CertificateParams,
        key: &impl PublicKeyData,
    ) -> Result<Vec<CertificateDer<'static>>, CaError> {
        let links = self.with_roots(|roots| {
            let links = roots.iter().rev().filter_map(|r| r.link.clone());
            links.collect::<Vec<_>>()
        });
        self.with_newest(|root| {
            let issuer =
                Issuer::from_ca_cert_der(&root.certificate, root.key.signer()).map_err(CaError::Make)?;
            let certificate = params.signed_by(key, &issuer).map_err(CaError::Make)?;
            let mut chain = vec![certificate.into()];
            chain.extend(links);
            Ok(chain)
        })
    }

    fn with_roots<T>(&self, f: impl FnOnce(&[Root]) -> T) -> T {
        f(&self.roots.read().unwrap_or_else(PoisonError::into_inner))
    }

    fn with_newest<T>(&self, f: impl FnOnce(&Root) -> Result<T, CaError>) -> Result<T, CaError> {
        self.with_roots(|roots| f(roots.last().ok_or(CaError::NoRoot)?))
    }
}

impl Root {
    fn made(&self) -> Result<Wall, CertificateError> {
        Ok(Certificate::read(&self.certificate)?.not_before + BACKDATED)
    }

    fn make(before: Option<&Self>, now: Wall, rng: &mut dyn CryptoRng) -> Result<Self, CaError> {
        let key = SecretKey::generate(rng)?;
        // Two roots must not share a name: it is by their issuer's name that certificates find it.
        let common = format!("Corridor CA {}", &Pin::of(&key.public_key()).to_string()[..8]);
        let mut params = plain(&common, now, ROOT_LIFE, rng)?;
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
        let certificate = params.self_signed(key.signer()).map_err(CaError::Make)?.into();
        let link = match before {
            None => None,
            Some(before) => {
                let issuer = Issuer::from_ca_cert_der(&before.certificate, before.key.signer())
                    .map_err(CaError::Make)?;
                params.serial_number = Some(serial(rng));
                let signed = params.signed_by(key.signer(), &issuer);
                Some(signed.map_err(CaError::Make)?.into())
            }
        };
        Ok(Self {
            number: before.map_or(1, |b| b.number.saturating_add(1)),
            key,
            certificate,
            link,
        })
    }
}

fn leaf(
    common: &str,
    names: &[SanType],
    now: Wall,
    rng: &mut dyn CryptoRng,
) -> Result<CertificateParams, CaError> {
    let mut params = plain(common, now, LIFE, rng)?;
    params.subject_alt_names = names.to_vec();
    params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
    Ok(params)
}

fn plain(
    common: &str,
    now: Wall,
    life: Duration,
    rng: &mut dyn CryptoRng,
) -> Result<CertificateParams, CaError> {
    let date = |at: Wall| OffsetDateTime::from_unix_timestamp(at.as_secs()).map_err(|_| CaError::Time(now));
    let mut params = CertificateParams::default();
    params.not_before = date(now - BACKDATED)?;
    params.not_after = date(now + life)?;
    // What has no two-digit or four-digit year cannot be written (RFC 5280 §4.1.2.5).
    if params.not_before.year() < 1950 || params.not_after.year() > 9999 {
        return Err(CaError::Time(now));
    }
    params.serial_number = Some(serial(rng));
    params.distinguished_name = DistinguishedName::new();
    params.distinguished_name.push(DnType::CommonName, common);
    Ok(params)
}

/// 126 random bits: positive, never zero, and of one length (RFC 5280 §4.1.2.2).
fn serial(rng: &mut dyn CryptoRng) -> SerialNumber {
    let mut bytes = [0; 16];
    rng.fill_bytes(&mut bytes);
    bytes[0] = bytes[0] & 0x7f | 0x40;
    SerialNumber::from_slice(&bytes)
}

fn ia5(name: String) -> Result<rcgen::string::Ia5String, CaError> {
    name.try_into().map_err(CaError::Make)
}

#[cfg(test)]
mod tests;
