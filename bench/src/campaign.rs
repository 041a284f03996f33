//! One run of the benchmark from the first start to the report: what is prepared, measured and in which order.
//!
//! The server's own values (start, memory) come first, then each scenario right behind its floor, and all of it again
//! where repetitions are asked for; then overload and growth. Floors and scenarios share the core, the generator and
//! the time, so that their ratio holds where absolute numbers drift.

use std::collections::BTreeMap;
use std::path::Path;
use std::process::Command;
use std::sync::Arc;
use std::time::Duration;

use crate::clock;
use crate::cost;
use crate::database::{Backend, Choice};
use crate::failure::{During, Failure};
use crate::floor::{Floor, HashRate};
use crate::growth::{self, Growth};
use crate::load::{self, Limit, Measured, Plan};
use crate::machine;
use crate::overload;
use crate::process::{Running, free_address, on_core};
use crate::provision::Client;
use crate::report::Report;
use crate::report::scenarios::{FloorRow, Own, Row, Sample};
use crate::say;
use crate::scenario::Scenario;
use crate::scenario::cached::Document;
use crate::scenario::client_credentials::ClientCredentials;
use crate::scenario::introspection::Introspection;
use crate::scenario::refresh::IdToken;
use crate::stage::{Depth, Setting, Stage};
use crate::wire::{Connection, write_get};

/// Chains of refresh tokens of each connection.
const CHAINS: usize = 64;

/// What to run.
pub struct Options {
    /// How the server is started and loaded.
    pub setting: Setting,
    /// The database.
    pub database: Choice,
    /// How often the scenarios and the growth are measured.
    pub repeat: usize,
    /// The scenarios beside their floors.
    pub scenarios: Vec<Scenario>,
    /// Scenarios under four times the load that can be served.
    pub overload: Vec<overload::Way>,
    /// On so many connections.
    pub crowd: usize,
    /// Sizes of the population for the growth.
    pub growth: Vec<u64>,
    /// The scenario whose instructions are counted, and of how many operations.
    pub cost: Option<(Scenario, u64)>,
}

/// Runs everything in a new folder under `folder`, which is removed at the end.
///
/// # Errors
/// When the server can't be started or prepared; failed operations are in the report instead.
pub async fn run(options: Options, folder: &Path) -> Result<Report, Failure> {
    let base = folder.canonicalize().during(format!("finding {}", folder.display()))?;
    let folder = tempfile::Builder::new().prefix("keyward-bench-").tempdir_in(&base).during("making a folder")?;
    let setting = &options.setting;
    let backend = Backend::start(&options.database, &base, setting.pinning.server_core()).await?;
    let mut report = Report {
        machine: machine::describe(&setting.pinning, folder.path()),
        server: setting.server.display().to_string(),
        database: options.database.kind(),
        database_words: backend.words(),
        seconds: setting.time.as_secs_f64(),
        connections: setting.connections,
        repeat: options.repeat,
        smoke: setting.depth == Depth::Smoke,
        own: None,
        scenarios: Vec::new(),
        floors: Vec::new(),
        overload: Vec::new(),
        growth: None,
        cost: None,
    };
    if !options.scenarios.is_empty() || !options.overload.is_empty() || options.cost.is_some() {
        let path = folder.path().join("scenarios");
        std::fs::create_dir(&path).during("making a folder")?;
        let fresh = backend.fresh().await?;
        let url = fresh.as_ref().map(|fresh| fresh.url.as_str());
        let (stage, first_start) = Stage::set(setting, &path, url, backend.process()).await?;
        let mut campaign = Campaign { options: &options, path: &path, url, stage, floors: BTreeMap::new() };
        if !options.scenarios.is_empty() {
            let mut own = campaign.own_values(first_start).await?;
            report.scenarios = campaign.scenarios().await?;
            own.memory_at_end = machine::memory(campaign.stage.server.id());
            report.own = Some(own);
        }
        for way in &options.overload {
            report.overload.push(overload::measure(&mut campaign.stage, *way, options.crowd).await?);
            campaign.stage.server.check_alive()?;
        }
        if let Some((scenario, operations)) = options.cost {
            report.cost = Some(cost::measure(&mut campaign.stage, scenario, operations, &path).await?);
        }
        report.floors = campaign.floors.values().filter_map(|runs| FloorRow::of(runs)).collect();
        let words = campaign.stage.server.log_tail();
        campaign.stage.server.stop();
        if report.errors() > 0 {
            say(&format!("operations failed;{words}"));
        }
        if let Some(fresh) = fresh {
            fresh.remove().await?;
        }
    }
    if !options.growth.is_empty() {
        let growth = Growth { sizes: &options.growth, repeat: options.repeat };
        report.growth = Some(growth::measure(setting, &backend, folder.path(), growth).await?);
    }
    drop(folder);
    Ok(report)
}

