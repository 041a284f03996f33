//! Clients kept in memory, by identifier: those that come again.
//!
//! As long as there is room everybody is kept. Then whoever was looked for only once isn't: where clients are many, most come
//! back so late that another has taken their place, and to put each in and another out costs more than the look itself.

use std::hash::{BuildHasher, RandomState};
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};

use moka::sync::Cache;

use crate::store::client::RegisteredClient;

/// Clients that are kept at the most.
const MOST: u64 = 10_000;
/// Clients that are remembered to have been looked for, at the most; four octets each.
const REMEMBERED: usize = 1 << 14;

/// The clients.
#[derive(Debug)]
pub struct KeptClients {
    kept: Cache<String, Arc<RegisteredClient>>,
    looked_for: LookedFor,
}

impl Default for KeptClients {
    fn default() -> Self {
        Self { kept: Cache::new(MOST), looked_for: LookedFor::new(REMEMBERED) }
    }
}

impl KeptClients {
    /// The client of this identifier, if it is kept.
    pub fn get(&self, client_id: &str) -> Option<Arc<RegisteredClient>> {
        self.kept.get(client_id)
    }

    /// Keeps a client that was looked for because it wasn't kept, if there is room or it was looked for before.
    pub fn offer(&self, client: &Arc<RegisteredClient>) {
        if self.kept.entry_count() < MOST || self.looked_for.again(&client.client_id) {
            self.kept.insert(client.client_id.clone(), Arc::clone(client));
        }
    }

    /// Forgets one.
    pub fn forget(&self, client_id: &str) {
        self.kept.invalidate(client_id);
    }

    /// Forgets all.
    pub fn forget_all(&self) {
        self.kept.invalidate_all();
    }
}

/// Which clients were looked for lately: a mark of each in the one place that its identifier may have, until another's takes
/// it. The places are chosen by a key of this process, so that nobody can register clients that displace a certain one.
#[derive(Debug)]
struct LookedFor {
    marks: Box<[AtomicU32]>,
    hasher: RandomState,
}

impl LookedFor {
    fn new(places: usize) -> Self {
        Self { marks: (0..places).map(|_| AtomicU32::new(0)).collect(), hasher: RandomState::new() }
    }

    /// Whether this one was looked for before; from now on it was.
    fn again(&self, client_id: &str) -> bool {
        let hash = self.hasher.hash_one(client_id);
        let place = usize::try_from(hash).unwrap_or(usize::MAX).checked_rem(self.marks.len());
        // Never 0, which is nobody's.
        let mark = u32::try_from(hash >> 32).unwrap_or_default() | 1;
        place.and_then(|place| self.marks.get(place)).is_some_and(|kept| kept.swap(mark, Ordering::Relaxed) == mark)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_client_counts_as_looked_for_until_another_takes_its_place() {
        let looked_for = LookedFor::new(1);
        assert!(!looked_for.again("a"));
        assert!(looked_for.again("a"));
        assert!(looked_for.again("a"));
        assert!(!looked_for.again("b"));
        assert!(!looked_for.again("a"));
    }

    #[test]
    fn few_of_many_strangers_seem_to_come_again() {
        let looked_for = LookedFor::new(1 << 10);
        let strangers = (0..100_000).filter(|number| looked_for.again(&format!("client-{number}"))).count();
        assert!(strangers < 10, "{strangers}");
    }
}
