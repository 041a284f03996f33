//! Users: their rows, passwords and memberships.

use keyward_entities::{audit_event, grant, group, group_member, group_role, session, user, user_role};
use keyward_protocol::Timestamp;
use keyward_protocol::claims::StandardClaims;
use sea_orm::sea_query::{Expr, ExprTrait, LockType, Query};
use sea_orm::{ColumnTrait, DbBackend, EntityTrait, QueryFilter, QueryOrder, QuerySelect};
use uuid::Uuid;

use super::{Act, DEFAULT_ORGANIZATION, Store};
use crate::fault::Fault;

/// What a user belongs to.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Membership {
    /// Roles held by the user or by a group of the user.
    pub roles: Vec<Uuid>,
    /// Names of the user's groups, in order.
    pub groups: Vec<String>,
}

impl Store {
    /// The user of this login key.
    ///
    /// # Errors
    /// Where the database fails.
    pub async fn find_user_by_login_key(&self, login_key: &str) -> Result<Option<user::Model>, Fault> {
        let select = user::Entity::find()
            .filter(user::Column::OrganizationId.eq(DEFAULT_ORGANIZATION))
            .filter(user::Column::LoginKey.eq(login_key));
        self.read(move |mut act| Box::pin(async move { act.one(select).await })).await
    }

    /// The user of this subject.
    ///
    /// # Errors
    /// Where the database fails.
    pub async fn find_user_by_subject(&self, subject: &str) -> Result<Option<user::Model>, Fault> {
        let select = user::Entity::find().filter(user::Column::Subject.eq(subject));
        self.read(move |mut act| Box::pin(async move { act.one(select).await })).await
    }

    /// Users in the order of their login keys, after this one, whose login key contains `part`.
    ///
    /// # Errors
    /// Where the database fails.
    pub async fn list_users(&self, after: &str, part: Option<&str>, most: u64) -> Result<Vec<user::Model>, Fault> {
        let mut select = user::Entity::find()
            .filter(user::Column::OrganizationId.eq(DEFAULT_ORGANIZATION))
            .filter(user::Column::LoginKey.gt(after))
            .order_by_asc(user::Column::LoginKey)
            .limit(most);
        if let Some(part) = part {
            select = select.filter(user::Column::LoginKey.like(contains(part)));
        }
        self.read(move |mut act| Box::pin(async move { act.all(select).await })).await
    }

    /// Whether there is any user.
    ///
    /// # Errors
    /// Where the database fails.
    pub async fn has_users(&self) -> Result<bool, Fault> {
        let select = user::Entity::find().limit(1);
        self.read(move |mut act| Box::pin(async move { act.exists(select).await })).await
    }

    /// Adds a user with these roles and groups; `false` where the login key is taken.
    ///
    /// # Errors
    /// Where the database fails.
    pub async fn add_user(
        &self,
        row: user::Model,
        roles: Vec<user_role::Model>,
        groups: Vec<group_member::Model>,
        event: audit_event::Model,
    ) -> Result<bool, Fault> {
        self.act(move |mut act| {
            Box::pin(async move {
                if login_key_taken(&mut act, &row.login_key).await? {
                    return Ok(false);
                }
                insert_user(&mut act, row, roles, event).await?;
                for group in groups {
                    act.insert(group).await?;
                }
                Ok(true)
            })
        })
        .await
    }

    /// Changes a user's claims as `change` says, unless it refuses them. `None` where there is no such user.
    ///
    /// # Errors
    /// Where the database fails or the row is damaged.
    pub async fn change_user_claims<E, F>(
        &self,
        id: Uuid,
        now: Timestamp,
        event: audit_event::Model,
        change: F,
    ) -> Result<Option<Result<StandardClaims, E>>, Fault>
    where
        E: Send + 'static,
        F: FnOnce(StandardClaims) -> Result<StandardClaims, E> + Send + 'static,
    {
        self.act(move |mut act| {
            Box::pin(async move {
                let select = user::Entity::find().filter(user::Column::Id.eq(id)).lock_exclusive();
                let Some(row) = act.one(select).await? else { return Ok(None) };
                let changed = match change(serde_json::from_str(&row.claims)?) {
                    Ok(changed) => changed,
                    Err(refused) => return Ok(Some(Err(refused))),
                };
                let claims = serde_json::to_string(&changed)?;
                let update = Query::update()
                    .table(user::Entity)
                    .value(user::Column::Claims, claims)
                    .value(user::Column::UpdatedAt, now.micros())
                    .and_where(Expr::col(user::Column::Id).eq(id))
                    .take();
                act.run(&update).await?;
                act.insert(event).await?;
                Ok(Some(Ok(changed)))
            })
        })
        .await
    }

