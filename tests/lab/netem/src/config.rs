//! The world, as a TOML file has it, and checked.

use std::{
    collections::BTreeMap,
    fmt,
    net::{IpAddr, Ipv4Addr},
    time::Duration,
};

use serde::Deserialize;

use crate::{
    gateway::Nat,
    network::{NodeIx, Place},
    settings::Settings,
};

/// Also the bound of the automatic addresses, 10.99.0.1 to 10.99.0.200.
const MAX_NODES: usize = 200;
const MAX_NAME: usize = 24;
const DEFAULT_MTU: u16 = 1500;
/// IPv4 hosts must take 576, and the kernel refuses devices below 68.
const MIN_MTU: u16 = 576;

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
struct RawConfig {
    seed: u64,
    keep_awake: bool,
    default: Settings,
    nodes: BTreeMap<String, RawNode>,
    link: Vec<RawLink>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
struct RawNode {
    addresses: Vec<IpAddr>,
    mtu: Option<u16>,
    access: Settings,
    up: Settings,
    down: Settings,
    only_ports: Vec<u16>,
    nat: Option<RawNat>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct RawNat {
    public: Ipv4Addr,
    forget_s: f64,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct RawLink {
    between: [String; 2],
    #[serde(default)]
    both: Settings,
    #[serde(default)]
    there: Settings,
    #[serde(default)]
    back: Settings,
}

#[derive(Debug, Clone)]
pub struct Node {
    pub name: String,
    pub addresses: Vec<IpAddr>,
    /// Of its device, bytes.
    pub mtu: u16,
    /// The ports that a filter before it lets pass; empty without one.
    pub only_ports: Vec<u16>,
    pub nat: Option<Nat>,
}

/// A world that can be run.
#[derive(Debug, Clone)]
pub struct Config {
    pub seed: u64,
    /// Keep the machine's processors from sleeping while there is traffic: for virtual machines, whose
    /// processors wake up late. Shows as load on every processor.
    pub keep_awake: bool,
    /// In the order of their names; a [`NodeIx`] is a place in here.
    pub nodes: Vec<Node>,
    /// Every direction there is, with its settings.
    pub places: BTreeMap<Place, Settings>,
}

/// All that is wrong with a file.
#[derive(Debug, thiserror::Error)]
pub struct ConfigErrors(pub Vec<String>);

impl fmt::Display for ConfigErrors {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0.join("\n"))
    }
}

impl Config {
    pub fn parse(toml: &str) -> Result<Self, ConfigErrors> {
        let raw: RawConfig = toml::from_str(toml).map_err(|e| ConfigErrors(vec![e.to_string()]))?;
        let mut errors = Vec::new();
        let nodes = nodes(&raw, &mut errors);
        let places = places(&raw, &nodes, &mut errors);
        for (place, settings) in &places {
            if let Err(wrong) = settings.impairment() {
                let place = describe(&nodes, *place);
                errors.extend(wrong.iter().map(|error| format!("{place}: {error}")));
            }
        }
        if !errors.is_empty() {
            return Err(ConfigErrors(errors));
        }
        Ok(Self {
            seed: raw.seed,
            keep_awake: raw.keep_awake,
            nodes,
            places,
        })
    }

    pub fn find(&self, name: &str) -> Option<NodeIx> {
        index(&self.nodes, name)
    }

    pub fn name(&self, node: NodeIx) -> &str {
        self.nodes
            .get(usize::from(node.0))
            .map_or("?", |node| node.name.as_str())
    }

    pub fn describe(&self, place: Place) -> String {
        describe(&self.nodes, place)
    }
}

fn nodes(raw: &RawConfig, errors: &mut Vec<String>) -> Vec<Node> {
    if !(1..=MAX_NODES).contains(&raw.nodes.len()) {
        errors.push(format!(
            "there must be 1 to {MAX_NODES} nodes, not {}",
            raw.nodes.len()
        ));
    }
    let mut owners: BTreeMap<IpAddr, &str> = BTreeMap::new();
    let mut nodes = Vec::new();
    for (number, (name, node)) in (1u8..).zip(raw.nodes.iter().take(MAX_NODES)) {
        if !is_name(name) {
            errors.push(format!(
                "nodes.{name}: a name has 1 to {MAX_NAME} of a-z, 0-9 and -"
            ));
        }
        let mtu = node.mtu.unwrap_or(DEFAULT_MTU);
        if mtu < MIN_MTU {
            errors.push(format!("nodes.{name}: mtu = {mtu} is below {MIN_MTU}"));
        }
        let mut addresses = node.addresses.clone();
        if addresses.is_empty() {
            addresses.push(Ipv4Addr::new(10, 99, 0, number).into());
        }
        for &address in &addresses {
            if let Some(other) = owners.insert(address, name) {
                errors.push(format!("nodes.{name}: {address} is {other}'s already"));
            }
            if address.is_loopback() || address.is_multicast() || address.is_unspecified() {
                errors.push(format!("nodes.{name}: {address} cannot be a node's"));
            }
        }
        nodes.push(Node {
            name: name.clone(),
            addresses,
            mtu,
            only_ports: node.only_ports.clone(),
            nat: node
                .nat
                .as_ref()
                .and_then(|nat| nat.check(name, &mut owners, errors)),
        });
    }
    nodes
}

impl RawNat {
    fn check<'a>(
        &self,
        name: &'a str,
        owners: &mut BTreeMap<IpAddr, &'a str>,
        errors: &mut Vec<String>,
    ) -> Option<Nat> {
        if let Some(other) = owners.insert(self.public.into(), name) {
            errors.push(format!("nodes.{name}.nat: {} is {other}'s already", self.public));
        }
        let forget = Duration::try_from_secs_f64(self.forget_s)
            .ok()
            .filter(|forget| !forget.is_zero());
        if forget.is_none() {
            errors.push(format!("nodes.{name}.nat: forget_s = {}", self.forget_s));
        }
        Some(Nat {
            public: self.public,
            forget: forget?,
        })
    }
}

