use std::{net::IpAddr, time::Duration};

use bytes::Bytes;
use corridor_probes::{Mono, Wall};

use super::*;
use crate::{
    proto::ALPN,
    sim::{HostSpec, LinkShape, Loss, NatKind, SimClock, SimHost, SimNetwork},
    transport::{Closed, FlowTag, LocalDrop, Received, SendOutcome, StreamRate},
};

const MS: Duration = Duration::from_millis(1);
const EDGE: &str = "198.51.100.1:4433";

pub(super) struct Sim {
    pub(super) net: SimNetwork,
    pub(super) agent: SimHost,
    pub(super) edge: SimHost,
    pair: Pair,
}

fn ip(s: &str) -> IpAddr {
    s.parse().unwrap()
}

fn clock() -> SimClock {
    SimClock::new(Wall::from_secs(1_800_000_000))
}

fn sim_with(net: SimNetwork, agent: HostSpec, seed: u64) -> Sim {
    let agent = net.add_host(agent).unwrap();
    let edge = net
        .add_host(HostSpec::public("edge", ip("198.51.100.1"), clock()))
        .unwrap();
    let tls = World::new();
    let on = |host: &SimHost, local, server, seed| {
        endpoint(
            Arc::new(host.clone()),
            Arc::new(host.clock().clone()),
            &[local],
            server,
            Some(seed),
        )
    };
    let pair = Pair {
        server: on(&edge, "[::]:4433", Some(server_setup(&tls)), seed),
        client: on(&agent, "[::]:0", None, seed + 1),
        tls,
    };
    Sim {
        net,
        agent,
        edge,
        pair,
    }
}

pub(super) fn sim(seed: u64, shape: LinkShape) -> Sim {
    let net = SimNetwork::new(seed);
    net.set_default(shape);
    sim_with(net, HostSpec::public("agent", ip("192.0.2.10"), clock()), seed)
}

impl Sim {
    pub(super) async fn connect(&self) -> (Connection, Connection) {
        self.pair.connect_to(&[EDGE.parse().unwrap()]).await
    }

    fn now(&self) -> Mono {
        self.agent.clock().mono()
    }
}

/// Echoes until the connection ends.
pub(super) fn echo(connection: Connection) {
    tokio::spawn(async move {
        while let Ok(Received { data, .. }) = connection.read_datagram().await {
            connection.send_datagram(data);
        }
    });
}

#[tokio::test(start_paused = true)]
async fn round_trips_are_exact() {
    let sim = sim(1, LinkShape::delay(37 * MS));
    sim.net
        .set_direction(&sim.edge, &sim.agent, LinkShape::delay(63 * MS));
    let (client, server) = sim.connect().await;
    echo(server);
    for n in 0..3_000u32 {
        let sent = sim.now();
        client.send_datagram(Bytes::copy_from_slice(&n.to_be_bytes()));
        let Received { data, arrival } = client.read_datagram().await.unwrap();
        assert_eq!(
            (data.as_ref(), arrival.at.since(sent)),
            (n.to_be_bytes().as_ref(), 100 * MS)
        );
        tokio::time::sleep(20 * MS).await;
    }
    assert_eq!(client.stats().local_drops.total(), 0);
}

#[tokio::test(start_paused = true)]
async fn losses_equal_the_networks_own_truth() {
    let lossy = LinkShape {
        loss: Loss::Random(0.1),
        ..LinkShape::delay(20 * MS)
    };
    let sim = sim(2, LinkShape::delay(20 * MS));
    let (client, server) = sim.connect().await;
    sim.net.set_link(&sim.agent, &sim.edge, lossy);
    let reader = tokio::spawn({
        let server = server.clone();
        async move { while server.read_datagram().await.is_ok() {} }
    });
    let before = sim.net.counters(&sim.agent, &sim.edge);
    // 900 B of payload are in a class of their own: nothing else is as long.
    for _ in 0..5_000 {
        assert_eq!(
            client.send_datagram(Bytes::from(vec![7; 900])),
            SendOutcome::Queued
        );
        tokio::time::sleep(10 * MS).await;
    }
    tokio::time::sleep(Duration::from_secs(1)).await;
    let after = sim.net.counters(&sim.agent, &sim.edge);
    let range = 900..960;
    let sent = after.lengths(range.clone()).offered - before.lengths(range.clone()).offered;
    let lost = after.lengths(range).lost;
    assert_eq!(sent, 5_000);
    assert_eq!(server.stats().read, 5_000 - lost);
    assert!((400..600).contains(&lost), "{lost}");
    reader.abort();
}

