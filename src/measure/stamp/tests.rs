//! Against reflectors of both kinds over loopback, which lose what they are told to.

use std::{net::UdpSocket, time::Duration};

use corridor_probes::{
    quality::G711,
    stamp::{Mode, ReflectorKind, StampLimits, StampReflector, UNKNOWN_TTL},
};

use super::*;
use crate::{clock::SystemClock, identity::system_rng};

/// What happens to the n-th packet that comes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Way {
    Through,
    LostUp,
    LostDown,
    /// The reflector thinks that it came twice.
    Doubled,
}

fn machine() -> Machine {
    Machine::system(system_rng().random())
}

/// A reflector on a thread of its own, until nothing has come for some seconds. Its clock is an hour ahead.
fn reflector(kind: ReflectorKind, way: impl Fn(u32) -> Way + Send + 'static) -> SocketAddr {
    let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
    let address = socket.local_addr().unwrap();
    socket.set_read_timeout(Some(Duration::from_secs(20))).unwrap();
    std::thread::spawn(move || {
        let clock = SystemClock::new();
        let mut reflector = StampReflector::new(862, StampLimits::default());
        let ns = || (clock.wall().as_micros() as u64 + 3_600_000_000) * 1_000;
        let mut buffer = [0; 2_000];
        let mut n = 0;
        while let Ok((len, from)) = socket.recv_from(&mut buffer) {
            let received = ns();
            let way = way(n);
            n += 1;
            if way == Way::LostUp {
                continue;
            }
            for _ in 0..if way == Way::Doubled { 2 } else { 1 } {
                let mut packet = buffer[..len].to_vec();
                let mode = Mode::Unauthenticated;
                let mut got = reflector
                    .receive(mode, from, UNKNOWN_TTL, &packet, clock.mono())
                    .unwrap();
                if kind == ReflectorKind::Stateless {
                    got.seq = got.sender.seq;
                }
                got.answer(mode, received, ns(), &mut packet);
                if way != Way::LostDown {
                    socket.send_to(&packet, from).unwrap();
                }
            }
        }
    });
    address
}

async fn measured(to: SocketAddr, count: u32) -> Summary {
    let target = StampTarget {
        address: to.to_string().parse().unwrap(),
        key: None,
    };
    let interval = Duration::from_millis(10);
    let plan = Plan::stamp(interval, Some(count), None, Some(200), G711, false).unwrap();
    let measured = run_stamp(&machine(), &target, plan, &Stop::default(), &mut |_| {}).await;
    let StampMeasured { summary, unreadable } = measured.unwrap();
    assert!(summary.adds_up(), "{summary:?}");
    assert_eq!(unreadable, 0);
    summary
}

fn way(n: u32) -> Way {
    match n {
        50.. => Way::Through,
        n if n % 7 == 3 => Way::LostUp,
        n if n % 10 == 5 => Way::LostDown,
        20 => Way::Doubled,
        _ => Way::Through,
    }
}

fn lost(wanted: Way) -> u32 {
    (0..50).filter(|&n| way(n) == wanted).count() as u32
}

#[tokio::test]
async fn a_stateful_reflectors_losses_have_a_direction() {
    let s = measured(reflector(ReflectorKind::Stateful, way), 60).await;
    assert_eq!(s.reflector, Some(ReflectorKind::Stateful));
    let (up, down) = (lost(Way::LostUp), lost(Way::LostDown));
    assert!(up > 0 && down > 0);
    assert_eq!((s.lost_up, s.lost_down, s.lost_unknown), (up, down, 0), "{s:?}");
    let (offset, bound) = (s.clock_offset_ms.unwrap(), s.owd_error_ms.unwrap());
    assert!((offset - 3_600_000.0).abs() < bound + 100.0, "{offset} ± {bound}");
    let (rtt, ups, downs) = (s.rtt_ms.unwrap(), s.owd_up_ms.unwrap(), s.owd_down_ms.unwrap());
    assert!((ups.mean + downs.mean - rtt.mean).abs() < 0.001, "{s:?}");
    assert!(s.jitter_up_ms.is_some() && s.pdv_down_p99_ms.is_some() && s.mos.is_some());
}

#[tokio::test]
async fn a_stateless_reflectors_losses_have_none() {
    let s = measured(reflector(ReflectorKind::Stateless, way), 60).await;
    assert_eq!(s.reflector, Some(ReflectorKind::Stateless));
    let lost = lost(Way::LostUp) + lost(Way::LostDown);
    assert_eq!((s.lost_up, s.lost_down, s.lost_unknown), (0, 0, lost), "{s:?}");
    assert_eq!((s.reordered_up, s.reordered_down), (0, 0));
    assert!(s.owd_up_ms.is_some() && s.owd_error_ms.is_some());
}

#[tokio::test]
async fn silence_is_not_zero() {
    let free = UdpSocket::bind("127.0.0.1:0").unwrap();
    let s = measured(free.local_addr().unwrap(), 5).await;
    assert_eq!((s.sent + s.slipped, s.received, s.lost_unknown), (5, 0, s.sent));
    assert_eq!(
        (s.reflector, s.rtt_ms, s.owd_error_ms, s.clock_offset_ms),
        (None, None, None, None)
    );
}
