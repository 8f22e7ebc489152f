//! What a peer may do to a running edge and controller, with an enrolled key and without: at most its own
//! connection ends, something is counted or logged, and nobody else notices.

use std::{net::UdpSocket, sync::Arc, time::Duration};

use corridor::{
    clock::{Clock as _, SystemClock},
    identity::{Material, Peer, Standing, TrustedTime, tls},
    proto::{
        self, AgentToEdge, EdgeToController, ToController, agent_to_edge, edge_to_agent, edge_to_controller,
        from_controller, to_controller, window,
    },
    transport::{
        CloseCode, Closed, ConnectError, Connection, ControlReceiver, ControlSender, Endpoint, EndpointSetup,
        Kind, SendOutcome, UdpNetwork,
    },
};
use corridor_probes::{AgentId, EdgeId, Route, SessionId, wire};
use prost::Message as _;
use tempfile::{TempDir, tempdir};

use crate::harness::{SOON, Up, loopback, state, wait_for};

/// A controller, edge and agent that log what they refuse.
fn started() -> Up {
    let up = Up::with("up", &[("RUST_LOG", "info")]);
    up.agents_up(&["local"]);
    up
}

/// Whose connections shall be left alone: their ids, as the edge and the controller log them, do not
/// come up as gone.
fn undisturbed(up: &Up) {
    let status = up.status();
    assert_eq!(
        state(&status, "agents", "subject", "local").as_deref(),
        Some("up"),
        "{status}"
    );
    assert_eq!(
        state(&status, "edges", "name", "local").as_deref(),
        Some("up"),
        "{status}"
    );
    for lost in [
        "edge disconnected",
        "controller link down",
        "panicked",
        "agent gone",
    ] {
        let said = up.running.stderr();
        assert!(!said.contains(lost), "{lost}: {said}");
    }
}

/// Someone with an enrolled key who writes what it likes.
struct Stranger {
    endpoint: Endpoint,
    standing: Arc<Standing>,
    own: Peer,
    edge: Peer,
    _data: TempDir,
}

impl Stranger {
    fn enrolled(up: &Up, service: &str, name: &str) -> Self {
        let data = tempdir().unwrap();
        let flag = if service == "agent" { "--subject" } else { "--name" };
        let token = up.token(service, &[]);
        up.join(service, &token, data.path(), &[flag, name]).ok();
        Self::of(data)
    }

    fn of(data: TempDir) -> Self {
        let material = Material::load(data.path()).unwrap();
        let clock = Arc::new(SystemClock::new());
        let time = Arc::new(TrustedTime::open(
            &Material::time_path(data.path()),
            clock.clone(),
        ));
        let setup = EndpointSetup {
            network: Arc::new(UdpNetwork::new(clock.clone())),
            clock,
            local: vec![loopback(0)],
            server: None,
            reset_key: None,
            rng_seed: None,
        };
        let first = material.edges.first().map_or(1, |e| e.id);
        Self {
            endpoint: Endpoint::new(setup).unwrap(),
            standing: material.standing(time, tls::provider()).unwrap(),
            own: material.own.peer(),
            edge: Peer::Edge(EdgeId::new(first).unwrap()),
            _data: data,
        }
    }

    fn tls(&self, alpn: &[u8]) -> Arc<rustls::ClientConfig> {
        Arc::new(tls::client(&self.standing, &[alpn]).unwrap())
    }

    async fn dial(&self, port: u16, to: Peer, alpn: &[u8], kind: Kind) -> Result<Connection, ConnectError> {
        let to = to.dns_name();
        self.endpoint
            .connect(&[loopback(port)], &to, self.tls(alpn), kind)
            .await
    }

    async fn to_edge(&self, up: &Up) -> Connection {
        self.dial(up.plan.listen, self.edge, proto::ALPN, Kind::AgentEdge)
            .await
            .unwrap()
    }

    async fn to_controller(&self, up: &Up) -> Connection {
        let port = up.plan.https;
        self.dial(port, Peer::Controller, proto::ALPN_CONTROL, Kind::EdgeController)
            .await
            .unwrap()
    }

