//! The far end of probing, with probes of any numbers.

use std::collections::{BTreeMap, BTreeSet};

use corridor_probes::{Mono, Reception, Reflector, ReflectorLimits, SessionId};

use super::{input::Input, link::check_ranges};

/// Few, so that they are reached.
const LIMITS: ReflectorLimits = ReflectorLimits {
    sessions_a_peer: 3,
    sessions: 5,
};

/// What was said of one session, by the epoch of its echoes: a session that was forgotten has another.
#[derive(Debug, Default)]
struct Told {
    /// Since the numbers last jumped ahead: what lies before is forgotten, and may come again.
    came: BTreeSet<u32>,
    highest: Option<u32>,
    count: u32,
}

/// Further than any reflector remembers.
const JUMP: i32 = 8_192;

/// Whatever numbers come: an echo acknowledges what came and nothing else, its count counts different
/// probes, and no more is remembered than is allowed.
pub fn reflector(data: &[u8]) {
    let mut input = Input::new(data);
    let mut reflector = Reflector::new(input.u32(), LIMITS);
    let mut told: BTreeMap<(u8, u8, u32), Told> = BTreeMap::new();
    let mut probes = 0;
    while !input.is_over() {
        let (peer, session) = (input.u8() % 4, input.u8() % 4);
        // Near each other, mostly, and around where numbers wrap.
        let seq = match input.u8() {
            0..64 => input.u32(),
            by => u32::from(by)
                .wrapping_sub(128)
                .wrapping_add(u32::from(input.u8())),
        };
        let (floor, recv) = (input.u16(), Mono::from_micros(input.i64()));
        probes += 1;
        if input.u8() == 0 {
            reflector.forget(peer);
        }
        let reception = reflector.receive(peer, SessionId(session.into()), seq, floor, recv);
        if let Reception::Echo(body) = reception {
            check_ranges(&body.ranges);
            assert!(body.base <= floor);
            assert_eq!(body.recv_us, recv.as_micros());
            let told = told.entry((peer, session, body.epoch)).or_default();
            let ahead = told.highest.map_or(0, |highest| seq.wrapping_sub(highest) as i32);
            if ahead > JUMP {
                told.came.clear();
            }
            if ahead > 0 || told.highest.is_none() {
                told.highest = Some(seq);
            }
            assert!(told.came.insert(seq), "the same number twice");
            told.count += 1;
            assert_eq!(body.count, told.count);
            let base = seq.wrapping_sub(body.base.into());
            let mut own = false;
            for range in body.ranges.iter() {
                for acked in range.clone().take(9_000) {
                    let acked = base.wrapping_add(acked);
                    own |= acked == seq;
                    assert!(told.came.contains(&acked), "{acked} did not come");
                }
            }
            assert!(own || body.ranges.is_full(), "its own number came");
        }
        let stats = reflector.stats();
        assert!(stats.sessions <= LIMITS.sessions);
        assert_eq!(stats.echoed + stats.duplicates + stats.too_old, probes);
    }
}
