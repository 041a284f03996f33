//! Where the instructions of an operation go.

use std::fmt::Write;

use serde::Serialize;

use super::grouped;
use crate::scenario::Scenario;

/// Instructions of one scenario, counted outside the kernel.
#[derive(Serialize)]
pub struct CostReport {
    /// Which.
    pub scenario: Scenario,
    /// Over how many operations.
    pub operations: u64,
    /// Instructions of one operation.
    pub instructions: u64,
    /// Our own functions, each with all that it calls.
    pub ours: Vec<Share>,
    /// Whose code the instructions are: packages, Rust's own libraries, C.
    pub origins: Vec<Share>,
    /// Functions, each without what it calls.
    pub functions: Vec<Share>,
}

/// A share of an operation's instructions.
#[derive(Serialize)]
pub struct Share {
    /// Whose.
    pub name: String,
    /// How many in one operation.
    pub instructions: u64,
}

impl CostReport {
    /// Writes the tables.
    ///
    /// # Errors
    /// Those of formatting.
    pub fn write(&self, out: &mut String) -> std::fmt::Result {
        let (name, total) = (self.scenario.name(), grouped(self.instructions as f64));
        writeln!(out, "\n{name}: {total} instructions an operation, over {} operations.", self.operations)?;
        for (title, shares) in [
            ("our functions with all they call", &self.ours),
            ("whose code", &self.origins),
            ("functions without what they call", &self.functions),
        ] {
            writeln!(out, "\n| {title} | instructions | share |\n|---|--:|--:|")?;
            for share in shares {
                let part = share.instructions as f64 / self.instructions.max(1) as f64 * 100.0;
                writeln!(out, "| `{}` | {} | {part:.1} % |", share.name, grouped(share.instructions as f64))?;
            }
        }
        Ok(())
    }
}
