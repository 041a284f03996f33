//! The server's own keys, each for one use (requirement KE-5), all derived from the master key.

use std::fs;
use std::io::Write;
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::Path;

use base64::{Engine, prelude::BASE64_URL_SAFE_NO_PAD};
use keyward_keys::{DerivedKey, MacKey, MasterKey, Purpose, SealingKey};
use secrecy::ExposeSecret;

use crate::fault::Fault;
use crate::settings::{MasterKeySource, Settings};

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
    /// Tells master keys apart without telling them.
    pub fingerprint: String,
}

impl std::fmt::Debug for Secrets {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Secrets").field("fingerprint", &self.fingerprint).finish_non_exhaustive()
    }
}

impl Secrets {
    /// Derives every key.
    ///
    /// # Errors
    /// Where the cryptographic library refuses a key.
    pub fn derive(master: &MasterKey) -> Result<Self, Fault> {
        Ok(Self {
            token_hash: MacKey::new(master.derive(Purpose::TokenHash)),
            session_hash: MacKey::new(master.derive(Purpose::SessionHash)),
            client_secret_hash: MacKey::new(master.derive(Purpose::ClientSecretHash)),
            csrf: MacKey::new(master.derive(Purpose::Csrf)),
            session_id: MacKey::new(master.derive(Purpose::SessionId)),
            request_sealing: SealingKey::new(master.derive(Purpose::RequestSealing))?,
            signing_key_sealing: SealingKey::new(master.derive(Purpose::SigningKeySealing))?,
            successor_sealing: master.derive(Purpose::SuccessorSealing),
            fingerprint: master.fingerprint(),
        })
    }

    /// The `sid` of a session for one client: stable, and of no use to another (protocol decision 29).
    pub fn sid(&self, session_public_id: &str, client_id: &str) -> String {
        let tag = self.session_id.hash_list(&[session_public_id.as_bytes(), client_id.as_bytes()]);
        BASE64_URL_SAFE_NO_PAD.encode(tag.first_chunk::<16>().unwrap_or(&[0; 16]))
    }
}

/// Reads the master key; makes its file at the first start, readable by its owner alone.
///
/// # Errors
/// A message for the operator, which never holds the key.
pub fn master_key(settings: &Settings) -> Result<MasterKey, Fault> {
    match settings.master_key_source() {
        MasterKeySource::Value(text) => MasterKey::parse(text.expose_secret())
            .map_err(|error| Fault::broken(format_args!("keys.master_key: {error}"))),
        MasterKeySource::File(path) => match fs::read_to_string(&path) {
            Ok(text) => {
                warn_if_readable(&path);
                MasterKey::parse(text.trim())
                    .map_err(|error| Fault::broken(format_args!("the master key file {}: {error}", path.display())))
            }
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
                let master = MasterKey::generate()?;
                write_new(&path, &master)
                    .map_err(|error| Fault::broken(format_args!("the master key file {}: {error}", path.display())))?;
                tracing::info!(path = %path.display(), "a new master key was made; keep a copy of this file in a safe place");
                Ok(master)
            }
            Err(error) => Err(Fault::broken(format_args!("the master key file {}: {error}", path.display()))),
        },
    }
}

fn write_new(path: &Path, master: &MasterKey) -> std::io::Result<()> {
    if let Some(folder) = path.parent() {
        fs::DirBuilder::new().recursive(true).mode(0o700).create(folder)?;
    }
    let mut file = fs::OpenOptions::new().write(true).create_new(true).mode(0o600).open(path)?;
    file.write_all(master.encode().as_bytes())?;
    file.write_all(b"\n")?;
    file.sync_all()
}

fn warn_if_readable(path: &Path) {
    use std::os::unix::fs::PermissionsExt;
    if let Ok(metadata) = fs::metadata(path)
        && metadata.permissions().mode() & 0o077 != 0
    {
        tracing::warn!(path = %path.display(), "the master key file can be read by others than its owner; set its mode to 0600");
    }
}
