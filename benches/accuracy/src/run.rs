//! What is run when. For each load and link there is a world of its own, in which the floor is measured,
//! then the tools one after the other, so that none disturbs another; at last, between namespaces of their
//! own, the bare client. The packet log, read when all is over, says what became of every packet.

use std::{
    io::{BufRead as _, BufReader, Write as _},
    net::IpAddr,
    path::{Path, PathBuf},
    process::{Child, ChildStdout, Command, Stdio},
    thread,
    time::Duration,
};

use anyhow::{Context as _, bail};
use corridor_bench::{bare, machine, memory::Memory, sizes::Sizes};
use corridor_netem::{
    control::Request,
    log::{self, Packet},
    packet::Proto,
    running::Running,
    stats::Filter,
};

use crate::{
    busy::Spinners,
    child::{self, Beside, Ended},
    floor::{self, End},
    judge::{self, Real},
    links::Link,
    tools::{INTERVAL, QUIC_PORT, SIZE, Said, Tool},
};

/// Between these is the link.
pub const HERE: &str = "here";
pub const FAR: &str = "far";
/// Between these is none.
const NEAR: [&str; 2] = ["near-1", "near-2"];
const BARE: [&str; 2] = ["bare-1", "bare-2"];
/// A new world, or a server, is let be for so long.
const SETTLE: Duration = Duration::from_millis(700);

/// What is measured with what.
#[derive(Debug)]
pub struct Setup {
    pub corridor: PathBuf,
    pub emulator: PathBuf,
    pub ladder: Vec<&'static Link>,
    pub count: u32,
    /// One round of each link.
    pub short: bool,
    /// Of the other tools.
    pub versions: Vec<String>,
    /// Not what is shipped.
    pub debug: bool,
}

impl Setup {
    fn rounds(&self) -> impl Iterator<Item = (&'static Link, u32)> {
        let rounds = self
            .ladder
            .iter()
            .map(|&link| (link, if self.short { 1 } else { link.rounds }));
        rounds.flat_map(|(link, rounds)| (1..=rounds).map(move |round| (link, round)))
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Load {
    Idle,
    Busy,
}

impl Load {
    pub const ALL: [Self; 2] = [Self::Idle, Self::Busy];

    pub fn name(self) -> &'static str {
        match self {
            Self::Idle => "idle",
            Self::Busy => "busy",
        }
    }
}

/// One link under one load.
#[derive(Debug)]
pub struct Run {
    pub link: &'static Link,
    /// Which of the link's rounds, from 1.
    pub round: u32,
    pub load: Load,
    /// What the path costs without a link, there and back.
    pub floor: [Duration; 2],
    pub tools: Vec<Measured>,
    pub bare: Taken,
    /// The machine's, at the begin and at the end: the mean number of runnable processes in a minute.
    pub load_average: [f64; 2],
    /// Packets that the kernel dropped before the emulator saw them: with any, nothing is proven.
    pub dropped: u64,
}

impl Run {
    /// The link, and which round where there are several.
    pub fn name(&self) -> String {
        match self.link.rounds {
            1 => self.link.name.to_owned(),
            _ => format!("{} {}", self.link.name, self.round),
        }
    }

