//! Making tokens. What an access token is like is decided inside the act that gives it, from a rule and values that were
//! drawn before; it is signed after the commit by a key that was resolved before it. There is one way for the tokens of
//! people's grants and of clients for themselves, and for all forms.

mod access_token;
mod id_token;

use std::sync::Arc;

use base64::{Engine, prelude::BASE64_URL_SAFE_NO_PAD};
use keyward_keys::{Algorithm, KeyState, SigningKey, TokenType};
use keyward_protocol::access_token::Holder;
use keyward_protocol::authorization_request::OPENID;
use keyward_protocol::client_authentication::FAILED;
use keyward_protocol::scope::ScopeSet;
use serde::Serialize;
use uuid::Uuid;

use crate::account::profile::{Holder as Person, ToldAt, audience_clients};
use crate::app::App;
use crate::fault::Fault;
use crate::http::client_authentication::AuthenticatedClient;
use crate::http::json::Failure;
use crate::store::access_token::{PlannedForm, PlannedToken, TokenPlanner};
use crate::store::authorization::LiveGrant;
use crate::store::client::RegisteredClient;

use access_token::{Drawn, Plan};

/// A successful answer of the token endpoint (RFC 6749 §5.1, OpenID Connect Core §3.1.3.3).
#[derive(Debug, Serialize)]
pub struct TokenResponse {
    access_token: String,
    token_type: &'static str,
    expires_in: i64,
    #[serde(skip_serializing_if = "Option::is_none")]
    refresh_token: Option<String>,
    scope: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    id_token: Option<String>,
}

/// Tokens of a person's grant on their way: what must be there before anything is spent, so that a missing key spends
/// nothing.
#[derive(Debug)]
pub struct Issuing {
    client: Arc<RegisteredClient>,
    access_token_key: Arc<SigningKey>,
    id_token_key: Arc<SigningKey>,
    /// The text of the access token, should it be opaque.
    opaque: Option<String>,
}

/// What goes with the access token of a grant.
#[derive(Debug, Default)]
pub struct Beside<'a> {
    /// The nonce, at a code's redemption.
    pub nonce: Option<&'a str>,
    /// The refresh token.
    pub refresh_token: Option<String>,
}

/// The key of this algorithm that signs now.
///
/// # Errors
/// A fault where the server has none; one that passes, where it has one that doesn't sign yet.
pub fn active(app: &App, algorithm: Algorithm) -> Result<Arc<SigningKey>, Fault> {
    let ring = app.key_ring.load();
    ring.active(algorithm).cloned().ok_or_else(|| {
        match ring.keys().any(|(key, state)| key.algorithm() == algorithm && state == KeyState::Next) {
            true => Fault::Unavailable(format!("the key for {algorithm} is published and doesn't sign yet")),
            false => Fault::broken(format_args!("there is no signing key for {algorithm}")),
        }
    })
}

fn access_token_key(app: &App, client: &RegisteredClient) -> Result<Arc<SigningKey>, Fault> {
    active(app, client.metadata.access_token_signed_response_alg.unwrap_or_else(|| app.access_token_algorithm()))
}

/// Seconds that access tokens of this client live at the most.
pub fn access_token_lifetime(app: &App, client: &RegisteredClient) -> u64 {
    client.metadata.access_token_lifetime.unwrap_or(app.settings.tokens.access_token_lifetime.as_secs())
}

impl Issuing {
    /// Resolves keys and draws what chance must give. `asked` are the resources that the request names; none: those of
    /// the grant.
    ///
    /// # Errors
    /// A fault where the server lacks a key or chance, or no place in a status list can be had.
    pub async fn begin(
        app: &App,
        client: &AuthenticatedClient,
        asked: Vec<String>,
    ) -> Result<(Self, TokenPlanner), Fault> {
        let client = client.shared();
        let directory = app.directory.load_full();
        let drawn = Drawn::draw(app, &directory, &client, Holder::Person).await?;
        let issuing = Self {
            access_token_key: access_token_key(app, &client)?,
            id_token_key: active(app, client.metadata.id_token_signed_response_alg)?,
            opaque: drawn.opaque_text(),
            client: Arc::clone(&client),
        };
        let lifetime = app.settings.tokens.access_token_lifetime.as_secs();
        let plan = Plan {
            issuer: app.settings.issuer().to_owned(),
            client,
            directory,
            drawn,
            holder: Holder::Person,
            lifetime,
            now: app.clock.now(),
        };
        let roles = Arc::clone(&plan.directory);
        let planner = TokenPlanner::new(roles, move |live, scope, granted| plan.of_grant(live, scope, &asked, granted));
        Ok((issuing, planner))
    }

