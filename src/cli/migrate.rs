//! `keyward migrate`: the database's schema to the newest version, whatever `database.migrate_at_start` says; and with
//! `--to` everything that a SQLite database holds to a PostgreSQL database.

use std::io::{IsTerminal, Write};
use std::path::PathBuf;

use clap::Args;
use secrecy::{ExposeSecret, SecretString};
use serde_json::json;

use super::output::{Failure, Report, remark};
use super::terminal;
use crate::app;
use crate::settings::{DatabaseBackend, Settings};
use crate::store::transfer::{LockedSource, Progress, Transfer};
use crate::store::{Store, StoreOptions};

/// Where to.
#[derive(Debug, Args)]
pub(super) struct MigrateFlags {
    /// Copy everything from the SQLite database of the settings to this PostgreSQL database, which must be empty: a URL
    /// without a password (libpq's PGPASSWORD and password file are read), or - to read the URL from standard input
    #[arg(long, value_name = "URL", conflicts_with = "to_file")]
    to: Option<String>,
    /// The same, with the URL in a file
    #[arg(long, value_name = "FILE")]
    to_file: Option<PathBuf>,
}

/// Runs the changes that are missing, or moves to another database.
pub(super) async fn run(settings: &Settings, flags: MigrateFlags) -> Result<Report, Failure> {
    match target(flags)? {
        Some(url) => copy(settings, &url).await,
        None => schema(settings).await,
    }
}

async fn schema(settings: &Settings) -> Result<Report, Failure> {
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

/// The URL of the target. Arguments of a process are shown to every user of the machine, so a password isn't taken there.
fn target(flags: MigrateFlags) -> Result<Option<SecretString>, Failure> {
    let url = match (flags.to, flags.to_file) {
        (None, None) => return Ok(None),
        (Some(to), _) if to == "-" => terminal::secret_line("the URL")?,
        (Some(to), _) => {
            if url::Url::parse(&to)
                .is_ok_and(|url| url.password().is_some() || url.query().is_some_and(|q| q.contains("password")))
            {
                return Err(Failure::refused(
                    "a password isn't taken from the command line; give the URL by --to-file or by --to - on standard input",
                ));
            }
            SecretString::from(to)
        }
        (None, Some(file)) => {
            let text = std::fs::read_to_string(&file)
                .map_err(|error| Failure::refused(format_args!("{}: {error}", file.display())))?;
            return checked(&SecretString::from(text.trim())).map(Some);
        }
    };
    checked(&url).map(Some)
}

fn checked(url: &SecretString) -> Result<SecretString, Failure> {
    let parsed = url::Url::parse(url.expose_secret()).ok();
    if !parsed.is_some_and(|url| matches!(url.scheme(), "postgres" | "postgresql")) {
        return Err(Failure::refused("the target must be postgres://USER@HOST/DATABASE"));
    }
    Ok(url.clone())
}

async fn copy(settings: &Settings, url: &SecretString) -> Result<Report, Failure> {
    let DatabaseBackend::Sqlite { path } = settings.database_backend() else {
        return Err(Failure::refused("database.url names no SQLite database; there is nothing to copy from"));
    };
    if !path.exists() {
        return Err(Failure::refused(format_args!("{} isn't there", path.display())));
    }
    let wait = settings.database.busy_timeout;
    let options = StoreOptions { max_connections: 1, busy_timeout: wait.as_secs(), ..StoreOptions::default() };
    // Before anything is changed on either side.
    let Some(source) = LockedSource::lock(&path, wait.as_duration())? else {
        return Err(Failure::refused(format_args!(
            "{} is in use; stop the server that has it open. Nothing was changed",
            path.display()
        )));
    };
    let target = Store::open_postgres(url.expose_secret(), &options)?;
    target.migrate().await?;
    source.migrate().await?;
    let outcome = target.copy_from_sqlite(source, bar()).await;
    target.close().await?;
    match outcome? {
        Transfer::Done(counts) => {
            let rows: u64 = counts.iter().map(|(_, rows)| rows).sum();
            remark(format_args!(
                "set database.url to the new database and keep the master key; {} stays as it is, and must not be \
                 served any more",
                path.display()
            ));
            let tables: serde_json::Map<_, _> =
                counts.iter().map(|(table, rows)| ((*table).to_owned(), json!(rows))).collect();
            Ok(Report::line(json!({ "rows": rows, "tables": tables }), format!("{rows} rows were copied and counted")))
        }
        Transfer::TargetNotEmpty(table) => Err(Failure::refused(format_args!(
            "the target isn't empty: its table {table} has rows. No row was changed; give a new database"
        ))),
    }
}

/// Shows on a terminal how far the copy is: one line that is written over.
fn bar() -> impl FnMut(Progress) + Send + 'static {
    let shown = std::io::stderr().is_terminal();
    move |progress: Progress| {
        if !shown {
            return;
        }
        let tenths = (progress.copied * 10).checked_div(progress.all).unwrap_or(10);
        let bar: String = (0..10).map(|tenth| if tenth < tenths { '#' } else { '.' }).collect();
        let end = if progress.copied == progress.all { "\n" } else { "" };
        let line = format!("\r[{bar}] {} of {} rows, {:<24}{end}", progress.copied, progress.all, progress.table);
        // A terminal that can't be written to is no reason to stop.
        let _ = std::io::stderr().lock().write_all(line.as_bytes());
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_target_is_postgresql() {
        let flags = |to: &str| MigrateFlags { to: Some(to.to_owned()), to_file: None };
        for wrong in ["sqlite:other.db", "mysql://x/y", "", "keyward"] {
            assert!(target(flags(wrong)).is_err(), "{wrong}");
        }
        let refused = target(flags("postgres://u:secret@h/d")).unwrap_err().to_string();
        assert!(refused.contains("password") && !refused.contains("secret"), "{refused}");
        assert!(target(flags("postgres://u@h/d")).unwrap().is_some());
        assert!(target(MigrateFlags { to: None, to_file: None }).unwrap().is_none());
    }
}
