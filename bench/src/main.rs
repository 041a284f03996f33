//! `keyward-bench`: starts a server on one core, loads it from another, and compares each path with its floor.
//!
//! `keyward-bench` runs the scenarios and prints a report; `keyward-bench guard` measures the crate for resource servers;
//! `keyward-bench floor NAME` is the process that serves a floor. Exit status: 0 passed, 1 operations failed or a target was missed, 2 the benchmark could not be run.

mod browser;
mod campaign;
mod clock;
mod failure;
mod floor;
mod guard;
mod histogram;
mod load;
mod machine;
mod process;
mod provision;
mod report;
mod scenario;
mod wire;

use std::io::Write;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

use clap::{Args, Parser, Subcommand, ValueEnum};

use campaign::{Depth, Options};
use failure::{During, Failure};
use floor::Floor;
use scenario::Scenario;

/// Load generator, floors and benchmark report.
#[derive(Parser)]
#[command(args_conflicts_with_subcommands = true)]
struct Arguments {
    #[command(subcommand)]
    command: Option<Task>,
    #[command(flatten)]
    run: RunArguments,
}

#[derive(Subcommand)]
enum Task {
    /// Serve a floor until standard input ends.
    Floor(FloorArguments),
    /// Measure keyward-guard beside the bare signature check; needs no server.
    Guard(GuardArguments),
}

#[derive(Args)]
struct GuardArguments {
    /// Measured seconds in all.
    #[arg(long, default_value_t = 8.0)]
    seconds: f64,
}

#[derive(Args)]
struct FloorArguments {
    /// Which floor.
    name: Floor,
    /// Where to listen (not for argon2).
    #[arg(long)]
    listen: Option<SocketAddr>,
    /// How long to hash (argon2 only).
    #[arg(long, default_value_t = 5.0)]
    seconds: f64,
    /// Where the database of sign_commit is made; by default in a new folder that is removed at the end.
    #[arg(long)]
    folder: Option<PathBuf>,
}

#[derive(Args)]
struct RunArguments {
    /// The server's binary; by default `keyward` beside this program.
    #[arg(long, value_name = "FILE")]
    server: Option<PathBuf>,
    /// Measured seconds of each scenario and floor.
    #[arg(long, default_value_t = 5.0)]
    seconds: f64,
    /// Connections of the generator.
    #[arg(long, default_value_t = 16)]
    connections: usize,
    /// A trial: one second a scenario, small numbers, fails on any error and judges no ratio.
    #[arg(long)]
    smoke: bool,
    /// Only these scenarios.
    #[arg(long, value_delimiter = ',', value_name = "SCENARIOS")]
    only: Vec<Scenario>,
    /// Writes the report as JSON to this file.
    #[arg(long, value_name = "FILE")]
    json: Option<PathBuf>,
    /// `sqlite` (the default), or `postgres` with a URL, or the URL alone.
    #[arg(long, num_args = 1..=2, value_names = ["KIND", "URL"])]
    database: Vec<String>,
    /// A further setting of the server by its environment name; may be repeated.
    #[arg(long, value_name = "NAME=VALUE", value_parser = setting)]
    setting: Vec<(String, String)>,
    /// Where the run's folder with the database is made; by default the system's folder for temporary files.
    #[arg(long, value_name = "FOLDER")]
    folder: Option<PathBuf>,
    /// Cores of generator and server; by default the first two that are available.
    #[arg(long, value_name = "GENERATOR,SERVER", value_parser = cores)]
    cores: Option<(usize, usize)>,
}

fn main() -> ExitCode {
    let arguments = Arguments::parse();
    let done = match arguments.command {
        Some(Task::Floor(floor)) => serve_floor(floor),
        Some(Task::Guard(guard)) => measure_guard(guard),
        None => bench(arguments.run),
    };
    match done {
        Ok(code) => code,
        Err(failure) => {
            // Without an error stream there is nobody to tell; the status remains.
            drop(writeln!(std::io::stderr(), "keyward-bench: {failure}"));
            ExitCode::from(2)
        }
    }
}

/// The process of a floor: one worker thread, as the server under test has.
fn serve_floor(arguments: FloorArguments) -> Result<ExitCode, Failure> {
    if arguments.name == Floor::Argon2 {
        let rate = floor::argon2(seconds(arguments.seconds)?)?;
        let json = serde_json::to_string(&rate).during("writing JSON")?;
        writeln!(std::io::stdout(), "{json}").during("writing the rate")?;
        return Ok(ExitCode::SUCCESS);
    }
    let listen = arguments.listen.ok_or_else(|| Failure::new("--listen is missing"))?;
    let own_folder = tempfile::tempdir().during("making a folder")?;
    let folder = arguments.folder.as_deref().unwrap_or(own_folder.path());
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(1)
        .enable_all()
        .build()
        .during("starting the runtime")?;
    // Spawned, so that it runs on the worker thread and not on this one.
    runtime.block_on(async {
        let folder = folder.to_owned();
        let name = arguments.name;
        let served = tokio::spawn(async move { floor::serve(name, listen, &folder).await });
        served.await.during("the floor's task")?
    })?;
    Ok(ExitCode::SUCCESS)
}

