//! The emulator itself, with real devices and namespaces. Needs root; without it, each test says that
//! it was skipped.
#![expect(clippy::unwrap_used, reason = "the helpers here are tests too")]

use std::{
    collections::BTreeSet,
    fs,
    io::{self, BufRead, BufReader, Read, Write},
    net::{TcpListener, TcpStream, UdpSocket},
    os::fd::AsRawFd,
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    sync::atomic::{AtomicU32, Ordering},
    thread,
    time::Duration,
};

use corridor_netem::{
    Settings,
    control::{Client, ClientError, Reply, Request, Row},
    netns::in_namespace,
    packet::Proto,
    stats::Filter,
};

const NETEM: &str = env!("CARGO_BIN_EXE_corridor-netem");
const TWO: &str = r#"
seed = 11
[nodes.a]
addresses = ["10.0.0.1", "fd00::1"]
[nodes.b]
addresses = ["10.0.0.2", "fd00::2"]
"#;

/// Why the real thing cannot run here. Written past the test harness, which would swallow it.
fn skipped(test: &str) -> bool {
    let why = if !is_root() {
        "not root"
    } else if fs::File::options()
        .read(true)
        .write(true)
        .open("/dev/net/tun")
        .is_err()
    {
        "no /dev/net/tun"
    } else {
        return false;
    };
    let _ = writeln!(io::stderr(), "SKIPPED {test}: {why}");
    true
}

fn is_root() -> bool {
    fs::read_to_string("/proc/self/status")
        .is_ok_and(|status| status.lines().any(|line| line.starts_with("Uid:\t0\t0\t")))
}

/// A running emulator. Dropping it ends it, by its standard input.
struct Emulator {
    child: Child,
    run: String,
    client: Client,
    dir: PathBuf,
}

impl Emulator {
    fn start(toml: &str) -> Self {
        static STARTED: AtomicU32 = AtomicU32::new(0);
        let run = format!(
            "t{}x{}",
            std::process::id(),
            STARTED.fetch_add(1, Ordering::Relaxed)
        );
        let dir = std::env::temp_dir().join(format!("corridor-netem-{run}"));
        fs::create_dir_all(&dir).unwrap();
        let (file, sock) = (dir.join("world.toml"), dir.join("control.sock"));
        fs::write(&file, toml).unwrap();
        let mut child = Command::new(NETEM)
            .args(["run", "--exit-with-stdin", "--run", &run, "--control"])
            .arg(&sock)
            .arg("--log")
            .arg(dir.join("packets.csv"))
            .arg(&file)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let mut lines = BufReader::new(child.stdout.as_mut().unwrap()).lines();
        assert!(
            lines.any(|line| line.unwrap() == "ready"),
            "the emulator did not start"
        );
        let client = Client::connect(&sock).unwrap();
        Self {
            child,
            run,
            client,
            dir,
        }
    }

    fn namespace(&self, node: &str) -> String {
        format!("cnm-{}-{node}", self.run)
    }

    fn udp(&self, node: &str, address: &str) -> UdpSocket {
        let socket = in_namespace(&self.namespace(node), || UdpSocket::bind(address)).unwrap();
        socket.set_read_timeout(Some(Duration::from_secs(10))).unwrap();
        socket
    }

    fn set(&mut self, at: &str, words: &str) {
        let (at, settings) = (at.parse().unwrap(), words.parse::<Settings>().unwrap());
        let request = Request::Set {
            at,
            settings,
            replace: false,
        };
        assert_eq!(self.client.request(&request).unwrap(), Reply::Done);
    }

    /// Counts from a to b, once nothing is under way.
    fn row(&mut self, min_len: u16, max_len: u16) -> Row {
        let filter = Filter {
            from: Some("a".to_owned()),
            to: Some("b".to_owned()),
            proto: Some(Proto::Udp),
            min_len: Some(min_len),
            max_len: Some(max_len),
        };
        loop {
            let mut rows = self.client.stats(filter.clone()).unwrap().rows;
            assert_eq!(rows.len(), 1, "{rows:?}");
            let row = rows.remove(0);
            if row.in_flight == 0 {
                return row;
            }
            thread::sleep(Duration::from_millis(5));
        }
    }

    fn end(mut self) -> bool {
        drop(self.child.stdin.take());
        self.child.wait().is_ok()
    }
}

