use std::{
    collections::{BTreeMap, BTreeSet},
    time::Duration,
};

use super::{Scenario, tell, timeline::Rounds};

const S: Duration = Duration::from_secs(1);

/// A world of an edge and two agents, with more.
fn text(more: &str) -> String {
    format!(
        "about = \"\"\nduration = \"60s\"\n{}\n[edges.fra]\n[agents.a]\n[agents.b]\nnat = true\n{}",
        more.split_once("---").map_or("", |(head, _)| head),
        more.split_once("---").map_or(more, |(_, rest)| rest)
    )
}

fn parse(more: &str) -> Scenario {
    Scenario::parse(&text(more)).unwrap_or_else(|e| panic!("{more}: {e}"))
}

#[test]
fn what_makes_no_sense_is_told_on_one_line_with_its_place() {
    for (more, words) in [
        ("x = 1 ---", &["line 3", "unknown field", "`x`"][..]),
        ("= ---", &["line 3"]),
        ("seed = \"x\" ---", &["line 3", "u64"]),
        ("probing = \"soon\" ---", &["line 3", "'soon' is no time"]),
        ("probing = \"200years\" ---", &["line 3", "hundred years"]),
        ("repeat = \"60s\" ---", &["repeat < duration"]),
        ("default = { loss = 1.5 } ---", &["default", "loss", "1.5"]),
        ("[edges.\"../x\"]\n", &["'../x'", "no name"]),
        ("[edges.a]\n", &["two machines 'a'"]),
        ("[edges.controller]\n", &["two machines 'controller'"]),
        (
            "[[links]]\nbetween = [\"a\", \"c\"]\n",
            &["line 8", "no machine 'c'"],
        ),
        ("[[links]]\nbetween = [\"a\", \"a\"]\n", &["line 8", "itself"]),
        (
            "[[at]]\ntime = \"1s\"\n",
            &["line 8", "one thing to do, this one 0"],
        ),
        (
            "[[at]]\ntime = \"1s\"\nkill = \"a\"\nstart = \"a\"\n",
            &["line 8", "this one 2"],
        ),
        (
            "[[at]]\ntime = \"1s\"\nkill = \"c\"\n",
            &["line 8", "no machine 'c'"],
        ),
        (
            "[[at]]\ntime = \"1s\"\nheal = [\"a\", \"c\"]\n",
            &["line 8", "'c'"],
        ),
        (
            "[[at]]\ntime = \"1s\"\nsleep = { machine = \"c\", for = \"1s\" }\n",
            &["line 8", "'c'"],
        ),
        (
            "[[at]]\ntime = \"1s\"\ndrain = \"a\"\n",
            &["line 8", "no edge 'a'"],
        ),
        (
            "[[at]]\ntime = \"1s\"\nrebind_nat = \"a\"\n",
            &["line 8", "'a' behind a NAT"],
        ),
        (
            "[[at]]\ntime = \"1s\"\nkill = \"a\"\ntimes = 1000000\n",
            &["line 8", "times"],
        ),
        (
            "[[at]]\ntime = \"1s\"\nlink = { between = [\"a\", \"b\"], there = { rate_kbps = 0 } }\n",
            &["line 8", "rate_kbps"],
        ),
        (
            "[[at]]\ntime = \"1s\"\ncreate = { id = \"c\", who = { z = \"teacher\" } }\n",
            &["line 8", "no agent 'z'"],
        ),
        (
            "[[expect]]\ntime = \"1s\"\n",
            &["line 8", "must hold, this one 0"],
        ),
    ] {
        let error = Scenario::parse(&text(more)).expect_err(more).to_string();
        assert!(!error.contains('\n'), "{error}");
        for word in words {
            assert!(error.contains(word), "{word:?} of {more:?} in: {error}");
        }
    }
}

