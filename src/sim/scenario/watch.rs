//! A scenario to watch: its world goes on at the pace of real time, and what happens to it is told as it
//! happens. What must hold is not looked at.
//!
//! The world has a thread of its own with tokio's paused clock, as in tests: time in it stands still until
//! all that is due has been done. Held back to the real clock's pace, it is live; and where this machine
//! is busy it falls behind and catches up, but no packet of the world is later for it.

use std::{
    path::{Path, PathBuf},
    sync::Arc,
    thread,
    time::Duration,
};

use corridor_probes::Wall;
use tokio::{sync::mpsc, time::Instant};
use tokio_util::sync::{CancellationToken, DropGuard};

use super::{
    ScenarioError,
    stage::{self, RENEW_EVERY, Stage},
    tell,
    text::Scenario,
    timeline::Rounds,
};
use crate::{
    clock::Clock,
    controller::{Handle, StoreWorker},
    identity::Ca,
    sim::{CONTROLLER, World, WorldSpec},
};

/// How far the world's time may be ahead of the real one.
const STEP: Duration = Duration::from_millis(5);
/// What is told and not heard yet. When it is full the scenario waits, and its world goes on.
const TOLD: usize = 16;

/// A scenario under way. Dropping it ends it, sooner or later.
#[derive(Debug)]
pub struct Watch {
    told: mpsc::Receiver<Result<Told, ScenarioError>>,
    stop: DropGuard,
    thread: thread::JoinHandle<()>,
}

/// What is told of it.
#[derive(Debug)]
pub enum Told {
    /// The controller was started: here is what its API needs.
    Up(Box<Controls>),
    /// The controller was killed.
    Down,
    /// Something was done to the world, or the scenario is over, at a time of the controller's.
    Happened { at: Wall, what: String },
}

/// What the API of a running controller works with.
#[derive(Debug)]
pub struct Controls {
    pub handle: Handle,
    pub store: StoreWorker,
    pub ca: Arc<Ca>,
    pub clock: Arc<dyn Clock>,
    /// Where edges reach it, `host:port`.
    pub address: String,
}

impl Watch {
    /// Makes and starts the world of `scenario`. It begins at `now`, and `seed` is mixed with the
    /// scenario's own, so that no two worlds have the same keys. `data` is an empty directory for scenarios
    /// with `on_disk`.
    ///
    /// # Errors
    /// When the system gives no thread.
    pub fn begin(scenario: Scenario, now: Wall, seed: u64, data: PathBuf) -> std::io::Result<Self> {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_time()
            .start_paused(true)
            .build()?;
        let (tell, told) = mpsc::channel(TOLD);
        let stop = CancellationToken::new();
        let stopped = stop.clone();
        let thread = thread::Builder::new().name("world".to_owned()).spawn(move || {
            runtime.block_on(async {
                tokio::spawn(pace());
                let mut play = Play { stage: None, tell };
                let spec = |own: WorldSpec| WorldSpec {
                    seed: own.seed ^ seed,
                    start: now,
                    ..own
                };
                tokio::select! {
                    biased;
                    () = stopped.cancelled() => {}
                    Err(error) = play.all(&scenario, spec, &data) => {
                        let _ = play.tell.send(Err(error)).await;
                    }
                }
                if let Some(stage) = play.stage {
                    stage.world.end().await;
                }
            });
        })?;
        Ok(Self {
            told,
            stop: stop.drop_guard(),
            thread,
        })
    }

    /// What is told next; `None` once the world has ended, which it does by itself only after an error.
    pub async fn next(&mut self) -> Option<Result<Told, ScenarioError>> {
        self.told.recv().await
    }

    /// Kills everything, and waits until nothing writes any more.
    pub async fn end(self) {
        let Self {
            mut told,
            stop,
            thread,
        } = self;
        drop(stop);
        while told.recv().await.is_some() {}
        // Its channel is closed: there is at most the runtime left to end.
        let _ = thread.join();
    }
}

struct Play {
    stage: Option<Stage>,
    tell: mpsc::Sender<Result<Told, ScenarioError>>,
}

impl Play {
    /// Goes on until something fails. Nobody may hear what it tells.
    async fn all(
        &mut self,
        scenario: &Scenario,
        spec: impl FnOnce(WorldSpec) -> WorldSpec,
        data: &Path,
    ) -> Result<std::convert::Infallible, ScenarioError> {
        let origin = now();
        let stage = Stage::set(scenario, spec(stage::spec(scenario, data))).await?;
        let stage = self.stage.insert(stage);
        stage.start(scenario).await?;
        let tell = |told| async { drop(self.tell.send(Ok(told)).await) };
        tell(Told::Up(controls(&stage.world)?)).await;
        let mut renewal = origin + RENEW_EVERY;
        let mut acts = Rounds::new(scenario).peekable();
        let mut over = Some(scenario.duration.0);
        loop {
            let due = acts.peek().map(|act| act.due).or(over).map(|due| origin + due);
            if due.is_none_or(|due| renewal <= due) {
                tokio::time::sleep_until(renewal).await;
                stage.world.renew_certificates()?;
                renewal += RENEW_EVERY;
                continue;
            }
            if let Some(due) = due {
                tokio::time::sleep_until(due).await;
            }
            let did_run = stage.world.is_running(CONTROLLER);
            let what = match acts.next() {
                Some(act) => {
                    stage.act(act.at, &act.action).await?;
                    tell::what(&act.action, act.lasts)
                }
                None => {
                    over = None;
                    "the scenario is over; its world goes on".to_owned()
                }
            };
            let at = stage.world.clock(CONTROLLER)?.wall();
            tell(Told::Happened { at, what }).await;
            match (did_run, stage.world.is_running(CONTROLLER)) {
                (false, true) => tell(Told::Up(controls(&stage.world)?)).await,
                (true, false) => tell(Told::Down).await,
                _ => {}
            }
        }
    }
}

fn controls(world: &World) -> Result<Box<Controls>, ScenarioError> {
    Ok(Box::new(Controls {
        handle: world.controller()?,
        store: world.store().ok_or_else(|| stopped(CONTROLLER))?,
        ca: world.ca(),
        clock: Arc::new(world.clock(CONTROLLER)?.clone()),
        address: world.controller_address()?,
    }))
}

fn stopped(name: &str) -> ScenarioError {
    crate::sim::WorldError::Stopped(name.to_owned()).into()
}

/// Holds the time of this thread's runtime back to the real one's pace. Where it is behind, it goes on as
/// fast as its events can be dealt with.
async fn pace() {
    loop {
        let ahead = now().into_std().saturating_duration_since(real_now());
        // The whole thread waits, on purpose: while it does, time in its runtime stands still.
        thread::sleep(ahead);
        tokio::time::sleep(STEP).await;
    }
}

#[expect(clippy::disallowed_methods, reason = "the simulation's time is tokio's clock")]
fn now() -> Instant {
    Instant::now()
}

#[expect(
    clippy::disallowed_methods,
    reason = "the pace of a simulation that is watched"
)]
fn real_now() -> std::time::Instant {
    std::time::Instant::now()
}