fn places(raw: &RawConfig, nodes: &[Node], errors: &mut Vec<String>) -> BTreeMap<Place, Settings> {
    let mut places = BTreeMap::new();
    for (i, node) in (0u16..).zip(raw.nodes.values().take(nodes.len())) {
        places.insert(Place::Up(NodeIx(i)), node.up.over(&node.access));
        places.insert(Place::Down(NodeIx(i)), node.down.over(&node.access));
        for j in (0u16..).take(nodes.len()).filter(|&j| j != i) {
            places.insert(Place::Link(NodeIx(i), NodeIx(j)), raw.default.clone());
        }
    }
    let mut seen = BTreeMap::new();
    for (number, link) in (1..).zip(&raw.link) {
        let [a, b] = &link.between;
        let (Some(from), Some(to)) = (index(nodes, a), index(nodes, b)) else {
            errors.push(format!("link {number}: no node `{a}` or no node `{b}`"));
            continue;
        };
        if from == to {
            errors.push(format!("link {number}: from `{a}` to itself"));
            continue;
        }
        if let Some(earlier) = seen.insert((from.min(to), from.max(to)), number) {
            errors.push(format!(
                "link {number}: `{a}` and `{b}` are joined by link {earlier} already"
            ));
        }
        let both = link.both.over(&raw.default);
        places.insert(Place::Link(from, to), link.there.over(&both));
        places.insert(Place::Link(to, from), link.back.over(&both));
    }
    places
}

fn is_name(name: &str) -> bool {
    (1..=MAX_NAME).contains(&name.len())
        && name
            .bytes()
            .all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-')
}

fn index(nodes: &[Node], name: &str) -> Option<NodeIx> {
    let place = nodes.binary_search_by(|node| node.name.as_str().cmp(name)).ok()?;
    u16::try_from(place).ok().map(NodeIx)
}

fn describe(nodes: &[Node], place: Place) -> String {
    let name = |node: NodeIx| nodes.get(usize::from(node.0)).map_or("?", |n| n.name.as_str());
    match place {
        Place::Link(from, to) => format!("link {} > {}", name(from), name(to)),
        Place::Up(node) => format!("access of {}, up", name(node)),
        Place::Down(node) => format!("access of {}, down", name(node)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn layers_of_settings() {
        let config = Config::parse(
            r#"
            seed = 7
            default = { delay_ms = 50, loss = 0.01 }
            [nodes.a]
            access = { delay_ms = 5 }
            up = { rate_kbit = 256 }
            [nodes.b]
            addresses = ["10.1.0.1", "fd00::1"]
            mtu = 1280
            [nodes.c]
            [[link]]
            between = ["b", "a"]
            both = { delay_ms = 20 }
            back = { loss = 0.5 }
            "#,
        )
        .unwrap();
        let (a, b, c) = (NodeIx(0), NodeIx(1), NodeIx(2));
        let words = |place| config.places[&place].to_string();
        assert_eq!(words(Place::Up(a)), "delay_ms=5.0 rate_kbit=256.0");
        assert_eq!(words(Place::Down(a)), "delay_ms=5.0");
        assert_eq!(words(Place::Link(b, a)), "delay_ms=20.0 loss=0.01");
        assert_eq!(words(Place::Link(a, b)), "delay_ms=20.0 loss=0.5");
        assert_eq!(words(Place::Link(a, c)), "delay_ms=50.0 loss=0.01");
        assert_eq!(
            config.nodes[2].addresses,
            ["10.99.0.3".parse::<IpAddr>().unwrap()]
        );
        assert_eq!((config.nodes[1].mtu, config.find("b")), (1280, Some(b)));
        assert_eq!(config.places.len(), 6 + 6);
    }

    #[test]
    fn every_error_is_named() {
        let errors = Config::parse(
            r#"
            default = { loss = 2 }
            [nodes.A_]
            addresses = ["10.0.0.1", "127.0.0.1"]
            [nodes.b]
            addresses = ["10.0.0.1"]
            mtu = 100
            nat = { public = "10.0.0.1", forget_s = 0 }
            [[link]]
            between = ["b", "x"]
            [[link]]
            between = ["b", "b"]
            "#,
        )
        .unwrap_err()
        .to_string();
        for expected in [
            "nodes.A_: a name",
            "127.0.0.1 cannot be",
            "nodes.b: 10.0.0.1 is A_'s already",
            "mtu = 100",
            "nodes.b.nat: 10.0.0.1 is b's already",
            "forget_s = 0",
            "no node `x`",
            "link 2: from `b` to itself",
            "link A_ > b: loss = 2 is outside 0..=1",
        ] {
            assert!(errors.contains(expected), "{expected} in:\n{errors}");
        }
        assert!(Config::parse("sed = 1").is_err());
        assert!(Config::parse("").is_err());
    }
}
