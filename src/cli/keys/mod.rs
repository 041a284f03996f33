//! `keyward keys`: the signing keys, their rotation, and the master key that all depends on. A key is published before
//! it signs, and stays published after it signed, so that no client with a cached JWK Set meets a token that it can't
//! verify (requirements KE-1, KE-2 and KE-3).

mod export;
mod import;
mod reseal;
mod revoke;
mod rotate;

use std::path::PathBuf;

use clap::{Args, Subcommand, ValueEnum};
use keyward_keys::{Algorithm, MasterKey};
use keyward_protocol::key_schedule::KeyRefusal;
use serde_json::{Value, json};

use super::output::{Failure, Report, moment_of, table};
use crate::app::App;
use crate::clock::moment;
use crate::fault::Fault;
use crate::secret::Opened;
use crate::settings::SecretReference;
use crate::store::signing_key::KeyChange;

/// What to do with signing keys.
#[derive(Debug, Subcommand)]
pub(super) enum KeysCommand {
    /// List the signing keys and their states
    ///
    /// `next` keys are published and wait for their turn, `active` ones sign, `retired` ones stay published until the
    /// last token that they signed has expired, `archived` ones only recognise ID tokens that come back at a logout,
    /// and nothing that a `revoked` one signed is accepted.
    List,
    /// Make one more next key
    Generate {
        /// Algorithm of the key
        #[arg(long, value_name = "ALGORITHM", value_parser = super::algorithm)]
        algorithm: Algorithm,
        /// Size of an RSA key: 2048, 3072 or 4096
        #[arg(long, value_name = "BITS")]
        bits: Option<u32>,
    },
    /// Let the next key sign, if it has been published long enough
    ///
    /// The key that signed before stays published until the last token that it signed has expired: no token is refused.
    Rotate {
        /// Algorithm whose key is rotated; else all that the settings name
        #[arg(long, value_name = "ALGORITHM", value_parser = super::algorithm)]
        algorithm: Option<Algorithm>,
        /// The next key that shall sign, if there are several; else the one that was published first
        #[arg(long, value_name = "KEY", requires = "algorithm")]
        to: Option<String>,
        /// Don't wait until every client can have seen the next key
        #[arg(long)]
        now: bool,
    },
    /// End a key's signing before its time; it stays published for its tokens
    Retire {
        /// The active key
        #[arg(allow_hyphen_values = true)]
        key: String,
        /// Don't wait until every client can have seen the next key
        #[arg(long)]
        now: bool,
    },
    /// End a key at once: nothing that it signed is accepted any more
    ///
    /// For a key that may be in wrong hands. Says first what becomes invalid, and asks. Every node refuses the key's tokens
    /// within a second; resource servers that check signatures themselves, when they fetch the keys the next time.
    Revoke {
        /// The key
        #[arg(allow_hyphen_values = true)]
        key: String,
        /// Don't ask
        #[arg(long)]
        yes: bool,
    },
    /// Take over a private key that was made elsewhere, as a next key
    ///
    /// Reads PKCS#8 in PEM or a JWK, from a file or from standard input. Weak, known and mismatched keys are refused.
    Import {
        /// The file; else standard input
        file: Option<PathBuf>,
        /// Algorithm of the key, where it leaves a choice: RSA keys are for RS256 or PS256
        #[arg(long, value_name = "ALGORITHM", value_parser = super::algorithm)]
        algorithm: Option<Algorithm>,
        /// Name (`kid`) of the key; else the JWK's, else its thumbprint (RFC 7638)
        #[arg(long, value_name = "NAME")]
        kid: Option<String>,
    },
    /// Print public keys for others: one key, or all that are published
    ExportPublic {
        /// The key; else all that are published
        key: Option<String>,
        /// Form; else a JWK for one key, a JWK Set for all
        #[arg(long)]
        format: Option<PublicForm>,
    },
    /// Make a master key and print it, for a secret manager
    ///
    /// Nothing is stored: what is printed is the only copy. Keep it where `keys.master_key_vault`, `keys.master_key_aws` or
    /// `--new-key-vault` and `--new-key-aws` of `reseal` find it. For a master key in a file nothing must be made.
    NewMasterKey,
    /// Change the master key without downtime, or show which master keys open the database
    ///
    /// First seal the database's secret under the new key as well (one of the flags --new-key-…). Then give the new
    /// key to every node by its settings and restart them one by one; nodes with the old key go on working. At last, with
    /// the new key in the settings, say --finish: the old key opens nothing any more. No token, session or client secret
    /// becomes invalid.
    Reseal(ResealFlags),
}

