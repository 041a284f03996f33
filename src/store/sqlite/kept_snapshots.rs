//! Reads of what seldom changes, many of them on one snapshot of the database.
//!
//! A read by itself takes two locks of the file and gives them back; and where anybody has committed since the connection's
//! last one, SQLite forgets every page that the connection had in memory, whatever was changed, so that each read descends from
//! the root anew. A snapshot that is kept spares both. It is good for what the caller keeps under a version of its own:
//! [`KeptSnapshots::renew`] is called where that version has changed, and [`KeptSnapshots::let_go`] wherever it was looked at and
//! found to be as it was, so that none is kept for long.
//!
//! SQLite writes its log back as far as the oldest snapshot, and begins the log anew when nobody reads in it. So the writer
//! has every snapshot given up before it writes the log back, and until that is done none is kept: one that begins later lies
//! in the file and no longer in the log.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use rusqlite::Connection as Sqlite;

use super::readers::{Reader, Readers};
use crate::fault::Fault;

/// Looks through which a snapshot is kept at the most.
const MOST_LOOKS: u64 = 8;

/// A snapshot that a place keeps.
#[derive(Debug)]
pub(super) struct Kept {
    edition: u64,
    /// The number of the look before it was begun.
    since: u64,
    /// Whether it was read since the last look.
    is_used: bool,
}

impl Kept {
    const fn is_old(&self, look: u64) -> bool {
        look.wrapping_sub(self.since) >= MOST_LOOKS
    }
}

#[derive(Debug)]
pub(super) struct KeptSnapshots {
    readers: Readers,
    edition: AtomicU64,
    looks: AtomicU64,
    may_keep: AtomicBool,
}

impl KeptSnapshots {
    pub(super) const fn new(readers: Readers) -> Self {
        Self { readers, edition: AtomicU64::new(0), looks: AtomicU64::new(0), may_keep: AtomicBool::new(true) }
    }

    /// Reads on a snapshot that is no older than the last [`KeptSnapshots::renew`].
    pub(super) fn read<T>(&self, read: impl FnOnce(&mut Sqlite) -> Result<T, Fault>) -> Result<T, Fault> {
        let mut place = self.readers.take()?;
        // Before the snapshot: one that is taken for newer than it is would be kept too long.
        let edition = self.edition.load(Ordering::SeqCst);
        let look = self.looks.load(Ordering::Relaxed);
        if place.keeps.as_ref().is_some_and(|kept| kept.edition != edition || kept.is_old(look)) {
            give_up(&mut place);
        }
        match &mut place.keeps {
            Some(kept) => kept.is_used = true,
            None => {
                // The snapshot is that of the first statement in it.
                self.readers.connection(&mut place)?.execute_batch("BEGIN")?;
                place.keeps = Some(Kept { edition, since: look, is_used: true });
            }
        }
        let outcome = read(self.readers.connection(&mut place)?);
        // Asked while the place is taken: who forbids it comes to the places afterwards.
        if outcome.is_err() || !self.may_keep.load(Ordering::SeqCst) {
            give_up(&mut place);
        }
        outcome
    }

    /// What is read from here on is what the database has by now. Whoever reads at this moment may keep an older snapshot, until
    /// the next read in its place or the next time.
    pub(super) fn renew(&self) {
        self.edition.fetch_add(1, Ordering::SeqCst);
        self.readers.free().for_each(|mut place| give_up(&mut place));
    }

    /// Nothing has changed of what is read here: who keeps a snapshot and uses it may go on for a while. Others would hinder
    /// other processes from writing the log back, and nobody would gain.
    pub(super) fn let_go(&self) {
        let look = self.looks.fetch_add(1, Ordering::Relaxed).wrapping_add(1);
        for mut place in self.readers.free() {
            if let Some(kept) = &mut place.keeps
                && (!std::mem::take(&mut kept.is_used) || kept.is_old(look))
            {
                give_up(&mut place);
            }
        }
    }

    /// Does something during which no snapshot is kept.
    pub(super) fn while_none_is_kept<T>(&self, act: impl FnOnce() -> T) -> T {
        self.may_keep.store(false, Ordering::SeqCst);
        self.readers.all().for_each(|mut place| give_up(&mut place));
        let done = act();
        self.may_keep.store(true, Ordering::SeqCst);
        done
    }
}

/// Ends the snapshot of a place, if it keeps one; where that fails the connection goes, and the snapshot with it.
fn give_up(place: &mut Reader) {
    if place.keeps.take().is_none() {
        return;
    }
    // A failing disk has SQLite end a transaction by itself.
    let kept = place.connection.as_ref().filter(|connection| !connection.is_autocommit());
    if let Some(Err(error)) = kept.map(|connection| connection.execute_batch("COMMIT")) {
        tracing::error!(%error, "a snapshot of the database can't be given up; its connection is closed");
        place.connection = None;
    }
}
