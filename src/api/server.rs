//! Serving the API and the pages: HTTPS for everybody, plain HTTP on loopback only.

mod connections;

use std::{
    io,
    net::{SocketAddr, TcpListener},
    sync::Arc,
    time::Duration,
};

use axum::{
    Extension, Router,
    extract::DefaultBodyLimit,
    http::{HeaderName, HeaderValue, StatusCode, header},
    middleware,
    response::{IntoResponse as _, Response},
};
use axum_server::{
    Handle, Server,
    tls_rustls::{RustlsAcceptor, RustlsConfig},
};
use hyper_util::rt::TokioTimer;
use rustls::ServerConfig;
use socket2::{Domain, Protocol, Socket, Type};
use tokio_util::sync::CancellationToken;
use tower_http::{
    limit::RequestBodyLimitLayer,
    set_header::SetResponseHeaderLayer,
    timeout::{RequestBodyTimeoutLayer, TimeoutLayer},
};

use super::error::ApiError;
use connections::Capped;

/// The largest request body: a timetable of some thousand classes as CSV.
pub const MAX_BODY: usize = 1024 * 1024;
/// Connections open at once on one listener; more are closed at once.
pub const MAX_CONNECTIONS: usize = 4_096;
/// Requests at once on one HTTP/2 connection.
const MAX_STREAMS: u32 = 64;
/// Connections that wait to be accepted: a school's five hundred agents may come in one moment.
const BACKLOG: i32 = 1_024;
/// For the request's head, and between two requests of one connection.
const HEAD_TIMEOUT: Duration = Duration::from_secs(30);
/// For each part of a request's body.
const BODY_TIMEOUT: Duration = Duration::from_secs(10);
/// Until an answer begins. Streams of events may go on for as long as they like.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(30);
const HANDSHAKE_TIMEOUT: Duration = Duration::from_secs(10);
/// How long requests may go on once the server is told to stop.
const DRAIN: Duration = Duration::from_secs(5);

/// What pages may do: load their own scripts, styles, images and data, be framed by nobody, and send
/// forms nowhere else. Charts set style attributes.
const CONTENT_SECURITY_POLICY: &str = "default-src 'none'; script-src 'self'; style-src 'self'; \
    style-src-attr 'unsafe-inline'; img-src 'self' data:; font-src 'self'; connect-src 'self'; \
    manifest-src 'self'; base-uri 'none'; form-action 'self'; frame-ancestors 'none'";

/// Why nothing is served.
#[derive(Debug, thiserror::Error)]
pub enum ServerError {
    #[error("plain HTTP is served on loopback only, and {0} is not: use HTTPS there")]
    NotLoopback(SocketAddr),
    #[error("cannot listen on {addr}/tcp: {source}")]
    Listen { addr: SocketAddr, source: io::Error },
    #[error("serving on {addr} failed: {source}")]
    Serve { addr: SocketAddr, source: io::Error },
}

/// How a request came in: cookies are marked `Secure` on HTTPS. A request extension.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Scheme {
    Http,
    Https,
}

/// A bound listener. Bound apart from being served, so that a taken port is known at the start.
#[derive(Debug)]
pub struct Listener {
    listener: TcpListener,
    addr: SocketAddr,
    tls: Option<Arc<ServerConfig>>,
}

impl Listener {
    /// For HTTPS with [`crate::identity::tls::https_server`]. Port 0 is any.
    pub fn https(addr: SocketAddr, tls: Arc<ServerConfig>) -> Result<Self, ServerError> {
        Self::bind(addr, Some(tls))
    }

    /// For plain HTTP, on loopback only.
    pub fn plain(addr: SocketAddr) -> Result<Self, ServerError> {
        if !addr.ip().to_canonical().is_loopback() {
            return Err(ServerError::NotLoopback(addr));
        }
        Self::bind(addr, None)
    }

    fn bind(addr: SocketAddr, tls: Option<Arc<ServerConfig>>) -> Result<Self, ServerError> {
        let listen = |source| ServerError::Listen { addr, source };
        let listener = listen_on(addr).map_err(listen)?;
        let addr = listener.local_addr().map_err(listen)?;
        Ok(Self { listener, addr, tls })
    }

    pub fn addr(&self) -> SocketAddr {
        self.addr
    }

