//! Growth: the same scenarios with ever more data.

use std::fmt::Write;

use serde::Serialize;

use super::scenarios::{IDLE_MEMORY_TARGET, START_TARGET};
use super::{grouped, megabytes, verdict};
use crate::growth::FILL_TARGET;
use crate::load::Measured;
use crate::machine::Memory;
use crate::scenario::Scenario;

/// The share of the smallest population's rate that every greater one must reach.
const TARGET: f64 = 0.8;

/// All sizes, the smallest first.
#[derive(Serialize)]
pub struct GrowthReport {
    /// One row a size.
    pub sizes: Vec<SizeRow>,
}

/// One size of the population.
#[derive(Serialize)]
pub struct SizeRow {
    /// Users, clients, sessions and consents.
    pub size: u64,
    /// Live grants, each with a refresh token.
    pub grants: u64,
    /// How long it took to write them.
    pub fill_seconds: f64,
    /// Octets of the database then.
    pub database_octets: u64,
    /// Octets after everything that was measured.
    pub database_octets_at_end: u64,
    /// The median start of the server.
    pub start_seconds: f64,
    /// Memory some seconds after a start.
    pub idle_memory: Memory,
    /// Memory after client credentials, refreshes and code flows.
    pub memory_after_load: Memory,
    /// The scenarios.
    pub cells: Vec<Cell>,
}

/// A scenario at one size: the round with the median rate. Latencies are in microseconds.
#[derive(Serialize)]
pub struct Cell {
    scenario: Scenario,
    rate: f64,
    p50: f64,
    p99: f64,
    server_busy: f64,
    database_busy: f64,
    generator_busy: f64,
    errors: u64,
    first_errors: Vec<String>,
    /// Rate, p50 and p99 of all rounds, by ascending rate.
    rounds: Vec<(f64, f64, f64)>,
}

impl Cell {
    /// A scenario that has not been measured.
    pub fn new(scenario: Scenario) -> Self {
        Self {
            scenario,
            rate: 0.0,
            p50: 0.0,
            p99: 0.0,
            server_busy: 0.0,
            database_busy: 0.0,
            generator_busy: 0.0,
            errors: 0,
            first_errors: Vec::new(),
            rounds: Vec::new(),
        }
    }

    /// Adds a round. The shares of the core are the last round's.
    pub fn add(&mut self, measured: &Measured) {
        let latency = |share| measured.latencies.percentile_microseconds(share);
        self.rounds.push((measured.rate(), latency(0.5), latency(0.99)));
        self.rounds.sort_by(|one, other| one.0.total_cmp(&other.0));
        if let Some(median) = self.rounds.get((self.rounds.len() - 1) / 2) {
            (self.rate, self.p50, self.p99) = *median;
        }
        self.errors += measured.errors;
        self.first_errors.extend(measured.first_errors.iter().take(3).cloned());
        self.server_busy = measured.server_busy;
        self.database_busy = measured.database_busy;
        self.generator_busy = measured.generator_busy;
    }
}

impl GrowthReport {
    /// Failed operations of all sizes.
    pub fn errors(&self) -> u64 {
        self.cells().map(|(_, cell, _)| cell.errors).sum()
    }

    /// Each scenario at each size, with its rate's share of that of the smallest.
    fn cells(&self) -> impl Iterator<Item = (&SizeRow, &Cell, f64)> {
        let smallest = self.sizes.first();
        self.sizes.iter().flat_map(move |row| {
            row.cells.iter().enumerate().map(move |(place, cell)| {
                let base = smallest.and_then(|smallest| smallest.cells.get(place)).map_or(0.0, |cell| cell.rate);
                (row, cell, if base > 0.0 { cell.rate / base } else { 0.0 })
            })
        })
    }

    /// Adds what is wrong.
    pub fn failings(&self, smoke: bool, failings: &mut Vec<String>) {
        for (row, cell, share) in self.cells() {
            let name = format!("growth: {} with {}", cell.scenario.name(), grouped(row.size as f64));
            if cell.errors > 0 {
                failings.push(format!("{name}: {} operations failed", cell.errors));
            }
            if cell.rate <= 0.0 {
                failings.push(format!("{name}: no operation succeeded"));
            }
            if !smoke && share < TARGET {
                failings.push(format!("{name}: {share:.2} of the smallest's rate, {TARGET} is the target"));
            }
        }
        for row in self.sizes.iter().filter(|_| !smoke) {
            let name = format!("growth: with {}", grouped(row.size as f64));
            if row.start_seconds >= START_TARGET {
                let start = row.start_seconds;
                failings.push(format!("{name}: start {start:.3} s, less than {START_TARGET} is the target"));
            }
            if row.idle_memory.resident_kib * 1024 >= IDLE_MEMORY_TARGET {
                let (idle, target) = (megabytes(row.idle_memory.resident_kib), IDLE_MEMORY_TARGET / 1_000_000);
                failings.push(format!("{name}: idle memory {idle} MB, less than {target} is the target"));
            }
        }
    }

    /// Writes the tables.
    ///
    /// # Errors
    /// Those of formatting.
    pub fn write(&self, out: &mut String, smoke: bool) -> std::fmt::Result {
        writeln!(
            out,
            "\n| population | scenario | per second | of all rounds | p50 µs | p99 µs | errors | to the smallest | target | reached |"
        )?;
        writeln!(out, "|--:|---|--:|--:|--:|--:|--:|--:|--:|---|")?;
        for (row, cell, share) in self.cells() {
            let rate = |round: Option<&(f64, f64, f64)>| grouped(round.map_or(0.0, |round| round.0));
            writeln!(
                out,
                "| {} | {} | {} | {}–{} | {} | {} | {} | {share:.2} | {TARGET} | {} |",
                grouped(row.size as f64),
                cell.scenario.name(),
                grouped(cell.rate),
                rate(cell.rounds.first()),
                rate(cell.rounds.last()),
                grouped(cell.p50),
                grouped(cell.p99),
                cell.errors,
                verdict(Some(share >= TARGET), smoke)
            )?;
        }
        writeln!(
            out,
            "\n| population | live grants | database MB | at the end MB | filled in s | start s | idle memory MB | after load MB |"
        )?;
        writeln!(out, "|--:|--:|--:|--:|--:|--:|--:|--:|")?;
        for row in &self.sizes {
            let octets = |octets: u64| grouped(octets as f64 / 1_000_000.0);
            writeln!(
                out,
                "| {} | {} | {} | {} | {:.1} | {:.3} | {} | {} |",
                grouped(row.size as f64),
                grouped(row.grants as f64),
                octets(row.database_octets),
                octets(row.database_octets_at_end),
                row.fill_seconds,
                row.start_seconds,
                megabytes(row.idle_memory.resident_kib),
                megabytes(row.memory_after_load.resident_kib)
            )?;
        }
        Ok(())
    }

    /// Adds what a reader should know of how these numbers came about.
    pub fn remarks(&self, remarks: &mut Vec<String>) {
        for row in self.sizes.iter().filter(|row| row.fill_seconds > FILL_TARGET.as_secs_f64()) {
            let (size, seconds) = (grouped(row.size as f64), row.fill_seconds);
            remarks.push(format!("growth: filling a database with {size} took {seconds:.0} s; the disk was busy."));
        }
        for (row, cell, _) in self.cells() {
            let name = format!("growth: {} with {}", cell.scenario.name(), grouped(row.size as f64));
            remarks.extend(cell.first_errors.iter().map(|error| format!("{name}: {error}")));
        }
    }
}
