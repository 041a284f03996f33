//! A token on its way through HTTP: read from the request (RFC 6750 §2.1), and the answer to a refusal (§3).
//!
//! Shared by the tower layer and the axum extractors.

use ::http::header::{
    ACCESS_CONTROL_ALLOW_ORIGIN, AUTHORIZATION, CACHE_CONTROL, CONTENT_TYPE, RETRY_AFTER, WWW_AUTHENTICATE,
};
use ::http::request::Parts;
use ::http::{HeaderMap, HeaderValue, Response, StatusCode};
use serde_json::json;

use crate::access_token::{AccessToken, Denied};
use crate::guard::Guard;
use crate::refusal::TokenRefusal;
use crate::resource_metadata::ResourceMetadata;

/// What a guard leaves in a request's extensions. It names its guard, so that another guard never takes the token over.
#[derive(Clone)]
struct Validated {
    by: Guard,
    token: AccessToken,
}

impl Guard {
    /// The request's token, validated by this guard, at most once for a request: what the layer and the extractors do. For
    /// services whose bodies the layer can't make, and for frameworks of other kinds.
    ///
    /// # Errors
    /// [`Denied`]; [`Denied::to_response`] makes the answer.
    pub async fn authorize(&self, parts: &mut Parts) -> Result<AccessToken, Denied> {
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

impl Denied {
    /// The answer: status, challenge, and for clients a small JSON object beside it.
    pub fn to_response<B: From<String>>(&self) -> Response<B> {
        let refusal = self.refusal();
        let error = match refusal.retry_after() {
            Some(_) => Some("temporarily_unavailable"),
            None => refusal.code(),
        };
        let body = match error {
            Some(error) => json!({ "error": error, "error_description": refusal.description() }),
            None => json!({ "error_description": refusal.description() }),
        };
        let mut response = Response::new(B::from(body.to_string()));
        *response.status_mut() = StatusCode::from_u16(refusal.status()).unwrap_or(StatusCode::UNAUTHORIZED);
        let headers = response.headers_mut();
        headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
        headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
        if let Some(Ok(challenge)) = self.www_authenticate().map(HeaderValue::try_from) {
            headers.insert(WWW_AUTHENTICATE, challenge);
        }
        if let Some(seconds) = refusal.retry_after() {
            headers.insert(RETRY_AFTER, HeaderValue::from(seconds));
        }
        response
    }
}

impl ResourceMetadata {
    /// The answer to a GET of [`path`](Self::path) (RFC 9728 §3.2), readable from any page: it holds nothing private.
    pub fn to_response<B: From<String>>(&self) -> Response<B> {
        let mut response = Response::new(B::from(self.to_json()));
        let headers = response.headers_mut();
        headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
        headers.insert(CACHE_CONTROL, HeaderValue::from_static("public, max-age=300"));
        headers.insert(ACCESS_CONTROL_ALLOW_ORIGIN, HeaderValue::from_static("*"));
        response
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