    /// Whether the times of these packets prove nothing.
    pub fn is_void(&self, real: &Real) -> bool {
        real.void || self.dropped > 0
    }
}

/// One tool's part.
#[derive(Debug)]
pub struct Measured {
    pub tool: Tool,
    pub said: Said,
    /// None if its answers cannot be told apart, and why.
    pub real: Result<Real, String>,
    pub taken: Taken,
}

/// What a process took of the machine, from its start to its end.
#[derive(Debug, Clone, Copy)]
pub struct Taken {
    pub probes: u64,
    pub cpu: Duration,
    pub memory: Option<Memory>,
}

impl Taken {
    /// Microseconds a probe.
    pub fn us_each(&self) -> f64 {
        self.cpu.as_secs_f64() * 1e6 / self.probes as f64
    }
}

/// Measures every link of the ladder, idle first. A run that fails is told, with where its files are, and left
/// out.
pub fn all(setup: &Setup) -> anyhow::Result<(Vec<Run>, Vec<String>)> {
    let (mut runs, mut failed) = (Vec::new(), Vec::new());
    for load in Load::ALL {
        for (link, round) in setup.rounds() {
            say(&format!(
                "{} {round} of {}, {}",
                link.name,
                link.rounds,
                load.name()
            ));
            let dir = tempfile::Builder::new().prefix("corridor-accuracy-").tempdir()?;
            let run = one(setup, (link, round), load, dir.path());
            match run {
                Ok(run) => runs.push(run),
                Err(error) => {
                    let kept = dir.keep();
                    let of = format!("{} {round}, {}", link.name, load.name());
                    say(&format!(
                        "{of} failed: {error:#}; its files are in {}",
                        kept.display()
                    ));
                    failed.push(format!("{of}: {error:#}"));
                }
            }
        }
    }
    Ok((runs, failed))
}

fn one(setup: &Setup, (link, round): (&'static Link, u32), load: Load, dir: &Path) -> anyhow::Result<Run> {
    let nodes = [HERE, FAR, NEAR[0], NEAR[1], BARE[0], BARE[1]];
    let nodes: String = nodes.iter().map(|name| format!("[nodes.{name}]\n")).collect();
    let toml = format!("seed = {round}\nkeep_awake = true\n{nodes}");
    let waiting = || say("waiting for another lab on this machine");
    let mut world = World {
        running: Running::start(&setup.emulator, &toml, dir, 1, waiting)?,
        dir,
    };
    world.set(HERE, FAR, link.there)?;
    world.set(FAR, HERE, link.back)?;
    thread::sleep(SETTLE);
    let begin = machine::load()?;
    let spinners = match load {
        Load::Idle => None,
        Load::Busy => Some(Spinners::start()?),
    };
    let [one, other] = [world.end(NEAR[0])?, world.end(NEAR[1])?];
    let took = [floor::one_way(one, other)?, floor::one_way(other, one)?];
    let mut ended = Vec::new();
    for tool in Tool::ALL {
        ended.push((tool, world.measure(setup, tool)?));
    }
    let bare = world.bare(setup.count)?;
    drop(spinners);
    let load_average = [begin, machine::load()?];
    let stats = world.running.client.stats(Filter::default())?;
    let packets = log::parse(&world.running.finish()?)?;
    let floor = [
        floor::median(&took[0], &residence(&packets, NEAR[0], NEAR[1])),
        floor::median(&took[1], &residence(&packets, NEAR[1], NEAR[0])),
    ];
    let [Some(there), Some(back)] = floor else {
        bail!("the path's floor could not be measured");
    };
    let tools = ended.into_iter().map(|(tool, ended)| {
        let said = tool.read(&ended)?;
        let real = judge::real(&packets, tool, [there, back]);
        Ok(Measured {
            tool,
            taken: Taken {
                probes: said.sent,
                cpu: ended.cpu,
                memory: ended.memory,
            },
            said,
            real: real.map_err(|error| error.to_string()),
        })
    });
    Ok(Run {
        link,
        round,
        load,
        floor: [there, back],
        tools: tools.collect::<anyhow::Result<_>>()?,
        bare,
        load_average,
        dropped: stats.kernel_dropped,
    })
}

/// Of the packets that measure the floor, in the order of sending.
fn residence(packets: &[Packet], from: &str, to: &str) -> Vec<Duration> {
    let mut found: Vec<_> = packets
        .iter()
        .filter(|p| p.from == from && p.to == to && p.proto == Proto::Udp && p.len == floor::LENGTH)
        .collect();
    found.sort_by_key(|p| p.seq);
    found.iter().filter_map(|p| p.residence()).collect()
}

struct World<'a> {
    running: Running,
    dir: &'a Path,
}

impl World<'_> {
    fn set(&mut self, from: &str, to: &str, settings: &str) -> anyhow::Result<()> {
        let request = Request::Set {
            at: format!("{from}:{to}").parse()?,
            settings: settings.parse()?,
            replace: true,
        };
        self.running.client.request(&request)?;
        Ok(())
    }

