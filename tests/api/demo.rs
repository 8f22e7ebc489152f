//! `corridor demo`: a world to watch, its page and its API, and how it ends.

use std::{
    fs,
    io::{Read as _, Write as _},
    net::{TcpListener, TcpStream},
    path::Path,
    process::Stdio,
};

use serde_json::Value;
use tempfile::{TempDir, tempdir};

use crate::harness::{Running, SOON, command, finish, loopback, port, run, wait_for};

/// A demo that keeps its temporary files in a directory of the test's.
struct Demo {
    running: Running,
    port: u16,
    temporary: TempDir,
}

impl Demo {
    #[track_caller]
    fn start(more: &[&str]) -> Self {
        let (temporary, port) = (tempdir().unwrap(), port());
        let mut command = command(["demo", "--http", &loopback(port).to_string()]);
        command.args(more).env("TMPDIR", temporary.path());
        let mut running = Running::start(command);
        running.says("until Ctrl-C");
        Self {
            running,
            port,
            temporary,
        }
    }

    /// What follows `word` in the greeting.
    #[track_caller]
    fn said(&self, word: &str) -> String {
        let said = self.running.stdout();
        let line = said.lines().find_map(|l| l.strip_prefix(word));
        line.unwrap_or_else(|| panic!("{word:?} in {said}"))
            .trim()
            .to_owned()
    }

    /// What a command prints with the arguments that the greeting names.
    #[track_caller]
    fn ask(&self, args: &[&str]) -> Value {
        let told = self.said("commands ");
        let data = told.split_once("--data ").expect("a directory").1;
        finish(command(args.iter().chain(&["--json", "--data", data]))).json()
    }

    fn http(&self, head: &str, body: &str) -> String {
        let mut stream = TcpStream::connect(loopback(self.port)).unwrap();
        let length = body.len();
        let request = format!(
            "{head} HTTP/1.0\r\nHost: localhost\r\nContent-Type: application/json\r\n\
             Content-Length: {length}\r\n\r\n{body}"
        );
        stream.write_all(request.as_bytes()).unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).unwrap();
        answer
    }

    /// SIGTERM: it ends well, and leaves nothing.
    #[track_caller]
    fn ends(mut self) {
        assert!(self.running.terminate().success());
        assert_eq!(self.running.stderr(), "", "nothing to complain about");
        nothing_in(self.temporary.path());
    }
}

#[track_caller]
fn nothing_in(dir: &Path) {
    let left: Vec<_> = fs::read_dir(dir).unwrap().map(|e| e.unwrap().path()).collect();
    assert!(left.is_empty(), "{left:?}");
}

fn list<'a>(value: &'a Value, key: &str) -> &'a [Value] {
    value[key].as_array().map_or(&[], Vec::as_slice)
}