#[tokio::test(start_paused = true)]
async fn a_nat_that_rebinds_moves_the_connection() {
    let net = SimNetwork::new(3);
    net.set_default(LinkShape::delay(10 * MS));
    let nat = net
        .add_nat(ip("203.0.113.5"), NatKind::Ports { forget_after: None })
        .unwrap();
    let behind = HostSpec {
        nat: Some(nat),
        ..HostSpec::public("agent", ip("192.168.1.10"), clock())
    };
    let sim = sim_with(net, behind, 3);
    let (client, server) = sim.connect().await;
    echo(server.clone());
    let first = server.remote_address();
    assert_eq!(first.ip(), ip("203.0.113.5"));
    sim.net.rebind_nat(nat, Some(ip("203.0.113.6"))).unwrap();
    for _ in 0..10 {
        client.send_datagram(Bytes::from_static(b"here"));
        let Received { data, .. } = client.read_datagram().await.unwrap();
        assert_eq!(data, b"here".as_slice());
    }
    assert_eq!(server.remote_address().ip(), ip("203.0.113.6"));
    assert_eq!(server.close_reason(), None);
}

#[tokio::test(start_paused = true)]
async fn a_blackhole_ends_both_sides_after_the_idle_time_out() {
    let sim = sim(4, LinkShape::delay(10 * MS));
    let (client, server) = sim.connect().await;
    tokio::time::sleep(Duration::from_secs(5)).await;
    let began = sim.now();
    let hole = LinkShape {
        blackhole: true,
        ..LinkShape::default()
    };
    sim.net.set_link(&sim.agent, &sim.edge, hole);
    assert_eq!(server.closed().await, Closed::TimedOut);
    assert_eq!(client.closed().await, Closed::TimedOut);
    let took = sim.now().since(began).as_secs_f64();
    // The client's keep-alive starts its clock once more.
    assert!((110.0..=150.0).contains(&took), "{took}");
    let truth = sim.net.counters(&sim.agent, &sim.edge);
    assert!(truth.lost_blackhole > 0);
}

#[tokio::test(start_paused = true)]
async fn what_is_sent_once_the_handshake_is_confirmed_is_read() {
    let sim = sim(6, LinkShape::delay(20 * MS));
    let up = |shape| sim.net.set_direction(&sim.agent, &sim.edge, shape);
    let tls = sim.pair.tls.client(ALPN);
    let addresses = [EDGE.parse().unwrap()];
    let dialled = sim.pair.client.connect(&addresses, NAME, tls, Kind::AgentEdge);
    let client = async {
        let client = dialled.await.unwrap();
        client.confirmed().await;
        client.send_datagram(Bytes::from_static(b"here"));
        client
    };
    // The client's last handshake packet, which goes out after 40 ms, is lost.
    let weather = async {
        tokio::time::sleep(30 * MS).await;
        up(LinkShape {
            loss: Loss::Random(1.0),
            ..LinkShape::delay(20 * MS)
        });
        tokio::time::sleep(30 * MS).await;
        up(LinkShape::delay(20 * MS));
    };
    let (client, server, ()) = tokio::join!(client, sim.pair.server.accept(), weather);
    assert!(sim.net.counters(&sim.agent, &sim.edge).lost_random > 0);
    let read = server.unwrap().read_datagram().await.unwrap();
    assert_eq!(read.data.as_ref(), b"here");
    assert_eq!(client.stats().local_drops.total(), 0);
}

#[tokio::test(start_paused = true)]
async fn keep_alives_hold_an_idle_connection_for_hours() {
    let sim = sim(5, LinkShape::delay(10 * MS));
    let (client, server) = sim.connect().await;
    tokio::time::sleep(Duration::from_secs(4 * 3_600)).await;
    assert_eq!((client.close_reason(), server.close_reason()), (None, None));
}

#[tokio::test(start_paused = true)]
async fn a_machine_sleeps_and_its_connection_goes_on() {
    let sim = sim(6, LinkShape::delay(10 * MS));
    let (client, server) = sim.connect().await;
    echo(server.clone());
    let (mono, boot) = (sim.now(), sim.agent.clock().boot_time());
    sim.agent.sleep(Duration::from_secs(60));
    tokio::time::sleep(Duration::from_secs(59)).await;
    server.send_datagram(Bytes::from_static(b"are you there"));
    tokio::time::sleep(Duration::from_secs(2)).await;
    assert_eq!(sim.now().since(mono), Duration::from_secs(1));
    assert_eq!(sim.agent.clock().boot_time().since(boot), Duration::from_secs(61));
    assert!(sim.net.counters(&sim.edge, &sim.agent).lost_unreachable >= 1);
    assert_eq!(client.try_read_datagram(), None);
    client.send_datagram(Bytes::from_static(b"awake"));
    assert_eq!(client.read_datagram().await.unwrap().data, b"awake".as_slice());

    // Longer than the idle time-out: the edge has forgotten it, and says so when it is heard again.
    sim.agent.sleep(Duration::from_secs(300));
    tokio::time::sleep(Duration::from_secs(301)).await;
    assert_eq!(server.close_reason(), Some(Closed::TimedOut));
    client.send_datagram(Bytes::from_static(b"awake"));
    assert_eq!(client.closed().await, Closed::Reset);
}

