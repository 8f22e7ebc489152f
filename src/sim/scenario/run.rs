//! Running a scenario: builds its world, does its actions at their times, checks what must hold.

use std::{collections::BTreeMap, path::Path, time::Duration};

use tokio::time::Instant;

use super::{
    ScenarioError,
    expect::{self, Look},
    text::{Between, Clock, Do, Expect, Link, Scenario},
};
use crate::{
    controller::NewClass,
    sim::{
        AgentSpec, ClockSpec, EdgeSpec, LinkShape, Loss, World, WorldSpec,
        log::{Entry, Log},
    },
    store::records::{BudgetOn, Protect},
};

/// How a scenario went.
#[derive(Debug)]
pub struct Outcome {
    /// What did not hold, a sentence each.
    pub failures: Vec<String>,
    pub log: Vec<Entry>,
    /// Packets that the network delivered; each went through quinn at both ends.
    pub packets: u64,
    pub handshakes: u64,
    /// Equal for equal runs.
    pub digest: u64,
}

/// Certificates due for it are renewed this often.
const RENEW_EVERY: Duration = Duration::from_secs(6 * 3_600);

/// Runs a scenario. `data` is an empty directory for scenarios with `on_disk`.
///
/// Meant for a current-thread runtime with a paused clock: then it repeats with its seed.
pub async fn run(scenario: &Scenario, data: &Path) -> Result<Outcome, ScenarioError> {
    let (log, _collecting) = Log::collect();
    let origin = now();
    let mut world = World::new(spec(scenario, data)).await?;
    let shapes = shape_links(&world, scenario)?;
    world
        .network()
        .record(if scenario.expectations.iter().any(|e| e.counts.is_some()) {
            usize::MAX
        } else {
            0
        });
    world.start_all().await?;
    if let Some(every) = scenario.probing {
        slow(&world, every.0).await?;
    }
    let mut failures = Vec::new();
    for (at, step) in timeline(scenario) {
        tokio::time::sleep_until(origin + at).await;
        match step {
            Step::Act(action) => {
                log.note(describe(action));
                act(&mut world, action, &shapes).await.map_err(|e| match e {
                    ScenarioError::World(source) => ScenarioError::Failed {
                        at,
                        what: describe(action),
                        source,
                    },
                    other => other,
                })?;
            }
            Step::Check(expectation) => {
                let look = Look {
                    scenario,
                    world: &world,
                    log: &log,
                    at,
                };
                let found = expect::check(&look, expectation).await?;
                failures.extend(found.into_iter().map(|what| format!("at {at:?}: {what}")));
            }
            Step::Renew => world.renew_certificates()?,
        }
    }
    let entries = log.entries();
    for entry in &entries {
        let expected = |part: &String| entry.message.contains(part.as_str());
        if entry.level == tracing::Level::ERROR && !scenario.expect_errors.iter().any(expected) {
            failures.push(format!("an error was logged: {entry}"));
        }
    }
    Ok(Outcome {
        failures,
        log: entries,
        packets: world.network().delivered(),
        handshakes: world.handshakes(),
        digest: world.network().digest(),
    })
}

#[expect(clippy::disallowed_methods, reason = "the simulation's time is tokio's clock")]
fn now() -> Instant {
    Instant::now()
}

