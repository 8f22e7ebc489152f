//! A trace as scripts get it: what is not known is left out.

use corridor_probes::trace::{Figures, Hop, HopState, Method, Phase, Protocol, Tracer, Tracing, Verdict};
use serde::Serialize;

use super::names::Names;

/// The object that `--json` ends with.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Report {
    pub host: String,
    pub address: String,
    /// By what the hops were traced: `udp`, `icmp` or `raw`.
    pub method: String,
    /// What was tried first and was not possible, with the reason.
    pub refused: Vec<String>,
    pub rounds: u32,
    pub interval_ms: f64,
    pub reached: bool,
    /// At which hop the target is.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub distance: Option<u8>,
    /// Between here and the target, there and back; absent if it is not known.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub loss: Option<f64>,
    /// The end limits its answers; loss was measured otherwise, or is not known.
    pub end_limits_answers: bool,
    pub hops: Vec<HopReport>,
    /// What could not be seen, and why.
    pub notes: Vec<String>,
    #[serde(skip)]
    pub progress: String,
}

/// One hop.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct HopReport {
    pub hop: u8,
    /// Who answered, most often first.
    pub addresses: Vec<String>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub names: Vec<String>,
    pub sent: u32,
    pub answered: u32,
    /// Share of probes lost up to here, there and back; absent where missing answers are no loss, or may
    /// be none.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub loss: Option<f64>,
    pub limits_answers: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub rtt_ms: Option<Rtt>,
    /// Mean difference between neighbours that were both answered.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub jitter_ms: Option<f64>,
    /// What it says of the target.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub unreachable: Option<&'static str>,
}

/// Round-trip times in ms.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct Rtt {
    pub last: f64,
    pub best: f64,
    pub mean: f64,
    pub worst: f64,
    pub p50: f64,
    pub p95: f64,
}

impl Report {
    pub fn of(host: &str, tracing: &Tracing, names: &Names) -> Self {
        let tracer = tracing.tracer();
        let end = tracer.end_loss();
        let plan = tracer.plan();
        let hops = (1u8..)
            .zip(tracer.hops())
            .enumerate()
            .map(|(index, (ttl, hop))| {
                HopReport::of(ttl, hop, tracer.state(index), tracer.loss(index), names)
            })
            .collect();
        Self {
            host: host.to_owned(),
            address: plan.target.to_string(),
            method: tracing.method().to_string(),
            refused: tracing.refused().iter().map(ToString::to_string).collect(),
            rounds: plan.rounds,
            interval_ms: plan.interval.as_secs_f64() * 1e3,
            reached: tracer.distance().is_some(),
            distance: tracer.distance(),
            loss: end.and_then(|e| e.share()),
            end_limits_answers: end.is_some_and(|e| e.verdict == Verdict::LimitsAnswers),
            hops,
            notes: notes(tracing),
            progress: progress(tracer),
        }
    }
}

impl HopReport {
    fn of(ttl: u8, hop: &Hop, state: HopState, loss: Option<f64>, names: &Names) -> Self {
        let series = hop.series();
        let figures = series.figures();
        let seen = hop.seen();
        Self {
            hop: ttl,
            addresses: seen.iter().map(|s| s.address.to_string()).collect(),
            names: seen
                .iter()
                .filter_map(|s| names.get(&s.address).cloned())
                .collect(),
            sent: series.sent(),
            answered: series.answered(),
            loss,
            limits_answers: state == HopState::LimitsAnswers,
            rtt_ms: figures.map(Rtt::from),
            jitter_ms: figures.and_then(|f| f.jitter).map(rounded),
            unreachable: hop.unreachable().map(|u| u.text()),
        }
    }
}

impl From<Figures> for Rtt {
    fn from(f: Figures) -> Self {
        let [last, best, mean, worst, p50, p95] =
            [f.last, f.best, f.mean, f.worst, f.p50, f.p95].map(rounded);
        Self {
            last,
            best,
            mean,
            worst,
            p50,
            p95,
        }
    }
}

/// To a µs.
fn rounded(ms: f64) -> f64 {
    (ms * 1e3).round() / 1e3
}

fn progress(tracer: &Tracer) -> String {
    match tracer.phase() {
        Phase::Path(round) => format!("round {} of {}", round + 1, tracer.plan().rounds),
        Phase::Settle => "waiting for the last answers".to_owned(),
        Phase::Check(_) => "asking the end again".to_owned(),
        Phase::Done => String::new(),
    }
}

/// What could not be seen, and why.
fn notes(tracing: &Tracing) -> Vec<String> {
    let tracer = tracing.tracer();
    let mut notes = Vec::new();
    if tracer.anew_by_icmp() {
        notes.push("the end says nothing to UDP; traced by ICMP echo requests".to_owned());
    }
    if let (Phase::Done, None) = (tracer.phase(), tracer.distance()) {
        let refusal = tracer.hops().last().and_then(Hop::unreachable);
        notes.push(match (refusal, tracing.method(), tracing.echo_method()) {
            (Some(why), ..) => format!("not reached: the last hop says {}", why.text()),
            (None, Method::Udp, None) => {
                "not reached: the end says nothing to UDP, or something in between drops it; echo requests \
                 cannot be sent here"
                    .to_owned()
            }
            _ => "not reached: the end says nothing, or something in between drops probes or answers"
                .to_owned(),
        });
    }
    notes.extend(end_note(tracer));
    if (0..tracer.hops().len()).any(|i| tracer.state(i) == HopState::Untold) && tracer.distance().is_none() {
        notes.push("loss of the last hops is not known: nothing behind them answers".to_owned());
    }
    if tracer.hops().iter().any(Hop::matched_by_address) {
        notes.push(
            "some routers quote too little of probes; their answers were matched by address".to_owned(),
        );
    }
    if tracer.unmatched() > 0 {
        notes.push(format!(
            "{} answers fit no single probe and were left out: they quote too little of it",
            tracer.unmatched()
        ));
    }
    if tracer.unsent() > 0 {
        notes.push(format!(
            "{} probes could not be sent by this machine",
            tracer.unsent()
        ));
    }
    notes
}

/// How the end's missing answers were told from loss.
fn end_note(tracer: &Tracer) -> Option<String> {
    let end = tracer.end_loss()?;
    let asked = tracer.check().map(|(protocol, series)| {
        let how = match protocol {
            _ if protocol == tracer.protocol() => "asked more slowly",
            Protocol::Icmp => "asked by echo requests",
            Protocol::Udp => "asked by UDP",
        };
        format!("{how} it answered {} of {}", series.answered(), series.settled())
    });
    match (end.verdict, end.lost, asked) {
        (Verdict::LimitsAnswers, Some(_), Some(asked)) => Some(format!(
            "the end limits its answers: {asked}, which is what loss is counted from"
        )),
        (Verdict::LimitsAnswers, ..) => Some(
            "the end limits its answers: they come as regularly as a clock; loss is not known".to_owned(),
        ),
        (Verdict::Untold, _, Some(asked)) => Some(format!(
            "the end's missing answers are loss or a limit, too few to tell: {asked}"
        )),
        (Verdict::Untold, _, None) => {
            Some("the end's missing answers are loss or a limit, too few to tell".to_owned())
        }
        (Verdict::Counted, ..) => None,
    }
}
