//! The run: what is started, what is measured when.

use std::{
    fs,
    net::SocketAddr,
    path::{Path, PathBuf},
    process::Stdio,
    time::Duration,
};

use anyhow::{Context as _, bail};
use corridor_bench::{bare, binary, machine, sizes::Sizes, table::print};
use tokio::{
    io::{AsyncBufReadExt as _, AsyncWriteExt as _, BufReader, Lines},
    process::{ChildStdin, ChildStdout, Command},
    signal::unix::{SignalKind, signal},
};

use crate::{
    Measure,
    deployment::{Deployment, Sent},
    netns::{Net, Node},
    process::{Process, Reading},
    sizes,
    table::{self, Phase, Span},
};

/// After a change, before anything is measured: connections, plans and the first reports are past.
const SETTLE: Duration = Duration::from_secs(20);
/// What a measured process may take for an answer.
const ANSWER: Duration = Duration::from_secs(10);
const REFLECTORS: [u16; 3] = [9_001, 9_002, 9_003];

/// Measures, prints the table, writes it if asked to. A signal ends it, and all that it started.
pub async fn run(args: &Measure) -> anyhow::Result<()> {
    let corridor = check(args)?;
    let (mut interrupt, mut terminate) = (signal(SignalKind::interrupt())?, signal(SignalKind::terminate())?);
    let dir = tempfile::tempdir()?;
    let measured = tokio::select! {
        measured = measure(args, &corridor, dir.path()) => measured,
        _ = interrupt.recv() => Err(anyhow::anyhow!("interrupted")),
        _ = terminate.recv() => Err(anyhow::anyhow!("terminated")),
    };
    let phases = measured.with_context(|| format!("logs are in {}", dir.path().display()));
    let phases = match phases {
        Ok(phases) => phases,
        Err(error) => {
            let _ = dir.keep();
            return Err(error);
        }
    };
    let text = table::text(&phases)?;
    print(&text)?;
    if let Some(out) = &args.out {
        fs::write(out, table::page(&text)).with_context(|| out.display().to_string())?;
    }
    Ok(())
}

/// Whether this can work here; answers the binary to measure.
fn check(args: &Measure) -> anyhow::Result<PathBuf> {
    if cfg!(debug_assertions) {
        bail!("figures of a debug build mean nothing: run with --release, or `make bench`");
    }
    let status = fs::read_to_string("/proc/self/status").context("this needs Linux")?;
    let uid = status.lines().find_map(|line| line.strip_prefix("Uid:"));
    if uid.and_then(|uids| uids.split_whitespace().nth(1)) != Some("0") {
        bail!("this needs root: each measured process gets a network namespace of its own");
    }
    for tool in ["ip", "setpriv"] {
        let found = std::process::Command::new(tool)
            .arg("--version")
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .status();
        found.with_context(|| format!("`{tool}` is missing (on Debian: iproute2, util-linux)"))?;
    }
    binary::to_measure(args.corridor.as_ref(), "make bench")
}

/// What is measured, side by side.
struct Measured {
    deployment: Deployment,
    /// Sends the agent's own probes.
    probing: Bare,
    /// Sends them, and answers as many probes of a peer as the agent does.
    all: Bare,
    reflectors: Bare,
}

async fn measure(args: &Measure, corridor: &Path, dir: &Path) -> anyhow::Result<Vec<Phase>> {
    // Dropped last: processes go before their namespaces.
    let (mut net, hub) = Net::new()?;
    let node = net.node(&hub, "agent")?;
    let deployment = Deployment::start(corridor, dir, hub.clone(), node).await?;
    let edges = deployment.begin_class().await?;
    let sizes = |of: fn(usize) -> anyhow::Result<Sizes>| {
        edges.iter().map(|&n| of(n)).collect::<anyhow::Result<Vec<_>>>()
    };
    let (routes, peers) = (sizes(sizes::route)?, sizes(sizes::peer)?);
    let (public, secret) = (dir.join("reflector.crt"), dir.join("reflector.key"));
    bare::certify(&public, &secret)?;
    let reflectors = reflectors(&hub, dir, &public, &secret).await?;
    let mut client = async |name: &str, peers: &[Sizes]| {
        let node = net.node(&hub, name)?;
        client(&node, name, dir, &public, &routes, peers).await
    };
    let mut measured = Measured {
        deployment,
        probing: client("bare-probes", &[]).await?,
        all: client("bare-all", &peers).await?,
        reflectors,
    };
    let in_class = Duration::from_secs(60 * args.minutes);
    let idle = Duration::from_secs(60 * args.idle.unwrap_or(args.minutes.div_ceil(2)));

    measured.tell("class").await?;
    let class = measured.phase("in class", in_class).await?;
    if measured.deployment.routes().await?.as_ref() != Some(&edges) {
        bail!("the teacher's plan has changed while it was measured");
    }
    measured.deployment.end_class().await?;
    measured.tell("idle").await?;
    let idle = measured.phase("idle", idle).await?;
    Ok(vec![class, idle])
}

