//! The scenarios beside their floors, and the server's own values.

use std::fmt::Write;

use serde::Serialize;

use super::{grouped, megabytes, percent, verdict};
use crate::database::Kind;
use crate::floor::{Floor, HashRate};
use crate::load::Measured;
use crate::machine::Memory;
use crate::scenario::Scenario;

/// The idle server's resident set must stay below this many bytes.
pub const IDLE_MEMORY_TARGET: u64 = 25_000_000;
/// A start with an existing database must take less than this many seconds.
pub const START_TARGET: f64 = 0.2;
/// A core less busy than this share was kept from server and database, unless they wait for a disk.
const SERVER_LIMIT: f64 = 0.85;
/// A generator busier than this share of its core may itself be what limits the rate.
pub const GENERATOR_LIMIT: f64 = 0.95;
/// Rounds whose ratios differ by more than this share of the median say that the machine is noisy.
const NOISE_LIMIT: f64 = 0.15;

/// The server's start and memory.
#[derive(Serialize)]
pub struct Own {
    /// The first start, with an empty database, to the first 200 of `/health/ready`.
    pub first_start_seconds: f64,
    /// The median start with an existing database.
    pub start_seconds: f64,
    /// Memory some seconds after a start.
    pub idle_memory: Memory,
    /// Use of its core meanwhile, 0 to 1.
    pub idle_busy: f64,
    /// How many tokens were issued then.
    pub tokens: u64,
    /// Memory after them.
    pub memory_after_tokens: Memory,
    /// Memory after all scenarios.
    pub memory_at_end: Memory,
}

/// One measurement of a scenario, and the rate of the floor that was measured before it.
pub struct Sample {
    /// The scenario.
    pub measured: Measured,
    /// The floor.
    pub floor_rate: f64,
}

impl Sample {
    fn ratio(&self) -> f64 {
        if self.floor_rate > 0.0 { self.measured.rate() / self.floor_rate } else { 0.0 }
    }
}

/// A scenario's result: the round with the median ratio. Latencies are in microseconds.
#[derive(Serialize)]
pub struct Row {
    scenario: Scenario,
    operations: u64,
    seconds: f64,
    rate: f64,
    p50: f64,
    p95: f64,
    p99: f64,
    max: f64,
    errors: u64,
    first_errors: Vec<String>,
    floor: Floor,
    floor_rate: f64,
    ratio: f64,
    /// The ratios of all rounds, ascending.
    ratios: Vec<f64>,
    target: Option<f64>,
    server_busy: f64,
    database_busy: f64,
    generator_busy: f64,
}

/// A floor's result: the measurement with the median rate. Latencies are in microseconds.
#[derive(Clone, Serialize)]
pub struct FloorRow {
    /// Which.
    pub floor: Floor,
    /// Operations a second.
    pub rate: f64,
    /// The rates of all measurements, ascending.
    rates: Vec<f64>,
    p50: f64,
    p95: f64,
    p99: f64,
    max: f64,
    server_busy: f64,
    database_busy: f64,
    generator_busy: f64,
}

impl Row {
    /// A scenario's row from all its rounds; nothing without one. Of an even number of rounds the lower middle counts.
    pub fn of(scenario: Scenario, database: Kind, mut samples: Vec<Sample>) -> Option<Self> {
        samples.sort_by(|one, other| one.ratio().total_cmp(&other.ratio()));
        let median = samples.get(samples.len().saturating_sub(1) / 2)?;
        let measured = &median.measured;
        Some(Self {
            scenario,
            operations: measured.operations,
            seconds: measured.seconds,
            rate: measured.rate(),
            p50: measured.latencies.percentile_microseconds(0.5),
            p95: measured.latencies.percentile_microseconds(0.95),
            p99: measured.latencies.percentile_microseconds(0.99),
            max: measured.latencies.max_microseconds(),
            errors: samples.iter().map(|sample| sample.measured.errors).sum(),
            first_errors: samples.iter().flat_map(|sample| sample.measured.first_errors.clone()).take(5).collect(),
            floor: scenario.floor(database),
            floor_rate: median.floor_rate,
            ratio: median.ratio(),
            ratios: samples.iter().map(Sample::ratio).collect(),
            target: scenario.target(database),
            server_busy: measured.server_busy,
            database_busy: measured.database_busy,
            generator_busy: measured.generator_busy,
        })
    }