#[test]
fn the_demo_shows_classes_and_switches_and_leaves_nothing() {
    let mut demo = Demo::start(&[]);
    assert_eq!(demo.said("page "), format!("http://{}", loopback(demo.port)));
    assert!(demo.http("GET /", "").contains("<!doctype html>"));
    let login = demo.said("login ");
    let password = login.split_whitespace().nth(2).expect("a password");
    let body = format!(r#"{{"name":"admin","password":"{password}"}}"#);
    let session = demo.http("POST /api/v1/login", &body);
    assert!(session.starts_with("HTTP/1.0 200"), "{session}");

    wait_for("everybody up, in classes, measured", SOON, || {
        let status = demo.ask(&["status"]);
        let up = |key: &str| list(&status, key).iter().filter(|x| x["state"] == "up").count();
        let measured = |class: &Value| {
            let people = list(class, "participants");
            people.len() > 1 && people.iter().all(|p| p["legs"][0]["rtt_ms"].is_object())
        };
        let classes = list(&status, "classes");
        let hub = classes.iter().any(|c| c["hub"].is_string());
        let all = (up("agents"), up("edges"), classes.len(), hub) == (10, 6, 3, true);
        (all && classes.iter().all(measured)).then_some(())
    });
    demo.running.says("+150 ms between fra and hkg for 45 s");
    wait_for("a switch away from the link", SOON, || {
        let shown = demo.ask(&["class", "show", "piano-1"]);
        let uses = |route: &Value| {
            let route: Vec<_> = route.as_array()?.iter().filter_map(Value::as_str).collect();
            Some(route == ["fra", "hkg"] || route == ["hkg", "fra"])
        };
        let left = |event: &&Value| {
            event["kind"] == "switch"
                && uses(&event["detail"]["from"]) == Some(true)
                && event["text"]
                    .as_str()
                    .is_some_and(|t| t.contains("over the budget"))
        };
        list(&shown, "events").iter().find(left).map(|_| ())
    });
    demo.ends();
}

/// A controller that is killed takes its page along; the page comes back with it, on the same port.
#[test]
fn another_scenario_and_a_controller_that_restarts() {
    let dir = tempdir().unwrap();
    let file = dir.path().join("restart.toml");
    fs::write(
        &file,
        r#"
        about = "A controller restarts."
        duration = "6s"
        on_disk = true
        edges.fra = {}
        agents.teacher = {}
        agents.student = {}
        [[at]]
        time = "1s"
        create = { id = "math", who = { teacher = "teacher", student = "student" } }
        [[at]]
        time = "3s"
        kill = "controller"
        [[at]]
        time = "4s"
        start = "controller"
        "#,
    )
    .unwrap();
    let mut demo = Demo::start(&["--scenario", &file.display().to_string()]);
    assert!(demo.running.stdout().contains("A controller restarts."));
    demo.running.says("controller is killed for 1 s");
    demo.running.says("the scenario is over; its world goes on");
    wait_for("the class goes on", SOON, || {
        let status = demo.ask(&["status"]);
        let class = list(&status, "classes").iter().find(|c| c["id"] == "math")?;
        let people = list(class, "participants");
        (people.len() == 2 && people.iter().all(|p| p["legs"][0]["rtt_ms"].is_object())).then_some(())
    });
    demo.ends();
}

#[test]
fn what_cannot_be_shown_is_told_on_one_line() {
    let taken = TcpListener::bind(loopback(0)).unwrap();
    let address = taken.local_addr().unwrap().to_string();
    run(["demo", "--http", &address]).fails(1, &[&address]);
    run(["demo", "--http", "0.0.0.0:0"]).fails(2, &["0.0.0.0:0", "loopback"]);

    let dir = tempdir().unwrap();
    let file = dir.path().join("bad.toml");
    let name = file.display().to_string();
    let demo = |text: &str| {
        fs::write(&file, text).unwrap();
        let mut command = command(["demo", "--scenario", &name, "--http", "127.0.0.1:0"]);
        command.env("TMPDIR", dir.path());
        finish(command)
    };
    let world = "about = \"\"\nduration = \"9s\"\nedges.fra = {}\nagents.a = {}\n";
    demo("about = \"\"\nduration = 5\n").fails(2, &[&name, "line 2"]);
    demo(&format!("{world}[[at]]\ntime = \"1s\"\nkill = \"ams\"\n")).fails(2, &[&name, "line 5", "'ams'"]);
    demo(&"#".repeat(2 << 20)).fails(2, &[&name, "1048576 bytes"]);
    fs::write(&file, [0xff]).unwrap();
    run(["demo", "--scenario", &name]).fails(2, &[&name, "UTF-8"]);
    run(["demo", "--scenario", "/nowhere.toml"]).fails(2, &["/nowhere.toml", "No such file"]);

    // What shows while it runs.
    let ended = demo(&format!("{world}[[at]]\ntime = \"1s\"\nstart = \"fra\"\n"));
    assert_eq!(
        (ended.code, ended.stderr.lines().count()),
        (Some(2), 1),
        "{ended:?}"
    );
    for word in [&name, "at 1s", "'fra' runs already"] {
        assert!(ended.stderr.contains(word), "{word} in {ended:?}");
    }
    fs::remove_file(&file).unwrap();
    nothing_in(dir.path());
}

#[test]
fn a_reader_that_goes_away_ends_it() {
    let dir = tempdir().unwrap();
    let (reader, writer) = std::io::pipe().unwrap();
    drop(reader);
    let mut command = command(["demo", "--http", "127.0.0.1:0"]);
    command
        .env("TMPDIR", dir.path())
        .stdout(writer)
        .stderr(Stdio::piped());
    let ended = command.spawn().unwrap().wait_with_output().unwrap();
    let stderr = String::from_utf8_lossy(&ended.stderr);
    assert_eq!((ended.status.code(), &*stderr), (Some(0), ""));
    nothing_in(dir.path());
}
