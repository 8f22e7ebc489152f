//! Agents as an edge sees them: an identity, a connection, a hello, flows that are opened with a grant, and
//! media. They measure nothing, keep no books and say no receipts.

use std::{
    net::SocketAddr,
    sync::{
        Arc,
        atomic::{AtomicU32, Ordering},
    },
    time::Duration,
};

use anyhow::{Context as _, bail};
use corridor::{
    identity::{Peer, tls},
    media::wire::{Answer, Kind, Media, Open, Part, Word},
    proto::{self, agent_to_edge},
    route::FarEnd,
    transport::Dscp,
};
use corridor_probes::{AgentId, EdgeId, Route, wire::RouteHeader};
use quinn::Connection;
use tokio::sync::mpsc;

use crate::{clock::now_ns, meter::Meter, quic, realm::Realm};

/// Where a far agent would deliver.
const PORT: u16 = 5_004;
/// Openings that are not answered are said again; a trunk that is not up yet loses them.
const AGAIN: Duration = Duration::from_millis(300);
const TRIES: usize = 40;

/// An answer to a flow's opening.
type Answered = (u64, Answer);

/// One agent's connection to one edge.
pub async fn connect(
    realm: &Realm,
    id: AgentId,
    (edge, at): (EdgeId, SocketAddr),
    meter: &Arc<Meter>,
    answers: &mpsc::UnboundedSender<Answered>,
) -> anyhow::Result<Connection> {
    let tls = tls::client(realm.agent(id)?, &[proto::ALPN])?;
    let connection = quic::connect(quic::client(tls)?, at, &Peer::Edge(edge).dns_name()).await?;
    let (mut send, mut receive) = connection.open_bi().await?;
    let hello = proto::AgentToEdge {
        body: Some(agent_to_edge::Body::Hello(proto::AgentHello {
            version: env!("CARGO_PKG_VERSION").to_owned(),
            boot: 1,
        })),
    };
    send.write_all(&proto::encode(&hello)?).await?;
    // It is in the edge's table once it is greeted.
    let greeted: Option<proto::EdgeToAgent> = proto::read(&mut receive).await?;
    greeted.with_context(|| format!("{edge} does not greet {id}"))?;
    tokio::spawn(async move {
        // The edge's further words are read, and the stream stays open as long.
        while let Ok(Some(_)) = proto::read::<proto::EdgeToAgent>(&mut receive).await {}
        drop(send);
    });
    tokio::spawn(read(connection.clone(), meter.clone(), answers.clone()));
    Ok(connection)
}

async fn read(connection: Connection, meter: Arc<Meter>, answers: mpsc::UnboundedSender<Answered>) {
    while let Ok(datagram) = connection.read_datagram().await {
        take(&connection, &datagram, &meter, &answers);
    }
}

/// What agents and edges do with what comes to them here.
pub fn take(
    connection: &Connection,
    datagram: &[u8],
    meter: &Meter,
    answers: &mpsc::UnboundedSender<Answered>,
) {
    match Kind::of(datagram) {
        Some(Kind::Media) => match Media::parse(datagram) {
            Ok(media) if media.part == Part::Whole => meter.arrived(media.media),
            // Halves of payloads are no payloads.
            _ => meter.arrived(&[]),
        },
        Some(Kind::Open) => {
            if let Ok(open) = Open::parse(datagram) {
                let mut answer = Vec::new();
                Answer::Carried.write(&open.header.back(Kind::Answer as u8), &mut answer);
                let _ = connection.send_datagram(answer.into());
            }
        }
        Some(Kind::Answer) => {
            if let Ok((header, answer)) = Answer::parse(datagram) {
                let _ = answers.send((header.flow, answer));
            }
        }
        Some(Kind::Switch | Kind::Receipt) => {}
        None => {
            if let Some(Word::Ask(seq)) = Word::of(datagram) {
                let _ = connection.send_datagram(Word::Echo(seq).bytes().into());
            }
        }
    }
}

/// One flow as its origin has it.
#[derive(Debug)]
pub struct Flow {
    connection: Connection,
    header: RouteHeader,
    incarnation: u16,
    seq: AtomicU32,
}

impl Flow {
    /// `header` is of media. Numbers begin anew, under another `incarnation` than before.
    pub const fn new(connection: Connection, header: RouteHeader, incarnation: u16) -> Self {
        Self {
            connection,
            header,
            incarnation,
            seq: AtomicU32::new(0),
        }
    }

    pub fn send(&self, payload: &[u8]) -> bool {
        let media = Media {
            header: RouteHeader {
                seq: self.seq.fetch_add(1, Ordering::Relaxed),
                sent_us: (now_ns() / 1_000) as i64,
                ..self.header
            },
            incarnation: self.incarnation,
            dscp: Dscp::BEST_EFFORT,
            part: Part::Whole,
            media: payload,
        };
        let mut datagram = Vec::with_capacity(payload.len() + 64);
        media.write(&mut datagram);
        self.connection.send_datagram(datagram.into()).is_ok()
    }

    fn open(&self, grant: &[u8]) -> anyhow::Result<()> {
        let open = Open {
            header: RouteHeader {
                kind: Kind::Open as u8,
                ..self.header
            },
            port: if self.header.far.is_some() { PORT } else { 0 },
            grant,
        };
        let mut datagram = Vec::new();
        open.write(&mut datagram);
        Ok(self.connection.send_datagram(datagram.into())?)
    }
}

/// Opens flows of agents along `route` and waits until all are carried.
pub async fn open(
    realm: &Realm,
    flows: &[Flow],
    route: &Route,
    target: Option<SocketAddr>,
    answers: &mut mpsc::UnboundedReceiver<Answered>,
) -> anyhow::Result<()> {
    let edges: Vec<_> = route.edges().collect();
    let mut asked = std::collections::BTreeMap::new();
    for flow in flows {
        let far = match (flow.header.far, target) {
            (Some(agent), _) => FarEnd::Agent(agent),
            (None, Some(target)) => FarEnd::Target(target.to_string()),
            (None, None) => bail!("a flow that leads nowhere"),
        };
        let grant = realm.grant(flow.header.origin, far, &edges)?;
        asked.insert(flow.header.flow, (flow, grant));
    }
    let mut last = None;
    for _ in 0..TRIES {
        for (flow, grant) in asked.values() {
            flow.open(grant)?;
        }
        let gather = async {
            while !asked.is_empty() {
                match answers.recv().await {
                    Some((flow, Answer::Carried)) => drop(asked.remove(&flow)),
                    Some((_, other)) => last = Some(other),
                    None => return,
                }
            }
        };
        let _ = tokio::time::timeout(AGAIN, gather).await;
        if asked.is_empty() {
            return Ok(());
        }
    }
    let why = last.map_or("no answer", Answer::text);
    bail!("{} of {} flows are not carried: {why}", asked.len(), flows.len())
}
