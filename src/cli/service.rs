//! What the commands that run services have in common.

use std::{
    net::SocketAddr,
    path::{Path, PathBuf},
    sync::Arc,
};

use super::{Failure, output};
use crate::{
    daemon::{self, default_data},
    identity::{EnrolError, Material, TrustedTime, enrol_client, tls},
    store::records::Service,
};

/// Where to join, and with what.
#[derive(Debug, clap::Args)]
pub struct JoinArgs {
    /// Address of the controller, as in https://corridor.example:8443
    pub url: String,
    /// Join token
    #[arg(long, value_name = "TOKEN", env = "CORRIDOR_JOIN", hide_env_values = true)]
    pub join: String,
    /// Where to keep the identity
    #[arg(long, value_name = "DIR")]
    pub data: Option<PathBuf>,
}

/// An address that plain HTTP may be served on.
pub fn loopback(text: &str) -> Result<SocketAddr, String> {
    let address: SocketAddr = text.parse().map_err(|e| format!("{e}"))?;
    if address.ip().to_canonical().is_loopback() {
        Ok(address)
    } else {
        Err("plain HTTP is for loopback only; use --https".to_owned())
    }
}

/// The default data directory of `corridor up`, which commands look into when nothing else is said.
pub fn default_up_data() -> PathBuf {
    default_data("up")
}

pub fn runtime() -> Result<tokio::runtime::Runtime, Failure> {
    tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()
        .map_err(|e| Failure::Runtime(e.into()))
}

/// Enrols this machine and keeps its identity under `data`.
pub fn join(
    args: &JoinArgs,
    data: &Path,
    service: Service,
    name: Option<&str>,
    region: Option<&str>,
) -> Result<(), Failure> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .map_err(|e| Failure::Runtime(e.into()))?;
    let (time, joined) = runtime.block_on(async {
        let time = Arc::new(TrustedTime::new(daemon::system()?.clock));
        let wanted = enrol_client::JoinAs {
            url: &args.url,
            token: &args.join,
            service,
            name,
            region,
        };
        let joined = enrol_client::join(wanted, &time, &tls::provider()).await;
        Ok::<_, anyhow::Error>((time, joined))
    })?;
    let material = joined.map_err(|e| match &e {
        EnrolError::Refused { code, message } if code == "name_needed" => Failure::usage(match service {
            Service::Agent => format!("{message} with --subject"),
            Service::Edge => format!("{message} with --name"),
        }),
        passing if passing.is_passing() => Failure::Runtime(e.into()),
        _ => Failure::Usage(e.into()),
    })?;
    material.save(data).map_err(|e| Failure::Runtime(e.into()))?;
    time.save(&Material::time_path(data))
        .map_err(|e| Failure::Runtime(e.into()))?;
    let what = match service {
        Service::Agent => "agent",
        Service::Edge => "edge",
    };
    output::line(format!(
        "joined as {what} {}; its identity is in {}",
        material.name,
        data.display()
    ))
}
