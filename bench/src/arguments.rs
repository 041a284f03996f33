//! The command line.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use clap::{Args, Parser, Subcommand, ValueEnum};

use crate::campaign::Options;
use crate::database::Choice;
use crate::failure::{During, Failure};
use crate::floor::Floor;
use crate::growth;
use crate::machine::Pinning;
use crate::overload::{self, Way};
use crate::scenario::Scenario;
use crate::stage::{Depth, Setting};

/// Load generator, floors and benchmark report.
#[derive(Parser)]
#[command(args_conflicts_with_subcommands = true)]
pub struct Arguments {
    /// What to do; by default the scenarios beside their floors.
    #[command(subcommand)]
    pub task: Option<Task>,
    /// How.
    #[command(flatten)]
    pub scenarios: ScenarioArguments,
}

/// What else can be done.
#[derive(Subcommand)]
pub enum Task {
    /// Loads the server with four times what it can serve and looks at the admitted and the refused.
    Overload(OverloadArguments),
    /// Measures the same with more and more users, clients and live grants.
    Growth(GrowthArguments),
    /// Counts the instructions of a scenario under valgrind and says whose they are.
    Cost(CostArguments),
    /// Measures keyward-guard beside the bare signature check; needs no server.
    Guard(GuardArguments),
    /// Serves a floor until standard input ends.
    Floor(FloorArguments),
}

/// The crate for resource servers.
#[derive(Args)]
pub struct GuardArguments {
    /// Measured seconds in all.
    #[arg(long, default_value_t = 8.0)]
    pub seconds: f64,
}

/// The scenarios beside their floors.
#[derive(Args)]
pub struct ScenarioArguments {
    /// Only these scenarios.
    #[arg(long, value_delimiter = ',', value_name = "SCENARIOS")]
    only: Vec<Scenario>,
    #[command(flatten)]
    run: RunArguments,
}

/// Overload.
#[derive(Args)]
pub struct OverloadArguments {
    /// Only these.
    #[arg(long, value_delimiter = ',', value_name = "SCENARIOS")]
    only: Vec<Way>,
    /// Connections that begin operations at four times the rate that can be served.
    #[arg(long, value_name = "NUMBER", default_value_t = overload::CROWD)]
    crowd: u16,
    #[command(flatten)]
    run: RunArguments,
}

/// Growth.
#[derive(Args)]
pub struct GrowthArguments {
    /// How many users, clients and live grants; the first is what the others are compared with. By default 10, 10000
    /// and 1000000.
    #[arg(long, value_delimiter = ',', value_name = "NUMBERS", value_parser = clap::value_parser!(u64).range(1..=100_000_000))]
    sizes: Vec<u64>,
    #[command(flatten)]
    run: RunArguments,
}

/// Instructions.
#[derive(Args)]
pub struct CostArguments {
    /// Which scenario.
    scenario: Scenario,
    /// How many operations are counted.
    #[arg(long, default_value_t = 1_000, value_parser = clap::value_parser!(u64).range(1..=1_000_000))]
    operations: u64,
    #[command(flatten)]
    run: RunArguments,
}

/// A floor's process.
#[derive(Args)]
pub struct FloorArguments {
    /// Which floor.
    pub name: Floor,
    /// Where to listen (not for argon2).
    #[arg(long)]
    pub listen: Option<SocketAddr>,
    /// How long to hash (argon2 only).
    #[arg(long, default_value_t = 5.0)]
    pub seconds: f64,
    /// Where the database of sign_commit is made; by default in a new folder that is removed at the end.
    #[arg(long)]
    pub folder: Option<PathBuf>,
    /// The PostgreSQL URL of sign_insert.
    #[arg(long, value_name = "URL")]
    pub database: Option<String>,
}

