//! When cleaning up looks at a family again is a column of its own, so that `expires_at` of a code stays the moment at
//! which the code expires; and a client's row remembers the longest life that its access tokens ever had.
//!
//! Codes that an older version spent have the moment in `expires_at` and nothing in the new column; cleaning up takes it
//! over when it comes by (`src/store/cleanup.rs`), also from nodes that go on with the older version during an upgrade.
//! Two partial indices take the place of the one over `expires_at`: a code is in one of them, so that issuing and spending
//! write no more than before. Taking an index away takes nothing away that an older version needs.

use sea_orm_migration::prelude::*;

/// The change.
#[derive(Debug)]
pub struct Migration;

impl MigrationName for Migration {
    fn name(&self) -> &str {
        "m0006_looks_and_lives"
    }
}

const CODES: &str = "authorization_codes";

fn name(text: &str) -> Alias {
    Alias::new(text)
}

/// An index over a column of the codes that is part of the table only.
fn codes(column: &str, index: &str, which: Expr) -> IndexCreateStatement {
    Index::create().name(index).table(name(CODES)).col(name(column)).and_where(which).take()
}

#[async_trait::async_trait]
impl MigrationTrait for Migration {
    /// As a whole or not at all, on SQLite too: a start that is cut off leaves nothing in the way of the next.
    fn use_transaction(&self) -> Option<bool> {
        Some(true)
    }

    async fn up(&self, manager: &SchemaManager) -> Result<(), DbErr> {
        let look_again = ColumnDef::new(name("look_again_at")).big_integer().null().take();
        manager.alter_table(Table::alter().table(name(CODES)).add_column(look_again).take()).await?;
        // Null: what the metadata say is the longest.
        let longest = ColumnDef::new(name("longest_token_life")).big_integer().null().take();
        manager.alter_table(Table::alter().table(name("clients")).add_column(longest).take()).await?;
        let look_again = || Expr::col(name("look_again_at"));
        for index in [
            codes("look_again_at", "ix_authorization_codes_look_again_at", look_again().is_not_null()),
            codes("expires_at", "ix_authorization_codes_expires_at_alone", look_again().is_null()),
        ] {
            manager.create_index(index).await?;
        }
        manager.drop_index(Index::drop().name("ix_authorization_codes_expires_at").table(name(CODES)).to_owned()).await
    }

    async fn down(&self, _manager: &SchemaManager) -> Result<(), DbErr> {
        Err(DbErr::Migration("a schema is never taken back".into()))
    }
}
