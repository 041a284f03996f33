//! Access tokens: what one is like, decided from values, and the JWT (RFC 9068).

use std::sync::Arc;

use keyward_keys::{SigningKey, TokenType};
use keyward_protocol::access_token::{self, AccessTokenClaims, Form, Holder};
use keyward_protocol::client_metadata::AccessTokenFormat;
use keyward_protocol::role::RoleClaims;
use keyward_protocol::scope::ScopeSet;
use keyward_protocol::status_list::{Slot, Status, StatusReference};
use keyward_protocol::{ErrorCode, Refusal, Timestamp, opaque_token};

use crate::app::App;
use crate::fault::Fault;
use crate::status_list;
use crate::store::access_token::{PlannedForm, PlannedToken};
use crate::store::authorization::LiveGrant;
use crate::store::client::RegisteredClient;
use crate::store::directory::Directory;

/// What is drawn before the form is known: only what the client's tokens may need, for most are plain JWTs.
#[derive(Debug)]
pub(super) struct Drawn {
    jti: String,
    opaque: Option<(String, [u8; 32])>,
    slot: Option<Slot>,
}

impl Drawn {
    /// Draws.
    pub(super) async fn draw(
        app: &App,
        directory: &Directory,
        client: &RegisteredClient,
        holder: Holder,
    ) -> Result<Self, Fault> {
        let metadata = &client.metadata;
        // Whichever resources the token turns out to be for: those that the client may name, or the issuer.
        let resources = metadata.resources.iter().map(String::as_str);
        let mut wishes = directory.resource_tokens(resources.chain([app.settings.issuer()]));
        let opaque = match metadata.access_token_format == Some(AccessTokenFormat::Opaque)
            || wishes.clone().any(|wish| wish.access_token_format == Some(AccessTokenFormat::Opaque))
        {
            true => {
                let text = opaque_token::form(&app.random.secret()?);
                let hash = app.secrets.token_hash.hash(text.as_bytes());
                Some((text, hash))
            }
            false => None,
        };
        let listed = metadata.access_token_status_list
            || (holder == Holder::Person && wishes.any(|wish| wish.access_token_status_list));
        let slot = if listed { Some(Box::pin(status_list::next_slot(app)).await?) } else { None };
        Ok(Self { jti: app.random.name()?, opaque, slot })
    }

    /// The text of the opaque token.
    pub(super) fn opaque_text(&self) -> Option<String> {
        self.opaque.as_ref().map(|(text, _)| text.clone())
    }
}

/// Everything that decides what a token is like, as values.
#[derive(Debug)]
pub(super) struct Plan {
    pub(super) issuer: String,
    pub(super) client: Arc<RegisteredClient>,
    pub(super) directory: Arc<Directory>,
    pub(super) drawn: Drawn,
    pub(super) holder: Holder,
    /// The server's, in seconds.
    pub(super) lifetime: u64,
    pub(super) now: Timestamp,
}

impl Plan {
    /// The token of a grant: of what was granted the client gets what it may still have. An operator who takes a scope or
    /// a resource from a client takes it from the next token of every grant.
    pub(super) fn of_grant(
        &self,
        live: &LiveGrant,
        scope: &ScopeSet,
        asked: &[String],
        granted: &[String],
    ) -> Result<PlannedToken, Refusal> {
        let (metadata, directory) = (&self.client.metadata, &self.directory);
        let scope = scope.filter(|name| metadata.scope.contains(name) && directory.scopes.contains_key(name));
        if scope.is_empty() {
            return Err(Refusal::new(ErrorCode::InvalidGrant, "Nothing of what was granted is allowed any more."));
        }
        let wanted = if asked.is_empty() { granted } else { asked };
        let named = !wanted.is_empty();
        let resources: Vec<String> = wanted
            .iter()
            .filter(|&resource| metadata.resources.contains(resource) && directory.audiences.contains_key(resource))
            .cloned()
            .collect();
        if named && resources.is_empty() {
            return Err(Refusal::new(ErrorCode::InvalidTarget, "The granted resources are not allowed any more."));
        }
        self.of(scope, &resources, Some(live.ends_at))
    }

