//! Redeeming a code: `code_redemption::decide` beside `oxide_auth::code_grant::accesstoken` with their PKCE.

use std::borrow::Cow;

use base64::Engine;
use base64::prelude::BASE64_URL_SAFE_NO_PAD;
use keyward_protocol::Timestamp;
use keyward_protocol::code_redemption::{CodeContext, CodeDecision, CodePresented, StoredCode, decide};
use keyward_protocol::pkce::CodeChallenge;
use keyward_protocol::scope::ScopeSet;
use oxide_auth::code_grant::accesstoken::{AccessToken, Authorization, Error, Input, Output, Request};
use oxide_auth::code_grant::extensions::Pkce;
use oxide_auth::primitives::grant::Extensions;
use proptest::prelude::*;
use uuid::Uuid;

use super::{Outcome, code_of, ours, their_grant, theirs};

const REDIRECT: &str = "https://shop.example/cb";
const SCOPE: &str = "openid api";
/// 43 characters (RFC 7636 Appendix B), one character, and another of the right length.
const VERIFIERS: [&str; 3] =
    ["dBjftJeZ4CVP-mB92K27uhbUJU1p1r_wW1gFWFOEjXk", "x", "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa"];

/// A code, and a request for it by an authenticated client.
#[derive(Debug, Clone)]
struct Case {
    known: bool,
    foreign: bool,
    expired: bool,
    spent: bool,
    live: bool,
    /// Which verifier the challenge was made from.
    challenge: Option<usize>,
    verifier: Option<usize>,
    redirect: Option<&'static str>,
}

/// Why the two differ.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Difference {
    /// RFC 6749 §5.2: a code that is unknown is `invalid_grant`; they say `invalid_request`.
    UnknownCode,
    /// RFC 6749 §4.1.2: a second use ends what the first gave; they forget spent codes, and so can't.
    SpentCode,
    /// OAuth 2.1 §10.2: with PKCE the `redirect_uri` isn't needed again; they always demand it.
    RedirectNotNeeded,
    /// RFC 6749 §5.2: a missing or misshapen `redirect_uri` doesn't match, `invalid_grant`; they say `invalid_request`.
    RedirectMissing,
    /// RFC 3986 §6.2.1, RFC 9700 §2.1: we compare strings; they compare what a parser made of them.
    RedirectParsed,
    /// RFC 7636 §4.6: a wrong or missing verifier is `invalid_grant`; they say `invalid_request`.
    VerifierWrong,
    /// RFC 7636 §4.1: 43 characters at the least; they take one.
    VerifierShort,
    /// RFC 9700 §4.8.2: a verifier for a code without challenge is a downgrade; they ignore it.
    VerifierUnasked,
    /// Protocol decision 11: user, session and consent still stand; they know of none.
    Ended,
}

impl Difference {
    const ALL: [Self; 9] = [
        Self::UnknownCode,
        Self::SpentCode,
        Self::RedirectNotNeeded,
        Self::RedirectMissing,
        Self::RedirectParsed,
        Self::VerifierWrong,
        Self::VerifierShort,
        Self::VerifierUnasked,
        Self::Ended,
    ];
}

fn challenge_of(verifier: usize) -> String {
    let digest = aws_lc_rs::digest::digest(&aws_lc_rs::digest::SHA256, VERIFIERS[verifier].as_bytes());
    BASE64_URL_SAFE_NO_PAD.encode(digest)
}

