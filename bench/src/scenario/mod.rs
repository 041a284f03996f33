//! The scenarios: what each does, which floor it is compared with, and which share of the floor it must reach.
//!
//! One file a scenario; [`cached`] serves discovery and JWKS. How they are prepared and in which order they run is in
//! [`crate::campaign`].

mod answer;
pub mod cached;
pub mod client_credentials;
pub mod code_flow;
pub mod introspection;
pub mod login;
pub mod refresh;
pub mod visit;

use clap::ValueEnum;
use serde::Serialize;

use crate::database::Kind;
use crate::floor::Floor;

/// A scenario's name.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, ValueEnum)]
#[serde(rename_all = "snake_case")]
#[value(rename_all = "snake_case")]
pub enum Scenario {
    /// GET of the discovery document.
    Discovery,
    /// GET of the key set.
    Jwks,
    /// A client credentials grant.
    ClientCredentials,
    /// Refreshing without `openid`.
    Refresh,
    /// Refreshing with an ID token.
    RefreshIdToken,
    /// Authorization and redemption, ES256 ID token.
    CodeFlowEs256,
    /// Authorization and redemption, RS256 ID token.
    CodeFlowRs256,
    /// Introspection of tokens the server has not seen since its start.
    IntrospectCold,
    /// Introspection of the same tokens again.
    IntrospectWarm,
    /// Login page and password.
    Login,
}

impl Scenario {
    /// The name on the command line and in the report.
    pub fn name(self) -> &'static str {
        match self {
            Self::Discovery => "discovery",
            Self::Jwks => "jwks",
            Self::ClientCredentials => "client_credentials",
            Self::Refresh => "refresh",
            Self::RefreshIdToken => "refresh_id_token",
            Self::CodeFlowEs256 => "code_flow_es256",
            Self::CodeFlowRs256 => "code_flow_rs256",
            Self::IntrospectCold => "introspect_cold",
            Self::IntrospectWarm => "introspect_warm",
            Self::Login => "login",
        }
    }

    /// The floor it is compared with on this database.
    pub fn floor(self, database: Kind) -> Floor {
        match (self, database) {
            (Self::Discovery | Self::Jwks | Self::IntrospectWarm, _) => Floor::Json2k,
            (Self::ClientCredentials, _) => Floor::Sign,
            (Self::Refresh | Self::RefreshIdToken | Self::CodeFlowEs256 | Self::CodeFlowRs256, Kind::Sqlite) => {
                Floor::SignCommit
            }
            (Self::Refresh | Self::RefreshIdToken | Self::CodeFlowEs256 | Self::CodeFlowRs256, Kind::Postgres) => {
                Floor::SignInsert
            }
            (Self::IntrospectCold, _) => Floor::Verify,
            (Self::Login, _) => Floor::Argon2,
        }
    }

    /// A floor that explains the scenario without being compared with it.
    pub fn further_floor(self) -> Option<Floor> {
        (self == Self::CodeFlowRs256).then_some(Floor::SignRs256)
    }

    /// The share of its floor's rate that it must reach on this database; without one the ratio is only shown.
    pub fn target(self, database: Kind) -> Option<f64> {
        match (self, database) {
            (Self::Discovery | Self::Jwks, _) => Some(0.7),
            (Self::ClientCredentials, _) => Some(0.65),
            (Self::Login, _) => Some(0.9),
            (Self::IntrospectWarm, Kind::Sqlite) => Some(0.33),
            (Self::IntrospectCold, Kind::Sqlite) => Some(0.6),
            (Self::Refresh, Kind::Sqlite) => Some(0.58),
            (Self::RefreshIdToken, Kind::Sqlite) => Some(0.48),
            (Self::CodeFlowEs256, Kind::Sqlite) => Some(0.26),
            (Self::Refresh, Kind::Postgres) => Some(0.5),
            (Self::CodeFlowEs256, Kind::Postgres) => Some(0.25),
            // The floors of introspection ask no database: on PostgreSQL the ratio would say what a round trip costs.
            (Self::IntrospectWarm | Self::IntrospectCold | Self::RefreshIdToken, Kind::Postgres) => None,
            (Self::CodeFlowRs256, _) => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_those_of_the_command_line() {
        for scenario in Scenario::value_variants() {
            let shown = scenario.to_possible_value().map(|value| value.get_name().to_owned());
            assert_eq!(shown.as_deref(), Some(scenario.name()));
        }
    }
}
