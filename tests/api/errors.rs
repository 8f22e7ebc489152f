//! What goes wrong is said on one line of stderr that names what and where, with exit code 2 for bad usage
//! or input and 1 for what failed while running; and it disturbs nothing that runs.

use std::{
    fs,
    net::{TcpListener, UdpSocket},
    os::unix::fs::PermissionsExt as _,
    path::Path,
    time::Duration,
};

use tempfile::tempdir;

use crate::harness::{Plan, SOON, Up, command, finish, join, loopback, port, run, state, wait_for};

/// It runs on, with its edge and the very agent that it had.
fn undisturbed(up: &mut Up, agent: &str) {
    assert!(up.running.ended().is_none(), "{}", up.running.stderr());
    let status = up.status();
    assert_eq!(
        state(&status, "agents", "id", agent).as_deref(),
        Some("up"),
        "{status}"
    );
    assert_eq!(
        state(&status, "edges", "name", "local").as_deref(),
        Some("up"),
        "{status}"
    );
}

fn started() -> (Up, String) {
    let up = Up::start();
    up.agents_up(&["local"]);
    let agent = up.status()["agents"][0]["id"].as_str().expect("an id").to_owned();
    (up, agent)
}

#[test]
fn tokens_that_do_not_let_in() {
    let (mut up, agent) = started();
    let other = Up::controller();
    let dir = tempdir().unwrap();
    let fresh = || dir.path().join("fresh");
    let refused = |token: &str, service: &str, more: &[&str], named: &[&str]| {
        up.join(service, token, &fresh(), more).fails(2, named);
        assert!(!fresh().exists(), "nothing is left of a refused join");
    };
    let as_a: &[&str] = &["--subject", "a"];

    refused("hello", "agent", as_a, &["not a join token"]);
    refused("corr2.abc", "agent", as_a, &["update"]);
    let good = up.token("agent", &[]);
    refused(&good[..good.len() - 3], "agent", as_a, &["incomplete"]);

    let used = up.token("agent", &[]);
    up.join("agent", &used, &dir.path().join("used"), as_a).ok();
    refused(&used, "agent", &["--subject", "b"], &["used as often"]);

    let revoked = up.ask(["token", "create", "--service", "agent", "--json"]).json();
    let text = |key: &str| revoked[key].as_str().expect("a text").to_owned();
    up.ask(["token", "revoke", &text("id")]).ok();
    refused(&text("token"), "agent", as_a, &["revoked"]);

    refused(&up.token("edge", &[]), "agent", as_a, &["for an edge"]);
    refused(&good, "edge", &["--name", "fra-1"], &["for an agent"]);
    refused(&up.token("agent", &["--subject", "x"]), "agent", as_a, &["\"x\""]);
    refused(
        &up.token("edge", &[]),
        "edge",
        &["--name", "two words"],
        &["name"],
    );
    refused(&good, "agent", &[], &["--subject"]);

    // Of another controller: found out before anything is sent.
    refused(
        &other.token("agent", &[]),
        "agent",
        as_a,
        &["not the controller", &up.url()],
    );

    let short = up.token("agent", &["--expires", "1s", "--subject", "nobody"]);
    wait_for("the token has expired", SOON, || {
        let ended = up.join("agent", &short, &fresh(), as_a);
        let is_expired = ended.stderr.contains("expired");
        ended.fails(2, &["this join token"]);
        is_expired.then_some(())
    });
    undisturbed(&mut up, &agent);
}

