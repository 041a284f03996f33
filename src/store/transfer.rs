//! Everything from a SQLite file to a PostgreSQL database, in one transaction there: it arrives whole or not at all.
//!
//! The file is locked against every other process before anything is done, until it is read. Its schema is brought to the
//! newest version under that lock; else it isn't changed. What is copied are the rows as the
//! entities have them, so a table that isn't in the list below fails the copy and is never left behind.

use std::path::{Path, PathBuf};
use std::time::Duration;

use keyward_entities::{
    Record, audit_event, authorization_code, client, client_audience, client_secret, consent, grant, group,
    group_member, group_role, opaque_token, organization, refresh_token, replay_mark, role, role_inclusion, root_seal,
    scope, server_fact, session, setup_link, signing_key, status_entry, status_list, user, user_role,
};
use rusqlite::{Connection as Sqlite, ErrorCode, OpenFlags};
use sea_orm::sea_query::{Alias, Expr, ExprTrait, Order, Query};
use sea_orm::{DbBackend, Statement, Value};

use super::act::{Connection, Notes, select_record};
use super::{Act, BackendKind, Store};
use crate::fault::Fault;

/// Rows of one insert. PostgreSQL takes 65,535 values in a statement, and the widest table has 22 columns.
const BATCH: u64 = 1000;

/// How far the copy is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Progress {
    /// The table that is being copied.
    pub table: &'static str,
    /// Rows of all tables that were copied so far.
    pub copied: u64,
    /// Rows of all tables.
    pub all: u64,
}

