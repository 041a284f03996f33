//! What an act sees of a database: statements in, rows out.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use keyward_entities::{Cell, Cells, NULL, Record, StatementText};
use sea_orm::sea_query::{Alias, Query};
use sea_orm::{
    ConnectionTrait, DatabaseTransaction, DbBackend, DbErr, EntityTrait, QueryResult, QueryTrait, RuntimeErr, Select,
    SqlxError, Statement, StatementBuilder, Value,
};
use sqlx::error::BoxDynError;
use sqlx::pool::PoolConnection;
use sqlx::postgres::{PgArguments, PgConnection, PgPool, Postgres};
use sqlx::{Arguments, AssertSqlSafe};

use super::Change;
use crate::fault::Fault;

/// The connection that an act runs on.
#[derive(Debug)]
pub struct Act<'t> {
    pub(super) connection: Connection<'t>,
    /// What the act notes of itself.
    pub(super) notes: &'t Notes,
}

/// What an act notes of itself while it runs, for who runs it.
#[derive(Debug, Default)]
pub(super) struct Notes {
    /// It changes what every node keeps in memory.
    directory: AtomicBool,
    /// It ends what a token may rest on.
    ending: AtomicBool,
}

impl Notes {
    /// Clients, scopes, roles or keys are changed.
    pub(super) fn directory(&self) {
        self.directory.store(true, Ordering::Relaxed);
    }

    /// Something that a token may rest on is ended.
    pub(super) fn ending(&self) {
        self.ending.store(true, Ordering::Relaxed);
    }

    /// Whether anything was ended.
    pub(super) fn has_ended(&self) -> bool {
        self.ending.load(Ordering::Relaxed)
    }

    /// What every node is to hear of.
    pub(super) fn change(&self) -> Change {
        if self.directory.load(Ordering::Relaxed) { Change::Directory } else { Change::None }
    }
}

#[derive(Debug)]
pub(super) enum Connection<'t> {
    Sqlite(&'t mut rusqlite::Connection),
    Transaction(&'t DatabaseTransaction),
    /// Without a transaction: reads, and an [`Outcome`](super::outcome::Outcome) as one statement.
    Alone(Alone<'t>),
}

/// One connection of PostgreSQL's pool.
#[derive(Debug)]
pub(super) struct Alone<'t> {
    /// None before the first statement.
    connection: Option<PoolConnection<Postgres>>,
    pool: &'t PgPool,
    /// How many of the pool's may still be found dead; none once this one has answered.
    replaceable: u32,
}

impl<'t> Alone<'t> {
    /// Nothing is taken from the pool, which has so many connections at the most, before the first statement.
    pub(super) const fn of(pool: &'t PgPool, most_connections: u32) -> Self {
        Self { connection: None, pool, replaceable: most_connections }
    }

    /// Runs a statement. One that broke with its connection before any was answered has done nothing and is done again on
    /// another one: after a restart of PostgreSQL the pool may hold nothing but dead connections, and each goes when it is
    /// found out.
    async fn rows(&mut self, statement: Statement) -> Result<Vec<Row>, Fault> {
        loop {
            let mut open = match self.connection.take() {
                Some(open) => open,
                None => self.pool.acquire().await.map_err(unacquired)?,
            };
            match alone(&mut open, &statement).await {
                Err(error) if self.replaceable > 0 && was_dead(&error) => {
                    tracing::debug!(%error, "a connection of the pool was dead");
                    self.replaceable -= 1;
                    // Given back before another is asked for: who held it while waiting would keep its place from all.
                    drop(open);
                }
                outcome => {
                    self.connection = Some(open);
                    self.replaceable = 0;
                    return Ok(from_postgres(outcome?));
                }
            }
        }
    }
}

/// Whether the row that an act may spend is locked as it is read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Lock {
    /// It isn't: who only looks, and who spends it by a condition.
    None,
    /// It is.
    Update,
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
            Connection::Transaction(_) | Connection::Alone(_) => DbBackend::Postgres,
        }
    }

    /// How the row that is decided from is read: locked, where that holds until the end.
    pub(super) const fn lock(&self) -> Lock {
        if self.is_transaction() { Lock::Update } else { Lock::None }
    }

    /// From here on the connection isn't replaced: what is sent now must not be sent twice.
    pub(super) const fn once(&mut self) {
        if let Connection::Alone(alone) = &mut self.connection {
            alone.replaceable = 0;
        }
    }

    /// Whether what is read stays as it is until the act is over, once it is locked.
    pub const fn is_transaction(&self) -> bool {
        match self.connection {
            Connection::Sqlite(_) | Connection::Transaction(_) => true,
            Connection::Alone(_) => false,
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
            // On the heap: these futures are large, and an act on SQLite would carry the room for them.
            Connection::Transaction(transaction) => {
                Ok(from_postgres(Box::pin(transaction.query_all_raw(statement)).await?))
            }
            Connection::Alone(alone) => Box::pin(alone.rows(statement)).await,
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
            Connection::Transaction(transaction) => {
                Ok(Box::pin(transaction.execute_raw(statement)).await?.rows_affected())
            }
            Connection::Alone(_) => Err(Fault::broken("something is written outside of an act")),
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

/// A connection that could not be had.
fn unacquired(error: SqlxError) -> Fault {
    Fault::from(DbErr::Conn(RuntimeErr::SqlxError(Arc::new(error))))
}

/// Runs a statement on one connection of PostgreSQL.
async fn alone(connection: &mut PgConnection, statement: &Statement) -> Result<Vec<QueryResult>, DbErr> {
    let wrong = |error: SqlxError| DbErr::Query(RuntimeErr::SqlxError(Arc::new(error)));
    let mut arguments = PgArguments::default();
    for value in statement.values.iter().flat_map(|values| &values.0) {
        add(&mut arguments, value).map_err(|error| wrong(SqlxError::Encode(error)))?;
    }
    let query = sqlx::query_with(AssertSqlSafe(statement.sql.as_str()), arguments);
    let rows = query.fetch_all(connection).await.map_err(wrong)?;
    Ok(rows.into_iter().map(QueryResult::from).collect())
}

fn add(arguments: &mut PgArguments, value: &Value) -> Result<(), BoxDynError> {
    match value {
        Value::BigInt(number) => arguments.add(number),
        // LIMIT and OFFSET.
        Value::BigUnsigned(number) => arguments.add(number.map(i64::try_from).transpose()?),
        Value::Int(number) => arguments.add(number),
        Value::Bool(flag) => arguments.add(flag),
        Value::String(text) => arguments.add(text.as_deref()),
        Value::Bytes(octets) => arguments.add(octets.as_deref()),
        Value::Uuid(id) => arguments.add(id),
        other => Err(format!("no column has a value such as {other:?}").into()),
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
