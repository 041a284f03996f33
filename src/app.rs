//! The parts of a running server, wired here and nowhere else.

use std::os::unix::fs::DirBuilderExt;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};
use std::time::Duration;

use arc_swap::{ArcSwap, ArcSwapOption};
use aws_lc_rs::digest;
use futures_util::future::BoxFuture;
use keyward_entities::{audit_event, scope};
use keyward_guard::{KeySet, Verifier};
use keyward_keys::{Algorithm, KeyRing, KeyState, SigningKey};
use keyward_protocol::Timestamp;
use keyward_protocol::access_token::may_be_client_id;
use moka::sync::Cache;
use tokio::sync::Notify;

use crate::account::client_keys::PublishedKeys;
use crate::account::password::PasswordPool;
use crate::audit::{AuditEvent, AuditQueue};
use crate::clock::Clock;
use crate::endpoint::provider_metadata;
use crate::fault::Fault;
use crate::http::admission::Admission;
use crate::http::refused::ShedLog;
use crate::kept_clients::KeptClients;
use crate::lifecycle::Lifecycle;
use crate::locale::Locales;
use crate::metrics::Metrics;
use crate::outbound::{Outbound, system_lookup};
use crate::random::Random;
use crate::secret::{self, Audited, Opened, Secrets};
use crate::settings::{DatabaseBackend, LiveSettings, Settings, SettingsError};
use crate::status_list::StatusLists;
use crate::store::client::RegisteredClient;
use crate::store::directory::Directory;
use crate::store::schema::SchemaState;
use crate::store::sole_server::SoleServer;
use crate::store::{DEFAULT_ORGANIZATION, Store, StoreOptions};
use crate::verified_token::VerifiedToken;

/// Tokens whose signature was checked, kept in memory.
const CACHED_TOKENS: u64 = 20_000;
/// How often a node asks whether another changed clients, scopes, roles or keys, in milliseconds.
const POLL_MILLIS: u64 = 250;
/// Within how many seconds every node that reaches the database acts by such a change: some polls, and reading.
pub const PROPAGATION: u64 = 1;
/// How long such a question waits for its answer, in milliseconds.
const POLL_TIMEOUT_MILLIS: u64 = 5000;
/// How long what is kept in memory is used without a word from the database, in microseconds: the bound after which a
/// change is seen on every node.
pub const STALE_MICROS: i64 = PROPAGATION.cast_signed() * 1_000_000;
/// Pause between two batches of expired rows, in milliseconds.
const CLEANUP_PAUSE_MILLIS: u64 = 10;
/// Pause before a broken connection for notices is made anew, in milliseconds.
const LISTEN_AGAIN_MILLIS: u64 = 1000;

/// Scopes that every installation has; the pages have their texts.
pub const BUILT_IN_SCOPES: [&str; 9] =
    ["openid", "profile", "email", "phone", "address", "offline_access", "roles", "groups", "permissions"];

/// A running server.
#[derive(Debug)]
pub struct App {
    /// What the operator set, as it is now.
    pub settings: LiveSettings,
    /// The database.
    pub store: Arc<Store>,
    /// Time.
    pub clock: Clock,
    /// Chance.
    pub random: Random,
    /// The keys derived from the master key.
    pub secrets: Secrets,
    /// The signing keys.
    pub key_ring: ArcSwap<KeyRing>,
    /// The same keys as `keyward-guard` sees them.
    pub guard_keys: ArcSwapOption<KeySet>,
    /// Checks our own access tokens.
    pub verifier: Verifier,
    /// The algorithm that the settings want for access tokens unless a client has another.
    pub wanted_access_token_algorithm: Algorithm,
    /// Roles, scopes and audiences.
    pub directory: ArcSwap<Directory>,
    /// Clients, by identifier.
    clients: KeptClients,
    /// Access tokens whose signature and claims were found right, by their SHA-256.
    verified: Cache<[u8; 32], Arc<VerifiedToken>>,
    /// Hashes passwords.
    pub passwords: PasswordPool,
    /// Requests that leave the server.
    pub outbound: Arc<Outbound>,
    /// The keys that clients publish.
    pub published_keys: PublishedKeys,
    /// Takes events that have no transaction.
    audit: AuditQueue,
    /// What is counted.
    pub metrics: Metrics,
    /// Lets requests in as long as they can be looked at in time.
    pub admission: Arc<Admission>,
    /// What was shed, for the log.
    pub shed_log: ShedLog,
    /// Places in status lists, and the signed lists.
    pub status_lists: StatusLists,
    /// The texts of pages.
    pub locales: Locales,
    /// The discovery document.
    pub provider_metadata: ArcSwap<Vec<u8>>,
    /// Its entity tag.
    pub provider_metadata_etag: ArcSwap<String>,
    seen_version: AtomicI64,
    /// When the version was last found to be the one seen, or what is kept was read anew; microseconds.
    heard_at: AtomicI64,
    /// Held while what is kept in memory is read anew: of two that do so at once the later must not lose.
    reloading: tokio::sync::Mutex<()>,
    /// Somebody told of a change.
    told: Notify,
    /// Where the process is between its start and its end.
    pub lifecycle: Lifecycle,
}