#[tokio::test(start_paused = true)]
async fn a_host_that_changes_networks_migrates_on_rebind() {
    let sim = sim(7, LinkShape::delay(10 * MS));
    let (client, server) = sim.connect().await;
    echo(server.clone());
    let mut changes = sim.pair.client.changes();
    changes.mark_unchanged();
    sim.agent.set_addresses(vec![ip("192.0.2.77")]).unwrap();
    changes.changed().await.unwrap();
    sim.pair.client.rebind().unwrap();
    client.send_datagram(Bytes::from_static(b"moved"));
    assert_eq!(client.read_datagram().await.unwrap().data, b"moved".as_slice());
    assert_eq!(server.remote_address().ip(), ip("192.0.2.77"));
}

#[tokio::test(start_paused = true)]
async fn dead_addresses_cost_a_quarter_second_each() {
    let sim = sim(8, LinkShape::delay(10 * MS));
    let began = sim.now();
    let dead = ["[2001:db8::9]:4433", "198.51.100.99:4433", EDGE].map(|a| a.parse().unwrap());
    let (client, _server) = sim.pair.connect_to(&dead).await;
    assert_eq!(client.remote_address(), EDGE.parse().unwrap());
    let took = sim.now().since(began);
    // Two waits and then a handshake of one to two round trips.
    assert!((520 * MS..560 * MS).contains(&took), "{took:?}");
    let began = sim.now();
    let _again = sim.pair.connect_to(&dead).await;
    assert!(sim.now().since(began) < 60 * MS, "the winner is tried first");
}

#[tokio::test(start_paused = true)]
async fn many_handshakes_at_once_must_prove_their_addresses() {
    let sim = sim(9, LinkShape::delay(50 * MS));
    let tls = sim.pair.tls.client(ALPN);
    let address = [EDGE.parse().unwrap()];
    let connect = |_| {
        sim.pair
            .client
            .connect(&address, NAME, tls.clone(), Kind::AgentEdge)
    };
    let attempts = futures_util::future::join_all((0..200).map(connect));
    let accept = async {
        let mut taken = Vec::new();
        while taken.len() < 200 {
            taken.push(sim.pair.server.accept().await.unwrap());
        }
        taken
    };
    let (connected, accepted) = tokio::join!(attempts, accept);
    assert!(connected.iter().all(Result::is_ok));
    assert_eq!(accepted.len(), 200);
    let stats = sim.pair.server.stats();
    assert_eq!((stats.accepted, stats.handshakes_failed), (200, 0));
    assert_eq!(stats.retries, 200 - crate::transport::config::RETRY_ABOVE as u64);
}

#[tokio::test(start_paused = true)]
async fn local_drops_of_a_burst_are_counted_exactly() {
    let sim = sim(10, LinkShape::delay(20 * MS));
    let (client, server) = sim.connect().await;
    let (mut queued, mut dropped) = (0, 0);
    for _ in 0..5_000 {
        match client.send_datagram(Bytes::from(vec![0; 1_100])) {
            SendOutcome::Queued => queued += 1,
            SendOutcome::LocalDrop(LocalDrop::BufferFull) => dropped += 1,
            other => panic!("{other:?}"),
        }
    }
    let stats = client.stats();
    assert_eq!((stats.offered, stats.local_drops.buffer_full), (5_000, dropped));
    assert_eq!((stats.queued, stats.transmitted), (queued, 0));
    tokio::time::sleep(Duration::from_secs(1)).await;
    let stats = client.stats();
    assert_eq!(stats.transmitted + stats.local_drops.total(), 5_000);
    assert_eq!((stats.transmitted, stats.queued), (queued, 0));
    let mut received = 0;
    while server.try_read_datagram().is_some() {
        received += 1;
    }
    assert_eq!(received, queued);
    assert!(queued >= 10 && dropped > 4_000, "{queued} {dropped}");

    let too_large = Bytes::from(vec![0; 3_000]);
    assert_eq!(
        client.send_datagram(too_large),
        SendOutcome::LocalDrop(LocalDrop::TooLarge)
    );
}

