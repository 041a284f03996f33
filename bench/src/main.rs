//! `keyward-bench`: starts a server on one core, loads it from another, and compares each path with its floor.
//!
//! Without a task it runs the scenarios and prints a report; `overload` and `growth` measure how the server bears load
//! and data, `cost` counts instructions, `guard` measures the crate for resource servers; `floor NAME` is the process that serves a floor. Exit status: 0 passed,
//! 1 operations failed or a target was missed, 2 the benchmark could not be run.

mod arguments;
mod browser;
mod campaign;
mod clock;
mod cluster;
mod cost;
mod database;
mod failure;
mod floor;
mod growth;
mod guard;
mod histogram;
mod load;
mod machine;
mod overload;
mod paced;
mod population;
mod process;
mod provision;
mod report;
mod scenario;
mod seed;
mod stage;
mod wire;

use std::io::Write;
use std::process::ExitCode;

use clap::Parser;

use arguments::{Arguments, FloorArguments, GuardArguments, Run, Task};
use failure::{During, Failure};
use floor::Floor;

fn main() -> ExitCode {
    let Arguments { task, scenarios } = Arguments::parse();
    let done = match task {
        Some(Task::Floor(floor)) => serve_floor(floor),
        Some(Task::Guard(guard)) => measure_guard(&guard),
        Some(Task::Overload(overload)) => bench(&overload.into()),
        Some(Task::Growth(growth)) => bench(&growth.into()),
        Some(Task::Cost(cost)) => bench(&cost.into()),
        None => bench(&scenarios.into()),
    };
    match done {
        Ok(code) => code,
        Err(failure) => {
            say(&failure.to_string());
            ExitCode::from(2)
        }
    }
}

/// Says on the error stream what is going on; without that stream nobody listens.
fn say(text: &str) {
    drop(writeln!(std::io::stderr(), "keyward-bench: {text}"));
}

/// The process of a floor: one worker thread, as the server under test has.
fn serve_floor(arguments: FloorArguments) -> Result<ExitCode, Failure> {
    if arguments.name == Floor::Argon2 {
        let rate = floor::argon2(arguments::seconds(arguments.seconds)?)?;
        let json = serde_json::to_string(&rate).during("writing JSON")?;
        writeln!(std::io::stdout(), "{json}").during("writing the rate")?;
        return Ok(ExitCode::SUCCESS);
    }
    let listen = arguments.listen.ok_or_else(|| Failure::new("--listen is missing"))?;
    let own_folder = tempfile::tempdir().during("making a folder")?;
    let folder = arguments.folder.unwrap_or_else(|| own_folder.path().to_owned());
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(1)
        .enable_all()
        .build()
        .during("starting the runtime")?;
    // Spawned, so that it runs on the worker thread and not on this one.
    runtime.block_on(async {
        let (name, database) = (arguments.name, arguments.database);
        let served = tokio::spawn(async move { floor::serve(name, listen, &folder, database.as_deref()).await });
        served.await.during("the floor's task")?
    })?;
    Ok(ExitCode::SUCCESS)
}

/// The costs of `keyward-guard`.
fn measure_guard(arguments: &GuardArguments) -> Result<ExitCode, Failure> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().during("starting the runtime")?;
    let report = runtime.block_on(guard::measure(arguments::seconds(arguments.seconds)?))?;
    let text = report.markdown().during("writing the report")?;
    std::io::stdout().write_all(text.as_bytes()).during("writing the report")?;
    Ok(if report.passed() { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

/// A run of the benchmark.
fn bench(run: &Run) -> Result<ExitCode, Failure> {
    let options = run.options(machine::pin(run.arguments.cores)?)?;
    let folder = run.arguments.folder.clone().unwrap_or_else(std::env::temp_dir);
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().during("starting the runtime")?;
    // A signal drops the run, which ends its children and removes its folder.
    let report = runtime.block_on(async {
        tokio::select! {
            report = campaign::run(options, &folder) => report,
            interrupted = interrupted() => interrupted.and_then(|()| Err(Failure::new("interrupted"))),
        }
    })?;
    let text = report.markdown().during("writing the report")?;
    std::io::stdout().write_all(text.as_bytes()).during("writing the report")?;
    if let Some(file) = &run.arguments.json {
        let json = serde_json::to_string_pretty(&report).during("writing JSON")?;
        std::fs::write(file, json + "\n").during(format!("writing {}", file.display()))?;
    }
    Ok(if report.failings().is_empty() { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

/// Ends when this process is asked to.
async fn interrupted() -> Result<(), Failure> {
    use tokio::signal::unix::{SignalKind, signal};
    let mut terminate = signal(SignalKind::terminate()).during("listening for SIGTERM")?;
    let mut interrupt = signal(SignalKind::interrupt()).during("listening for SIGINT")?;
    tokio::select! {
        _ = terminate.recv() => {}
        _ = interrupt.recv() => {}
    }
    Ok(())
}