/// Claims the database that the settings name for this server alone, where it is a SQLite file; on PostgreSQL nodes are
/// equals, and `None` is given.
///
/// # Errors
/// Where another server has it.
pub async fn claim_database(settings: &Settings) -> Result<Option<SoleServer>, Fault> {
    match settings.database_backend() {
        DatabaseBackend::Sqlite { path } => {
            make_folder_of(&path)?;
            // As long as one takes to end whose settings are these.
            let ends = settings.server.drain_delay.as_duration() + settings.server.shutdown_grace.as_duration();
            SoleServer::claim(&path, ends + Duration::from_secs(1)).await.map(Some)
        }
        DatabaseBackend::Postgres { .. } => Ok(None),
    }
}

/// Makes the folder in which a file is to be, where it isn't there. What is in it is for the server alone.
fn make_folder_of(file: &Path) -> Result<(), Fault> {
    let Some(folder) = file.parent() else { return Ok(()) };
    let made = std::fs::DirBuilder::new().recursive(true).mode(0o700).create(folder);
    made.map_err(|error| Fault::broken(format_args!("{}: {error}", folder.display())))
}

/// Opens the database that the settings name, whatever the age of its schema.
///
/// # Errors
/// Where it can't be opened.
pub fn connect_store(settings: &Settings) -> Result<Store, Fault> {
    let options = StoreOptions {
        max_connections: settings.database.max_connections,
        max_waiting: settings.database.max_waiting,
        busy_timeout: settings.database.busy_timeout.as_secs(),
        cache_kib: settings.database.cache_kib,
        synchronous: settings.database.synchronous,
    };
    let store = match settings.database_backend() {
        DatabaseBackend::Sqlite { path } => {
            make_folder_of(&path)?;
            Store::open_sqlite(&path, &options)
                .map_err(|error| Fault::broken(format_args!("{}: {error}", path.display())))?
        }
        DatabaseBackend::Postgres { url } => {
            Store::open_postgres(secrecy::ExposeSecret::expose_secret(&url), &options)?
        }
    };
    if settings.redis.url.is_some() {
        // For rediss://, whose connections ask the process for its provider.
        crate::serve::install_provider();
    }
    store.with_redis(&settings.redis)
}

/// Opens the database that the settings name, and brings its schema up to date where the settings allow.
///
/// # Errors
/// Where it can't be opened, its schema is older than this program and may not be changed, or it is too new for it.
pub async fn open_store(settings: &Settings) -> Result<Store, Fault> {
    let store = connect_store(settings)?;
    match store.schema_state().await? {
        SchemaState::Current => {}
        SchemaState::Older(pending) if !settings.database.migrate_at_start => {
            return Err(Fault::broken(format_args!(
                "the database's schema is {pending} changes behind this program; run `keyward migrate`"
            )));
        }
        SchemaState::Newer(changes) => {
            tracing::warn!(changes, "the database's schema is newer than this program; finish the upgrade");
        }
        SchemaState::Older(_) | SchemaState::TooNew => store.migrate().await?,
    }
    Ok(store)
}

/// The version of what is kept in memory that the database had when it was asked.
struct Look {
    at: Timestamp,
    version: i64,
}

impl App {
    /// Wires the parts: opens the database, reads or makes the keys, loads what is kept in memory.
    ///
    /// # Errors
    /// A message for the operator.
    pub async fn start(settings: Settings, clock: Clock) -> Result<Arc<Self>, Fault> {
        // Its type is hidden: so many awaits lie in one another here that callers of callers would meet the compiler's limit.
        let opening: BoxFuture<'_, _> = Box::pin(Self::open(settings, clock, AuditEvent::by_server));
        let app = opening.await?.0;
        // A command does without Redis.
        app.store.greet_redis().await?;
        Ok(app)
    }

