//! One established connection: datagrams with an exact account of what was dropped here, control streams
//! through a token bucket, when the peer was last heard, and why it ended.

mod account;

use std::{
    fmt,
    net::SocketAddr,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicI64, AtomicU64, AtomicUsize, Ordering},
    },
    time::Duration,
};

use bytes::Bytes;
use corridor_probes::{Arrival, Mono};
use futures_util::FutureExt as _;
use quinn::SendDatagramError;
use rustls::pki_types::CertificateDer;

pub use account::{ConnectionStats, LocalDrop, LocalDrops, SendOutcome};

use super::{
    breaker::TRICKLE_BPS,
    bucket::{StreamBucket, StreamRate, TokenBucket},
    close::{CloseCode, Closed},
    config::Kind,
    congestion::{OpenController, PathBreaker},
    fair::{FairQueue, FlowTag, Full},
    packets::{Matching, PacketLog, Peer, Taken},
    stream::{ControlReceiver, ControlSender},
};
use crate::clock::{self, Clock};

/// A handle; clones are the same connection. It closes with [`CloseCode::Done`] when the last handle, the
/// streams' included, is gone.
#[derive(Clone)]
pub struct Connection {
    inner: Arc<Inner>,
}

struct Inner {
    quinn: quinn::Connection,
    clock: Arc<dyn Clock>,
    kind: Kind,
    alpn: Vec<u8>,
    peer: Vec<CertificateDer<'static>>,
    sending: Mutex<Sending>,
    /// None on connections with ordinary congestion control.
    bucket: Option<Mutex<StreamBucket>>,
    /// Datagrams of so many bytes fitted a packet when that was last asked.
    fits: AtomicUsize,
    read: AtomicU64,
    /// Datagrams that came and were dropped before they could be read.
    unread: AtomicU64,
    last_heard_ns: AtomicI64,
    packets: Mutex<Packets>,
}

/// A datagram, and when it came in.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Received {
    pub data: Bytes,
    pub arrival: Arrival,
}

/// Which packets were this connection's.
#[derive(Debug)]
struct Packets {
    log: Arc<PacketLog>,
    address: SocketAddr,
    peer: Arc<Peer>,
    matching: Matching,
    /// As it was last asked for.
    taken: Taken,
}

impl Packets {
    fn new(log: Arc<PacketLog>, address: SocketAddr) -> Self {
        Self {
            peer: log.watch(address),
            log,
            address,
            matching: Matching::default(),
            taken: Taken::default(),
        }
    }

    /// The peer is at `address` now.
    fn follow(&mut self, address: SocketAddr) {
        if address != self.address {
            *self = Self::new(Arc::clone(&self.log), address);
        }
    }
}

#[derive(Debug)]
struct Sending {
    offered: u64,
    accepted: u64,
    drops: LocalDrops,
    /// What quinn has no room for, as much again: half of what may wait does so in its turn.
    backlog: FairQueue,
    /// A task hands it on as there is, until it is empty, and the last of it with quinn.
    is_handing: bool,
    /// quinn's free buffer space when its queue is empty.
    empty_space: usize,
    /// It has at least this much, so that it need not be asked each time, which takes the connection's lock.
    space: usize,
    breaker: Option<Arc<PathBreaker>>,
    breaker_looked_up: Mono,
    trickle: TokenBucket,
}

impl Sending {
    /// Whether quinn has room for so many bytes more: else it would drop what waits, and nobody would know what.
    fn has_room(&mut self, len: usize, quinn: &quinn::Connection) -> bool {
        if self.space < len {
            self.space = quinn.datagram_send_buffer_space();
        }
        self.space >= len
    }
}

/// What a datagram takes of quinn's buffer beside its bytes, at most: a `Bytes`.
const AROUND_QUEUED: usize = 64;
/// A migration to another network gives the path a new breaker: how often to look for it.
const BREAKER_LOOKUP: Duration = Duration::from_secs(1);
/// One full packet.
const TRICKLE_BURST: usize = 1_500;
/// How often quinn gets its turn to send what was queued. Once does, unless another thread has it in hand,
/// …
const TURNS: usize = 64;
/// … which may have lost its processor: then it is looked for this often more, at such distances.
const LOOKS: usize = 50;
const LOOK_EVERY: Duration = Duration::from_millis(1);

