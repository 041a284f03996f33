//! A server on its stage: running, with clients, users, sessions and chains of refresh tokens, and the load that plays
//! on it. What is played in which order is in [`crate::campaign`], [`crate::overload`] and [`crate::growth`].

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use crate::browser::Pkce;
use crate::failure::{During, Failure};
use crate::load::{self, Limit, Measured, Plan, Step};
use crate::machine::Pinning;
use crate::process::Server;
use crate::provision::Accounts;
use crate::say;
use crate::scenario::client_credentials::ClientCredentials;
use crate::scenario::code_flow::{CodeFlow, Flow};
use crate::scenario::login::Login;
use crate::scenario::refresh::{IdToken, Refresh};

/// PKCE pairs made beforehand.
const PAIRS: usize = 4_096;
/// The most who sign in at once, or a server would refuse some: a password takes its time, whoever waits for it.
const MOST_LOGINS: usize = 32;

/// How a server is started and loaded.
#[derive(Clone)]
pub struct Setting {
    /// The server's binary.
    pub server: PathBuf,
    /// Further settings of the server, by their environment names.
    pub settings: Vec<(String, String)>,
    /// Measured time of each scenario and floor.
    pub time: Duration,
    /// Connections of the generator.
    pub connections: usize,
    /// Whether this is only a trial that everything works.
    pub depth: Depth,
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
    /// One of two values.
    pub fn choose<T>(self, full: T, smoke: T) -> T {
        match self {
            Self::Full => full,
            Self::Smoke => smoke,
        }
    }
}

impl Setting {
    /// Load before measuring.
    pub fn warm_up(&self) -> Duration {
        self.depth.choose(Duration::from_secs(1), Duration::from_millis(200))
    }
}

/// A running server with its accounts.
pub struct Stage {
    /// How it was started.
    pub setting: Setting,
    /// The server.
    pub server: Server,
    /// Its clients.
    pub accounts: Accounts,
    /// PKCE pairs that every flow uses.
    pub pairs: Arc<Vec<Pkce>>,
    /// The process of a database that the benchmark started.
    pub database: Option<u32>,
    /// Cookie fields of signed-in users; made when first needed.
    sessions: Vec<String>,
    /// Live access tokens for introspection; made when first needed.
    tokens: Option<Arc<Vec<String>>>,
}

impl Stage {
    /// Starts a server for the first time and registers the clients; gives the time of that start. `url` is the
    /// PostgreSQL database, SQLite in `folder` without one; `database` is its process, if the benchmark started it.
    ///
    /// # Errors
    /// When the server can't be started or a command of it fails.
    pub async fn set(
        setting: &Setting,
        folder: &Path,
        url: Option<&str>,
        database: Option<u32>,
    ) -> Result<(Self, Duration), Failure> {
        say("first start and registration of the clients");
        let core = setting.pinning.server_core();
        let mut server = Server::new(&setting.server, folder, url, &setting.settings, core)?;
        let first_start = server.start().await?;
        let stage = Self {
            accounts: Accounts::create(&server)?,
            setting: setting.clone(),
            server,
            pairs: Arc::new((0..PAIRS).map(|_| Pkce::new()).collect::<Result<_, _>>()?),
            database,
            sessions: Vec::new(),
            tokens: None,
        };
        Ok((stage, first_start))
    }

    /// Where and how long load goes.
    pub fn plan(&self, limit: Limit, warm_up: Duration) -> Plan {
        Plan { address: self.server.address(), server: self.server.id(), database: self.database, warm_up, limit }
    }

    /// One run against the server.
    ///
    /// # Errors
    /// Those of [`load::run`].
    pub async fn run<S: Step>(
        &self,
        limit: Limit,
        warm_up: Duration,
        steps: Vec<S>,
    ) -> Result<(Measured, Vec<S>), Failure> {
        let ran = load::run(self.plan(limit, warm_up), steps).await;
        ran.during(format!("load on the server{}", self.server.log_tail()))
    }

    /// The measured run of a scenario.
    ///
    /// # Errors
    /// Those of [`Stage::run`].
    pub async fn timed<S: Step>(&self, steps: Vec<S>) -> Result<Measured, Failure> {
        Ok(self.run(Limit::Time(self.setting.time), self.setting.warm_up(), steps).await?.0)
    }