    /// Sets a password. Every session of the user ends, and every grant that `offline_access` kept (protocol decision
    /// 12).
    ///
    /// # Errors
    /// Where the database fails.
    pub async fn set_password(
        &self,
        id: Uuid,
        password_hash: String,
        now: Timestamp,
        event: audit_event::Model,
    ) -> Result<(), Fault> {
        self.act(move |mut act| {
            Box::pin(async move {
                replace_password(&mut act, id, password_hash, now).await?;
                act.insert(event).await
            })
        })
        .await
    }

    /// Sets the password that its owner chose, ends every session and grant, and starts `session`. `false`, with nothing
    /// changed, where the user was disabled or deleted, or the password changed since it was checked.
    ///
    /// # Errors
    /// Where the database fails.
    pub async fn change_password(
        &self,
        session: session::Model,
        checked: Option<String>,
        fresh: String,
        event: audit_event::Model,
    ) -> Result<bool, Fault> {
        self.act(move |mut act| {
            Box::pin(async move {
                let id = session.user_id;
                let user = act.one(user::Entity::find().filter(user::Column::Id.eq(id)).lock_exclusive()).await?;
                if !user.is_some_and(|user| user.disabled_at.is_none() && user.password_hash == checked) {
                    return Ok(false);
                }
                replace_password(&mut act, id, fresh, Timestamp::from_micros(session.created_at)).await?;
                act.insert(session).await?;
                act.insert(event).await?;
                Ok(true)
            })
        })
        .await
    }

    /// Replaces the stored hash by one of the same password with newer parameters, if it is still the one that was
    /// checked; `false` where it isn't.
    ///
    /// # Errors
    /// Where the database fails.
    pub async fn rehash_password(&self, id: Uuid, checked: String, fresh: String) -> Result<bool, Fault> {
        self.act_adding(move |mut act| {
            Box::pin(async move {
                let update = Query::update()
                    .table(user::Entity)
                    .value(user::Column::PasswordHash, fresh)
                    .and_where(Expr::col(user::Column::Id).eq(id))
                    .and_where(Expr::col(user::Column::PasswordHash).eq(checked))
                    .take();
                Ok(act.run(&update).await? == 1)
            })
        })
        .await
    }

    /// Disables a user, whose sessions and grants end; or enables the user again.
    ///
    /// # Errors
    /// Where the database fails.
    pub async fn set_user_disabled(
        &self,
        id: Uuid,
        disabled: bool,
        now: Timestamp,
        event: audit_event::Model,
    ) -> Result<(), Fault> {
        self.act(move |mut act| {
            Box::pin(async move {
                let update = Query::update()
                    .table(user::Entity)
                    .value(user::Column::DisabledAt, disabled.then(|| now.micros()))
                    .and_where(Expr::col(user::Column::Id).eq(id))
                    .take();
                act.run(&update).await?;
                if disabled {
                    end_everything(&mut act, id, "user_disabled", now).await?;
                }
                act.insert(event).await
            })
        })
        .await
    }

    /// Deletes a user with all that is the user's. The subject is never given to another.
    ///
    /// # Errors
    /// Where the database fails.
    pub async fn delete_user(&self, id: Uuid, event: audit_event::Model) -> Result<(), Fault> {
        self.act(move |mut act| {
            Box::pin(async move {
                super::cleanup::take_turn(&mut act).await?;
                lock(&mut act, id, LockType::Update).await?;
                super::removal::remove_of_user(&mut act, id, event.at).await?;
                for delete in [
                    Query::delete()
                        .from_table(session::Entity)
                        .and_where(Expr::col(session::Column::UserId).eq(id))
                        .take(),
                    Query::delete().from_table(user::Entity).and_where(Expr::col(user::Column::Id).eq(id)).take(),
                ] {
                    act.run(&delete).await?;
                }
                act.insert(event).await
            })
        })
        .await
    }