impl Connection {
    pub(super) fn new(
        quinn: quinn::Connection,
        clock: Arc<dyn Clock>,
        kind: Kind,
        log: Arc<PacketLog>,
    ) -> Self {
        let (alpn, peer) = identity(&quinn);
        Self::build(quinn, clock, kind, log, alpn, peer)
    }

    /// An incoming connection, if `kind_of` (its ALPN, whether the peer showed a certificate) takes it.
    pub(super) fn accepted(
        quinn: quinn::Connection,
        clock: Arc<dyn Clock>,
        log: Arc<PacketLog>,
        kind_of: impl FnOnce(&[u8], bool) -> Option<Kind>,
    ) -> Result<Self, quinn::Connection> {
        let (alpn, peer) = identity(&quinn);
        match kind_of(&alpn, !peer.is_empty()) {
            Some(kind) => Ok(Self::build(quinn, clock, kind, log, alpn, peer)),
            None => Err(quinn),
        }
    }

    fn build(
        quinn: quinn::Connection,
        clock: Arc<dyn Clock>,
        kind: Kind,
        log: Arc<PacketLog>,
        alpn: Vec<u8>,
        peer: Vec<CertificateDer<'static>>,
    ) -> Self {
        let now = clock.mono();
        let bucket = match kind {
            Kind::EdgeController => None,
            Kind::AgentEdge | Kind::EdgeEdge | Kind::Probe => {
                Some(Mutex::new(StreamBucket::new(StreamRate::Idle)))
            }
        };
        let empty_space = quinn.datagram_send_buffer_space();
        let sending = Sending {
            offered: 0,
            accepted: 0,
            drops: LocalDrops::default(),
            backlog: FairQueue::new(empty_space),
            is_handing: false,
            empty_space,
            space: 0,
            breaker: OpenController::breaker_of(&quinn),
            breaker_looked_up: now,
            trickle: TokenBucket::new(TRICKLE_BPS, TRICKLE_BURST),
        };
        let address = canonical(quinn.remote_address());
        Self {
            inner: Arc::new(Inner {
                packets: Mutex::new(Packets::new(log, address)),
                alpn,
                peer,
                quinn,
                kind,
                sending: Mutex::new(sending),
                bucket,
                fits: AtomicUsize::new(0),
                read: AtomicU64::new(0),
                unread: AtomicU64::new(0),
                last_heard_ns: AtomicI64::new(now.as_nanos()),
                clock,
            }),
        }
    }

    // ---- who ----

    pub fn kind(&self) -> Kind {
        self.inner.kind
    }

    /// The protocol that TLS negotiated.
    pub fn alpn(&self) -> &[u8] {
        &self.inner.alpn
    }

    /// The peer's certificate chain, its own first; empty if it showed none. After a resumption it is the
    /// one of the first handshake: expiry and revocation must be checked again.
    pub fn peer_certificates(&self) -> &[CertificateDer<'static>] {
        &self.inner.peer
    }

    /// Where the peer is now; this changes when it migrates.
    pub fn remote_address(&self) -> SocketAddr {
        canonical(self.inner.quinn.remote_address())
    }

    /// Tells connections of this process apart.
    pub fn id(&self) -> usize {
        self.inner.quinn.stable_id()
    }

    /// Waits until the server is known to have finished the handshake (RFC 9001 §4.1.2), if this is a client.
    /// It reads nothing that comes before, as when the client's last handshake packet was lost.
    pub async fn confirmed(&self) {
        let quinn = &self.inner.quinn;
        while quinn.side().is_client()
            && quinn.stats().frame_rx.handshake_done == 0
            && quinn.close_reason().is_none()
        {
            clock::sleep(&*self.inner.clock, LOOK_EVERY).await;
        }
    }

    // ---- datagrams ----

    /// Queues a datagram, or drops it here and says why. Never waits. What was queued is not dropped any more while
    /// the connection lasts.
    ///
    /// # Panics
    /// Outside a tokio runtime.
    pub fn send_datagram(&self, data: Bytes) -> SendOutcome {
        self.send(data, |_| FlowTag::OWN)
    }

    /// Queues a datagram of media. Where more is to go than can, flows share what there is, and their oldest is
    /// dropped: `flow` says which the datagram is of.
    ///
    /// # Panics
    /// Outside a tokio runtime.
    pub fn send_media(&self, data: Bytes, flow: fn(&[u8]) -> FlowTag) -> SendOutcome {
        self.send(data, flow)
    }