    /// Failed operations of all rounds.
    pub fn errors(&self) -> u64 {
        self.errors
    }

    fn reached(&self) -> Option<bool> {
        self.target.map(|target| self.ratio >= target)
    }

    /// Adds what is wrong.
    pub fn failings(&self, smoke: bool, failings: &mut Vec<String>) {
        let name = self.scenario.name();
        if self.errors > 0 {
            failings.push(format!("{name}: {} operations failed", self.errors));
        }
        if self.operations == 0 {
            failings.push(format!("{name}: no operation succeeded"));
        }
        // A trial is too short, and its build often not optimised, for ratios to mean anything.
        if !smoke && self.reached() == Some(false) {
            let target = self.target.unwrap_or_default();
            failings.push(format!("{name}: {:.2} of its floor, {target} is the target", self.ratio));
        }
    }
}

impl FloorRow {
    /// The row of an HTTP floor.
    pub fn new(floor: Floor, measured: &Measured) -> Self {
        Self {
            floor,
            rate: measured.rate(),
            rates: vec![measured.rate()],
            p50: measured.latencies.percentile_microseconds(0.5),
            p95: measured.latencies.percentile_microseconds(0.95),
            p99: measured.latencies.percentile_microseconds(0.99),
            max: measured.latencies.max_microseconds(),
            server_busy: measured.server_busy,
            database_busy: measured.database_busy,
            generator_busy: measured.generator_busy,
        }
    }

    /// The row of bare hashing.
    pub fn of_hashes(hashes: &HashRate) -> Self {
        let rate = if hashes.seconds > 0.0 { hashes.hashes as f64 / hashes.seconds } else { 0.0 };
        Self {
            floor: Floor::Argon2,
            rate,
            rates: vec![rate],
            p50: hashes.p50,
            p95: hashes.p95,
            p99: hashes.p99,
            max: hashes.max,
            server_busy: 1.0,
            database_busy: 0.0,
            generator_busy: 0.0,
        }
    }

    /// The one with the median rate of several, with the rates of all; nothing of none.
    pub fn of(runs: &[Self]) -> Option<Self> {
        let mut sorted: Vec<&Self> = runs.iter().collect();
        sorted.sort_by(|one, other| one.rate.total_cmp(&other.rate));
        let median = (*sorted.get(sorted.len().saturating_sub(1) / 2)?).clone();
        Some(Self { rates: sorted.iter().map(|run| run.rate).collect(), ..median })
    }
}

impl Own {
    /// Adds what is wrong.
    pub fn failings(&self, failings: &mut Vec<String>) {
        let idle = self.idle_memory.resident_kib * 1024;
        if idle >= IDLE_MEMORY_TARGET {
            let (is, target) = (megabytes(idle / 1024), IDLE_MEMORY_TARGET / 1_000_000);
            failings.push(format!("idle memory: {is} MB, less than {target} is the target"));
        }
        if self.start_seconds >= START_TARGET {
            let start = self.start_seconds;
            failings.push(format!("start: {start:.3} s, less than {START_TARGET} is the target"));
        }
    }

    /// Writes the table.
    ///
    /// # Errors
    /// Those of formatting.
    pub fn write(&self, out: &mut String) -> std::fmt::Result {
        writeln!(out, "\n| the server itself | value | target |\n|---|--:|--:|")?;
        writeln!(out, "| start with an existing database | {:.3} s | < {START_TARGET} s |", self.start_seconds)?;
        writeln!(out, "| first start | {:.3} s | – |", self.first_start_seconds)?;
        let target = IDLE_MEMORY_TARGET / 1_000_000;
        writeln!(out, "| idle memory | {} MB | < {target} MB |", megabytes(self.idle_memory.resident_kib))?;
        writeln!(out, "| of it not mapped files | {} MB | – |", megabytes(self.idle_memory.anonymous_kib))?;
        writeln!(out, "| idle use of its core | {} | – |", percent(self.idle_busy))?;
        let after = megabytes(self.memory_after_tokens.resident_kib);
        writeln!(out, "| memory after {} tokens | {after} MB | – |", grouped(self.tokens as f64))?;
        writeln!(out, "| memory at the end | {} MB | – |", megabytes(self.memory_at_end.resident_kib))
    }
}

