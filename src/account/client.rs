//! Registering and changing clients: every way in (the command line now) comes through here, and through the one
//! check of metadata in `keyward-protocol`.

use std::collections::BTreeSet;

use keyward_entities::{client, client_audience, client_secret};
use keyward_keys::Algorithm;
use keyward_protocol::access_token::may_be_client_id;
use keyward_protocol::client_metadata::{AuthMethod, ClientMetadata, ClientType, GrantType};
use keyward_protocol::key_schedule;
use keyward_protocol::{Refusal, Timestamp};
use secrecy::{ExposeSecret, SecretString};
use thiserror::Error;
use uuid::Uuid;

use crate::app::App;
use crate::audit::{AuditEvent, AuditKind};
use crate::clock::moment;
use crate::fault::Fault;
use crate::random::Random;
use crate::store::DEFAULT_ORGANIZATION;
use crate::store::client::ClientConflict;

/// A client that was just registered.
#[derive(Debug)]
pub struct Registered {
    /// Its identifier.
    pub client_id: String,
    /// Its secret, known only now; none for a client that has no use for one.
    pub client_secret: Option<SecretString>,
}

/// Why a client can't be registered or changed.
#[derive(Debug, Error)]
pub enum ClientProblem {
    /// The metadata can't be honoured.
    #[error("{}", .0.description)]
    Metadata(Refusal),
    /// Protocol decision 16.
    #[error(
        "a client id has 1 to 255 letters, digits and -._~, and is not u_ and 22 of them, as the subject of a user is"
    )]
    ClientId,
    /// RFC 7517 §5 or the choice of settings: nothing could be signed.
    #[error("this server has no key for {0}; the setting keys.algorithms names those that it has")]
    NoKey(Algorithm),
    /// The setting named the algorithm a short while ago.
    #[error(
        "the {algorithm} key of this server signs from {} on, when everybody who keeps the JWK Set has seen it",
        moment(*.from)
    )]
    KeyNotReady {
        /// What it signs by.
        algorithm: Algorithm,
        /// From when on.
        from: Timestamp,
    },
    /// The identifier or an audience belongs to another.
    #[error("{}", conflict_text(.0))]
    Conflict(ClientConflict),
    /// No client has this identifier.
    #[error("there is no client {0}")]
    Unknown(String),
    /// The client is public or authenticates by a key pair.
    #[error("the client {0} has no use for a secret")]
    NoSecret(String),
    /// Something is broken.
    #[error(transparent)]
    Fault(#[from] Fault),
}

fn conflict_text(conflict: &ClientConflict) -> String {
    match conflict {
        ClientConflict::ClientId => "there is a client of this id already".to_owned(),
        ClientConflict::Audience(audience) => format!("another client stands for the audience {audience} already"),
    }
}

impl From<ClientConflict> for ClientProblem {
    fn from(conflict: ClientConflict) -> Self {
        Self::Conflict(conflict)
    }
}

/// Whether the client authenticates by a secret (RFC 6749 §2.3.1).
pub fn uses_secret(metadata: &ClientMetadata) -> bool {
    metadata.client_type == ClientType::Confidential
        && metadata.token_endpoint_auth_method != Some(AuthMethod::PrivateKeyJwt)
}

/// Whether this server can honour the metadata, which is more than whether any could: it must have the keys.
///
/// # Errors
/// What is wrong.
pub async fn check(app: &App, metadata: &ClientMetadata) -> Result<(), ClientProblem> {
    match check_with(metadata, |algorithm| app.key_ring.load().active(algorithm).is_some()) {
        Err(problem) => Err(with_moment(app, problem).await),
        Ok(()) => Ok(()),
    }
}

/// Says of a key that is missing when it will be there, where that is known.
async fn with_moment(app: &App, problem: ClientProblem) -> ClientProblem {
    let ClientProblem::NoKey(algorithm) = problem else { return problem };
    let found = async {
        // Of an algorithm that the settings don't name no key begins to sign by itself.
        if !app.key_algorithms()?.contains(&algorithm) {
            return Ok(None);
        }
        Ok(key_schedule::ready_from(&app.scheduled_keys().await?, algorithm, &app.key_waits()))
    };
    match found.await {
        Ok(Some(from)) => ClientProblem::KeyNotReady { algorithm, from },
        Ok(None) => ClientProblem::NoKey(algorithm),
        Err(fault) => ClientProblem::Fault(fault),
    }
}

