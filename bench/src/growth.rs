//! How cost grows with the data: the same scenarios with ever more users, clients and live grants, visited at random.
//!
//! Every size has a database of its own, filled before anything is measured; then the sizes take turns, so that a
//! machine that changes its mind during the run treats them alike. Leaves out logins: a password's hash costs the same
//! whatever the number of people.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use crate::campaign::resting;
use crate::clock;
use crate::database::{Backend, Fresh};
use crate::failure::{During, Failure};
use crate::load::{Limit, Measured};
use crate::machine;
use crate::population::Population;
use crate::report::growth::{Cell, GrowthReport, SizeRow};
use crate::say;
use crate::scenario::Scenario;
use crate::scenario::login::Login;
use crate::scenario::visit::{AnyClient, AnyFlow, AnyGrant};
use crate::seed;
use crate::stage::{Setting, Stage};

/// The scenarios, in their order.
const SCENARIOS: [Scenario; 4] =
    [Scenario::ClientCredentials, Scenario::Refresh, Scenario::CodeFlowEs256, Scenario::IntrospectCold];
/// Grants of each connection at the least.
const GRANTS: usize = 4;

/// What to measure.
pub struct Growth<'g> {
    /// Sizes of the population; the first is what the others are compared with.
    pub sizes: &'g [u64],
    /// How often.
    pub repeat: usize,
}

/// One size on its stage.
struct Grown {
    stage: Stage,
    people: Arc<Population>,
    cookie_name: String,
    /// The connections that refresh, with the tokens they hold.
    grants: Vec<AnyGrant>,
    fresh: Option<Fresh>,
    file: PathBuf,
    row: SizeRow,
}

/// Fills and measures all sizes.
///
/// # Errors
/// When a database can't be filled or a server can't be started; failed operations are in the report instead.
pub async fn measure(
    setting: &Setting,
    backend: &Backend,
    folder: &Path,
    growth: Growth<'_>,
) -> Result<GrowthReport, Failure> {
    let mut grown = Vec::new();
    for size in growth.sizes {
        let path = folder.join(format!("growth-{size}"));
        std::fs::create_dir(&path).during("making a folder")?;
        grown.push(Grown::fill(setting, backend, &path, *size).await?);
    }
    for round in 1..=growth.repeat {
        for grown in &mut grown {
            say(&format!("round {round} of {} with a population of {}", growth.repeat, grown.people.size));
            grown.round(round == 1).await?;
        }
    }
    let mut sizes = Vec::new();
    for mut grown in grown {
        grown.row.database_octets_at_end = seed::size(grown.url(), &grown.file).await?;
        sizes.push(grown.row);
        if let Some(fresh) = grown.fresh {
            fresh.remove().await?;
        }
    }
    Ok(GrowthReport { sizes })
}

impl Grown {
    /// Makes the database and fills it.
    async fn fill(setting: &Setting, backend: &Backend, folder: &Path, size: u64) -> Result<Self, Failure> {
        let fresh = backend.fresh().await?;
        let url = fresh.as_ref().map(|fresh| fresh.url.as_str());
        // One connection is enough for the one person who shows how the session's cookie is named.
        let alone = Setting { connections: 1, ..setting.clone() };
        let (mut stage, _) = Stage::set(&alone, folder, url, backend.process()).await?;
        let logins = stage.logins("bench-first", 1).await?;
        let logins = stage.prepare(1, logins, "login").await?;
        let cookie_name = logins.first().and_then(Login::session_cookie_name).map(str::to_owned);
        let cookie_name = cookie_name.ok_or_else(|| Failure::new("a login set no cookie of a session"))?;
        stage.server.stop();
        stage.setting = setting.clone();

        let fewest = (setting.connections * GRANTS) as u64;
        let people = Arc::new(Population::new(size, fewest, &stage.accounts.resource)?);
        let data = stage.server.data();
        let master = data.join("master.key");
        let master = std::fs::read_to_string(&master).during(format!("reading {}", master.display()))?;
        say(&format!("filling the database with a population of {size}"));
        let file = data.join("keyward.db");
        let begun = clock::now();
        seed::fill(&people, &master, url, &file).await?;
        let row = SizeRow {
            size,
            grants: people.grants,
            fill_seconds: clock::now().saturating_duration_since(begun).as_secs_f64(),
            database_octets: seed::size(url, &file).await?,
            database_octets_at_end: 0,
            start_seconds: 0.0,
            idle_memory: machine::Memory::default(),
            memory_after_load: machine::Memory::default(),
            cells: SCENARIOS.iter().map(|scenario| Cell::new(*scenario)).collect(),
        };
        let grants = AnyGrant::all(&stage.server.host(), &people, setting.connections)?;
        Ok(Self { stage, people, cookie_name, grants, fresh, file, row })
    }

    fn url(&self) -> Option<&str> {
        self.fresh.as_ref().map(|fresh| fresh.url.as_str())
    }

    /// Starts the server, measures each scenario and stops the server.
    async fn round(&mut self, first: bool) -> Result<(), Failure> {
        if first {
            let (start, idle) = resting(&mut self.stage).await?;
            self.row.start_seconds = start.as_secs_f64();
            self.row.idle_memory = idle.memory;
        } else {
            self.stage.server.start().await?;
        }
        for (place, scenario) in SCENARIOS.into_iter().enumerate() {
            say(&format!("scenario {}", scenario.name()));
            let measured = self.scenario(scenario).await?;
            self.stage.server.check_alive()?;
            if let Some(cell) = self.row.cells.get_mut(place) {
                cell.add(&measured);
            }
            // The last scenario restarts the server: what load left is looked at before.
            if scenario == Scenario::CodeFlowEs256 {
                self.row.memory_after_load = machine::memory(self.stage.server.id());
            }
        }
        self.stage.server.stop();
        Ok(())
    }

    async fn scenario(&mut self, scenario: Scenario) -> Result<Measured, Failure> {
        let (host, connections) = (self.stage.server.host(), self.stage.setting.connections);
        match scenario {
            Scenario::Refresh => {
                let (limit, warm_up) = (Limit::Time(self.stage.setting.time), self.stage.setting.warm_up());
                let (measured, grants) = self.stage.run(limit, warm_up, std::mem::take(&mut self.grants)).await?;
                self.grants = grants;
                Ok(measured)
            }
            Scenario::CodeFlowEs256 => {
                let (people, pairs) = (&self.people, &self.stage.pairs);
                let browsers = (0..connections).map(|_| AnyFlow::new(&host, people, &self.cookie_name, pairs));
                let browsers = browsers.collect::<Result<_, _>>()?;
                self.stage.timed(browsers).await
            }
            Scenario::IntrospectCold => {
                let count = self.stage.setting.depth.choose(10_000, 200);
                let grants = std::mem::take(&mut self.grants).into_iter().map(AnyGrant::collecting).collect();
                self.grants = self.stage.prepare(count, grants, "refresh").await?;
                let tokens: Vec<String> = self.grants.iter_mut().flat_map(AnyGrant::take_tokens).collect();
                self.stage.introspect_cold(&Arc::new(tokens)).await
            }
            _ => {
                let clients = (0..connections).map(|_| AnyClient::new(&host, &self.people));
                let clients = clients.collect::<Result<_, _>>()?;
                self.stage.timed(clients).await
            }
        }
    }
}

/// The sizes of a full run and of a trial.
pub fn sizes(smoke: bool) -> Vec<u64> {
    if smoke { vec![10, 500] } else { vec![10, 10_000, 1_000_000] }
}

/// The longest that one size may take to be filled before the report says so.
pub const FILL_TARGET: Duration = Duration::from_secs(120);
