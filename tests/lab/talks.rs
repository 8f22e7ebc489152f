//! Programs that talk by media in a world of four edges: irtt as the program, and the class that carries it.

use std::{
    collections::BTreeMap,
    net::{IpAddr, Ipv4Addr, SocketAddr},
    ops::Range,
    thread,
    time::Duration,
};

use corridor::{agent::FlowReport, api::model::LegStatus};
use serde_json::Value;

use crate::{
    deployment::{CONTROLLER, Deployment, LIMIT},
    proc::Proc,
    world::World,
};

/// Links with their one-way delays in ms, the same both ways. `near` is from each agent to the edges beside it;
/// those beside the other are far beyond any use.
pub fn links(near: u32) -> [(&'static str, &'static str, u32); 14] {
    let beside = near + 4;
    [
        ("teacher", "e1", near),
        ("teacher", "e3", beside),
        ("teacher", "e2", 150),
        ("teacher", "e4", 150),
        ("student", "e2", near),
        ("student", "e4", beside),
        ("student", "e1", 150),
        ("student", "e3", 150),
        ("e1", "e2", 40),
        ("e3", "e2", 42),
        ("e1", "e4", 42),
        ("e3", "e4", 43),
        ("e1", "e3", 5),
        ("e2", "e4", 5),
    ]
}

/// Two more edges, one beside each agent: which has failed of late is planned round for a minute, and there are two
/// ways that share no edge all the same.
fn more_links(near: u32) -> [(&'static str, &'static str, u32); 13] {
    let beside = near + 8;
    [
        ("teacher", "e5", beside),
        ("teacher", "e6", 150),
        ("student", "e6", beside),
        ("student", "e5", 150),
        ("e5", "e1", 5),
        ("e5", "e3", 5),
        ("e6", "e2", 5),
        ("e6", "e4", 5),
        ("e5", "e2", 44),
        ("e5", "e4", 45),
        ("e6", "e1", 44),
        ("e6", "e3", 45),
        ("e5", "e6", 46),
    ]
}

/// A world of these nodes and links.
pub fn world(nodes: &str, links: &[(&str, &str, u32)]) -> World {
    World::start(&toml(nodes, links))
}

/// The same, as TOML.
pub fn toml(nodes: &str, links: &[(&str, &str, u32)]) -> String {
    let links = links
        .iter()
        .map(|(a, b, ms)| format!("[[link]]\nbetween = [\"{a}\", \"{b}\"]\nboth = {{ delay_ms = {ms} }}\n"));
    format!("keep_awake = true\n{nodes}{}", links.collect::<String>())
}

/// Beside the second edge: what stands behind an exit.
pub const SFU: &str = "sfu";

pub fn four_edges(near: u32) -> World {
    of_edges(&EDGES, &links(near))
}

pub fn six_edges(near: u32) -> World {
    let edges = [&EDGES[..], &["e5", "e6"]].concat();
    of_edges(&edges, &[&links(near)[..], &more_links(near)].concat())
}

fn of_edges(edges: &[&str], links: &[(&str, &str, u32)]) -> World {
    let behind = edges
        .iter()
        .map(|&edge| (edge, SFU, if edge == "e2" { 1 } else { 150 }));
    let links: Vec<_> = links.iter().copied().chain(behind).collect();
    let nodes = [edges, &AGENTS, &[CONTROLLER, SFU]].concat();
    let nodes: String = nodes.iter().map(|node| format!("[nodes.{node}]\n")).collect();
    world(&nodes, &links)
}

/// Those of a world.
pub fn edges_of(world: &World) -> Vec<&str> {
    let is_edge = |name: &&str| name.strip_prefix('e').is_some_and(|n| n.parse::<u8>().is_ok());
    world.nodes().filter(is_edge).collect()
}

pub const EDGES: [&str; 4] = ["e1", "e2", "e3", "e4"];
pub const AGENTS: [&str; 2] = ["teacher", "student"];
pub const PORT: &str = "2112";
/// Packets a second.
pub const RATE: f64 = 50.0;

/// What is borne when something fails that is so far away.
pub fn borne(rtt_ms: f64) -> f64 {
    (RATE * (rtt_ms + 60.0) / 1e3).ceil()
}

