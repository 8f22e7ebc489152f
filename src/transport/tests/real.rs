use std::{net::SocketAddr, ops::Range, time::Duration};

use bytes::Bytes;
use corridor_probes::Stall;
use tokio::net::UdpSocket;

use super::*;
use crate::{
    clock::{Clock as _, SystemClock},
    proto::{ALPN, ALPN_PROBE},
    transport::{
        BindError, CloseCode, Closed, ConnectError, EndpointError, LocalDrop, PacketLog, Received, STALL,
        SendOutcome, UdpNetwork,
    },
};

fn network() -> Arc<UdpNetwork> {
    Arc::new(UdpNetwork::new(Arc::new(SystemClock::new())))
}

fn pair(server_local: &[&str], client_local: &[&str]) -> Pair {
    let tls = World::new();
    let clock = Arc::new(SystemClock::new());
    let network = Arc::new(UdpNetwork::new(clock.clone()));
    Pair {
        server: endpoint(
            network.clone(),
            clock.clone(),
            server_local,
            Some(server_setup(&tls)),
            None,
        ),
        client: endpoint(network, clock, client_local, None, None),
        tls,
    }
}

async fn ping(from: &Connection, to: &Connection, text: &'static str) {
    assert_eq!(
        from.send_datagram(Bytes::from_static(text.as_bytes())),
        SendOutcome::Queued
    );
    let Received { data, arrival } = to.read_datagram().await.unwrap();
    assert_eq!(data, text.as_bytes());
    assert!(arrival.at <= to.last_heard());
}

#[tokio::test]
async fn datagrams_both_ways_and_the_peer_is_known() {
    let pair = pair(&["127.0.0.1:0"], &["[::]:0"]);
    let (client, server) = pair.connect().await;
    ping(&client, &server, "up").await;
    ping(&server, &client, "down").await;
    assert_eq!(client.remote_address(), pair.server.local_addrs()[0]);
    assert_eq!((client.alpn(), server.alpn()), (ALPN, ALPN));
    assert_eq!(server.peer_certificates().len(), 1);
    assert_eq!(client.peer_certificates().len(), 1);
    assert!(client.max_datagram_size().unwrap() >= 1_100);
    let counters = pair.server.stats().sockets[0];
    assert_eq!((counters.send_errors, counters.receive_overflows), (0, Some(0)));
    assert!(counters.receive_buffer.unwrap() > 0);
}

#[tokio::test]
async fn a_resumed_session_still_shows_the_certificate() {
    let pair = pair(&["127.0.0.1:0"], &["127.0.0.1:0"]);
    let tls = pair.tls.client(ALPN);
    let mut chains = Vec::new();
    for _ in 0..2 {
        let addresses = pair.server.local_addrs();
        let connect = pair
            .client
            .connect(&addresses, NAME, tls.clone(), Kind::AgentEdge);
        let (client, server) = tokio::join!(connect, pair.server.accept());
        let (client, server) = (client.unwrap(), server.unwrap());
        // The session ticket comes with the server's first packets after the handshake.
        ping(&server, &client, "ticket").await;
        chains.push(server.peer_certificates().to_vec());
        client.close(CloseCode::Done, "");
    }
    assert_eq!(chains[0].len(), 1);
    assert_eq!(chains[0], chains[1]);
}

#[tokio::test]
async fn only_open_probing_goes_without_a_certificate() {
    let pair = pair(&["127.0.0.1:0"], &["127.0.0.1:0"]);
    let addresses = pair.server.local_addrs();
    let probe = pair.tls.anonymous_client(ALPN_PROBE);
    let (client, server) = tokio::join!(
        pair.client.connect(&addresses, NAME, probe, Kind::Probe),
        pair.server.accept()
    );
    let (client, server) = (client.unwrap(), server.unwrap());
    assert_eq!((server.kind(), server.alpn()), (Kind::Probe, ALPN_PROBE));
    assert!(server.peer_certificates().is_empty());
    ping(&client, &server, "probe").await;

    let full = pair.tls.anonymous_client(ALPN);
    let refused = pair
        .client
        .connect(&addresses, NAME, full, Kind::AgentEdge)
        .await
        .unwrap();
    let reason = refused.closed().await;
    assert!(
        matches!(
            reason,
            Closed::ByPeer {
                code: CloseCode::Refused,
                ..
            }
        ),
        "{reason}"
    );
    assert_eq!(pair.server.stats().handshakes_failed, 1);
    assert_eq!(pair.server.stats().accepted, 1);
}

