//! Client authentication (RFC 6749 §2.3, RFC 7523 §3, OpenID Connect Core §9): what a request presents, and whether the
//! client may authenticate so. Comparing the secret and verifying the signature are done where the keys are.

use base64::{Engine, prelude::BASE64_STANDARD};
use serde_json::{Map, Value};

use crate::client_metadata::{AuthMethod, ClientMetadata, ClientType};
use crate::parameters::{self, Parameters};
use crate::refusal::{ErrorCode, Refusal};
use crate::timestamp::Timestamp;

/// RFC 7523 §2.2.
pub const JWT_BEARER: &str = "urn:ietf:params:oauth:client-assertion-type:jwt-bearer";

/// What a request presents.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Presented {
    /// `client_secret_basic`.
    Basic {
        /// The client.
        client_id: String,
        /// The secret.
        secret: String,
    },
    /// `client_secret_post`.
    Post {
        /// The client.
        client_id: String,
        /// The secret.
        secret: String,
    },
    /// `private_key_jwt`.
    Assertion {
        /// The client, as the request or else the assertion's unverified `sub` names it.
        client_id: String,
        /// The assertion.
        assertion: String,
    },
    /// Only `client_id`: `none`.
    Nothing {
        /// The client.
        client_id: String,
    },
}

impl Presented {
    /// The client that the request claims to be.
    pub fn client_id(&self) -> &str {
        match self {
            Self::Basic { client_id, .. }
            | Self::Post { client_id, .. }
            | Self::Assertion { client_id, .. }
            | Self::Nothing { client_id } => client_id,
        }
    }

    /// The method.
    pub const fn method(&self) -> AuthMethod {
        match self {
            Self::Basic { .. } => AuthMethod::ClientSecretBasic,
            Self::Post { .. } => AuthMethod::ClientSecretPost,
            Self::Assertion { .. } => AuthMethod::PrivateKeyJwt,
            Self::Nothing { .. } => AuthMethod::None,
        }
    }
}

/// Reads what a request presents, from the Authorization header and the body.
///
/// # Errors
/// `invalid_request` where more than one method is used (RFC 6749 §2.3) or a part is missing; `invalid_client` where
/// there is nothing or the header is broken.
pub fn read(authorization: Option<&str>, parameters: &Parameters) -> Result<Presented, Refusal> {
    const BROKEN: Refusal = Refusal::new(ErrorCode::InvalidClient, "The Authorization header is not valid.");
    let client_id = parameters.get("client_id");
    let secret = parameters.get("client_secret");
    let assertion = parameters.get("client_assertion");
    let kind = parameters.get("client_assertion_type");
    let methods =
        usize::from(authorization.is_some()) + usize::from(secret.is_some()) + usize::from(assertion.is_some());
    // RFC 6749 §2.3: not more than one method in a request.
    if methods > 1 {
        return Err(Refusal::new(ErrorCode::InvalidRequest, "More than one client authentication is used."));
    }
    if let Some(header) = authorization {
        let (scheme, encoded) = header.split_once(' ').ok_or(BROKEN)?;
        if !scheme.eq_ignore_ascii_case("basic") {
            return Err(BROKEN);
        }
        let octets = BASE64_STANDARD.decode(encoded.trim()).map_err(|_| BROKEN)?;
        let text = String::from_utf8(octets).map_err(|_| BROKEN)?;
        let (id, secret) = text.split_once(':').ok_or(BROKEN)?;
        // RFC 6749 §2.3.1: both are form-encoded before Basic encodes them.
        let id = parameters::decode(id).map_err(|_| BROKEN)?.into_owned();
        let secret = parameters::decode(secret).map_err(|_| BROKEN)?.into_owned();
        if client_id.is_some_and(|named| named != id) {
            return Err(Refusal::new(ErrorCode::InvalidRequest, "The client_id is not the one that authenticates."));
        }
        return Ok(Presented::Basic { client_id: id, secret });
    }
    if let Some(assertion) = assertion {
        // RFC 7521 §4.2.
        if kind != Some(JWT_BEARER) {
            return Err(Refusal::new(ErrorCode::InvalidRequest, "The client_assertion_type is not supported."));
        }
        let subject = unverified_subject(assertion)
            .ok_or(Refusal::new(ErrorCode::InvalidClient, "The client assertion is not a JWT of a client."))?;
        // RFC 7521 §4.2: client_id is optional, and identifies the same client.
        if client_id.is_some_and(|named| named != subject) {
            return Err(Refusal::new(ErrorCode::InvalidClient, "The client_id is not the assertion's subject."));
        }
        return Ok(Presented::Assertion { client_id: subject, assertion: assertion.to_owned() });
    }
    if kind.is_some() {
        return Err(Refusal::new(ErrorCode::InvalidRequest, "The client_assertion is missing."));
    }
    match (client_id, secret) {
        (Some(id), Some(secret)) => Ok(Presented::Post { client_id: id.to_owned(), secret: secret.to_owned() }),
        (Some(id), None) => Ok(Presented::Nothing { client_id: id.to_owned() }),
        (None, Some(_)) => Err(Refusal::new(ErrorCode::InvalidRequest, "The client_id is missing.")),
        (None, None) => Err(Refusal::new(ErrorCode::InvalidClient, "The client did not authenticate.")),
    }
}