/// What a failure finds.
#[derive(Debug)]
pub struct Around {
    /// One way from an agent to the edges beside it, in ms.
    pub near: u32,
    pub protect: String,
    /// The controller is dead before.
    pub alone: bool,
    /// Of the far end of the flow: what stands behind an exit, not another agent.
    pub behind: bool,
}

impl Around {
    /// As the environment says.
    pub fn set() -> Self {
        let set = |name: &str| std::env::var(name).ok();
        Self {
            near: set("CORRIDOR_NEAR_MS").map_or(10, |n| n.parse().expect("a number")),
            protect: set("CORRIDOR_PROTECT").unwrap_or_else(|| "off".to_owned()),
            alone: set("CORRIDOR_ALONE").is_some(),
            behind: set("CORRIDOR_BEHIND").is_some(),
        }
    }
}

/// The rounds that `tests/lab/deaths` asks for.
pub fn rounds() -> Option<Range<u32>> {
    std::env::var("CORRIDOR_DEATHS").ok().map(|range| {
        let (from, to) = range.split_once("..").expect("a range of rounds");
        let number = |text: &str| text.parse::<u32>().expect("a number");
        number(from)..number(to)
    })
}

/// How long into a talk something fails: anywhere in the grids of packets, probes and signs of life.
pub fn before(round: u32) -> Duration {
    Duration::from_micros(2_000_000 + u64::from(round) * 137_731 % 1_000_000)
}

/// irtt's server at the student, behind its agent.
pub fn server(world: &World) -> Proc {
    server_at(world, "student")
}

/// The same at another node.
pub fn server_at(world: &World, node: &str) -> Proc {
    serve(world, node, Ipv4Addr::LOCALHOST.into())
}

/// The same behind an exit.
pub fn server_behind(world: &World) -> Proc {
    serve(world, SFU, world.node(SFU).address())
}

fn serve(world: &World, node: &str, address: IpAddr) -> Proc {
    let listen = SocketAddr::new(address, PORT.parse().expect("a port")).to_string();
    let server = ["server", "-i", "0", "-b", &listen];
    let mut server = world.node(node).spawn("irtt", server, []);
    server.wait_for_udp(2112, Duration::from_secs(20));
    server
}

/// irtt's client at the teacher, for a while.
pub fn client(world: &World, duration: &str) -> Proc {
    client_at(world, "teacher", duration)
}

/// The same at another node.
pub fn client_at(world: &World, node: &str, duration: &str) -> Proc {
    let to = format!("127.0.0.1:{PORT}");
    let client = [
        "client", "-i", "20ms", "-d", duration, "-l", "160", "-q", "-o", "-", &to,
    ];
    world.node(node).spawn("irtt", client, [])
}

/// What irtt says of a talk: sent, lost on the way there, lost on the way back, repeated, median round trip in ms.
#[derive(Debug)]
pub struct Talked {
    pub sent: u64,
    pub lost_up: u64,
    pub lost_down: u64,
    pub repeated: u64,
    pub median_ms: f64,
    pub least_ms: f64,
    /// Lost in a row, either way.
    pub longest_gap: u64,
    /// The number of the last that was lost.
    pub last_lost: u64,
}

pub fn talked(mut client: Proc) -> Talked {
    let status = client.wait(Duration::from_secs(660));
    assert!(status.success(), "{}", client.stderr());
    let said: Value = serde_json::from_str(&client.stdout()).expect("irtt's JSON");
    let count = |key: &str| said["stats"][key].as_u64().unwrap_or_else(|| panic!("no {key}"));
    let ms = |key: &str| said["stats"]["rtt"][key].as_f64().expect("round trips") / 1e6;
    let (sent, heard) = (count("packets_sent"), count("server_packets_received"));
    let each = said["round_trips"].as_array().expect("each packet");
    let is_lost = |packet: &Value| packet["lost"] != "false";
    let rows = each.chunk_by(|a, b| is_lost(a) == is_lost(b));
    let longest = rows.filter(|row| is_lost(&row[0])).map(<[_]>::len).max();
    let last_lost = each.iter().rposition(is_lost);
    Talked {
        sent,
        lost_up: sent - heard,
        lost_down: heard - count("packets_received"),
        repeated: count("duplicates"),
        median_ms: ms("median"),
        least_ms: ms("min"),
        longest_gap: longest.unwrap_or(0) as u64,
        last_lost: last_lost.unwrap_or(0) as u64,
    }
}

