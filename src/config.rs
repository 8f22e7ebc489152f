//! Configuration: file < environment (`CORRIDOR_SECTION_KEY`) < command line, checked as a whole, with
//! every error reported at once under its path.

mod defaults;
mod layers;

use std::{
    fmt,
    net::SocketAddr,
    num::NonZeroU16,
    path::{Path, PathBuf},
};

use corridor_probes::target::Method;
pub use defaults::*;
use layers::section;

use crate::targets::{self, Net};
pub use crate::{agent::Forward, metered::Metered};

/// Everything that can be configured. What is `None` was not said; its default depends on where the
/// service runs (see [`defaults`]).
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Config {
    pub agent: Agent,
    pub edge: Edge,
    pub controller: Controller,
    pub targets: Targets,
    pub log: Log,
}

section! {
    /// `[agent]`
    pub struct Agent {
        /// Where the identity and the spool are kept.
        data: PathBuf,
        /// Local UDP address that probes and media leave from.
        bind: SocketAddr,
        /// Byte budget each way while not in a class, kbit/s of IP bytes.
        idle_kbps: u32,
        /// The same, while in a class.
        in_class_kbps: u32,
        /// Whether the line is paid by the byte, so that budgets are lower: auto, yes or no.
        metered: Metered,
        /// Pads link probes and their echoes to this many bytes of datagram payload.
        link_probe_size: u16,
        /// The same for route probes.
        route_probe_size: u16,
        /// Bytes of unacknowledged reports kept on disk.
        spool_bytes: u64,
        /// What kind of link this machine has, if it cannot find out: ethernet, wifi, cellular.
        link_type: String,
        /// Whether the way to edges is traced, hop by hop: on or off.
        trace: Switch,
        /// Reports whole addresses of hops, not just their networks.
        full_addresses: bool,
        /// Reports names of wireless networks and access points.
        wifi_names: bool,
        /// Local UDP ports whose packets are carried, each with `listen`, `to` (HOST:PORT or
        /// agent:SUBJECT:PORT) and, if several classes lead there, `class`.
        forward: Vec<Forward>,
        /// Address at which SOCKS5 (UDP ASSOCIATE) is served to programs of this machine.
        socks: SocketAddr,
        /// UDP ports of this machine that other agents of a class may reach.
        accept: Vec<u16>,
    }
}

section! {
    /// `[edge]`
    pub struct Edge {
        data: PathBuf,
        /// UDP addresses that agents and other edges reach this edge at.
        listen: Vec<SocketAddr>,
        /// `host:port` to tell others, where it differs from `listen` (behind 1:1 NAT).
        advertise: Vec<String>,
        region: String,
        /// Answers probes of anyone, without a certificate.
        open_probing: bool,
        /// Pads mesh probes and their echoes.
        mesh_probe_size: u16,
        /// Datagrams a second, there and back, between this edge and another that one connection has before there is
        /// another: 20000 unless set.
        trunk_above: u32,
        /// How long a draining edge waits for its agents to leave.
        drain_s: u32,
        /// UDP address at which STAMP is answered, to anyone; without it, it is not.
        stamp: SocketAddr,
        /// File with the key without which STAMP is not answered.
        stamp_key: PathBuf,
    }
}

section! {
    /// `[controller]`
    pub struct Controller {
        data: PathBuf,
        /// Enrolment, API and pages.
        https: SocketAddr,
        /// API and pages without TLS: loopback only.
        http: SocketAddr,
        /// Where edges connect, UDP.
        quic: SocketAddr,
        /// Name or address under which other machines reach this one.
        public: String,
        /// How long raw reports are kept.
        keep_reports_h: u32,
        /// How long classes, their events and their plans are kept.
        keep_classes_d: u32,
        /// Edges that an agent measures at once.
        candidates: u32,
        /// After how long without a word a participant counts as lost.
        lost_after_s: u32,
        agent_idle_kbps: u32,
        agent_in_class_kbps: u32,
        /// What all agents behind one public address may use together, each way, kbit/s of IP bytes.
        site_budget_kbps: u32,
        /// What edges carry of one agent's media, each way, kbit/s of IP payload.
        media_kbps: u32,
    }
}

section! {
    /// `[targets]`: how this machine measures the targets of classes.
    pub struct Targets {
        /// Ranges of addresses that are measured though they are loopback, private, this machine's own and so on.
        allow: Vec<Net>,
        /// Those that may be used, of stamp, stun, icmp and tcp; all unless said.
        methods: Vec<Method>,
        /// Port that TCP connections are opened to where nothing else answers; none without it.
        tcp_port: NonZeroU16,
    }
}

