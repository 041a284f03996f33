//! SQLite: one writer thread with group commit, and a few connections that read in place.
//!
//! The writer takes up to 256 waiting acts into one `BEGIN IMMEDIATE … COMMIT`, those of many statements each in a savepoint of its
//! own, and answers only after the commit: one wait for the disk serves them all. Reads run on the calling thread, for a point
//! read takes a few microseconds and handing it to another thread takes ten times that.

mod kept_snapshots;
mod readers;

use std::cell::Cell;
use std::future::Future;
use std::path::{Path, PathBuf};
use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use futures_util::future::BoxFuture;
use keyward_migration::{Migrator, MigratorTrait};
use rusqlite::Connection as Sqlite;
use sea_orm::{ConnectOptions, Database as SeaOrm, DatabaseConnection};
use tokio::sync::{mpsc, oneshot};

use self::kept_snapshots::KeptSnapshots;
use self::readers::Readers;
use super::act::{Connection, Notes};
use super::{Act, Change, Effect, StoreOptions};
use crate::fault::Fault;
use crate::settings::Synchronous;

/// Acts that share one commit at the most.
const BATCH: usize = 256;
/// Pages that the write-ahead log takes up before they are written to the database. A page that is changed again and again
/// goes there once, and the wait for that comes seldom: with 1,000 pages, SQLite's own number, a refresh is an eighth dearer.
const LOG_PAGES: i32 = 16_000;
/// Acts that may wait; more callers wait before they are queued.
const QUEUE: usize = 1024;

/// Runs inside the transaction. Where none could be begun, it gets the fault instead.
type Job = Box<dyn FnOnce(Result<&mut Sqlite, &Fault>) -> Left + Send>;
type Answer = Box<dyn FnOnce(Result<(), &Fault>) + Send>;

/// What a job leaves behind.
struct Left {
    /// Answers the caller after the commit.
    answer: Answer,
    transaction: Transaction,
    /// Something that tokens rest on may have ended.
    ended: bool,
}

/// What an act leaves of the transaction that it shares.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Transaction {
    /// It goes on: the act is in it whole or not at all.
    Stands,
    /// SQLite has undone it, or part of an act can't be taken out of it: nothing in it may be committed.
    Lost,
}

/// What a fault of an act undoes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Undoes {
    /// The act, and no other.
    Itself,
    /// Where the act has written by then, all that share the transaction: they are told that the database is unavailable.
    /// For acts that write once they are decided, so that nothing but a broken database or program can fail them; a
    /// savepoint makes SQLite copy each page before it is written.
    All,
}

#[derive(Debug)]
pub(super) struct Database {
    path: PathBuf,
    // Closed before the writer: the connection that closes last writes the log back and removes it, if it may write.
    readers: Readers,
    kept_snapshots: Arc<KeptSnapshots>,
    writer: mpsc::Sender<Job>,
    /// Transactions by which something that tokens rest on may have ended; never 0.
    endings: Arc<AtomicU64>,
}

impl Database {
    pub(super) fn open(path: &Path, options: &StoreOptions) -> Result<Self, Fault> {
        Self::open_with(path, options, LOG_PAGES)
    }

    fn open_with(path: &Path, options: &StoreOptions, log_pages: i32) -> Result<Self, Fault> {
        let connection = open_writer(path, options, log_pages)?;
        let (writer, jobs) = mpsc::channel(QUEUE);
        let endings = Arc::new(AtomicU64::new(1));
        let kept_snapshots = Arc::new(KeptSnapshots::new(Readers::new(path, options)));
        std::thread::Builder::new()
            .name("sqlite-writer".into())
            .spawn({
                let (endings, kept_snapshots) = (Arc::clone(&endings), Arc::clone(&kept_snapshots));
                move || write(connection, jobs, &endings, kept_snapshots, log_pages)
            })
            .map_err(Fault::broken)?;
        let readers = Readers::new(path, options);
        Ok(Self { path: path.to_owned(), readers, kept_snapshots, writer, endings })
    }

    /// See [`Store::endings`](super::Store::endings).
    pub(super) fn endings(&self) -> u64 {
        self.endings.load(Ordering::Acquire)
    }

