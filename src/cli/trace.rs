//! `corridor trace`: the hops to a host, and where delay and loss arise.

mod names;
mod report;
mod table;

use std::{
    io::{self, Write as _},
    net::{IpAddr, SocketAddr},
    ops::ControlFlow,
    sync::Arc,
    sync::atomic::{AtomicBool, Ordering},
    time::Duration,
};

use anyhow::Context as _;
use corridor_probes::{
    Mono, Wall,
    trace::{Clocks, MAX_HOPS, MAX_INTERVAL, MAX_ROUNDS, MIN_INTERVAL, Method, Tracing, Wanted},
};
use rand::RngExt as _;

use super::{Failure, output};
use crate::{clock::SystemClock, identity::system_rng};

/// Where traceroute begins: nobody listens there.
const PORT: u16 = 33_434;
/// Between two drawings of the table.
const REDRAW: Duration = Duration::from_millis(250);

/// Show the hops to a host, their delays, and where packets are lost. Ctrl-C ends it early, with what is
/// known by then.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// A name or an IP address
    #[arg(value_name = "HOST")]
    pub host: String,
    /// How many rounds, one probe a hop each
    #[arg(long, value_name = "ROUNDS", default_value_t = 10)]
    pub count: u32,
    /// Between the beginnings of two rounds, from 100ms to 60s
    #[arg(long, value_name = "TIME", default_value = "1s", value_parser = humantime::parse_duration)]
    pub interval: Duration,
    /// Look no further than this
    #[arg(long, value_name = "N", default_value_t = 30)]
    pub max_hops: u8,
    /// IPv4 only
    #[arg(short = '4', conflicts_with = "v6")]
    pub v4: bool,
    /// IPv6 only
    #[arg(short = '6')]
    pub v6: bool,
    /// How probes go out: the first that works of udp (no privilege), icmp (ping_group_range), raw
    /// (CAP_NET_RAW)
    #[arg(long, value_enum, default_value_t = Way::Auto)]
    pub method: Way,
    /// Where UDP probes go, the same for all
    #[arg(long, value_name = "N", default_value_t = PORT, value_parser = clap::value_parser!(u16).range(1..))]
    pub port: u16,
    /// Ask DNS for the hops' names
    #[arg(long)]
    pub names: bool,
    /// Print one JSON object at the end
    #[arg(long)]
    pub json: bool,
}

/// `--method`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub enum Way {
    Auto,
    Udp,
    Icmp,
    Raw,
}

impl Way {
    fn method(self) -> Option<Method> {
        match self {
            Self::Auto => None,
            Self::Udp => Some(Method::Udp),
            Self::Icmp => Some(Method::Icmp),
            Self::Raw => Some(Method::Raw),
        }
    }
}

impl Clocks for SystemClock {
    fn mono(&self) -> Mono {
        crate::clock::Clock::mono(self)
    }

    fn wall(&self) -> Wall {
        crate::clock::Clock::wall(self)
    }
}

/// Runs the command.
pub fn run(args: &Args) -> Result<(), Failure> {
    check(args)?;
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .context("cannot start the runtime")?;
    let tracing = runtime.block_on(trace(args));
    // A name server that does not answer holds up nothing.
    let names = tracing.as_ref().ok().filter(|_| args.names).map(names::of);
    runtime.shutdown_background();
    let tracing = tracing?;
    let report = report::Report::of(&args.host, &tracing, &names.unwrap_or_default());
    if args.json {
        output::json(&report)?;
    } else {
        output::line(table::summary(&report, usize::from(output::width())).trim_end())?;
    }
    if report.hops.is_empty() {
        return Err(Failure::runtime(format_args!(
            "nobody answered on the way to {}",
            report.address
        )));
    }
    Ok(())
}

/// What was asked for, or why it cannot be.
fn check(args: &Args) -> Result<(), Failure> {
    let usage = |text: std::fmt::Arguments<'_>| Err(Failure::usage(text));
    if args.host.is_empty() || args.host.bytes().any(|b| b.is_ascii_control() || b == b' ') {
        return usage(format_args!("{:?} is not a host", args.host));
    }
    if !(1..=MAX_ROUNDS).contains(&args.count) {
        return usage(format_args!("--count {}: give 1 to {MAX_ROUNDS}", args.count));
    }
    if !(MIN_INTERVAL..=MAX_INTERVAL).contains(&args.interval) {
        return usage(format_args!(
            "--interval {:?}: give {MIN_INTERVAL:?} to {MAX_INTERVAL:?}",
            args.interval
        ));
    }
    if !(1..=MAX_HOPS).contains(&args.max_hops) {
        return usage(format_args!("--max-hops {}: give 1 to {MAX_HOPS}", args.max_hops));
    }
    match args.host.parse() {
        Ok(IpAddr::V4(_)) if args.v6 => usage(format_args!("{} is not an IPv6 address", args.host)),
        Ok(IpAddr::V6(_)) if args.v4 => usage(format_args!("{} is not an IPv4 address", args.host)),
        _ => Ok(()),
    }
}

