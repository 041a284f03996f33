//! The moves of keys: each wait, each refusal, and what relying parties with old copies of the set meet.

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
                set(kid, &[KeyState::Next, KeyState::Active, KeyState::Retired, KeyState::Archived], KeyState::Revoked);
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
    let rotate_to =
        |keys: &[ScheduledKey], kid: &str| rotate(keys, Algorithm::Es256, Some(kid), Haste::AtOnce, &waits(), at(1));
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
    (0..=LAG).filter_map(|lag| history.iter().rev().find(|(from, ..)| *from <= second.saturating_sub(lag))).collect()
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
