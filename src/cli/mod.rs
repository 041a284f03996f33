//! The command line: arguments to calls, one file a command. It has no rules of its own: what a name, a password or a
//! client may be is decided where every other way in decides it.
//!
//! A command returns what it has to say (`output.rs` writes it) and asks the operator through `terminal.rs`. Exit codes:
//! 0 done, 1 failed, 2 the arguments can't be understood.

mod config;
#[cfg(feature = "demo")]
mod demo;
mod migrate;
mod output;
mod serve;
mod setup_link;
mod terminal;

use std::path::PathBuf;
use std::process::ExitCode;

use clap::{CommandFactory, Parser, Subcommand};
use tokio::runtime::{Builder, Runtime};

use self::output::{Failure, Format, Report};
use crate::app::App;
use crate::clock::Clock;
use crate::fault::Fault;
use crate::settings::{Settings, Sources};

/// What the log shows while a command runs: warnings, and what the server itself has to say, such as a new master key.
const COMMAND_LOG: &str = "warn,keyward=info";

/// An OAuth 2.1 and OpenID Connect authorization server.
#[derive(Debug, Parser)]
#[command(name = "keyward", version, propagate_version = false, arg_required_else_help = true)]
struct Cli {
    /// Settings file; else the variable KEYWARD_CONFIG, else keyward.toml in this folder
    #[arg(long, global = true, value_name = "FILE")]
    config: Option<PathBuf>,
    /// Set a setting, such as --set server.listen=127.0.0.1:4000; goes before the command
    #[arg(long = "set", value_name = "NAME=VALUE", value_parser = assignment)]
    set: Vec<(String, String)>,
    /// Print one JSON document in place of text
    #[arg(long, global = true)]
    json: bool,
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Run the server
    Serve,
    /// Run the server with example programs, to look around
    #[cfg(feature = "demo")]
    Demo(demo::DemoFlags),
    /// Bring the database's schema up to date
    Migrate,
    /// Make a one-time link to the page on which an admin is made
    SetupLink,
    /// Check settings, or show what can be set
    #[command(subcommand)]
    Config(config::ConfigCommand),
}

/// The command line as clap knows it, for man pages and completions.
pub fn command() -> clap::Command {
    Cli::command()
}

/// Runs the command that the process's arguments name.
pub fn main() -> ExitCode {
    let cli = match Cli::try_parse() {
        Ok(cli) => cli,
        Err(error) => {
            // Where the text can't be shown the exit code still says it.
            let _ = error.print();
            return ExitCode::from(u8::try_from(error.exit_code()).unwrap_or(2));
        }
    };
    let format = if cli.json { Format::Json } else { Format::Text };
    let outcome = run(cli).and_then(|report| match report {
        Some(report) => output::print(&report, format),
        None => Ok(()),
    });
    match outcome {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => {
            output::print_failure(&failure, format);
            ExitCode::FAILURE
        }
    }
}

/// Runs a command; those that run until they are stopped have nothing to say at the end.
fn run(cli: Cli) -> Result<Option<Report>, Failure> {
    let Cli { config, set, command, json: _ } = cli;
    let load = || -> Result<Settings, Failure> { Ok(Settings::load(&Sources::gather(config, set)?)?) };
    match command {
        Command::Serve => serve::run(load()?).map(|()| None),
        #[cfg(feature = "demo")]
        Command::Demo(flags) => demo::run(flags).map(|()| None),
        Command::Config(command) => config::run(command, load).map(Some),
        command => {
            let settings = load()?;
            start_log();
            runtime(Threads::One)?.block_on(on_database(command, settings)).map(Some)
        }
    }
}

/// The commands that work on the database and end.
async fn on_database(command: Command, settings: Settings) -> Result<Report, Failure> {
    if matches!(command, Command::Migrate) {
        return migrate::run(&settings).await;
    }
    let app = App::start(settings, Clock::system()).await?;
    match command {
        Command::SetupLink => setup_link::run(&app).await,
        _ => Err(Failure::refused("this command needs no database")),
    }
}

/// How many threads a command runs on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Threads {
    /// The one that called.
    One,
    /// So many; 0 means one for each core.
    Many(usize),
}

fn runtime(threads: Threads) -> Result<Runtime, Failure> {
    let mut builder = match threads {
        Threads::One => Builder::new_current_thread(),
        Threads::Many(_) => Builder::new_multi_thread(),
    };
    if let Threads::Many(count @ 1..) = threads {
        builder.worker_threads(count);
    }
    builder.enable_all().build().map_err(|error| Failure::Fault(Fault::broken(error)))
}

/// Reads `NAME=VALUE`.
fn assignment(text: &str) -> Result<(String, String), String> {
    match text.split_once('=') {
        Some((name, value)) if !name.is_empty() => Ok((name.to_owned(), value.to_owned())),
        _ => Err("this is written NAME=VALUE".to_owned()),
    }
}

/// A short log on standard error for commands that end: without times, for somebody is looking on.
fn start_log() {
    let builder = tracing_subscriber::fmt()
        .with_env_filter(tracing_subscriber::EnvFilter::new(COMMAND_LOG))
        .with_writer(std::io::stderr)
        .with_target(false)
        .with_ansi(false)
        .without_time();
    // An error says that a log was started before in this process: that one stays.
    let _ = builder.try_init();
}
