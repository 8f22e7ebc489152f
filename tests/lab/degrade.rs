//! The way from an agent to its entry turns bad under media: how soon the flow leaves it, and that others' flows
//! by the same edge stay.

use std::{ops::RangeInclusive, thread, time::Duration};

use corridor_netem::packet::Proto;
use serde_json::Value;

use crate::{
    deployment::{CONTROLLER, Deployment, LIMIT, Line, now, wall_us},
    proc::Proc,
    talks::{Around, EDGES, PORT, by_which, client_at, links, server_at, talked, toml},
    world::{World, say, unavailable},
};

/// How the way turns bad: its name, the directions, and what they do from then on, beside what they did.
const KINDS: [(&str, &str, &str); 4] = [
    ("a third lost there", ":", "loss=0.3"),
    ("a tenth lost there", ":", "loss=0.1"),
    ("a tenth lost back", "~", "loss=0.1"),
    ("150 ms more", "+", "delay_ms=85"),
];
const GOOD: &str = "loss=0 delay_ms=10";
/// Whose flows these are: who turns bad, and who does not.
const PAIRS: [[&str; 2]; 2] = [["teacher", "student"], ["anna", "ben"]];
/// Of the talk's packets on the line: 160 bytes, and what carries them.
const LENGTHS: RangeInclusive<u16> = 220..=340;
/// How soon it must have moved, while the talk lasts; the figure itself is printed, and judged by people.
const MOVED: Duration = Duration::from_secs(10);

fn switches(deployment: &Deployment<'_>, agent: &str) -> Vec<Line> {
    let mut log = deployment.log(agent);
    log.retain(|line| line.message() == "live choice" && line.text("kind") == "switch");
    log
}

/// A class of a pair, once both legs have a route, and a standby that shares no edge with it.
fn begin(deployment: &Deployment<'_>, id: &str, [teacher, student]: [&str; 2]) {
    deployment.begin_class(id, teacher, student);
    deployment.wait_class(id, "both legs, with standbys", LIMIT, |class| {
        let ready = |subject: &str| {
            let person = class.participants.iter().find(|p| p.subject == subject)?;
            let leg = person.legs.first()?;
            let used = leg.in_use.as_ref()?;
            let apart =
                |standby: &Vec<String>| standby.len() == 2 && standby.iter().all(|edge| !used.contains(edge));
            leg.standbys.iter().any(apart).then_some(())
        };
        ready(teacher).and(ready(student))
    });
}

fn end(deployment: &Deployment<'_>, id: &str) {
    let data = deployment.data_text(CONTROLLER);
    deployment.cli(CONTROLLER, &["class", "end", id, "--data", &data]);
}

/// What the first agent of a pair sends to a local port comes to the second's.
fn carry(deployment: &Deployment<'_>, [from, to]: [&str; 2]) {
    let data = [from, to].map(|agent| deployment.data_text(agent));
    let (listen, target) = (format!("127.0.0.1:{PORT}"), format!("agent:{to}:{PORT}"));
    deployment.cli(to, &["agent", "accept", PORT, "--data", &data[1]]);
    let forward = [
        "agent", "forward", "--listen", &listen, "--to", &target, "--data", &data[0],
    ];
    deployment.cli(from, &forward);
}

/// Turns the way bad in the middle of a talk, and tells how soon it was left.
fn turn_bad(
    world: &World,
    deployment: &Deployment<'_>,
    (name, directions, bad): (&str, &str, &str),
    alone: bool,
) {
    let [teacher, _] = PAIRS[0];
    let talking: Proc = client_at(world, teacher, "15s");
    let before = by_which(deployment, Duration::from_secs(4));
    let entry = before.first().expect("a route of edges").clone();
    let way = match directions {
        "~" => format!("{entry}:{teacher}"),
        between => format!("{teacher}{between}{entry}"),
    };
    let others = deployment.agent(PAIRS[1][0]).legs;
    let others = others.first().and_then(|leg| leg.in_use.first()).cloned();
    let (known, at, started) = (switches(deployment, teacher).len(), wall_us(), now());
    world.reset_stats();
    world.set(&way, bad);
    let switch = loop {
        let mut new = switches(deployment, teacher).into_iter().skip(known);
        if let Some(switch) = new.find(|switch| leaves(switch, &entry)) {
            break switch;
        }
        assert!(
            started.elapsed() < MOVED,
            "{name}: has not moved within {MOVED:?}"
        );
        thread::sleep(Duration::from_millis(20));
    };
    let after = (switch.at_us - at) / 1_000;
    let [there, back] = [(teacher, &*entry), (&*entry, teacher)].map(|(from, to)| {
        let row = world.row(from, to, Proto::Udp, LENGTHS);
        format!("{} of {}", row.lost, row.sent)
    });
    let talk = talked(talking);
    world.set(&format!("{teacher}+{entry}"), GOOD);
    let late = world.void();
    say(format_args!(
        "{name}{}, by {before:?}: left after {after} ms; lost by the emulator until then {there} there, {back} back; \
         of the talk's {}, {} there, {} back; the others by {}{}; {}",
        if alone { " without a controller" } else { "" },
        talk.sent,
        talk.lost_up,
        talk.lost_down,
        others.unwrap_or_default(),
        if late { ", on a machine that was late" } else { "" },
        switch.text("detail"),
    ));
}

