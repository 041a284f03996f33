//! The shape of the tables, as sea-orm entities. No behaviour: the store alone reads and writes them.
//!
//! Conventions: `id` is a UUIDv7 that is never shown outside (the grant's is random, for tokens carry it); times are
//! microseconds since the epoch in a `bigint`; hashes are 32 octets; lists and documents are JSON as text, since a
//! signed or compared document must come back octet by octet. Columns named `client` refer to `clients.id`;
//! `client_id` is the protocol's identifier.

use std::sync::OnceLock;

use sea_orm::{DbBackend, Value};
use uuid::Uuid;

/// What a column can hold.
pub trait Cell: Sized + sea_orm::TryGetable {
    /// Reads the value; `None` where its kind isn't this one.
    fn from_value(value: Value) -> Option<Self>;
    /// The value that a driver gets.
    fn into_value(self) -> Value;
}

/// How a driver without types says NULL.
pub const NULL: Value = Value::BigInt(None);

macro_rules! cells {
    ($($type:ty: $($pattern:pat => $read:expr),+;)*) => {$(
        impl Cell for $type {
            fn from_value(value: Value) -> Option<Self> {
                match value { $($pattern => $read,)+ _ => None }
            }
            fn into_value(self) -> Value { self.into() }
        }
        impl Cell for Option<$type> {
            fn from_value(value: Value) -> Option<Self> {
                if value == NULL { Some(None) } else { <$type as Cell>::from_value(value).map(Some) }
            }
            fn into_value(self) -> Value { self.into() }
        }
    )*};
}
cells! {
    i64: Value::BigInt(number) => number;
    // SQLite has neither booleans nor UUIDs of its own.
    bool: Value::Bool(flag) => flag, Value::BigInt(number) => number.map(|number| number != 0);
    String: Value::String(text) => text;
    Vec<u8>: Value::Bytes(octets) => octets;
    Uuid: Value::Uuid(id) => id, Value::Bytes(Some(octets)) => Uuid::from_slice(&octets).ok();
}

/// A row whose columns are read in their order.
pub trait Cells {
    /// What goes wrong when a column is missing or of another kind.
    type Error;
    /// Reads the next column, which is this one.
    ///
    /// # Errors
    /// Where there is no further column or it is of another kind.
    fn cell<T: Cell>(&mut self, column: &'static str) -> Result<T, Self::Error>;
}

/// The text of a statement that is always the same but for its values, built once for each dialect.
#[derive(Debug, Default)]
pub struct StatementText {
    sqlite: OnceLock<String>,
    postgres: OnceLock<String>,
}

impl StatementText {
    /// A text that isn't built yet.
    pub const fn new() -> Self {
        Self { sqlite: OnceLock::new(), postgres: OnceLock::new() }
    }

    /// The text for this dialect, built at its first use.
    pub fn get_or_build(&self, dialect: DbBackend, build: impl FnOnce() -> String) -> &str {
        let text = if dialect == DbBackend::Sqlite { &self.sqlite } else { &self.postgres };
        text.get_or_init(build)
    }
}

/// An entity's row as a whole.
pub trait Record: Sized {
    /// The table.
    const TABLE: &'static str;
    /// Its columns, in the order of [`Record::into_values`].
    const COLUMNS: &'static [&'static str];
    /// Reads a row.
    ///
    /// # Errors
    /// Where a column is missing or of another kind.
    fn read<C: Cells>(cells: &mut C) -> Result<Self, C::Error>;
    /// The values for an insert.
    fn into_values(self) -> Vec<Value>;
    /// The text of an insert of one row.
    fn insert_text() -> &'static StatementText;
}