#[test]
fn what_repeats_does_so_with_classes_anew() {
    let scenario = parse(
        "repeat = \"20s\" ---
        [[at]]
        time = \"0\"
        create = { id = \"long\", who = { a = \"teacher\" } }
        [[at]]
        time = \"20s\"
        create = { id = \"short\", who = { a = \"teacher\" } }
        [[at]]
        time = \"30s\"
        every = \"10s\"
        times = 9
        stall = { machine = \"b\", for = \"200ms\" }
        [[at]]
        time = \"50s\"
        end = \"short\"\n",
    );
    let acts: Vec<_> = Rounds::new(&scenario)
        .take(15)
        .map(|act| {
            (
                act.due.as_secs(),
                act.at.as_secs(),
                tell::what(&act.action, act.lasts),
            )
        })
        .collect();
    let stall = "the line of b stands still for 200 ms".to_owned();
    let mut expected = vec![(0, 0, "class long begins: a".to_owned())];
    for (round, suffix) in [(0, ""), (1, "-round-2")] {
        let due = |at: u64| (at + 40 * round, at);
        let mut push = |at: u64, what: String| expected.push((due(at).0, at, what));
        push(20, format!("class short{suffix} begins: a"));
        for at in [30, 40, 50] {
            push(at, stall.clone());
        }
        push(50, format!("class short{suffix} ends"));
        push(60, stall.clone());
    }
    assert_eq!(acts[..13], expected);
    assert_eq!((acts[13].0, acts[14].0), (100, 110), "it goes on");
    let once = parse("[[at]]\ntime = \"1s\"\ncut = \"a\"\n[[at]]\ntime = \"61s\"\njoin = \"a\"\n");
    assert_eq!(Rounds::new(&once).count(), 1, "nothing happens after the end");
}

#[test]
fn actions_in_words() {
    for (action, words) in [
        (
            "link = { between = [\"a\", \"fra\"], both = { add_delay = \"75ms\" } }",
            "+150 ms between a and fra for 40 s",
        ),
        (
            "link = { between = [\"a\", \"fra\"], there = { add_delay = \"30ms\", loss = 0.125 } }",
            "+30 ms, 12.5 % loss from a to fra between a and fra for 40 s",
        ),
        (
            "link = { between = [\"fra\", \"a\"], both = { blackhole = true, rate_kbps = 400 } }",
            "nothing passes, 400 kbit/s between fra and a for 40 s",
        ),
        ("kill = \"fra\"", "fra is killed for 40 s"),
        ("cut = \"a\"", "a is cut off the network"),
        (
            "step_clock = { machine = \"a\", by = \"-1h\" }",
            "the clock of a is set 1h back",
        ),
        (
            "sleep = { machine = \"a\", for = \"90s\" }",
            "a sleeps for 1m 30s",
        ),
    ] {
        let scenario = parse(&format!(
            "[[at]]\ntime = \"1s\"\n{action}\n[[at]]\ntime = \"41s\"\nheal = [\"fra\", \"a\"]\n
             [[at]]\ntime = \"41s\"\nstart = \"fra\"\n"
        ));
        let first = Rounds::new(&scenario).next().unwrap();
        assert_eq!(tell::what(&first.action, first.lasts), words);
    }
}

/// A round of the demo leaves the world as it found it, and something happens all the time.
#[test]
fn the_demo_repeats_for_ever() {
    let scenario = Scenario::demo().unwrap();
    let acts: Vec<_> = Rounds::new(&scenario).take(200).collect();
    let faults: Vec<_> = acts
        .iter()
        .filter(|a| a.action.create.is_none())
        .map(|a| a.due)
        .collect();
    assert!(faults[0] <= 30 * S, "{:?}", faults[0]);
    assert!(faults.windows(2).all(|w| w[1] - w[0] <= 90 * S), "{faults:?}");
    let mut wrong: BTreeMap<String, i32> = BTreeMap::new();
    let mut live = BTreeSet::new();
    for act in &acts {
        let action = &act.action;
        let pair = |[a, b]: &[String; 2]| format!("{a} {b}");
        let mut change = |what: &str, of: Option<String>, by: i32| {
            if let Some(of) = of {
                let now = wrong.entry(format!("{what} {of}")).or_default();
                *now += by;
                assert!((0..=1).contains(now), "{what} {of} at {:?}", act.due);
            }
        };
        change("run", action.kill.clone(), 1);
        change("run", action.start.clone(), -1);
        change("net", action.cut.clone(), 1);
        change("net", action.join.clone(), -1);
        change("link", action.link.as_ref().map(|l| pair(&l.between)), 1);
        change("link", action.heal.as_ref().map(pair), -1);
        if let Some(class) = &action.create {
            assert!(live.insert(class.id.clone()), "{} again", class.id);
        }
        if let Some(class) = &action.end {
            assert!(live.contains(class), "{class} never began");
        }
    }
}
