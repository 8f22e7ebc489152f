//! Values of every control message: every field is set, in one of them, to something that is no default.
//! Fields that were added later are in a value of their own, so that bytes without them are still read.

mod around;

use std::fmt::Debug;

use corridor::proto::*;
use prost::Message;

use super::golden::golden;

/// Every message of `corridor.proto` by name, and each body of those that have one of several, encoded.
pub fn messages() -> Vec<(&'static str, Vec<u8>)> {
    let mut all = Vec::new();
    values(&mut |name, encoded| all.push((name, encoded)));
    all
}

fn check<M: Message + Default + PartialEq + Debug>(
    with: &mut dyn FnMut(&'static str, Vec<u8>),
    name: &'static str,
    value: M,
) -> M {
    let encoded = value.encode_to_vec();
    if let Some(golden) = golden(name) {
        assert_eq!(
            decode::<M>(&golden).expect(name),
            value,
            "{name}: the old bytes mean something else"
        );
    }
    with(name, encoded);
    value
}

fn values(with: &mut dyn FnMut(&'static str, Vec<u8>)) {
    let text = |s: &str| s.to_owned();
    let route = check(with, "Route", Route { edges: vec![1, 300] });
    let step = check(
        with,
        "Step",
        Step {
            samples: 10,
            min_us: 20_000,
            p50_us: 21_000,
            p95_us: 30_000,
        },
    );
    let ledger = check(
        with,
        "Ledger",
        Ledger {
            slots: 120,
            sent: 100,
            slipped: 9,
            local_drops: 8,
            unconnected: 3,
            received: 90,
            lost_up: 4,
            lost_down: 3,
            late: 2,
            lost_unknown: 1,
            reordered_up: 11,
            reordered_down: 12,
            duplicates: 13,
            stalled: 14,
            excluded: 15,
        },
    );
    let window_of_link = check(
        with,
        "Window",
        Window {
            of: Some(window::Of::Edge(7)),
            class: String::new(),
            far_agent: 0,
            start_us: 1_800_000_000_000_000,
            length_ms: 10_000,
            session: u64::MAX,
            ledger: Some(ledger),
            samples: vec![1, 3, 5, 0xd8, 4, 2, 0, 1, 0, 2, 0, 3],
            raw_up_min_us: -5_000_000,
            raw_down_min_us: 5_040_000,
            peer_boot: 0xdead_beef,
            jitter_up_us: 120,
            jitter_down_us: 130,
            steps: Vec::new(),
            has_raw: true,
            total: Some(ledger),
            ..Window::default()
        },
    );
    check(
        with,
        "Window.slept",
        Window {
            raw_up_at_us: 1_800_000_000_200_000,
            raw_down_at_us: 1_800_000_000_300_000,
            clock_steps: 3,
            ..window_of_link.clone()
        },
    );
    check(
        with,
        "Window.seldom",
        Window {
            every_ms: 60_000,
            ..window_of_link.clone()
        },
    );
    let chain = check(
        with,
        "LossChain",
        LossChain {
            kept_after_kept: 90,
            lost_after_kept: 2,
            kept_after_lost: 3,
            lost_after_lost: 4,
        },
    );
    check(
        with,
        "Window.chained",
        Window {
            chain_up: Some(Box::new(chain)),
            chain_down: Some(Box::default()),
            ..window_of_link.clone()
        },
    );
    let window_of_route = check(
        with,
        "Window.route",
        Window {
            of: Some(window::Of::Route(route.clone())),
            class: text("math-1"),
            far_agent: 8,
            steps: vec![step, Step::default()],
            total: None,
            ..window_of_link.clone()
        },
    );
    let unmeasured = Unmeasured {
        what: text("stun"),
        why: text("no answer"),
    };
    let unmeasured = check(with, "Unmeasured", unmeasured);
    let target = Target {
        name: text("sfu.example:3478"),
        method: text("icmp"),
        unmeasured: vec![unmeasured],
    };
    let target = check(with, "Target", target);
    check(
        with,
        "Window.target",
        Window {
            of: Some(window::Of::Target(Box::new(target))),
            ..window_of_link.clone()
        },
    );
    let host = check(
        with,
        "Host",
        Host {
            cpu: Some(0.25),
            rss_bytes: 9_000_000,
            spool_rows: 3,
            spool_dropped: 2,
        },
    );
    let event = check(
        with,
        "Event",
        Event {
            at_us: 1_800_000_000_500_000,
            kind: text("switch"),
            class: text("math-1"),
            edge: 7,
            detail: text(r#"{"from":[1],"to":[2]}"#),
            trace: None,
        },
    );
    let leg = check(
        with,
        "LegState",
        LegState {
            class: text("math-1"),
            plan: 4,
            in_use: Some(route.clone()),
            switches: 2,
            reason: text(r#"{"kind":"plan","version":4}"#),
            at_risk: true,
            rtt_p50_us: 80_000,
            rtt_p95_us: 95_000,
            since_us: 1_799_999_999_000_000,
        },
    );
    let report = check(
        with,
        "Report",
        Report {
            boot: 0x0123_4567_89ab_cdef,
            sequence: 42,
            end_us: 1_800_000_001_000_000,
            time_error_ms: 12,
            wall_us: -1,
            windows: vec![window_of_link, window_of_route],
            events: vec![event.clone()],
            host: Some(host),
            legs: vec![leg],
            ..Report::default()
        },
    );
    around::values(with, event);
    to_the_controller(with, report);
    from_the_controller(with, route);
    between_edges_and_agents(with);
    between_edges_and_the_controller(with);
}

fn to_the_controller(with: &mut dyn FnMut(&'static str, Vec<u8>), report: Report) {
    use to_controller::Body;
    let held = check(
        with,
        "HeldPlan",
        HeldPlan {
            class: "math-1".into(),
            version: 4,
            in_use: 1,
        },
    );
    let attach = check(
        with,
        "Attach",
        Attach {
            boot: 5,
            attach: 6,
            version: "0.1.0".into(),
            platform: "linux-x86_64".into(),
            wall_us: 1_800_000_000_000_000,
            mono_us: 77,
            clock_error_ms: 8,
            plans: vec![held],
            link_type: "wifi".into(),
        },
    );
    let request = ClassRequest {
        request: 1,
        class: "math-1".into(),
        join: true,
    };
    let request = check(with, "ClassRequest", request);
    let time = check(with, "TimeRequest", TimeRequest { mono_us: 123_456 });
    let goodbye = check(
        with,
        "Goodbye",
        Goodbye {
            reason: "stopped".into(),
        },
    );
    for (name, body) in [
        ("ToController.attach", Body::Attach(attach)),
        ("ToController.report", Body::Report(report)),
        ("ToController.class_request", Body::ClassRequest(request)),
        ("ToController.time", Body::Time(time)),
        ("ToController.goodbye", Body::Goodbye(goodbye)),
    ] {
        check(with, name, ToController { body: Some(body) });
    }
}

fn edge_info(with: &mut dyn FnMut(&'static str, Vec<u8>)) -> EdgeInfo {
    let info = EdgeInfo {
        id: 300,
        name: "fra-1".into(),
        region: "eu".into(),
        addresses: vec!["192.0.2.7:4433".into(), "[2001:db8::7]:443".into()],
        draining: true,
        boot: 99,
    };
    check(with, "EdgeInfo", info)
}

fn from_the_controller(with: &mut dyn FnMut(&'static str, Vec<u8>), route: Route) {
    use from_controller::Body;
    let edge = edge_info(with);
    let far_end = check(
        with,
        "FarEnd",
        FarEnd {
            of: Some(far_end::Of::Agent(8)),
        },
    );
    let target = FarEnd {
        of: Some(far_end::Of::Target("sfu.example:3478".into())),
    };
    check(with, "FarEnd.target", target);
    check(
        with,
        "FarEnd.hub",
        FarEnd {
            of: Some(far_end::Of::Hub(3)),
        },
    );
    let plan = check(
        with,
        "Plan",
        Plan {
            class: "math-1".into(),
            version: 4,
            far_end: Some(far_end),
            routes: vec![route, Route { edges: vec![2] }],
            budget_us: 200_000,
            budget_one_way: true,
            added_ms: Vec::new(),
            reason: r#"{"cause":"best"}"#.into(),
            edges: vec![edge.clone()],
            ..Plan::default()
        },
    );
    grants(with);
    check(
        with,
        "Plan.one_way",
        Plan {
            class: "math-2".into(),
            budget_us: 200_000,
            budget_one_way: true,
            added_ms: vec![0, 55],
            ..Plan::default()
        },
    );
    let attached = Attached {
        now_us: 1_800_000_000_000_000,
        subject: "s1".into(),
    };
    let attached = check(with, "Attached", attached);
    let ack = check(
        with,
        "ReportAck",
        ReportAck {
            boot: 5,
            sequence: 42,
        },
    );
    let candidates = check(
        with,
        "Candidates",
        Candidates {
            version: 3,
            edges: vec![edge],
        },
    );
    let plans = check(
        with,
        "Plans",
        Plans {
            version: 2,
            plans: vec![plan],
        },
    );
    let answer = check(
        with,
        "ClassAnswer",
        ClassAnswer {
            request: 1,
            error: "not in it".into(),
        },
    );
    let time = check(
        with,
        "TimeAnswer",
        TimeAnswer {
            mono_us: 123_456,
            now_us: 1_800_000_000_000_000,
        },
    );
    let settings = check(
        with,
        "Settings",
        Settings {
            idle_kbps: 10,
            in_class_kbps: 60,
            idle_interval_ms: 1_000,
            route_interval_ms: 100,
            candidate_interval_ms: 500,
            site_share_bps: 0,
            version: 0,
        },
    );
    let shared = Settings {
        site_share_bps: 40_000,
        ..settings
    };
    check(with, "Settings.shared", shared);
    let versioned = Settings {
        version: 1_800_000_000_000_000,
        ..settings
    };
    check(with, "Settings.versioned", versioned);
    for (name, body) in [
        ("FromController.attached", Body::Attached(attached)),
        ("FromController.report_ack", Body::ReportAck(ack)),
        ("FromController.candidates", Body::Candidates(candidates)),
        ("FromController.plans", Body::Plans(plans)),
        ("FromController.class_answer", Body::ClassAnswer(answer)),
        ("FromController.time", Body::Time(time)),
        ("FromController.settings", Body::Settings(settings)),
    ] {
        check(with, name, FromController { body: Some(body) });
    }
}

fn between_edges_and_agents(with: &mut dyn FnMut(&'static str, Vec<u8>)) {
    use {agent_to_edge::Body as Up, edge_to_agent::Body as Down};
    let hello = check(
        with,
        "AgentHello",
        AgentHello {
            version: "0.1.0".into(),
            boot: 5,
        },
    );
    let uplink = check(with, "UseUplink", UseUplink { wanted: true });
    for (name, body) in [
        ("AgentToEdge.hello", Up::Hello(hello)),
        ("AgentToEdge.up", Up::Up(vec![0x22, 2, 8, 1])),
        ("AgentToEdge.use_uplink", Up::UseUplink(uplink)),
    ] {
        check(with, name, AgentToEdge { body: Some(body) });
    }
    let hello = EdgeHello {
        version: "0.1.0".into(),
        boot: 99,
        edge: 300,
        controller_connected: true,
        seen_from: "192.0.2.0".into(),
    };
    let hello = check(with, "EdgeHello", hello);
    let silent = NextHopSilent {
        next: 2,
        silent: true,
        silent_ms: 340,
    };
    let silent = check(with, "NextHopSilent", silent);
    let draining = check(with, "Draining", Draining { seconds_left: 30 });
    let uplink = check(
        with,
        "UplinkState",
        UplinkState {
            controller_connected: true,
        },
    );
    for (name, body) in [
        ("EdgeToAgent.hello", Down::Hello(hello)),
        ("EdgeToAgent.down", Down::Down(vec![0x32, 2, 8, 1])),
        ("EdgeToAgent.next_hop_silent", Down::NextHopSilent(silent)),
        ("EdgeToAgent.draining", Down::Draining(draining)),
        ("EdgeToAgent.uplink", Down::Uplink(uplink)),
    ] {
        check(with, name, EdgeToAgent { body: Some(body) });
    }
}

fn between_edges_and_the_controller(with: &mut dyn FnMut(&'static str, Vec<u8>)) {
    use {controller_to_edge::Body as Down, edge_to_controller::Body as Up};
    let register = EdgeRegister {
        version: "0.1.0".into(),
        boot: 99,
        addresses: vec!["192.0.2.7:4433".into()],
        region: "eu".into(),
    };
    let register = check(with, "EdgeRegister", register);
    let from = FromAgent {
        agent: 7,
        payload: vec![0x22, 2, 8, 1],
        seen_from: "192.0.2.0".into(),
        site: Vec::new(),
    };
    let from = check(with, "FromAgent", from);
    let at_a_site = FromAgent {
        site: vec![192, 0, 2, 7],
        ..from.clone()
    };
    check(with, "FromAgent.site", at_a_site);
    let gone = check(with, "AgentGone", AgentGone { agent: 7 });
    let silence = check(
        with,
        "AgentSilence",
        AgentSilence {
            agent: 7,
            silent: true,
        },
    );
    let status = EdgeStatus {
        agents: 12,
        draining: true,
        cpu: Some(0.5),
        rss_bytes: 20_000_000,
        datagrams_in: 1_000,
        datagrams_out: 900,
        forwarded: 800,
        local_drops: 7,
        refused: 6,
    };
    let status = check(with, "EdgeStatus", status);
    for (name, body) in [
        ("EdgeToController.register", Up::Register(register)),
        ("EdgeToController.from_agent", Up::FromAgent(from)),
        ("EdgeToController.agent_gone", Up::AgentGone(gone)),
        ("EdgeToController.status", Up::Status(status)),
        ("EdgeToController.own", Up::Own(vec![0x12, 2, 8, 1])),
        ("EdgeToController.silence", Up::Silence(silence)),
    ] {
        check(with, name, EdgeToController { body: Some(body) });
    }
    let welcome = Welcome {
        edge: 300,
        name: "fra-1".into(),
        now_us: 1_800_000_000_000_000,
    };
    let welcome = check(with, "Welcome", welcome);
    let to_agent = check(
        with,
        "ToAgent",
        ToAgent {
            agent: 7,
            payload: vec![0x32, 2, 8, 1],
        },
    );
    let drain = check(
        with,
        "Drain",
        Drain {
            on: true,
            seconds: 30,
        },
    );
    let mesh = Mesh {
        edges: vec![EdgeInfo {
            id: 2,
            ..EdgeInfo::default()
        }],
        idle_interval_ms: 1_000,
        busy_interval_ms: 100,
        busy: vec![2, 300],
    };
    let mesh = check(with, "Mesh", mesh);
    let targets = Targets {
        targets: vec!["sfu.example:3478".into(), "192.0.2.9:443".into()],
    };
    let targets = check(with, "Targets", targets);
    let revocations = Revocations {
        version: 9,
        agents: vec![7, u64::MAX],
        edges: vec![300],
        ..Revocations::default()
    };
    let revocations = check(with, "Revocations", revocations);
    check(
        with,
        "Revocations.grants",
        Revocations {
            version: 10,
            grants: vec![1, u64::MAX],
            ..Revocations::default()
        },
    );
    for (name, body) in [
        ("ControllerToEdge.welcome", Down::Welcome(welcome)),
        ("ControllerToEdge.to_agent", Down::ToAgent(to_agent)),
        ("ControllerToEdge.mesh", Down::Mesh(mesh)),
        ("ControllerToEdge.revocations", Down::Revocations(revocations)),
        ("ControllerToEdge.drain", Down::Drain(drain)),
        ("ControllerToEdge.own", Down::Own(vec![0x12, 2, 8, 1])),
        ("ControllerToEdge.targets", Down::Targets(targets)),
    ] {
        check(with, name, ControllerToEdge { body: Some(body) });
    }
}

/// What allows an agent to have media carried, and what a plan says for that.
fn grants(with: &mut dyn FnMut(&'static str, Vec<u8>)) {
    let grant = Grant {
        id: u64::MAX,
        class: "math-1".into(),
        agent: 7,
        far_end: Some(FarEnd {
            of: Some(far_end::Of::Agent(8)),
        }),
        edges: vec![1, 2, 300],
        rate_kbps: 4_000,
        from_us: 1_800_000_000_000_000,
        until_us: 1_801_209_600_000_000,
    };
    let grant = check(with, "Grant", grant);
    let signed = SignedGrant {
        grant: grant.encode_to_vec(),
        signature: (0..64).collect(),
    };
    let signed = check(with, "SignedGrant", signed);
    check(
        with,
        "Plan.granted",
        Plan {
            class: "math-3".into(),
            grant: signed.encode_to_vec(),
            far_subject: "s2".into(),
            protect: "at_risk".into(),
            ..Plan::default()
        },
    );
    let flow = Flow {
        id: u64::MAX,
        class: "math-3".into(),
        ends_here: true,
        route: Some(Route { edges: vec![1, 300] }),
        moves: 2,
        sent: 3_000,
        sent_bytes: 480_000,
        received: 2_990,
        received_bytes: 478_400,
        lost: 10,
        repeated: 4,
        reordered: 3,
        dropped: 1,
        undone: 5,
        protecting: 200,
        refused: "the grant is revoked".into(),
        rtt_us: 0,
        lost_there: 0,
        too_fast: 0,
        throttled: 0,
        is_throttled: false,
    };
    let told = Flow {
        rtt_us: 121_400,
        lost_there: 12,
        too_fast: 7,
        throttled: 30,
        is_throttled: true,
        ..flow.clone()
    };
    check(with, "Flow.told", told);
    let flow = check(with, "Flow", flow);
    check(
        with,
        "Report.flows",
        Report {
            boot: 1,
            sequence: 7,
            flows: vec![flow],
            ..Report::default()
        },
    );
}