impl Drop for Emulator {
    fn drop(&mut self) {
        drop(self.child.stdin.take());
        let _ = self.child.wait();
        let _ = fs::remove_dir_all(&self.dir);
    }
}

fn namespaces_of(run: &str) -> Vec<String> {
    let listing = Command::new("ip").args(["netns", "list"]).output().unwrap();
    String::from_utf8(listing.stdout)
        .unwrap()
        .lines()
        .filter(|line| line.starts_with(&format!("cnm-{run}-")))
        .map(str::to_owned)
        .collect()
}

/// Numbers in order of arrival, until the emulator's last packet (number `u32::MAX`).
fn receive(socket: UdpSocket) -> thread::JoinHandle<Vec<u32>> {
    thread::spawn(move || {
        let (mut numbers, mut buffer) = (Vec::new(), [0; 2048]);
        loop {
            socket.recv(&mut buffer).unwrap();
            match u32::from_be_bytes(buffer[..4].try_into().unwrap()) {
                u32::MAX => return numbers,
                number => numbers.push(number),
            }
        }
    })
}

#[test]
fn counts_are_those_of_the_receiver() {
    if skipped("counts_are_those_of_the_receiver") {
        return;
    }
    let mut emulator = Emulator::start(TWO);
    emulator.set(
        "a:b",
        "delay_ms=5 jitter_ms=3 jitter_reorders=true loss=0.1 loss_burst=3 duplicate=0.1",
    );
    emulator.set("b/down", "duplicate=0.1 loss=0.05");
    let (a, b) = (emulator.udp("a", "10.0.0.1:0"), emulator.udp("b", "10.0.0.2:0"));
    a.connect(b.local_addr().unwrap()).unwrap();
    let receiver = receive(b);
    let sent = 4_000u32;
    for number in 0..sent {
        let mut packet = vec![0; 100 + (number % 7) as usize];
        packet[..4].copy_from_slice(&number.to_be_bytes());
        a.send(&packet).unwrap();
        if number % 16 == 0 {
            thread::sleep(Duration::from_millis(1));
        }
    }
    let row = emulator.row(128, 134);
    emulator.set("a:b", "duplicate=0 loss=0 jitter_ms=0");
    emulator.set("b/down", "duplicate=0 loss=0");
    a.send(&u32::MAX.to_be_bytes()).unwrap();
    let numbers = receiver.join().unwrap();

    let unique: BTreeSet<u32> = numbers.iter().copied().collect();
    assert_eq!(row.sent, u64::from(sent));
    assert_eq!(row.delivered, unique.len() as u64);
    assert_eq!(row.lost, u64::from(sent) - row.delivered);
    assert_eq!(row.duplicated, (numbers.len() - unique.len()) as u64);
    let (mut seen, mut reordered, mut highest) = (BTreeSet::new(), 0, 0);
    for &number in &numbers {
        if seen.insert(number) && number < highest {
            reordered += 1;
        }
        highest = highest.max(number);
    }
    assert_eq!(row.reordered, reordered);
    assert!(
        row.lost > 300 && row.duplicated > 300 && row.reordered > 300,
        "{row:?}"
    );
}

#[test]
fn the_log_has_a_line_for_every_fate() {
    if skipped("the_log_has_a_line_for_every_fate") {
        return;
    }
    let mut emulator = Emulator::start(TWO);
    emulator.set("a:b", "delay_ms=5 loss=0.3");
    let (a, b) = (emulator.udp("a", "10.0.0.1:0"), emulator.udp("b", "10.0.0.2:0"));
    a.connect(b.local_addr().unwrap()).unwrap();
    for _ in 0..200 {
        a.send(&[0; 72]).unwrap();
    }
    let row = emulator.row(100, 100);
    let log = emulator.dir.join("packets.csv");
    let kept = std::env::temp_dir().join(format!("{}.csv", emulator.run));
    fs::hard_link(&log, &kept).unwrap();
    assert!(emulator.end());
    let text = fs::read_to_string(&kept).unwrap();
    fs::remove_file(&kept).unwrap();
    let fates = |fate: &str| {
        text.lines()
            .skip(1)
            .filter(|line| line.split(',').nth(7) == Some(fate))
            .count() as u64
    };
    assert_eq!(
        (fates("delivered"), fates("chance")),
        (row.delivered, row.lost_by.chance)
    );
    assert_eq!(row.sent, 200);
}