/// A class with more arguments, whose teacher's local `port` is carried to `to`, once `wanted` holds of the teacher's
/// leg.
pub fn carried(
    deployment: &Deployment<'_>,
    more: &[&str],
    port: &str,
    to: &str,
    wanted: impl Fn(&LegStatus) -> bool,
) {
    create(deployment, "c", more);
    forward(deployment, port, to);
    with_leg(deployment, "c", wanted);
}

/// A class with more arguments.
fn create(deployment: &Deployment<'_>, class: &str, more: &[&str]) {
    let data = deployment.data_text(CONTROLLER);
    let create = [
        "class",
        "create",
        class,
        "--teacher",
        "teacher",
        "--student",
        "student",
    ];
    deployment.cli(CONTROLLER, &[&create, more, &["--data", &data]].concat());
}

/// Waits until `wanted` holds of the teacher's leg in a class.
fn with_leg(deployment: &Deployment<'_>, class: &str, wanted: impl Fn(&LegStatus) -> bool) {
    deployment.wait_class(class, "the teacher's leg", LIMIT, |class| {
        let mut people = class.participants.iter();
        let teacher = people.find(|p| p.subject == "teacher")?;
        wanted(teacher.legs.first()?).then_some(())
    });
}

/// Whether there is a way, and another.
fn is_safe(leg: &LegStatus) -> bool {
    leg.in_use.is_some() && !leg.standbys.is_empty()
}

/// The same, both leaving by the edge that has what stands behind it nearest: exits are not moved once that is known.
fn is_safe_with(leg: &LegStatus) -> bool {
    let leaves = |route: &Vec<String>| route.len() == 2 && route[1] == "e2";
    leg.in_use.as_ref().is_some_and(leaves) && leg.standbys.iter().any(leaves)
}

/// The live choice judges what it has seen for some seconds.
const JUDGED: Duration = Duration::from_secs(6);

/// After a death: of what has been dead the controller hears a while later.
const HEARD: Duration = Duration::from_secs(10);

/// Begins another class like one that is there, and ends that: the new one does not know how often edges have failed it,
/// and routes that have are held down for minutes in the end. There is always one of them, or the agents would be idle
/// in between, and measure most edges once a minute.
pub fn anew(deployment: &Deployment<'_>, [before, class]: [&str; 2], more: &[&str]) {
    let is_safe = if more.contains(&"--target") {
        is_safe_with
    } else {
        is_safe
    };
    thread::sleep(HEARD);
    create(deployment, class, more);
    with_leg(deployment, class, is_safe);
    let data = deployment.data_text(CONTROLLER);
    deployment.cli(CONTROLLER, &["class", "end", before, "--data", &data]);
    thread::sleep(JUDGED);
}

/// The teacher's local `port` is carried to `to`.
pub fn forward(deployment: &Deployment<'_>, port: &str, to: &str) {
    let (teacher, listen) = (deployment.data_text("teacher"), format!("127.0.0.1:{port}"));
    let forward = [
        "agent", "forward", "--listen", &listen, "--to", to, "--data", &teacher,
    ];
    deployment.cli("teacher", &forward);
}

/// The student takes media at this port.
pub fn accept(deployment: &Deployment<'_>, port: &str) {
    let student = deployment.data_text("student");
    deployment.cli("student", &["agent", "accept", port, "--data", &student]);
}

/// A class whose teacher's local port is carried to the student's, by the four edges.
pub fn in_class<'w>(world: &'w World, more: &[&str]) -> Deployment<'w> {
    in_class_by(world, &EDGES, more)
}

/// The same by these.
pub fn in_class_by<'w>(world: &'w World, edges: &[&str], more: &[&str]) -> Deployment<'w> {
    let deployment = Deployment::start(world, edges, &AGENTS);
    accept(&deployment, PORT);
    let to = format!("agent:student:{PORT}");
    carried(&deployment, more, PORT, &to, is_safe);
    thread::sleep(JUDGED);
    deployment
}

