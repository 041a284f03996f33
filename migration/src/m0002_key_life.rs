//! What the life cycle of keys needs: sealed copies of the root secret, when a signing key left the JWK Set or was
//! revoked, and the longest life that anything signed may have.

use sea_orm_migration::prelude::*;

use crate::columns::{add, moment, name, nullable, number, octets, text};

/// The change.
#[derive(Debug)]
pub struct Migration;

impl MigrationName for Migration {
    fn name(&self) -> &str {
        "m0002_key_life"
    }
}

/// The member of a client's metadata that gives its access tokens a life of their own, in seconds.
const LIFETIME: &str = "\"access_token_lifetime\":";

#[async_trait::async_trait]
impl MigrationTrait for Migration {
    /// As a whole or not at all, on SQLite too: a start that is cut off leaves nothing in the way of the next.
    fn use_transaction(&self) -> Option<bool> {
        Some(true)
    }

    async fn up(&self, manager: &SchemaManager) -> Result<(), DbErr> {
        let seals = Table::create()
            .table(name("root_seals"))
            // That of the master key which opens it.
            .col(text("fingerprint").primary_key())
            .col(number("version"))
            .col(octets("sealed_root"))
            .col(moment("created_at"))
            .take();
        manager.create_table(seals).await?;
        // SQLite adds one column at a time.
        for column in [text("thumbprint"), moment("archived_at"), moment("revoked_at")] {
            manager.alter_table(add("signing_keys", nullable(column))).await?;
        }
        let connection = manager.get_connection();
        let select = Query::select()
            .column(name("metadata"))
            .from(name("clients"))
            .and_where(Expr::col(name("metadata")).like(format!("%{LIFETIME}%")))
            .take();
        let mut longest = 0_u64;
        for row in connection.query_all(&select).await? {
            let metadata: String = row.try_get("", "metadata")?;
            longest = Ord::max(longest, lifetime_in(&metadata));
        }
        let insert = Query::insert()
            .into_table(name("server_facts"))
            .columns([name("name"), name("value")])
            .values_panic(["longest_token_life".into(), longest.to_string().into()])
            .take();
        connection.execute(&insert).await?;
        Ok(())
    }

    async fn down(&self, _manager: &SchemaManager) -> Result<(), DbErr> {
        Err(DbErr::Migration("what is sealed under the root secret would be lost".into()))
    }
}

/// The number after the first such member; zero where it is null. A client's name that looks like the member can only
/// make a key stay published for longer.
fn lifetime_in(metadata: &str) -> u64 {
    metadata
        .split(LIFETIME)
        .skip(1)
        .filter_map(|rest| {
            let digits: String = rest.chars().take_while(char::is_ascii_digit).collect();
            digits.parse::<u64>().ok()
        })
        .max()
        .unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::lifetime_in;

    #[test]
    fn a_lifetime_is_found_in_metadata() {
        assert_eq!(lifetime_in(r#"{"client_name":"x","access_token_lifetime":5400,"y":1}"#), 5400);
        assert_eq!(lifetime_in(r#"{"access_token_lifetime":null,"y":1}"#), 0);
        assert_eq!(lifetime_in("{}"), 0);
    }
}