#[tokio::test(start_paused = true)]
async fn where_there_is_no_room_flows_share_it_and_the_oldest_goes() {
    let sim = sim(10, LinkShape::delay(20 * MS));
    let (client, server) = sim.connect().await;
    let flow = |datagram: &[u8]| FlowTag(datagram[0].into());
    let datagram = |flow: u8, number: u32| {
        let mut bytes = vec![flow; 1_100];
        bytes[1..5].copy_from_slice(&number.to_be_bytes());
        Bytes::from(bytes)
    };
    // A thousand of one flow at once, and few of another.
    let mut dropped = 0;
    for number in 0..1_000 {
        dropped += client.send_media(datagram(1, number), flow).dropped();
        if number % 200 == 0 {
            let outcome = client.send_media(datagram(2, number), flow);
            assert!(outcome.is_taken());
            dropped += outcome.dropped();
        }
    }
    assert_eq!(client.stats().local_drops.displaced, u64::from(dropped));
    tokio::time::sleep(Duration::from_secs(1)).await;
    let mut came = [Vec::new(), Vec::new()];
    while let Some(Received { data, .. }) = server.try_read_datagram() {
        let number = u32::from_be_bytes(data[1..5].try_into().unwrap());
        came[usize::from(data[0]) - 1].push(number);
    }
    let [much, few] = came;
    assert_eq!(few, [0, 200, 400, 600, 800]);
    assert!(much.is_sorted() && much.ends_with(&[997, 998, 999]), "{much:?}");
    assert_eq!(much.len() + dropped as usize, 1_000);
    let stats = client.stats();
    assert_eq!((stats.queued, stats.offered), (0, 1_005));
    assert_eq!(stats.transmitted + stats.local_drops.total(), stats.offered);

    // What waits when the connection ends is counted too.
    for number in 0..60 {
        client.send_media(datagram(1, number), flow);
    }
    client.close(crate::transport::CloseCode::Done, "");
    tokio::time::sleep(MS).await;
    let stats = client.stats();
    assert_eq!((stats.queued, stats.offered), (0, 1_065));
    assert_eq!(stats.transmitted + stats.local_drops.total(), stats.offered);
}

#[tokio::test(start_paused = true)]
async fn datagrams_queued_when_the_connection_ends_are_local_drops() {
    let sim = sim(11, LinkShape::delay(20 * MS));
    let (client, _server) = sim.connect().await;
    for _ in 0..5 {
        assert_eq!(
            client.send_datagram(Bytes::from_static(b"x")),
            SendOutcome::Queued
        );
    }
    client.close(crate::transport::CloseCode::Done, "");
    let stats = client.stats();
    assert_eq!(
        (stats.transmitted, stats.queued, stats.local_drops.in_queue),
        (0, 0, 5)
    );
}

#[tokio::test(start_paused = true)]
async fn the_mtu_is_found_and_the_path_keeps_it() {
    let sim = sim(
        12,
        LinkShape {
            mtu: 1_330,
            ..LinkShape::delay(10 * MS)
        },
    );
    let (client, _server) = sim.connect().await;
    tokio::time::sleep(Duration::from_secs(5)).await;
    let mtu = client.stats().mtu;
    assert!((1_310..=1_330).contains(&mtu), "{mtu}");
}

#[tokio::test(start_paused = true)]
async fn streams_keep_to_their_rate_and_give_way_to_a_queue() {
    let sim = sim(13, LinkShape::delay(20 * MS));
    let (client, server) = sim.connect().await;
    let (mut up, _down) = client.open_control().await.unwrap();
    let reader = tokio::spawn(async move {
        let (_send, mut receive) = server.accept_control().await.unwrap();
        tokio::io::copy(&mut receive, &mut tokio::io::sink())
            .await
            .unwrap()
    });
    let spool = vec![0; 64 * 1_024];
    let mut seconds = Vec::new();
    for rate in [StreamRate::Idle, StreamRate::InClass] {
        client.set_stream_rate(rate);
        let began = sim.now();
        up.write_bounded(&spool).await.unwrap();
        seconds.push(sim.now().since(began).as_secs_f64());
    }
    // 65,536 B are 2.05 s at 256 kbit/s and 16.4 s at 32 kbit/s, less a burst of 2 kB.
    assert!(
        (1.9..2.1).contains(&seconds[0]) && (15.8..16.5).contains(&seconds[1]),
        "{seconds:?}"
    );
    // The RTT rises by 80 ms: a quarter of the rate, once QUIC's smoothed RTT shows it.
    sim.net
        .set_direction(&sim.agent, &sim.edge, LinkShape::delay(100 * MS));
    up.write_bounded(&spool[..8_192]).await.unwrap();
    let began = sim.now();
    up.write_bounded(&spool[..8_192]).await.unwrap();
    let took = sim.now().since(began).as_secs_f64();
    assert!((7.5..8.5).contains(&took), "{took}");
    up.finish().unwrap();
    assert_eq!(reader.await.unwrap(), 2 * 65_536 + 2 * 8_192);
}

