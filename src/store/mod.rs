//! The only door to the databases: one file an aggregate, and an act is written once for SQLite and PostgreSQL.
//!
//! An act loads what a rule needs, calls the pure rule and writes what it decided, in one transaction. On PostgreSQL it
//! locks the rows it decides from; on SQLite one writer thread runs it, many acts to a commit (see `sqlite.rs`).

mod act;
mod gate;
mod issued_codes;
mod joint_looks;
mod outcome;
mod owner;
mod postgres;
mod redis;
mod removal;
mod sqlite;

pub mod access_token;
pub mod audit;
pub mod authorization;
pub mod cleanup;
pub mod client;
pub mod consent;
pub mod directory;
pub mod ephemeral;
pub mod grant;
pub mod notice;
pub mod presented;
pub mod refresh_token;
pub mod replay;
pub mod role;
pub mod root_seal;
pub mod schema;
pub mod scope;
pub mod session;
pub mod setup;
pub mod signing_key;
pub mod sole_server;
pub mod status_list;
pub mod transfer;
pub mod user;

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use futures_util::future::BoxFuture;
use uuid::Uuid;

pub use act::{Act, Row};

use self::redis::Redis;
use self::sqlite::Undoes;
use crate::fault::Fault;
use crate::settings::{RedisSettings, Synchronous};

/// The organization to which everything belongs until there are more (the first migration makes it).
pub const DEFAULT_ORGANIZATION: Uuid = Uuid::from_bytes([0, 0, 0, 0, 0, 0, 0x70, 0, 0x80, 0, 0, 0, 0, 0, 0, 1]);

/// Which database is used.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum BackendKind {
    /// A file.
    Sqlite,
    /// A server.
    Postgres,
}

/// How to open the store.
#[derive(Debug, Clone)]
pub struct StoreOptions {
    /// Connections for reading on SQLite, for everything on PostgreSQL.
    pub max_connections: u32,
    /// Acts that may be inside at once under standing overload.
    pub max_waiting: usize,
    /// How long a write waits for another process, in seconds.
    pub busy_timeout: u64,
    /// Memory for pages of SQLite's file, in KiB: of the writing connection; each reading one has a quarter.
    pub cache_kib: u32,
    /// SQLite's `synchronous`.
    pub synchronous: Synchronous,
}

impl Default for StoreOptions {
    fn default() -> Self {
        Self {
            max_connections: 10,
            max_waiting: 32,
            busy_timeout: 5,
            cache_kib: 16_384,
            synchronous: Synchronous::Full,
        }
    }
}

/// The database, and Redis where there is one.
#[derive(Debug)]
pub struct Store {
    backend: Backend,
    gate: Arc<gate::Gate>,
    redis: Option<Redis>,
    /// None where a look costs less than remembering.
    issued_codes: Option<issued_codes::IssuedCodes>,
    reads: AtomicU64,
    acts: AtomicU64,
}

#[derive(Debug)]
enum Backend {
    Sqlite(sqlite::Database),
    Postgres(Arc<postgres::Database>),
}

/// What an act left of the things that every node keeps in memory.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Change {
    /// They are as they were.
    None,
    /// Clients, scopes, roles or keys changed.
    Directory,
}

/// What an act may do to what tokens rest on: users, sessions, grants, clients.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Effect {
    /// It may end some of it.
    MayEnd,
    /// It adds and prolongs. Where it ends something after all, it notes that.
    Adds,
}

/// What an act is known to write before it is run.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Writes {
    /// One outcome, unless something rare is found.
    One,
    /// More.
    More,
}

