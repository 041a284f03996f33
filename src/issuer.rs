//! Making tokens: claims from a live grant or a client, signed after the commit by a key resolved before it.

use std::sync::Arc;

use base64::{Engine, prelude::BASE64_URL_SAFE_NO_PAD};
use keyward_keys::{Algorithm, SigningKey, TokenType};
use keyward_protocol::access_token::{self, AccessTokenClaims};
use keyward_protocol::authorization_request::OPENID;
use keyward_protocol::claims::StandardClaims;
use keyward_protocol::id_token::IdTokenClaims;
use keyward_protocol::scope::ScopeSet;
use keyward_protocol::{ErrorCode, Refusal};
use serde::Serialize;
use serde_json::Map;
use uuid::Uuid;

use crate::account::profile::{Holder, audience_clients};
use crate::app::App;
use crate::fault::Fault;
use crate::http::json::Failure;
use crate::store::authorization::LiveGrant;
use crate::store::client::RegisteredClient;

/// A successful answer of the token endpoint (RFC 6749 §5.1, OpenID Connect Core §3.1.3.3).
#[derive(Debug, Serialize)]
pub struct TokenResponse {
    access_token: String,
    token_type: &'static str,
    expires_in: u64,
    #[serde(skip_serializing_if = "Option::is_none")]
    refresh_token: Option<String>,
    scope: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    id_token: Option<String>,
}

/// The keys that an answer will be signed with, resolved before anything is spent: a missing key spends nothing.
#[derive(Debug)]
pub struct Signers {
    access_token: Arc<SigningKey>,
    id_token: Arc<SigningKey>,
}

/// What the tokens of a person's grant are made from.
#[derive(Debug)]
pub struct GrantedTokens<'a> {
    /// The client.
    pub client: &'a RegisteredClient,
    /// The grant.
    pub live: &'a LiveGrant,
    /// The scope of this access token.
    pub scope: &'a ScopeSet,
    /// The resources of this access token; empty: those of the grant.
    pub resources: Vec<String>,
    /// The nonce, at a code's redemption.
    pub nonce: Option<&'a str>,
    /// The refresh token that goes with them.
    pub refresh_token: Option<String>,
}

impl Signers {
    /// The keys for this client's tokens.
    ///
    /// # Errors
    /// A fault where the server has no key of the algorithm.
    pub fn for_client(app: &App, client: &RegisteredClient) -> Result<Self, Fault> {
        let id_token = active(app, client.metadata.id_token_signed_response_alg)?;
        Ok(Self { access_token: access_token_signer(app, client)?, id_token })
    }
}

/// The key for a client's access tokens, where no ID token goes with them.
///
/// # Errors
/// A fault where the server has no key of the algorithm.
pub fn access_token_signer(app: &App, client: &RegisteredClient) -> Result<Arc<SigningKey>, Fault> {
    active(app, client.metadata.access_token_signed_response_alg.unwrap_or(app.access_token_algorithm))
}

fn active(app: &App, algorithm: Algorithm) -> Result<Arc<SigningKey>, Fault> {
    app.key_ring
        .load()
        .active(algorithm)
        .cloned()
        .ok_or_else(|| Fault::broken(format_args!("there is no signing key for {}", algorithm.as_str())))
}

/// Seconds that access tokens of this client live.
pub fn access_token_lifetime(app: &App, client: &RegisteredClient) -> u64 {
    client.metadata.access_token_lifetime.unwrap_or(app.settings.tokens.access_token_lifetime.as_secs())
}

/// What of a grant the client may still have: an operator who takes a scope or a resource from a client takes it from the
/// next token of every grant.
fn still_allowed(
    app: &App,
    client: &RegisteredClient,
    live: &LiveGrant,
    scope: &ScopeSet,
    asked: Vec<String>,
) -> Result<(ScopeSet, Vec<String>), Failure> {
    let directory = app.directory.load();
    let scope = scope.filter(|name| client.metadata.scope.contains(name) && directory.scopes.contains_key(name));
    if scope.is_empty() {
        return Err(Refusal::new(ErrorCode::InvalidGrant, "Nothing of what was granted is allowed any more.").into());
    }
    let granted: Vec<String> =
        if asked.is_empty() { serde_json::from_str(&live.grant.resources).map_err(Fault::from)? } else { asked };
    let named = !granted.is_empty();
    let resources: Vec<String> = granted
        .into_iter()
        .filter(|resource| client.metadata.resources.contains(resource) && directory.audiences.contains_key(resource))
        .collect();
    if named && resources.is_empty() {
        return Err(Refusal::new(ErrorCode::InvalidTarget, "The granted resources are not allowed any more.").into());
    }
    Ok((scope, resources))
}

