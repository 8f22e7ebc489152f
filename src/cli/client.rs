//! Talking to a controller's API from the command line.

use std::path::{Path, PathBuf};

use clap::Args;
use serde::{Serialize, de::DeserializeOwned};

use super::Failure;
use crate::{
    api::model,
    daemon::LocalAccess,
    identity::{Pin, tls},
};

/// Which controller to ask.
#[derive(Debug, Args)]
#[command(next_help_heading = "Controller")]
pub struct ApiArgs {
    /// Address of the controller, as in https://corridor.example:8443
    #[arg(long, value_name = "URL", env = "CORRIDOR_API")]
    api: Option<String>,
    /// API token; over HTTPS followed by @ and the controller's pin
    #[arg(long, value_name = "T", env = "CORRIDOR_TOKEN", hide_env_values = true)]
    token: Option<String>,
    /// Data directory of a controller on this machine
    #[arg(long, value_name = "DIR", conflicts_with = "api")]
    data: Option<PathBuf>,
}

/// Reads what a controller left in its data directory for commands on the same machine.
fn local_access(data: &Path) -> Result<LocalAccess, Failure> {
    let path = data.join(LocalAccess::FILE);
    let text = std::fs::read_to_string(&path).map_err(|e| {
        Failure::usage(format!(
            "{}: {e} (is this a controller's data directory, and has it run?)",
            path.display()
        ))
    })?;
    serde_json::from_str(&text).map_err(|e| Failure::usage(format!("{}: {e}", path.display())))
}

/// A client of one controller's API.
#[derive(Debug)]
pub struct Client {
    http: reqwest::Client,
    base: String,
    bearer: String,
    runtime: tokio::runtime::Runtime,
}

impl ApiArgs {
    /// Finds the controller: `--api` and `--token`, else `--data`, else the default data directory.
    pub fn client(&self) -> Result<Client, Failure> {
        let (base, token, pin) = match (&self.api, &self.token) {
            (Some(api), Some(token)) => match token.split_once('@') {
                Some((token, pin)) => (api.clone(), token.to_owned(), Some(pin.to_owned())),
                None => (api.clone(), token.clone(), None),
            },
            (Some(_), None) => {
                return Err(Failure::usage("--api needs --token (or CORRIDOR_TOKEN)"));
            }
            (None, _) => {
                let data = self
                    .data
                    .clone()
                    .unwrap_or_else(crate::cli::service::default_up_data);
                return Client::local(&data);
            }
        };
        Client::new(&base, token, pin.as_deref())
    }
}

impl Client {
    /// Of the controller on this machine that keeps its data in `data`.
    pub fn local(data: &Path) -> Result<Self, Failure> {
        let access = local_access(data)?;
        Self::new(&access.api, access.token, Some(&access.pin))
    }

    fn new(base: &str, bearer: String, pin: Option<&str>) -> Result<Self, Failure> {
        let is_address = reqwest::Url::parse(base)
            .is_ok_and(|url| matches!(url.scheme(), "http" | "https") && url.has_host());
        if !is_address {
            return Err(Failure::usage(format!(
                "'{base}' is not an address of a controller: it looks like https://controller.example:8443"
            )));
        }
        let pins: Vec<Pin> = match pin {
            Some(pin) => vec![
                pin.parse()
                    .map_err(|_| Failure::usage("the token's pin is malformed"))?,
            ],
            None if base.starts_with("https:") => {
                return Err(Failure::usage(
                    "over HTTPS the token needs the controller's pin: TOKEN@PIN, as it was shown",
                ));
            }
            None => Vec::new(),
        };
        let config = tls::pinned_client(&tls::provider(), &pins).map_err(|e| Failure::Runtime(e.into()))?;
        let mut http = reqwest::Client::builder()
            .tls_backend_preconfigured(config)
            .redirect(reqwest::redirect::Policy::none());
        if base.contains("//127.") || base.contains("//[::1]") || base.contains("//localhost") {
            http = http.no_proxy();
        }
        let http = http.build().map_err(|e| Failure::Runtime(e.into()))?;
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()
            .map_err(|e| Failure::Runtime(e.into()))?;
        Ok(Self {
            http,
            base: base.trim_end_matches('/').to_owned(),
            bearer,
            runtime,
        })
    }

    pub fn get<T: DeserializeOwned>(&self, path: &str) -> Result<T, Failure> {
        self.send(self.http.get(self.url(path)))
    }

    pub fn post<T: DeserializeOwned>(&self, path: &str, body: &impl Serialize) -> Result<T, Failure> {
        self.send(self.http.post(self.url(path)).json(body))
    }

    pub fn delete<T: DeserializeOwned>(&self, path: &str) -> Result<T, Failure> {
        self.send(self.http.delete(self.url(path)))
    }

    fn url(&self, path: &str) -> String {
        format!("{}/api/v1/{path}", self.base)
    }

    fn send<T: DeserializeOwned>(&self, request: reqwest::RequestBuilder) -> Result<T, Failure> {
        let request = request
            .bearer_auth(&self.bearer)
            .timeout(std::time::Duration::from_secs(30));
        self.runtime.block_on(async {
            let answer = request.send().await.map_err(|e| {
                Failure::Runtime(
                    anyhow::Error::new(e.without_url())
                        .context(format!("cannot reach the controller at {}", self.base)),
                )
            })?;
            let status = answer.status();
            let body = answer.bytes().await.map_err(|e| Failure::Runtime(e.into()))?;
            if status.is_success() {
                // An answer without content is JSON's nothing.
                let body = if body.is_empty() { &b"null"[..] } else { &body };
                return serde_json::from_slice(body)
                    .map_err(|e| Failure::runtime(format!("the controller's answer makes no sense: {e}")));
            }
            let message = serde_json::from_slice::<model::Error>(&body)
                .map_or_else(|_| format!("the controller answered {status}"), |e| e.message);
            // What the request itself got wrong is bad input; all else is a failure.
            Err(if matches!(status.as_u16(), 400 | 404 | 409 | 422) {
                Failure::usage(message)
            } else {
                Failure::runtime(message)
            })
        })
    }
}

/// Escapes one segment of a path.
pub fn segment(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for byte in text.bytes() {
        if byte.is_ascii_alphanumeric() || b"-._~".contains(&byte) {
            out.push(char::from(byte));
        } else {
            out.push_str(&format!("%{byte:02X}"));
        }
    }
    out
}
