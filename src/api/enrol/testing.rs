//! A controller to enrol with: real HTTPS on loopback over a directory in memory.

use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex},
    time::Duration,
};

use corridor_probes::{EdgeId, Wall};
use futures_util::future::BoxFuture;
use tokio_util::sync::CancellationToken;

use super::*;
use crate::{
    api::{error::Unavailable, model::JoinEdge, server::Listener},
    identity::{Pin, Standing, TrustedTime, testing::FakeClock, tls},
    store::records::TokenRecord,
};

pub(crate) const NOW: Wall = Wall::from_secs(1_800_000_000);

#[derive(Debug, Clone)]
struct Row {
    own: Own,
    name: String,
    public_key: Vec<u8>,
    revoked: bool,
}

#[derive(Debug, Default)]
struct Tables {
    tokens: BTreeMap<String, TokenRecord>,
    rows: Vec<Row>,
    asked: usize,
}

#[derive(Debug, Default)]
pub(crate) struct InMemory(Mutex<Tables>);

impl InMemory {
    pub(crate) fn token(&self, pin: Pin, change: impl FnOnce(&mut TokenRecord)) -> Token {
        let token = Token::create(pin, &mut system_rng());
        let mut record = TokenRecord {
            id: token.id(),
            secret_hash: token.secret_hash(),
            service: Service::Agent,
            subject: None,
            tags: BTreeMap::new(),
            uses_left: 1,
            created: NOW,
            expires: NOW + Duration::from_secs(86_400),
            revoked: None,
        };
        change(&mut record);
        self.0.lock().unwrap().tokens.insert(record.id.clone(), record);
        token
    }

    pub(crate) fn uses_left(&self, token: &Token) -> u32 {
        self.0.lock().unwrap().tokens[&token.id()].uses_left
    }

    /// How often anything was asked of it.
    pub(crate) fn asked(&self) -> usize {
        self.0.lock().unwrap().asked
    }
}

fn to_member(row: &Row, replaced: Option<Own>) -> Member {
    Member {
        own: row.own,
        name: row.name.clone(),
        revoked: row.revoked,
        replaced,
        edges: vec![JoinEdge {
            id: 1,
            name: "fra-1".into(),
            region: None,
            addresses: vec!["192.0.2.1:4433".into()],
        }],
        controller: Some("192.0.2.9:4433".into()),
    }
}

impl Directory for InMemory {
    fn enrol(&self, candidate: Candidate) -> BoxFuture<'_, Result<Member, Refusal>> {
        Box::pin(async move {
            let mut tables = self.0.lock().unwrap();
            let Tables { tokens, rows, asked } = &mut *tables;
            *asked += 1;
            let known = rows.iter().find(|r| r.public_key == candidate.public_key);
            let repeated = known.is_some_and(|r| r.own.service() == candidate.service);
            let record = tokens.get_mut(&candidate.token.id());
            let admitted = candidate.admit(record.as_deref(), repeated)?;
            let same =
                |r: &Row| r.own.service() == candidate.service && r.name == admitted.name && !r.revoked;
            if let Some(known) = known {
                return if same(known) {
                    Ok(to_member(known, None))
                } else {
                    Err(Refusal::KeyInUse)
                };
            }
            record.unwrap().uses_left -= 1;
            let replaced = rows.iter_mut().find(|r| same(r)).map(|r| {
                r.revoked = true;
                r.own
            });
            let row = Row {
                own: match candidate.service {
                    Service::Agent => Own::Agent(candidate.agent_id),
                    Service::Edge => Own::Edge(EdgeId::new(rows.len() as u16 + 1).ok_or(Refusal::Full)?),
                },
                name: admitted.name,
                public_key: candidate.public_key,
                revoked: false,
            };
            rows.push(row.clone());
            Ok(to_member(&row, replaced))
        })
    }

    fn member(&self, public_key: Vec<u8>) -> BoxFuture<'_, Result<Option<Member>, Unavailable>> {
        Box::pin(async move {
            let mut tables = self.0.lock().unwrap();
            tables.asked += 1;
            let row = tables.rows.iter().find(|r| r.public_key == public_key);
            Ok(row.map(|r| to_member(r, None)))
        })
    }
}

/// It stops when dropped.
pub(crate) struct TestController {
    pub(crate) url: String,
    pub(crate) ca: Arc<Ca>,
    pub(crate) clock: Arc<FakeClock>,
    pub(crate) directory: Arc<InMemory>,
    stop: CancellationToken,
}

impl TestController {
    pub(crate) fn start() -> Self {
        let rng = &mut system_rng();
        let ca = Arc::new(Ca::ephemeral(NOW, rng).unwrap());
        let clock = FakeClock::at(NOW);
        let directory = Arc::new(InMemory::default());
        let time = Arc::new(TrustedTime::new(clock.clone()));
        let own = ca.issue_https(&["localhost".into()], NOW, rng).unwrap();
        let standing = Standing::new(own, &ca.roots(), time, tls::provider()).unwrap();
        let tls = Arc::new(tls::https_server(&standing).unwrap());
        let listener = Listener::https("127.0.0.1:0".parse().unwrap(), tls).unwrap();
        let url = format!("https://{}", listener.addr());
        let enrolment = Enrolment::new(directory.clone(), ca.clone(), clock.clone());
        let router: OpenApiRouter<()> = router().with_state(enrolment);
        let stop = CancellationToken::new();
        tokio::spawn(listener.serve(router.into(), stop.clone()));
        Self {
            url,
            ca,
            clock,
            directory,
            stop,
        }
    }

    pub(crate) fn token(&self, change: impl FnOnce(&mut TokenRecord)) -> Token {
        self.directory.token(self.ca.pin().unwrap(), change)
    }
}

impl Drop for TestController {
    fn drop(&mut self) {
        self.stop.cancel();
    }
}
