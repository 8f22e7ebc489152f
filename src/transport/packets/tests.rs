use std::iter::once;

use proptest::prelude::*;

use super::*;

fn us(us: u64) -> Mono {
    Mono::ZERO + Duration::from_micros(us)
}

fn address(port: u16) -> SocketAddr {
    SocketAddr::from(([192, 0, 2, 1], port))
}

/// A connection whose packets are logged, with what QUIC has taken of them.
struct Rig {
    log: PacketLog,
    peer: Arc<Peer>,
    matching: Matching,
    taken: Taken,
}

/// The length of a packet with one datagram and nothing else but an acknowledgement.
fn packet_of(len: usize) -> usize {
    len + AROUND_FRAMES + AROUND_DATAGRAM + 6
}

impl Rig {
    fn new() -> Self {
        let log = PacketLog::default();
        let peer = log.watch(address(1));
        // The handshake was not watched.
        let taken = Taken {
            packets: 7,
            datagrams: 0,
            read: 0,
        };
        Self {
            log,
            peer,
            matching: Matching::default(),
            taken,
        }
    }

    fn packet(&mut self, len: usize, at: u64, datagrams: u64) {
        self.packet_given(len, at, at, datagrams);
    }

    /// A packet that the process was given later than the machine.
    fn packet_given(&mut self, len: usize, at: u64, given: u64, datagrams: u64) {
        self.log.received(address(1), once(len), Some(us(at)), us(given));
        self.taken.packets += 1;
        self.taken.datagrams += datagrams;
    }

    fn read(&mut self, len: usize, at: u64) -> (Mono, Stall) {
        self.taken.read += 1;
        let Arrival { at, stall } = self.matching.arrival(&self.peer, len, self.taken, us(at));
        (at, stall)
    }
}

#[test]
fn a_datagram_came_in_the_packet_that_can_hold_it() {
    let mut rig = Rig::new();
    // Acknowledgements before, between and after.
    rig.packet(40, 1_000, 0);
    rig.packet(packet_of(60), 1_500, 1);
    assert_eq!(rig.read(60, 1_600), (us(1_500), Stall::None));
    rig.packet(40, 2_000, 0);
    rig.packet(packet_of(60), 2_500, 1);
    rig.packet(41, 2_900, 0);
    assert_eq!(rig.read(60, 3_000), (us(2_500), Stall::None));
}

#[test]
fn a_stall_is_taken_out() {
    let mut rig = Rig::new();
    rig.packet(packet_of(60), 1_000, 1);
    assert_eq!(rig.read(60, 2_999), (us(1_000), Stall::None));
    // Three came while the machine stood still; each is read in its turn.
    for at in [10_000, 20_000, 30_000] {
        rig.packet(packet_of(60), at, 1);
    }
    for at in [10_000, 20_000, 30_000] {
        assert_eq!(rig.read(60, 35_000), (us(at), Stall::Corrected));
    }
    rig.packet(packet_of(60), 40_000, 1);
    assert_eq!(rig.read(60, 40_100), (us(40_000), Stall::None));
}

#[test]
fn several_datagrams_of_one_packet_came_together() {
    let mut rig = Rig::new();
    rig.packet(packet_of(200), 1_000, 3);
    for _ in 0..3 {
        assert_eq!(rig.read(60, 1_100), (us(1_000), Stall::None));
    }
    rig.packet(packet_of(60), 2_000, 1);
    assert_eq!(rig.read(60, 2_100), (us(2_000), Stall::None));
}

#[test]
fn a_packet_of_the_right_length_is_preferred() {
    let mut rig = Rig::new();
    // A probe for a larger MTU comes with the echo, right after the handshake.
    rig.packet_given(1_200, 1_000, 6_050, 0);
    rig.packet_given(packet_of(60), 6_000, 6_050, 1);
    rig.packet_given(1_300, 6_040, 6_050, 0);
    assert_eq!(rig.read(60, 6_100), (us(6_000), Stall::None));
}