/// Our rule, and what the store says of a code that isn't there.
fn our_outcome(case: &Case) -> Outcome {
    let challenge = case.challenge.map(challenge_of);
    let stored = StoredCode {
        client: Uuid::from_u128(if case.foreign { 2 } else { 1 }),
        redirect_uri: REDIRECT.to_owned(),
        redirect_uri_named: true,
        challenge: challenge.and_then(|text| CodeChallenge::from_request(Some(&text), Some("S256")).unwrap()),
        expires_at: Timestamp::from_seconds(if case.expired { 10 } else { 1000 }),
        spent_at: case.spent.then(|| Timestamp::from_seconds(5)),
    };
    let context = CodeContext { user_live: case.live, session_live: case.live, consent_stands: case.live };
    let verifier = case.verifier.map(|verifier| VERIFIERS[verifier]);
    let presented = CodePresented { client: Uuid::from_u128(1), redirect_uri: case.redirect, verifier };
    if !case.known {
        return Outcome::Refused("invalid_grant");
    }
    match decide(&stored, context, presented, Timestamp::from_seconds(100)) {
        CodeDecision::Redeem => ours(&ScopeSet::parse(SCOPE).unwrap()),
        CodeDecision::Replayed => Outcome::Refused("invalid_grant"),
        CodeDecision::Refuse(refusal) => Outcome::Refused(refusal.code.as_str()),
    }
}

impl Request for Case {
    fn valid(&self) -> bool {
        true
    }

    fn code(&self) -> Option<Cow<'_, str>> {
        Some("code".into())
    }

    fn authorization(&self) -> Authorization<'_> {
        Authorization::UsernamePassword("shop".into(), b"secret"[..].into())
    }

    fn client_id(&self) -> Option<Cow<'_, str>> {
        None
    }

    fn redirect_uri(&self) -> Option<Cow<'_, str>> {
        self.redirect.map(Into::into)
    }

    fn grant_type(&self) -> Option<Cow<'_, str>> {
        Some("authorization_code".into())
    }

    fn extension(&self, key: &str) -> Option<Cow<'_, str>> {
        self.verifier.filter(|_| key == "code_verifier").map(|verifier| VERIFIERS[verifier].into())
    }
}

/// Their state machine, with a store that forgets spent codes as theirs does.
fn their_outcome(case: &Case) -> Outcome {
    let pkce = Pkce::optional();
    let mut extensions = Extensions::new();
    if let Some(verifier) = case.challenge {
        let value = pkce.challenge(Some("S256".into()), Some(challenge_of(verifier).into())).unwrap().unwrap();
        extensions.set(&pkce, value);
    }
    let client = if case.foreign { "other" } else { "shop" };
    let grant = (case.known && !case.spent).then(|| their_grant(client, REDIRECT, SCOPE, case.expired, extensions));
    let refused = |error: &Error| match error {
        Error::Invalid(description) => Outcome::Refused(code_of(&description.to_json())),
        Error::Unauthorized(description, _) => Outcome::Refused(code_of(&description.to_json())),
        Error::Primitive(_) => panic!("the machine was driven wrongly"),
    };
    let mut machine = AccessToken::new(case);
    let mut input = Input::None;
    loop {
        input = match machine.advance(input) {
            Output::Authenticate { .. } => Input::Authenticated,
            Output::Recover { .. } => Input::Recovered(grant.clone()),
            Output::Extend { extensions } => {
                let verifier = case.extension("code_verifier");
                match pkce.verify(extensions.remove(&pkce), verifier) {
                    Ok(()) => Input::Extended { access_extensions: Extensions::new() },
                    // As their endpoint answers it.
                    Err(()) => return refused(&Error::invalid()),
                }
            }
            Output::Issue { grant } => return theirs(&grant.scope),
            Output::Ok(_) => panic!("nothing was issued"),
            Output::Err(error) => return refused(&error),
        };
    }
}

/// The difference that explains a case; the first that applies, in the order in which the two look.
fn explain(case: &Case) -> Option<Difference> {
    let needs_redirect = case.challenge.is_none();
    match case.redirect {
        None if case.known && !case.spent && !case.foreign && !case.expired && !needs_redirect => {
            return Some(Difference::RedirectNotNeeded);
        }
        None | Some("not a uri") => return Some(Difference::RedirectMissing),
        Some(_) => {}
    }
    if !case.known {
        return Some(Difference::UnknownCode);
    }
    if case.spent {
        return Some(Difference::SpentCode);
    }
    if case.foreign || case.expired {
        return None;
    }
    if case.redirect == Some("HTTPS://shop.example:443/cb") {
        return Some(Difference::RedirectParsed);
    }
    if case.redirect != Some(REDIRECT) {
        return None;
    }
    match (case.challenge, case.verifier) {
        (None, Some(_)) => return Some(Difference::VerifierUnasked),
        (Some(_), None) => return Some(Difference::VerifierWrong),
        (Some(challenge), Some(verifier)) if challenge != verifier => return Some(Difference::VerifierWrong),
        (Some(_), Some(1)) => return Some(Difference::VerifierShort),
        _ => {}
    }
    (!case.live).then_some(Difference::Ended)
}

