//! The command line: arguments to calls, one file a command. It has no rules of its own: what a name, a password or a
//! client may be is decided where every other way in decides it.
//!
//! A command returns what it has to say (`output.rs` writes it) and asks the operator through `terminal.rs`. Exit codes:
//! 0 done, 1 failed, 2 the arguments can't be understood.

mod clients;
mod config;
#[cfg(feature = "demo")]
mod demo;
mod groups;
mod health;
mod keys;
mod migrate;
mod output;
mod roles;
mod scopes;
mod serve;
mod setup_link;
mod terminal;
mod users;

use std::path::PathBuf;
use std::process::ExitCode;

use clap::{CommandFactory, Parser, Subcommand};
use keyward_keys::{Algorithm, UnknownAlgorithm};
use tokio::runtime::{Builder, Runtime};

use self::output::{Failure, Format, Report};
use crate::app::App;
use crate::clock::Clock;
use crate::fault::Fault;
use crate::settings::{Settings, Sources};
use crate::telemetry;

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

impl Cli {
    fn format(&self) -> Format {
        if self.json { Format::Json } else { Format::Text }
    }
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Run the server
    Serve,
    /// Run the server with example programs, to look around
    #[cfg(feature = "demo")]
    Demo(demo::DemoFlags),
    /// Check settings, or show what can be set
    #[command(subcommand)]
    Config(config::ConfigCommand),
    /// Bring the database's schema up to date, or move from SQLite to PostgreSQL
    Migrate(migrate::MigrateFlags),
    /// Ask the running server of these settings whether it is ready
    Health,
    #[command(flatten)]
    Stored(StoredCommand),
}

/// The commands that work on what the database holds, and end.
#[derive(Debug, Subcommand)]
enum StoredCommand {
    /// Make a one-time link to the page on which an admin is made
    SetupLink,
    /// Add, change and list users
    #[command(subcommand)]
    Users(users::UsersCommand),
    /// Register, change and list clients
    #[command(subcommand)]
    Clients(clients::ClientsCommand),
    /// Define roles and say who has them
    #[command(subcommand)]
    Roles(roles::RolesCommand),
    /// Define groups and say who is in them
    #[command(subcommand)]
    Groups(groups::GroupsCommand),
    /// Define scopes
    #[command(subcommand)]
    Scopes(scopes::ScopesCommand),
    /// List, rotate, revoke, import and export signing keys, and change the master key
    #[command(subcommand)]
    Keys(keys::KeysCommand),
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
    let format = cli.format();
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
    let format = cli.format();
    let Cli { config, set, command, json: _ } = cli;
    let load = || -> Result<Settings, Failure> { Ok(Settings::load(&Sources::gather(config.clone(), set.clone())?)?) };
    match command {
        Command::Serve => serve::run(config, set).map(|()| None),
        #[cfg(feature = "demo")]
        Command::Demo(flags) => demo::run(flags).map(|()| None),
        Command::Config(command) => config::run(command, load).map(Some),
        Command::Migrate(flags) => {
            let settings = load()?;
            telemetry::start_for_command(COMMAND_LOG);
            runtime(Threads::One)?.block_on(migrate::run(&settings, flags)).map(Some)
        }
        Command::Health => {
            let settings = load()?;
            runtime(Threads::One)?.block_on(health::run(&settings)).map(Some)
        }
        // It needs neither settings nor a database: it comes before there are any.
        Command::Stored(StoredCommand::Keys(keys::KeysCommand::NewMasterKey)) => keys::new_master_key().map(Some),
        Command::Stored(command) => {
            let settings = load()?;
            telemetry::start_for_command(COMMAND_LOG);
            runtime(Threads::One)?.block_on(on_database(command, settings, format)).map(Some)
        }
    }
}

