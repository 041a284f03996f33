//! Tokens that must be refused, each beside one that must not: the attack classes "algorithm and claim types" and
//! "`kid`, `jku`, `jwk`, `x5u`", and the rules of RFC 9068 §4 and RFC 8725.

use aws_lc_rs::hmac;
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use keyward_guard::{KeySet, TokenRefusal, Verifier};
use serde_json::{Value, json};

use crate::issuer::{AUDIENCE, ISSUER, Key, NOW, claims, jwks};

fn verifier() -> Verifier {
    Verifier::new(ISSUER).audience(AUDIENCE)
}

fn set(keys: &[&Key]) -> KeySet {
    KeySet::from_jwks_json(jwks(keys).as_bytes()).unwrap()
}

fn refused(keys: &KeySet, token: &str) -> TokenRefusal {
    verifier().verify(keys, token, NOW).expect_err("this token must be refused")
}

/// The claims with one of them replaced.
fn with(name: &str, value: Value) -> Value {
    let mut changed = claims();
    changed[name] = value;
    changed
}

fn without(name: &str) -> Value {
    let mut changed = claims();
    changed.as_object_mut().unwrap().remove(name);
    changed
}

#[test]
fn a_good_token_of_each_algorithm_is_accepted() {
    for key in [Key::es256("k"), Key::ed25519("k"), Key::rs256("k"), Key::ps256("k")] {
        let token = verifier().verify(&set(&[&key]), &key.token(&claims()), NOW).unwrap();
        assert_eq!((token.sub.as_str(), token.client_id.as_str(), token.jti.as_str()), ("alice", "web", "j-1"));
        assert_eq!((token.aud.as_slice(), token.exp, token.iat), (&[AUDIENCE.to_owned()][..], NOW + 600, NOW - 5));
        assert!(token.scope.contains("notes.read") && !token.scope.contains("notes"));
        assert_eq!(token.scope.iter().collect::<Vec<_>>(), ["openid", "notes.read"]);
    }
}

#[test]
fn the_key_settles_the_algorithm() {
    let (ec, ed, rs, ps) = (Key::es256("ec"), Key::ed25519("ed"), Key::rs256("rs"), Key::ps256("ps"));
    let keys = set(&[&ec, &ed, &rs, &ps]);
    for key in [&ec, &ed, &rs, &ps] {
        assert!(verifier().verify(&keys, &key.token(&claims()), NOW).is_ok());
        for alg in ["ES256", "EdDSA", "RS256", "PS256"].into_iter().filter(|alg| *alg != key.alg()) {
            let mut header = key.header();
            header["alg"] = alg.into();
            let token = key.token_of(&header.to_string(), &claims().to_string());
            assert_eq!(refused(&keys, &token), TokenRefusal::AlgorithmMismatch, "{alg} with {}", key.alg());
        }
        for alg in ["none", "None", "NONE", "", "HS256", "HS384", "HS512", "RS512", "ES384", "es256", "ES256K"] {
            let mut header = key.header();
            header["alg"] = alg.into();
            let token = key.token_of(&header.to_string(), &claims().to_string());
            assert_eq!(refused(&keys, &token), TokenRefusal::UnsupportedAlgorithm, "{alg}");
        }
    }
    // RFC 9864: the other name of the same algorithm.
    let mut header = ed.header();
    header["alg"] = "Ed25519".into();
    assert!(verifier().verify(&keys, &ed.token_of(&header.to_string(), &claims().to_string()), NOW).is_ok());
}