    fn agent(&self) -> AgentId {
        match self.own {
            Peer::Agent(id) => id,
            other => panic!("{other} is no agent"),
        }
    }
}

/// How the connection ends, which must be soon.
async fn end(connection: &Connection) -> Closed {
    tokio::time::timeout(SOON, connection.closed())
        .await
        .expect("the connection ends")
}

#[track_caller]
fn closed_with(closed: &Closed, wanted: CloseCode) {
    assert!(
        matches!(closed, Closed::ByPeer { code, .. } if *code == wanted),
        "{closed}"
    );
}

fn says(up: &Up, text: &str) {
    wait_for(text, SOON, || up.running.stderr().contains(text).then_some(()));
}

fn refused(up: &Up) -> u64 {
    up.status()["edges"][0]["refused"].as_u64().unwrap()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn datagrams_that_mean_nothing() {
    let up = started();
    let stranger = Stranger::enrolled(&up, "agent", "stranger");
    let connection = stranger.to_edge(&up).await;
    let mut streams = hello(&connection).await;
    let edge = EdgeId::new(1).unwrap();
    let probe = wire::LinkProbe {
        session: SessionId(7),
        seq: 1,
        sent_us: 5,
        floor: 0,
    };
    let mut link = Vec::new();
    probe.write(&mut link, 128);
    let routed = |origin: AgentId, far: Option<AgentId>| {
        let route = Route::new(&[edge]).unwrap();
        let mut bytes = Vec::new();
        wire::RouteProbe::new(route, origin, far, probe).write(&mut bytes, 128);
        bytes
    };
    let mut bad: Vec<Vec<u8>> = vec![
        Vec::new(),
        vec![0],
        vec![0x01],
        link[..20].to_vec(),
        [&link[..], &[1]].concat(),
        vec![0x02; 60],
        vec![0xff; 1_100],
        vec![0x20],
        vec![0x20; 1_100],
        vec![0x21, 0, 0, 0, 0],
        // In another's name.
        routed(AgentId(0xdead), None),
        routed(AgentId(0xdead), Some(stranger.agent())),
    ];
    bad.extend(
        (3..=0xff)
            .filter(|kind| !(0x20..=0x3f).contains(kind))
            .map(|kind| vec![kind; 40]),
    );
    let before = refused(&up);
    // The send buffer is small: one at a time, each on its way before the next.
    for datagram in &bad {
        while connection.send_datagram(datagram.clone().into()) != SendOutcome::Queued {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        tokio::time::sleep(Duration::from_millis(2)).await;
    }
    let most = bad.len() as u64 * 9 / 10;
    wait_for("refusals are counted", SOON, || {
        (refused(&up) >= before + most).then_some(())
    });
    assert_eq!(connection.close_reason(), None, "bad datagrams end nothing");
    // The same connection is still served.
    let echo = loop {
        probe.write(&mut link, 128);
        let _ = connection.send_datagram(link.clone().into());
        if let Ok(answer) = tokio::time::timeout(SOON, connection.read_datagram()).await {
            break answer.unwrap().data;
        }
    };
    assert_eq!(wire::LinkEcho::parse(&echo).unwrap().seq, 1);
    // A route to an agent that is not there ends nowhere.
    let _ = connection.send_datagram(routed(stranger.agent(), Some(AgentId(0xdead))).into());
    let _ = streams.0.finish();
    undisturbed(&up);
}

/// Says hello on a control stream of its own.
async fn hello(connection: &Connection) -> (ControlSender, ControlReceiver) {
    let (mut sender, receiver) = connection.open_control().await.unwrap();
    let hello = proto::AgentHello {
        version: "0".into(),
        boot: 1,
    };
    send(&mut sender, agent_to_edge::Body::Hello(hello)).await;
    (sender, receiver)
}

async fn send(sender: &mut ControlSender, body: agent_to_edge::Body) {
    let message = AgentToEdge { body: Some(body) };
    sender
        .write_bounded(&proto::encode(&message).unwrap())
        .await
        .unwrap();
}

async fn up_send(sender: &mut ControlSender, body: to_controller::Body) {
    let message = ToController { body: Some(body) };
    send(sender, agent_to_edge::Body::Up(message.encode_to_vec())).await;
}

/// A length that promises more than is taken, and bytes that are no message.
fn bad_frames() -> [Vec<u8>; 3] {
    let length = |n: usize| u32::try_from(n).unwrap().to_be_bytes().to_vec();
    [
        length(proto::MAX_FRAME + 1),
        u32::MAX.to_be_bytes().to_vec(),
        [length(4), vec![0xff; 4]].concat(),
    ]
}

/// Field 99 with a number in it: from a version to come.
const UNKNOWN: &[u8] = &[0, 0, 0, 3, 0x98, 0x06, 0x01];

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn control_messages_to_an_edge() {
    let up = started();
    let stranger = Stranger::enrolled(&up, "agent", "stranger");
    let before = refused(&up);
    for frame in bad_frames() {
        let connection = stranger.to_edge(&up).await;
        let (mut sender, _receiver) = hello(&connection).await;
        sender.write_bounded(&frame).await.unwrap();
        closed_with(&end(&connection).await, CloseCode::Protocol);
    }
    wait_for("refusals are counted", SOON, || {
        (refused(&up) >= before + 3).then_some(())
    });
    says(&up, "control message of 4294967295 bytes is over the limit");
    says(&up, "control message is malformed");

    // What a newer version says is passed over; what only the controller can judge is passed on.
    let connection = stranger.to_edge(&up).await;
    let (mut sender, _receiver) = hello(&connection).await;
    sender.write_bounded(UNKNOWN).await.unwrap();
    send(&mut sender, agent_to_edge::Body::Up(vec![0xff; 1_000])).await;
    says(&up, "message cannot be understood");
    // Half a frame, and then silence; streams that say nothing.
    sender.write_bounded(&[0, 0]).await.unwrap();
    let mut idle = Vec::new();
    for _ in 0..3 {
        idle.push(connection.open_control().await.unwrap());
    }
    assert_eq!(connection.close_reason(), None);
    undisturbed(&up);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn control_messages_to_the_controller() {
    let up = started();
    let stranger = Stranger::enrolled(&up, "edge", "stranger");
    let register = || {
        let register = proto::EdgeRegister {
            version: "v".repeat(10_000),
            boot: 1,
            addresses: (0..2_000).map(|n| format!("no address {n}\u{1b}[31m")).collect(),
            region: "\n".repeat(500),
        };
        let message = EdgeToController {
            body: Some(edge_to_controller::Body::Register(register)),
        };
        proto::encode(&message).unwrap()
    };
    // First something else than a registration, or something that is no message.
    for frame in bad_frames().iter().map(Vec::as_slice).chain([UNKNOWN]) {
        let connection = stranger.to_controller(&up).await;
        let (mut sender, _receiver) = connection.open_control().await.unwrap();
        sender.write_bounded(frame).await.unwrap();
        closed_with(&end(&connection).await, CloseCode::Protocol);
    }
    says(&up, "an edge registers first");
    for frame in bad_frames() {
        let connection = stranger.to_controller(&up).await;
        let (mut sender, _receiver) = connection.open_control().await.unwrap();
        sender.write_bounded(&register()).await.unwrap();
        sender.write_bounded(&frame).await.unwrap();
        closed_with(&end(&connection).await, CloseCode::Protocol);
    }
    // Registered, it says nonsense in other messages: all are passed over.
    let connection = stranger.to_controller(&up).await;
    let (mut sender, _receiver) = connection.open_control().await.unwrap();
    sender.write_bounded(&register()).await.unwrap();
    let bodies = [
        edge_to_controller::Body::Own(vec![0xff; 100]),
        edge_to_controller::Body::FromAgent(proto::FromAgent {
            agent: 0xdead,
            payload: vec![0xff; 100],
            seen_from: "x".repeat(10_000),
            site: vec![0xff; 100],
        }),
        edge_to_controller::Body::AgentGone(proto::AgentGone { agent: 0xdead }),
        edge_to_controller::Body::Silence(proto::AgentSilence {
            agent: 0xdead,
            silent: true,
        }),
        edge_to_controller::Body::Status(proto::EdgeStatus {
            cpu: Some(f64::NAN),
            refused: u64::MAX,
            ..proto::EdgeStatus::default()
        }),
    ];
    for body in bodies {
        let message = EdgeToController { body: Some(body) };
        sender
            .write_bounded(&proto::encode(&message).unwrap())
            .await
            .unwrap();
    }
    sender.write_bounded(UNKNOWN).await.unwrap();
    says(&up, "message cannot be understood");
    wait_for("the stranger is shown", SOON, || {
        (state(&up.status(), "edges", "name", "stranger")? == "up").then_some(())
    });
    assert_eq!(connection.close_reason(), None);
    up.ask(["status"]).ok();
    assert!(
        !up.running.stderr().contains('\u{1b}'),
        "logs take no control characters"
    );
    undisturbed(&up);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn strangers_and_wrong_doors() {
    let up = started();
    let other = Up::controller();
    let agent = Stranger::enrolled(&up, "agent", "a-1");
    let foreign = Stranger::enrolled(&other, "agent", "a-1");
    let edge_port = up.plan.listen;
    // A protocol, or a major version, that is not spoken here: RFC 7301 §3.2.
    for alpn in [&b"corridor/99"[..], b"h3", proto::ALPN_PROBE, proto::ALPN_CONTROL] {
        let error = agent
            .dial(edge_port, agent.edge, alpn, Kind::AgentEdge)
            .await
            .unwrap_err();
        assert!(error.to_string().contains("alert 120"), "{error}");
    }
    // A certificate by another authority, on either side; none at all.
    let error = foreign
        .dial(edge_port, agent.edge, proto::ALPN, Kind::AgentEdge)
        .await
        .unwrap_err();
    assert!(error.to_string().contains("TLS refused"), "{error}");
    let anonymous = Arc::new(tls::insecure_client(&tls::provider(), &[proto::ALPN]).unwrap());
    let name = agent.edge.dns_name();
    let connected = agent
        .endpoint
        .connect(&[loopback(edge_port)], &name, anonymous, Kind::AgentEdge)
        .await;
    // TLS 1.3 clients are done before the server has judged them.
    if let Ok(connection) = connected {
        let closed = end(&connection).await;
        assert!(matches!(closed, Closed::Tls { .. }), "{closed}");
    }
    // An agent at the controller's door, and an edge that is asked for by another's name.
    let connection = agent.to_controller(&up).await;
    closed_with(&end(&connection).await, CloseCode::Refused);
    says(&up, "only edges connect here");
    let nobody = Peer::Edge(EdgeId::new(77).unwrap());
    assert!(
        agent
            .dial(edge_port, nobody, proto::ALPN, Kind::AgentEdge)
            .await
            .is_err()
    );

    // Bytes that are no QUIC, and a QUIC version of nobody's, which is answered by those that there are.
    let socket = UdpSocket::bind(loopback(0)).unwrap();
    socket.set_read_timeout(Some(SOON)).unwrap();
    for port in [edge_port, up.plan.https] {
        for size in [0, 1, 20, 1_200, 1_472, 9_000, 60_000] {
            socket.send_to(&vec![0x5a; size], loopback(port)).unwrap();
            socket.send_to(&vec![0xff; size], loopback(port)).unwrap();
        }
        let mut strange = vec![0u8; 1_200];
        strange[..7].copy_from_slice(&[0xc0, 0x1a, 0x2a, 0x3a, 0x4a, 8, 1]);
        strange[14] = 8;
        socket.send_to(&strange, loopback(port)).unwrap();
        let mut answer = [0; 2_000];
        let read = wait_for("a version negotiation", SOON, || {
            let (read, from) = socket.recv_from(&mut answer).unwrap();
            (from == loopback(port) && answer[1..5] == [0; 4]).then_some(read)
        });
        assert!(read < 1_200, "answers are no larger than questions");
    }
    undisturbed(&up);
}

fn report(sequence: u64) -> proto::Report {
    proto::Report {
        boot: 1,
        sequence,
        ..proto::Report::default()
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn reports_that_lie() {
    let up = started();
    let stranger = Stranger::enrolled(&up, "agent", "stranger");
    let connection = stranger.to_edge(&up).await;
    let (mut sender, mut receiver) = hello(&connection).await;
    send(
        &mut sender,
        agent_to_edge::Body::UseUplink(proto::UseUplink { wanted: true }),
    )
    .await;
    let attach = proto::Attach {
        boot: 1,
        attach: 1,
        version: "v".repeat(5_000),
        wall_us: i64::MIN,
        mono_us: i64::MAX,
        ..proto::Attach::default()
    };
    up_send(&mut sender, to_controller::Body::Attach(attach)).await;

    let ledger = |n: u32| proto::Ledger {
        slots: n,
        sent: n,
        received: n,
        lost_up: n,
        ..proto::Ledger::default()
    };
    let window = |start_us: i64, length_ms: u32, samples: Vec<u8>| proto::Window {
        of: Some(window::Of::Edge(1)),
        start_us,
        length_ms,
        samples,
        session: 5,
        ledger: Some(ledger(u32::MAX)),
        total: Some(ledger(u32::MAX)),
        raw_up_min_us: i64::MIN,
        raw_down_min_us: i64::MAX,
        has_raw: true,
        ..proto::Window::default()
    };
    // 2^63 samples; a sample count without samples; 512 samples; plain rubbish.
    let absurd = [vec![0xff; 9], vec![1]].concat();
    let blobs = [
        [vec![1], absurd].concat(),
        vec![1, 0x80, 0x04],
        corridor_probes::samples::encode(&[]),
        vec![0xff; 20_000],
    ];
    let times = [0, 1, -1, i64::MIN, i64::MAX, 1_924_991_999_000_000];
    let mut reports = Vec::new();
    for (time, blob) in times.iter().zip(blobs.iter().cycle()) {
        let mut lying = report(reports.len() as u64 + 1);
        lying.end_us = *time;
        lying.wall_us = *time;
        lying.windows = vec![window(*time, u32::MAX, blob.clone()), proto::Window::default()];
        lying.windows.push(proto::Window {
            of: Some(window::Of::Route(proto::Route {
                edges: vec![0, 1, 1, 70_000, u32::MAX],
            })),
            class: "c".repeat(2_000),
            ..window(*time, 0, Vec::new())
        });
        lying.events = vec![proto::Event {
            at_us: *time,
            kind: "k\u{1b}[31m".repeat(50),
            class: "nowhere".into(),
            edge: u32::MAX,
            detail: "{not json".into(),
            trace: Some(proto::Trace {
                at_us: *time,
                toward: Some(proto::trace::Toward::Target("t\u{1b}".repeat(2_000))),
                hops: vec![proto::Hop::default(); 2_000],
                loss: Some(f64::NAN),
                ..proto::Trace::default()
            }),
        }];
        lying.surroundings = Some(Box::new(proto::Surroundings {
            at_us: *time,
            link_type: "w\u{1b}[31m".repeat(2_000),
            host: Some(proto::HostLoad {
                cpu: Some(f64::NAN),
                load: Some(f64::NEG_INFINITY),
                ..proto::HostLoad::default()
            }),
            not_seen: vec![proto::NotSeen::default(); 2_000],
            ..proto::Surroundings::default()
        }));
        lying.legs = vec![proto::LegState {
            class: "nowhere".into(),
            plan: u64::MAX,
            reason: "{not json".into(),
            ..proto::LegState::default()
        }];
        lying.host = Some(proto::Host {
            cpu: Some(f64::NAN),
            rss_bytes: u64::MAX,
            spool_rows: u32::MAX,
            spool_dropped: u64::MAX,
        });
        reports.push(lying);
    }
    let mut last = report(u64::MAX);
    last.windows = (0..65_535)
        .step_by(256)
        .map(|edge| proto::Window {
            of: Some(window::Of::Edge(edge)),
            ..window(0, 1, Vec::new())
        })
        .collect();
    reports.push(last);

    let before = up.status()["controller"]["repeats"].as_u64().unwrap();
    let wanted: Vec<u64> = reports.iter().map(|r| r.sequence).collect();
    for _ in 0..2 {
        for report in &reports {
            up_send(&mut sender, to_controller::Body::Report(report.clone())).await;
        }
        // Each is acknowledged, also when it is a repeat: it is stored.
        let mut missing = wanted.clone();
        while !missing.is_empty() {
            let acknowledged = next_ack(&mut receiver).await;
            missing.retain(|&sequence| sequence != acknowledged);
        }
    }
    let status = wait_for("repeats are counted", SOON, || {
        let status = up.status();
        let repeats = status["controller"]["repeats"].as_u64().unwrap();
        (repeats >= before + wanted.len() as u64).then_some(status)
    });
    for link in status["links"].as_array().unwrap() {
        let age = link["age_s"].as_f64().unwrap();
        assert!(age >= 0.0, "nothing is known before it happens: {link}");
        let (from, to) = (link["from"].as_str().unwrap(), link["to"].as_str().unwrap());
        assert!(
            ["local", "agent:local", "agent:stranger"].contains(&from),
            "{link}"
        );
        assert!(["local", "agent:local", "agent:stranger"].contains(&to), "{link}");
    }
    // An honest report after the lies is believed.
    let now = SystemClock::new().wall().as_micros();
    let fine = proto::Ledger {
        slots: 3,
        sent: 3,
        received: 3,
        ..proto::Ledger::default()
    };
    let mut honest = report(1_000);
    honest.end_us = now;
    honest.windows = vec![proto::Window {
        has_raw: false,
        ledger: Some(fine),
        total: Some(fine),
        ..window(now - 1_000_000, 1_000, Vec::new())
    }];
    up_send(&mut sender, to_controller::Body::Report(honest)).await;
    wait_for("the honest window is shown", SOON, || {
        let status = up.status();
        let links = status["links"].as_array()?;
        let link = links.iter().find(|l| l["from"] == "agent:stranger")?;
        (link["window_s"] == 1.0).then_some(())
    });
    assert_eq!(connection.close_reason(), None);
    up.ask(["status"]).ok();
    undisturbed(&up);
}

/// The sequence number of the next acknowledgement.
async fn next_ack(receiver: &mut ControlReceiver) -> u64 {
    loop {
        let read = tokio::time::timeout(SOON, proto::read::<proto::EdgeToAgent>(receiver)).await;
        let message = read.expect("an answer in time").unwrap().expect("an answer");
        let Some(edge_to_agent::Body::Down(bytes)) = message.body else {
            continue;
        };
        let message: proto::FromController = proto::decode(&bytes).unwrap();
        if let Some(from_controller::Body::ReportAck(ack)) = message.body {
            return ack.sequence;
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_revoked_agent_stays_out() {
    let up = started();
    let stranger = Stranger::enrolled(&up, "agent", "stranger");
    let tls = stranger.tls(proto::ALPN);
    let name = stranger.edge.dns_name();
    let at = [loopback(up.plan.listen)];
    let dial = |tls: Arc<rustls::ClientConfig>| stranger.endpoint.connect(&at, &name, tls, Kind::AgentEdge);
    let connection = dial(tls.clone()).await.unwrap();
    let (_sender, mut receiver) = hello(&connection).await;
    // The server's hello has come, and with it the tickets that a session is resumed by.
    let read = tokio::time::timeout(SOON, proto::read::<proto::EdgeToAgent>(&mut receiver)).await;
    assert!(read.expect("in time").unwrap().is_some());
    up.post("agents/stranger/revoke", "");
    closed_with(&end(&connection).await, CloseCode::Revoked);
    // By the session that it had, and by a new one.
    for tls in [tls, stranger.tls(proto::ALPN)] {
        let connection = dial(tls).await.unwrap();
        closed_with(&end(&connection).await, CloseCode::Revoked);
    }
    says(&up, "revoked");
    let status = up.status();
    assert_eq!(
        state(&status, "agents", "subject", "stranger").as_deref(),
        Some("revoked"),
        "{status}"
    );
    undisturbed(&up);
}
