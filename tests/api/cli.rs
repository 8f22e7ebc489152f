//! What the commands print, for people and for scripts.

use std::process::Stdio;

use serde_json::Value;
use tempfile::tempdir;

use crate::harness::{Running, SOON, Up, command, finish, run, wait_for};

#[test]
fn up_says_where_the_page_is_how_to_log_in_and_how_others_join() {
    let mut up = Up::start();
    let said = up.running.stdout();
    let line = |start: &str| {
        let line = said.lines().find(|l| l.starts_with(start));
        line.unwrap_or_else(|| panic!("{start:?} in {said}")).to_owned()
    };
    assert_eq!(
        line("page "),
        format!("page      http://127.0.0.1:{}", up.plan.http)
    );
    assert!(line("login ").contains("admin, password "), "{said}");
    let join = line("  corridor agent join");
    assert!(join.contains(&format!(" {} --join corr1.", up.url())), "{join}");
    assert!(up.running.terminate().success());
    assert_eq!(up.running.stderr(), "", "nothing to complain about");
    // The password is shown once.
    up.restart();
    let again = up.running.stdout();
    let password = line("login ");
    let password = password.split_whitespace().nth(3).expect("a password");
    assert!(!again.contains(password), "{again}");
}

#[test]
fn the_join_line_works_as_it_is_printed() {
    let up = Up::start();
    let said = up.running.stdout();
    let line = said
        .lines()
        .find_map(|l| l.trim().strip_prefix("corridor "))
        .expect("the join line");
    let dir = tempdir().unwrap();
    let line = line.replace("NAME", "student-1");
    let mut join = command(line.split(' '));
    join.arg("--data").arg(dir.path());
    let told = finish(join).ok();
    assert!(told.contains("joined as agent student-1"), "{told}");
}

/// The shape that scripts rely on: names, and which kind of value is there.
#[test]
fn status_has_the_shape_that_scripts_rely_on() {
    let up = Up::start();
    let student = up.agent("student-1");
    up.agents_up(&["local", "student-1"]);
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
    let of_student = |status: &Value| {
        let links = status["links"].as_array()?;
        links.iter().find(|l| l["from"] == "agent:student-1").cloned()
    };
    let (status, link) = wait_for("measured legs", SOON * 2, || {
        let status = up.status();
        let legs = |n: usize| &status["classes"][0]["participants"][n]["legs"][0];
        let measured = |n| legs(n)["rtt_ms"].is_object() && legs(n)["in_use"].is_array();
        let link = of_student(&status)?;
        (measured(0) && measured(1)).then_some((status, link))
    });
    let has = |value: &Value, names: &[&str]| {
        for name in names {
            assert!(!value[name].is_null(), "{name} in {value}");
        }
    };
    has(&status, &["controller", "edges", "agents", "links", "classes"]);
    has(&status["edges"][0], &["name", "state"]);
    assert_eq!(
        (&status["edges"][0]["name"], &status["edges"][0]["state"]),
        (&"local".into(), &"up".into())
    );
    has(&status["agents"][0], &["subject", "state"]);
    has(
        &link,
        &[
            "from", "to", "window_s", "sent", "lost", "loss", "rtt_ms", "age_s",
        ],
    );
    assert!(
        link["rtt_ms"]["p50"].is_f64() && link["rtt_ms"]["p95"].is_f64(),
        "{link}"
    );
    let class = &status["classes"][0];
    has(class, &["id", "state", "participants"]);
    let participants = class["participants"].as_array().unwrap();
    assert_eq!(participants.len(), 2);
    for participant in participants {
        has(participant, &["subject", "role", "quality", "legs"]);
        let leg = &participant["legs"][0];
        has(leg, &["to", "primary", "standbys", "reason"]);
        assert_eq!(
            leg["primary"],
            serde_json::json!(["local"]),
            "one edge, one route"
        );
    }

    // The class's own story.
    let shown = up.ask(["class", "show", "c", "--json"]).json();
    has(&shown, &["class", "participants", "events"]);
    assert!(!shown["events"].as_array().unwrap().is_empty(), "{shown}");
    let text = up.ask(["class", "show", "c", "--routes"]).ok();
    for word in [
        "class c: live",
        "local (teacher)",
        "student-1 (student)",
        "by local",
        "primary",
        "because",
    ] {
        assert!(text.contains(word), "{word} in {text}");
    }

    // What the agent itself says.
    let data = student.data().display().to_string();
    let own = run(["agent", "status", "--data", &data, "--json"]).json();
    assert_eq!(own["subject"], "student-1");
    assert_eq!(own["uplink"], "local");
    assert_eq!(own["legs"][0]["class"], "c", "{own}");
    assert_eq!(own["legs"][0]["routes"][0]["edges"][0], "local", "{own}");
    let text = run(["agent", "status", "--data", &data]).ok();
    assert!(
        text.contains("agent of student-1") && text.contains("class c: by local"),
        "{text}"
    );
    run(["agent", "show-data", "--data", &data]).json();
    let told = run(["agent", "leave-class", "c", "--data", &data]).ok();
    assert!(told.contains("left class c"), "{told}");
    run(["agent", "join-class", "c", "--data", &data]).ok();
    run(["agent", "join-class", "nowhere", "--data", &data]).fails(1, &["nowhere"]);
}

