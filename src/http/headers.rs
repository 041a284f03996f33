//! What every answer carries (requirement WB-1), and the request's id.

use std::sync::Arc;

use axum::extract::{Request, State};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use http::header::{self, Entry, HeaderName, HeaderValue};
use http::{HeaderMap, StatusCode, Version};

use super::refused::{Refused, Shed};
use super::{RequestId, json, log_fault};
use crate::app::App;
use crate::fault::Fault;

const REQUEST_ID: HeaderName = HeaderName::from_static("x-request-id");
/// What a program's answer may load and who may frame it: nothing, nobody.
const STRICT_POLICY: HeaderValue =
    HeaderValue::from_static("default-src 'none'; frame-ancestors 'none'; base-uri 'none'");

/// Gives the request its id and the answer its headers. What an endpoint has set for itself stays.
pub async fn apply(State(app): State<Arc<App>>, mut request: Request, next: Next) -> Response {
    let id = request_id(&app, request.headers());
    let version = request.version();
    request.extensions_mut().insert(id.clone());
    let mut response = match foreign_host(&app, &request) {
        Some(host) => misdirected(&app, host),
        // A timer is set only for a request that waits for something.
        None => {
            match tokio::time::timeout(app.settings.server.request_timeout.as_duration(), next.run(request)).await {
                Ok(response) => response,
                Err(_) => {
                    let fault = Fault::Unavailable("the request took longer than server.request_timeout".to_owned());
                    log_fault("", &id, &fault);
                    json::fault_response(&fault)
                }
            }
        }
    };
    note_refused(&app, &response, &id);
    if response.extensions().get::<Shed>().is_some() {
        app.metrics.shed();
        app.shed_log.note(app.clock.now());
    }
    let headers = response.headers_mut();
    headers.reserve(12);
    name_request(&app, &id, version, headers);
    set(&app, headers);
    response
}

/// What differs from request to request: its id, and whether its connection goes on.
pub fn name_request(app: &App, id: &RequestId, version: Version, headers: &mut HeaderMap) {
    headers.insert(REQUEST_ID, id.value().clone());
    // RFC 9112 §9.6: who keeps a connection for the next request hears that there is none. HTTP/2 has its own word for
    // that (GOAWAY), which is sent when the server stops listening.
    if version < Version::HTTP_2 && app.lifecycle.is_draining() {
        headers.insert(header::CONNECTION, HeaderValue::from_static("close"));
    }
}

/// The id of a request: the caller's, or a new one.
pub fn request_id(app: &App, asked: &HeaderMap) -> RequestId {
    RequestId::from(match accepted_id(asked) {
        Some(id) => id.clone(),
        // Without chance there is no id, and the request's own answer will say what is wrong.
        None => app.random.label().unwrap_or_else(|_| HeaderValue::from_static("")),
    })
}

/// Counts what an answer says that it refuses, and writes the log's line.
pub fn note_refused(app: &App, response: &Response, id: &str) {
    if let Some(refused) = response.extensions().get::<Refused>() {
        app.metrics.refused(refused);
        refused.log(id);
    }
}

/// The headers that every answer carries. What is set already stays, but for those that nobody may change.
pub fn set(app: &App, headers: &mut HeaderMap) {
    unless_set(headers, header::CONTENT_SECURITY_POLICY, STRICT_POLICY);
    unless_set(headers, header::REFERRER_POLICY, HeaderValue::from_static("no-referrer"));
    unless_set(
        headers,
        HeaderName::from_static("cross-origin-resource-policy"),
        HeaderValue::from_static("same-origin"),
    );
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
        headers
            .insert(header::STRICT_TRANSPORT_SECURITY, HeaderValue::from_static("max-age=31536000; includeSubDomains"));
    }
}

/// The host that a request names, where it isn't ours (requirement WB-4). Probes come by address, and so the health
/// endpoints take any.
fn foreign_host<'r>(app: &App, request: &'r Request) -> Option<&'r str> {
    // HTTP/2 names it in the address; with its port, as the Host header of HTTP/1 does.
    let host = match request.uri().authority() {
        Some(authority) => authority.as_str(),
        None => request.headers().get(header::HOST).and_then(|host| host.to_str().ok()).unwrap_or_default(),
    };
    (!app.settings.trusts_host(host) && !request.uri().path().contains("/health/")).then_some(host)
}

/// RFC 9110 §15.5.20: says which host was seen and which is expected, for whoever has set up the proxy.
fn misdirected(app: &App, host: &str) -> Response {
    let plain = |character: char| character.is_ascii_alphanumeric() || matches!(character, '.' | '-' | ':' | '[' | ']');
    let seen: String = host.chars().filter(|&character| plain(character)).take(100).collect();
    let text = format!(
        "This server is {}, and the request names the host \"{seen}\". Open that address, or let the proxy pass the \
         Host header on, or list the host in server.trusted_hosts.\n",
        app.settings.issuer()
    );
    let mut response = (StatusCode::MISDIRECTED_REQUEST, text).into_response();
    response.headers_mut().insert(header::CONTENT_TYPE, HeaderValue::from_static("text/plain; charset=utf-8"));
    response
}

fn unless_set(headers: &mut HeaderMap, name: HeaderName, value: HeaderValue) {
    if let Entry::Vacant(entry) = headers.entry(name) {
        entry.insert(value);
    }
}

/// The caller's id, where it is short and plain enough for logs.
fn accepted_id(headers: &HeaderMap) -> Option<&HeaderValue> {
    let id = headers.get(REQUEST_ID)?;
    let plain = |byte: &u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_' | b'.');
    (!id.is_empty() && id.len() <= 64 && id.as_bytes().iter().all(plain)).then_some(id)
}