    fn send(&self, data: Bytes, flow: fn(&[u8]) -> FlowTag) -> SendOutcome {
        let now = self.inner.clock.mono();
        let mut sending = self.sending();
        sending.offered += 1;
        match self.try_send(&mut sending, now, data, flow) {
            Ok(0) => SendOutcome::Queued,
            Ok(displaced) => {
                sending.drops.displaced += u64::from(displaced);
                SendOutcome::Displaced(displaced)
            }
            Err(drop) => {
                if drop == LocalDrop::TooLarge {
                    self.inner.fits.store(0, Ordering::Relaxed);
                }
                sending.drops.count(drop);
                SendOutcome::LocalDrop(drop)
            }
        }
    }

    /// Answers how many others were dropped for it.
    fn try_send(
        &self,
        sending: &mut Sending,
        now: Mono,
        data: Bytes,
        flow: fn(&[u8]) -> FlowTag,
    ) -> Result<u32, LocalDrop> {
        let quinn = &self.inner.quinn;
        let len = data.len();
        if sending.breaker.is_some() && now.since(sending.breaker_looked_up) >= BREAKER_LOOKUP {
            sending.breaker = OpenController::breaker_of(quinn);
            sending.breaker_looked_up = now;
        }
        if let Some(breaker) = &sending.breaker
            && breaker.sending(now)
            && sending.trickle.take(now, len).is_err()
        {
            return Err(LocalDrop::Breaker);
        }
        // Nor is anything to overtake what is being handed on.
        let waits = sending.is_handing || !sending.has_room(len, quinn);
        if !waits || quinn.max_datagram_size().is_none_or(|max| max < len) {
            quinn.send_datagram(data).map_err(|e| why(&e))?;
            sending.space = sending.space.saturating_sub(len + AROUND_QUEUED);
            sending.accepted += 1;
            return Ok(0);
        }
        if quinn.close_reason().is_some() {
            return Err(LocalDrop::Closed);
        }
        let tag = flow(&data);
        let displaced = sending
            .backlog
            .push(tag, data)
            .map_err(|Full| LocalDrop::BufferFull)?;
        if !std::mem::replace(&mut sending.is_handing, true) {
            // That task asks quinn by itself.
            sending.space = 0;
            tokio::spawn(self.clone().hand_on());
        }
        Ok(displaced)
    }

    /// Hands to quinn what waits, as it has room, until nothing does.
    async fn hand_on(self) {
        loop {
            let next = {
                let mut sending = self.sending();
                let Some(next) = sending.backlog.pop() else {
                    sending.is_handing = false;
                    return;
                };
                sending.accepted += 1;
                next
            };
            if let Err(error) = self.inner.quinn.send_datagram_wait(next).await {
                let mut sending = self.sending();
                sending.accepted -= 1;
                sending.drops.count(why(&error));
            }
        }
    }

    /// Lets quinn put what is queued into packets, so that the next datagram gets one of its own: those
    /// that share a packet are lost together. Gives up where the socket takes no more. Cancel-safe.
    pub async fn transmitted(&self) {
        self.transmitted_within(TURNS + LOOKS).await;
    }

    /// The same, for who has more to do than to wait for a socket that takes no more just now.
    pub async fn transmitted_soon(&self) {
        self.transmitted_within(TURNS).await;
    }

    async fn transmitted_within(&self, looks: usize) {
        let quinn = &self.inner.quinn;
        let empty = self.sending().empty_space;
        for look in 0..looks {
            if look < TURNS {
                tokio::task::yield_now().await;
            } else {
                clock::sleep(&*self.inner.clock, LOOK_EVERY).await;
            }
            let is_empty = quinn.datagram_send_buffer_space() >= empty && !self.sending().is_handing;
            if is_empty || quinn.close_reason().is_some() {
                return;
            }
        }
    }

    /// Waits for a datagram. Cancel-safe.
    pub async fn read_datagram(&self) -> Result<Received, Closed> {
        let came = self.inner.quinn.stats().frame_rx.datagram;
        if let Some(received) = self.try_read_datagram() {
            return Ok(received);
        }
        // All that came and waited has been read: what is missing, quinn has dropped for want of room.
        let read = self.inner.read.load(Ordering::Relaxed);
        self.inner
            .unread
            .store(came.saturating_sub(read), Ordering::Relaxed);
        let data = self.inner.quinn.read_datagram().await?;
        Ok(self.received(data))
    }