    /// Serves `router` until `stop`, then lets requests finish for a few seconds. Handlers find the peer
    /// as `ConnectInfo<SocketAddr>` and how it came as `Extension<Scheme>`.
    pub async fn serve(self, router: Router, stop: CancellationToken) -> Result<(), ServerError> {
        let Self { listener, addr, tls } = self;
        let failed = |source| ServerError::Serve { addr, source };
        let scheme = if tls.is_some() {
            Scheme::Https
        } else {
            Scheme::Http
        };
        let service = harden(router)
            .layer(Extension(scheme))
            .into_make_service_with_connect_info::<SocketAddr>();
        let handle = Handle::new();
        let mut server = axum_server::from_tcp(listener)
            .map_err(failed)?
            .handle(handle.clone());
        limit_heads(&mut server);
        let acceptor = Capped::new(MAX_CONNECTIONS);
        let served = match tls {
            Some(tls) => {
                let acceptor = RustlsAcceptor::new(RustlsConfig::from_config(tls))
                    .handshake_timeout(HANDSHAKE_TIMEOUT)
                    .acceptor(acceptor);
                until(stop, &handle, server.acceptor(acceptor).serve(service)).await
            }
            None => until(stop, &handle, server.acceptor(acceptor).serve(service)).await,
        };
        served.map_err(failed)
    }
}

fn listen_on(addr: SocketAddr) -> io::Result<TcpListener> {
    let socket = Socket::new(Domain::for_address(addr), Type::STREAM, Some(Protocol::TCP))?;
    if addr.ip().is_unspecified() && addr.is_ipv6() {
        socket.set_only_v6(false)?;
    }
    // A restart must not wait for connections of the run before. On Windows it would mean something else.
    #[cfg(unix)]
    socket.set_reuse_address(true)?;
    socket.bind(&addr.into())?;
    socket.listen(BACKLOG)?;
    socket.set_nonblocking(true)?;
    Ok(socket.into())
}

fn limit_heads(server: &mut Server<SocketAddr>) {
    let builder = server.http_builder();
    builder
        .http1()
        .timer(TokioTimer::new())
        .header_read_timeout(HEAD_TIMEOUT);
    builder
        .http2()
        .timer(TokioTimer::new())
        .keep_alive_interval(HEAD_TIMEOUT)
        .max_concurrent_streams(MAX_STREAMS);
}

async fn until(
    stop: CancellationToken,
    handle: &Handle<SocketAddr>,
    serving: impl Future<Output = io::Result<()>>,
) -> io::Result<()> {
    tokio::pin!(serving);
    tokio::select! {
        biased;
        () = stop.cancelled() => {}
        served = &mut serving => return served,
    }
    handle.graceful_shutdown(Some(DRAIN));
    serving.await
}

/// Bounds what a request may cost, and tells browsers what pages may not do. Headers that a handler set
/// itself stay.
fn harden(router: Router) -> Router {
    let header = |name: HeaderName, value| {
        SetResponseHeaderLayer::if_not_present(name, HeaderValue::from_static(value))
    };
    router
        // For every handler, however it reads; axum's own smaller limit would come first.
        .layer(DefaultBodyLimit::disable())
        .layer(RequestBodyLimitLayer::new(MAX_BODY))
        .layer(RequestBodyTimeoutLayer::new(BODY_TIMEOUT))
        .layer(TimeoutLayer::with_status_code(
            StatusCode::GATEWAY_TIMEOUT,
            ANSWER_TIMEOUT,
        ))
        .layer(middleware::map_response(in_our_words))
        .layer(header(header::CONTENT_SECURITY_POLICY, CONTENT_SECURITY_POLICY))
        .layer(header(header::X_CONTENT_TYPE_OPTIONS, "nosniff"))
        .layer(header(header::X_FRAME_OPTIONS, "DENY"))
        .layer(header(header::REFERRER_POLICY, "no-referrer"))
        .layer(header(
            HeaderName::from_static("cross-origin-opener-policy"),
            "same-origin",
        ))
        .layer(header(
            HeaderName::from_static("cross-origin-resource-policy"),
            "same-origin",
        ))
        // Answers are about people; assets that may be kept say so themselves.
        .layer(header(header::CACHE_CONTROL, "no-store"))
}

/// The layers answer in plain text, or nothing at all.
async fn in_our_words(response: Response) -> Response {
    let error = match response.status() {
        _ if response
            .headers()
            .get(header::CONTENT_TYPE)
            .is_some_and(|t| t == "application/json") =>
        {
            return response;
        }
        StatusCode::PAYLOAD_TOO_LARGE => {
            let message = format!("a request has at most {MAX_BODY} bytes");
            ApiError::new(StatusCode::PAYLOAD_TOO_LARGE, "body_too_large", message)
        }
        StatusCode::GATEWAY_TIMEOUT => {
            let message = "the controller took too long to answer";
            ApiError::new(StatusCode::GATEWAY_TIMEOUT, "timed_out", message)
        }
        _ => return response,
    };
    error.into_response()
}

#[cfg(test)]
mod tests;
