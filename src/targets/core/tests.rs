use std::collections::BTreeSet;

use super::*;

const MS: Duration = Duration::from_millis(1);

/// A core and a network in which some methods answer after 30 ms.
struct World {
    core: Core,
    now: Mono,
    answering: BTreeSet<Method>,
    sent: Vec<(Mono, Probe)>,
    resolved: Vec<String>,
    closed: Vec<Closed>,
    flying: VecDeque<(Mono, Key, Answer)>,
    found: Result<Vec<IpAddr>, String>,
}

impl World {
    fn new(answering: &[Method]) -> Self {
        Self {
            core: Core::new(Settings::default(), 1, 0, Mono::ZERO),
            now: Mono::ZERO,
            answering: answering.iter().copied().collect(),
            sent: Vec::new(),
            resolved: Vec::new(),
            closed: Vec::new(),
            flying: VecDeque::new(),
            found: Ok(vec![ip("198.51.100.7")]),
        }
    }

    fn run(&mut self, seconds: u64) {
        let until = self.now + Duration::from_secs(seconds);
        loop {
            while let Some(output) = self.core.poll(self.now) {
                self.execute(output);
            }
            self.closed.extend(std::iter::from_fn(|| self.core.poll_closed()));
            let next = self.core.next_wakeup().into_iter();
            let next = next.chain(self.flying.front().map(|(at, ..)| *at)).min();
            let Some(next) = next.filter(|&at| at <= until) else {
                self.now = until;
                return;
            };
            self.now = self.now.max(next);
            while self.flying.front().is_some_and(|(at, ..)| *at <= self.now) {
                if let Some((at, key, answer)) = self.flying.pop_front() {
                    self.core.answered(key, &answer, at, self.now);
                }
            }
        }
    }

    fn execute(&mut self, output: Output) {
        match output {
            Output::Resolve(name) => {
                self.core.resolved(&name, self.found.clone(), &[], self.now);
                self.resolved.push(name);
            }
            Output::Send(probe) => {
                self.core.sent(&probe, self.now);
                self.sent.push((self.now, probe));
                if self.answering.contains(&probe.key.method) {
                    let answer = Answer::Number(probe.number);
                    self.flying.push_back((self.now + 30 * MS, probe.key, answer));
                }
            }
            Output::Close(..) => {}
        }
    }

    fn set(&mut self, names: &[&str]) {
        let names: Vec<_> = names.iter().map(|n| (*n).to_owned()).collect();
        self.core.set(&names, self.now);
    }

    /// What the windows so far say: by which method, how many were sent and answered.
    fn told(&mut self) -> Vec<(Option<Method>, u32, u32)> {
        let mut told: Vec<(Option<Method>, u32, u32)> = Vec::new();
        for closed in self.closed.drain(..) {
            closed.window.ledger.check().unwrap();
            let About::Target { by, .. } = &closed.about else {
                panic!("{closed:?}")
            };
            let method = match by {
                By::Method(method) => Some(*method),
                By::Nothing(_) => None,
            };
            let ledger = closed.window.ledger;
            assert_eq!(
                (ledger.lost_up, ledger.lost_down),
                (0, 0),
                "no direction is known"
            );
            match told.last_mut() {
                Some(last) if last.0 == method => {
                    last.1 += ledger.sent;
                    last.2 += ledger.received;
                }
                _ => told.push((method, ledger.sent, ledger.received)),
            }
        }
        told
    }

    fn whys(&self) -> Vec<(String, String)> {
        let nothing = self.closed.iter().rev().find_map(|c| match &c.about {
            About::Target {
                by: By::Nothing(whys),
                ..
            } => Some(whys),
            _ => None,
        });
        let whys = nothing.into_iter().flatten();
        whys.map(|u| (u.what.clone(), u.why.clone())).collect()
    }
}

fn ip(text: &str) -> IpAddr {
    text.parse().unwrap()
}

fn pair(what: &str, why: &str) -> (String, String) {
    (what.to_owned(), why.to_owned())
}

#[test]
fn a_target_is_probed_once_a_second_by_the_best_method_that_answers() {
    let mut world = World::new(&[Method::Stun, Method::Icmp]);
    world.set(&["sfu.example:3478"]);
    world.run(33);
    assert_eq!(world.resolved, ["sfu.example:3478"]);
    let of = |purpose: fn(Purpose) -> bool| {
        let of = world.sent.iter().filter(|(_, p)| purpose(p.key.purpose));
        of.map(|(at, p)| (*at, p.key.method)).collect::<Vec<_>>()
    };
    let trial = of(|p| p == Purpose::Trial);
    assert_eq!(trial.len(), 9, "TCP has no port: {trial:?}");
    let measuring = of(|p| p != Purpose::Trial);
    assert!(measuring.iter().all(|(_, method)| *method == Method::Stun));
    let steps = measuring.windows(2).map(|w| w[1].0.since(w[0].0));
    assert!(steps.into_iter().all(|step| step == 1_000 * MS), "{measuring:?}");
    let rtts: BTreeSet<_> = world
        .closed
        .iter()
        .flat_map(|c| c.window.samples.iter().map(|s| s.rtt_us))
        .collect();
    assert_eq!(rtts, [30_000].into());
    let [(method, sent, received)] = world.told()[..] else {
        panic!()
    };
    assert_eq!(method, Some(Method::Stun));
    // And the three of the trial.
    assert!(sent == received && (28..=33).contains(&sent), "{sent} {received}");
}

