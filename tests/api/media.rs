//! Media carried by real processes: a program in the test sends to an agent's local port, and another one, or
//! the program behind the other agent, answers.

use std::{
    collections::BTreeMap,
    io::{Read as _, Write as _},
    net::{SocketAddr, TcpStream, UdpSocket},
    path::Path,
    thread,
    time::Duration,
};

use serde_json::Value;

use crate::harness::{SOON, Service, Up, command, finish, loopback, port, wait_for};

/// Answers every packet with itself. It ends with the test's process.
fn echo() -> SocketAddr {
    let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
    let address = socket.local_addr().unwrap();
    thread::spawn(move || {
        let mut bytes = [0; 65_536];
        while let Ok((length, from)) = socket.recv_from(&mut bytes) {
            let _ = socket.send_to(&bytes[..length], from);
        }
    });
    address
}

fn agent<const N: usize>(data: &Path, args: [&str; N]) -> crate::harness::Ended {
    let mut command = command(["agent"]);
    command.args(args).arg("--data").arg(data);
    finish(command)
}

fn media(data: &Path) -> Value {
    agent(data, ["status", "--json"]).json()["media"].clone()
}

/// The first flow that begins at an agent.
fn flow(data: &Path) -> Value {
    media(data)["flows"][0].clone()
}

/// Forwards a new local port; answers a socket that sends there.
fn forward(data: &Path, to: &str) -> UdpSocket {
    let listen = loopback(port());
    let said = agent(data, ["forward", "--listen", &listen.to_string(), "--to", to]).ok();
    assert_eq!(said, format!("{listen} is carried to {to}\n"));
    let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
    socket.connect(listen).unwrap();
    socket.set_read_timeout(Some(Duration::from_secs(5))).unwrap();
    socket
}

/// Sends packets of several sizes one after the other, and counts how often each comes back.
fn talk(socket: &UdpSocket, sizes: &[usize], times: usize) -> BTreeMap<Vec<u8>, usize> {
    let mut back = BTreeMap::new();
    let mut bytes = vec![0; 65_536];
    for number in 0..times {
        for &size in sizes {
            let mut packet = vec![number as u8; size];
            packet[..2].copy_from_slice(&(size as u16).to_be_bytes());
            socket.send(&packet).unwrap();
            let length = socket
                .recv(&mut bytes)
                .unwrap_or_else(|e| panic!("{e}: {size} B, {number}"));
            *back.entry(bytes[..length].to_vec()).or_insert(0) += 1;
        }
    }
    back
}

/// A class that both agents have a plan for.
fn class(up: &Up, id: &str, student: &Service, more: &[&str]) {
    let args = ["class", "create", id, "--teacher", "local", "--student", "s1"];
    up.ask(args.iter().chain(more)).ok();
    for data in [up.data().join("agent"), student.data().to_owned()] {
        wait_for("a plan", SOON, || {
            let legs = agent(&data, ["status", "--json"]).json()["legs"].clone();
            let mut legs = legs.as_array()?.iter();
            legs.any(|leg| leg["class"] == id && leg["in_use"].as_array().is_some_and(|r| !r.is_empty()))
                .then_some(())
        });
    }
}

fn world(environment: &[(&str, &str)]) -> (Up, Service) {
    let up = Up::with("up", environment);
    let student = up.agent("s1");
    up.agents_up(&["local", "s1"]);
    (up, student)
}

