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
mod tests {
    use proptest::prelude::*;

    use super::*;

    const BOTH: [Algorithm; 2] = [Algorithm::Es256, Algorithm::EdDsa];

    fn at(seconds: u64) -> Timestamp {
        Timestamp::from_seconds(1_800_000_000).plus_seconds(seconds)
    }

    fn waits() -> KeyWaits {
        KeyWaits { publication: 300, rotation: Some(10_000), longest_life: 1800, margin: 60, hints: 50_000 }
    }

    /// What an act does to the rows.
    fn apply(keys: &mut Vec<ScheduledKey>, moves: &[KeyMove], now: Timestamp, made: &mut u32) {
        for step in moves {
            let mut set = |kid: &str, from: &[KeyState], to: KeyState| {
                let key = keys.iter_mut().find(|key| key.kid == kid).unwrap();
                assert!(from.contains(&key.state), "{step:?} begins with {from:?}, not {:?}", key.state);
                key.state = to;
                match to {
                    KeyState::Active => key.activated_at = Some(now),
                    KeyState::Retired => key.retired_at = Some(now),
                    _ => {}
                }
            };
            match step {
                KeyMove::Add { algorithm, state } => {
                    *made += 1;
                    keys.push(ScheduledKey {
                        kid: format!("key-{made}"),
                        thumbprint: format!("thumb-{made}"),
                        algorithm: *algorithm,
                        state: *state,
                        published_at: now,
                        activated_at: (*state == KeyState::Active).then_some(now),
                        retired_at: None,
                    });
                }
                KeyMove::Promote { kid } => set(kid, &[KeyState::Next], KeyState::Active),
                KeyMove::Retire { kid } => set(kid, &[KeyState::Active], KeyState::Retired),
                KeyMove::Withdraw { kid } => set(kid, &[KeyState::Retired], KeyState::Archived),
                KeyMove::Revoke { kid } => {
                    set(
                        kid,
                        &[KeyState::Next, KeyState::Active, KeyState::Retired, KeyState::Archived],
                        KeyState::Revoked,
                    );
                }
                KeyMove::Remove { kid } => {
                    let place = keys.iter().position(|key| key.kid == *kid).unwrap();
                    assert_eq!(keys.remove(place).state, KeyState::Archived);
                }
            }
        }
    }

    fn states(keys: &[ScheduledKey], algorithm: Algorithm) -> Vec<KeyState> {
        let mut states: Vec<_> = keys.iter().filter(|key| key.algorithm == algorithm).map(|key| key.state).collect();
        states.sort();
        states
    }

    fn fresh() -> (Vec<ScheduledKey>, u32) {
        let (mut keys, mut made) = (Vec::new(), 0);
        apply(&mut keys, &due(&[], &BOTH, &waits(), at(0)), at(0), &mut made);
        (keys, made)
    }

    #[test]
    fn a_fresh_server_has_an_active_and_a_next_key() {
        let (keys, _) = fresh();
        for algorithm in BOTH {
            assert_eq!(states(&keys, algorithm), [KeyState::Active, KeyState::Next]);
        }
        assert!(due(&keys, &BOTH, &waits(), at(0)).is_empty(), "nothing more is due");
    }

    #[test]
    fn the_key_of_a_new_algorithm_is_published_before_it_signs() {
        let (mut keys, mut made) = (Vec::new(), 0);
        let begun = due(&keys, &[Algorithm::Es256], &waits(), at(0));
        apply(&mut keys, &begun, at(0), &mut made);
        assert_eq!(ready_from(&keys, Algorithm::EdDsa, &waits()), None, "nothing to wait for");
        let mut step = |now: u64| {
            let moves = due(&keys, &BOTH, &waits(), at(now));
            apply(&mut keys, &moves, at(now), &mut made);
            (states(&keys, Algorithm::EdDsa), keys.clone())
        };
        let (found, keys) = step(1_000);
        assert_eq!(found, [KeyState::Next]);
        assert_eq!(ready_from(&keys, Algorithm::EdDsa, &waits()), Some(at(1_300)));
        assert_eq!(step(1_299).0, [KeyState::Next]);
        let too_soon = rotate(&keys, Algorithm::EdDsa, None, Haste::Wait, &waits(), at(1_299));
        assert!(matches!(too_soon, Err(KeyRefusal::TooSoon { .. })), "{too_soon:?}");
        assert_eq!(rotate(&keys, Algorithm::EdDsa, None, Haste::AtOnce, &waits(), at(1_299)).unwrap().len(), 2);
        let (found, keys) = step(1_300);
        assert_eq!(found, [KeyState::Active, KeyState::Next]);
        assert_eq!(ready_from(&keys, Algorithm::EdDsa, &waits()), None);
    }