    pub(super) async fn migrate(&self) -> Result<(), Fault> {
        migrate(&self.path, "mode=rwc").await
    }

    /// Runs an act, and drops `held` when it is done: whoever asked for it may come to know much later.
    pub(super) async fn act<T, F>(
        &self,
        undoes: Undoes,
        effect: Effect,
        act: F,
        held: impl Send + 'static,
    ) -> Result<(T, Change), Fault>
    where
        T: Send + 'static,
        F: for<'t> FnOnce(Act<'t>) -> BoxFuture<'t, Result<T, Fault>> + Send + 'static,
    {
        let (sender, receiver) = oneshot::channel();
        let job: Job = Box::new(move |connection| {
            let notes = Notes::default();
            let (outcome, transaction) = match (connection, undoes) {
                (Ok(connection), Undoes::Itself) => in_savepoint(connection, &notes, act),
                (Ok(connection), Undoes::All) => in_transaction(connection, &notes, act),
                (Err(fault), _) => (Err(fault.again()), Transaction::Lost),
            };
            let outcome = outcome.map(|outcome| (outcome, notes.change()));
            let answer: Answer = Box::new(move |committed| {
                drop(held);
                let answer = match committed {
                    Ok(()) => outcome,
                    // A fault of its own says more than that of the commit.
                    Err(fault) => outcome.and_then(|_| Err(fault.again())),
                };
                // A caller that went away doesn't want the answer.
                let _ = sender.send(answer);
            });
            Left { answer, transaction, ended: effect == Effect::MayEnd || notes.has_ended() }
        });
        self.writer.send(job).await.map_err(|_| Fault::broken("the database's writer has stopped"))?;
        receiver.await.map_err(|_| Fault::broken("the database's writer has stopped"))?
    }

    pub(super) fn read<T, F>(&self, read: F) -> Result<T, Fault>
    where
        F: for<'t> FnOnce(Act<'t>) -> BoxFuture<'t, Result<T, Fault>>,
    {
        let mut place = self.readers.take()?;
        read_on(self.readers.connection(&mut place)?, read)
    }

    /// As [`Database::read`], on a snapshot that is no older than the last [`Database::renew_snapshots`].
    pub(super) fn read_kept<T, F>(&self, read: F) -> Result<T, Fault>
    where
        F: for<'t> FnOnce(Act<'t>) -> BoxFuture<'t, Result<T, Fault>>,
    {
        self.kept_snapshots.read(|connection| read_on(connection, read))
    }

    /// What [`Database::read_kept`] reads from here on is what the database has by now.
    pub(super) fn renew_snapshots(&self) {
        self.kept_snapshots.renew();
    }

    /// What [`Database::read_kept`] reads is as it was: snapshots that are used are kept, but none for long.
    pub(super) fn let_snapshots_go(&self) {
        self.kept_snapshots.let_go();
    }
}

fn read_on<T, F>(connection: &mut Sqlite, read: F) -> Result<T, Fault>
where
    F: for<'t> FnOnce(Act<'t>) -> BoxFuture<'t, Result<T, Fault>>,
{
    now_or_never(read(Act { connection: Connection::Sqlite(connection), notes: &Notes::default() }))
}

/// Brings a file to the newest schema that this process has locked by a connection with a shared cache.
pub(super) async fn migrate_locked(path: &Path) -> Result<(), Fault> {
    migrate(path, "mode=rw&cache=shared").await
}

/// Runs the changes that are missing on a connection of its own, opened with these parameters.
async fn migrate(path: &Path, parameters: &str) -> Result<(), Fault> {
    let connection = migration_connection(path, parameters).await?;
    let result = Migrator::up(&connection, None).await;
    connection.close().await?;
    Ok(result?)
}

async fn migration_connection(path: &Path, parameters: &str) -> Result<DatabaseConnection, Fault> {
    let mut url = url::Url::parse("sqlite:///").map_err(Fault::broken)?;
    let absolute = std::path::absolute(path).map_err(Fault::broken)?;
    url.set_path(&absolute.to_string_lossy());
    url.set_query(Some(parameters));
    let mut options = ConnectOptions::new(url.to_string());
    options.max_connections(1).sqlx_logging(false);
    Ok(SeaOrm::connect(options).await?)
}

