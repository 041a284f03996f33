//! The server's own keys, each for one use (requirement KE-5), all derived from the root secret, which lies in the
//! database sealed under the master key. Where the master key comes from: the settings, a file (`file.rs`), or a secret
//! that is kept outside of the server (`kept.rs`).

#[cfg(feature = "aws")]
mod aws;
mod file;
mod kept;
mod vault;

use std::path::Path;

use base64::{Engine, prelude::BASE64_URL_SAFE_NO_PAD};
use keyward_entities::root_seal;
use keyward_keys::{DerivedKey, MacKey, MasterKey, Purpose, RootSecret, SealingKey};
use keyward_protocol::Timestamp;
use secrecy::ExposeSecret;

use crate::audit::{AuditEvent, AuditKind};
use crate::clock::Clock;
use crate::fault::Fault;
use crate::random::Random;
use crate::settings::{MasterKeySource, Settings};
use crate::store::Store;
use crate::store::root_seal::RootState;

pub use file::{make_master_key, read_master_key};
pub use kept::{Keeper, KeptKey};

/// The derived keys.
pub struct Secrets {
    /// Hashes codes and refresh tokens for storing.
    pub token_hash: MacKey,
    /// Hashes session cookies for storing.
    pub session_hash: MacKey,
    /// Hashes generated client secrets.
    pub client_secret_hash: MacKey,
    /// Makes form tokens.
    pub csrf: MacKey,
    /// Makes each client's `sid` of a session.
    pub session_id: MacKey,
    /// Seals the pending authorization request.
    pub request_sealing: SealingKey,
    /// Seals private signing keys.
    pub signing_key_sealing: SealingKey,
    /// With the presented refresh token, seals its successor.
    pub successor_sealing: DerivedKey,
}

impl std::fmt::Debug for Secrets {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Secrets").finish_non_exhaustive()
    }
}

impl Secrets {
    /// Derives every key.
    ///
    /// # Errors
    /// Where the cryptographic library refuses a key.
    pub fn derive(root: &RootSecret) -> Result<Self, Fault> {
        Ok(Self {
            token_hash: MacKey::new(root.derive(Purpose::TokenHash)),
            session_hash: MacKey::new(root.derive(Purpose::SessionHash)),
            client_secret_hash: MacKey::new(root.derive(Purpose::ClientSecretHash)),
            csrf: MacKey::new(root.derive(Purpose::Csrf)),
            session_id: MacKey::new(root.derive(Purpose::SessionId)),
            request_sealing: SealingKey::new(root.derive(Purpose::RequestSealing))?,
            signing_key_sealing: SealingKey::new(root.derive(Purpose::SigningKeySealing))?,
            successor_sealing: root.derive(Purpose::SuccessorSealing),
        })
    }

    /// The `sid` of a session for one client: stable, and of no use to another (protocol decision 29).
    pub fn sid(&self, session_public_id: &str, client_id: &str) -> String {
        let tag = self.session_id.hash_list(&[session_public_id.as_bytes(), client_id.as_bytes()]);
        BASE64_URL_SAFE_NO_PAD.encode(tag.first_chunk::<16>().unwrap_or(&[0; 16]))
    }
}

/// Where an operator reads what to do without the master key.
const RUNBOOK: &str = "docs/runbooks/lost-master-key.md";
/// The form of a sealed root secret.
const SEAL_VERSION: i64 = 1;

/// The master key that the settings name, and the root secret that it opened.
#[derive(Debug)]
pub struct Opened {
    /// The master key.
    pub master: MasterKey,
    /// The root secret.
    pub root: RootSecret,
}

/// Begins a line of the audit trail: what a command does or what the server does by itself.
pub type Audited = fn(AuditKind) -> AuditEvent;