#[test]
#[expect(unsafe_code, reason = "std has no way to ask for segmentation")]
fn the_kernel_segments_before_the_device() {
    if skipped("the_kernel_segments_before_the_device") {
        return;
    }
    let mut emulator = Emulator::start(TWO);
    emulator.set("a:b", "mtu=1028");
    let (a, b) = (emulator.udp("a", "10.0.0.1:0"), emulator.udp("b", "10.0.0.2:0"));
    a.connect(b.local_addr().unwrap()).unwrap();
    let segment: libc::c_int = 1000;
    // SAFETY: the option takes an int, which outlives the call.
    let rc = unsafe {
        libc::setsockopt(
            a.as_raw_fd(),
            libc::SOL_UDP,
            libc::UDP_SEGMENT,
            (&raw const segment).cast(),
            size_of_val(&segment) as libc::socklen_t,
        )
    };
    assert_eq!(rc, 0, "{}", io::Error::last_os_error());
    let bytes: Vec<u8> = (0..10_500).map(|i| (i % 251) as u8).collect();
    a.send(&bytes).unwrap();
    let (mut received, mut buffer) = (Vec::new(), [0; 2048]);
    while received.len() < bytes.len() {
        let n = b.recv(&mut buffer).unwrap();
        received.extend_from_slice(&buffer[..n]);
    }
    assert_eq!(received, bytes);
    assert_eq!(emulator.row(1028, 1028).delivered, 10);
    assert_eq!(emulator.row(528, 528).delivered, 1);
}

#[test]
fn tcp_passes_whole_over_both_families() {
    if skipped("tcp_passes_whole_over_both_families") {
        return;
    }
    let mut emulator = Emulator::start(TWO);
    emulator.set("a+b", "delay_ms=2 loss=0.005");
    for address in ["10.0.0.2:7000", "[fd00::2]:7000"] {
        let listener = in_namespace(&emulator.namespace("b"), || TcpListener::bind(address)).unwrap();
        let bytes: Vec<u8> = (0..500_000u32).map(|i| (i % 253) as u8).collect();
        let expected = bytes.clone();
        let sender = thread::spawn({
            let namespace = emulator.namespace("a");
            move || {
                let mut stream = in_namespace(&namespace, || TcpStream::connect(address)).unwrap();
                stream.write_all(&bytes).unwrap();
            }
        });
        let mut received = Vec::new();
        listener.accept().unwrap().0.read_to_end(&mut received).unwrap();
        sender.join().unwrap();
        assert_eq!(received, expected);
    }
}

#[test]
fn a_stall_holds_and_then_delivers_all_in_order() {
    if skipped("a_stall_holds_and_then_delivers_all_in_order") {
        return;
    }
    let mut emulator = Emulator::start(TWO);
    let (a, b) = (emulator.udp("a", "10.0.0.1:0"), emulator.udp("b", "10.0.0.2:0"));
    a.connect(b.local_addr().unwrap()).unwrap();
    let stall = Request::Stall {
        node: "b".to_owned(),
        ms: 1_000,
    };
    emulator.client.request(&stall).unwrap();
    for number in 0..20u32 {
        a.send(&number.to_be_bytes()).unwrap();
    }
    a.send(&u32::MAX.to_be_bytes()).unwrap();
    assert_eq!(receive(b).join().unwrap(), (0..20).collect::<Vec<_>>());
    let residence = emulator.row(32, 32).residence.unwrap();
    // By the emulator's own stamps; sending began within the stall.
    assert!(residence.p50_ms > 100.0, "{residence:?}");
}