#[test]
fn classes_and_tokens_from_the_command_line() {
    let up = Up::controller();
    let class = |args: &[&str]| up.ask(["class"].iter().chain(args));
    let told = class(&[
        "create",
        "now",
        "--teacher",
        "t",
        "--student",
        "s1",
        "--student",
        "s2",
    ])
    .ok();
    assert_eq!(told, "class now is live\n");
    let later = [
        "create",
        "later",
        "--teacher",
        "t2",
        "--student",
        "s3",
        "--start",
        "2099-01-01T08:00:00Z",
    ];
    assert_eq!(class(&later).ok(), "class later is scheduled\n");
    let created = class(&[
        "create",
        "c",
        "--teacher",
        "t3",
        "--student",
        "s4",
        "--observer",
        "o",
        "--target",
        "192.0.2.9:5004",
        "--budget",
        "150ms",
        "--budget-on",
        "one_way",
        "--protect",
        "at_risk",
        "--json",
    ]);
    let created = created.json();
    assert_eq!(
        (&created["id"], &created["budget_ms"], &created["target"]),
        (&"c".into(), &150.0.into(), &"192.0.2.9:5004".into())
    );
    assert_eq!(created["participants"].as_array().unwrap().len(), 3);
    let list = class(&["list", "--json"]).json();
    let ids: Vec<_> = list
        .as_array()
        .unwrap()
        .iter()
        .map(|c| c["id"].as_str().unwrap())
        .collect();
    assert!(["now", "later", "c"].iter().all(|id| ids.contains(id)), "{ids:?}");
    class(&["join", "now", "s9", "--role", "observer"]).ok();
    class(&["leave", "now", "s9"]).ok();
    assert!(class(&["show", "now"]).ok().contains("s9"));
    assert_eq!(
        class(&["end", "now", "--outcome", "cut_short"]).ok(),
        "class now has ended: cut short\n"
    );
    assert!(class(&["end", "c"]).ok().starts_with("class c has ended: "));

    let token = up.token("edge", &["--uses", "3", "--expires", "2h", "--tag", "region=eu"]);
    assert!(token.starts_with("corr1.") && !token.contains(char::is_whitespace));
    let list = up.ask(["token", "list", "--json"]).json();
    let item = &list.as_array().unwrap()[0];
    assert_eq!(
        (&item["uses_left"], &item["service"], &item["revoked"]),
        (&3.into(), &"edge".into(), &false.into())
    );
    assert!(
        !list.to_string().contains(&token),
        "tokens are not listed with their secrets"
    );
    let id = item["id"].as_str().unwrap();
    assert_eq!(
        up.ask(["token", "revoke", id]).ok(),
        format!("token {id} is revoked\n")
    );
    assert!(up.ask(["token", "list"]).ok().contains("revoked"));
}

#[test]
fn what_is_made_from_the_program_itself() {
    let dir = tempdir().unwrap();
    let file = dir.path().join("corridor.toml");
    std::fs::write(&file, "[agent]\nidle_kbps = 20\n").unwrap();
    let name = file.display().to_string();
    assert_eq!(
        run(["config", "check", &name]).ok(),
        format!("{name}: no errors\n")
    );
    let openapi = run(["config", "openapi"]).json();
    assert_eq!(openapi["openapi"], "3.1.0");
    for shell in ["bash", "zsh", "fish"] {
        assert!(
            run(["config", "completions", shell]).ok().contains("corridor"),
            "{shell}"
        );
    }
    let man = dir.path().join("man").display().to_string();
    std::fs::create_dir(&man).unwrap();
    run(["config", "man", &man]).ok();
    let pages: Vec<_> = std::fs::read_dir(&man)
        .unwrap()
        .map(|e| e.unwrap().file_name())
        .collect();
    for page in ["corridor.1", "corridor-agent-join.1"] {
        assert!(pages.iter().any(|p| p == page), "{page} in {pages:?}");
    }
}

