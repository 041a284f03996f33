//! Cross-origin requests (Fetch standard, "CORS protocol") from a fixed list of origins, without cookies.

use std::sync::Arc;

use axum::extract::{Request, State};
use axum::http::header::{
    ACCESS_CONTROL_ALLOW_HEADERS, ACCESS_CONTROL_ALLOW_METHODS, ACCESS_CONTROL_ALLOW_ORIGIN,
    ACCESS_CONTROL_EXPOSE_HEADERS, ACCESS_CONTROL_MAX_AGE, ACCESS_CONTROL_REQUEST_METHOD, ORIGIN, VARY,
};
use axum::http::{HeaderValue, Method, StatusCode};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};

/// The origins whose pages may call the API.
pub(crate) struct AllowedOrigins(Vec<HeaderValue>);

impl AllowedOrigins {
    /// Takes origins as browsers send them: scheme, host and port, no path.
    pub(crate) fn new(origins: &[String]) -> std::io::Result<Self> {
        let wrong = |origin: &str| {
            let text = format!("{origin:?} is no origin; write it as https://app.example");
            std::io::Error::new(std::io::ErrorKind::InvalidInput, text)
        };
        origins
            .iter()
            .map(|origin| {
                let host = origin.strip_prefix("https://").or_else(|| origin.strip_prefix("http://"));
                match (host, HeaderValue::from_str(origin)) {
                    (Some(host), Ok(value)) if !host.is_empty() && !host.contains(['/', '?', '#', '*', '@', ' ']) => {
                        Ok(value)
                    }
                    _ => Err(wrong(origin)),
                }
            })
            .collect::<Result<_, _>>()
            .map(Self)
    }
}

/// Answers preflights itself and lets listed origins read all other answers, refusals included.
pub(crate) async fn answer(State(origins): State<Arc<AllowedOrigins>>, request: Request, next: Next) -> Response {
    // The whole value is compared: a part of it would let `https://app.example.evil.example` in.
    let allowed = request.headers().get(ORIGIN).filter(|origin| origins.0.contains(origin)).cloned();
    let preflight =
        request.method() == Method::OPTIONS && request.headers().contains_key(ACCESS_CONTROL_REQUEST_METHOD);
    let mut response = if preflight { StatusCode::NO_CONTENT.into_response() } else { next.run(request).await };
    let headers = response.headers_mut();
    // Caches must keep the answers to different origins apart.
    headers.append(VARY, HeaderValue::from_static("Origin"));
    if let Some(origin) = allowed {
        headers.insert(ACCESS_CONTROL_ALLOW_ORIGIN, origin);
        if preflight {
            headers.insert(ACCESS_CONTROL_ALLOW_METHODS, HeaderValue::from_static("GET, POST"));
            headers.insert(ACCESS_CONTROL_ALLOW_HEADERS, HeaderValue::from_static("authorization, content-type"));
            headers.insert(ACCESS_CONTROL_MAX_AGE, HeaderValue::from_static("86400"));
        } else {
            headers.insert(ACCESS_CONTROL_EXPOSE_HEADERS, HeaderValue::from_static("www-authenticate, retry-after"));
        }
    }
    response
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_origins_are_taken_for_origins() {
        assert!(AllowedOrigins::new(&["https://app.example".into(), "http://127.0.0.1:4002".into()]).is_ok());
        for wrong in
            ["*", "null", "app.example", "https://app.example/", "https://*.example", "https://", "https://a b"]
        {
            assert!(AllowedOrigins::new(&[wrong.into()]).is_err(), "{wrong}");
        }
    }
}
