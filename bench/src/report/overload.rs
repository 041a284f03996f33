//! Overload: the admitted and the refused beside the latencies without overload.

use std::fmt::Write;

use serde::Serialize;

use super::scenarios::GENERATOR_LIMIT;
use super::{grouped, percent, verdict};
use crate::load::Measured;
use crate::overload::Way;
use crate::paced::Paced;

/// The p99 of the admitted must stay below this many times the unloaded one.
const TARGET: f64 = 5.0;
/// Less than this share of the planned load was no overload of the planned kind.
const OFFERED_LIMIT: f64 = 0.9;

/// One scenario under overload. Latencies are in microseconds, rates in operations a second.
#[derive(Serialize)]
pub struct OverloadRow {
    way: Way,
    connections: usize,
    capacity: f64,
    calm_p50: f64,
    calm_p99: f64,
    planned_rate: f64,
    offered_rate: f64,
    admitted_rate: f64,
    refused_rate: f64,
    admitted_p50: f64,
    admitted_p99: f64,
    admitted_max: f64,
    refused_p50: f64,
    refused_p99: f64,
    refused_max: f64,
    /// p99 of the admitted to the p99 without overload.
    ratio: f64,
    target: f64,
    /// Failed operations, those without overload included.
    pub errors: u64,
    first_errors: Vec<String>,
    server_busy: f64,
    database_busy: f64,
    generator_busy: f64,
}

impl OverloadRow {
    /// A row from the measurements without and with overload.
    pub fn new(way: Way, connections: usize, planned_rate: f64, calm: &Measured, stormy: &Paced) -> Self {
        let rate = |count: u64| if stormy.seconds > 0.0 { count as f64 / stormy.seconds } else { 0.0 };
        let calm_p99 = calm.latencies.percentile_microseconds(0.99);
        let admitted_p99 = stormy.admitted.percentile_microseconds(0.99);
        Self {
            connections,
            planned_rate,
            offered_rate: rate(stormy.begun),
            admitted_rate: rate(stormy.admitted.total()),
            refused_rate: rate(stormy.refused.total()),
            admitted_p50: stormy.admitted.percentile_microseconds(0.5),
            admitted_p99,
            admitted_max: stormy.admitted.max_microseconds(),
            refused_p50: stormy.refused.percentile_microseconds(0.5),
            refused_p99: stormy.refused.percentile_microseconds(0.99),
            refused_max: stormy.refused.max_microseconds(),
            ratio: if calm_p99 > 0.0 { admitted_p99 / calm_p99 } else { 0.0 },
            errors: calm.errors + stormy.errors,
            first_errors: calm.first_errors.iter().chain(&stormy.first_errors).take(5).cloned().collect(),
            server_busy: stormy.server_busy,
            database_busy: stormy.database_busy,
            generator_busy: stormy.generator_busy,
            ..Self::without_capacity(way, calm)
        }
    }

    /// A row where nothing succeeded before the overload.
    pub fn without_capacity(way: Way, calm: &Measured) -> Self {
        Self {
            way,
            connections: 0,
            capacity: calm.rate(),
            calm_p50: calm.latencies.percentile_microseconds(0.5),
            calm_p99: calm.latencies.percentile_microseconds(0.99),
            planned_rate: 0.0,
            offered_rate: 0.0,
            admitted_rate: 0.0,
            refused_rate: 0.0,
            admitted_p50: 0.0,
            admitted_p99: 0.0,
            admitted_max: 0.0,
            refused_p50: 0.0,
            refused_p99: 0.0,
            refused_max: 0.0,
            ratio: 0.0,
            target: TARGET,
            errors: calm.errors,
            first_errors: calm.first_errors.clone(),
            server_busy: 0.0,
            database_busy: 0.0,
            generator_busy: 0.0,
        }
    }

    /// Adds what is wrong.
    pub fn failings(&self, smoke: bool, failings: &mut Vec<String>) {
        let name = self.way.name();
        if self.errors > 0 {
            failings.push(format!("overload of {name}: {} operations failed", self.errors));
        }
        if self.capacity <= 0.0 || self.admitted_rate <= 0.0 {
            failings.push(format!("overload of {name}: no operation succeeded"));
        } else if !smoke && self.ratio >= self.target {
            let (ratio, target) = (self.ratio, self.target);
            failings.push(format!(
                "overload of {name}: the admitted wait {ratio:.1} times as long, less than {target} is the target"
            ));
        }
    }
}

/// Writes the table.
///
/// # Errors
/// Those of formatting.
pub fn write(out: &mut String, rows: &[OverloadRow], smoke: bool) -> std::fmt::Result {
    writeln!(
        out,
        "\n| four times the capacity | capacity | p50 µs | p99 µs | connections | offered | admitted | p50 µs | p99 µs | max µs | refused | p50 µs | p99 µs | p99 to unloaded | target | reached | errors | server busy | database busy | generator busy |"
    )?;
    writeln!(out, "|---|--:|--:|--:|--:|--:|--:|--:|--:|--:|--:|--:|--:|--:|--:|---|--:|--:|--:|--:|")?;
    for row in rows {
        writeln!(
            out,
            "| {} | {} | {} | {} | {} | {} | {} | {} | {} | {} | {} | {} | {} | {:.1} | < {} | {} | {} | {} | {} | {} |",
            row.way.name(),
            grouped(row.capacity),
            grouped(row.calm_p50),
            grouped(row.calm_p99),
            row.connections,
            grouped(row.offered_rate),
            grouped(row.admitted_rate),
            grouped(row.admitted_p50),
            grouped(row.admitted_p99),
            grouped(row.admitted_max),
            grouped(row.refused_rate),
            grouped(row.refused_p50),
            grouped(row.refused_p99),
            row.ratio,
            row.target,
            verdict(Some(row.ratio < row.target), smoke),
            row.errors,
            percent(row.server_busy),
            percent(row.database_busy),
            percent(row.generator_busy)
        )?;
    }
    Ok(())
}

/// Adds what a reader should know of how these numbers came about.
pub fn remarks(rows: &[OverloadRow], smoke: bool, remarks: &mut Vec<String>) {
    for row in rows {
        let name = row.way.name();
        if !smoke && row.offered_rate < row.planned_rate * OFFERED_LIMIT {
            remarks.push(format!(
                "overload of {name}: {} a second were planned and {} were begun, for connections were still waiting.",
                grouped(row.planned_rate),
                grouped(row.offered_rate)
            ));
        }
        if row.generator_busy > GENERATOR_LIMIT {
            let busy = percent(row.generator_busy);
            remarks.push(format!("overload of {name}: the generator was busy {busy}; it adds to the latencies."));
        }
        remarks.extend(row.first_errors.iter().map(|error| format!("overload of {name}: {error}")));
    }
}