    /// The same for a command, with the master key and the root secret, which the parts don't keep.
    ///
    /// # Errors
    /// As [`App::start`].
    pub async fn start_for_command(settings: Settings, clock: Clock) -> Result<(Arc<Self>, Opened), Fault> {
        Self::open(settings, clock, AuditEvent::by_cli).await
    }

    async fn open(settings: Settings, clock: Clock, audited: Audited) -> Result<(Arc<Self>, Opened), Fault> {
        let random = Random::system();
        let store = Arc::new(open_store(&settings).await?);
        let opened = secret::open_root(&settings, &store, random, &clock, audited).await?;
        let secrets = Secrets::derive(&opened.root)?;
        let wanted_access_token_algorithm: Algorithm =
            settings.tokens.access_token_algorithm.parse().map_err(Fault::broken)?;
        let passwords = PasswordPool::start(&settings.passwords, random.bytes()?)?;
        let outbound = Arc::new(Outbound::new(&settings.outbound, clock.clone(), system_lookup())?);
        let published_keys = PublishedKeys::new(Arc::clone(&outbound), clock.clone());
        let audit = AuditQueue::start(Arc::clone(&store), clock.clone(), settings.audit.queue);
        let leeway = 0;
        let verifier = Verifier::new(settings.issuer()).any_audience().leeway(leeway);
        let app = Self {
            store,
            clock,
            random,
            secrets,
            key_ring: ArcSwap::from_pointee(KeyRing::new(Vec::<(SigningKey, KeyState)>::new()).map_err(Fault::broken)?),
            guard_keys: ArcSwapOption::empty(),
            verifier,
            wanted_access_token_algorithm,
            directory: ArcSwap::default(),
            clients: KeptClients::default(),
            verified: Cache::new(CACHED_TOKENS),
            passwords,
            outbound,
            published_keys,
            audit,
            metrics: Metrics::new(),
            admission: Arc::default(),
            shed_log: ShedLog::default(),
            status_lists: StatusLists::default(),
            locales: Locales::load(),
            provider_metadata: ArcSwap::default(),
            provider_metadata_etag: ArcSwap::default(),
            seen_version: AtomicI64::new(-1),
            heard_at: AtomicI64::new(0),
            reloading: tokio::sync::Mutex::new(()),
            told: Notify::new(),
            lifecycle: Lifecycle::default(),
            settings: settings.into(),
        };
        app.add_missing_keys().await?;
        app.add_built_in_scopes().await?;
        app.reload().await?;
        Ok((Arc::new(app), opened))
    }

    /// Starts what runs beside the requests; it ends with the runtime.
    pub fn start_background(self: &Arc<Self>) {
        tokio::spawn(Arc::clone(self).follow_changes());
        tokio::spawn(Arc::clone(self).listen_for_changes());
        tokio::spawn(Arc::clone(self).clean_up());
        tokio::spawn(Arc::clone(self).follow_key_schedule());
    }