#[test]
fn media_goes_to_a_target_and_back() {
    let (up, student) = world(&[("CORRIDOR_TARGETS_ALLOW", "127.0.0.0/8")]);
    let target = echo().to_string();
    class(&up, "math", &student, &["--target", &target]);
    let data = up.data().join("agent");
    let socket = forward(&data, &target);
    // Beyond 1,400 B a packet goes in two halves.
    let sizes = [3, 160, 1_100, 1_500, 2_200];
    let back = talk(&socket, &sizes, 20);
    assert_eq!(back.len(), 100);
    assert!(back.values().all(|&times| times == 1));
    let flow = flow(&data);
    assert_eq!(flow["class"], "math");
    let counts = ["sent", "received", "lost", "repeated", "undone"].map(|key| flow[key].as_u64().unwrap());
    assert_eq!(counts, [100, 100, 0, 0, 0], "{flow}");
    assert!(flow["joined"].as_u64() >= Some(20), "{flow}");
    // Another local program has a flow of its own.
    let listen = socket.peer_addr().unwrap();
    let second = UdpSocket::bind("127.0.0.1:0").unwrap();
    second.connect(listen).unwrap();
    second.set_read_timeout(Some(Duration::from_secs(5))).unwrap();
    assert_eq!(talk(&second, &[300], 3).len(), 3);
    assert_eq!(media(&data)["flows"].as_array().unwrap().len(), 2);

    // The class's end takes its grant back.
    up.ask(["class", "end", "math"]).ok();
    wait_for("no class leads there", SOON, || {
        let _ = socket.send(b"late");
        media(&data)["flows"]
            .as_array()?
            .iter()
            .all(|f| f["class"].is_null())
            .then_some(())
    });
    socket.set_read_timeout(Some(Duration::from_millis(300))).unwrap();
    let mut bytes = [0; 100];
    while socket.recv(&mut bytes).is_ok() {}
    socket.send(b"late").unwrap();
    assert!(socket.recv(&mut bytes).is_err());
}

#[test]
fn media_goes_from_agent_to_agent_where_it_is_accepted() {
    let (up, student) = world(&[]);
    class(&up, "music", &student, &[]);
    let data = up.data().join("agent");
    let there = echo();
    let socket = forward(&data, &format!("agent:s1:{}", there.port()));
    socket.send(b"knock").unwrap();
    let why = wait_for("a refusal", SOON, || {
        let refused = flow(&data)["refused"][0][1].clone();
        refused.as_str().map(str::to_owned)
    });
    assert_eq!(why, "the other agent accepts nothing at this port");

    agent(student.data(), ["accept", &there.port().to_string()]).ok();
    wait_for("the route opens", SOON, || {
        let _ = socket.send(b"knock");
        flow(&data)["open"]
            .as_array()
            .is_some_and(|open| !open.is_empty())
            .then_some(())
    });
    socket.set_read_timeout(Some(Duration::from_millis(500))).unwrap();
    let mut bytes = [0; 100];
    while socket.recv(&mut bytes).is_ok() {}
    socket.set_read_timeout(Some(Duration::from_secs(5))).unwrap();
    let back = talk(&socket, &[160, 1_500], 10);
    assert_eq!((back.len(), back.values().sum::<usize>()), (20, 20));
    let ends = media(student.data())["ends"].clone();
    assert_eq!(ends.as_array().unwrap().len(), 1);
    assert!(ends[0]["received"].as_u64() >= Some(20), "{ends}");

    let listen = socket.peer_addr().unwrap().to_string();
    agent(&data, ["stop-forward", &listen]).ok();
    agent(&data, ["stop-forward", &listen]).fails(1, &[&listen]);
}

#[test]
fn what_is_not_granted_is_not_carried() {
    let (up, student) = world(&[]);
    let data = up.data().join("agent");
    // No class leads there.
    let target = echo().to_string();
    let socket = forward(&data, &target);
    socket.send(b"a").unwrap();
    wait_for("counted", SOON, || (flow(&data)["undone"] == 1).then_some(()));
    // A class does, but edges do not send to addresses of their own machine.
    class(&up, "math", &student, &["--target", &target]);
    let why = wait_for("a refusal", SOON, || {
        socket.send(b"b").unwrap();
        flow(&data)["refused"][0][1].as_str().map(str::to_owned)
    });
    assert_eq!(why, "the target's address is one that edges do not send to");
    assert_eq!(flow(&data)["received"], 0);
    // Whatever the form, and by a name too.
    let hidden = [
        "10.0.0.1:9",
        "[::ffff:10.0.0.1]:9",
        "[64:ff9b::a00:1]:9",
        "localhost:9",
    ];
    for (number, target) in hidden.into_iter().enumerate() {
        class(&up, &format!("hidden-{number}"), &student, &["--target", target]);
        let socket = forward(&data, target);
        wait_for("a refusal", SOON, || {
            socket.send(b"b").unwrap();
            let flows = media(&data)["flows"].clone();
            let flow = flows
                .as_array()?
                .iter()
                .find(|flow| flow["to"] == target)?
                .clone();
            (flow["refused"][0][1] == why).then_some(())
        });
    }

    let taken = UdpSocket::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let holder = UdpSocket::bind(taken).unwrap();
    agent(&data, ["forward", "--listen", &taken.to_string(), "--to", "a:1"])
        .fails(1, &[&taken.to_string(), "another process"]);
    drop(holder);
    agent(&data, ["forward", "--listen", "127.0.0.1:0", "--to", "nowhere"]).fails(2, &["HOST:PORT"]);
}

