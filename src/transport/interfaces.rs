//! Notice that this machine's addresses, interfaces or routes have changed: an rtnetlink socket on Linux;
//! elsewhere nobody tells, and migration is left to what QUIC notices.

use tokio::sync::watch;

/// Watches until dropped.
#[derive(Debug)]
pub(super) struct InterfaceWatch {
    changes: watch::Sender<u64>,
    #[cfg(target_os = "linux")]
    task: Option<tokio::task::AbortHandle>,
}

impl InterfaceWatch {
    pub(super) fn subscribe(&self) -> watch::Receiver<u64> {
        self.changes.subscribe()
    }

    #[cfg(not(target_os = "linux"))]
    pub(super) fn start() -> Self {
        Self {
            changes: watch::Sender::new(0),
        }
    }
}

#[cfg(target_os = "linux")]
mod linux {
    use std::{
        io,
        mem::MaybeUninit,
        net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, UdpSocket},
        time::Duration,
    };

    use socket2::{Domain, Protocol, SockAddr, Socket, Type};
    use tokio::{io::unix::AsyncFd, sync::watch};

    use super::InterfaceWatch;

    /// Addresses come in several messages each (IPv6 has duplicate detection); they count as one change.
    const SETTLE: Duration = Duration::from_millis(200);
    /// linux/rtnetlink.h
    const GROUPS: u32 = (libc::RTMGRP_LINK
        | libc::RTMGRP_IPV4_IFADDR
        | libc::RTMGRP_IPV6_IFADDR
        | libc::RTMGRP_IPV4_ROUTE
        | libc::RTMGRP_IPV6_ROUTE) as u32;

    impl InterfaceWatch {
        pub(in super::super) fn start() -> Self {
            let changes = watch::Sender::new(0);
            let task = match subscribe().and_then(register) {
                Ok(socket) => Some(tokio::spawn(run(socket, changes.clone())).abort_handle()),
                Err(error) => {
                    tracing::warn!(%error, "interface changes will not be noticed");
                    None
                }
            };
            Self { changes, task }
        }
    }

    impl Drop for InterfaceWatch {
        fn drop(&mut self) {
            if let Some(task) = &self.task {
                task.abort();
            }
        }
    }

    #[expect(unsafe_code, reason = "tokio cannot know that a socket keeps its descriptor")]
    fn register(socket: Socket) -> io::Result<AsyncFd<Socket>> {
        // SAFETY: a `Socket` owns its descriptor, and this one is neither replaced nor closed before the
        // `AsyncFd` that owns it is dropped.
        Ok(unsafe { AsyncFd::register(socket) }?)
    }

    /// Routers' advertisements and Wi-Fi statistics make messages all the time: only a change of the
    /// addresses that packets would leave from is one.
    async fn run(socket: AsyncFd<Socket>, changes: watch::Sender<u64>) {
        let mut before = sources();
        loop {
            if let Err(error) = wait(&socket).await {
                tracing::warn!(%error, "interface changes are no longer noticed");
                return;
            }
            loop {
                tokio::select! {
                    biased;
                    more = wait(&socket) => if more.is_err() { break },
                    () = tokio::time::sleep(SETTLE) => break,
                }
            }
            let after = sources();
            if after != before {
                before = after;
                changes.send_modify(|n| *n += 1);
            }
        }
    }

    /// Waits for a message. What it says does not matter, nor whether some were lost.
    async fn wait(socket: &AsyncFd<Socket>) -> io::Result<()> {
        loop {
            let mut ready = socket.readable().await?;
            let mut buffer = [MaybeUninit::uninit(); 8_192];
            match ready.try_io(|fd| fd.get_ref().recv(&mut buffer)) {
                Ok(Ok(_)) => return Ok(()),
                Ok(Err(e)) if e.raw_os_error() == Some(libc::ENOBUFS) => return Ok(()),
                Ok(Err(e)) if e.kind() == io::ErrorKind::Interrupted => {}
                Ok(Err(e)) => return Err(e),
                Err(_would_block) => {}
            }
        }
    }

    /// The addresses that packets to the Internet leave from, by family: what routing says for the
    /// documentation prefixes (RFC 5737, RFC 3849). Connecting a UDP socket sends nothing.
    fn sources() -> [Option<IpAddr>; 2] {
        let v4: (IpAddr, IpAddr) = (Ipv4Addr::UNSPECIFIED.into(), Ipv4Addr::new(192, 0, 2, 1).into());
        let v6: (IpAddr, IpAddr) = (
            Ipv6Addr::UNSPECIFIED.into(),
            Ipv6Addr::new(0x2001, 0xdb8, 0, 0, 0, 0, 0, 1).into(),
        );
        [v4, v6].map(|(any, far)| {
            let socket = UdpSocket::bind(SocketAddr::new(any, 0)).ok()?;
            socket.connect(SocketAddr::new(far, 9)).ok()?;
            Some(socket.local_addr().ok()?.ip())
        })
    }

    fn subscribe() -> io::Result<Socket> {
        let socket = Socket::new(
            Domain::from(libc::AF_NETLINK),
            Type::DGRAM,
            Some(Protocol::from(libc::NETLINK_ROUTE)),
        )?;
        socket.set_nonblocking(true)?;
        socket.bind(&address()?)?;
        Ok(socket)
    }

    #[expect(unsafe_code, reason = "socket2 has no netlink addresses")]
    fn address() -> io::Result<SockAddr> {
        // SAFETY: socket2 hands in zeroed storage that is large and aligned enough for any address, and
        // `len` says how much of it the kernel is to read.
        let ((), address) = unsafe {
            SockAddr::try_init(|storage, len| {
                let netlink = storage.cast::<libc::sockaddr_nl>();
                (*netlink).nl_family = libc::AF_NETLINK as libc::sa_family_t;
                (*netlink).nl_groups = GROUPS;
                *len = size_of::<libc::sockaddr_nl>() as libc::socklen_t;
                Ok(())
            })
        }?;
        Ok(address)
    }

    #[cfg(test)]
    mod tests {
        use super::*;

        #[tokio::test]
        async fn the_kernel_takes_the_subscription() {
            let socket = subscribe().unwrap();
            let local = socket.local_addr().unwrap();
            assert_eq!(i32::from(local.family()), libc::AF_NETLINK);
            assert!(InterfaceWatch::start().task.is_some());
        }
    }
}