/// Opens the database's root secret with the master key of the settings. In a database that nobody has used it makes
/// one, and the file of the master key where there is none; in one from before there were root secrets, the master key
/// becomes it. In any other case nothing is written but that a master key was read from where it is kept.
///
/// # Errors
/// A message for the operator, which never holds a key.
pub async fn open_root(
    settings: &Settings,
    store: &Store,
    random: Random,
    clock: &Clock,
    audited: Audited,
) -> Result<Opened, Fault> {
    let mut state = store.root_state().await?;
    let master = match settings.master_key_source() {
        MasterKeySource::Value(text) => MasterKey::parse(text.expose_secret())
            .map_err(|error| Fault::broken(format_args!("keys.master_key: {error}")))?,
        MasterKeySource::File(path) => of_file(&path, &state, random)?,
        MasterKeySource::Vault(secret) => {
            KeptKey::by_setting(Keeper::Vault, secret).read(settings, store, random, clock, audited).await?
        }
        MasterKeySource::Aws(secret) => {
            KeptKey::by_setting(Keeper::Aws, secret).read(settings, store, random, clock, audited).await?
        }
    };
    if state.seals.is_empty() {
        let root = match &state.fingerprint {
            None if state.is_fresh() => RootSecret::generate()?,
            Some(known) if *known == master.fingerprint() => RootSecret::of_master(&master),
            _ => return Err(wrong_master(settings, &master, &state)),
        };
        let seal = sealed_copy(&root, &master, random, clock.now())?;
        state = store.keep_first_root_seal(state, seal, root.fingerprint()).await?;
    }
    let fingerprint = master.fingerprint();
    let Some(seal) = state.seals.iter().find(|seal| seal.fingerprint == fingerprint) else {
        return Err(wrong_master(settings, &master, &state));
    };
    if seal.version != SEAL_VERSION {
        return Err(Fault::broken("the root secret was sealed by a newer program than this"));
    }
    let root = RootSecret::open(&master, &seal.sealed_root).map_err(|error| {
        Fault::broken(format_args!("the root secret in the database is damaged: {error}; see {RUNBOOK}"))
    })?;
    if state.fingerprint.as_deref() != Some(&root.fingerprint()) {
        return Err(Fault::broken(format_args!("the root secret isn't the one of this database; see {RUNBOOK}")));
    }
    Ok(Opened { master, root })
}

/// A row with the root secret sealed under this master key.
///
/// # Errors
/// Where there is no chance to be had or the cryptographic library fails.
pub fn sealed_copy(
    root: &RootSecret,
    master: &MasterKey,
    random: Random,
    now: Timestamp,
) -> Result<root_seal::Model, Fault> {
    Ok(root_seal::Model {
        fingerprint: master.fingerprint(),
        version: SEAL_VERSION,
        sealed_root: root.seal(master, random.bytes()?).map_err(Fault::broken)?,
        created_at: now.micros(),
    })
}

fn wrong_master(settings: &Settings, master: &MasterKey, state: &RootState) -> Fault {
    let place = match settings.master_key_source() {
        MasterKeySource::Value(_) => "keys.master_key".to_owned(),
        MasterKeySource::File(path) => path.display().to_string(),
        MasterKeySource::Vault(secret) => {
            format!("{secret:?}, which keys.master_key_vault names,", secret = secret.to_string())
        }
        MasterKeySource::Aws(secret) => {
            format!("{secret:?}, which keys.master_key_aws names,", secret = secret.to_string())
        }
    };
    Fault::broken(format_args!(
        "the master key in {place} has the fingerprint {}, but {}. Nothing was changed. Put back the master key that \
         belongs to this database; {RUNBOOK} says how to find it and what to do if it is lost",
        master.fingerprint(),
        sealed_under(state),
    ))
}

/// Which master keys open the database, in words.
fn sealed_under(state: &RootState) -> String {
    let mut known: Vec<&str> = state.seals.iter().map(|seal| seal.fingerprint.as_str()).collect();
    if known.is_empty() {
        known.extend(state.fingerprint.as_deref());
    }
    match known.as_slice() {
        [] => "the database's keys were sealed under another one".to_owned(),
        known => format!("the database is sealed under the one with the fingerprint {}", known.join(" or ")),
    }
}

/// Reads the master key's file; makes it for a database that nobody has used.
fn of_file(path: &Path, state: &RootState, random: Random) -> Result<MasterKey, Fault> {
    match read_master_key(path)? {
        Some(master) => Ok(master),
        None if state.is_fresh() => {
            let master = make_master_key(path, random)?;
            tracing::info!(path = %path.display(), "a new master key was made; keep a copy of this file in a safe place");
            Ok(master)
        }
        // A new key beside sealed rows would open nothing, and hide that the right one is missing.
        None => Err(Fault::broken(format_args!(
            "the master key file {} is missing, and {}. No new one was made. Put the file back; {RUNBOOK} says how to \
             find it and what to do if it is lost",
            path.display(),
            sealed_under(state),
        ))),
    }
}