#[test]
fn echoes_of_a_link_and_of_routes_come_together() {
    let lens = [44, 130, 114, 98];
    let mut rig = Rig::new();
    for turn in 0..3 {
        // At each step another one is first.
        let order = [0, 1, 2, 3].map(|n| lens[(n + turn) % 4]);
        let start = 1_000_000 * turn as u64;
        for (n, len) in (1..).zip(order) {
            rig.packet_given(packet_of(len), start + 100 * n, start + 900, 1);
        }
        for (n, len) in (1..).zip(order) {
            assert_eq!(
                rig.read(len, start + 1_000),
                (us(start + 100 * n), Stall::None),
                "{order:?}"
            );
        }
    }
}

#[test]
fn an_echo_among_others_and_a_report_is_told_by_its_length() {
    let mut rig = Rig::new();
    rig.packet_given(packet_of(44), 1_000, 1_900, 1);
    rig.packet_given(400, 1_200, 1_900, 0);
    rig.packet_given(packet_of(130), 1_400, 1_900, 1);
    assert_eq!(rig.read(44, 2_000), (us(1_000), Stall::None));
    assert_eq!(rig.read(130, 2_000), (us(1_400), Stall::None));
}

#[test]
fn what_was_read_long_ago_does_not_come_again() {
    let mut rig = Rig::new();
    // Acknowledgements of reports, as long as an echo, since the last one a minute ago.
    for second in 1..60 {
        rig.packet(packet_of(60), second * 1_000_000, 0);
    }
    rig.packet(packet_of(60), 60_000_000, 1);
    assert_eq!(rig.read(60, 60_000_100), (us(60_000_000), Stall::None));
}

#[test]
fn what_cannot_be_told_apart_is_not_guessed() {
    let mut rig = Rig::new();
    // Both are given to QUIC when the machine comes to itself, and one is no datagram.
    rig.packet_given(packet_of(60), 1_000, 9_000, 0);
    rig.packet_given(packet_of(60), 6_000, 9_000, 1);
    assert_eq!(rig.read(60, 9_100), (us(9_100), Stall::Suspect));
    // That costs one sample, not those after it.
    rig.packet(packet_of(60), 17_000, 1);
    assert_eq!(rig.read(60, 17_100), (us(17_000), Stall::None));
    // So close together that it does not matter.
    rig.packet(packet_of(60), 28_000, 0);
    rig.packet(packet_of(60), 28_000 + SAME_TIME.as_micros() as u64, 1);
    assert_eq!(rig.read(60, 28_100), (us(28_000), Stall::None));
}

#[test]
fn a_packet_that_quic_has_not_taken_yet_is_none_of_the_datagram() {
    let mut rig = Rig::new();
    rig.packet(packet_of(60), 1_000, 1);
    rig.read(60, 1_100);
    rig.packet(packet_of(60), 2_000, 1);
    // The next one has come to the socket, but not to the connection.
    rig.log
        .received(address(1), once(packet_of(60)), Some(us(5_000)), us(5_000));
    assert_eq!(rig.read(60, 5_100), (us(2_000), Stall::Corrected));
    rig.taken.packets += 1;
    rig.taken.datagrams += 1;
    assert_eq!(rig.read(60, 5_200), (us(5_000), Stall::None));
}

#[test]
fn packets_of_another_connection_of_the_same_peer_are_got_used_to() {
    let mut rig = Rig::new();
    for n in 0..200 {
        let at = n * 100_000;
        // The other connection's: short, as the old one of two is.
        rig.log.received(address(1), once(40), Some(us(at)), us(at));
        rig.packet(packet_of(60), at + 500, 1);
        assert_eq!(rig.read(60, at + 600), (us(at + 500), Stall::None), "{n}");
    }
}

#[test]
fn datagrams_that_quic_dropped_unread_are_got_used_to() {
    let mut rig = Rig::new();
    rig.packet(packet_of(60), 1_000, 1);
    rig.read(60, 1_100);
    rig.taken.datagrams += 5;
    for n in 0..2 * u64::from(DRIFT_WINDOW) {
        rig.packet(packet_of(60), 2_000 + n * 100_000, 1);
        rig.read(60, 2_100 + n * 100_000);
    }
    // Again exact where it takes a count: two packets, two datagrams.
    rig.packet(packet_of(60), 50_000_000, 1);
    rig.packet(packet_of(60), 50_010_000, 1);
    assert_eq!(rig.read(60, 50_010_100).0, us(50_000_000));
    assert_eq!(rig.read(60, 50_010_100).0, us(50_010_000));
}

