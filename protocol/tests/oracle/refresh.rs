//! Using a refresh token: `refresh_rotation::decide` beside `oxide_auth::code_grant::refresh`.

use std::borrow::Cow;

use keyward_protocol::Timestamp;
use keyward_protocol::refresh_rotation::{RefreshDecision, StoredRefreshToken, decide};
use keyward_protocol::scope::ScopeSet;
use oxide_auth::code_grant::refresh::{Error, Input, Output, Refresh, Request};
use oxide_auth::primitives::grant::Extensions;
use proptest::prelude::*;
use uuid::Uuid;

use super::{Outcome, code_of, ours, their_grant, theirs};

const SCOPE: &str = "openid api";
/// What may be asked for: nothing, all, less, more, an empty list, and no list.
const ASKED: [Option<&str>; 6] = [None, Some("api openid"), Some("api"), Some("api admin"), Some(" "), Some("a\"b")];

/// A refresh token, and a request with it by an authenticated client.
#[derive(Debug, Clone)]
struct Case {
    known: bool,
    foreign: bool,
    expired: bool,
    family_ended: bool,
    spent: bool,
    /// Within the time in which a retry is forgiven, and the successor wasn't used.
    in_grace: bool,
    live: bool,
    asked: usize,
}

/// Why the two differ.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Difference {
    /// A scope that is no list of scope tokens is refused before the token is looked at; they look at the token first.
    MalformedScopeFirst,
    /// RFC 6749 §6: a scope beyond the grant is said before the token's own age; they say the age first.
    ScopeBeforeAge,
    /// RFC 6749 §3.3: a scope has one token at the least; they grant an empty one.
    EmptyScope,
    /// Protocol decision 14: a retry gets the same successor; to them a spent token is unknown.
    Grace,
    /// The scope is judged before a retry or a reuse is; to them a spent token is unknown whatever it asks for.
    ScopeOfSpent,
    /// Protocol decision 12: the user, and the session that the grant is tied to, still stand; they know of neither.
    Ended,
}

impl Difference {
    const ALL: [Self; 6] = [
        Self::MalformedScopeFirst,
        Self::ScopeBeforeAge,
        Self::EmptyScope,
        Self::Grace,
        Self::ScopeOfSpent,
        Self::Ended,
    ];
}

fn our_outcome(case: &Case) -> Outcome {
    // As the endpoint does: the scope is read before the token is looked up.
    let asked = match ASKED[case.asked].map(ScopeSet::parse).transpose() {
        Ok(asked) => asked,
        Err(refusal) => return Outcome::Refused(refusal.code.as_str()),
    };
    if !case.known {
        return Outcome::Refused("invalid_grant");
    }
    let stored = StoredRefreshToken {
        client: Uuid::from_u128(if case.foreign { 2 } else { 1 }),
        scope: ScopeSet::parse(SCOPE).unwrap(),
        expires_at: Timestamp::from_seconds(if case.expired { 10 } else { 1000 }),
        spent_at: case.spent.then(|| Timestamp::from_seconds(if case.in_grace { 90 } else { 20 })),
        successor_used: case.spent.then_some(false),
        family_expires_at: Timestamp::from_seconds(5000),
        family_ended_at: case.family_ended.then(|| Timestamp::from_seconds(50)),
        user_live: case.live,
        session_live: case.live,
    };
    match decide(&stored, Uuid::from_u128(1), asked.as_ref(), true, 30, Timestamp::from_seconds(100)) {
        RefreshDecision::Rotate(scope) | RefreshDecision::Keep(scope) | RefreshDecision::Repeat(scope) => ours(&scope),
        RefreshDecision::Reused => Outcome::Refused("invalid_grant"),
        RefreshDecision::Refuse(refusal) => Outcome::Refused(refusal.code.as_str()),
    }
}

impl Request for Case {
    fn valid(&self) -> bool {
        true
    }

    fn refresh_token(&self) -> Option<Cow<'_, str>> {
        Some("token".into())
    }

    fn scope(&self) -> Option<Cow<'_, str>> {
        ASKED[self.asked].map(Into::into)
    }

    fn grant_type(&self) -> Option<Cow<'_, str>> {
        Some("refresh_token".into())
    }

    fn authorization(&self) -> Option<(Cow<'_, str>, Cow<'_, [u8]>)> {
        Some(("shop".into(), b"secret"[..].into()))
    }

    fn extension(&self, _: &str) -> Option<Cow<'_, str>> {
        None
    }
}