fn check_with(metadata: &ClientMetadata, has_key: impl Fn(Algorithm) -> bool) -> Result<(), ClientProblem> {
    metadata.check().map_err(ClientProblem::Metadata)?;
    // Only the code flow issues ID tokens (protocol decision 34).
    let id_token = metadata.has_grant(GrantType::AuthorizationCode).then_some(metadata.id_token_signed_response_alg);
    match id_token.into_iter().chain(metadata.access_token_signed_response_alg).find(|algorithm| !has_key(*algorithm)) {
        Some(missing) => Err(ClientProblem::NoKey(missing)),
        None => Ok(()),
    }
}

/// Registers a client, with an identifier of its own where none is given.
///
/// # Errors
/// What is wrong.
pub async fn register(
    app: &App,
    client_id: Option<String>,
    metadata: &ClientMetadata,
) -> Result<Registered, ClientProblem> {
    check(app, metadata).await?;
    let client_id = match client_id {
        Some(client_id) => client_id,
        None => new_client_id(app)?,
    };
    if !may_be_client_id(&client_id) {
        return Err(ClientProblem::ClientId);
    }
    let now = app.clock.now();
    let id = app.random.uuid_v7(now)?;
    let fresh = if uses_secret(metadata) { Some(new_secret(app, id, now)?) } else { None };
    let (row_of_secret, client_secret) = fresh.unzip();
    let row = client::Model {
        id,
        organization_id: DEFAULT_ORGANIZATION,
        client_id: client_id.clone(),
        metadata: metadata.to_stored().map_err(Fault::from)?,
        disabled_at: None,
        created_at: now.micros(),
        updated_at: now.micros(),
        longest_token_life: None,
    };
    let audiences = audience_rows(app.random, now, id, metadata)?;
    let event = app.audit_record(AuditEvent::by_cli(AuditKind::ClientAdded).client(&*client_id))?;
    app.store.add_client(row, row_of_secret, audiences, event).await??;
    Ok(Registered { client_id, client_secret })
}

/// Changes a client's metadata; gives what it is afterwards.
///
/// # Errors
/// What is wrong. Then nothing changed.
pub async fn edit(
    app: &App,
    client_id: &str,
    change: impl FnOnce(&mut ClientMetadata) + Send + 'static,
) -> Result<ClientMetadata, ClientProblem> {
    let now = app.clock.now();
    let random = app.random;
    let ring = app.key_ring.load_full();
    let event = app.audit_record(AuditEvent::by_cli(AuditKind::ClientChanged).client(client_id))?;
    let outcome = app
        .store
        .change_client(client_id, now, event, move |id, mut metadata| {
            change(&mut metadata);
            check_with(&metadata, |algorithm| ring.active(algorithm).is_some())?;
            let audiences = audience_rows(random, now, id, &metadata)?;
            Ok::<_, ClientProblem>((metadata, audiences))
        })
        .await?;
    match outcome {
        None => Err(ClientProblem::Unknown(client_id.to_owned())),
        Some(Err(problem)) => Err(with_moment(app, problem).await),
        Some(Ok(changed)) => Ok(changed),
    }
}

/// Adds a secret; those that the client has end after `overlap` seconds, or sooner where that was so before.
///
/// # Errors
/// What is wrong.
pub async fn rotate_secret(app: &App, client_id: &str, overlap: u64) -> Result<SecretString, ClientProblem> {
    let client = app.store.find_client(client_id).await?;
    let client = client.ok_or_else(|| ClientProblem::Unknown(client_id.to_owned()))?;
    if !uses_secret(&client.metadata) {
        return Err(ClientProblem::NoSecret(client_id.to_owned()));
    }
    let now = app.clock.now();
    let (row, secret) = new_secret(app, client.id, now)?;
    let event = AuditEvent::by_cli(AuditKind::ClientSecretAdded).client(client_id).detail("overlap_seconds", overlap);
    app.store.rotate_client_secret(row, now.plus_seconds(overlap), app.audit_record(event)?).await?;
    Ok(secret)
}

