//! Access tokens that the server remembers: opaque ones, and the bits of status lists. Nothing is written here for
//! tokens that are plain JWTs. No foreign keys, as in the first schema's tables that requests write.

use sea_orm_migration::prelude::*;

/// The change.
#[derive(Debug)]
pub struct Migration;

impl MigrationName for Migration {
    fn name(&self) -> &str {
        "m0003_remembered_tokens"
    }
}

fn name(text: &str) -> Alias {
    Alias::new(text)
}

fn number(column: &str) -> ColumnDef {
    ColumnDef::new(name(column)).big_integer().not_null().take()
}

fn text(column: &str) -> ColumnDef {
    ColumnDef::new(name(column)).text().not_null().take()
}

fn index(table: &str, column: &str) -> IndexCreateStatement {
    Index::create().name(format!("ix_{table}_{column}")).table(name(table)).col(name(column)).take()
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
                .col(ColumnDef::new(name("token_hash")).binary().not_null().primary_key())
                .col(text("jti"))
                .col(ColumnDef::new(name("client")).uuid().not_null())
                .col(text("client_id"))
                .col(ColumnDef::new(name("grant_id")).uuid().null())
                .col(text("scope"))
                .col(text("audience"))
                .col(number("issued_at"))
                .col(number("expires_at"))
                .take(),
            Table::create()
                .table(name("status_lists"))
                .if_not_exists()
                .col(number("number").primary_key())
                .col(number("positions"))
                .col(number("leased_at"))
                .take(),
            Table::create()
                .table(name("status_entries"))
                .if_not_exists()
                .col(number("slot").primary_key())
                .col(ColumnDef::new(name("grant_id")).uuid().not_null())
                .col(number("expires_at"))
                .col(ColumnDef::new(name("ended_at")).big_integer().null())
                .take(),
        ];
        for table in tables {
            manager.create_table(table).await?;
        }
        for (table, column) in
            [("opaque_tokens", "expires_at"), ("status_entries", "expires_at"), ("status_entries", "grant_id")]
        {
            manager.create_index(index(table, column).if_not_exists().take()).await?;
        }
        // What has ended is looked up by when it did; nothing is written to these until something ends.
        for (table, column) in [("status_entries", "ended_at"), ("users", "disabled_at"), ("clients", "disabled_at")] {
            let mut ended = index(table, column);
            let ended = ended.if_not_exists().and_where(Expr::col(name(column)).is_not_null()).take();
            manager.create_index(ended).await?;
        }
        Ok(())
    }

    async fn down(&self, _manager: &SchemaManager) -> Result<(), DbErr> {
        Err(DbErr::Migration("tokens that were issued can't be forgotten".into()))
    }
}
