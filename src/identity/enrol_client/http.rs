//! One controller over HTTPS: requests, bounded answers, and errors in plain words.

use std::{error::Error, io, time::Duration};

use reqwest::{Client, RequestBuilder, Response, Url, redirect};
use rustls::{ClientConfig, OtherError};
use serde::{Serialize, de::DeserializeOwned};

use super::EnrolError;
use crate::{api::model, identity::tls::PinMismatch};

const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);
/// For a whole request and its answer.
const TIMEOUT: Duration = Duration::from_secs(30);
/// The largest answer, in bytes: chains, roots, and 256 edges.
const MAX_ANSWER: usize = 256 * 1024;

/// A controller's address, and how to talk to it.
pub(super) struct Https {
    client: Client,
    base: Url,
}

impl Https {
    pub(super) fn new(url: &str, tls: ClientConfig) -> Result<Self, EnrolError> {
        let bad = || EnrolError::Url(url.to_owned());
        let mut base: Url = url.trim().parse().map_err(|_| bad())?;
        let host = base.host_str().unwrap_or_default().to_owned();
        if base.scheme() != "https" || host.is_empty() {
            return Err(bad());
        }
        base.set_query(None);
        base.set_fragment(None);
        let path = format!("{}/", base.path().trim_end_matches('/'));
        base.set_path(&path);
        let mut client = Client::builder()
            .tls_backend_preconfigured(tls)
            .connect_timeout(CONNECT_TIMEOUT)
            .timeout(TIMEOUT)
            .redirect(redirect::Policy::none())
            .user_agent(concat!("corridor/", env!("CARGO_PKG_VERSION")));
        if is_loopback(&host) {
            // No proxy leads back to this machine.
            client = client.no_proxy();
        }
        let client = client.build().map_err(EnrolError::Setup)?;
        Ok(Self { client, base })
    }

    pub(super) async fn get<T: DeserializeOwned>(&self, path: &str) -> Result<T, EnrolError> {
        self.send(self.client.get(self.url(path)?)).await
    }

    pub(super) async fn post<T: DeserializeOwned>(
        &self,
        path: &str,
        body: &impl Serialize,
    ) -> Result<T, EnrolError> {
        self.send(self.client.post(self.url(path)?).json(body)).await
    }

    fn url(&self, path: &str) -> Result<Url, EnrolError> {
        let joined = self.base.join(path);
        joined.map_err(|_| EnrolError::Url(self.base.to_string()))
    }

    fn name(&self) -> String {
        self.base.as_str().trim_end_matches('/').to_owned()
    }

    async fn send<T: DeserializeOwned>(&self, request: RequestBuilder) -> Result<T, EnrolError> {
        let response = request.send().await.map_err(|e| self.failed(e))?;
        let status = response.status();
        let body = self.body(response).await?;
        if status.is_success() {
            serde_json::from_slice(&body).map_err(|e| self.not_a_controller(e.to_string()))
        } else {
            match serde_json::from_slice::<model::Error>(&body) {
                Ok(model::Error { code, message }) => Err(EnrolError::Refused {
                    code,
                    message: one_line(&message),
                }),
                Err(_) => Err(self.not_a_controller(status.to_string())),
            }
        }
    }

    async fn body(&self, mut response: Response) -> Result<Vec<u8>, EnrolError> {
        let mut body = Vec::new();
        while let Some(chunk) = response.chunk().await.map_err(|e| self.failed(e))? {
            if body.len() + chunk.len() > MAX_ANSWER {
                return Err(self.not_a_controller(format!("an answer of over {MAX_ANSWER} bytes")));
            }
            body.extend_from_slice(&chunk);
        }
        Ok(body)
    }

    fn not_a_controller(&self, what: String) -> EnrolError {
        EnrolError::NotAController {
            url: self.name(),
            what: one_line(&what),
        }
    }

    fn failed(&self, error: reqwest::Error) -> EnrolError {
        let url = self.name();
        match certificate_fault(&error) {
            Some(Fault::Pin) => return EnrolError::WrongController { url },
            Some(Fault::Other(reason)) => return EnrolError::Certificate { url, reason },
            None => {}
        }
        if error.is_timeout() {
            return EnrolError::TimedOut { url };
        }
        let mut innermost: &dyn Error = &error;
        while let Some(inner) = innermost.source() {
            innermost = inner;
        }
        EnrolError::Unreachable {
            url,
            reason: one_line(&innermost.to_string()),
            source: error,
        }
    }
}

enum Fault {
    Pin,
    Other(String),
}

/// What TLS had against the certificate, if that is what failed.
fn certificate_fault(error: &reqwest::Error) -> Option<Fault> {
    let mut next: Option<&(dyn Error + 'static)> = Some(error);
    while let Some(error) = next {
        if let Some(tls) = error.downcast_ref::<rustls::Error>() {
            return match tls {
                rustls::Error::InvalidCertificate(rustls::CertificateError::Other(OtherError(inner)))
                    if inner.is::<PinMismatch>() =>
                {
                    Some(Fault::Pin)
                }
                rustls::Error::InvalidCertificate(_) => Some(Fault::Other(one_line(&tls.to_string()))),
                _ => None,
            };
        }
        // The source of an I/O error is its inner error's source: the inner one itself has to be asked for.
        next = match error.downcast_ref::<io::Error>().and_then(io::Error::get_ref) {
            Some(inner) => Some(inner),
            None => error.source(),
        };
    }
    None
}

fn is_loopback(host: &str) -> bool {
    let bare = host.trim_start_matches('[').trim_end_matches(']');
    host == "localhost" || bare.parse().is_ok_and(|ip: std::net::IpAddr| ip.is_loopback())
}

/// What others say goes on one line, and is not endless.
fn one_line(text: &str) -> String {
    let clean = text.chars().map(|c| if c.is_control() { ' ' } else { c });
    clean.take(300).collect()
}
