//! When a signing key moves: published as *next* before it signs, *active* while it signs, *retired* but published while
//! something that it signed lives, *archived* while an ID token of it may come back as a hint, then gone.
//!
//! What a client with a cached JWK Set meets is decided here alone: no key signs before everybody who keeps the set for
//! its full lifetime has seen it, and none leaves the set before the last token that it signed has expired. An act runs
//! these functions inside its transaction on what it has locked; so two nodes that come to the same conclusion move once.
//! Left out: making keys and storing them.

use keyward_keys::{Algorithm, KeyState};

use crate::Timestamp;

/// A key as it is stored, as far as its moves depend on it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ScheduledKey {
    /// Its name.
    pub kid: String,
    /// The thumbprint of its public half (RFC 7638).
    pub thumbprint: String,
    /// What it signs by.
    pub algorithm: Algorithm,
    /// What it is used for.
    pub state: KeyState,
    /// When it was put into the JWK Set.
    pub published_at: Timestamp,
    /// When it began to sign.
    pub activated_at: Option<Timestamp>,
    /// When it ceased to sign.
    pub retired_at: Option<Timestamp>,
}

/// How long each move waits, in seconds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct KeyWaits {
    /// From a key's publication to its first signature.
    pub publication: u64,
    /// From a key's first signature to its last, by schedule; `None`: only when somebody says so.
    pub rotation: Option<u64>,
    /// The longest life of anything that was signed.
    pub longest_life: u64,
    /// What is added to that before a key leaves the JWK Set.
    pub margin: u64,
    /// How long after its last signature a key still verifies ID tokens that come back as hints.
    pub hints: u64,
}

impl KeyWaits {
    /// From a key's last signature to its leaving the JWK Set.
    pub const fn withdrawal(&self) -> u64 {
        self.longest_life.saturating_add(self.margin)
    }

    /// From a key's last signature to its removal.
    pub const fn removal(&self) -> u64 {
        if self.hints > self.withdrawal() { self.hints } else { self.withdrawal() }
    }

    /// The first moment at which a key may sign that was published then.
    pub const fn signs_from(&self, published_at: Timestamp) -> Timestamp {
        published_at.plus_seconds(self.publication)
    }
}

/// One step of one key.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum KeyMove {
    /// A new key, in this state.
    Add {
        /// What it signs by.
        algorithm: Algorithm,
        /// Next; active only where there is nothing else to sign with.
        state: KeyState,
    },
    /// Next to active.
    Promote {
        /// The key.
        kid: String,
    },
    /// Active to retired.
    Retire {
        /// The key.
        kid: String,
    },
    /// Retired to archived: out of the JWK Set.
    Withdraw {
        /// The key.
        kid: String,
    },
    /// Archived to gone.
    Remove {
        /// The key.
        kid: String,
    },
    /// Any state to revoked.
    Revoke {
        /// The key.
        kid: String,
    },
}

/// Why a key can't be moved as asked.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum KeyRefusal {
    /// There is no such key.
    Unknown,
    /// The settings don't keep a key for this algorithm.
    NotConfigured(Algorithm),
    /// The key isn't in the state that the move begins with.
    WrongState(KeyState),
    /// The key is for another algorithm.
    OtherAlgorithm(Algorithm),
    /// There is no next key that could sign in its place.
    NoSuccessor(Algorithm),
    /// Somebody may still hold a JWK Set without the next key.
    TooSoon {
        /// The next key.
        kid: String,
        /// The first moment at which it may sign.
        from: Timestamp,
    },
    /// A key of this name is there.
    SameName,
    /// This very key is there, by another name perhaps.
    SameKey {
        /// The name it is there by.
        kid: String,
    },
}

/// When the next key may take over.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Haste {
    /// When everybody can have seen it.
    Wait,
    /// At once: clients with a cached JWK Set must fetch it anew.
    AtOnce,
}

fn in_state(keys: &[ScheduledKey], algorithm: Algorithm, state: KeyState) -> impl Iterator<Item = &ScheduledKey> {
    keys.iter().filter(move |key| key.algorithm == algorithm && key.state == state)
}

/// Whether anything can be signed. Where nothing can, a key needn't wait: nobody has a JWK Set that tokens are checked by.
fn anything_signs(keys: &[ScheduledKey]) -> bool {
    keys.iter().any(|key| key.state == KeyState::Active)
}

