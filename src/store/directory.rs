//! What every token needs and seldom changes: roles, scopes, audiences. Read whole, kept by the caller, and read again
//! when the version has changed; and the small facts about this installation, of which the version is one.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use keyward_entities::{client, client_audience, role as role_row, role_inclusion, scope, server_fact};
use keyward_protocol::client_metadata::{ClientMetadata, ResourceTokens};
use keyward_protocol::role::{self, Role, RoleGraph};
use sea_orm::sea_query::{Expr, ExprTrait, OnConflict, Query};
use sea_orm::{ColumnTrait, DbBackend, EntityTrait, QueryFilter, QuerySelect, Statement};
use uuid::Uuid;

use super::notice::CHANGES;
use super::{Act, Store};
use crate::fault::Fault;

/// The fact that counts changes of clients, scopes, roles and keys.
const VERSION: &str = "directory_version";

/// A scope that can be granted.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct KnownScope {
    /// For the consent page; empty for those whose text is the server's own.
    pub title: String,
    /// For the consent page.
    pub description: String,
    /// The permissions that tokens of this scope may carry.
    pub permissions: Vec<String>,
    /// The roles of which a person must have one to give it; empty: anybody may.
    pub roles: Vec<Uuid>,
}

/// Roles, scopes and audiences at one moment.
#[derive(Debug, Default)]
pub struct Directory {
    /// Every role.
    pub roles: RoleGraph,
    /// Every scope, by name.
    pub scopes: BTreeMap<String, KnownScope>,
    /// Which client stands for which audience.
    pub audiences: HashMap<String, Uuid>,
    /// What resource servers want of tokens for them, where they want anything.
    pub resource_tokens: HashMap<Uuid, ResourceTokens>,
}

impl Directory {
    /// What those who stand for these audiences want of tokens for them.
    pub fn resource_tokens<'a, I>(&'a self, audience: I) -> impl Iterator<Item = &'a ResourceTokens> + Clone
    where
        I: Iterator<Item = &'a str> + Clone,
    {
        audience.filter_map(|name| self.resource_tokens.get(self.audiences.get(name)?))
    }

    /// Title and description that the operator gave a scope; none for those whose words are the server's own.
    pub fn words_of_scope(&self, name: &str) -> Option<(&str, &str)> {
        let scope = self.scopes.get(name).filter(|scope| !scope.title.is_empty())?;
        Some((&scope.title, &scope.description))
    }

    /// Whether only holders of certain roles may give this scope.
    pub fn is_for_roles(&self, name: &str) -> bool {
        self.scopes.get(name).is_some_and(|scope| !scope.roles.is_empty())
    }

    /// Requirement RB-2: whether a person with these roles, and those that they include, may give this scope.
    pub fn may_give(&self, held: &BTreeSet<Uuid>, name: &str) -> bool {
        let Some(scope) = self.scopes.get(name) else { return false };
        scope.roles.is_empty() || {
            let reached = role::closure(&self.roles, held.iter().copied());
            scope.roles.iter().any(|role| reached.contains(role))
        }
    }
}

impl Store {
    /// The number that every change of clients, scopes, roles and keys raises.
    ///
    /// # Errors
    /// Where the database fails.
    pub async fn directory_version(&self) -> Result<i64, Fault> {
        let fact = self.fact(VERSION).await?;
        Ok(fact.and_then(|value| value.parse().ok()).unwrap_or_default())
    }

    /// Roles, scopes and audiences.
    ///
    /// # Errors
    /// Where the database fails.
    pub async fn directory(&self) -> Result<Directory, Fault> {
        self.read_for_upkeep(|mut act| {
            Box::pin(async move {
                let mut directory = Directory::default();
                for row in act.all(role_row::Entity::find()).await? {
                    let role = Role {
                        name: row.name,
                        client: row.client,
                        includes: Vec::new(),
                        permissions: serde_json::from_str(&row.permissions)?,
                    };
                    directory.roles.insert(row.id, role);
                }
                for row in act.all(role_inclusion::Entity::find()).await? {
                    if let Some(role) = directory.roles.get_mut(&row.role_id) {
                        role.includes.push(row.included_role_id);
                    }
                }
                for row in act.all(scope::Entity::find()).await? {
                    let permissions = serde_json::from_str(&row.permissions)?;
                    let roles = serde_json::from_str(&row.role_ids)?;
                    let known = KnownScope { title: row.title, description: row.description, permissions, roles };
                    directory.scopes.insert(row.name, known);
                }
                for row in act.all(client_audience::Entity::find()).await? {
                    directory.audiences.insert(row.audience, row.client);
                }
                let standing =
                    Query::select().column(client_audience::Column::Client).from(client_audience::Entity).take();
                for row in act.all(client::Entity::find().filter(client::Column::Id.in_subquery(standing))).await? {
                    let metadata = ClientMetadata::from_stored(&row.metadata)?;
                    if metadata.resource_tokens != ResourceTokens::default() {
                        directory.resource_tokens.insert(row.id, metadata.resource_tokens);
                    }
                }
                Ok(directory)
            })
        })
        .await
    }