/// The state of the scenarios' run.
struct Campaign<'o> {
    options: &'o Options,
    path: &'o Path,
    url: Option<&'o str>,
    stage: Stage,
    /// Every measurement of each floor.
    floors: BTreeMap<Floor, Vec<FloorRow>>,
}

impl Campaign<'_> {
    fn depth(&self) -> Depth {
        self.options.setting.depth
    }

    /// Start times, idle memory and the memory after many tokens.
    async fn own_values(&mut self, first_start: Duration) -> Result<Own, Failure> {
        say("starts with an existing database, idle memory");
        let (start, idle) = resting(&mut self.stage).await?;
        let tokens = self.depth().choose(100_000, 1_000);
        say(&format!("memory after {tokens} tokens"));
        self.stage.prepare(tokens, self.stage.machines(), "client credentials").await?;
        Ok(Own {
            first_start_seconds: first_start.as_secs_f64(),
            start_seconds: start.as_secs_f64(),
            idle_memory: idle.memory,
            idle_busy: idle.busy,
            tokens: tokens as u64,
            memory_after_tokens: machine::memory(self.stage.server.id()),
            memory_at_end: idle.memory,
        })
    }

    /// All scenarios, as often as asked for, each close behind its floor.
    async fn scenarios(&mut self) -> Result<Vec<Row>, Failure> {
        let options = self.options;
        let kind = options.database.kind();
        let mut samples: Vec<Vec<Sample>> = options.scenarios.iter().map(|_| Vec::new()).collect();
        for round in 1..=options.repeat {
            let mut last = None;
            for (scenario, samples) in options.scenarios.iter().zip(&mut samples) {
                if options.repeat > 1 {
                    say(&format!("round {round} of {}", options.repeat));
                }
                let floor = scenario.floor(kind);
                // Scenarios that follow each other share the measurement of a floor; others measure it anew.
                if last != Some(floor) {
                    self.floor(floor).await?;
                    last = Some(floor);
                }
                if let Some(further) = scenario.further_floor() {
                    self.floor(further).await?;
                }
                say(&format!("scenario {}", scenario.name()));
                let measured = self.measure(*scenario).await?;
                self.stage.server.check_alive()?;
                let floor_rate = self.floors.get(&floor).and_then(|runs| runs.last()).map_or(0.0, |row| row.rate);
                samples.push(Sample { measured, floor_rate });
            }
        }
        let rows = options.scenarios.iter().zip(samples);
        Ok(rows.filter_map(|(scenario, samples)| Row::of(*scenario, kind, samples)).collect())
    }

    /// Prepares a scenario and measures it.
    async fn measure(&mut self, scenario: Scenario) -> Result<Measured, Failure> {
        let stage = &mut self.stage;
        let host = stage.server.host();
        let connections = stage.setting.connections;
        let chains = stage.setting.depth.choose(CHAINS, 4);
        let documents =
            |target, member| (0..connections).map(|_| Document::new(&host, target, Some(member))).collect::<Vec<_>>();
        match scenario {
            Scenario::Discovery => stage.timed(documents("/.well-known/openid-configuration", "token_endpoint")).await,
            Scenario::Jwks => stage.timed(documents("/jwks", "keys")).await,
            Scenario::ClientCredentials => stage.timed(stage.machines()).await,
            Scenario::Refresh => {
                let steps = stage.refreshers(IdToken::Absent, connections, chains).await?;
                stage.timed(steps).await
            }
            Scenario::RefreshIdToken => {
                let steps = stage.refreshers(IdToken::Expected, connections, chains).await?;
                stage.timed(steps).await
            }
            Scenario::CodeFlowEs256 | Scenario::CodeFlowRs256 => {
                let algorithm = if scenario == Scenario::CodeFlowRs256 { "RS256" } else { "ES256" };
                let flow = stage.flow("openid profile", algorithm);
                let steps = stage.browsers(&flow, connections).await?;
                stage.timed(steps).await
            }
            Scenario::IntrospectCold => {
                let tokens = stage.live_tokens().await?;
                stage.introspect_cold(&tokens).await
            }
            Scenario::IntrospectWarm => {
                let tokens = stage.live_tokens().await?;
                let count = tokens.len();
                // Each token once before measuring, whether or not the cold scenario was run.
                let once = Introspection::once(&host, &stage.accounts.api, &tokens, connections);
                stage.prepare(count + connections, once, "introspection").await?;
                stage.timed(Introspection::round(&host, &stage.accounts.api, &tokens, connections)).await
            }
            Scenario::Login => {
                let steps = stage.logins("bench-login", stage.setting.connections).await?;
                stage.timed(steps).await
            }
        }
    }

    /// Measures a floor. The server is idle meanwhile.
    async fn floor(&mut self, floor: Floor) -> Result<(), Failure> {
        say(&format!("floor {}", floor.name()));
        let time = self.depth().choose(self.options.setting.time, Duration::from_millis(400));
        let own = std::env::current_exe().during("finding this program's file")?;
        let mut command = on_core(self.options.setting.pinning.server_core(), &own);
        command.args(["floor", floor.name()]);
        let row = match floor {
            Floor::Argon2 => hash_rate(command, time)?,
            _ => self.http_floor(command, floor, time).await?,
        };
        self.floors.entry(floor).or_default().push(row);
        Ok(())
    }

    async fn http_floor(&self, mut command: Command, floor: Floor, time: Duration) -> Result<FloorRow, Failure> {
        let address = free_address()?;
        let host = format!("localhost:{}", address.port());
        // A folder of its own each time: the database of the last measurement must not be in the way.
        let folder = tempfile::tempdir_in(self.path).during("making the floor's folder")?;
        command.args(["--listen", &address.to_string()]).arg("--folder").arg(folder.path());
        if let Some(url) = self.url.filter(|_| floor == Floor::SignInsert) {
            command.args(["--database", url]);
        }
        let mut running = Running::start(command, "the floor", self.path.join("floor.log"))?;
        running.wait_ready(address, &host, "/ready").await?;
        let warm_up = self.options.setting.warm_up();
        let database = self.stage.database;
        let plan = Plan { address, server: running.id(), database, warm_up, limit: Limit::Time(time) };
        let connections = self.options.setting.connections;
        let client = Client::new("bench-floor", "a secret of the usual length, 43 characters");
        let token_requests =
            |algorithm| (0..connections).map(|_| ClientCredentials::new(&host, &client, algorithm)).collect::<Vec<_>>();
        let measured = match floor {
            Floor::Json2k | Floor::Argon2 => {
                load::run(plan, (0..connections).map(|_| Document::new(&host, "/", None)).collect()).await?.0
            }
            Floor::Sign | Floor::SignCommit | Floor::SignInsert => load::run(plan, token_requests("ES256")).await?.0,
            Floor::SignRs256 => load::run(plan, token_requests("RS256")).await?.0,
            Floor::Verify => {
                let mut request = Vec::new();
                write_get(&mut request, &host, "/sample", "");
                let mut connection = Connection::open(address).await.during("connecting to the floor")?;
                let answer = connection.exchange(&request).await.during("asking the floor for a token")?;
                let tokens = Arc::new(vec![String::from_utf8_lossy(answer.body).into_owned()]);
                load::run(plan, Introspection::round(&host, &client, &tokens, connections)).await?.0
            }
        };
        match measured.first_errors.first() {
            None => Ok(FloorRow::new(floor, &measured)),
            Some(error) => Err(Failure::new(format!("floor {}: {error}{}", floor.name(), running.log_tail()))),
        }
    }
}

