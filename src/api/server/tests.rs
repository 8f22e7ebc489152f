use std::{
    io::{Read as _, Write as _},
    net::TcpStream,
};

use axum::{extract::ConnectInfo, response::IntoResponse as _, routing::get};
use corridor_probes::Wall;
use tokio::sync::Notify;

use super::*;
use crate::identity::{
    Ca, Certificate, Pin, Roots, Standing, TrustedTime, system_rng, testing::FakeClock, tls,
};

const NOW: Wall = Wall::from_secs(1_800_000_000);

fn loopback() -> SocketAddr {
    "127.0.0.1:0".parse().unwrap()
}

fn standing(ca: &Ca) -> Arc<Standing> {
    let time = Arc::new(TrustedTime::new(FakeClock::at(NOW)));
    let own = ca.issue_https(&[], NOW, &mut system_rng()).unwrap();
    Standing::new(own, &ca.roots(), time, tls::provider()).unwrap()
}

fn client(pin: Pin, alpn: &[&[u8]]) -> reqwest::Client {
    let mut config = tls::pinned_client(&tls::provider(), &[pin]).unwrap();
    config.alpn_protocols = alpn.iter().map(|p| p.to_vec()).collect();
    let client = reqwest::Client::builder().tls_backend_preconfigured(config);
    client.tls_info(true).no_proxy().build().unwrap()
}

async fn say(ConnectInfo(from): ConnectInfo<SocketAddr>, Extension(scheme): Extension<Scheme>) -> String {
    format!("{} {scheme:?}", from.ip())
}

fn router() -> Router {
    Router::new().route("/", get(say)).route(
        "/own",
        get(async || ([("cache-control", "max-age=1")], "").into_response()),
    )
}

#[test]
fn plain_http_is_for_loopback() {
    for addr in ["0.0.0.0:0", "[::]:0", "192.0.2.1:0", "[::ffff:192.0.2.1]:0"] {
        let refused = Listener::plain(addr.parse().unwrap());
        assert!(matches!(refused, Err(ServerError::NotLoopback(_))), "{addr}");
    }
    for addr in ["127.0.0.1:0", "127.0.0.2:0"] {
        assert!(Listener::plain(addr.parse().unwrap()).is_ok(), "{addr}");
    }
}

#[test]
fn a_taken_port_is_named() {
    let first = Listener::plain(loopback()).unwrap();
    let error = Listener::plain(first.addr()).unwrap_err().to_string();
    assert!(
        error.contains(&first.addr().to_string()) && error.contains("in use"),
        "{error}"
    );
}

#[tokio::test]
async fn both_schemes_are_served_with_headers_that_bind_browsers() {
    let ca = Ca::ephemeral(NOW, &mut system_rng()).unwrap();
    let pin = ca.pin().unwrap();
    let config = Arc::new(tls::https_server(&standing(&ca)).unwrap());
    let https = Listener::https(loopback(), config).unwrap();
    let plain = Listener::plain(loopback()).unwrap();
    let (https_url, plain_url) = (
        format!("https://{}", https.addr()),
        format!("http://{}", plain.addr()),
    );
    let stop = CancellationToken::new();
    let serving = tokio::spawn(https.serve(router(), stop.clone()));
    let serving_plain = tokio::spawn(plain.serve(router(), stop.clone()));
    for (url, alpn, version, said) in [
        (
            &https_url,
            &[b"h2".as_slice()][..],
            reqwest::Version::HTTP_2,
            "127.0.0.1 Https",
        ),
        (&https_url, &[], reqwest::Version::HTTP_11, "127.0.0.1 Https"),
        (&plain_url, &[], reqwest::Version::HTTP_11, "127.0.0.1 Http"),
    ] {
        let client = client(pin, alpn);
        let response = client.get(url).send().await.unwrap();
        assert_eq!((response.status().as_u16(), response.version()), (200, version));
        let header = |name: &str| response.headers()[name].to_str().unwrap().to_owned();
        let policy = header("content-security-policy");
        assert!(
            policy.starts_with("default-src 'none'; script-src 'self'"),
            "{policy}"
        );
        assert!(
            policy.contains("frame-ancestors 'none'") && !policy.contains("  "),
            "{policy}"
        );
        assert_eq!(header("x-content-type-options"), "nosniff");
        assert_eq!(header("x-frame-options"), "DENY");
        assert_eq!(header("referrer-policy"), "no-referrer");
        assert_eq!(header("cache-control"), "no-store");
        assert_eq!(response.text().await.unwrap(), said);
        let own = client.get(format!("{url}/own")).send().await.unwrap();
        assert_eq!(own.headers()["cache-control"], "max-age=1");
        let missing = client.get(format!("{url}/missing")).send().await.unwrap();
        assert_eq!(missing.headers()["x-content-type-options"], "nosniff");
    }
    stop.cancel();
    serving.await.unwrap().unwrap();
    serving_plain.await.unwrap().unwrap();
}

