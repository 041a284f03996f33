//! Hearing at once that another node or the command line changed clients, scopes, roles or keys: through Redis where there
//! is one, else through PostgreSQL's LISTEN. It only shortens the wait. What counts is the version in the database, which
//! every node reads every 250 ms (see `App::follow_changes`), for a notice can be lost.

use futures_util::StreamExt;
use redis::aio::PubSub;
use sqlx::postgres::PgListener;

use super::{Backend, Store};
use crate::fault::Fault;

/// The channel of PostgreSQL, and the last part of that of Redis.
pub(super) const CHANGES: &str = "keyward_directory";

/// A connection on which notices come.
pub struct Notices(Source);

enum Source {
    Postgres(Box<PgListener>),
    Redis(Box<PubSub>),
}

impl std::fmt::Debug for Notices {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self.0 {
            Source::Postgres(_) => "Notices(PostgreSQL)",
            Source::Redis(_) => "Notices(Redis)",
        })
    }
}

impl Store {
    /// Begins to listen; `None` on SQLite without Redis, where polling is all there is.
    ///
    /// # Errors
    /// Where the server that tells of changes can't be reached.
    pub async fn notices(&self) -> Result<Option<Notices>, Fault> {
        if let Some(redis) = &self.redis {
            let subscription = redis.subscribe(&redis.name(CHANGES)).await?;
            return Ok(Some(Notices(Source::Redis(Box::new(subscription)))));
        }
        match &self.backend {
            Backend::Sqlite(_) => Ok(None),
            Backend::Postgres(database) => {
                let listener = database.listen(CHANGES).await?;
                Ok(Some(Notices(Source::Postgres(Box::new(listener)))))
            }
        }
    }

    /// Tells other nodes through Redis; PostgreSQL tells by itself (see `directory::changed`).
    pub(super) async fn tell_of_change(&self) {
        let Some(redis) = &self.redis else { return };
        let mut command = redis::cmd("PUBLISH");
        command.arg(redis.name(CHANGES)).arg("");
        if let Err(fault) = redis.run::<i64>(&command).await {
            tracing::warn!(error = %fault, "other nodes hear of a change only by polling");
        }
    }
}

impl Notices {
    /// Waits for the next notice. Notices that come while nobody waits are kept, several at the most as several.
    ///
    /// # Errors
    /// Where the connection broke: begin to listen anew, and look for changes that went unheard.
    pub async fn next(&mut self) -> Result<(), Fault> {
        let broken = || Fault::Unavailable("the connection on which notices of changes come broke".to_owned());
        match &mut self.0 {
            // `None` stands for a connection that broke; the listener would make it anew, and so does the caller.
            Source::Postgres(listener) => match listener.try_recv().await {
                Ok(Some(_)) => Ok(()),
                Ok(None) => Err(broken()),
                Err(error) => Err(Fault::Unavailable(error.to_string())),
            },
            Source::Redis(subscription) => match subscription.on_message().next().await {
                Some(_) => Ok(()),
                None => Err(broken()),
            },
        }
    }
}
