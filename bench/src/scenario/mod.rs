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

use clap::ValueEnum;
use serde::Serialize;

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

    /// The floor it is compared with.
    pub fn floor(self) -> Floor {
        match self {
            Self::Discovery | Self::Jwks | Self::IntrospectWarm => Floor::Json2k,
            Self::ClientCredentials => Floor::Sign,
            Self::Refresh | Self::RefreshIdToken | Self::CodeFlowEs256 | Self::CodeFlowRs256 => Floor::SignCommit,
            Self::IntrospectCold => Floor::Verify,
            Self::Login => Floor::Argon2,
        }
    }

    /// A floor that explains the scenario without being compared with it.
    pub fn further_floor(self) -> Option<Floor> {
        (self == Self::CodeFlowRs256).then_some(Floor::SignRs256)
    }

    /// The share of its floor's rate that it must reach; without one the ratio is only shown.
    pub fn target(self) -> Option<f64> {
        match self {
            Self::Discovery | Self::Jwks | Self::IntrospectCold => Some(0.6),
            Self::ClientCredentials => Some(0.5),
            Self::IntrospectWarm => Some(0.25),
            Self::Refresh => Some(0.4),
            Self::CodeFlowEs256 => Some(0.18),
            Self::Login => Some(0.9),
            Self::RefreshIdToken | Self::CodeFlowRs256 => None,
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
