//! Writes a population into a migrated database while no server runs: SQLite in one transaction of prepared inserts,
//! PostgreSQL by COPY.

use std::fmt::Write;
use std::path::Path;

use keyward_entities::Record;
use rusqlite::types::{ToSqlOutput, ValueRef};
use sea_orm::Value;
use sqlx::{Connection, Executor, PgConnection};
use uuid::Uuid;

use crate::failure::{During, Failure};
use crate::population::{Hashes, Population};

/// Rows between two looks whether the run was interrupted.
const BREATH: u64 = 20_000;
/// Octets of a piece of COPY.
const PIECE: usize = 1 << 20;

/// Where rows go.
enum Target {
    Sqlite(rusqlite::Connection),
    Postgres(PgConnection),
}

/// Writes all of `people`, hashed by the keys that the text `master_key` opens, into the PostgreSQL database at `url`, or else into the SQLite database in `file`.
///
/// # Errors
/// When the database can't be opened or refuses.
pub async fn fill(people: &Population, master_key: &str, url: Option<&str>, file: &Path) -> Result<(), Failure> {
    let mut target = match url {
        None => Target::Sqlite(open_sqlite(file)?),
        Some(url) => Target::Postgres(open_postgres(url).await?),
    };
    let hashes = &Hashes::open(master_key, &target.sealed_root().await?)?;
    let home = target.organization().await?;
    target.rows(people.size, |number| people.user(number, home)).await?;
    target.rows(people.size, |number| people.client_row(number, home)).await?;
    target.rows(people.size, |number| people.secret_row(number, hashes)).await?;
    target.rows(people.size, |number| people.session(number, hashes)).await?;
    target.rows(people.size, |number| people.consent(number)).await?;
    target.rows(people.grants, |number| people.grant(number)).await?;
    target.rows(people.grants, |number| people.refresh_row(number, hashes)).await?;
    target.finish(file).await
}

/// Octets that the database takes on the disk.
///
/// # Errors
/// When it can't be asked.
pub async fn size(url: Option<&str>, file: &Path) -> Result<u64, Failure> {
    let Some(url) = url else {
        let log = std::fs::metadata(file.with_extension("db-wal")).map_or(0, |log| log.len());
        return Ok(std::fs::metadata(file).during(format!("looking at {}", file.display()))?.len() + log);
    };
    let mut connection = PgConnection::connect(url).await.during("connecting to PostgreSQL")?;
    let size = sqlx::query_scalar::<_, i64>("SELECT pg_database_size(current_database())");
    let octets = size.fetch_one(&mut connection).await.during("asking for the size of the database")?;
    connection.close().await.during("closing a connection to PostgreSQL")?;
    u64::try_from(octets).during("the size of the database")
}

fn open_sqlite(file: &Path) -> Result<rusqlite::Connection, Failure> {
    let act = format!("opening {}", file.display());
    let connection = rusqlite::Connection::open(file).during(&act)?;
    // Nothing is lost if this breaks off: the run ends, and the file goes. The server sets its own mode again.
    let mode: String = connection.query_row("PRAGMA journal_mode = MEMORY", [], |row| row.get(0)).during(&act)?;
    if mode != "memory" {
        return Err(Failure::new(format!("{act}: another process uses it")));
    }
    connection
        .execute_batch("PRAGMA synchronous = OFF; PRAGMA cache_size = -500000; PRAGMA foreign_keys = OFF; BEGIN")
        .during(&act)?;
    Ok(connection)
}

async fn open_postgres(url: &str) -> Result<PgConnection, Failure> {
    let mut connection = PgConnection::connect(url).await.during("connecting to PostgreSQL")?;
    // Checks of foreign keys, which hold here by construction, would take most of the time; who may not turn them off
    // waits for them.
    let unchecked = connection.execute("SET session_replication_role = replica").await;
    if let Err(sqlx::Error::Database(refused)) = &unchecked
        && refused.code().as_deref() == Some("42501")
    {
        crate::say("the account may not put off foreign keys; filling takes longer");
        return Ok(connection);
    }
    unchecked.during("preparing to fill PostgreSQL")?;
    Ok(connection)
}

impl Target {
    /// The root secret of a database that one master key opens.
    async fn sealed_root(&mut self) -> Result<Vec<u8>, Failure> {
        let (select, act) = ("SELECT sealed_root FROM root_seals", "looking for the root secret");
        match self {
            Self::Sqlite(connection) => connection.query_row(select, [], |row| row.get(0)).during(act),
            Self::Postgres(connection) => sqlx::query_scalar(select).fetch_one(connection).await.during(act),
        }
    }

    async fn organization(&mut self) -> Result<Uuid, Failure> {
        let (select, act) = ("SELECT id FROM organizations", "looking for the organization");
        match self {
            Self::Sqlite(connection) => {
                let octets: Vec<u8> = connection.query_row(select, [], |row| row.get(0)).during(act)?;
                Uuid::from_slice(&octets).during(act)
            }
            Self::Postgres(connection) => {
                // As text, for the driver is built without UUIDs.
                let text: String =
                    sqlx::query_scalar("SELECT id::text FROM organizations").fetch_one(connection).await.during(act)?;
                Uuid::parse_str(&text).during(act)
            }
        }
    }

