//! Why a request is turned away, and how the answer says so: status, error code and the `WWW-Authenticate` challenge
//! (RFC 6750 §3, RFC 9470 §3, RFC 9728 §5.1).
//!
//! Every text is fixed. Nothing of the request comes back in an answer; only names that the program itself demands
//! (a scope, `acr_values`, `max_age`) are written into the challenge.

/// Why an access token, or a request with or without one, is refused.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum TokenRefusal {
    /// The request carries no Bearer token.
    Missing,
    /// The `Authorization` header is malformed or occurs twice.
    MalformedAuthorization,
    /// The token is longer than 16 KiB.
    TooLarge,
    /// The token isn't a signed JWT in compact form, or its header isn't what RFC 7515 asks for.
    Malformed,
    /// The header's `typ` isn't `at+jwt`.
    WrongType,
    /// The header's `alg` is `none`, symmetric or otherwise not accepted.
    UnsupportedAlgorithm,
    /// The header has `crit`, and no extension is understood here.
    CriticalHeader,
    /// No known key has the token's `kid`.
    UnknownKey,
    /// The token names no key, and several could be meant.
    AmbiguousKey,
    /// The key named by the token has another algorithm than the token's `alg`.
    AlgorithmMismatch,
    /// The signature doesn't fit.
    BadSignature,
    /// The claims aren't a JSON object, or a claim has the wrong type or occurs twice.
    MalformedClaims,
    /// A claim that RFC 9068 §2.2 requires is absent or empty.
    MissingClaim(&'static str),
    /// The token is another issuer's.
    WrongIssuer,
    /// The token is meant for another audience.
    WrongAudience,
    /// `exp` has passed.
    Expired,
    /// `nbf` hasn't come.
    NotYetValid,
    /// The token is bound to a key (`cnf`), and its proof can't be checked here.
    BoundToKey,
    /// The issuer has ended the token before its time: its status list says so.
    Revoked,
    /// The token's `status_list` can't be used: the list isn't the issuer's to publish, or has no such index.
    UnusableStatus,
    /// The authorization server says that the token isn't active (RFC 7662 §2.2).
    Inactive,
    /// The issuer's keys can't be had at the moment, so the token can't be judged.
    KeysUnavailable,
    /// The token's status list can't be had at the moment, and the guard was told to be strict.
    StatusUnavailable,
    /// The introspection endpoint can't be asked at the moment, so the token can't be judged.
    IntrospectionUnavailable {
        /// When to try again, in seconds.
        retry_after: u64,
    },
    /// The token lacks this scope.
    InsufficientScope(String),
    /// The token lacks a role.
    MissingRole,
    /// The token lacks a permission.
    MissingPermission,
    /// The token's subject doesn't own what is asked for.
    NotOwner,
    /// A policy of the resource server says no.
    Policy,
    /// The user must authenticate again or more strongly (RFC 9470).
    StepUp {
        /// The acceptable authentication context classes, the preferred first; may be empty.
        acr_values: Vec<String>,
        /// The longest time since the user's authentication, in seconds.
        max_age: Option<u64>,
    },
}

impl TokenRefusal {
    /// The HTTP status of the answer.
    pub fn status(&self) -> u16 {
        match self {
            Self::MalformedAuthorization => 400,
            Self::InsufficientScope(_)
            | Self::MissingRole
            | Self::MissingPermission
            | Self::NotOwner
            | Self::Policy => 403,
            refusal if refusal.retry_after().is_some() => 503,
            _ => 401,
        }
    }

    /// When the client may try again, in seconds, for a token that couldn't be judged (503): the value of `Retry-After`
    /// (RFC 9110 §10.2.3). Such a refusal says nothing about the token; a client that throws it away errs.
    pub fn retry_after(&self) -> Option<u64> {
        match self {
            Self::KeysUnavailable | Self::StatusUnavailable => Some(5),
            Self::IntrospectionUnavailable { retry_after } => Some(*retry_after),
            _ => None,
        }
    }