#[tokio::test]
async fn wrong_names_and_strangers_are_told_apart() {
    let pair = pair(&["127.0.0.1:0"], &["127.0.0.1:0"]);
    let addresses = pair.server.local_addrs();
    let connect = pair
        .client
        .connect(&addresses, "edge-2", pair.tls.client(ALPN), Kind::AgentEdge);
    let Err(ConnectError::Failed { attempts, .. }) = connect.await else {
        panic!("the certificate is another edge's");
    };
    assert!(matches!(attempts[0].1, Closed::Tls { .. }), "{attempts:?}");

    let stranger = World::new().client(ALPN);
    let connect = pair.client.connect(&addresses, NAME, stranger, Kind::AgentEdge);
    assert!(matches!(connect.await, Err(ConnectError::Failed { .. })));

    let protocol = pair.tls.client(b"other/1");
    let connect = pair.client.connect(&addresses, NAME, protocol, Kind::AgentEdge);
    let Err(ConnectError::Failed { attempts, .. }) = connect.await else {
        panic!("no protocol in common");
    };
    // RFC 7301: no_application_protocol.
    assert!(
        matches!(attempts[0].1, Closed::Tls { alert: 120, .. }),
        "{attempts:?}"
    );
}

#[tokio::test]
async fn a_port_in_use_is_named() {
    let taken = UdpSocket::bind("127.0.0.1:0").await.unwrap();
    let address = taken.local_addr().unwrap();
    let result = Endpoint::new(EndpointSetup {
        network: network(),
        clock: Arc::new(SystemClock::new()),
        local: vec![address],
        server: None,
        reset_key: None,
        rng_seed: None,
    });
    let error = result.unwrap_err();
    assert!(matches!(error, EndpointError::Bind(BindError::InUse { address: a, .. }) if a == address));
    assert_eq!(
        error.to_string(),
        format!("cannot listen on {address}: another process uses this UDP port")
    );
    let foreign: SocketAddr = "192.0.2.1:0".parse().unwrap();
    let error = network().bind(foreign).unwrap_err();
    assert!(matches!(error, BindError::NotLocal { .. }), "{error}");
}

#[tokio::test]
async fn a_dead_first_address_does_not_hold_up_the_second() {
    let pair = pair(&["127.0.0.1:0"], &["[::]:0"]);
    // Taken by someone who never answers.
    let deaf = UdpSocket::bind("127.0.0.1:0").await.unwrap();
    let alive = pair.server.local_addrs()[0];
    let addresses = [deaf.local_addr().unwrap(), alive];
    let (client, _server) = pair.connect_to(&addresses).await;
    assert_eq!(client.remote_address(), alive);
    let mut buffer = [0; 2_048];
    let tried = deaf.try_recv(&mut buffer).unwrap();
    assert!(tried >= 1_200, "the first address was tried first");
    while deaf.try_recv(&mut buffer).is_ok() {}
    // The winner is first now: nothing is sent to the deaf one.
    let (client, _server) = pair.connect_to(&addresses).await;
    assert_eq!(client.remote_address(), alive);
    // The first attempt's last words may still have been under way; a new attempt would be an Initial.
    while let Ok(n) = deaf.try_recv(&mut buffer) {
        assert!(n < 1_200, "the deaf address was tried again");
    }
}

#[tokio::test]
async fn connections_survive_a_rebind() {
    let pair = pair(&["127.0.0.1:0"], &["127.0.0.1:0"]);
    let (client, server) = pair.connect().await;
    ping(&client, &server, "before").await;
    let before = server.remote_address();
    pair.client.rebind().unwrap();
    ping(&client, &server, "moved").await;
    ping(&server, &client, "found").await;
    ping(&client, &server, "again").await;
    assert_ne!(server.remote_address(), before);
    assert_eq!(
        server.remote_address().port(),
        pair.client.local_addrs()[0].port()
    );
    assert_eq!(client.close_reason(), None);
}

#[tokio::test]
async fn a_renewed_certificate_serves_new_connections_only() {
    let pair = pair(&["127.0.0.1:0"], &["127.0.0.1:0"]);
    let (old, old_server) = pair.connect().await;
    pair.server.set_server(server_setup(&pair.tls)).unwrap();
    let (new, _new_server) = pair.connect().await;
    assert_ne!(old.peer_certificates(), new.peer_certificates());
    ping(&old, &old_server, "still here").await;
}

