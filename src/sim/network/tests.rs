//! The network by itself, with raw sockets.

use std::{future::poll_fn, io::IoSliceMut};

use corridor_probes::Wall;
use quinn::udp::{EcnCodepoint, RecvMeta, Transmit};

use super::*;
use crate::transport::Network as _;

const MS: Duration = Duration::from_millis(1);

fn ip(s: &str) -> IpAddr {
    s.parse().unwrap()
}

fn addr(s: &str) -> SocketAddr {
    s.parse().unwrap()
}

fn clock() -> SimClock {
    SimClock::new(Wall::from_secs(1_800_000_000))
}

fn host(net: &SimNetwork, name: &str, address: &str, nat: Option<NatId>) -> SimHost {
    let spec = HostSpec {
        nat,
        ..HostSpec::public(name, ip(address), clock())
    };
    net.add_host(spec).unwrap()
}

fn send(socket: &dyn DatagramSocket, to: SocketAddr, data: &[u8]) {
    socket
        .try_send(&Transmit {
            destination: to,
            ecn: Some(EcnCodepoint::Ect0),
            contents: data,
            segment_size: None,
            src_ip: None,
        })
        .unwrap();
}

/// The next datagram: from whom, and what.
async fn receive(socket: &dyn DatagramSocket) -> (SocketAddr, Vec<u8>) {
    let mut buffer = [0; 2_048];
    let mut meta = [RecvMeta::default()];
    let n = poll_fn(|cx| socket.poll_recv(cx, &mut [IoSliceMut::new(&mut buffer)], &mut meta)).await;
    assert_eq!((n.unwrap(), meta[0].ecn), (1, Some(EcnCodepoint::Ect0)));
    (meta[0].addr, buffer[..meta[0].len].to_vec())
}

/// All that arrives within `d`, as its first bytes.
async fn receive_for(socket: &dyn DatagramSocket, d: Duration) -> Vec<u8> {
    let mut all = Vec::new();
    let _ = tokio::time::timeout(d, async {
        loop {
            all.push(receive(socket).await.1[0]);
        }
    })
    .await;
    all
}

#[tokio::test(start_paused = true)]
async fn segments_are_split_and_ends_are_seen_as_their_family_shows_them() {
    let net = SimNetwork::new(1);
    let a = host(&net, "a", "192.0.2.1", None);
    let b = host(&net, "b", "192.0.2.2", None);
    let from = a.bind(addr("0.0.0.0:5000")).unwrap();
    let to = b.bind(addr("[::]:6000")).unwrap();
    from.try_send(&Transmit {
        destination: addr("192.0.2.2:6000"),
        ecn: Some(EcnCodepoint::Ect0),
        contents: b"aaabbbc",
        segment_size: Some(3),
        src_ip: None,
    })
    .unwrap();
    for expected in [b"aaa".as_slice(), b"bbb", b"c"] {
        let (source, data) = receive(&*to).await;
        assert_eq!(
            (source, data.as_slice()),
            (addr("[::ffff:192.0.2.1]:5000"), expected)
        );
    }
    send(&*to, addr("[::ffff:192.0.2.1]:5000"), b"back");
    assert_eq!(receive(&*from).await.0, addr("192.0.2.2:6000"));
    assert_eq!(net.counters(&a, &b).lengths(3..4).delivered, 2);
}

#[tokio::test(start_paused = true)]
async fn ports_are_taken_once_and_addresses_must_be_own() {
    let net = SimNetwork::new(1);
    let a = host(&net, "a", "192.0.2.1", None);
    let one = a.bind(addr("192.0.2.1:5000")).unwrap();
    assert!(matches!(a.bind(addr("[::]:5000")), Err(BindError::InUse { .. })));
    assert!(matches!(
        a.bind(addr("192.0.2.9:1")),
        Err(BindError::NotLocal { .. })
    ));
    drop(one);
    let _any = a.bind(addr("[::]:5000")).unwrap();
    assert!(matches!(
        a.bind(addr("192.0.2.1:5000")),
        Err(BindError::InUse { .. })
    ));
    let (p, q) = (a.bind(addr("[::]:0")).unwrap(), a.bind(addr("[::]:0")).unwrap());
    assert_ne!(p.local_addr().unwrap(), q.local_addr().unwrap());

    let twin = HostSpec::public("twin", ip("192.0.2.1"), clock());
    assert_eq!(
        net.add_host(twin).unwrap_err(),
        SimError::AddressTaken(ip("192.0.2.1"))
    );
    let nat = net.add_nat(ip("203.0.113.1"), NatKind::OneToOne).unwrap();
    assert_eq!(
        net.add_nat(ip("203.0.113.1"), NatKind::OneToOne),
        Err(SimError::AddressTaken(ip("203.0.113.1")))
    );
    let on_nat = HostSpec::public("on nat", ip("203.0.113.1"), clock());
    assert!(net.add_host(on_nat).is_err());
    // Behind a NAT an address may be one that exists outside.
    host(&net, "inside", "192.0.2.1", Some(nat));
}

#[tokio::test(start_paused = true)]
async fn a_stall_holds_what_is_under_way_and_keeps_its_order() {
    let net = SimNetwork::new(1);
    let a = host(&net, "a", "192.0.2.1", None);
    let b = host(&net, "b", "192.0.2.2", None);
    net.set_link(&a, &b, LinkShape::delay(50 * MS));
    let from = a.bind(addr("[::]:1")).unwrap();
    let to = b.bind(addr("[::]:2")).unwrap();
    send(&*from, addr("192.0.2.2:2"), &[0]);
    tokio::time::sleep(20 * MS).await;
    net.stall(&a, &b, 200 * MS);
    for n in 1..5 {
        send(&*from, addr("192.0.2.2:2"), &[n]);
        tokio::time::sleep(10 * MS).await;
    }
    assert!(receive_for(&*to, 159 * MS).await.is_empty());
    assert_eq!(receive_for(&*to, 2 * MS).await, [0, 1, 2, 3, 4]);
    assert_eq!(net.counters(&a, &b).reordered, 0);
}