#[test]
fn controllers_that_are_not_there() {
    let up = Up::controller();
    let dir = tempdir().unwrap();
    let token = up.token("agent", &[]);
    let data = dir.path().join("a");
    let joins = |url: &str| join(url, "agent", &token, &data, &["--subject", "a"]);

    joins("nonsense").fails(2, &["'nonsense'", "https://"]);
    joins("http://127.0.0.1:1").fails(2, &["http://127.0.0.1:1"]);
    let nobody = format!("https://{}", loopback(port()));
    joins(&nobody).fails(1, &[&nobody, "refused"]);
    joins("https://corridor.invalid:8443").fails(1, &["corridor.invalid"]);
    // An HTTP server that is no controller, and speaks no TLS.
    let plain = format!("https://{}", loopback(up.plan.http));
    joins(&plain).fails(1, &[&plain]);

    let api = |url: &str, token: &str| run(["status", "--api", url, "--token", token]);
    let http = format!("http://{}", loopback(up.plan.http));
    run(["status", "--api", &http]).fails(2, &["--token"]);
    api(&http, "wrong").fails(1, &["token"]);
    api(&up.url(), "no-pin").fails(2, &["pin"]);
    api(&nobody, "t@AAAA").fails(2, &["pin"]);
    api(&nobody.replace("https", "http"), "t").fails(1, &["cannot reach", &nobody[8..]]);
    api("nonsense", "t").fails(2, &["nonsense"]);
    let empty = dir.path().display().to_string();
    run(["status", "--data", &empty]).fails(2, &[&empty, "controller"]);
    run(["agent", "status", "--data", &empty]).fails(1, &[&empty]);
}

#[test]
fn ports_that_are_taken() {
    let (mut up, agent) = started();
    let dir = tempdir().unwrap();
    let fresh = |change: &dyn Fn(&mut Plan)| {
        let mut plan = up.plan.clone();
        plan.data = dir.path().join("other");
        (plan.http, plan.https, plan.listen) = (port(), port(), port());
        change(&mut plan);
        finish(plan.command())
    };
    let at = |port: u16| loopback(port).to_string();
    let (http, https, listen) = (up.plan.http, up.plan.https, up.plan.listen);
    fresh(&|p| p.http = http).fails(1, &[&at(http), "in use"]);
    fresh(&|p| p.https = https).fails(1, &[&at(https), "in use"]);
    fresh(&|p| p.listen = listen).fails(1, &[&at(listen), "in use"]);
    // The controller's QUIC port has the number of its HTTPS port.
    let taken = port();
    let _udp = UdpSocket::bind(loopback(taken)).unwrap();
    fresh(&|p| p.https = taken).fails(1, &[&at(taken), "in use"]);
    let _tcp = TcpListener::bind(loopback(taken)).unwrap();
    fresh(&|p| p.http = taken).fails(1, &[&at(taken), "in use"]);

    // An edge by itself.
    let edge = dir.path().join("edge");
    up.join("edge", &up.token("edge", &[]), &edge, &["--name", "e"])
        .ok();
    let mut second = command(["edge", "--listen", &at(listen), "--data"]);
    second.arg(&edge);
    finish(second).fails(1, &[&at(listen), "in use"]);
    undisturbed(&mut up, &agent);
}

#[test]
fn configuration_that_is_wrong() {
    let dir = tempdir().unwrap();
    let file = dir.path().join("corridor.toml");
    let name = file.display().to_string();
    let checked = |text: &str, named: &[&str]| {
        fs::write(&file, text).unwrap();
        let named: Vec<&str> = named.iter().copied().chain([name.as_str()]).collect();
        run(["config", "check", &name]).fails(2, &named);
        // Whatever runs with it says the same.
        let data = dir.path().join("data").display().to_string();
        run(["up", "--config", &name, "--data", &data]).fails(2, &named);
        assert!(!dir.path().join("data").exists(), "nothing is begun");
    };
    checked("[agent]\ncolour = 1\n", &["agent.colour", "unknown key"]);
    checked("[agnet]\n", &["agnet", "unknown section"]);
    checked("[agent]\nidle_kbps = = 3\n", &["line 2"]);
    checked(
        "[agent]\nlink_probe_size = 5\nx = 1\n[edge]\nlisten = \"1\"\n[controller]\nhttp = \"192.0.2.1:80\"\n",
        &[
            "agent.link_probe_size",
            "agent.x",
            "edge.listen",
            "controller.http",
            "loopback",
        ],
    );
    checked("[log]\nfilter = 5\n", &["log.filter"]);
    let gone = dir.path().join("gone.toml").display().to_string();
    run(["config", "check", &gone]).fails(2, &[&gone, "cannot be read"]);
    fs::write(&file, b"[agent]\n# \xff\xfe\n").unwrap();
    run(["config", "check", &name]).fails(2, &[&name]);
    run(["config", "check", &dir.path().display().to_string()])
        .fails(2, &[&dir.path().display().to_string()]);

    let mut environment = command(["agent"]);
    environment.env("CORRIDOR_AGENT_IDLE_KBPS", "fast");
    finish(environment).fails(2, &["agent.idle_kbps"]);
    let mut filter = command(["agent", "--data"]);
    filter.arg(dir.path()).env("RUST_LOG", "corridor=loud");
    finish(filter).fails(2, &["corridor=loud"]);
}

