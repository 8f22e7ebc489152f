//! What is measured while processes are killed: every window that an agent closed is in the store, once.

use std::{collections::BTreeMap, path::Path, thread, time::Duration};

use corridor::proto;
use rusqlite::{Connection, OpenFlags};

use crate::{
    deployment::{CONTROLLER, Deployment, LIMIT, Line, now, wall_us},
    world::{World, say, unavailable},
};

const WORLD: &str = r#"
default = { delay_ms = 20, loss = 0.003 }
[nodes.ctl]
[nodes.e1]
[nodes.e2]
[nodes.e3]
[nodes.teacher]
[nodes.student]
[[link]]
between = ["teacher", "e1"]
both = { delay_ms = 5 }
[[link]]
between = ["student", "e2"]
both = { delay_ms = 5 }
"#;
const EDGES: [&str; 3] = ["e1", "e2", "e3"];
const AGENTS: [&str; 2] = ["teacher", "student"];
/// Two names of the same moment differ by what the estimate of the controller's time moved in between.
const SLACK_US: i64 = 300_000;
/// A window that was closed this long before its agent was killed is on disk.
const LAST_SECOND_US: i64 = 1_000_000;

/// A window as its agent logged it when it closed, or as a stored report has it: some of these merged.
#[derive(Debug, Clone, Copy)]
struct Window {
    /// When it was logged; 0 for a stored one.
    logged_us: i64,
    start_us: i64,
    length_us: i64,
    counts: [u64; 7],
}

/// Windows by the session that they are of.
type Windows = BTreeMap<String, Vec<Window>>;

fn logged(lines: &[Line]) -> Windows {
    let mut windows = Windows::new();
    for line in lines.iter().filter(|l| l.target == "corridor::window") {
        let counts = [
            "slots",
            "sent",
            "received",
            "lost_up",
            "lost_down",
            "late",
            "lost_unknown",
        ];
        let window = Window {
            logged_us: line.at_us,
            start_us: line.number("start_us").cast_signed(),
            length_us: line.number("length_ms").cast_signed() * 1_000,
            counts: counts.map(|name| line.number(name)),
        };
        windows
            .entry(line.text("session").to_owned())
            .or_default()
            .push(window);
    }
    windows
}

/// Every window of every agent's report in the files of a controller's store.
fn stored(data: &Path) -> Windows {
    let mut windows = Windows::new();
    let files = std::fs::read_dir(data.join("store")).expect("the store's directory");
    for file in files {
        let path = file.expect("a file").path();
        let name = path
            .file_name()
            .and_then(|n| n.to_str())
            .unwrap_or_default()
            .to_owned();
        if !(name.starts_with("reports-") && name.ends_with(".db")) {
            continue;
        }
        let db = Connection::open_with_flags(&path, OpenFlags::SQLITE_OPEN_READ_ONLY).expect("open a day");
        db.busy_timeout(LIMIT).expect("set the time-out");
        let mut query = db
            .prepare("SELECT body FROM reports WHERE kind = 0")
            .expect("the reports' table");
        let bodies = query
            .query_map([], |row| row.get::<_, Vec<u8>>(0))
            .expect("read it");
        for body in bodies {
            let report: proto::Report = proto::decode(&body.expect("a row")).expect("a report");
            for w in report.windows {
                let l = w.ledger.expect("a ledger");
                let counts = [
                    l.slots,
                    l.sent,
                    l.received,
                    l.lost_up,
                    l.lost_down,
                    l.late,
                    l.lost_unknown,
                ];
                let window = Window {
                    logged_us: 0,
                    start_us: w.start_us,
                    length_us: i64::from(w.length_ms) * 1_000,
                    counts: counts.map(u64::from),
                };
                windows
                    .entry(format!("{:016x}", w.session))
                    .or_default()
                    .push(window);
            }
        }
    }
    for of_session in windows.values_mut() {
        of_session.sort_by_key(|w| w.start_us);
    }
    windows
}

/// Compares what one run of an agent logged with what is stored. Windows logged before `sure_us` must be
/// there; all that is there must have been logged. Answers how many windows were compared, or the first
/// difference.
fn compare(logged: &Windows, stored: &Windows, sure_us: i64) -> Result<usize, String> {
    let mut compared = 0;
    for (session, closed) in logged {
        let mut closed = closed.iter().peekable();
        for whole in stored.get(session).into_iter().flatten() {
            let (mut parts, mut counts) = (0, [0; 7]);
            while let Some(part) =
                closed.next_if(|part| part.start_us < whole.start_us + whole.length_us - SLACK_US)
            {
                if parts == 0 && (part.start_us - whole.start_us).abs() > SLACK_US {
                    return Err(format!("{session}: {part:?} is not stored; next is {whole:?}"));
                }
                parts += 1;
                for (sum, count) in counts.iter_mut().zip(part.counts) {
                    *sum += count;
                }
            }
            if parts == 0 || counts != whole.counts {
                return Err(format!(
                    "{session}: {whole:?} is stored, of {parts} closed windows with {counts:?}"
                ));
            }
            compared += parts;
        }
        if let Some(missing) = closed.find(|part| part.logged_us < sure_us) {
            return Err(format!("{session}: {missing:?} is not stored"));
        }
    }
    Ok(compared)
}