section! {
    /// `[log]`
    pub struct Log {
        /// A filter as in `RUST_LOG`, which overrides it.
        filter: String,
        /// One JSON object a line.
        json: bool,
    }
}

/// On or off.
#[derive(Debug, Clone, Copy, PartialEq, Eq, serde::Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Switch {
    On,
    Off,
}

/// Everything that is wrong with a configuration.
#[derive(Debug, PartialEq, Eq)]
pub struct ConfigError {
    /// Where it came from: a file's path, or `environment`.
    origin: String,
    problems: Vec<String>,
}

impl fmt::Display for ConfigError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.origin, self.problems.join("; "))
    }
}

impl std::error::Error for ConfigError {}

impl ConfigError {
    pub fn problems(&self) -> &[String] {
        &self.problems
    }
}

impl Config {
    /// Reads `file` if there is one, lays `environment` over it, and checks the whole.
    pub fn load(
        file: Option<&Path>,
        environment: impl IntoIterator<Item = (String, String)>,
    ) -> Result<Self, ConfigError> {
        let origin = file.map_or_else(|| "environment".to_owned(), |path| path.display().to_string());
        let fail = |problems| ConfigError {
            origin: origin.clone(),
            problems,
        };
        let text = file.map(std::fs::read_to_string).transpose();
        let text = text.map_err(|e| fail(vec![format!("cannot be read: {e}")]))?;
        Self::parse(&text.unwrap_or_default(), environment).map_err(fail)
    }

    /// Reads a file's `text`, lays `environment` over it, and checks the whole; or answers all that is
    /// wrong, each under its path.
    pub fn parse(
        text: &str,
        environment: impl IntoIterator<Item = (String, String)>,
    ) -> Result<Self, Vec<String>> {
        let parsed = text.parse::<toml::Table>();
        let mut table = parsed.map_err(|e| vec![parse_problem(text, &e)])?;
        layers::overlay(&mut table, environment);
        Self::from_table(&table)
    }

    fn from_table(table: &toml::Table) -> Result<Self, Vec<String>> {
        let mut problems = Vec::new();
        let mut config = Self::default();
        for (name, value) in table {
            let toml::Value::Table(section) = value else {
                problems.push(format!("{name}: expected a section, as in [{name}]"));
                continue;
            };
            match name.as_str() {
                "agent" => config.agent = Agent::from_table(name, section, &mut problems),
                "edge" => config.edge = Edge::from_table(name, section, &mut problems),
                "controller" => config.controller = Controller::from_table(name, section, &mut problems),
                "targets" => config.targets = Targets::from_table(name, section, &mut problems),
                "log" => config.log = Log::from_table(name, section, &mut problems),
                _ => problems.push(format!(
                    "{name}: unknown section (there are agent, edge, controller, targets, log)"
                )),
            }
        }
        config.check(&mut problems);
        if problems.is_empty() {
            Ok(config)
        } else {
            Err(problems)
        }
    }

    fn check(&self, problems: &mut Vec<String>) {
        let mut size = |path: &str, size: Option<u16>| {
            if size.is_some_and(|s| !PROBE_SIZES.contains(&s)) {
                problems.push(format!(
                    "{path}: a probe has {} to {} bytes",
                    PROBE_SIZES.start(),
                    PROBE_SIZES.end()
                ));
            }
        };
        size("agent.link_probe_size", self.agent.link_probe_size);
        size("agent.route_probe_size", self.agent.route_probe_size);
        size("edge.mesh_probe_size", self.edge.mesh_probe_size);
        if self.controller.http.is_some_and(|a| !a.ip().is_loopback()) {
            problems
                .push("controller.http: plain HTTP is for loopback only; use controller.https".to_owned());
        }
        if self
            .controller
            .candidates
            .is_some_and(|n| !(1..=MAX_CANDIDATES).contains(&n))
        {
            problems.push(format!("controller.candidates: 1 to {MAX_CANDIDATES}"));
        }
        for (path, kbps) in [
            ("agent.idle_kbps", self.agent.idle_kbps),
            ("agent.in_class_kbps", self.agent.in_class_kbps),
            ("controller.agent_idle_kbps", self.controller.agent_idle_kbps),
            (
                "controller.agent_in_class_kbps",
                self.controller.agent_in_class_kbps,
            ),
            ("controller.site_budget_kbps", self.controller.site_budget_kbps),
        ] {
            if kbps.is_some_and(|k| k < MIN_BUDGET_KBPS) {
                problems.push(format!(
                    "{path}: at least {MIN_BUDGET_KBPS}, or nothing can be measured"
                ));
            }
        }
        if self.controller.media_kbps.is_some_and(|k| k < MIN_MEDIA_KBPS) {
            problems.push(format!(
                "controller.media_kbps: at least {MIN_MEDIA_KBPS}, or nothing can be heard"
            ));
        }
    }
}

