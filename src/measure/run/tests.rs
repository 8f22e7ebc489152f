//! Against a real edge over loopback, through a relay that loses what it is told to.

use std::sync::atomic::{AtomicU32, Ordering};

use corridor_probes::quality::G711;
use tokio::net::UdpSocket;

use super::*;
use crate::{
    edge::{self, Standalone},
    identity::{Ca, Standing, Subject, TrustedTime, system_rng},
};

const MS: Duration = Duration::from_millis(1);
const SIZE: usize = 600;

fn machine() -> Machine {
    Machine::system(system_rng().random())
}

fn standalone() -> Standalone {
    edge::standalone(None, vec!["127.0.0.1:0".parse().unwrap()]).unwrap()
}

fn target(address: SocketAddr, trust: Trust) -> Target {
    Target {
        address: address.to_string().parse().unwrap(),
        trust,
        patience: Duration::from_secs(10),
    }
}

fn plan(count: u32, size: usize) -> Plan {
    Plan::new(10 * MS, Some(count), None, Some(size), G711).unwrap()
}

async fn measured(target: &Target, plan: Plan) -> Result<Summary, RunError> {
    run(&machine(), target, plan, &Stop::default(), &mut |_| {}).await
}

/// Passes UDP on, both ways, but for probes and echoes (by their length) that it is told to drop. A packet
/// holds one of them: they are 10 ms apart.
struct Relay {
    address: SocketAddr,
    task: tokio::task::JoinHandle<()>,
    dropped: Arc<[AtomicU32; 2]>,
}

impl Relay {
    /// `drop(way, n)` for the n-th packet of that way: 0 is up, 1 is down.
    async fn to(edge: SocketAddr, drop: impl Fn(usize, u32) -> bool + Send + Sync + 'static) -> Self {
        let inside = UdpSocket::bind("127.0.0.1:0").await.unwrap();
        let outside = UdpSocket::bind("127.0.0.1:0").await.unwrap();
        outside.connect(edge).await.unwrap();
        let address = inside.local_addr().unwrap();
        let dropped = Arc::new([const { AtomicU32::new(0) }; 2]);
        let counted = dropped.clone();
        let task = tokio::spawn(async move {
            let (mut a, mut b) = ([0; 2_000], [0; 2_000]);
            let mut prober = None;
            let mut seen = [0; 2];
            let mut passes = |way: usize, len: usize| {
                if !(SIZE..SIZE + 100).contains(&len) {
                    return true;
                }
                let n = seen[way];
                seen[way] += 1;
                let dropped = drop(way, n);
                counted[way].fetch_add(u32::from(dropped), Ordering::Relaxed);
                !dropped
            };
            loop {
                tokio::select! {
                    got = inside.recv_from(&mut a) => {
                        let (len, from) = got.unwrap();
                        prober = Some(from);
                        if passes(0, len) {
                            let _ = outside.send(&a[..len]).await;
                        }
                    }
                    got = outside.recv(&mut b) => {
                        // Refused while there is no edge.
                        let Ok(len) = got else { continue };
                        if passes(1, len) && let Some(to) = prober {
                            let _ = inside.send_to(&b[..len], to).await;
                        }
                    }
                }
            }
        });
        Self {
            address,
            task,
            dropped,
        }
    }

    fn dropped(&self) -> (u32, u32) {
        let [up, down] = &*self.dropped;
        (up.load(Ordering::Relaxed), down.load(Ordering::Relaxed))
    }
}

impl Drop for Relay {
    fn drop(&mut self) {
        self.task.abort();
    }
}

#[tokio::test]
async fn every_probe_comes_back_and_the_ledger_adds_up() {
    let edge = standalone();
    let address = edge.edge.local_addrs()[0];
    for (trust, size) in [(Trust::Fingerprint(edge.fingerprint), 23), (Trust::Anyone, 1_414)] {
        let s = measured(&target(address, trust), plan(50, size)).await.unwrap();
        assert!(s.adds_up(), "{s:?}");
        assert_eq!(
            (s.slots, s.received, s.unconnected, s.local_drops),
            (50, s.sent, 0, 0)
        );
        let rtt = s.rtt_ms.unwrap();
        let (up, down) = (s.owd_up_ms.unwrap(), s.owd_down_ms.unwrap());
        assert!(rtt.min > 0.0 && rtt.min <= rtt.p50 && rtt.p50 <= rtt.max);
        assert!((up.mean + down.mean - rtt.mean).abs() < 0.001, "{s:?}");
        assert!(s.mos.is_some() && s.owd_error_ms.is_some() && s.jitter_up_ms.is_some());
    }
}

#[tokio::test]
async fn the_relays_counts_are_found_in_each_direction() {
    let edge = standalone();
    let relay = Relay::to(edge.edge.local_addrs()[0], |way, n| match way {
        0 => n % 5 == 2 || n >= 58,
        _ => n % 7 == 3,
    })
    .await;
    let s = measured(&target(relay.address, Trust::Anyone), plan(60, SIZE))
        .await
        .unwrap();
    assert!(s.adds_up(), "{s:?}");
    assert_eq!((s.lost_up, s.lost_down), relay.dropped(), "{s:?}");
    assert_eq!((s.lost_unknown, s.late), (0, 0));
    assert!(s.lost_up >= 10 && s.lost_down >= 4, "{s:?}");
}

