//! What an act sees of a database: statements in, rows out.

use std::sync::atomic::AtomicBool;

use keyward_entities::{Cell, Cells, NULL, Record, StatementText};
use sea_orm::sea_query::{Alias, Query};
use sea_orm::{
    ConnectionTrait, DatabaseConnection, DatabaseTransaction, DbBackend, DbErr, EntityTrait, QueryResult, QueryTrait,
    RuntimeErr, Select, SqlxError, Statement, StatementBuilder, Value,
};

use crate::fault::Fault;

/// The connection that an act runs on.
#[derive(Debug)]
pub struct Act<'t> {
    pub(super) connection: Connection<'t>,
    /// Set where the act changes what every node keeps in memory.
    pub(super) changed: &'t AtomicBool,
}

#[derive(Debug)]
pub(super) enum Connection<'t> {
    Sqlite(&'t mut rusqlite::Connection),
    Transaction(&'t DatabaseTransaction),
    /// Reads outside of a transaction.
    Pool {
        pool: &'t DatabaseConnection,
        /// The most that the pool holds.
        connections: u32,
    },
}

/// A row, read column by column in the order of the statement.
#[derive(Debug)]
pub struct Row {
    columns: Columns,
    next: usize,
}

#[derive(Debug)]
enum Columns {
    Sqlite(Vec<Value>),
    Postgres(QueryResult),
}

impl Row {
    /// Reads the next column.
    ///
    /// # Errors
    /// Where there is none or it is of another kind.
    pub fn take<T: Cell>(&mut self, column: &'static str) -> Result<T, Fault> {
        self.cell(column)
    }

    /// Reads the columns of an entity.
    ///
    /// # Errors
    /// As [`Row::take`].
    pub fn record<R: Record>(&mut self) -> Result<R, Fault> {
        R::read(self)
    }
}

impl Cells for Row {
    type Error = Fault;

    fn cell<T: Cell>(&mut self, column: &'static str) -> Result<T, Fault> {
        let index = self.next;
        self.next += 1;
        let wrong = || Fault::broken(format_args!("column {column} is missing or of another kind"));
        match &mut self.columns {
            Columns::Sqlite(values) => {
                let value = values.get_mut(index).ok_or_else(wrong)?;
                T::from_value(std::mem::replace(value, NULL)).ok_or_else(wrong)
            }
            Columns::Postgres(result) => T::try_get_by_index(result, index).map_err(|_| wrong()),
        }
    }
}

impl Act<'_> {
    /// The dialect that statements are built for.
    pub const fn backend(&self) -> DbBackend {
        match self.connection {
            Connection::Sqlite(_) => DbBackend::Sqlite,
            Connection::Transaction(_) | Connection::Pool { .. } => DbBackend::Postgres,
        }
    }

    /// Runs a statement that gives rows.
    ///
    /// # Errors
    /// Where the database is away or refuses the statement.
    pub async fn rows(&mut self, statement: Statement) -> Result<Vec<Row>, Fault> {
        match &mut self.connection {
            Connection::Sqlite(connection) => {
                let mut prepared = connection.prepare_cached(&statement.sql)?;
                let count = prepared.column_count();
                let mut found = prepared.query(bind(&statement))?;
                let mut rows = Vec::new();
                while let Some(row) = found.next()? {
                    let values =
                        (0..count).map(|index| row.get(index).map(from_sqlite)).collect::<Result<Vec<_>, _>>()?;
                    rows.push(Row { columns: Columns::Sqlite(values), next: 0 });
                }
                Ok(rows)
            }
            Connection::Transaction(transaction) => Ok(from_postgres(transaction.query_all_raw(statement).await?)),
            Connection::Pool { pool, connections } => {
                // A read that broke with its connection has done nothing and is done again on another one. The pool may
                // hold nothing but dead connections: each goes when it is found out.
                for _ in 0..*connections {
                    match pool.query_all_raw(statement.clone()).await {
                        Err(error) if was_dead(&error) => tracing::debug!(%error, "a connection of the pool was dead"),
                        outcome => return Ok(from_postgres(outcome?)),
                    }
                }
                Ok(from_postgres(pool.query_all_raw(statement).await?))
            }
        }
    }

    /// Runs a statement that changes rows, and gives their number.
    ///
    /// # Errors
    /// As [`Act::rows`].
    pub async fn exec(&mut self, statement: Statement) -> Result<u64, Fault> {
        match &mut self.connection {
            Connection::Sqlite(connection) => {
                let mut prepared = connection.prepare_cached(&statement.sql)?;
                Ok(prepared.execute(bind(&statement))? as u64)
            }
            Connection::Transaction(transaction) => Ok(transaction.execute_raw(statement).await?.rows_affected()),
            Connection::Pool { .. } => Err(Fault::broken("something is written outside of an act")),
        }
    }

    /// Builds and runs a changing statement of sea-query.
    ///
    /// # Errors
    /// As [`Act::rows`].
    pub async fn run<S: StatementBuilder>(&mut self, statement: &S) -> Result<u64, Fault> {
        let statement = self.backend().build(statement);
        self.exec(statement).await
    }

    /// Every row of a selection, as entities.
    ///
    /// # Errors
    /// As [`Act::rows`].
    pub async fn all<E: EntityTrait>(&mut self, select: Select<E>) -> Result<Vec<E::Model>, Fault>
    where
        E::Model: Record,
    {
        let statement = select.build(self.backend());
        self.rows(statement).await?.iter_mut().map(Row::record).collect()
    }

    /// The first row of a selection, as an entity.
    ///
    /// # Errors
    /// As [`Act::rows`].
    pub async fn one<E: EntityTrait>(&mut self, select: Select<E>) -> Result<Option<E::Model>, Fault>
    where
        E::Model: Record,
    {
        let statement = select.build(self.backend());
        self.rows(statement).await?.first_mut().map(Row::record).transpose()
    }

    /// Runs statements that change different rows, and gives how many each changed. On PostgreSQL they are one (a WITH of
    /// all of them), for there each statement is a way to another process and back.
    ///
    /// # Errors
    /// As [`Act::rows`].
    pub async fn together(&mut self, statements: Vec<Statement>) -> Result<Vec<u64>, Fault> {
        let mut counts = Vec::with_capacity(statements.len());
        if self.backend() == DbBackend::Sqlite || statements.len() < 2 {
            for statement in statements {
                counts.push(self.exec(statement).await?);
            }
            return Ok(counts);
        }
        let many = statements.len();
        let Some(mut row) = self.rows(as_one(statements)).await?.into_iter().next() else {
            return Err(Fault::broken("nothing was counted"));
        };
        for _ in 0..many {
            let count: i64 = row.take("count")?;
            counts.push(u64::try_from(count).map_err(Fault::broken)?);
        }
        Ok(counts)
    }

    /// Inserts an entity.
    ///
    /// # Errors
    /// As [`Act::rows`].
    pub async fn insert<R: Record>(&mut self, record: R) -> Result<(), Fault> {
        let statement = self.inserting(record);
        self.exec(statement).await.map(drop)
    }

    /// The statement that inserts an entity.
    pub fn inserting<R: Record>(&self, record: R) -> Statement {
        let values = record.into_values();
        let build = || {
            Query::insert()
                .into_table(Alias::new(R::TABLE))
                .columns(R::COLUMNS.iter().map(|&column| Alias::new(column)))
                .values_panic(values.iter().cloned().map(Into::into))
                .take()
        };
        let text = R::insert_text().get_or_build(self.backend(), || self.backend().build(&build()).sql);
        Statement::from_sql_and_values(self.backend(), text, values)
    }

    /// A statement on a hot path, whose text is always the same but for its values: `build` is called once for each
    /// dialect, and its values must be in the order of these.
    pub fn fixed<S: StatementBuilder>(
        &self,
        text: &'static StatementText,
        values: Vec<Value>,
        build: impl FnOnce() -> S,
    ) -> Statement {
        let text = text.get_or_build(self.backend(), || self.backend().build(&build()).sql);
        Statement::from_sql_and_values(self.backend(), text, values)
    }

    /// Whether a selection has any row.
    ///
    /// # Errors
    /// As [`Act::rows`].
    pub async fn exists<E: EntityTrait>(&mut self, select: Select<E>) -> Result<bool, Fault> {
        let statement = select.build(self.backend());
        Ok(!self.rows(statement).await?.is_empty())
    }
}

