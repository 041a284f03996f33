//! Scopes that an operator defines.

use keyward_entities::{Record, audit_event, scope};
use sea_orm::sea_query::{Alias, Expr, ExprTrait, OnConflict, Query};
use sea_orm::{ColumnTrait, EntityTrait, QueryFilter, QueryOrder, QuerySelect};

use super::{DEFAULT_ORGANIZATION, Store, directory};
use crate::fault::Fault;

impl Store {
    /// Every scope, by name.
    ///
    /// # Errors
    /// Where the database fails.
    pub async fn list_scopes(&self) -> Result<Vec<scope::Model>, Fault> {
        let select = scope::Entity::find()
            .filter(scope::Column::OrganizationId.eq(DEFAULT_ORGANIZATION))
            .order_by_asc(scope::Column::Name);
        self.read(move |mut act| Box::pin(async move { act.all(select).await })).await
    }

    /// Adds scopes that aren't there; gives how many were added.
    ///
    /// # Errors
    /// Where the database fails.
    pub async fn add_scopes(&self, scopes: Vec<scope::Model>, event: Option<audit_event::Model>) -> Result<u64, Fault> {
        self.act(move |mut act| {
            Box::pin(async move {
                let mut added: u64 = 0;
                for row in scopes {
                    // Two nodes that start together on an empty database add the same ones.
                    let mut there = OnConflict::columns([scope::Column::OrganizationId, scope::Column::Name]);
                    let insert = Query::insert()
                        .into_table(scope::Entity)
                        .columns(scope::Model::COLUMNS.iter().map(|&column| Alias::new(column)))
                        .values(row.into_values().into_iter().map(Into::into))
                        .map_err(Fault::broken)?
                        .on_conflict(there.do_nothing().to_owned())
                        .take();
                    added += act.run(&insert).await?;
                }
                if added > 0 {
                    if let Some(event) = event {
                        act.insert(event).await?;
                    }
                    directory::changed(&mut act).await?;
                }
                Ok(added)
            })
        })
        .await
    }

    /// Changes what an operator chose of a scope: words, permissions, roles. `false` where there is none of this name.
    ///
    /// # Errors
    /// Where the database fails.
    pub async fn change_scope<F>(&self, name: &str, event: audit_event::Model, change: F) -> Result<bool, Fault>
    where
        F: FnOnce(&mut scope::Model) + Send + 'static,
    {
        let select = scope::Entity::find()
            .filter(scope::Column::OrganizationId.eq(DEFAULT_ORGANIZATION))
            .filter(scope::Column::Name.eq(name))
            .lock_exclusive();
        self.act(move |mut act| {
            Box::pin(async move {
                let Some(mut row) = act.one(select).await? else { return Ok(false) };
                change(&mut row);
                let update = Query::update()
                    .table(scope::Entity)
                    .value(scope::Column::Title, row.title)
                    .value(scope::Column::Description, row.description)
                    .value(scope::Column::Permissions, row.permissions)
                    .value(scope::Column::RoleIds, row.role_ids)
                    .and_where(Expr::col(scope::Column::Id).eq(row.id))
                    .take();
                act.run(&update).await?;
                act.insert(event).await?;
                directory::changed(&mut act).await?;
                Ok(true)
            })
        })
        .await
    }

    /// Deletes a scope; `false` where there is none of this name.
    ///
    /// # Errors
    /// Where the database fails.
    pub async fn delete_scope(&self, name: &str, event: audit_event::Model) -> Result<bool, Fault> {
        let delete = Query::delete()
            .from_table(scope::Entity)
            .and_where(Expr::col(scope::Column::OrganizationId).eq(DEFAULT_ORGANIZATION))
            .and_where(Expr::col(scope::Column::Name).eq(name))
            .take();
        self.act(move |mut act| {
            Box::pin(async move {
                if act.run(&delete).await? == 0 {
                    return Ok(false);
                }
                act.insert(event).await?;
                directory::changed(&mut act).await?;
                Ok(true)
            })
        })
        .await
    }
}