#[tokio::test(start_paused = true)]
async fn duplicates_and_reordering_are_delivered_as_counted() {
    let net = SimNetwork::new(5);
    let a = host(&net, "a", "192.0.2.1", None);
    let b = host(&net, "b", "192.0.2.2", None);
    net.set_link(
        &a,
        &b,
        LinkShape {
            duplicate: 0.3,
            reorder: 0.2,
            reorder_by: 25 * MS,
            ..LinkShape::delay(50 * MS)
        },
    );
    let from = a.bind(addr("[::]:1")).unwrap();
    let to = b.bind(addr("[::]:2")).unwrap();
    for n in 0..200 {
        send(&*from, addr("192.0.2.2:2"), &[n]);
        tokio::time::sleep(10 * MS).await;
    }
    let got = receive_for(&*to, Duration::from_secs(1)).await;
    let truth = net.counters(&a, &b);
    let mut highest = 0;
    let mut late = 0;
    for n in &got {
        late += u64::from(*n < highest);
        highest = highest.max(*n);
    }
    assert_eq!(got.len() as u64, 200 + truth.duplicated);
    assert_eq!((truth.reordered, truth.delivered), (late, got.len() as u64));
    assert!(truth.duplicated > 30 && late > 20, "{truth:?}");
}

#[tokio::test(start_paused = true)]
async fn nats_let_in_what_went_out_and_hairpin() {
    let net = SimNetwork::new(1);
    let forget_after = Some(Duration::from_secs(30));
    let home = net
        .add_nat(ip("203.0.113.1"), NatKind::Ports { forget_after })
        .unwrap();
    let cloud = net.add_nat(ip("203.0.113.2"), NatKind::OneToOne).unwrap();
    let (laptop, phone) = (
        host(&net, "laptop", "192.168.1.10", Some(home)),
        host(&net, "phone", "192.168.1.11", Some(home)),
    );
    let edge = host(&net, "edge", "10.0.0.5", Some(cloud));
    let at_laptop = laptop.bind(addr("[::]:5000")).unwrap();
    let at_phone = phone.bind(addr("[::]:5000")).unwrap();
    let at_edge = edge.bind(addr("0.0.0.0:4433")).unwrap();

    send(&*at_laptop, addr("203.0.113.2:4433"), b"out");
    let (laptop_seen, _) = receive(&*at_edge).await;
    assert_eq!(laptop_seen.ip(), ip("203.0.113.1"));
    send(&*at_edge, laptop_seen, b"in");
    assert_eq!(receive(&*at_laptop).await.0, addr("[::ffff:203.0.113.2]:4433"));

    // By the inside address, and by the outside one.
    send(&*at_phone, addr("192.168.1.10:5000"), b"near");
    assert_eq!(receive(&*at_laptop).await.0, addr("[::ffff:192.168.1.11]:5000"));
    send(&*at_phone, laptop_seen, b"hairpin");
    assert_eq!(
        receive(&*at_laptop).await.0.ip().to_canonical(),
        ip("203.0.113.1")
    );

    tokio::time::sleep(Duration::from_secs(31)).await;
    let before = net.no_route();
    send(&*at_edge, laptop_seen, b"forgotten");
    assert_eq!(net.no_route(), before + 1);
    // Private addresses of others lead nowhere.
    send(&*at_edge, addr("192.168.1.10:5000"), b"no");
    assert_eq!(net.no_route(), before + 2);

    // What is under way when the NAT forgets is lost.
    net.set_link(&edge, &laptop, LinkShape::delay(50 * MS));
    send(&*at_laptop, addr("203.0.113.2:4433"), b"again");
    let (seen, _) = receive(&*at_edge).await;
    send(&*at_edge, seen, b"late");
    net.rebind_nat(home, None).unwrap();
    assert!(receive_for(&*at_laptop, 100 * MS).await.is_empty());
    assert_eq!(net.counters(&edge, &laptop).lost_unreachable, 1);
}

#[tokio::test(start_paused = true)]
async fn who_is_cut_off_or_asleep_neither_sends_nor_receives() {
    let net = SimNetwork::new(1);
    let a = host(&net, "a", "192.0.2.1", None);
    let b = host(&net, "b", "192.0.2.2", None);
    let from = a.bind(addr("[::]:1")).unwrap();
    let to = b.bind(addr("[::]:2")).unwrap();
    let exchange = async || {
        send(&*from, addr("192.0.2.2:2"), &[1]);
        send(&*to, addr("192.0.2.1:1"), &[2]);
        (
            receive_for(&*to, 5 * MS).await.len(),
            receive_for(&*from, 5 * MS).await.len(),
        )
    };
    assert_eq!(exchange().await, (1, 1));
    let mut changes = b.changes();
    b.set_online(false);
    assert!(changes.has_changed().unwrap());
    changes.mark_unchanged();
    assert_eq!(exchange().await, (0, 0));
    b.set_online(true);
    assert_eq!(exchange().await, (1, 1));
    a.sleep(Duration::from_secs(1));
    assert_eq!(exchange().await, (0, 0));
    tokio::time::sleep(Duration::from_secs(1)).await;
    assert_eq!(exchange().await, (1, 1));
    assert_eq!((from.counters().send_errors, to.counters().send_errors), (1, 1));
    b.set_addresses(vec![ip("192.0.2.3")]).unwrap();
    assert_eq!(
        exchange().await,
        (0, 1),
        "a wildcard socket sends from its new address"
    );
}