/// 128 bits in 32 hexadecimal digits: unreserved characters (protocol decision 21), and never a leading hyphen, which a
/// command line would take for a flag.
fn new_client_id(app: &App) -> Result<String, Fault> {
    Ok(format!("{:032x}", u128::from_be_bytes(app.random.bytes()?)))
}

/// Protocol decision 21: 256 bits, of which the keyed hash is stored.
fn new_secret(app: &App, client: Uuid, now: Timestamp) -> Result<(client_secret::Model, SecretString), Fault> {
    let secret = SecretString::from(app.random.secret()?);
    let row = client_secret::Model {
        id: app.random.uuid_v7(now)?,
        client,
        secret_hash: app.secrets.client_secret_hash.hash(secret.expose_secret().as_bytes()).to_vec(),
        sealed_secret: None,
        created_at: now.micros(),
        expires_at: None,
    };
    Ok((row, secret))
}

fn audience_rows(
    random: Random,
    now: Timestamp,
    client: Uuid,
    metadata: &ClientMetadata,
) -> Result<Vec<client_audience::Model>, Fault> {
    // One that is named twice is one.
    let audiences: BTreeSet<&String> = metadata.audiences.iter().collect();
    audiences
        .into_iter()
        .map(|audience| Ok(client_audience::Model { id: random.uuid_v7(now)?, client, audience: audience.clone() }))
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::clock::Clock;
    use crate::settings::Settings;
    use crate::store::{Store, StoreOptions};

    async fn app() -> (tempfile::TempDir, std::sync::Arc<App>) {
        let folder = tempfile::tempdir().unwrap();
        let mut settings = Settings::default();
        settings.data_dir = folder.path().to_owned();
        settings.keys.algorithms = vec!["ES256".to_owned()];
        let app = App::start(settings, Clock::standing_at(Timestamp::from_seconds(1_800_000_000))).await.unwrap();
        (folder, app)
    }

    fn api(audience: &str) -> ClientMetadata {
        ClientMetadata {
            client_name: "API".into(),
            audiences: vec![audience.to_owned(), audience.to_owned()],
            ..ClientMetadata::default()
        }
    }

    #[tokio::test]
    async fn a_registered_client_has_an_id_and_a_secret_that_is_stored_as_a_hash() {
        let (_folder, app) = app().await;
        let registered = register(&app, None, &api("https://api.example")).await.unwrap();
        assert!(may_be_client_id(&registered.client_id) && registered.client_id.len() == 32);
        let secret = registered.client_secret.unwrap();
        assert_eq!(secret.expose_secret().len(), 43);
        let stored = app.store.find_client(&registered.client_id).await.unwrap().unwrap();
        let hash = app.secrets.client_secret_hash.hash(secret.expose_secret().as_bytes());
        assert_eq!(stored.secrets, [(hash.to_vec(), None)]);
        let events = app.store.audit_events("client_added", 10).await.unwrap();
        assert_eq!(events.len(), 1);
        assert_eq!(events[0].client_id.as_ref(), Some(&registered.client_id));
    }

    #[tokio::test]
    async fn ids_audiences_and_algorithms_that_cannot_be_are_refused() {
        let (_folder, app) = app().await;
        let known = api("https://api.example");
        register(&app, Some("api".into()), &known).await.unwrap();
        let other = api("https://other.example");
        for (id, metadata, wanted) in [
            (Some("api"), &other, "there is a client of this id already"),
            (Some("a/b"), &other, "a client id has"),
            (Some("u_0123456789abcdefghijkl"), &other, "a client id has"),
            (None, &known, "another client stands for the audience https://api.example already"),
            (None, &ClientMetadata::default(), "A client needs a name."),
            (
                None,
                &ClientMetadata { access_token_signed_response_alg: Some(Algorithm::Ps256), ..other.clone() },
                "this server has no key for PS256",
            ),
        ] {
            let problem = register(&app, id.map(str::to_owned), metadata).await.unwrap_err().to_string();
            assert!(problem.starts_with(wanted), "{problem}");
        }
        assert_eq!(app.store.list_clients("", 10).await.unwrap().len(), 1);
        let problem = edit(&app, "api", |metadata| metadata.client_name.clear()).await.unwrap_err();
        assert!(matches!(problem, ClientProblem::Metadata(_)));
        assert_eq!(app.store.find_client("api").await.unwrap().unwrap().metadata, known);
        let problem = edit(&app, "nobody", |_| ()).await.unwrap_err();
        assert_eq!(problem.to_string(), "there is no client nobody");
    }

    #[tokio::test]
    async fn an_edit_frees_and_takes_audiences_and_raises_the_version() {
        let (_folder, app) = app().await;
        register(&app, Some("api".into()), &api("https://a.example")).await.unwrap();
        register(&app, Some("other".into()), &api("https://b.example")).await.unwrap();
        let version = app.store.directory_version().await.unwrap();
        let taken = edit(&app, "other", |metadata| metadata.audiences = vec!["https://a.example".into()]).await;
        assert!(matches!(taken, Err(ClientProblem::Conflict(ClientConflict::Audience(_)))));
        assert_eq!(app.store.directory_version().await.unwrap(), version);
        edit(&app, "api", |metadata| metadata.audiences.clear()).await.unwrap();
        edit(&app, "other", |metadata| metadata.audiences = vec!["https://a.example".into()]).await.unwrap();
        assert!(app.store.directory_version().await.unwrap() > version);
        let directory = app.store.directory().await.unwrap();
        assert_eq!(directory.audiences.keys().collect::<Vec<_>>(), ["https://a.example"]);
    }

    #[tokio::test]
    async fn a_rotated_secret_leaves_the_old_one_its_overlap() {
        let (_folder, app) = app().await;
        register(&app, Some("api".into()), &api("https://a.example")).await.unwrap();
        rotate_secret(&app, "api", 3600).await.unwrap();
        rotate_secret(&app, "api", 7200).await.unwrap();
        let client = app.store.find_client("api").await.unwrap().unwrap();
        let hour = app.clock.now().plus_seconds(3600);
        let mut ends: Vec<_> = client.secrets.iter().map(|(_, ends)| *ends).collect();
        ends.sort_unstable();
        // The first isn't given more time by the second rotation.
        assert_eq!(ends, [None, Some(hour), Some(hour.plus_seconds(3600))]);
        rotate_secret(&app, "api", 0).await.unwrap();
        let client = app.store.find_client("api").await.unwrap().unwrap();
        assert!(matches!(client.secrets.as_slice(), [(_, None)]), "those that have ended are gone");
        let public = ClientMetadata { client_type: ClientType::Public, ..api("x") };
        let public = ClientMetadata { audiences: Vec::new(), ..public };
        let registered = register(&app, Some("spa".into()), &public).await.unwrap();
        assert!(registered.client_secret.is_none());
        assert!(matches!(rotate_secret(&app, "spa", 0).await, Err(ClientProblem::NoSecret(_))));
    }

    /// What is done to a client that isn't in memory, while others are looked for on a snapshot that is kept.
    #[tokio::test]
    async fn a_client_is_no_older_than_the_last_look_and_what_this_process_did() {
        let (folder, app) = app().await;
        for id in ["looked-for", "other", "third"] {
            register(&app, Some(id.into()), &api(&format!("https://{id}.example"))).await.unwrap();
        }
        app.reload_if_changed().await.unwrap();
        let keep = async || assert!(app.client("looked-for").await.unwrap().is_some());
        let stands = async |id| app.client(id).await.unwrap().is_some();
        let disable = async |store: &Store, id: &'static str, disabled| {
            let event = app.audit_record(AuditEvent::by_cli(AuditKind::ClientChanged).client(id)).unwrap();
            store.set_client_disabled(id, disabled, app.clock.now(), event).await.unwrap();
        };
        let of_another_process = folder.path().join("keyward.db");
        let of_another_process = Store::open_sqlite(&of_another_process, &StoreOptions::default()).unwrap();

        keep().await;
        disable(&of_another_process, "other", true).await;
        assert!(stands("other").await, "nothing was heard of it, and the snapshot is older");
        app.reload_if_changed().await.unwrap();
        assert!(!stands("other").await);
        // What stands on no snapshot is looked for anew.
        keep().await;
        disable(&of_another_process, "other", false).await;
        assert!(stands("other").await);
        // Our own acts are seen at once.
        keep().await;
        disable(&app.store, "third", true).await;
        assert!(!stands("third").await);
    }
}
