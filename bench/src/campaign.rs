//! One run of the benchmark from the first start to the report: what is prepared, measured and in which order.
//!
//! The server's own values (start, memory) come first, then each scenario right behind its floor. Floors and scenarios
//! share the core, the generator and the time, so that their ratio holds where absolute numbers drift.

use std::collections::BTreeMap;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Arc;
use std::time::Duration;

use crate::browser::Pkce;
use crate::clock;
use crate::failure::{During, Failure};
use crate::floor::{Floor, HashRate};
use crate::load::{self, Limit, Measured, Plan, Step};
use crate::machine::{self, Pinning};
use crate::process::{Running, Server, free_address, on_core};
use crate::provision::{Accounts, Client};
use crate::report::{FloorRow, Own, Report, Row};
use crate::scenario::Scenario;
use crate::scenario::cached::Document;
use crate::scenario::client_credentials::ClientCredentials;
use crate::scenario::code_flow::{CodeFlow, Flow};
use crate::scenario::introspection::Introspection;
use crate::scenario::login::Login;
use crate::scenario::refresh::{IdToken, Refresh};
use crate::wire::{Connection, write_get};

/// PKCE pairs made beforehand.
const PAIRS: usize = 4_096;

/// What to run.
pub struct Options {
    /// The server's binary.
    pub server: PathBuf,
    /// A PostgreSQL URL; SQLite without one.
    pub database: Option<String>,
    /// Further settings of the server, by their environment names.
    pub settings: Vec<(String, String)>,
    /// Measured time of each scenario and floor.
    pub time: Duration,
    /// Connections of the generator.
    pub connections: usize,
    /// Whether this is only a trial that everything works.
    pub depth: Depth,
    /// The scenarios.
    pub scenarios: Vec<Scenario>,
    /// Cores.
    pub pinning: Pinning,
}

/// How much is done.
#[derive(Clone, Copy, PartialEq)]
pub enum Depth {
    /// Everything at full size; ratios are judged.
    Full,
    /// Small numbers and short times; only errors are judged.
    Smoke,
}

impl Depth {
    fn choose<T>(self, full: T, smoke: T) -> T {
        match self {
            Self::Full => full,
            Self::Smoke => smoke,
        }
    }
}

/// Runs everything in a new folder under `folder`, which is removed at the end.
///
/// # Errors
/// When the server can't be started or prepared; failed operations are in the report instead.
pub async fn run(options: Options, folder: &Path) -> Result<Report, Failure> {
    let folder = tempfile::Builder::new().prefix("keyward-bench-").tempdir_in(folder).during("making a folder")?;
    let path = folder.path().canonicalize().during("finding the folder")?;
    let machine = machine::describe(&options.pinning, &path);
    let mut server = Server::new(
        &options.server,
        &path,
        options.database.as_deref(),
        &options.settings,
        options.pinning.server_core(),
    )?;
    say("first start and registration of the clients");
    let first_start = server.start().await?;
    let accounts = Accounts::create(&server)?;
    let mut campaign = Campaign {
        pairs: Arc::new((0..PAIRS).map(|_| Pkce::new()).collect::<Result<_, _>>()?),
        server,
        accounts,
        path,
        sessions: Vec::new(),
        tokens: None,
        floors: BTreeMap::new(),
        options,
    };
    let mut own = campaign.own_values(first_start).await?;
    let mut rows = Vec::new();
    for scenario in campaign.options.scenarios.clone() {
        campaign.floor(scenario.floor()).await?;
        if let Some(further) = scenario.further_floor() {
            campaign.floor(further).await?;
        }
        say(&format!("scenario {}", scenario.name()));
        let measured = campaign.measure(scenario).await?;
        campaign.server.check_alive()?;
        let floor_rate = campaign.floors.get(&scenario.floor()).map_or(0.0, |row| row.rate);
        rows.push(Row::new(scenario, &measured, floor_rate));
    }
    own.memory_at_end = machine::memory(campaign.server.id());
    let server_words = campaign.server.log_tail();
    campaign.server.stop();
    let options = &campaign.options;
    let report = Report {
        machine,
        server: options.server.display().to_string(),
        database: if options.database.is_some() { "postgresql" } else { "sqlite" },
        seconds: options.time.as_secs_f64(),
        connections: options.connections,
        smoke: options.depth == Depth::Smoke,
        own,
        scenarios: rows,
        floors: campaign.floors.into_values().collect(),
    };
    if report.errors() > 0 {
        say(&format!("operations failed;{server_words}"));
    }
    drop(folder);
    Ok(report)
}

