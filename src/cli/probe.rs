//! `corridor probe`: measures the way to an edge that allows open probing, or to any STAMP reflector.

use std::{
    io::{self, IsTerminal as _, Write as _},
    path::PathBuf,
    time::Duration,
};

use anyhow::Context as _;
use corridor_probes::{
    FULL_PACKET, Mono, Profile,
    quality::{CODECS, Codec, OPUS_NB},
};
use rand::RngExt as _;

use super::{Failure, output};
use crate::{
    config::STAMP_PORT,
    identity::{Fingerprint, system_rng},
    machine::Machine,
    measure::{
        self, Address, Plan, Progress, RunError, StampMeasured, StampTarget, Stop, Summary, Target, Trust,
    },
    stamp::StampKey,
};

/// QUIC retransmits its first packet after 1, 2 and 4 s.
const PATIENCE: Duration = Duration::from_secs(10);

/// Measure the way to an edge that allows open probing, or to a STAMP reflector.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// The far end: HOST, HOST:PORT or [IPV6]:PORT; port 4433 unless given, 862 with --stamp
    #[arg(value_name = "ADDR")]
    pub address: String,
    /// How many probes
    #[arg(long, value_name = "N")]
    pub count: Option<u32>,
    /// Between two probes, from 1ms to 60s
    #[arg(long, value_name = "TIME", default_value = "20ms", value_parser = humantime::parse_duration)]
    pub interval: Duration,
    /// Send packets as a media stream does, instead of one size at one interval
    #[arg(long, value_name = "NAME", conflicts_with_all = ["interval", "stamp"])]
    pub profile: Option<ProfileName>,
    /// For how long; 10s if there is no count either
    #[arg(long, value_name = "TIME", value_parser = humantime::parse_duration)]
    pub duration: Option<Duration>,
    /// Payload of each datagram, from 23 to 1414 bytes, of full packets with --profile video; with --stamp from 44 (112 with a key) to 1452
    #[arg(long, value_name = "BYTES")]
    pub size: Option<usize>,
    /// Print one JSON object at the end
    #[arg(long)]
    pub json: bool,
    /// Take whoever answers for the edge
    #[arg(long)]
    pub insecure: bool,
    /// SHA-256 of the edge's certificate, as the edge prints it
    #[arg(long, value_name = "HEX", allow_hyphen_values = true)]
    pub fingerprint: Option<String>,
    /// Measure with STAMP (RFC 8762), as routers and other tools answer it
    #[arg(long, conflicts_with_all = ["insecure", "fingerprint"])]
    pub stamp: bool,
    /// File with the key that the STAMP reflector has
    #[arg(long, value_name = "FILE", requires = "stamp")]
    pub stamp_key: Option<PathBuf>,
    /// What a call is judged for: opus, opus-nb-11k, opus-wb-15k, opus-swb-40k, g711 or g711-plc
    #[arg(long, value_name = "NAME", default_value = "opus")]
    pub codec: String,
}

/// Streams that can be mimicked.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub enum ProfileName {
    /// A voice: 50 packets a second of 92 to 122 bytes
    Opus,
    /// A camera: 30 bursts a second, with a key frame every 4s; packets of up to 1200 bytes
    Video,
}

/// What is measured, and how.
#[derive(Debug)]
enum Way {
    Quic(Target),
    Stamp(StampTarget),
}

impl Way {
    fn address(&self) -> &Address {
        match self {
            Self::Quic(target) => &target.address,
            Self::Stamp(target) => &target.address,
        }
    }
}

/// Runs the command.
pub fn run(args: &Args) -> Result<(), Failure> {
    let (way, plan) = checked(args)?;
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .context("cannot start the runtime")?;
    let (summary, unreadable) = runtime.block_on(measure(&way, plan))?;
    let address = way.address();
    if args.json {
        output::json(&summary)?;
    } else {
        let text = measure::report(&summary);
        let how = match plan.profile {
            Some(profile) => format!("profile {}, up to {} B", profile.name(), plan.size),
            None => format!("{} B every {:?}", plan.size, plan.interval),
        };
        output::line(format_args!("{address}, {how}"))?;
        output::line(text.trim_end())?;
    }
    if summary.sent > 0 && summary.received + summary.late == 0 {
        let why = match &way {
            Way::Quic(_) => String::new(),
            Way::Stamp(_) if unreadable > 0 => {
                format!(": {unreadable} answers are not STAMP, or not made with this key")
            }
            Way::Stamp(StampTarget { key: None, .. }) => {
                ": a STAMP reflector that has a key says nothing without it (--stamp-key)".to_owned()
            }
            Way::Stamp(_) => ": a STAMP reflector with another key, or without one, says nothing".to_owned(),
        };
        return Err(Failure::runtime(format_args!(
            "none of {} probes came back from {address}{why}",
            summary.sent
        )));
    }
    Ok(())
}