    /// About `count` operations that have to succeed for the scenarios to make sense.
    ///
    /// # Errors
    /// When one fails.
    pub async fn prepare<S: Step>(&self, count: usize, steps: Vec<S>, what: &str) -> Result<Vec<S>, Failure> {
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

    /// A machine that asks for tokens.
    pub fn machine(&self) -> ClientCredentials {
        ClientCredentials::new(&self.server.host(), &self.accounts.machine, "ES256")
    }

    /// A machine on each connection.
    pub fn machines(&self) -> Vec<ClientCredentials> {
        (0..self.setting.connections).map(|_| self.machine()).collect()
    }

    /// The code flow of the web application whose ID tokens have this algorithm.
    pub fn flow(&self, scope: &str, algorithm: &'static str) -> Arc<Flow> {
        let client = if algorithm == "RS256" { &self.accounts.web_rs256 } else { &self.accounts.web_es256 };
        Arc::new(Flow::new(&self.server.host(), client, scope, algorithm, &self.pairs))
    }

    /// So many browsers with a login before them, each of a user of its own.
    ///
    /// # Errors
    /// When a user can't be added.
    pub async fn logins(&self, group: &str, count: usize) -> Result<Vec<Login>, Failure> {
        say(&format!("adding {count} users"));
        let host = self.server.host();
        let flow = self.flow("openid profile", "ES256");
        let users = self.accounts.add_users(&self.server, group, count)?;
        users.into_iter().map(|user| Ok(Login::new(&host, &flow, user, Pkce::new()?))).collect()
    }

    /// `count` browsers that are signed in; where there are more than users, some share a session.
    ///
    /// # Errors
    /// When a login fails.
    pub async fn browsers(&mut self, flow: &Arc<Flow>, count: usize) -> Result<Vec<CodeFlow>, Failure> {
        if self.sessions.is_empty() {
            let people = self.setting.connections.min(MOST_LOGINS);
            let logins = self.logins("bench-user", people).await?;
            let logins = self.prepare(people, logins, "login").await?;
            self.sessions = logins.into_iter().map(Login::into_session).collect();
        }
        let distance = PAIRS.div_ceil(count.max(1));
        let sessions = self.sessions.iter().cycle().take(count).enumerate();
        Ok(sessions.map(|(n, cookies)| CodeFlow::new(flow, cookies, n * distance)).collect())
    }

    /// `count` connections with `each` new chains of refresh tokens.
    ///
    /// # Errors
    /// When a code flow fails.
    pub async fn refreshers(&mut self, id_token: IdToken, count: usize, each: usize) -> Result<Vec<Refresh>, Failure> {
        let scope = if id_token == IdToken::Expected { "openid profile" } else { "profile" };
        let flow = self.flow(scope, "ES256");
        let browsers = self.browsers(&flow, self.setting.connections).await?;
        let browsers = browsers.into_iter().map(CodeFlow::collecting).collect();
        let browsers = self.prepare(count * each, browsers, "code flow").await?;
        let host = self.server.host();
        let mut chains = browsers.into_iter().flat_map(CodeFlow::into_refresh_tokens);
        let refresher = |tokens| Refresh::new(&host, &self.accounts.web_es256, tokens, id_token);
        Ok((0..count).map(|_| refresher(chains.by_ref().take(each).collect())).collect())
    }

    /// Access tokens, half of users and half of a machine, mixed.
    ///
    /// # Errors
    /// When a grant fails.
    pub async fn live_tokens(&mut self) -> Result<Arc<Vec<String>>, Failure> {
        if let Some(tokens) = &self.tokens {
            return Ok(tokens.clone());
        }
        let half = self.setting.depth.choose(5_000, 250);
        say(&format!("{} tokens to introspect", half * 2));
        let refreshers = self.refreshers(IdToken::Absent, self.setting.connections, 4).await?;
        let refreshers = refreshers.into_iter().map(Refresh::collecting).collect();
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

    /// Restarts the server, so that its caches are empty, and introspects each token once.
    ///
    /// # Errors
    /// When the server doesn't start again or load can't be run.
    pub async fn introspect_cold(&mut self, tokens: &Arc<Vec<String>>) -> Result<Measured, Failure> {
        use crate::scenario::introspection::Introspection;
        let connections = self.setting.connections;
        let (_, warming) = self.run(Limit::Each(1), Duration::ZERO, vec![self.machine().collecting()]).await?;
        let warming = Arc::new(warming.into_iter().flat_map(ClientCredentials::into_tokens).collect::<Vec<_>>());
        self.server.start().await?;
        let host = self.server.host();
        // Connections, allocator and code are warmed with a token that isn't one of those measured.
        let round = Introspection::round(&host, &self.accounts.api, &warming, connections);
        self.run(Limit::Time(self.setting.warm_up()), Duration::ZERO, round).await?;
        let once = Introspection::once(&host, &self.accounts.api, tokens, connections);
        Ok(self.run(Limit::Each(u64::MAX), Duration::ZERO, once).await?.0)
    }
}
