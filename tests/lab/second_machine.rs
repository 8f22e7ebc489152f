//! The first minutes with Corridor: `corridor up` on one machine, and the line it prints on another.

use std::{thread, time::Duration};

use corridor::api::model::{AgentState, Status};

use crate::{
    deployment::{LIMIT, now},
    world::{World, corridor, say, unavailable},
};

#[test]
fn a_second_machine_joins_with_the_line_that_up_prints() {
    if let Some(why) = unavailable() {
        say(format_args!("SKIPPED a_second_machine_joins: {why}"));
        return;
    }
    let world = World::start("default = { delay_ms = 15 }\n[nodes.first]\n[nodes.second]");
    let (first, second) = (world.node("first"), world.node("second"));
    let data = world.dir().join("first").display().to_string();
    let up = first.spawn(corridor(), ["up", "--data", &data], []);
    let started = now();
    let line = loop {
        let said = up.stdout();
        if let Some(line) = said.lines().find(|l| l.contains("agent join ")) {
            break line.trim().to_owned();
        }
        assert!(
            started.elapsed() < LIMIT,
            "up printed no join line: {said}\n{}",
            up.stderr()
        );
        thread::sleep(Duration::from_millis(100));
    };
    let words: Vec<&str> = line.split_whitespace().collect();
    assert_eq!((words[0], words.last()), ("corridor", Some(&"NAME")), "{line}");
    let home = world.dir().join("second").display().to_string();
    let env = || [("XDG_DATA_HOME", home.as_str()), ("HOME", home.as_str())];
    let args = words[1..]
        .iter()
        .map(|&w| if w == "NAME" { "pupil-7" } else { w });
    let mut join = second.spawn(corridor(), args, env());
    assert!(join.wait(LIMIT).success(), "{line}\n{}", join.stderr());
    let agent = second.spawn(corridor(), ["agent"], env());

    loop {
        let mut asked = first.spawn(corridor(), ["status", "--json", "--data", &data], []);
        assert!(asked.wait(LIMIT).success(), "{}", asked.stderr());
        let status: Status = serde_json::from_str(&asked.stdout()).expect("a status");
        let up = |subject: &str| {
            let agent = status.agents.iter().find(|a| a.subject == subject);
            agent.is_some_and(|a| a.state == AgentState::Up)
        };
        let link = status.links.iter().find(|l| l.from == "agent:pupil-7");
        let rtt = link.and_then(|l| l.rtt_ms);
        if let Some(rtt) = rtt
            && up("pupil-7")
            && up("local")
        {
            say(format_args!(
                "the second machine is up and measured {:.1} ms (30 by the emulator) {:.1} s after up began",
                rtt.p50,
                started.elapsed().as_secs_f64()
            ));
            break;
        }
        assert!(started.elapsed() < LIMIT, "{status:#?}\n{}", agent.stderr());
        thread::sleep(Duration::from_millis(100));
    }
}
