//! The report: one table for people, the same as JSON for programs, and the verdict.

use std::fmt::Write;

use serde::Serialize;

use crate::floor::{Floor, HashRate};
use crate::load::Measured;
use crate::machine::{Machine, Memory};
use crate::scenario::Scenario;

/// The idle server's resident set must stay below this many bytes.
const IDLE_MEMORY_TARGET: u64 = 30_000_000;
/// A start with an existing database must take less than this many seconds.
const START_TARGET: f64 = 0.3;
/// A server less busy than this share of its core was kept from it, unless it waits for a disk.
const SERVER_LIMIT: f64 = 0.85;
/// A generator busier than this share of its core may itself be what limits the rate.
const GENERATOR_LIMIT: f64 = 0.95;

/// Everything one run showed.
#[derive(Serialize)]
pub struct Report {
    /// Where it ran.
    pub machine: Machine,
    /// The server's binary.
    pub server: String,
    /// `sqlite` or `postgresql`.
    pub database: &'static str,
    /// Measured time of a scenario.
    pub seconds: f64,
    /// The generator's connections.
    pub connections: usize,
    /// Whether this was a trial in which only errors count.
    pub smoke: bool,
    /// The server's own values.
    pub own: Own,
    /// The scenarios in the order they ran.
    pub scenarios: Vec<Row>,
    /// The floors measured.
    pub floors: Vec<FloorRow>,
}

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

/// A scenario's result. Latencies are in microseconds.
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
    target: Option<f64>,
    server_busy: f64,
    generator_busy: f64,
}

/// A floor's result. Latencies are in microseconds.
#[derive(Serialize)]
pub struct FloorRow {
    /// Which.
    pub floor: Floor,
    /// Operations a second.
    pub rate: f64,
    p50: f64,
    p95: f64,
    p99: f64,
    max: f64,
    server_busy: f64,
    generator_busy: f64,
}

impl Row {
    /// A scenario's row beside the rate of its floor.
    pub fn new(scenario: Scenario, measured: &Measured, floor_rate: f64) -> Self {
        let rate = measured.rate();
        Self {
            scenario,
            operations: measured.operations,
            seconds: measured.seconds,
            rate,
            p50: measured.latencies.percentile_microseconds(0.5),
            p95: measured.latencies.percentile_microseconds(0.95),
            p99: measured.latencies.percentile_microseconds(0.99),
            max: measured.latencies.max_microseconds(),
            errors: measured.errors,
            first_errors: measured.first_errors.clone(),
            floor: scenario.floor(),
            floor_rate,
            ratio: if floor_rate > 0.0 { rate / floor_rate } else { 0.0 },
            target: scenario.target(),
            server_busy: measured.server_busy,
            generator_busy: measured.generator_busy,
        }
    }

    fn reached(&self) -> Option<bool> {
        self.target.map(|target| self.ratio >= target)
    }
}

impl FloorRow {
    /// The row of an HTTP floor.
    pub fn new(floor: Floor, measured: &Measured) -> Self {
        Self {
            floor,
            rate: measured.rate(),
            p50: measured.latencies.percentile_microseconds(0.5),
            p95: measured.latencies.percentile_microseconds(0.95),
            p99: measured.latencies.percentile_microseconds(0.99),
            max: measured.latencies.max_microseconds(),
            server_busy: measured.server_busy,
            generator_busy: measured.generator_busy,
        }
    }

    /// The row of bare hashing.
    pub fn of_hashes(rate: &HashRate) -> Self {
        Self {
            floor: Floor::Argon2,
            rate: if rate.seconds > 0.0 { rate.hashes as f64 / rate.seconds } else { 0.0 },
            p50: rate.p50,
            p95: rate.p95,
            p99: rate.p99,
            max: rate.max,
            server_busy: 1.0,
            generator_busy: 0.0,
        }
    }
}

impl Report {
    /// Failed operations of all scenarios.
    pub fn errors(&self) -> u64 {
        self.scenarios.iter().map(|row| row.errors).sum()
    }

    /// What is wrong with this run, one sentence each; nothing when it has passed.
    pub fn failings(&self) -> Vec<String> {
        let mut failings = Vec::new();
        for row in &self.scenarios {
            let name = row.scenario.name();
            if row.errors > 0 {
                failings.push(format!("{name}: {} operations failed", row.errors));
            }
            if row.operations == 0 {
                failings.push(format!("{name}: no operation succeeded"));
            }
            // A trial is too short, and its build often not optimised, for ratios to mean anything.
            if !self.smoke && row.reached() == Some(false) {
                let target = row.target.unwrap_or_default();
                failings.push(format!("{name}: {:.2} of its floor, {target} is the target", row.ratio));
            }
        }
        if !self.smoke {
            let idle = self.own.idle_memory.resident_kib * 1024;
            if idle >= IDLE_MEMORY_TARGET {
                failings.push(format!("idle memory: {} MB, less than 30 is the target", megabytes(idle / 1024)));
            }
            if self.own.start_seconds >= START_TARGET {
                let start = self.own.start_seconds;
                failings.push(format!("start: {start:.3} s, less than {START_TARGET} is the target"));
            }
        }
        failings
    }

