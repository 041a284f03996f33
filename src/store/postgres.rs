//! PostgreSQL: a fixed pool, and a transaction for each act.

use std::time::Duration;

use futures_util::future::BoxFuture;
use keyward_migration::{Migrator, MigratorTrait};
use sea_orm::{
    ConnectOptions, ConnectionTrait, Database as SeaOrm, DatabaseConnection, DatabaseTransaction, DbErr, RuntimeErr,
    SqlxError, TransactionTrait,
};
use tokio::sync::OnceCell;

use super::act::Connection;
use super::{Act, StoreOptions};
use crate::fault::Fault;

/// Names the advisory lock under which the schema changes.
const MIGRATION_LOCK: i64 = 0x6b65_7977_6172_6401;

#[derive(Debug)]
pub(super) struct Database {
    options: ConnectOptions,
    most_connections: u32,
    pool: OnceCell<DatabaseConnection>,
}

impl Database {
    pub(super) fn open(url: &str, options: &StoreOptions) -> Result<Self, Fault> {
        url::Url::parse(url).map_err(|_| Fault::broken("the database URL can't be read"))?;
        let mut connect = ConnectOptions::new(url);
        connect
            .max_connections(options.max_connections)
            .min_connections(0)
            .acquire_timeout(Duration::from_secs(options.busy_timeout))
            .connect_timeout(Duration::from_secs(options.busy_timeout))
            .connect_lazy(true)
            .test_before_acquire(false)
            .sqlx_logging(false);
        Ok(Self { options: connect, most_connections: options.max_connections, pool: OnceCell::new() })
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
        let result = Migrator::up(&connection, None).await;
        connection.execute_unprepared(&format!("SELECT pg_advisory_unlock({MIGRATION_LOCK})")).await?;
        connection.close().await?;
        Ok(result?)
    }

    pub(super) async fn close(&self) -> Result<(), Fault> {
        match self.pool.get() {
            None => Ok(()),
            Some(pool) => Ok(pool.close_by_ref().await?),
        }
    }

    pub(super) async fn pending_migrations(&self) -> Result<usize, Fault> {
        Ok(Migrator::get_pending_migrations(self.pool().await?).await?.len())
    }

    pub(super) async fn act<T, F>(&self, act: F) -> Result<T, Fault>
    where
        F: for<'t> FnOnce(Act<'t>) -> BoxFuture<'t, Result<T, Fault>>,
    {
        let transaction = self.begin().await?;
        match act(Act(Connection::Transaction(&transaction))).await {
            Ok(outcome) => {
                transaction.commit().await?;
                Ok(outcome)
            }
            Err(fault) => {
                if let Err(error) = transaction.rollback().await {
                    tracing::warn!(%error, "a transaction could not be rolled back; the database does so itself");
                }
                Err(fault)
            }
        }
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
        let pool = self.pool().await?;
        read(Act(Connection::Pool(pool))).await
    }
}

/// Whether the connection broke, and not the database refused.
fn was_dead(error: &DbErr) -> bool {
    match error {
        DbErr::Conn(RuntimeErr::SqlxError(inner))
        | DbErr::Exec(RuntimeErr::SqlxError(inner))
        | DbErr::Query(RuntimeErr::SqlxError(inner)) => matches!(&**inner, SqlxError::Io(_)),
        _ => false,
    }
}
