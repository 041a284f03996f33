//! New users, and what tokens and userinfo say about a person.

use std::collections::BTreeSet;

use keyward_entities::user;
use keyward_protocol::access_token::USER_SUBJECT_PREFIX;
use keyward_protocol::claims::StandardClaims;
use keyward_protocol::role::{RoleClaims, role_claims};
use keyward_protocol::scope::ScopeSet;
use uuid::Uuid;

use crate::app::App;
use crate::fault::Fault;
use crate::store::DEFAULT_ORGANIZATION;
use crate::store::authorization::LiveGrant;

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

/// A person's roles and groups, read once for all tokens of an answer.
#[derive(Debug, Default)]
pub struct Holder {
    roles: BTreeSet<Uuid>,
    groups: Vec<String>,
}

impl Holder {
    /// Reads the memberships, but only where a scope needs them.
    ///
    /// # Errors
    /// Where the database fails.
    pub async fn load(app: &App, live: &LiveGrant, scope: &ScopeSet) -> Result<Self, Fault> {
        let needed = {
            let directory = app.directory.load();
            scope.iter().any(|name| {
                matches!(name, "roles" | "groups" | "permissions")
                    || directory.scopes.get(name).is_some_and(|scope| !scope.permissions.is_empty())
            })
        };
        if !needed {
            return Ok(Self::default());
        }
        let membership = app.store.membership(live.grant.user_id).await?;
        Ok(Self { roles: membership.roles.into_iter().collect(), groups: membership.groups })
    }

    /// What a token of this scope may carry, where its audience is these clients.
    pub fn claims(&self, app: &App, scope: &ScopeSet, audience_clients: &[Uuid]) -> RoleClaims {
        let directory = app.directory.load();
        role_claims(&directory.roles, &self.roles, &self.groups, scope, audience_clients, |name| {
            directory.scopes.get(name).map_or(&[][..], |scope| &scope.permissions)
        })
    }
}

/// The clients that stand for these audiences.
pub fn audience_clients(app: &App, audience: &[String]) -> Vec<Uuid> {
    let directory = app.directory.load();
    audience.iter().filter_map(|audience| directory.audiences.get(audience).copied()).collect()
}