/// The tokens of a person's grant.
///
/// # Errors
/// Where nothing of the grant is allowed any more, a stored document is damaged or the database fails.
pub async fn for_grant(app: &App, signers: &Signers, tokens: GrantedTokens<'_>) -> Result<TokenResponse, Failure> {
    let GrantedTokens { client, live, scope, resources, nonce, refresh_token } = tokens;
    let now = app.clock.now();
    let grant = &live.grant;
    let amr: Vec<String> = serde_json::from_str(&grant.amr).map_err(Fault::from)?;
    let (scope, resources) = still_allowed(app, client, live, scope, resources)?;
    let scope = &scope;
    let audience = access_token::audience(app.settings.issuer(), &client.metadata, &resources, scope);
    let holder = Holder::load(app, live, scope).await?;
    let roles = holder.claims(app, scope, &audience_clients(app, &audience));
    let lifetime = access_token_lifetime(app, client);
    let scope_text = scope.to_string();
    let grant_name = grant_name(grant.id);
    let auth_time = grant.auth_time.div_euclid(1_000_000);
    let access_token = sign(
        &signers.access_token,
        TokenType::AccessToken,
        &AccessTokenClaims {
            iss: app.settings.issuer(),
            sub: &live.subject,
            aud: &audience,
            exp: now.plus_seconds(lifetime).seconds(),
            iat: now.seconds(),
            jti: &app.random.name()?,
            client_id: &client.client_id,
            scope: &scope_text,
            grant: Some(&grant_name),
            auth_time: Some(auth_time),
            acr: Some(&grant.acr),
            amr: Some(&amr),
            roles: roles.roles.as_deref(),
            groups: roles.groups.as_deref(),
            permissions: roles.permissions.as_deref(),
        },
    )?;
    let id_token = if scope.contains(OPENID) {
        let at_hash = signers.id_token.algorithm().left_half_hash(access_token.as_bytes());
        let sid = live.session_public_id.as_deref().map(|session| app.secrets.sid(session, &client.client_id));
        // The ID token is for the client, and so are the roles in it.
        let roles = holder.claims(app, scope, &[client.id]);
        let person = if client.metadata.id_token_scope_claims {
            let claims: StandardClaims = serde_json::from_str(&live.claims).map_err(Fault::from)?;
            claims.released(scope, live.claims_updated_at)
        } else {
            Map::new()
        };
        Some(sign(
            &signers.id_token,
            TokenType::IdToken,
            &IdTokenClaims {
                iss: app.settings.issuer(),
                sub: &live.subject,
                aud: &client.client_id,
                exp: now.plus_seconds(app.settings.tokens.id_token_lifetime.as_secs()).seconds(),
                iat: now.seconds(),
                auth_time,
                nonce,
                acr: &grant.acr,
                amr: &amr,
                azp: &client.client_id,
                at_hash: &at_hash,
                sid: sid.as_deref(),
                roles: roles.roles.as_deref(),
                groups: roles.groups.as_deref(),
                person,
            },
        )?)
    } else {
        None
    };
    Ok(TokenResponse {
        access_token,
        token_type: "Bearer",
        expires_in: lifetime,
        refresh_token,
        scope: scope_text,
        id_token,
    })
}

fn sign(key: &SigningKey, kind: TokenType, claims: &impl Serialize) -> Result<String, Fault> {
    Ok(key.sign_jwt(kind, claims)?)
}

/// The access token of a client for itself (RFC 6749 §4.4): one look into memory, one signature.
///
/// # Errors
/// Where there is no chance or key to be had.
pub fn for_client(
    app: &App,
    signer: &SigningKey,
    client: &RegisteredClient,
    scope: &ScopeSet,
    resources: &[String],
) -> Result<TokenResponse, Fault> {
    let now = app.clock.now();
    let lifetime = access_token_lifetime(app, client);
    let audience = access_token::audience(app.settings.issuer(), &client.metadata, resources, scope);
    let scope_text = scope.to_string();
    let access_token = signer.sign_jwt(
        TokenType::AccessToken,
        &AccessTokenClaims {
            iss: app.settings.issuer(),
            sub: &client.client_id,
            aud: &audience,
            exp: now.plus_seconds(lifetime).seconds(),
            iat: now.seconds(),
            jti: &app.random.name()?,
            client_id: &client.client_id,
            scope: &scope_text,
            grant: None,
            auth_time: None,
            acr: None,
            amr: None,
            roles: None,
            groups: None,
            permissions: None,
        },
    )?;
    Ok(TokenResponse {
        access_token,
        token_type: "Bearer",
        expires_in: lifetime,
        refresh_token: None,
        scope: scope_text,
        id_token: None,
    })
}

/// A grant's name in tokens.
pub fn grant_name(id: Uuid) -> String {
    BASE64_URL_SAFE_NO_PAD.encode(id.as_bytes())
}

/// The grant of this name.
pub fn parse_grant_name(name: &str) -> Option<Uuid> {
    let octets: [u8; 16] = BASE64_URL_SAFE_NO_PAD.decode(name).ok()?.try_into().ok()?;
    Some(Uuid::from_bytes(octets))
}
