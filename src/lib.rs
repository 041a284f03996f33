//! Keyward: an OAuth 2.1 and OpenID Connect authorization server.
//!
//! The way of a request: `router` → one file in `endpoint` or `page` → the rules in the crate `keyward-protocol` and the
//! acts in `store`. `app` wires the parts; `cli` turns arguments into calls.

pub mod audit;
pub mod clock;
pub mod fault;
pub mod random;
pub mod settings;
pub mod store;