    #[test]
    fn a_key_goes_its_whole_way() {
        let (mut keys, mut made) = fresh();
        let first = active(&keys, Algorithm::Es256).unwrap().kid.clone();
        let state = |keys: &[ScheduledKey]| keys.iter().find(|key| key.kid == first).map(|key| key.state);
        for (now, expected) in [
            (9_999, Some(KeyState::Active)),
            (10_000, Some(KeyState::Retired)),
            (11_859, Some(KeyState::Retired)),
            (11_860, Some(KeyState::Archived)),
            (59_999, Some(KeyState::Archived)),
            (60_000, None),
        ] {
            let moves = due(
                &keys,
                &[Algorithm::Es256],
                &KeyWaits { rotation: (now < 20_000).then_some(10_000), ..waits() },
                at(now),
            );
            apply(&mut keys, &moves, at(now), &mut made);
            assert_eq!(state(&keys), expected, "{now}");
        }
    }

    #[test]
    fn a_young_next_key_waits_but_for_haste() {
        let (keys, _) = fresh();
        let next = oldest_next(&keys, Algorithm::Es256).unwrap().kid.clone();
        let refused = rotate(&keys, Algorithm::Es256, None, Haste::Wait, &waits(), at(299)).unwrap_err();
        assert_eq!(refused, KeyRefusal::TooSoon { kid: next.clone(), from: at(300) });
        for (haste, now) in [(Haste::Wait, 300), (Haste::AtOnce, 0)] {
            let moves = rotate(&keys, Algorithm::Es256, Some(&next), haste, &waits(), at(now)).unwrap();
            assert!(moves.contains(&KeyMove::Promote { kid: next.clone() }));
            assert_eq!(moves.len(), 3);
        }
    }

    #[test]
    fn what_cannot_be_done_is_refused() {
        let (mut keys, mut made) = fresh();
        let [active_kid, next_kid] = [KeyState::Active, KeyState::Next]
            .map(|state| in_state(&keys, Algorithm::Es256, state).next().unwrap().kid.clone());
        let rotate_to = |keys: &[ScheduledKey], kid: &str| {
            rotate(keys, Algorithm::Es256, Some(kid), Haste::AtOnce, &waits(), at(1))
        };
        assert_eq!(rotate_to(&keys, "no"), Err(KeyRefusal::Unknown));
        assert_eq!(rotate_to(&keys, &active_kid), Err(KeyRefusal::WrongState(KeyState::Active)));
        let other = oldest_next(&keys, Algorithm::EdDsa).unwrap().kid.clone();
        assert_eq!(rotate_to(&keys, &other), Err(KeyRefusal::OtherAlgorithm(Algorithm::EdDsa)));
        let retire_key = |keys: &[ScheduledKey], kid: &str, algorithms: &[Algorithm]| {
            retire(keys, kid, algorithms, Haste::AtOnce, &waits(), at(1))
        };
        assert_eq!(retire_key(&keys, &next_kid, &BOTH), Err(KeyRefusal::WrongState(KeyState::Next)));
        assert_eq!(
            retire_key(&keys, &active_kid, &[Algorithm::EdDsa]).unwrap(),
            [KeyMove::Retire { kid: active_kid.clone() }],
            "the settings don't want the algorithm any more"
        );
        apply(&mut keys, &[KeyMove::Revoke { kid: next_kid.clone() }], at(1), &mut made);
        assert_eq!(retire_key(&keys, &active_kid, &BOTH), Err(KeyRefusal::NoSuccessor(Algorithm::Es256)));
        assert_eq!(revoke(&keys, &next_kid, &BOTH), Err(KeyRefusal::WrongState(KeyState::Revoked)));
        let thumbprint = |kid: &str| keys.iter().find(|key| key.kid == kid).unwrap().thumbprint.clone();
        let take = |kid: &str, thumbprint: &str, algorithm| import(&keys, kid, thumbprint, algorithm, &BOTH);
        assert_eq!(
            take("new", &thumbprint(&next_kid), Algorithm::Es256),
            Err(KeyRefusal::SameKey { kid: next_kid.clone() }),
            "a revoked key doesn't come back"
        );
        assert_eq!(take(&active_kid, "new", Algorithm::Es256), Err(KeyRefusal::SameName));
        assert_eq!(take("new", "new", Algorithm::Rs256), Err(KeyRefusal::NotConfigured(Algorithm::Rs256)));
        assert_eq!(take("new", "new", Algorithm::Es256).unwrap().len(), 1);
    }

    #[test]
    fn a_revoked_key_has_a_successor_at_once() {
        let (mut keys, mut made) = fresh();
        for round in 0..4 {
            let kid = active(&keys, Algorithm::Es256).unwrap().kid.clone();
            // Every other time the next key goes first, so that both ways are gone.
            if round % 2 == 1 {
                let next = oldest_next(&keys, Algorithm::Es256).unwrap().kid.clone();
                apply(&mut keys, &[KeyMove::Revoke { kid: next }], at(round), &mut made);
            }
            let moves = revoke(&keys, &kid, &BOTH).unwrap();
            apply(&mut keys, &moves, at(round), &mut made);
            let left: Vec<_> =
                states(&keys, Algorithm::Es256).into_iter().filter(|state| *state != KeyState::Revoked).collect();
            assert_eq!(left, [KeyState::Active, KeyState::Next]);
        }
    }