/// A run's state.
struct Campaign {
    options: Options,
    server: Server,
    accounts: Accounts,
    path: PathBuf,
    pairs: Arc<Vec<Pkce>>,
    /// Cookie fields of signed-in users, one for each connection; made when first needed.
    sessions: Vec<String>,
    /// Live access tokens for introspection; made when first needed.
    tokens: Option<Arc<Vec<String>>>,
    floors: BTreeMap<Floor, FloorRow>,
}

impl Campaign {
    /// Start times, idle memory and the memory after many tokens.
    async fn own_values(&mut self, first_start: Duration) -> Result<Own, Failure> {
        say("starts with an existing database, idle memory");
        let mut starts = Vec::new();
        for _ in 0..self.options.depth.choose(5, 1) {
            starts.push(self.server.start().await?);
        }
        starts.sort();
        let start = starts.get(starts.len() / 2).copied().unwrap_or_default();
        let idle_time = self.options.depth.choose(Duration::from_secs(3), Duration::from_millis(500));
        let before = machine::cpu_seconds(self.server.id());
        clock::pause(idle_time).await;
        let idle_memory = machine::memory(self.server.id());
        let idle_busy = (machine::cpu_seconds(self.server.id()) - before) / idle_time.as_secs_f64();
        let tokens = self.options.depth.choose(100_000, 1_000);
        say(&format!("memory after {tokens} tokens"));
        self.prepare(tokens, self.machines(), "client credentials").await?;
        Ok(Own {
            first_start_seconds: first_start.as_secs_f64(),
            start_seconds: start.as_secs_f64(),
            idle_memory,
            idle_busy,
            tokens: tokens as u64,
            memory_after_tokens: machine::memory(self.server.id()),
            memory_at_end: idle_memory,
        })
    }

    /// Prepares a scenario and measures it.
    async fn measure(&mut self, scenario: Scenario) -> Result<Measured, Failure> {
        let host = self.server.host();
        let connections = self.options.connections;
        let documents =
            |target, member| (0..connections).map(|_| Document::new(&host, target, Some(member))).collect::<Vec<_>>();
        match scenario {
            Scenario::Discovery => self.timed(documents("/.well-known/openid-configuration", "token_endpoint")).await,
            Scenario::Jwks => self.timed(documents("/jwks", "keys")).await,
            Scenario::ClientCredentials => self.timed(self.machines()).await,
            Scenario::Refresh => {
                let steps = self.refreshers(IdToken::Absent).await?;
                self.timed(steps).await
            }
            Scenario::RefreshIdToken => {
                let steps = self.refreshers(IdToken::Expected).await?;
                self.timed(steps).await
            }
            Scenario::CodeFlowEs256 => {
                let flow = self.flow("openid profile", "ES256");
                let steps = self.browsers(&flow).await?;
                self.timed(steps).await
            }
            Scenario::CodeFlowRs256 => {
                let flow = self.flow("openid profile", "RS256");
                let steps = self.browsers(&flow).await?;
                self.timed(steps).await
            }
            Scenario::IntrospectCold => self.introspect_cold().await,
            Scenario::IntrospectWarm => {
                let tokens = self.live_tokens().await?;
                let count = tokens.len();
                // Each token once before measuring, whether or not the cold scenario was run.
                let once = Introspection::once(&host, &self.accounts.api, &tokens, connections);
                self.prepare(count + connections, once, "introspection").await?;
                self.timed(Introspection::round(&host, &self.accounts.api, &tokens, connections)).await
            }
            Scenario::Login => {
                let steps = self.logins("bench-login").await?;
                self.timed(steps).await
            }
        }
    }

