//! What an introspection answer says (RFC 7662 §2.2), plain or signed (RFC 9701 §5). Pure.
//!
//! Left out: encrypted answers.

use serde::Deserialize;
use serde_json::{Map, Value};

use crate::claims::{Claims, NumericDate, OneOrMany, RawClaims};
use crate::refusal::TokenRefusal;
use crate::verifier::Verifier;

/// A signed answer is made for the question; an old one is a replay. In seconds.
const SIGNED_ANSWER_LIFE: u64 = 300;

/// How far clocks may disagree. In seconds.
const LEEWAY: u64 = 60;

/// Why an answer tells nothing.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(super) enum Unusable {
    #[error("the introspection answer isn't a JSON object with a boolean active")]
    Malformed,
    #[error("the signed introspection answer isn't for this resource server")]
    WrongAudience,
    #[error("the signed introspection answer is another issuer's")]
    WrongIssuer,
    #[error("the signed introspection answer is old or from the future")]
    Stale,
}

/// What must be known of an audience.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum AbsentAudience {
    Refuse,
    /// Where something else says that the token is an access token.
    Accept,
    /// The token is a JWT whose own type and audience have been judged.
    Judged,
}

/// The answer within a signed one whose kind and signature are right.
pub(super) fn unwrap_signed(
    payload: &[u8],
    issuer: &str,
    client_id: &str,
    now: u64,
) -> Result<Map<String, Value>, Unusable> {
    #[derive(Deserialize)]
    struct Signed {
        iss: String,
        aud: OneOrMany,
        iat: NumericDate,
        token_introspection: Map<String, Value>,
    }
    let signed: Signed = serde_json::from_slice(payload).map_err(|_| Unusable::Malformed)?;
    // RFC 9701 §5: `iss` is the authorization server, `aud` the resource server that asked.
    if signed.iss != issuer {
        return Err(Unusable::WrongIssuer);
    }
    if !signed.aud.0.iter().any(|aud| aud == client_id) {
        return Err(Unusable::WrongAudience);
    }
    let NumericDate(iat) = signed.iat;
    if iat > now.saturating_add(LEEWAY) || now > iat.saturating_add(SIGNED_ANSWER_LIFE) {
        return Err(Unusable::Stale);
    }
    Ok(signed.token_introspection)
}

