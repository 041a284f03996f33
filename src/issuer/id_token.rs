//! ID tokens (OpenID Connect Core §2).

use keyward_keys::{SigningKey, TokenType};
use keyward_protocol::claims::StandardClaims;
use keyward_protocol::id_token::IdTokenClaims;
use keyward_protocol::role::RoleClaims;
use keyward_protocol::scope::ScopeSet;
use serde_json::{Map, Value};

use crate::app::App;
use crate::fault::Fault;
use crate::store::authorization::LiveGrant;
use crate::store::client::RegisteredClient;

/// What it says.
#[derive(Debug)]
pub(super) struct Said<'a> {
    pub(super) live: &'a LiveGrant,
    pub(super) scope: &'a ScopeSet,
    pub(super) amr: &'a [String],
    pub(super) roles: &'a RoleClaims,
    pub(super) nonce: Option<&'a str>,
    pub(super) at_hash: &'a str,
    /// The claims that were asked for one by one.
    pub(super) requested: Map<String, Value>,
}

/// The signed token.
pub(super) fn sign(app: &App, key: &SigningKey, client: &RegisteredClient, said: Said<'_>) -> Result<String, Fault> {
    let Said { live, scope, amr, roles, nonce, at_hash, requested } = said;
    let now = app.clock.now();
    let sid = live.session_public_id.as_deref().map(|session| app.secrets.sid(session, &client.client_id));
    let mut person = if client.metadata.id_token_scope_claims {
        let claims: StandardClaims = serde_json::from_str(&live.claims)?;
        claims.released(scope, live.claims_updated_at)
    } else {
        Map::new()
    };
    person.extend(requested);
    // Those that the scope gives have their places already.
    person.retain(|name, _| !(matches!(name.as_str(), "roles" | "groups") && scope.contains(name)));
    let claims = IdTokenClaims {
        iss: app.settings.issuer(),
        sub: &live.subject,
        aud: &client.client_id,
        exp: now.plus_seconds(app.settings.tokens.id_token_lifetime.as_secs()).seconds(),
        iat: now.seconds(),
        auth_time: live.grant.auth_time.div_euclid(1_000_000),
        nonce,
        acr: &live.grant.acr,
        amr,
        azp: &client.client_id,
        at_hash,
        sid: sid.as_deref(),
        roles: roles.roles.as_deref(),
        groups: roles.groups.as_deref(),
        person,
    };
    super::sign(key, TokenType::IdToken, &claims)
}
