//! The authorization_code grant (RFC 6749 §4.1.3, RFC 7636 §4.6, OpenID Connect Core §3.1.3).

use keyward_protocol::client_metadata::GrantType;
use keyward_protocol::parameters::Parameters;
use keyward_protocol::refresh_token::{self, Place};
use keyward_protocol::{ErrorCode, Refusal, authorization_code, code_redemption};

use super::resources;
use crate::app::App;
use crate::audit::{AuditEvent, AuditKind, AuditOutcome};
use crate::http::Incoming;
use crate::http::client_authentication::AuthenticatedClient;
use crate::http::json::Failure;
use crate::issuer::{self, Beside, Issuing, TokenResponse};
use crate::store::authorization::{PresentedCode, Redeemed, Redemption};
use crate::store::refresh_token::NewRefreshToken;

/// Redeems a code.
///
/// # Errors
/// `invalid_grant` and the like; a fault where the database fails.
pub async fn redeem(
    app: &App,
    incoming: &Incoming,
    client: &AuthenticatedClient,
    parameters: &Parameters,
) -> Result<TokenResponse, Failure> {
    let code = parameters.require("code", super::MISSING_CODE)?;
    let presented = authorization_code::parse(code).ok_or(code_redemption::UNKNOWN)?;
    let resources = resources(app, client, parameters)?;
    let (issuing, planner) = Issuing::begin(app, client, resources.clone()).await?;
    let now = app.clock.now();
    let tokens = &app.settings.tokens;
    // Protocol decision 12: a refresh token if and only if the client has the grant.
    let secret = match client.metadata.has_grant(GrantType::RefreshToken) {
        true => Some(app.random.secret()?),
        false => None,
    };
    let absolute =
        client.metadata.refresh_token_absolute_lifetime.unwrap_or(tokens.refresh_token_absolute_lifetime.as_secs());
    let refresh_token = match &secret {
        None => None,
        Some(secret) => Some(NewRefreshToken {
            id: app.random.uuid_v7(now)?,
            token_hash: app.secrets.token_hash.hash(secret.as_bytes()),
            expires_at: now.plus_seconds(super::refresh_token::idle_lifetime(app, client).min(absolute)),
        }),
    };
    let refresh_id = refresh_token.as_ref().map(|token| token.id);
    // Without a refresh token the grant is over when its access token is.
    let lifetime = if secret.is_some() { absolute } else { issuer::access_token_lifetime(app, client) };
    let replay = AuditEvent::new(
        AuditKind::CodeReplayed,
        AuditOutcome::Failure,
        format!("client:{}", client.client_id),
        &incoming.origin(),
    )
    .client(client.client_id.clone());
    let redemption = Redemption {
        presented: PresentedCode::of(presented, &app.secrets.token_hash),
        client: client.id,
        redirect_uri: parameters.get("redirect_uri").map(str::to_owned),
        verifier: parameters.get("code_verifier").map(str::to_owned),
        resources,
        refresh_token,
        grant_expires_at: now.plus_seconds(lifetime),
        planner,
        idle_timeout: app.settings.sessions.idle_timeout.as_secs(),
        replay_event: app.audit_record(replay)?,
    };
    match app.store.redeem_code(redemption, now).await? {
        Redeemed::Granted { live, access_token, nonce } => {
            let refresh_token = secret
                .zip(refresh_id)
                .map(|(secret, token)| refresh_token::form(Place { grant: live.grant.id, token }, &secret));
            let beside = Beside { nonce: nonce.as_deref(), refresh_token };
            issuing.finish(app, &live, access_token, beside).await
        }
        Redeemed::Replayed => {
            tracing::warn!(client.id = %client.client_id, "an authorization code was used twice; what it gave has ended");
            Err(Refusal::new(
                ErrorCode::InvalidGrant,
                "The code was used before. The tokens that it gave have been revoked.",
            )
            .into())
        }
        Redeemed::Refused(refusal) => Err(refusal.into()),
    }
}
