//! What the `claims` parameter asked for is kept with the code and the grant, and what a person allowed of it with the
//! consent (OpenID Connect Core §5.5). A scope may name the roles that a person must have one of.

use sea_orm_migration::prelude::*;

use crate::columns::{add, nullable, text};

/// The change.
#[derive(Debug)]
pub struct Migration;

impl MigrationName for Migration {
    fn name(&self) -> &str {
        "m0005_claims_and_scope_roles"
    }
}

#[async_trait::async_trait]
impl MigrationTrait for Migration {
    /// As a whole or not at all, on SQLite too: a start that is cut off leaves nothing in the way of the next.
    fn use_transaction(&self) -> Option<bool> {
        Some(true)
    }

    async fn up(&self, manager: &SchemaManager) -> Result<(), DbErr> {
        let list = |column: &str| text(column).default("[]").take();
        for (table, column) in [
            ("authorization_codes", nullable(text("requested_claims"))),
            ("grants", nullable(text("requested_claims"))),
            ("consents", list("claims")),
            ("scopes", list("role_ids")),
        ] {
            manager.alter_table(add(table, column)).await?;
        }
        Ok(())
    }

    async fn down(&self, _manager: &SchemaManager) -> Result<(), DbErr> {
        Err(DbErr::Migration("a schema is never taken back".into()))
    }
}
