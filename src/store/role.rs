//! Roles, what they include, groups, and who has them.

use keyward_entities::{audit_event, group, group_member, group_role, role, role_inclusion, user_role};
use keyward_protocol::role::{Role, RoleGraph, may_include};
use sea_orm::sea_query::{Expr, ExprTrait, Query};
use sea_orm::{ColumnTrait, EntityTrait, QueryFilter, QueryOrder};
use uuid::Uuid;

use super::{Act, DEFAULT_ORGANIZATION, Store, directory};
use crate::fault::Fault;

/// A membership to make or unmake.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Link {
    /// A user has a role.
    UserRole {
        /// The user.
        user: Uuid,
        /// The role.
        role: Uuid,
    },
    /// A user is in a group.
    GroupMember {
        /// The group.
        group: Uuid,
        /// The user.
        user: Uuid,
    },
    /// A group's members have a role.
    GroupRole {
        /// The group.
        group: Uuid,
        /// The role.
        role: Uuid,
    },
    /// A role includes another.
    Inclusion {
        /// The role.
        role: Uuid,
        /// What it includes.
        included: Uuid,
    },
}

/// How a change of memberships ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LinkOutcome {
    /// It was made or unmade.
    Changed,
    /// It was so before.
    AlreadySo,
    /// The inclusion would close a circle.
    Circle,
}

impl Store {
    /// The roles of the server, or of one client, by name.
    ///
    /// # Errors
    /// Where the database fails.
    pub async fn list_roles(&self) -> Result<Vec<role::Model>, Fault> {
        let select = role::Entity::find()
            .filter(role::Column::OrganizationId.eq(DEFAULT_ORGANIZATION))
            .order_by_asc(role::Column::Name);
        self.read(move |mut act| Box::pin(async move { act.all(select).await })).await
    }

    /// The groups, by name.
    ///
    /// # Errors
    /// Where the database fails.
    pub async fn list_groups(&self) -> Result<Vec<group::Model>, Fault> {
        let select = group::Entity::find()
            .filter(group::Column::OrganizationId.eq(DEFAULT_ORGANIZATION))
            .order_by_asc(group::Column::Name);
        self.read(move |mut act| Box::pin(async move { act.all(select).await })).await
    }

    /// Which group has which role.
    ///
    /// # Errors
    /// Where the database fails.
    pub async fn list_group_roles(&self) -> Result<Vec<group_role::Model>, Fault> {
        self.read(|mut act| Box::pin(async move { act.all(group_role::Entity::find()).await })).await
    }

    /// Adds a role with what it includes; `false` where the name is taken. No circle can come of it, for nothing
    /// includes the new role yet.
    ///
    /// # Errors
    /// Where the database fails.
    pub async fn add_role(
        &self,
        row: role::Model,
        includes: Vec<role_inclusion::Model>,
        event: audit_event::Model,
    ) -> Result<bool, Fault> {
        self.act(move |mut act| {
            Box::pin(async move {
                directory::lock(&mut act).await?;
                let mut known = role::Entity::find()
                    .filter(role::Column::OrganizationId.eq(row.organization_id))
                    .filter(role::Column::Name.eq(&row.name));
                known = match row.client {
                    Some(client) => known.filter(role::Column::Client.eq(client)),
                    None => known.filter(role::Column::Client.is_null()),
                };
                if act.exists(known).await? {
                    return Ok(false);
                }
                act.insert(row).await?;
                for inclusion in includes {
                    act.insert(inclusion).await?;
                }
                act.insert(event).await?;
                directory::changed(&mut act).await?;
                Ok(true)
            })
        })
        .await
    }

    /// Adds a group; `false` where the name is taken.
    ///
    /// # Errors
    /// Where the database fails.
    pub async fn add_group(&self, row: group::Model, event: audit_event::Model) -> Result<bool, Fault> {
        self.act(move |mut act| {
            Box::pin(async move {
                let known = group::Entity::find()
                    .filter(group::Column::OrganizationId.eq(row.organization_id))
                    .filter(group::Column::Name.eq(&row.name));
                if act.exists(known).await? {
                    return Ok(false);
                }
                act.insert(row).await?;
                act.insert(event).await?;
                Ok(true)
            })
        })
        .await
    }

    /// Deletes a role with all memberships.
    ///
    /// # Errors
    /// Where the database fails.
    pub async fn delete_role(&self, id: Uuid, event: audit_event::Model) -> Result<(), Fault> {
        let delete = Query::delete().from_table(role::Entity).and_where(Expr::col(role::Column::Id).eq(id)).take();
        self.act(move |mut act| {
            Box::pin(async move {
                directory::lock(&mut act).await?;
                act.run(&delete).await?;
                act.insert(event).await?;
                directory::changed(&mut act).await
            })
        })
        .await
    }

