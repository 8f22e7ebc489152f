//! `corridor status`: what the controller sees.

use super::{Failure, client::ApiArgs, output};
use crate::api::model::Status;

#[derive(Debug, clap::Args)]
pub struct Args {
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    api: ApiArgs,
}

impl Args {
    pub fn run(self) -> Result<(), Failure> {
        let status: Status = self.api.client()?.get("status")?;
        if self.json {
            return output::json(&status);
        }
        let word = |debug: String| debug.to_lowercase();
        output::line(format!(
            "controller {}, up {}, {} reports stored",
            status.controller.version,
            humantime::format_duration(std::time::Duration::from_secs(status.controller.uptime_s)),
            status.controller.reports,
        ))?;
        output::line(section("edges", status.edges.len()))?;
        output::line(output::table(
            ["NAME", "STATE", "REGION", "AGENTS", "CPU", "FORWARDED", "REFUSED"],
            status.edges.into_iter().map(|e| {
                [
                    e.name,
                    word(format!("{:?}", e.state)),
                    e.region.unwrap_or_else(|| "-".into()),
                    e.agents.to_string(),
                    output::percent(e.cpu),
                    e.forwarded.to_string(),
                    e.refused.to_string(),
                ]
            }),
        ))?;
        output::line(section("agents", status.agents.len()))?;
        output::line(output::table(
            ["SUBJECT", "STATE", "VIA", "CLASSES", "KBIT/S", "LAST SEEN (UTC)"],
            status.agents.into_iter().map(|a| {
                [
                    a.subject,
                    word(format!("{:?}", a.state)),
                    a.uplink.unwrap_or_else(|| "-".into()),
                    a.classes.join(" "),
                    a.traffic.as_ref().map_or_else(|| "-".into(), output::used_of),
                    a.last_seen.map_or_else(|| "-".into(), |at| output::moment(&at)),
                ]
            }),
        ))?;
        if !status.sites.is_empty() {
            output::line(section("sites", status.sites.len()))?;
            output::line(output::table(
                [
                    "ADDRESS",
                    "AGENTS",
                    "IN CLASS",
                    "KBIT/S",
                    "SHARE IN CLASS",
                    "IDLE",
                ],
                status.sites.into_iter().map(|s| {
                    [
                        s.address,
                        s.agents.to_string(),
                        s.in_class.to_string(),
                        format!("{:.0} of {:.0}", s.out_kbps.max(s.back_kbps), s.budget_kbps),
                        output::ms(s.share_in_class_kbps),
                        output::ms(s.share_idle_kbps),
                    ]
                }),
            ))?;
        }
        output::line(section("links", status.links.len()))?;
        output::line(output::table(
            [
                "FROM", "TO", "RTT p50", "p95", "LOSS", "SENT", "LOST", "KEPT OUT", "AGE s",
            ],
            status.links.into_iter().map(|l| {
                [
                    l.from,
                    match l.method {
                        Some(method) => format!("{} by {method}", l.to),
                        None => l.to,
                    },
                    output::ms(l.rtt_ms.map(|r| r.p50)),
                    output::ms(l.rtt_ms.map(|r| r.p95)),
                    output::percent(l.loss),
                    l.sent.to_string(),
                    l.lost.to_string(),
                    output::percent(l.kept_out),
                    output::ms(l.age_s),
                ]
            }),
        ))?;
        output::line(section("classes", status.classes.len()))?;
        output::line(output::table(
            ["ID", "STATE", "QUALITY", "RTT p95", "PARTICIPANTS"],
            status.classes.into_iter().map(|c| {
                [
                    c.id,
                    word(format!("{:?}", c.state)),
                    quality(c.quality),
                    output::ms(c.rtt_ms.map(|r| r.p95)),
                    c.participants
                        .iter()
                        .map(|p| p.subject.as_str())
                        .collect::<Vec<_>>()
                        .join(" "),
                ]
            }),
        ))
    }
}

fn section(name: &str, count: usize) -> String {
    format!("\n{count} {name}")
}

pub(super) fn quality(quality: crate::api::model::Quality) -> String {
    use crate::api::model::Quality;
    match quality {
        Quality::Good => "good",
        Quality::AtRisk => "at risk",
        Quality::Outage => "outage",
        Quality::Unknown => "unknown",
    }
    .to_owned()
}
