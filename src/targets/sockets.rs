//! Probes of targets on the wire: a socket of its own for each session and for each method of a trial, so that
//! an answer's socket says whose it is.

use std::{
    collections::BTreeMap,
    future::poll_fn,
    io,
    net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr},
    num::NonZeroU16,
    sync::Arc,
    task::{Context, Poll},
    time::Duration,
};

use corridor_probes::{
    Mono,
    stamp::{ErrorEstimate, Mode, ReflectorPacket, SenderPacket, Stamp},
    target::{
        Method,
        stun::{self, Transaction},
    },
};
use rand::{RngExt as _, rngs::StdRng};
use tokio::{
    io::{Interest, ReadBuf},
    net::{TcpStream, UdpSocket},
    task::JoinSet,
};

use super::core::{Answer, Key, No, Probe, Purpose, Scope};
use crate::{clock::Clock, config::STAMP_PORT, stamp::Civil};

/// Bytes of an answer that are looked at: answers are no longer than a packet.
const BUFFER: usize = 1_500;
/// Packets taken from one socket in one turn, so that a flood does not hold up the rest.
const BATCH: usize = 16;
/// An ICMP error that has arrived is told by the next send, which then did not happen.
const SEND_TRIES: usize = 4;
/// A connection that takes longer is not measured: after a second the SYN has been sent again, and which of
/// them was answered nobody tells (RFC 6298 §2.1).
const CONNECT_WITHIN: Duration = Duration::from_millis(900);

/// Why a probe was not sent.
#[derive(Debug)]
pub enum NotSent {
    /// Nor could any other by this method from here to there.
    Impossible(String),
    ThisTime,
}

/// An answer, and when it came.
pub type Came = (Key, Answer, Mono);

#[derive(Debug)]
pub struct Sockets {
    open: BTreeMap<Key, Socket>,
    connecting: JoinSet<Option<Came>>,
    clock: Arc<dyn Clock>,
    civil: Civil,
    rng: StdRng,
    tcp_port: Option<NonZeroU16>,
}

#[derive(Debug)]
enum Socket {
    /// STAMP or STUN. `token`: random, in every packet.
    Udp { io: UdpSocket, token: u64 },
    #[cfg(target_os = "linux")]
    Icmp {
        echo: corridor_probes::trace::EchoSocket,
        /// The same socket, to wait on: a runtime's UDP socket does nothing else that depends on the protocol.
        io: UdpSocket,
        /// The number that was sent last: requests carry its lower half only.
        last: u32,
    },
}

impl Sockets {
    pub fn new(clock: Arc<dyn Clock>, civil: Civil, rng: StdRng, tcp_port: Option<NonZeroU16>) -> Self {
        Self {
            open: BTreeMap::new(),
            connecting: JoinSet::new(),
            clock,
            civil,
            rng,
            tcp_port,
        }
    }

    pub fn close(&mut self, no: No, scope: Scope) {
        self.open.retain(|key, _| {
            key.no != no
                || match (scope, key.purpose) {
                    (Scope::All, _) => false,
                    (Scope::Before(_), Purpose::Trial) => true,
                    (Scope::Before(first), Purpose::Session(session)) => session >= first,
                }
        });
    }

    pub fn send(&mut self, probe: &Probe) -> Result<(), NotSent> {
        let Probe { key, address, .. } = *probe;
        if key.method == Method::Tcp {
            return self.connect(probe);
        }
        let socket = match self.open.remove(&key) {
            Some(socket) => socket,
            None => Socket::open(key.method, address, self.rng.random()).map_err(NotSent::Impossible)?,
        };
        let socket = self.open.entry(key).or_insert(socket);
        socket.send(probe, self.civil).map_err(|error| {
            tracing::debug!(method = %key.method, %error, "probe of a target not sent");
            NotSent::ThisTime
        })
    }

    fn connect(&mut self, probe: &Probe) -> Result<(), NotSent> {
        let Some(port) = self.tcp_port else {
            return Err(NotSent::ThisTime);
        };
        let to = SocketAddr::new(probe.address.ip(), port.get());
        let (key, number, clock) = (probe.key, probe.number, Arc::clone(&self.clock));
        self.connecting.spawn(async move {
            let connected = tokio::time::timeout(CONNECT_WITHIN, TcpStream::connect(to)).await;
            let at = clock.mono();
            matches!(connected, Ok(Ok(_))).then_some((key, Answer::Number(number), at))
        });
        Ok(())
    }

    /// Waits for answers. Cancel-safe: what was not read stays in the sockets.
    pub async fn receive(&mut self) -> Vec<Came> {
        let Self {
            open,
            connecting,
            clock,
            ..
        } = self;
        let mut came = Vec::new();
        poll_fn(|cx| {
            for (key, socket) in &mut *open {
                socket.poll(*key, &**clock, cx, &mut came);
            }
            while let Poll::Ready(Some(done)) = connecting.poll_join_next(cx) {
                came.extend(done.ok().flatten());
            }
            if came.is_empty() {
                Poll::Pending
            } else {
                Poll::Ready(())
            }
        })
        .await;
        came
    }
}

