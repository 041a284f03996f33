//! The first schema. The tables that every request writes have no foreign keys: their rows are ended and removed by the
//! store's acts, and a check for each insert would be paid a thousand times a second.

use sea_orm_migration::prelude::*;

use crate::columns::{flag, index, index_of_set, moment, name, nullable, octets, text, unique, uuid};
use crate::layout::reference;

/// The change.
#[derive(Debug)]
pub struct Migration;

impl MigrationName for Migration {
    fn name(&self) -> &str {
        "m0001_initial"
    }
}

/// Facts that acts change and never add: the row is there to be locked before the first change, so that two servers
/// that start together on an empty database take turns.
const FACTS: [(&str, &str); 2] =
    [("directory_version", "0"), ("seals_cleared_until", "00000000-0000-0000-0000-000000000000")];

/// The organization to which everything belongs until there are more.
const DEFAULT_ORGANIZATION: [u8; 16] = [0, 0, 0, 0, 0, 0, 0x70, 0, 0x80, 0, 0, 0, 0, 0, 0, 1];

/// A table with `id` as its key and these columns.
fn table(table: &str, columns: Vec<ColumnDef>) -> TableCreateStatement {
    let mut create = Table::create();
    create.table(name(table)).if_not_exists().col(uuid("id").primary_key());
    for mut column in columns {
        create.col(&mut column);
    }
    create.take()
}

#[async_trait::async_trait]
impl MigrationTrait for Migration {
    /// As a whole or not at all, on SQLite too: a start that is cut off leaves nothing in the way of the next.
    fn use_transaction(&self) -> Option<bool> {
        Some(true)
    }