/// Which client an assertion claims to be: only to find its keys.
fn unverified_subject(assertion: &str) -> Option<String> {
    if assertion.len() > 16_384 {
        return None;
    }
    let payload = assertion.split('.').nth(1)?;
    let octets = base64::prelude::BASE64_URL_SAFE_NO_PAD.decode(payload).ok()?;
    match serde_json::from_slice::<Map<String, Value>>(&octets).ok()?.get("sub")? {
        Value::String(subject) if !subject.is_empty() && subject.len() <= 255 => Some(subject.clone()),
        _ => None,
    }
}

/// Whether this client may authenticate by this method (OpenID Connect Core §9: the method it registered; protocol
/// decision 21: Basic or post where none is registered).
///
/// # Errors
/// `invalid_client`.
pub fn check_method(client: &ClientMetadata, method: AuthMethod) -> Result<(), Refusal> {
    let allowed = match (client.client_type, client.token_endpoint_auth_method) {
        (ClientType::Public, _) => method == AuthMethod::None,
        (ClientType::Confidential, Some(registered)) => method == registered,
        (ClientType::Confidential, None) => {
            matches!(method, AuthMethod::ClientSecretBasic | AuthMethod::ClientSecretPost)
        }
    };
    if allowed { Ok(()) } else { Err(FAILED) }
}

/// The one answer to every failed authentication, so that nothing is learned from it.
pub const FAILED: Refusal = Refusal::new(ErrorCode::InvalidClient, "Client authentication failed.");

/// An assertion that lives longer than this is refused, in seconds: so long at most must its use be remembered.
const LONGEST_LIFE: u64 = 3600;

/// What the server remembers of an accepted assertion, so that it is used once.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AcceptedAssertion {
    /// `jti`.
    pub jti: String,
    /// Until when a second use must be refused.
    pub remember_until: Timestamp,
}

