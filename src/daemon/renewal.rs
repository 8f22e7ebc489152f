//! Keeps an identity alive: learns the controller's time, renews the certificate before it expires.

use std::{path::PathBuf, sync::Arc, time::Duration};

use tokio_util::sync::CancellationToken;

use crate::{
    clock::{self, Clock},
    identity::{Material, Source, Standing, enrol_client, tls},
};

/// How often it is looked whether something is due.
const LOOK_EVERY: Duration = Duration::from_secs(3_600);
/// After a failure, sooner: the time is needed to judge certificates by.
const AGAIN: Duration = Duration::from_secs(60);

/// Runs until told to stop.
pub async fn keep(
    data: PathBuf,
    mut material: Material,
    standing: Arc<Standing>,
    clock: Arc<dyn Clock>,
    stop: CancellationToken,
) {
    loop {
        let wait = match turn(&data, &mut material, &standing).await {
            Ok(()) => LOOK_EVERY,
            Err(error) => {
                tracing::info!(
                    error = format!("{error:#}"),
                    "time or certificate not renewed yet"
                );
                AGAIN
            }
        };
        tokio::select! {
            biased;
            () = stop.cancelled() => return,
            () = clock::sleep(&*clock, wait) => {}
        }
    }
}

async fn turn(
    data: &std::path::Path,
    material: &mut Material,
    standing: &Arc<Standing>,
) -> anyhow::Result<()> {
    let (time, provider) = (standing.time(), tls::provider());
    if time.read().source != Source::Learnt {
        enrol_client::time(material, time, &provider).await?;
    }
    if !material.renewal_due(time.now()) {
        return Ok(());
    }
    let renewed = enrol_client::renew(material, time, &provider).await?;
    standing.renew(renewed.credentials(), &renewed.roots)?;
    let (data, renewed) = (data.to_owned(), Arc::new(renewed));
    let saved = renewed.clone();
    tokio::task::spawn_blocking(move || saved.save(&data)).await??;
    if let Ok(renewed) = Arc::try_unwrap(renewed) {
        *material = renewed;
    }
    tracing::info!("certificate renewed");
    Ok(())
}
