//! `keyward serve`: the server on as many threads as the settings say.

use super::output::Failure;
use super::{Threads, runtime};
use crate::settings::Settings;

/// Serves until it is told to stop.
pub(super) fn run(settings: Settings) -> Result<(), Failure> {
    let runtime = runtime(Threads::Many(settings.server.worker_threads))?;
    Ok(runtime.block_on(crate::serve::run(settings))?)
}