impl Measured {
    async fn tell(&mut self, tier: &str) -> anyhow::Result<()> {
        self.probing.ask(tier).await?;
        self.all.ask(tier).await?;
        self.reflectors.ask(tier).await?;
        Ok(())
    }

    async fn phase(&mut self, name: &'static str, length: Duration) -> anyhow::Result<Phase> {
        tokio::time::sleep(SETTLE).await;
        // The agent is asked outside of the time that is measured: an answer costs CPU.
        let sent_before = self.deployment.sent().await?;
        let (before, probing, all) = (
            self.deployment.teacher.read()?,
            self.probing.look().await?,
            self.all.look().await?,
        );
        let load_before = machine::load()?;
        tokio::time::sleep(length).await;
        self.deployment.check()?;
        self.reflectors.process.check()?;
        let after = self.deployment.teacher.read()?;
        let probing = self.probing.span(probing).await?;
        let all = self.all.span(all).await?;
        let sent = self.deployment.sent().await?;
        Ok(Phase {
            name,
            agent: Span {
                before,
                after,
                probes: sent.probes - sent_before.probes,
                answers: sent.answers - sent_before.answers,
            },
            probing,
            all,
            load: (load_before, machine::load()?),
        })
    }
}

/// This program once more, as a bare client or as the reflectors.
struct Bare {
    process: Process,
    stdin: ChildStdin,
    answers: Lines<BufReader<ChildStdout>>,
}

impl Bare {
    fn start(name: &str, dir: &Path, mut command: Command) -> anyhow::Result<Self> {
        command.stdin(Stdio::piped()).stdout(Stdio::piped());
        let mut process = Process::start(name, dir, command)?;
        let stdin = process.child.stdin.take().context("no stdin")?;
        let stdout = process.child.stdout.take().context("no stdout")?;
        Ok(Self {
            process,
            stdin,
            answers: BufReader::new(stdout).lines(),
        })
    }

    async fn ask(&mut self, command: &str) -> anyhow::Result<Sent> {
        self.stdin.write_all(format!("{command}\n").as_bytes()).await?;
        self.answer().await
    }

    async fn answer(&mut self) -> anyhow::Result<Sent> {
        let line = tokio::time::timeout(ANSWER, self.answers.next_line())
            .await
            .context("a bare process does not answer")??
            .context("a bare process has ended")?;
        let mut counts = line.split(' ').map(str::parse::<u64>);
        let mut count = || counts.next().context("a bare process's answer is short");
        Ok(Sent {
            probes: count()??,
            answers: count()??,
        })
    }

    async fn look(&mut self) -> anyhow::Result<(Reading, Sent)> {
        Ok((self.process.read()?, self.ask("count").await?))
    }

    async fn span(&mut self, (before, sent_before): (Reading, Sent)) -> anyhow::Result<Span> {
        let (after, sent) = self.look().await?;
        Ok(Span {
            before,
            after,
            probes: sent.probes - sent_before.probes,
            answers: sent.answers - sent_before.answers,
        })
    }
}

/// A bare client in `node`, connected.
async fn client(
    node: &Node,
    name: &str,
    dir: &Path,
    certificate: &Path,
    routes: &[Sizes],
    peers: &[Sizes],
) -> anyhow::Result<Bare> {
    let mut command = node.command(&std::env::current_exe()?);
    command.arg("bare").arg("--certificate").arg(certificate);
    command.args(["--link", &sizes::link()?.to_string()]);
    for port in REFLECTORS {
        command.args(["--to", &SocketAddr::new(node.hub.into(), port).to_string()]);
    }
    for (option, sizes) in [("--route", routes), ("--peer", peers)] {
        for sizes in sizes {
            command.args([option, &sizes.to_string()]);
        }
    }
    let mut bare = Bare::start(name, dir, command)?;
    // It answers once it is connected.
    bare.ask("idle").await?;
    Ok(bare)
}

/// The process that answers the bare clients, listening.
async fn reflectors(hub: &Node, dir: &Path, certificate: &Path, key: &Path) -> anyhow::Result<Bare> {
    let mut command = hub.command(&std::env::current_exe()?);
    command.arg("reflect");
    command
        .arg("--certificate")
        .arg(certificate)
        .arg("--key")
        .arg(key);
    for port in REFLECTORS {
        command.args(["--listen", &format!("0.0.0.0:{port}")]);
    }
    let mut reflectors = Bare::start("reflectors", dir, command)?;
    reflectors.answer().await?;
    Ok(reflectors)
}
