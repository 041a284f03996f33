//! When cleaning up looks at a family again is a column of its own, so that `expires_at` of a code stays the moment at
//! which the code expires; and a client's row remembers the longest life that its access tokens ever had.
//!
//! Codes that an older version spent have the moment in `expires_at` and nothing in the new column; cleaning up takes it
//! over when it comes by (`src/store/cleanup.rs`), also from nodes that go on with the older version during an upgrade.
//! Two partial indices take the place of the one over `expires_at`: a code is in one of them, so that issuing and spending
//! write no more than before. Taking an index away takes nothing away that an older version needs.

use sea_orm_migration::prelude::*;

use crate::columns::{add, index, index_of_set, moment, name, nullable, number};

/// The change.
#[derive(Debug)]
pub struct Migration;

impl MigrationName for Migration {
    fn name(&self) -> &str {
        "m0006_looks_and_lives"
    }
}

const CODES: &str = "authorization_codes";

#[async_trait::async_trait]
impl MigrationTrait for Migration {
    /// As a whole or not at all, on SQLite too: a start that is cut off leaves nothing in the way of the next.
    fn use_transaction(&self) -> Option<bool> {
        Some(true)
    }

    async fn up(&self, manager: &SchemaManager) -> Result<(), DbErr> {
        manager.alter_table(add(CODES, nullable(moment("look_again_at")))).await?;
        // Null: what the metadata say is the longest.
        manager.alter_table(add("clients", nullable(number("longest_token_life")))).await?;
        manager.create_index(index_of_set(CODES, "look_again_at")).await?;
        let alone = index(CODES, &["expires_at"])
            .name("ix_authorization_codes_expires_at_alone")
            .and_where(Expr::col(name("look_again_at")).is_null())
            .take();
        manager.create_index(alone).await?;
        manager.drop_index(Index::drop().name("ix_authorization_codes_expires_at").table(name(CODES)).to_owned()).await
    }

    async fn down(&self, _manager: &SchemaManager) -> Result<(), DbErr> {
        Err(DbErr::Migration("a schema is never taken back".into()))
    }
}