#[test]
fn data_that_cannot_be_used() {
    let (mut up, agent) = started();
    let path = |path: &Path| path.display().to_string();
    let service = |service: &str, data: &Path| {
        let mut command = command([service, "--data"]);
        command.arg(data);
        if service == "edge" {
            command.args(["--listen", &loopback(port()).to_string()]);
        }
        finish(command)
    };
    // Not joined; the other service's.
    let dir = tempdir().unwrap();
    service("agent", dir.path()).fails(1, &["not joined", &path(dir.path())]);
    let (as_agent, as_edge) = (dir.path().join("a"), dir.path().join("e"));
    up.join("agent", &up.token("agent", &[]), &as_agent, &["--subject", "s"])
        .ok();
    up.join("edge", &up.token("edge", &[]), &as_edge, &["--name", "e"])
        .ok();
    service("edge", &as_agent).fails(1, &["agent's", &path(&as_agent)]);
    service("agent", &as_edge).fails(1, &["edge's", &path(&as_edge)]);
    service("agent", &up.data()).fails(1, &["not joined", &path(&up.data())]);
    // Keys that others may read; damage.
    let identity = as_agent.join("identity.json");
    fs::set_permissions(&identity, fs::Permissions::from_mode(0o644)).unwrap();
    service("agent", &as_agent).fails(1, &[&path(&identity), "chmod 600"]);
    fs::set_permissions(&identity, fs::Permissions::from_mode(0o600)).unwrap();
    fs::write(&identity, "{").unwrap();
    service("agent", &as_agent).fails(1, &[&path(&identity), "damaged"]);
    // The same directory twice: the controller's, an agent's.
    let mut second = up.plan.clone();
    (second.http, second.https, second.listen) = (port(), port(), port());
    finish(second.command()).fails(1, &[&path(&up.data()), "in use"]);
    service("agent", &up.data().join("agent")).fails(1, &[&path(&up.data()), "in use"]);
    // A file where a directory should be.
    let file = dir.path().join("file");
    fs::write(&file, "").unwrap();
    let mut on_file = up.plan.clone();
    on_file.data = file.clone();
    finish(on_file.command()).fails(1, &[&path(&file)]);
    undisturbed(&mut up, &agent);
}

#[test]
fn stores_that_cannot_be_used() {
    let mut up = Up::controller();
    assert!(up.running.terminate().success());
    let main = up.data().join("store/corridor.db");
    let name = main.display().to_string();
    let good = fs::read(&main).unwrap();
    // SQLite keeps the schema's version, big-endian, at byte 60.
    let mut newer = good.clone();
    newer[60..64].copy_from_slice(&99u32.to_be_bytes());
    fs::write(&main, &newer).unwrap();
    finish(up.plan.command()).fails(1, &[&name, "newer version", "99"]);
    assert_eq!(fs::read(&main).unwrap(), newer, "left as it was");
    let mut damaged = good.clone();
    damaged[4096..].fill(0xA5);
    fs::write(&main, &damaged).unwrap();
    finish(up.plan.command()).fails(1, &[&name, "damaged"]);
    fs::remove_file(&main).unwrap();
    finish(up.plan.command()).fails(1, &[&name, "missing"]);
    fs::write(&main, &good).unwrap();
    // The CA's key, readable by others; gone while there are identities.
    let ca = up.data().join("ca/root-1.pem");
    fs::set_permissions(&ca, fs::Permissions::from_mode(0o640)).unwrap();
    finish(up.plan.command()).fails(1, &[&ca.display().to_string(), "chmod 600"]);
    fs::set_permissions(&ca, fs::Permissions::from_mode(0o600)).unwrap();
    up.restart();
    assert!(up.running.terminate().success());
    // A damaged day of reports is set aside, and all goes on.
    let day = fs::read_dir(up.data().join("store")).unwrap().find_map(|entry| {
        let path = entry.unwrap().path();
        let name = path.file_name()?.to_str()?.to_owned();
        (name.starts_with("reports-") && name.ends_with(".db")).then_some(path)
    });
    if let Some(day) = day {
        fs::write(&day, vec![0xA5; 8_192]).unwrap();
        up.restart();
        up.status();
        assert!(
            up.running.stderr().contains(&day.display().to_string()),
            "{}",
            up.running.stderr()
        );
    }
}

