//! The opaque tokens that a client has for itself are found by the client: who disables or deletes one ends them without
//! a look at everybody else's. Tokens of people hang on their grants and aren't in this index, so that theirs cost no
//! write more.

use sea_orm_migration::prelude::*;

use crate::columns::{index, name};

/// The change.
#[derive(Debug)]
pub struct Migration;

impl MigrationName for Migration {
    fn name(&self) -> &str {
        "m0008_own_opaque_tokens"
    }
}

#[async_trait::async_trait]
impl MigrationTrait for Migration {
    /// As a whole or not at all, on SQLite too: a start that is cut off leaves nothing in the way of the next.
    fn use_transaction(&self) -> Option<bool> {
        Some(true)
    }

    async fn up(&self, manager: &SchemaManager) -> Result<(), DbErr> {
        let own = index("opaque_tokens", &["client"]).and_where(Expr::col(name("grant_id")).is_null()).take();
        manager.create_index(own).await
    }

    async fn down(&self, _manager: &SchemaManager) -> Result<(), DbErr> {
        Err(DbErr::Migration("a schema is never taken back".into()))
    }
}