async fn trace(args: &Args) -> Result<Tracing, Failure> {
    let target = resolve(args).await?;
    let wanted = Wanted {
        target,
        rounds: args.count,
        interval: args.interval,
        max_hops: args.max_hops,
        method: args.method.method(),
        port: args.port,
        seed: system_rng().random(),
    };
    let mut tracing = Tracing::open(&wanted).map_err(failure)?;
    let stop = Arc::new(AtomicBool::new(false));
    let watch = tokio::spawn({
        let stop = stop.clone();
        async move {
            super::probe::interrupt().await;
            stop.store(true, Ordering::Relaxed);
        }
    });
    let host = args.host.clone();
    // The driver waits in poll(2); signals are heard here meanwhile.
    let work = tokio::task::spawn_blocking(move || {
        let clock = SystemClock::new();
        let mut screen = Screen::new(host);
        let result = tracing.run(&clock, |tracing| {
            screen.show(tracing, clock.mono());
            match stop.load(Ordering::Relaxed) {
                true => ControlFlow::Break(()),
                false => ControlFlow::Continue(()),
            }
        });
        result.map(|()| tracing)
    });
    let result = work.await.context("the trace broke off")?;
    watch.abort();
    result.map_err(failure)
}

fn failure(error: corridor_probes::trace::TraceError) -> Failure {
    Failure::Runtime(error.into())
}

/// The first address of the family that is asked for.
async fn resolve(args: &Args) -> Result<IpAddr, Failure> {
    let found = match args.host.parse::<IpAddr>() {
        Ok(ip) => vec![SocketAddr::new(ip, args.port)],
        Err(_) => tokio::net::lookup_host((args.host.as_str(), args.port))
            .await
            .with_context(|| format!("cannot resolve {}", args.host))?
            .collect(),
    };
    let wanted = |a: &&SocketAddr| (!args.v4 || a.is_ipv4()) && (!args.v6 || a.is_ipv6());
    found.iter().find(wanted).map(SocketAddr::ip).ok_or_else(|| {
        let family = if args.v6 { "IPv6" } else { "IPv4" };
        Failure::runtime(format_args!("{} has no {family} address", args.host))
    })
}

/// The table on stderr, drawn over and over, if that is a terminal that can.
struct Screen {
    host: String,
    shown: bool,
    drawn: Option<Mono>,
    lines: usize,
}

impl Screen {
    fn new(host: String) -> Self {
        Self {
            host,
            shown: super::probe::can_redraw(),
            drawn: None,
            lines: 0,
        }
    }

    fn show(&mut self, tracing: &Tracing, now: Mono) {
        if !self.shown || self.drawn.is_some_and(|at| now.since(at) < REDRAW) {
            return;
        }
        self.drawn = Some(now);
        let report = report::Report::of(&self.host, tracing, &names::Names::default());
        let text = table::live(&report, usize::from(output::width()).saturating_sub(1));
        self.shown = self.draw(&text).is_ok();
    }

    fn draw(&mut self, text: &str) -> io::Result<()> {
        let mut out = io::stderr().lock();
        self.back(&mut out)?;
        for line in text.lines() {
            writeln!(out, "{line}\x1b[K")?;
        }
        // What is left of a longer table.
        write!(out, "\x1b[J")?;
        self.lines = text.lines().count();
        out.flush()
    }

    fn back(&self, out: &mut impl io::Write) -> io::Result<()> {
        match self.lines {
            0 => Ok(()),
            lines => write!(out, "\r\x1b[{lines}A"),
        }
    }
}

impl Drop for Screen {
    fn drop(&mut self) {
        if self.shown && self.lines > 0 {
            let mut out = io::stderr().lock();
            // A terminal that is gone does not need it.
            let _ = self.back(&mut out).and_then(|()| write!(out, "\x1b[J"));
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

    fn asked(line: &str) -> Option<Result<(), Failure>> {
        let cli = Cli::try_parse_from(std::iter::once("trace").chain(line.split_whitespace())).ok()?;
        Some(check(&cli.args))
    }

    #[test]
    fn bad_input_is_bad_usage_and_one_line() {
        for line in [
            "192.0.2.1 --count 0",
            "192.0.2.1 --count 10001",
            "192.0.2.1 --interval 99ms",
            "192.0.2.1 --interval 61s",
            "192.0.2.1 --max-hops 0",
            "192.0.2.1 --max-hops 65",
            "192.0.2.1 -6",
            "2001:db8::1 -4",
        ] {
            let failure = asked(line).unwrap().unwrap_err();
            assert!(matches!(failure, Failure::Usage(_)), "{line}: {failure}");
            assert!(!failure.to_string().contains('\n'), "{failure}");
        }
        for line in ["", "host -4 -6", "host --port 0", "host --method tcp"] {
            assert!(asked(line).is_none(), "{line}");
        }
        assert!(
            asked("host --count 3 --interval 200ms -6 --method raw --port 53")
                .unwrap()
                .is_ok()
        );
    }
}