/// What every task that starts a server takes.
#[derive(Args)]
pub struct RunArguments {
    /// The server's binary; by default `keyward` beside this program.
    #[arg(long, value_name = "FILE")]
    server: Option<PathBuf>,
    /// Measured seconds of each scenario and floor.
    #[arg(long, default_value_t = 5.0)]
    seconds: f64,
    /// How often everything is measured; the report has the median and shows how far the rounds lie apart.
    #[arg(long, default_value_t = 1, value_name = "ROUNDS", value_parser = clap::value_parser!(u16).range(1..=1_000))]
    repeat: u16,
    /// Connections of the generator.
    #[arg(long, default_value_t = 16, value_parser = clap::value_parser!(u16).range(1..=900))]
    connections: u16,
    /// A trial of every instrument but `cost`: short times, small numbers, fails on any error and judges no ratio. With
    /// --only or another task, of that alone.
    #[arg(long)]
    smoke: bool,
    /// Writes the report as JSON to this file.
    #[arg(long, value_name = "FILE")]
    pub json: Option<PathBuf>,
    /// `sqlite` (the default), `postgres` (one that is started for the run, on the server's core), or `postgres` and
    /// the URL of one that runs.
    #[arg(long, num_args = 1..=2, value_names = ["KIND", "URL"])]
    database: Vec<String>,
    /// A further setting of the server by its environment name; may be repeated.
    #[arg(long, value_name = "NAME=VALUE", value_parser = setting)]
    setting: Vec<(String, String)>,
    /// Where the run's folder with the database is made; by default the system's folder for temporary files.
    #[arg(long, value_name = "FOLDER")]
    pub folder: Option<PathBuf>,
    /// Cores of generator and server; by default the first two that are available.
    #[arg(long, value_name = "GENERATOR,SERVER", value_parser = cores)]
    pub cores: Option<(usize, usize)>,
}

/// What is run, of all that [`Options`] can name.
enum Work {
    Scenarios(Vec<Scenario>),
    Overload(Vec<Way>, u16),
    Growth(Vec<u64>),
    Cost(Scenario, u64),
}

impl From<ScenarioArguments> for Run {
    fn from(arguments: ScenarioArguments) -> Self {
        Self { arguments: arguments.run, work: Work::Scenarios(arguments.only) }
    }
}

impl From<OverloadArguments> for Run {
    fn from(arguments: OverloadArguments) -> Self {
        Self { arguments: arguments.run, work: Work::Overload(arguments.only, arguments.crowd) }
    }
}

impl From<GrowthArguments> for Run {
    fn from(arguments: GrowthArguments) -> Self {
        Self { arguments: arguments.run, work: Work::Growth(arguments.sizes) }
    }
}

impl From<CostArguments> for Run {
    fn from(arguments: CostArguments) -> Self {
        Self { arguments: arguments.run, work: Work::Cost(arguments.scenario, arguments.operations) }
    }
}

/// A run that was asked for.
pub struct Run {
    /// How.
    pub arguments: RunArguments,
    work: Work,
}

impl Run {
    /// What to run, on these cores.
    ///
    /// # Errors
    /// When an argument has no sense.
    pub fn options(&self, pinning: Pinning) -> Result<Options, Failure> {
        let run = &self.arguments;
        let server = match &run.server {
            Some(server) => server.clone(),
            None => std::env::current_exe().during("finding this program's file")?.with_file_name("keyward"),
        };
        let smoke = run.smoke;
        let setting = Setting {
            server,
            settings: run.setting.clone(),
            time: if smoke { Duration::from_millis(800) } else { seconds(run.seconds)? },
            connections: usize::from(run.connections),
            depth: if smoke { Depth::Smoke } else { Depth::Full },
            pinning,
        };
        let mut options = Options {
            setting,
            database: database(&run.database)?,
            repeat: usize::from(run.repeat),
            scenarios: Vec::new(),
            overload: Vec::new(),
            crowd: usize::from(overload::CROWD),
            growth: Vec::new(),
            cost: None,
        };
        match &self.work {
            Work::Scenarios(only) => {
                options.scenarios = all_or(only);
                if smoke && only.is_empty() {
                    options.overload = Way::value_variants().to_vec();
                    options.growth = growth::sizes(true);
                }
            }
            Work::Overload(only, crowd) => {
                options.overload = all_or(only);
                options.crowd = usize::from(*crowd);
            }
            Work::Growth(sizes) if sizes.is_empty() => options.growth = growth::sizes(smoke),
            Work::Growth(sizes) => options.growth.clone_from(sizes),
            Work::Cost(scenario, operations) => options.cost = Some((*scenario, *operations)),
        }
        Ok(options)
    }
}

