//! Asking next hops for signs of life while media flows to them. One task; it sleeps while nothing flows, and
//! ends with the stop signal.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::{Arc, atomic::Ordering},
};

use corridor_probes::{EdgeId, Mono, wire::NextStep};
use tokio_util::sync::CancellationToken;

use super::shared::Shared;
use crate::media::{
    delivery::Carrier as _,
    far::Down,
    liveness::{self, FLOWS, Pace, STEP},
    wire::Word,
};

pub async fn watch(shared: Arc<Shared>, stop: CancellationToken) {
    let clock = shared.clock.clone();
    let mut told = BTreeSet::new();
    loop {
        let wakeup = step(&shared, &mut told);
        let next = clock.mono() + STEP;
        tokio::select! {
            biased;
            () = stop.cancelled() => return,
            () = async {
                shared.flows.notified().await;
                // Flows between agents of this edge have nobody asked: not each of their packets is to be looked at.
                clock.sleep_until(next).await;
            } => {}
            () = async {
                match wakeup {
                    Some(at) => clock.sleep_until(at).await,
                    None => std::future::pending().await,
                }
            } => {}
        }
    }
}

/// Asks who is due, and tells of who is silent, `told` before. Answers when to do so again.
fn step(shared: &Shared, told: &mut BTreeSet<EdgeId>) -> Option<Mono> {
    let now = shared.now();
    let delivery = &shared.exits.delivery;
    // What flows from here on says so, even while this looks at what flowed before.
    shared.at_rest.store(true, Ordering::Relaxed);
    let wanted = wanted(shared, now);
    let heard = delivery.heard();
    let mut datagrams = shared.datagrams();
    datagrams.alive.set(&wanted, now);
    let asks = datagrams.alive.asks(now);
    let notices = datagrams.silences(heard, now);
    let silent = datagrams.alive.silent();
    let wakeup = datagrams.alive.next_wakeup();
    drop(datagrams);
    shared.at_rest.store(wanted.is_empty(), Ordering::Relaxed);
    if *told != silent {
        let down = silent.iter().map(|&edge| Down::Next(NextStep::Edge(edge)));
        delivery.set_down(down.collect());
        told.clone_from(&silent);
    }
    for (edge, seq) in asks {
        shared.carry(NextStep::Edge(edge), Word::Ask(seq).bytes());
    }
    shared.tell(notices);
    // Whoever comes back is heard by the datagrams' task; flows that end here are to know soon.
    wakeup.map(|at| if silent.is_empty() { at } else { at.min(now + STEP) })
}

/// The hops that media flows to, and those that it could flow back by.
fn wanted(shared: &Shared, now: Mono) -> BTreeMap<EdgeId, Pace> {
    let ends = shared.exits.delivery.ways(now - FLOWS).into_iter();
    let back = ends.filter_map(|(next, pace)| Some((next.edge()?, pace)));
    let datagrams = shared.datagrams();
    let through = datagrams.next_hops.carrying(now);
    liveness::wanted(back.chain(through.map(|edge| (edge, Pace::InUse))))
}
