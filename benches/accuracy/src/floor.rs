//! What a path without a link costs: from a `send` to the emulator, and from the emulator to the kernel's
//! receive timestamp at the other end, which is where a packet's time on the network ends. What a program
//! takes to wake up and read it is the tool's, not the path's.

use std::{
    io,
    net::{SocketAddr, UdpSocket},
    os::fd::AsRawFd as _,
    thread,
    time::Duration,
};

use corridor_netem::netns;
use corridor_probes::percentile;

/// Packets a direction. The first are left out: the kernel begins to stamp when it is asked to.
const PACKETS: usize = 100;
const WARM_UP: usize = 10;
const EVERY: Duration = Duration::from_millis(5);
/// Payload, so that no other packet is as long.
const PAYLOAD: usize = 172;
/// Of the IP packet.
pub const LENGTH: u16 = 172 + 28;
/// Nothing on a path without delay takes longer.
const PATIENCE: Duration = Duration::from_secs(2);
const PORT: u16 = 7_007;

/// One end of the path.
#[derive(Debug, Clone, Copy)]
pub struct End<'a> {
    pub namespace: &'a str,
    pub address: std::net::IpAddr,
}

/// From a `send` in `from` to the kernel's timestamp in `to`, for each packet, in the order of sending.
pub fn one_way(from: End<'_>, to: End<'_>) -> io::Result<Vec<Duration>> {
    let at = SocketAddr::new(to.address, PORT);
    let receiver = netns::in_namespace(to.namespace, || UdpSocket::bind(at))?;
    receiver.set_read_timeout(Some(PATIENCE))?;
    stamp(&receiver)?;
    let sender = netns::in_namespace(from.namespace, || UdpSocket::bind((from.address, 0)))?;
    sender.connect(at)?;
    let mut took = Vec::with_capacity(PACKETS);
    for _ in 0..PACKETS {
        thread::sleep(EVERY);
        let sent = now();
        sender.send(&[0; PAYLOAD])?;
        let received = receive(&receiver)?;
        took.push(received.saturating_sub(sent));
    }
    Ok(took)
}

/// The median of what is left of `took` without the time in the emulator; none without packets.
pub fn median(took: &[Duration], residence: &[Duration]) -> Option<Duration> {
    let costs: Vec<_> = took
        .iter()
        .zip(residence)
        .skip(WARM_UP)
        .map(|(took, residence)| took.saturating_sub(*residence))
        .collect();
    percentile(&costs, 50.0)
}

/// Civil time, since that is what the kernel stamps packets with.
#[expect(clippy::disallowed_methods, reason = "measures real packets")]
fn now() -> Duration {
    let now = std::time::SystemTime::now();
    now.duration_since(std::time::UNIX_EPOCH).unwrap_or_default()
}

#[expect(unsafe_code, reason = "std has no receive timestamps")]
fn stamp(socket: &UdpSocket) -> io::Result<()> {
    let on: libc::c_int = 1;
    // SAFETY: `on` is live during the call, and of the size given.
    let rc = unsafe {
        libc::setsockopt(
            socket.as_raw_fd(),
            libc::SOL_SOCKET,
            libc::SO_TIMESTAMPNS,
            (&raw const on).cast(),
            size_of_val(&on) as libc::socklen_t,
        )
    };
    if rc == 0 {
        Ok(())
    } else {
        Err(io::Error::last_os_error())
    }
}

/// Takes a packet, and answers when the kernel got it.
#[expect(unsafe_code, reason = "std has no receive timestamps")]
fn receive(socket: &UdpSocket) -> io::Result<Duration> {
    let mut bytes = [0u8; PAYLOAD];
    // As aligned as a control message must be.
    let mut control = [0u64; 16];
    let mut buffer = libc::iovec {
        iov_base: bytes.as_mut_ptr().cast(),
        iov_len: bytes.len(),
    };
    // SAFETY: msghdr is plain data for which all zeroes are valid; its pointers are to live buffers of the
    // lengths given. The kernel fills `control` with whole messages, which the macros walk; a timestamp's
    // data is a timespec, read without alignment.
    unsafe {
        let mut message: libc::msghdr = std::mem::zeroed();
        message.msg_iov = &mut buffer;
        message.msg_iovlen = 1;
        message.msg_control = control.as_mut_ptr().cast();
        message.msg_controllen = size_of_val(&control);
        if libc::recvmsg(socket.as_raw_fd(), &mut message, 0) < 0 {
            return Err(io::Error::last_os_error());
        }
        let mut header = libc::CMSG_FIRSTHDR(&message);
        while let Some(found) = header.as_ref() {
            if (found.cmsg_level, found.cmsg_type) == (libc::SOL_SOCKET, libc::SCM_TIMESTAMPNS) {
                let stamp: libc::timespec = libc::CMSG_DATA(header).cast::<libc::timespec>().read_unaligned();
                let (seconds, nanos) = (u64::try_from(stamp.tv_sec), u32::try_from(stamp.tv_nsec));
                return Ok(Duration::new(seconds.unwrap_or(0), nanos.unwrap_or(0)));
            }
            header = libc::CMSG_NXTHDR(&message, header);
        }
    }
    Err(io::Error::other("the kernel gave no timestamp"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_kernel_says_when_a_packet_came() {
        let receiver = UdpSocket::bind("127.0.0.1:0").unwrap();
        stamp(&receiver).unwrap();
        let sender = UdpSocket::bind("127.0.0.1:0").unwrap();
        sender.connect(receiver.local_addr().unwrap()).unwrap();
        for _ in 0..3 {
            let before = now();
            sender.send(&[0; PAYLOAD]).unwrap();
            let came = receive(&receiver).unwrap();
            assert!((before..=now()).contains(&came));
        }
    }

    #[test]
    fn the_median_leaves_the_emulator_and_the_first_packets_out() {
        let ms = Duration::from_millis;
        let took = [vec![ms(90); WARM_UP], vec![ms(11), ms(14), ms(12)]].concat();
        assert_eq!(median(&took, &vec![ms(10); took.len()]), Some(ms(2)));
        assert_eq!(median(&took[..WARM_UP], &[]), None);
    }
}
