//! `corridor class`: classes, and what happened in them.

use std::time::Duration;

use clap::Subcommand;

use super::{
    Failure,
    client::{ApiArgs, segment},
    output,
    status::quality,
    surroundings,
};
use crate::{
    api::model::{
        ClassStatus, CreateClass, EndClass, FlowStatus, JoinClass, NewParticipant, OneWay,
        ParticipantTimeline, Point, TargetStatus, Timeline, Trace,
    },
    store::records::{BudgetOn, Outcome, Protect, Role},
};

#[derive(Debug, clap::Args)]
pub struct Args {
    #[command(subcommand)]
    command: ClassCommand,
}

#[derive(Debug, Subcommand)]
enum ClassCommand {
    /// Create a class: live at once, unless --start says when
    #[command(
        override_usage = "corridor class create [OPTIONS] <ID>\n           --teacher <SUBJECT> --student <SUBJECT>"
    )]
    Create {
        id: String,
        #[arg(long, value_name = "SUBJECT", required = true)]
        teacher: Vec<String>,
        #[arg(long, value_name = "SUBJECT", required = true)]
        student: Vec<String>,
        #[arg(long, value_name = "SUBJECT")]
        observer: Vec<String>,
        /// Where the media ends, if that is not another agent
        #[arg(long, value_name = "HOST:PORT")]
        target: Option<String>,
        /// Delay that the class must stay under
        #[arg(long, default_value = "200ms", value_parser = humantime::parse_duration)]
        budget: Duration,
        #[arg(long, default_value = "round_trip", value_parser = word::<BudgetOn>)]
        budget_on: BudgetOn,
        #[arg(long, default_value = "off", value_parser = word::<Protect>)]
        protect: Protect,
        /// When it begins, RFC 3339
        #[arg(long, value_name = "T")]
        start: Option<String>,
        /// When it ends, RFC 3339
        #[arg(long, value_name = "T")]
        end: Option<String>,
        #[arg(long)]
        json: bool,
        #[command(flatten)]
        api: ApiArgs,
    },
    /// End a class
    End {
        id: String,
        /// completed, cut_short, dropped or never_started
        #[arg(long, value_parser = word::<Outcome>)]
        outcome: Option<Outcome>,
        #[command(flatten)]
        api: ApiArgs,
    },
    /// Let a subject join
    Join {
        id: String,
        #[arg(value_name = "SUBJECT")]
        subject: String,
        #[arg(long, default_value = "student", value_parser = word::<Role>)]
        role: Role,
        #[command(flatten)]
        api: ApiArgs,
    },
    /// Let a subject leave
    Leave {
        id: String,
        subject: String,
        #[command(flatten)]
        api: ApiArgs,
    },
    /// List classes
    List {
        #[arg(long)]
        json: bool,
        #[command(flatten)]
        api: ApiArgs,
    },
    /// Show a class: each participant's quality in time, route changes, comings and goings
    Show {
        id: String,
        /// Show the routes and why they were chosen
        #[arg(long)]
        routes: bool,
        #[arg(long)]
        json: bool,
        #[command(flatten)]
        api: ApiArgs,
    },
}

/// Parses one of the API's snake-case words.
pub(super) fn word<T: serde::de::DeserializeOwned>(text: &str) -> Result<T, String> {
    serde_json::from_value(serde_json::Value::from(text)).map_err(|e| e.to_string())
}

