//! `keyward migrate`: the database's schema to the newest version, whatever `database.migrate_at_start` says.

use serde_json::json;

use super::output::{Failure, Report};
use crate::app;
use crate::settings::Settings;

/// Runs the changes that are missing.
pub(super) async fn run(settings: &Settings) -> Result<Report, Failure> {
    let store = app::connect_store(settings)?;
    let pending = store.pending_migrations().await?;
    store.migrate().await?;
    let line = match pending {
        0 => "the schema is up to date".to_owned(),
        1 => "1 change was applied".to_owned(),
        pending => format!("{pending} changes were applied"),
    };
    Ok(Report::line(json!({ "applied": pending }), line))
}
