//! WebFinger (RFC 7033) as OpenID Connect Discovery §2 uses it: which issuer answers for a person. The answer is the same
//! for everybody, and so it tells nobody which accounts there are.

use std::sync::Arc;

use axum::extract::State;
use axum::response::Response;
use http::header::{self, HeaderValue};
use keyward_protocol::{ErrorCode, Refusal};

use crate::app::App;
use crate::http::Incoming;
use crate::http::json::{self, Failure};

/// OpenID Connect Discovery §2.
const ISSUER: &str = "http://openid.net/specs/connect/1.0/issuer";

/// GET `/.well-known/webfinger`.
pub async fn handle(State(app): State<Arc<App>>, incoming: Incoming) -> Response {
    let outcome = respond(&app, &incoming);
    json::answer(&incoming, outcome)
}

fn respond(app: &App, incoming: &Incoming) -> Result<Response, Failure> {
    // RFC 7033 §4.1: `rel` may repeat; `resource` comes once. §4.2: a request without it is a bad one.
    let query = incoming.uri.query().unwrap_or_default();
    let pairs: Vec<_> = form_urlencoded::parse(query.as_bytes()).collect();
    let mut resources = pairs.iter().filter(|(name, _)| name == "resource").map(|(_, value)| value);
    let (Some(resource), None) = (resources.next().filter(|value| !value.is_empty()), resources.next()) else {
        return Err(Refusal::new(ErrorCode::InvalidRequest, "There must be one resource.").into());
    };
    // RFC 7033 §4.3: only the relations that were asked for, all where none was.
    let mut relations = pairs.iter().filter(|(name, _)| name == "rel").map(|(_, value)| value).peekable();
    let wanted = relations.peek().is_none() || relations.any(|relation| relation == ISSUER);
    let links =
        if wanted { vec![serde_json::json!({"rel": ISSUER, "href": app.settings.issuer()})] } else { Vec::new() };
    let mut response = json::ok(&serde_json::json!({"subject": resource, "links": links}))?;
    // RFC 7033 §10.2.
    response.headers_mut().insert(header::CONTENT_TYPE, HeaderValue::from_static("application/jrd+json"));
    Ok(response)
}
