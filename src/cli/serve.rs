//! `keyward serve`: the server on as many threads as the settings say.

use std::path::PathBuf;

use super::output::Failure;
use super::{Threads, runtime};
use crate::settings::{Settings, SettingsError, Sources};

/// Serves until it is told to stop; the settings are read from these sources, and again when SIGHUP asks for it.
pub(super) fn run(config: Option<PathBuf>, set: Vec<(String, String)>) -> Result<(), Failure> {
    let read =
        move || -> Result<Settings, SettingsError> { Settings::load(&Sources::gather(config.clone(), set.clone())?) };
    let settings = read()?;
    let runtime = runtime(Threads::Many(settings.server.worker_threads))?;
    Ok(runtime.block_on(crate::serve::run(settings, read))?)
}
