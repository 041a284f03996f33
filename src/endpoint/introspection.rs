//! Token introspection (RFC 7662) for access and refresh tokens. Left out: signed answers (RFC 9701).

use std::sync::Arc;

use axum::extract::State;
use axum::response::Response;
use keyward_guard::AccessToken;
use keyward_protocol::client_metadata::ClientType;
use keyward_protocol::parameters::Parameters;
use keyward_protocol::{client_authentication, introspection};
use serde::Serialize;

use super::userinfo::{LiveToken, live};
use crate::app::App;
use crate::http::Incoming;
use crate::http::client_authentication::{AuthenticatedClient, authenticate};
use crate::http::json::{self, Failure};

/// RFC 7662 §2.2.
#[derive(Debug, Default, Serialize)]
struct Introspected<'a> {
    active: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    scope: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    client_id: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    token_type: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    exp: Option<i64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    iat: Option<i64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    sub: Option<&'a str>,
    #[serde(skip_serializing_if = "<[String]>::is_empty")]
    aud: &'a [String],
    #[serde(skip_serializing_if = "Option::is_none")]
    iss: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    jti: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    auth_time: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    acr: Option<&'a str>,
    #[serde(skip_serializing_if = "<[String]>::is_empty")]
    amr: &'a [String],
    #[serde(skip_serializing_if = "<[String]>::is_empty")]
    roles: &'a [String],
    #[serde(skip_serializing_if = "<[String]>::is_empty")]
    groups: &'a [String],
    #[serde(skip_serializing_if = "<[String]>::is_empty")]
    permissions: &'a [String],
}

/// POST `/introspect`.
pub async fn handle(State(app): State<Arc<App>>, incoming: Incoming) -> Response {
    let outcome = respond(&app, &incoming).await;
    json::answer(&incoming, outcome)
}

async fn respond(app: &App, incoming: &Incoming) -> Result<Response, Failure> {
    let parameters = incoming.form()?;
    parameters.refuse_repeated()?;
    let caller = authenticate(app, incoming, &parameters, &app.settings.endpoint("/introspect")).await?;
    // RFC 7662 §2.1: the endpoint is protected; a public client proves nothing.
    if caller.metadata.client_type == ClientType::Public {
        return Err(client_authentication::FAILED.into());
    }
    let token = parameters.require("token", "The token is missing.")?;
    // RFC 7662 §2.1: the hint is only a hint. Our access tokens have two dots, and our refresh tokens none.
    if token.contains('.') {
        access_token(app, &caller, token).await
    } else {
        refresh_token(app, &caller, &parameters).await
    }
}

async fn access_token(app: &App, caller: &AuthenticatedClient, token: &str) -> Result<Response, Failure> {
    let Ok(token) = app.verify_access_token(token) else { return inactive() };
    if !introspection::may_see_access_token(&caller.metadata, &caller.client_id, &token.client_id, &token.aud) {
        return inactive();
    }
    match live(app, &token).await? {
        LiveToken::Ended => inactive(),
        LiveToken::OfClient | LiveToken::OfGrant(_) => json::ok(&describe(&token)),
    }
}

fn describe(token: &AccessToken) -> Introspected<'_> {
    Introspected {
        active: true,
        scope: Some(token.scope.as_str()),
        client_id: Some(&token.client_id),
        token_type: Some("Bearer"),
        exp: i64::try_from(token.exp).ok(),
        iat: i64::try_from(token.iat).ok(),
        sub: Some(&token.sub),
        aud: &token.aud,
        iss: Some(&token.iss),
        jti: Some(&token.jti),
        auth_time: token.auth_time,
        acr: token.acr.as_deref(),
        amr: &token.amr,
        roles: &token.roles,
        groups: &token.groups,
        permissions: &token.permissions,
    }
}

async fn refresh_token(app: &App, caller: &AuthenticatedClient, parameters: &Parameters) -> Result<Response, Failure> {
    let now = app.clock.now();
    let hash = app.secrets.token_hash.hash(parameters.get("token").unwrap_or_default().as_bytes());
    let idle = app.settings.sessions.idle_timeout.as_secs();
    let Some(found) = app.store.find_refresh_token(&hash, idle, now).await? else { return inactive() };
    let Some(client) = app.store.find_client_by_id(found.live.grant.client).await? else { return inactive() };
    if !introspection::may_see_refresh_token(&caller.client_id, &client.client_id) {
        return inactive();
    }
    if !found.stands || found.token.spent_at.is_some() || now.micros() >= found.token.expires_at {
        return inactive();
    }
    json::ok(&Introspected {
        active: true,
        scope: Some(&found.live.grant.scope),
        client_id: Some(&client.client_id),
        exp: Some(found.token.expires_at.min(found.live.grant.expires_at).div_euclid(1_000_000)),
        iat: Some(found.token.issued_at.div_euclid(1_000_000)),
        sub: Some(&found.live.subject),
        iss: Some(app.settings.issuer()),
        ..Introspected::default()
    })
}

/// RFC 7662 §2.2: nothing else is said of a token that isn't active, or isn't the caller's to see.
fn inactive() -> Result<Response, Failure> {
    json::ok(&Introspected::default())
}
