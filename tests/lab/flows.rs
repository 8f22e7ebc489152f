//! Flows through what happens to a class: its exit dies, an edge drains, a new one comes, an agent gets another
//! address. What is lost on each way, and how long all of it takes, is printed.

use std::{
    collections::{BTreeMap, btree_map::Entry},
    net::{Ipv4Addr, SocketAddr, UdpSocket},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    thread,
    time::Duration,
};

use corridor::{agent::FlowReport, api::model::Event};

use crate::{
    deployment::{CONTROLLER, Deployment, LIMIT, micros, now, wall_us},
    talks::{
        AGENTS, Around, EDGES, RATE, before, borne, by_which, carried, client, in_class, links, round_trip,
        rounds, sending, server, talked, whole_again, world,
    },
    world::{Node, World, say, unavailable},
};

/// How often a state is asked for.
const LOOK: Duration = Duration::from_millis(50);
/// Between two packets of a call.
const STEP: Duration = Duration::from_millis(20);
/// Bytes of one.
const SIZE: usize = 160;

/// How long an edge waits for what goes through it, at most, once it is told to stop.
const PATIENCE: Duration = corridor::config::DRAIN;

/// A packet that came somewhere.
#[derive(Debug, Clone, Copy)]
struct Came {
    at_us: i64,
    seq: u32,
    from: SocketAddr,
}

/// What came, while it is still coming.
type Coming = Arc<Mutex<Vec<Came>>>;

fn all(coming: &Coming) -> MutexGuard<'_, Vec<Came>> {
    coming.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Notes what comes to a socket, and sends each packet back if that is wanted, until the test's process ends.
fn listen(socket: UdpSocket, echo: bool) -> Coming {
    let coming = Coming::default();
    let noted = coming.clone();
    thread::spawn(move || {
        let mut packet = [0; 2_048];
        loop {
            let Ok((length, from)) = socket.recv_from(&mut packet) else {
                continue;
            };
            let at_us = wall_us();
            let seq = packet
                .first_chunk()
                .map_or(u32::MAX, |seq| u32::from_be_bytes(*seq));
            // Edges ask it how far it is, too.
            if length == SIZE {
                all(&noted).push(Came { at_us, seq, from });
            }
            if echo {
                let _ = socket.send_to(&packet[..length], from);
            }
        }
    });
    coming
}

/// A call that a thread makes: when each packet was sent, and what came back.
struct Call {
    local: SocketAddr,
    sending: thread::JoinHandle<Vec<i64>>,
    back: Coming,
}

/// Numbered packets from a node to a port of its loopback.
fn call(node: Node<'_>, port: u16, packets: u32) -> Call {
    let socket = node.inside(|| UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)));
    let local = socket.local_addr().expect("bound");
    let back = listen(socket.try_clone().expect("a socket"), false);
    let sending = thread::spawn(move || {
        let started = now();
        let sent = (0..packets).map(|seq| {
            thread::sleep((STEP * seq).saturating_sub(started.elapsed()));
            let mut packet = [0; SIZE];
            packet[..4].copy_from_slice(&seq.to_be_bytes());
            let at = wall_us();
            socket
                .send_to(&packet, (Ipv4Addr::LOCALHOST, port))
                .expect("its agent listens");
            at
        });
        sent.collect()
    });
    Call { local, sending, back }
}

/// What became of a call's packets.
struct Called {
    /// When each was sent.
    sent: Vec<i64>,
    /// When each came to the target first, and from where.
    there: BTreeMap<u32, Came>,
    /// When each came back first.
    back: BTreeMap<u32, Came>,
    /// How many came again to the target, and back.
    repeated: [usize; 2],
}

impl Called {
    fn of(call: Call, target: &Coming) -> Self {
        let sent = call.sending.join().expect("the sender");
        // What is under way comes.
        thread::sleep(Duration::from_secs(1));
        let first = |coming: &Coming| {
            let (mut firsts, mut again) = (BTreeMap::new(), 0);
            for packet in std::mem::take(&mut *all(coming)) {
                match firsts.entry(packet.seq) {
                    Entry::Vacant(free) => drop(free.insert(packet)),
                    Entry::Occupied(_) => again += 1,
                }
            }
            (firsts, again)
        };
        let ((there, twice_there), (back, twice_back)) = (first(target), first(&call.back));
        Self {
            sent,
            there,
            back,
            repeated: [twice_there, twice_back],
        }
    }

