//! One row written durably to PostgreSQL, each by a transaction of its own: one prepared INSERT on a pooled connection.
//!
//! Leaves out: reading, locks, more than one statement in a transaction, and every other thing that a store needs.

use aws_lc_rs::rand;
use sqlx::postgres::{PgPool, PgPoolOptions};

use super::ROW_BODY;
use crate::database::POOL;
use crate::failure::{During, Failure};

/// A pool on a database with the floor's one table.
pub struct Inserter {
    pool: PgPool,
}

impl Inserter {
    /// Connects and makes the table anew.
    ///
    /// # Errors
    /// When the database can't be reached or refuses.
    pub async fn open(url: &str) -> Result<Self, Failure> {
        let options = PgPoolOptions::new().max_connections(POOL).min_connections(POOL).test_before_acquire(false);
        let pool = options.connect(url).await.during("connecting to PostgreSQL")?;
        let table = "DROP TABLE IF EXISTS keyward_bench_floor;
                     CREATE TABLE keyward_bench_floor
                     (id BIGINT GENERATED ALWAYS AS IDENTITY PRIMARY KEY, key BYTEA NOT NULL UNIQUE, body BYTEA NOT NULL)";
        sqlx::raw_sql(table).execute(&pool).await.during("making the floor's table")?;
        Ok(Self { pool })
    }

    /// Writes one row with a random key; returns after the commit.
    ///
    /// # Errors
    /// When the insert failed.
    pub async fn insert(&self) -> Result<(), Failure> {
        let mut key = [0; 32];
        rand::fill(&mut key).during("asking for random bytes")?;
        let insert = sqlx::query("INSERT INTO keyward_bench_floor (key, body) VALUES ($1, $2)");
        let done = insert.bind(&key[..]).bind(&[0x5a_u8; ROW_BODY][..]).execute(&self.pool).await;
        match done.during("inserting")?.rows_affected() {
            1 => Ok(()),
            rows => Err(Failure::new(format!("one row was inserted and {rows} were written"))),
        }
    }

    /// Removes the table and gives the connections back.
    ///
    /// # Errors
    /// When the database refuses.
    pub async fn close(&self) -> Result<(), Failure> {
        let dropped = sqlx::raw_sql("DROP TABLE keyward_bench_floor").execute(&self.pool).await;
        self.pool.close().await;
        dropped.during("removing the floor's table").map(drop)
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;
    use crate::database::{Backend, Choice};

    #[tokio::test]
    async fn rows_are_there_when_the_answer_is_and_gone_at_the_end() {
        let folder = tempfile::tempdir().unwrap();
        let backend = Backend::start(&Choice::OwnPostgres, &std::env::temp_dir(), None).await.unwrap();
        assert!(backend.words().contains("PostgreSQL") && backend.process().is_some());
        let fresh = backend.fresh().await.unwrap().unwrap();
        let inserter = Arc::new(Inserter::open(&fresh.url).await.unwrap());
        let mut tasks = tokio::task::JoinSet::new();
        for _ in 0..40 {
            let inserter = inserter.clone();
            tasks.spawn(async move { inserter.insert().await });
        }
        for result in tasks.join_all().await {
            result.unwrap();
        }
        let count: i64 =
            sqlx::query_scalar("SELECT count(*) FROM keyward_bench_floor").fetch_one(&inserter.pool).await.unwrap();
        assert_eq!(count, 40);
        inserter.close().await.unwrap();
        fresh.remove().await.unwrap();
        drop(folder);
    }
}