    /// The report for people, in Markdown.
    ///
    /// # Errors
    /// Those of formatting, which a string doesn't raise.
    pub fn markdown(&self) -> Result<String, std::fmt::Error> {
        let mut out = String::new();
        self.write(&mut out)?;
        Ok(out)
    }

    fn write(&self, out: &mut String) -> std::fmt::Result {
        let machine = &self.machine;
        writeln!(out, "# Keyward benchmark{}\n", if self.smoke { " (trial: ratios mean nothing)" } else { "" })?;
        writeln!(
            out,
            "{}, {} cores, {} MiB, Linux {}; database {} on {}; {}; {} connections, {} s a scenario.\n",
            machine.cpu,
            machine.cores,
            machine.memory_mib,
            machine.kernel,
            self.database,
            machine.file_system,
            machine.pinning,
            self.connections,
            self.seconds
        )?;
        writeln!(
            out,
            "| scenario | per second | p50 µs | p95 µs | p99 µs | max µs | errors | floor | floor per second | ratio | target | reached | server busy | generator busy |"
        )?;
        writeln!(out, "|---|--:|--:|--:|--:|--:|--:|---|--:|--:|--:|---|--:|--:|")?;
        for row in &self.scenarios {
            let target = row.target.map_or("–".to_owned(), |target| format!("{target}"));
            let reached = match row.reached() {
                _ if self.smoke => "–",
                None => "–",
                Some(true) => "yes",
                Some(false) => "**no**",
            };
            writeln!(
                out,
                "| {} | {} | {} | {} | {} | {} | {} | {} | {} | {:.2} | {target} | {reached} | {} | {} |",
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
                percent(row.server_busy),
                percent(row.generator_busy)
            )?;
        }
        writeln!(out, "\n| floor | per second | p50 µs | p95 µs | p99 µs | max µs | server busy | generator busy |")?;
        writeln!(out, "|---|--:|--:|--:|--:|--:|--:|--:|")?;
        for row in &self.floors {
            writeln!(
                out,
                "| {} | {} | {} | {} | {} | {} | {} | {} |",
                row.floor.name(),
                grouped(row.rate),
                grouped(row.p50),
                grouped(row.p95),
                grouped(row.p99),
                grouped(row.max),
                percent(row.server_busy),
                percent(row.generator_busy)
            )?;
        }
        let own = &self.own;
        writeln!(out, "\n| the server itself | value | target |\n|---|--:|--:|")?;
        writeln!(out, "| start with an existing database | {:.3} s | < {START_TARGET} s |", own.start_seconds)?;
        writeln!(out, "| first start | {:.3} s | – |", own.first_start_seconds)?;
        writeln!(out, "| idle memory | {} MB | < 30 MB |", megabytes(own.idle_memory.resident_kib))?;
        writeln!(out, "| of it not mapped files | {} MB | – |", megabytes(own.idle_memory.anonymous_kib))?;
        writeln!(out, "| idle use of its core | {} | – |", percent(own.idle_busy))?;
        let after = megabytes(own.memory_after_tokens.resident_kib);
        writeln!(out, "| memory after {} tokens | {after} MB | – |", grouped(own.tokens as f64))?;
        writeln!(out, "| memory at the end | {} MB | – |", megabytes(own.memory_at_end.resident_kib))?;
        self.write_remarks(out)
    }