impl Targets {
    /// With the defaults for what was not said.
    pub fn settings(&self) -> targets::Settings {
        let default = targets::Settings::default();
        targets::Settings {
            allow: self.allow.clone().unwrap_or(default.allow),
            methods: self.methods.clone().unwrap_or(default.methods),
            tcp_port: self.tcp_port.or(default.tcp_port),
        }
    }
}

/// One line for a syntax error: where, and what.
fn parse_problem(text: &str, error: &toml::de::Error) -> String {
    let line = error
        .span()
        .map(|span| text[..span.start.min(text.len())].matches('\n').count() + 1);
    let message = error.message().replace('\n', " ");
    match line {
        Some(line) => format!("line {line}: {message}"),
        None => message,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn load(text: &str, environment: &[(&str, &str)]) -> Result<Config, Vec<String>> {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("corridor.toml");
        std::fs::write(&path, text).unwrap();
        let environment = environment
            .iter()
            .map(|(k, v)| ((*k).to_owned(), (*v).to_owned()));
        Config::load(Some(&path), environment).map_err(|e| e.problems)
    }

    #[test]
    fn nothing_said_is_nothing_set() {
        assert_eq!(load("", &[]), Ok(Config::default()));
    }

    #[test]
    fn environment_goes_over_the_file() {
        let config = load(
            "[agent]\ntrace = \"on\"\n[edge]\nregion = \"eu\"\nlisten = [\"0.0.0.0:4433\"]\n",
            &[
                ("CORRIDOR_AGENT_TRACE", "off"),
                ("CORRIDOR_EDGE_REGION", "asia"),
                ("CORRIDOR_EDGE_OPEN_PROBING", "true"),
                ("PATH", "/bin"),
            ],
        )
        .unwrap();
        assert_eq!(config.agent.trace, Some(Switch::Off));
        assert_eq!(config.edge.region.as_deref(), Some("asia"));
        assert_eq!(config.edge.open_probing, Some(true));
        assert_eq!(config.edge.listen, Some(vec!["0.0.0.0:4433".parse().unwrap()]));
    }

    #[test]
    fn a_list_in_the_environment_is_separated_by_commas() {
        let config = load(
            "",
            &[("CORRIDOR_EDGE_ADVERTISE", "a.example:4433, b.example:443")],
        )
        .unwrap();
        assert_eq!(
            config.edge.advertise,
            Some(vec!["a.example:4433".into(), "b.example:443".into()])
        );
    }

    #[test]
    fn every_error_is_reported_at_once_under_its_path() {
        let problems = load(
            "[agent]\nlink_probe_size = 5\ncolour = 1\ntrace = \"maybe\"\n[controller]\nhttps = \"nowhere\"\nhttp = \"192.0.2.1:80\"\n[egde]\n",
            &[
                ("CORRIDOR_EDGE_DRAIN_S", "soon"),
                ("CORRIDOR_EDGE_STAMP", "862"),
                ("CORRIDOR_TARGETS_ALLOW", "10.0.0.0/33"),
                ("CORRIDOR_TARGETS_METHODS", "stun,media"),
            ],
        )
        .unwrap_err();
        for path in [
            "agent.link_probe_size",
            "agent.colour",
            "agent.trace",
            "controller.https",
            "controller.http",
            "egde",
            "edge.drain_s",
            "edge.stamp",
            "targets.allow",
            "targets.methods",
        ] {
            assert!(
                problems.iter().any(|p| p.starts_with(&format!("{path}:"))),
                "{path} in {problems:?}"
            );
        }
        assert_eq!(problems.len(), 10, "{problems:?}");
    }

    #[test]
    fn a_syntax_error_names_its_line() {
        let problems = load("[agent]\nidle_kbps = = 3\n", &[]).unwrap_err();
        assert!(problems[0].starts_with("line 2: "), "{problems:?}");
    }

    #[test]
    fn a_file_that_cannot_be_read_is_named() {
        let error = Config::load(Some(Path::new("/nonexistent/corridor.toml")), []).unwrap_err();
        assert!(
            error
                .to_string()
                .starts_with("/nonexistent/corridor.toml: cannot be read"),
            "{error}"
        );
    }
}
