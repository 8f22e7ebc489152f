//! Two programs that talk by media: one sends to a local port of its agent at a steady rate, the other
//! answers each packet with itself. Both keep books by numbers, so that what was lost on which way is known
//! exactly.

use std::{
    collections::BTreeMap,
    net::{Ipv4Addr, SocketAddr},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use corridor_probes::Mono;
use tokio_util::sync::{CancellationToken, DropGuard};

use super::{SimHost, World};
use crate::{
    agent::Forward,
    clock::{self, Clock},
    media::origin::To,
    transport::{BindError, PlainSocket},
};

/// Where the second program listens; each talk has the next.
const FIRST_PORT: u16 = 5_004;

/// Why two programs cannot talk.
#[derive(Debug, thiserror::Error)]
pub enum TalkError {
    #[error(transparent)]
    World(#[from] super::WorldError),
    #[error(transparent)]
    Bind(#[from] BindError),
    #[error("the agent does not carry it: {0}")]
    Agent(String),
}

/// A packet that was sent.
#[derive(Debug, Clone, Copy)]
struct Sent {
    at: Mono,
    /// How often it came there, and how often its answer came back.
    there: u32,
    back: u32,
    rtt: Option<Duration>,
}

/// What became of the packets sent within a time.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Told {
    pub sent: usize,
    pub lost_there: usize,
    pub lost_back: usize,
    /// Came more than once, on either way.
    pub repeated: usize,
    pub worst_rtt: Duration,
}

/// What is said, and in which class.
#[derive(Debug, Clone, Copy)]
pub struct Says<'a> {
    pub class: &'a str,
    /// The second program is the class's target.
    pub to_target: bool,
    /// One packet in this time, of so many bytes.
    pub every: Duration,
    pub size: usize,
}

/// See the module's documentation. Dropping it ends it.
#[derive(Debug)]
pub struct Talk {
    book: Arc<Mutex<BTreeMap<u32, Sent>>>,
    begun: Mono,
    _stop: DropGuard,
}

impl Talk {
    /// Starts both programs, and has the agents carry what they say; `number` tells talks apart.
    pub async fn start(
        world: &World,
        number: u16,
        (from, to): (&str, &str),
        says: Says<'_>,
    ) -> Result<Self, TalkError> {
        let port = FIRST_PORT + number;
        let said = TalkError::Agent;
        let target = SocketAddr::new(world.address_of(to)?, port);
        let (to_whom, answers_at) = if says.to_target {
            (To::Target(target.to_string()), target)
        } else if world.agent(to)?.accept(port).await.map_err(said)? {
            let subject = to.to_owned();
            (To::Agent { subject, port }, (Ipv4Addr::LOCALHOST, port).into())
        } else {
            return Err(TalkError::Agent("too many ports".to_owned()));
        };
        let forward = Forward {
            listen: (Ipv4Addr::LOCALHOST, 0).into(),
            to: to_whom,
            class: Some(says.class.to_owned()),
        };
        let carried = world.agent(from)?.forward(forward).await.map_err(said)?;
        let (here, there) = (world.host(from)?.clone(), world.host(to)?.clone());
        let book = Arc::default();
        let stop = CancellationToken::new();
        let answers = PlainSocket::bind(&there, answers_at)?;
        let socket = PlainSocket::bind(&here, (Ipv4Addr::LOCALHOST, 0).into())?;
        let begun = here.clock().mono();
        tokio::spawn(answer(there, answers, Arc::clone(&book), stop.clone()));
        let talking = talk(
            here,
            socket,
            carried,
            Arc::clone(&book),
            says.every,
            says.size,
            stop.clone(),
        );
        tokio::spawn(talking);
        Ok(Self {
            book,
            begun,
            _stop: stop.drop_guard(),
        })
    }

    /// What became of packets sent from `from` to `to` after its start.
    pub fn told(&self, from: Duration, to: Duration) -> Told {
        let mut told = Told::default();
        for sent in lock(&self.book).values() {
            if !(from..=to).contains(&sent.at.since(self.begun)) {
                continue;
            }
            told.sent += 1;
            told.lost_there += usize::from(sent.there == 0);
            told.lost_back += usize::from(sent.there > 0 && sent.back == 0);
            told.repeated += usize::from(sent.there > 1 || sent.back > 1);
            told.worst_rtt = told.worst_rtt.max(sent.rtt.unwrap_or_default());
        }
        told
    }
}

type Book = Arc<Mutex<BTreeMap<u32, Sent>>>;

fn lock(book: &Book) -> MutexGuard<'_, BTreeMap<u32, Sent>> {
    book.lock().unwrap_or_else(PoisonError::into_inner)
}

fn number(packet: &[u8]) -> Option<u32> {
    packet.first_chunk().copied().map(u32::from_be_bytes)
}

async fn talk(
    host: SimHost,
    mut socket: PlainSocket,
    to: SocketAddr,
    book: Book,
    every: Duration,
    size: usize,
    stop: CancellationToken,
) {
    let clock: &dyn Clock = host.clock();
    let mut packet = vec![0; size.max(4)];
    for seq in 0_u32.. {
        let begun = clock.mono();
        let sent = Sent {
            at: begun,
            there: 0,
            back: 0,
            rtt: None,
        };
        lock(&book).insert(seq, sent);
        packet[..4].copy_from_slice(&seq.to_be_bytes());
        socket.send(to, None, &packet);
        let next = clock::sleep(clock, every);
        tokio::pin!(next);
        loop {
            let batch = tokio::select! {
                biased;
                () = stop.cancelled() => return,
                batch = socket.next(clock) => batch,
                () = &mut next => break,
            };
            let now = clock.mono();
            for seq in socket.packets(batch).filter_map(number) {
                if let Some(sent) = lock(&book).get_mut(&seq) {
                    sent.back += 1;
                    sent.rtt.get_or_insert(now.since(sent.at));
                }
            }
        }
    }
}

async fn answer(host: SimHost, mut socket: PlainSocket, book: Book, stop: CancellationToken) {
    loop {
        let batch = tokio::select! {
            biased;
            () = stop.cancelled() => return,
            batch = socket.next(host.clock()) => batch,
        };
        for packet in socket.packets(batch) {
            let mut book = lock(&book);
            if let Some(sent) = number(packet).and_then(|seq| book.get_mut(&seq)) {
                sent.there += 1;
            }
            drop(book);
            socket.send(batch.from, None, packet);
        }
    }
}
