//! The integration tests: one binary. `endpoint` follows `src/endpoint`, `flow` tells whole stories, `store` runs one
//! suite on every database, `security` has the attacks.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::print_stderr,
    reason = "a test says by a panic what is wrong"
)]

#[macro_use]
mod support;

mod browser;
mod cli;
mod crash;

mod endpoint;
mod flow;
mod interop;
mod security;
mod store;