/// Least and greatest of ascending values.
fn ends(ascending: &[f64]) -> (f64, f64) {
    (ascending.first().copied().unwrap_or_default(), ascending.last().copied().unwrap_or_default())
}

/// Writes the tables of scenarios and floors.
///
/// # Errors
/// Those of formatting.
pub fn write(out: &mut String, rows: &[Row], floors: &[FloorRow], smoke: bool) -> std::fmt::Result {
    writeln!(
        out,
        "| scenario | per second | p50 µs | p95 µs | p99 µs | max µs | errors | floor | floor per second | ratio | of all rounds | target | reached | server busy | database busy | generator busy |"
    )?;
    writeln!(out, "|---|--:|--:|--:|--:|--:|--:|---|--:|--:|--:|--:|---|--:|--:|--:|")?;
    for row in rows {
        let target = row.target.map_or("–".to_owned(), |target| format!("{target}"));
        let (least, most) = ends(&row.ratios);
        writeln!(
            out,
            "| {} | {} | {} | {} | {} | {} | {} | {} | {} | {:.2} | {least:.2}–{most:.2} | {target} | {} | {} | {} | {} |",
            row.scenario.name(),
            grouped(row.rate),
            grouped(row.p50),
            grouped(row.p95),
            grouped(row.p99),
            grouped(row.max),
            row.errors,
            row.floor.name(),
            grouped(row.floor_rate),
            row.ratio,
            verdict(row.reached(), smoke),
            percent(row.server_busy),
            percent(row.database_busy),
            percent(row.generator_busy)
        )?;
    }
    writeln!(
        out,
        "\n| floor | per second | of all measurements | p50 µs | p95 µs | p99 µs | max µs | server busy | database busy | generator busy |"
    )?;
    writeln!(out, "|---|--:|--:|--:|--:|--:|--:|--:|--:|--:|")?;
    for row in floors {
        let (least, most) = ends(&row.rates);
        writeln!(
            out,
            "| {} | {} | {}–{} | {} | {} | {} | {} | {} | {} | {} |",
            row.floor.name(),
            grouped(row.rate),
            grouped(least),
            grouped(most),
            grouped(row.p50),
            grouped(row.p95),
            grouped(row.p99),
            grouped(row.max),
            percent(row.server_busy),
            percent(row.database_busy),
            percent(row.generator_busy)
        )?;
    }
    Ok(())
}

/// Adds what a reader should know of how these numbers came about.
pub fn remarks(rows: &[Row], floors: &[FloorRow], smoke: bool, remarks: &mut Vec<String>) {
    let scenarios = rows
        .iter()
        .map(|row| (row.scenario.name(), row.floor, row.server_busy + row.database_busy, row.generator_busy));
    let floors =
        floors.iter().map(|row| (row.floor.name(), row.floor, row.server_busy + row.database_busy, row.generator_busy));
    for (name, floor, core, generator) in scenarios.chain(floors) {
        if generator > GENERATOR_LIMIT {
            remarks.push(format!("{name}: the generator was busy {}; it may be the limit.", percent(generator)));
        } else if core < SERVER_LIMIT && !matches!(floor, Floor::SignCommit | Floor::SignInsert) && !smoke {
            remarks.push(format!(
                "{name}: the server had only {} of its core; something else ran there, so measure again.",
                percent(core)
            ));
        }
    }
    for row in rows.iter().filter(|_| !smoke) {
        let (least, most) = ends(&row.ratios);
        if row.ratio > 0.0 && (most - least) / row.ratio > NOISE_LIMIT {
            remarks.push(format!(
                "{}: the rounds differ by {} of the median; the machine was noisy.",
                row.scenario.name(),
                percent((most - least) / row.ratio)
            ));
        }
    }
    for row in rows {
        remarks.extend(row.first_errors.iter().map(|error| format!("{}: {error}", row.scenario.name())));
    }
}
