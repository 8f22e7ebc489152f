use std::{net::Ipv4Addr, sync::Mutex};

use corridor_probes::target::stun;
use tokio::net::{TcpListener, UdpSocket};

use super::*;
use crate::{
    config,
    reporting::{About, By},
    stamp::{StampService, StampSetup},
};

const LOOPBACK: &str = "127.0.0.0/8";

fn settings(methods: &[Method]) -> Settings {
    Settings {
        allow: vec![LOOPBACK.parse().unwrap()],
        methods: methods.to_vec(),
        tcp_port: None,
    }
}

/// Measures `target` until `enough` says so of the windows so far.
async fn measure(settings: Settings, target: String, enough: impl Fn(&[Closed]) -> bool) -> Vec<Closed> {
    let stop = CancellationToken::new();
    let mut targets = Targets::start(&Machine::system(1), settings, stop.clone());
    targets.set(vec![target]);
    let mut closed = Vec::new();
    while !enough(&closed) {
        closed.push(targets.closed().await);
    }
    stop.cancel();
    closed
}

fn by(closed: &[Closed]) -> Vec<By> {
    let mut by: Vec<_> = closed
        .iter()
        .map(|c| match &c.about {
            About::Target { by, .. } => by.clone(),
            other => panic!("{other:?}"),
        })
        .collect();
    by.dedup();
    by
}

/// Answers of a trial, and two more at least.
const MEASURED: u32 = 5;

fn received(closed: &[Closed]) -> u32 {
    closed.iter().map(|c| c.window.ledger.received).sum()
}

/// Answers whose times are trusted.
fn samples(closed: &[Closed]) -> u32 {
    closed.iter().map(|c| c.window.samples_taken).sum()
}

/// Answers binding requests, as errors if so.
async fn stun_server(error: bool) -> (SocketAddr, tokio::task::JoinHandle<()>) {
    let socket = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
    let address = socket.local_addr().unwrap();
    (address, tokio::spawn(answer_binding(socket, error)))
}

async fn answer_binding(socket: UdpSocket, error: bool) {
    let mut bytes = [0; 100];
    loop {
        let (length, from) = socket.recv_from(&mut bytes).await.unwrap();
        assert_eq!(stun::answer(&bytes[..length]), Err(stun::StunError::Type(1)));
        bytes[..2].copy_from_slice(if error { &[0x01, 0x11] } else { &[0x01, 0x01] });
        socket.send_to(&bytes[..length], from).await.unwrap();
    }
}

#[tokio::test]
async fn by_stun_whether_the_server_is_content_or_not() {
    for error in [false, true] {
        let (address, serving) = stun_server(error).await;
        let closed = measure(settings(&[Method::Stun]), address.to_string(), |c| {
            received(c) >= MEASURED
        })
        .await;
        assert_eq!(by(&closed), [By::Method(Method::Stun)]);
        assert!(closed.iter().all(|c| c.window.raw.is_none()));
        serving.abort();
    }
}

/// An address of this machine alone, so that nobody else's reflector is at its port.
const REFLECTOR: SocketAddr = SocketAddr::new(
    std::net::IpAddr::V4(Ipv4Addr::new(127, 86, 2, 1)),
    config::STAMP_PORT,
);

#[cfg(target_os = "linux")]
#[tokio::test]
async fn by_stamp_before_stun_with_raw_figures_of_its_own_session() {
    let machine = Machine::system(2);
    let setup = StampSetup {
        listen: REFLECTOR,
        key: None,
    };
    let service = match StampService::start(&machine, setup) {
        Ok(service) => service,
        Err(why) => {
            println!("skipped: port 862 cannot be had: {why}");
            return;
        }
    };
    let server = UdpSocket::bind((REFLECTOR.ip(), 0)).await.unwrap();
    let address = server.local_addr().unwrap();
    let serving = tokio::spawn(answer_binding(server, false));
    let settings = settings(&[Method::Stamp, Method::Stun]);
    let closed = measure(settings, address.to_string(), |c| samples(c) > MEASURED).await;
    assert_eq!(by(&closed), [By::Method(Method::Stamp)]);
    let (trial, session) = closed.split_first().unwrap();
    assert!(trial.window.raw.is_none() && trial.session != session[0].session);
    for window in session.iter().map(|c| &c.window).filter(|w| w.samples_taken > 0) {
        assert!(window.raw.is_some() && window.ledger.lost() == 0, "{window:?}");
    }
    serving.abort();
    service.stop().await;
}

#[tokio::test]
async fn by_tcp_to_the_port_that_is_named() {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
    let port = listener.local_addr().unwrap().port();
    let accepted = Arc::new(Mutex::new(0));
    let counting = Arc::clone(&accepted);
    let serving = tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            *counting.lock().unwrap() += 1;
            drop(stream);
        }
    });
    let settings = Settings {
        tcp_port: NonZeroU16::new(port),
        ..settings(&[Method::Tcp])
    };
    let closed = measure(settings, "127.0.0.1:9".to_owned(), |c| received(c) >= MEASURED).await;
    assert_eq!(by(&closed), [By::Method(Method::Tcp)]);
    assert!(*accepted.lock().unwrap() >= 4, "two of the trial, two measured");
    serving.abort();
}

#[cfg(target_os = "linux")]
#[tokio::test]
async fn by_icmp_or_with_the_reason_why_not() {
    let possible = corridor_probes::trace::EchoSocket::open(Ipv4Addr::LOCALHOST.into(), 1);
    let closed = measure(settings(&[Method::Icmp]), "localhost:9".to_owned(), |c| {
        received(c) >= MEASURED || (!c.is_empty() && received(c) == 0)
    })
    .await;
    match possible {
        Ok(_) => assert_eq!(by(&closed), [By::Method(Method::Icmp)]),
        Err(why) => {
            let By::Nothing(whys) = &by(&closed)[0] else {
                panic!("{closed:?}")
            };
            assert!(whys.iter().any(|w| w.what == "icmp" && w.why == why.to_string()));
        }
    }
}

#[tokio::test]
async fn a_name_that_nobody_has_is_not_measured_and_says_so() {
    let closed = measure(settings(&Method::ALL), "nobody.invalid:9".to_owned(), |c| {
        !c.is_empty()
    })
    .await;
    let By::Nothing(whys) = &by(&closed)[0] else {
        panic!("{closed:?}")
    };
    assert_eq!(whys[0].what, "address");
    assert!(
        whys[0].why.starts_with("the name cannot be looked up"),
        "{whys:?}"
    );
}
