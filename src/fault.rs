//! Faults: anything broken on our side. The caller learns `server_error` and the request id; the text is for the log.

use thiserror::Error;

/// Something is broken or away.
#[derive(Debug, Error)]
pub enum Fault {
    /// The database, or another part that comes back by itself, can't be reached: 503 with `Retry-After`.
    #[error("unavailable: {0}")]
    Unavailable(String),
    /// More work is waiting than can be done in time: 503 with `Retry-After`.
    #[error("overloaded: {0}")]
    Overloaded(&'static str),
    /// The database undid an act because others wanted the same rows in another order: 503 with `Retry-After`, unless
    /// whoever began it tries again.
    #[error("undone: {0}")]
    Undone(String),
    /// A defect or a damaged row: 500.
    #[error("{0}")]
    Broken(String),
}

impl Fault {
    /// A defect, described for the log.
    pub fn broken(what: impl std::fmt::Display) -> Self {
        Self::Broken(what.to_string())
    }

    /// The same fault, for another caller who is to be told of it.
    pub fn again(&self) -> Self {
        match self {
            Self::Unavailable(why) => Self::Unavailable(why.clone()),
            Self::Undone(why) => Self::Undone(why.clone()),
            Self::Overloaded(why) => Self::Overloaded(why),
            Self::Broken(why) => Self::Broken(why.clone()),
        }
    }
}

impl From<keyward_keys::KeyError> for Fault {
    fn from(error: keyward_keys::KeyError) -> Self {
        Self::broken(error)
    }
}

impl From<serde_json::Error> for Fault {
    fn from(error: serde_json::Error) -> Self {
        Self::broken(format_args!("a stored document can't be read: {error}"))
    }
}

impl From<sea_orm::DbErr> for Fault {
    fn from(error: sea_orm::DbErr) -> Self {
        use sea_orm::{DbErr, RuntimeErr, SqlxError};
        match &error {
            DbErr::ConnectionAcquire(_) | DbErr::Conn(_) => Self::Unavailable(error.to_string()),
            DbErr::Exec(RuntimeErr::SqlxError(inner)) | DbErr::Query(RuntimeErr::SqlxError(inner)) => match &**inner {
                SqlxError::Io(_)
                | SqlxError::PoolTimedOut
                | SqlxError::PoolClosed
                | SqlxError::Tls(_)
                | SqlxError::Protocol(_)
                | SqlxError::WorkerCrashed => Self::Unavailable(error.to_string()),
                // PostgreSQL: a serialization that failed, a deadlock. Not the rest of class 40, which may say that nobody
                // knows what was done.
                SqlxError::Database(inner) if inner.code().is_some_and(|code| code == "40001" || code == "40P01") => {
                    Self::Undone(error.to_string())
                }
                // Class 57 (shutdown, starting up), 53 (resources), 40, 08 (connection); a server that only reads.
                SqlxError::Database(inner)
                    if inner.code().is_some_and(|code| {
                        ["57", "53", "40", "08", "25006"].iter().any(|class| code.starts_with(class))
                    }) =>
                {
                    Self::Unavailable(error.to_string())
                }
                _ => Self::broken(error),
            },
            _ => Self::broken(error),
        }
    }
}

impl From<rusqlite::Error> for Fault {
    fn from(error: rusqlite::Error) -> Self {
        use rusqlite::ErrorCode;
        match error.sqlite_error_code() {
            Some(
                ErrorCode::DatabaseBusy
                | ErrorCode::DatabaseLocked
                | ErrorCode::CannotOpen
                | ErrorCode::DiskFull
                | ErrorCode::SystemIoFailure
                | ErrorCode::ReadOnly
                | ErrorCode::PermissionDenied,
            ) => Self::Unavailable(error.to_string()),
            _ => Self::broken(error),
        }
    }
}
