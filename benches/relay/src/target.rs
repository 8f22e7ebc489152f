//! Where flows end that leave by a UDP socket: one socket for all, with room for a burst of each.

use std::{
    io,
    net::{SocketAddr, UdpSocket},
    os::fd::AsRawFd as _,
    sync::Arc,
};

use anyhow::Context as _;

use crate::{meter::Meter, quic::ANY};

static BUFFER: libc::c_int = 16 << 20;

/// Starts it; answers where it is.
pub fn start(meter: Arc<Meter>) -> anyhow::Result<SocketAddr> {
    let socket = UdpSocket::bind(ANY)?;
    widen(&socket).context("a socket's buffer cannot be made larger: this needs root")?;
    socket.set_nonblocking(true)?;
    let at = socket.local_addr()?;
    let socket = tokio::net::UdpSocket::from_std(socket)?;
    tokio::spawn(async move {
        let mut packet = [0; 2_048];
        while socket.readable().await.is_ok() {
            while let Ok(len) = socket.try_recv(&mut packet) {
                // The forwarder's clients make themselves known by an empty one, which it drops.
                if let Some(payload) = packet.get(..len) {
                    meter.arrived(payload);
                }
            }
        }
    });
    Ok(at)
}

/// Beyond what the system grants to everyone: what is lost here is no relay's loss.
#[expect(unsafe_code, reason = "std and socket2 have no SO_RCVBUFFORCE")]
fn widen(socket: &UdpSocket) -> io::Result<()> {
    // SAFETY: the option's value is an int, which lives through the call.
    let set = unsafe {
        libc::setsockopt(
            socket.as_raw_fd(),
            libc::SOL_SOCKET,
            libc::SO_RCVBUFFORCE,
            (&raw const BUFFER).cast(),
            size_of_val(&BUFFER) as libc::socklen_t,
        )
    };
    if set == 0 {
        Ok(())
    } else {
        Err(io::Error::last_os_error())
    }
}
