//! One-time links to the set-up page.

use keyward_entities::{audit_event, role, setup_link, user, user_role};
use keyward_protocol::Timestamp;
use sea_orm::sea_query::{Expr, ExprTrait, Query};
use sea_orm::{ColumnTrait, EntityTrait, QueryFilter, QuerySelect};

use super::Store;
use super::user::{insert_user, login_key_taken};
use crate::fault::Fault;

/// How the set-up ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SetupOutcome {
    /// The admin exists.
    Done,
    /// The link is unknown, expired or used.
    LinkGone,
    /// The user name is taken; the link still works.
    NameTaken,
}

impl Store {
    /// Stores a link, and withdraws the earlier ones that weren't used.
    ///
    /// # Errors
    /// Where the database fails.
    pub async fn add_setup_link(&self, link: setup_link::Model, event: audit_event::Model) -> Result<(), Fault> {
        self.act(move |mut act| {
            Box::pin(async move {
                let delete = Query::delete()
                    .from_table(setup_link::Entity)
                    .and_where(Expr::col(setup_link::Column::UsedAt).is_null())
                    .take();
                act.run(&delete).await?;
                act.insert(link).await?;
                act.insert(event).await
            })
        })
        .await
    }

    /// Whether a link works.
    ///
    /// # Errors
    /// Where the database fails.
    pub async fn setup_link_works(&self, token_hash: &[u8], now: Timestamp) -> Result<bool, Fault> {
        let select = setup_link::Entity::find()
            .filter(setup_link::Column::TokenHash.eq(token_hash))
            .filter(setup_link::Column::UsedAt.is_null())
            .filter(setup_link::Column::ExpiresAt.gt(now.micros()));
        self.read(move |mut act| Box::pin(async move { act.exists(select).await })).await
    }

    /// Uses a link to make the first admin, with the role `admin`, which is made where it is missing.
    ///
    /// # Errors
    /// Where the database fails.
    pub async fn complete_setup(
        &self,
        token_hash: [u8; 32],
        admin: user::Model,
        admin_role: role::Model,
        membership: user_role::Model,
        now: Timestamp,
        event: audit_event::Model,
    ) -> Result<SetupOutcome, Fault> {
        self.act(move |mut act| {
            Box::pin(async move {
                let link = setup_link::Entity::find()
                    .filter(setup_link::Column::TokenHash.eq(token_hash.to_vec()))
                    .lock_exclusive();
                let Some(link) = act.one(link).await? else { return Ok(SetupOutcome::LinkGone) };
                if link.used_at.is_some() || link.expires_at <= now.micros() {
                    return Ok(SetupOutcome::LinkGone);
                }
                if login_key_taken(&mut act, &admin.login_key).await? {
                    return Ok(SetupOutcome::NameTaken);
                }
                let update = Query::update()
                    .table(setup_link::Entity)
                    .value(setup_link::Column::UsedAt, now.micros())
                    .and_where(Expr::col(setup_link::Column::Id).eq(link.id))
                    .take();
                act.run(&update).await?;
                let known = role::Entity::find()
                    .filter(role::Column::Name.eq(&admin_role.name))
                    .filter(role::Column::Client.is_null());
                let role_id = match act.one(known).await? {
                    Some(known) => known.id,
                    None => {
                        let id = admin_role.id;
                        act.insert(admin_role).await?;
                        super::directory::changed(&mut act).await?;
                        id
                    }
                };
                let membership = user_role::Model { role_id, ..membership };
                insert_user(&mut act, admin, vec![membership], event).await?;
                Ok(SetupOutcome::Done)
            })
        })
        .await
    }
}
