//! The services around the measured agent, joined the way an operator joins them: with tokens from the
//! command line.

use std::{
    collections::BTreeSet,
    path::{Path, PathBuf},
    time::Duration,
};

use anyhow::{Context as _, bail};
use serde_json::Value;

use crate::{netns::Node, process::Process};

const EDGES: [(&str, u16); 3] = [("edge-1", 4433), ("edge-2", 4434), ("edge-3", 4435)];
pub const TEACHER: &str = "teacher";
const STUDENT: &str = "student";
const CLASS: &str = "math-1";
/// Nothing here takes longer, unless something is wrong.
const LIMIT: Duration = Duration::from_secs(60);
/// How often a state is asked for.
const LOOK: Duration = Duration::from_millis(500);

/// All that runs; it ends with this.
#[derive(Debug)]
pub struct Deployment {
    corridor: PathBuf,
    dir: PathBuf,
    hub: Node,
    teacher_node: Node,
    pub teacher: Process,
    others: Vec<Process>,
}

/// What the teacher's agent says it has sent.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Sent {
    pub probes: u64,
    pub answers: u64,
}

/// Commands of the binary, some in the hub, some in the teacher's namespace.
struct Cli<'a> {
    corridor: &'a Path,
    dir: &'a Path,
}

impl Cli<'_> {
    /// Runs a command to its end, which must be good, and answers what it printed.
    async fn run(&self, node: &Node, args: &[&str]) -> anyhow::Result<String> {
        let mut command = node.command(self.corridor);
        let shown = || {
            format!(
                "corridor {}",
                args.first()
                    .into_iter()
                    .chain(args.get(1))
                    .copied()
                    .collect::<Vec<_>>()
                    .join(" ")
            )
        };
        let output = tokio::time::timeout(LIMIT, command.args(args).output())
            .await
            .with_context(|| format!("{}: not within {LIMIT:?}", shown()))??;
        if !output.status.success() {
            let error = String::from_utf8_lossy(&output.stderr);
            bail!("{}: {}", shown(), error.trim());
        }
        Ok(String::from_utf8_lossy(&output.stdout).trim().to_owned())
    }

    async fn json(&self, node: &Node, args: &[&str]) -> anyhow::Result<Value> {
        let text = self.run(node, args).await?;
        serde_json::from_str(&text).with_context(|| text.clone())
    }

    fn data(&self, name: &str) -> String {
        self.dir.join(name).display().to_string()
    }

    /// Enrols a service called `name`, whose node sees the controller at `node.hub`.
    async fn join(&self, hub: &Node, node: &Node, service: &str, name: &str) -> anyhow::Result<()> {
        let controller = self.data("controller");
        let token = self
            .run(
                hub,
                &["token", "create", "--service", service, "--data", &controller],
            )
            .await?;
        let (url, data) = (format!("https://{}:8443", node.hub), self.data(name));
        let named = if service == "agent" { "--subject" } else { "--name" };
        let args = [
            service, "join", &url, "--join", &token, named, name, "--data", &data,
        ];
        self.run(node, &args).await.map(drop)
    }

    fn start(&self, node: &Node, name: &str, args: &[&str]) -> anyhow::Result<Process> {
        let mut command = node.command(self.corridor);
        command.args(args).args(["--data", &self.data(name)]);
        command.stdout(std::process::Stdio::null());
        Process::start(name, self.dir, command)
    }
}

impl Deployment {
    /// Starts everything, the teacher's agent in `teacher`, the rest in `hub`, and waits until all is up
    /// and measured.
    pub async fn start(corridor: &Path, dir: &Path, hub: Node, teacher: Node) -> anyhow::Result<Self> {
        let cli = Cli { corridor, dir };
        let public = teacher.hub.to_string();
        let args = ["controller", "--http", "127.0.0.1:8420", "--public", &public];
        let mut others = vec![cli.start(&hub, "controller", &args)?];
        let asked = ["status", "--json", "--data", &cli.data("controller")];
        until("the controller answers", async || {
            Ok(cli.json(&hub, &asked).await.is_ok().then_some(()))
        })
        .await?;
        for (name, port) in EDGES {
            cli.join(&hub, &hub, "edge", name).await?;
            let listen = format!("0.0.0.0:{port}");
            others.push(cli.start(&hub, name, &["edge", "run", "--listen", &listen])?);
        }
        cli.join(&hub, &hub, "agent", STUDENT).await?;
        others.push(cli.start(&hub, STUDENT, &["agent", "run"])?);
        cli.join(&hub, &teacher, "agent", TEACHER).await?;
        let measured = cli.start(&teacher, TEACHER, &["agent", "run"])?;
        let deployment = Self {
            corridor: corridor.to_owned(),
            dir: dir.to_owned(),
            hub,
            teacher_node: teacher,
            teacher: measured,
            others,
        };
        until("all links are measured", async || {
            let status = deployment.status().await?;
            let links = status["links"].as_array().map_or(0, |links| {
                links.iter().filter(|link| !link["rtt_ms"].is_null()).count()
            });
            // Each direction of each pair of edges and of each agent to each edge.
            Ok((links == 2 * (3 + 2 * EDGES.len())).then_some(()))
        })
        .await?;
        Ok(deployment)
    }

