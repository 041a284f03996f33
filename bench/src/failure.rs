//! The crate's one error: a sentence for the person who runs the benchmark.
//!
//! Nothing recovers from a failure by its kind, so there are no kinds; failed operations of a scenario are counted in
//! its result and are not failures.

use std::fmt;

/// Why the benchmark could not go on, as text for people.
#[derive(Debug)]
pub struct Failure(String);

impl Failure {
    /// A failure with this text.
    pub fn new(text: impl Into<String>) -> Self {
        Self(text.into())
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(&self.0)
    }
}

impl std::error::Error for Failure {}

/// Says what was being done when an error came up.
pub trait During<T> {
    /// Turns an error into a [`Failure`] that begins with `act`.
    fn during(self, act: impl fmt::Display) -> Result<T, Failure>;
}

impl<T, E: fmt::Display> During<T> for Result<T, E> {
    fn during(self, act: impl fmt::Display) -> Result<T, Failure> {
        self.map_err(|error| Failure(format!("{act}: {error}")))
    }
}
