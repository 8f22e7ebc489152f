//! `corridor up`: controller, one edge and one agent on this machine, in one process. The edge and the
//! agent join as any other would: over HTTPS, with a token.

use std::{
    net::{Ipv4Addr, SocketAddr},
    path::{Path, PathBuf},
    sync::Arc,
    time::Duration,
};

use anyhow::Context as _;
use corridor_probes::Wall;

use super::{AgentService, ControllerService, EdgeService, edge::is_joined};
use crate::{
    api,
    config::{self, Config},
    identity::{Material, TrustedTime, enrol_client, tls},
    machine::Machine,
    store::records::Service,
};

/// What `up` may be told beside the configuration.
#[derive(Debug, Clone, Default)]
pub struct Options {
    pub data: PathBuf,
    /// Plain HTTP on loopback.
    pub http: Option<SocketAddr>,
    pub https: Option<SocketAddr>,
    /// Where the edge listens.
    pub listen: Option<SocketAddr>,
    pub public: Option<String>,
}

/// Everything, running.
#[derive(Debug)]
pub struct Up {
    controller: ControllerService,
    edge: EdgeService,
    agent: AgentService,
    join: String,
}

/// How long the join line's token is good for, and for how many machines.
const JOIN_FOR: Duration = Duration::from_secs(24 * 3_600);
const JOIN_USES: u32 = 100;

impl Up {
    pub async fn start(machine: Machine, options: Options, config: &Config) -> anyhow::Result<Self> {
        let mut config = config.clone();
        let set = &mut config.controller;
        set.http = options.http.or(set.http).or(Some(config::LOCAL_HTTP));
        set.https = options.https.or(set.https);
        set.public = options.public.or_else(|| set.public.clone());
        if let Some(listen) = options.listen {
            config.edge.listen = Some(vec![listen]);
        }
        let controller = ControllerService::start(machine.clone(), options.data.clone(), &config).await?;
        let own = SocketAddr::from((Ipv4Addr::LOCALHOST, controller.https_addr().port()));
        let url = format!("https://{own}");
        let (edge_data, agent_data) = (options.data.join("edge"), options.data.join("agent"));
        if !is_joined(&edge_data) {
            join(&machine, &controller, &url, &edge_data, Service::Edge, "local").await?;
        }
        let edge = EdgeService::start(other(&machine, 1), edge_data, &config)?;
        if !is_joined(&agent_data) {
            join(&machine, &controller, &url, &agent_data, Service::Agent, "local").await?;
        }
        let agent = AgentService::start(other(&machine, 2), agent_data, &config)?;
        let token = controller
            .join_token(Service::Agent, None, JOIN_USES, JOIN_FOR)
            .await?;
        let join = api::join_line(controller.public_url(), Service::Agent, &token, false);
        Ok(Self {
            controller,
            edge,
            agent,
            join,
        })
    }

    /// What a person wants to know first.
    pub fn greeting(&self) -> Vec<String> {
        let mut lines = self.controller.greeting();
        lines.push("other machines join with (100 of them, until tomorrow):".to_owned());
        lines.push(format!("  {}", self.join));
        lines
    }

    pub async fn stop(self) {
        self.agent.stop().await;
        self.edge.stop_now().await;
        self.controller.stop().await;
    }
}

/// The same machine for another service: with random numbers of its own.
fn other(machine: &Machine, n: u64) -> Machine {
    Machine {
        seed: machine.seed.wrapping_mul(0x9E37_79B9_7F4A_7C15).wrapping_add(n),
        ..machine.clone()
    }
}

async fn join(
    machine: &Machine,
    controller: &ControllerService,
    url: &str,
    data: &Path,
    service: Service,
    name: &str,
) -> anyhow::Result<()> {
    let token = controller
        .join_token(service, Some(name), 1, Duration::from_secs(60))
        .await?;
    let time = Arc::new(TrustedTime::new(machine.clock.clone()));
    let wanted = enrol_client::JoinAs {
        url,
        token: &token,
        service,
        name: Some(name),
        region: None,
    };
    let material: Material = enrol_client::join(wanted, &time, &tls::provider())
        .await
        .with_context(|| format!("this machine's own {service:?} cannot join"))?;
    material.save(data)?;
    let _: Wall = time.now();
    time.save(&Material::time_path(data))?;
    Ok(())
}
