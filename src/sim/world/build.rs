//! Making the machines of a world and enrolling them.

use std::{
    collections::BTreeMap,
    net::{IpAddr, Ipv4Addr},
    sync::Arc,
    time::Duration,
};

use corridor_probes::{AgentId, EdgeId, Mono, Wall};
use rand::{RngExt as _, SeedableRng as _, rngs::StdRng};

use super::{CONTROLLER, ClockSpec, EDGE_PORT, Node, Role, World, WorldError, WorldSpec};
use crate::{
    controller::StoreWorker,
    identity::{Ca, SecretKey, Subject},
    sim::{HostSpec, NatKind, SimClock, SimNetwork},
    store::{
        Store,
        records::{AgentRecord, NewEdge, Service, TokenRecord},
        sqlite::Sqlite,
        worker::Worker,
    },
};

const TOKEN: &str = "simulated";
const FOR_EVER: Duration = Duration::from_secs(100 * 365 * 86_400);

pub(super) async fn world(spec: WorldSpec) -> Result<World, WorldError> {
    let mut rng = StdRng::seed_from_u64(spec.seed);
    let issued = spec.start - spec.certificates_age;
    let ca = Arc::new(Ca::ephemeral(issued, &mut rng)?);
    let network = SimNetwork::new(spec.seed);
    network.set_default(spec.default_link);
    let mut world = World {
        network,
        ca,
        rng,
        nodes: BTreeMap::new(),
        handshakes: 0,
        spec,
    };
    let mut store: Box<dyn Store> = match &world.spec.data {
        Some(dir) => Box::new(Sqlite::open(&dir.join(CONTROLLER).join("store"), issued)?),
        None => Box::new(Sqlite::in_memory()?),
    };
    for service in [Service::Agent, Service::Edge] {
        store.put_token(&token(service, issued))?;
    }
    let nobody = Role::Controller { store: None };
    world.add(
        CONTROLLER,
        ClockSpec::default(),
        [198, 18, 0, 1],
        None,
        nobody,
        issued,
    )?;
    for (n, edge) in world.spec.edges.clone().into_iter().enumerate() {
        let address = [198, 18, 1, octet(n)?];
        let expected = u16::try_from(n + 1)
            .ok()
            .and_then(EdgeId::new)
            .ok_or(WorldError::TooMany)?;
        let role = Role::Edge {
            id: expected,
            region: edge.region.clone(),
        };
        let public_key = world.add(&edge.name, edge.clock, address, None, role, issued)?;
        let record = store.enrol_edge(
            &token_id(Service::Edge),
            issued,
            &NewEdge {
                name: edge.name.clone(),
                region: edge.region,
                addresses: vec![format!("{}:{EDGE_PORT}", Ipv4Addr::from(address))],
                public_key,
                tags: BTreeMap::new(),
            },
        )?;
        if record.id != expected {
            return Err(WorldError::NotA {
                name: edge.name,
                what: "the edge that the store was to enrol next",
            });
        }
    }
    for (n, agent) in world.spec.agents.clone().into_iter().enumerate() {
        let id = AgentId(world.rng.random::<u64>() | 1);
        let octet = octet(n)?;
        let (address, nat) = if agent.nat {
            let outside = IpAddr::from([198, 18, 3, octet]);
            let kind = NatKind::Ports { forget_after: None };
            ([192, 168, 0, octet], Some(world.network.add_nat(outside, kind)?))
        } else {
            ([198, 18, 2, octet], None)
        };
        let role = Role::Agent {
            id,
            settings: agent.settings,
            spool: None,
            spool_limit: agent.spool_limit,
        };
        let public_key = world.add(&agent.subject, agent.clock, address, nat, role, issued)?;
        store.enrol_agent(
            &token_id(Service::Agent),
            issued,
            &AgentRecord {
                id,
                subject: agent.subject,
                public_key,
                tags: agent
                    .region
                    .map(|r| ("region".to_owned(), r))
                    .into_iter()
                    .collect(),
                joined: issued,
                revoked: None,
                last_seen: None,
            },
        )?;
    }
    if world.spec.data.is_none() {
        let kept: StoreWorker = Worker::inline(store);
        world.node_mut(CONTROLLER)?.role = Role::Controller { store: Some(kept) };
    }
    Ok(world)
}

impl World {
    /// Adds a machine; answers its public key.
    fn add(
        &mut self,
        name: &str,
        clock: ClockSpec,
        address: [u8; 4],
        nat: Option<crate::sim::NatId>,
        role: Role,
        issued: Wall,
    ) -> Result<Vec<u8>, WorldError> {
        if self.nodes.contains_key(name) {
            return Err(WorldError::Twice(name.to_owned()));
        }
        let wall = Wall::from_micros(self.spec.start.as_micros().saturating_add(clock.offset_us));
        let address = IpAddr::from(address);
        let host = self.network.add_host(HostSpec {
            name: name.to_owned(),
            addresses: vec![address],
            nat,
            // Monotonic clocks are as far apart as the others.
            clock: SimClock::with_drift(wall, clock.drift_ppb)
                .from_origin(Mono::from_micros(clock.offset_us)),
        })?;
        let subject = match role {
            Role::Controller { .. } => Subject::Controller,
            Role::Edge { id, .. } => Subject::Edge { id, name },
            Role::Agent { id, .. } => Subject::Agent(id),
        };
        let credentials = self.ca.credentials(subject, issued, &mut self.rng)?;
        // Only its hash is looked at, when somebody joins anew.
        let public_key = SecretKey::generate(&mut self.rng)
            .map_err(crate::identity::CaError::from)?
            .public_key();
        let node = Node {
            host,
            address,
            nat,
            role,
            credentials,
            issued,
            standing: None,
            starts: 0,
            running: None,
        };
        self.nodes.insert(name.to_owned(), node);
        Ok(public_key)
    }
}

fn octet(n: usize) -> Result<u8, WorldError> {
    u8::try_from(n + 1)
        .ok()
        .filter(|&o| o < 255)
        .ok_or(WorldError::TooMany)
}

fn token_id(service: Service) -> String {
    match service {
        Service::Agent => format!("{TOKEN}-agent"),
        Service::Edge => format!("{TOKEN}-edge"),
    }
}

fn token(service: Service, now: Wall) -> TokenRecord {
    TokenRecord {
        id: token_id(service),
        secret_hash: [0; 32],
        service,
        subject: None,
        tags: BTreeMap::new(),
        uses_left: u32::MAX,
        created: now,
        expires: now + FOR_EVER,
        revoked: None,
    }
}