/// Their state machine, with a store that forgets spent and revoked tokens as theirs does.
fn their_outcome(case: &Case) -> Outcome {
    let client = if case.foreign { "other" } else { "shop" };
    let there = case.known && !case.spent && !case.family_ended;
    let grant = there.then(|| their_grant(client, "https://shop.example/cb", SCOPE, case.expired, Extensions::new()));
    let mut machine = Refresh::new(case);
    let mut input = Input::None;
    loop {
        input = match machine.advance(input) {
            Output::Unauthenticated { .. } => Input::Authenticated { scope: case.scope() },
            Output::RecoverRefresh { .. } => Input::Recovered { scope: case.scope(), grant: grant.clone() },
            Output::Refresh { grant, .. } => return theirs(&grant.scope),
            Output::Ok(_) => panic!("nothing was issued"),
            Output::Err(Error::Invalid(description) | Error::Unauthorized(description, _)) => {
                return Outcome::Refused(code_of(&description.to_json()));
            }
            Output::Err(Error::Primitive) => panic!("the machine was driven wrongly"),
        };
    }
}

fn explain(case: &Case) -> Option<Difference> {
    let scope_is_beyond = matches!(case.asked, 3 | 4);
    if case.asked == 5 {
        return Some(Difference::MalformedScopeFirst);
    }
    if !case.known || case.foreign || case.family_ended {
        return None;
    }
    if case.spent {
        return Some(if scope_is_beyond { Difference::ScopeOfSpent } else { Difference::Grace });
    }
    if case.expired {
        return scope_is_beyond.then_some(Difference::ScopeBeforeAge);
    }
    if case.asked == 4 {
        return Some(Difference::EmptyScope);
    }
    (!case.live).then_some(Difference::Ended)
}

fn fits(difference: Difference, ours: &Outcome, theirs: &Outcome) -> bool {
    let (grant, scope) = (Outcome::Refused("invalid_grant"), Outcome::Refused("invalid_scope"));
    match difference {
        Difference::MalformedScopeFirst | Difference::ScopeBeforeAge | Difference::ScopeOfSpent => {
            *ours == scope && *theirs == grant
        }
        Difference::EmptyScope => *ours == scope && *theirs == Outcome::Granted([].into()),
        Difference::Grace => matches!(ours, Outcome::Granted(_)) && *theirs == grant,
        Difference::Ended => {
            *ours == grant && matches!(theirs, Outcome::Granted(_) | Outcome::Refused("invalid_scope"))
        }
    }
}

fn judge(case: &Case) -> Result<Option<Difference>, String> {
    let (ours, theirs) = (our_outcome(case), their_outcome(case));
    if ours == theirs {
        return Ok(None);
    }
    match explain(case) {
        Some(difference) if fits(difference, &ours, &theirs) => Ok(Some(difference)),
        named => Err(format!("{case:?}: we say {ours:?}, they say {theirs:?}, and {named:?} doesn't explain it")),
    }
}

/// The case of these bits.
fn case(bits: u32, asked: usize) -> Case {
    let flag = |at: u32| bits >> at & 1 == 1;
    Case {
        known: !flag(0),
        foreign: flag(1),
        expired: flag(2),
        family_ended: flag(3),
        spent: flag(4),
        in_grace: flag(5),
        live: !flag(6),
        asked,
    }
}

proptest! {
    /// Any list of words as scope, beside theirs: the same tokens are granted or refused.
    #[test]
    fn scopes_narrow_alike(words in proptest::collection::vec("(openid|api|admin|[!#-~]{1,4})", 1..5)) {
        let asked = words.join(" ");
        let ours_is = ScopeSet::parse(&asked).map(|asked| asked.is_subset_of(&ScopeSet::parse(SCOPE).unwrap()));
        let theirs_is = asked.parse::<oxide_auth::primitives::scope::Scope>().map(|asked| {
            SCOPE.parse::<oxide_auth::primitives::scope::Scope>().unwrap().priviledged_to(&asked)
        });
        prop_assert_eq!(ours_is.ok(), theirs_is.ok());
    }

    #[test]
    fn every_difference_has_a_name(bits in 0u32..128, asked in 0..ASKED.len()) {
        judge(&case(bits, asked)).map_err(TestCaseError::fail)?;
    }
}

#[test]
fn every_name_stands_for_a_difference_and_nothing_else_differs() {
    let all = (0..128).flat_map(|bits| (0..ASKED.len()).map(move |asked| case(bits, asked)));
    let seen: Vec<Difference> = all.filter_map(|case| judge(&case).unwrap()).collect();
    for difference in Difference::ALL {
        assert!(seen.contains(&difference), "{difference:?} doesn't exist any more");
    }
}
