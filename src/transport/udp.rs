//! Real UDP sockets under quinn. The only file that knows quinn's socket trait and quinn-udp together.
//!
//! quinn 0.11 stands on quinn-udp 0.5. The sockets here are quinn-udp 0.6's, which shows the kernel's receive
//! stamps, and are dressed as 0.5's.

use std::{
    cell::Cell,
    io::{self, IoSliceMut},
    net::{Ipv4Addr, SocketAddr},
    pin::Pin,
    sync::{
        Arc, Mutex, OnceLock, PoisonError,
        atomic::{AtomicI32, AtomicU64, Ordering},
    },
    task::{Context, Poll, ready},
};

use quinn::{
    AsyncUdpSocket, UdpPoller,
    udp::{EcnCodepoint, RecvMeta, Transmit},
};
use quinn_udp::UdpSocketState;
use socket2::{Domain, Protocol, SockRef, Socket, Type};
use tokio::{io::Interest, sync::watch};

use super::{
    dscp::{self, Dscp, Marked},
    duplicates::Duplicates,
    interfaces::InterfaceWatch,
    kernel_time::KernelTime,
    network::{BindError, DatagramSocket, Network, SocketCounters},
    packets::PacketLog,
};
use crate::clock::Clock;

/// Asked of the system for what comes, in bytes; it grants what it allows (208 KiB by default on Linux). At 10,000
/// full packets a second this bridges a stall of 140 ms.
const RECEIVE_BUFFER: usize = 2 * 1024 * 1024;
/// The same for what goes. Here all wait in one row, and what waits before it does so fairly: it holds a millisecond
/// of a line of 1 Gbit/s, as the system counts (twice this, and 2,304 bytes for a full packet).
const SEND_BUFFER: usize = 128 * 1024;

/// This machine's network.
#[derive(Debug)]
pub struct UdpNetwork {
    clock: Arc<dyn Clock>,
    interfaces: InterfaceWatch,
}

impl UdpNetwork {
    /// `clock` is this machine's: times of packets are told on it.
    ///
    /// # Panics
    /// Outside a tokio runtime.
    pub fn new(clock: Arc<dyn Clock>) -> Self {
        Self {
            clock,
            interfaces: InterfaceWatch::start(),
        }
    }
}

impl Network for UdpNetwork {
    fn bind(&self, local: SocketAddr) -> Result<Arc<dyn DatagramSocket>, BindError> {
        let any_ip = local.is_ipv6() && local.ip().is_unspecified();
        let socket = match open(local) {
            // The machine has no IPv6.
            Err(e) if any_ip && no_ipv6(&e) => open((Ipv4Addr::UNSPECIFIED, local.port()).into()),
            other => other,
        };
        let socket = socket
            .and_then(|socket| UdpSocket::new(socket, Arc::clone(&self.clock)))
            .map_err(|e| BindError::new(local, e))?;
        Ok(Arc::new(socket))
    }

    fn runtime(&self) -> Arc<dyn quinn::Runtime> {
        Arc::new(quinn::TokioRuntime)
    }

    fn changes(&self) -> watch::Receiver<u64> {
        self.interfaces.subscribe()
    }
}

fn open(local: SocketAddr) -> io::Result<std::net::UdpSocket> {
    let socket = Socket::new(Domain::for_address(local), Type::DGRAM, Some(Protocol::UDP))?;
    if local.is_ipv6() {
        // One socket for both families where it listens to any address; otherwise there is nothing to share.
        socket.set_only_v6(!local.ip().is_unspecified())?;
    }
    for granted in [
        socket.set_recv_buffer_size(RECEIVE_BUFFER),
        socket.set_send_buffer_size(SEND_BUFFER),
    ] {
        if let Err(error) = granted {
            tracing::debug!(%error, "socket buffer stays at its default size");
        }
    }
    socket.set_nonblocking(true)?;
    socket.bind(&local.into())?;
    Ok(socket.into())
}

fn no_ipv6(e: &io::Error) -> bool {
    matches!(e.raw_os_error(), Some(libc::EAFNOSUPPORT | libc::EADDRNOTAVAIL))
}

