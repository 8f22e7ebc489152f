//! Media through edges, with irtt as the program that talks: what it loses when the entry of the route in use
//! dies, on each way, beside what the design bears.

use std::{
    collections::BTreeMap,
    net::{Ipv4Addr, Shutdown, SocketAddr, TcpListener, TcpStream},
    thread,
    time::Duration,
};

use corridor::{agent::FlowReport, api::model::LegStatus};
use serde_json::Value;

use crate::{
    deployment::{CONTROLLER, Deployment, LIMIT, wall_us},
    proc::Proc,
    world::{World, say, unavailable},
};

/// Links with their one-way delays in ms, the same both ways. `near` is from each agent to the edges beside it;
/// those beside the other are far beyond any use.
fn links(near: u32) -> [(&'static str, &'static str, u32); 14] {
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

/// A world of these nodes and links.
fn world(nodes: &str, links: &[(&str, &str, u32)]) -> World {
    let links = links
        .iter()
        .map(|(a, b, ms)| format!("[[link]]\nbetween = [\"{a}\", \"{b}\"]\nboth = {{ delay_ms = {ms} }}\n"));
    World::start(&format!(
        "keep_awake = true\n{nodes}{}",
        links.collect::<String>()
    ))
}

fn four_edges(near: u32) -> World {
    let nodes =
        "[nodes.ctl]\n[nodes.e1]\n[nodes.e2]\n[nodes.e3]\n[nodes.e4]\n[nodes.teacher]\n[nodes.student]\n";
    world(nodes, &links(near))
}

const EDGES: [&str; 4] = ["e1", "e2", "e3", "e4"];
const AGENTS: [&str; 2] = ["teacher", "student"];
const PORT: &str = "2112";
/// Packets a second.
const RATE: f64 = 50.0;

/// irtt's server at the student, behind its agent.
fn server(world: &World) -> Proc {
    let listen = format!("127.0.0.1:{PORT}");
    let server = ["server", "-i", "0", "-b", &listen];
    let mut server = world.node("student").spawn("irtt", server, []);
    server.wait_for_udp(2112, Duration::from_secs(20));
    server
}

/// irtt's client at the teacher, for a while.
fn client(world: &World, duration: &str) -> Proc {
    let to = format!("127.0.0.1:{PORT}");
    let client = [
        "client", "-i", "20ms", "-d", duration, "-l", "160", "-q", "-o", "-", &to,
    ];
    world.node("teacher").spawn("irtt", client, [])
}

/// What irtt says of a talk: sent, lost on the way there, lost on the way back, repeated, median round trip in ms.
#[derive(Debug)]
struct Talked {
    sent: u64,
    lost_up: u64,
    lost_down: u64,
    repeated: u64,
    median_ms: f64,
    least_ms: f64,
}

fn talked(mut client: Proc) -> Talked {
    let status = client.wait(Duration::from_secs(120));
    assert!(status.success(), "{}", client.stderr());
    let said: Value = serde_json::from_str(&client.stdout()).expect("irtt's JSON");
    let count = |key: &str| said["stats"][key].as_u64().unwrap_or_else(|| panic!("no {key}"));
    let ms = |key: &str| said["stats"]["rtt"][key].as_f64().expect("round trips") / 1e6;
    let (sent, heard) = (count("packets_sent"), count("server_packets_received"));
    Talked {
        sent,
        lost_up: sent - heard,
        lost_down: heard - count("packets_received"),
        repeated: count("duplicates"),
        median_ms: ms("median"),
        least_ms: ms("min"),
    }
}

/// A class with more arguments, whose teacher's local `port` is carried to `to`, once `wanted` holds of the teacher's
/// leg.
fn carried(
    deployment: &Deployment<'_>,
    more: &[&str],
    port: &str,
    to: &str,
    wanted: impl Fn(&LegStatus) -> bool,
) {
    let data = deployment.data_text(CONTROLLER);
    let create = "class create c --teacher teacher --student student".split(' ');
    let create: Vec<_> = create
        .chain(more.iter().copied())
        .chain(["--data", &data])
        .collect();
    deployment.cli(CONTROLLER, &create);
    let (teacher, listen) = (deployment.data_text("teacher"), format!("127.0.0.1:{port}"));
    let forward = [
        "agent", "forward", "--listen", &listen, "--to", to, "--data", &teacher,
    ];
    deployment.cli("teacher", &forward);
    deployment.wait_class("c", "the teacher's leg", LIMIT, |class| {
        let mut people = class.participants.iter();
        let teacher = people.find(|p| p.subject == "teacher")?;
        wanted(teacher.legs.first()?).then_some(())
    });
}

/// A class whose teacher's local port is carried to the student's.
fn in_class<'w>(world: &'w World, more: &[&str]) -> Deployment<'w> {
    let deployment = Deployment::start(world, &EDGES, &AGENTS);
    let student = deployment.data_text("student");
    deployment.cli("student", &["agent", "accept", PORT, "--data", &student]);
    let to = format!("agent:student:{PORT}");
    carried(&deployment, more, PORT, &to, |leg| {
        leg.in_use.is_some() && !leg.standbys.is_empty()
    });
    // The live choice judges what it has seen for some seconds.
    thread::sleep(Duration::from_secs(6));
    deployment
}