    async fn up(&self, manager: &SchemaManager) -> Result<(), DbErr> {
        let tables = [
            table("organizations", vec![text("name"), moment("created_at")]),
            table(
                "users",
                vec![
                    uuid("organization_id"),
                    text("subject"),
                    text("login_key"),
                    text("username"),
                    text("claims"),
                    text("attributes"),
                    nullable(text("password_hash")),
                    nullable(moment("password_changed_at")),
                    nullable(moment("disabled_at")),
                    moment("created_at"),
                    moment("updated_at"),
                ],
            ),
            table(
                "clients",
                vec![
                    uuid("organization_id"),
                    text("client_id"),
                    text("metadata"),
                    nullable(moment("disabled_at")),
                    moment("created_at"),
                    moment("updated_at"),
                ],
            ),
            table(
                "client_secrets",
                vec![
                    uuid("client"),
                    octets("secret_hash"),
                    nullable(octets("sealed_secret")),
                    moment("created_at"),
                    nullable(moment("expires_at")),
                ],
            ),
            table("client_audiences", vec![uuid("client"), text("audience")]),
            table(
                "roles",
                vec![
                    uuid("organization_id"),
                    nullable(uuid("client")),
                    text("name"),
                    text("description"),
                    text("permissions"),
                    moment("created_at"),
                ],
            ),
            table("role_inclusions", vec![uuid("role_id"), uuid("included_role_id")]),
            table("groups", vec![uuid("organization_id"), text("name"), text("description"), moment("created_at")]),
            table("group_members", vec![uuid("group_id"), uuid("user_id")]),
            table("group_roles", vec![uuid("group_id"), uuid("role_id")]),
            table("user_roles", vec![uuid("user_id"), uuid("role_id")]),
            table(
                "scopes",
                vec![
                    uuid("organization_id"),
                    text("name"),
                    text("title"),
                    text("description"),
                    text("permissions"),
                    moment("created_at"),
                ],
            ),
            table(
                "sessions",
                vec![
                    octets("session_hash"),
                    text("public_id"),
                    uuid("user_id"),
                    moment("auth_time"),
                    text("acr"),
                    text("amr"),
                    moment("created_at"),
                    moment("last_seen_at"),
                    moment("expires_at"),
                    nullable(moment("ended_at")),
                    nullable(text("end_reason")),
                    text("user_agent"),
                    text("address"),
                ],
            ),
            table(
                "consents",
                vec![uuid("user_id"), uuid("client"), text("scope"), moment("created_at"), moment("updated_at")],
            ),
            table(
                "authorization_codes",
                vec![
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
                ],
            ),
            table(
                "grants",
                vec![
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
                ],
            ),
            table(
                "refresh_tokens",
                vec![
                    octets("token_hash"),
                    uuid("grant_id"),
                    moment("issued_at"),
                    moment("expires_at"),
                    nullable(moment("spent_at")),
                    nullable(uuid("successor_id")),
                    nullable(octets("sealed_successor")),
                ],
            ),
            table(
                "signing_keys",
                vec![
                    text("kid"),
                    text("algorithm"),
                    text("state"),
                    octets("sealed_private"),
                    moment("created_at"),
                    nullable(moment("activated_at")),
                    nullable(moment("retired_at")),
                ],
            ),
            table(
                "setup_links",
                vec![octets("token_hash"), moment("created_at"), moment("expires_at"), nullable(moment("used_at"))],
            ),
            table(
                "audit_events",
                vec![
                    moment("at"),
                    text("kind"),
                    text("outcome"),
                    text("actor"),
                    nullable(text("subject")),
                    nullable(text("client_id")),
                    nullable(text("address")),
                    nullable(text("request_id")),
                    text("detail"),
                ],
            ),
        ];
        let cold = [
            ("users", "organization_id", "organizations"),
            ("clients", "organization_id", "organizations"),
            ("client_secrets", "client", "clients"),
            ("client_audiences", "client", "clients"),
            ("roles", "client", "clients"),
            ("role_inclusions", "role_id", "roles"),
            ("role_inclusions", "included_role_id", "roles"),
            ("group_members", "group_id", "groups"),
            ("group_members", "user_id", "users"),
            ("group_roles", "group_id", "groups"),
            ("group_roles", "role_id", "roles"),
            ("user_roles", "user_id", "users"),
            ("user_roles", "role_id", "roles"),
            ("consents", "user_id", "users"),
            ("consents", "client", "clients"),
        ];
        for mut create in tables {
            let table = create.get_table_name().map(|table| table.sea_orm_table().to_string()).unwrap_or_default();
            for (from, column, to) in cold {
                if from == table {
                    reference(&mut create, from, column, to);
                }
            }
            manager.create_table(create).await?;
        }
        manager
            .create_table(
                Table::create()
                    .table(name("replay_marks"))
                    .col(octets("mark").primary_key())
                    .col(moment("expires_at"))
                    .take(),
            )
            .await?;
        manager
            .create_table(
                Table::create().table(name("server_facts")).col(text("name").primary_key()).col(text("value")).take(),
            )
            .await?;
        for (table, columns, alone) in [
            ("users", &["subject"][..], true),
            ("users", &["organization_id", "login_key"], true),
            ("clients", &["client_id"], true),
            ("client_secrets", &["client"], false),
            ("client_audiences", &["audience"], true),
            ("roles", &["organization_id", "client", "name"], true),
            ("role_inclusions", &["role_id", "included_role_id"], true),
            ("groups", &["organization_id", "name"], true),
            ("group_members", &["user_id", "group_id"], true),
            ("group_roles", &["group_id", "role_id"], true),
            ("user_roles", &["user_id", "role_id"], true),
            ("scopes", &["organization_id", "name"], true),
            ("sessions", &["session_hash"], true),
            ("sessions", &["user_id"], false),
            ("consents", &["user_id", "client"], true),
            ("authorization_codes", &["code_hash"], true),
            ("grants", &["user_id"], false),
            ("grants", &["client"], false),
            ("refresh_tokens", &["token_hash"], true),
            // Tokens are removed with their grant. An index on their own end would be written by every refresh and
            // find little: the spent ones of a family, which are the most, stay as long as the family.
            ("refresh_tokens", &["grant_id"], false),
            // Redeeming a code sets its end to that of the grant, so this one index finds both.
            ("authorization_codes", &["expires_at"], false),
            ("sessions", &["expires_at"], false),
            ("signing_keys", &["kid"], true),
            ("setup_links", &["token_hash"], true),
            ("replay_marks", &["expires_at"], false),
            ("audit_events", &["at"], false),
        ] {
            manager.create_index(if alone { unique(table, columns) } else { index(table, columns) }).await?;
        }
        // Only what was ended before its time is in these, so nothing is written to them until something ends.
        for table in ["grants", "sessions"] {
            manager.create_index(index_of_set(table, "ended_at")).await?;
        }
        for (fact, value) in FACTS {
            let insert = Query::insert()
                .into_table(name("server_facts"))
                .columns([name("name"), name("value")])
                .values_panic([fact.into(), value.into()])
                .take();
            manager.get_connection().execute(&insert).await?;
        }
        let organization = uuid::Uuid::from_bytes(DEFAULT_ORGANIZATION);
        let insert = Query::insert()
            .into_table(name("organizations"))
            .columns([name("id"), name("name"), name("created_at")])
            .values_panic([organization.into(), "default".into(), 0_i64.into()])
            .take();
        manager.get_connection().execute(&insert).await?;
        Ok(())
    }

    async fn down(&self, _manager: &SchemaManager) -> Result<(), DbErr> {
        Err(DbErr::Migration("the first schema has nothing before it".into()))
    }
}