fn open_writer(path: &Path, options: &StoreOptions, log_pages: i32) -> Result<Sqlite, Fault> {
    let connection = Sqlite::open(path)?;
    connection.busy_timeout(Duration::from_secs(options.busy_timeout))?;
    connection.set_prepared_statement_cache_capacity(256);
    // Counts for a new file only: pages that are left over can then be given back (see `cleanup.rs`).
    connection.pragma_update(None, "auto_vacuum", "INCREMENTAL")?;
    // Readers and the writer don't hinder each other only by its log. A file system without shared memory has none.
    let mode: String = connection.pragma_update_and_check(None, "journal_mode", "WAL", |row| row.get(0))?;
    if !mode.eq_ignore_ascii_case("wal") {
        return Err(Fault::broken(format_args!("SQLite can't keep a write-ahead log here; its journal is {mode:?}")));
    }
    let synchronous = match options.synchronous {
        Synchronous::Full => "FULL",
        Synchronous::Normal => "NORMAL",
    };
    connection.pragma_update(None, "synchronous", synchronous)?;
    connection.pragma_update(None, "foreign_keys", true)?;
    connection.pragma_update(None, "temp_store", "MEMORY")?;
    connection.pragma_update(None, "cache_size", -i64::from(options.cache_kib))?;
    connection.pragma_update(None, "journal_size_limit", i64::from(log_pages) * 4096)?;
    // In place of SQLite's own, which writes the log back whoever reads in it (see `write_back`).
    connection.pragma_update(None, "wal_autocheckpoint", 0)?;
    connection.wal_hook(Some(|_, pages| {
        PAGES_IN_LOG.set(pages);
        Ok(())
    }));
    Ok(connection)
}

thread_local! {
    /// Pages in the log of the connection that committed last on this thread; a writer thread has one.
    static PAGES_IN_LOG: Cell<i32> = const { Cell::new(0) };
}

/// The writer thread: it ends when the store is dropped.
fn write(
    mut connection: Sqlite,
    mut jobs: mpsc::Receiver<Job>,
    endings: &AtomicU64,
    kept_snapshots: Arc<KeptSnapshots>,
    log_pages: i32,
) {
    let mut log_is_written = true;
    while let Some(first) = jobs.blocking_recv() {
        let mut answers = Vec::new();
        if let Err(fault) = connection.execute_batch("BEGIN IMMEDIATE").map_err(Fault::from) {
            tracing::error!(error = %fault, "the database refused a transaction");
            (first(Err(&fault)).answer)(Err(&fault));
            continue;
        }
        let Left { answer, mut transaction, mut ended } = first(Ok(&mut connection));
        answers.push(answer);
        while transaction == Transaction::Stands
            && answers.len() < BATCH
            && let Ok(job) = jobs.try_recv()
        {
            let left = job(Ok(&mut connection));
            answers.push(left.answer);
            transaction = left.transaction;
            ended |= left.ended;
        }
        let committed = match transaction {
            Transaction::Stands => connection.execute_batch("COMMIT").map_err(Fault::from),
            Transaction::Lost => Err(Fault::Unavailable("the database undid the transaction".to_owned())),
        };
        if let Err(fault) = &committed {
            tracing::error!(error = %fault, acts = answers.len(), "nothing was committed");
            if !connection.is_autocommit()
                && let Err(error) = connection.execute_batch("ROLLBACK")
            {
                tracing::error!(%error, "the database refused a rollback");
            }
        }
        // Before anybody is told: who looks after that finds what has ended ended.
        if ended {
            endings.fetch_add(1, Ordering::Release);
        }
        for answer in answers {
            answer(committed.as_ref().map(|&()| ()));
        }
        if PAGES_IN_LOG.take() >= log_pages {
            let written = kept_snapshots.while_none_is_kept(|| write_back(&connection));
            // Tried again with the next commit; said once.
            if let Err(error) = &written
                && log_is_written
            {
                tracing::warn!(%error, "the database's log can't be written back; it grows until it can");
            }
            log_is_written = written.is_ok();
        }
    }
    // Before the connection that may write.
    drop(kept_snapshots);
}