    /// A datagram that has arrived already, so that one wake-up takes them all.
    pub fn try_read_datagram(&self) -> Option<Received> {
        let data = self.inner.quinn.read_datagram().now_or_never()?.ok()?;
        Some(self.received(data))
    }

    fn received(&self, data: Bytes) -> Received {
        let now = self.heard();
        let read = self.inner.read.fetch_add(1, Ordering::Relaxed) + 1;
        let mut packets = lock(&self.inner.packets);
        // Until all that had been taken then is read, what was true then will do.
        if read + self.unread() > packets.taken.datagrams {
            packets.follow(self.remote_address());
            let stats = self.inner.quinn.stats();
            packets.taken = Taken {
                packets: stats.udp_rx.datagrams,
                datagrams: stats.frame_rx.datagram,
                read,
            };
        }
        let Packets {
            peer,
            matching,
            taken,
            ..
        } = &mut *packets;
        taken.read = read;
        let arrival = matching.arrival(peer, data.len(), *taken, now);
        Received { data, arrival }
    }

    /// When a datagram of `len` bytes that was queued at `since` was handed to the system; none if it was
    /// not yet, or nobody knows.
    pub fn sent_since(&self, since: Mono, len: usize) -> Option<Mono> {
        lock(&self.inner.packets).peer.sent_since(since, len)
    }

    /// Datagrams that came and were dropped because their reader was behind, as of the last time that it was not.
    pub fn unread(&self) -> u64 {
        self.inner.unread.load(Ordering::Relaxed)
    }

    /// The largest datagram that can be sent now, in bytes. It grows when a larger MTU is found, shrinks
    /// when the path changes, and is `None` if the peer takes no datagrams.
    pub fn max_datagram_size(&self) -> Option<usize> {
        self.inner.quinn.max_datagram_size()
    }

    /// Whether a datagram of `len` bytes fits a packet, or nobody knows. If the path's MTU has shrunk, it may be
    /// [`LocalDrop::TooLarge`] all the same, once.
    pub fn fits(&self, len: usize) -> bool {
        let known = &self.inner.fits;
        if len <= known.load(Ordering::Relaxed) {
            return true;
        }
        let max = self.max_datagram_size();
        known.store(max.unwrap_or(0), Ordering::Relaxed);
        max.is_none_or(|max| len <= max)
    }

    // ---- streams ----

    /// Opens a control stream. The peer sees it once something is written.
    pub async fn open_control(&self) -> Result<(ControlSender, ControlReceiver), Closed> {
        let (send, receive) = self.inner.quinn.open_bi().await?;
        Ok(self.control(send, receive))
    }

    /// Waits for a control stream that the peer opens. Cancel-safe.
    pub async fn accept_control(&self) -> Result<(ControlSender, ControlReceiver), Closed> {
        let (send, receive) = self.inner.quinn.accept_bi().await?;
        Ok(self.control(send, receive))
    }

    fn control(&self, s: quinn::SendStream, r: quinn::RecvStream) -> (ControlSender, ControlReceiver) {
        (
            ControlSender::new(s, self.clone()),
            ControlReceiver::new(r, self.clone()),
        )
    }

    /// How fast streams may write from now on. No effect on edge–controller connections.
    pub fn set_stream_rate(&self, rate: StreamRate) {
        if let Some(bucket) = &self.inner.bucket {
            lock(bucket).set_rate(self.inner.clock.mono(), rate);
        }
    }

    pub(super) async fn pass_bucket(&self, bytes: usize) {
        let Some(bucket) = &self.inner.bucket else { return };
        let quinn = &self.inner.quinn;
        let take = || {
            let now = self.inner.clock.mono();
            let mut bucket = lock(bucket);
            bucket.set_rtt(now, quinn.rtt(), quinn.min_rtt());
            bucket.take(now, bytes)
        };
        while let Err(wait) = take() {
            clock::sleep(&*self.inner.clock, wait).await;
        }
    }

    // ---- state ----

    /// When a datagram or stream bytes of the peer were last read; at first, when it connected.
    pub fn last_heard(&self) -> Mono {
        Mono::from_nanos(self.inner.last_heard_ns.load(Ordering::Relaxed))
    }

    pub(super) fn heard(&self) -> Mono {
        let now = self.inner.clock.mono();
        self.inner
            .last_heard_ns
            .fetch_max(now.as_nanos(), Ordering::Relaxed);
        now
    }