#[test]
fn wrong_usage() {
    let dir = tempdir().unwrap();
    let data = dir.path().join("data").display().to_string();
    let up = |args: &[&str]| run(["up", "--data", &data].iter().chain(args));
    up(&["--http", "0.0.0.0:0"]).fails(2, &["0.0.0.0:0", "loopback"]);
    up(&["--http", "nowhere"]).fails(2, &["'nowhere'", "--http"]);
    up(&["--prot", "1"]).fails(2, &["--prot"]);
    run(["staus"]).fails(2, &["'staus'", "status"]);
    run(["agent", "join", "https://127.0.0.1:1"]).fails(2, &["--join", "corridor agent join --help"]);
    run(["class", "create", "c"]).fails(2, &["--teacher"]);
    run([
        "class",
        "create",
        "c",
        "--teacher",
        "t",
        "--student",
        "s",
        "--budget",
        "soon",
    ])
    .fails(2, &["'soon'", "--budget"]);
    run(["token", "create", "--service", "pupil"]).fails(2, &["'pupil'", "agent or edge"]);
    run(["token", "create", "--service", "agent", "--uses", "0"]).fails(2, &["--uses"]);
    run(["class", "end", "c", "--outcome", "fine"]).fails(2, &["'fine'", "completed"]);
    assert!(!Path::new(&data).exists());

    let up = Up::controller();
    let class = |args: &[&str]| up.ask(["class"].iter().chain(args));
    class(&["show", "nowhere"]).fails(2, &["nowhere"]);
    class(&["end", "nowhere"]).fails(2, &["nowhere"]);
    class(&["join", "nowhere", "s"]).fails(2, &["nowhere"]);
    class(&["create", "c", "--teacher", "t", "--student", "t"]).fails(2, &["'t'"]);
    class(&[
        "create",
        "c",
        "--teacher",
        "t",
        "--student",
        "s",
        "--start",
        "noon",
    ])
    .fails(2, &["noon"]);
    class(&[
        "create",
        "c",
        "--teacher",
        "t",
        "--student",
        "s",
        "--target",
        "here",
    ])
    .fails(2, &["here"]);
    class(&[
        "create",
        "c",
        "--teacher",
        "t",
        "--student",
        "s",
        "--budget",
        "0ms",
    ])
    .fails(2, &["budget"]);
    class(&["create", "c", "--teacher", "t", "--student", "s"]).ok();
    class(&["create", "c", "--teacher", "t", "--student", "s"]).fails(2, &["c"]);
    class(&["leave", "c", "nobody"]).fails(2, &["nobody"]);
    up.ask(["token", "revoke", "0123456789abcdef"])
        .fails(2, &["0123456789abcdef"]);
    up.ask(["edge", "drain", "fra-9"]).fails(2, &["fra-9"]);
    wait_for("the class can be ended", Duration::from_secs(10), || {
        (class(&["end", "c"]).code == Some(0)).then_some(())
    });
    class(&["join", "c", "s"]).fails(2, &["c"]);
}