    /// The error code of RFC 6750 §3.1 or RFC 9470 §3.
    ///
    /// `None` for a request without a token, which gets no code by RFC 6750 §3.1, and while a token can't be judged,
    /// which is no fault of it.
    pub fn code(&self) -> Option<&'static str> {
        match self {
            Self::Missing => None,
            refusal if refusal.retry_after().is_some() => None,
            Self::MalformedAuthorization => Some("invalid_request"),
            // RFC 6750 §3.1: "requires higher privileges than provided by the access token", of whatever kind.
            Self::InsufficientScope(_)
            | Self::MissingRole
            | Self::MissingPermission
            | Self::NotOwner
            | Self::Policy => Some("insufficient_scope"),
            Self::StepUp { .. } => Some("insufficient_user_authentication"),
            _ => Some("invalid_token"),
        }
    }

    /// A fixed sentence for developers.
    pub fn description(&self) -> &'static str {
        match self {
            Self::Missing => "The request carries no access token.",
            Self::MalformedAuthorization => "The Authorization header is malformed.",
            Self::TooLarge => "The access token is too large.",
            Self::Malformed => "The access token is malformed.",
            Self::WrongType => "The token is not an access token.",
            Self::UnsupportedAlgorithm => "The access token's algorithm is not accepted.",
            Self::CriticalHeader => "The access token needs an extension that is not understood.",
            Self::UnknownKey => "The access token is signed with an unknown key.",
            Self::AmbiguousKey => "The access token does not name its key.",
            Self::AlgorithmMismatch => "The access token's algorithm is not the one of its key.",
            Self::BadSignature => "The access token's signature is wrong.",
            Self::MalformedClaims => "A claim of the access token is malformed.",
            Self::MissingClaim(_) => "A required claim of the access token is missing.",
            Self::WrongIssuer => "The access token is from another issuer.",
            Self::WrongAudience => "The access token is for another audience.",
            Self::Expired => "The access token has expired.",
            Self::NotYetValid => "The access token is not valid yet.",
            Self::BoundToKey => "The access token is bound to a key and can't be used as a bearer token here.",
            Self::Revoked => "The access token has been revoked.",
            Self::UnusableStatus => "The access token's status list can't be used.",
            Self::Inactive => "The access token is not active.",
            Self::KeysUnavailable | Self::StatusUnavailable | Self::IntrospectionUnavailable { .. } => {
                "Access tokens can't be checked at the moment."
            }
            Self::InsufficientScope(_) => "The access token lacks a scope.",
            Self::MissingRole => "The access token lacks a role.",
            Self::MissingPermission => "The access token lacks a permission.",
            Self::NotOwner => "The resource belongs to someone else.",
            Self::Policy => "A policy forbids this request.",
            Self::StepUp { .. } => "A more recent or stronger authentication is needed.",
        }
    }

    /// The value of `WWW-Authenticate` (RFC 6750 §3), or `None` where a challenge makes no sense (503).
    ///
    /// `resource_metadata` is the URL of the resource's metadata document (RFC 9728 §5.1).
    pub fn www_authenticate(&self, resource_metadata: Option<&str>) -> Option<String> {
        if self.retry_after().is_some() {
            return None;
        }
        let mut parameters = Vec::new();
        if let Some(code) = self.code() {
            parameters.push(("error", code.to_owned()));
            parameters.push(("error_description", self.description().to_owned()));
        }
        match self {
            // RFC 6750 §3.1: the scope that is necessary for the resource.
            Self::InsufficientScope(scope) => parameters.push(("scope", scope.clone())),
            // RFC 9470 §3.
            Self::StepUp { acr_values, max_age } => {
                if !acr_values.is_empty() {
                    parameters.push(("acr_values", acr_values.join(" ")));
                }
                if let Some(seconds) = max_age {
                    parameters.push(("max_age", seconds.to_string()));
                }
            }
            _ => {}
        }
        if let Some(url) = resource_metadata {
            parameters.push(("resource_metadata", url.to_owned()));
        }
        let listed: Vec<_> = parameters.iter().map(|(name, value)| format!("{name}={}", quoted(value))).collect();
        Some(if listed.is_empty() { "Bearer".to_owned() } else { format!("Bearer {}", listed.join(", ")) })
    }
}

impl std::fmt::Display for TokenRefusal {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.description())
    }
}

impl std::error::Error for TokenRefusal {}

/// A quoted-string of RFC 9110 §5.6.4. Control characters and what isn't ASCII are left out, so that no value can end
/// the header early.
fn quoted(value: &str) -> String {
    let mut out = String::with_capacity(value.len() + 2);
    out.push('"');
    for character in value.chars().filter(|character| matches!(character, ' '..='~')) {
        if matches!(character, '"' | '\\') {
            out.push('\\');
        }
        out.push(character);
    }
    out.push('"');
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn challenges_follow_the_specifications() {
        assert_eq!(TokenRefusal::Missing.www_authenticate(None).unwrap(), "Bearer");
        assert_eq!(
            TokenRefusal::Missing.www_authenticate(Some("https://api.example/.well-known/x")).unwrap(),
            r#"Bearer resource_metadata="https://api.example/.well-known/x""#
        );
        assert_eq!(
            TokenRefusal::InsufficientScope("notes.read".into()).www_authenticate(None).unwrap(),
            r#"Bearer error="insufficient_scope", error_description="The access token lacks a scope.", scope="notes.read""#
        );
        let step_up = TokenRefusal::StepUp { acr_values: vec!["phr".into(), "phrh".into()], max_age: Some(300) };
        assert_eq!(
            step_up.www_authenticate(None).unwrap(),
            "Bearer error=\"insufficient_user_authentication\", \
             error_description=\"A more recent or stronger authentication is needed.\", \
             acr_values=\"phr phrh\", max_age=\"300\""
        );
    }

    #[test]
    fn a_token_that_cannot_be_judged_is_never_called_invalid() {
        for refusal in [
            TokenRefusal::KeysUnavailable,
            TokenRefusal::StatusUnavailable,
            TokenRefusal::IntrospectionUnavailable { retry_after: 7 },
        ] {
            assert_eq!((refusal.status(), refusal.code()), (503, None), "{refusal:?}");
            assert!(refusal.retry_after().is_some_and(|seconds| seconds > 0));
            assert_eq!(refusal.www_authenticate(Some("https://api.example")), None);
        }
        assert_eq!(TokenRefusal::IntrospectionUnavailable { retry_after: 7 }.retry_after(), Some(7));
        for refusal in [TokenRefusal::Revoked, TokenRefusal::Inactive, TokenRefusal::UnusableStatus] {
            assert_eq!((refusal.status(), refusal.code(), refusal.retry_after()), (401, Some("invalid_token"), None));
        }
    }

    #[test]
    fn a_value_cannot_break_out_of_its_quotes() {
        let scope = TokenRefusal::InsufficientScope("a\", error=\"x\r\nSet-Cookie: y\\ü".into());
        let challenge = scope.www_authenticate(None).unwrap();
        assert!(challenge.ends_with(r#"scope="a\", error=\"xSet-Cookie: y\\""#), "{challenge}");
    }
}
