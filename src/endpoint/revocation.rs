//! Token revocation (RFC 7009).

use std::sync::Arc;

use axum::body::Body;
use axum::extract::State;
use axum::response::{IntoResponse, Response};
use http::StatusCode;
use keyward_protocol::{Timestamp, refresh_token};

use super::access_token::{PresentedToken, is_access_token, read, revocation_mark};
use crate::app::App;
use crate::audit::{AuditEvent, AuditKind, AuditOutcome};
use crate::http::Incoming;
use crate::http::client_authentication::authenticate;
use crate::http::json::{self, Failure};
use crate::status_list;
use crate::store::refresh_token::PresentedRefreshToken;

/// POST `/revoke`.
pub async fn handle(State(app): State<Arc<App>>, incoming: Incoming) -> Response {
    let outcome = respond(&app, &incoming).await;
    json::answer(&incoming, outcome)
}

async fn respond(app: &App, incoming: &Incoming) -> Result<Response, Failure> {
    let parameters = incoming.form()?;
    parameters.refuse_repeated()?;
    let client = authenticate(app, incoming, &parameters, &app.settings.endpoint("/revoke")).await?;
    let token = parameters.require("token", "The token is missing.")?;
    let now = app.clock.now();
    let event = AuditEvent::new(
        AuditKind::TokenRevoked,
        AuditOutcome::Success,
        format!("client:{}", client.client_id),
        &incoming.origin(),
    )
    .client(client.client_id.clone());
    // RFC 7009 §2.1: the hint may be ignored where the server can tell the tokens apart.
    if is_access_token(token) {
        // RFC 7009 §2.1: only a token of the client itself; a foreign, broken or expired one changes nothing.
        if let Ok(presented) = read(app, token).await?
            && presented.client_id() == client.client_id
        {
            let event = event.detail("token_type", "access_token");
            match presented {
                PresentedToken::Jwt(token) => {
                    let expires = i64::try_from(token.exp).unwrap_or(i64::MAX);
                    let mark = revocation_mark(app, &token.jti);
                    let slot = status_list::slot_of(app, &token).await?;
                    let event = app.audit_record(event.subject(token.sub.clone()))?;
                    app.store.revoke_access_token(mark, Timestamp::from_seconds(expires), slot, event).await?;
                }
                PresentedToken::Opaque { row, .. } => {
                    let event = app.audit_record(event.detail("jti", row.jti))?;
                    let hash = app.secrets.token_hash.hash(token.as_bytes());
                    app.store.forget_opaque_token(hash, event).await?;
                }
            }
        }
    } else if let Some(presented) = refresh_token::parse(token) {
        let presented = PresentedRefreshToken::of(presented, &app.secrets.token_hash);
        let idle = app.settings.sessions.idle_timeout.as_secs();
        if let Some(found) = app.store.find_refresh_token(presented, idle, now).await?
            && found.live.grant.client == client.id
        {
            let event = event.subject(found.live.subject).detail("token_type", "refresh_token");
            // RFC 7009 §2.1: the access tokens of the same grant go with it.
            app.store.end_grant(found.live.grant.id, "revoked", now, app.audit_record(event)?).await?;
        }
    }
    // RFC 7009 §2.2: 200 for a token that isn't known, too.
    Ok((StatusCode::OK, Body::empty()).into_response())
}