    /// A fact about this installation.
    ///
    /// # Errors
    /// Where the database fails.
    pub async fn fact(&self, name: &'static str) -> Result<Option<String>, Fault> {
        let select = server_fact::Entity::find().filter(server_fact::Column::Name.eq(name));
        let found = self.read_for_upkeep(move |mut act| Box::pin(async move { act.one(select).await })).await?;
        Ok(found.map(|fact| fact.value))
    }

    /// Records a fact unless it is known, and gives what is known afterwards.
    ///
    /// # Errors
    /// Where the database fails.
    pub async fn keep_fact(&self, name: &'static str, value: String) -> Result<String, Fault> {
        self.act(move |mut act| {
            Box::pin(async move {
                let insert = Query::insert()
                    .into_table(server_fact::Entity)
                    .columns([server_fact::Column::Name, server_fact::Column::Value])
                    .values([name.into(), value.into()])
                    .map_err(Fault::broken)?
                    .on_conflict(OnConflict::column(server_fact::Column::Name).do_nothing().to_owned())
                    .take();
                act.run(&insert).await?;
                let select = server_fact::Entity::find().filter(server_fact::Column::Name.eq(name));
                let fact = act.one(select).await?;
                Ok(fact.map(|fact| fact.value).unwrap_or_default())
            })
        })
        .await
    }
}

/// The fact that remembers the longest life, in seconds, that a token may ever have been given. It only grows: what was
/// signed when it was longer may still live.
const LONGEST_TOKEN_LIFE: &str = "longest_token_life";

impl Store {
    /// Remembers that tokens may live so long, in seconds; gives the longest that is remembered.
    ///
    /// # Errors
    /// Where the database fails.
    pub async fn raise_longest_token_life(&self, seconds: u64) -> Result<u64, Fault> {
        let known = self.read_for_upkeep(|mut act| Box::pin(async move { longest_token_life(&mut act).await })).await?;
        if known >= seconds {
            return Ok(known);
        }
        self.act(move |mut act| {
            Box::pin(async move {
                raise_longest_token_life(&mut act, seconds).await?;
                longest_token_life(&mut act).await
            })
        })
        .await
    }
}

/// The longest life that is remembered, in seconds.
pub(super) async fn longest_token_life(act: &mut Act<'_>) -> Result<u64, Fault> {
    let fact = server_fact::Entity::find().filter(server_fact::Column::Name.eq(LONGEST_TOKEN_LIFE));
    let fact = act.one(fact).await?.ok_or_else(|| Fault::broken("the longest life of tokens is missing"))?;
    fact.value.parse().map_err(Fault::broken)
}

/// Remembers a longer life, in the transaction that allows it.
pub(super) async fn raise_longest_token_life(act: &mut Act<'_>, seconds: u64) -> Result<(), Fault> {
    let seconds = i64::try_from(seconds).unwrap_or(i64::MAX);
    let update = Query::update()
        .table(server_fact::Entity)
        .value(server_fact::Column::Value, seconds.to_string())
        .and_where(Expr::col(server_fact::Column::Name).eq(LONGEST_TOKEN_LIFE))
        .and_where(Expr::col(server_fact::Column::Value).cast_as("bigint").lt(seconds))
        .take();
    act.run(&update).await.map(drop)
}

/// Locks the version without raising it: who decides from what the directory holds takes turns with all who change it. It
/// comes before every other lock of an act (`docs/architecture.md`).
pub(super) async fn lock(act: &mut Act<'_>) -> Result<(), Fault> {
    let fact = server_fact::Entity::find().filter(server_fact::Column::Name.eq(VERSION)).lock_exclusive();
    match act.one(fact).await? {
        Some(_) => Ok(()),
        None => Err(Fault::broken("the directory has no version")),
    }
}

/// Raises the version, in the transaction of the change. On PostgreSQL the changed row stays locked until the act is over:
/// changes take turns, from the first start on, for the first migration puts the row there.
pub(super) async fn changed(act: &mut Act<'_>) -> Result<(), Fault> {
    let next = Expr::col(server_fact::Column::Value).cast_as("bigint").add(1_i64).cast_as("text");
    let update = Query::update()
        .table(server_fact::Entity)
        .value(server_fact::Column::Value, next)
        .and_where(Expr::col(server_fact::Column::Name).eq(VERSION))
        .take();
    if act.run(&update).await? != 1 {
        return Err(Fault::broken("the directory has no version"));
    }
    act.notes.directory();
    if act.backend() == DbBackend::Postgres {
        // In the transaction: PostgreSQL tells those who listen when it is committed, and never before.
        let notify = Statement::from_sql_and_values(act.backend(), "SELECT pg_notify($1, '')", [CHANGES.into()]);
        act.exec(notify).await?;
    }
    Ok(())
}