/// Changing statements of PostgreSQL as one, which gives a row with how many rows each changed.
fn as_one(statements: Vec<Statement>) -> Statement {
    let (mut parts, mut counts, mut values) = (String::from("WITH "), String::from(" SELECT "), Vec::new());
    for (index, statement) in statements.into_iter().enumerate() {
        let separator = if index == 0 { "" } else { ", " };
        let text = renumbered(&statement.sql, values.len());
        parts.push_str(&format!("{separator}w{index} AS ({text} RETURNING 1)"));
        counts.push_str(&format!("{separator}(SELECT COUNT(*) FROM w{index})"));
        values.extend(statement.values.map(|values| values.0).unwrap_or_default());
    }
    Statement::from_sql_and_values(DbBackend::Postgres, parts + &counts, values)
}

/// The text with its `$1` as `$1` behind so many values that come before. Statements are built: their texts have no `$`
/// but those of values.
fn renumbered(text: &str, before: usize) -> String {
    let mut pieces = text.split('$');
    let mut renumbered = pieces.next().unwrap_or_default().to_owned();
    for piece in pieces {
        let digits = piece.find(|character: char| !character.is_ascii_digit()).unwrap_or(piece.len());
        let (number, rest) = piece.split_at(digits);
        let number = number.parse::<usize>().unwrap_or_default() + before;
        renumbered.push_str(&format!("${number}{rest}"));
    }
    renumbered
}