/// What a server takes that nobody asks.
pub struct Idle {
    /// Its memory.
    pub memory: machine::Memory,
    /// Its use of its core, 0 to 1.
    pub busy: f64,
}

/// Starts the server several times; gives the median time and what it takes while it rests.
///
/// # Errors
/// When it doesn't start.
pub async fn resting(stage: &mut Stage) -> Result<(Duration, Idle), Failure> {
    let mut starts = Vec::new();
    for _ in 0..stage.setting.depth.choose(5, 1) {
        starts.push(stage.server.start().await?);
    }
    starts.sort();
    let start = starts.get(starts.len() / 2).copied().unwrap_or_default();
    let time = stage.setting.depth.choose(Duration::from_secs(3), Duration::from_millis(500));
    let before = machine::cpu_seconds(stage.server.id());
    clock::pause(time).await;
    let busy = (machine::cpu_seconds(stage.server.id()) - before) / time.as_secs_f64();
    Ok((start, Idle { memory: machine::memory(stage.server.id()), busy }))
}

/// Runs the Argon2 floor and reads what it prints.
fn hash_rate(mut command: Command, time: Duration) -> Result<FloorRow, Failure> {
    let output = command.args(["--seconds", &time.as_secs_f64().to_string()]).output().during("starting the floor")?;
    let rate: HashRate = serde_json::from_slice(&output.stdout).during(format!(
        "the argon2 floor ({}): {}",
        output.status,
        String::from_utf8_lossy(&output.stderr).trim()
    ))?;
    Ok(FloorRow::of_hashes(&rate))
}