/// Whether the outcomes are those that the difference is about.
fn fits(difference: Difference, case: &Case, ours: &Outcome, theirs: &Outcome) -> bool {
    let (grant, request) = (Outcome::Refused("invalid_grant"), Outcome::Refused("invalid_request"));
    match difference {
        // A second error in the same request may be found first by either.
        Difference::RedirectNotNeeded => *theirs == request && (*ours != request),
        Difference::UnknownCode | Difference::SpentCode | Difference::RedirectMissing => {
            *ours == grant && *theirs == request
        }
        Difference::VerifierWrong => *ours == grant && *theirs == request,
        Difference::RedirectParsed => {
            *ours == grant
                && (matches!(theirs, Outcome::Granted(_)) || (case.verifier != case.challenge && *theirs == request))
        }
        Difference::VerifierShort | Difference::VerifierUnasked | Difference::Ended => {
            *ours == grant && matches!(theirs, Outcome::Granted(_))
        }
    }
}

fn cases() -> impl Strategy<Value = Case> {
    // Most requests are right but for one or two things; else the first check would hide the others.
    let rarely = || prop::bool::weighted(0.12);
    let redirect = prop_oneof![
        6 => Just(Some(REDIRECT)),
        1 => Just(None),
        1 => Just(Some("https://shop.example/other")),
        1 => Just(Some("HTTPS://shop.example:443/cb")),
        1 => Just(Some("not a uri")),
    ];
    let which = || prop_oneof![4 => Just(Some(0)), 2 => Just(Some(1)), 1 => Just(Some(2)), 2 => Just(None)];
    (rarely(), rarely(), rarely(), rarely(), rarely(), which(), which(), redirect).prop_map(
        |(unknown, foreign, expired, spent, ended, challenge, verifier, redirect)| Case {
            known: !unknown,
            foreign,
            expired,
            spent,
            live: !ended,
            challenge,
            verifier,
            redirect,
        },
    )
}

fn judge(case: &Case) -> Result<Option<Difference>, String> {
    let (ours, theirs) = (our_outcome(case), their_outcome(case));
    if ours == theirs {
        return Ok(None);
    }
    match explain(case) {
        Some(difference) if fits(difference, case, &ours, &theirs) => Ok(Some(difference)),
        named => Err(format!("{case:?}: we say {ours:?}, they say {theirs:?}, and {named:?} doesn't explain it")),
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2000))]

    #[test]
    fn every_difference_has_a_name(case in cases()) {
        judge(&case).map_err(TestCaseError::fail)?;
    }
}

#[test]
fn every_name_stands_for_a_difference_and_nothing_else_differs() {
    let mut seen = Vec::new();
    let flags = [false, true];
    let indices = [None, Some(0), Some(1), Some(2)];
    let redirects = [
        Some(REDIRECT),
        None,
        Some("https://shop.example/other"),
        Some("HTTPS://shop.example:443/cb"),
        Some("not a uri"),
    ];
    // All of them, for they are few.
    for (known, foreign) in flags.into_iter().flat_map(|known| flags.map(|foreign| (known, foreign))) {
        for (expired, spent) in flags.into_iter().flat_map(|expired| flags.map(|spent| (expired, spent))) {
            for live in flags {
                for (challenge, verifier) in indices.into_iter().flat_map(|one| indices.map(|other| (one, other))) {
                    for redirect in redirects {
                        let case = Case { known, foreign, expired, spent, live, challenge, verifier, redirect };
                        seen.extend(judge(&case).unwrap());
                    }
                }
            }
        }
    }
    for difference in Difference::ALL {
        assert!(seen.contains(&difference), "{difference:?} doesn't exist any more");
    }
}