#[test]
fn the_first_figures_are_those_of_the_trial() {
    let mut world = World::new(&[Method::Icmp]);
    world.set(&["sfu.example:3478"]);
    world.run(1);
    let [closed] = &world.closed[..] else {
        panic!("{:?}", world.closed)
    };
    let rtts: Vec<_> = closed.window.samples.iter().map(|s| s.rtt_us).collect();
    assert_eq!(rtts, [30_000; 3]);
    assert_eq!((closed.window.ledger.sent, closed.window.ledger.received), (3, 3));
}

#[test]
fn what_nothing_measures_says_why_every_ten_seconds() {
    let mut world = World::new(&[]);
    world.set(&["sfu.example:3478"]);
    world.run(31);
    assert_eq!(world.closed.len(), 3, "{:?}", world.closed);
    assert_eq!(
        world.whys(),
        [
            pair("stamp", "0 of 3 answered"),
            pair("stun", "0 of 3 answered"),
            pair("icmp", "0 of 3 answered"),
            pair("tcp", "targets.tcp_port names no port"),
        ]
    );
}

#[test]
fn an_address_that_may_not_be_probed_gets_no_probe_and_the_reason_is_told() {
    for (found, why) in [
        (
            Ok(vec![ip("10.0.0.1")]),
            "it is a private address, which targets.allow does not list",
        ),
        (Ok(Vec::new()), "the name has no address"),
        (Err("no such name".to_owned()), "no such name"),
    ] {
        let mut world = World::new(&Method::ALL);
        world.found = found;
        world.set(&["sfu.example:3478"]);
        world.run(20);
        assert_eq!(world.sent.len(), 0);
        assert_eq!(world.whys(), [pair("address", why)]);
    }
}

#[test]
fn the_name_is_looked_up_again_and_the_address_kept_while_it_has_it() {
    let mut world = World::new(&[Method::Icmp]);
    world.set(&["sfu.example:3478"]);
    world.run(310);
    assert_eq!(world.resolved.len(), 2);
    let sessions = |world: &World| {
        let keys: BTreeSet<_> = world.sent.iter().map(|(_, p)| (p.address, p.key.no)).collect();
        keys.len()
    };
    assert_eq!(sessions(&world), 1);
    // It fails once: what is known goes on.
    world.found = Err("the resolver does not answer".into());
    world.run(300);
    assert_eq!((sessions(&world), world.whys().len()), (1, 0));
    // One more address, and another one alone.
    world.found = Ok(vec![ip("198.51.100.8"), ip("198.51.100.7")]);
    world.run(300);
    assert_eq!(sessions(&world), 1);
    world.found = Ok(vec![ip("198.51.100.8")]);
    world.run(300);
    assert_eq!(sessions(&world), 2);
    assert_eq!(world.sent.last().unwrap().1.address.ip(), ip("198.51.100.8"));
    // It moves to where nobody may look.
    world.found = Ok(vec![ip("127.0.0.1")]);
    world.run(300);
    let sent = world.sent.len();
    world.run(100);
    assert_eq!(world.sent.len(), sent);
    assert_eq!(world.whys().len(), 1);
}

#[test]
fn a_target_that_falls_silent_loses_and_is_measured_again_when_it_is_back() {
    let mut world = World::new(&[Method::Stun]);
    world.set(&["sfu.example:3478"]);
    world.run(30);
    world.answering.clear();
    world.run(8);
    let before: u32 = world
        .told()
        .iter()
        .map(|(_, sent, received)| sent - received)
        .sum();
    assert_eq!(before, 0, "it is not known yet whether the method has failed");
    world.run(60);
    let [(Some(Method::Stun), sent, 0)] = world.told()[..] else {
        panic!("losses")
    };
    assert!(sent >= 50, "{sent}");
    world.answering.insert(Method::Stun);
    world.run(30);
    let told = world.told();
    assert!(told.iter().any(|(_, _, received)| *received > 20), "{told:?}");
}

#[test]
fn what_a_failed_method_did_not_answer_is_no_loss_of_the_target() {
    let mut world = World::new(&[Method::Stun, Method::Icmp]);
    world.set(&["sfu.example:3478"]);
    world.run(30);
    world.answering.remove(&Method::Stun);
    world.run(60);
    let told = world.told();
    let [
        (Some(Method::Stun), sent, received),
        (Some(Method::Icmp), icmp, answered),
    ] = told[..]
    else {
        panic!("{told:?}")
    };
    assert_eq!((sent - received, icmp - answered), (0, 0), "{told:?}");
    assert!(icmp > 30);
}

#[test]
fn one_probe_lost_among_answers_is_a_loss() {
    let mut world = World::new(&[Method::Icmp]);
    world.set(&["sfu.example:3478"]);
    world.run(20);
    world.answering.clear();
    world.run(1);
    world.answering.insert(Method::Icmp);
    world.run(10);
    let lost: u32 = world
        .told()
        .iter()
        .map(|(_, sent, received)| sent - received)
        .sum();
    assert_eq!(lost, 1);
}

#[test]
fn no_more_targets_than_the_cap_and_none_without_a_port() {
    let mut world = World::new(&[Method::Icmp]);
    let names: Vec<_> = (0..MAX_TARGETS + 3)
        .map(|i| format!("sfu-{i}.example:1"))
        .collect();
    let names: Vec<_> = names
        .iter()
        .map(String::as_str)
        .chain(["nowhere", "x:70000"])
        .collect();
    world.set(&names);
    assert_eq!(world.core.refused(), 5);
    world.run(1);
    assert_eq!(world.resolved.len(), MAX_TARGETS);
    world.set(&["sfu-0.example:1"]);
    let sent = world.sent.len();
    world.run(10);
    let others = world.sent[sent..].iter().filter(|(_, p)| p.key.no != No(0));
    assert_eq!(others.count(), 0, "those that are gone are probed no more");
}
