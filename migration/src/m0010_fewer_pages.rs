//! Fewer pages to read on SQLite, where clients and grants are many.
//!
//! The secrets of a client lie in the order of their clients: an index that names a row was a page more for each look. And
//! the index over the ids of refresh tokens no longer says that they are unique, for the table's key finds a token as well,
//! but SQLite took an index of one column that finds one row, read a page of it, and went to the key from there.
//!
//! A program that doesn't know of this finds the same tables. PostgreSQL keeps rows in no order of its own, and the ids are
//! its keys.

use sea_orm_migration::prelude::*;
use sea_orm_migration::sea_orm::DbBackend;

use crate::columns::{index, moment, nullable, octets, unique, uuid};
use crate::layout::copy_anew;

/// The change.
#[derive(Debug)]
pub struct Migration;

impl MigrationName for Migration {
    fn name(&self) -> &str {
        "m0010_fewer_pages"
    }
}

const SECRETS: &str = "client_secrets";

#[async_trait::async_trait]
impl MigrationTrait for Migration {
    /// As a whole or not at all, on SQLite too: a start that is cut off leaves nothing in the way of the next.
    fn use_transaction(&self) -> Option<bool> {
        Some(true)
    }

    async fn up(&self, manager: &SchemaManager) -> Result<(), DbErr> {
        if manager.get_database_backend() != DbBackend::Sqlite {
            return Ok(());
        }
        let columns = vec![
            uuid("id"),
            uuid("client"),
            octets("secret_hash"),
            nullable(octets("sealed_secret")),
            moment("created_at"),
            nullable(moment("expires_at")),
        ];
        copy_anew(manager, SECRETS, columns, &["client", "id"], &[("client", "clients")]).await?;
        // By it rows are read in the order of their ids when they move to another database.
        manager.create_index(unique(SECRETS, &["id"])).await?;
        manager.drop_index(Index::drop().name("uq_refresh_tokens_id").to_owned()).await?;
        manager.create_index(index("refresh_tokens", &["id"])).await
    }

    async fn down(&self, _manager: &SchemaManager) -> Result<(), DbErr> {
        Err(DbErr::Migration("more pages would be read again".into()))
    }
}
