//! Connections that read in place: opened when they are first needed, one for each thread that reads at the same time.

use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use rusqlite::{Connection as Sqlite, OpenFlags};

use super::kept_snapshots::Kept;
use crate::fault::Fault;
use crate::store::StoreOptions;

#[derive(Debug)]
pub(super) struct Readers {
    path: PathBuf,
    busy_timeout: Duration,
    cache_kib: u32,
    places: Vec<Mutex<Reader>>,
    next: AtomicUsize,
}

/// The place of one connection.
#[derive(Debug, Default)]
pub(super) struct Reader {
    /// None before its first use, and where it broke.
    pub(super) connection: Option<Sqlite>,
    /// The snapshot that it keeps.
    pub(super) keeps: Option<Kept>,
}

impl Readers {
    pub(super) fn new(path: &Path, options: &StoreOptions) -> Self {
        Self {
            path: path.to_owned(),
            busy_timeout: Duration::from_secs(options.busy_timeout),
            cache_kib: options.cache_kib / 4,
            places: (0..options.max_connections.clamp(1, 64)).map(|_| Mutex::default()).collect(),
            next: AtomicUsize::new(0),
        }
    }

    /// A place that nobody else uses meanwhile.
    pub(super) fn take(&self) -> Result<MutexGuard<'_, Reader>, Fault> {
        // The first that is free, always in the same order: its pages are in its cache, and those of others may not be.
        if let Some(free) = self.free().next() {
            return Ok(free);
        }
        let turn = self.next.fetch_add(1, Ordering::Relaxed).checked_rem(self.places.len());
        let place = turn.and_then(|turn| self.places.get(turn)).ok_or_else(|| Fault::broken("there are no readers"))?;
        Ok(place.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// The places that nobody uses, one after the other.
    pub(super) fn free(&self) -> impl Iterator<Item = MutexGuard<'_, Reader>> {
        self.places.iter().filter_map(|place| place.try_lock().ok())
    }

    /// Every place, one after the other.
    pub(super) fn all(&self) -> impl Iterator<Item = MutexGuard<'_, Reader>> {
        self.places.iter().map(|place| place.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// The connection of a place.
    pub(super) fn connection<'p>(&self, place: &'p mut Reader) -> Result<&'p mut Sqlite, Fault> {
        match &mut place.connection {
            Some(connection) => Ok(connection),
            empty => Ok(empty.insert(self.open()?)),
        }
    }

    fn open(&self) -> Result<Sqlite, Fault> {
        let flags = OpenFlags::SQLITE_OPEN_READ_ONLY | OpenFlags::SQLITE_OPEN_NO_MUTEX;
        let connection = Sqlite::open_with_flags(&self.path, flags)?;
        connection.busy_timeout(self.busy_timeout)?;
        connection.set_prepared_statement_cache_capacity(128);
        connection.pragma_update(None, "cache_size", -i64::from(self.cache_kib))?;
        Ok(connection)
    }
}