#[test]
fn without_a_stamp_nobody_knows() {
    let mut rig = Rig::new();
    rig.log.received(address(1), once(packet_of(60)), None, us(900));
    rig.taken.packets += 1;
    rig.taken.datagrams += 1;
    assert_eq!(rig.read(60, 1_000), (us(1_000), Stall::Unknown));
    // No packet at all: the peer has moved, or too many came.
    rig.taken.datagrams += 1;
    assert_eq!(rig.read(60, 2_000), (us(2_000), Stall::Unknown));
}

#[test]
fn more_than_is_remembered_is_not_guessed() {
    let mut rig = Rig::new();
    let burst = 3 * REMEMBERED as u64;
    for n in 0..burst {
        rig.packet(packet_of(60), 10_000 * n, 1);
    }
    for n in 0..burst {
        let (at, stall) = rig.read(60, 10_000 * burst);
        let exact = stall == Stall::Corrected && at == us(10_000 * n);
        let unsure = matches!(stall, Stall::Suspect | Stall::Unknown);
        assert!(exact || unsure, "{n}: {at} {stall:?}");
    }
}

#[test]
fn when_a_probe_went_out() {
    let log = PacketLog::default();
    let peer = log.watch(address(1));
    log.sent(address(1), once(packet_of(60)), us(1_000));
    log.sent(address(1), once(40), us(2_000));
    log.sent(address(2), once(packet_of(60)), us(2_050));
    assert_eq!(peer.sent_since(us(1_900), 60), None);
    log.sent(address(1), once(packet_of(60)), us(2_100));
    assert_eq!(peer.sent_since(us(1_900), 60), Some(us(2_100)));
}

#[test]
fn peers_that_nobody_watches_cost_nothing() {
    let log = PacketLog::default();
    for port in 0..100 {
        drop(log.watch(address(port)));
        log.received(address(1_000 + port), once(100), None, us(0));
    }
    let _watched = log.watch(address(7));
    assert_eq!(lock(&log.peers).len(), 1);
}

/// What comes: of which kind, how long after the one before, and whether QUIC is given it with the next.
fn packet() -> impl Strategy<Value = (usize, u64, bool)> {
    (0_usize..4, 1_u64..20_000, prop::bool::weighted(0.3))
}

proptest! {
    /// Whatever comes and in whatever batches it is given and read, an answer is right or says that it is not
    /// known, as long as whoever waits gets its turn between two batches.
    #[test]
    fn an_answer_is_true_or_unknown(packets in prop::collection::vec(packet(), 1..120)) {
        let mut rig = Rig::new();
        let (mut now, mut batch) = (0, Vec::new());
        for (kind, gap, with_next) in packets {
            now += gap;
            batch.push((kind, now));
            if with_next {
                continue;
            }
            let mut unread = VecDeque::new();
            for (kind, at) in batch.drain(..) {
                match kind {
                    0 => rig.packet_given(40, at, now, 0),
                    1 => rig.packet_given(1_200, at, now, 0),
                    n => {
                        rig.packet_given(packet_of(30 * n), at, now, 1);
                        unread.push_back((30 * n, at));
                    }
                }
            }
            for (len, came) in unread {
                let (at, stall) = rig.read(len, now + 10);
                match stall {
                    Stall::None | Stall::Corrected => {
                        // A packet without datagrams, long enough, right beside it, is as good.
                        let off = at.diff_nanos(us(came)).unsigned_abs();
                        prop_assert!(u128::from(off) <= SAME_TIME.as_nanos(), "{at} for {came}");
                    }
                    Stall::Suspect | Stall::Unknown => prop_assert_eq!(at, us(now + 10)),
                }
            }
        }
    }
}
