//! Keyward: an OAuth 2.1 and OpenID Connect authorization server.
//!
//! The way of a request: `router` → one file in `endpoint` or `page` → the rules in the crate `keyward-protocol` and the
//! acts in `store`. `app` wires the parts; `cli` turns arguments into calls.

pub mod account;
pub mod app;
pub mod assets;
pub mod audit;
pub mod cli;
pub mod clock;
#[cfg(feature = "demo")]
pub mod demo;
pub mod endpoint;
pub mod fault;
pub mod http;
pub mod issuer;
pub mod kept_clients;
pub mod lifecycle;
pub mod locale;
pub mod metrics;
pub mod outbound;
pub mod page;
pub mod random;
pub mod router;
pub mod secret;
pub mod serve;
pub mod settings;
pub mod signing_keys;
pub mod status_list;
pub mod store;
pub mod telemetry;
pub mod verified_token;