fn active(keys: &[ScheduledKey], algorithm: Algorithm) -> Option<&ScheduledKey> {
    in_state(keys, algorithm, KeyState::Active).next()
}

/// The next key that has been published longest.
fn oldest_next(keys: &[ScheduledKey], algorithm: Algorithm) -> Option<&ScheduledKey> {
    in_state(keys, algorithm, KeyState::Next).min_by_key(|key| key.published_at)
}

fn find<'k>(keys: &'k [ScheduledKey], kid: &str) -> Result<&'k ScheduledKey, KeyRefusal> {
    keys.iter().find(|key| key.kid == kid).ok_or(KeyRefusal::Unknown)
}

/// The moves by which `next` takes over, and a new next key where it was the only one.
fn take_over(keys: &[ScheduledKey], next: &ScheduledKey, moves: &mut Vec<KeyMove>) {
    moves.push(KeyMove::Promote { kid: next.kid.clone() });
    if in_state(keys, next.algorithm, KeyState::Next).count() == 1 {
        moves.push(KeyMove::Add { algorithm: next.algorithm, state: KeyState::Next });
    }
}

/// From when on something can be signed by an algorithm that has a next key and none that signs; `None` where there is
/// nothing to wait for.
pub fn ready_from(keys: &[ScheduledKey], algorithm: Algorithm, waits: &KeyWaits) -> Option<Timestamp> {
    match active(keys, algorithm) {
        Some(_) => None,
        None => oldest_next(keys, algorithm).map(|next| waits.signs_from(next.published_at)),
    }
}

/// What is due now, in the order in which it must be done. `algorithms` are those of the settings; keys of others are
/// left as they are until somebody retires them.
pub fn due(keys: &[ScheduledKey], algorithms: &[Algorithm], waits: &KeyWaits, now: Timestamp) -> Vec<KeyMove> {
    let mut moves = Vec::new();
    for &algorithm in algorithms {
        match (active(keys, algorithm), oldest_next(keys, algorithm)) {
            // An algorithm that the settings name since then: its key is published before it signs, as every other.
            (None, None) if anything_signs(keys) => moves.push(KeyMove::Add { algorithm, state: KeyState::Next }),
            (None, None) => {
                moves.extend([KeyState::Active, KeyState::Next].map(|state| KeyMove::Add { algorithm, state }))
            }
            (None, Some(next)) => {
                // However young it is where nothing can be signed at all without it.
                if !anything_signs(keys) || waits.signs_from(next.published_at) <= now {
                    take_over(keys, next, &mut moves);
                }
            }
            (Some(_), None) => moves.push(KeyMove::Add { algorithm, state: KeyState::Next }),
            (Some(active), Some(next)) => {
                let since = active.activated_at.unwrap_or(active.published_at);
                let ends = waits.rotation.map(|rotation| since.plus_seconds(rotation));
                if ends.is_some_and(|ends| ends <= now) && waits.signs_from(next.published_at) <= now {
                    moves.push(KeyMove::Retire { kid: active.kid.clone() });
                    take_over(keys, next, &mut moves);
                }
            }
        }
    }
    for key in keys {
        // A row without the moment counts from the last one that it has.
        let retired_at = key.retired_at.or(key.activated_at).unwrap_or(key.published_at);
        let kid = || key.kid.clone();
        match key.state {
            KeyState::Retired if retired_at.plus_seconds(waits.withdrawal()) <= now => {
                moves.push(KeyMove::Withdraw { kid: kid() });
            }
            KeyState::Archived if retired_at.plus_seconds(waits.removal()) <= now => {
                moves.push(KeyMove::Remove { kid: kid() });
            }
            _ => {}
        }
    }
    moves
}