/// A class whose teacher's local port is carried to what stands behind the second edge, if the class's arguments say
/// that it may be.
pub fn in_class_with<'w>(world: &'w World, edges: &[&str], more: &[&str]) -> Deployment<'w> {
    let deployment = Deployment::start(world, edges, &AGENTS);
    carried(&deployment, more, PORT, &behind(world), is_safe_with);
    thread::sleep(JUDGED);
    deployment
}

/// What stands behind the second edge.
pub fn behind(world: &World) -> String {
    format!("{}:{PORT}", world.node(SFU).address())
}

/// Along a way, in ms.
pub fn round_trip(near: u32, way: &[&str]) -> f64 {
    let links = [&links(near)[..], &more_links(near)].concat();
    let step = |pair: &[&str]| {
        let [a, b] = [pair[0], pair[1]];
        let found = links
            .iter()
            .find(|(x, y, _)| (*x, *y) == (a, b) || (*y, *x) == (a, b));
        f64::from(found.expect("a link").2)
    };
    2.0 * way.windows(2).map(step).sum::<f64>()
}

/// Loses all packets of an edge, or none any more.
pub fn cut(world: &World, name: &str, on: bool) {
    let setting = if on { "blackhole=true" } else { "blackhole=false" };
    for other in world.nodes().filter(|other| *other != name) {
        world.set(&format!("{name}+{other}"), setting);
    }
}

/// The teacher's flow that sends, as it is after this time.
pub fn sending(deployment: &Deployment<'_>, after: Duration) -> FlowReport {
    let flows = || deployment.agent("teacher").media.expect("media").flows;
    thread::sleep(after / 2);
    let before: BTreeMap<_, _> = flows()
        .into_iter()
        .map(|flow| (flow.id, flow.counts.sent))
        .collect();
    thread::sleep(after / 2);
    let grown = |flow: &FlowReport| flow.counts.sent - before.get(&flow.id).unwrap_or(&0);
    let used = flows().into_iter().max_by_key(grown);
    used.filter(|flow| flow.route.is_some())
        .expect("a flow that sends")
}

/// Its route.
pub fn by_which(deployment: &Deployment<'_>, after: Duration) -> Vec<String> {
    sending(deployment, after).route.unwrap_or_default()
}

/// Waits until every agent has been connected to every edge again for some seconds, with the route in use over one edge
/// beside each agent, and a standby over the two others.
pub fn whole_again(deployment: &Deployment<'_>) {
    whole(deployment, &["e2", "e4", "e6"]);
}

/// The same where all routes leave by the second edge.
pub fn whole_again_with(deployment: &Deployment<'_>) {
    whole(deployment, &["e2"]);
}

fn whole(deployment: &Deployment<'_>, exits: &[&str]) {
    let beside = |route: &[String]| match route {
        [first, last] => ["e1", "e3", "e5"].contains(&&**first) && exits.contains(&&**last),
        _ => false,
    };
    let whole = || {
        let report = deployment.agent("teacher");
        let [leg] = &report.legs[..] else { return None };
        let apart = |route: &[String]| {
            let shared = route.iter().filter(|edge| leg.in_use.contains(edge));
            shared.count() == usize::from(exits.len() == 1)
        };
        let standby = leg
            .routes
            .iter()
            .any(|route| beside(&route.edges) && apart(&route.edges));
        let edges = AGENTS.iter().flat_map(|agent| deployment.agent(agent).edges);
        let connected =
            edges.filter(|edge| edge.connected).count() == AGENTS.len() * deployment.edges().len();
        (standby && beside(&leg.in_use) && connected).then_some(())
    };
    // The live choice judges what it has seen for some seconds, and a plan made before may still come.
    let (mut left, mut running) = (600, 0);
    while running < 12 {
        running = whole().map_or(0, |()| running + 1);
        left -= 1;
        assert!(
            left > 0,
            "not whole again: {:?}",
            deployment.agent("teacher").legs
        );
        thread::sleep(Duration::from_millis(300));
    }
}
