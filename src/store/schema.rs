//! How the schema of a database compares with what this program knows.
//!
//! Changes expand first and contract a release later, so a program works on the schema of the next release: during a
//! rolling upgrade the nodes of the old one go on, and may start again. A change that takes something away writes into the
//! fact `schema_least_changes` how many changes a program must know to work on what it leaves; a program that knows fewer
//! is refused.

use keyward_migration::{Migrator, MigratorTrait};
use sea_orm::{DbBackend, Statement};

use super::{Backend, Store};
use crate::fault::Fault;

/// The fact that says how many changes a program must know at the least.
const LEAST_CHANGES: &str = "schema_least_changes";

/// A schema beside this program.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum SchemaState {
    /// It has every change that the program knows and no other.
    Current,
    /// So many changes are missing; a new database lacks all of them.
    Older(usize),
    /// It has so many changes that the program doesn't know, and the program can work on it.
    Newer(usize),
    /// It has changes that the program can't work with.
    TooNew,
}

impl Store {
    /// Compares the schema with this program. Changes nothing.
    ///
    /// # Errors
    /// Where the database can't be asked.
    pub async fn schema_state(&self) -> Result<SchemaState, Fault> {
        let applied = self.applied_migrations().await?;
        let known: Vec<String> = Migrator::migrations().iter().map(|change| change.name().to_owned()).collect();
        let missing = known.iter().filter(|name| !applied.contains(name)).count();
        let unknown = applied.iter().filter(|name| !known.contains(name)).count();
        if unknown > 0 {
            let least = self.fact(LEAST_CHANGES).await?.and_then(|text| text.parse::<usize>().ok()).unwrap_or_default();
            // A change that is missing below one that is unknown comes from another line of development.
            if missing > 0 || least > known.len() {
                return Ok(SchemaState::TooNew);
            }
            return Ok(SchemaState::Newer(unknown));
        }
        Ok(if missing == 0 { SchemaState::Current } else { SchemaState::Older(missing) })
    }

    /// How many changes of the schema are missing.
    ///
    /// # Errors
    /// Where the database can't be asked, or its schema is too new for this program.
    pub async fn pending_migrations(&self) -> Result<usize, Fault> {
        match self.schema_state().await? {
            SchemaState::Current | SchemaState::Newer(_) => Ok(0),
            SchemaState::Older(missing) => Ok(missing),
            SchemaState::TooNew => Err(too_new()),
        }
    }

    /// Brings the schema to the newest version. PostgreSQL does so under an advisory lock: of nodes that start together
    /// one does the work.
    ///
    /// # Errors
    /// Where a change fails, or the schema is too new for this program.
    pub async fn migrate(&self) -> Result<(), Fault> {
        match self.schema_state().await? {
            SchemaState::Current | SchemaState::Newer(_) => return Ok(()),
            SchemaState::Older(_) => {}
            SchemaState::TooNew => return Err(too_new()),
        }
        match &self.backend {
            Backend::Sqlite(database) => database.migrate().await,
            Backend::Postgres(database) => database.migrate().await,
        }
    }

    /// The names of the changes that were made. Doesn't make the table of changes, as the migrator would: two nodes that
    /// do so at once on an empty PostgreSQL get in each other's way.
    async fn applied_migrations(&self) -> Result<Vec<String>, Fault> {
        self.read(|mut act| {
            Box::pin(async move {
                let dialect = act.backend();
                let known = match dialect {
                    DbBackend::Sqlite => {
                        "SELECT name FROM sqlite_master WHERE type = 'table' AND name = 'seaql_migrations'"
                    }
                    _ => "SELECT 'found' WHERE to_regclass('seaql_migrations') IS NOT NULL",
                };
                if act.rows(Statement::from_string(dialect, known)).await?.is_empty() {
                    return Ok(Vec::new());
                }
                let applied = Statement::from_string(dialect, "SELECT version FROM seaql_migrations ORDER BY version");
                act.rows(applied).await?.iter_mut().map(|row| row.take("version")).collect()
            })
        })
        .await
    }
}

fn too_new() -> Fault {
    Fault::broken("the database's schema is too new for this program; start the version that made it, or a later one")
}
