//! A master key that is kept outside of the server, in HashiCorp Vault or AWS Secrets Manager (requirement KE-2). It is
//! read when the server starts or a command needs it, within a bounded time. Each reading is a line of the audit trail,
//! and so is each that failed (requirement KE-4). The server writes nothing there, and makes no key in the place of one
//! that is missing.
//!
//! Leaves out: how each of them is asked (`vault.rs`, `aws.rs`).

use std::collections::BTreeMap;

use futures_util::future::BoxFuture;
use keyward_keys::{MasterKey, MasterKeyError};
use serde_json::value::RawValue;
use thiserror::Error;
use zeroize::Zeroizing;

use super::{Audited, sealed_under, vault};
use crate::audit::AuditKind;
use crate::clock::Clock;
use crate::fault::Fault;
use crate::random::Random;
use crate::settings::{SecretReference, Settings};
use crate::store::Store;
use crate::store::root_seal::RootState;

/// Where an operator reads what to do when the master key can't be fetched.
const RUNBOOK: &str = "docs/runbooks/master-key-away.md";
/// How often an answer is asked for that doesn't come.
pub(super) const ATTEMPTS: u32 = 3;
/// Longest answer, in octets: that of a secret with many more fields than ours.
pub(super) const MOST_BYTES: usize = 256 * 1024;

/// Who keeps the secret.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Keeper {
    /// HashiCorp Vault, or OpenBao.
    Vault,
    /// AWS Secrets Manager.
    Aws,
}

impl Keeper {
    /// The name in the audit trail.
    const fn as_str(self) -> &'static str {
        match self {
            Self::Vault => "vault",
            Self::Aws => "aws",
        }
    }

    /// The name for people.
    const fn name(self) -> &'static str {
        match self {
            Self::Vault => "HashiCorp Vault",
            Self::Aws => "AWS Secrets Manager",
        }
    }
}

/// A master key that is kept outside, and what says so.
#[derive(Debug, Clone)]
pub struct KeptKey {
    keeper: Keeper,
    secret: SecretReference,
    named_by: NamedBy,
}

/// What names the secret.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum NamedBy {
    /// A setting: the database may depend on this key.
    Setting(&'static str),
    /// A flag of a command: the key is a new one.
    Flag(&'static str),
}

/// Why there is no master key. No variant carries any of the secret.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub(super) enum NotRead {
    /// No connection, no TLS that can be trusted, no HTTP, or no credentials to be had.
    #[error("it can't be reached ({0})")]
    Unreachable(String),
    /// It took too long.
    #[error("it took longer than keys.master_key_timeout allows")]
    TimedOut,
    /// It can't serve, for now.
    #[error("it can't serve now (status {0}; a sealed Vault says 503)")]
    NotServing(u16),
    /// It doesn't let us in; what the operator should look at.
    #[error("it doesn't allow this: {0}")]
    Forbidden(String),
    /// There is no such secret, or its newest version is deleted.
    #[error("there is no such secret, or it is deleted")]
    Missing,
    /// The secret has no such field.
    #[error("the secret has no field {0:?}")]
    NoField(String),
    /// The field isn't a text, or the secret isn't an object with fields.
    #[error("{0}")]
    NotText(&'static str),
    /// The text isn't a master key.
    #[error("{0}")]
    Malformed(MasterKeyError),
    /// The answer is too long for any secret of ours.
    #[error("its answer is longer than {MOST_BYTES} octets")]
    TooLong,
    /// The answer points elsewhere.
    #[error("it answers with a redirect, and none is followed; the setting must name the address that serves")]
    Redirected,
    /// Something else is wrong, in words for the operator.
    #[error("{0}")]
    Unusable(String),
}

impl NotRead {
    /// The name in the audit trail.
    const fn as_str(&self) -> &'static str {
        match self {
            Self::Unreachable(_) => "unreachable",
            Self::TimedOut => "timed_out",
            Self::NotServing(_) => "not_serving",
            Self::Forbidden(_) => "forbidden",
            Self::Missing => "missing",
            Self::NoField(_) => "no_field",
            Self::NotText(_) => "not_text",
            Self::Malformed(_) => "malformed",
            Self::TooLong => "too_long",
            Self::Redirected => "redirected",
            Self::Unusable(_) => "unusable",
        }
    }

    /// Whether it may pass by itself.
    const fn passes(&self) -> bool {
        matches!(self, Self::Unreachable(_) | Self::TimedOut | Self::NotServing(_))
    }
}

impl KeptKey {
    /// The key that the settings name.
    pub(super) const fn by_setting(keeper: Keeper, secret: SecretReference) -> Self {
        let setting = match keeper {
            Keeper::Vault => "keys.master_key_vault",
            Keeper::Aws => "keys.master_key_aws",
        };
        Self { keeper, secret, named_by: NamedBy::Setting(setting) }
    }

    /// A key that a flag of this name names.
    pub const fn by_flag(keeper: Keeper, secret: SecretReference, flag: &'static str) -> Self {
        Self { keeper, secret, named_by: NamedBy::Flag(flag) }
    }

