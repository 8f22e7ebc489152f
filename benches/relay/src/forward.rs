//! The least that a relay can take: a process that reads a packet of one socket and writes it to another,
//! one a client, as coturn has one an allocation. No cryptography, one thread, no waiting but in the kernel.

use std::{
    collections::HashMap,
    net::{SocketAddr, UdpSocket},
};

use crate::quic::ANY;

/// Forwards UDP packets
#[derive(Debug, clap::Args)]
pub struct Forward {
    #[arg(long)]
    listen: SocketAddr,
    #[arg(long)]
    to: SocketAddr,
}

impl Forward {
    pub fn run(self) -> anyhow::Result<()> {
        let socket = UdpSocket::bind(self.listen)?;
        let mut out: HashMap<SocketAddr, UdpSocket> = HashMap::new();
        let mut packet = [0; 2_048];
        loop {
            let (len, from) = socket.recv_from(&mut packet)?;
            if let Some(out) = out.get(&from) {
                let _ = out.send(&packet[..len]);
            } else {
                let new = UdpSocket::bind(ANY)?;
                new.connect(self.to)?;
                out.insert(from, new);
            }
        }
    }
}
