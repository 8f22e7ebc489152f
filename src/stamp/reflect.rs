//! Answering STAMP. One task: it ends with its handle's stop, or when the handle is dropped.

use std::{
    net::SocketAddr,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use corridor_probes::{
    Mono,
    stamp::{StampLimits, StampReflector, StampStats, UNKNOWN_TTL},
};
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

use super::{Civil, StampKey, mode};
use crate::{
    clock::Clock,
    machine::Machine,
    transport::{BindError, PlainSocket},
};

/// How often refusals are told, at most.
const TELL_EVERY: Duration = Duration::from_secs(60);

/// What is answered, and to whom.
#[derive(Debug, Clone)]
pub struct StampSetup {
    pub listen: SocketAddr,
    /// With a key only packets that are made with it are answered.
    pub key: Option<StampKey>,
}

/// A running reflector.
#[derive(Debug)]
pub struct StampService {
    local: SocketAddr,
    reflector: Arc<Mutex<StampReflector>>,
    stop: CancellationToken,
    task: JoinHandle<()>,
}

impl StampService {
    /// # Panics
    /// Outside a tokio runtime.
    pub fn start(machine: &Machine, setup: StampSetup) -> Result<Self, BindError> {
        let socket = PlainSocket::bind(&*machine.network, setup.listen)?;
        let local = socket
            .local_addr()
            .map_err(|source| BindError::new(setup.listen, source))?;
        let reflector = StampReflector::new(local.port(), StampLimits::default());
        let reflector = Arc::new(Mutex::new(reflector));
        let stop = CancellationToken::new();
        let clock = machine.clock.clone();
        let now = clock.mono();
        let task = Reflecting {
            civil: Civil::new(now, clock.wall()),
            socket,
            key: setup.key,
            reflector: reflector.clone(),
            clock,
            told: StampStats::default(),
            tell_at: now,
        };
        let stopped = stop.clone();
        let task = tokio::spawn(task.run(stopped));
        Ok(Self {
            local,
            reflector,
            stop,
            task,
        })
    }

    pub fn local_addr(&self) -> SocketAddr {
        self.local
    }

    pub fn stats(&self) -> StampStats {
        stats(&self.reflector)
    }

    pub async fn stop(mut self) {
        self.stop.cancel();
        let _ = (&mut self.task).await;
        let s = self.stats();
        tracing::info!(
            answered = s.answered,
            short = s.short,
            wrong_key = s.wrong_key,
            looped = s.looped,
            too_fast = s.source_rate + s.total_rate,
            "STAMP was answered"
        );
    }
}

impl Drop for StampService {
    fn drop(&mut self) {
        self.stop.cancel();
    }
}

fn stats(reflector: &Mutex<StampReflector>) -> StampStats {
    let reflector = reflector.lock().unwrap_or_else(PoisonError::into_inner);
    reflector.stats()
}

struct Reflecting {
    socket: PlainSocket,
    key: Option<StampKey>,
    reflector: Arc<Mutex<StampReflector>>,
    clock: Arc<dyn Clock>,
    civil: Civil,
    told: StampStats,
    tell_at: Mono,
}

impl Reflecting {
    async fn run(mut self, stop: CancellationToken) {
        let mut answers = Vec::new();
        loop {
            let batch = tokio::select! {
                biased;
                () = stop.cancelled() => return,
                batch = self.socket.next(&*self.clock) => batch,
            };
            let now = self.clock.mono();
            self.civil.follow(now, self.clock.wall());
            let mode = mode(self.key.as_ref());
            let mut reflector = self.reflector.lock().unwrap_or_else(PoisonError::into_inner);
            for packet in self.socket.packets(batch) {
                match reflector.receive(mode, batch.from, UNKNOWN_TTL, packet, now) {
                    Ok(received) => answers.push((received, packet.to_vec())),
                    Err(refusal) => tracing::trace!(%refusal, "not answered"),
                }
            }
            drop(reflector);
            for (received, mut packet) in answers.drain(..) {
                let sent = self.civil.unix_ns(self.clock.mono());
                received.answer(mode, self.civil.unix_ns(now), sent, &mut packet);
                // What the system does not take is lost on the way, to the sender as to us.
                self.socket.send(batch.from, batch.to, &packet);
            }
            self.tell(now);
        }
    }

    /// Says that packets are refused, and why, once in a while.
    fn tell(&mut self, now: Mono) {
        if now < self.tell_at {
            return;
        }
        let s = stats(&self.reflector);
        if s.refused() > self.told.refused() {
            tracing::warn!(
                short = s.short - self.told.short,
                wrong_key = s.wrong_key - self.told.wrong_key,
                looped = s.looped - self.told.looped,
                too_fast = s.source_rate + s.total_rate - self.told.source_rate - self.told.total_rate,
                "STAMP packets were refused"
            );
            self.told = s;
            self.tell_at = now + TELL_EVERY;
        }
    }
}

#[cfg(test)]
mod tests;
