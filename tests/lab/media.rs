//! Media through edges, with irtt as the program that talks: what it loses when the entry of the route in use
//! dies, on each way, beside what the design bears.

use std::{
    collections::BTreeMap,
    net::{Ipv4Addr, Shutdown, SocketAddr, TcpListener, TcpStream},
    thread,
    time::Duration,
};

use corridor_netem::{log, packet::Proto};
use serde_json::Value;

use crate::{
    deployment::{CONTROLLER, Deployment, wall_us},
    proc::Proc,
    talks::{
        AGENTS, Around, Talked, anew, before, behind, borne, by_which, carried, client, cut, edges_of,
        four_edges, in_class_by, in_class_with, round_trip, rounds, server, server_behind, six_edges, talked,
        whole_again, whole_again_with, world,
    },
    world::{World, say, unavailable},
};

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
    at: &Around,
) -> Died {
    let near = at.near;
    if at.alone {
        deployment.process(CONTROLLER).kill9();
    }
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

fn told(death: Death, victim: Victim, at: &Around, died: &Died, void: bool) {
    let [there, back] = died.borne;
    let Talked {
        lost_up,
        lost_down,
        repeated,
        ..
    } = died.talk;
    let (after, why) = died.moved.clone().unwrap_or((-1, "nobody moved".to_owned()));
    say(format_args!(
        "death of {}: {death:?} {victim:?} at {} ms{}, protect {}, {} controller: moved after {after} ms by {why}; \
         lost {lost_up} there of {there} borne, {lost_down} back of {back}, {repeated} twice{}",
        died.edge,
        2 * at.near,
        if at.behind { " to a target" } else { "" },
        at.protect,
        if at.alone { "without a" } else { "with its" },
        if void { ", on a machine that was late" } else { "" },
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
    // Where both edges have a connection for so many, the flow's rate makes them open another, and it may move to that.
    let several = [("CORRIDOR_EDGE_TRUNK_ABOVE", "1500")];
    for (name, mtu, more) in [
        ("1,500 B everywhere", "", &several[..]),
        ("1,280 B at e2", "mtu = 1280\n", &[]),
    ] {
        let world = world(
            &format!(
                "[nodes.ctl]\n[nodes.e1]\n[nodes.e2]\n{mtu}[nodes.teacher]\n[nodes.student]\n[nodes.sfu]\n"
            ),
            &links,
        );
        let deployment = Deployment::start_with(&world, &["e1", "e2"], &AGENTS, more);
        let sfu = SocketAddr::new(world.node("sfu").address(), 5_201);
        let mut server = world.node("sfu").spawn("iperf3", ["-s"], []);
        let target = sfu.to_string();
        carried(&deployment, &["--target", &target], "5201", &target, |leg| {
            leg.in_use.as_ref().is_some_and(|route| route == &["e1", "e2"])
        });
        carry_tcp(&world, "teacher", 5_201, sfu);
        let args = "-c 127.0.0.1 -u -b 20M -l 1200 -t 5 -J --dscp 46".split(' ');
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
        let opened = deployment.log("e1");
        let opened = opened
            .iter()
            .filter(|line| line.message() == "another connection for what flows");
        assert_eq!(opened.count() > 0, !more.is_empty());
        assert!(packets > 10_000, "{packets}");
        assert_eq!((lost, disordered), (0, 0));
        server.kill9();
        // As iperf3 has marked them, though they were in QUIC's packets, which nobody marks.
        let log = log::parse(&world.finish()).expect("the emulator's log");
        let marks = |from: &str, to: &str| {
            let way = log.iter().filter(|p| (&*p.from, &*p.to) == (from, to));
            let media = way.filter(|p| p.proto == Proto::Udp && p.len > 1_200);
            let mut marks = BTreeMap::<u8, u64>::new();
            media.for_each(|p| *marks.entry(p.dscp).or_default() += 1);
            marks
        };
        let [on_the_way, out] = [marks("e1", "e2"), marks("e2", "sfu")];
        say(format_args!(
            "by DSCP, between the edges {on_the_way:?}, out of them {out:?}"
        ));
        assert!(out.keys().eq(&[46]) && out[&46] > 10_000, "{out:?}");
        assert!(on_the_way.keys().eq(&[0]), "{on_the_way:?}");
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
    let rounds = rounds();
    let around = Around::set();
    let near = around.near;
    let world = if rounds.is_some() {
        six_edges(near)
    } else {
        four_edges(near)
    };
    let target = behind(&world);
    let mut wanted = vec!["--protect", &around.protect, "--budget", "600ms"];
    if around.behind {
        wanted.extend(["--target", &target]);
    }
    let (mut deployment, _server) = if around.behind {
        (
            in_class_with(&world, &edges_of(&world), &wanted),
            server_behind(&world),
        )
    } else {
        (in_class_by(&world, &edges_of(&world), &wanted), server(&world))
    };

    world.reset_stats();
    let calm = std::env::var("CORRIDOR_CALM").unwrap_or_else(|_| "6s".to_owned());
    let clean = talked(client(&world, &calm));
    say(format_args!(
        "clean: {} sent, {} lost there, {} back; median {:.2} ms, least {:.2}; the least route makes {}",
        clean.sent,
        clean.lost_up,
        clean.lost_down,
        clean.median_ms,
        clean.least_ms,
        round_trip(near, &["teacher", "e1", "e2"])
            + if around.behind {
                2.0
            } else {
                round_trip(near, &["e2", "student"])
            },
    ));
    world.void();
    assert_eq!((clean.lost_up, clean.lost_down, clean.repeated), (0, 0, 0));

    let first = [Death::Killed, Death::Cut].map(|death| (Victim::First, death));
    let last = [Death::Cut, Death::Killed].map(|death| (Victim::Last, death));
    let kinds = if rounds.is_some() { 2 } else { 1 };
    // Behind the last there is no other way to what gives up when its peer's address changes.
    let last_too = if around.behind { 0 } else { kinds };
    let only = std::env::var("CORRIDOR_VICTIM").unwrap_or_default();
    let each = first
        .into_iter()
        .take(kinds)
        .chain(last.into_iter().take(last_too))
        .filter(|(victim, _)| only.is_empty() || format!("{victim:?}").eq_ignore_ascii_case(&only));
    let (mut class, mut deaths) = ("c".to_owned(), 0);
    for (victim, death) in each {
        for round in rounds.clone().unwrap_or(0..1) {
            if deaths > 0 {
                let next = format!("c{deaths}");
                anew(&deployment, [&class, &next], &wanted);
                class = next;
            }
            deaths += 1;
            if around.behind {
                whole_again_with(&deployment);
            } else {
                whole_again(&deployment);
            }
            world.reset_stats();
            let died = dies(&world, &mut deployment, victim, death, before(round), &around);
            told(death, victim, &around, &died, world.void());
            // Figures are printed and judged by people; this is for what does not work at all.
            let talk = &died.talk;
            assert!(talk.sent > 400 && talk.repeated == 0, "{talk:?}");
            assert!(talk.lost_up + talk.lost_down < 100, "{talk:?}");
            match death {
                Death::Killed => deployment.run_edge(&died.edge),
                Death::Cut => cut(&world, &died.edge, false),
            }
            if around.alone {
                deployment.start_controller();
            }
        }
    }
}
