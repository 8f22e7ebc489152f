//! Measuring the way to a STAMP reflector: the driver of [`super::books`] over plain UDP.
//!
//! One loop, no tasks. Everything it waits for can be given up at any point.

use std::{io, net::SocketAddr, sync::Arc};

use corridor_probes::{
    Mono,
    stamp::{Echoes, ErrorEstimate, FIRST_SEQ, ReflectorPacket, SenderPacket, Stamp, pad},
    wire::LinkProbe,
};
use rand::RngExt as _;

use super::{
    address::Address,
    books::Books,
    pace::Pace,
    plan::Plan,
    progress::Progress,
    run::{RunError, Stop},
    summary::Summary,
};
use crate::{
    clock::Clock,
    machine::Machine,
    stamp::{Civil, StampKey, mode},
    transport::{ArrivalTimes, PlainSocket},
};

/// Which reflector to measure the way to.
#[derive(Debug, Clone)]
pub struct StampTarget {
    pub address: Address,
    /// With a key packets are authenticated both ways.
    pub key: Option<StampKey>,
}

/// What a measurement with STAMP comes to.
#[derive(Debug, Clone)]
pub struct StampMeasured {
    pub summary: Summary,
    /// Answers that are no STAMP, or not made with the key.
    pub unreadable: u32,
}

/// Measures as planned. `progress` is called some times a second.
pub async fn run_stamp(
    machine: &Machine,
    target: &StampTarget,
    plan: Plan,
    stop: &Stop,
    progress: &mut dyn FnMut(&Progress),
) -> Result<StampMeasured, RunError> {
    let to = resolve(&target.address).await?;
    let any = SocketAddr::new(
        match to {
            SocketAddr::V4(_) => [0; 4].into(),
            SocketAddr::V6(_) => [0u16; 8].into(),
        },
        0,
    );
    let socket = PlainSocket::bind(&*machine.network, any)?;
    let clock = machine.clock.clone();
    let now = clock.mono();
    let civil = Civil::new(now, clock.wall());
    let mut rng = machine.rng("stamp");
    let (books, session) = Books::numbered_from(FIRST_SEQ, plan, rng.random(), now);
    let mut driver = Driver {
        books,
        echoes: Echoes::new(session, civil.origin_ns()),
        send_errors: socket.send_errors(),
        socket,
        to,
        key: target.key.clone(),
        ssid: rng.random_range(1..=u16::MAX),
        clock,
        civil,
        size: plan.size,
        buffer: Vec::with_capacity(plan.size),
        unreadable: 0,
    };
    driver.run(stop, progress).await?;
    let mut summary = driver.books.finish()?;
    summary.arrival_times = Some(ArrivalTimes::Program);
    summary.reflector = driver.echoes.kind();
    Ok(StampMeasured {
        summary,
        unreadable: driver.unreadable,
    })
}

async fn resolve(address: &Address) -> Result<SocketAddr, RunError> {
    let Address { host, port } = address;
    let unknown = |source| RunError::Name {
        name: host.clone(),
        source,
    };
    let mut found = tokio::net::lookup_host((host.as_str(), *port))
        .await
        .map_err(unknown)?;
    let none = || unknown(io::ErrorKind::NotFound.into());
    found.next().ok_or_else(none)
}

struct Driver {
    books: Books,
    echoes: Echoes,
    socket: PlainSocket,
    send_errors: u64,
    to: SocketAddr,
    key: Option<StampKey>,
    ssid: u16,
    clock: Arc<dyn Clock>,
    /// Fixed, so that a wall clock that is set meanwhile does not spoil the offset.
    civil: Civil,
    size: usize,
    buffer: Vec<u8>,
    unreadable: u32,
}

impl Driver {
    async fn run(&mut self, stop: &Stop, progress: &mut dyn FnMut(&Progress)) -> Result<(), RunError> {
        let mut pace = Pace::new(&self.clock);
        let mut stopping = false;
        loop {
            self.send_due();
            if pace.turn(&mut self.books, progress)? {
                return Ok(());
            }
            tokio::select! {
                biased;
                () = stop.all.cancelled() => return Ok(()),
                () = stop.sending.cancelled(), if !stopping => {
                    stopping = true;
                    self.books.stop();
                }
                received = self.socket.receive() => {
                    pace.notice_sleep(&mut self.books);
                    let at = self.clock.mono();
                    match received {
                        Ok(batch) if batch.from == self.to => {
                            for packet in self.socket.packets(batch) {
                                match ReflectorPacket::parse(mode(self.key.as_ref()), packet) {
                                    Ok(answer) => self.books.stamp(at, &self.echoes.take(&answer)),
                                    Err(_) => self.unreadable = self.unreadable.saturating_add(1),
                                }
                            }
                        }
                        // From somebody else.
                        Ok(_) => {}
                        Err(error) => tracing::debug!(%error, "the STAMP socket fails"),
                    }
                }
                () = pace.due() => {}
            }
        }
    }

    fn send_due(&mut self) {
        while let Some(slot) = self.books.next_due(self.clock.mono()) {
            if let Some(probe) = self.books.send(slot, self.clock.mono()) {
                self.transmit(&probe, self.size);
            }
        }
        if let Some(question) = self.books.question(self.clock.mono()) {
            self.transmit(&question, 0);
        }
    }

    fn transmit(&mut self, probe: &LinkProbe, size: usize) {
        let mode = mode(self.key.as_ref());
        let estimate = ErrorEstimate::UNSYNCHRONISED;
        self.buffer.clear();
        SenderPacket {
            seq: probe.seq,
            timestamp: Stamp::new(
                self.civil.unix_ns(Mono::from_micros(probe.sent_us)),
                estimate.format,
            ),
            estimate,
            ssid: self.ssid,
        }
        .write(mode, &mut self.buffer);
        pad(&mut self.buffer, size.saturating_sub(mode.base_len()));
        let taken = self.socket.send(self.to, None, &self.buffer);
        let errors = self.socket.send_errors();
        let failed = errors > std::mem::replace(&mut self.send_errors, errors);
        if !taken || failed {
            self.books.local_drop(probe.seq);
        }
    }
}

#[cfg(test)]
mod tests;
