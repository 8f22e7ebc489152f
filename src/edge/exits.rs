//! Where flows leave the mesh at this edge towards their targets. A target's name is looked up here, its
//! addresses are judged as they come, and the first that may be sent to stays the flow's.

use std::{
    collections::BTreeSet,
    net::{IpAddr, SocketAddr},
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use corridor_probes::wire::RouteHeader;
use tokio_util::sync::CancellationToken;

use super::shared::Shared;
use crate::{
    clock, host,
    machine::Machine,
    media::{
        delivery::{Carrier as _, Delivery},
        far::UnknownFlow,
        gate::FlowKey,
        wire::{Answer, Kind, Media, MediaError, Open},
    },
    route::FarEnd,
    targets::{Net, check},
};

/// Flows that end at one edge: each has a socket.
const MAX_ENDS: usize = 8_192;
/// A resolver that takes longer has no answer.
const RESOLVE_WITHIN: Duration = Duration::from_secs(3);

/// The exits of one edge.
#[derive(Debug)]
pub struct Exits {
    pub delivery: Arc<Delivery>,
    /// Ranges that are sent to though they are private, this machine's own, and so on.
    allow: Vec<Net>,
    /// Where others reach this edge, beside its interfaces' addresses: what a router in front of it translates.
    own: Vec<IpAddr>,
    /// Flows whose target's name is being looked up.
    opening: Mutex<BTreeSet<FlowKey>>,
}

impl Exits {
    /// Tasks end with `stop`.
    pub fn new(machine: Machine, allow: Vec<Net>, own: Vec<IpAddr>, stop: CancellationToken) -> Self {
        Self {
            delivery: Arc::new(Delivery::new(machine, MAX_ENDS, stop)),
            allow,
            own,
            opening: Mutex::default(),
        }
    }

    /// Whether this caller is to open the flow; nobody else is until [`Self::opened`].
    fn begin(&self, key: FlowKey) -> bool {
        self.opening().insert(key)
    }

    fn opened(&self, key: FlowKey) {
        self.opening().remove(&key);
    }

    fn opening(&self) -> std::sync::MutexGuard<'_, BTreeSet<FlowKey>> {
        self.opening.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A datagram of a flow came that ends at this edge.
pub(super) fn arrived(shared: &Arc<Shared>, kind: Kind, datagram: &[u8]) {
    if let Err(error) = take(shared, kind, datagram) {
        shared.datagrams().counters.malformed += 1;
        tracing::trace!(%error, "media refused");
    }
}

fn take(shared: &Arc<Shared>, kind: Kind, datagram: &[u8]) -> Result<(), MediaError> {
    let now = shared.now();
    let delivery = &shared.exits.delivery;
    match kind {
        Kind::Media => {
            let media = Media::parse(datagram)?;
            match delivery.media(&media, now) {
                Ok(None) => {}
                Ok(Some((next, receipt))) => {
                    shared.carry(next, receipt);
                }
                Err(UnknownFlow) => answer(shared, &media.header, Answer::Unknown),
            }
            shared.flows_now();
        }
        Kind::Switch => {
            let (header, _) = RouteHeader::parse(datagram)?;
            if delivery.switch(&header, now).is_err() {
                answer(shared, &header, Answer::Unknown);
            }
        }
        Kind::Open => open(shared, Open::parse(datagram)?.header),
        // They go back, and no way back ends at an edge.
        Kind::Answer | Kind::Receipt => {}
    }
    Ok(())
}

fn open(shared: &Arc<Shared>, header: RouteHeader) {
    let key = FlowKey::of(&header);
    let far_end = shared.datagrams().gate.far_end(key).cloned();
    let Some(FarEnd::Target(target)) = far_end else {
        return answer(shared, &header, Answer::NotGranted);
    };
    if shared.exits.delivery.keep(&header) {
        // Its socket and its address stay.
        return answer(shared, &header, Answer::Carried);
    }
    if !shared.exits.begin(key) {
        return;
    }
    let shared = shared.clone();
    tokio::spawn(async move {
        let opened = match address(&shared, &target).await {
            Ok(to) => shared
                .exits
                .delivery
                .open(&header, to, shared.clone())
                .map_err(|error| {
                    tracing::warn!(%error, "a flow does not end here");
                    error.answer()
                }),
            Err(why) => Err(why),
        };
        shared.exits.opened(key);
        if let Err(why) = opened {
            tracing::info!(origin = %header.origin, why = why.text(), "flow refused");
            tracing::debug!(%target, origin = %header.origin, "of a flow that was refused");
        }
        answer(&shared, &header, told(opened));
    });
}

fn told(opened: Result<(), Answer>) -> Answer {
    opened.err().unwrap_or(Answer::Carried)
}

/// The first address of a target that may be sent to.
async fn address(shared: &Shared, target: &str) -> Result<SocketAddr, Answer> {
    let found: Vec<SocketAddr> = match target.parse() {
        Ok(address) => vec![address],
        Err(_) => {
            let looked_up = tokio::select! {
                biased;
                found = tokio::net::lookup_host(target) => found.ok(),
                () = clock::sleep(&*shared.clock, RESOLVE_WITHIN) => None,
            };
            looked_up.ok_or(Answer::NoAddress)?.collect()
        }
    };
    if found.is_empty() {
        return Err(Answer::NoAddress);
    }
    let mut own = host::addresses();
    own.extend(&shared.exits.own);
    let good = |address: &&SocketAddr| check(address.ip(), &shared.exits.allow, &own).is_ok();
    let reached = |address: &SocketAddr| own.iter().any(|own| same_family(*own, address.ip()));
    let mut good: Vec<_> = found.iter().filter(good).copied().collect();
    // Those of a family that this machine has no address of, last.
    good.sort_by_key(|address| !reached(address));
    good.first().copied().ok_or(Answer::AddressRefused)
}

const fn same_family(a: IpAddr, b: IpAddr) -> bool {
    a.is_ipv4() == b.is_ipv4()
}

/// Answers a datagram of a flow that ends, or would end, at this edge.
fn answer(shared: &Shared, header: &RouteHeader, answer: Answer) {
    let back = header.back(Kind::Answer as u8);
    let mut datagram = Vec::new();
    answer.write(&back, &mut datagram);
    if let Some(next) = back.next() {
        shared.carry(next, datagram);
    }
}