    /// The user's roles and groups.
    ///
    /// # Errors
    /// Where the database fails.
    pub async fn membership(&self, id: Uuid) -> Result<Membership, Fault> {
        self.read(move |mut act| Box::pin(async move { membership(&mut act, id).await })).await
    }
}

/// The user's roles and groups, inside an act.
pub(super) async fn membership(act: &mut Act<'_>, id: Uuid) -> Result<Membership, Fault> {
    let own = act.all(user_role::Entity::find().filter(user_role::Column::UserId.eq(id))).await?;
    let mut membership = Membership { roles: own.into_iter().map(|row| row.role_id).collect(), groups: Vec::new() };
    let groups = act.all(group_member::Entity::find().filter(group_member::Column::UserId.eq(id))).await?;
    if groups.is_empty() {
        return Ok(membership);
    }
    let ids: Vec<Uuid> = groups.into_iter().map(|row| row.group_id).collect();
    let by_group = group_role::Entity::find().filter(group_role::Column::GroupId.is_in(ids.clone()));
    membership.roles.extend(act.all(by_group).await?.into_iter().map(|row| row.role_id));
    let names = group::Entity::find().filter(group::Column::Id.is_in(ids)).order_by_asc(group::Column::Name);
    membership.groups = act.all(names).await?.into_iter().map(|row| row.name).collect();
    Ok(membership)
}

/// Locks a user's row on PostgreSQL, before anything else of the user (the order is in `docs/architecture.md`). What ends
/// things of a user locks the row to change it; what decides from them locks it to share. SQLite has one writer and needs
/// no statement for it.
pub(super) async fn lock(act: &mut Act<'_>, id: Uuid, lock: LockType) -> Result<(), Fault> {
    if act.backend() == DbBackend::Sqlite {
        return Ok(());
    }
    let select = Query::select()
        .column(user::Column::Id)
        .from(user::Entity)
        .and_where(Expr::col(user::Column::Id).eq(id))
        .lock(lock)
        .take();
    let statement = act.backend().build(&select);
    act.rows(statement).await.map(drop)
}

pub(super) async fn login_key_taken(act: &mut Act<'_>, login_key: &str) -> Result<bool, Fault> {
    let select = user::Entity::find()
        .filter(user::Column::OrganizationId.eq(DEFAULT_ORGANIZATION))
        .filter(user::Column::LoginKey.eq(login_key));
    act.exists(select).await
}

pub(super) async fn insert_user(
    act: &mut Act<'_>,
    row: user::Model,
    roles: Vec<user_role::Model>,
    event: audit_event::Model,
) -> Result<(), Fault> {
    act.insert(row).await?;
    for role in roles {
        act.insert(role).await?;
    }
    act.insert(event).await
}

/// A new password, with which all that rested on the old one ends.
async fn replace_password(act: &mut Act<'_>, id: Uuid, hash: String, now: Timestamp) -> Result<(), Fault> {
    let update = Query::update()
        .table(user::Entity)
        .value(user::Column::PasswordHash, hash)
        .value(user::Column::PasswordChangedAt, now.micros())
        .and_where(Expr::col(user::Column::Id).eq(id))
        .take();
    act.run(&update).await?;
    end_everything(act, id, "password_changed", now).await
}

/// Ends every session and every grant of a user, whose row the caller has changed and so locked.
async fn end_everything(act: &mut Act<'_>, user: Uuid, why: &'static str, now: Timestamp) -> Result<(), Fault> {
    act.notes.ending();
    let sessions = Query::update()
        .table(session::Entity)
        .value(session::Column::EndedAt, now.micros())
        .value(session::Column::EndReason, why)
        .and_where(Expr::col(session::Column::UserId).eq(user))
        .and_where(Expr::col(session::Column::EndedAt).is_null())
        .take();
    act.run(&sessions).await?;
    super::grant::end_all(act, Expr::col(grant::Column::UserId).eq(user), why, now).await
}

/// A LIKE pattern for text that contains this, with the wild cards of the input escaped.
fn contains(part: &str) -> sea_orm::sea_query::LikeExpr {
    let escaped = part.replace('\\', "\\\\").replace('%', "\\%").replace('_', "\\_");
    sea_orm::sea_query::LikeExpr::new(format!("%{escaped}%")).escape('\\')
}