#[derive(Debug)]
struct UdpSocket {
    io: tokio::net::UdpSocket,
    state: UdpSocketState,
    clock: Arc<dyn Clock>,
    stamps: KernelTime,
    log: OnceLock<Arc<PacketLog>>,
    duplicates: Mutex<Duplicates>,
    stamped: AtomicU64,
    unstamped: AtomicU64,
    send_errors: AtomicU64,
    last_send_error: AtomicI32,
    send_too_big: AtomicU64,
    /// How what is sent is marked.
    mark: Mutex<Dscp>,
}

impl UdpSocket {
    fn new(socket: std::net::UdpSocket, clock: Arc<dyn Clock>) -> io::Result<Self> {
        Ok(Self {
            state: UdpSocketState::new((&socket).into())?,
            io: tokio::net::UdpSocket::from_std(socket)?,
            stamps: KernelTime::new(&*clock),
            clock,
            log: OnceLock::new(),
            duplicates: Mutex::default(),
            stamped: AtomicU64::new(0),
            unstamped: AtomicU64::new(0),
            send_errors: AtomicU64::new(0),
            last_send_error: AtomicI32::new(0),
            send_too_big: AtomicU64::new(0),
            mark: Mutex::default(),
        })
    }

    fn log_sent(&self, transmit: &Transmit<'_>) {
        let Some(log) = self.log.get() else { return };
        let lens = packet_lens(transmit.contents.len(), transmit.segment_size);
        log.sent(transmit.destination, lens, self.clock.mono());
    }

    fn log_received(&self, bufs: &[IoSliceMut<'_>], received: &[quinn_udp::RecvMeta]) {
        let Some(log) = self.log.get() else { return };
        let reading = self.stamps.read(&*self.clock);
        let mut duplicates = self.duplicates.lock().unwrap_or_else(PoisonError::into_inner);
        for (buf, meta) in bufs.iter().zip(received) {
            let at = meta.timestamp.and_then(|stamp| reading.mono(stamp));
            let count = if at.is_some() {
                &self.stamped
            } else {
                &self.unstamped
            };
            let lens = packet_lens(meta.len, Some(meta.stride));
            count.fetch_add(lens.len() as u64, Ordering::Relaxed);
            // Of strangers nothing is remembered: anybody can be many of them.
            if log.received(meta.addr, lens, at, reading.now()) {
                let packets = buf.get(..meta.len).unwrap_or_default();
                for packet in packets.chunks(meta.stride.max(1)) {
                    duplicates.observe(meta.addr, packet);
                }
            }
        }
    }

    fn count_send_error(&self, e: &io::Error, transmit: &Transmit<'_>) {
        let datagrams = packet_lens(transmit.contents.len(), transmit.segment_size).len() as u64;
        if e.raw_os_error() == Some(libc::EMSGSIZE) {
            self.send_too_big.fetch_add(datagrams, Ordering::Relaxed);
            return;
        }
        self.send_errors.fetch_add(datagrams, Ordering::Relaxed);
        let errno = e.raw_os_error().unwrap_or(-1);
        if self.last_send_error.swap(errno, Ordering::Relaxed) != errno {
            tracing::debug!(error = %e, "the system refuses to send");
        }
    }

    /// Sends by `send`, once the socket takes something.
    fn attempt(&self, transmit: &Transmit<'_>, send: impl Fn() -> io::Result<()>) -> io::Result<()> {
        let asked = Cell::new(false);
        let send = || {
            asked.set(true);
            send()
        };
        let mut sent = self.io.try_io(Interest::WRITABLE, send);
        if !asked.get() {
            // The runtime knows nothing of a new socket yet: the system does.
            sent = send();
        }
        match sent {
            // An error here would end the connection, though the next send may well work.
            Err(e) if e.kind() != io::ErrorKind::WouldBlock => {
                self.count_send_error(&e, transmit);
                Ok(())
            }
            other => other,
        }
    }
}

impl AsyncUdpSocket for UdpSocket {
    fn create_io_poller(self: Arc<Self>) -> Pin<Box<dyn UdpPoller>> {
        Box::pin(WritePoller {
            socket: self,
            waiting: None,
        })
    }

