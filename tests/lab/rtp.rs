//! A class's pictures and sound as RTP, from ffmpeg to ffmpeg, through two agents and two edges.

use std::{collections::BTreeSet, thread, time::Duration};

use corridor::{agent::FlowReport, media::origin::To};

use crate::{
    deployment::{Deployment, LIMIT, wall_us},
    proc::Proc,
    talks::{accept, forward, four_edges, in_class, sending, whole_again},
    world::{World, say, unavailable},
};

/// Pictures and sound, each with the reports that belong to it at the port above.
const PORTS: [(u16, &str); 4] = [
    (5_004, "pictures"),
    (5_005, "their reports"),
    (5_006, "sound"),
    (5_007, "its reports"),
];
const SECONDS: &str = "12";

/// ffmpeg at a node, for files in the world's directory.
fn ffmpeg(world: &World, node: &str, args: &str) -> Proc {
    let dir = world.dir().display().to_string();
    let args = args.replace("DIR", &dir);
    let always = ["-v", "error", "-y", "-nostdin"];
    let args = always.into_iter().chain(args.split(' '));
    world.node(node).spawn("ffmpeg", args, [])
}

fn done(mut ffmpeg: Proc) -> String {
    let status = ffmpeg.wait(LIMIT);
    assert!(status.success(), "{status}: {}", ffmpeg.stderr());
    ffmpeg.stdout()
}

/// Of each stream, the checksums of what was decoded.
fn decoded(framemd5: &str) -> [Vec<&str>; 2] {
    ["0,", "1,"].map(|stream| {
        let lines = framemd5.lines().filter(|line| line.starts_with(stream));
        lines.filter_map(|line| line.rsplit(',').next()).collect()
    })
}

/// To each port, as packets of 1,200 B at most.
const STREAMS: &str = "-map 0:v -c copy -f rtp rtp://127.0.0.1:5004?pkt_size=1200 \
                       -map 0:a -c copy -f rtp rtp://127.0.0.1:5006?pkt_size=1200";
const FRAMES: &str = "-fps_mode passthrough -f framemd5 -";

/// What the agents count of one port's packets: sent, received at the other end, lost, put together of halves.
fn counted(deployment: &Deployment<'_>, wanted: u16) -> [u64; 4] {
    let of_port = |flow: &FlowReport| matches!(flow.to, Some(To::Agent { port, .. }) if port == wanted);
    let flows = deployment.agent("teacher").media.expect("media").flows;
    let flows: Vec<_> = flows.into_iter().filter(of_port).collect();
    let ends = deployment.agent("student").media.expect("media").ends;
    let ends = ends
        .into_iter()
        .filter(|end| flows.iter().any(|flow| flow.id == end.id));
    let mut counts = [flows.iter().map(|flow| flow.counts.sent).sum(), 0, 0, 0];
    for end in ends {
        let [_, received, lost, joined] = &mut counts;
        *received += end.counts.received;
        *lost += end.counts.lost;
        *joined += end.counts.joined;
    }
    counts
}

/// Once undisturbed, and once with the death of the teacher's entry in the middle.
#[test]
fn an_rtp_stream_plays_through_a_failover() {
    if let Some(why) = unavailable() {
        say(format_args!(
            "SKIPPED an_rtp_stream_plays_through_a_failover: {why}"
        ));
        return;
    }
    let world = four_edges(10);
    let mut deployment = in_class(&world, &["--budget", "600ms"]);
    for (port, _) in PORTS {
        accept(&deployment, &port.to_string());
        forward(&deployment, &port.to_string(), &format!("agent:student:{port}"));
    }
    let sources = "-f lavfi -i testsrc=size=640x360:rate=25 -f lavfi -i sine=frequency=440:sample_rate=48000";
    let coded =
        "-pix_fmt yuv420p -c:v libx264 -preset ultrafast -tune zerolatency -g 25 -c:a libopus -b:a 32k";
    let make = format!("{sources} -t {SECONDS} {coded} DIR/class.mkv");
    done(ffmpeg(&world, "ctl", &make));
    let reference = done(ffmpeg(&world, "ctl", &format!("-i DIR/class.mkv {FRAMES}")));
    let [pictures, sounds] = decoded(&reference);
    let known: BTreeSet<_> = pictures.iter().collect();
    // What the receiver is to know before the first packet. Nobody listens here.
    let describe = format!("-i DIR/class.mkv -sdp_file DIR/class.sdp -t 0.1 {STREAMS}");
    done(ffmpeg(&world, "ctl", &describe));

    for death in [false, true] {
        whole_again(&deployment);
        let before = PORTS.map(|(port, _)| counted(&deployment, port));
        let receive = format!("-protocol_whitelist file,udp,rtp -i DIR/class.sdp {FRAMES}");
        let mut receiver = ffmpeg(&world, "student", &receive);
        for (port, _) in PORTS {
            receiver.wait_for_udp(port, LIMIT);
        }
        let sender = ffmpeg(&world, "teacher", &format!("-re -i DIR/class.mkv {STREAMS}"));
        let what = if death {
            let route = sending(&deployment, Duration::from_secs(6))
                .route
                .expect("a route");
            let at = wall_us();
            deployment.process(&route[0]).kill9();
            let moved = || sending(&deployment, Duration::from_millis(400)).route;
            while moved().is_some_and(|now| now.contains(&route[0])) {
                assert!(wall_us() - at < 30_000_000, "it stays by {route:?}");
            }
            format!("{} killed in the middle", route[0])
        } else {
            "undisturbed".to_owned()
        };
        done(sender);
        thread::sleep(Duration::from_secs(2));
        receiver.terminate();
        // It says 255 of a signal.
        receiver.wait(LIMIT);

        let said = receiver.stdout();
        let [seen, heard] = decoded(&said);
        let intact = seen.iter().filter(|picture| known.contains(picture)).count();
        say(format_args!(
            "RTP {what}: {} of {} pictures decoded, {intact} of them as they were sent; {} of {} pieces of sound",
            seen.len(),
            pictures.len(),
            heard.len(),
            sounds.len(),
        ));
        for ((port, name), before) in PORTS.into_iter().zip(before) {
            let after = counted(&deployment, port);
            let [sent, received, lost, joined] = std::array::from_fn(|i| after[i] - before[i]);
            say(format_args!(
                "  {name}: {sent} packets sent, {received} received, {lost} lost, {joined} joined of halves"
            ));
        }
        world.void();
        // The last are still waiting for what follows them.
        let wanted = |all: usize| if death { all * 8 / 10 } else { all - all / 50 };
        assert!(seen.len() >= wanted(pictures.len()), "{}", receiver.stderr());
        assert!(heard.len() >= wanted(sounds.len()), "{}", receiver.stderr());
        assert!(intact >= wanted(pictures.len()), "{}", receiver.stderr());
    }
}
