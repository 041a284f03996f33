//! Tests of the guard against attacks, over HTTP, and through rotations and outages of its issuer.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a test ends by panicking; clippy spares only the test functions themselves, not what they call"
)]

mod attacks;
mod http;
mod issuer;
mod rotation;
