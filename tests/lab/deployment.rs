//! A controller, edges and agents as real processes in a world, each in the node of its name, joined the
//! way an operator joins them: with tokens from the command line.

use std::{
    collections::BTreeMap,
    ffi::OsStr,
    path::PathBuf,
    thread,
    time::{Duration, Instant, SystemTime},
};

use corridor::{
    agent::AgentReport,
    api::model::{AgentState, ClassStatus, EdgeState, Status, Timeline},
};
use serde_json::Value;
use time::{OffsetDateTime, format_description::well_known::Rfc3339};

use crate::{
    proc::Proc,
    world::{World, corridor},
};

/// The node that the controller runs in.
pub const CONTROLLER: &str = "ctl";
/// Payloads of the three kinds of probes, as they are set below.
pub const LINK_SIZE: u16 = 400;
pub const ROUTE_SIZE: u16 = 700;
pub const MESH_SIZE: u16 = 300;
/// Nothing here takes longer, unless something is wrong.
pub const LIMIT: Duration = Duration::from_secs(60);
/// How often a state is asked for.
const LOOK: Duration = Duration::from_millis(100);

/// Budgets are set wide: padded probes must not lower the rates.
const ENV: &[(&str, &str)] = &[
    ("RUST_LOG", "info,corridor::window=debug"),
    ("CORRIDOR_LOG_JSON", "true"),
    ("CORRIDOR_AGENT_LINK_PROBE_SIZE", "400"),
    ("CORRIDOR_AGENT_ROUTE_PROBE_SIZE", "700"),
    ("CORRIDOR_EDGE_MESH_PROBE_SIZE", "300"),
    ("CORRIDOR_CONTROLLER_AGENT_IN_CLASS_KBPS", "2000"),
    ("CORRIDOR_CONTROLLER_AGENT_IDLE_KBPS", "500"),
    ("CORRIDOR_CONTROLLER_MEDIA_KBPS", "40000"),
    // All addresses here are private.
    ("CORRIDOR_TARGETS_ALLOW", "10.0.0.0/8"),
];

/// See the module's documentation. Every process ends with it.
pub struct Deployment<'w> {
    world: &'w World,
    /// All runs of each process, by node; the last is the present one.
    runs: BTreeMap<String, Vec<Proc>>,
    edges: Vec<String>,
    env: Vec<(&'static str, &'static str)>,
}

/// A line that a service logged.
#[derive(Debug, Clone)]
pub struct Line {
    /// Microseconds since 1970.
    pub at_us: i64,
    pub target: String,
    pub fields: Value,
}

impl Line {
    pub fn message(&self) -> &str {
        self.text("message")
    }

    pub fn text(&self, field: &str) -> &str {
        self.fields[field].as_str().unwrap_or_default()
    }

    pub fn number(&self, field: &str) -> u64 {
        self.fields[field]
            .as_u64()
            .unwrap_or_else(|| panic!("{field} in {self:?}"))
    }
}

impl<'w> Deployment<'w> {
    /// Starts everything and waits until the controller says that all of it is up and every pair of edges
    /// is measured. Edges get their ids in this order, from 1.
    pub fn start(world: &'w World, edges: &[&str], agents: &[&str]) -> Self {
        Self::start_with(world, edges, agents, &[])
    }

    /// The same, with more in the environment of all.
    pub fn start_with(
        world: &'w World,
        edges: &[&str],
        agents: &[&str],
        env: &[(&'static str, &'static str)],
    ) -> Self {
        let mut deployment = Self {
            world,
            runs: BTreeMap::new(),
            edges: edges.iter().map(ToString::to_string).collect(),
            env: [ENV, env].concat(),
        };
        deployment.start_controller();
        for &edge in edges {
            deployment.join_edge(edge);
            deployment.run_edge(edge);
        }
        for &agent in agents {
            deployment.join("agent", agent, "--subject");
            deployment.run_agent(agent);
        }
        deployment.wait_until_up(edges, agents);
        deployment.wait_until_measured(edges, agents);
        deployment
    }

    /// Those it began with.
    pub fn edges(&self) -> &[String] {
        &self.edges
    }

    /// Waits until there is a round trip of every agent to every edge and of every pair of edges.
    fn wait_until_measured(&self, edges: &[&str], agents: &[&str]) {
        let pairs = edges.len() * (edges.len() - 1) / 2;
        let links = 2 * (pairs + edges.len() * agents.len());
        self.wait("all measured", LIMIT, |status| {
            let measured = status.links.iter().filter(|l| l.rtt_ms.is_some()).count();
            (measured == links).then_some(())
        });
    }

