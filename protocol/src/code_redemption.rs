//! Redeeming an authorization code (RFC 6749 §4.1.3, RFC 7636 §4.6, OpenID Connect Core §3.1.3.2).

use uuid::Uuid;

use crate::pkce::{self, CodeChallenge};
use crate::refusal::{ErrorCode, Refusal};
use crate::scope::ScopeSet;
use crate::timestamp::Timestamp;

/// A code as it is stored.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StoredCode {
    /// The client it was issued to.
    pub client: Uuid,
    /// The actual redirect URI of the request, port included.
    pub redirect_uri: String,
    /// Whether the request named it.
    pub redirect_uri_named: bool,
    /// The challenge of the request.
    pub challenge: Option<CodeChallenge>,
    /// The end of its life.
    pub expires_at: Timestamp,
    /// When it was redeemed.
    pub spent_at: Option<Timestamp>,
}

/// Whether what the code stands for still stands, read in the same transaction.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct CodeContext {
    /// The user exists and isn't disabled.
    pub user_live: bool,
    /// The session in which the code was issued hasn't ended.
    pub session_live: bool,
    /// The consent is there, or none was needed.
    pub consent_stands: bool,
}

/// The request at the token endpoint.
#[derive(Debug, Clone, Copy)]
pub struct CodePresented<'a> {
    /// The authenticated client.
    pub client: Uuid,
    /// `redirect_uri`.
    pub redirect_uri: Option<&'a str>,
    /// `code_verifier`.
    pub verifier: Option<&'a str>,
}

/// What becomes of the code.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum CodeDecision {
    /// Spend it and issue tokens.
    Redeem,
    /// It was used before by its own client: end all that it gave (RFC 6749 §4.1.2).
    Replayed,
    /// Refuse, and change nothing.
    Refuse(Refusal),
}

/// RFC 6749 §5.2: why a code isn't good. It doesn't say which, for that is nothing to who found the code.
pub const UNKNOWN: Refusal =
    Refusal::new(ErrorCode::InvalidGrant, "The code is unknown, expired, or was issued to another client.");

/// Decides about a presented code.
pub fn decide(code: &StoredCode, context: CodeContext, presented: CodePresented<'_>, now: Timestamp) -> CodeDecision {
    let refuse = |description| CodeDecision::Refuse(Refusal::new(ErrorCode::InvalidGrant, description));
    // RFC 6749 §5.2: issued to another client. Protocol decision 10: a foreign client revokes nothing.
    if code.client != presented.client {
        return CodeDecision::Refuse(UNKNOWN);
    }
    // RFC 6749 §4.1.2: a second use is refused, and what the first gave is revoked, even after the code's own expiry.
    if code.spent_at.is_some() {
        return CodeDecision::Replayed;
    }
    // Protocol decision 11: no leeway.
    if now >= code.expires_at {
        return CodeDecision::Refuse(UNKNOWN);
    }
    // RFC 6749 §4.1.3, protocol decision 2: equal to the request's if named there; with no PKCE it must be present.
    match presented.redirect_uri {
        Some(uri) if uri == code.redirect_uri => {}
        Some(_) => return refuse("The redirect_uri is not the one of the authorization request."),
        None if code.redirect_uri_named && code.challenge.is_none() => {
            return refuse("The redirect_uri is missing.");
        }
        None => {}
    }
    if let Err(refusal) = pkce::check_verifier(code.challenge.as_ref(), presented.verifier) {
        return CodeDecision::Refuse(refusal);
    }
    // Protocol decision 11: user, session and consent still stand.
    if !(context.user_live && context.session_live && context.consent_stands) {
        return refuse("The authorization has ended.");
    }
    CodeDecision::Redeem
}

/// Protocol decision 12: without `offline_access` what a redemption gives ends with the session.
pub fn ties_to_session(scope: &ScopeSet) -> bool {
    !scope.contains(crate::authorization_request::OFFLINE_ACCESS)
}

#[cfg(test)]
mod tests {
    use super::*;

    const LIVE: CodeContext = CodeContext { user_live: true, session_live: true, consent_stands: true };
    const VERIFIER: &str = "dBjftJeZ4CVP-mB92K27uhbUJU1p1r_wW1gFWFOEjXk";
    const CHALLENGE: &str = "E9Melhoa2OwvFrEMTJguCHaoeK1t8URWbuGJSstw-cM";

    fn code() -> StoredCode {
        StoredCode {
            client: Uuid::from_u128(1),
            redirect_uri: "https://a.example/cb".into(),
            redirect_uri_named: true,
            challenge: CodeChallenge::from_request(Some(CHALLENGE), Some("S256")).unwrap(),
            expires_at: Timestamp::from_seconds(60),
            spent_at: None,
        }
    }

    fn presented() -> CodePresented<'static> {
        CodePresented {
            client: Uuid::from_u128(1),
            redirect_uri: Some("https://a.example/cb"),
            verifier: Some(VERIFIER),
        }
    }

    #[test]
    fn a_good_code_is_redeemed_until_its_last_microsecond() {
        let last = Timestamp::from_micros(60 * 1_000_000 - 1);
        assert_eq!(decide(&code(), LIVE, presented(), last), CodeDecision::Redeem);
        assert!(matches!(decide(&code(), LIVE, presented(), Timestamp::from_seconds(60)), CodeDecision::Refuse(_)));
    }

    #[test]
    fn replay_is_only_for_its_own_client() {
        let spent = StoredCode { spent_at: Some(Timestamp::from_seconds(1)), ..code() };
        let late = Timestamp::from_seconds(600);
        assert_eq!(decide(&spent, LIVE, presented(), late), CodeDecision::Replayed);
        let foreign = CodePresented { client: Uuid::from_u128(2), ..presented() };
        assert!(matches!(decide(&spent, LIVE, foreign, late), CodeDecision::Refuse(_)));
    }

    #[test]
    fn wrong_uri_or_verifier_or_context_refuses() {
        let now = Timestamp::from_seconds(1);
        for wrong in [
            CodePresented { redirect_uri: Some("https://a.example/cb/"), ..presented() },
            CodePresented { verifier: None, ..presented() },
            CodePresented { verifier: Some("dBjftJeZ4CVP-mB92K27uhbUJU1p1r_wW1gFWFOEjXl"), ..presented() },
        ] {
            assert!(matches!(decide(&code(), LIVE, wrong, now), CodeDecision::Refuse(_)), "{wrong:?}");
        }
        for context in [
            CodeContext { user_live: false, ..LIVE },
            CodeContext { session_live: false, ..LIVE },
            CodeContext { consent_stands: false, ..LIVE },
        ] {
            assert!(matches!(decide(&code(), context, presented(), now), CodeDecision::Refuse(_)));
        }
        let without_pkce = StoredCode { challenge: None, ..code() };
        let bare = CodePresented { verifier: None, redirect_uri: None, ..presented() };
        assert!(matches!(decide(&without_pkce, LIVE, bare, now), CodeDecision::Refuse(_)));
    }
}