/// A SOCKS connection after the greeting.
fn greeted(proxy: SocketAddr) -> TcpStream {
    let mut stream = TcpStream::connect(proxy).unwrap();
    stream.set_read_timeout(Some(Duration::from_secs(5))).unwrap();
    stream.write_all(&[5, 2, 0, 2]).unwrap();
    let mut chosen = [0; 2];
    stream.read_exact(&mut chosen).unwrap();
    assert_eq!(chosen, [5, 0]);
    stream
}

/// Asks for a command at no address; the answer's code, and its address.
fn asked(stream: &mut TcpStream, command: u8) -> (u8, SocketAddr) {
    stream.write_all(&[5, command, 0, 1, 0, 0, 0, 0, 0, 0]).unwrap();
    let mut answer = [0; 10];
    stream.read_exact(&mut answer).unwrap();
    let [5, code, 0, 1, a, b, c, d, high, low] = answer else {
        panic!("{answer:?}");
    };
    (code, ([a, b, c, d], u16::from_be_bytes([high, low])).into())
}

#[test]
fn media_goes_by_socks_too() {
    let proxy = loopback(port());
    let (at, target) = (proxy.to_string(), echo());
    let environment = [
        ("CORRIDOR_TARGETS_ALLOW", "127.0.0.0/8"),
        ("CORRIDOR_AGENT_SOCKS", &at),
    ];
    let up = Up::with("up", &environment);
    let student = up.agent("s1");
    up.agents_up(&["local", "s1"]);
    class(&up, "math", &student, &["--target", &target.to_string()]);
    let data = up.data().join("agent");

    let mut stream = greeted(proxy);
    let (code, relay) = asked(&mut stream, 3);
    assert_eq!((code, relay.ip()), (0, proxy.ip()));
    let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
    socket.set_read_timeout(Some(Duration::from_secs(5))).unwrap();
    let [high, low] = target.port().to_be_bytes();
    let header = [0, 0, 0, 1, 127, 0, 0, 1, high, low];
    let mut bytes = [0; 3_000];
    for number in 0..20_u8 {
        let packet = [&header[..], &[number; 500]].concat();
        socket.send_to(&packet, relay).unwrap();
        let (length, from) = socket.recv_from(&mut bytes).unwrap();
        assert_eq!((from, &bytes[..length]), (relay, &packet[..]));
    }
    // Another program's packet, a fragment, and one that is longer than any media.
    let refused = media(&data)["refused"].as_u64().unwrap();
    let stranger = UdpSocket::bind("127.0.0.1:0").unwrap();
    stranger.send_to(&[&header[..], b"x"].concat(), relay).unwrap();
    let mut fragment = header;
    fragment[2] = 1;
    socket.send_to(&fragment, relay).unwrap();
    socket
        .send_to(&[&header[..], &[0; 60_000]].concat(), relay)
        .unwrap();
    wait_for("three refusals", SOON, || {
        (media(&data)["refused"] == refused + 3).then_some(())
    });

    // The flows end with the connection, which takes nothing more than its end.
    let _ = stream.write_all(&vec![7; 70_000]);
    wait_for("the end", SOON, || {
        media(&data)["flows"].as_array()?.is_empty().then_some(())
    });
    let (code, _) = asked(&mut greeted(proxy), 1);
    assert_eq!(code, 7, "no CONNECT");
    let mut stream = TcpStream::connect(proxy).unwrap();
    let _ = stream.write_all(&vec![4; 70_000]);
    stream.set_read_timeout(Some(Duration::from_secs(5))).unwrap();
    assert!(!matches!(stream.read(&mut [0; 10]), Ok(1..)), "version 4");
}
