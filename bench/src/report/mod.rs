//! The report: tables for people, the same as JSON for programs, and the verdict. Each instrument has a file.

pub mod cost;
pub mod growth;
pub mod overload;
pub mod scenarios;

use std::fmt::Write;

use serde::Serialize;

use crate::database::Kind;
use crate::machine::Machine;
use cost::CostReport;
use growth::GrowthReport;
use overload::OverloadRow;
use scenarios::{FloorRow, Own, Row};

/// Everything one run showed.
#[derive(Serialize)]
pub struct Report {
    /// Where it ran.
    pub machine: Machine,
    /// The server's binary.
    pub server: String,
    /// The kind of database.
    pub database: Kind,
    /// What the database is and where it ran.
    pub database_words: String,
    /// Measured time of a scenario.
    pub seconds: f64,
    /// The generator's connections.
    pub connections: usize,
    /// How often scenarios and growth were measured.
    pub repeat: usize,
    /// Whether this was a trial in which only errors count.
    pub smoke: bool,
    /// The server's own values, measured with the scenarios.
    pub own: Option<Own>,
    /// The scenarios in the order they ran.
    pub scenarios: Vec<Row>,
    /// The floors measured.
    pub floors: Vec<FloorRow>,
    /// Scenarios under more load than can be served.
    pub overload: Vec<OverloadRow>,
    /// Scenarios with more and more data.
    pub growth: Option<GrowthReport>,
    /// Where the instructions of a scenario go.
    pub cost: Option<CostReport>,
}

impl Report {
    /// Failed operations of everything.
    pub fn errors(&self) -> u64 {
        let growth = self.growth.as_ref().map_or(0, GrowthReport::errors);
        self.scenarios.iter().map(Row::errors).sum::<u64>()
            + self.overload.iter().map(|row| row.errors).sum::<u64>()
            + growth
    }

    /// What is wrong with this run, one sentence each; nothing when it has passed.
    pub fn failings(&self) -> Vec<String> {
        let mut failings = Vec::new();
        for row in &self.scenarios {
            row.failings(self.smoke, &mut failings);
        }
        for row in &self.overload {
            row.failings(self.smoke, &mut failings);
        }
        if let Some(growth) = &self.growth {
            growth.failings(self.smoke, &mut failings);
        }
        if let Some(own) = self.own.as_ref().filter(|_| !self.smoke) {
            own.failings(&mut failings);
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
            "{}, {} cores, {} MiB, Linux {}; {}; folder on {}; {}; {} connections, {} s a scenario, {}.\n",
            machine.cpu,
            machine.cores,
            machine.memory_mib,
            machine.kernel,
            self.database_words,
            machine.file_system,
            machine.pinning,
            self.connections,
            self.seconds,
            if self.repeat == 1 { "measured once".to_owned() } else { format!("median of {} rounds", self.repeat) }
        )?;
        if !self.scenarios.is_empty() {
            scenarios::write(out, &self.scenarios, &self.floors, self.smoke)?;
        }
        if let Some(own) = &self.own {
            own.write(out)?;
        }
        if !self.overload.is_empty() {
            overload::write(out, &self.overload, self.smoke)?;
        }
        if let Some(growth) = &self.growth {
            growth.write(out, self.smoke)?;
        }
        if let Some(cost) = &self.cost {
            cost.write(out)?;
        }
        self.write_remarks(out)
    }

    fn write_remarks(&self, out: &mut String) -> std::fmt::Result {
        let mut remarks = Vec::new();
        scenarios::remarks(&self.scenarios, &self.floors, self.smoke, &mut remarks);
        overload::remarks(&self.overload, self.smoke, &mut remarks);
        if self.machine.file_system == "tmpfs" {
            remarks.push("The database lay in memory (tmpfs): commits were cheaper than on a disk.".to_owned());
        }
        if cfg!(debug_assertions) {
            remarks.push("The generator and the floors are a debug build; ratios mean nothing.".to_owned());
        }
        if let Some(growth) = &self.growth {
            growth.remarks(&mut remarks);
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

/// How a verdict is shown; a trial has none.
fn verdict(reached: Option<bool>, smoke: bool) -> &'static str {
    match reached {
        _ if smoke => "–",
        None => "–",
        Some(true) => "yes",
        Some(false) => "**no**",
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::floor::Floor;
    use crate::histogram::Histogram;
    use crate::load::Measured;
    use crate::machine::Memory;
    use crate::scenario::Scenario;
    use scenarios::Sample;

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
            database_busy: 0.0,
        };
        let floors = vec![FloorRow::new(Floor::Json2k, &measured)];
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
            database: Kind::Sqlite,
            database_words: "SQLite".to_owned(),
            seconds: 1.0,
            connections: 16,
            repeat: 1,
            smoke,
            own: Some(Own {
                first_start_seconds: 0.4,
                start_seconds: 0.1,
                idle_memory: memory,
                idle_busy: 0.0,
                tokens: 100_000,
                memory_after_tokens: memory,
                memory_at_end: memory,
            }),
            scenarios: Row::of(Scenario::Jwks, Kind::Sqlite, vec![Sample { measured, floor_rate }])
                .into_iter()
                .collect(),
            floors,
            overload: Vec::new(),
            growth: None,
            cost: None,
        }
    }

    #[test]
    fn a_good_run_has_no_failings_and_a_table() {
        let report = report(false, 0, 70_000.0, 20_000);
        assert!(report.failings().is_empty());
        let text = report.markdown().unwrap();
        assert!(
            text.contains("| jwks | 50\u{202f}000 |") && text.contains("| 0.71 | 0.71–0.71 | 0.7 | yes |"),
            "{text}"
        );
        assert!(text.contains("the generator was busy 99 %"));
        let json = serde_json::to_value(&report).unwrap();
        assert_eq!(json["scenarios"][0]["scenario"], "jwks");
        assert_eq!(json["floors"][0]["floor"], "json2k");
    }

    #[test]
    fn missed_targets_fail_a_run_but_not_a_trial_and_errors_fail_both() {
        assert_eq!(report(false, 0, 100_000.0, 20_000).failings().len(), 1);
        assert_eq!(report(false, 0, 70_000.0, 30_000).failings().len(), 1);
        assert!(report(true, 0, 100_000.0, 90_000).failings().is_empty());
        let failed = report(true, 2, 70_000.0, 20_000);
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