impl Args {
    pub fn run(self) -> Result<(), Failure> {
        match self.command {
            ClassCommand::Create {
                id,
                teacher,
                student,
                observer,
                target,
                budget,
                budget_on,
                protect,
                start,
                end,
                json,
                api,
            } => {
                let people = |subjects: Vec<String>, role| {
                    subjects
                        .into_iter()
                        .map(move |subject| NewParticipant { subject, role })
                };
                let request = CreateClass {
                    participants: people(teacher, Role::Teacher)
                        .chain(people(student, Role::Student))
                        .chain(people(observer, Role::Observer))
                        .collect(),
                    id,
                    target,
                    budget_ms: Some(budget.as_secs_f64() * 1e3),
                    budget_on,
                    protect,
                    start,
                    end,
                };
                let class: ClassStatus = api.client()?.post("classes", &request)?;
                if json {
                    return output::json(&class);
                }
                output::line(format!(
                    "class {} is {}",
                    class.id,
                    format!("{:?}", class.state).to_lowercase()
                ))
            }
            ClassCommand::End { id, outcome, api } => {
                let path = format!("classes/{}/end", segment(&id));
                let class: ClassStatus = api.client()?.post(&path, &EndClass { outcome })?;
                output::line(format!(
                    "class {} has ended: {}",
                    class.id,
                    class
                        .outcome
                        .map_or_else(|| "outcome unknown".into(), outcome_words)
                ))
            }
            ClassCommand::Join {
                id,
                subject,
                role,
                api,
            } => {
                let path = format!("classes/{}/participants", segment(&id));
                let class: ClassStatus = api.client()?.post(
                    &path,
                    &JoinClass {
                        subject: subject.clone(),
                        role,
                    },
                )?;
                output::line(format!("{subject} is in class {}", class.id))
            }
            ClassCommand::Leave { id, subject, api } => {
                let path = format!("classes/{}/participants/{}", segment(&id), segment(&subject));
                let class: ClassStatus = api.client()?.delete(&path)?;
                output::line(format!("{subject} has left class {}", class.id))
            }
            ClassCommand::List { json, api } => {
                let classes: Vec<ClassStatus> = api.client()?.get("classes")?;
                if json {
                    return output::json(&classes);
                }
                output::line(output::table(
                    ["ID", "STATE", "QUALITY", "p95", "BUDGET", "PEOPLE", "TO"],
                    classes.into_iter().map(|c| {
                        let budget = budget(&c);
                        [
                            c.id,
                            format!("{:?}", c.state).to_lowercase(),
                            quality(c.quality),
                            output::ms(c.one_way_ms.map(|o| o.p95).or(c.rtt_ms.map(|r| r.p95))),
                            budget,
                            c.participants.len().to_string(),
                            c.target
                                .or(c.hub.map(|h| format!("hub {h}")))
                                .unwrap_or_else(|| "each other".into()),
                        ]
                    }),
                ))
            }
            ClassCommand::Show {
                id,
                routes,
                json,
                api,
            } => {
                let timeline: Timeline = api.client()?.get(&format!("classes/{}/timeline", segment(&id)))?;
                if json {
                    output::json(&timeline)
                } else {
                    show(&timeline, routes)
                }
            }
        }
    }
}

fn outcome_words(outcome: Outcome) -> String {
    match outcome {
        Outcome::Completed => "completed",
        Outcome::CutShort => "cut short",
        Outcome::Dropped => "dropped",
        Outcome::NeverStarted => "never started",
    }
    .to_owned()
}

fn budget(class: &ClassStatus) -> String {
    let ms = output::ms(Some(class.budget_ms));
    match class.budget_on {
        BudgetOn::RoundTrip => ms,
        BudgetOn::OneWay => format!("{ms} (one way)"),
    }
}

/// A flow in one line.
fn media(flow: &FlowStatus) -> String {
    let way = flow
        .route
        .as_deref()
        .map_or_else(|| "no route yet".to_owned(), output::chain);
    let refused = flow.refused.as_ref().map(|why| format!("; {why}"));
    let rtt = flow
        .rtt_ms
        .map(|rtt| format!("{rtt:.1} ms, "))
        .unwrap_or_default();
    let held = if flow.is_throttled {
        "; held back, because most is lost"
    } else {
        ""
    };
    format!(
        "  media {} by {way}: {rtt}{} sent, {} received, {} lost, {} moves{held}{}",
        if flow.ends_here { "to here" } else { "from here" },
        flow.sent,
        flow.received,
        flow.lost + flow.lost_there,
        flow.moves,
        refused.unwrap_or_default()
    )
}

fn one_way(judged: &OneWay) -> String {
    let p95 = output::ms(Some(judged.p95));
    match judged.error {
        Some(error) => format!("p95 {p95} ms in the worse direction, {error:.1} ms of doubt included"),
        None => format!("p95 {p95} ms, as half of the round trip"),
    }
}

