//! A bounded memory of tokens, by a SHA-256: no token is kept.
//!
//! Each shard has two generations. What is used moves to the young one; when that is full it becomes the old one, and
//! what was old and unused is gone. So the memory is bounded, every step costs the same, and tokens in use stay.

use std::collections::HashMap;
use std::mem;
use std::sync::{Mutex, PoisonError};

use aws_lc_rs::digest::Digest;
#[cfg(any(test, feature = "introspection"))]
use aws_lc_rs::digest::{SHA256, digest};

/// Few callers wait for each other's shard.
const SHARDS: usize = 16;

/// The SHA-256 of a token, or of what of it is signed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) struct TokenHash([u8; 32]);

impl TokenHash {
    #[cfg(any(test, feature = "introspection"))]
    pub(crate) fn of(token: &str) -> Self {
        Self::from(&digest(&SHA256, token.as_bytes()))
    }
}

impl From<&Digest> for TokenHash {
    /// Of a SHA-256.
    fn from(digest: &Digest) -> Self {
        let mut hash = [0; 32];
        hash.copy_from_slice(digest.as_ref());
        Self(hash)
    }
}

/// What is known of tokens seen before.
pub(crate) struct TokenCache<V> {
    shards: [Mutex<Generations<V>>; SHARDS],
    /// How many entries a generation of a shard may have; none turns the cache off.
    per_generation: usize,
}

struct Generations<V> {
    young: HashMap<TokenHash, V>,
    old: HashMap<TokenHash, V>,
}

impl<V: Clone> TokenCache<V> {
    /// A cache of at most `capacity` tokens, rounded up to a multiple of 32; 0 remembers nothing.
    pub(crate) fn new(capacity: usize) -> Self {
        let empty = || Mutex::new(Generations { young: HashMap::new(), old: HashMap::new() });
        Self { shards: std::array::from_fn(|_| empty()), per_generation: capacity.div_ceil(2 * SHARDS) }
    }

    /// Whether anything is ever remembered.
    pub(crate) fn is_on(&self) -> bool {
        self.per_generation > 0
    }

    pub(crate) fn get(&self, token: &TokenHash) -> Option<V> {
        let mut shard = self.shard(token)?.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(found) = shard.young.get(token) {
            return Some(found.clone());
        }
        let found = shard.old.remove(token)?;
        shard.put(*token, found.clone(), self.per_generation);
        Some(found)
    }

    pub(crate) fn put(&self, token: TokenHash, value: V) {
        if let (true, Some(shard)) = (self.is_on(), self.shard(&token)) {
            shard.lock().unwrap_or_else(PoisonError::into_inner).put(token, value, self.per_generation);
        }
    }

    fn shard(&self, TokenHash(hash): &TokenHash) -> Option<&Mutex<Generations<V>>> {
        self.shards.get(usize::from(*hash.first()?) % SHARDS)
    }
}

impl<V> Generations<V> {
    fn put(&mut self, token: TokenHash, value: V, limit: usize) {
        if self.young.len() >= limit && !self.young.contains_key(&token) {
            // The room of what is forgotten is used again.
            mem::swap(&mut self.young, &mut self.old);
            self.young.clear();
        }
        self.young.insert(token, value);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_never_outgrows_its_bound_and_keeps_what_is_used() {
        let cache = TokenCache::new(320);
        let used = TokenHash::of("used");
        cache.put(used, usize::MAX);
        for number in 0..10_000 {
            cache.put(TokenHash::of(&number.to_string()), number);
            assert_eq!(cache.get(&used), Some(usize::MAX), "{number}");
        }
        let held = |generations: &Mutex<Generations<usize>>| {
            let generations = generations.lock().unwrap();
            generations.young.len() + generations.old.len()
        };
        let total: usize = cache.shards.iter().map(held).sum();
        assert!((160..=320).contains(&total), "{total}");
        assert_eq!(cache.get(&TokenHash::of("0")), None, "the first one is long gone");
        assert_eq!(cache.get(&TokenHash::of("9999")), Some(9_999));
    }

    #[test]
    fn without_room_nothing_is_remembered() {
        let cache = TokenCache::new(0);
        cache.put(TokenHash::of("a"), 1);
        assert_eq!((cache.get(&TokenHash::of("a")), cache.is_on()), (None, false));
    }
}
