//! The books of a measurement under stress: what `corridor probe` does, over the simulated network, against
//! the network's own counts.

use std::{sync::Arc, time::Duration};

use corridor::{
    machine::Machine,
    measure::{Plan, Stop, Summary, Target, Trust, run},
    sim::{EdgeSpec, HostSpec, Lengths, LinkShape, Loss, SimClock, SimHost, World, WorldSpec},
};
use corridor_probes::{Mono, quality::OPUS_NB};

const INTERVAL: Duration = Duration::from_millis(10);
/// No other packet is as long, with what QUIC puts around it.
const SIZE: usize = 700;
const AROUND: std::ops::Range<usize> = SIZE + 26..SIZE + 64;

/// What the network did to probes and echoes, beside what was measured of them.
struct Measured {
    summary: Summary,
    up: Lengths,
    down: Lengths,
    took: Duration,
}

/// Probes the edge `e` a hundred times a second for so many slots, while `trouble` happens.
fn measure<F>(slots: u32, trouble: impl FnOnce(World, SimHost) -> F + 'static) -> Measured
where
    F: Future<Output = World> + 'static,
{
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .start_paused(true)
        .build()
        .unwrap();
    let local = tokio::task::LocalSet::new();
    local.block_on(&runtime, async move {
        let mut world = World::new(WorldSpec {
            edges: vec![EdgeSpec {
                name: "e".to_owned(),
                region: None,
                clock: corridor::sim::ClockSpec {
                    offset_us: 3_000_000,
                    drift_ppb: 50_000,
                },
            }],
            open_probing: true,
            ..WorldSpec::default()
        })
        .await
        .unwrap();
        world.start_all().await.unwrap();
        let clock = SimClock::new(WorldSpec::default().start).from_origin(Mono::from_millis(-77));
        let spec = HostSpec::public("prober", "198.18.9.9".parse().unwrap(), clock);
        let prober = world.network().add_host(spec).unwrap();
        let machine = Machine {
            clock: Arc::new(prober.clock().clone()),
            network: Arc::new(prober.clone()),
            seed: 7,
            repeatable: true,
        };
        let edge = world.host("e").unwrap().clone();
        let network = world.network().clone();
        let target = Target {
            address: "198.18.1.1:4433".parse().unwrap(),
            trust: Trust::Anyone,
            patience: Duration::from_secs(10),
        };
        let plan = Plan::new(INTERVAL, Some(slots), None, Some(SIZE), OPUS_NB).unwrap();
        let troubled = tokio::task::spawn_local(trouble(world, prober.clone()));
        let began = machine.clock.mono();
        let summary = run(&machine, &target, plan, &Stop::default(), &mut |_| {})
            .await
            .unwrap();
        let took = machine.clock.mono().since(began);
        let _world = troubled.await.unwrap();
        let of = |from, to| network.counters(from, to).lengths(AROUND);
        let (up, down) = (of(&prober, &edge), of(&edge, &prober));
        Measured {
            summary,
            up,
            down,
            took,
        }
    })
}

async fn pause(d: Duration) {
    tokio::time::sleep(d).await;
}

/// Every figure that is told is a number that can be: finite, and not below 0 where that means nothing.
fn sane(s: &Summary) {
    assert!(s.adds_up(), "{s:?}");
    let told = serde_json::to_value(s).unwrap();
    for (key, value) in told.as_object().unwrap() {
        let signed = key.starts_with("owd") || key.starts_with("ipdv") || key.starts_with("clock_offset");
        let numbers: Vec<f64> = match value {
            serde_json::Value::Number(n) => vec![n.as_f64().unwrap()],
            serde_json::Value::Object(o) => o.values().map(|v| v.as_f64().unwrap()).collect(),
            // What is infinite or no number at all is told as null.
            serde_json::Value::Null => panic!("{key} is null"),
            _ => Vec::new(),
        };
        for n in numbers {
            assert!(n.is_finite() && (signed || n >= 0.0), "{key}: {n}");
        }
    }
    let rtt = s.rtt_ms.unwrap();
    assert!(
        rtt.min >= 40.0 && rtt.min <= rtt.p50 && rtt.p50 <= rtt.max,
        "{rtt:?}"
    );
    for (owd, truth) in [(s.owd_up_ms, 20.0), (s.owd_down_ms, 20.0)] {
        let error = s.owd_error_ms.unwrap() + 1.0;
        assert!((owd.unwrap().min - truth).abs() <= error, "{owd:?} {error}");
    }
}

#[test]
fn bursts_of_hundreds_and_random_loss_each_way_are_counted_as_the_network_counts_them() {
    let m = measure(6_000, |world, prober| async move {
        let edge = world.host("e").unwrap().clone();
        let set = |from: &SimHost, to: &SimHost, loss| world.network().update(from, to, |s| s.loss = loss);
        pause(Duration::from_secs(5)).await;
        for (there, burst_ms) in [(true, 5_000), (false, 5_000), (true, 7_770), (false, 10)] {
            let (from, to) = if there { (&prober, &edge) } else { (&edge, &prober) };
            set(from, to, Loss::Random(1.0));
            pause(Duration::from_millis(burst_ms)).await;
            set(from, to, Loss::None);
            pause(Duration::from_secs(2)).await;
        }
        for (from, to) in [(&prober, &edge), (&edge, &prober)] {
            set(from, to, Loss::Random(0.2));
        }
        pause(Duration::from_secs(20)).await;
        for (from, to) in [(&prober, &edge), (&edge, &prober)] {
            set(from, to, Loss::None);
        }
        world
    });
    let s = &m.summary;
    sane(s);
    assert_eq!((s.lost_unknown, s.late, s.unconnected), (0, 0, 0), "{s:?}");
    assert_eq!(
        (u64::from(s.lost_up), u64::from(s.lost_down)),
        (m.up.lost, m.down.lost),
        "{s:?}"
    );
    assert!(s.lost_up > 1_277 && s.lost_down > 501, "{s:?}");
    assert!(s.bursts.burst_lost + s.bursts.gap_lost == u64::from(s.sent - s.received));
}

#[test]
fn an_edge_that_begins_anew_leaves_books_that_add_up() {
    let m = measure(6_000, |mut world, _| async move {
        pause(Duration::from_secs(20)).await;
        world.kill("e").await.unwrap();
        pause(Duration::from_secs(2)).await;
        world.start("e").await.unwrap();
        world
    });
    let s = &m.summary;
    sane(s);
    // What came to the edge that is gone cannot be told from what did not.
    assert!(s.lost_unknown > 0 && s.received > 3_000, "{s:?}");
    assert_eq!(u64::from(s.sent), m.up.offered, "{s:?}");
    assert_eq!(s.local_drops, 0);
}

#[test]
fn ten_minutes_of_nothing_are_booked_to_the_last_slot() {
    let m = measure(66_000, |world, prober| async move {
        pause(Duration::from_secs(20)).await;
        prober.set_online(false);
        pause(Duration::from_secs(600)).await;
        prober.set_online(true);
        world
    });
    let s = &m.summary;
    sane(s);
    assert_eq!(
        (s.slots, s.sent + s.unconnected + s.slipped + s.local_drops),
        (66_000, 66_000)
    );
    assert!(s.unconnected > 40_000, "its connection ends long before: {s:?}");
    assert!(s.received > 3_000, "{s:?}");
    assert_eq!(
        s.lost_up + s.lost_down + s.lost_unknown,
        s.sent - s.received,
        "{s:?}"
    );
}

#[test]
fn doubled_packets_are_neither_lost_nor_counted_twice() {
    let m = measure(3_000, |world, prober| async move {
        let edge = world.host("e").unwrap().clone();
        for (from, to) in [(&prober, &edge), (&edge, &prober)] {
            world.network().update(from, to, |s| s.duplicate = 0.1);
        }
        world
    });
    let s = &m.summary;
    sane(s);
    assert!(m.up.delivered > m.up.offered && m.down.delivered > m.down.offered);
    assert_eq!((s.sent, s.received), (3_000, 3_000), "{s:?}");
    assert_eq!((s.reordered_up, s.reordered_down), (0, 0), "{s:?}");
}

#[test]
fn reordered_packets_are_counted_as_the_network_counts_them() {
    let m = measure(3_000, |world, prober| async move {
        let edge = world.host("e").unwrap().clone();
        let shape = LinkShape {
            reorder: 0.05,
            reorder_by: Duration::from_millis(35),
            ..world.network().shape(&prober, &edge)
        };
        world.network().set_direction(&prober, &edge, shape);
        world
    });
    let s = &m.summary;
    sane(s);
    assert_eq!((s.received, s.lost_up, s.lost_down), (s.sent, 0, 0), "{s:?}");
    // Each that is held back by 35 ms is overtaken by the three or four behind it.
    assert_eq!(u64::from(s.reordered_up), m.up.reordered, "{s:?}");
    assert!(matches!(s.reorder_extent_up, Some(3..=8)), "{s:?}");
    assert_eq!(s.reordered_down, 0, "{s:?}");
}

#[test]
fn a_handshake_whose_answers_are_lost_is_begun_anew_beside_it() {
    let m = measure(100, |world, prober| async move {
        let edge = world.host("e").unwrap().clone();
        for loss in [Loss::Random(1.0), Loss::None] {
            for (from, to) in [(&prober, &edge), (&edge, &prober)] {
                world.network().update(from, to, |s| s.loss = loss);
            }
            if loss != Loss::None {
                pause(Duration::from_millis(3_500)).await;
            }
        }
        world
    });
    assert_eq!(
        (m.summary.received, m.summary.unconnected),
        (100, 0),
        "{:?}",
        m.summary
    );
    // Sent again after 1, 2 and 4 s, the first one alone would come to its end after 7 s; probes and their
    // last echoes take 3 s.
    assert!(m.took < Duration::from_millis(9_000), "{:?}", m.took);
}