#[test]
fn a_public_key_is_no_secret_and_an_unsigned_token_is_none() {
    let key = Key::rs256("k");
    let keys = set(&[&key]);
    let header = URL_SAFE_NO_PAD.encode(r#"{"typ":"at+jwt","alg":"HS256","kid":"k"}"#);
    let message = format!("{header}.{}", URL_SAFE_NO_PAD.encode(claims().to_string()));
    for secret in key.public_forms() {
        let tag = hmac::sign(&hmac::Key::new(hmac::HMAC_SHA256, &secret), message.as_bytes());
        let token = format!("{message}.{}", URL_SAFE_NO_PAD.encode(tag.as_ref()));
        assert_eq!(refused(&keys, &token), TokenRefusal::UnsupportedAlgorithm);
    }
    let unsigned = URL_SAFE_NO_PAD.encode(r#"{"typ":"at+jwt","alg":"none"}"#);
    let token = format!("{unsigned}.{}.", URL_SAFE_NO_PAD.encode(claims().to_string()));
    assert_eq!(refused(&keys, &token), TokenRefusal::UnsupportedAlgorithm);
}

#[test]
fn a_changed_token_has_no_signature() {
    for key in [Key::es256("k"), Key::ed25519("k"), Key::rs256("k"), Key::ps256("k")] {
        let keys = set(&[&key]);
        let good = key.token(&claims());
        let other = key.token(&with("sub", json!("mallory")));
        let parts: Vec<_> = good.split('.').collect();
        let foreign: Vec<_> = other.split('.').collect();
        for signature in [foreign[2], "", "AAAA", &"A".repeat(86), &"A".repeat(342), &"A".repeat(3_000)] {
            let token = format!("{}.{}.{signature}", parts[0], parts[1]);
            assert_eq!(refused(&keys, &token), TokenRefusal::BadSignature, "{}: {signature}", key.alg());
        }
        let moved = format!("{}.{}.{}", parts[0], foreign[1], parts[2]);
        assert_eq!(refused(&keys, &moved), TokenRefusal::BadSignature);
        // Another issuer's key under the same id.
        let imposter = Key::es256("k");
        if key.alg() == "ES256" {
            assert_eq!(refused(&keys, &imposter.token(&claims())), TokenRefusal::BadSignature);
        }
    }
}

#[test]
fn only_access_tokens_are_taken_for_access_tokens() {
    let key = Key::es256("k");
    let keys = set(&[&key]);
    let typed = |typ: Value| {
        let mut header = key.header();
        header["typ"] = typ;
        key.token_of(&header.to_string(), &claims().to_string())
    };
    for good in ["at+jwt", "AT+JWT", "application/at+jwt", "Application/AT+jwt"] {
        assert!(verifier().verify(&keys, &typed(json!(good)), NOW).is_ok(), "{good}");
    }
    for bad in ["JWT", "jwt", "", "at+jwt ", "at", "application/jwt", "logout+jwt", "dpop+jwt", "at+jwt\u{0}"] {
        assert_eq!(refused(&keys, &typed(json!(bad))), TokenRefusal::WrongType, "{bad}");
    }
    assert_eq!(refused(&keys, &typed(Value::Null)), TokenRefusal::WrongType);
    assert_eq!(refused(&keys, &typed(json!(["at+jwt"]))), TokenRefusal::Malformed);
    let untyped = key.token_of(r#"{"alg":"ES256","kid":"k"}"#, &claims().to_string());
    assert_eq!(refused(&keys, &untyped), TokenRefusal::WrongType);
}

#[test]
fn a_critical_extension_is_never_understood() {
    let key = Key::es256("k");
    let keys = set(&[&key]);
    for crit in [json!(["exp"]), json!(["b64"]), json!([]), Value::Null, json!("x"), json!(false)] {
        let mut header = key.header();
        header["crit"] = crit.clone();
        let token = key.token_of(&header.to_string(), &claims().to_string());
        assert_eq!(refused(&keys, &token), TokenRefusal::CriticalHeader, "{crit}");
    }
}

#[test]
fn keys_and_addresses_in_the_header_are_ignored() {
    let (own, foreign) = (Key::es256("k"), Key::es256("k"));
    let keys = set(&[&own]);
    for (name, value) in [
        ("jwk", foreign.jwk()),
        ("jku", json!("https://evil.example/keys")),
        ("x5u", json!("https://evil.example/cert")),
        ("x5c", json!(["MIIB"])),
        ("jwk", json!(7)),
    ] {
        let header = |key: &Key| {
            let mut header = key.header();
            header[name] = value.clone();
            header.to_string()
        };
        assert_eq!(
            refused(&keys, &foreign.token_of(&header(&foreign), &claims().to_string())),
            TokenRefusal::BadSignature
        );
        assert!(verifier().verify(&keys, &own.token_of(&header(&own), &claims().to_string()), NOW).is_ok(), "{name}");
    }
}

#[test]
fn a_kid_is_only_a_name() {
    let key = Key::es256("k");
    let keys = set(&[&key]);
    let named = |kid: Value| {
        let mut header = key.header();
        header["kid"] = kid;
        key.token_of(&header.to_string(), &claims().to_string())
    };
    for kid in [
        "",
        "K",
        "k ",
        "k\u{0}",
        "../../etc/passwd",
        "/dev/null",
        "' OR 1=1 --",
        "k' UNION SELECT 'a",
        "%6b",
        "http://x",
    ] {
        assert_eq!(refused(&keys, &named(json!(kid))), TokenRefusal::UnknownKey, "{kid}");
    }
    assert_eq!(refused(&keys, &named(json!("k".repeat(512)))), TokenRefusal::UnknownKey);
    assert_eq!(refused(&keys, &named(json!("k".repeat(513)))), TokenRefusal::Malformed);
    assert_eq!(refused(&keys, &named(json!("k".repeat(1_000_000)))), TokenRefusal::TooLarge);
    assert_eq!(refused(&keys, &named(json!(7))), TokenRefusal::Malformed);
    assert_eq!(refused(&keys, &named(json!(["k"]))), TokenRefusal::Malformed);
}

#[test]
fn a_token_without_kid_needs_a_single_key_that_fits() {
    let (first, second, ed) = (Key::es256("a"), Key::es256("b"), Key::ed25519("c"));
    let anonymous = first.token_of(r#"{"typ":"at+jwt","alg":"ES256"}"#, &claims().to_string());
    assert!(verifier().verify(&set(&[&first, &ed]), &anonymous, NOW).is_ok());
    assert_eq!(refused(&set(&[&first, &second]), &anonymous), TokenRefusal::AmbiguousKey);
    assert_eq!(refused(&set(&[&ed]), &anonymous), TokenRefusal::UnknownKey);
}

#[test]
fn a_kid_that_two_keys_share_finds_both() {
    let (first, second, ed, stranger) = (Key::es256("k"), Key::es256("k"), Key::ed25519("k"), Key::es256("k"));
    let keys = set(&[&first, &second, &ed]);
    for key in [&first, &second, &ed] {
        assert!(verifier().verify(&keys, &key.token(&claims()), NOW).is_ok());
    }
    assert_eq!(refused(&keys, &stranger.token(&claims())), TokenRefusal::BadSignature);
}

#[test]
fn a_time_of_a_wrong_type_never_counts_as_absent() {
    let key = Key::es256("k");
    let keys = set(&[&key]);
    let far = NOW + 600;
    for exp in [
        json!(far.to_string()),
        json!(far as f64 + 0.5),
        json!(far as f64),
        json!(1e300),
        json!(-1),
        Value::Null,
        json!(true),
        json!([far]),
        json!({}),
    ] {
        assert_eq!(refused(&keys, &key.token(&with("exp", exp.clone()))), TokenRefusal::MalformedClaims, "exp {exp}");
    }
    assert_eq!(refused(&keys, &key.token(&without("exp"))), TokenRefusal::MissingClaim("exp"));
    for name in ["iat", "nbf", "auth_time"] {
        for bad in [json!((NOW - 9).to_string()), Value::Null, json!(-1), json!(1e300), json!([NOW]), json!(true)] {
            let token = key.token(&with(name, bad.clone()));
            assert_eq!(refused(&keys, &token), TokenRefusal::MalformedClaims, "{name} {bad}");
        }
        assert!(verifier().verify(&keys, &key.token(&with(name, json!(NOW as f64 - 0.5))), NOW).is_ok(), "{name}");
    }
    // Numbers that don't fit the type.
    let huge = claims().to_string().replace(&(NOW + 600).to_string(), "18446744073709551616");
    assert_eq!(refused(&keys, &key.token_of(&key.header().to_string(), &huge)), TokenRefusal::MalformedClaims);
}

#[test]
fn times_are_kept_to_the_second() {
    let key = Key::ed25519("k");
    let keys = set(&[&key]);
    let at = |leeway: u64, claim: &str, value: u64, now: u64| {
        let token = key.token(&with(claim, json!(value)));
        verifier().leeway(leeway).verify(&keys, &token, now).map(|_| ())
    };
    assert_eq!(at(0, "exp", NOW, NOW - 1), Ok(()));
    assert_eq!(at(0, "exp", NOW, NOW), Err(TokenRefusal::Expired));
    assert_eq!(at(60, "exp", NOW, NOW + 59), Ok(()));
    assert_eq!(at(60, "exp", NOW, NOW + 60), Err(TokenRefusal::Expired));
    assert_eq!(at(0, "exp", 0, NOW), Err(TokenRefusal::Expired));
    assert_eq!(at(60, "exp", u64::MAX, NOW), Ok(()));
    assert_eq!(at(0, "nbf", NOW, NOW), Ok(()));
    assert_eq!(at(0, "nbf", NOW + 1, NOW), Err(TokenRefusal::NotYetValid));
    assert_eq!(at(60, "nbf", NOW + 60, NOW), Ok(()));
    assert_eq!(at(60, "nbf", NOW + 61, NOW), Err(TokenRefusal::NotYetValid));
    let token = key.token(&with("exp", json!(NOW)));
    assert!(verifier().verify(&keys, &token, NOW + 59).is_ok(), "60 s is the default");
    assert_eq!(verifier().verify(&keys, &token, NOW + 60).unwrap_err(), TokenRefusal::Expired);
    assert_eq!(verifier().verify(&keys, &token, u64::MAX).unwrap_err(), TokenRefusal::Expired);
}

#[test]
fn each_claim_that_rfc_9068_requires_is_required() {
    let key = Key::ed25519("k");
    let keys = set(&[&key]);
    for name in ["iss", "exp", "aud", "sub", "client_id", "iat", "jti"] {
        assert_eq!(refused(&keys, &key.token(&without(name))), TokenRefusal::MissingClaim(name));
        assert_eq!(refused(&keys, &key.token(&with(name, Value::Null))), TokenRefusal::MalformedClaims, "{name}");
    }
    for name in ["iss", "sub", "client_id", "jti"] {
        assert_eq!(refused(&keys, &key.token(&with(name, json!("")))), TokenRefusal::MissingClaim(name));
    }
}

#[test]
fn claims_have_their_types() {
    let key = Key::ed25519("k");
    let keys = set(&[&key]);
    for name in ["iss", "sub", "jti", "client_id", "scope", "acr"] {
        for bad in [json!(7), json!(["alice"]), json!({}), json!(true)] {
            let token = key.token(&with(name, bad.clone()));
            assert_eq!(refused(&keys, &token), TokenRefusal::MalformedClaims, "{name} {bad}");
        }
    }
    for name in ["amr", "roles", "groups", "permissions", "entitlements"] {
        for bad in [json!("admin"), json!(7), json!([7]), json!({ "admin": true }), json!([null]), Value::Null] {
            let token = key.token(&with(name, bad.clone()));
            assert_eq!(refused(&keys, &token), TokenRefusal::MalformedClaims, "{name} {bad}");
        }
    }
    for bad in [json!(7), json!([7]), json!([AUDIENCE, null]), json!({ "aud": AUDIENCE })] {
        assert_eq!(refused(&keys, &key.token(&with("aud", bad.clone()))), TokenRefusal::MalformedClaims, "aud {bad}");
    }
    let token = with("roles", json!(["admin", { "value": "user", "display": "User" }]));
    let token = verifier().verify(&keys, &key.token(&token), NOW).unwrap();
    assert_eq!(token.roles, ["admin", "user"]);
    let token = verifier().verify(&keys, &key.token(&with("org_id", json!({ "a": [1] }))), NOW).unwrap();
    assert_eq!(token.other["org_id"], json!({ "a": [1] }));
}

#[test]
fn a_claim_or_parameter_that_occurs_twice_is_refused() {
    let key = Key::ed25519("k");
    let keys = set(&[&key]);
    let header = key.header().to_string();
    for twice in [r#""sub":"mallory""#, r#""exp":99999999999"#, r#""x":1,"x":2"#] {
        let claims = claims().to_string().replacen('{', &format!("{{{twice},"), 1);
        assert_eq!(refused(&keys, &key.token_of(&header, &claims)), TokenRefusal::MalformedClaims, "{twice}");
    }
    let header = header.replacen('{', r#"{"alg":"EdDSA","#, 1);
    assert_eq!(refused(&keys, &key.token_of(&header, &claims().to_string())), TokenRefusal::Malformed);
}

#[test]
fn issuer_and_audience_are_compared_exactly() {
    let key = Key::ed25519("k");
    let keys = set(&[&key]);
    for iss in ["https://id.example/", "https://ID.example", "https://id.example.evil.example", "id.example", "*"] {
        assert_eq!(refused(&keys, &key.token(&with("iss", json!(iss)))), TokenRefusal::WrongIssuer, "{iss}");
    }
    let wrong = [json!("https://api.example/"), json!("https://api"), json!(["https://a.example", "x"]), json!("*")];
    for aud in wrong {
        assert_eq!(refused(&keys, &key.token(&with("aud", aud.clone()))), TokenRefusal::WrongAudience, "{aud}");
    }
    assert_eq!(refused(&keys, &key.token(&with("aud", json!([])))), TokenRefusal::MissingClaim("aud"));
    let several = key.token(&with("aud", json!(["https://a.example", AUDIENCE])));
    assert!(verifier().verify(&keys, &several, NOW).is_ok());
    let foreign = key.token(&with("aud", json!("https://a.example")));
    assert!(verifier().audience("https://a.example").verify(&keys, &foreign, NOW).is_ok());
    assert!(Verifier::new(ISSUER).any_audience().verify(&keys, &foreign, NOW).is_ok());
    // A verifier that was told no audience trusts nobody.
    assert_eq!(Verifier::new(ISSUER).verify(&keys, &foreign, NOW).unwrap_err(), TokenRefusal::WrongAudience);
}

#[test]
fn what_is_no_signed_jwt_is_refused() {
    let key = Key::ed25519("k");
    let keys = set(&[&key]);
    let good = key.token(&claims());
    let parts: Vec<_> = good.split('.').collect();
    for token in [
        String::new(),
        ".".to_owned(),
        "..".to_owned(),
        "...".to_owned(),
        "....".to_owned(),
        "abc".to_owned(),
        format!("{}.{}", parts[0], parts[1]),
        format!("{good}."),
        format!(".{good}"),
        format!("{good}.{}.{}", parts[0], parts[1]),
        format!("{}..{}", parts[0], parts[2]),
        format!("{}=.{}.{}", parts[0], parts[1], parts[2]),
        format!("{}.{}.{}=", parts[0], parts[1], parts[2]),
        format!("{} .{}.{}", parts[0], parts[1], parts[2]),
        format!("{good}\n"),
        format!("{}.{}.{}", URL_SAFE_NO_PAD.encode("[]"), parts[1], parts[2]),
        format!("{}.{}.{}", URL_SAFE_NO_PAD.encode("{}"), parts[1], parts[2]),
        format!("{}.{}.{}", URL_SAFE_NO_PAD.encode([0xff, 0xfe]), parts[1], parts[2]),
    ] {
        assert_eq!(refused(&keys, &token), TokenRefusal::Malformed, "{token}");
    }
    for body in ["", "[]", "7", "null", "{", "\u{feff}{}", &format!("{{\"x\":{}", "[".repeat(5000))] {
        let token = key.token_of(&key.header().to_string(), body);
        let expected = if body.is_empty() { TokenRefusal::Malformed } else { TokenRefusal::MalformedClaims };
        assert_eq!(refused(&keys, &token), expected, "{body}");
    }
    let fits = key.token(&with("pad", json!("x".repeat(11_900))));
    assert!(fits.len() <= 16 * 1024 && verifier().verify(&keys, &fits, NOW).is_ok());
    let large = key.token(&with("pad", json!("x".repeat(12_100))));
    assert!(large.len() > 16 * 1024);
    assert_eq!(refused(&keys, &large), TokenRefusal::TooLarge);
}

#[test]
fn an_encrypted_token_is_not_taken() {
    let key = Key::es256("k");
    let keys = set(&[&key]);
    let inner = key.token(&claims());
    let header = json!({ "typ": "at+jwt", "alg": "RSA-OAEP-256", "enc": "A256GCM", "cty": "JWT", "kid": "k" });
    let part = |bytes: &[u8]| URL_SAFE_NO_PAD.encode(bytes);
    let header = part(header.to_string().as_bytes());
    let jwe = [header.clone(), part(&[1; 256]), part(&[2; 12]), part(inner.as_bytes()), part(&[3; 16])].join(".");
    assert_eq!(refused(&keys, &jwe), TokenRefusal::Malformed);
    // A direct key leaves the second part empty.
    let direct = [header, String::new(), part(&[2; 12]), part(inner.as_bytes()), part(&[3; 16])].join(".");
    assert_eq!(refused(&keys, &direct), TokenRefusal::Malformed);
}

#[test]
fn only_the_one_canonical_spelling_of_base64url_is_read() {
    let key = Key::es256("k");
    let keys = set(&[&key]);
    // The lengths are chosen so that each part ends within a byte and so has unused bits.
    let spelled = |part: &str| {
        const LETTERS: &[u8] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";
        let last = LETTERS.iter().position(|letter| *letter == part.as_bytes()[part.len() - 1]).unwrap();
        format!("{}{}", &part[..part.len() - 1], LETTERS[last + 1] as char)
    };
    let good = key.token(&claims());
    let signature = good.rsplit_once('.').unwrap().1;
    assert_eq!(signature.len(), 86);
    let token = format!("{}.{}", good.rsplit_once('.').unwrap().0, spelled(signature));
    assert_eq!(refused(&keys, &token), TokenRefusal::Malformed, "a second spelling of the signature");
    for (at, character) in [(2, '+'), (2, '/'), (2, ' '), (2, '\n'), (2, '\0'), (2, '%'), (2, 'é')] {
        for part in 0..3 {
            let mut parts: Vec<String> = good.split('.').map(str::to_owned).collect();
            parts[part].replace_range(at..=at, &character.to_string());
            let judged = verifier().verify(&keys, &parts.join("."), NOW).unwrap_err();
            // A changed payload fails at the signature before anyone decodes it.
            let expected = if part == 1 { TokenRefusal::BadSignature } else { TokenRefusal::Malformed };
            assert_eq!(judged, expected, "{character:?} in part {part}");
        }
    }
}

#[test]
fn whitespace_and_dots_around_a_token_are_not_trimmed() {
    let key = Key::ed25519("k");
    let keys = set(&[&key]);
    let good = key.token(&claims());
    for token in [
        format!(" {good}"),
        format!("{good} "),
        format!("\t{good}"),
        format!("{good}\r\n"),
        format!("{good}\0"),
        format!("{good}.."),
        format!("..{good}"),
        good.replacen('.', "..", 1),
        good.replacen('.', ". ", 1),
        format!("Bearer {good}"),
        format!("\"{good}\""),
    ] {
        let refusal = refused(&keys, &token);
        assert!(matches!(refusal, TokenRefusal::Malformed | TokenRefusal::BadSignature), "{token:?}: {refusal:?}");
    }
}

#[test]
fn a_token_of_a_server_that_knows_only_rfc_9068_is_enough() {
    let key = Key::rs256("2026-11");
    let header = json!({ "typ": "application/at+jwt", "alg": "RS256", "kid": "2026-11", "x5t": "AAAA" });
    let minimal = json!({
        "iss": ISSUER, "sub": "5ba552d67", "aud": AUDIENCE, "exp": NOW + 60, "iat": NOW, "jti": "dbe39bf3a3ba4238a513f51d",
        "client_id": "s6BhdRkqt3",
    });
    let token =
        verifier().verify(&set(&[&key]), &key.token_of(&header.to_string(), &minimal.to_string()), NOW).unwrap();
    assert!(token.scope.is_empty() && token.roles.is_empty() && token.status.is_none() && token.other.is_empty());
}

#[test]
fn a_status_claim_is_read_strictly_or_left_alone() {
    let key = Key::ed25519("k");
    let keys = set(&[&key]);
    let uri = "https://id.example/status/1";
    let list = |list: Value| key.token(&with("status", json!({ "status_list": list })));
    let token = verifier().verify(&keys, &list(json!({ "idx": 7, "uri": uri })), NOW).unwrap();
    let status = token.status.as_ref().unwrap();
    assert_eq!((status.idx, status.uri.as_str()), (7, uri));
    for bad in [
        json!({ "idx": -1, "uri": uri }),
        json!({ "idx": "7", "uri": uri }),
        json!({ "idx": 7.5, "uri": uri }),
        json!({ "idx": 7 }),
        json!({ "uri": uri }),
        json!({ "idx": 7, "uri": 7 }),
        json!([]),
        Value::Null,
    ] {
        assert_eq!(refused(&keys, &list(bad.clone())), TokenRefusal::MalformedClaims, "{bad}");
    }
    for other in [json!("active"), json!({ "assertion": "x" }), json!({})] {
        let token = verifier().verify(&keys, &key.token(&with("status", other.clone())), NOW).unwrap();
        assert_eq!((&token.status, &token.other["status"]), (&None, &other));
    }
}