/// What was asked for, or why it cannot be.
fn checked(args: &Args) -> Result<(Way, Plan), Failure> {
    let codec = codec(&args.codec).ok_or_else(|| {
        let names: Vec<_> = CODECS.iter().map(|c| c.name).collect();
        let (known, names) = (&args.codec, names.join(", "));
        Failure::usage(format_args!("there is no codec {known:?}: opus, {names}"))
    })?;
    let Args {
        interval,
        count,
        duration,
        size,
        ..
    } = *args;
    if args.stamp {
        let address = Address::parse(&args.address, STAMP_PORT).map_err(Failure::usage)?;
        let key = args.stamp_key.as_deref().map(StampKey::load);
        let key = key.transpose().map_err(Failure::usage)?;
        let plan = Plan::stamp(interval, count, duration, size, codec, key.is_some());
        return Ok((
            Way::Stamp(StampTarget { address, key }),
            plan.map_err(Failure::usage)?,
        ));
    }
    let address: Address = args.address.parse().map_err(Failure::usage)?;
    let trust = trust(args)?;
    let profile = match (args.profile, size) {
        (None, _) => None,
        (Some(ProfileName::Opus), None) => Some(Profile::Opus),
        (Some(ProfileName::Opus), Some(_)) => {
            return Err(Failure::usage(
                "the sizes of profile opus are its codec's: leave out --size",
            ));
        }
        (Some(ProfileName::Video), size) => Some(Profile::Video {
            full: size.unwrap_or(FULL_PACKET),
        }),
    };
    let plan = match profile {
        Some(profile) => Plan::profile(profile, count, duration, codec),
        None => Plan::new(interval, count, duration, size, codec),
    };
    let plan = plan.map_err(Failure::usage)?;
    let target = Target {
        address,
        trust,
        patience: PATIENCE,
    };
    Ok((Way::Quic(target), plan))
}

fn trust(args: &Args) -> Result<Trust, Failure> {
    match (args.insecure, &args.fingerprint) {
        (true, None) => Ok(Trust::Anyone),
        (false, Some(text)) => fingerprint(text).map(Trust::Fingerprint).ok_or_else(|| {
            Failure::usage(format_args!(
                "{text:?} is not a fingerprint: 64 hexadecimal digits, or 43 characters of base64url"
            ))
        }),
        (true, Some(_)) => Err(Failure::usage("give --insecure or --fingerprint, not both")),
        (false, None) => Err(Failure::usage(
            "how is the edge known? Give --fingerprint HEX, as the edge prints it, or --insecure for \
             whoever answers",
        )),
    }
}

/// `opus` is the one whose figures are on the E-model's narrowband scale.
fn codec(name: &str) -> Option<Codec> {
    match name {
        "opus" => Some(OPUS_NB),
        name => CODECS.into_iter().find(|c| c.name == name),
    }
}

/// As `corridor edge` prints it, or in hexadecimal, with colons as openssl has them or without.
fn fingerprint(text: &str) -> Option<Fingerprint> {
    if let Ok(fingerprint) = text.parse() {
        return Some(fingerprint);
    }
    let digits: Option<Vec<u8>> = text
        .chars()
        .filter(|&c| c != ':')
        .map(|c| c.to_digit(16).and_then(|d| u8::try_from(d).ok()))
        .collect();
    let digits: [u8; 64] = digits?.try_into().ok()?;
    Some(Fingerprint(std::array::from_fn(|i| {
        digits[2 * i] << 4 | digits[2 * i + 1]
    })))
}

/// The summary, and how many answers could not be read.
async fn measure(way: &Way, plan: Plan) -> Result<(Summary, u32), Failure> {
    let machine = Machine::system(system_rng().random());
    let stop = Stop::default();
    let watch = tokio::spawn(interrupts(stop.clone()));
    let mut line = LiveLine::new(&machine);
    let mut show = |p: &Progress| line.show(p);
    let measured = match way {
        Way::Quic(target) => measure::run(&machine, target, plan, &stop, &mut show)
            .await
            .map(|summary| (summary, 0)),
        Way::Stamp(target) => measure::run_stamp(&machine, target, plan, &stop, &mut show)
            .await
            .map(|StampMeasured { summary, unreadable }| (summary, unreadable)),
    };
    drop(line);
    watch.abort();
    measured.map_err(|error| match error {
        RunError::TooLarge { .. } => Failure::usage(error),
        error => Failure::Runtime(error.into()),
    })
}

/// The first interrupt ends the sending, the second one the waiting.
async fn interrupts(stop: Stop) {
    for token in [stop.sending, stop.all] {
        interrupt().await;
        token.cancel();
    }
}

/// The next interrupt or request to end.
#[cfg(unix)]
pub(super) async fn interrupt() {
    use tokio::signal::unix::{SignalKind, signal};
    match signal(SignalKind::terminate()) {
        Ok(mut terminate) => tokio::select! {
            _ = tokio::signal::ctrl_c() => {}
            _ = terminate.recv() => {}
        },
        Err(_) => drop(tokio::signal::ctrl_c().await),
    }
}

#[cfg(not(unix))]
pub(super) async fn interrupt() {
    drop(tokio::signal::ctrl_c().await);
}

/// Whether stderr is a terminal on which a line can be written over.
pub(super) fn can_redraw() -> bool {
    io::stderr().is_terminal() && std::env::var_os("TERM").is_none_or(|t| t != "dumb")
}

