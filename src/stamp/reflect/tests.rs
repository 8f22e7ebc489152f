//! Over loopback, with a plain socket as the sender.

use corridor_probes::stamp::{ErrorEstimate, Mode, ReflectorPacket, SenderPacket, Stamp};
use rand::RngExt as _;
use tokio::net::UdpSocket;

use super::*;
use crate::{clock::SystemClock, identity::system_rng};

fn service(key: Option<StampKey>) -> StampService {
    let machine = Machine::system(system_rng().random());
    let listen = "127.0.0.1:0".parse().unwrap();
    StampService::start(&machine, StampSetup { listen, key }).unwrap()
}

async fn sender(service: &StampService) -> UdpSocket {
    let socket = UdpSocket::bind("127.0.0.1:0").await.unwrap();
    socket.connect(service.local_addr()).await.unwrap();
    socket
}

fn question(mode: Mode<'_>, seq: u32) -> Vec<u8> {
    let mut packet = Vec::new();
    SenderPacket {
        seq,
        timestamp: Stamp(5),
        estimate: ErrorEstimate::UNSYNCHRONISED,
        ssid: 3,
    }
    .write(mode, &mut packet);
    packet
}

#[tokio::test]
async fn short_packets_are_refused_and_long_ones_come_back_as_long() {
    let service = service(None);
    let socket = sender(&service).await;
    socket
        .send(&question(Mode::Unauthenticated, 7)[..40])
        .await
        .unwrap();
    for len in [44, 45, 1_400, 60_000] {
        let mut packet = question(Mode::Unauthenticated, 8);
        packet.resize(len, 0x55);
        socket.send(&packet).await.unwrap();
        let mut answer = [0; 65_000];
        let got = socket.recv(&mut answer).await.unwrap();
        assert_eq!(got, len);
        assert!(answer[44..got].iter().all(|&b| b == 0x55));
    }
    let s = service.stats();
    assert_eq!((s.answered, s.short, s.sessions), (4, 1, 1));
    service.stop().await;
}

#[tokio::test]
async fn times_are_this_machines() {
    let service = service(None);
    let socket = sender(&service).await;
    let clock = SystemClock::new();
    let unix_us = || clock.wall().as_micros();
    let before = unix_us();
    socket.send(&question(Mode::Unauthenticated, 7)).await.unwrap();
    let mut answer = [0; 44];
    socket.recv(&mut answer).await.unwrap();
    let read = ReflectorPacket::parse(Mode::Unauthenticated, &answer).unwrap();
    let us = |stamp: Stamp| i64::try_from(stamp.unix_ns(read.estimate.format).unwrap() / 1_000).unwrap();
    let (received, sent) = (us(read.received), us(read.timestamp));
    // A wall clock that is adjusted meanwhile moves by less.
    let grace = 200_000;
    assert!(before - grace <= received && received <= sent && sent <= unix_us() + grace);
    assert_eq!(
        (read.seq, read.sender_seq, read.ssid, read.sender_ttl),
        (0, 7, 3, UNKNOWN_TTL)
    );
}

#[tokio::test]
async fn with_a_key_nothing_else_is_answered() {
    let (key, other) = (StampKey::new(b"one"), StampKey::new(b"another"));
    let service = service(Some(key.clone()));
    let socket = sender(&service).await;
    socket.send(&question(Mode::Unauthenticated, 1)).await.unwrap();
    socket
        .send(&question(Mode::Authenticated(&other), 2))
        .await
        .unwrap();
    socket
        .send(&question(Mode::Authenticated(&key), 3))
        .await
        .unwrap();
    let mut answer = [0; 200];
    let len = socket.recv(&mut answer).await.unwrap();
    let read = ReflectorPacket::parse(Mode::Authenticated(&key), &answer[..len]).unwrap();
    assert_eq!((len, read.sender_seq, read.seq), (112, 3, 0));
    let s = service.stats();
    assert_eq!((s.answered, s.short, s.wrong_key), (1, 1, 1));
}