    fn try_send(&self, transmit: &Transmit<'_>) -> io::Result<()> {
        self.attempt(transmit, || {
            self.log_sent(transmit);
            self.state.try_send((&self.io).into(), &dressed(transmit))
        })
    }

    fn poll_recv(
        &self,
        cx: &mut Context<'_>,
        bufs: &mut [IoSliceMut<'_>],
        meta: &mut [RecvMeta],
    ) -> Poll<io::Result<usize>> {
        let mut stamped = [quinn_udp::RecvMeta::default(); quinn_udp::BATCH_SIZE];
        let batch = bufs.len().min(meta.len()).min(stamped.len());
        loop {
            ready!(self.io.poll_recv_ready(cx))?;
            let received = self.io.try_io(Interest::READABLE, || {
                let (bufs, stamped) = (&mut bufs[..batch], &mut stamped[..batch]);
                self.state.recv((&self.io).into(), bufs, stamped)
            });
            match received {
                Err(e) if e.kind() == io::ErrorKind::WouldBlock => {}
                Err(e) => return Poll::Ready(Err(e)),
                Ok(count) => {
                    self.log_received(bufs, &stamped[..count]);
                    for (meta, stamped) in meta.iter_mut().zip(&stamped[..count]) {
                        undress(stamped, meta);
                    }
                    return Poll::Ready(Ok(count));
                }
            }
        }
    }

    fn local_addr(&self) -> io::Result<SocketAddr> {
        self.io.local_addr()
    }

    fn max_transmit_segments(&self) -> usize {
        self.state.max_gso_segments()
    }

    fn max_receive_segments(&self) -> usize {
        self.state.gro_segments()
    }

    fn may_fragment(&self) -> bool {
        self.state.may_fragment()
    }
}

impl DatagramSocket for UdpSocket {
    fn log_to(&self, log: &Arc<PacketLog>) {
        // A socket is one endpoint's for good: the first log stays.
        let _ = self.log.set(Arc::clone(log));
    }

    #[cfg(target_os = "linux")]
    fn poll_recv_marked(&self, cx: &mut Context<'_>, buffer: &mut [u8]) -> Poll<io::Result<Marked>> {
        use std::os::fd::AsRawFd as _;
        loop {
            ready!(self.io.poll_recv_ready(cx))?;
            let received = self
                .io
                .try_io(Interest::READABLE, || dscp::receive(self.io.as_raw_fd(), buffer));
            match received {
                Err(e) if matches!(e.kind(), io::ErrorKind::WouldBlock | io::ErrorKind::Interrupted) => {}
                other => return Poll::Ready(other),
            }
        }
    }

    fn try_send_marked(&self, transmit: &Transmit<'_>, dscp: Dscp) -> io::Result<()> {
        // quinn-udp marks each packet by itself: as best effort.
        if dscp == Dscp::BEST_EFFORT || transmit.src_ip.is_some() {
            return self.try_send(transmit);
        }
        let mut mark = self.mark.lock().unwrap_or_else(PoisonError::into_inner);
        if *mark != dscp {
            if let Err(error) = dscp::mark(&SockRef::from(&self.io), dscp) {
                tracing::debug!(%error, "packets cannot be marked");
                return self.try_send(transmit);
            }
            *mark = dscp;
        }
        self.attempt(transmit, || {
            let socket = SockRef::from(&self.io);
            socket
                .send_to(transmit.contents, &transmit.destination.into())
                .map(|_| ())
        })
    }

