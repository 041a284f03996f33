//! What every answer carries (requirement WB-1), and the request's id.

use std::sync::Arc;

use axum::extract::{Request, State};
use axum::middleware::Next;
use axum::response::Response;
use http::HeaderMap;
use http::header::{self, Entry, HeaderName, HeaderValue};

use super::RequestId;
use crate::app::App;

const REQUEST_ID: HeaderName = HeaderName::from_static("x-request-id");
/// What a program's answer may load and who may frame it: nothing, nobody.
const STRICT_POLICY: HeaderValue = HeaderValue::from_static("default-src 'none'; frame-ancestors 'none'; base-uri 'none'");

/// Gives the request its id and the answer its headers. What an endpoint has set for itself stays.
pub async fn apply(State(app): State<Arc<App>>, mut request: Request, next: Next) -> Response {
    let id: Arc<str> = match accepted_id(request.headers()) {
        Some(id) => id.into(),
        // Without chance there is no id, and the request's own answer will say what is wrong.
        None => app.random.name().unwrap_or_default().into(),
    };
    request.extensions_mut().insert(RequestId(Arc::clone(&id)));
    let mut response = next.run(request).await;
    let headers = response.headers_mut();
    headers.reserve(12);
    if let Ok(id) = HeaderValue::from_str(&id) {
        headers.insert(REQUEST_ID, id);
    }
    unless_set(headers, header::CONTENT_SECURITY_POLICY, STRICT_POLICY);
    unless_set(headers, header::REFERRER_POLICY, HeaderValue::from_static("no-referrer"));
    unless_set(headers, HeaderName::from_static("cross-origin-resource-policy"), HeaderValue::from_static("same-origin"));
    unless_set(headers, header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
    headers.insert(header::X_FRAME_OPTIONS, HeaderValue::from_static("DENY"));
    headers.insert(header::X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
    // The filter that this header once governed did harm; today's advice is to switch it off.
    headers.insert(header::X_XSS_PROTECTION, HeaderValue::from_static("0"));
    headers.insert(
        HeaderName::from_static("permissions-policy"),
        HeaderValue::from_static("camera=(), geolocation=(), microphone=(), payment=(), usb=()"),
    );
    // RFC 6797 §7.2: never over plain http.
    if app.settings.is_https() {
        headers.insert(
            header::STRICT_TRANSPORT_SECURITY,
            HeaderValue::from_static("max-age=31536000; includeSubDomains"),
        );
    }
    response
}

fn unless_set(headers: &mut HeaderMap, name: HeaderName, value: HeaderValue) {
    if let Entry::Vacant(entry) = headers.entry(name) {
        entry.insert(value);
    }
}

/// The caller's id, where it is short and plain enough for logs.
fn accepted_id(headers: &HeaderMap) -> Option<&str> {
    let id = headers.get(REQUEST_ID)?.to_str().ok()?;
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_' | b'.');
    (!id.is_empty() && id.len() <= 64 && id.bytes().all(plain)).then_some(id)
}