/// Waits until all that a run of an agent logged before `sure_us` is in the store.
fn expect_all_stored(deployment: &Deployment<'_>, agent: &str, run: usize, sure_us: i64) {
    let started = now();
    let logged = logged(&deployment.log_of_run(agent, run));
    assert!(!logged.is_empty(), "{agent} closed no windows in run {run}");
    loop {
        match compare(&logged, &stored(&deployment.data(CONTROLLER)), sure_us) {
            Ok(compared) => {
                let lost: u64 = logged.values().flatten().map(|w| w.counts[3] + w.counts[4]).sum();
                say(format_args!(
                    "{agent}, run {run}: {compared} windows of {} sessions ({lost} probes lost) are stored \
                     once, after {:.1} s",
                    logged.len(),
                    started.elapsed().as_secs_f64()
                ));
                return;
            }
            Err(difference) => assert!(started.elapsed() < LIMIT, "{agent}, run {run}: {difference}"),
        }
        thread::sleep(Duration::from_millis(500));
    }
}

/// The edge that carries an agent's reports.
fn uplink(deployment: &Deployment<'_>, agent: &str) -> String {
    deployment.wait("an uplink", LIMIT, |status| {
        let agent = status.agents.iter().find(|a| a.subject == agent)?;
        agent.uplink.clone()
    })
}

#[test]
fn every_window_is_stored_once_whoever_is_killed() {
    if let Some(why) = unavailable() {
        say(format_args!("SKIPPED every_window_is_stored_once: {why}"));
        return;
    }
    let world = World::start(WORLD);
    let mut deployment = Deployment::start(&world, &EDGES, &AGENTS);
    deployment.begin_class("c", "teacher", "student");
    thread::sleep(Duration::from_secs(8));

    deployment.process(CONTROLLER).kill9();
    thread::sleep(Duration::from_secs(15));
    deployment.start_controller();
    deployment.wait_until_up(&EDGES, &AGENTS);
    say("the controller was killed and is back");

    let edge = uplink(&deployment, "teacher");
    deployment.process(&edge).kill9();
    thread::sleep(Duration::from_secs(6));
    let other = uplink(&deployment, "teacher");
    deployment.run_edge(&edge);
    deployment.wait_until_up(&EDGES, &AGENTS);
    say(format_args!(
        "{edge} was killed and is back; teacher reported by {other} meanwhile"
    ));

    // In the middle of a report: what was closed since the last one is in the journal only.
    let closed = deployment.agent("teacher").reports_closed;
    while deployment.agent("teacher").reports_closed == closed {
        thread::sleep(Duration::from_millis(100));
    }
    thread::sleep(Duration::from_secs(4));
    deployment.process("teacher").kill9();
    let killed = wall_us();
    deployment.run_agent("teacher");
    deployment.wait_until_up(&EDGES, &AGENTS);
    expect_all_stored(&deployment, "teacher", 0, killed - LAST_SECOND_US);

    // Windows close four seconds after they began.
    thread::sleep(Duration::from_secs(6));
    // What a run has closed but not told goes out with the next one.
    for agent in AGENTS {
        deployment.stop(agent);
        deployment.run_agent(agent);
    }
    expect_all_stored(&deployment, "teacher", 1, i64::MAX);
    expect_all_stored(&deployment, "student", 0, i64::MAX);
    world.void();
}

/// The comparison itself: what it must find.
#[test]
fn holes_repeats_and_other_counts_are_found() {
    let second = |n: i64, sent: u64| Window {
        logged_us: (n + 4) * 1_000_000,
        start_us: n * 1_000_000,
        length_us: 1_000_000,
        counts: [sent; 7],
    };
    let merged = |from: i64, to: i64, sent: u64| Window {
        length_us: (to - from) * 1_000_000,
        ..second(from, sent)
    };
    let of = |windows: &[Window]| Windows::from([("s".to_owned(), windows.to_vec())]);
    let logged = of(&[second(0, 1), second(1, 1), second(5, 1), second(6, 1)]);
    let check = |stored: &[Window], sure_us| compare(&logged, &of(stored), sure_us);
    let whole = [merged(0, 6, 3), second(6, 1)];
    assert_eq!(check(&whole, i64::MAX), Ok(4), "with a pause in the middle");
    assert_eq!(
        check(&whole[..1], 10_000_000),
        Ok(3),
        "the last one may be missing"
    );
    for (wrong, what) in [
        (&whole[..1], "the end is missing"),
        (&whole[1..], "the beginning is missing"),
        (&[merged(0, 2, 2), second(6, 1)], "a hole"),
        (&[merged(0, 6, 3), merged(0, 6, 3), second(6, 1)], "a repeat"),
        (&[merged(0, 6, 3), merged(5, 7, 2)], "a repeat in part"),
        (&[merged(0, 6, 2), second(6, 1)], "other counts"),
        (&[merged(0, 6, 3), second(6, 1), second(7, 1)], "never closed"),
        (&[], "nothing"),
    ] {
        assert!(check(wrong, i64::MAX).is_err(), "{what}");
    }
}
