//! Authorization codes say their place, as refresh tokens do since `m0007_places`: no index of their hashes is written by
//! each sign-in. On SQLite they lie in the order of their ids, which is that of time.
//!
//! A program that doesn't know of this finds none of the new codes, so it can't work beside one that makes them.

use sea_orm_migration::prelude::*;
use sea_orm_migration::sea_orm::DbBackend;

use crate::columns::{add, flag, index, index_of_set, moment, name, nullable, octets, text, uuid};
use crate::layout::{by_hash, hash_only, lay_out_anew, require_changes};

/// The change.
#[derive(Debug)]
pub struct Migration;

impl MigrationName for Migration {
    fn name(&self) -> &str {
        "m0009_codes_say_their_place"
    }
}

const CODES: &str = "authorization_codes";

/// So many changes a program must know from now on.
const LEAST_CHANGES: &str = "8";

#[async_trait::async_trait]
impl MigrationTrait for Migration {
    /// As a whole or not at all, on SQLite too: a start that is cut off leaves nothing in the way of the next.
    fn use_transaction(&self) -> Option<bool> {
        Some(true)
    }

    async fn up(&self, manager: &SchemaManager) -> Result<(), DbErr> {
        if manager.get_database_backend() == DbBackend::Sqlite {
            let columns = vec![
                uuid("id"),
                octets("code_hash"),
                uuid("client"),
                uuid("user_id"),
                uuid("session_id"),
                uuid("grant_id"),
                text("redirect_uri"),
                flag("redirect_uri_named"),
                nullable(octets("challenge")),
                text("scope"),
                text("resources"),
                nullable(text("nonce")),
                moment("auth_time"),
                text("acr"),
                text("amr"),
                flag("needs_consent"),
                moment("issued_at"),
                moment("expires_at"),
                nullable(moment("spent_at")),
                nullable(text("requested_claims")),
                nullable(moment("look_again_at")),
                hash_only(),
            ];
            lay_out_anew(manager, CODES, columns, &["id"]).await?;
            manager.create_index(index_of_set(CODES, "look_again_at")).await?;
            let alone = index(CODES, &["expires_at"])
                .name("ix_authorization_codes_expires_at_alone")
                .and_where(Expr::col(name("look_again_at")).is_null())
                .take();
            manager.create_index(alone).await?;
        } else {
            manager.alter_table(add(CODES, hash_only())).await?;
            manager.drop_index(Index::drop().name("uq_authorization_codes_code_hash").to_owned()).await?;
        }
        manager.create_index(by_hash(CODES, "code_hash")).await?;
        require_changes(manager, LEAST_CHANGES).await
    }

    async fn down(&self, _manager: &SchemaManager) -> Result<(), DbErr> {
        Err(DbErr::Migration("codes that say their place couldn't be found any more".into()))
    }
}
