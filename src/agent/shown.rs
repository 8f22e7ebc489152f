//! What an agent sends about its machine, spelt out: `corridor agent show-data`.

use std::path::Path;

use serde_json::{Value, json};

use crate::{
    identity::Material,
    proto,
    spool::Spool,
    surroundings::{shown as shown_surroundings, shown_trace},
};

/// Reports shown at most.
const MAX_REPORTS: u32 = 100;

/// Everything that waits in the spool under `data`, as it will be sent, and what else is told to whom. It
/// reads a copy of the spool, so that a running agent is not disturbed.
pub fn shown_data(data: &Path) -> anyhow::Result<Value> {
    let material = Material::load(data)?;
    let copy = tempcopy(&data.join("spool.db"))?;
    let reports = match &copy {
        Some(dir) => waiting(&dir.0)?,
        None => Vec::new(),
    };
    Ok(json!({
        "subject": material.name,
        "controller": material.url,
        "always": {
            "to_the_controller": [
                "version", "platform", "link type", "this machine's wall clock",
                "the agent's own CPU and memory", "its byte budget, and the bytes it sent and got",
                "classes it takes part in, and the routes in use",
                "delay, jitter and loss of its probes", "events: moved, slept, stalled, route switches, line outages",
                "this machine's load and memory, and how late the agent woke up",
                "round trips to the gateway and to the hops towards its edges, whose addresses are truncated \
                 unless full_addresses is set",
                "Wi-Fi: signal, rate, channel; names only if wifi_names is set"
            ],
            "edges_see": ["the network address that packets come from; kept truncated"],
        },
        "never": ["URLs", "DNS names", "processes", "content"],
        "reports_waiting": reports,
    }))
}

fn waiting(path: &Path) -> anyhow::Result<Vec<Value>> {
    let mut spool = Spool::open(
        path,
        crate::spool::DEFAULT_LIMIT,
        corridor_probes::Wall::default(),
    )?;
    let mut shown = Vec::new();
    for spooled in spool.next_batch(MAX_REPORTS)? {
        let report: proto::Report = proto::decode(&spooled.body)?;
        let windows: Vec<_> = report
            .windows
            .iter()
            .map(|w| {
                let ledger = w.ledger.unwrap_or_default();
                json!({
                    "of": format!("{:?}", w.of), "class": w.class, "start_us": w.start_us,
                    "length_ms": w.length_ms, "sent": ledger.sent, "received": ledger.received,
                    "lost_up": ledger.lost_up, "lost_down": ledger.lost_down,
                    "round_trips_us": corridor_probes::samples::decode(&w.samples)
                        .map(|all| all.iter().map(|s| s.rtt_us).collect::<Vec<_>>())
                        .unwrap_or_default(),
                })
            })
            .collect();
        let events: Vec<_> = report
            .events
            .iter()
            .map(|e| {
                let trace = e.trace.as_ref().map(|t| shown_trace(t, |id| id.to_string()));
                json!({
                    "at_us": e.at_us, "kind": e.kind, "class": e.class, "detail": e.detail, "trace": trace,
                })
            })
            .collect();
        shown.push(json!({
            "boot": format!("{:016x}", report.boot), "sequence": report.sequence,
            "end_us": report.end_us, "wall_us": report.wall_us,
            "windows": windows, "events": events,
            "surroundings": report.surroundings.as_deref().map(shown_surroundings),
            "path": report.path.as_deref().map(|t| shown_trace(t, |id| id.to_string())),
        }));
    }
    Ok(shown)
}

/// A directory that goes when this does, with a copy of the database and its log.
struct Copy(std::path::PathBuf, std::path::PathBuf);

impl Drop for Copy {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.1);
    }
}

fn tempcopy(path: &Path) -> anyhow::Result<Option<Copy>> {
    if !path.exists() {
        return Ok(None);
    }
    let dir = std::env::temp_dir().join(format!("corridor-show-data-{}", std::process::id()));
    std::fs::create_dir_all(&dir)?;
    let copy = Copy(dir.join("spool.db"), dir.clone());
    std::fs::copy(path, &copy.0)?;
    let log = path.with_file_name("spool.db-wal");
    if log.exists() {
        std::fs::copy(&log, dir.join("spool.db-wal"))?;
    }
    Ok(Some(copy))
}
