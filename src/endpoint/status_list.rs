//! Status lists (draft-ietf-oauth-status-list-21 §8): the signed lists, and the addresses of all of them (§9.3). Anybody
//! may read them. Left out: lists of the past (§8.4), and the CBOR form.

use std::sync::Arc;

use axum::body::Bytes;
use axum::extract::{Path, State};
use axum::response::Response;
use http::StatusCode;
use http::header::{self, HeaderValue};
use keyward_protocol::parameters::Parameters;
use keyward_protocol::status_list::MEDIA_TYPE;
use keyward_protocol::{ErrorCode, Refusal};

use super::jwks::cached;
use crate::app::App;
use crate::http::Incoming;
use crate::http::accept::accepts;
use crate::http::json::{self, Failure};
use crate::page::view::ErrorKind;
use crate::status_list;

/// Seconds for which a list may be kept are [`keyward_protocol::status_list::TTL`]; the same for HTTP.
const CACHE_CONTROL: &str = "public, max-age=5";

/// GET `/status-lists/{name}`.
pub async fn handle(State(app): State<Arc<App>>, Path(name): Path<String>, incoming: Incoming) -> Response {
    // §8.1: the form is negotiated by Accept; there is one.
    if !accepts(&incoming.headers, MEDIA_TYPE) {
        let refusal = Refusal::new(ErrorCode::InvalidRequest, "The list is to be had as application/statuslist+jwt.");
        return varied(json::refused(&incoming, StatusCode::NOT_ACCEPTABLE, &refusal));
    }
    let query = incoming.uri.query().unwrap_or_default();
    if Parameters::parse(query).is_ok_and(|query| query.get("time").is_some()) {
        // §8.4: a server that doesn't keep the lists of the past says so.
        let refusal = Refusal::new(ErrorCode::InvalidRequest, "Lists of the past are not kept.");
        return varied(json::refused(&incoming, StatusCode::NOT_IMPLEMENTED, &refusal));
    }
    match status_list::signed(&app, &name).await {
        Ok(Some(list)) => varied(cached(&incoming.headers, list.token.clone(), &list.etag, MEDIA_TYPE, CACHE_CONTROL)),
        Ok(None) => crate::http::page::error_page(&app, &incoming, ErrorKind::NotFound, None),
        Err(fault) => json::answer(&incoming, Err(Failure::Fault(fault))),
    }
}

/// GET `/status-lists`.
pub async fn handle_aggregation(State(app): State<Arc<App>>, incoming: Incoming) -> Response {
    let body = status_list::addresses(&app).await.and_then(|addresses| {
        let document = serde_json::json!({ "status_lists": addresses });
        Ok(Bytes::from(serde_json::to_vec(&document)?))
    });
    match body {
        Ok(body) => {
            let etag = super::provider_metadata::etag(&body);
            cached(&incoming.headers, body, &etag, "application/json", CACHE_CONTROL)
        }
        Err(fault) => json::answer(&incoming, Err(Failure::Fault(fault))),
    }
}

fn varied(mut response: Response) -> Response {
    response.headers_mut().append(header::VARY, HeaderValue::from_static("Accept"));
    response
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_header_states_the_lifetime() {
        assert_eq!(CACHE_CONTROL, format!("public, max-age={}", keyward_protocol::status_list::TTL));
    }
}
