//! Where a request's instructions go: a scenario under valgrind's callgrind, counted while it runs and not before.
//!
//! Instructions don't depend on how busy the machine is, so two builds can be compared to a percent. Left out: the
//! kernel's own instructions, and what the processor makes of them (waiting for memory, branches guessed wrong).

use std::collections::BTreeMap;
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::Duration;

use crate::failure::{During, Failure};
use crate::load::{Limit, Step};
use crate::report::cost::{CostReport, Share};
use crate::say;
use crate::scenario::Scenario;
use crate::scenario::cached::Document;
use crate::scenario::introspection::Introspection;
use crate::scenario::refresh::IdToken;
use crate::stage::Stage;

/// How many functions and origins are shown.
const SHOWN: usize = 25;

/// Counts the instructions of `operations` operations of a scenario, on one connection.
///
/// # Errors
/// When valgrind is missing or fails, or an operation does.
pub async fn measure(
    stage: &mut Stage,
    scenario: Scenario,
    operations: u64,
    folder: &Path,
) -> Result<CostReport, Failure> {
    let host = stage.server.host();
    match scenario {
        Scenario::Discovery => {
            let step = Document::new(&host, "/.well-known/openid-configuration", Some("token_endpoint"));
            count(stage, scenario, operations, folder, step).await
        }
        Scenario::Jwks => count(stage, scenario, operations, folder, Document::new(&host, "/jwks", Some("keys"))).await,
        Scenario::ClientCredentials => {
            let step = stage.machine();
            count(stage, scenario, operations, folder, step).await
        }
        Scenario::Refresh | Scenario::RefreshIdToken => {
            let id_token = if scenario == Scenario::Refresh { IdToken::Absent } else { IdToken::Expected };
            let step = first(stage.refreshers(id_token, 1, 4).await?)?;
            count(stage, scenario, operations, folder, step).await
        }
        Scenario::CodeFlowEs256 | Scenario::CodeFlowRs256 => {
            let algorithm = if scenario == Scenario::CodeFlowRs256 { "RS256" } else { "ES256" };
            let flow = stage.flow("openid profile", algorithm);
            let step = first(stage.browsers(&flow, 1).await?)?;
            count(stage, scenario, operations, folder, step).await
        }
        Scenario::IntrospectCold | Scenario::IntrospectWarm => {
            let tokens = stage.live_tokens().await?;
            let api = &stage.accounts.api;
            let steps = match scenario {
                Scenario::IntrospectCold => Introspection::once(&host, api, &tokens, 1),
                // So few that the warm-up sees each of them.
                _ => {
                    let few = tokens.iter().take(4).cloned().collect::<Vec<_>>();
                    Introspection::round(&host, api, &few.into(), 1)
                }
            };
            count(stage, scenario, operations, folder, first(steps)?).await
        }
        Scenario::Login => {
            let step = first(stage.logins("bench-cost", 1).await?)?;
            count(stage, scenario, operations, folder, step).await
        }
    }
}

fn first<S>(steps: Vec<S>) -> Result<S, Failure> {
    steps.into_iter().next().ok_or_else(|| Failure::new("there is no connection to count on"))
}

async fn count<S: Step>(
    stage: &mut Stage,
    scenario: Scenario,
    operations: u64,
    folder: &Path,
    step: S,
) -> Result<CostReport, Failure> {
    say(&format!("the server under callgrind: {operations} operations of {}", scenario.name()));
    let file = folder.join("callgrind.out");
    stage.server.run_under(
        ["valgrind", "--quiet", "--tool=callgrind", "--instr-atstart=no"]
            .into_iter()
            .map(str::to_owned)
            .chain([format!("--callgrind-out-file={}", file.display())])
            .collect(),
    );
    stage.server.start().await?;
    let warm_up = (operations / 10).clamp(8, 100);
    let steps = run(stage, warm_up, vec![step]).await?;
    instrument(stage.server.id(), "on")?;
    run(stage, operations, steps).await?;
    instrument(stage.server.id(), "off")?;
    // Its orderly end writes the file.
    stage.server.stop();
    stage.server.run_under(Vec::new());
    let own = annotated(&file, "no")?;
    let inclusive = annotated(&file, "yes")?;
    stage.server.start().await?;
    Ok(report(scenario, operations, &own, &inclusive))
}

async fn run<S: Step>(stage: &Stage, operations: u64, steps: Vec<S>) -> Result<Vec<S>, Failure> {
    let (measured, steps) = stage.run(Limit::Each(operations), Duration::ZERO, steps).await?;
    match measured.first_errors.first() {
        None if measured.operations == operations => Ok(steps),
        None => Err(Failure::new(format!("only {} of {operations} operations were possible", measured.operations))),
        Some(error) => Err(Failure::new(format!("an operation failed under callgrind: {error}"))),
    }
}

/// Turns counting on or off.
fn instrument(process: u32, state: &str) -> Result<(), Failure> {
    let mut command = Command::new("callgrind_control");
    command.args([format!("--instr={state}"), process.to_string()]);
    output(command, "steering callgrind").map(drop)
}

fn annotated(file: &Path, inclusive: &str) -> Result<String, Failure> {
    let mut command = Command::new("callgrind_annotate");
    command.args(["--auto=no", "--threshold=100", &format!("--inclusive={inclusive}")]).arg(file);
    output(command, "reading callgrind's file")
}

fn output(mut command: Command, act: &str) -> Result<String, Failure> {
    let output = command.stdin(Stdio::null()).output().during(format!("{act} (package valgrind)"))?;
    if !output.status.success() {
        let words = String::from_utf8_lossy(&output.stderr);
        return Err(Failure::new(format!("{act} ({}): {}", output.status, words.trim())));
    }
    Ok(String::from_utf8_lossy(&output.stdout).into_owned())
}

