//! `corridor-netem`: see `--help`.

use std::{
    error::Error,
    fmt::Write as _,
    fs,
    io::{self, Write},
    os::unix::process::CommandExt,
    path::PathBuf,
    process::{self, ExitCode},
};

use clap::Parser;
use cli::{Cli, Command, Ctl};
use corridor_netem::{
    Outcome, Settings,
    config::Config,
    control::{Client, Reply, Request, Stats},
    emulator::{Emulator, Options},
    netns,
    stats::Filter,
};

mod cli;

type AnyError = Box<dyn Error>;

fn main() -> ExitCode {
    let done = match Cli::parse().command {
        Command::Run {
            file,
            control,
            log,
            run,
            exit_with_stdin,
        } => {
            let options = Options {
                run_id: run.unwrap_or_else(|| process::id().to_string()),
                control,
                log,
                exit_with_stdin,
            };
            emulate(file, &options)
        }
        Command::Ctl { sock, request } => control(sock, request),
        Command::Exec { run, node, command } => exec(run.as_deref(), &node, &command),
        Command::Clean => clean(),
    };
    match done {
        Ok(code) => code,
        Err(error) => {
            let mut line = format!("corridor-netem: {error}");
            let mut cause = error.source();
            while let Some(error) = cause {
                let _ = write!(line, ": {error}");
                cause = error.source();
            }
            let _ = writeln!(io::stderr(), "{line}");
            ExitCode::FAILURE
        }
    }
}

fn emulate(file: PathBuf, options: &Options) -> Result<ExitCode, AnyError> {
    let toml = fs::read_to_string(&file).map_err(|e| format!("cannot read {}: {e}", file.display()))?;
    let config = Config::parse(&toml).map_err(|e| format!("{}:\n{e}", file.display()))?;
    let emulator = Emulator::start(config, options)?;
    for warning in emulator.warnings() {
        writeln!(io::stderr(), "corridor-netem: warning: {warning}")?;
    }
    let status = emulator.status();
    say(&format!("run {}", status.run))?;
    for (name, node) in &status.nodes {
        let addresses: Vec<String> = node.addresses.iter().map(ToString::to_string).collect();
        say(&format!(
            "node {name}: {} in {}",
            addresses.join(", "),
            node.namespace
        ))?;
    }
    say(&format!("control {}", emulator.control_socket().display()))?;
    say("ready")?;
    let outcome = emulator.run()?;
    // Whoever read the output may be gone by now; the exit code still tells.
    let _ = say(&conclusion(&outcome));
    if let Some(error) = outcome.log_error {
        return Err(format!("the packet log is not whole: {error}").into());
    }
    Ok(if outcome.void {
        ExitCode::FAILURE
    } else {
        ExitCode::SUCCESS
    })
}

fn conclusion(outcome: &Outcome) -> String {
    let Some(lateness) = &outcome.lateness else {
        return "no packet passed".to_owned();
    };
    format!(
        "{} packets, late by p50 {:.3} ms, p99 {:.3} ms, at most {:.3} ms{}",
        lateness.count,
        lateness.p50_ms,
        lateness.p99_ms,
        lateness.max_ms,
        if outcome.void { ": VOID" } else { "" }
    )
}

fn control(sock: PathBuf, request: Ctl) -> Result<ExitCode, AnyError> {
    let mut client = Client::connect(&sock)?;
    let request = match request {
        Ctl::Set {
            at,
            settings,
            replace,
        } => Request::Set {
            at,
            settings: settings
                .iter()
                .fold(Settings::default(), |all, one| one.over(&all)),
            replace,
        },
        Ctl::Stall { node, ms } => Request::Stall { node, ms },
        Ctl::Stats { json, .. } => {
            let filter: Filter = request.filter().unwrap_or_default();
            let stats = client.stats(filter)?;
            if json {
                say(&serde_json::to_string(&stats)?)?;
            } else {
                say(table(&stats)?.trim_end())?;
            }
            return Ok(ExitCode::SUCCESS);
        }
        Ctl::ResetStats => Request::ResetStats,
        Ctl::Status => Request::Status,
        Ctl::Quit => Request::Quit,
    };
    if let Reply::Status(status) = client.request(&request)? {
        say(&serde_json::to_string_pretty(&status)?)?;
    }
    Ok(ExitCode::SUCCESS)
}

fn table(stats: &Stats) -> Result<String, std::fmt::Error> {
    let mut text = String::new();
    writeln!(
        text,
        "{:<24}{:>9}{:>10}{:>8}{:>8}{:>8}{:>7}{:>10}{:>10}{:>10} ms",
        "link", "sent", "delivered", "lost", "flying", "reord", "dup", "min", "p50", "p99"
    )?;
    for row in &stats.rows {
        write!(
            text,
            "{:<24}{:>9}{:>10}{:>8}{:>8}{:>8}{:>7}",
            format!("{} > {}", row.from, row.to),
            row.sent,
            row.delivered,
            row.lost,
            row.in_flight,
            row.reordered,
            row.duplicated
        )?;
        match &row.residence {
            Some(r) => writeln!(text, "{:>10.3}{:>10.3}{:>10.3}", r.min_ms, r.p50_ms, r.p99_ms)?,
            None => writeln!(text, "{:>10}{:>10}{:>10}", "-", "-", "-")?,
        }
    }
    if let Some(late) = &stats.lateness {
        write!(
            text,
            "late by p50 {:.3} ms, p99 {:.3} ms, at most {:.3} ms",
            late.p50_ms, late.p99_ms, late.max_ms
        )?;
    }
    if stats.kernel_dropped > 0 {
        write!(text, "; {} packets never got here", stats.kernel_dropped)?;
    }
    text.push_str(if stats.void { ": VOID\n" } else { "\n" });
    Ok(text)
}

fn exec(run: Option<&str>, node: &str, command: &[std::ffi::OsString]) -> Result<ExitCode, AnyError> {
    let namespace = netns::find(run, node)?;
    // Returns only if it fails.
    let error = process::Command::new("ip")
        .args(["netns", "exec", &namespace])
        .args(command)
        .exec();
    Err(format!("cannot run ip: {error}").into())
}

fn clean() -> Result<ExitCode, AnyError> {
    for namespace in netns::clean()? {
        say(&format!("deleted {namespace}"))?;
    }
    Ok(ExitCode::SUCCESS)
}

fn say(line: &str) -> io::Result<()> {
    let mut out = io::stdout().lock();
    writeln!(out, "{line}")?;
    out.flush()
}