    fn write_remarks(&self, out: &mut String) -> std::fmt::Result {
        let scenarios =
            self.scenarios.iter().map(|row| (row.scenario.name(), row.floor, row.server_busy, row.generator_busy));
        let floors = self.floors.iter().map(|row| (row.floor.name(), row.floor, row.server_busy, row.generator_busy));
        let mut remarks = Vec::new();
        for (name, floor, server, generator) in scenarios.chain(floors) {
            if generator > GENERATOR_LIMIT {
                remarks.push(format!("{name}: the generator was busy {}; it may be the limit.", percent(generator)));
            } else if server < SERVER_LIMIT && floor != Floor::SignCommit && !self.smoke {
                remarks.push(format!(
                    "{name}: the server had only {} of its core; something else ran there, so measure again.",
                    percent(server)
                ));
            }
        }
        if self.machine.file_system == "tmpfs" {
            remarks.push("The database lay in memory (tmpfs): commits were cheaper than on a disk.".to_owned());
        }
        if self.database == "postgresql" {
            remarks.push(
                "The floors that commit use SQLite; with PostgreSQL their ratios compare two databases.".to_owned(),
            );
        }
        if cfg!(debug_assertions) {
            remarks.push("The generator and the floors are a debug build; ratios mean nothing.".to_owned());
        }
        for row in &self.scenarios {
            remarks.extend(row.first_errors.iter().map(|error| format!("{}: {error}", row.scenario.name())));
        }
        remarks.extend(self.failings().into_iter().map(|failing| format!("Failed: {failing}.")));
        if !remarks.is_empty() {
            writeln!(out)?;
        }
        for remark in remarks {
            writeln!(out, "- {remark}")?;
        }
        Ok(())
    }
}

/// A whole number with spaces between its thousands.
fn grouped(value: f64) -> String {
    let digits = format!("{value:.0}");
    let mut out = String::with_capacity(digits.len() + digits.len() / 3);
    for (index, digit) in digits.chars().enumerate() {
        if index > 0 && (digits.len() - index).is_multiple_of(3) {
            out.push('\u{202f}');
        }
        out.push(digit);
    }
    out
}

fn percent(share: f64) -> String {
    format!("{:.0} %", share * 100.0)
}

/// KiB as megabytes of a million bytes.
fn megabytes(kib: u64) -> String {
    format!("{:.1}", kib as f64 * 1024.0 / 1_000_000.0)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::histogram::Histogram;
    use std::time::Duration;

    fn report(smoke: bool, errors: u64, floor_rate: f64, idle_kib: u64) -> Report {
        let mut latencies = Histogram::new();
        for _ in 0..50_000 {
            latencies.record(Duration::from_micros(100));
        }
        let measured = Measured {
            operations: 50_000,
            seconds: 1.0,
            latencies,
            errors,
            first_errors: (0..errors).map(|_| "status 500".to_owned()).collect(),
            generator_busy: 0.99,
            server_busy: 1.0,
        };
        let memory = Memory { resident_kib: idle_kib, anonymous_kib: 1, peak_kib: idle_kib };
        Report {
            machine: Machine {
                cpu: "a processor".to_owned(),
                cores: 2,
                kernel: "6.0".to_owned(),
                memory_mib: 1,
                file_system: "ext4".to_owned(),
                pinning: "not pinned: test".to_owned(),
            },
            server: "keyward".to_owned(),
            database: "sqlite",
            seconds: 1.0,
            connections: 16,
            smoke,
            own: Own {
                first_start_seconds: 0.4,
                start_seconds: 0.1,
                idle_memory: memory,
                idle_busy: 0.0,
                tokens: 100_000,
                memory_after_tokens: memory,
                memory_at_end: memory,
            },
            scenarios: vec![Row::new(Scenario::Jwks, &measured, floor_rate)],
            floors: vec![FloorRow::new(Floor::Json2k, &measured)],
        }
    }

    #[test]
    fn a_good_run_has_no_failings_and_a_table() {
        let report = report(false, 0, 80_000.0, 20_000);
        assert!(report.failings().is_empty());
        let text = report.markdown().unwrap();
        assert!(text.contains("| jwks | 50\u{202f}000 |") && text.contains("| 0.62 | 0.6 | yes |"), "{text}");
        assert!(text.contains("the generator was busy 99 %"));
        let json = serde_json::to_value(&report).unwrap();
        assert_eq!(json["scenarios"][0]["scenario"], "jwks");
        assert_eq!(json["floors"][0]["floor"], "json2k");
    }

    #[test]
    fn missed_targets_fail_a_run_but_not_a_trial_and_errors_fail_both() {
        assert_eq!(report(false, 0, 100_000.0, 20_000).failings().len(), 1);
        assert_eq!(report(false, 0, 80_000.0, 30_000).failings().len(), 1);
        assert!(report(true, 0, 100_000.0, 90_000).failings().is_empty());
        let failed = report(true, 2, 80_000.0, 20_000);
        assert_eq!(failed.failings(), ["jwks: 2 operations failed"]);
        assert!(failed.markdown().unwrap().contains("- jwks: status 500"));
    }

    #[test]
    fn numbers_for_people() {
        assert_eq!(grouped(1_234_567.4), "1\u{202f}234\u{202f}567");
        assert_eq!(grouped(12.0), "12");
        assert_eq!(megabytes(1_000_000), "1024.0");
    }
}