    /// Numbers that did not come to the target, and those that came there and not back.
    fn lost(&self) -> [Vec<u32>; 2] {
        let all = 0..u32::try_from(self.sent.len()).expect("few");
        let (there, lost_there): (Vec<_>, Vec<_>) = all.partition(|seq| self.there.contains_key(seq));
        let lost_back = there.into_iter().filter(|seq| !self.back.contains_key(seq));
        [lost_there, lost_back.collect()]
    }

    /// The first packet that the target had after `us` from another address than the last before.
    fn moved(&self, us: i64) -> Option<Came> {
        let mut came = self.there.values();
        let before = came.clone().rfind(|packet| packet.at_us < us)?.from;
        came.find(|packet| packet.at_us >= us && packet.from != before)
            .copied()
    }
}

/// Numbers in a row as their ends, as in `151-158, 160`.
fn runs(numbers: &[u32]) -> String {
    let rows = numbers.chunk_by(|a, b| a + 1 == *b);
    let rows = rows.map(|row| match row {
        [first, .., last] => format!("{first}-{last}"),
        [one] => one.to_string(),
        [] => String::new(),
    });
    rows.collect::<Vec<_>>().join(", ")
}

/// The first event of class `c` for which `wanted` holds, once the controller has been told of it.
fn event(deployment: &Deployment<'_>, what: &str, wanted: impl Fn(&Event) -> bool) -> Event {
    let started = now();
    loop {
        let events = deployment.class("c").events;
        if let Some(event) = events.iter().find(|event| wanted(event)) {
            return event.clone();
        }
        assert!(started.elapsed() < LIMIT, "no event of {what} in {events:#?}");
        thread::sleep(LOOK);
    }
}

/// Waits until the teacher has been connected to all edges for some seconds, by one route over two edges, with a standby
/// that leads to another exit.
fn has_another_exit(deployment: &Deployment<'_>) {
    let (mut before, mut since) = (Vec::new(), now());
    until("another exit", || {
        let report = deployment.agent("teacher");
        let leg = report.legs.first().expect("a leg");
        let mut exits = leg.routes.iter().map(|route| route.edges.last());
        let ready = exits.any(|exit| exit != leg.in_use.last())
            && leg.in_use.len() == 2
            && report.edges.iter().filter(|edge| edge.connected).count() == EDGES.len();
        if !ready || leg.in_use != before {
            (before, since) = (leg.in_use.clone(), now());
        }
        since.elapsed() > Duration::from_secs(8)
    });
}