#[test]
fn a_translator_forgets_and_a_filter_lets_few_ports_pass() {
    if skipped("a_translator_forgets_and_a_filter_lets_few_ports_pass") {
        return;
    }
    let mut emulator = Emulator::start(
        r#"
        [nodes.a]
        addresses = ["192.168.1.2"]
        only_ports = [443]
        nat = { public = "100.64.0.1", forget_s = 3600 }
        [nodes.b]
        addresses = ["10.0.0.2"]
        "#,
    );
    let (a, b) = (
        emulator.udp("a", "192.168.1.2:5000"),
        emulator.udp("b", "10.0.0.2:443"),
    );
    a.send_to(b"there", "10.0.0.2:443").unwrap();
    a.send_to(b"elsewhere", "10.0.0.2:4433").unwrap();
    let mut buffer = [0; 64];
    let (n, public) = b.recv_from(&mut buffer).unwrap();
    assert_eq!(
        (&buffer[..n], public),
        (&b"there"[..], "100.64.0.1:20000".parse().unwrap())
    );
    b.send_to(b"back", public).unwrap();
    let (n, far) = a.recv_from(&mut buffer).unwrap();
    assert_eq!(
        (&buffer[..n], far),
        (&b"back"[..], "10.0.0.2:443".parse().unwrap())
    );
    let row = emulator.row(0, u16::MAX);
    assert_eq!((row.sent, row.delivered, row.lost_by.gateway), (2, 1, 1));

    let listener = in_namespace(&emulator.namespace("b"), || TcpListener::bind("10.0.0.2:443")).unwrap();
    let mut stream = in_namespace(&emulator.namespace("a"), || TcpStream::connect("10.0.0.2:443")).unwrap();
    stream.write_all(b"over TCP too").unwrap();
    drop(stream);
    let mut text = String::new();
    listener.accept().unwrap().0.read_to_string(&mut text).unwrap();
    assert_eq!(text, "over TCP too");
}

#[test]
fn a_wrong_request_is_refused_and_changes_nothing() {
    if skipped("a_wrong_request_is_refused_and_changes_nothing") {
        return;
    }
    let mut emulator = Emulator::start(TWO);
    let wrong = [
        ("a:x", "loss=0.1", "there is no node `x`"),
        ("a:a", "loss=0.1", "no link to itself"),
        ("links", "loss=1.5", "loss = 1.5 is outside"),
    ];
    for (at, words, expected) in wrong {
        let request = Request::Set {
            at: at.parse().unwrap(),
            settings: words.parse().unwrap(),
            replace: false,
        };
        match emulator.client.request(&request) {
            Err(ClientError::Refused(error)) => assert!(error.contains(expected), "{error}"),
            other => panic!("{other:?}"),
        }
    }
    assert!(emulator.client.status().unwrap().settings.is_empty());
    emulator.set("a:b", "loss=0.1");
    let settings = emulator.client.status().unwrap().settings;
    assert_eq!(settings["link a > b"], "loss=0.1".parse().unwrap());
}

#[test]
fn namespaces_go_with_their_run() {
    if skipped("namespaces_go_with_their_run") {
        return;
    }
    let (by_stdin, by_signal, killed) = (Emulator::start(TWO), Emulator::start(TWO), Emulator::start(TWO));
    for emulator in [&by_stdin, &by_signal, &killed] {
        assert_eq!(namespaces_of(&emulator.run).len(), 2);
    }
    let mut inside = Command::new(NETEM)
        .args(["exec", "--run", &by_stdin.run, "a", "sleep", "1000"])
        .spawn()
        .unwrap();
    let exe = PathBuf::from(format!("/proc/{}/exe", inside.id()));
    while !fs::read_link(&exe).is_ok_and(|exe| !exe.ends_with("ip") && exe != Path::new(NETEM)) {
        thread::sleep(Duration::from_millis(5));
    }

    let run = by_stdin.run.clone();
    assert!(by_stdin.end());
    assert_eq!(namespaces_of(&run), [] as [&str; 0]);
    assert!(
        !inside.wait().unwrap().success(),
        "it was killed with its namespace"
    );

    let mut by_signal = by_signal;
    let pid = by_signal.child.id().to_string();
    assert!(Command::new("kill").arg(&pid).status().unwrap().success());
    assert!(by_signal.child.wait().unwrap().success());
    assert_eq!(namespaces_of(&by_signal.run), [] as [&str; 0]);

    let (mut killed, alive) = (killed, Emulator::start(TWO));
    killed.child.kill().unwrap();
    killed.child.wait().unwrap();
    assert_eq!(namespaces_of(&killed.run).len(), 2);
    assert!(Command::new(NETEM).arg("clean").status().unwrap().success());
    assert_eq!(namespaces_of(&killed.run), [] as [&str; 0]);
    assert_eq!(namespaces_of(&alive.run).len(), 2);
}
