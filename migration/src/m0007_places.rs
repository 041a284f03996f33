//! Where refresh tokens and grants are kept. A refresh token now says its place, so that none but the oldest is searched
//! for by its hash, and no index of hashes, whose every entry falls on a page of its own, is written by each refresh.
//!
//! On SQLite the tokens of a family lie beside each other, in the tree of the table's key, and grants in that of theirs:
//! spending a token and making its successor write one page. PostgreSQL keeps rows in no order of its own.
//!
//! A program that doesn't know of places makes no token that says one and understands none, so it can't work beside one
//! that does.

use sea_orm_migration::prelude::*;
use sea_orm_migration::sea_orm::DbBackend;

use crate::columns::{add, flag, index, index_of_set, moment, nullable, octets, text, unique, uuid};
use crate::layout::{by_hash, hash_only, lay_out_anew, require_changes};

/// The change.
#[derive(Debug)]
pub struct Migration;

impl MigrationName for Migration {
    fn name(&self) -> &str {
        "m0007_places"
    }
}

/// So many changes a program must know from now on.
const LEAST_CHANGES: &str = "6";

/// The tables of SQLite as they are from now on, under names for the meantime, with the columns of their keys.
fn tables() -> [(&'static str, Vec<ColumnDef>, &'static [&'static str]); 2] {
    let tokens = vec![
        uuid("id"),
        octets("token_hash"),
        uuid("grant_id"),
        moment("issued_at"),
        moment("expires_at"),
        nullable(moment("spent_at")),
        nullable(uuid("successor_id")),
        nullable(octets("sealed_successor")),
        hash_only(),
    ];
    let grants = vec![
        uuid("id"),
        uuid("user_id"),
        uuid("client"),
        uuid("session_id"),
        flag("tied_to_session"),
        text("scope"),
        text("resources"),
        moment("auth_time"),
        text("acr"),
        text("amr"),
        moment("created_at"),
        moment("expires_at"),
        nullable(moment("ended_at")),
        nullable(text("end_reason")),
        nullable(text("requested_claims")),
    ];
    [("refresh_tokens", tokens, &["grant_id", "id"]), ("grants", grants, &["id"])]
}

#[async_trait::async_trait]
impl MigrationTrait for Migration {
    /// As a whole or not at all, on SQLite too: a start that is cut off leaves nothing in the way of the next.
    fn use_transaction(&self) -> Option<bool> {
        Some(true)
    }

    async fn up(&self, manager: &SchemaManager) -> Result<(), DbErr> {
        if manager.get_database_backend() == DbBackend::Sqlite {
            for (table, columns, key) in tables() {
                lay_out_anew(manager, table, columns, key).await?;
            }
            for (table, column) in [("grants", "user_id"), ("grants", "client")] {
                manager.create_index(index(table, &[column])).await?;
            }
            // Only what was ended before its time is in it, so nothing is written to it until something ends.
            manager.create_index(index_of_set("grants", "ended_at")).await?;
            // In the order of time, for ids are; by it the seals of spent tokens are found.
            manager.create_index(unique("refresh_tokens", &["id"])).await?;
        } else {
            manager.alter_table(add("refresh_tokens", hash_only())).await?;
            manager.drop_index(Index::drop().name("uq_refresh_tokens_token_hash").to_owned()).await?;
        }
        manager.create_index(by_hash("refresh_tokens", "token_hash")).await?;
        require_changes(manager, LEAST_CHANGES).await
    }

    async fn down(&self, _manager: &SchemaManager) -> Result<(), DbErr> {
        Err(DbErr::Migration("tokens that say their place couldn't be found any more".into()))
    }
}