/// The exit to a target is killed, and the one that took its place, which by then has the first beside it again.
#[test]
fn when_the_exit_to_a_target_dies_the_flow_moves_to_another() {
    if let Some(why) = unavailable() {
        say(format_args!(
            "SKIPPED when_the_exit_to_a_target_dies_the_flow_moves_to_another: {why}"
        ));
        return;
    }
    let nodes = ["ctl", "e1", "e2", "e3", "e4", "teacher", "student", "sfu"];
    let nodes: String = nodes.iter().map(|node| format!("[nodes.{node}]\n")).collect();
    let mut links = links(10).to_vec();
    links.extend([
        ("sfu", "e2", 10),
        ("sfu", "e4", 14),
        ("sfu", "e1", 150),
        ("sfu", "e3", 150),
    ]);
    let world = world(&nodes, &links);
    let mut deployment = Deployment::start(&world, &EDGES, &AGENTS);
    let sfu = SocketAddr::new(world.node("sfu").address(), 5_004);
    let target = listen(world.node("sfu").inside(|| UdpSocket::bind(sfu)), true);
    let to = sfu.to_string();
    let budget = ["--target", &to, "--budget", "600ms"];
    carried(&deployment, &budget, "5004", &to, |leg| leg.in_use.is_some());

    for which in ["the first exit", "the exit that took over"] {
        has_another_exit(&deployment);
        let calling = call(world.node("teacher"), 5_004, 500);
        let route = by_which(&deployment, Duration::from_secs(3));
        let exit = route.last().expect("by an edge");
        let died = wall_us();
        deployment.process(exit).kill9();
        let local = calling.local;
        let called = Called::of(calling, &target);

        let [there, back] = called.lost();
        let [twice_there, twice_back] = called.repeated;
        let moved = called.moved(died).expect("packets from another exit");
        let answered = called.back.range(moved.seq..).next().map(|(_, packet)| packet);
        let after = |us: i64| (us - died) / 1_000;
        let way = ["teacher"].into_iter().chain(route.iter().map(String::as_str));
        let way: Vec<_> = way.collect();
        say(format_args!(
            "death of {which}, {exit}, killed after packet {} of {}, {} ms from the teacher and back: \
             lost {} there ({}), {} back ({}), {} twice there, {} back; from another address ({}) after {} ms, \
             sent {} ms after the death; answered again after {} ms",
            called.sent.iter().filter(|at| **at < died).count(),
            called.sent.len(),
            round_trip(10, &way),
            there.len(),
            runs(&there),
            back.len(),
            runs(&back),
            twice_there,
            twice_back,
            moved.from,
            after(moved.at_us),
            after(called.sent[moved.seq as usize]),
            answered.map_or(-1, |packet| after(packet.at_us)),
        ));
        let flows = deployment.agent("teacher").media.expect("media").flows;
        let flow = flows.iter().find(|flow| flow.local == local).expect("a flow");
        say(format_args!(
            "the agent counts {} sent, {} received, {} lost, {} repeated, {} too old, {} undone, {} moves",
            flow.counts.sent,
            flow.counts.received,
            flow.counts.lost,
            flow.counts.repeated,
            flow.counts.too_old,
            flow.undone,
            flow.moves,
        ));
        let told = event(&deployment, "another address", |event| {
            event.kind == "switch"
                && event.subject.as_deref() == Some("teacher")
                && micros(&event.at) >= died
                && event.detail["exit_changed"] == true
        });
        say(format_args!(
            "the class says {} ms after the death: {}",
            after(micros(&told.at)),
            told.text
        ));
        world.void();
        assert_ne!(world.node(exit).address(), moved.from.ip());
        assert_eq!(called.repeated, [0, 0]);
        assert!(there.len() + back.len() < 100, "{there:?} {back:?}");
        // It goes on to the end.
        let last = called.sent.len() - 50;
        let lost = [there, back].concat();
        assert!(lost.iter().all(|seq| (*seq as usize) < last), "{lost:?}");
        assert!(told.text.contains("another address"), "{}", told.text);
        deployment.run_edge(exit);
    }
}

/// The routes of a flow of the teacher's, by what the teacher says of it and by what the student does.
fn both_ways(deployment: &Deployment<'_>, flow: &FlowReport) -> [Vec<String>; 2] {
    let ours = deployment.agent("teacher").media.expect("media").flows;
    let ours = ours
        .into_iter()
        .find(|ours| ours.id == flow.id)
        .expect("the flow");
    let ends = deployment.agent("student").media.expect("media").ends;
    let theirs = ends.into_iter().find(|end| end.id == flow.id).expect("its end");
    [ours.route.expect("a route"), theirs.route]
}

/// Waits until `done`, and answers after how many ms since then it was.
fn until(what: &str, mut done: impl FnMut() -> bool) -> i64 {
    let (started, since) = (now(), wall_us());
    while !done() {
        assert!(started.elapsed() < LIMIT, "{what}: not within {LIMIT:?}");
        thread::sleep(LOOK);
    }
    (wall_us() - since) / 1_000
}

