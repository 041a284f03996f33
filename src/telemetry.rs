//! The log: text for a terminal, JSON for collectors, on standard error, so that standard output stays a command's own.

use std::io::IsTerminal;
use std::sync::OnceLock;

use tracing_subscriber::filter::Targets;
use tracing_subscriber::layer::SubscriberExt;
use tracing_subscriber::util::SubscriberInitExt;
use tracing_subscriber::{Layer, Registry, fmt, reload};

use crate::settings::{LogFormat, Settings};

/// Starts the log as the settings say; a second call in one process changes nothing.
pub fn start(settings: &Settings) {
    let level = settings.log.level.parse().unwrap_or_else(|_| Targets::new().with_default(tracing::Level::INFO));
    let (level, handle) = reload::Layer::new(level);
    let is_terminal = std::io::stderr().is_terminal();
    let json = match settings.log.format {
        LogFormat::Json => true,
        LogFormat::Text => false,
        LogFormat::Auto => !is_terminal,
    };
    let lines = fmt::layer().with_writer(std::io::stderr);
    let lines = if json { lines.json().boxed() } else { lines.with_ansi(is_terminal).boxed() };
    // An error says that a log was started before, by a test or a demo in the same process: that one stays.
    if tracing_subscriber::registry().with(level).with(lines).try_init().is_ok() {
        // The log is started once, and so is this set once.
        let _ = RELOAD.set(handle);
    }
}

/// A short log on standard error for commands that end: without times, for somebody is looking on. `levels` is in the form of
/// the setting `log.level`.
pub fn start_for_command(levels: &str) {
    let lines = fmt::layer().with_writer(std::io::stderr).with_target(false).with_ansi(false).without_time();
    let levels: Targets = levels.parse().unwrap_or_default();
    // An error says that a log was started before in this process: that one stays.
    let _ = tracing_subscriber::registry().with(levels).with(lines).try_init();
}

/// Replaces the filter of the log that was started.
static RELOAD: OnceLock<reload::Handle<Targets, Registry>> = OnceLock::new();

/// Makes this the level of the running log; whether it could be done.
pub fn set_level(level: &str) -> bool {
    match (RELOAD.get(), level.parse::<Targets>()) {
        (Some(handle), Ok(level)) => handle.reload(level).is_ok(),
        _ => false,
    }
}