    /// What somebody does, and how many seconds later the next one does something.
    #[derive(Debug, Clone)]
    enum Step {
        Schedule,
        Rotate(usize),
        Retire(usize),
        Generate(usize),
    }

    fn step() -> impl Strategy<Value = (Step, u64)> {
        let step = prop_oneof![
            6 => Just(Step::Schedule),
            2 => (0..2_usize).prop_map(Step::Rotate),
            1 => (0..2_usize).prop_map(Step::Retire),
            1 => (0..2_usize).prop_map(Step::Generate),
        ];
        (step, 1..700_u64)
    }

    /// A node answers and signs by what it has read, at most this many seconds ago.
    const LAG: u64 = 1;

    /// What was published and who signed, from this second on.
    type Moment = (u64, Vec<String>, Vec<(Algorithm, String)>);

    /// The history's entry that a node may act by at this second, one for each lag.
    fn seen(history: &[Moment], second: u64) -> Vec<&Moment> {
        (0..=LAG)
            .filter_map(|lag| history.iter().rev().find(|(from, ..)| *from <= second.saturating_sub(lag)))
            .collect()
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(200))]

        /// Whoever holds a JWK Set that is no older than its lifetime has the key of every token that is signed
        /// meanwhile, whichever nodes answered and signed; and while a token lives, its key is published.
        #[test]
        fn no_token_meets_a_set_without_its_key(
            steps in prop::collection::vec(step(), 1..60),
            max_age in 1..600_u64,
            longest_life in 1..5_000_u64,
            rotation in prop::option::of(500..5_000_u64),
        ) {
            let waits = KeyWaits { publication: max_age + LAG, rotation, longest_life, margin: LAG, hints: 10_000 };
            let (mut keys, mut made, mut second) = (Vec::new(), 0, 0);
            let mut history: Vec<Moment> = Vec::new();
            let mut record = |keys: &[ScheduledKey], second: u64| {
                let published = keys.iter().filter(|key| key.state.is_published()).map(|key| key.kid.clone()).collect();
                let signing = BOTH.iter().map(|&algorithm| {
                    let mut all = in_state(keys, algorithm, KeyState::Active);
                    let one = all.next().map(|key| key.kid.clone());
                    (algorithm, one, all.count())
                });
                let signing: Vec<_> = signing.map(|(algorithm, one, more)| {
                    assert_eq!(more, 0, "two active keys");
                    (algorithm, one.expect("an active key"))
                }).collect();
                history.push((second, published, signing));
            };
            let first = due(&keys, &BOTH, &waits, at(0));
            apply(&mut keys, &first, at(0), &mut made);
            record(&keys, 0);
            for (step, pause) in steps {
                let now = at(second);
                let moves = match step {
                    Step::Schedule => Ok(due(&keys, &BOTH, &waits, now)),
                    Step::Rotate(of) => rotate(&keys, BOTH[of], None, Haste::Wait, &waits, now),
                    Step::Retire(of) => {
                        retire(&keys, &active(&keys, BOTH[of]).unwrap().kid, &BOTH, Haste::Wait, &waits, now)
                    }
                    Step::Generate(of) => Ok(vec![KeyMove::Add { algorithm: BOTH[of], state: KeyState::Next }]),
                };
                if let Ok(moves) = moves {
                    apply(&mut keys, &moves, now, &mut made);
                }
                // The other node fires too, on what it finds then: only what nobody did is left.
                if matches!(step, Step::Schedule) {
                    let again = due(&keys, &BOTH, &waits, now);
                    let later = |step: &KeyMove| matches!(step, KeyMove::Remove { .. });
                    prop_assert!(again.iter().all(later), "the same was due twice: {again:?}");
                }
                record(&keys, second);
                second += pause;
            }
            // Every second at which something changed, and those around it, are looked at.
            let moments: Vec<u64> = history
                .iter()
                .flat_map(|(from, ..)| [from.saturating_sub(1), *from, from + LAG, from + max_age, from + longest_life])
                .filter(|moment| *moment <= second)
                .collect();
            for &signed in &moments {
                for (_, _, signing) in seen(&history, signed) {
                    for (_, kid) in signing {
                        for fetched in [signed.saturating_sub(max_age), signed.saturating_sub(max_age / 2), signed] {
                            // Before the first second there was no server to fetch from.
                            for (_, published, _) in seen(&history, fetched) {
                                prop_assert!(published.contains(kid), "signed at {signed}, fetched at {fetched}");
                            }
                        }
                        let expires = (signed + longest_life).min(second);
                        for (_, published, _) in seen(&history, expires) {
                            prop_assert!(published.contains(kid), "signed at {signed}, gone at {expires}");
                        }
                    }
                }
            }
        }
    }
}