/// Whether the connection broke, and not the database refused: the socket did, or the server ended the connection
/// before the statement came (PostgreSQL's 57P01 and 57P02, class 08).
pub(super) fn was_dead(error: &DbErr) -> bool {
    match error {
        DbErr::Conn(RuntimeErr::SqlxError(inner))
        | DbErr::Exec(RuntimeErr::SqlxError(inner))
        | DbErr::Query(RuntimeErr::SqlxError(inner)) => match &**inner {
            SqlxError::Io(_) => true,
            SqlxError::Database(refusal) => {
                refusal.code().is_some_and(|code| code.starts_with("08") || matches!(code.as_ref(), "57P01" | "57P02"))
            }
            _ => false,
        },
        _ => false,
    }
}

fn from_sqlite(value: rusqlite::types::Value) -> Value {
    match value {
        rusqlite::types::Value::Null => NULL,
        rusqlite::types::Value::Integer(number) => Value::BigInt(Some(number)),
        rusqlite::types::Value::Real(number) => Value::Double(Some(number)),
        rusqlite::types::Value::Text(text) => text.into(),
        rusqlite::types::Value::Blob(octets) => octets.into(),
    }
}

fn from_postgres(results: Vec<QueryResult>) -> Vec<Row> {
    results.into_iter().map(|result| Row { columns: Columns::Postgres(result), next: 0 }).collect()
}

fn bind(statement: &Statement) -> impl rusqlite::Params + '_ {
    let values = statement.values.as_ref().map_or(&[][..], |values| values.0.as_slice());
    rusqlite::params_from_iter(values.iter().map(Bound))
}

/// A value of sea-query as SQLite takes it.
struct Bound<'v>(&'v Value);

impl rusqlite::ToSql for Bound<'_> {
    fn to_sql(&self) -> rusqlite::Result<rusqlite::types::ToSqlOutput<'_>> {
        use rusqlite::types::{ToSqlOutput, ValueRef};
        let value = match self.0 {
            Value::BigInt(Some(number)) => ValueRef::Integer(*number),
            Value::BigUnsigned(Some(number)) => ValueRef::Integer(i64::try_from(*number).unwrap_or(i64::MAX)),
            Value::Int(Some(number)) => ValueRef::Integer(i64::from(*number)),
            Value::Bool(Some(flag)) => ValueRef::Integer(i64::from(*flag)),
            Value::String(Some(text)) => ValueRef::Text(text.as_bytes()),
            Value::Bytes(Some(octets)) => ValueRef::Blob(octets),
            Value::Uuid(Some(id)) => ValueRef::Blob(id.as_bytes()),
            Value::BigInt(None)
            | Value::BigUnsigned(None)
            | Value::Int(None)
            | Value::Bool(None)
            | Value::String(None)
            | Value::Bytes(None)
            | Value::Uuid(None) => ValueRef::Null,
            other => {
                let wrong = Fault::broken(format_args!("no column has a value such as {other:?}"));
                return Err(rusqlite::Error::ToSqlConversionFailure(Box::new(wrong)));
            }
        };
        Ok(ToSqlOutput::Borrowed(value))
    }
}

/// A selection of an entity's columns, in the order in which [`Row::record`] reads them; more may be added behind.
pub fn select_record<R: Record>() -> sea_orm::sea_query::SelectStatement {
    let mut select = Query::select();
    select.from(Alias::new(R::TABLE));
    for &column in R::COLUMNS {
        select.column((Alias::new(R::TABLE), Alias::new(column)));
    }
    select
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn statements_are_put_together() {
        let statement = |text: &str, values: &[i64]| {
            Statement::from_sql_and_values(DbBackend::Postgres, text, values.iter().map(|&value| value.into()))
        };
        let one = as_one(vec![
            statement("UPDATE a SET b = $1 WHERE c = $2 AND d IS NULL", &[1, 2]),
            statement("INSERT INTO a (b, c) VALUES ($1, $2)", &[3, 4]),
            statement("DELETE FROM e", &[]),
            statement("DELETE FROM e WHERE f=$1", &[5]),
        ]);
        assert_eq!(
            one.sql,
            "WITH w0 AS (UPDATE a SET b = $1 WHERE c = $2 AND d IS NULL RETURNING 1), \
             w1 AS (INSERT INTO a (b, c) VALUES ($3, $4) RETURNING 1), w2 AS (DELETE FROM e RETURNING 1), \
             w3 AS (DELETE FROM e WHERE f=$5 RETURNING 1) SELECT (SELECT COUNT(*) FROM w0), \
             (SELECT COUNT(*) FROM w1), (SELECT COUNT(*) FROM w2), (SELECT COUNT(*) FROM w3)"
        );
        let values: Vec<Value> = (1..=5_i64).map(Value::from).collect();
        assert_eq!(one.values.unwrap().0, values);
    }
}
