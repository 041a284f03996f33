//! CORS by endpoint class (requirement WB-3, protocol decision 31).

use std::sync::Arc;

use axum::body::Body;
use axum::extract::{Request, State};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use http::header::{self, HeaderName, HeaderValue};
use http::{Method, StatusCode};

use crate::app::App;
use crate::store::client::RegisteredClient;

/// Who may call an endpoint from a script of another origin.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum CorsClass {
    /// Anybody: what is public.
    Open,
    /// The origins of the client that the request turns out to come from. These endpoints read no cookies.
    Clients,
    /// Nobody.
    None,
}

/// The client that an answer is for.
#[derive(Debug, Clone)]
pub struct AnsweredClient(pub Arc<RegisteredClient>);

const METHODS: HeaderValue = HeaderValue::from_static("GET, POST, OPTIONS");
const HEADERS: HeaderValue = HeaderValue::from_static("Authorization, Content-Type, DPoP");
const EXPOSED: HeaderValue = HeaderValue::from_static("DPoP-Nonce, WWW-Authenticate, Retry-After, X-Request-Id");

/// For endpoints of the class [`CorsClass::Open`].
pub async fn open(State(app): State<Arc<App>>, request: Request, next: Next) -> Response {
    if let Some(preflight) = preflight(&app, &request) {
        return preflight;
    }
    let mut response = next.run(request).await;
    let headers = response.headers_mut();
    headers.insert(header::ACCESS_CONTROL_ALLOW_ORIGIN, HeaderValue::from_static("*"));
    headers.insert(header::ACCESS_CONTROL_EXPOSE_HEADERS, EXPOSED);
    response
}

/// For endpoints of the class [`CorsClass::Clients`].
pub async fn clients(State(app): State<Arc<App>>, request: Request, next: Next) -> Response {
    if let Some(preflight) = preflight(&app, &request) {
        return preflight;
    }
    let origin = request.headers().get(header::ORIGIN).cloned();
    let mut response = next.run(request).await;
    let Some(origin) = origin else { return response };
    let allowed = origin.to_str().is_ok_and(|origin| {
        app.settings.allows_origin(origin)
            || response.extensions().get::<AnsweredClient>().is_some_and(|client| client.0.metadata.owns_origin(origin))
    });
    let headers = response.headers_mut();
    headers.append(header::VARY, HeaderValue::from_static("Origin"));
    if allowed {
        headers.insert(header::ACCESS_CONTROL_ALLOW_ORIGIN, origin);
        headers.insert(header::ACCESS_CONTROL_EXPOSE_HEADERS, EXPOSED);
    }
    response
}

/// The answer to a preflight, which names no client: it allows the origin to ask, and the real answer decides whether
/// the script may read it.
fn preflight(app: &App, request: &Request) -> Option<Response> {
    if request.method() != Method::OPTIONS {
        return None;
    }
    let origin = request.headers().get(header::ORIGIN)?;
    if !request.headers().contains_key(HeaderName::from_static("access-control-request-method")) {
        return None;
    }
    let mut response = (StatusCode::NO_CONTENT, Body::empty()).into_response();
    let headers = response.headers_mut();
    headers.insert(header::ACCESS_CONTROL_ALLOW_ORIGIN, origin.clone());
    headers.insert(header::ACCESS_CONTROL_ALLOW_METHODS, METHODS);
    headers.insert(header::ACCESS_CONTROL_ALLOW_HEADERS, HEADERS);
    headers.insert(header::VARY, HeaderValue::from_static("Origin"));
    if let Ok(age) = HeaderValue::from_str(&app.settings.cors.max_age.as_secs().to_string()) {
        headers.insert(header::ACCESS_CONTROL_MAX_AGE, age);
    }
    Some(response)
}
