//! Answers in JSON, and errors as RFC 6749 §5.2 has them.

use std::sync::LazyLock;

use axum::body::{Body, Bytes};
use axum::response::{IntoResponse, Response};
use http::header::{self, HeaderValue};
use http::{HeaderMap, StatusCode};
use keyward_protocol::{ErrorCode, Refusal};
use serde::Serialize;

use super::refused::{Door, Refused, Shed};
use super::{Incoming, log_fault};
use crate::fault::Fault;

/// Why an endpoint that programs call doesn't do what it was asked.
#[derive(Debug)]
pub enum Failure {
    /// The rules refuse it.
    Refused {
        /// Why.
        refusal: Refusal,
        /// The challenge of a 401 or 403.
        challenge: Option<HeaderValue>,
    },
    /// Something on our side is broken.
    Fault(Fault),
}

impl From<Refusal> for Failure {
    fn from(refusal: Refusal) -> Self {
        Self::Refused { refusal, challenge: None }
    }
}

impl From<Fault> for Failure {
    fn from(fault: Fault) -> Self {
        Self::Fault(fault)
    }
}

/// The body of an error (RFC 6749 §5.2).
pub fn error_body(refusal: &Refusal) -> (HeaderMap, Body) {
    (json_headers(), Body::from(error_text(refusal)))
}

fn error_text(refusal: &Refusal) -> String {
    serde_json::json!({"error": refusal.code.as_str(), "error_description": refusal.description}).to_string()
}

/// An answer in JSON that nobody may keep (RFC 6749 §5.1).
///
/// # Errors
/// Where the value can't be written as JSON.
pub fn ok(value: &impl Serialize) -> Result<Response, Failure> {
    let body = serde_json::to_vec(value).map_err(Fault::broken)?;
    Ok((json_headers(), Body::from(body)).into_response())
}

/// A refusal whose status HTTP gives rather than the error's code, such as 406 (RFC 9110 §15.5.7).
pub fn refused(incoming: &Incoming, status: StatusCode, refusal: &Refusal) -> Response {
    let mut response = (status, error_body(refusal)).into_response();
    Refused::note(&mut response, Door::Document, refusal, incoming);
    response
}

/// What an endpoint for programs answers.
pub fn answer(incoming: &Incoming, outcome: Result<Response, Failure>) -> Response {
    let mut response = match outcome {
        Ok(response) => response,
        Err(Failure::Refused { refusal, challenge }) => {
            let status = StatusCode::from_u16(refusal.code.status()).unwrap_or(StatusCode::BAD_REQUEST);
            let mut response = refused(incoming, status, &refusal);
            if let Some(challenge) = challenge {
                response.headers_mut().insert(header::WWW_AUTHENTICATE, challenge);
            }
            response
        }
        Err(Failure::Fault(fault)) => {
            log_fault(incoming.uri.path(), &incoming.request_id, &fault);
            fault_response(&fault)
        }
    };
    if let Some(client) = incoming.client.get() {
        response.extensions_mut().insert(super::cors::AnsweredClient(std::sync::Arc::clone(client)));
    }
    response
}

/// A fault as programs see it: `server_error` or `temporarily_unavailable`, and nothing of its text.
pub fn fault_response(fault: &Fault) -> Response {
    match fault {
        Fault::Unavailable(_) | Fault::Undone(_) | Fault::Overloaded(_) => {
            let mut response =
                (StatusCode::SERVICE_UNAVAILABLE, json_headers(), Body::from(busy_body())).into_response();
            response.headers_mut().insert(header::RETRY_AFTER, super::RETRY_AFTER);
            if matches!(fault, Fault::Overloaded(_)) {
                response.extensions_mut().insert(Shed);
            }
            response
        }
        Fault::Broken(_) => {
            let refusal = Refusal::new(ErrorCode::ServerError, "The server failed. The request id says where.");
            (StatusCode::INTERNAL_SERVER_ERROR, error_body(&refusal)).into_response()
        }
    }
}

/// What a program is told that comes at the wrong moment.
pub fn busy_body() -> Bytes {
    const BUSY: Refusal =
        Refusal::new(ErrorCode::TemporarilyUnavailable, "The server can't answer now. Try again soon.");
    // Written once: under overload this is the answer to most.
    static BODY: LazyLock<Bytes> = LazyLock::new(|| error_text(&BUSY).into());
    BODY.clone()
}

fn json_headers() -> HeaderMap {
    let mut headers = HeaderMap::with_capacity(8);
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("application/json"));
    // RFC 6749 §5.1; the second for caches of HTTP/1.0.
    headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
    headers.insert(header::PRAGMA, HeaderValue::from_static("no-cache"));
    headers
}
