//! Using a refresh token (RFC 6749 §6, RFC 9700 §4.14.2): rotation, the grace time of a retry, reuse.

use uuid::Uuid;

use crate::refusal::{ErrorCode, Refusal};
use crate::scope::ScopeSet;
use crate::timestamp::Timestamp;

/// A refresh token's row and what it hangs on, read in one transaction.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StoredRefreshToken {
    /// The client it was issued to.
    pub client: Uuid,
    /// The scope of the grant.
    pub scope: ScopeSet,
    /// The end of its life without use.
    pub expires_at: Timestamp,
    /// When it was rotated away.
    pub spent_at: Option<Timestamp>,
    /// Whether the successor was used; `None` while there is no successor.
    pub successor_used: Option<bool>,
    /// The end of the family whatever happens.
    pub family_expires_at: Timestamp,
    /// When the family ended.
    pub family_ended_at: Option<Timestamp>,
    /// The user exists and isn't disabled.
    pub user_live: bool,
    /// The session it is tied to hasn't ended, or it is tied to none.
    pub session_live: bool,
}

/// What becomes of the token.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum RefreshDecision {
    /// Spend it and give a successor, for this scope of the access token.
    Rotate(ScopeSet),
    /// Keep it, and give an access token for this scope.
    Keep(ScopeSet),
    /// A retry within the grace time: the same successor again (protocol decision 14).
    Repeat(ScopeSet),
    /// Used again after rotation: the family ends (RFC 9700 §4.14.2).
    Reused,
    /// Refuse, and change nothing.
    Refuse(Refusal),
}

/// RFC 6749 §5.2: why a refresh token isn't good. It doesn't say which, for that is nothing to who found the token.
pub const GONE: Refusal = Refusal::new(
    ErrorCode::InvalidGrant,
    "The refresh token is unknown, expired, revoked, or was issued to another client.",
);

/// Decides about a presented refresh token. `grace` is in seconds; zero means that no retry is forgiven.
pub fn decide(
    token: &StoredRefreshToken,
    client: Uuid,
    asked: Option<&ScopeSet>,
    rotates: bool,
    grace: u64,
    now: Timestamp,
) -> RefreshDecision {
    let refuse = |code, description| RefreshDecision::Refuse(Refusal::new(code, description));
    // RFC 6749 §5.2, §10.4: bound to the client it was issued to. A foreign client ends nothing.
    if token.client != client {
        return RefreshDecision::Refuse(GONE);
    }
    if token.family_ended_at.is_some() || now >= token.family_expires_at {
        return RefreshDecision::Refuse(GONE);
    }
    let scope = match asked {
        None => token.scope.clone(),
        // RFC 6749 §6: no scope that wasn't originally granted.
        Some(asked) if asked.is_subset_of(&token.scope) && !asked.is_empty() => asked.clone(),
        Some(_) => return refuse(ErrorCode::InvalidScope, "The scope goes beyond what was granted."),
    };
    if let Some(spent_at) = token.spent_at {
        // Protocol decision 14: within the grace time, as long as the successor was not used.
        return if grace > 0 && now < spent_at.plus_seconds(grace) && token.successor_used == Some(false) {
            if token.user_live && token.session_live {
                RefreshDecision::Repeat(scope)
            } else {
                RefreshDecision::Refuse(GONE)
            }
        } else {
            RefreshDecision::Reused
        };
    }
    if now >= token.expires_at || !token.user_live || !token.session_live {
        return RefreshDecision::Refuse(GONE);
    }
    if rotates { RefreshDecision::Rotate(scope) } else { RefreshDecision::Keep(scope) }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn token() -> StoredRefreshToken {
        StoredRefreshToken {
            client: Uuid::from_u128(1),
            scope: ScopeSet::parse("openid api").unwrap(),
            expires_at: Timestamp::from_seconds(1000),
            spent_at: None,
            successor_used: None,
            family_expires_at: Timestamp::from_seconds(5000),
            family_ended_at: None,
            user_live: true,
            session_live: true,
        }
    }

    fn at(token: &StoredRefreshToken, seconds: i64, grace: u64) -> RefreshDecision {
        decide(token, Uuid::from_u128(1), None, true, grace, Timestamp::from_seconds(seconds))
    }

    #[test]
    fn rotates_repeats_and_then_it_is_reuse() {
        assert!(matches!(at(&token(), 10, 30), RefreshDecision::Rotate(_)));
        let spent =
            StoredRefreshToken { spent_at: Some(Timestamp::from_seconds(10)), successor_used: Some(false), ..token() };
        assert!(matches!(at(&spent, 39, 30), RefreshDecision::Repeat(_)));
        assert_eq!(at(&spent, 40, 30), RefreshDecision::Reused);
        assert_eq!(at(&spent, 10, 0), RefreshDecision::Reused);
        let used = StoredRefreshToken { successor_used: Some(true), ..spent };
        assert_eq!(at(&used, 11, 30), RefreshDecision::Reused);
    }

    #[test]
    fn scope_narrows_and_never_widens() {
        let ask = |scope: &str| {
            let scope = ScopeSet::parse(scope).unwrap();
            decide(&token(), Uuid::from_u128(1), Some(&scope), true, 30, Timestamp::from_seconds(1))
        };
        assert_eq!(ask("api"), RefreshDecision::Rotate(ScopeSet::parse("api").unwrap()));
        assert!(matches!(ask("api admin"), RefreshDecision::Refuse(r) if r.code == ErrorCode::InvalidScope));
    }

    proptest! {
        /// A token of another client, of an ended family or of a user who is gone never yields anything, and a spent
        /// one never yields a second successor.
        #[test]
        fn nothing_comes_of_what_has_ended(
            foreign: bool, ended: bool, user_live: bool, session_live: bool, rotates: bool,
            spent in proptest::option::of(0i64..200), used in proptest::option::of(any::<bool>()),
            now in 0i64..7000, grace in 0u64..60,
        ) {
            let stored = StoredRefreshToken {
                spent_at: spent.map(Timestamp::from_seconds),
                successor_used: used,
                family_ended_at: ended.then(|| Timestamp::from_seconds(5)),
                user_live,
                session_live,
                ..token()
            };
            let client = Uuid::from_u128(if foreign { 2 } else { 1 });
            let decision = decide(&stored, client, None, rotates, grace, Timestamp::from_seconds(now));
            let yields = matches!(
                decision,
                RefreshDecision::Rotate(_) | RefreshDecision::Keep(_) | RefreshDecision::Repeat(_)
            );
            if foreign || ended || !user_live || !session_live || now >= 5000 {
                prop_assert!(!yields);
            }
            if spent.is_some() {
                prop_assert!(!matches!(decision, RefreshDecision::Rotate(_) | RefreshDecision::Keep(_)));
            }
            if foreign {
                prop_assert!(matches!(decision, RefreshDecision::Refuse(_)));
            }
        }
    }
}