/// RFC 7523 §3, protocol decision 22: judges the claims of an assertion whose signature was verified.
///
/// # Errors
/// `invalid_client` with the claim that is wrong.
pub fn check_assertion(
    claims: &Map<String, Value>,
    client_id: &str,
    audiences: &[&str],
    leeway: u64,
    now: Timestamp,
) -> Result<AcceptedAssertion, Refusal> {
    let refuse = |description| Err(Refusal::new(ErrorCode::InvalidClient, description));
    // RFC 7523 §3 (1), (2): iss and sub are the client.
    if claims.get("iss").and_then(Value::as_str) != Some(client_id)
        || claims.get("sub").and_then(Value::as_str) != Some(client_id)
    {
        return refuse("The assertion's iss and sub must be the client_id.");
    }
    // RFC 7523 §3 (3): aud names this server.
    let for_us = |value: &Value| value.as_str().is_some_and(|audience| audiences.contains(&audience));
    let addressed = match claims.get("aud") {
        Some(Value::Array(values)) => values.iter().any(for_us),
        Some(value) => for_us(value),
        None => false,
    };
    if !addressed {
        return refuse("The assertion's aud is not this server.");
    }
    let number = |name| match claims.get(name) {
        None => Ok(None),
        Some(value) => value
            .as_i64()
            .map(|seconds| Some(Timestamp::from_seconds(seconds)))
            .ok_or(Refusal::new(ErrorCode::InvalidClient, "A time in the assertion is not a whole number.")),
    };
    // RFC 7523 §3 (4): exp is required.
    let Some(expires) = number("exp")? else {
        return refuse("The assertion has no exp.");
    };
    if now >= expires.plus_seconds(leeway) {
        return refuse("The assertion has expired.");
    }
    // RFC 7523 §3 (4): unreasonably far in the future. What is remembered must end.
    if expires > now.plus_seconds(LONGEST_LIFE) {
        return refuse("The assertion's exp is more than 1 hour ahead.");
    }
    // RFC 7523 §3 (5), (6): neither from the future.
    for time in [number("nbf")?, number("iat")?].into_iter().flatten() {
        if time > now.plus_seconds(10) {
            return refuse("The assertion is not valid yet.");
        }
    }
    // RFC 7523 §3 (7), OpenID Connect Core §9: jti is required and used once.
    match claims.get("jti").and_then(Value::as_str) {
        Some(jti) if !jti.is_empty() && jti.len() <= 512 => {
            Ok(AcceptedAssertion { jti: jti.to_owned(), remember_until: expires.plus_seconds(leeway) })
        }
        _ => refuse("The assertion has no usable jti."),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn parameters(text: &str) -> Parameters {
        Parameters::parse(text).unwrap()
    }

    fn basic(text: &str) -> String {
        format!("Basic {}", BASE64_STANDARD.encode(text))
    }

    #[test]
    fn each_method_is_read() {
        let header = basic("a%20b:s%2Bc");
        let presented = read(Some(&header), &parameters("")).unwrap();
        assert_eq!(presented, Presented::Basic { client_id: "a b".into(), secret: "s+c".into() });
        assert_eq!(
            read(None, &parameters("client_id=c&client_secret=s")).unwrap().method(),
            AuthMethod::ClientSecretPost
        );
        assert_eq!(read(None, &parameters("client_id=c")).unwrap().method(), AuthMethod::None);
    }

    #[test]
    fn two_methods_or_none_are_refused() {
        let header = basic("c:s");
        let code = |result: Result<Presented, Refusal>| result.unwrap_err().code;
        assert_eq!(code(read(Some(&header), &parameters("client_secret=s"))), ErrorCode::InvalidRequest);
        assert_eq!(code(read(Some(&header), &parameters("client_id=other"))), ErrorCode::InvalidRequest);
        assert_eq!(code(read(None, &parameters(""))), ErrorCode::InvalidClient);
        assert_eq!(code(read(None, &parameters("client_secret=s"))), ErrorCode::InvalidRequest);
        for broken in ["Basic", "Basic !!", "Bearer x", &basic("no-colon"), &basic("%zz:x")] {
            assert_eq!(code(read(Some(broken), &parameters(""))), ErrorCode::InvalidClient, "{broken}");
        }
        assert_eq!(code(read(None, &parameters("client_assertion=a.b.c"))), ErrorCode::InvalidRequest);
    }

    #[test]
    fn a_client_authenticates_only_as_it_registered() {
        let mut client = ClientMetadata::default();
        assert!(check_method(&client, AuthMethod::ClientSecretPost).is_ok());
        assert!(check_method(&client, AuthMethod::None).is_err());
        client.token_endpoint_auth_method = Some(AuthMethod::PrivateKeyJwt);
        assert!(check_method(&client, AuthMethod::ClientSecretBasic).is_err());
        client.client_type = ClientType::Public;
        assert!(check_method(&client, AuthMethod::None).is_ok());
        assert!(check_method(&client, AuthMethod::ClientSecretBasic).is_err());
    }

    #[test]
    fn assertions_are_judged_claim_by_claim() {
        let now = Timestamp::from_seconds(1_000_000);
        let good = json!({"iss": "c", "sub": "c", "aud": "https://as.example", "exp": 1_000_060, "jti": "1"});
        let check = |change: &dyn Fn(&mut Map<String, Value>)| {
            let mut claims = good.as_object().unwrap().clone();
            change(&mut claims);
            check_assertion(&claims, "c", &["https://as.example"], 60, now)
        };
        assert!(check(&|_| {}).is_ok());
        assert!(check(&|claims| drop(claims.insert("aud".into(), json!(["x", "https://as.example"])))).is_ok());
        assert!(check(&|claims| drop(claims.insert("iat".into(), json!(1_000_010)))).is_ok());
        for (name, value) in [
            ("iss", json!("d")),
            ("sub", json!("d")),
            ("aud", json!("https://as.example/")),
            ("aud", Value::Null),
            ("exp", json!("1000060")),
            ("exp", json!(1_000_060.5)),
            ("exp", json!(999_900)),
            ("exp", Value::Null),
            ("exp", json!(1_003_601)),
            ("exp", json!(2_000_000)),
            ("iat", json!(1_000_090)),
            ("nbf", json!(1_000_090)),
            ("nbf", json!("x")),
            ("jti", json!("")),
            ("jti", json!(7)),
            ("jti", Value::Null),
        ] {
            let refused = check(&|claims| drop(claims.insert(name.into(), value.clone())));
            assert_eq!(refused.unwrap_err().code, ErrorCode::InvalidClient, "{name} {value}");
        }
        assert!(check(&|claims| drop(claims.insert("exp".into(), json!(1_003_600)))).is_ok(), "an hour");
        assert!(check(&|claims| drop(claims.remove("exp"))).is_err());
    }
}
