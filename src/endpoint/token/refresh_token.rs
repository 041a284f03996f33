//! The refresh_token grant (RFC 6749 §6, RFC 9700 §4.14.2, protocol decisions 12 to 14).

use keyward_keys::{open_under_token, seal_under_token};
use keyward_protocol::parameters::Parameters;
use keyward_protocol::refresh_rotation::GONE;
use keyward_protocol::refresh_token::{self, Place};
use keyward_protocol::scope::ScopeSet;
use keyward_protocol::{ErrorCode, Refusal};

use super::resources;
use crate::app::App;
use crate::audit::{AuditEvent, AuditKind, AuditOutcome};
use crate::fault::Fault;
use crate::http::Incoming;
use crate::http::client_authentication::AuthenticatedClient;
use crate::http::json::Failure;
use crate::issuer::{Beside, Issuing, TokenResponse};
use crate::store::client::RegisteredClient;
use crate::store::refresh_token::{NewRefreshToken, PresentedRefreshToken, Refresh, Refreshed, Successor};

/// Binds a sealed successor to its use.
const SUCCESSOR: &[u8] = b"refresh token successor";

/// Seconds without use after which a refresh token of this client ends.
pub fn idle_lifetime(app: &App, client: &RegisteredClient) -> u64 {
    client.metadata.refresh_token_idle_lifetime.unwrap_or(app.settings.tokens.refresh_token_idle_lifetime.as_secs())
}

/// Uses a refresh token.
///
/// # Errors
/// `invalid_grant`, `invalid_scope` and the like; a fault where the database fails.
pub async fn refresh(
    app: &App,
    incoming: &Incoming,
    client: &AuthenticatedClient,
    parameters: &Parameters,
) -> Result<TokenResponse, Failure> {
    let presented = parameters.require("refresh_token", super::MISSING_REFRESH_TOKEN)?;
    let presented = refresh_token::parse(presented).ok_or(GONE)?;
    let scope = parameters.get("scope").map(ScopeSet::parse).transpose()?;
    let resources = resources(app, client, parameters)?;
    let (issuing, planner) = Issuing::begin(app, client, resources.clone()).await?;
    let now = app.clock.now();
    let secret = app.random.secret()?;
    let grace = app.settings.tokens.refresh_grace.as_secs();
    let rotates = client.metadata.rotates_refresh_tokens();
    let sealed_successor = if rotates && grace > 0 {
        let nonce = app.random.bytes()?;
        let sealed = seal_under_token(
            &app.secrets.successor_sealing,
            presented.secret.as_bytes(),
            nonce,
            SUCCESSOR,
            secret.as_bytes(),
        );
        Some(sealed.map_err(Fault::broken)?)
    } else {
        None
    };
    let reuse = AuditEvent::new(
        AuditKind::RefreshTokenReused,
        AuditOutcome::Failure,
        format!("client:{}", client.client_id),
        &incoming.origin(),
    )
    .client(client.client_id.clone());
    let successor = NewRefreshToken {
        id: app.random.uuid_v7(now)?,
        token_hash: app.secrets.token_hash.hash(secret.as_bytes()),
        expires_at: now.plus_seconds(idle_lifetime(app, client)),
    };
    let successor_id = successor.id;
    let refresh = Refresh {
        presented: PresentedRefreshToken::of(presented, &app.secrets.token_hash),
        client: client.id,
        scope,
        resources,
        planner,
        rotates,
        grace,
        successor,
        sealed_successor,
        idle_timeout: app.settings.sessions.idle_timeout.as_secs(),
        touch_interval: app.settings.sessions.touch_interval.as_secs(),
        reuse_event: app.audit_record(reuse)?,
    };
    let (live, access_token, refresh_token) = match app.store.rotate_refresh_token(refresh, now).await? {
        Refreshed::Rotated(live, planned) => {
            let place = Place { grant: live.grant.id, token: successor_id };
            (live, planned, Some(refresh_token::form(place, &secret)))
        }
        Refreshed::Kept(live, planned) => (live, planned, None),
        Refreshed::Repeated(live, planned, Successor { place, sealed_secret }) => {
            let key = &app.secrets.successor_sealing;
            let secret = open_under_token(key, presented.secret.as_bytes(), SUCCESSOR, &sealed_secret)
                .map_err(|_| Fault::broken("a sealed successor can't be opened"))?;
            let secret = String::from_utf8(secret).map_err(Fault::broken)?;
            let token = match place {
                Some(place) => refresh_token::form(place, &secret),
                None => secret,
            };
            (live, planned, Some(token))
        }
        Refreshed::Reused => {
            tracing::warn!(client.id = %client.client_id, "a refresh token was used after its rotation; its family has ended");
            return Err(Refusal::new(
                ErrorCode::InvalidGrant,
                "The refresh token was used before. All tokens of this authorization have been revoked.",
            )
            .into());
        }
        Refreshed::Refused(refusal) => return Err(refusal.into()),
    };
    issuing.finish(app, &live, access_token, Beside { nonce: None, refresh_token }).await
}