/// The claims of an active token that is meant for this resource server, or why it is refused.
pub(super) fn judge(
    mut answer: Map<String, Value>,
    verifier: &Verifier,
    absent_audience: AbsentAudience,
    now: u64,
) -> Result<Result<Claims, TokenRefusal>, Unusable> {
    // RFC 7662 §2.2: `active` is the one required member. Whatever isn't plainly true isn't active.
    match answer.remove("active") {
        Some(Value::Bool(true)) => {}
        Some(Value::Bool(false)) => return Ok(Err(TokenRefusal::Inactive)),
        _ => return Err(Unusable::Malformed),
    }
    // Some servers write `null` for what they don't know.
    answer.retain(|_, value| !value.is_null());
    // A refresh token is no access token, though its server calls it active.
    if answer.get("token_use").is_some_and(|kind| kind != "access_token") {
        return Ok(Err(TokenRefusal::WrongType));
    }
    // RFC 7662 §2.1 lets refresh tokens be asked about as well, and their answers have neither of these.
    let names_its_kind = answer.contains_key("token_use") || answer.contains_key("token_type");
    // RFC 6749 §7.1: a token of a type that isn't understood mustn't be used.
    match answer.get("token_type") {
        None => {}
        Some(Value::String(kind)) if kind.eq_ignore_ascii_case("Bearer") => {}
        Some(Value::String(kind)) if kind.eq_ignore_ascii_case("DPoP") => return Ok(Err(TokenRefusal::BoundToKey)),
        Some(_) => return Ok(Err(TokenRefusal::WrongType)),
    }
    let raw: RawClaims = serde_json::from_value(Value::Object(answer)).map_err(|_| Unusable::Malformed)?;
    let claims = raw.of_introspection(verifier.issuer());
    if claims.iss != verifier.issuer() {
        return Ok(Err(TokenRefusal::WrongIssuer));
    }
    let meant = match (claims.aud.is_empty(), absent_audience) {
        (true, AbsentAudience::Accept) if !names_its_kind => return Ok(Err(TokenRefusal::WrongType)),
        (true, AbsentAudience::Accept | AbsentAudience::Judged) => true,
        (true, AbsentAudience::Refuse) => false,
        (false, _) => verifier.is_meant(&claims.aud),
    };
    if !meant {
        return Ok(Err(TokenRefusal::WrongAudience));
    }
    Ok(verifier.judge_times(&claims, now).map(|()| claims))
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    const NOW: u64 = 1_800_000_000;

    fn judged(answer: Value) -> Result<Result<Claims, TokenRefusal>, Unusable> {
        let verifier = Verifier::new("https://id.example").audience("https://api.example");
        let Value::Object(answer) = answer else { panic!("an object") };
        judge(answer, &verifier, AbsentAudience::Refuse, NOW)
    }

    #[test]
    fn an_active_token_for_us_is_taken() {
        let claims = judged(json!({
            "active": true, "sub": "alice", "aud": "https://api.example", "client_id": "web", "scope": "a b",
            "exp": NOW + 60, "iat": NOW - 5, "token_type": "bearer", "username": null, "nbf": null, "roles": ["x"],
        }))
        .unwrap()
        .unwrap();
        assert_eq!((claims.sub.as_str(), claims.client_id.as_str(), claims.exp), ("alice", "web", NOW + 60));
        assert!(claims.scope.contains("b") && claims.roles == ["x"] && claims.iss == "https://id.example");
        let bare = judged(json!({ "active": true, "aud": ["https://api.example"] })).unwrap().unwrap();
        assert_eq!((bare.sub.as_str(), bare.exp, bare.jti.as_str()), ("", u64::MAX, ""));
    }

    #[test]
    fn only_true_is_active() {
        assert_eq!(judged(json!({ "active": false, "exp": "x" })), Ok(Err(TokenRefusal::Inactive)));
        for answer in [json!({}), json!({ "active": "true" }), json!({ "active": 1 }), json!({ "active": null })] {
            assert_eq!(judged(answer.clone()), Err(Unusable::Malformed), "{answer}");
        }
    }

    #[test]
    fn what_is_not_for_us_is_refused() {
        for (member, value, refusal) in [
            ("aud", json!("https://other.example"), TokenRefusal::WrongAudience),
            ("aud", json!([]), TokenRefusal::WrongAudience),
            ("aud", Value::Null, TokenRefusal::WrongAudience),
            ("iss", json!("https://other.example"), TokenRefusal::WrongIssuer),
            ("exp", json!(NOW - 60), TokenRefusal::Expired),
            ("nbf", json!(NOW + 61), TokenRefusal::NotYetValid),
            ("token_type", json!("DPoP"), TokenRefusal::BoundToKey),
            ("token_type", json!("mac"), TokenRefusal::WrongType),
            ("token_use", json!("refresh_token"), TokenRefusal::WrongType),
        ] {
            let mut answer = json!({ "active": true, "aud": "https://api.example" });
            answer[member] = value;
            assert_eq!(judged(answer.clone()), Ok(Err(refusal)), "{answer}");
        }
        for (member, value) in [("exp", json!("soon")), ("sub", json!(7)), ("scope", json!(["a"])), ("exp", json!(-1))]
        {
            let mut answer = json!({ "active": true, "aud": "https://api.example" });
            answer[member] = value;
            assert_eq!(judged(answer.clone()), Err(Unusable::Malformed), "{answer}");
        }
    }

    #[test]
    fn a_signed_answer_is_for_us_from_our_issuer_and_new() {
        let read = |member: &str, value: Value| {
            let mut signed = json!({
                "iss": "https://id.example", "aud": "notes", "iat": NOW - 5,
                "token_introspection": { "active": true },
            });
            signed[member] = value;
            unwrap_signed(signed.to_string().as_bytes(), "https://id.example", "notes", NOW).map(|_| ())
        };
        assert_eq!(read("aud", json!(["x", "notes"])), Ok(()));
        assert_eq!(read("aud", json!("other")), Err(Unusable::WrongAudience));
        assert_eq!(read("aud", json!([])), Err(Unusable::WrongAudience));
        assert_eq!(read("iss", json!("https://id.example/")), Err(Unusable::WrongIssuer));
        assert_eq!(read("iat", json!(NOW + 61)), Err(Unusable::Stale));
        assert_eq!(read("iat", json!(NOW - 301)), Err(Unusable::Stale));
        for member in ["iss", "aud", "iat", "token_introspection"] {
            assert_eq!(read(member, Value::Null), Err(Unusable::Malformed), "{member}");
        }
        assert_eq!(read("token_introspection", json!("active")), Err(Unusable::Malformed));
    }
}