fn show(timeline: &Timeline, routes: bool) -> Result<(), Failure> {
    let class = &timeline.class;
    output::line(format!(
        "class {}: {}{}, {}, budget {} ms{}",
        class.id,
        format!("{:?}", class.state).to_lowercase(),
        class
            .outcome
            .map_or_else(String::new, |o| format!(" ({})", outcome_words(o))),
        quality(class.quality),
        class.budget_ms,
        match class.budget_on {
            BudgetOn::RoundTrip => "",
            BudgetOn::OneWay => " one way",
        },
    ))?;
    if let Some(target) = &class.target {
        for link in &class.target_links {
            output::line(format!("target {target} from {}: {}", link.from, measured(link)))?;
        }
    }
    for participant in &class.participants {
        let role = format!("{:?}", participant.role).to_lowercase();
        output::line(format!(
            "\n{} ({role}): {}",
            participant.subject,
            quality(participant.quality)
        ))?;
        for leg in &participant.legs {
            let in_use = leg.in_use.as_ref().unwrap_or(&leg.primary);
            output::line(format!(
                "  to {} by {}: rtt p50 {} p95 {} ms, loss {}, {} switches",
                leg.to,
                output::chain(in_use),
                output::ms(leg.rtt_ms.map(|r| r.p50)),
                output::ms(leg.rtt_ms.map(|r| r.p95)),
                output::percent(leg.loss),
                leg.switches,
            ))?;
            if let Some(judged) = &leg.one_way_ms {
                output::line(format!("    one way  {}", one_way(judged)))?;
            }
            if routes {
                let since = leg.in_use_since.as_deref().map(clock);
                let said = [since.map(|at| format!("since {at}")), leg.in_use_reason.clone()];
                let said: Vec<_> = said.into_iter().flatten().collect();
                if !said.is_empty() {
                    output::line(format!("    in use   {}", said.join(": ")))?;
                }
                output::line(format!("    primary  {}", output::chain(&leg.primary)))?;
                for standby in &leg.standbys {
                    output::line(format!("    standby  {}", output::chain(standby)))?;
                }
                for c in &leg.compared {
                    output::line(format!(
                        "    compared {}: {:+.1} ms up, {:+.1} ms down (±{:.1}) against the route in use",
                        output::chain(&c.route),
                        c.up_ms,
                        c.down_ms,
                        c.error_ms,
                    ))?;
                }
                if let Some(direct) = &leg.direct {
                    output::line(format!("    direct   {}", measured(direct)))?;
                }
                output::line(format!("    because  {}", leg.reason))?;
            }
        }
        for flow in &participant.flows {
            output::line(media(flow))?;
        }
        if let Some(points) = timeline
            .participants
            .iter()
            .find(|p| p.subject == participant.subject)
        {
            for row in stretches(points) {
                output::line(format!("  {row}"))?;
            }
        }
        if let Some(seen) = timeline
            .participants
            .iter()
            .find(|p| p.subject == participant.subject)
            .and_then(|p| p.surroundings.last())
        {
            for line in surroundings::lines(seen) {
                output::line(format!("  {line}"))?;
            }
        }
        for event in timeline
            .events
            .iter()
            .filter(|e| e.subject.as_deref() == Some(&participant.subject))
        {
            output::line(format!("  {}  {}", clock(&event.at), event.text))?;
            if let Ok(path) = serde_json::from_value::<Trace>(event.detail["trace"].clone()) {
                for line in surroundings::hops(&path).lines() {
                    output::line(format!("    {line}"))?;
                }
            }
        }
    }
    let mut rest = timeline.events.iter().filter(|e| e.subject.is_none()).peekable();
    if rest.peek().is_some() {
        output::line("\nthe class and its edges")?;
        for event in rest {
            output::line(format!("  {}  {}", clock(&event.at), event.text))?;
        }
    }
    Ok(())
}

fn measured(link: &TargetStatus) -> String {
    match (&link.method, &link.bias) {
        (Some(method), Some(bias)) => format!(
            "rtt p50 {} p95 {} ms by {method} ({bias})",
            output::ms(link.rtt_ms.map(|r| r.p50)),
            output::ms(link.rtt_ms.map(|r| r.p95)),
        ),
        _ => {
            let whys = link.unmeasured.iter().map(|u| format!("{}: {}", u.what, u.why));
            format!("unmeasured: {}", whys.collect::<Vec<_>>().join("; "))
        }
    }
}

/// Runs of windows of one quality on one route, a line each: what support reads first.
fn stretches(participant: &ParticipantTimeline) -> Vec<String> {
    let mut rows = Vec::new();
    let mut points = participant.points.as_slice();
    while let Some(first) = points.first() {
        let same = points
            .iter()
            .take_while(|p| p.quality == first.quality && p.route == first.route)
            .count();
        let (run, rest) = points.split_at(same);
        rows.push(stretch(first, run));
        points = rest;
    }
    rows
}

fn stretch(first: &Point, run: &[Point]) -> String {
    let worst = run
        .iter()
        .filter_map(|p| p.rtt_ms)
        .map(|r| r.p95)
        .fold(None, |a: Option<f64>, b| Some(a.map_or(b, |a| a.max(b))));
    let loss = run
        .iter()
        .filter_map(|p| Some(p.loss_up?.max(p.loss_down?)))
        .fold(None, |a: Option<f64>, b| Some(a.map_or(b, |a| a.max(b))));
    let until = run.last().map_or_else(String::new, |p| clock(&p.at));
    format!(
        "{} - {until}  {:<8} by {}  worst p95 {} ms, worst loss {}",
        clock(&first.at),
        quality(first.quality),
        output::chain(&first.route),
        output::ms(worst),
        output::percent(loss),
    )
}

/// The time of day in an RFC 3339 text.
fn clock(at: &str) -> String {
    at.split_once('T')
        .map_or(at, |(_, t)| t.get(..8).unwrap_or(t))
        .to_owned()
}
