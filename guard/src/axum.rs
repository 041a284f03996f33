//! Extractors for axum, and the answer to a refusal (RFC 6750 §2.1, §3).
//!
//! The router's state must give a [`Guard`] by `FromRef`; `Router::with_state(guard)` does. Several extractors on one
//! handler, or an extractor below a layer of the same guard, validate the token once.

use std::marker::PhantomData;
use std::ops::Deref;

use ::axum::body::Body;
use ::axum::extract::{FromRef, FromRequestParts, OptionalFromRequestParts};
use ::axum::response::{IntoResponse, Response};
use ::http::header::{AUTHORIZATION, CACHE_CONTROL, CONTENT_TYPE, RETRY_AFTER, WWW_AUTHENTICATE};
use ::http::request::Parts;
use ::http::{HeaderMap, HeaderValue, StatusCode};
use serde_json::json;

use crate::access_token::{AccessToken, Denied};
use crate::guard::Guard;
use crate::refusal::TokenRefusal;

/// When a client may try again after the issuer's keys couldn't be had. In seconds.
const RETRY_AFTER_SECONDS: HeaderValue = HeaderValue::from_static("5");

/// A scope as a type; [`scope!`](crate::scope) makes one.
pub trait ScopeName: Send + Sync + 'static {
    /// The scope.
    const NAME: &'static str;
}

/// A role as a type; [`role!`](crate::role) makes one.
pub trait RoleName: Send + Sync + 'static {
    /// The role.
    const NAME: &'static str;
}

/// A permission as a type; [`permission!`](crate::permission) makes one.
pub trait PermissionName: Send + Sync + 'static {
    /// The permission.
    const NAME: &'static str;
}

/// Makes a type for a scope: `scope!(pub NotesRead = "notes.read");`
#[macro_export]
macro_rules! scope {
    ($visibility:vis $name:ident = $value:literal) => {
        #[doc = concat!("The scope `", $value, "`.")]
        #[derive(Debug, Clone, Copy)]
        $visibility struct $name;
        impl $crate::ScopeName for $name {
            const NAME: &'static str = $value;
        }
    };
}

/// Makes a type for a role: `role!(pub Admin = "admin");`
#[macro_export]
macro_rules! role {
    ($visibility:vis $name:ident = $value:literal) => {
        #[doc = concat!("The role `", $value, "`.")]
        #[derive(Debug, Clone, Copy)]
        $visibility struct $name;
        impl $crate::RoleName for $name {
            const NAME: &'static str = $value;
        }
    };
}

/// Makes a type for a permission: `permission!(pub Publish = "article:publish");`
#[macro_export]
macro_rules! permission {
    ($visibility:vis $name:ident = $value:literal) => {
        #[doc = concat!("The permission `", $value, "`.")]
        #[derive(Debug, Clone, Copy)]
        $visibility struct $name;
        impl $crate::PermissionName for $name {
            const NAME: &'static str = $value;
        }
    };
}

/// What a guard leaves in a request's extensions. It names its guard, so that another guard never takes the token over.
#[derive(Clone)]
struct Validated {
    by: Guard,
    token: AccessToken,
}

impl Guard {
    /// The request's token, validated by this guard; at most once for a request.
    pub(crate) async fn validated(&self, parts: &mut Parts) -> Result<AccessToken, Denied> {
        if let Some(known) = parts.extensions.get::<Validated>().filter(|known| known.by.is(self)) {
            return Ok(known.token.clone());
        }
        let presented = bearer(&parts.headers).map_err(|refusal| self.deny(refusal))?;
        let token = self.verify(presented).await?;
        parts.extensions.insert(Validated { by: self.clone(), token: token.clone() });
        Ok(token)
    }
}

/// The Bearer token of the `Authorization` header (RFC 6750 §2.1). Query and body aren't looked at: RFC 9700 §4.3.2
/// forbids the one, and the other (RFC 6750 §2.2) would have bodies read before anyone knows who sends them.
fn bearer(headers: &HeaderMap) -> Result<&str, TokenRefusal> {
    let mut values = headers.get_all(AUTHORIZATION).iter();
    let value = values.next().ok_or(TokenRefusal::Missing)?;
    // RFC 9110 §5.3: the field isn't a list, so it can't occur twice.
    if values.next().is_some() {
        return Err(TokenRefusal::MalformedAuthorization);
    }
    let value = value.to_str().map_err(|_| TokenRefusal::MalformedAuthorization)?;
    let (scheme, token) = value.split_once(' ').unwrap_or((value, ""));
    // RFC 9110 §11.1: schemes don't depend on case. Credentials of another scheme are no Bearer token.
    if !scheme.eq_ignore_ascii_case("Bearer") {
        return Err(TokenRefusal::Missing);
    }
    let token = token.trim_matches(' ');
    // RFC 6750 §2.1: b64token.
    let body = token.trim_end_matches('=');
    let is_b64token = !body.is_empty()
        && body
            .bytes()
            .all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'.' | b'_' | b'~' | b'+' | b'/'));
    if is_b64token { Ok(token) } else { Err(TokenRefusal::MalformedAuthorization) }
}

