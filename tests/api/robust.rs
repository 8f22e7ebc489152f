//! What survives crashes, a full disk and wrong clocks.

use std::{
    fs,
    io::Write as _,
    path::{Path, PathBuf},
    process::Command,
    time::Duration,
};

use serde_json::Value;

use crate::{
    harness::{SOON, Up, finish, port, run, state, wait_for},
    library::{self, Offset, Wrong},
};

fn primary(status: &Value) -> Option<&Value> {
    let leg = &status["classes"][0]["participants"][0]["legs"][0];
    leg["primary"]
        .as_array()
        .filter(|p| !p.is_empty())
        .map(|_| &leg["primary"])
}

#[test]
fn all_is_back_after_kill_9() {
    let mut up = Up::start();
    let _student = up.agent("student-1");
    up.agents_up(&["local", "student-1"]);
    let token = up.token("agent", &[]);
    up.ask([
        "class",
        "create",
        "c",
        "--teacher",
        "local",
        "--student",
        "student-1",
    ])
    .ok();
    let before = wait_for("a plan", SOON, || {
        let status = up.status();
        primary(&status).is_some().then_some(status)
    });
    up.running.kill9();
    up.restart();
    up.agents_up(&["local", "student-1"]);
    let after = wait_for("the class has its plan", SOON, || {
        let status = up.status();
        primary(&status).is_some().then_some(status)
    });
    let ids = |status: &Value| {
        let agents = status["agents"].as_array().unwrap();
        let mut ids: Vec<_> = agents.iter().map(|a| a["id"].to_string()).collect();
        ids.sort();
        ids
    };
    assert_eq!(ids(&before), ids(&after));
    assert_eq!(primary(&before), primary(&after));
    assert_eq!(after["classes"][0]["state"], "live");
    assert_eq!(after["classes"][0]["id"], "c");
    // What was acknowledged before the crash holds: the token still lets in.
    let dir = tempfile::tempdir().unwrap();
    up.join("agent", &token, dir.path(), &["--subject", "late"]).ok();
}

#[test]
fn an_agent_that_came_before_the_edges_finds_them() {
    let controller = Up::controller();
    let early = controller.agent("early");
    let _edge = controller.edge("e-1", port());
    controller.agents_up(&["early"]);
    let told = run(["agent", "status", "--data", &early.data().display().to_string()]).ok();
    assert!(told.contains("reports through e-1"), "{told}");
}

/// A small file system of its own; unmounted when dropped.
struct Small(PathBuf);

impl Small {
    fn mount(at: &Path, bytes: u32) -> Option<Self> {
        fs::create_dir_all(at).unwrap();
        let size = format!("size={bytes}");
        let mounted = Command::new("mount")
            .args(["-t", "tmpfs", "-o", &size, "corridor-test"])
            .arg(at)
            .output();
        mounted
            .is_ok_and(|m| m.status.success())
            .then(|| Self(at.to_owned()))
    }
}

impl Drop for Small {
    fn drop(&mut self) {
        let _ = Command::new("umount").arg("-l").arg(&self.0).output();
    }
}

#[test]
fn a_full_disk_loses_nothing_that_was_acknowledged() {
    let dir = tempfile::tempdir().unwrap();
    let small = dir.path().join("small");
    let Some(_mounted) = Small::mount(&small, 4 << 20) else {
        println!("SKIPPED: mounting a small file system needs root");
        return;
    };
    let mut up = Up::at("controller", &[("RUST_LOG", "info")], small.join("data"));
    let mut filler = fs::File::create(small.join("filler")).unwrap();
    let block = vec![0u8; 4_096];
    while filler.write_all(&block).is_ok() {}
    // The files have some room of their own; then nothing more is taken, and that is said.
    let mut kept = Vec::new();
    let refusal = wait_for("the disk is full", SOON * 4, || {
        let ended = up.ask(["token", "create", "--service", "agent"]);
        if ended.code == Some(0) {
            kept.push(ended.ok());
            return None;
        }
        Some(ended)
    });
    refusal.fails(1, &[]);
    wait_for("the log says why", SOON, || {
        up.running.stderr().contains("full").then_some(())
    });
    // Reading goes on; with room, so does all.
    up.ask(["status"]).ok();
    drop(filler);
    fs::remove_file(small.join("filler")).unwrap();
    wait_for("tokens are made again", SOON, || {
        let ended = up.ask(["token", "create", "--service", "agent"]);
        (ended.code == Some(0)).then(|| kept.push(ended.ok()))
    });
    up.running.kill9();
    up.restart();
    let listed = up.ask(["token", "list", "--json"]).json();
    assert_eq!(
        listed.as_array().unwrap().len(),
        kept.len(),
        "those that were acknowledged, and no other"
    );
    let data = dir.path().join("a");
    let last = kept.last().unwrap().trim();
    up.join("agent", last, &data, &["--subject", "a"]).ok();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_agent_whose_clock_is_a_year_off() {
    const YEAR: Duration = Duration::from_secs(365 * 86_400);
    let up = Up::start();
    let token = up.token("agent", &["--uses", "2"]);
    let clocks = [Wrong::by(Offset::Ahead(YEAR)), Wrong::by(Offset::Behind(YEAR))];
    let mut agents = Vec::new();
    for (n, clock) in clocks.iter().enumerate() {
        let subject = format!("off-{n}");
        agents.push(
            library::agent(
                &up.url(),
                &token,
                &subject,
                clock.clone(),
                library::network(clock.clone()),
                n as u64,
                None,
            )
            .await,
        );
    }
    let measured = |status: &Value, n: usize| {
        let from = format!("agent:off-{n}");
        let links = status["links"].as_array()?;
        links
            .iter()
            .find(|l| l["from"] == from.as_str() && l["rtt_ms"].is_object())
            .cloned()
    };
    let links = tokio::task::block_in_place(|| {
        wait_for("both are up and measured", SOON * 2, || {
            let status = up.status();
            let is_up = |n| state(&status, "agents", "subject", &format!("off-{n}")).as_deref() == Some("up");
            if !(is_up(0) && is_up(1)) {
                return None;
            }
            Some([measured(&status, 0)?, measured(&status, 1)?])
        })
    });
    for link in links {
        // Filed under the controller's time, not under a year ago or ahead.
        let age = link["age_s"].as_f64().unwrap();
        assert!((0.0..600.0).contains(&age), "{link}");
    }
    // Set right while it runs, and wrong again: it stays.
    for off in [Offset::Ahead(Duration::ZERO), Offset::Behind(2 * YEAR)] {
        clocks[0].set(off);
        tokio::time::sleep(Duration::from_secs(2)).await;
        let report = agents[0].handle().status().await.expect("a status");
        assert!(report.edges.iter().any(|e| e.connected), "{report:?}");
        let said = report.clock_off_ms.expect("the offset is known");
        let wanted = match off {
            Offset::Ahead(d) => d.as_secs_f64() * 1e3,
            Offset::Behind(d) => -d.as_secs_f64() * 1e3,
        };
        assert!((said - wanted).abs() < 60_000.0, "{said} where {wanted} is right");
    }
    for agent in agents {
        agent.stop().await;
    }
    assert!(
        finish(up.plan.command()).code == Some(1),
        "it still runs, on its own data"
    );
}
