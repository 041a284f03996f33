//! Overload: what happens to those who are admitted, and to those who are refused, when four times as many come as can
//! be served.
//!
//! First the closed loop of the usual connections gives the capacity and the latencies without overload. Then many
//! connections begin operations at four times that rate. Whoever is admitted should hardly notice; the others are to be
//! refused at once, with 503 and Retry-After.

use std::time::Duration;

use clap::ValueEnum;
use serde::Serialize;

use crate::clock;
use crate::failure::Failure;
use crate::load::{Limit, Measured, Step};
use crate::paced;
use crate::report::overload::OverloadRow;
use crate::say;
use crate::scenario::login::Login;
use crate::scenario::refresh::IdToken;
use crate::stage::Stage;

/// How much more comes than can be served.
const EXCESS: f64 = 4.0;
/// Connections of paced load, unless told: as many as there may be where a process has 1,024 files open. So many are more
/// than the server serves in turn without refusing anybody.
pub const CROWD: u16 = 900;
/// The load stands for so long before it is measured: an overload isn't one before it lasts, and until then all wait. Who
/// waited has begun nothing meanwhile, and makes up for it.
const BEGINNING: Duration = Duration::from_secs(4);
/// Chains of refresh tokens of each connection.
const CHAINS: usize = 4;

/// What is overloaded.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, ValueEnum)]
#[serde(rename_all = "snake_case")]
#[value(rename_all = "snake_case")]
pub enum Way {
    /// Refreshing without `openid`: the database.
    Refresh,
    /// Authorization and redemption: the database, several times an operation.
    CodeFlow,
    /// Login page and password: the threads that hash.
    Login,
}

impl Way {
    /// The name on the command line and in the report.
    pub fn name(self) -> &'static str {
        match self {
            Self::Refresh => "refresh",
            Self::CodeFlow => "code_flow",
            Self::Login => "login",
        }
    }
}

/// Measures one way on so many connections, fewer in a trial.
///
/// # Errors
/// When it can't be prepared; failed operations are in the row instead.
pub async fn measure(stage: &mut Stage, way: Way, crowd: usize) -> Result<OverloadRow, Failure> {
    // What was overloaded before is over: after a second of silence the server lets everybody in.
    clock::pause(Duration::from_millis(1500)).await;
    say(&format!("overload of {}: capacity", way.name()));
    let usual = stage.setting.connections;
    let crowd = stage.setting.depth.choose(crowd, 64);
    match way {
        Way::Refresh => {
            let steps = stage.refreshers(IdToken::Absent, usual, CHAINS).await?;
            let calm = stage.timed(steps).await?;
            let steps = stage.refreshers(IdToken::Absent, crowd, CHAINS).await?;
            storm(stage, way, calm, steps).await
        }
        Way::CodeFlow => {
            let flow = stage.flow("openid profile", "ES256");
            let steps = stage.browsers(&flow, usual).await?;
            let calm = stage.timed(steps).await?;
            let steps = stage.browsers(&flow, crowd).await?;
            storm(stage, way, calm, steps).await
        }
        Way::Login => {
            let steps = stage.logins("bench-storm", stage.setting.connections).await?;
            let users: Vec<Login> = steps.iter().map(Login::another).collect();
            let calm = stage.timed(steps).await?;
            let steps = users.iter().cycle().take(crowd).map(Login::another).collect();
            storm(stage, way, calm, steps).await
        }
    }
}

async fn storm<S: Step>(stage: &Stage, way: Way, calm: Measured, steps: Vec<S>) -> Result<OverloadRow, Failure> {
    let (rate, connections) = (calm.rate() * EXCESS, steps.len());
    if rate <= 0.0 {
        return Ok(OverloadRow::without_capacity(way, &calm));
    }
    say(&format!("overload of {}: {rate:.0} operations a second on {connections} connections", way.name()));
    // The server comes to rest first.
    clock::pause(stage.setting.depth.choose(Duration::from_secs(1), Duration::from_millis(100))).await;
    let beginning = stage.setting.depth.choose(BEGINNING, stage.setting.warm_up());
    let plan = stage.plan(Limit::Time(stage.setting.time), beginning);
    let stormy = paced::run(plan, stage.setting.time, rate, steps).await?;
    Ok(OverloadRow::new(way, connections, rate, &calm, &stormy))
}