    /// The token of a client for itself.
    pub(super) fn of_client(&self, scope: ScopeSet, resources: &[String]) -> Result<PlannedToken, Refusal> {
        self.of(scope, resources, None)
    }

    /// No token outlives what it rests on, `ends_at`: so no list has to say that time went by.
    fn of(&self, scope: ScopeSet, resources: &[String], ends_at: Option<Timestamp>) -> Result<PlannedToken, Refusal> {
        let metadata = &self.client.metadata;
        let audience = access_token::audience(&self.issuer, metadata, resources, &scope);
        let wishes = self.directory.resource_tokens(audience.iter().map(String::as_str));
        let form = access_token::form(metadata, wishes, self.holder, self.lifetime);
        let lives_until = self.now.plus_seconds(form.lifetime);
        Ok(PlannedToken {
            jti: self.drawn.jti.clone(),
            scope,
            audience,
            issued_at: self.now,
            expires_at: ends_at.map_or(lives_until, |ends_at| ends_at.min(lives_until)),
            form: match (form, &self.drawn.opaque, self.drawn.slot) {
                (Form { format: AccessTokenFormat::Opaque, .. }, Some((_, token_hash)), _) => {
                    PlannedForm::Opaque { token_hash: *token_hash, client_id: self.client.client_id.clone() }
                }
                (Form { format: AccessTokenFormat::Jwt, status_list: true, .. }, _, Some(slot)) => {
                    PlannedForm::ListedJwt(slot)
                }
                (Form { format: AccessTokenFormat::Jwt, status_list: false, .. }, ..) => PlannedForm::Jwt,
                // What was drawn covers all that the client's resources may ask for.
                _ => return Err(Refusal::new(ErrorCode::ServerError, "The form of the token was not foreseen.")),
            },
        })
    }
}

/// What the token of a person's grant says beside.
#[derive(Debug)]
pub(super) struct OfPerson<'a> {
    pub(super) live: &'a LiveGrant,
    pub(super) amr: &'a [String],
    pub(super) roles: &'a RoleClaims,
}

/// The JWT (RFC 9068 §2.2).
pub(super) fn sign(
    app: &App,
    key: &SigningKey,
    client: &RegisteredClient,
    planned: &PlannedToken,
    person: Option<OfPerson<'_>>,
) -> Result<String, Fault> {
    let list = match planned.form {
        PlannedForm::ListedJwt(slot) => Some((slot, status_list::address(app, slot.list()))),
        PlannedForm::Jwt => None,
        PlannedForm::Opaque { .. } => return Err(Fault::broken("an opaque token isn't signed")),
    };
    let person = person.as_ref();
    let grant = person.map(|person| super::grant_name(person.live.grant.id));
    let scope = planned.scope.to_string();
    let claims = AccessTokenClaims {
        iss: app.settings.issuer(),
        sub: person.map_or(&client.client_id, |person| &person.live.subject),
        aud: &planned.audience,
        exp: planned.expires_at.seconds(),
        iat: planned.issued_at.seconds(),
        jti: &planned.jti,
        client_id: &client.client_id,
        scope: &scope,
        grant: grant.as_deref(),
        auth_time: person.map(|person| person.live.grant.auth_time.div_euclid(1_000_000)),
        acr: person.map(|person| person.live.grant.acr.as_str()),
        amr: person.map(|person| person.amr),
        roles: person.and_then(|person| person.roles.roles.as_deref()),
        groups: person.and_then(|person| person.roles.groups.as_deref()),
        permissions: person.and_then(|person| person.roles.permissions.as_deref()),
        status: list.as_ref().map(|(slot, uri)| Status { status_list: StatusReference { idx: slot.index(), uri } }),
    };
    super::sign(key, TokenType::AccessToken, &claims)
}
