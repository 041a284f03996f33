//! Userinfo (OpenID Connect Core §5.3) with a Bearer token (RFC 6750).

use std::sync::Arc;

use axum::extract::State;
use axum::response::{IntoResponse, Response};
use base64::{Engine, prelude::BASE64_URL_SAFE_NO_PAD};
use http::header::{self, HeaderValue};
use http::{Method, StatusCode};
use keyward_guard::TokenRefusal;
use keyward_protocol::authorization_request::OPENID;
use keyward_protocol::claims::StandardClaims;
use keyward_protocol::scope::ScopeSet;
use keyward_protocol::{ErrorCode, Refusal};

use super::access_token::{LiveToken, read};
use crate::account::profile::{Holder, ToldAt};
use crate::app::App;
use crate::fault::Fault;
use crate::http::Incoming;
use crate::http::json::{self, Failure};

/// GET and POST `/userinfo`.
pub async fn handle(State(app): State<Arc<App>>, incoming: Incoming) -> Response {
    let outcome = respond(&app, &incoming).await;
    json::answer(&incoming, outcome)
}

async fn respond(app: &App, incoming: &Incoming) -> Result<Response, Failure> {
    let Some(token) = bearer(incoming)? else {
        // RFC 6750 §3.1: a request without a token gets the challenge and no error code.
        let mut response = StatusCode::UNAUTHORIZED.into_response();
        response.headers_mut().insert(header::WWW_AUTHENTICATE, HeaderValue::from_static("Bearer"));
        return Ok(response);
    };
    // Protocol decision 31: the client's own script may read the error too, and so the client is known before the token
    // is judged. What the unverified claim decides is this alone.
    if let Some(client_id) = unverified_client_id(&token)
        && let Some(client) = app.client(&client_id).await?
    {
        // The first identification stands.
        let _ = incoming.client.set(client);
    }
    let token = read(app, &token).await?.map_err(|refusal| refused(&refusal))?;
    // An opaque token tells its client only now.
    if incoming.client.get().is_none()
        && let Some(client) = app.client(token.client_id()).await?
    {
        let _ = incoming.client.set(client);
    }
    // Protocol decision 16: only tokens whose audience is the issuer itself.
    if !token.audience().iter().any(|audience| audience == app.settings.issuer()) {
        return Err(refused(&TokenRefusal::WrongAudience));
    }
    let LiveToken::OfGrant(live) = token.live(app).await? else {
        let refusal = Refusal::new(ErrorCode::InvalidToken, "The access token has been revoked.");
        return Err(Failure::Refused { refusal, challenge: challenge(&refusal) });
    };
    let scope = ScopeSet::parse(token.scope())?;
    // OpenID Connect Core §5.3: for tokens of an OpenID Connect request.
    if !scope.contains(OPENID) {
        return Err(refused(&TokenRefusal::InsufficientScope(OPENID.to_owned())));
    }
    let person: StandardClaims = serde_json::from_str(&live.claims).map_err(Fault::from)?;
    let holder = Holder::load(app, &live, &scope).await?;
    // Requirement RB-2: what the person may not give any more isn't told any more.
    let scope = scope.filter(|name| holder.may_give(app, name));
    let mut claims = person.released(&scope, live.claims_updated_at);
    let asking = incoming.client.get().map(|client| client.id);
    let roles = holder.claims(app, &scope, asking.as_slice());
    for (name, values) in [("roles", roles.roles), ("groups", roles.groups), ("permissions", roles.permissions)] {
        if let Some(values) = values {
            claims.insert(name.to_owned(), values.into());
        }
    }
    if let Some(client) = incoming.client.get() {
        claims.extend(holder.requested_claims(app, client, &live, ToldAt::Userinfo)?);
    }
    // OpenID Connect Core §5.3.2: sub is always there.
    claims.insert("sub".to_owned(), live.subject.into());
    json::ok(&claims)
}

/// The token of the request: from the Authorization header, or from the body of a form (RFC 6750 §2.1, §2.2); never from
/// the address (RFC 9700 §4.3.2).
fn bearer(incoming: &Incoming) -> Result<Option<String>, Failure> {
    // RFC 6750 §3: every refusal carries a challenge.
    let challenged = |refusal: Refusal| Failure::Refused { refusal, challenge: challenge(&refusal) };
    let malformed =
        || challenged(Refusal::new(ErrorCode::InvalidRequest, "The Authorization header is not a Bearer token."));
    let from_body = match &incoming.method {
        &Method::POST if !incoming.body.is_empty() => {
            let form = incoming.form().map_err(challenged)?;
            // RFC 6750 §3.1: a request that repeats a parameter is malformed.
            form.refuse_repeated().map_err(challenged)?;
            form.get("access_token").map(str::to_owned)
        }
        _ => None,
    };
    match (incoming.authorization().map_err(challenged)?, from_body) {
        (Some(_), Some(_)) => {
            Err(challenged(Refusal::new(ErrorCode::InvalidRequest, "The access token is sent in more than one way.")))
        }
        (Some(header), None) => {
            let (scheme, token) = header.split_once(' ').ok_or_else(malformed)?;
            if !scheme.eq_ignore_ascii_case("bearer") || token.trim().is_empty() {
                return Err(malformed());
            }
            Ok(Some(token.trim().to_owned()))
        }
        (None, token) => Ok(token),
    }
}

/// Which client a token claims to be for.
fn unverified_client_id(token: &str) -> Option<String> {
    if token.len() > 16_384 {
        return None;
    }
    let octets = BASE64_URL_SAFE_NO_PAD.decode(token.split('.').nth(1)?).ok()?;
    let claims: serde_json::Map<String, serde_json::Value> = serde_json::from_slice(&octets).ok()?;
    Some(claims.get("client_id")?.as_str()?.to_owned())
}

/// A refusal of guard's as an answer (RFC 6750 §3).
fn refused(refusal: &TokenRefusal) -> Failure {
    let challenge = refusal.www_authenticate(None).and_then(|text| HeaderValue::from_str(&text).ok());
    let code = match refusal.code() {
        Some("invalid_request") => ErrorCode::InvalidRequest,
        Some("insufficient_scope") => ErrorCode::InsufficientScope,
        _ => ErrorCode::InvalidToken,
    };
    Failure::Refused { refusal: Refusal::new(code, refusal.description()), challenge }
}

fn challenge(refusal: &Refusal) -> Option<HeaderValue> {
    let text = format!("Bearer error=\"{}\", error_description=\"{}\"", refusal.code.as_str(), refusal.description);
    HeaderValue::from_str(&text).ok()
}
