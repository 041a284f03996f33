//! Access tokens that the server remembers: opaque ones, and the bits of status lists. Nothing is written here for
//! tokens that are plain JWTs. No foreign keys, as in the first schema's tables that requests write.

use sea_orm_migration::prelude::*;

use crate::columns::{index, index_of_set, moment, name, nullable, number, octets, text, uuid};

/// The change.
#[derive(Debug)]
pub struct Migration;

impl MigrationName for Migration {
    fn name(&self) -> &str {
        "m0003_remembered_tokens"
    }
}

#[async_trait::async_trait]
impl MigrationTrait for Migration {
    /// As a whole or not at all, on SQLite too: a start that is cut off leaves nothing in the way of the next.
    fn use_transaction(&self) -> Option<bool> {
        Some(true)
    }

    async fn up(&self, manager: &SchemaManager) -> Result<(), DbErr> {
        let tables = [
            Table::create()
                .table(name("opaque_tokens"))
                .if_not_exists()
                .col(octets("token_hash").primary_key())
                .col(text("jti"))
                .col(uuid("client"))
                .col(text("client_id"))
                .col(nullable(uuid("grant_id")))
                .col(text("scope"))
                .col(text("audience"))
                .col(moment("issued_at"))
                .col(moment("expires_at"))
                .take(),
            Table::create()
                .table(name("status_lists"))
                .if_not_exists()
                .col(number("number").primary_key())
                .col(number("positions"))
                .col(moment("leased_at"))
                .take(),
            Table::create()
                .table(name("status_entries"))
                .if_not_exists()
                .col(number("slot").primary_key())
                .col(uuid("grant_id"))
                .col(moment("expires_at"))
                .col(nullable(moment("ended_at")))
                .take(),
        ];
        for table in tables {
            manager.create_table(table).await?;
        }
        for (table, column) in
            [("opaque_tokens", "expires_at"), ("status_entries", "expires_at"), ("status_entries", "grant_id")]
        {
            manager.create_index(index(table, &[column]).if_not_exists().take()).await?;
        }
        // What has ended is looked up by when it did; nothing is written to these until something ends.
        for (table, column) in [("status_entries", "ended_at"), ("users", "disabled_at"), ("clients", "disabled_at")] {
            manager.create_index(index_of_set(table, column).if_not_exists().take()).await?;
        }
        Ok(())
    }

    async fn down(&self, _manager: &SchemaManager) -> Result<(), DbErr> {
        Err(DbErr::Migration("tokens that were issued can't be forgotten".into()))
    }
}