    /// Reads the key, and writes down that it was read, or that it wasn't.
    ///
    /// # Errors
    /// A message for the operator, which never holds a key.
    pub async fn read(
        &self,
        settings: &Settings,
        store: &Store,
        random: Random,
        clock: &Clock,
        audited: Audited,
    ) -> Result<MasterKey, Fault> {
        // On the heap, and gone with the reading: what is waited for here is large, and most servers never do. Its type is
        // hidden, for it is also deep, and would be a part of that of every start.
        let fetching: BoxFuture<'_, _> = Box::pin(self.fetch(settings, clock));
        let fetched = fetching.await;
        let read = fetched.and_then(|text| MasterKey::parse(text.trim()).map_err(NotRead::Malformed));
        let event = audited(AuditKind::MasterKeyRead)
            .detail("keeper", self.keeper.as_str())
            .detail("secret", self.secret.to_string());
        let event = match &read {
            Ok(master) => event.detail("fingerprint", master.fingerprint()),
            Err(why) => event.failed().detail("reason", why.as_str()),
        };
        let now = clock.now();
        store.write_audit(vec![event.record(random.uuid_v7(now)?, now)]).await?;
        match read {
            Ok(master) => Ok(master),
            Err(why) => Err(self.explain(&why, settings, &store.root_state().await?)),
        }
    }

    async fn fetch(&self, settings: &Settings, clock: &Clock) -> Result<Zeroizing<String>, NotRead> {
        let time = settings.keys.master_key_timeout.as_duration();
        let fetched = async {
            match self.keeper {
                Keeper::Vault => vault::fetch(&settings.vault, &self.secret, time, clock).await,
                #[cfg(feature = "aws")]
                Keeper::Aws => super::aws::fetch(&settings.aws, &self.secret, time).await,
                #[cfg(not(feature = "aws"))]
                Keeper::Aws => Err(NotRead::Unusable("this program was built without its feature `aws`".to_owned())),
            }
        };
        tokio::time::timeout(time, fetched).await.unwrap_or(Err(NotRead::TimedOut))
    }

    fn explain(&self, why: &NotRead, settings: &Settings, state: &RootState) -> Fault {
        let (NamedBy::Setting(name) | NamedBy::Flag(name)) = self.named_by;
        let missing = match (why, self.named_by) {
            (NotRead::Missing | NotRead::NoField(_), NamedBy::Setting(_)) if !state.is_fresh() => {
                format!(" No new one was made, for {}. Put the secret back.", sealed_under(state))
            }
            (NotRead::Missing | NotRead::NoField(_), _) => {
                format!(" Keyward makes none there. Make it: {}.", self.recipe(settings))
            }
            _ => String::new(),
        };
        let text = format!(
            "the master key can't be read from {}, where {name} says that it is ({}): {why}. Nothing was changed.{missing} \
             {RUNBOOK} says what to do",
            self.keeper.name(),
            self.place(settings),
        );
        if why.passes() { Fault::Unavailable(text) } else { Fault::Broken(text) }
    }

    /// Where the secret is, for people.
    fn place(&self, settings: &Settings) -> String {
        match self.keeper {
            Keeper::Vault => {
                let address = settings.vault.address.as_deref().unwrap_or("no vault.address");
                let namespace = settings.vault.namespace.as_ref();
                let namespace = namespace.map(|name| format!(" in the namespace {name:?}")).unwrap_or_default();
                format!("{:?} in the mount {:?} of {address}{namespace}", self.secret.to_string(), settings.vault.mount)
            }
            Keeper::Aws => format!("{:?}", self.secret.to_string()),
        }
    }

    /// How the secret is made, by the programs of those who keep it. The key goes through a pipe: an argument would be
    /// shown to every user of the machine.
    fn recipe(&self, settings: &Settings) -> String {
        let name = self.secret.name();
        match (self.keeper, self.secret.field()) {
            (Keeper::Vault, field) => format!(
                "`keyward keys new-master-key | vault kv put -mount={} {name} {}=-`",
                settings.vault.mount,
                field.unwrap_or(vault::DEFAULT_FIELD),
            ),
            (Keeper::Aws, None) => format!(
                "`keyward keys new-master-key | aws secretsmanager create-secret --name {name} --secret-string \
                 file:///dev/stdin`"
            ),
            (Keeper::Aws, Some(field)) => format!(
                "put the text that `keyward keys new-master-key` prints into the field {field:?} of a JSON object, and \
                 that into the secret"
            ),
        }
    }
}

/// The text of a field of a JSON object. What is read stays where it is but for that text.
pub(super) fn field_of(fields: &BTreeMap<String, &RawValue>, field: &str) -> Result<Zeroizing<String>, NotRead> {
    let value = fields.get(field).ok_or_else(|| NotRead::NoField(field.to_owned()))?;
    serde_json::from_str(value.get()).map(Zeroizing::new).map_err(|_| NotRead::NotText("the field isn't a text"))
}
