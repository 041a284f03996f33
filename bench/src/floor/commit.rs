//! One row written durably, many rows to a commit: SQLite with a write-ahead log and `synchronous = FULL`.
//!
//! A writer thread takes up to 256 waiting rows into one transaction and answers after its commit. Leaves out:
//! reading, savepoints for each row, and every other thing that a store needs.

use std::path::Path;

use aws_lc_rs::rand;
use rusqlite::{Connection, TransactionBehavior, params};
use tokio::sync::{mpsc, oneshot};

use super::ROW_BODY;
use crate::failure::{During, Failure};

/// The most rows of one transaction.
const GROUP: usize = 256;
/// Waiting rows before callers wait for room.
const QUEUE: usize = 1_024;

/// A waiting row.
struct Insert {
    key: [u8; 32],
    body: [u8; ROW_BODY],
    answer: oneshot::Sender<bool>,
}

/// The way to the writer thread, which ends when this is dropped.
pub struct Committer {
    queue: mpsc::Sender<Insert>,
}

impl Committer {
    /// Opens a new database file and starts its writer.
    ///
    /// # Errors
    /// When the file can't be opened or SQLite refuses the settings.
    pub fn open(file: &Path) -> Result<Self, Failure> {
        let act = format!("opening {}", file.display());
        let mut connection = Connection::open(file).during(&act)?;
        let mode: String = connection.query_row("PRAGMA journal_mode = WAL", [], |row| row.get(0)).during(&act)?;
        if mode != "wal" {
            return Err(Failure::new(format!("{act}: the journal is {mode:?}, not a write-ahead log")));
        }
        connection
            .execute_batch(
                "PRAGMA synchronous = FULL;
                 CREATE TABLE token (id INTEGER PRIMARY KEY, key BLOB NOT NULL UNIQUE, body BLOB NOT NULL);",
            )
            .during(&act)?;
        let (queue, mut waiting) = mpsc::channel(QUEUE);
        std::thread::spawn(move || {
            let mut group: Vec<Insert> = Vec::with_capacity(GROUP);
            while waiting.blocking_recv_many(&mut group, GROUP) > 0 {
                let committed = commit(&mut connection, &group).is_ok();
                for insert in group.drain(..) {
                    // A caller that has gone needs no answer.
                    let _ = insert.answer.send(committed);
                }
            }
        });
        Ok(Self { queue })
    }

    /// Writes one row with a random key; returns after the commit.
    ///
    /// # Errors
    /// When the commit failed.
    pub async fn insert(&self) -> Result<(), Failure> {
        let mut key = [0; 32];
        rand::fill(&mut key).during("asking for random bytes")?;
        let (answer, answered) = oneshot::channel();
        let insert = Insert { key, body: [0x5a; ROW_BODY], answer };
        self.queue.send(insert).await.map_err(|_| Failure::new("the writer has ended"))?;
        match answered.await {
            Ok(true) => Ok(()),
            Ok(false) => Err(Failure::new("the commit failed")),
            Err(_) => Err(Failure::new("the writer has ended")),
        }
    }
}

/// One transaction for all of the group.
fn commit(connection: &mut Connection, group: &[Insert]) -> rusqlite::Result<()> {
    let transaction = connection.transaction_with_behavior(TransactionBehavior::Immediate)?;
    {
        let mut statement = transaction.prepare_cached("INSERT INTO token (key, body) VALUES (?1, ?2)")?;
        for insert in group {
            statement.execute(params![insert.key, insert.body])?;
        }
    }
    transaction.commit()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn rows_are_there_when_the_answer_is() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("floor.db");
        let committer = std::sync::Arc::new(Committer::open(&file).unwrap());
        let mut tasks = tokio::task::JoinSet::new();
        for _ in 0..40 {
            let committer = committer.clone();
            tasks.spawn(async move { committer.insert().await });
        }
        for result in tasks.join_all().await {
            result.unwrap();
        }
        let reader = Connection::open(&file).unwrap();
        let rows: i64 = reader.query_row("SELECT count(*) FROM token", [], |row| row.get(0)).unwrap();
        assert_eq!(rows, 40);
        let mode: String = reader.query_row("PRAGMA journal_mode", [], |row| row.get(0)).unwrap();
        assert_eq!(mode, "wal");
    }
}