    /// Writes the rows 0 to `count`.
    async fn rows<R: Record>(&mut self, count: u64, row: impl Fn(u64) -> R) -> Result<(), Failure> {
        let act = format!("filling {}", R::TABLE);
        let columns = R::COLUMNS.iter().map(|column| format!("\"{column}\"")).collect::<Vec<_>>().join(", ");
        match self {
            Self::Sqlite(connection) => {
                let places = vec!["?"; R::COLUMNS.len()].join(", ");
                let insert = format!("INSERT INTO \"{}\" ({columns}) VALUES ({places})", R::TABLE);
                let mut statement = connection.prepare(&insert).during(&act)?;
                for number in 0..count {
                    let values = row(number).into_values();
                    statement.execute(rusqlite::params_from_iter(values.iter().map(Bound))).during(&act)?;
                    if number.is_multiple_of(BREATH) {
                        tokio::task::yield_now().await;
                    }
                }
            }
            Self::Postgres(connection) => {
                let copy = format!("COPY \"{}\" ({columns}) FROM STDIN", R::TABLE);
                let mut sink = connection.copy_in_raw(&copy).await.during(&act)?;
                let mut text = String::with_capacity(PIECE + 4_096);
                for number in 0..count {
                    copy_line(&mut text, &row(number).into_values()).during(&act)?;
                    if text.len() >= PIECE {
                        sink.send(text.as_bytes()).await.during(&act)?;
                        text.clear();
                    }
                }
                sink.send(text.as_bytes()).await.during(&act)?;
                let written = sink.finish().await.during(&act)?;
                if written != count {
                    return Err(Failure::new(format!("{act}: {written} rows of {count} were written")));
                }
            }
        }
        Ok(())
    }

    /// Commits, and leaves nothing to be done in the background while something is measured.
    async fn finish(self, file: &Path) -> Result<(), Failure> {
        match self {
            Self::Sqlite(connection) => {
                connection.execute_batch("COMMIT").during("committing the population")?;
                connection.close().map_err(|(_, error)| error).during("closing the database")?;
                let synced = std::fs::File::open(file).and_then(|file| file.sync_all());
                synced.during(format!("writing {} to the disk", file.display()))
            }
            Self::Postgres(mut connection) => {
                connection.execute("VACUUM ANALYZE").await.during("gathering PostgreSQL's statistics")?;
                match connection.execute("CHECKPOINT").await {
                    Err(sqlx::Error::Database(refused)) if refused.code().as_deref() == Some("42501") => {
                        crate::say("the account may not ask for a checkpoint; it may fall into a measurement");
                    }
                    outcome => outcome.map(|_| ()).during("writing PostgreSQL's pages to the disk")?,
                }
                connection.close().await.during("closing a connection to PostgreSQL")
            }
        }
    }
}

/// A value of an entity as SQLite takes it.
struct Bound<'v>(&'v Value);

impl rusqlite::ToSql for Bound<'_> {
    fn to_sql(&self) -> rusqlite::Result<ToSqlOutput<'_>> {
        Ok(ToSqlOutput::Borrowed(match self.0 {
            Value::BigInt(Some(number)) => ValueRef::Integer(*number),
            Value::Bool(Some(flag)) => ValueRef::Integer(i64::from(*flag)),
            Value::String(Some(text)) => ValueRef::Text(text.as_bytes()),
            Value::Bytes(Some(octets)) => ValueRef::Blob(octets),
            Value::Uuid(Some(id)) => ValueRef::Blob(id.as_bytes()),
            Value::BigInt(None) | Value::Bool(None) | Value::String(None) | Value::Bytes(None) | Value::Uuid(None) => {
                ValueRef::Null
            }
            other => {
                let unknown = Failure::new(format!("no column has a value such as {other:?}"));
                return Err(rusqlite::Error::ToSqlConversionFailure(Box::new(unknown)));
            }
        }))
    }
}

/// Appends a row in COPY's text format: tabs between the columns, a backslash before what would be taken for one.
fn copy_line(text: &mut String, values: &[Value]) -> Result<(), Failure> {
    for (place, value) in values.iter().enumerate() {
        if place > 0 {
            text.push('\t');
        }
        match value {
            Value::BigInt(Some(number)) => write!(text, "{number}").during("writing a number")?,
            Value::Bool(Some(flag)) => text.push(if *flag { 't' } else { 'f' }),
            Value::Uuid(Some(id)) => write!(text, "{id}").during("writing an id")?,
            Value::String(Some(words)) => {
                for character in words.chars() {
                    match character {
                        '\\' => text.push_str("\\\\"),
                        '\t' => text.push_str("\\t"),
                        '\n' => text.push_str("\\n"),
                        '\r' => text.push_str("\\r"),
                        plain => text.push(plain),
                    }
                }
            }
            Value::Bytes(Some(octets)) => {
                text.push_str("\\\\x");
                for octet in octets {
                    for digit in [octet >> 4, octet & 15] {
                        text.push(char::from_digit(u32::from(digit), 16).unwrap_or('0'));
                    }
                }
            }
            Value::BigInt(None) | Value::Bool(None) | Value::String(None) | Value::Bytes(None) | Value::Uuid(None) => {
                text.push_str("\\N");
            }
            other => return Err(Failure::new(format!("no column has a value such as {other:?}"))),
        }
    }
    text.push('\n');
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_of_copy_escapes_what_would_end_it() {
        let mut text = String::new();
        let values: Vec<Value> = vec![
            Uuid::nil().into(),
            "a\tb\\c\nd".into(),
            vec![0xde_u8, 0x0f].into(),
            true.into(),
            (-5_i64).into(),
            Option::<String>::None.into(),
        ];
        copy_line(&mut text, &values).unwrap();
        assert_eq!(text, "00000000-0000-0000-0000-000000000000\ta\\tb\\\\c\\nd\t\\\\xde0f\tt\t-5\t\\N\n");
        assert!(copy_line(&mut text, &[1.5_f64.into()]).is_err());
    }
}