#[tokio::test]
async fn close_codes_reach_the_peer() {
    let pair = pair(&["127.0.0.1:0"], &["127.0.0.1:0"]);
    let (client, server) = pair.connect().await;
    server.close(CloseCode::Revoked, "key 7");
    let expected = Closed::ByPeer {
        code: CloseCode::Revoked,
        reason: "key 7".into(),
    };
    assert_eq!(client.closed().await, expected);
    assert_eq!(server.closed().await, Closed::Here);
    let outcome = client.send_datagram(Bytes::from_static(b"late"));
    assert_eq!(outcome, SendOutcome::LocalDrop(LocalDrop::Closed));
    assert_eq!(client.stats().local_drops.closed, 1);

    let (client, _server) = pair.connect().await;
    pair.server.close(CloseCode::ShuttingDown, "").await;
    assert!(matches!(
        client.closed().await,
        Closed::ByPeer {
            code: CloseCode::ShuttingDown,
            ..
        }
    ));
    assert!(pair.server.accept().await.is_none());
}

#[tokio::test]
async fn control_streams_carry_messages() {
    use crate::proto::{self, AgentToEdge, UseUplink, agent_to_edge::Body};
    let pair = pair(&["127.0.0.1:0"], &["127.0.0.1:0"]);
    let (client, server) = pair.connect().await;
    let (mut up, _down) = client.open_control().await.unwrap();
    let message = AgentToEdge {
        body: Some(Body::UseUplink(UseUplink { wanted: true })),
    };
    up.write_bounded(&proto::encode(&message).unwrap()).await.unwrap();
    up.finish().unwrap();
    let (_, mut received) = server.accept_control().await.unwrap();
    assert_eq!(
        proto::read::<AgentToEdge>(&mut received).await.unwrap(),
        Some(message)
    );
    assert_eq!(proto::read::<AgentToEdge>(&mut received).await.unwrap(), None);
}

#[tokio::test]
async fn send_errors_are_counted_not_fatal() {
    // The kernel refuses to route from a loopback address to outside.
    let pair = pair(&["127.0.0.1:0"], &["127.0.0.1:0"]);
    let outside = "192.0.2.1:9".parse().unwrap();
    let addresses = [outside, pair.server.local_addrs()[0]];
    let (client, server) = pair.connect_to(&addresses).await;
    ping(&client, &server, "on").await;
    let counters = pair.client.stats().sockets[0];
    assert!(counters.send_errors >= 1, "{counters:?}");
    assert!(counters.last_send_error.is_some());
}

/// Five datagrams come, one after the other, before their reader takes the first.
#[cfg(target_os = "linux")]
#[tokio::test]
async fn the_kernel_knows_what_came_during_a_stall() {
    /// Where quinn's discovery ends by default.
    const LARGEST_MTU: u16 = 1_452;
    let pair = pair(&["127.0.0.1:0"], &["127.0.0.1:0"]);
    let (client, server) = pair.connect().await;
    // Packets that look for a larger MTU hold no datagram, but could.
    while server.stats().mtu < LARGEST_MTU {
        tokio::time::sleep(STALL).await;
    }
    ping(&client, &server, "up").await;
    ping(&server, &client, "down").await;
    let clock = SystemClock::new();
    let mut come = Vec::new();
    for n in 0_u8..5 {
        let sent = clock.mono();
        server.send_datagram(Bytes::copy_from_slice(&[n; 60]));
        // Longer than what is taken for a stall. On this one thread the datagram has left before this is over.
        tokio::time::sleep(2 * STALL).await;
        come.push(sent..clock.mono());
    }
    for n in 0..5 {
        let Received { data, arrival } = client.read_datagram().await.unwrap();
        assert_eq!(data, [n; 60].as_slice());
        assert_eq!(arrival.stall, Stall::Corrected, "{n}");
        // The connection's clock began at another time.
        let at = clock.mono() - client.last_heard().since(arrival.at);
        let Range { start, end } = come[usize::from(n)];
        // The microsecond is the wall clock's grain, by which the kernel stamps.
        let grain = Duration::from_micros(1);
        assert!(
            start - grain <= at && at <= end + grain,
            "{n}: {start} < {at} < {end}"
        );
    }
}