    /// The answer with the tokens of a grant, after the commit.
    ///
    /// # Errors
    /// Where a stored document is damaged or the database fails.
    pub async fn finish(
        self,
        app: &App,
        live: &LiveGrant,
        planned: PlannedToken,
        beside: Beside<'_>,
    ) -> Result<TokenResponse, Failure> {
        let amr: Vec<String> = serde_json::from_str(&live.grant.amr).map_err(Fault::from)?;
        let wants_id_token = planned.scope.contains(OPENID);
        let says_roles = !matches!(planned.form, PlannedForm::Opaque { .. });
        let person = match wants_id_token || says_roles {
            true => Person::load(app, live, &planned.scope).await?,
            false => Person::default(),
        };
        let access_token = match self.opaque {
            Some(text) if !says_roles => text,
            _ => {
                let roles = person.claims(app, &planned.scope, &audience_clients(app, &planned.audience));
                let of_person = access_token::OfPerson { live, amr: &amr, roles: &roles };
                access_token::sign(app, &self.access_token_key, &self.client, &planned, Some(of_person))?
            }
        };
        let id_token = match wants_id_token {
            true => {
                let at_hash = self.id_token_key.algorithm().left_half_hash(access_token.as_bytes());
                // The ID token is for the client, and so are the roles in it.
                let roles = person.claims(app, &planned.scope, &[self.client.id]);
                let said = id_token::Said {
                    live,
                    scope: &planned.scope,
                    amr: &amr,
                    roles: &roles,
                    nonce: beside.nonce,
                    at_hash: &at_hash,
                    requested: person.requested_claims(app, &self.client, live, ToldAt::IdToken)?,
                };
                Some(id_token::sign(app, &self.id_token_key, &self.client, said)?)
            }
            false => None,
        };
        Ok(answer(&planned, access_token, beside.refresh_token, id_token))
    }
}

/// The access token of a client for itself (RFC 6749 §4.4): as a JWT one look into memory and one signature, and a write
/// only where the client wants it in a status list.
///
/// # Errors
/// Where there is no chance or key to be had, or what is to be remembered can't be stored; `invalid_client` where the
/// client was deleted or disabled meanwhile.
pub async fn for_client(
    app: &App,
    client: &AuthenticatedClient,
    scope: ScopeSet,
    resources: Vec<String>,
) -> Result<TokenResponse, Failure> {
    let client = client.shared();
    let directory = app.directory.load_full();
    let drawn = Drawn::draw(app, &directory, &client, Holder::Client).await?;
    let opaque = drawn.opaque_text();
    let lifetime = app.settings.tokens.access_token_lifetime.as_secs();
    let plan = Plan {
        issuer: app.settings.issuer().to_owned(),
        client: Arc::clone(&client),
        directory,
        drawn,
        holder: Holder::Client,
        lifetime,
        now: app.clock.now(),
    };
    let planned = plan.of_client(scope, &resources)?;
    let remember = async || match Box::pin(app.store.remember_access_token(planned.clone(), client.id)).await? {
        true => Ok(()),
        false => Err(Failure::from(FAILED)),
    };
    let access_token = match (&planned.form, opaque) {
        (PlannedForm::Opaque { .. }, Some(text)) => {
            remember().await?;
            text
        }
        (form, _) => {
            // First the key: a missing one writes nothing.
            let key = access_token_key(app, &client)?;
            if matches!(form, PlannedForm::ListedJwt(_)) {
                remember().await?;
            }
            access_token::sign(app, &key, &client, &planned, None)?
        }
    };
    Ok(answer(&planned, access_token, None, None))
}

fn answer(
    planned: &PlannedToken,
    access_token: String,
    refresh_token: Option<String>,
    id_token: Option<String>,
) -> TokenResponse {
    TokenResponse {
        access_token,
        token_type: "Bearer",
        expires_in: planned.expires_at.seconds() - planned.issued_at.seconds(),
        refresh_token,
        scope: planned.scope.to_string(),
        id_token,
    }
}

fn sign(key: &SigningKey, kind: TokenType, claims: &impl Serialize) -> Result<String, Fault> {
    Ok(key.sign_jwt(kind, claims)?)
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
