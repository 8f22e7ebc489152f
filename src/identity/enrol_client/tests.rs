//! What needs a process of its own: proxies are the environment's. The rest is tested against the real
//! handlers, in `api::enrol`.

use std::env;

use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _, copy_bidirectional},
    net::{TcpListener, TcpStream},
};

use super::*;
use crate::{
    api::enrol::testing::{NOW, TestController},
    identity::testing::FakeClock,
};

const TOKEN: &str = "CORRIDOR_TEST_JOIN_TOKEN";
const HOST: &str = "controller.test:8443";

/// A name that only the proxy can resolve.
async fn join_through_proxy(token: &str) -> Result<Material, EnrolError> {
    let wanted = JoinAs {
        url: &format!("https://{HOST}"),
        token,
        service: Service::Agent,
        name: Some("s1"),
        region: None,
    };
    let time = TrustedTime::new(FakeClock::at(NOW));
    join(wanted, &time, &tls::provider()).await
}

/// An HTTP proxy for one connection, which leads to `target` whatever it is asked; gives what that was.
async fn proxy(listener: TcpListener, target: String) -> String {
    let (mut client, _) = listener.accept().await.unwrap();
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        head.push(client.read_u8().await.unwrap());
    }
    client.write_all(b"HTTP/1.1 200 OK\r\n\r\n").await.unwrap();
    let mut server = TcpStream::connect(target).await.unwrap();
    // Either end may go without a word.
    let _ = copy_bidirectional(&mut client, &mut server).await;
    String::from_utf8(head).unwrap()
}

#[tokio::test]
async fn the_systems_proxy_is_honoured() {
    // This test runs itself again, as a process that has a proxy in its environment.
    if let Ok(token) = env::var(TOKEN) {
        join_through_proxy(&token).await.unwrap();
        return;
    }
    let controller = TestController::start();
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let proxy_url = format!("http://{}", listener.local_addr().unwrap());
    let target = controller.url.strip_prefix("https://").unwrap().to_owned();
    let asked = tokio::spawn(proxy(listener, target));
    let name = std::thread::current().name().unwrap().to_owned();
    let child = tokio::process::Command::new(env::current_exe().unwrap())
        .args(["--exact", &name])
        .env(TOKEN, controller.token(|_| {}).to_string())
        .env("HTTPS_PROXY", proxy_url)
        .env_remove("NO_PROXY")
        .env_remove("no_proxy")
        .env_remove("https_proxy")
        .output()
        .await
        .unwrap();
    let said = String::from_utf8_lossy(&child.stdout);
    assert!(child.status.success() && said.contains("1 passed"), "{said}");
    let asked = asked.await.unwrap();
    assert!(
        asked.starts_with(&format!("CONNECT {HOST} HTTP/1.1\r\n")),
        "{asked}"
    );
}
