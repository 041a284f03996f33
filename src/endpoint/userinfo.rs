//! Userinfo (OpenID Connect Core §5.3) with a Bearer token (RFC 6750), and whether one of our access tokens is live.

use std::sync::Arc;

use axum::extract::State;
use axum::response::Response;
use http::header::HeaderValue;
use http::Method;
use keyward_guard::{AccessToken, TokenRefusal};
use keyward_protocol::authorization_request::OPENID;
use keyward_protocol::claims::StandardClaims;
use keyward_protocol::scope::ScopeSet;
use keyward_protocol::{ErrorCode, Refusal};

use crate::account::profile;
use crate::app::App;
use crate::fault::Fault;
use crate::http::Incoming;
use crate::http::json::{self, Failure};
use crate::issuer::parse_grant_name;
use crate::store::authorization::LiveGrant;

/// What a token of ours stands for now.
#[derive(Debug)]
pub enum LiveToken {
    /// A client for itself.
    OfClient,
    /// A person's grant.
    OfGrant(Box<LiveGrant>),
    /// Nothing any more.
    Ended,
}

/// Protocol decision 19: a token is accepted only while grant, user and client are live and it wasn't revoked itself.
///
/// # Errors
/// Where the database fails.
pub async fn live(app: &App, token: &AccessToken) -> Result<LiveToken, Fault> {
    if app.client(&token.client_id).await?.is_none() || app.store.is_marked(revocation_mark(app, &token.jti)).await? {
        return Ok(LiveToken::Ended);
    }
    match token.other.get("grant_id").and_then(|name| name.as_str()) {
        None if token.sub == token.client_id => Ok(LiveToken::OfClient),
        None => Ok(LiveToken::Ended),
        Some(name) => {
            let Some(id) = parse_grant_name(name) else { return Ok(LiveToken::Ended) };
            let found = app.store.find_live_grant(id, app.clock.now()).await?;
            Ok(found.map_or(LiveToken::Ended, |live| LiveToken::OfGrant(Box::new(live))))
        }
    }
}

/// The mark that says that an access token was revoked.
pub fn revocation_mark(app: &App, jti: &str) -> [u8; 32] {
    app.secrets.token_hash.hash_list(&[b"revoked access token", jti.as_bytes()])
}

/// GET and POST `/userinfo`.
pub async fn handle(State(app): State<Arc<App>>, incoming: Incoming) -> Response {
    let outcome = respond(&app, &incoming).await;
    json::answer(&incoming, outcome)
}

async fn respond(app: &App, incoming: &Incoming) -> Result<Response, Failure> {
    let token = bearer(incoming)?;
    let token = app.verify_access_token(&token).map_err(|refusal| refused(&refusal))?;
    if let Some(client) = app.client(&token.client_id).await? {
        // The first identification stands.
        let _ = incoming.client.set(client);
    }
    // Protocol decision 16: only tokens whose audience is the issuer itself.
    if !token.aud.iter().any(|audience| audience == app.settings.issuer()) {
        return Err(refused(&TokenRefusal::WrongAudience));
    }
    let LiveToken::OfGrant(live) = live(app, &token).await? else {
        let refusal = Refusal::new(ErrorCode::InvalidToken, "The access token has been revoked.");
        return Err(Failure::Refused { refusal, challenge: challenge(&refusal) });
    };
    let scope = ScopeSet::parse(token.scope.as_str())?;
    // OpenID Connect Core §5.3: for tokens of an OpenID Connect request.
    if !scope.contains(OPENID) {
        return Err(refused(&TokenRefusal::InsufficientScope(OPENID.to_owned())));
    }
    let person: StandardClaims = serde_json::from_str(&live.claims).map_err(Fault::from)?;
    let mut claims = person.released(&scope, live.claims_updated_at);
    let own = [app.settings.issuer().to_owned()];
    let roles = profile::roles_for(app, &live, &scope, &own).await?;
    for (name, values) in [("roles", roles.roles), ("groups", roles.groups), ("permissions", roles.permissions)] {
        if let Some(values) = values {
            claims.insert(name.to_owned(), values.into());
        }
    }
    // OpenID Connect Core §5.3.2: sub is always there.
    claims.insert("sub".to_owned(), live.subject.into());
    json::ok(&claims)
}

/// The token of the request: from the Authorization header, or from the body of a form (RFC 6750 §2.1, §2.2); never from
/// the address (RFC 9700 §4.3.2).
fn bearer(incoming: &Incoming) -> Result<String, Failure> {
    let malformed = || {
        let refusal = Refusal::new(ErrorCode::InvalidRequest, "The Authorization header is not a Bearer token.");
        Failure::Refused { refusal, challenge: challenge(&refusal) }
    };
    let from_body = match &incoming.method {
        &Method::POST if !incoming.body.is_empty() => {
            incoming.form()?.get("access_token").map(str::to_owned)
        }
        _ => None,
    };
    match (incoming.authorization()?, from_body) {
        (Some(_), Some(_)) => {
            let refusal = Refusal::new(ErrorCode::InvalidRequest, "The access token is sent in more than one way.");
            Err(Failure::Refused { refusal, challenge: challenge(&refusal) })
        }
        (Some(header), None) => {
            let (scheme, token) = header.split_once(' ').ok_or_else(malformed)?;
            if !scheme.eq_ignore_ascii_case("bearer") || token.trim().is_empty() {
                return Err(malformed());
            }
            Ok(token.trim().to_owned())
        }
        (None, Some(token)) => Ok(token),
        (None, None) => Err(refused(&TokenRefusal::Missing)),
    }
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
