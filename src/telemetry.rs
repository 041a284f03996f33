//! The log: text for a terminal, JSON for collectors, on standard error, so that standard output stays a command's own.

use std::io::IsTerminal;
use std::sync::OnceLock;

use tracing_subscriber::EnvFilter;

use crate::settings::{LogFormat, Settings};

/// Starts the log as the settings say; a second call in one process changes nothing.
pub fn start(settings: &Settings) {
    let filter = EnvFilter::try_new(&settings.log.level).unwrap_or_else(|_| EnvFilter::new("info"));
    let json = match settings.log.format {
        LogFormat::Json => true,
        LogFormat::Text => false,
        LogFormat::Auto => !std::io::stderr().is_terminal(),
    };
    let builder = tracing_subscriber::fmt().with_env_filter(filter).with_writer(std::io::stderr);
    // An error says that a log was started before, by a test or a demo in the same process: that one stays.
    if json {
        let builder = builder.json().with_filter_reloading();
        let handle = builder.reload_handle();
        if builder.try_init().is_ok() {
            keep(move |filter| handle.reload(filter).is_ok());
        }
    } else {
        let builder = builder.with_ansi(std::io::stderr().is_terminal()).with_filter_reloading();
        let handle = builder.reload_handle();
        if builder.try_init().is_ok() {
            keep(move |filter| handle.reload(filter).is_ok());
        }
    }
}

type Reload = Box<dyn Fn(EnvFilter) -> bool + Send + Sync>;

/// Replaces the filter of the log that was started; whether it did.
static RELOAD: OnceLock<Reload> = OnceLock::new();

fn keep(reload: impl Fn(EnvFilter) -> bool + Send + Sync + 'static) {
    // The log is started once, and so is this set once.
    let _ = RELOAD.set(Box::new(reload));
}

/// Makes this the level of the running log; whether it could be done.
pub fn set_level(level: &str) -> bool {
    match (RELOAD.get(), EnvFilter::try_new(level)) {
        (Some(reload), Ok(filter)) => reload(filter),
        _ => false,
    }
}
