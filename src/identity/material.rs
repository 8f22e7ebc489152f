//! An agent's or edge's identity as it lies on its disk: one file, `identity.json`, with the key in it, so
//! that key and certificates can never be parted; and beside it `time`, the last known time.

use std::{
    path::{Path, PathBuf},
    sync::Arc,
};

use corridor_probes::{AgentId, EdgeId, Wall};
use rustls::{crypto::CryptoProvider, pki_types::CertificateDer};
use serde::{Deserialize, Serialize};

use super::{
    ca::{BACKDATED, RENEWED_AFTER, Roots},
    certificate::{Certificate, CertificateError},
    file::{self, FileError},
    key::{Credentials, KeyError, SecretKey},
    peer::{self, Peer, PeerError},
    pem,
    tls::{Standing, TlsError},
    trusted_time::TrustedTime,
};
use crate::{
    api::model::{JoinEdge, Joined},
    store::records::Service,
};

const FILE: &str = "identity.json";
const TIME_FILE: &str = "time";
const MAX_FILE: u64 = 256 * 1024;
/// The most edges that are kept to begin with.
const MAX_EDGES: usize = 256;

/// Why there is no identity to go on with.
#[derive(Debug, thiserror::Error)]
pub enum MaterialError {
    #[error("this machine has not joined: there is no {0}")]
    NotJoined(PathBuf),
    #[error("{0}, or join anew")]
    Exposed(FileError),
    #[error(transparent)]
    File(FileError),
    #[error("{path} is damaged")]
    Json {
        path: PathBuf,
        #[source]
        source: serde_json::Error,
    },
    #[error("the identity's {0} cannot be read")]
    Part(&'static str),
    #[error("the identity's key cannot be read")]
    Key(#[from] KeyError),
    #[error("the identity's certificate cannot be read")]
    Certificate(#[from] CertificateError),
    #[error("the identity's certificate is not one of an agent or edge")]
    Peer(#[from] PeerError),
    #[error("the certificate is {certificate}'s, and {said} was expected")]
    OtherPeer { certificate: Peer, said: String },
    #[error("the certificate is not for this machine's key")]
    OtherKey,
}

impl From<FileError> for MaterialError {
    fn from(error: FileError) -> Self {
        match error {
            FileError::Exposed { .. } => Self::Exposed(error),
            _ => Self::File(error),
        }
    }
}

/// Which agent or edge this is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Own {
    Agent(AgentId),
    Edge(EdgeId),
}

impl Own {
    pub fn service(self) -> Service {
        match self {
            Self::Agent(_) => Service::Agent,
            Self::Edge(_) => Service::Edge,
        }
    }

    pub fn peer(self) -> Peer {
        match self {
            Self::Agent(id) => Peer::Agent(id),
            Self::Edge(id) => Peer::Edge(id),
        }
    }

    /// As the API writes it: an agent's 16 hex digits, an edge's number.
    pub fn id(self) -> String {
        match self {
            Self::Agent(id) => id.to_string(),
            Self::Edge(id) => id.get().to_string(),
        }
    }
}

/// An identity, checked: the certificate is for the key and names `own`.
#[derive(Debug)]
pub struct Material {
    pub own: Own,
    /// The subject of an agent, the name of an edge.
    pub name: String,
    /// The controller's HTTPS address, as it was given to join.
    pub url: String,
    /// Where an edge reaches the controller over QUIC, `host:port`.
    pub controller: Option<String>,
    /// Edges to begin with, for an agent.
    pub edges: Vec<JoinEdge>,
    pub key: SecretKey,
    /// The leaf first.
    pub chain: Vec<CertificateDer<'static>>,
    pub roots: Roots,
    /// Of the leaf.
    not_before: Wall,
    not_after: Wall,
}

/// What is on disk.
#[derive(Serialize, Deserialize)]
struct Stored {
    url: String,
    key: String,
    joined: Joined,
}

impl Material {
    /// What the controller answered at `url` to a request by `key`.
    pub fn from_answer(url: &str, key: SecretKey, answer: Joined) -> Result<Self, MaterialError> {
        let chain = pem::certificates(&answer.chain).ok_or(MaterialError::Part("certificate"))?;
        let leaf = Certificate::read(chain.first().ok_or(MaterialError::Part("certificate"))?)?;
        if leaf.public_key != key.public_key() {
            return Err(MaterialError::OtherKey);
        }
        let certificate = peer::of(&leaf)?;
        let own = match certificate {
            Peer::Agent(id) => Some(Own::Agent(id)),
            Peer::Edge(id) => Some(Own::Edge(id)),
            Peer::Controller => None,
        };
        let said = |own: &Own| own.service() == answer.service && own.id() == answer.id;
        let own = own.filter(said).ok_or_else(|| MaterialError::OtherPeer {
            certificate,
            said: format!("{:?} {}", answer.service, answer.id),
        })?;
        let mut edges = answer.edges;
        edges.truncate(MAX_EDGES);
        Ok(Self {
            own,
            name: answer.name,
            url: url.to_owned(),
            controller: answer.controller,
            edges,
            key,
            chain,
            roots: Roots::from_pem(&answer.roots).ok_or(MaterialError::Part("roots"))?,
            not_before: leaf.not_before,
            not_after: leaf.not_after,
        })
    }

    /// The identity under `dir`. Refused when others may read the key.
    pub fn load(dir: &Path) -> Result<Self, MaterialError> {
        let path = dir.join(FILE);
        let text = match file::read_secret(&path, MAX_FILE) {
            Ok(text) => text,
            Err(e) if e.is_not_found() => return Err(MaterialError::NotJoined(path)),
            Err(e) => return Err(e.into()),
        };
        let stored: Stored =
            serde_json::from_str(&text).map_err(|source| MaterialError::Json { path, source })?;
        let key = SecretKey::from_pem(&stored.key)?;
        Self::from_answer(&stored.url, key, stored.joined)
    }

    /// Replaces the identity under `dir`, whole or not at all. It blocks on the disk.
    pub fn save(&self, dir: &Path) -> Result<(), MaterialError> {
        let path = dir.join(FILE);
        let stored = Stored {
            url: self.url.clone(),
            key: self.key.to_pem(),
            joined: Joined {
                service: self.own.service(),
                id: self.own.id(),
                name: self.name.clone(),
                chain: pem::encode_certificates(&self.chain),
                roots: self.roots.to_pem(),
                edges: self.edges.clone(),
                controller: self.controller.clone(),
                // Time is kept in a file of its own.
                now_us: 0,
            },
        };
        let text = serde_json::to_vec_pretty(&stored).map_err(|source| MaterialError::Json {
            path: path.clone(),
            source,
        })?;
        file::create_dir(dir)?;
        file::write(&path, &text)?;
        Ok(())
    }

    /// Where [`TrustedTime`] of the identity under `dir` is kept.
    pub fn time_path(dir: &Path) -> PathBuf {
        dir.join(TIME_FILE)
    }

    /// When the certificate's last second is over.
    pub fn expires(&self) -> Wall {
        self.not_after
    }

    /// When it was issued.
    pub fn issued(&self) -> Wall {
        self.not_before + BACKDATED
    }

    /// Whether it is time to renew: five days after the issue, with nine left.
    pub fn renewal_due(&self, now: Wall) -> bool {
        now >= self.issued() + RENEWED_AFTER
    }

    /// For TLS to show.
    pub fn credentials(&self) -> Credentials {
        Credentials {
            chain: self.chain.clone(),
            key: self.key.to_der(),
        }
    }

    pub fn standing(
        &self,
        time: Arc<TrustedTime>,
        provider: Arc<CryptoProvider>,
    ) -> Result<Arc<Standing>, TlsError> {
        Standing::new(self.credentials(), &self.roots, time, provider)
    }
}

#[cfg(test)]
mod tests {
    use std::{fs, time::Duration};

    use rand::{SeedableRng as _, rngs::StdRng};

    use super::*;
    use crate::identity::ca::{Ca, Subject};

    const NOW: Wall = Wall::from_secs(1_800_000_000);

    fn answer(key: &SecretKey) -> Joined {
        let rng = &mut StdRng::seed_from_u64(1);
        let ca = Ca::ephemeral(NOW, rng).unwrap();
        let chain = ca.issue(Subject::Agent(AgentId(5)), &key.public_key(), NOW, rng);
        Joined {
            service: Service::Agent,
            id: AgentId(5).to_string(),
            name: "s1".into(),
            chain: pem::encode_certificates(&chain.unwrap()),
            roots: ca.roots().to_pem(),
            edges: vec![JoinEdge {
                id: 1,
                name: "fra-1".into(),
                region: None,
                addresses: vec!["192.0.2.1:4433".into()],
            }],
            controller: None,
            now_us: NOW.as_micros(),
        }
    }

    fn key(seed: u64) -> SecretKey {
        SecretKey::generate(&mut StdRng::seed_from_u64(seed)).unwrap()
    }

    fn material() -> Material {
        Material::from_answer("https://c.example:8443", key(2), answer(&key(2))).unwrap()
    }

    #[test]
    fn an_identity_comes_back_from_disk() {
        let root = tempfile::tempdir().unwrap();
        let dir = root.path().join("agent");
        assert!(matches!(Material::load(&dir), Err(MaterialError::NotJoined(_))));
        material().save(&dir).unwrap();
        let (saved, loaded) = (material(), Material::load(&dir).unwrap());
        assert_eq!(loaded.key.public_key(), saved.key.public_key());
        assert_eq!(
            (
                loaded.own,
                &loaded.name,
                &loaded.url,
                &loaded.chain,
                &loaded.roots,
                &loaded.edges
            ),
            (
                saved.own,
                &saved.name,
                &saved.url,
                &saved.chain,
                &saved.roots,
                &saved.edges
            )
        );
    }

    #[cfg(unix)]
    #[test]
    fn a_key_that_others_may_read_is_refused_in_one_line() {
        use std::os::unix::fs::PermissionsExt as _;
        let dir = tempfile::tempdir().unwrap();
        material().save(dir.path()).unwrap();
        let path = dir.path().join(FILE);
        assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
        fs::set_permissions(&path, fs::Permissions::from_mode(0o644)).unwrap();
        let error = Material::load(dir.path()).unwrap_err().to_string();
        assert!(error.contains("identity.json") && error.contains("mode 644") && !error.contains('\n'));
        assert!(error.ends_with("run `chmod 600` on it, or join anew"), "{error}");
    }

    #[test]
    fn renewal_is_due_from_day_five() {
        let material = material();
        let due = NOW + Duration::from_secs(5 * 86_400);
        assert!(!material.renewal_due(due - Duration::from_micros(1)));
        assert!(material.renewal_due(due));
        assert_eq!(material.expires().since(due), Duration::from_secs(9 * 86_400));
    }

    #[test]
    fn an_answer_that_does_not_fit_is_refused() {
        let with = |change: fn(&mut Joined)| {
            let mut answer = answer(&key(2));
            change(&mut answer);
            Material::from_answer("https://c", key(2), answer).unwrap_err()
        };
        use MaterialError::{OtherKey, OtherPeer, Part};
        assert!(matches!(
            with(|a| a.id = AgentId(6).to_string()),
            OtherPeer { .. }
        ));
        assert!(matches!(with(|a| a.service = Service::Edge), OtherPeer { .. }));
        assert!(matches!(with(|a| a.chain.clear()), Part("certificate")));
        assert!(matches!(with(|a| a.roots.clear()), Part("roots")));
        assert!(matches!(with(|a| a.roots = a.chain.clone()), Part("roots")));
        let other = Material::from_answer("https://c", key(3), answer(&key(2)));
        assert!(matches!(other, Err(OtherKey)));
    }

    #[test]
    fn a_damaged_file_is_an_error_that_names_it() {
        let dir = tempfile::tempdir().unwrap();
        material().save(dir.path()).unwrap();
        let path = dir.path().join(FILE);
        let good = fs::read_to_string(&path).unwrap();
        for bad in ["", "{}", &good[..good.len() / 2]] {
            fs::write(&path, bad).unwrap();
            let error = Material::load(dir.path()).unwrap_err();
            assert!(error.to_string().contains("identity.json"), "{error}");
        }
    }
}