async fn on_database(command: StoredCommand, settings: Settings, format: Format) -> Result<Report, Failure> {
    let (app, opened) = App::start_for_command(settings, Clock::system()).await?;
    match command {
        StoredCommand::SetupLink => setup_link::run(&app).await,
        StoredCommand::Users(command) => users::run(&app, command).await,
        StoredCommand::Clients(command) => clients::run(&app, command, format).await,
        StoredCommand::Roles(command) => roles::run(&app, command).await,
        StoredCommand::Groups(command) => groups::run(&app, command).await,
        StoredCommand::Scopes(command) => scopes::run(&app, command).await,
        StoredCommand::Keys(command) => keys::run(&app, opened, command).await,
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
    if let Threads::Many(count) = threads {
        if count > 0 {
            builder.worker_threads(count);
        }
        // Whoever is woken by another thread, as that of the database, hardly waits behind what the network brings: a request
        // that was begun is finished first. Every second turn only, for what doesn't fit into a thread's own queue joins them,
        // and those who stay would wait for as long as that goes on.
        builder.global_queue_interval(2);
        // So that it seldom comes to that, a thread takes few sockets at once, and runs several times as many tasks before it
        // looks for more.
        builder.max_io_events_per_tick(32).event_interval(128);
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

/// Reads the name of an algorithm that signs.
fn algorithm(text: &str) -> Result<Algorithm, String> {
    text.parse().map_err(|error: UnknownAlgorithm| error.to_string())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(line: &str) -> Result<Cli, clap::error::ErrorKind> {
        Cli::try_parse_from(std::iter::once("keyward").chain(line.split(' '))).map_err(|error| error.kind())
    }

    #[test]
    fn the_command_line_is_sound() {
        command().debug_assert();
    }

    #[test]
    fn settings_come_before_the_command_and_json_anywhere() {
        let cli = parse("--set server.listen=[::1]:1 --set a=b=c users list --json --config x.toml").unwrap();
        let pair = |name: &str, value: &str| (name.to_owned(), value.to_owned());
        assert_eq!(cli.set, [pair("server.listen", "[::1]:1"), pair("a", "b=c")]);
        assert_eq!((cli.format(), cli.config), (Format::Json, Some("x.toml".into())));
        assert_eq!(parse("users list").unwrap().format(), Format::Text);
    }

    #[test]
    fn every_command_is_understood() {
        for line in [
            "serve",
            "migrate",
            "migrate --to postgres://keyward@db/keyward",
            "migrate --to -",
            "health",
            "migrate --to-file /run/secrets/url",
            "setup-link",
            "users add ada --email a@x.example --email-verified --role admin --role shop/owner --group staff --password-stdin",
            "users add ada --no-password",
            "users list --search a --after b --limit 5",
            "users show ada",
            "users edit ada --claim nickname=A --claim address.locality=",
            "users set-password ada --password-stdin",
            "users disable ada",
            "users enable ada",
            "users delete ada --yes",
            "clients add --name Shop --redirect-uri https://shop.example/cb --first-party",
            "clients list",
            "clients show shop",
            "clients edit shop --name Shop",
            "clients rotate-secret shop --overlap 1h",
            "clients disable shop",
            "clients enable shop",
            "clients delete shop --yes",
            "roles add admin --permission ban --includes user --client shop",
            "roles list",
            "roles delete shop/owner",
            "roles include admin user",
            "roles exclude admin user",
            "roles assign admin --user ada",
            "roles unassign admin --group staff",
            "groups add staff",
            "groups list",
            "groups delete staff",
            "groups join staff ada",
            "groups leave staff ada",
            "scopes add notes --title T --description D --permission p",
            "scopes list",
            "scopes delete notes",
            "keys list",
            "keys rotate --algorithm ES256 --now",
            "keys new-master-key",
            "keys reseal --new-key-vault keyward#master_key",
            "keys reseal --new-key-aws arn:aws:secretsmanager:eu-central-1:1:secret:keyward-AbCdEf",
            "config check",
            "config example",
            "config reference",
        ] {
            assert!(parse(line).is_ok(), "{line}");
        }
    }

    #[test]
    fn a_password_is_never_an_argument() {
        fn flags(command: &clap::Command, found: &mut Vec<String>) {
            let takes = command.get_arguments().filter(|flag| flag.get_action().takes_values());
            found.extend(takes.filter_map(|flag| flag.get_long()).map(str::to_owned));
            command.get_subcommands().for_each(|inner| flags(inner, found));
        }
        let mut found = Vec::new();
        flags(&command(), &mut found);
        assert!(found.contains(&"email".to_owned()));
        assert!(!found.iter().any(|flag| flag.contains("password") || flag.contains("secret")), "{found:?}");
    }

    #[test]
    fn what_does_not_fit_together_is_refused() {
        use clap::error::ErrorKind::*;
        for (line, kind) in [
            ("users add ada --password-stdin --no-password", ArgumentConflict),
            ("users add ada --email-verified", MissingRequiredArgument),
            ("users edit ada", MissingRequiredArgument),
            ("users edit ada --claim nickname", ValueValidation),
            ("users list --limit 0", ValueValidation),
            ("clients add --redirect-uri https://shop.example/cb", MissingRequiredArgument),
            ("roles assign admin", MissingRequiredArgument),
            ("roles assign admin --user ada --group staff", ArgumentConflict),
            ("scopes add notes --title T", MissingRequiredArgument),
            ("keys rotate --algorithm HS256", ValueValidation),
            ("keys revoke", MissingRequiredArgument),
            ("keys reseal --finish --new-key-stdin", ArgumentConflict),
            ("keys reseal --new-key-vault a --new-key-aws a", ArgumentConflict),
            ("keys reseal --new-key-vault a/../b", ValueValidation),
            ("keys export-public --format pkcs8", InvalidValue),
            ("--set listen serve", ValueValidation),
            ("--set =x serve", ValueValidation),
            ("frobnicate", InvalidSubcommand),
        ] {
            assert_eq!(parse(line).unwrap_err(), kind, "{line}");
        }
    }
}