#[tokio::test(start_paused = true)]
async fn the_breaker_leaves_a_trickle_and_lets_go_again() {
    let sim = sim(14, LinkShape::delay(20 * MS));
    let (client, server) = sim.connect().await;
    echo(server);
    let flow = async |seconds: u32| {
        let mut sent = 0;
        for _ in 0..seconds * 50 {
            sent += u32::from(client.send_datagram(Bytes::from(vec![0; 800])) == SendOutcome::Queued);
            while client.try_read_datagram().is_some() {}
            tokio::time::sleep(20 * MS).await;
        }
        sent
    };
    let lossy = |p| LinkShape {
        loss: Loss::Random(p),
        ..LinkShape::delay(20 * MS)
    };
    sim.net.set_direction(&sim.agent, &sim.edge, lossy(0.3));
    assert_eq!(flow(20).await, 1_000, "30 % loss is for steering");
    sim.net.set_direction(&sim.agent, &sim.edge, lossy(0.9));
    flow(15).await;
    assert!(client.stats().breaker_tripped);
    // 32 kbit/s are five of these a second, of fifty.
    let trickle = flow(10).await;
    assert!((45..=55).contains(&trickle), "{trickle}");
    sim.net
        .set_direction(&sim.agent, &sim.edge, LinkShape::delay(20 * MS));
    flow(10).await;
    assert!(!client.stats().breaker_tripped);
    assert_eq!(flow(5).await, 250);
    let stats = client.stats();
    assert_eq!(
        stats.offered,
        stats.transmitted + stats.queued + stats.local_drops.total()
    );
    assert_eq!(stats.local_drops.total(), stats.local_drops.breaker);

    sim.agent.set_online(false);
    flow(9).await;
    assert!(
        !client.stats().breaker_tripped,
        "an outage that people sit through"
    );
    flow(3).await;
    assert!(client.stats().breaker_tripped);
    sim.agent.set_online(true);
    flow(2).await;
    assert!(!client.stats().breaker_tripped, "the first answer ends it");
}

/// A minute with everything in it that draws random numbers, as (digest, trace).
async fn eventful(seed: u64) -> (u64, Vec<crate::sim::TraceEvent>) {
    let sim = sim(
        seed,
        LinkShape {
            jitter: 7 * MS,
            loss: Loss::Random(0.03),
            duplicate: 0.02,
            reorder: 0.02,
            reorder_by: 15 * MS,
            rate: Some(2_000_000),
            ..LinkShape::delay(23 * MS)
        },
    );
    sim.net.record(100_000);
    let (client, server) = sim.connect().await;
    echo(server.clone());
    let (mut up, _down) = client.open_control().await.unwrap();
    tokio::spawn(async move {
        let (_send, mut receive) = server.accept_control().await.unwrap();
        tokio::io::copy(&mut receive, &mut tokio::io::sink()).await
    });
    for n in 0..600 {
        client.send_datagram(Bytes::from(vec![0; 60 + n % 7 * 100]));
        while client.try_read_datagram().is_some() {}
        if n % 10 == 0 {
            up.write_bounded(&[0; 700]).await.unwrap();
        }
        if n == 300 {
            sim.pair.client.rebind().unwrap();
        }
        tokio::time::sleep(100 * MS).await;
    }
    let second = sim.connect().await;
    drop(second);
    tokio::time::sleep(Duration::from_secs(1)).await;
    (sim.net.digest(), sim.net.take_trace())
}

#[test]
fn the_same_seed_gives_the_same_trace() {
    let run = |seed| {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .start_paused(true)
            .build()
            .unwrap();
        runtime.block_on(eventful(seed))
    };
    let (digest, first) = run(77);
    assert!(first.len() > 1_200, "{}", first.len());
    for _ in 0..3 {
        let (again, trace) = run(77);
        let differs = first.iter().zip(&trace).position(|(a, b)| a != b);
        assert_eq!(
            differs,
            None,
            "{:?} or {:?}",
            first[differs.unwrap_or(0)],
            trace[differs.unwrap_or(0)]
        );
        assert_eq!((again, trace.len()), (digest, first.len()));
    }
    assert_ne!(run(78).0, digest);
}
