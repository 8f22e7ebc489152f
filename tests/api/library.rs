//! Agents of the library in this process, enrolled like any other, for what needs many of them or clocks
//! that are wrong.

use std::{
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use corridor::{
    agent::{Agent, Settings, Setup, Watch},
    clock::{Clock, SystemClock},
    identity::{Own, TrustedTime, enrol_client, tls},
    machine::Machine,
    proto,
    spool::Spool,
    store::{records::Service, worker::Worker},
    transport::{Network, UdpNetwork},
};
use corridor_probes::{Mono, Wall};
use tempfile::TempDir;

use crate::harness::loopback;

/// This machine's clocks, the wall clock off by a fixed time.
#[derive(Debug)]
pub struct Wrong {
    clock: SystemClock,
    off: Mutex<Offset>,
}

#[derive(Debug, Clone, Copy)]
pub enum Offset {
    Ahead(Duration),
    Behind(Duration),
}

impl Wrong {
    pub fn by(off: Offset) -> Arc<Self> {
        Arc::new(Self {
            clock: SystemClock::new(),
            off: Mutex::new(off),
        })
    }

    /// Someone sets the clock.
    pub fn set(&self, off: Offset) {
        *self.off.lock().unwrap_or_else(PoisonError::into_inner) = off;
    }
}

impl Clock for Wrong {
    fn mono(&self) -> Mono {
        self.clock.mono()
    }

    fn boot_time(&self) -> Mono {
        self.clock.boot_time()
    }

    fn wall(&self) -> Wall {
        match *self.off.lock().unwrap_or_else(PoisonError::into_inner) {
            Offset::Ahead(d) => self.clock.wall() + d,
            Offset::Behind(d) => self.clock.wall() - d,
        }
    }

    fn sleep_until(&self, at: Mono) -> std::pin::Pin<Box<dyn Future<Output = ()> + Send>> {
        self.clock.sleep_until(at)
    }
}

/// Joins with `token` and runs, with a spool in memory, or in a directory when there is one.
pub async fn agent(
    url: &str,
    token: &str,
    subject: &str,
    clock: Arc<dyn Clock>,
    network: Arc<dyn Network>,
    seed: u64,
    spool: Option<&TempDir>,
) -> Agent {
    let time = Arc::new(TrustedTime::new(clock.clone()));
    let wanted = enrol_client::JoinAs {
        url,
        token,
        service: Service::Agent,
        name: Some(subject),
        region: None,
    };
    let joined = enrol_client::join(wanted, &time, &tls::provider()).await;
    let material = joined.unwrap_or_else(|e| panic!("{subject} cannot join: {e}"));
    let Own::Agent(me) = material.own else {
        panic!("{} is no agent", material.own.id());
    };
    let edges = material.edges.iter().map(|edge| proto::EdgeInfo {
        id: edge.id.into(),
        name: edge.name.clone(),
        addresses: edge.addresses.clone(),
        ..proto::EdgeInfo::default()
    });
    const LIMIT: u64 = 1 << 20;
    let spool = match spool {
        Some(dir) => Spool::open(&dir.path().join("spool.db"), LIMIT, clock.wall()).unwrap(),
        None => Spool::in_memory(LIMIT).unwrap(),
    };
    Agent::start(Setup {
        me,
        subject: subject.to_owned(),
        standing: material.standing(time, tls::provider()).unwrap(),
        bind: loopback(0),
        settings: Settings {
            version: "test".into(),
            platform: "test".into(),
            link_type: "ethernet".into(),
            ..Settings::default()
        },
        watch: Watch::OFF,
        targets: None,
        socks: None,
        forwards: Vec::new(),
        accepts: Vec::new(),
        edges: edges.collect(),
        spool: Worker::inline(spool),
        data: None,
        machine: Machine {
            clock,
            network,
            seed,
            repeatable: false,
        },
    })
    .unwrap()
}

/// A network for all agents on one clock.
pub fn network(clock: Arc<dyn Clock>) -> Arc<dyn Network> {
    Arc::new(UdpNetwork::new(clock))
}