/// An act that can be run twice; see [`Store::act_alone`].
type ActAlone<R, T> = for<'a, 't> fn(&'a mut Act<'t>, &'a R) -> BoxFuture<'a, Result<Option<T>, Fault>>;

impl Store {
    /// Opens a SQLite file, which is made if it isn't there.
    ///
    /// # Errors
    /// Where the file can't be opened.
    pub fn open_sqlite(path: &Path, options: &StoreOptions) -> Result<Self, Fault> {
        Ok(Self::on(Backend::Sqlite(sqlite::Database::open(path, options)?), options))
    }

    /// Opens a PostgreSQL database by its URL. The first connection is made by the first use.
    ///
    /// # Errors
    /// Where the URL can't be read.
    pub fn open_postgres(url: &str, options: &StoreOptions) -> Result<Self, Fault> {
        Ok(Self::on(Backend::Postgres(Arc::new(postgres::Database::open(url, options)?)), options))
    }

    fn on(backend: Backend, options: &StoreOptions) -> Self {
        let gate = Arc::new(gate::Gate::new(options.max_waiting));
        let issued_codes = match backend {
            Backend::Sqlite(_) => None,
            Backend::Postgres(_) => Some(issued_codes::IssuedCodes::default()),
        };
        Self { backend, gate, redis: None, issued_codes, reads: AtomicU64::new(0), acts: AtomicU64::new(0) }
    }

    /// Keeps state with a lifetime in Redis, and tells other nodes of changes through it. It is reached at its first use;
    /// where the settings name no URL everything stays in the database.
    ///
    /// # Errors
    /// Where the settings can't be used: a file that can't be read, say.
    pub fn with_redis(mut self, settings: &RedisSettings) -> Result<Self, Fault> {
        self.redis = Redis::open(settings)?;
        Ok(self)
    }

    /// Looks whether the Redis of the settings is there and is who it should be. That it is away keeps nobody from starting,
    /// for only what needs it waits; that is said in the log.
    ///
    /// # Errors
    /// Where it shows a certificate that isn't trusted.
    pub async fn greet_redis(&self) -> Result<(), Fault> {
        match &self.redis {
            None => Ok(()),
            Some(redis) => match redis.greet().await {
                Err(Fault::Unavailable(why)) => {
                    tracing::warn!(error = %why, "Redis can't be used; assertions of clients are refused until it can");
                    Ok(())
                }
                greeted => greeted,
            },
        }
    }

    /// How many reads and how many acts were begun since it was opened; reads for upkeep, which no request makes, don't count.
    pub fn uses(&self) -> (u64, u64) {
        (self.reads.load(Ordering::Relaxed), self.acts.load(Ordering::Relaxed))
    }

    /// Which database this is.
    pub const fn kind(&self) -> BackendKind {
        match self.backend {
            Backend::Sqlite(_) => BackendKind::Sqlite,
            Backend::Postgres(_) => BackendKind::Postgres,
        }
    }

    /// Gives back the connections of PostgreSQL; SQLite's go with the store.
    ///
    /// # Errors
    /// Where they can't be closed.
    pub async fn close(&self) -> Result<(), Fault> {
        match &self.backend {
            Backend::Sqlite(_) => Ok(()),
            Backend::Postgres(database) => database.close().await,
        }
    }

    /// Whether more come than can be served, so that some are refused.
    pub fn is_overloaded(&self) -> bool {
        self.gate.is_guarding()
    }

    /// Whether an act would be let in now: for those who would rather not begin what the act would refuse.
    ///
    /// # Errors
    /// [`Fault::Overloaded`] where it wouldn't.
    pub fn admits(&self) -> Result<(), Fault> {
        self.gate.admits()
    }

    /// Runs an act in a transaction: committed if it gives `Ok`, undone if it gives a fault.
    pub(crate) async fn act<T, F>(&self, act: F) -> Result<T, Fault>
    where
        T: Send + 'static,
        F: for<'t> FnOnce(Act<'t>) -> BoxFuture<'t, Result<T, Fault>> + Send + 'static,
    {
        self.acts.fetch_add(1, Ordering::Relaxed);
        self.act_in_transaction(Undoes::Itself, Effect::MayEnd, act).await
    }

    /// As [`Store::act`], for what ends nothing that a token may rest on.
    pub(crate) async fn act_adding<T, F>(&self, act: F) -> Result<T, Fault>
    where
        T: Send + 'static,
        F: for<'t> FnOnce(Act<'t>) -> BoxFuture<'t, Result<T, Fault>> + Send + 'static,
    {
        self.acts.fetch_add(1, Ordering::Relaxed);
        self.act_in_transaction(Undoes::Itself, Effect::Adds, act).await
    }

    /// How many times something that tokens rest on may have ended since the start: whoever finds the same number again
    /// knows that what stood before stands still, but for its own end and for what other processes do. `None` where other
    /// nodes do as much as this one.
    pub fn endings(&self) -> Option<u64> {
        match &self.backend {
            Backend::Sqlite(database) => Some(database.endings()),
            Backend::Postgres(_) => None,
        }
    }

    async fn act_in_transaction<T, F>(&self, undoes: Undoes, effect: Effect, act: F) -> Result<T, Fault>
    where
        T: Send + 'static,
        F: for<'t> FnOnce(Act<'t>) -> BoxFuture<'t, Result<T, Fault>> + Send + 'static,
    {
        let inside = self.gate.enter()?;
        let (outcome, change) = match &self.backend {
            Backend::Sqlite(database) => database.act(undoes, effect, act, inside).await?,
            Backend::Postgres(database) => {
                let done = Box::pin(database.act(act)).await?;
                drop(inside);
                done
            }
        };
        if change == Change::Directory {
            self.renew_snapshots();
            Box::pin(self.tell_of_change()).await;
        }
        Ok(outcome)
    }

    /// Runs an act that decides from rows which it needn't lock, and mostly writes one [`Outcome`](outcome::Outcome): on
    /// PostgreSQL without a transaction, on SQLite without a savepoint. `None` says that it needs a transaction after all; it
    /// is then run again in one, and once more where the database undoes that one. It ends nothing but grants.
    pub(crate) async fn act_alone<R, T>(&self, writes: Writes, request: R, act: ActAlone<R, T>) -> Result<T, Fault>
    where
        R: Send + Sync + 'static,
        T: Send + 'static,
    {
        self.acts.fetch_add(1, Ordering::Relaxed);
        if let (Backend::Postgres(database), Writes::One) = (&self.backend, writes) {
            let _inside = self.gate.enter()?;
            let notes = act::Notes::default();
            let mut own = Act { connection: database.alone().await?, notes: &notes };
            match act(&mut own, &request).await {
                Ok(Some(done)) => return Ok(done),
                Ok(None) => {}
                // One statement, and undone as a whole.
                Err(Fault::Undone(why)) => tracing::debug!(%why, "an act is tried again in a transaction"),
                Err(fault) => return Err(fault),
            }
        }
        let undoes = match writes {
            Writes::One => Undoes::All,
            Writes::More => Undoes::Itself,
        };
        let request = Arc::new(request);
        let in_transaction = || {
            let request = Arc::clone(&request);
            self.act_in_transaction(undoes, Effect::Adds, move |mut own| {
                Box::pin(async move {
                    let done = act(&mut own, &request).await?;
                    done.ok_or_else(|| Fault::broken("an act wants a transaction and has one"))
                })
            })
        };
        match in_transaction().await {
            // Nothing of it was done, and whoever it was in the way of goes on now.
            Err(Fault::Undone(why)) => {
                tracing::debug!(%why, "an act is tried again");
                in_transaction().await
            }
            outcome => outcome,
        }
    }

    /// Reads outside a transaction. On PostgreSQL a read waits for a connection as an act does, and passes the same gate.
    pub(crate) async fn read<T, F>(&self, read: F) -> Result<T, Fault>
    where
        T: Send,
        F: for<'t> FnOnce(Act<'t>) -> BoxFuture<'t, Result<T, Fault>> + Send,
    {
        let _inside = self.begin_read()?;
        self.read_for_upkeep(read).await
    }

    /// Counts a read, and lets it in where it waits for a connection.
    fn begin_read(&self) -> Result<Option<gate::Inside>, Fault> {
        self.reads.fetch_add(1, Ordering::Relaxed);
        match &self.backend {
            Backend::Sqlite(_) => Ok(None),
            Backend::Postgres(_) => self.gate.enter().map(Some),
        }
    }

    /// What is read from here on of what is kept is what the database has by now: for who has seen the directory's version
    /// change, before anything is kept under the new one.
    pub fn renew_snapshots(&self) {
        if let Backend::Sqlite(database) = &self.backend {
            database.renew_snapshots();
        }
    }

    /// The directory's version was looked at and is what it was, so that what is kept may be read where it was read before.
    pub fn let_snapshots_go(&self) {
        if let Backend::Sqlite(database) = &self.backend {
            database.let_snapshots_go();
        }
    }

    /// Reads what the server itself needs to go on; it is never refused for overload.
    pub(crate) async fn read_for_upkeep<T, F>(&self, read: F) -> Result<T, Fault>
    where
        T: Send,
        F: for<'t> FnOnce(Act<'t>) -> BoxFuture<'t, Result<T, Fault>> + Send,
    {
        match &self.backend {
            Backend::Sqlite(database) => database.read(read),
            Backend::Postgres(database) => Box::pin(database.read(read)).await,
        }
    }
}
