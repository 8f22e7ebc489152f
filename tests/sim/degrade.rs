//! A route in use turns bad under media, once for each seed: how long until the one who talks has left it, and that
//! nobody else moves.

use std::{io::Write as _, path::Path, time::Duration};

use corridor::sim::scenario::Scenario;

use super::{lines, play_parsed};

const SEEDS: u64 = 20;

/// Two pairs talk, by routes of their own. The middle of the first pair's route turns bad, at another moment of every
/// grid for each seed.
const WORLD: &str = r#"
about = "a middle link turns bad under media"
duration = "85s"
default = { delay = "90ms" }
[edges]
fra = { region = "eu" }
ams = { region = "eu" }
sin = { region = "asia" }
hkg = { region = "asia" }
[agents]
teacher = { region = "eu" }
student = { region = "asia" }
other = { region = "eu" }
friend = { region = "asia" }
[[links]]
between = ["teacher", "fra"]
both = { delay = "10ms" }
[[links]]
between = ["teacher", "ams"]
both = { delay = "18ms" }
[[links]]
between = ["student", "sin"]
both = { delay = "15ms" }
[[links]]
between = ["student", "hkg"]
both = { delay = "20ms" }
[[links]]
between = ["other", "ams"]
both = { delay = "10ms" }
[[links]]
between = ["friend", "hkg"]
both = { delay = "10ms" }
[[links]]
between = ["fra", "sin"]
both = { delay = "45ms" }
[[links]]
between = ["fra", "hkg"]
both = { delay = "52ms" }
[[links]]
between = ["ams", "sin"]
both = { delay = "48ms" }
[[links]]
between = ["ams", "hkg"]
both = { delay = "40ms" }
[[links]]
between = ["fra", "ams"]
both = { delay = "5ms" }
[[links]]
between = ["sin", "hkg"]
both = { delay = "17ms" }
[[at]]
time = "30s"
create = { id = "math", who = { teacher = "teacher", student = "student" } }
[[at]]
time = "30s"
create = { id = "other", who = { other = "teacher", friend = "student" } }
[[at]]
time = "40s"
talk = { name = "voice", between = ["teacher", "student"], class = "math" }
[[at]]
time = "40s"
talk = { name = "voices", between = ["other", "friend"], class = "other" }
[[expect]]
time = "65s"
in_use = { agent = "teacher", class = "math", is = ["fra", "sin"] }
[[expect]]
time = "65s"
in_use = { agent = "other", class = "other", is = ["ams", "hkg"] }
[[at]]
time = "BAD"
link = { between = ["fra", "sin"], FAULT }
[[expect]]
ledgers = true
"#;

/// From the fault to the first move of the teacher, for each seed, in ascending order; [`Duration::MAX`] if there was
/// none.
fn left_after(fault: &str) -> Vec<Duration> {
    let mut taken: Vec<_> = (0..SEEDS).map(|seed| one(fault, seed)).collect();
    taken.sort_unstable();
    let [p50, p95] = [SEEDS / 2, SEEDS * 19 / 20].map(|rank| taken[rank as usize - 1]);
    let all: Vec<_> = taken.iter().map(Duration::as_millis).collect();
    // Past the harness, which hides what passing tests print.
    let _ = writeln!(
        std::io::stderr(),
        "sim: {fault}: left after {p50:?} (median), {p95:?} (95 of 100), all in ms: {all:?}"
    );
    taken
}

fn one(fault: &str, seed: u64) -> Duration {
    let bad = Duration::from_micros(65_000_000 + seed * 137_731 % 1_000_000);
    let text = WORLD
        .replace("BAD", &format!("{}us", bad.as_micros()))
        .replace("FAULT", fault);
    let mut scenario = Scenario::parse(&text).unwrap_or_else(|e| panic!("{e}"));
    scenario.seed = seed + 1;
    let outcome = play_parsed(&scenario);
    if let Some(dir) = std::env::var_os("CORRIDOR_SIM_LOGS") {
        let name = format!("degrade-{seed}.log");
        std::fs::write(Path::new(&dir).join(name), lines(&outcome)).unwrap();
    }
    assert!(
        outcome.failures.is_empty(),
        "seed {seed}: {:?}\n{}",
        outcome.failures,
        lines(&outcome)
    );
    let moves = outcome.log.iter().filter(|entry| {
        let is_switch = entry.fields.get("kind").is_some_and(|kind| kind == "switch");
        entry.message == "live choice" && is_switch && entry.at >= bad
    });
    let (mine, others): (Vec<_>, Vec<_>) =
        moves.partition(|entry| entry.fields.get("class").is_some_and(|class| class == "math"));
    assert!(others.is_empty(), "seed {seed}: {others:?}");
    let first = mine.iter().find(|entry| entry.who.contains("teacher"));
    first.map_or(Duration::MAX, |entry| entry.at - bad)
}

fn at(taken: &[Duration], share: usize) -> Duration {
    taken[taken.len() * share / 100 - 1]
}

#[test]
fn a_tenth_lost_on_one_way_is_left_within_seconds() {
    for fault in ["there = { loss = 0.1 }", "back = { loss = 0.1 }"] {
        let taken = left_after(fault);
        assert!(at(&taken, 50) <= Duration::from_secs(2), "{fault}");
        assert!(at(&taken, 95) <= Duration::from_secs(4), "{fault}");
    }
}

#[test]
fn a_third_lost_is_left_within_a_second() {
    let taken = left_after("there = { loss = 0.3 }");
    assert!(at(&taken, 95) <= Duration::from_secs(1));
}

#[test]
fn delay_beyond_the_budget_is_left_within_a_second() {
    let taken = left_after("there = { add_delay = \"150ms\" }");
    assert!(at(&taken, 95) <= Duration::from_secs(1));
}