/// What an edge that was just started comes to be for the teacher.
fn takes_part(deployment: &Deployment<'_>, name: &str) {
    let connected = until("connected", || {
        let edges = deployment.agent("teacher").edges;
        edges
            .iter()
            .any(|edge| edge.name == name && edge.connected && edge.heard_s.is_some_and(|s| s < 1.0))
    });
    let mut in_use = Vec::new();
    let on_a_route = until("on a route", || {
        let report = deployment.agent("teacher");
        let leg = report.legs.first().expect("a leg");
        in_use.clone_from(&leg.in_use);
        let mut routes = leg.routes.iter().map(|route| &route.edges);
        routes.any(|route| route.iter().any(|edge| edge == name))
    });
    let role = if in_use.iter().any(|edge| edge == name) {
        "in use"
    } else {
        "standby"
    };
    say(format_args!(
        "{name} runs: heard by the teacher after {connected} ms, {role} after {} ms",
        connected + on_a_route
    ));
}

/// Drained by command, then told to stop, then back again; and one that was never there joins.
#[test]
fn an_edge_that_drains_loses_nothing() {
    if let Some(why) = unavailable() {
        say(format_args!("SKIPPED an_edge_that_drains_loses_nothing: {why}"));
        return;
    }
    // Better than those that are there, which must not be needed for it to take part.
    let more = [
        ("teacher", "e5", 4),
        ("e5", "e2", 25),
        ("e5", "e4", 26),
        ("student", "e5", 150),
    ];
    let links = [&links(10)[..], &more].concat();
    let nodes = ["ctl", "e1", "e2", "e3", "e4", "e5", "teacher", "student"];
    let world = world(&nodes.map(|node| format!("[nodes.{node}]\n")).concat(), &links);
    let mut deployment = in_class(&world, &["--budget", "600ms"]);
    let _server = server(&world);
    whole_again(&deployment);

    let talking = client(&world, "24s");
    let flow = sending(&deployment, Duration::from_secs(2));
    let entry = both_ways(&deployment, &flow)[0][0].clone();
    drain(&deployment, &entry, &[]);
    let off = until("off it", || {
        !both_ways(&deployment, &flow).concat().contains(&entry)
    });
    let process = deployment.process(&entry);
    process.terminate();
    let stopping = wall_us();
    // With what ending takes on a busy machine.
    let ended = process.wait(PATIENCE + Duration::from_secs(5));
    let stopped = (wall_us() - stopping) / 1_000;
    let talk = talked(talking);
    say(format_args!(
        "{entry} drains: both ways are off it {off} ms after the command; it ends {stopped} ms after SIGTERM ({ended}); \
         {} sent, {} lost there, {} back, {} twice",
        talk.sent, talk.lost_up, talk.lost_down, talk.repeated
    ));
    world.void();
    let drained = (talk.lost_up, talk.lost_down, talk.repeated);

    // Both come while somebody talks.
    let talking = client(&world, "24s");
    let flow = sending(&deployment, Duration::from_secs(2));
    drain(&deployment, &entry, &["--off"]);
    deployment.run_edge(&entry);
    takes_part(&deployment, &entry);
    deployment.join_edge("e5");
    deployment.run_edge("e5");
    takes_part(&deployment, "e5");
    let talk = talked(talking);
    let [there, back] = both_ways(&deployment, &flow);
    say(format_args!(
        "while edges come: {} sent, {} lost there, {} back, {} twice; by {there:?} and {back:?} in the end",
        talk.sent, talk.lost_up, talk.lost_down, talk.repeated
    ));
    world.void();
    assert!(ended.success(), "{ended}");
    assert_eq!(drained, (0, 0, 0));
    assert_eq!((talk.lost_up, talk.lost_down, talk.repeated), (0, 0, 0));
}

/// `corridor edge drain`
fn drain(deployment: &Deployment<'_>, name: &str, more: &[&str]) {
    let data = deployment.data_text(CONTROLLER);
    let drain = ["edge", "drain", name, "--data", &data];
    deployment.cli(CONTROLLER, &[&drain[..], more].concat());
}

