//! The integration tests: one binary. `endpoint` follows `src/endpoint`, `flow` tells whole stories, `store` runs one
//! suite on every database, `security` has the attacks.

#[macro_use]
mod support;

mod browser;
mod crash;

mod endpoint;
mod flow;
mod interop;
mod security;
mod store;