#[tokio::test]
async fn what_overflows_a_socket_is_counted() {
    use quinn::udp::RecvMeta;
    let socket = network().bind("127.0.0.1:0".parse().unwrap()).unwrap();
    let flood = std::net::UdpSocket::bind("127.0.0.1:0").unwrap();
    flood.connect(socket.local_addr().unwrap()).unwrap();
    // More than any buffer that was asked for; loopback delivers before the call returns.
    const SENT: u64 = 20_000;
    for _ in 0..SENT {
        flood.send(&[0; 1_200]).unwrap();
    }
    let mut buffers = vec![[0; 1_500]; 32];
    let mut read = 0;
    loop {
        let mut meta = [RecvMeta::default(); 32];
        let mut slices: Vec<_> = buffers.iter_mut().map(|b| std::io::IoSliceMut::new(b)).collect();
        let receive = std::future::poll_fn(|cx| socket.poll_recv(cx, &mut slices, &mut meta));
        match tokio::time::timeout(Duration::from_millis(100), receive).await {
            Ok(n) => {
                read += meta[..n.unwrap()]
                    .iter()
                    .map(|m| m.len.div_ceil(m.stride) as u64)
                    .sum::<u64>()
            }
            Err(_) => break,
        }
    }
    let overflows = socket.counters().receive_overflows.unwrap();
    assert!(overflows > 0 && read > 0, "{read}");
    assert_eq!(read + overflows, SENT);
}

#[tokio::test]
async fn what_comes_twice_is_counted() {
    use quinn::udp::RecvMeta;
    let socket = network().bind("127.0.0.1:0".parse().unwrap()).unwrap();
    let peer = std::net::UdpSocket::bind("127.0.0.1:0").unwrap();
    peer.connect(socket.local_addr().unwrap()).unwrap();
    let log = Arc::<PacketLog>::default();
    socket.log_to(&log);
    let _connected = log.watch(peer.local_addr().unwrap());
    // The second comes again, behind the third.
    for packet in [[1; 60], [2; 60], [3; 60], [2; 60]] {
        peer.send(&packet).unwrap();
    }
    // Of strangers nothing is remembered.
    let stranger = std::net::UdpSocket::bind("127.0.0.1:0").unwrap();
    for _ in 0..2 {
        stranger.send_to(&[4; 60], socket.local_addr().unwrap()).unwrap();
    }
    let mut buffers = vec![[0; 1_500]; 32];
    let mut read = 0;
    while read < 6 {
        let mut meta = [RecvMeta::default(); 32];
        let mut slices: Vec<_> = buffers.iter_mut().map(|b| std::io::IoSliceMut::new(b)).collect();
        let received = std::future::poll_fn(|cx| socket.poll_recv(cx, &mut slices, &mut meta)).await;
        let each = meta[..received.unwrap()].iter().map(|m| m.len.div_ceil(m.stride));
        read += each.sum::<usize>();
    }
    assert_eq!(socket.counters().duplicates, Some(1));
}

#[expect(clippy::disallowed_methods, reason = "the system's clocks do not stand still")]
fn paused_now() -> tokio::time::Instant {
    tokio::time::Instant::now()
}

#[tokio::test]
async fn silence_ends_both_sides_after_the_idle_time_out() {
    let pair = pair(&["127.0.0.1:0"], &["127.0.0.1:0"]);
    let middle = UdpSocket::bind("127.0.0.1:0").await.unwrap();
    let address = middle.local_addr().unwrap();
    let (client_at, server_at) = (pair.client.local_addrs()[0], pair.server.local_addrs()[0]);
    let relay = tokio::spawn(async move {
        let mut buffer = [0; 2_048];
        loop {
            let (n, from) = middle.recv_from(&mut buffer).await.unwrap();
            let to = if from == server_at { client_at } else { server_at };
            middle.send_to(&buffer[..n], to).await.unwrap();
        }
    });
    let (client, server) = pair.connect_to(&[address]).await;
    ping(&client, &server, "through").await;
    relay.abort();
    let _ = relay.await;
    tokio::time::pause();
    let began = paused_now();
    assert_eq!(client.closed().await, Closed::TimedOut);
    assert_eq!(server.closed().await, Closed::TimedOut);
    let took = paused_now() - began;
    assert!(
        took >= Duration::from_secs(119) && took < Duration::from_secs(160),
        "{took:?}"
    );
}

#[tokio::test(start_paused = true)]
async fn nobody_there_ends_in_a_time_out() {
    let pair = pair(&["127.0.0.1:0"], &["127.0.0.1:0"]);
    let deaf = UdpSocket::bind("127.0.0.1:0").await.unwrap();
    let addresses = [deaf.local_addr().unwrap()];
    let connect = pair
        .client
        .connect(&addresses, NAME, pair.tls.client(ALPN), Kind::AgentEdge);
    let Err(ConnectError::Failed { attempts, .. }) = connect.await else {
        panic!("nobody answers");
    };
    assert_eq!(attempts, [(addresses[0], Closed::TimedOut)]);
}
