//! The database that the server under test uses: SQLite in the run's folder, a PostgreSQL that is already there, or one
//! that the benchmark starts for the run alone.

use std::path::Path;

use serde::Serialize;
use sqlx::{AssertSqlSafe, Connection, Executor, PgConnection};

use crate::browser::random_text;
use crate::cluster::Cluster;
use crate::failure::{During, Failure};

/// Connections of the server's pool, its setting's own value; the floor that inserts has as many.
pub const POOL: u32 = 10;

/// Which kind of database.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub enum Kind {
    /// A file.
    #[serde(rename = "sqlite")]
    Sqlite,
    /// A server.
    #[serde(rename = "postgresql")]
    Postgres,
}

/// What was asked for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Choice {
    /// SQLite in the run's folder.
    Sqlite,
    /// A PostgreSQL that the benchmark starts on the server's core and removes at the end.
    OwnPostgres,
    /// The database at this URL.
    Postgres(String),
}

impl Choice {
    /// Which kind it is.
    pub fn kind(&self) -> Kind {
        match self {
            Self::Sqlite => Kind::Sqlite,
            Self::OwnPostgres | Self::Postgres(_) => Kind::Postgres,
        }
    }
}

/// The database of a run.
pub enum Backend {
    /// SQLite.
    Sqlite,
    /// PostgreSQL, started for this run.
    Own(Cluster),
    /// PostgreSQL at this URL.
    There(String),
}

impl Backend {
    /// Starts what must be started; a PostgreSQL gets a new folder inside `folder`.
    ///
    /// # Errors
    /// When PostgreSQL's programs are missing or it doesn't start.
    pub async fn start(choice: &Choice, folder: &Path, core: Option<usize>) -> Result<Self, Failure> {
        match choice {
            Choice::Sqlite => Ok(Self::Sqlite),
            Choice::OwnPostgres => Cluster::start(folder, core).await.map(Self::Own),
            Choice::Postgres(url) => Ok(Self::There(url.clone())),
        }
    }

    /// The URL, if it is PostgreSQL.
    pub fn url(&self) -> Option<&str> {
        match self {
            Self::Sqlite => None,
            Self::Own(cluster) => Some(cluster.url()),
            Self::There(url) => Some(url),
        }
    }

    /// The process of the database, if the benchmark started it.
    pub fn process(&self) -> Option<u32> {
        match self {
            Self::Own(cluster) => Some(cluster.id()),
            Self::Sqlite | Self::There(_) => None,
        }
    }

    /// Where the database runs, in words for the report.
    pub fn words(&self) -> String {
        match self {
            Self::Sqlite => "SQLite in the server's process, synchronous = FULL".to_owned(),
            Self::Own(cluster) => cluster.words(),
            Self::There(_) => "PostgreSQL that was running before, on cores of its own choice".to_owned(),
        }
    }

    /// A new, empty database beside the others; nothing on SQLite, where a folder is one.
    ///
    /// # Errors
    /// When PostgreSQL refuses to create it.
    pub async fn fresh(&self) -> Result<Option<Fresh>, Failure> {
        let Some(url) = self.url() else { return Ok(None) };
        let suffix: String = random_text()?.chars().filter(char::is_ascii_alphanumeric).take(12).collect();
        let name = format!("keyward_bench_{}", suffix.to_ascii_lowercase());
        let created = renamed(url, &name)?;
        administer(url, format!("CREATE DATABASE {name}")).await?;
        Ok(Some(Fresh { url: created, maintenance: url.to_owned(), name }))
    }
}

/// A database made by [`Backend::fresh`].
pub struct Fresh {
    /// Its URL.
    pub url: String,
    maintenance: String,
    name: String,
}

impl Fresh {
    /// Drops it, whoever is still connected.
    ///
    /// # Errors
    /// When PostgreSQL refuses.
    pub async fn remove(self) -> Result<(), Failure> {
        administer(&self.maintenance, format!("DROP DATABASE {} WITH (FORCE)", self.name)).await
    }
}

/// Runs one statement on a connection of its own.
async fn administer(url: &str, statement: String) -> Result<(), Failure> {
    let mut connection = PgConnection::connect(url).await.during("connecting to PostgreSQL")?;
    connection.execute(AssertSqlSafe(statement.clone())).await.during(&statement)?;
    connection.close().await.during("closing a connection to PostgreSQL")
}

/// The URL with another database's name.
fn renamed(url: &str, name: &str) -> Result<String, Failure> {
    let (scheme, rest) = url.split_once("://").ok_or_else(|| Failure::new("the PostgreSQL URL has no scheme"))?;
    let (before, query) = rest.split_once('?').map_or((rest, None), |(before, query)| (before, Some(query)));
    let authority = before.split('/').next().unwrap_or_default();
    let query = query.map(|query| format!("?{query}")).unwrap_or_default();
    Ok(format!("{scheme}://{authority}/{name}{query}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_name_of_the_database_changes() {
        let renamed = |url| renamed(url, "new").unwrap();
        assert_eq!(renamed("postgres://u:p@h:1/old?sslmode=require"), "postgres://u:p@h:1/new?sslmode=require");
        assert_eq!(renamed("postgres://u@h"), "postgres://u@h/new");
        assert_eq!(renamed("postgresql://u@h:5/"), "postgresql://u@h:5/new");
        assert!(super::renamed("u@h/old", "new").is_err());
    }
}
