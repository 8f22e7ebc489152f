//! Over loopback: a flow's socket, its target, and what goes back.

use std::{net::UdpSocket, time::Duration};

use corridor_probes::{AgentId, EdgeId, Route};

use super::*;
use crate::{
    identity::system_rng,
    media::{end::End, wire::Kind},
    transport::Dscp,
};

fn header() -> RouteHeader {
    let route = Route::new(&[EdgeId::new(1).unwrap()]).unwrap();
    RouteHeader {
        flow: 7,
        ..RouteHeader::out(Kind::Media as u8, route, AgentId(1), None)
    }
}

/// Takes what goes back, so many bytes of it.
#[derive(Debug)]
struct Back {
    left: Mutex<usize>,
    carried: std::sync::mpsc::Sender<Vec<u8>>,
}

impl Carrier for Back {
    fn carry(&self, next: NextStep, datagram: Vec<u8>) -> bool {
        assert_eq!(next, NextStep::Agent(AgentId(1)));
        self.carried.send(datagram).is_ok()
    }

    fn admits(&self, flow: FlowKey, bytes: usize) -> bool {
        assert_eq!(flow, FlowKey::of(&header()));
        let mut left = self.left.lock().unwrap();
        let enough = *left >= bytes;
        *left -= if enough { bytes } else { 0 };
        enough
    }
}

struct World {
    delivery: Arc<Delivery>,
    target: UdpSocket,
    carried: std::sync::mpsc::Receiver<Vec<u8>>,
    /// Where the flow's packets come from.
    from: SocketAddr,
    stop: CancellationToken,
}

impl World {
    /// A flow whose first packet has come to its target.
    fn new(admitted: usize) -> Self {
        let machine = Machine::system(system_rng().random());
        let now = machine.clock.mono();
        let stop = CancellationToken::new();
        let delivery = Arc::new(Delivery::new(machine, 1, stop.clone()));
        let target = UdpSocket::bind("127.0.0.1:0").unwrap();
        target.set_read_timeout(Some(Duration::from_secs(20))).unwrap();
        let (sender, carried) = std::sync::mpsc::channel();
        let back = Arc::new(Back {
            left: Mutex::new(admitted),
            carried: sender,
        });
        let to = target.local_addr().unwrap();
        delivery.open(&header(), to, back.clone()).unwrap();
        let other = RouteHeader { flow: 8, ..header() };
        assert!(matches!(
            delivery.open(&other, to, back),
            Err(OpenError::TooMany(1))
        ));
        let datagram = End::new(1).wrap(header(), Dscp::new(46), b"hello", now).unwrap();
        delivery.media(&Media::parse(&datagram).unwrap(), now).unwrap();
        let mut buffer = [0; 100];
        let (len, from) = target.recv_from(&mut buffer).unwrap();
        assert_eq!(&buffer[..len], b"hello", "the first packet of a new socket");
        Self {
            delivery,
            target,
            carried,
            from,
            stop,
        }
    }

    /// What the target says, and how often.
    fn say(&self, media: &[u8], times: usize) {
        for _ in 0..times {
            self.target.send_to(media, self.from).unwrap();
        }
    }

    /// Waits until nothing reads the flow's socket, so that its target is refused.
    async fn closed(&self) {
        self.target.connect(self.from).unwrap();
        self.target.set_nonblocking(true).unwrap();
        let refused = async {
            while self.target.send(b"more").is_ok() {
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
        };
        tokio::time::timeout(Duration::from_secs(20), refused)
            .await
            .unwrap();
    }

    async fn until(&self, done: impl Fn(&DeliveryCounts) -> bool) {
        let counted = async {
            while !done(&self.delivery.counts()) {
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
        };
        tokio::time::timeout(Duration::from_secs(20), counted)
            .await
            .unwrap();
    }
}

#[tokio::test]
async fn a_target_answers_no_faster_than_is_granted() {
    let world = World::new(1_000);
    world.say(&[1; 100], 20);
    let stranger = UdpSocket::bind("127.0.0.1:0").unwrap();
    stranger.send_to(b"me too", world.from).unwrap();
    world.until(|counts| counts.strangers == 1).await;
    let carried: Vec<_> = world.carried.try_iter().collect();
    let each = carried[0].len();
    assert_eq!(carried.len(), 1_000 / each);
    assert_eq!(world.delivery.counts().not_admitted, 20 - carried.len() as u64);
    assert!(
        carried
            .iter()
            .all(|datagram| Media::parse(datagram).unwrap().media == [1; 100])
    );
}

#[tokio::test]
async fn a_flow_that_is_not_kept_ends_though_its_target_sends_on() {
    let world = World::new(10_000);
    world.delivery.retain(|key| key == FlowKey::of(&header()));
    assert!(!world.delivery.is_empty());
    world.delivery.retain(|_| false);
    assert!(world.delivery.is_empty());
    world.closed().await;
    let now = world.delivery.machine.clock.mono();
    let datagram = End::new(1).wrap(header(), Dscp::new(46), b"hello", now).unwrap();
    let unknown = world.delivery.media(&Media::parse(&datagram).unwrap(), now);
    assert_eq!(unknown, Err(UnknownFlow));
}

#[tokio::test]
async fn all_ends_with_the_process_that_it_is_part_of() {
    let world = World::new(10_000);
    world.stop.cancel();
    drop(std::mem::take(&mut world.delivery.state().outlets));
    world.closed().await;
}