/// The costs of `keyward-guard`.
fn measure_guard(arguments: GuardArguments) -> Result<ExitCode, Failure> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().during("starting the runtime")?;
    let report = runtime.block_on(guard::measure(seconds(arguments.seconds)?))?;
    let text = report.markdown().during("writing the report")?;
    std::io::stdout().write_all(text.as_bytes()).during("writing the report")?;
    Ok(if report.passed() { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

/// The run of the scenarios.
fn bench(arguments: RunArguments) -> Result<ExitCode, Failure> {
    let pinning = machine::pin(arguments.cores)?;
    let server = match arguments.server {
        Some(server) => server,
        None => std::env::current_exe().during("finding this program's file")?.with_file_name("keyward"),
    };
    if arguments.connections == 0 {
        return Err(Failure::new("--connections must be at least 1"));
    }
    let scenarios = if arguments.only.is_empty() { Scenario::value_variants().to_vec() } else { arguments.only };
    let options = Options {
        server,
        database: database(&arguments.database)?,
        settings: arguments.setting,
        time: seconds(if arguments.smoke { 1.0 } else { arguments.seconds })?,
        connections: arguments.connections,
        depth: if arguments.smoke { Depth::Smoke } else { Depth::Full },
        scenarios,
        pinning,
    };
    let folder = arguments.folder.unwrap_or_else(std::env::temp_dir);
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().during("starting the runtime")?;
    // A signal drops the run, which ends its children and removes its folder.
    let report = runtime.block_on(async {
        tokio::select! {
            report = campaign::run(options, &folder) => report,
            interrupted = interrupted() => interrupted.and_then(|()| Err(Failure::new("interrupted"))),
        }
    })?;
    let text = report.markdown().during("writing the report")?;
    std::io::stdout().write_all(text.as_bytes()).during("writing the report")?;
    if let Some(file) = arguments.json {
        let json = serde_json::to_string_pretty(&report).during("writing JSON")?;
        std::fs::write(&file, json + "\n").during(format!("writing {}", file.display()))?;
    }
    Ok(if report.failings().is_empty() { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

/// Ends when this process is asked to.
async fn interrupted() -> Result<(), Failure> {
    use tokio::signal::unix::{SignalKind, signal};
    let mut terminate = signal(SignalKind::terminate()).during("listening for SIGTERM")?;
    let mut interrupt = signal(SignalKind::interrupt()).during("listening for SIGINT")?;
    tokio::select! {
        _ = terminate.recv() => {}
        _ = interrupt.recv() => {}
    }
    Ok(())
}

fn seconds(seconds: f64) -> Result<Duration, Failure> {
    Duration::try_from_secs_f64(seconds)
        .ok()
        .filter(|time| *time >= Duration::from_millis(100))
        .ok_or_else(|| Failure::new("--seconds must be at least 0.1"))
}

/// The PostgreSQL URL, or nothing for SQLite.
fn database(words: &[String]) -> Result<Option<String>, Failure> {
    let words: Vec<&str> = words.iter().map(String::as_str).collect();
    match words.as_slice() {
        [] | ["sqlite"] => Ok(None),
        [url] | ["postgres", url] if url.starts_with("postgres://") || url.starts_with("postgresql://") => {
            Ok(Some((*url).to_owned()))
        }
        _ => Err(Failure::new("--database takes `sqlite`, or `postgres` and a URL that begins with postgres://")),
    }
}

fn setting(text: &str) -> Result<(String, String), String> {
    match text.split_once('=') {
        Some((name, value)) if !name.is_empty() => Ok((name.to_owned(), value.to_owned())),
        _ => Err("NAME=VALUE is expected".to_owned()),
    }
}

fn cores(text: &str) -> Result<(usize, usize), String> {
    let pair = text
        .split_once(',')
        .and_then(|(generator, server)| Some((generator.trim().parse().ok()?, server.trim().parse().ok()?)));
    pair.ok_or_else(|| "two numbers with a comma between them are expected".to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn arguments_are_consistent() {
        use clap::CommandFactory;
        Arguments::command().debug_assert();
        let run = Arguments::parse_from(["keyward-bench", "--only", "jwks,login", "--smoke"]).run;
        assert_eq!(run.only, [Scenario::Jwks, Scenario::Login]);
        assert!(run.smoke);
    }

    #[test]
    fn databases() {
        let parse = |words: &[&str]| database(&words.iter().map(|word| (*word).to_owned()).collect::<Vec<_>>());
        assert_eq!(parse(&[]).unwrap(), None);
        assert_eq!(parse(&["sqlite"]).unwrap(), None);
        assert_eq!(parse(&["postgres", "postgres://a/b"]).unwrap().as_deref(), Some("postgres://a/b"));
        assert_eq!(parse(&["postgresql://a/b"]).unwrap().as_deref(), Some("postgresql://a/b"));
        assert!(parse(&["postgres"]).is_err() && parse(&["mysql://a"]).is_err());
    }

    #[test]
    fn pairs() {
        assert_eq!(cores("0,1"), Ok((0, 1)));
        assert!(cores("0").is_err());
        assert_eq!(setting("A=b=c"), Ok(("A".to_owned(), "b=c".to_owned())));
        assert!(setting("=b").is_err());
    }
}