#[tokio::test]
async fn the_certificate_is_renewed_in_place() {
    let ca = Ca::ephemeral(NOW, &mut system_rng()).unwrap();
    let pin = ca.pin().unwrap();
    let standing = standing(&ca);
    let listener = Listener::https(loopback(), Arc::new(tls::https_server(&standing).unwrap())).unwrap();
    let url = format!("https://{}", listener.addr());
    let stop = CancellationToken::new();
    let serving = tokio::spawn(listener.serve(router(), stop.clone()));
    let shown = async || {
        let response = client(pin, &[]).get(&url).send().await.unwrap();
        let info = response.extensions().get::<reqwest::tls::TlsInfo>().unwrap();
        let der = info.peer_certificate().unwrap().to_vec();
        Certificate::read(&der.into()).unwrap().not_after
    };
    let before = shown().await;
    let later = NOW + Duration::from_secs(86_400);
    let roots: Roots = ca.roots();
    standing
        .renew(ca.issue_https(&[], later, &mut system_rng()).unwrap(), &roots)
        .unwrap();
    assert_eq!(shown().await.since(before), Duration::from_secs(86_400));
    stop.cancel();
    serving.await.unwrap().unwrap();
}

#[tokio::test(start_paused = true)]
async fn a_handler_that_takes_too_long_is_given_up() {
    use tower_service::Service as _;
    let router = Router::new().route("/", get(async || std::future::pending::<()>().await));
    let request = axum::http::Request::new(axum::body::Body::empty());
    let response = harden(router).call(request).await.unwrap();
    assert_eq!(response.status(), 504);
    let body = axum::body::to_bytes(response.into_body(), 1_000).await.unwrap();
    let error: crate::api::model::Error = serde_json::from_slice(&body).unwrap();
    assert_eq!(error.code, "timed_out");
}

#[tokio::test]
async fn requests_under_way_finish_when_it_stops() {
    let (begun, go_on) = (Arc::new(Notify::new()), Arc::new(Notify::new()));
    let (handler_begun, handler_goes) = (begun.clone(), go_on.clone());
    let slow = async move || {
        handler_begun.notify_one();
        handler_goes.notified().await;
        "done"
    };
    let listener = Listener::plain(loopback()).unwrap();
    let addr = listener.addr();
    let stop = CancellationToken::new();
    let serving = tokio::spawn(listener.serve(Router::new().route("/", get(slow)), stop.clone()));
    let request = tokio::spawn(async move { reqwest_plain().get(format!("http://{addr}")).send().await });
    begun.notified().await;
    stop.cancel();
    // Closed to new ones: the listener is gone once a connection is refused.
    while tokio::net::TcpStream::connect(addr).await.is_ok() {
        tokio::task::yield_now().await;
    }
    assert!(!request.is_finished());
    go_on.notify_one();
    assert_eq!(request.await.unwrap().unwrap().text().await.unwrap(), "done");
    serving.await.unwrap().unwrap();
}

fn reqwest_plain() -> reqwest::Client {
    client(Pin([0; 32]), &[])
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn connections_are_bounded_and_their_places_given_again() {
    use axum_server::accept::Accept as _;
    let capped = Capped::new(2);
    let listener = tokio::net::TcpListener::bind(loopback()).await.unwrap();
    let addr = listener.local_addr().unwrap();
    let connect = async || {
        let client = tokio::net::TcpStream::connect(addr).await.unwrap();
        let (server, _) = listener.accept().await.unwrap();
        (client, capped.accept(server, ()).await)
    };
    let (_one, first) = connect().await;
    let (_two, second) = connect().await;
    assert!(first.is_ok() && second.is_ok());
    let (three, refused) = connect().await;
    assert!(refused.is_err());
    let mut three = three.into_std().unwrap();
    three.set_nonblocking(false).unwrap();
    assert_eq!(three.read(&mut [0; 1]).unwrap(), 0, "closed");
    drop(first);
    assert!(connect().await.1.is_ok());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_no_http_and_no_tls_takes_nothing_down() {
    let ca = Ca::ephemeral(NOW, &mut system_rng()).unwrap();
    let listener = Listener::https(loopback(), Arc::new(tls::https_server(&standing(&ca)).unwrap())).unwrap();
    let addr = listener.addr();
    let stop = CancellationToken::new();
    let serving = tokio::spawn(listener.serve(router(), stop.clone()));
    for garbage in [
        &b"GET / HTTP/1.1\r\n\r\n"[..],
        &[0xff; 2_000],
        &[22, 3, 1, 0xff, 0xff, 1],
    ] {
        let mut stream = TcpStream::connect(addr).unwrap();
        stream.write_all(garbage).unwrap();
    }
    let response = client(ca.pin().unwrap(), &[])
        .get(format!("https://{addr}"))
        .send()
        .await;
    assert_eq!(response.unwrap().status(), 200);
    stop.cancel();
    serving.await.unwrap().unwrap();
}