    /// Restarts the server, so that its caches are empty, and introspects each token once.
    async fn introspect_cold(&mut self) -> Result<Measured, Failure> {
        let host = self.server.host();
        let connections = self.options.connections;
        let tokens = self.live_tokens().await?;
        let (_, warming) = self.run(Limit::Each(1), Duration::ZERO, vec![self.machine(&host).collecting()]).await?;
        let warming = Arc::new(warming.into_iter().flat_map(ClientCredentials::into_tokens).collect::<Vec<_>>());
        self.server.start().await?;
        // Connections, allocator and code are warmed with a token that isn't one of those measured.
        let round = Introspection::round(&host, &self.accounts.api, &warming, connections);
        self.run(Limit::Time(self.warm_up()), Duration::ZERO, round).await?;
        let once = Introspection::once(&host, &self.accounts.api, &tokens, connections);
        Ok(self.run(Limit::Each(u64::MAX), Duration::ZERO, once).await?.0)
    }

    fn warm_up(&self) -> Duration {
        self.options.depth.choose(Duration::from_secs(1), Duration::from_millis(200))
    }

    /// One run against the server.
    async fn run<S: Step>(
        &self,
        limit: Limit,
        warm_up: Duration,
        steps: Vec<S>,
    ) -> Result<(Measured, Vec<S>), Failure> {
        let plan = Plan { address: self.server.address(), server: self.server.id(), warm_up, limit };
        load::run(plan, steps).await.during(format!("load on the server{}", self.server.log_tail()))
    }

    /// The measured run of a scenario.
    async fn timed<S: Step>(&self, steps: Vec<S>) -> Result<Measured, Failure> {
        Ok(self.run(Limit::Time(self.options.time), self.warm_up(), steps).await?.0)
    }

    /// About `count` operations that have to succeed for the scenarios to make sense.
    async fn prepare<S: Step>(&self, count: usize, steps: Vec<S>, what: &str) -> Result<Vec<S>, Failure> {
        let each = count.div_ceil(steps.len().max(1)) as u64;
        let (measured, steps) = self.run(Limit::Each(each), Duration::ZERO, steps).await?;
        match measured.first_errors.first() {
            None => Ok(steps),
            Some(first) => Err(Failure::new(format!(
                "preparing by {what}: {} of {} operations failed, the first with: {first}{}",
                measured.errors,
                measured.errors + measured.operations,
                self.server.log_tail()
            ))),
        }
    }

    fn machine(&self, host: &str) -> ClientCredentials {
        ClientCredentials::new(host, &self.accounts.machine, "ES256")
    }

    fn machines(&self) -> Vec<ClientCredentials> {
        let host = self.server.host();
        (0..self.options.connections).map(|_| self.machine(&host)).collect()
    }

    fn flow(&self, scope: &str, algorithm: &'static str) -> Arc<Flow> {
        let client = if algorithm == "RS256" { &self.accounts.web_rs256 } else { &self.accounts.web_es256 };
        Arc::new(Flow::new(&self.server.host(), client, scope, algorithm, &self.pairs))
    }

    /// Browsers with a login before them, each of a user of its own.
    async fn logins(&self, group: &str) -> Result<Vec<Login>, Failure> {
        say(&format!("adding {} users", self.options.connections));
        let host = self.server.host();
        let flow = self.flow("openid profile", "ES256");
        let users = self.accounts.add_users(&self.server, group, self.options.connections)?;
        users.into_iter().map(|user| Ok(Login::new(&host, &flow, user, Pkce::new()?))).collect()
    }

    /// Browsers that are signed in.
    async fn browsers(&mut self, flow: &Arc<Flow>) -> Result<Vec<CodeFlow>, Failure> {
        if self.sessions.is_empty() {
            let logins = self.logins("bench-user").await?;
            let logins = self.prepare(self.options.connections, logins, "login").await?;
            self.sessions = logins.into_iter().map(Login::into_session).collect();
        }
        let distance = PAIRS / self.options.connections.max(1);
        Ok(self.sessions.iter().enumerate().map(|(n, cookies)| CodeFlow::new(flow, cookies, n * distance)).collect())
    }

