//! The published keys (RFC 7517, OpenID Connect Core §10.1.1): bytes from memory, with cache headers.

use std::sync::Arc;

use axum::body::{Body, Bytes};
use axum::extract::State;
use axum::response::{IntoResponse, Response};
use http::StatusCode;
use http::header::{self, HeaderMap, HeaderName, HeaderValue};

use crate::app::App;

/// Seconds for which anybody may keep the keys: a key signs no sooner after its publication.
pub const MAX_AGE: u64 = 300;
/// The same for HTTP (RFC 9111 §5.2.2).
pub const CACHE_CONTROL: &str = "public, max-age=300";

/// GET `/jwks`.
pub async fn handle(State(app): State<Arc<App>>, headers: HeaderMap) -> Response {
    let ring = app.key_ring.load();
    cached(
        &headers,
        Bytes::from_owner(Arc::clone(ring.jwks_json())),
        ring.etag(),
        "application/jwk-set+json",
        CACHE_CONTROL,
    )
}

/// Bytes that anybody may keep for as long as `cache_control` says.
pub fn cached(
    request: &HeaderMap,
    body: Bytes,
    etag: &str,
    kind: &'static str,
    cache_control: &'static str,
) -> Response {
    // RFC 9110 §13.1.2: any tag of the list, compared weakly, or `*` for whatever there is.
    let unchanged = request.get(header::IF_NONE_MATCH).and_then(|value| value.to_str().ok()).is_some_and(|known| {
        known.split(',').map(str::trim).any(|tag| tag == "*" || tag.trim_start_matches("W/") == etag)
    });
    let mut response = if unchanged {
        StatusCode::NOT_MODIFIED.into_response()
    } else {
        (StatusCode::OK, Body::from(body)).into_response()
    };
    let headers = response.headers_mut();
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static(kind));
    headers.insert(header::CACHE_CONTROL, HeaderValue::from_static(cache_control));
    headers.insert(HeaderName::from_static("cross-origin-resource-policy"), HeaderValue::from_static("cross-origin"));
    if let Ok(etag) = HeaderValue::from_str(etag) {
        headers.insert(header::ETAG, etag);
    }
    response
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_header_states_the_lifetime() {
        assert_eq!(CACHE_CONTROL, format!("public, max-age={MAX_AGE}"));
    }
}