/// Whether a move leads to another entry than this one.
fn leaves(switch: &Line, entry: &str) -> bool {
    let detail: Value = serde_json::from_str(switch.text("detail")).unwrap_or_default();
    let to = detail["to"][0].as_u64();
    to.is_some_and(|to| format!("e{to}") != entry)
}

/// Of the emulator's losses: `CORRIDOR_SEED`, to have those of another run again, or this moment's.
fn seed() -> u64 {
    match std::env::var("CORRIDOR_SEED") {
        Ok(seed) => seed.parse().expect("a number"),
        Err(_) => wall_us().unsigned_abs(),
    }
}

/// The first kind once, or each as often as `CORRIDOR_DEGRADE` says, or those alone whose name has `CORRIDOR_KIND`; with
/// `CORRIDOR_ALONE` the controller is dead meanwhile.
#[test]
fn a_way_that_turns_bad_is_left_and_others_stay() {
    if let Some(why) = unavailable() {
        say(format_args!("SKIPPED a_way_that_turns_bad_is_left: {why}"));
        return;
    }
    let rounds: Option<usize> = std::env::var("CORRIDOR_DEGRADE")
        .ok()
        .map(|n| n.parse().expect("a number"));
    let names = ["ctl", "e1", "e2", "e3", "e4", "teacher", "student", "anna", "ben"];
    let nodes: String = names.map(|node| format!("[nodes.{node}]\n")).concat();
    let mut all = links(10).to_vec();
    for (like, other) in [("teacher", "anna"), ("student", "ben")] {
        let same = links(10).into_iter().filter(|(agent, ..)| *agent == like);
        all.extend(same.map(|(_, edge, ms)| (other, edge, ms)));
    }
    // Chance is another in each run: the same losses five times over would be one run.
    let seed = seed();
    say(format_args!("CORRIDOR_SEED={seed}"));
    let world = World::start(&format!("seed = {seed}\n{}", toml(&nodes, &all)));
    let mut deployment = Deployment::start(&world, &EDGES, &PAIRS.concat());
    let _servers: Vec<Proc> = PAIRS
        .iter()
        .map(|pair| {
            carry(&deployment, *pair);
            server_at(&world, pair[1])
        })
        .collect();
    begin(&deployment, "others", PAIRS[1]);
    thread::sleep(Duration::from_secs(6));
    let calm: Vec<usize> = PAIRS[1].map(|agent| switches(&deployment, agent).len()).into();

    let wanted = std::env::var("CORRIDOR_KIND").unwrap_or_default();
    let Around { alone, .. } = Around::set();
    let kinds = rounds.map_or(&KINDS[..1], |_| &KINDS[..]);
    for round in 0..rounds.unwrap_or(1) {
        for (n, kind) in kinds
            .iter()
            .enumerate()
            .filter(|(_, kind)| kind.0.contains(&wanted))
        {
            let id = format!("c{round}-{n}");
            begin(&deployment, &id, PAIRS[0]);
            // The live choice judges what it has seen for some seconds.
            thread::sleep(Duration::from_secs(6));
            let others = client_at(&world, PAIRS[1][0], "16s");
            if alone {
                deployment.process(CONTROLLER).kill9();
            }
            turn_bad(&world, &deployment, *kind, alone);
            let others = talked(others);
            assert_eq!(
                (others.lost_up, others.lost_down),
                (0, 0),
                "of the others: {others:?}"
            );
            if alone {
                deployment.start_controller();
            }
            end(&deployment, &id);
        }
    }
    let after: Vec<usize> = PAIRS[1].map(|agent| switches(&deployment, agent).len()).into();
    assert_eq!(after, calm, "others have moved");
}
