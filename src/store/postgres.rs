//! PostgreSQL: a fixed pool, and a transaction for each act.

use std::sync::Arc;
use std::time::Duration;

use futures_util::future::BoxFuture;
use keyward_migration::{Migrator, MigratorTrait};
use sea_orm::{
    ConnectOptions, ConnectionTrait, Database as SeaOrm, DatabaseConnection, DatabaseTransaction, SqlxError,
    TransactionTrait,
};
use sqlx::postgres::PgListener;
use tokio::sync::OnceCell;

use super::act::{Alone, Connection, Notes, was_dead};
use super::client::StoredClient;
use super::joint_looks::JointLooks;
use super::{Act, Change, StoreOptions};
use crate::fault::Fault;

/// Names the advisory lock under which the schema changes.
const MIGRATION_LOCK: i64 = 0x6b65_7977_6172_6401;

#[derive(Debug)]
pub(super) struct Database {
    options: ConnectOptions,
    most_connections: u32,
    patience: Duration,
    pool: OnceCell<DatabaseConnection>,
    pub(super) client_looks: Arc<JointLooks<StoredClient>>,
}

impl Database {
    pub(super) fn open(url: &str, options: &StoreOptions) -> Result<Self, Fault> {
        url::Url::parse(url).map_err(|_| Fault::broken("the database URL can't be read"))?;
        let mut connect = ConnectOptions::new(url);
        let patience = Duration::from_secs(options.busy_timeout);
        connect
            .max_connections(options.max_connections)
            .min_connections(0)
            .acquire_timeout(patience)
            .connect_timeout(patience)
            .connect_lazy(true)
            .test_before_acquire(false)
            .sqlx_logging(false);
        let (pool, client_looks) = (OnceCell::new(), Arc::default());
        Ok(Self { options: connect, most_connections: options.max_connections, patience, pool, client_looks })
    }

    async fn pool(&self) -> Result<&DatabaseConnection, Fault> {
        Ok(self.pool.get_or_try_init(|| SeaOrm::connect(self.options.clone())).await?)
    }

    pub(super) async fn migrate(&self) -> Result<(), Fault> {
        // A session-level lock holds on its own connection: a pool of one, beside the server's.
        let mut options = self.options.clone();
        options.max_connections(1);
        let connection = SeaOrm::connect(options).await?;
        connection.execute_unprepared(&format!("SELECT pg_advisory_lock({MIGRATION_LOCK})")).await?;
        // Who waited for the lock finds here that nothing is left to do.
        let result = Migrator::up(&connection, None).await;
        connection.execute_unprepared(&format!("SELECT pg_advisory_unlock({MIGRATION_LOCK})")).await?;
        connection.close().await?;
        Ok(result?)
    }

    /// A connection of its own that hears of changes.
    pub(super) async fn listen(&self, channel: &str) -> Result<PgListener, Fault> {
        let unheard = |error: SqlxError| Fault::Unavailable(error.to_string());
        let mut listener = PgListener::connect(self.options.get_url()).await.map_err(unheard)?;
        listener.listen(channel).await.map_err(unheard)?;
        Ok(listener)
    }

    pub(super) async fn close(&self) -> Result<(), Fault> {
        match self.pool.get() {
            None => Ok(()),
            Some(pool) => Ok(pool.close_by_ref().await?),
        }
    }

    pub(super) async fn act<T, F>(&self, act: F) -> Result<(T, Change), Fault>
    where
        F: for<'t> FnOnce(Act<'t>) -> BoxFuture<'t, Result<T, Fault>>,
    {
        let transaction = self.begin().await?;
        let notes = Notes::default();
        match act(Act { connection: Connection::Transaction(&transaction), notes: &notes }).await {
            Ok(outcome) => {
                transaction.commit().await?;
                Ok((outcome, notes.change()))
            }
            Err(fault) => {
                if let Err(error) = transaction.rollback().await {
                    tracing::warn!(%error, "a transaction could not be rolled back; the database does so itself");
                }
                Err(fault)
            }
        }
    }

    /// A connection without a transaction, taken from the pool by its first statement.
    pub(super) async fn alone(&self) -> Result<Connection<'_>, Fault> {
        let pool = self.pool().await?.get_postgres_connection_pool();
        Ok(Connection::Alone(Alone::of(pool, self.most_connections)))
    }

    /// Begins a transaction. After a restart of PostgreSQL the pool holds connections that are dead and don't know it;
    /// each is found out by its first use, when nothing has been done on it yet, and the next is taken.
    async fn begin(&self) -> Result<DatabaseTransaction, Fault> {
        let pool = self.pool().await?;
        for _ in 0..self.most_connections {
            match pool.begin().await {
                Err(error) if was_dead(&error) => tracing::debug!(%error, "a connection of the pool was dead"),
                outcome => return Ok(outcome?),
            }
        }
        Ok(pool.begin().await?)
    }

    pub(super) async fn read<T, F>(&self, read: F) -> Result<T, Fault>
    where
        F: for<'t> FnOnce(Act<'t>) -> BoxFuture<'t, Result<T, Fault>>,
    {
        let notes = Notes::default();
        read(Act { connection: self.alone().await?, notes: &notes }).await
    }

    /// As [`Database::read`], given up after the time for which one may wait for a connection: for a read on which others
    /// wait.
    pub(super) async fn read_in_time<T, F>(&self, read: F) -> Result<T, Fault>
    where
        F: for<'t> FnOnce(Act<'t>) -> BoxFuture<'t, Result<T, Fault>>,
    {
        let late = |_| Fault::Unavailable("the database doesn't answer in time".to_owned());
        tokio::time::timeout(self.patience, self.read(read)).await.map_err(late)?
    }
}