    /// Deletes a group with all memberships.
    ///
    /// # Errors
    /// Where the database fails.
    pub async fn delete_group(&self, id: Uuid, event: audit_event::Model) -> Result<(), Fault> {
        let delete = Query::delete().from_table(group::Entity).and_where(Expr::col(group::Column::Id).eq(id)).take();
        self.act(move |mut act| {
            Box::pin(async move {
                act.run(&delete).await?;
                act.insert(event).await
            })
        })
        .await
    }

    /// Makes a membership, with this id for its row.
    ///
    /// # Errors
    /// Where the database fails.
    pub async fn link(&self, link: Link, id: Uuid, event: audit_event::Model) -> Result<LinkOutcome, Fault> {
        self.act(move |mut act| {
            Box::pin(async move {
                // Raising the version locks its row, so that two inclusions can't close a circle together.
                directory::changed(&mut act).await?;
                if exists(&mut act, link).await? {
                    return Ok(LinkOutcome::AlreadySo);
                }
                match link {
                    Link::UserRole { user, role } => {
                        act.insert(user_role::Model { id, user_id: user, role_id: role }).await?;
                    }
                    Link::GroupMember { group, user } => {
                        act.insert(group_member::Model { id, group_id: group, user_id: user }).await?;
                    }
                    Link::GroupRole { group, role } => {
                        act.insert(group_role::Model { id, group_id: group, role_id: role }).await?;
                    }
                    Link::Inclusion { role, included } => {
                        if !may_include(&inclusions(&mut act).await?, role, included) {
                            return Ok(LinkOutcome::Circle);
                        }
                        act.insert(role_inclusion::Model { id, role_id: role, included_role_id: included }).await?;
                    }
                }
                act.insert(event).await?;
                Ok(LinkOutcome::Changed)
            })
        })
        .await
    }

    /// Unmakes a membership.
    ///
    /// # Errors
    /// Where the database fails.
    pub async fn unlink(&self, link: Link, event: audit_event::Model) -> Result<LinkOutcome, Fault> {
        self.act(move |mut act| {
            Box::pin(async move {
                directory::lock(&mut act).await?;
                let delete = match link {
                    Link::UserRole { user, role } => Query::delete()
                        .from_table(user_role::Entity)
                        .and_where(Expr::col(user_role::Column::UserId).eq(user))
                        .and_where(Expr::col(user_role::Column::RoleId).eq(role))
                        .take(),
                    Link::GroupMember { group, user } => Query::delete()
                        .from_table(group_member::Entity)
                        .and_where(Expr::col(group_member::Column::GroupId).eq(group))
                        .and_where(Expr::col(group_member::Column::UserId).eq(user))
                        .take(),
                    Link::GroupRole { group, role } => Query::delete()
                        .from_table(group_role::Entity)
                        .and_where(Expr::col(group_role::Column::GroupId).eq(group))
                        .and_where(Expr::col(group_role::Column::RoleId).eq(role))
                        .take(),
                    Link::Inclusion { role, included } => Query::delete()
                        .from_table(role_inclusion::Entity)
                        .and_where(Expr::col(role_inclusion::Column::RoleId).eq(role))
                        .and_where(Expr::col(role_inclusion::Column::IncludedRoleId).eq(included))
                        .take(),
                };
                if act.run(&delete).await? == 0 {
                    return Ok(LinkOutcome::AlreadySo);
                }
                act.insert(event).await?;
                directory::changed(&mut act).await?;
                Ok(LinkOutcome::Changed)
            })
        })
        .await
    }
}

async fn exists(act: &mut Act<'_>, link: Link) -> Result<bool, Fault> {
    match link {
        Link::UserRole { user, role } => {
            let select = user_role::Entity::find()
                .filter(user_role::Column::UserId.eq(user))
                .filter(user_role::Column::RoleId.eq(role));
            act.exists(select).await
        }
        Link::GroupMember { group, user } => {
            let select = group_member::Entity::find()
                .filter(group_member::Column::GroupId.eq(group))
                .filter(group_member::Column::UserId.eq(user));
            act.exists(select).await
        }
        Link::GroupRole { group, role } => {
            let select = group_role::Entity::find()
                .filter(group_role::Column::GroupId.eq(group))
                .filter(group_role::Column::RoleId.eq(role));
            act.exists(select).await
        }
        Link::Inclusion { role, included } => {
            let select = role_inclusion::Entity::find()
                .filter(role_inclusion::Column::RoleId.eq(role))
                .filter(role_inclusion::Column::IncludedRoleId.eq(included));
            act.exists(select).await
        }
    }
}

/// The roles with what they include, which is all that the rule against circles looks at.
async fn inclusions(act: &mut Act<'_>) -> Result<RoleGraph, Fault> {
    let mut graph = RoleGraph::new();
    for row in act.all(role::Entity::find()).await? {
        graph
            .insert(row.id, Role { name: row.name, client: row.client, includes: Vec::new(), permissions: Vec::new() });
    }
    for row in act.all(role_inclusion::Entity::find()).await? {
        if let Some(role) = graph.get_mut(&row.role_id) {
            role.includes.push(row.included_role_id);
        }
    }
    Ok(graph)
}
