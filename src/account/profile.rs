//! New users, and what tokens and userinfo say about a person.

use std::collections::BTreeSet;

use keyward_entities::user;
use keyward_protocol::access_token::USER_SUBJECT_PREFIX;
use keyward_protocol::claims::{StandardClaims, scope_of};
use keyward_protocol::claims_request::{self, ClaimRequest, ClaimsRequest};
use keyward_protocol::role::{RoleClaims, role_claims};
use keyward_protocol::scope::ScopeSet;
use serde_json::{Map, Value};
use uuid::Uuid;

use crate::app::App;
use crate::fault::Fault;
use crate::store::DEFAULT_ORGANIZATION;
use crate::store::authorization::LiveGrant;
use crate::store::client::RegisteredClient;
use crate::store::directory::Directory;

/// The row of a new user with this name and login key.
///
/// # Errors
/// Where there is no chance to be had.
pub fn new_user(
    app: &App,
    username: &str,
    login_key: String,
    mut claims: StandardClaims,
    password_hash: Option<String>,
) -> Result<user::Model, Fault> {
    let now = app.clock.now();
    claims.preferred_username.get_or_insert_with(|| username.trim().to_owned());
    Ok(user::Model {
        id: app.random.uuid_v7(now)?,
        organization_id: DEFAULT_ORGANIZATION,
        subject: format!("{USER_SUBJECT_PREFIX}{}", app.random.name()?),
        login_key,
        username: username.trim().to_owned(),
        claims: serde_json::to_string(&claims)?,
        attributes: "{}".to_owned(),
        password_changed_at: password_hash.is_some().then(|| now.micros()),
        password_hash,
        disabled_at: None,
        created_at: now.micros(),
        updated_at: now.micros(),
    })
}

/// A person's roles and groups, read once for all tokens of an answer, and the claims that the grant asks for one by one.
#[derive(Debug, Default)]
pub struct Holder {
    roles: BTreeSet<Uuid>,
    groups: Vec<String>,
    requested: ClaimsRequest,
}

/// Where claims are told.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ToldAt {
    /// OpenID Connect Core §5.3.
    Userinfo,
    /// OpenID Connect Core §2.
    IdToken,
}

impl Holder {
    /// Reads the memberships, but only where a scope or a claim needs them.
    ///
    /// # Errors
    /// Where the database fails or a stored document is damaged.
    pub async fn load(app: &App, live: &LiveGrant, scope: &ScopeSet) -> Result<Self, Fault> {
        let requested = ClaimsRequest::from_stored(live.grant.requested_claims.as_deref()).map_err(Fault::broken)?;
        let asked = requested.userinfo.iter().chain(&requested.id_token).filter_map(|claim| scope_of(&claim.name));
        if !needs_memberships(&app.directory.load(), scope.iter().chain(asked)) {
            return Ok(Self { requested, ..Self::default() });
        }
        Ok(Self { requested, ..Self::of_user(app, live.grant.user_id).await? })
    }

    /// Reads the memberships where one of these scopes is only for holders of certain roles; `None` where anybody may give
    /// them all.
    ///
    /// # Errors
    /// Where the database fails.
    pub async fn for_restricted(app: &App, user: Uuid, scopes: &[&str]) -> Result<Option<Self>, Fault> {
        let restricted = {
            let directory = app.directory.load();
            scopes.iter().any(|name| directory.is_for_roles(name))
        };
        if restricted { Self::of_user(app, user).await.map(Some) } else { Ok(None) }
    }

    async fn of_user(app: &App, user: Uuid) -> Result<Self, Fault> {
        let membership = app.store.membership(user).await?;
        Ok(Self {
            roles: membership.roles.into_iter().collect(),
            groups: membership.groups,
            requested: ClaimsRequest::default(),
        })
    }

    /// Requirement RB-2: whether this person may give a client this scope.
    pub fn may_give(&self, app: &App, scope: &str) -> bool {
        app.directory.load().may_give(&self.roles, scope)
    }

    /// What a token of this scope may carry, where its audience is these clients.
    pub fn claims(&self, app: &App, scope: &ScopeSet, audience_clients: &[Uuid]) -> RoleClaims {
        let directory = app.directory.load();
        role_claims(&directory.roles, &self.roles, &self.groups, scope, audience_clients, |name| {
            directory.scopes.get(name).map_or(&[][..], |scope| &scope.permissions)
        })
    }

    /// OpenID Connect Core §5.5: the claims that the grant asks for one by one at this place, beside those that the scope
    /// gives. Each is a part of a scope that the client may still have and the person may still give.
    ///
    /// # Errors
    /// Where a stored document is damaged.
    pub fn requested_claims(
        &self,
        app: &App,
        client: &RegisteredClient,
        live: &LiveGrant,
        told_at: ToldAt,
    ) -> Result<Map<String, Value>, Fault> {
        let asked: &[ClaimRequest] = match told_at {
            ToldAt::Userinfo => &self.requested.userinfo,
            ToldAt::IdToken => &self.requested.id_token,
        };
        if asked.is_empty() {
            return Ok(Map::new());
        }
        let person: StandardClaims = serde_json::from_str(&live.claims)?;
        let allowed =
            |name: &&str| client.metadata.scope.contains(name) && app.directory.load().may_give(&self.roles, name);
        let value_of = |name: &str| {
            let scope = scope_of(name).filter(allowed)?;
            let role_claims = || {
                let mut one = ScopeSet::default();
                one.insert(scope);
                self.claims(app, &one, &[client.id])
            };
            match name {
                "roles" => role_claims().roles.map(Value::from),
                "groups" => role_claims().groups.map(Value::from),
                "permissions" => role_claims().permissions.map(Value::from),
                name => person.value(name, live.claims_updated_at),
            }
        };
        Ok(claims_request::released(asked, value_of).collect())
    }
}

/// Whether roles and groups matter to any of these scopes: for what the token carries, or for whether it is given at all.
fn needs_memberships<'a>(directory: &Directory, mut scopes: impl Iterator<Item = &'a str>) -> bool {
    scopes.any(|name| {
        matches!(name, "roles" | "groups" | "permissions")
            || directory.scopes.get(name).is_some_and(|scope| !scope.permissions.is_empty() || !scope.roles.is_empty())
    })
}

/// The clients that stand for these audiences.
pub fn audience_clients(app: &App, audience: &[String]) -> Vec<Uuid> {
    let directory = app.directory.load();
    audience.iter().filter_map(|audience| directory.audiences.get(audience).copied()).collect()
}