fn all_or<T: ValueEnum>(only: &[T]) -> Vec<T> {
    if only.is_empty() { T::value_variants().to_vec() } else { only.to_vec() }
}

/// A time as an argument gives it.
///
/// # Errors
/// When it is too short to measure anything.
pub fn seconds(seconds: f64) -> Result<Duration, Failure> {
    Duration::try_from_secs_f64(seconds)
        .ok()
        .filter(|time| *time >= Duration::from_millis(100))
        .ok_or_else(|| Failure::new("--seconds must be at least 0.1"))
}

fn database(words: &[String]) -> Result<Choice, Failure> {
    let words: Vec<&str> = words.iter().map(String::as_str).collect();
    match words.as_slice() {
        [] | ["sqlite"] => Ok(Choice::Sqlite),
        ["postgres"] => Ok(Choice::OwnPostgres),
        [url] | ["postgres", url] if url.starts_with("postgres://") || url.starts_with("postgresql://") => {
            Ok(Choice::Postgres((*url).to_owned()))
        }
        _ => Err(Failure::new("--database takes `sqlite`, `postgres`, or `postgres` and a URL with postgres://")),
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

    fn options(words: &[&str]) -> Options {
        let arguments = Arguments::parse_from(std::iter::once(&"keyward-bench").chain(words));
        let run: Run = match arguments.task {
            None => arguments.scenarios.into(),
            Some(Task::Overload(overload)) => overload.into(),
            Some(Task::Growth(growth)) => growth.into(),
            Some(Task::Cost(cost)) => cost.into(),
            Some(Task::Guard(_) | Task::Floor(_)) => panic!("not a run of a server"),
        };
        run.options(Pinning::Free("a test".to_owned())).unwrap()
    }

    #[test]
    fn tasks_and_what_they_run() {
        use clap::CommandFactory;
        Arguments::command().debug_assert();
        let some = options(&["--only", "jwks,login", "--smoke"]);
        assert_eq!(some.scenarios, [Scenario::Jwks, Scenario::Login]);
        assert!(some.overload.is_empty() && some.growth.is_empty());
        let trial = options(&["--smoke"]);
        assert_eq!(trial.scenarios.len(), Scenario::value_variants().len());
        assert!(!trial.overload.is_empty() && trial.growth.iter().all(|size| *size <= 1_000));
        let storm = options(&["overload", "--only", "login", "--seconds", "2", "--cores=0,1"]);
        assert_eq!((storm.overload.as_slice(), storm.setting.time.as_secs()), (&[Way::Login][..], 2));
        assert!(storm.scenarios.is_empty() && storm.crowd == usize::from(overload::CROWD));
        assert_eq!(options(&["overload", "--crowd", "256"]).crowd, 256);
        assert_eq!(options(&["growth", "--repeat", "3"]).growth, [10, 10_000, 1_000_000]);
        assert_eq!(options(&["growth", "--sizes", "5,7"]).growth, [5, 7]);
        assert_eq!(options(&["cost", "refresh"]).cost, Some((Scenario::Refresh, 1_000)));
    }

    #[test]
    fn databases() {
        let parse = |words: &[&str]| database(&words.iter().map(|word| (*word).to_owned()).collect::<Vec<_>>());
        assert_eq!(parse(&[]).unwrap(), Choice::Sqlite);
        assert_eq!(parse(&["sqlite"]).unwrap(), Choice::Sqlite);
        assert_eq!(parse(&["postgres"]).unwrap(), Choice::OwnPostgres);
        let there = Choice::Postgres("postgres://a/b".to_owned());
        assert_eq!(parse(&["postgres", "postgres://a/b"]).unwrap(), there);
        assert_eq!(parse(&["postgres://a/b"]).unwrap(), there);
        assert!(parse(&["postgres", "a"]).is_err() && parse(&["mysql://a"]).is_err());
    }

    #[test]
    fn pairs() {
        assert_eq!(cores("0,1"), Ok((0, 1)));
        assert!(cores("0").is_err());
        assert_eq!(setting("A=b=c"), Ok(("A".to_owned(), "b=c".to_owned())));
        assert!(setting("=b").is_err());
        assert!(seconds(0.01).is_err() && seconds(f64::NAN).is_err());
    }
}
