//! State with a lifetime: in the database, or in Redis where its URL is set.
//!
//! What goes here may be lost with Redis and takes no part in an act's transaction. So the mark of a used assertion does,
//! and the mark of a revoked access token doesn't: it must outlast a restart of Redis, and the look-up of a token's grant
//! reads it by a join (see `replay.rs`). While Redis is away what needs it is refused with 503: a mark that can't be set
//! is no reason to accept an assertion.

use keyward_protocol::Timestamp;

use super::{Store, replay};
use crate::fault::Fault;

/// What a key of Redis stands for; part of its name.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    /// Something that was used once.
    Used,
}

impl Kind {
    const fn as_str(self) -> &'static str {
        match self {
            Self::Used => "used",
        }
    }
}

impl Store {
    /// Sets a mark that ends at this moment; `false` where it was set before. Of any number of callers with one mark, on
    /// any number of nodes, one gets `true`.
    ///
    /// # Errors
    /// Where the database or Redis fails: the mark may then be set or not, and what it stands for must be refused.
    pub async fn use_once(&self, mark: [u8; 32], expires_at: Timestamp, now: Timestamp) -> Result<bool, Fault> {
        let Some(redis) = &self.redis else {
            return self
                .act_adding(move |mut act| Box::pin(async move { replay::set(&mut act, mark, expires_at).await }))
                .await;
        };
        // A span and not a moment: the clock of Redis may differ from ours.
        let millis = expires_at.micros().saturating_sub(now.micros()).max(1000) / 1000;
        let mut command = redis::cmd("SET");
        command.arg(redis.key(Kind::Used.as_str(), &mark)).arg(1).arg("NX").arg("PX").arg(millis);
        Ok(redis.run::<Option<String>>(&command).await?.is_some())
    }
}