/// The teacher's machine moves to another network, as from Wi-Fi to mobile: once with both for a moment, once with
/// neither for a second; or with both as often as `tests/lab/deaths` says.
#[test]
fn an_agent_that_changes_its_address_loses_little() {
    if let Some(why) = unavailable() {
        say(format_args!(
            "SKIPPED an_agent_that_changes_its_address_loses_little: {why}"
        ));
        return;
    }
    let others = ["ctl", "e1", "e2", "e3", "e4", "student"].map(|node| format!("[nodes.{node}]\n"));
    let [first, second] = ["10.98.0.1", "10.98.0.2"];
    let nodes = format!(
        "{}[nodes.teacher]\naddresses = [\"{first}\", \"{second}\"]\n",
        others.concat()
    );
    let around = Around::set();
    let world = world(&nodes, &links(around.near));
    let address = |what: &str, address: &str| {
        let address = format!("{address}/32");
        ip(&world, &["addr", what, &address, "dev", "net0"]);
    };
    // Gone with the last address.
    let route = || ip(&world, &["route", "replace", "default", "dev", "net0"]);
    address("del", second);
    let mut deployment = in_class(&world, &["--budget", "600ms", "--protect", &around.protect]);
    let _server = server(&world);

    let rounds = rounds();
    let often = rounds.clone().map(|rounds| vec![Duration::ZERO; rounds.len()]);
    let gaps = often.unwrap_or_else(|| vec![Duration::ZERO, Duration::from_secs(1)]);
    let [mut old, mut new] = [first, second];
    for (gap, round) in gaps.into_iter().zip(rounds.map_or(0, |rounds| rounds.start)..) {
        whole_again(&deployment);
        if around.alone {
            deployment.process(CONTROLLER).kill9();
        }
        world.reset_stats();
        let talking = client(&world, "12s");
        let flow = sending(&deployment, before(round));
        let before = flow.route.as_ref();
        let changed = wall_us();
        if gap.is_zero() {
            address("add", new);
        }
        let gone = wall_us();
        address("del", old);
        if !gap.is_zero() {
            thread::sleep(gap);
            address("add", new);
        }
        (old, new) = (new, old);
        route();
        let done = wall_us();
        // The route goes with the old address: until it is there again, nothing can be sent.
        let (took, without) = ((done - changed) / 1_000, (done - gone) / 1_000);
        let connected = until("connected", || {
            let since = (wall_us() - done) as f64 / 1e6;
            let edges = deployment.agent("teacher").edges;
            let heard = |s: f64| s < since;
            edges
                .iter()
                .all(|edge| edge.connected && edge.heard_s.is_some_and(heard))
        });
        let talk = talked(talking);
        if around.alone {
            deployment.start_controller();
        }
        let told = event(&deployment, "the move", |event| {
            event.kind == "moved" && micros(&event.at) >= changed
        });
        let [there, back] = both_ways(&deployment, &flow);
        let entry = before.and_then(|route| route.first()).expect("an entry");
        let beside = round_trip(around.near, &["teacher", entry]);
        let late = world.void();
        say(format_args!(
            "another address at {} ms, protect {}, {} controller, {without} ms without a route, the change took {took} \
             ms: noticed {} ms after it began, all edges heard {} ms after; {} sent, {} lost there, {} back of {} \
             borne and {} with the time without a route, {} twice, the longest gap {} ms; by {before:?} before, {there:?} and {back:?} after{}",
            2 * around.near,
            around.protect,
            if around.alone { "without a" } else { "with its" },
            (micros(&told.at) - changed) / 1_000,
            took + connected,
            talk.sent,
            talk.lost_up,
            talk.lost_down,
            borne(beside),
            borne(beside + without as f64),
            talk.repeated,
            talk.longest_gap * STEP.as_millis() as u64,
            if late { ", on a machine that was late" } else { "" },
        ));
        assert_eq!(talk.repeated, 0);
        assert!(
            ((talk.lost_up + talk.lost_down) as f64) < RATE * gap.as_secs_f64() + 100.0,
            "{talk:?}"
        );
        // It goes on to the end.
        assert!(talk.last_lost + 50 < talk.sent, "{talk:?}");
    }
}

/// `ip` at the teacher.
fn ip(world: &World, args: &[&str]) {
    let mut ip = world.node("teacher").spawn("ip", args, []);
    assert!(ip.wait(LIMIT).success(), "ip {args:?}: {}", ip.stderr());
}
