//! One server for one SQLite file. What a server remembers as live, and whom it makes wait for each other, it knows of its own
//! process ([decision 23](../../docs/decisions/0023-known-to-be-live.md)), so no second one may serve from the same file.
//! Commands may use it beside a server.

use std::ffi::OsString;
use std::fs::{File, OpenOptions, TryLockError};
use std::io;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use tokio::sync::oneshot;

use crate::fault::Fault;

/// The right to serve from a SQLite file, for as long as it lives. The system takes it back from a process that ends, however
/// that comes about.
#[derive(Debug)]
pub struct SoleServer {
    _lock: Option<File>,
}

impl SoleServer {
    /// Claims a file that needn't be there, in a folder that is. A server that has it and is about to end is waited for, so
    /// long at the most.
    ///
    /// # Errors
    /// Where another server has it and keeps it, or the file beside it that stands for the right can't be made.
    pub async fn claim(database: &Path, patience: Duration) -> Result<Self, Fault> {
        let path =
            lock_path(database).map_err(|error| Fault::broken(format_args!("{}: {error}", database.display())))?;
        let failed = |error: io::Error| Fault::broken(format_args!("{}: {error}", path.display()));
        let file =
            OpenOptions::new().create(true).truncate(false).write(true).mode(0o600).open(&path).map_err(failed)?;
        match file.try_lock() {
            Ok(()) => return Ok(Self { _lock: Some(file) }),
            Err(TryLockError::WouldBlock) => {
                tracing::warn!(database = %database.display(), "another server has this database: waiting for its end");
            }
            Err(TryLockError::Error(error)) if error.kind() == io::ErrorKind::Unsupported => {
                tracing::warn!(
                    path = %path.display(),
                    "this file system locks no files: nothing keeps a second server from this database"
                );
                return Ok(Self { _lock: None });
            }
            Err(TryLockError::Error(error)) => return Err(failed(error)),
        }
        let (locked, lock) = oneshot::channel();
        // A thread that nobody joins: where the patience ends first, the process does too.
        std::thread::Builder::new()
            .name("claim".to_owned())
            .spawn(move || {
                let outcome = file.lock().map(|()| file);
                // Whoever has given up has no use for it.
                drop(locked.send(outcome));
            })
            .map_err(failed)?;
        match tokio::time::timeout(patience, lock).await {
            Ok(Ok(outcome)) => Ok(Self { _lock: Some(outcome.map_err(failed)?) }),
            Ok(Err(_)) => Err(Fault::broken("the claim to the database was lost")),
            Err(_) => Err(Fault::broken(format_args!(
                "{}: another server has this database; a SQLite file serves one (several nodes share a PostgreSQL)",
                database.display()
            ))),
        }
    }
}

/// The file that is locked: SQLite's own may not be touched by others, for closing it would take back SQLite's locks. It
/// stands beside the file that the path leads to, by whatever links. Two hard links are two files here.
fn lock_path(database: &Path) -> io::Result<PathBuf> {
    let file = match database.canonicalize() {
        Err(error) if error.kind() == io::ErrorKind::NotFound => match (database.parent(), database.file_name()) {
            (Some(folder), Some(name)) if folder != Path::new("") => folder.canonicalize()?.join(name),
            _ => database.to_owned(),
        },
        found => found?,
    };
    let mut path = OsString::from(file);
    path.push(".lock");
    Ok(path.into())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn whatever_way_leads_to_a_file_it_is_claimed_once() {
        let folder = tempfile::tempdir().unwrap();
        let (file, link) = (folder.path().join("keyward.db"), folder.path().join("link.db"));
        let first = SoleServer::claim(&file, Duration::ZERO).await.unwrap();
        std::fs::write(&file, "").unwrap();
        std::os::unix::fs::symlink(&file, &link).unwrap();
        for way in [&file, &link, &folder.path().join(".").join("keyward.db")] {
            let refused = SoleServer::claim(way, Duration::ZERO).await.unwrap_err().to_string();
            assert!(refused.contains("another server has this database"), "{refused}");
        }
        drop(first);
        let patience = Duration::from_secs(60);
        drop(SoleServer::claim(&link, patience).await.unwrap());
        drop(SoleServer::claim(&file, patience).await.unwrap());
    }
}