/// Writes the log back to the file, as far as nobody reads what was there before; the next transaction then begins it anew.
fn write_back(connection: &Sqlite) -> rusqlite::Result<()> {
    connection.prepare_cached("PRAGMA wal_checkpoint(PASSIVE)")?.query_row([], |_| Ok(()))
}

/// Runs an act so that a fault undoes it and nothing else. Some faults (a full disk, a failing one, no memory) make
/// SQLite undo the whole transaction: a savepoint after that would begin another and be committed by its release.
fn in_savepoint<T, F>(connection: &mut Sqlite, notes: &Notes, act: F) -> (Result<T, Fault>, Transaction)
where
    F: for<'t> FnOnce(Act<'t>) -> BoxFuture<'t, Result<T, Fault>>,
{
    let run = |connection: &Sqlite, statement: &str| -> Result<(), Fault> {
        connection.prepare_cached(statement)?.execute([])?;
        Ok(())
    };
    if let Err(fault) = run(connection, "SAVEPOINT act") {
        return (Err(fault), left(connection));
    }
    let outcome = run_act(connection, notes, act);
    if left(connection) == Transaction::Lost {
        return (outcome, Transaction::Lost);
    }
    let undone = if outcome.is_err() { run(connection, "ROLLBACK TO act") } else { Ok(()) };
    match undone.and_then(|()| run(connection, "RELEASE act")) {
        Ok(()) => (outcome, left(connection)),
        Err(fault) => {
            tracing::error!(error = %fault, "the database refused to end a savepoint");
            (outcome.and(Err(fault)), Transaction::Lost)
        }
    }
}

/// Runs an act so that a fault after a write loses the transaction.
fn in_transaction<T, F>(connection: &mut Sqlite, notes: &Notes, act: F) -> (Result<T, Fault>, Transaction)
where
    F: for<'t> FnOnce(Act<'t>) -> BoxFuture<'t, Result<T, Fault>>,
{
    let before = connection.total_changes();
    let outcome = run_act(connection, notes, act);
    match outcome.is_ok() || connection.total_changes() == before {
        true => (outcome, left(connection)),
        false => (outcome, Transaction::Lost),
    }
}

fn run_act<T, F>(connection: &mut Sqlite, notes: &Notes, act: F) -> Result<T, Fault>
where
    F: for<'t> FnOnce(Act<'t>) -> BoxFuture<'t, Result<T, Fault>>,
{
    now_or_never(act(Act { connection: Connection::Sqlite(connection), notes }))
}

/// Whether SQLite is still in the transaction that was begun.
fn left(connection: &Sqlite) -> Transaction {
    if connection.is_autocommit() { Transaction::Lost } else { Transaction::Stands }
}