    /// Takes over the settings that can change while the server runs. The names of those that differ and wait for the
    /// next start are the answer.
    ///
    /// # Errors
    /// Where they contradict those that stay: then nothing changes.
    pub fn take_settings(&self, fresh: Settings) -> Result<Vec<&'static str>, SettingsError> {
        self.settings.replace(fresh)
    }

    /// Reads anew what is kept in memory, if anybody changed it.
    ///
    /// # Errors
    /// Where the database fails: then everything stays as it was.
    pub async fn reload_if_changed(&self) -> Result<(), Fault> {
        if self.looks_changed().await?.is_none() {
            return Ok(());
        }
        let _alone = self.reloading.lock().await;
        // Somebody else may have been at it for the same change. To read it a second time would throw away, for nothing,
        // what requests have put into the caches since.
        match self.looks_changed().await? {
            Some(look) => self.read_anew(look).await,
            None => Ok(()),
        }
    }

    /// Reads anew what is kept in memory.
    ///
    /// # Errors
    /// As [`App::reload_if_changed`].
    pub async fn reload(&self) -> Result<(), Fault> {
        let _alone = self.reloading.lock().await;
        self.read_anew(self.look().await?).await
    }

    /// The version that the database has.
    async fn look(&self) -> Result<Look, Fault> {
        let at = self.clock.now();
        let version = self.store.directory_version().await;
        // What is looked for from here on is no older than this look, and nothing from before a change is kept under the
        // version that tells of it.
        match &version {
            Ok(version) if *version == self.seen_version.load(Ordering::Acquire) => self.store.let_snapshots_go(),
            _ => self.store.renew_snapshots(),
        }
        Ok(Look { at, version: version? })
    }

    /// The version that the database has, if another one is in memory.
    async fn looks_changed(&self) -> Result<Option<Look>, Fault> {
        let look = self.look().await?;
        if look.version == self.seen_version.load(Ordering::Acquire) {
            self.heard_at.fetch_max(look.at.micros(), Ordering::AcqRel);
            return Ok(None);
        }
        Ok(Some(look))
    }

    /// Reads all that is kept in memory. The version was read first: a change that comes while the rest is read is seen by
    /// the next look.
    async fn read_anew(&self, look: Look) -> Result<(), Fault> {
        let directory = self.store.directory().await?;
        let ring = self.load_key_ring().await?;
        let guard_keys = KeySet::from_jwks_json(ring.jwks_json()).map_err(Fault::broken)?;
        self.directory.store(Arc::new(directory));
        self.key_ring.store(Arc::new(ring));
        self.guard_keys.store(Some(Arc::new(guard_keys)));
        let document = provider_metadata::document(self)?;
        self.provider_metadata_etag.store(Arc::new(provider_metadata::etag(&document)));
        self.provider_metadata.store(Arc::new(document));
        // The version before the caches: who puts in what was read before the change finds the version changed.
        self.seen_version.store(look.version, Ordering::Release);
        self.clients.forget_all();
        self.verified.invalidate_all();
        self.published_keys.make_old();
        self.heard_at.fetch_max(look.at.micros(), Ordering::AcqRel);
        Ok(())
    }

    /// Whether what is kept in memory may be used: no longer ago than the bound it was found to be what the database has.
    fn is_abreast(&self) -> bool {
        self.clock.now().micros().saturating_sub(self.heard_at.load(Ordering::Acquire)) <= STALE_MICROS
    }

    /// Waits on a connection for notices of changes; polling goes on beside it.
    async fn listen_for_changes(self: Arc<Self>) {
        let mut away = false;
        loop {
            let outcome: Result<(), Fault> = async {
                let Some(mut notices) = self.store.notices().await? else { return Ok(()) };
                if away {
                    tracing::info!("notices of changes are heard again");
                    away = false;
                }
                loop {
                    // One before the first notice: a change may have come while nobody listened.
                    self.told.notify_one();
                    notices.next().await?;
                }
            }
            .await;
            let Err(fault) = outcome else { return };
            if !away {
                tracing::warn!(error = %fault, "notices of changes can't be heard; changes are seen by polling");
            }
            away = true;
            self.clock.sleep_millis(LISTEN_AGAIN_MILLIS).await;
        }
    }

    async fn follow_changes(self: Arc<Self>) {
        let mut away = false;
        loop {
            tokio::select! {
                () = self.clock.sleep_millis(POLL_MILLIS) => {}
                () = self.told.notified() => {}
            }
            // A database that doesn't answer is as good as away.
            let looked = tokio::select! {
                looked = self.reload_if_changed() => looked,
                () = self.clock.sleep_millis(POLL_TIMEOUT_MILLIS) => {
                    Err(Fault::Unavailable("the database doesn't answer in time".to_owned()))
                }
            };
            match looked {
                Ok(()) if away => {
                    away = false;
                    tracing::info!("the database is back");
                }
                Ok(()) => {}
                Err(fault) => {
                    if !away {
                        tracing::error!(error = %fault, "the database can't be asked for changes");
                    }
                    away = true;
                    // What can't be checked for changes isn't used: requests read through.
                    self.clients.forget_all();
                }
            }
        }
    }

    async fn clean_up(self: Arc<Self>) {
        loop {
            let interval = self.settings.cleanup.interval.as_secs();
            self.clock.sleep_until(self.clock.now().plus_seconds(interval)).await;
            if let Err(fault) = self.clean_up_once().await {
                tracing::warn!(error = %fault, "expired rows could not be removed");
            }
        }
    }

    /// Removes all that has expired and gives back what that leaves free, with pauses in which others get their turn.
    async fn clean_up_once(&self) -> Result<(), Fault> {
        loop {
            let rows = self.store.remove_expired(self.settings.cleanup.batch.into(), self.clock.now()).await?;
            if rows == 0 {
                break;
            }
            tracing::debug!(rows, "expired rows were removed");
            self.clock.sleep_millis(CLEANUP_PAUSE_MILLIS).await;
        }
        while self.store.give_back_pages().await? > 0 {
            self.clock.sleep_millis(CLEANUP_PAUSE_MILLIS).await;
        }
        Ok(())
    }

    async fn add_built_in_scopes(&self) -> Result<(), Fault> {
        let now = self.clock.now();
        let scopes = BUILT_IN_SCOPES
            .iter()
            .map(|&name| {
                Ok(scope::Model {
                    role_ids: "[]".to_owned(),
                    id: self.random.uuid_v7(now)?,
                    organization_id: DEFAULT_ORGANIZATION,
                    name: name.to_owned(),
                    title: String::new(),
                    description: String::new(),
                    permissions: "[]".to_owned(),
                    created_at: now.micros(),
                })
            })
            .collect::<Result<Vec<_>, Fault>>()?;
        let known: Vec<String> = self.store.list_scopes().await?.into_iter().map(|scope| scope.name).collect();
        let missing: Vec<_> = scopes.into_iter().filter(|scope| !known.contains(&scope.name)).collect();
        if !missing.is_empty() {
            self.store.add_scopes(missing, None).await?;
        }
        Ok(())
    }

    /// The client of this identifier, if it isn't disabled.
    ///
    /// # Errors
    /// Where the database fails.
    pub async fn client(&self, client_id: &str) -> Result<Option<Arc<RegisteredClient>>, Fault> {
        // A node that hears nothing asks: here, for almost every request names a client.
        if !self.is_abreast() {
            Box::pin(self.reload_if_changed()).await?;
        }
        if let Some(client) = self.clients.get(client_id) {
            return Ok(Some(client));
        }
        // What can't be registered isn't looked up.
        if !may_be_client_id(client_id) {
            return Ok(None);
        }
        let version = self.seen_version.load(Ordering::Acquire);
        let Some(client) = Box::pin(self.store.find_kept_client(client_id)).await? else { return Ok(None) };
        if client.disabled_at.is_some() {
            return Ok(None);
        }
        let client = Arc::new(client);
        self.clients.offer(&client);
        // A change that came while the row was read has emptied the cache before this was put in: take it out again.
        if self.seen_version.load(Ordering::Acquire) != version {
            self.clients.forget(client_id);
        }
        Ok(Some(client))
    }

    /// Checks one of our own access tokens: signature and claims, not liveness. A token seen before costs a hash.
    ///
    /// # Errors
    /// What is wrong with it.
    pub fn verify_access_token(&self, token: &str) -> Result<Arc<VerifiedToken>, keyward_guard::TokenRefusal> {
        let now = u64::try_from(self.clock.now().seconds()).unwrap_or_default();
        let mut key = [0; 32];
        key.copy_from_slice(digest::digest(&digest::SHA256, token.as_bytes()).as_ref());
        if let Some(known) = self.verified.get(&key) {
            return if now < known.exp { Ok(known) } else { Err(keyward_guard::TokenRefusal::Expired) };
        }
        let keys = self.guard_keys.load_full().ok_or(keyward_guard::TokenRefusal::UnknownKey)?;
        let verified = Arc::new(VerifiedToken::from(self.verifier.verify(&keys, token, now)?));
        self.verified.insert(key, Arc::clone(&verified));
        // Keys that changed meanwhile have emptied the cache before this was put in: take it out again.
        if !self.guard_keys.load().as_ref().is_some_and(|current| Arc::ptr_eq(current, &keys)) {
            self.verified.invalidate(&key);
        }
        Ok(verified)
    }

    /// Waits until no node takes for live what was ended: a command says that something is over when it is. Where each looks
    /// into the database itself there is nothing to wait for.
    pub async fn until_ended(&self) {
        if self.store.endings().is_some() {
            self.until_heard().await;
        }
    }

    /// Waits until every node acts by what was changed of clients, scopes, roles or keys.
    pub async fn until_heard(&self) {
        self.clock.sleep_millis(PROPAGATION * 1000).await;
    }

    /// Gives an event its id and time, for an act's own transaction.
    ///
    /// # Errors
    /// Where there is no chance to be had.
    pub fn audit_record(&self, event: AuditEvent) -> Result<audit_event::Model, Fault> {
        let now = self.clock.now();
        Ok(event.record(self.random.uuid_v7(now)?, now))
    }

    /// Waits until every event that was put into the queue is written.
    pub async fn flush_audit(&self) {
        self.audit.flush().await;
    }

    /// Puts an event into the queue.
    ///
    /// # Errors
    /// Where there is no chance to be had.
    pub async fn audit_later(&self, event: AuditEvent) -> Result<(), Fault> {
        self.audit.push(self.audit_record(event)?).await;
        Ok(())
    }
}