    /// Connections with new chains of refresh tokens.
    async fn refreshers(&mut self, id_token: IdToken) -> Result<Vec<Refresh>, Failure> {
        let scope = if id_token == IdToken::Expected { "openid profile" } else { "profile" };
        let flow = self.flow(scope, "ES256");
        let browsers = self.browsers(&flow).await?.into_iter().map(CodeFlow::collecting).collect();
        let chains = self.options.depth.choose(64, 4) * self.options.connections;
        let browsers = self.prepare(chains, browsers, "code flow").await?;
        let host = self.server.host();
        let refresher = |tokens| Refresh::new(&host, &self.accounts.web_es256, tokens, id_token);
        Ok(browsers.into_iter().map(CodeFlow::into_refresh_tokens).map(refresher).collect())
    }

    /// Access tokens, half of users and half of a machine, mixed.
    async fn live_tokens(&mut self) -> Result<Arc<Vec<String>>, Failure> {
        if let Some(tokens) = &self.tokens {
            return Ok(tokens.clone());
        }
        let half = self.options.depth.choose(5_000, 250);
        say(&format!("{} tokens to introspect", half * 2));
        let refreshers = self.refreshers(IdToken::Absent).await?.into_iter().map(Refresh::collecting).collect();
        let refreshers = self.prepare(half, refreshers, "refresh").await?;
        let machines = self.machines().into_iter().map(ClientCredentials::collecting).collect();
        let machines = self.prepare(half, machines, "client credentials").await?;
        let of_users = refreshers.into_iter().flat_map(Refresh::into_tokens).take(half);
        let of_machines = machines.into_iter().flat_map(ClientCredentials::into_tokens).take(half);
        let mixed: Vec<String> = of_users.zip(of_machines).flat_map(|(user, machine)| [user, machine]).collect();
        let tokens = Arc::new(mixed);
        self.tokens = Some(tokens.clone());
        Ok(tokens)
    }

    /// Measures a floor, if it hasn't been in this run. The server is idle meanwhile.
    async fn floor(&mut self, floor: Floor) -> Result<(), Failure> {
        if self.floors.contains_key(&floor) {
            return Ok(());
        }
        say(&format!("floor {}", floor.name()));
        let time = self.options.depth.choose(self.options.time, Duration::from_millis(400));
        let own = std::env::current_exe().during("finding this program's file")?;
        let mut command = on_core(self.options.pinning.server_core(), &own);
        command.args(["floor", floor.name()]);
        let row = match floor {
            Floor::Argon2 => hash_rate(command, time)?,
            _ => self.http_floor(command, floor, time).await?,
        };
        self.floors.insert(floor, row);
        Ok(())
    }

    async fn http_floor(&self, mut command: Command, floor: Floor, time: Duration) -> Result<FloorRow, Failure> {
        let address = free_address()?;
        let host = format!("localhost:{}", address.port());
        command.args(["--listen", &address.to_string()]).arg("--folder").arg(&self.path);
        let mut running = Running::start(command, "the floor", self.path.join("floor.log"))?;
        running.wait_ready(address, &host, "/ready").await?;
        let plan = Plan { address, server: running.id(), warm_up: self.warm_up(), limit: Limit::Time(time) };
        let connections = self.options.connections;
        let client = Client::new("bench-floor", "a secret of the usual length, 43 characters");
        let token_requests =
            |algorithm| (0..connections).map(|_| ClientCredentials::new(&host, &client, algorithm)).collect::<Vec<_>>();
        let measured = match floor {
            Floor::Json2k | Floor::Argon2 => {
                load::run(plan, (0..connections).map(|_| Document::new(&host, "/", None)).collect()).await?.0
            }
            Floor::Sign | Floor::SignCommit => load::run(plan, token_requests("ES256")).await?.0,
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

/// Says on the error stream what is going on; without that stream nobody listens.
fn say(text: &str) {
    drop(writeln!(std::io::stderr(), "keyward-bench: {text}"));
}