    pub fn wait_until_up(&self, edges: &[&str], agents: &[&str]) {
        self.wait("all up", LIMIT, |status| {
            let edge_up = |name: &&str| {
                status
                    .edges
                    .iter()
                    .any(|e| e.name == **name && e.state == EdgeState::Up)
            };
            let agent_up = |name: &&str| {
                status
                    .agents
                    .iter()
                    .any(|a| a.subject == **name && a.state == AgentState::Up)
            };
            (edges.iter().all(edge_up) && agents.iter().all(agent_up)).then_some(())
        });
    }

    /// Starts the controller, for the first time or again, and waits until it answers.
    pub fn start_controller(&mut self) {
        let node = self.world.node(CONTROLLER);
        let (data, public) = (self.data(CONTROLLER), node.address().to_string());
        let args = [
            "controller".as_ref(),
            "--data".as_ref(),
            data.as_os_str(),
            "--public".as_ref(),
            OsStr::new(&public),
            "--http".as_ref(),
            "127.0.0.1:8420".as_ref(),
        ];
        let process = node.spawn(corridor(), args, self.env.iter().copied());
        self.runs.entry(CONTROLLER.to_owned()).or_default().push(process);
        let started = now();
        while self
            .try_cli(
                CONTROLLER,
                &["status", "--json", "--data", &self.data_text(CONTROLLER)],
            )
            .is_err()
        {
            let controller = self.process(CONTROLLER);
            assert!(
                controller.ended().is_none() && started.elapsed() < LIMIT,
                "the controller does not answer; it said:\n{}",
                controller.stderr()
            );
            thread::sleep(LOOK);
        }
    }

    /// For an edge that was not there from the beginning.
    pub fn join_edge(&self, name: &str) {
        self.join("edge", name, "--name");
    }

    pub fn run_edge(&mut self, name: &str) {
        self.run("edge", name);
    }

    pub fn run_agent(&mut self, subject: &str) {
        self.run("agent", subject);
    }

    /// The present process of a node.
    pub fn process(&mut self, node: &str) -> &mut Proc {
        self.runs
            .get_mut(node)
            .and_then(|runs| runs.last_mut())
            .unwrap_or_else(|| panic!("nothing runs in {node}"))
    }

    /// SIGTERM, and waits for the end.
    pub fn stop(&mut self, node: &str) {
        let process = self.process(node);
        process.terminate();
        let status = process.wait(LIMIT);
        assert!(status.success(), "{node}: {status}; {}", process.stderr());
    }

    /// What all runs of a node's process have logged so far, in order.
    pub fn log(&self, node: &str) -> Vec<Line> {
        let runs = self.runs.get(node).map_or(&[][..], Vec::as_slice);
        runs.iter().flat_map(|run| lines(&run.stderr())).collect()
    }

    /// The same of one run, counted from 0.
    pub fn log_of_run(&self, node: &str, run: usize) -> Vec<Line> {
        lines(&self.runs[node][run].stderr())
    }

    pub fn status(&self) -> Status {
        let text = self.cli(
            CONTROLLER,
            &["status", "--json", "--data", &self.data_text(CONTROLLER)],
        );
        serde_json::from_str(&text).unwrap_or_else(|error| panic!("{error} in {text}"))
    }

    /// `corridor class show ID --json`
    pub fn class(&self, id: &str) -> Timeline {
        let text = self.cli(
            CONTROLLER,
            &[
                "class",
                "show",
                id,
                "--json",
                "--data",
                &self.data_text(CONTROLLER),
            ],
        );
        serde_json::from_str(&text).unwrap_or_else(|error| panic!("{error} in {text}"))
    }

    /// Begins a class of a teacher and a student.
    pub fn begin_class(&self, id: &str, teacher: &str, student: &str) {
        let data = self.data_text(CONTROLLER);
        self.cli(
            CONTROLLER,
            &[
                "class",
                "create",
                id,
                "--teacher",
                teacher,
                "--student",
                student,
                "--data",
                &data,
            ],
        );
    }

    /// `corridor agent status --json`
    pub fn agent(&self, subject: &str) -> AgentReport {
        let text = self.cli(
            subject,
            &["agent", "status", "--json", "--data", &self.data_text(subject)],
        );
        serde_json::from_str(&text).unwrap_or_else(|error| panic!("{error} in {text}"))
    }