/// What is borne when an edge dies that is so far away.
fn borne(rtt_ms: f64) -> f64 {
    (RATE * (rtt_ms + 60.0) / 1e3).ceil()
}

/// How an edge dies.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Death {
    Killed,
    /// All its packets are lost, and it lives.
    Cut,
}

/// Which edge of the route in use.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Victim {
    /// The teacher's entry.
    First,
    /// The student's.
    Last,
}

/// What one death did.
struct Died {
    edge: String,
    /// What is borne there and back.
    borne: [f64; 2],
    talk: Talked,
    /// From the death to the first switch of the agents, and why.
    moved: Option<(i64, String)>,
}

/// Lets an edge of the route in use die in the middle of a talk.
fn dies(
    world: &World,
    deployment: &mut Deployment<'_>,
    victim: Victim,
    death: Death,
    before: Duration,
    near: u32,
) -> Died {
    let talking = client(world, "9s");
    let route = by_which(deployment, before);
    let [first, last] = &route[..] else {
        panic!("by {route:?}");
    };
    let (name, borne) = match victim {
        Victim::First => (
            first.clone(),
            [
                round_trip(near, &["teacher", first]),
                round_trip(near, &[last, first]),
            ],
        ),
        Victim::Last => (
            last.clone(),
            [
                round_trip(near, &["teacher", first, last]),
                round_trip(near, &["student", last]),
            ],
        ),
    };
    let at = wall_us();
    match death {
        Death::Killed => deployment.process(&name).kill9(),
        Death::Cut => cut(world, &name, true),
    }
    let talk = talked(talking);
    let mut switches: Vec<_> = AGENTS.iter().flat_map(|agent| deployment.log(agent)).collect();
    switches
        .retain(|line| line.at_us >= at && line.message() == "live choice" && line.text("kind") == "switch");
    let first = switches.into_iter().min_by_key(|line| line.at_us);
    let moved = first.map(|line| {
        let detail: Value = serde_json::from_str(line.text("detail")).unwrap_or_default();
        let why = detail["reason"]["kind"].as_str().unwrap_or_default().to_owned();
        ((line.at_us - at) / 1_000, why)
    });
    Died {
        edge: name,
        borne: borne.map(self::borne),
        talk,
        moved,
    }
}

