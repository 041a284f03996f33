//! `keyward demo`: the server with the example programs. It reads no settings, so that it is the same everywhere.

use std::path::PathBuf;

use clap::Args;

use super::output::Failure;
use super::{Threads, runtime};
use crate::demo::DemoOptions;

/// Where the demo keeps its data and listens.
#[derive(Debug, Args)]
pub(super) struct DemoFlags {
    /// Folder in which the demo's data stays; without it the data is removed at the end
    #[arg(long, value_name = "DIR")]
    data: Option<PathBuf>,
    /// First of five ports; 0 takes any that are free
    #[arg(long, value_name = "N")]
    port: Option<u16>,
}

/// Runs until it is told to stop.
pub(super) fn run(flags: DemoFlags) -> Result<(), Failure> {
    let options = DemoOptions { data: flags.data, port: flags.port };
    Ok(runtime(Threads::Many(0))?.block_on(crate::demo::run(options))?)
}
