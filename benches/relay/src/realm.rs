//! Who is who for the edges: a certificate authority as a controller has it, identities of agents and edges,
//! and grants. No controller runs: edges that have their identities and know each other need none.

use std::{
    collections::BTreeMap,
    fs,
    net::SocketAddr,
    path::{Path, PathBuf},
    sync::Arc,
    time::Duration,
};

use anyhow::Context as _;
use base64::{Engine as _, engine::general_purpose::STANDARD};
use corridor::{
    api::model::Joined,
    clock::{Clock, SystemClock},
    identity::{Ca, Material, SecretKey, Standing, Subject, TrustedTime, system_rng, tls},
    media::grant::{Grant, GrantId},
    proto,
    route::FarEnd,
    store::records::Service,
};
use corridor_probes::{AgentId, EdgeId, Wall};

/// What each flow may send, kbit/s: far above what any does.
const RATE_KBPS: u32 = 100_000;
/// Where no controller is: port 9, discard.
const NO_CONTROLLER: &str = "127.0.0.1:9";
const LIFE: Duration = Duration::from_secs(3_600);

#[derive(Debug)]
pub struct Realm {
    ca: Ca,
    now: Wall,
    time: Arc<TrustedTime>,
    agents: BTreeMap<AgentId, Arc<Standing>>,
}

impl Realm {
    /// With agents 1 to `agents`.
    pub fn new(agents: u64) -> anyhow::Result<Self> {
        let clock: Arc<dyn Clock> = Arc::new(SystemClock::new());
        let now = clock.wall();
        let mut realm = Self {
            ca: Ca::ephemeral(now, &mut system_rng())?,
            now,
            time: Arc::new(TrustedTime::new(clock)),
            agents: BTreeMap::new(),
        };
        for id in (1..=agents).map(AgentId) {
            let standing = realm.standing(Subject::Agent(id))?;
            realm.agents.insert(id, standing);
        }
        Ok(realm)
    }

    pub fn agent(&self, id: AgentId) -> anyhow::Result<&Arc<Standing>> {
        self.agents.get(&id).with_context(|| format!("no agent {id}"))
    }

    pub fn standing(&self, subject: Subject<'_>) -> anyhow::Result<Arc<Standing>> {
        let credentials = self.ca.credentials(subject, self.now, &mut system_rng())?;
        let roots = self.ca.roots();
        Ok(Standing::new(
            credentials,
            &roots,
            self.time.clone(),
            tls::provider(),
        )?)
    }

    /// A directory with an edge's identity, and the edges that it is to connect to.
    pub fn edge(&self, dir: &Path, id: EdgeId, others: &[(EdgeId, SocketAddr)]) -> anyhow::Result<PathBuf> {
        let name = format!("edge-{}", id.get());
        let data = dir.join(&name);
        let key = SecretKey::generate(&mut system_rng())?;
        let subject = Subject::Edge { id, name: &name };
        let chain = self
            .ca
            .issue(subject, &key.public_key(), self.now, &mut system_rng())?;
        let chain: Vec<_> = chain.iter().map(|certificate| pem(certificate)).collect();
        let joined = Joined {
            service: Service::Edge,
            id: id.get().to_string(),
            name,
            chain: chain.concat(),
            roots: self.ca.roots().to_pem(),
            edges: Vec::new(),
            controller: Some(NO_CONTROLLER.to_owned()),
            now_us: self.now.as_micros(),
        };
        Material::from_answer(&format!("https://{NO_CONTROLLER}"), key, joined)?.save(&data)?;
        let info = |&(id, address): &(EdgeId, SocketAddr)| proto::EdgeInfo {
            id: u32::from(id.get()),
            addresses: vec![address.to_string()],
            ..proto::EdgeInfo::default()
        };
        let mesh = proto::Mesh {
            edges: others.iter().map(info).collect(),
            ..proto::Mesh::default()
        };
        // As it is kept, there is no length in front.
        fs::write(data.join("mesh.bin"), &proto::encode(&mesh)?[4..])?;
        Ok(data)
    }

    /// What `agent` shows to have a flow carried.
    pub fn grant(&self, agent: AgentId, far: FarEnd, edges: &[EdgeId]) -> anyhow::Result<Vec<u8>> {
        let grant = Grant {
            id: GrantId(agent.0),
            class: format!("class-{agent}"),
            agent,
            far,
            edges: edges.to_vec(),
            rate_kbps: RATE_KBPS,
            from: self.now,
            until: self.now + LIFE,
        };
        Ok(grant.signed_by(|message| self.ca.sign_message(message, self.now))?)
    }
}

fn pem(der: &[u8]) -> String {
    let text = STANDARD.encode(der);
    let mut out = String::from("-----BEGIN CERTIFICATE-----\n");
    for line in text.as_bytes().chunks(64) {
        out.push_str(&String::from_utf8_lossy(line));
        out.push('\n');
    }
    out.push_str("-----END CERTIFICATE-----\n");
    out
}