    /// QUIC packets received, acknowledgements included: whoever reads this regularly and sees it grow
    /// has heard the peer meanwhile.
    pub fn packets_received(&self) -> u64 {
        self.inner.quinn.stats().udp_rx.datagrams
    }

    /// Frames sent that the peer acknowledges, of those that go by themselves, and packets received.
    pub fn answered(&self) -> (u64, u64) {
        let stats = self.inner.quinn.stats();
        let sent = stats.frame_tx.datagram + stats.frame_tx.ping;
        (sent, stats.udp_rx.datagrams)
    }

    /// Datagrams that went and came.
    pub fn datagrams(&self) -> u64 {
        let stats = self.inner.quinn.stats();
        stats.frame_tx.datagram + stats.frame_rx.datagram
    }

    /// QUIC's smoothed round-trip time. Not for measuring.
    pub fn rtt(&self) -> Duration {
        self.inner.quinn.rtt()
    }

    pub fn stats(&self) -> ConnectionStats {
        let quinn = &self.inner.quinn;
        let mut sending = self.sending();
        // In this order: what is empty now stays so, because nothing is sent while the lock is held.
        let over = quinn.close_reason().is_some();
        let empty = quinn.datagram_send_buffer_space() >= sending.empty_space;
        let stats = quinn.stats();
        let transmitted = stats.frame_tx.datagram;
        // While some are handed on, one of them may be with neither.
        if (over || empty) && !sending.is_handing {
            sending.drops.in_queue = sending.accepted.saturating_sub(transmitted);
        }
        ConnectionStats {
            offered: sending.offered,
            transmitted,
            queued: sending
                .accepted
                .saturating_sub(transmitted + sending.drops.in_queue)
                + sending.backlog.len(),
            local_drops: sending.drops,
            received: stats.frame_rx.datagram,
            read: self.inner.read.load(Ordering::Relaxed),
            unread: self.inner.unread.load(Ordering::Relaxed),
            packets_sent: stats.udp_tx.datagrams,
            bytes_sent: stats.udp_tx.bytes,
            packets_received: stats.udp_rx.datagrams,
            bytes_received: stats.udp_rx.bytes,
            rtt: stats.path.rtt,
            min_rtt: stats.path.min_rtt,
            mtu: stats.path.current_mtu,
            breaker_tripped: sending.breaker.as_ref().is_some_and(|b| b.tripped()),
        }
    }

    // ---- the end ----

    /// Waits until the connection is over, and says why. Cancel-safe.
    pub async fn closed(&self) -> Closed {
        self.inner.quinn.closed().await.into()
    }

    /// Why the connection is over, if it is.
    pub fn close_reason(&self) -> Option<Closed> {
        self.inner.quinn.close_reason().map(Closed::from)
    }

    /// Ends the connection at once; streams' unsent data is lost. `reason` is for people who read logs.
    pub fn close(&self, code: CloseCode, reason: &str) {
        self.inner.quinn.close(code.to_wire(), reason.as_bytes());
    }

    fn sending(&self) -> MutexGuard<'_, Sending> {
        lock(&self.inner.sending)
    }
}

const fn why(error: &SendDatagramError) -> LocalDrop {
    match error {
        SendDatagramError::TooLarge => LocalDrop::TooLarge,
        SendDatagramError::UnsupportedByPeer | SendDatagramError::Disabled => LocalDrop::Unsupported,
        SendDatagramError::ConnectionLost(_) => LocalDrop::Closed,
    }
}

/// What TLS negotiated: the protocol, and the peer's certificate chain.
fn identity(quinn: &quinn::Connection) -> (Vec<u8>, Vec<CertificateDer<'static>>) {
    let handshake = quinn
        .handshake_data()
        .and_then(|data| data.downcast::<quinn::crypto::rustls::HandshakeData>().ok());
    let peer = quinn
        .peer_identity()
        .and_then(|chain| chain.downcast::<Vec<CertificateDer<'static>>>().ok());
    (
        handshake.and_then(|h| h.protocol).unwrap_or_default(),
        peer.map(|chain| *chain).unwrap_or_default(),
    )
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Dual-stack sockets show IPv4 peers as mapped IPv6.
pub(super) fn canonical(address: SocketAddr) -> SocketAddr {
    SocketAddr::new(address.ip().to_canonical(), address.port())
}

impl fmt::Debug for Connection {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Connection")
            .field("id", &self.id())
            .field("kind", &self.inner.kind)
            .finish_non_exhaustive()
    }
}