/// Along a way, in ms.
fn round_trip(near: u32, way: &[&str]) -> f64 {
    let links = links(near);
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
fn cut(world: &World, name: &str, on: bool) {
    let setting = if on { "blackhole=true" } else { "blackhole=false" };
    let others = EDGES.iter().chain(&AGENTS).chain(&[CONTROLLER]);
    for other in others.filter(|other| **other != name) {
        world.set(&format!("{name}+{other}"), setting);
    }
}

/// The route of the teacher's flow that sends, as it is after this time.
fn by_which(deployment: &Deployment<'_>, after: Duration) -> Vec<String> {
    let flows = || deployment.agent("teacher").media.expect("media").flows;
    thread::sleep(after / 2);
    let before: BTreeMap<_, _> = flows()
        .into_iter()
        .map(|flow| (flow.id, flow.counts.sent))
        .collect();
    thread::sleep(after / 2);
    let grown = |flow: &FlowReport| flow.counts.sent - before.get(&flow.id).unwrap_or(&0);
    let used = flows().into_iter().max_by_key(grown);
    used.and_then(|flow| flow.route).expect("a flow that sends")
}

/// Waits until every agent has been connected to every edge again for some seconds, with the route in use over one edge
/// beside each agent, and a standby over the two others.
fn whole_again(deployment: &Deployment<'_>) {
    let beside = |route: &[String]| match route {
        [first, last] => ["e1", "e3"].contains(&&**first) && ["e2", "e4"].contains(&&**last),
        _ => false,
    };
    let whole = || {
        let report = deployment.agent("teacher");
        let leg = report.legs.first()?;
        let apart = |route: &[String]| !route.iter().any(|edge| leg.in_use.contains(edge));
        let standby = leg
            .routes
            .iter()
            .any(|route| beside(&route.edges) && apart(&route.edges));
        let edges = AGENTS.iter().flat_map(|agent| deployment.agent(agent).edges);
        let connected = edges.filter(|edge| edge.connected).count() == AGENTS.len() * EDGES.len();
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

fn told(death: Death, victim: Victim, near: u32, died: &Died) {
    let [there, back] = died.borne;
    let Talked {
        lost_up,
        lost_down,
        repeated,
        ..
    } = died.talk;
    let (after, why) = died.moved.clone().unwrap_or((-1, "nobody moved".to_owned()));
    say(format_args!(
        "death of {}: {death:?} {victim:?} at {} ms: moved after {after} ms by {why}; \
         lost {lost_up} there of {there} borne, {lost_down} back of {back}, {repeated} twice",
        died.edge,
        2 * near,
    ));
}

/// iperf3's own words of a UDP run at its server: packets, lost, out of order.
fn iperf(mut client: Proc) -> [u64; 3] {
    let status = client.wait(Duration::from_secs(60));
    assert!(status.success(), "{}{}", client.stdout(), client.stderr());
    let said: Value = serde_json::from_str(&client.stdout()).expect("iperf3's JSON");
    let server = &said["end"]["streams"][0]["udp"];
    let count = |key: &str| {
        let count = &server[key];
        count.as_u64().unwrap_or_else(|| panic!("no {key} in {said}"))
    };
    ["packets", "lost_packets", "out_of_order"].map(count)
}

/// Carries TCP connections to `port` of loopback in one node to an address: iperf3 speaks TCP of what it sends by
/// UDP. Ends with the test's process.
fn carry_tcp(world: &World, node: &str, port: u16, to: SocketAddr) {
    let node = world.node(node);
    let listener = node.inside(|| TcpListener::bind((Ipv4Addr::LOCALHOST, port)));
    // Connections are made by a thread that is in the node.
    let connections = (0..4).map(|_| node.inside(move || TcpStream::connect(to)));
    let connections: Vec<_> = connections.collect();
    thread::spawn(move || {
        for (client, server) in listener.incoming().flatten().zip(connections) {
            let ways = [
                (
                    client.try_clone().expect("a socket"),
                    server.try_clone().expect("a socket"),
                ),
                (server, client),
            ];
            for (mut from, mut to) in ways {
                thread::spawn(move || {
                    let _ = std::io::copy(&mut from, &mut to);
                    let _ = to.shutdown(Shutdown::Write);
                });
            }
        }
    });
}

/// 20 Mbit/s to a target behind two edges: nothing is lost, and nothing overtakes.
#[test]
fn a_fast_flow_to_a_target_loses_nothing_whatever_the_mtu() {
    if let Some(why) = unavailable() {
        say(format_args!("SKIPPED a_fast_flow_to_a_target: {why}"));
        return;
    }
    // Nothing but e1 > e2 will do.
    let links = [
        ("teacher", "e1", 10),
        ("e1", "e2", 20),
        ("e2", "sfu", 1),
        ("e1", "sfu", 120),
        ("teacher", "e2", 90),
    ];
    for (name, mtu) in [("1,500 B everywhere", ""), ("1,280 B at e2", "mtu = 1280\n")] {
        let world = world(
            &format!(
                "[nodes.ctl]\n[nodes.e1]\n[nodes.e2]\n{mtu}[nodes.teacher]\n[nodes.student]\n[nodes.sfu]\n"
            ),
            &links,
        );
        let deployment = Deployment::start(&world, &["e1", "e2"], &AGENTS);
        let sfu = SocketAddr::new(world.node("sfu").address(), 5_201);
        let mut server = world.node("sfu").spawn("iperf3", ["-s"], []);
        let target = sfu.to_string();
        carried(&deployment, &["--target", &target], "5201", &target, |leg| {
            leg.in_use.as_ref().is_some_and(|route| route == &["e1", "e2"])
        });
        carry_tcp(&world, "teacher", 5_201, sfu);
        let args = "-c 127.0.0.1 -u -b 20M -l 1200 -t 5 -J".split(' ');
        let client = world.node("teacher").spawn("iperf3", args, []);
        let [packets, lost, disordered] = iperf(client);
        let flows = deployment.agent("teacher").media.expect("media").flows;
        let counts = flows.first().expect("a flow").counts;
        say(format_args!(
            "iperf3 at 20 Mbit/s over two edges, {name}: {packets} packets, {lost} lost, {disordered} out of order; \
             the agent counts {} sent, {} not taken by its own connection",
            counts.sent, counts.dropped
        ));
        world.void();
        assert!(packets > 10_000, "{packets}");
        assert_eq!((lost, disordered), (0, 0));
        server.kill9();
    }
}

/// A clean talk, then a death at either end, or each kind of it as often as `tests/lab/deaths` says, which writes its
/// table.
#[test]
fn media_survives_the_deaths_of_edges() {
    if let Some(why) = unavailable() {
        say(format_args!("SKIPPED media_survives_the_deaths_of_edges: {why}"));
        return;
    }
    let set = |name: &str| std::env::var(name).ok();
    let rounds: Option<u32> = set("CORRIDOR_DEATHS").map(|n| n.parse().expect("a number"));
    let near: u32 = set("CORRIDOR_NEAR_MS").map_or(10, |n| n.parse().expect("a number"));
    let protect = set("CORRIDOR_PROTECT").unwrap_or_else(|| "off".to_owned());
    let world = four_edges(near);
    let mut deployment = in_class(&world, &["--protect", &protect, "--budget", "600ms"]);
    let _server = server(&world);

    world.reset_stats();
    let clean = talked(client(&world, "6s"));
    say(format_args!(
        "clean: {} sent, {} lost there, {} back; median {:.2} ms, least {:.2}; the least route makes {}",
        clean.sent,
        clean.lost_up,
        clean.lost_down,
        clean.median_ms,
        clean.least_ms,
        round_trip(near, &["teacher", "e1", "e2", "student"]),
    ));
    world.void();
    assert_eq!((clean.lost_up, clean.lost_down, clean.repeated), (0, 0, 0));

    let first = [Death::Killed, Death::Cut].map(|death| (Victim::First, death));
    let last = [Death::Cut, Death::Killed].map(|death| (Victim::Last, death));
    let kinds = if rounds.is_some() { 2 } else { 1 };
    for (victim, death) in first.into_iter().take(kinds).chain(last.into_iter().take(kinds)) {
        for round in 0..rounds.unwrap_or(1) {
            whole_again(&deployment);
            // Anywhere in the grids of packets, probes and signs of life.
            let before = Duration::from_micros(2_000_000 + u64::from(round) * 137_731 % 1_000_000);
            let died = dies(&world, &mut deployment, victim, death, before, near);
            told(death, victim, near, &died);
            // Figures are printed and judged by people; this is for what does not work at all.
            let talk = &died.talk;
            assert!(talk.sent > 400 && talk.repeated == 0, "{talk:?}");
            assert!(talk.lost_up + talk.lost_down < 100, "{talk:?}");
            match death {
                Death::Killed => deployment.run_edge(&died.edge),
                Death::Cut => cut(&world, &died.edge, false),
            }
        }
    }
}