/// How a copy ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Transfer {
    /// Every row was copied, and both sides count the same: the tables with the numbers of their rows.
    Done(Vec<(&'static str, u64)>),
    /// This table of the target has rows. No row was changed.
    TargetNotEmpty(&'static str),
}

/// The tables in an order in which each comes behind those it refers to, and what is done with each.
macro_rules! for_each_table {
    ($run:ident) => {
        $run!(
            organization,
            user,
            client,
            client_secret,
            client_audience,
            role,
            role_inclusion,
            group,
            group_member,
            group_role,
            user_role,
            scope,
            session,
            consent,
            authorization_code,
            grant,
            refresh_token,
            opaque_token,
            status_list,
            status_entry,
            signing_key,
            root_seal,
            setup_link,
            replay_mark,
            audit_event,
            server_fact,
        )
    };
}

/// Tables in which the migrations put rows: in a database that nobody used they are the only ones.
const FILLED_BY_MIGRATIONS: [&str; 2] = ["organizations", "server_facts"];

macro_rules! names {
    ($($entity:ident,)*) => { [$(<$entity::Model as Record>::TABLE),*] };
}

/// A SQLite file that no other process can open while this lives.
#[derive(Debug)]
pub struct LockedSource {
    connection: Sqlite,
    path: PathBuf,
}

impl LockedSource {
    /// Locks the file, for which it waits as long as this; `None` where another process has it open. Changes nothing.
    ///
    /// # Errors
    /// Where the file can't be opened.
    pub fn lock(path: &Path, wait: Duration) -> Result<Option<Self>, Fault> {
        Ok(open_alone(path, wait)?.map(|connection| Self { connection, path: path.to_owned() }))
    }

    /// Brings the file to the newest schema, without letting it go.
    ///
    /// # Errors
    /// Where a change fails.
    pub async fn migrate(&self) -> Result<(), Fault> {
        super::sqlite::migrate_locked(&self.path).await
    }
}

impl Store {
    /// Copies the SQLite file here, and tells `progress` of each batch. Both must have the newest schema.
    ///
    /// # Errors
    /// Where this isn't PostgreSQL, either side fails, or they count differently in the end: then nothing was changed.
    pub async fn copy_from_sqlite<F>(&self, source: LockedSource, progress: F) -> Result<Transfer, Fault>
    where
        F: FnMut(Progress) + Send + 'static,
    {
        if self.kind() != BackendKind::Postgres {
            return Err(Fault::broken("rows can be copied to PostgreSQL only"));
        }
        // All is read as of one moment.
        source.connection.execute_batch("BEGIN IMMEDIATE")?;
        self.act(move |act| Box::pin(async move { copy_all(act, source.connection, progress).await })).await
    }
}

/// Opens the file so that no other process has it; `None` where one has. A connection in exclusive mode takes the lock at
/// its first read and keeps it, and every other connection to a database in WAL mode holds a shared one as long as it
/// is open. Lock and cache are shared with the connection of this process that changes the schema.
fn open_alone(path: &Path, wait: Duration) -> Result<Option<Sqlite>, Fault> {
    let connection =
        Sqlite::open_with_flags(path, OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_SHARED_CACHE)?;
    connection.busy_timeout(wait)?;
    connection.pragma_update(None, "locking_mode", "EXCLUSIVE")?;
    match connection.execute_batch("BEGIN IMMEDIATE; ROLLBACK") {
        Ok(()) => Ok(Some(connection)),
        Err(error)
            if matches!(error.sqlite_error_code(), Some(ErrorCode::DatabaseBusy | ErrorCode::DatabaseLocked)) =>
        {
            Ok(None)
        }
        Err(error) => Err(error.into()),
    }
}

async fn copy_all<F>(mut act: Act<'_>, mut source: Sqlite, mut progress: F) -> Result<Transfer, Fault>
where
    F: FnMut(Progress) + Send,
{
    let tables = for_each_table!(names);
    refuse_unknown_tables(&mut source, &tables)?;
    for table in tables {
        if !FILLED_BY_MIGRATIONS.contains(&table) && count(&mut act, table).await? > 0 {
            return Ok(Transfer::TargetNotEmpty(table));
        }
    }
    for table in FILLED_BY_MIGRATIONS {
        act.run(&Query::delete().from_table(Alias::new(table)).take()).await?;
    }
    let mut all = 0;
    for table in tables {
        all += count_source(&mut source, table)?;
    }
    let mut counts = Vec::new();
    let mut copied = 0;
    macro_rules! copy {
        ($($entity:ident,)*) => {$({
            let table = <$entity::Model as Record>::TABLE;
            let mut after = None;
            progress(Progress { table, copied, all });
            loop {
                let (rows, last) = read_batch::<$entity::Model>(&mut source, after)?;
                let Some(last) = last else { break };
                after = Some(last);
                let number = rows.len() as u64;
                insert_batch::<$entity::Model>(&mut act, rows).await?;
                copied += number;
                progress(Progress { table, copied, all });
            }
            let (here, there) = (count(&mut act, table).await?, count_source(&mut source, table)?);
            if here != there {
                return Err(Fault::broken(format_args!("of {there} rows of {table} {here} arrived; nothing was changed")));
            }
            counts.push((table, here));
        })*};
    }
    for_each_table!(copy);
    Ok(Transfer::Done(counts))
}

/// A table that the copy doesn't know must not be left behind.
fn refuse_unknown_tables(source: &mut Sqlite, known: &[&str]) -> Result<(), Fault> {
    let mut names = source.prepare("SELECT name FROM sqlite_master WHERE type = 'table'")?;
    let names = names.query_map([], |row| row.get::<_, String>(0))?.collect::<Result<Vec<_>, _>>()?;
    let unknown = names.iter().find(|name| {
        !known.contains(&name.as_str()) && name.as_str() != "seaql_migrations" && !name.starts_with("sqlite_")
    });
    match unknown {
        None => Ok(()),
        Some(name) => Err(Fault::broken(format_args!("the table {name} isn't known; nothing was changed"))),
    }
}

/// The next rows in the order of their key, and the key of the last.
fn read_batch<R: Record>(source: &mut Sqlite, after: Option<Value>) -> Result<(Vec<Vec<Value>>, Option<Value>), Fault> {
    let Some(&key) = R::COLUMNS.first() else { return Ok((Vec::new(), None)) };
    let mut select = select_record::<R>();
    if let Some(after) = after {
        select.and_where(Expr::col(Alias::new(key)).gt(Expr::val(after)));
    }
    select.order_by(Alias::new(key), Order::Asc).limit(BATCH);
    let statement = DbBackend::Sqlite.build(&select);
    let rows = on_source(source, |mut act| Box::pin(async move { act.rows(statement).await }))?;
    let mut batch = Vec::with_capacity(rows.len());
    for mut row in rows {
        batch.push(row.record::<R>()?.into_values());
    }
    let last = batch.last().and_then(|values: &Vec<Value>| values.first().cloned());
    Ok((batch, last))
}

async fn insert_batch<R: Record>(act: &mut Act<'_>, rows: Vec<Vec<Value>>) -> Result<(), Fault> {
    let mut insert = Query::insert();
    insert.into_table(Alias::new(R::TABLE)).columns(R::COLUMNS.iter().map(|&column| Alias::new(column)));
    for values in rows {
        insert.values(values.into_iter().map(Into::into)).map_err(Fault::broken)?;
    }
    act.run(&insert).await.map(drop)
}

async fn count(act: &mut Act<'_>, table: &'static str) -> Result<u64, Fault> {
    let statement = counting(act.backend(), table);
    let rows = act.rows(statement).await?;
    let number: i64 = rows.into_iter().next().ok_or_else(|| Fault::broken("nothing was counted"))?.take("count")?;
    u64::try_from(number).map_err(Fault::broken)
}

fn count_source(source: &mut Sqlite, table: &'static str) -> Result<u64, Fault> {
    on_source(source, |mut act| Box::pin(async move { count(&mut act, table).await }))
}

fn counting(dialect: DbBackend, table: &'static str) -> Statement {
    dialect.build(&Query::select().expr(Expr::cust("COUNT(*)")).from(Alias::new(table)).take())
}

/// Runs what reads the source, which answers in place.
fn on_source<T, F>(source: &mut Sqlite, read: F) -> Result<T, Fault>
where
    F: for<'t> FnOnce(Act<'t>) -> futures_util::future::BoxFuture<'t, Result<T, Fault>>,
{
    super::sqlite::now_or_never(read(Act { connection: Connection::Sqlite(source), notes: &Notes::default() }))
}
