//! Looking around off the main loop: it blocks, for seconds where hops do not answer. One sample and one path
//! at a time, each on a thread of tokio's pool that ends when there is nothing more for it.

use std::{
    net::IpAddr,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
};

use corridor_probes::{
    Mono, Wall,
    surroundings::{Looker, NotSeen, Sample, Scope, Seen},
    trace::Clocks,
};
use tokio::sync::mpsc;

use super::{
    core::Looked,
    surroundings::{Look, PathLook, Watch},
};
use crate::{clock::Clock, host, targets};

/// Both lookers, while they are not looking.
#[derive(Debug)]
pub struct Looking {
    sampler: Option<Looker>,
    tracer: Option<Looker>,
    clock: Arc<dyn Clock>,
    seed: u64,
    scope: Scope,
    stop: Arc<AtomicBool>,
    done: mpsc::UnboundedSender<Done>,
}

/// A looker that is back, and what it saw.
#[derive(Debug)]
pub struct Done {
    looker: Looker,
    looked: Looked,
}

/// Where a look goes.
#[derive(Debug)]
pub enum Where {
    Address(IpAddr),
    /// `host:port`
    Name(String),
}

impl Looking {
    /// `seed` is random. What was seen comes by the receiver, and goes through [`Self::back`].
    pub fn new(watch: Watch, seed: u64, clock: Arc<dyn Clock>) -> (Self, mpsc::UnboundedReceiver<Done>) {
        let (done, dones) = mpsc::unbounded_channel();
        let looking = Self {
            sampler: None,
            tracer: None,
            clock,
            seed,
            scope: Scope {
                hops: watch.trace,
                wifi_names: watch.wifi_names,
            },
            stop: Arc::default(),
            done,
        };
        (looking, dones)
    }

    /// Starts a look. `to` is where it leads, if that is known.
    pub fn start(&mut self, look: Look, to: Option<Where>) {
        let place = match look {
            Look::Sample { .. } => &mut self.sampler,
            Look::Path(_) => &mut self.tracer,
        };
        let looker = place.take();
        let looker = looker.unwrap_or_else(|| self.looker(matches!(look, Look::Path(_))));
        let (clock, done, again) = (Reading(self.clock.clone()), self.done.clone(), self.looker(false));
        tokio::spawn(async move {
            let to = match to {
                Some(Where::Address(address)) => Ok(address),
                Some(Where::Name(name)) => resolved(name).await,
                None => Err(NotSeen::NobodyYet),
            };
            let broken = nothing(
                &look,
                NotSeen::Failed {
                    why: "looking broke off".to_owned(),
                },
            );
            let looked = tokio::task::spawn_blocking(move || run(looker, look, to, &clock)).await;
            // A looker that panicked is not used again.
            let _ = done.send(looked.unwrap_or(Done {
                looker: again,
                looked: broken,
            }));
        });
    }

    /// Takes the looker back.
    pub fn back(&mut self, done: Done) -> Looked {
        match &done.looked {
            Looked::Sample(_) => self.sampler = Some(done.looker),
            Looked::Path(..) => {
                if let Some(sampler) = &mut self.sampler {
                    sampler.probe_as(&done.looker);
                }
                self.tracer = Some(done.looker);
            }
        }
        done.looked
    }

    /// Breaks off what is under way.
    pub fn stop(&self) {
        self.stop.store(true, Ordering::Relaxed);
    }

    fn looker(&self, traces: bool) -> Looker {
        // Both send probes at the same time.
        let seed = if traces { !self.seed } else { self.seed };
        Looker::new(seed, self.scope, self.stop.clone())
    }
}

fn run(mut looker: Looker, look: Look, to: Seen<IpAddr>, clock: &Reading) -> Done {
    let looked = match (look, to) {
        (Look::Sample { outside, .. }, to) => Looked::Sample(looker.sample(to.ok(), outside, clock)),
        (Look::Path(look), Ok(target)) => {
            let path = looker.path(target, clock);
            Looked::Path(look, path)
        }
        (Look::Path(look), Err(why)) => Looked::Path(look, Err(why)),
    };
    Done { looker, looked }
}

fn nothing(look: &Look, why: NotSeen) -> Looked {
    match look {
        Look::Sample { .. } => Looked::Sample(Sample::nothing(why)),
        Look::Path(look @ PathLook { .. }) => Looked::Path(look.clone(), Err(why)),
    }
}

async fn resolved(name: String) -> Seen<IpAddr> {
    let found = crate::resolve::all(std::slice::from_ref(&name)).await;
    let mut refused = None;
    for address in found.iter().map(|a| a.ip().to_canonical()) {
        // A class must not make an agent look around in its own network.
        match targets::check(address, &[], &host::addresses()) {
            Ok(()) => return Ok(address),
            Err(why) => refused = Some(why),
        }
    }
    Err(NotSeen::Failed {
        why: match refused {
            Some(why) => format!("{name} is not traced: {why}"),
            None => format!("{name} cannot be resolved"),
        },
    })
}

/// The service's clock, as traces read it.
#[derive(Debug)]
struct Reading(Arc<dyn Clock>);

impl Clocks for Reading {
    fn mono(&self) -> Mono {
        self.0.mono()
    }

    fn wall(&self) -> Wall {
        self.0.wall()
    }
}