enum Step<'a> {
    Renew,
    Act(&'a Do),
    Check(&'a Expect),
}

/// Everything that is to be done, in order; at the same time, actions come before checks, each in the
/// order of the file.
fn timeline(scenario: &Scenario) -> Vec<(Duration, Step<'_>)> {
    let end = scenario.duration.0;
    let mut all = Vec::new();
    for action in &scenario.actions {
        let every = action.every.map_or(Duration::ZERO, |e| e.0);
        for n in 0..action.times.unwrap_or(1) {
            all.push((action.time.0 + every * n, 0, Step::Act(action)));
        }
    }
    for expectation in &scenario.expectations {
        let at = expectation.time.map_or(end, |t| t.0);
        all.push((at, 1, Step::Check(expectation)));
    }
    let mut renewal = RENEW_EVERY;
    while renewal < end {
        all.push((renewal, 0, Step::Renew));
        renewal += RENEW_EVERY;
    }
    all.sort_by_key(|(at, rank, _)| (*at, *rank));
    all.retain(|(at, ..)| *at <= end);
    all.into_iter().map(|(at, _, step)| (at, step)).collect()
}

fn spec(scenario: &Scenario, data: &Path) -> WorldSpec {
    let mut spec = WorldSpec {
        seed: scenario.seed,
        data: scenario.on_disk.then(|| data.to_owned()),
        certificates_age: scenario.certificates_age.0,
        default_link: scenario.default.on(WorldSpec::default().default_link),
        mesh_probe_size: scenario.sizes.mesh,
        ..WorldSpec::default()
    };
    if let Some(kbps) = scenario.in_class_kbps {
        spec.controller.in_class_kbps = kbps;
    }
    if let Some(every) = scenario.probing {
        spec.controller.mesh_idle = every.0;
        spec.controller.mesh_busy = every.0;
    }
    for (name, edge) in &scenario.edges {
        spec.edges.push(EdgeSpec {
            name: name.clone(),
            region: edge.region.clone(),
            clock: edge.clock.spec(),
        });
    }
    for (subject, agent) in &scenario.agents {
        let mut new = AgentSpec::new(subject);
        new.region.clone_from(&agent.region);
        new.clock = agent.clock.spec();
        new.nat = agent.nat;
        new.settings.link_probe_size = scenario.sizes.link;
        new.settings.route_probe_size = scenario.sizes.route;
        if let Some(bytes) = agent.spool_bytes {
            new.spool_limit = bytes;
        }
        spec.agents.push(new);
    }
    spec
}

impl Clock {
    fn spec(self) -> ClockSpec {
        ClockSpec {
            offset_us: self.offset.us,
            drift_ppb: (self.drift_ppm * 1e3) as i64,
        }
    }
}

type Shapes = BTreeMap<(String, String), LinkShape>;

/// Gives all links their shapes; answers these, to heal links by.
fn shape_links(world: &World, scenario: &Scenario) -> Result<Shapes, ScenarioError> {
    let default = scenario.default.on(WorldSpec::default().default_link);
    let names: Vec<_> = world.names().map(str::to_owned).collect();
    let mut shapes = Shapes::new();
    for from in &names {
        for to in names.iter().filter(|to| *to != from) {
            shapes.insert((from.clone(), to.clone()), default);
        }
    }
    for link in &scenario.links {
        let [a, b] = &link.between;
        for (from, to, own) in [(a, b, &link.there), (b, a, &link.back)] {
            let shape = shapes.get_mut(&(from.clone(), to.clone())).ok_or_else(|| {
                ScenarioError::Unknown(if names.contains(from) { to } else { from }.clone())
            })?;
            *shape = own.on(link.both.on(*shape));
        }
    }
    for ((from, to), shape) in &shapes {
        world.set_direction(from, to, *shape)?;
    }
    Ok(shapes)
}

impl Link {
    /// `shape` with what this says.
    fn on(&self, shape: LinkShape) -> LinkShape {
        let mut new = shape;
        let span = |to: &mut Duration, said: Option<super::text::Span>| {
            if let Some(said) = said {
                *to = said.0;
            }
        };
        span(&mut new.delay, self.delay);
        new.delay += self.add_delay.map_or(Duration::ZERO, |d| d.0);
        span(&mut new.jitter, self.jitter);
        span(&mut new.reorder_by, self.reorder_by);
        if let Some(loss) = self.loss {
            new.loss = if loss > 0.0 {
                Loss::Random(loss)
            } else {
                Loss::None
            };
        }
        if let Some(kbps) = self.rate_kbps {
            new.rate = Some(kbps * 1_000);
        }
        new.blackhole = self.blackhole.unwrap_or(new.blackhole);
        new.duplicate = self.duplicate.unwrap_or(new.duplicate);
        new.reorder = self.reorder.unwrap_or(new.reorder);
        new
    }
}

/// How many things an action names.
pub(super) fn things(action: &Do) -> usize {
    let Do {
        time: _,
        every: _,
        times: _,
        kill,
        start,
        link,
        heal,
        cut,
        join,
        stall,
        sleep,
        step_clock,
        address,
        rebind_nat,
        probing,
        create,
        end,
        drain,
    } = action;
    [
        kill.is_some(),
        start.is_some(),
        link.is_some(),
        heal.is_some(),
        cut.is_some(),
        join.is_some(),
        stall.is_some(),
        sleep.is_some(),
        step_clock.is_some(),
        address.is_some(),
        rebind_nat.is_some(),
        probing.is_some(),
        create.is_some(),
        end.is_some(),
        drain.is_some(),
    ]
    .into_iter()
    .filter(|given| *given)
    .count()
}

fn describe(action: &Do) -> String {
    let mut text = String::new();
    let mut say = |what: &str, of: Option<String>| {
        if let Some(of) = of {
            text = format!("{what} {of}");
        }
    };
    say("kill", action.kill.clone());
    say("start", action.start.clone());
    say(
        "change link",
        action.link.as_ref().map(|l| l.between.join(" and ")),
    );
    say("heal link", action.heal.as_ref().map(|l| l.join(" and ")));
    say("cut off", action.cut.clone());
    say("join", action.join.clone());
    say("stall", action.stall.as_ref().map(|s| s.machine.clone()));
    say("sleep", action.sleep.as_ref().map(|s| s.machine.clone()));
    say(
        "step clock of",
        action.step_clock.as_ref().map(|s| s.machine.clone()),
    );
    say(
        "change address of",
        action.address.as_ref().map(|s| s.machine.clone()),
    );
    say("rebind NAT of", action.rebind_nat.clone());
    say("probe once in", action.probing.map(|p| format!("{:?}", p.0)));
    say("create class", action.create.as_ref().map(|c| c.id.clone()));
    say("end class", action.end.clone());
    say("drain", action.drain.clone());
    text
}

async fn act(world: &mut World, action: &Do, shapes: &Shapes) -> Result<(), ScenarioError> {
    if let Some(name) = &action.kill {
        world.kill(name).await?;
    }
    if let Some(name) = &action.start {
        world.start(name).await?;
    }
    if let Some(link) = &action.link {
        change(world, link)?;
    }
    if let Some([a, b]) = &action.heal {
        for (from, to) in [(a, b), (b, a)] {
            let shape = shapes
                .get(&(from.clone(), to.clone()))
                .ok_or_else(|| ScenarioError::Unknown(from.clone()))?;
            world.set_direction(from, to, *shape)?;
        }
    }
    if let Some(name) = &action.cut {
        world.host(name)?.set_online(false);
    }
    if let Some(name) = &action.join {
        world.host(name)?.set_online(true);
    }
    if let Some(stall) = &action.stall {
        let host = world.host(&stall.machine)?;
        for other in world.names().filter(|n| **n != stall.machine) {
            let other = world.host(other)?;
            world.network().stall(host, other, stall.lasts.0);
            world.network().stall(other, host, stall.lasts.0);
        }
    }
    if let Some(sleep) = &action.sleep {
        world.host(&sleep.machine)?.sleep(sleep.lasts.0);
    }
    if let Some(step) = &action.step_clock {
        world.clock(&step.machine)?.step_wall(step.by.us);
    }
    if let Some(address) = &action.address {
        world.move_to(&address.machine, address.to)?;
    }
    if let Some(name) = &action.rebind_nat {
        world.rebind_nat(name)?;
    }
    if let Some(every) = action.probing {
        let normal = WorldSpec::default().controller;
        let settings = world.controller_settings();
        let is_slow = !every.0.is_zero();
        settings.mesh_idle = if is_slow { every.0 } else { normal.mesh_idle };
        settings.mesh_busy = if is_slow { every.0 } else { normal.mesh_busy };
        slow(world, every.0).await?;
    }
    if let Some(class) = &action.create {
        let new = NewClass {
            id: class.id.clone(),
            participants: class.who.iter().map(|(s, r)| (s.clone(), *r)).collect(),
            target: class.target.clone(),
            budget: class.budget.map(|b| b.0),
            budget_on: BudgetOn::RoundTrip,
            protect: Protect::Off,
            start: None,
            end: None,
        };
        world.controller()?.create_class(new).await?;
    }
    if let Some(class) = &action.end {
        world.controller()?.end_class(class, None).await?;
    }
    if let Some(edge) = &action.drain {
        world.controller()?.drain(edge, true).await?;
    }
    Ok(())
}

fn change(world: &World, link: &Between) -> Result<(), ScenarioError> {
    let [a, b] = &link.between;
    for (from, to, own) in [(a, b, &link.there), (b, a, &link.back)] {
        let (from, to) = (world.host(from)?, world.host(to)?);
        world
            .network()
            .update(from, to, |shape| *shape = own.on(link.both.on(*shape)));
    }
    Ok(())
}

/// Tells all agents to probe at most once in `every`.
async fn slow(world: &World, every: Duration) -> Result<(), ScenarioError> {
    for subject in world.agents().filter(|s| world.is_running(s)) {
        world.agent(subject)?.probe_at_most_every(every).await;
    }
    Ok(())
}
