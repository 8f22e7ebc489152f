use super::*;
use crate::Settings;

const A: NodeIx = NodeIx(0);
const B: NodeIx = NodeIx(1);
const C: NodeIx = NodeIx(2);

fn network(pipes: &[(Place, &str)]) -> Network<u32> {
    let addresses = [A, B, C]
        .map(|node| (IpAddr::from([10, 0, 0, node.0 as u8]), node))
        .into();
    let pipes = pipes.iter().map(|&(place, words)| (place, impairment(words)));
    Network::new(addresses, pipes, 1)
}

fn impairment(words: &str) -> Impairment {
    words.parse::<Settings>().unwrap().impairment().unwrap()
}

fn ms(ms: i64) -> Mono {
    Mono::from_millis(ms)
}

fn head(to: NodeIx, len: u16) -> Head {
    let to = IpAddr::from([10, 0, 0, to.0 as u8]);
    let proto = Proto::Udp;
    Head {
        to,
        proto,
        len,
        dscp: 0,
    }
}

/// All that leaves up to `until`: when it was due, and its payload.
fn drain(network: &mut Network<u32>, until: Mono) -> Vec<(Mono, u32)> {
    std::iter::from_fn(|| network.leave(until))
        .map(|departure| (departure.due, departure.payload))
        .collect()
}

#[test]
fn steps_add_up_per_direction_however_late_the_caller_is() {
    let mut net = network(&[
        (Place::Up(A), "delay_ms=5"),
        (Place::Link(A, B), "delay_ms=20"),
        (Place::Link(B, A), "delay_ms=30"),
        (Place::Down(B), "delay_ms=2"),
    ]);
    net.enter(ms(0), A, head(B, 100), 1);
    net.enter(ms(1), B, head(A, 100), 2);
    assert_eq!(drain(&mut net, ms(26)), []);
    assert_eq!(drain(&mut net, ms(500)), [(ms(27), 1), (ms(31), 2)]);
    assert_eq!(net.next_due(), None);
}

#[test]
fn a_shared_access_queues_what_comes_by_different_links() {
    // 100 B at 80 kbit/s take 10 ms. C's link is faster, so its packet is first although it entered last.
    let mut net = network(&[
        (Place::Link(A, B), "delay_ms=20"),
        (Place::Link(C, B), "delay_ms=10"),
        (Place::Down(B), "rate_kbit=80"),
    ]);
    net.enter(ms(0), A, head(B, 100), 1);
    net.enter(ms(5), C, head(B, 100), 2);
    assert_eq!(drain(&mut net, ms(500)), [(ms(25), 2), (ms(35), 1)]);
}

#[test]
fn a_stall_holds_both_ways_and_releases_in_order() {
    let mut net = network(&[
        (Place::Link(A, B), "delay_ms=20"),
        (Place::Link(B, A), "delay_ms=20"),
    ]);
    net.enter(ms(0), A, head(B, 100), 1);
    net.enter(ms(1), C, head(B, 100), 2);
    net.enter(ms(2), A, head(C, 100), 3);
    assert_eq!(drain(&mut net, ms(5)), [(ms(1), 2), (ms(2), 3)]);
    net.stall(ms(10), B, Duration::from_millis(100));
    net.enter(ms(11), A, head(B, 100), 4);
    net.enter(ms(12), B, head(A, 100), 5);
    net.enter(ms(13), A, head(C, 100), 6);
    assert_eq!(
        drain(&mut net, ms(500)),
        [(ms(13), 6), (ms(110), 1), (ms(110), 4), (ms(130), 5)]
    );
}

#[test]
fn a_change_spares_what_is_past_it() {
    let mut net = network(&[(Place::Link(A, B), "delay_ms=50")]);
    net.enter(ms(0), A, head(B, 100), 1);
    assert_eq!(drain(&mut net, ms(10)), []);
    net.set(Place::Link(A, B), impairment("blackhole=true"), 1);
    net.enter(ms(11), A, head(B, 100), 2);
    net.set(Place::Up(C), impairment("mtu=99"), 1);
    net.enter(ms(12), C, head(B, 100), 3);
    assert_eq!(drain(&mut net, ms(500)), [(ms(50), 1)]);
    let mut events = Vec::new();
    net.take_events(&mut events);
    let lost: Vec<_> = events
        .iter()
        .filter_map(|event| match event {
            Event::Lost(tag, cause) => Some((tag.from, tag.seq, *cause)),
            _ => None,
        })
        .collect();
    assert_eq!(lost, [(A, 1, Cause::Blackhole), (C, 0, Cause::Mtu)]);
}

#[test]
fn a_duplicate_is_announced_and_walks_on_by_itself() {
    let mut net = network(&[(Place::Up(A), "duplicate=1"), (Place::Link(A, B), "delay_ms=20")]);
    net.enter(ms(0), A, head(B, 100), 1);
    assert_eq!(drain(&mut net, ms(500)), [(ms(20), 1), (ms(20), 1)]);
    let mut events = Vec::new();
    net.take_events(&mut events);
    assert!(matches!(events[..], [Event::Entered(a), Event::Copied(b)] if a == b));
}

#[test]
fn strangers_are_counted_apart() {
    let mut net = network(&[]);
    net.enter(ms(0), A, head(NodeIx(9), 100), 1);
    assert_eq!((net.unrouted(), net.next_due()), (1, None));
    net.next_epoch();
    assert_eq!(net.unrouted(), 0);
}

#[test]
fn seeds_differ_between_places() {
    let seeds: std::collections::BTreeSet<u64> = (0..50)
        .flat_map(|a| (0..50).map(move |b| Place::Link(NodeIx(a), NodeIx(b))))
        .chain((0..50).flat_map(|a| [Place::Up(NodeIx(a)), Place::Down(NodeIx(a))]))
        .map(|place| place_seed(7, place))
        .collect();
    assert_eq!(seeds.len(), 2_600);
}
