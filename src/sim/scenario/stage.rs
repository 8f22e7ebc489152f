//! A scenario's world, and what may be done to it.

use std::{collections::BTreeMap, path::Path, time::Duration};

use super::{
    ScenarioError, tell,
    text::{self, Between, Clock, Do, Link, Scenario, Span},
};
use crate::{
    controller::NewClass,
    sim::{AgentSpec, ClockSpec, EdgeSpec, LinkShape, Loss, Says, Talk, World, WorldSpec},
};

/// Certificates due for it are renewed this often.
pub(super) const RENEW_EVERY: Duration = Duration::from_secs(6 * 3_600);

/// A world with its links shaped.
#[derive(Debug)]
pub(super) struct Stage {
    pub world: World,
    /// To heal links by.
    shapes: Shapes,
    /// Who talks, and since when.
    pub talks: Talks,
}

pub(super) type Talks = BTreeMap<String, (Duration, Talk)>;

impl Stage {
    /// Makes the world of `spec`, which is [`spec`]'s or a variation of it; nothing runs yet.
    pub async fn set(scenario: &Scenario, spec: WorldSpec) -> Result<Self, ScenarioError> {
        let world = World::new(spec).await?;
        let shapes = shape_links(&world, scenario)?;
        Ok(Self {
            world,
            shapes,
            talks: Talks::new(),
        })
    }

    pub async fn start(&mut self, scenario: &Scenario) -> Result<(), ScenarioError> {
        self.world.start_all().await?;
        if let Some(every) = scenario.probing {
            slow(&self.world, every.0).await?;
        }
        Ok(())
    }

    /// Does what `action` says, at `at`.
    pub async fn act(&mut self, at: Duration, action: &Do) -> Result<(), ScenarioError> {
        let failed = |source: Box<dyn std::error::Error + Send + Sync>| ScenarioError::Failed {
            at: humantime::format_duration(at),
            what: tell::what(action, None),
            source,
        };
        let acted = match &action.talk {
            Some(talk) => self.talk(at, talk).await,
            None => act(&mut self.world, action, &self.shapes).await,
        };
        acted.map_err(|e| match e {
            ScenarioError::World(source) => failed(source),
            ScenarioError::Controller(source) => failed(source.into()),
            ScenarioError::Talk(source) => failed(source.into()),
            other => other,
        })
    }

    async fn talk(&mut self, at: Duration, talk: &text::Talk) -> Result<(), ScenarioError> {
        let number = u16::try_from(self.talks.len()).unwrap_or(u16::MAX);
        let [from, to] = &talk.between;
        let says = Says {
            class: &talk.class,
            to_target: talk.to_target,
            every: talk.every.0,
            size: talk.size,
        };
        let begun = Talk::start(&self.world, number, (from, to), says).await?;
        self.talks.insert(talk.name.clone(), (at, begun));
        Ok(())
    }
}

/// The world that a scenario describes, with stores and spools under `data` if they are to be on disk.
pub(super) fn spec(scenario: &Scenario, data: &Path) -> WorldSpec {
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
        let link = link.get_ref();
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
        let span = |to: &mut Duration, said: Option<Span>| {
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
        let participants = class.who.iter().map(|(s, r)| (s.clone(), *r)).collect();
        let new = NewClass {
            target: class.target.clone(),
            budget: class.budget.map(|b| b.0),
            budget_on: class.budget_on,
            protect: class.protect,
            ..NewClass::new(&class.id, participants)
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