/// Where a new master key comes from, or that the change is finished.
#[derive(Debug, Args)]
pub(super) struct ResealFlags {
    /// File with the new master key; it is made if there is none
    #[arg(long, value_name = "FILE", group = "step")]
    new_key_file: Option<PathBuf>,
    /// Read the new master key from standard input
    #[arg(long, group = "step")]
    new_key_stdin: bool,
    /// Read the new master key from this secret of HashiCorp Vault, as keys.master_key_vault would; vault.… are set already
    #[arg(long, value_name = "PATH[#FIELD]", group = "step")]
    new_key_vault: Option<SecretReference>,
    /// Read the new master key from this secret of AWS Secrets Manager, as keys.master_key_aws would
    #[arg(long, value_name = "NAME[#FIELD]", group = "step")]
    new_key_aws: Option<SecretReference>,
    /// Let only the master key of the settings open the database from now on
    #[arg(long, group = "step")]
    finish: bool,
    /// Don't ask
    #[arg(long, requires = "finish")]
    yes: bool,
}

/// How public keys are written.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(super) enum PublicForm {
    /// A JSON Web Key (RFC 7517 §4)
    Jwk,
    /// A JWK Set (RFC 7517 §5)
    Jwks,
    /// SubjectPublicKeyInfo in PEM (RFC 7468 §13)
    Pem,
}

/// Runs it.
pub(super) async fn run(app: &App, opened: Opened, command: KeysCommand) -> Result<Report, Failure> {
    match command {
        KeysCommand::List => list(app).await,
        KeysCommand::Generate { algorithm, bits } => rotate::generate(app, algorithm, bits).await,
        KeysCommand::Rotate { algorithm, to, now } => {
            let algorithms = match algorithm {
                Some(algorithm) => vec![algorithm],
                None => app.key_algorithms()?,
            };
            rotate::rotate(app, &algorithms, to, rotate::haste(now)).await
        }
        KeysCommand::Retire { key, now } => rotate::retire(app, key, rotate::haste(now)).await,
        KeysCommand::Revoke { key, yes } => revoke::run(app, key, yes).await,
        KeysCommand::Import { file, algorithm, kid } => import::run(app, file.as_deref(), algorithm, kid).await,
        KeysCommand::ExportPublic { key, format } => export::run(app, key, format).await,
        KeysCommand::NewMasterKey => new_master_key(),
        KeysCommand::Reseal(flags) => reseal::run(app, opened, flags).await,
    }
}

/// Makes a master key for somebody else to keep.
pub(super) fn new_master_key() -> Result<Report, Failure> {
    let master = MasterKey::generate().map_err(Fault::from)?;
    let text = master.encode();
    // The text ends with its line, so that it can be piped to where it is kept.
    Ok(Report {
        json: json!({ "master_key": *text, "fingerprint": master.fingerprint() }),
        text: format!("{}\n", *text),
    })
}

async fn list(app: &App) -> Result<Report, Failure> {
    let mut json = Vec::new();
    let mut rows = Vec::new();
    for key in app.store.signing_keys().await? {
        let times = [Some(key.created_at), key.activated_at, key.retired_at, key.archived_at, key.revoked_at];
        let [published, signs, retired, withdrawn, revoked] = times.map(moment_of);
        json.push(json!({
            "kid": key.kid,
            "algorithm": key.algorithm,
            "state": key.state,
            "created_at": published,
            "activated_at": signs,
            "retired_at": retired,
            "withdrawn_at": withdrawn,
            "revoked_at": revoked,
        }));
        let ended = revoked.or(retired);
        let [published, signs, ended] = [published, signs, ended].map(Option::unwrap_or_default);
        rows.push([key.kid, key.algorithm, key.state, published, signs, ended]);
    }
    let headings = ["KEY", "ALGORITHM", "STATE", "PUBLISHED", "SIGNS SINCE", "UNTIL"];
    Ok(Report { json: Value::Array(json), text: table(headings, rows, "no keys") })
}

/// What became of keys, for programs.
fn documents(changes: &[KeyChange]) -> Value {
    let document = |change: &KeyChange| json!({ "kid": change.kid, "algorithm": change.algorithm.as_str(), "change": change.kind.as_str() });
    changes.iter().map(document).collect()
}

/// A refusal of the rules, in words for the operator.
fn explain(refusal: &KeyRefusal) -> String {
    match refusal {
        KeyRefusal::Unknown => "there is no such key; `keyward keys list` shows them".to_owned(),
        KeyRefusal::NotConfigured(algorithm) => {
            format!("the setting keys.algorithms doesn't name {}", algorithm.as_str())
        }
        KeyRefusal::WrongState(state) => format!("the key is {state}; this can't be done with it"),
        KeyRefusal::OtherAlgorithm(algorithm) => format!("the key is for {}", algorithm.as_str()),
        KeyRefusal::NoSuccessor(algorithm) => format!(
            "there is no next key for {0} that could sign in its place; make one: \
             `keyward keys generate --algorithm {0}`",
            algorithm.as_str()
        ),
        KeyRefusal::TooSoon { kid, from } => format!(
            "the next key {kid} is too new for every client to have seen it; \
             run this again from {} on, or say --now",
            moment(from.plus_seconds(1)),
        ),
        KeyRefusal::SameName => "there is a key of this name; choose another one by --kid".to_owned(),
        KeyRefusal::SameKey { kid } => format!("this key is there already, by the name {kid}"),
    }
}
