//! Targets of classes, measured by real processes: a small STUN server in the test is the media server.

use std::{
    net::{SocketAddr, UdpSocket},
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    thread,
    time::Duration,
};

use serde_json::{Value, json};

use crate::harness::{SOON, Up, wait_for};

/// Answers binding requests, while it shall.
struct MediaServer {
    address: SocketAddr,
    answers: Arc<AtomicBool>,
}

impl MediaServer {
    fn start(answers: bool) -> Self {
        let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
        let address = socket.local_addr().unwrap();
        let answers = Arc::new(AtomicBool::new(answers));
        let answering = Arc::clone(&answers);
        // It ends with the test's process.
        thread::spawn(move || {
            let mut bytes = [0; 1_500];
            while let Ok((length, from)) = socket.recv_from(&mut bytes) {
                if answering.load(Ordering::Relaxed) && bytes[..2] == [0x00, 0x01] {
                    bytes[0] = 0x01;
                    let _ = socket.send_to(&bytes[..length], from);
                }
            }
        });
        Self { address, answers }
    }

    fn answer(&self, on: bool) {
        self.answers.store(on, Ordering::Relaxed);
    }
}

/// One edge and the agents `local` and `s1`; targets on loopback are measured by STUN alone, since the kernel
/// answers echo requests there whatever the media server does.
fn world() -> (Up, crate::harness::Service) {
    let environment = [
        ("CORRIDOR_TARGETS_ALLOW", "127.0.0.0/8"),
        ("CORRIDOR_TARGETS_METHODS", "stun"),
    ];
    let up = Up::with("up", &environment);
    let student = up.agent("s1");
    up.agents_up(&["local", "s1"]);
    (up, student)
}

fn create(up: &Up, class: &str, target: &str) {
    let args = [
        "class",
        "create",
        class,
        "--teacher",
        "local",
        "--student",
        "s1",
        "--target",
        target,
    ];
    up.ask(args).ok();
}

fn link(up: &Up, target: &str) -> Option<Value> {
    let to = format!("target:{target}");
    let status = up.status();
    let links = status["links"].as_array()?;
    links
        .iter()
        .find(|l| l["to"] == *to && l["from"] == "local")
        .cloned()
}

/// How the participants' agents measure the target themselves.
fn direct(class: &Value) -> Vec<Value> {
    let participants = class["participants"].as_array().unwrap();
    participants
        .iter()
        .map(|p| p["legs"][0]["direct"].clone())
        .collect()
}

fn class(up: &Up, id: &str) -> Value {
    up.get(&format!("classes/{id}"))
}

/// Why each participant's primary is what it is.
fn causes(class: &Value) -> Vec<Value> {
    let participants = class["participants"].as_array().unwrap();
    let legs = participants.iter().flat_map(|p| p["legs"].as_array().unwrap());
    legs.map(|leg| leg["reason_detail"]["kind"].clone()).collect()
}

#[test]
fn a_target_that_answers_is_measured_and_planned_by_and_its_silence_is_loss() {
    let (up, _student) = world();
    let server = MediaServer::start(true);
    let target = server.address.to_string();
    create(&up, "c", &target);

    let measured = wait_for("the target's round trip", SOON, || {
        link(&up, &target).filter(|l| l["rtt_ms"]["p50"].is_f64())
    });
    assert_eq!(
        (&measured["method"], &measured["lost"]),
        (&json!("stun"), &json!(0)),
        "{measured}"
    );
    assert!(
        measured["owd_ms"].is_null() && measured["jitter_ms"].is_null(),
        "{measured}"
    );
    wait_for("plans that know the target", SOON, || {
        let causes = causes(&class(&up, "c"));
        (causes == [json!("more_measured"), json!("more_measured")]).then_some(())
    });
    let of_class = &class(&up, "c")["target_links"][0];
    assert_eq!(
        (&of_class["from"], &of_class["method"]),
        (&json!("local"), &json!("stun"))
    );
    assert!(
        of_class["bias"].as_str().unwrap().starts_with("slightly long"),
        "{of_class}"
    );
    // Only one of the two agents may probe loopback.
    let direct = |from: &str| {
        let all = direct(&class(&up, "c"));
        all.into_iter().find(|d| d["from"] == format!("agent:{from}"))
    };
    wait_for("what the teacher's agent sees without an edge", SOON, || {
        direct("local").filter(|d| d["rtt_ms"]["p50"].is_f64() && d["method"] == "stun")
    });
    let whys =
        json!([{"what": "address", "why": "it is a loopback address, which targets.allow does not list"}]);
    wait_for("why the student's sees nothing", SOON, || {
        direct("s1").filter(|d| d["unmeasured"] == whys && d["method"].is_null())
    });
    let routes = up.ask(["class", "show", "c", "--routes"]).ok();
    assert!(routes.contains("    direct   rtt p50 "), "{routes}");
    let shown = up.ask(["class", "show", "c"]).ok();
    let line = format!("target {target} from local: rtt p50 ");
    assert!(
        shown.contains(&line) && shown.contains(" ms by stun (slightly long"),
        "{shown}"
    );

    // Nothing else answers there either: it is the target that is silent, not the method that failed.
    server.answer(false);
    let lost = wait_for("losses", SOON, || {
        link(&up, &target).filter(|l| l["lost"].as_u64().is_some_and(|lost| lost >= 10))
    });
    assert_eq!(
        (&lost["method"], &lost["loss"]),
        (&json!("stun"), &json!(1.0)),
        "{lost}"
    );
    server.answer(true);
    wait_for("answers again", SOON, || {
        link(&up, &target).filter(|l| l["loss"] == 0.0)
    });

    up.ask(["class", "end", "c"]).ok();
    let sent = || link(&up, &target).map(|l| l["sent"].clone());
    wait_for("nobody to measure it for", SOON, || {
        let before = sent();
        // Longer than two reports of an edge.
        thread::sleep(Duration::from_secs(5));
        (sent() == before).then_some(())
    });
}

#[test]
fn a_target_that_is_not_measured_says_why_and_exits_are_compared_without_it() {
    let (up, _student) = world();
    let silent = MediaServer::start(false).address.to_string();
    create(&up, "silent", &silent);
    create(&up, "private", "10.0.0.1:9");
    for (id, whys) in [
        (
            "silent",
            json!([
                {"what": "stamp", "why": "not one of targets.methods"},
                {"what": "stun", "why": "0 of 3 answered"},
                {"what": "icmp", "why": "not one of targets.methods"},
                {"what": "tcp", "why": "not one of targets.methods"},
            ]),
        ),
        (
            "private",
            json!([{"what": "address", "why": "it is a private address, which targets.allow does not list"}]),
        ),
    ] {
        let told = wait_for("why it is not measured", SOON, || {
            let link = class(&up, id)["target_links"][0].clone();
            link.is_object().then_some(link)
        });
        assert_eq!(told["unmeasured"], whys, "{told}");
        assert!(told["method"].is_null() && told["rtt_ms"].is_null(), "{told}");
        wait_for("plans without it", SOON, || {
            let causes = causes(&class(&up, id));
            (causes == [json!("target_unmeasured"), json!("target_unmeasured")]).then_some(())
        });
        let shown = up.ask(["class", "show", id]).ok();
        assert!(shown.contains("from local: unmeasured: "), "{shown}");
    }
    assert_eq!(link(&up, &silent), None, "no link that nobody measured");
}
