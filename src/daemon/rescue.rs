//! An agent that reaches none of the edges it knows (or knows none: it joined before there were any) asks
//! the controller over HTTPS which edges there are.

use std::{path::PathBuf, sync::Arc, time::Duration};

use rand::RngExt as _;
use tokio_util::sync::CancellationToken;

use super::agent::edge_info;
use crate::{
    agent::Handle,
    clock,
    identity::{Material, Standing, enrol_client, tls},
    machine::Machine,
};

/// While an edge is connected it is looked this often whether one still is: rarely, since it wakes the agent.
const LOOK: Duration = Duration::from_secs(30);
/// The first question comes this long after nothing was reached; each that did not help doubles it.
const FIRST: Duration = Duration::from_secs(2);
/// A controller whose edges are all away is not asked more often than this by any agent.
const LONGEST: Duration = Duration::from_secs(120);

/// Runs until told to stop.
pub async fn keep(
    data: PathBuf,
    agent: Handle,
    standing: Arc<Standing>,
    machine: Machine,
    stop: CancellationToken,
) {
    let mut rng = machine.rng("rescue");
    let mut wait = FIRST;
    loop {
        // Many lose the same edges at once: each asks at a moment of its own.
        let drawn = wait.mul_f64(0.5 + rng.random::<f64>());
        tokio::select! {
            biased;
            () = stop.cancelled() => return,
            () = clock::sleep(&*machine.clock, drawn) => {}
        }
        let Some(status) = agent.status().await else {
            return;
        };
        if status.edges.iter().any(|e| e.connected) {
            wait = LOOK;
            continue;
        }
        wait = if wait == LOOK {
            FIRST
        } else {
            (wait * 2).min(LONGEST)
        };
        match ask(data.clone(), &standing).await {
            Ok(edges) if !edges.is_empty() => agent.edges(edges).await,
            Ok(_) => {}
            Err(error) => tracing::info!(
                error = format!("{error:#}"),
                "edges not learnt from the controller"
            ),
        }
    }
}

/// A renewal answers with the edges to begin with; its certificate is left for the time when it is due.
async fn ask(data: PathBuf, standing: &Standing) -> anyhow::Result<Vec<crate::proto::EdgeInfo>> {
    let material = tokio::task::spawn_blocking(move || Material::load(&data)).await??;
    let renewed = enrol_client::renew(&material, standing.time(), &tls::provider()).await?;
    Ok(renewed.edges.iter().map(edge_info).collect())
}