macro_rules! entity {
    ($(#[$doc:meta])* $module:ident = $table:literal {
        $(#[$key_doc:meta])* key $key:ident: $key_type:ty,
        $($(#[$field_doc:meta])* $field:ident: $type:ty,)*
    }) => {
        $(#[$doc])*
        #[allow(missing_docs, reason = "the derive adds public items of its own")]
        pub mod $module {
            use sea_orm::entity::prelude::*;

            #[derive(Clone, Debug, PartialEq, Eq, DeriveEntityModel)]
            #[sea_orm(table_name = $table)]
            pub struct Model {
                $(#[$key_doc])*
                #[sea_orm(primary_key, auto_increment = false)]
                pub $key: $key_type,
                $($(#[$field_doc])* pub $field: $type,)*
            }

            #[derive(Copy, Clone, Debug, EnumIter, DeriveRelation)]
            pub enum Relation {}

            impl ActiveModelBehavior for ActiveModel {}

            impl crate::Record for Model {
                const TABLE: &'static str = $table;
                const COLUMNS: &'static [&'static str] = &[stringify!($key), $(stringify!($field),)*];

                fn read<C: crate::Cells>(cells: &mut C) -> Result<Self, C::Error> {
                    Ok(Self {
                        $key: cells.cell(stringify!($key))?,
                        $($field: cells.cell(stringify!($field))?,)*
                    })
                }

                fn insert_text() -> &'static crate::StatementText {
                    static TEXT: crate::StatementText = crate::StatementText::new();
                    &TEXT
                }

                fn into_values(self) -> Vec<sea_orm::Value> {
                    vec![crate::Cell::into_value(self.$key), $(crate::Cell::into_value(self.$field),)*]
                }
            }
        }
    };
}

entity! {
    /// A tenant. One is made by the first migration, and everything belongs to it.
    organization = "organizations" { key id: Uuid, name: String, created_at: i64, }
}

entity! {
    /// A person.
    user = "users" {
        key id: Uuid,
        organization_id: Uuid,
        /// `sub`: made once, never reassigned.
        subject: String,
        /// The user name in NFKC, case-folded: what is looked up.
        login_key: String,
        /// The user name as it was given.
        username: String,
        /// The standard claims, JSON.
        claims: String,
        /// Custom attributes, JSON.
        attributes: String,
        /// PHC string.
        password_hash: Option<String>,
        password_changed_at: Option<i64>,
        disabled_at: Option<i64>,
        created_at: i64,
        updated_at: i64,
    }
}

entity! {
    /// A registered client.
    client = "clients" {
        key id: Uuid,
        organization_id: Uuid,
        client_id: String,
        /// The metadata, JSON.
        metadata: String,
        disabled_at: Option<i64>,
        created_at: i64,
        updated_at: i64,
        /// The longest life, in seconds, that earlier metadata may have given its access tokens.
        longest_token_life: Option<i64>,
    }
}

entity! {
    /// A secret of a client; several at once for rotation.
    client_secret = "client_secrets" {
        key id: Uuid,
        client: Uuid,
        secret_hash: Vec<u8>,
        /// Only where a standard needs the octets as a key.
        sealed_secret: Option<Vec<u8>>,
        created_at: i64,
        expires_at: Option<i64>,
    }
}

entity! {
    /// A client stands for this audience as a resource server.
    client_audience = "client_audiences" { key id: Uuid, client: Uuid, audience: String, }
}

entity! {
    /// A role of the server, or of a client.
    role = "roles" {
        key id: Uuid,
        organization_id: Uuid,
        client: Option<Uuid>,
        name: String,
        description: String,
        /// The permissions it gives by itself, a JSON list.
        permissions: String,
        created_at: i64,
    }
}

entity! {
    /// One role includes another.
    role_inclusion = "role_inclusions" { key id: Uuid, role_id: Uuid, included_role_id: Uuid, }
}

entity! {
    /// A group of users.
    group = "groups" {
        key id: Uuid,
        organization_id: Uuid,
        name: String,
        description: String,
        created_at: i64,
    }
}

entity! {
    /// A user is in a group.
    group_member = "group_members" { key id: Uuid, group_id: Uuid, user_id: Uuid, }
}

entity! {
    /// Every member of a group has a role.
    group_role = "group_roles" { key id: Uuid, group_id: Uuid, role_id: Uuid, }
}

entity! {
    /// A user has a role.
    user_role = "user_roles" { key id: Uuid, user_id: Uuid, role_id: Uuid, }
}

entity! {
    /// A scope that clients can be granted.
    scope = "scopes" {
        key id: Uuid,
        organization_id: Uuid,
        name: String,
        /// For the consent page.
        title: String,
        /// For the consent page.
        description: String,
        /// The permissions that tokens of this scope may carry, a JSON list.
        permissions: String,
        created_at: i64,
        /// The roles of which a person must have one to give this scope, a JSON list of ids; empty: anybody may.
        role_ids: String,
    }
}

entity! {
    /// A person's session at this server.
    session = "sessions" {
        key id: Uuid,
        /// The hash of the cookie's value.
        session_hash: Vec<u8>,
        /// Constant through rotation of the cookie; each client's `sid` is derived from it.
        public_id: String,
        user_id: Uuid,
        auth_time: i64,
        acr: String,
        /// JSON list.
        amr: String,
        created_at: i64,
        last_seen_at: i64,
        expires_at: i64,
        ended_at: Option<i64>,
        end_reason: Option<String>,
        user_agent: String,
        address: String,
    }
}

entity! {
    /// What a person allowed a client.
    consent = "consents" {
        key id: Uuid,
        user_id: Uuid,
        client: Uuid,
        scope: String,
        created_at: i64,
        updated_at: i64,
        /// Single claims beside those of the scope, a JSON list of names.
        claims: String,
    }
}

entity! {
    /// An authorization code.
    authorization_code = "authorization_codes" {
        key id: Uuid,
        code_hash: Vec<u8>,
        client: Uuid,
        user_id: Uuid,
        session_id: Uuid,
        /// The grant that its redemption makes.
        grant_id: Uuid,
        redirect_uri: String,
        redirect_uri_named: bool,
        challenge: Option<Vec<u8>>,
        scope: String,
        /// JSON list.
        resources: String,
        nonce: Option<String>,
        auth_time: i64,
        acr: String,
        /// JSON list.
        amr: String,
        /// Whether it was issued on a consent that must still stand.
        needs_consent: bool,
        issued_at: i64,
        expires_at: i64,
        spent_at: Option<i64>,
        /// What the `claims` parameter asked for and may be released, JSON.
        requested_claims: Option<String>,
        /// Once it is spent, when cleaning up looks whether its family still lives: it is kept at least as long.
        look_again_at: Option<i64>,
        /// Set where the code doesn't say its place, and is found by its hash.
        hash_only: Option<bool>,
    }
}

entity! {
    /// What a person granted a client by one authorization: the family of its refresh tokens.
    grant = "grants" {
        /// In the order of time. Tokens carry it: it says when the authorization was given.
        key id: Uuid,
        user_id: Uuid,
        client: Uuid,
        session_id: Uuid,
        /// Ends with the session, for `offline_access` wasn't granted.
        tied_to_session: bool,
        scope: String,
        /// JSON list.
        resources: String,
        auth_time: i64,
        acr: String,
        /// JSON list.
        amr: String,
        created_at: i64,
        expires_at: i64,
        ended_at: Option<i64>,
        end_reason: Option<String>,
        /// What the `claims` parameter asked for and may be released, JSON.
        requested_claims: Option<String>,
    }
}

entity! {
    /// A refresh token, current or spent.
    refresh_token = "refresh_tokens" {
        key id: Uuid,
        /// Of the secret in it.
        token_hash: Vec<u8>,
        grant_id: Uuid,
        issued_at: i64,
        expires_at: i64,
        spent_at: Option<i64>,
        successor_id: Option<Uuid>,
        /// The successor's secret, sealed under that of this token and a server key.
        sealed_successor: Option<Vec<u8>>,
        /// Set where the token doesn't say its place and is found by its hash; null otherwise.
        hash_only: Option<bool>,
    }
}

entity! {
    /// An opaque access token.
    opaque_token = "opaque_tokens" {
        key token_hash: Vec<u8>,
        /// Its name, as a JWT's `jti`.
        jti: String,
        client: Uuid,
        client_id: String,
        /// None where it is the client's own (RFC 6749 §4.4).
        grant_id: Option<Uuid>,
        scope: String,
        /// JSON list.
        audience: String,
        issued_at: i64,
        expires_at: i64,
    }
}

entity! {
    /// A status list. Its entries are handed out in blocks of positions, from the first on.
    status_list = "status_lists" {
        key number: i64,
        /// How many positions were handed out.
        positions: i64,
        /// When the last block was.
        leased_at: i64,
    }
}

entity! {
    /// An access token that is in a status list.
    status_entry = "status_entries" {
        /// List and index as one number.
        key slot: i64,
        /// The grant; of a client's token for itself the client.
        grant_id: Uuid,
        expires_at: i64,
        /// Set where the token was ended by itself, or its grant was removed; everything else is seen by its grant.
        ended_at: Option<i64>,
    }
}

entity! {
    /// A signing key, its private part sealed.
    signing_key = "signing_keys" {
        key id: Uuid,
        kid: String,
        algorithm: String,
        /// `next`, `active`, `retired`, `archived` or `revoked`.
        state: String,
        sealed_private: Vec<u8>,
        /// When it was published.
        created_at: i64,
        activated_at: Option<i64>,
        retired_at: Option<i64>,
        /// Of its public half (RFC 7638); keys without it are named by it.
        thumbprint: Option<String>,
        archived_at: Option<i64>,
        revoked_at: Option<i64>,
    }
}

entity! {
    /// The root secret, sealed under one master key.
    root_seal = "root_seals" {
        /// That of the master key.
        key fingerprint: String,
        /// The form of what is sealed.
        version: i64,
        sealed_root: Vec<u8>,
        created_at: i64,
    }
}

entity! {
    /// A one-time link to the set-up page.
    setup_link = "setup_links" {
        key id: Uuid,
        token_hash: Vec<u8>,
        created_at: i64,
        expires_at: i64,
        used_at: Option<i64>,
    }
}

entity! {
    /// Something that may be used once until a moment: an assertion's `jti`.
    replay_mark = "replay_marks" { key mark: Vec<u8>, expires_at: i64, }
}

entity! {
    /// A line of the audit trail.
    audit_event = "audit_events" {
        key id: Uuid,
        at: i64,
        kind: String,
        outcome: String,
        /// `user:<subject>`, `client:<client_id>`, `cli`, `server` or `anonymous`.
        actor: String,
        subject: Option<String>,
        client_id: Option<String>,
        address: Option<String>,
        request_id: Option<String>,
        /// JSON object; never a secret or token.
        detail: String,
    }
}

entity! {
    /// Facts about this installation, by name.
    server_fact = "server_facts" { key name: String, value: String, }
}