    /// Begins the class and waits until the teacher has three routes that begin at different edges;
    /// answers how many edges each of them has.
    pub async fn begin_class(&self) -> anyhow::Result<Vec<usize>> {
        let data = self.cli().data("controller");
        let args = [
            "class",
            "create",
            CLASS,
            "--teacher",
            TEACHER,
            "--student",
            STUDENT,
            "--data",
            &data,
        ];
        self.cli().run(&self.hub, &args).await?;
        until(
            "the teacher uses one of three routes by different edges",
            async || self.routes().await,
        )
        .await
    }

    /// See [`Self::begin_class`]; `None` if the plan is another.
    pub async fn routes(&self) -> anyhow::Result<Option<Vec<usize>>> {
        let status = self.status().await?;
        let class = find(&status["classes"], "id", CLASS);
        let teacher = find(&class["participants"], "subject", TEACHER);
        let leg = &teacher["legs"][0];
        let standbys = leg["standbys"].as_array().cloned().unwrap_or_default();
        let routes: Vec<Vec<&str>> = std::iter::once(&leg["primary"])
            .chain(&standbys)
            .map(|route| {
                route
                    .as_array()
                    .into_iter()
                    .flatten()
                    .filter_map(Value::as_str)
                    .collect()
            })
            .collect();
        let entries: BTreeSet<_> = routes.iter().filter_map(|route| route.first()).collect();
        let good = routes.len() == 3 && entries.len() == 3 && leg["in_use"].is_array();
        Ok(good.then(|| routes.iter().map(Vec::len).collect()))
    }

    pub async fn end_class(&self) -> anyhow::Result<()> {
        let data = self.cli().data("controller");
        let args = ["class", "end", CLASS, "--data", &data];
        self.cli().run(&self.hub, &args).await.map(drop)
    }

    /// What the teacher's agent has sent since its start, routes of classes that have ended apart.
    pub async fn sent(&self) -> anyhow::Result<Sent> {
        let data = self.cli().data(TEACHER);
        let args = ["agent", "status", "--json", "--data", &data];
        let status = self.cli().json(&self.teacher_node, &args).await?;
        Ok(sent(&status))
    }

    /// Whether all still run.
    pub fn check(&mut self) -> anyhow::Result<()> {
        self.others.iter_mut().try_for_each(Process::check)
    }

    async fn status(&self) -> anyhow::Result<Value> {
        let data = self.cli().data("controller");
        let args = ["status", "--json", "--data", &data];
        self.cli().json(&self.hub, &args).await
    }

    fn cli(&self) -> Cli<'_> {
        Cli {
            corridor: &self.corridor,
            dir: &self.dir,
        }
    }
}

/// The item of a list whose `key` is `name`; null if there is none.
fn find<'a>(list: &'a Value, key: &str, name: &str) -> &'a Value {
    let items = list.as_array().map_or(&[][..], Vec::as_slice);
    items
        .iter()
        .find(|item| item[key] == name)
        .unwrap_or(&Value::Null)
}

/// Counts of the status of an agent.
fn sent(status: &Value) -> Sent {
    let sum = |list: &Value| -> u64 {
        let items = list.as_array().map_or(&[][..], Vec::as_slice);
        items.iter().filter_map(|item| item["sent"].as_u64()).sum()
    };
    let legs = status["legs"].as_array().map_or(&[][..], Vec::as_slice);
    Sent {
        probes: sum(&status["edges"]) + legs.iter().map(|leg| sum(&leg["routes"])).sum::<u64>(),
        answers: status["answered"].as_u64().unwrap_or(0),
    }
}

/// Asks until there is an answer; an error if that takes longer than [`LIMIT`].
async fn until<T>(what: &str, mut look: impl AsyncFnMut() -> anyhow::Result<Option<T>>) -> anyhow::Result<T> {
    tokio::time::timeout(LIMIT, async {
        loop {
            if let Some(found) = look().await? {
                return Ok(found);
            }
            tokio::time::sleep(LOOK).await;
        }
    })
    .await
    .with_context(|| format!("after {LIMIT:?} still not: {what}"))?
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn counts_links_and_routes() {
        let status = serde_json::json!({
            "edges": [{ "sent": 10 }, { "sent": 5 }],
            "legs": [{ "routes": [{ "sent": 100 }, { "sent": 200 }] }],
            "answered": 7,
        });
        let expected = Sent {
            probes: 315,
            answers: 7,
        };
        assert_eq!(sent(&status), expected);
    }
}