/// One line on stderr that is written over and over, if that is a terminal that can.
struct LiveLine<'a> {
    machine: &'a Machine,
    began: Mono,
    shown: bool,
}

impl<'a> LiveLine<'a> {
    fn new(machine: &'a Machine) -> Self {
        Self {
            machine,
            began: machine.clock.mono(),
            shown: can_redraw(),
        }
    }

    fn show(&mut self, progress: &Progress) {
        if !self.shown {
            return;
        }
        let elapsed = self.machine.clock.mono().since(self.began).as_secs();
        let mut line = measure::live(progress, elapsed);
        line.truncate(usize::from(output::width()).saturating_sub(1));
        self.shown = write!(io::stderr(), "\r{line}\x1b[K").is_ok();
    }
}

impl Drop for LiveLine<'_> {
    fn drop(&mut self) {
        if self.shown {
            // A terminal that is gone does not need it.
            let _ = write!(io::stderr(), "\r\x1b[K");
        }
    }
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::*;

    #[derive(Debug, Parser)]
    struct Cli {
        #[command(flatten)]
        args: Args,
    }

    fn asked(line: &str) -> Result<(Way, Plan), Failure> {
        checked(
            &Cli::try_parse_from(std::iter::once("probe").chain(line.split_whitespace()))
                .unwrap()
                .args,
        )
    }

    #[test]
    fn defaults() {
        let (way, plan) = asked("edge --insecure").unwrap();
        let Way::Quic(target) = way else {
            panic!("{way:?}");
        };
        assert_eq!(
            (target.address.to_string().as_str(), target.trust),
            ("edge:4433", Trust::Anyone)
        );
        assert_eq!((plan.slots, plan.size, plan.codec.name), (500, 23, "opus-nb-11k"));
        assert_eq!(plan.interval, Duration::from_millis(20));
        let (_, plan) = asked("edge --insecure --count 3 --interval 1s --size 200 --codec g711").unwrap();
        assert_eq!((plan.slots, plan.size, plan.codec.name), (3, 200, "g711"));
    }

    #[test]
    fn profiles() {
        let (_, plan) = asked("edge --insecure --profile opus --duration 2s").unwrap();
        assert_eq!((plan.slots, plan.profile), (100, Some(Profile::Opus)));
        let (_, plan) = asked("edge --insecure --profile video --size 1000").unwrap();
        assert_eq!(
            (plan.size, plan.profile),
            (1_000, Some(Profile::Video { full: 1_000 }))
        );
        for line in [
            "--profile opus --interval 1s",
            "--profile video --stamp",
            "--profile dvd",
        ] {
            let words = ["probe", "edge"].into_iter().chain(line.split_whitespace());
            assert!(Cli::try_parse_from(words).is_err(), "{line}");
        }
    }

    #[test]
    fn stamp_needs_no_trust_and_has_sizes_of_its_own() {
        let (way, plan) = asked("edge --stamp").unwrap();
        assert!(
            matches!(&way, Way::Stamp(target) if target.key.is_none()),
            "{way:?}"
        );
        assert_eq!((way.address().to_string().as_str(), plan.size), ("edge:862", 44));
        for line in [
            "edge --stamp --size 43",
            "edge --stamp --size 1453",
            "edge --stamp --stamp-key /nonexistent",
        ] {
            let failure = asked(line).unwrap_err();
            assert!(matches!(failure, Failure::Usage(_)), "{line}: {failure}");
        }
    }

    #[test]
    fn bad_input_is_bad_usage_and_one_line() {
        for line in [
            "edge",
            "edge --insecure --fingerprint 00",
            "edge --fingerprint 00",
            "edge:x --insecure",
            "edge --insecure --size 22",
            "edge --insecure --size 1415",
            "edge --insecure --interval 999us",
            "edge --insecure --interval 61s",
            "edge --insecure --count 0",
            "edge --insecure --duration 0s",
            "edge --insecure --codec mp3",
            "edge --insecure --profile opus --size 200",
            "edge --insecure --profile video --size 1415",
        ] {
            let failure = asked(line).unwrap_err();
            assert!(matches!(failure, Failure::Usage(_)), "{line}: {failure}");
            assert!(!failure.to_string().contains('\n'), "{failure}");
        }
        let neither = asked("edge").unwrap_err().to_string();
        assert!(
            neither.contains("--insecure") && neither.contains("--fingerprint"),
            "{neither}"
        );
    }

    #[test]
    fn fingerprints_in_three_spellings() {
        let wanted = Fingerprint(std::array::from_fn(|i| i as u8 * 7));
        let hex: Vec<_> = wanted.0.iter().map(|b| format!("{b:02x}")).collect();
        for text in [wanted.to_string(), hex.concat(), hex.join(":").to_uppercase()] {
            assert_eq!(fingerprint(&text), Some(wanted), "{text}");
        }
        for bad in [
            "",
            "00",
            &"0".repeat(63),
            &"0".repeat(66),
            &"g".repeat(64),
            &"0".repeat(43)[1..],
        ] {
            assert_eq!(fingerprint(bad), None, "{bad}");
        }
    }
}