impl<S> FromRequestParts<S> for AccessToken
where
    Guard: FromRef<S>,
    S: Send + Sync,
{
    type Rejection = Denied;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, Denied> {
        Guard::from_ref(state).validated(parts).await
    }
}

/// `Option<AccessToken>` is `None` for a request without a Bearer token; a bad token is still refused.
impl<S> OptionalFromRequestParts<S> for AccessToken
where
    Guard: FromRef<S>,
    S: Send + Sync,
{
    type Rejection = Denied;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Option<Self>, Denied> {
        match Guard::from_ref(state).validated(parts).await {
            Ok(token) => Ok(Some(token)),
            Err(denied) if *denied.refusal() == TokenRefusal::Missing => Ok(None),
            Err(denied) => Err(denied),
        }
    }
}

macro_rules! requirement {
    ($(#[$doc:meta])* $extractor:ident, $kind:ident, $demand:ident) => {
        $(#[$doc])*
        pub struct $extractor<N> {
            /// The validated token.
            pub token: AccessToken,
            name: PhantomData<fn() -> N>,
        }

        impl<N> Deref for $extractor<N> {
            type Target = AccessToken;

            fn deref(&self) -> &AccessToken {
                &self.token
            }
        }

        impl<N> std::fmt::Debug for $extractor<N> {
            fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                f.debug_tuple(stringify!($extractor)).field(&self.token).finish()
            }
        }

        impl<N> Clone for $extractor<N> {
            fn clone(&self) -> Self {
                Self { token: self.token.clone(), name: PhantomData }
            }
        }

        impl<S, N: $kind> FromRequestParts<S> for $extractor<N>
        where
            Guard: FromRef<S>,
            S: Send + Sync,
        {
            type Rejection = Denied;

            async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, Denied> {
                let token = Guard::from_ref(state).validated(parts).await?;
                token.$demand(N::NAME)?;
                Ok(Self { token, name: PhantomData })
            }
        }
    };
}

requirement!(
    /// A validated token with this scope; without it 403 `insufficient_scope` that names the scope (RFC 6750 §3.1).
    RequireScope, ScopeName, require_scope
);
requirement!(
    /// A validated token with this role, by the guard's hierarchy; without it 403.
    RequireRole, RoleName, require_role
);
requirement!(
    /// A validated token with this permission; without it 403.
    RequirePermission, PermissionName, require_permission
);

impl Denied {
    /// The answer: status, challenge, and for clients a small JSON object beside it.
    pub(crate) fn to_response<B: From<String>>(&self) -> ::http::Response<B> {
        let refusal = self.refusal();
        let error = match refusal {
            TokenRefusal::KeysUnavailable => Some("temporarily_unavailable"),
            _ => refusal.code(),
        };
        let body = match error {
            Some(error) => json!({ "error": error, "error_description": refusal.description() }),
            None => json!({ "error_description": refusal.description() }),
        };
        let mut response = ::http::Response::new(B::from(body.to_string()));
        *response.status_mut() = StatusCode::from_u16(refusal.status()).unwrap_or(StatusCode::UNAUTHORIZED);
        let headers = response.headers_mut();
        headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
        headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
        if let Some(Ok(challenge)) = self.www_authenticate().map(HeaderValue::try_from) {
            headers.insert(WWW_AUTHENTICATE, challenge);
        }
        if *refusal == TokenRefusal::KeysUnavailable {
            headers.insert(RETRY_AFTER, RETRY_AFTER_SECONDS);
        }
        response
    }
}

impl IntoResponse for Denied {
    fn into_response(self) -> Response {
        self.to_response::<Body>()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(values: &[&'static [u8]]) -> Result<String, TokenRefusal> {
        let mut headers = HeaderMap::new();
        for value in values {
            headers.append(AUTHORIZATION, HeaderValue::from_bytes(value).unwrap());
        }
        bearer(&headers).map(str::to_owned)
    }

    #[test]
    fn the_header_is_read_strictly() {
        assert_eq!(read(&[b"Bearer a.b-c_d~e+f/g=="]).unwrap(), "a.b-c_d~e+f/g==");
        assert_eq!(read(&[b"bEARER  abc"]).unwrap(), "abc");
        for missing in [&[][..], &[&b"Basic dTpw"[..]], &[b"DPoP abc"], &[b"Bearerabc"], &[b""]] {
            assert_eq!(read(missing), Err(TokenRefusal::Missing), "{missing:?}");
        }
        for malformed in [
            &[&b"Bearer"[..]][..],
            &[b"Bearer "],
            &[b"Bearer a b"],
            &[b"Bearer a,b"],
            &[b"Bearer ="],
            &[b"Bearer a=b"],
            &[b"Bearer \xff"],
            &[b"Bearer \ta"],
            &[b"Bearer a", b"Bearer a"],
            &[b"Basic dTpw", b"Bearer a"],
        ] {
            assert_eq!(read(malformed), Err(TokenRefusal::MalformedAuthorization), "{malformed:?}");
        }
    }
}