/// An act on SQLite waits for nothing but the database, which answers in place: its future is ready at the first look.
pub(super) fn now_or_never<T>(future: impl Future<Output = Result<T, Fault>>) -> Result<T, Fault> {
    match pin!(future).poll(&mut Context::from_waker(Waker::noop())) {
        Poll::Ready(outcome) => outcome,
        Poll::Pending => Err(Fault::broken("an act on SQLite waited for something other than the database")),
    }
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc::sync_channel;

    use sea_orm::{DbBackend, Statement};

    use super::*;

    async fn write_row(database: &Database, octets: usize) -> Result<u64, Fault> {
        let written = database
            .act(
                Undoes::Itself,
                Effect::MayEnd,
                move |mut act| {
                    Box::pin(async move {
                        let insert = "INSERT INTO rows (content) VALUES (?)";
                        let content = vec![7_u8; octets];
                        act.exec(Statement::from_sql_and_values(DbBackend::Sqlite, insert, [content.into()])).await
                    })
                },
                (),
            )
            .await;
        written.map(|(rows, _)| rows)
    }

    async fn run(database: &Database, statement: &'static str) -> Result<usize, Fault> {
        let rows = database.act(
            Undoes::Itself,
            Effect::MayEnd,
            move |mut act| {
                Box::pin(async move { Ok(act.rows(Statement::from_string(DbBackend::Sqlite, statement)).await?.len()) })
            },
            (),
        );
        rows.await.map(|(rows, _)| rows)
    }

    /// A full disk makes SQLite undo the transaction that many acts share: none of them may be told that it was done,
    /// and what is told to be done is there.
    #[tokio::test(flavor = "multi_thread")]
    async fn a_full_disk_fails_every_act_of_the_transaction() {
        let folder = tempfile::TempDir::new().unwrap();
        let path = folder.path().join("full.db");
        let database = Arc::new(Database::open(&path, &StoreOptions::default()).unwrap());
        run(&database, "CREATE TABLE rows (content BLOB NOT NULL)").await.unwrap();
        run(&database, "PRAGMA max_page_count = 16").await.unwrap();

        // An act that waits for the others to be queued leads the batch.
        let (go, wait) = sync_channel::<()>(0);
        let (leads, led) = oneshot::channel();
        let leader = Arc::clone(&database);
        let leader = tokio::spawn(async move {
            leader
                .act(
                    Undoes::Itself,
                    Effect::MayEnd,
                    move |mut act| {
                        Box::pin(async move {
                            let _ = leads.send(());
                            wait.recv().map_err(Fault::broken)?;
                            let insert = "INSERT INTO rows (content) VALUES (x'01')";
                            act.exec(Statement::from_string(DbBackend::Sqlite, insert)).await
                        })
                    },
                    (),
                )
                .await
        });
        led.await.unwrap();
        let mut acts = Vec::new();
        for (index, octets) in [10, 1_000_000, 10].into_iter().enumerate() {
            let queued = Arc::clone(&database);
            acts.push(tokio::spawn(async move { write_row(&queued, octets).await }));
            while database.writer.capacity() > QUEUE - 1 - index {
                tokio::task::yield_now().await;
            }
        }
        go.send(()).unwrap();
        let leader = leader.await.unwrap();
        let mut outcomes = Vec::new();
        for act in acts {
            outcomes.push(act.await.unwrap());
        }
        assert!(matches!(leader, Err(Fault::Unavailable(_))), "{leader:?}");
        assert!(matches!(outcomes[0], Err(Fault::Unavailable(_))), "{outcomes:?}");
        assert!(matches!(outcomes[1], Err(Fault::Unavailable(_))), "{outcomes:?}");
        assert!(matches!(outcomes[2], Ok(1)), "the next transaction is sound: {outcomes:?}");
        assert_eq!(run(&database, "SELECT 1 FROM rows").await.unwrap(), 1);
    }

    /// An act that is broken on purpose, after it has written a row or before.
    async fn break_off(database: &Database, undoes: Undoes, writes: bool) -> Result<(), Fault> {
        let broken = database.act(
            undoes,
            Effect::MayEnd,
            move |mut act| {
                Box::pin(async move {
                    if writes {
                        let insert = "INSERT INTO rows (content) VALUES (x'02')";
                        act.exec(Statement::from_string(DbBackend::Sqlite, insert)).await?;
                    }
                    Err(Fault::broken("on purpose"))
                })
            },
            (),
        );
        broken.await.map(drop::<((), Change)>)
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn a_fault_undoes_what_it_may() {
        let folder = tempfile::TempDir::new().unwrap();
        let database = Database::open(&folder.path().join("acts.db"), &StoreOptions::default()).unwrap();
        run(&database, "CREATE TABLE rows (content BLOB NOT NULL)").await.unwrap();
        let mut rows = 0;
        for (undoes, writes, others_stand) in
            [(Undoes::Itself, true, true), (Undoes::All, false, true), (Undoes::All, true, false)]
        {
            // One after the other in the queue before the writer comes to them: it is held up by the first.
            let (go, wait) = sync_channel::<()>(0);
            let (leads, led) = oneshot::channel();
            let leader = database.act(
                Undoes::Itself,
                Effect::MayEnd,
                move |_| {
                    Box::pin(async move {
                        let _ = leads.send(());
                        wait.recv().map_err(Fault::broken)
                    })
                },
                (),
            );
            let let_go = async {
                led.await.unwrap();
                while database.writer.capacity() > QUEUE - 3 {
                    tokio::task::yield_now().await;
                }
                tokio::task::spawn_blocking(move || go.send(())).await.unwrap().unwrap();
            };
            let (_, before, broken, after, ()) = tokio::join!(
                leader,
                write_row(&database, 1),
                break_off(&database, undoes, writes),
                write_row(&database, 1),
                let_go
            );
            assert!(matches!(broken, Err(Fault::Broken(_))), "{undoes:?}: {broken:?}");
            match others_stand {
                true => assert!(before.is_ok(), "{undoes:?} {writes}: {before:?}"),
                false => assert!(matches!(before, Err(Fault::Unavailable(_))), "{before:?}"),
            }
            // What comes behind a lost transaction is in the next.
            assert!(after.is_ok(), "{undoes:?} {writes}: {after:?}");
            rows += usize::from(others_stand) + 1;
            assert_eq!(run(&database, "SELECT 1 FROM rows").await.unwrap(), rows);
        }
    }

    /// How many rows there are on the kept snapshot.
    fn kept(database: &Database) -> usize {
        let read = database.read_kept(|mut act| {
            Box::pin(async move {
                let select = "SELECT 1 FROM rows";
                Ok(act.rows(Statement::from_string(DbBackend::Sqlite, select)).await?.len())
            })
        });
        read.unwrap()
    }

    #[tokio::test]
    async fn a_snapshot_is_kept_until_it_is_renewed() {
        let folder = tempfile::TempDir::new().unwrap();
        let database = Database::open(&folder.path().join("kept.db"), &StoreOptions::default()).unwrap();
        run(&database, "CREATE TABLE rows (content BLOB NOT NULL)").await.unwrap();
        assert_eq!(kept(&database), 0);
        write_row(&database, 10).await.unwrap();
        assert_eq!(kept(&database), 0);
        database.renew_snapshots();
        assert_eq!(kept(&database), 1);
        // One that is used is kept, though not for ever; one that isn't used is let go.
        write_row(&database, 10).await.unwrap();
        let mut looks = 0;
        while kept(&database) == 1 {
            database.let_snapshots_go();
            looks += 1;
        }
        assert_eq!((looks, kept(&database)), (8, 2));
        write_row(&database, 10).await.unwrap();
        database.let_snapshots_go();
        assert_eq!(kept(&database), 2);
        database.let_snapshots_go();
        database.let_snapshots_go();
        assert_eq!(kept(&database), 3);
        // What fails leaves no snapshot behind.
        let failed = database.read_kept(|_| Box::pin(async { Err::<(), _>(Fault::broken("on purpose")) }));
        assert!(failed.is_err());
        write_row(&database, 10).await.unwrap();
        assert_eq!(kept(&database), 4);
    }

    /// Who reads on one snapshot after the other must not keep the log from being written back and begun anew.
    #[tokio::test]
    async fn the_log_stays_short_while_snapshots_are_kept() {
        const PAGES: i32 = 100;
        let folder = tempfile::TempDir::new().unwrap();
        let path = folder.path().join("log.db");
        let database = Database::open_with(&path, &StoreOptions::default(), PAGES).unwrap();
        run(&database, "CREATE TABLE rows (content BLOB NOT NULL)").await.unwrap();
        for round in 0..60 {
            // Nine pages and those above them.
            write_row(&database, 9 * 4096).await.unwrap();
            kept(&database);
            if round % 7 == 0 {
                database.renew_snapshots();
                kept(&database);
            }
        }
        let log = std::fs::metadata(path.with_extension("db-wal")).unwrap().len();
        // The pages of the transaction that went beyond the limit, and what a page of the log has beside its content.
        let most = u64::try_from(PAGES + 20).unwrap() * (4096 + 24) + 32;
        assert!(log <= most, "{log} octets of log, at the most {most} were expected");
        database.renew_snapshots();
        assert_eq!(kept(&database), 60);
    }
}
