//! Figures that are printed, not asserted: `cargo test --release --lib transport::tests::figures --
//! --nocapture`.

use std::time::Duration;

use bytes::Bytes;

use super::simulated::{echo, sim};
use crate::sim::LinkShape;

/// Probes as agents send them, one at a time on a grid, echoed: both ways count.
#[tokio::test(start_paused = true)]
#[expect(
    clippy::disallowed_methods,
    reason = "this measures the simulation's own speed"
)]
async fn datagrams_a_wall_second() {
    let probes = if cfg!(debug_assertions) { 2_000u32 } else { 100_000 };
    let sim = sim(1, LinkShape::delay(Duration::from_millis(100)));
    let (client, server) = sim.connect().await;
    echo(server);
    let began = std::time::Instant::now();
    let mut echoed = 0;
    for _ in 0..probes {
        client.send_datagram(Bytes::from_static(&[0; 100]));
        while client.try_read_datagram().is_some() {
            echoed += 1;
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    tokio::time::sleep(Duration::from_secs(1)).await;
    while client.try_read_datagram().is_some() {
        echoed += 1;
    }
    assert_eq!(echoed, probes);
    let took = began.elapsed().as_secs_f64();
    println!(
        "{:.0} datagrams a wall second ({} in {took:.2} s)",
        f64::from(2 * probes) / took,
        2 * probes
    );
}
