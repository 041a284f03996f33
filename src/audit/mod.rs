//! The audit trail: who did what, with which outcome. No secret and no token is ever in it.
//!
//! People's acts, admin acts, reuse and revocation are written in the act's own transaction. Failures and refusals go
//! through a bounded queue to a batch writer (`queue.rs`): a full queue slows the caller, and a crash may lose its last
//! second. Routine successes of machines go to the log alone.

mod queue;

use keyward_entities::audit_event;
use keyward_protocol::Timestamp;
use serde_json::{Map, Value};
use uuid::Uuid;

pub use queue::AuditQueue;

/// What happened.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[allow(missing_docs, reason = "the names say it")]
pub enum AuditKind {
    SignIn,
    SignOut,
    ConsentGiven,
    ConsentDenied,
    AuthorizationRefused,
    ScopeWithheld,
    AppDisconnected,
    CodeReplayed,
    RefreshTokenReused,
    TokenRevoked,
    ClientAuthentication,
    UserAdded,
    UserChanged,
    UserDeleted,
    PasswordSet,
    ClientAdded,
    ClientChanged,
    ClientSecretAdded,
    ClientDeleted,
    RoleChanged,
    GroupChanged,
    ScopeChanged,
    KeyGenerated,
    KeyRotated,
    KeyRetired,
    KeyWithdrawn,
    KeyRemoved,
    KeyRevoked,
    KeyImported,
    KeyExported,
    MasterKeyAdded,
    MasterKeyChanged,
    MasterKeyRead,
    SetupLinkMade,
    SetupCompleted,
}

impl AuditKind {
    /// The name in the trail.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::SignIn => "sign_in",
            Self::SignOut => "sign_out",
            Self::ConsentGiven => "consent_given",
            Self::ConsentDenied => "consent_denied",
            Self::AuthorizationRefused => "authorization_refused",
            Self::ScopeWithheld => "scope_withheld",
            Self::AppDisconnected => "app_disconnected",
            Self::CodeReplayed => "code_replayed",
            Self::RefreshTokenReused => "refresh_token_reused",
            Self::TokenRevoked => "token_revoked",
            Self::ClientAuthentication => "client_authentication",
            Self::UserAdded => "user_added",
            Self::UserChanged => "user_changed",
            Self::UserDeleted => "user_deleted",
            Self::PasswordSet => "password_set",
            Self::ClientAdded => "client_added",
            Self::ClientChanged => "client_changed",
            Self::ClientSecretAdded => "client_secret_added",
            Self::ClientDeleted => "client_deleted",
            Self::RoleChanged => "role_changed",
            Self::GroupChanged => "group_changed",
            Self::ScopeChanged => "scope_changed",
            Self::KeyGenerated => "key_generated",
            Self::KeyRotated => "key_rotated",
            Self::KeyRetired => "key_retired",
            Self::KeyWithdrawn => "key_withdrawn",
            Self::KeyRemoved => "key_removed",
            Self::KeyRevoked => "key_revoked",
            Self::KeyImported => "key_imported",
            Self::KeyExported => "key_exported",
            Self::MasterKeyAdded => "master_key_added",
            Self::MasterKeyChanged => "master_key_changed",
            Self::MasterKeyRead => "master_key_read",
            Self::SetupLinkMade => "setup_link_made",
            Self::SetupCompleted => "setup_completed",
        }
    }
}

/// How it ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum AuditOutcome {
    /// As asked.
    Success,
    /// Refused.
    Failure,
}

/// Who and from where, known before anything is decided.
#[derive(Debug, Clone, Default)]
pub struct AuditOrigin {
    /// `cli`, or the address of the peer.
    pub address: Option<String>,
    /// The request.
    pub request_id: Option<String>,
}

/// One line, before it has an id and a time.
#[derive(Debug, Clone)]
pub struct AuditEvent {
    kind: AuditKind,
    outcome: AuditOutcome,
    actor: String,
    subject: Option<String>,
    client_id: Option<String>,
    origin: AuditOrigin,
    detail: Map<String, Value>,
}

impl AuditEvent {
    /// Something that was done by `actor`: `user:<sub>`, `client:<client_id>`, `cli`, `server` or `anonymous`.
    pub fn new(kind: AuditKind, outcome: AuditOutcome, actor: impl Into<String>, origin: &AuditOrigin) -> Self {
        Self {
            kind,
            outcome,
            actor: actor.into(),
            subject: None,
            client_id: None,
            origin: origin.clone(),
            detail: Map::new(),
        }
    }

    /// An admin's act by the command line.
    pub fn by_cli(kind: AuditKind) -> Self {
        Self::new(kind, AuditOutcome::Success, "cli", &AuditOrigin::default())
    }

    /// What the server does by itself, by a schedule.
    pub fn by_server(kind: AuditKind) -> Self {
        Self::new(kind, AuditOutcome::Success, "server", &AuditOrigin::default())
    }

    /// It was tried in vain.
    #[must_use]
    pub fn failed(mut self) -> Self {
        self.outcome = AuditOutcome::Failure;
        self
    }

    /// The user it is about.
    #[must_use]
    pub fn subject(mut self, subject: impl Into<String>) -> Self {
        self.subject = Some(subject.into());
        self
    }

    /// The client it is about.
    #[must_use]
    pub fn client(mut self, client_id: impl Into<String>) -> Self {
        self.client_id = Some(client_id.into());
        self
    }

    /// A fact more.
    #[must_use]
    pub fn detail(mut self, name: &str, value: impl Into<Value>) -> Self {
        self.detail.insert(name.to_owned(), value.into());
        self
    }

    /// The row.
    pub fn record(self, id: Uuid, at: Timestamp) -> audit_event::Model {
        audit_event::Model {
            id,
            at: at.micros(),
            kind: self.kind.as_str().to_owned(),
            outcome: match self.outcome {
                AuditOutcome::Success => "success",
                AuditOutcome::Failure => "failure",
            }
            .to_owned(),
            actor: self.actor,
            subject: self.subject,
            client_id: self.client_id,
            address: self.origin.address,
            request_id: self.origin.request_id,
            detail: Value::Object(self.detail).to_string(),
        }
    }
}