impl Socket {
    /// Why not is one sentence.
    fn open(method: Method, target: SocketAddr, token: u64) -> Result<Self, String> {
        let unreachable = |e: io::Error| format!("cannot send there: {e}");
        let to = match method {
            Method::Stamp => SocketAddr::new(target.ip(), STAMP_PORT),
            Method::Stun => target,
            Method::Icmp | Method::Tcp => return Self::icmp(target.ip(), token),
        };
        let any: IpAddr = match to {
            SocketAddr::V4(_) => Ipv4Addr::UNSPECIFIED.into(),
            SocketAddr::V6(_) => Ipv6Addr::UNSPECIFIED.into(),
        };
        let socket = std::net::UdpSocket::bind((any, 0)).map_err(unreachable)?;
        // Connected: packets of others do not come here.
        socket.connect(to).map_err(unreachable)?;
        socket.set_nonblocking(true).map_err(unreachable)?;
        let io = UdpSocket::from_std(socket).map_err(unreachable)?;
        Ok(Self::Udp { io, token })
    }

    #[cfg(target_os = "linux")]
    fn icmp(target: IpAddr, seed: u64) -> Result<Self, String> {
        use std::os::fd::AsFd as _;

        let echo = corridor_probes::trace::EchoSocket::open(target, seed).map_err(|e| e.to_string())?;
        let io = echo
            .as_fd()
            .try_clone_to_owned()
            .and_then(|fd| UdpSocket::from_std(fd.into()))
            .map_err(|e| format!("echo requests cannot be sent: {e}"))?;
        Ok(Self::Icmp { echo, io, last: 0 })
    }

    #[cfg(not(target_os = "linux"))]
    fn icmp(_: IpAddr, _: u64) -> Result<Self, String> {
        Err("echo requests are sent on Linux only".to_owned())
    }

    fn send(&mut self, probe: &Probe, civil: Civil) -> io::Result<()> {
        match self {
            Self::Udp { io, token } => {
                let packet = packet(probe, *token, civil);
                let mut sent = Ok(0);
                for _ in 0..SEND_TRIES {
                    sent = io.try_send(&packet);
                    if !matches!(&sent, Err(e) if e.kind() == io::ErrorKind::ConnectionRefused) {
                        break;
                    }
                }
                sent.map(drop)
            }
            #[cfg(target_os = "linux")]
            Self::Icmp { echo, last, .. } => {
                *last = probe.number;
                echo.send(low(probe.number))
            }
        }
    }

    fn poll(&mut self, key: Key, clock: &dyn Clock, cx: &mut Context<'_>, came: &mut Vec<Came>) {
        match self {
            Self::Udp { io, token } => {
                let mut bytes = [0; BUFFER];
                for _ in 0..BATCH {
                    let mut buffer = ReadBuf::new(&mut bytes);
                    match io.poll_recv(cx, &mut buffer) {
                        Poll::Ready(Ok(())) => {
                            let answer = answer(key.method, buffer.filled(), *token);
                            came.extend(answer.map(|answer| (key, answer, clock.mono())));
                        }
                        // Errors of what was sent before.
                        Poll::Ready(Err(_)) => {}
                        Poll::Pending => return,
                    }
                }
                // There may be more, and nobody would wake us for it.
                cx.waker().wake_by_ref();
            }
            #[cfg(target_os = "linux")]
            Self::Icmp { echo, io, last } => {
                while io.poll_recv_ready(cx).is_ready() {
                    let (now, wall) = (clock.mono(), clock.wall());
                    let read = io.try_io(Interest::READABLE, || {
                        let all = echo.receive(now, wall, |number, at| {
                            let behind = low(*last).wrapping_sub(number);
                            let number = last.wrapping_sub(behind.into());
                            came.push((key, Answer::Number(number), at));
                        });
                        // That there is no more makes it wait again.
                        if all {
                            Err(io::ErrorKind::WouldBlock.into())
                        } else {
                            Ok(())
                        }
                    });
                    if read.is_ok() {
                        cx.waker().wake_by_ref();
                        return;
                    }
                }
            }
        }
    }
}

#[cfg(target_os = "linux")]
fn low(number: u32) -> u16 {
    number as u16
}

fn packet(probe: &Probe, token: u64, civil: Civil) -> Vec<u8> {
    if probe.key.method == Method::Stun {
        let transaction = Transaction {
            session: token,
            number: probe.number,
        };
        return stun::request(transaction).to_vec();
    }
    let estimate = ErrorEstimate::UNSYNCHRONISED;
    let mut packet = Vec::new();
    SenderPacket {
        seq: probe.number,
        timestamp: Stamp::new(civil.unix_ns(probe.at), estimate.format),
        estimate,
        // Not 0, which means that there is none.
        ssid: (token as u16).max(1),
    }
    .write(Mode::Unauthenticated, &mut packet);
    packet
}

fn answer(method: Method, bytes: &[u8], token: u64) -> Option<Answer> {
    match method {
        Method::Stamp => ReflectorPacket::parse(Mode::Unauthenticated, bytes)
            .ok()
            .map(Answer::Stamp),
        Method::Stun => {
            let answer = stun::answer(bytes).ok()?;
            let ours = answer.transaction.session == token;
            ours.then_some(Answer::Number(answer.transaction.number))
        }
        Method::Icmp | Method::Tcp => None,
    }
}
