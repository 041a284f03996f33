//! Codes that this node issued a moment ago, and whose they are. Nearly always a code comes back within a second, and where
//! it comes back to the node that issued it, nothing of it needs to be read: the write that spends it asks anew for
//! whatever may have changed ([decision 25](../../docs/decisions/0025-codes-a-node-has-just-issued.md)).
//!
//! Only on PostgreSQL, where each look is a way to another process. Left out: codes that rest on a consent.

use std::collections::HashMap;
use std::mem;
use std::sync::{Mutex, PoisonError};

use keyward_protocol::Timestamp;
use uuid::Uuid;

use super::authorization::FoundCode;

/// So many codes a generation has at the most; there are two. One takes some 2 KB, and more where the user has many claims or
/// the request many resources.
const GENERATION: usize = 512;

/// The memory, of codes as they were when they were issued: when the young generation is full the old one is forgotten, and
/// with it the codes that never came back. Cleaning up forgets those that have expired.
#[derive(Debug, Default)]
pub(super) struct IssuedCodes {
    generations: Mutex<Generations>,
}

#[derive(Debug, Default)]
struct Generations {
    young: HashMap<Uuid, Box<FoundCode>>,
    old: HashMap<Uuid, Box<FoundCode>>,
}

impl IssuedCodes {
    pub(super) fn remember(&self, issued: FoundCode) {
        let forgotten = {
            let mut generations = self.generations.lock().unwrap_or_else(PoisonError::into_inner);
            let forgotten = match generations.young.len() < GENERATION {
                true => HashMap::new(),
                false => {
                    let full = mem::take(&mut generations.young);
                    mem::replace(&mut generations.old, full)
                }
            };
            generations.young.insert(issued.code.id, Box::new(issued));
            forgotten
        };
        // Freed while nobody waits.
        drop(forgotten);
    }

    /// Forgets the codes that have expired: whose they are isn't kept for longer than they are good.
    pub(super) fn forget_expired(&self, now: Timestamp) {
        let mut generations = self.generations.lock().unwrap_or_else(PoisonError::into_inner);
        let Generations { young, old } = &mut *generations;
        for codes in [young, old] {
            codes.retain(|_, issued| now.micros() < issued.code.expires_at);
        }
    }

    /// Gives a code and forgets it: whoever comes with it again is told what the database says.
    pub(super) fn take(&self, id: Uuid) -> Option<Box<FoundCode>> {
        let mut generations = self.generations.lock().unwrap_or_else(PoisonError::into_inner);
        generations.young.remove(&id).or_else(|| generations.old.remove(&id))
    }
}

#[cfg(test)]
mod tests {
    use keyward_entities::authorization_code;

    use super::*;
    use crate::store::owner::Owner;

    fn issued(number: usize) -> FoundCode {
        let code = authorization_code::Model {
            id: Uuid::from_u128(number as u128),
            code_hash: Vec::new(),
            client: Uuid::nil(),
            user_id: Uuid::nil(),
            session_id: Uuid::nil(),
            grant_id: Uuid::nil(),
            redirect_uri: String::new(),
            redirect_uri_named: true,
            challenge: None,
            scope: String::new(),
            resources: String::new(),
            nonce: None,
            auth_time: 0,
            acr: String::new(),
            amr: String::new(),
            needs_consent: false,
            issued_at: 0,
            expires_at: 0,
            spent_at: None,
            requested_claims: None,
            look_again_at: None,
            hash_only: None,
        };
        FoundCode { code, owner: Owner::default(), consent: None }
    }

    #[test]
    fn a_code_is_given_once_and_the_memory_never_outgrows_its_bound() {
        let codes = IssuedCodes::default();
        for number in 0..10 * GENERATION {
            codes.remember(issued(number));
        }
        let held = {
            let generations = codes.generations.lock().unwrap();
            generations.young.len() + generations.old.len()
        };
        assert!((GENERATION..=2 * GENERATION).contains(&held), "{held}");
        let last = Uuid::from_u128(10 * GENERATION as u128 - 1);
        assert_eq!(codes.take(last).map(|issued| issued.code.id), Some(last));
        assert!(codes.take(last).is_none(), "given once");
        assert!(codes.take(Uuid::nil()).is_none(), "the first is long gone");
        codes.forget_expired(Timestamp::from_micros(0));
        let generations = codes.generations.lock().unwrap();
        assert_eq!(generations.young.len() + generations.old.len(), 0, "these ended at the beginning of time");
    }
}