/// The subcommands below `path`, and `path` itself, as their own help lists them.
fn subcommands(path: Vec<String>) -> Vec<Vec<String>> {
    let help = finish(command(path.iter().map(String::as_str).chain(["--help"]))).ok();
    let names = help
        .lines()
        .skip_while(|l| *l != "Commands:")
        .skip(1)
        .take_while(|l| !l.is_empty())
        .filter(|l| l.starts_with("  ") && !l.starts_with("   "))
        .filter_map(|l| l.split_whitespace().next())
        .filter(|name| *name != "help");
    let below = names.map(|name| [path.clone(), vec![name.to_owned()]].concat());
    let mut all: Vec<_> = below.flat_map(subcommands).collect();
    all.push(path);
    all
}

#[test]
fn every_help_fits_eighty_columns() {
    let all = subcommands(Vec::new());
    assert!(all.len() > 25, "{all:?}");
    for path in all {
        for flag in ["--help", "-h"] {
            let help = finish(command(path.iter().map(String::as_str).chain([flag]))).ok();
            assert!(help.contains("Usage: "), "{path:?}: {help}");
            for line in help.lines() {
                assert!(line.chars().count() <= 80, "{path:?}: {line}");
            }
        }
    }
}

#[test]
fn a_reader_that_goes_away_is_no_error() {
    let up = Up::controller();
    for args in [
        &["status"][..],
        &["status", "--json"],
        &["class", "list"],
        &["token", "list"],
    ] {
        let mut command = command(args);
        command.arg("--data").arg(up.data());
        gone_reader(command);
    }
    gone_reader(command(["config", "openapi"]));
    gone_reader(command(["config", "completions", "bash"]));
    gone_reader(command(["agent", "join", "--help"]));
}

/// Runs a command whose stdout is a pipe that nobody reads.
fn gone_reader(mut command: std::process::Command) {
    let (reader, writer) = std::io::pipe().unwrap();
    drop(reader);
    let child = command.stdout(writer).stderr(Stdio::piped()).spawn().unwrap();
    let ended = child.wait_with_output().unwrap();
    let stderr = String::from_utf8_lossy(&ended.stderr);
    assert_eq!((ended.status.code(), &*stderr), (Some(0), ""), "{command:?}");
}

#[test]
fn tables_keep_their_columns_with_long_names() {
    let up = Up::controller();
    let long = |n: usize| format!("{}-{n}", "a-very-long-name-of-a-room-".repeat(4));
    let (teacher, student, class) = (long(1), long(2), format!("class-{}", "9".repeat(60)));
    up.ask([
        "class",
        "create",
        &class,
        "--teacher",
        &teacher,
        "--student",
        &student,
    ])
    .ok();
    for args in [&["class", "list"][..], &["status"]] {
        let mut command = command(args);
        command.arg("--data").arg(up.data()).env("COLUMNS", "80");
        let text = finish(command).ok();
        for line in text.lines() {
            assert!(line.chars().count() <= 80, "{line}");
        }
        // Short values stay whole, whatever the long ones need.
        assert!(text.contains("live") && text.contains("unknown"), "{text}");
    }
}

#[test]
fn no_colour_without_a_terminal_or_against_no_color() {
    let up = Up::controller();
    let mut status = command(["status", "--data"]);
    status.arg(up.data()).env("NO_COLOR", "1");
    assert!(!finish(status).ok().contains('\u{1b}'));
    let dir = tempdir().unwrap();
    let mut agent = command(["agent", "--data"]);
    agent
        .arg(dir.path())
        .env("NO_COLOR", "1")
        .env("RUST_LOG", "debug");
    let mut agent = Running::start(agent);
    agent.wait(SOON);
    assert!(!agent.stderr().contains('\u{1b}'), "{}", agent.stderr());
}