fn report(scenario: Scenario, operations: u64, own: &str, inclusive: &str) -> CostReport {
    let (mut total, mut origins, mut functions) = (0, BTreeMap::new(), BTreeMap::new());
    for line in own.lines().filter_map(Line::parse) {
        total += line.instructions;
        *origins.entry(line.origin()).or_insert(0) += line.instructions;
        *functions.entry(line.function.to_owned()).or_insert(0) += line.instructions;
    }
    let mut ours = BTreeMap::new();
    for line in inclusive.lines().filter_map(Line::parse).filter(|line| line.is_ours()) {
        // A function has a line for each file that was inlined into it; the greatest is that of the function itself.
        let known = ours.entry(line.function.to_owned()).or_insert(0);
        *known = line.instructions.max(*known);
    }
    CostReport {
        scenario,
        operations,
        instructions: total / operations.max(1),
        ours: shares(ours, operations),
        origins: shares(origins, operations),
        functions: shares(functions, operations),
    }
}

fn shares(counted: BTreeMap<String, u64>, operations: u64) -> Vec<Share> {
    let mut shares: Vec<Share> = counted
        .into_iter()
        .map(|(name, instructions)| Share { name, instructions: instructions / operations.max(1) })
        .collect();
    shares.sort_by_key(|share| std::cmp::Reverse(share.instructions));
    shares.truncate(SHOWN);
    shares
}

/// A line of `callgrind_annotate`: `1,234 (12.3%)  FILE:FUNCTION [OBJECT]`.
struct Line<'l> {
    instructions: u64,
    file: &'l str,
    function: &'l str,
}

impl<'l> Line<'l> {
    fn parse(line: &'l str) -> Option<Self> {
        let line = line.trim_start();
        let end = line.find(|c: char| !c.is_ascii_digit() && c != ',')?;
        let (number, rest) = line.split_at_checked(end)?;
        let instructions = number.replace(',', "").parse().ok()?;
        let rest = rest.trim_start();
        let rest = match rest.strip_prefix('(') {
            Some(percent) => percent.split_once("%)")?.1.trim_start(),
            None => rest,
        };
        let (file, function) = rest.split_once(':')?;
        let function = function.rsplit_once(" [").map_or(function, |(function, _)| function);
        // Recursion is marked by a number behind an apostrophe.
        let function = match function.rsplit_once('\'') {
            Some((name, cycle)) if !cycle.is_empty() && cycle.bytes().all(|octet| octet.is_ascii_digit()) => name,
            _ => function,
        };
        (!file.contains(' ')).then_some(Self { instructions, file, function: function.trim() })
    }

    /// Whether the function is of one of this workspace's crates.
    fn is_ours(&self) -> bool {
        self.function.trim_start_matches(['<', '&']).starts_with("keyward")
    }

    /// Whose code it is: the crate's package by the path of the file, Rust's own library, or the object.
    fn origin(&self) -> String {
        if let Some((_, behind)) = self.file.split_once("/registry/src/") {
            let package = behind.split('/').nth(1).unwrap_or(behind);
            return package.to_owned();
        }
        if let Some((_, behind)) = self.file.split_once("/library/") {
            return format!("Rust's {}", behind.split('/').next().unwrap_or(behind));
        }
        if self.file.starts_with("/aws-lc/") {
            return "aws-lc, C and assembly".to_owned();
        }
        // The C library is built from a folder of its own, with paths that begin there.
        if self.file.starts_with("./") {
            return "the C library".to_owned();
        }
        let by_name = self.function.trim_start_matches(['<', '&']).split("::").next().unwrap_or_default();
        if self.is_ours() {
            return by_name.to_owned();
        }
        match self.file {
            "???" if self.function.contains("::") => by_name.to_owned(),
            "???" => "C and assembly without a file".to_owned(),
            file => file.rsplit('/').next().unwrap_or(file).to_owned(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const OWN: &str = "Profile data file 'callgrind.out'\n\
        10,000 (100.0%)  PROGRAM TOTALS\n\
        4,000 (40.00%)  /home/ada/.cargo/registry/src/index.crates.io-1/tokio-1.54.0/src/task.rs:tokio::run'2 [/x/keyward]\n\
        3,000 (30.00%)  src/store/refresh_token.rs:keyward::store::refresh_token::rotate::{{closure}} [/x/keyward]\n\
        2,000 (20.00%)  /rustc/abc/library/core/src/ptr.rs:keyward::store::refresh_token::rotate::{{closure}} [/x/keyward]\n\
        600 ( 6.00%)  /aws-lc/generated-src/p256.S:p256_mul [/x/keyward]\n\
        300 ( 3.00%)  ./malloc/./malloc/malloc.c:free [/usr/lib/libc.so.6]\n\
        100 ( 1.00%)  ???:0x1234 [/x/keyward]\n";

    #[test]
    fn instructions_are_told_by_whose_code_they_are() {
        let report = report(Scenario::Refresh, 10, OWN, OWN);
        assert_eq!(report.instructions, 1_000);
        let named: Vec<(&str, u64)> =
            report.origins.iter().map(|share| (share.name.as_str(), share.instructions)).collect();
        assert_eq!(
            named,
            [
                ("tokio-1.54.0", 400),
                ("keyward", 300),
                ("Rust's core", 200),
                ("aws-lc, C and assembly", 60),
                ("the C library", 30),
                ("C and assembly without a file", 10),
            ]
        );
        let rotate = "keyward::store::refresh_token::rotate::{{closure}}";
        assert_eq!((report.functions[0].name.as_str(), report.functions[0].instructions), (rotate, 500));
        assert_eq!((report.ours.len(), report.ours[0].name.as_str(), report.ours[0].instructions), (1, rotate, 300));
    }
}