    fn end(&self, node: &str) -> anyhow::Result<End<'_>> {
        let found = self.running.status.nodes.get(node);
        let status = found.with_context(|| format!("no node {node}"))?;
        let address = status.addresses.first().context("a node without an address")?;
        Ok(End {
            namespace: &status.namespace,
            address: *address,
        })
    }

    fn address(&self, node: &str) -> anyhow::Result<IpAddr> {
        Ok(self.end(node)?.address)
    }

    fn command(&self, node: &str, program: &Path, args: &[String]) -> anyhow::Result<Command> {
        let command = self.running.command(node, program);
        let mut command = command.with_context(|| format!("no node {node}"))?;
        command.args(args).env_remove("RUST_LOG");
        Ok(command)
    }

    fn measure(&self, setup: &Setup, tool: Tool) -> anyhow::Result<Ended> {
        let program = match tool {
            Tool::Corridor => setup.corridor.as_path(),
            Tool::Irtt | Tool::Fping => Path::new(tool.name()),
        };
        let far = self.address(FAR)?.to_string();
        let _server = match tool.server(&far) {
            None => None,
            Some(args) => {
                let command = self.command(FAR, program, &args)?;
                let name = format!("{}-server", tool.name());
                Some(child::beside(&name, self.dir, command)?)
            }
        };
        thread::sleep(SETTLE);
        let command = self.command(HERE, program, &tool.arguments(&far, setup.count))?;
        child::run(tool.name(), self.dir, command)
    }

    /// A bare client that sends as many datagrams as the tools, as often and as long as Corridor's.
    fn bare(&self, count: u32) -> anyhow::Result<Taken> {
        let (certificate, key) = (self.dir.join("bare.crt"), self.dir.join("bare.key"));
        bare::certify(&certificate, &key)?;
        let (certificate, key) = (certificate.display().to_string(), key.display().to_string());
        let at = format!("{}:{QUIC_PORT}", self.address(BARE[1])?);
        let words = |line: String| -> Vec<String> { line.split(' ').map(str::to_owned).collect() };
        let reflect = words(format!(
            "reflect --certificate {certificate} --key {key} --listen {at}"
        ));
        let mut reflector = Bare::start(self.command(BARE[1], &std::env::current_exe()?, &reflect)?)?;
        reflector.answer()?;
        let size = Sizes {
            out: SIZE.into(),
            back: SIZE.into(),
        };
        let probe = words(format!(
            "bare --certificate {certificate} --to {at} --route {size} --grid-ms {}",
            INTERVAL.as_millis()
        ));
        let mut client = Bare::start(self.command(BARE[0], &std::env::current_exe()?, &probe)?)?;
        // It answers once it is connected.
        client.ask("class")?;
        thread::sleep(INTERVAL * count);
        let probes = client.ask("count")?;
        let mut child = client.process.release().context("no client")?;
        let memory = Memory::of(child.id()).ok();
        drop(child.stdin.take());
        let ended = child::watch("bare", self.dir, child)?;
        Ok(Taken {
            probes,
            cpu: ended.cpu,
            memory,
        })
    }
}

/// This program once more, as the bare client or its reflector.
struct Bare {
    process: Beside,
    answers: BufReader<ChildStdout>,
}

impl Bare {
    fn start(mut command: Command) -> anyhow::Result<Self> {
        command.stdin(Stdio::piped()).stdout(Stdio::piped());
        let mut child: Child = command.spawn()?;
        let stdout = child.stdout.take().context("no stdout")?;
        Ok(Self {
            process: Beside::new(child),
            answers: BufReader::new(stdout),
        })
    }

    fn ask(&mut self, command: &str) -> anyhow::Result<u64> {
        let child = self.process.child().context("no process")?;
        let stdin = child.stdin.as_mut().context("no stdin")?;
        writeln!(stdin, "{command}")?;
        self.answer()
    }

    /// How many probes it has sent.
    fn answer(&mut self) -> anyhow::Result<u64> {
        let mut line = String::new();
        self.answers.read_line(&mut line)?;
        let count = line.split_whitespace().next();
        Ok(count.context("a bare process has ended")?.parse()?)
    }
}

/// A word on how far it is.
fn say(line: &str) {
    let _ = writeln!(std::io::stderr(), "accuracy: {line}");
}