    fn counters(&self) -> SocketCounters {
        let socket = SockRef::from(&self.io);
        SocketCounters {
            send_errors: self.send_errors.load(Ordering::Relaxed),
            last_send_error: Some(self.last_send_error.load(Ordering::Relaxed)).filter(|errno| *errno != 0),
            send_too_big: self.send_too_big.load(Ordering::Relaxed),
            receive_overflows: receive_overflows(&self.io),
            duplicates: Some(
                self.duplicates
                    .lock()
                    .unwrap_or_else(PoisonError::into_inner)
                    .duplicates(),
            ),
            stamped: self.stamped.load(Ordering::Relaxed),
            unstamped: self.unstamped.load(Ordering::Relaxed),
            receive_buffer: socket.recv_buffer_size().ok(),
            send_buffer: socket.send_buffer_size().ok(),
        }
    }
}

/// The lengths of the packets that lie one after the other in a buffer.
fn packet_lens(total: usize, segment: Option<usize>) -> impl ExactSizeIterator<Item = usize> {
    let segment = segment.filter(|&size| size > 0).unwrap_or(usize::MAX);
    // An empty packet is one all the same.
    let count = total.div_ceil(segment).max(1);
    (0..count).map(move |n| (total - n * segment.min(total)).min(segment))
}

/// What quinn wants sent, as quinn-udp 0.6 takes it.
fn dressed<'a>(transmit: &Transmit<'a>) -> quinn_udp::Transmit<'a> {
    quinn_udp::Transmit {
        destination: transmit.destination,
        ecn: transmit
            .ecn
            .and_then(|ecn| quinn_udp::EcnCodepoint::from_bits(ecn as u8)),
        contents: transmit.contents,
        segment_size: transmit.segment_size,
        src_ip: transmit.src_ip,
    }
}

/// What quinn-udp 0.6 received, as quinn takes it.
fn undress(stamped: &quinn_udp::RecvMeta, meta: &mut RecvMeta) {
    meta.addr = stamped.addr;
    meta.len = stamped.len;
    meta.stride = stamped.stride;
    meta.ecn = stamped.ecn.and_then(|ecn| EcnCodepoint::from_bits(ecn as u8));
    meta.dst_ip = stamped.dst_ip;
}

/// The kernel's count of datagrams dropped at this socket, the one that SO_RXQ_OVFL reports beside packets;
/// asked for in this way it needs no part in quinn's receive path.
#[cfg(target_os = "linux")]
#[expect(unsafe_code, reason = "std and socket2 have no SO_MEMINFO")]
fn receive_overflows(socket: &tokio::net::UdpSocket) -> Option<u64> {
    use std::os::fd::AsRawFd as _;
    /// include/uapi/linux/sock_diag.h
    const SK_MEMINFO_DROPS: usize = 8;
    const SK_MEMINFO_VARS: usize = 9;
    let mut info = [0u32; SK_MEMINFO_VARS];
    let mut len = libc::socklen_t::try_from(size_of_val(&info)).ok()?;
    // SAFETY: `info` is writable for `len` bytes, and the descriptor is open as long as `socket` lives.
    let rc = unsafe {
        libc::getsockopt(
            socket.as_raw_fd(),
            libc::SOL_SOCKET,
            libc::SO_MEMINFO,
            info.as_mut_ptr().cast(),
            &mut len,
        )
    };
    (rc == 0 && len as usize > SK_MEMINFO_DROPS * size_of::<u32>()).then(|| u64::from(info[SK_MEMINFO_DROPS]))
}

#[cfg(not(target_os = "linux"))]
fn receive_overflows(_: &tokio::net::UdpSocket) -> Option<u64> {
    None
}

/// Waits for the socket to take more. Each connection has one, because tokio keeps a single waker for
/// `poll_send_ready`.
struct WritePoller {
    socket: Arc<UdpSocket>,
    waiting: Option<Pin<Box<dyn Future<Output = io::Result<()>> + Send + Sync>>>,
}

impl std::fmt::Debug for WritePoller {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("WritePoller").finish_non_exhaustive()
    }
}

impl UdpPoller for WritePoller {
    fn poll_writable(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let this = &mut *self;
        let waiting = this.waiting.get_or_insert_with(|| {
            let socket = Arc::clone(&this.socket);
            Box::pin(async move { socket.io.writable().await })
        });
        let result = ready!(waiting.as_mut().poll(cx));
        this.waiting = None;
        Poll::Ready(result)
    }
}