#[tokio::test]
async fn a_wrong_fingerprint_is_named_as_such() {
    let (edge, other) = (standalone(), standalone());
    let target = target(edge.edge.local_addrs()[0], Trust::Fingerprint(other.fingerprint));
    let error = measured(&target, plan(1, 23)).await.unwrap_err();
    assert!(matches!(error, RunError::OtherCertificate(_)), "{error}");
}

#[tokio::test]
async fn nothing_answers_where_there_is_no_edge() {
    let free = UdpSocket::bind("127.0.0.1:0").await.unwrap();
    let mut target = target(free.local_addr().unwrap(), Trust::Anyone);
    target.patience = 300 * MS;
    let error = measured(&target, plan(1, 23)).await.unwrap_err();
    assert!(matches!(error, RunError::Silent(_)), "{error}");
}

#[tokio::test]
async fn an_edge_of_a_mesh_without_open_probing_says_so() {
    let machine = machine();
    let rng = &mut system_rng();
    let now = machine.clock.wall();
    let ca = Ca::ephemeral(now, rng).unwrap();
    let id = corridor_probes::EdgeId::new(1).unwrap();
    let own = ca.credentials(Subject::Edge { id, name: "e" }, now, rng).unwrap();
    let time = Arc::new(TrustedTime::new(machine.clock.clone()));
    let edge = edge::Edge::start(edge::Setup {
        standing: Standing::new(own, &ca.roots(), time, provider()).unwrap(),
        machine,
        listen: vec!["127.0.0.1:0".parse().unwrap()],
        open_probing: false,
        mesh_probe_size: 0,
        controller: Some(edge::WithController {
            id,
            address: "127.0.0.1:9".into(),
            advertise: Vec::new(),
            region: None,
            trunk_above: edge::TRUNK_ABOVE,
            data: None,
            targets: None,
        }),
    })
    .unwrap();
    let target = target(edge.local_addrs()[0], Trust::Anyone);
    let error = measured(&target, plan(1, 23)).await.unwrap_err();
    assert!(matches!(error, RunError::NotOpen(_)), "{error}");
}

#[tokio::test]
async fn an_edge_that_goes_away_leaves_slots_unconnected() {
    let edge = standalone();
    let target = target(edge.edge.local_addrs()[0], Trust::Anyone);
    let mut running = Some(edge.edge);
    let mut stopping = None;
    let s = run(&machine(), &target, plan(150, 23), &Stop::default(), &mut |p| {
        if p.slots_left <= 100
            && let Some(edge) = running.take()
        {
            stopping = Some(tokio::spawn(edge.stop(Duration::ZERO)));
        }
    })
    .await
    .unwrap();
    stopping.unwrap().await.unwrap();
    assert!(s.adds_up(), "{s:?}");
    assert_eq!((s.slots, s.local_drops), (150, 0));
    assert!(s.received > 0 && s.unconnected > 0, "{s:?}");
    assert_eq!(s.sent, s.received + s.lost_unknown + s.lost_up + s.lost_down);
}

#[tokio::test]
async fn an_edge_that_falls_silent_loses_probes() {
    let edge = standalone();
    let relay = Relay::to(edge.edge.local_addrs()[0], |way, n| way == 0 && n >= 50).await;
    let s = measured(&target(relay.address, Trust::Anyone), plan(100, SIZE))
        .await
        .unwrap();
    assert!(s.adds_up(), "{s:?}");
    let (up, _) = relay.dropped();
    assert_eq!((s.lost_up, s.lost_down, s.unconnected), (up, 0, 0), "{s:?}");
    assert!(s.burst_ratio.unwrap() > 10.0 && s.bursts.bursts == 1, "{s:?}");
}

#[tokio::test]
async fn stops_early_with_what_there_is() {
    let edge = standalone();
    let target = target(edge.edge.local_addrs()[0], Trust::Anyone);
    let stop = Stop::default();
    let when = stop.clone();
    let s = run(&machine(), &target, plan(1_000_000, 23), &stop, &mut |p| {
        if p.rtt_now_us.is_some() {
            when.sending.cancel();
        }
    })
    .await
    .unwrap();
    assert!(s.adds_up() && s.received > 0 && s.slots < 1_000_000, "{s:?}");

    let before = Stop::default();
    before.sending.cancel();
    let error = run(&machine(), &target, plan(1, 23), &before, &mut |_| {})
        .await
        .unwrap_err();
    assert!(matches!(error, RunError::Interrupted(_)), "{error}");
}

#[tokio::test]
async fn who_answers_something_else_is_not_silent() {
    let other = UdpSocket::bind("127.0.0.1:0").await.unwrap();
    let mut target = target(other.local_addr().unwrap(), Trust::Anyone);
    target.patience = 300 * MS;
    let answers = tokio::spawn(async move {
        let mut buffer = [0; 2_000];
        while let Ok((_, from)) = other.recv_from(&mut buffer).await {
            let _ = other.send_to(b"what is this?", from).await;
        }
    });
    let error = measured(&target, plan(1, 23)).await.unwrap_err();
    answers.abort();
    assert!(matches!(error, RunError::Unfinished(_)), "{error}");
}