/// The next key signs, the active one retires. Where there is no next key, one is published and nothing else happens.
/// `to` names the key that shall sign, among several.
///
/// # Errors
/// [`KeyRefusal`]; nothing moves then.
pub fn rotate(
    keys: &[ScheduledKey],
    algorithm: Algorithm,
    to: Option<&str>,
    haste: Haste,
    waits: &KeyWaits,
    now: Timestamp,
) -> Result<Vec<KeyMove>, KeyRefusal> {
    let next = match to {
        Some(kid) => {
            let key = find(keys, kid)?;
            if key.algorithm != algorithm {
                return Err(KeyRefusal::OtherAlgorithm(key.algorithm));
            }
            if key.state != KeyState::Next {
                return Err(KeyRefusal::WrongState(key.state));
            }
            key
        }
        None => match oldest_next(keys, algorithm) {
            Some(next) => next,
            None => return Ok(vec![KeyMove::Add { algorithm, state: KeyState::Next }]),
        },
    };
    let active = active(keys, algorithm);
    let from = waits.signs_from(next.published_at);
    if anything_signs(keys) && haste == Haste::Wait && from > now {
        return Err(KeyRefusal::TooSoon { kid: next.kid.clone(), from });
    }
    let mut moves: Vec<KeyMove> =
        active.map(|active| KeyMove::Retire { kid: active.kid.clone() }).into_iter().collect();
    take_over(keys, next, &mut moves);
    Ok(moves)
}

/// This active key ceases to sign before its time, and stays published for its time. A next key takes over; only an
/// algorithm that the settings don't name any more may stay without a key that signs.
///
/// # Errors
/// [`KeyRefusal`]; nothing moves then.
pub fn retire(
    keys: &[ScheduledKey],
    kid: &str,
    algorithms: &[Algorithm],
    haste: Haste,
    waits: &KeyWaits,
    now: Timestamp,
) -> Result<Vec<KeyMove>, KeyRefusal> {
    let key = find(keys, kid)?;
    if key.state != KeyState::Active {
        return Err(KeyRefusal::WrongState(key.state));
    }
    if !algorithms.contains(&key.algorithm) {
        return Ok(vec![KeyMove::Retire { kid: key.kid.clone() }]);
    }
    if oldest_next(keys, key.algorithm).is_none() {
        return Err(KeyRefusal::NoSuccessor(key.algorithm));
    }
    rotate(keys, key.algorithm, None, haste, waits, now)
}

/// Nothing that this key signed is accepted any more, from now on. Where it was the one that signs, the next key that
/// has been published longest takes over at once, or a new one.
///
/// # Errors
/// [`KeyRefusal`]; nothing moves then.
pub fn revoke(keys: &[ScheduledKey], kid: &str, algorithms: &[Algorithm]) -> Result<Vec<KeyMove>, KeyRefusal> {
    let key = find(keys, kid)?;
    let algorithm = key.algorithm;
    let mut moves = vec![KeyMove::Revoke { kid: key.kid.clone() }];
    match key.state {
        KeyState::Revoked => return Err(KeyRefusal::WrongState(key.state)),
        KeyState::Active => match oldest_next(keys, algorithm) {
            Some(next) => take_over(keys, next, &mut moves),
            None if algorithms.contains(&algorithm) => {
                moves.extend([KeyState::Active, KeyState::Next].map(|state| KeyMove::Add { algorithm, state }));
            }
            None => {}
        },
        KeyState::Next if algorithms.contains(&algorithm) && in_state(keys, algorithm, KeyState::Next).count() == 1 => {
            moves.push(KeyMove::Add { algorithm, state: KeyState::Next });
        }
        KeyState::Next | KeyState::Retired | KeyState::Archived => {}
    }
    Ok(moves)
}

/// A key that was made elsewhere becomes a next key, unless it is there already, in whatever state: a revoked key doesn't
/// come back.
///
/// # Errors
/// [`KeyRefusal`]; nothing moves then.
pub fn import(
    keys: &[ScheduledKey],
    kid: &str,
    thumbprint: &str,
    algorithm: Algorithm,
    algorithms: &[Algorithm],
) -> Result<Vec<KeyMove>, KeyRefusal> {
    if !algorithms.contains(&algorithm) {
        return Err(KeyRefusal::NotConfigured(algorithm));
    }
    if let Some(same) = keys.iter().find(|key| key.thumbprint == thumbprint) {
        return Err(KeyRefusal::SameKey { kid: same.kid.clone() });
    }
    // A token names its key by `kid` alone (RFC 7517 §4.5).
    if keys.iter().any(|key| key.kid == kid) {
        return Err(KeyRefusal::SameName);
    }
    Ok(vec![KeyMove::Add { algorithm, state: KeyState::Next }])
}

#[cfg(test)]
mod tests;