    /// Asks for the status until `found` finds something in it.
    pub fn wait<T>(&self, what: &str, limit: Duration, mut found: impl FnMut(&Status) -> Option<T>) -> T {
        let started = now();
        loop {
            let status = self.status();
            if let Some(found) = found(&status) {
                return found;
            }
            assert!(
                started.elapsed() < limit,
                "{what}: not within {limit:?}; the status is\n{}",
                serde_json::to_string_pretty(&status).expect("JSON")
            );
            thread::sleep(LOOK);
        }
    }

    /// Asks for a class's status until `found` finds something in it.
    pub fn wait_class<T>(
        &self,
        id: &str,
        what: &str,
        limit: Duration,
        mut found: impl FnMut(&ClassStatus) -> Option<T>,
    ) -> T {
        self.wait(what, limit, |status| {
            status.classes.iter().find(|c| c.id == id).and_then(&mut found)
        })
    }

    /// Runs `corridor` in a node; what it printed, or what it complained of.
    pub fn try_cli(&self, node: &str, args: &[&str]) -> Result<String, String> {
        let mut run = self.world.node(node).spawn(corridor(), args, []);
        if run.wait(LIMIT).success() {
            Ok(run.stdout())
        } else {
            Err(run.stderr())
        }
    }

    pub fn cli(&self, node: &str, args: &[&str]) -> String {
        self.try_cli(node, args)
            .unwrap_or_else(|error| panic!("corridor {}: {error}", args.join(" ")))
    }

    /// Where a node's service keeps its data.
    pub fn data(&self, node: &str) -> PathBuf {
        self.world.dir().join(format!("data-{node}"))
    }

    pub fn data_text(&self, node: &str) -> String {
        self.data(node).display().to_string()
    }

    pub fn url(&self) -> String {
        format!("https://{}:8443", self.world.node(CONTROLLER).address())
    }

    fn join(&self, service: &str, node: &str, name: &str) {
        let (controller, own) = (self.data_text(CONTROLLER), self.data_text(node));
        let token = self.cli(
            CONTROLLER,
            &[
                "token",
                "create",
                "--service",
                service,
                "--subject",
                node,
                "--data",
                &controller,
            ],
        );
        self.cli(
            node,
            &[
                service,
                "join",
                &self.url(),
                "--join",
                token.trim(),
                name,
                node,
                "--data",
                &own,
            ],
        );
    }

    /// Starts a service and waits until it runs.
    fn run(&mut self, service: &str, node: &str) {
        let data = self.data(node);
        let args = [
            service.as_ref(),
            "run".as_ref(),
            "--data".as_ref(),
            data.as_os_str(),
        ];
        let env = self.env.iter().copied();
        let process = self.world.node(node).spawn(corridor(), args, env);
        self.runs.entry(node.to_owned()).or_default().push(process);
        let (started, runs) = (now(), format!("{service} runs"));
        loop {
            let process = self.process(node);
            if lines(&process.stderr()).iter().any(|l| l.message() == runs) {
                return;
            }
            assert!(
                process.ended().is_none() && started.elapsed() < LIMIT,
                "{node} does not start; it said:\n{}",
                process.stderr()
            );
            thread::sleep(LOOK);
        }
    }
}

fn lines(log: &str) -> Vec<Line> {
    // The last line of a process that was killed may be half a line.
    log.lines()
        .filter_map(|line| serde_json::from_str::<Value>(line).ok())
        .map(|line| Line {
            at_us: micros(line["timestamp"].as_str().expect("a time")),
            target: line["target"].as_str().unwrap_or_default().to_owned(),
            fields: line["fields"].clone(),
        })
        .collect()
}

/// Microseconds since 1970 of a time in RFC 3339.
pub fn micros(text: &str) -> i64 {
    let at = OffsetDateTime::parse(text, &Rfc3339).unwrap_or_else(|error| panic!("{text}: {error}"));
    i64::try_from(at.unix_timestamp_nanos() / 1_000).expect("this century")
}

/// This machine's time, which all its namespaces share: microseconds since 1970.
pub fn wall_us() -> i64 {
    let since = SystemTime::UNIX_EPOCH.elapsed().expect("after 1970");
    i64::try_from(since.as_micros()).expect("this century")
}

#[expect(clippy::disallowed_methods, reason = "bounds waiting for real processes")]
pub fn now() -> Instant {
    Instant::now()
}
