//! What an operator can set: by a TOML file, by the environment (`KEYWARD_…`) and by flags. Flags win over the
//! environment, the environment over the file, the file over the defaults.
//!
//! `table/` lists every setting once, and `setting.rs` says what a setting is; from it come the known names, the commented example and the reference page.
//! This file holds the settings as the server uses them, `load.rs` fills them, `live.rs` replaces them while the server runs, `source.rs` fetches the texts to load
//! from the machine, `value.rs` reads single values, and `problem.rs` says what is wrong and where.
//!
//! Leaves out: what lives in the database (clients, users, roles), the master key's file itself (`keys`), and when a
//! running server loads its settings anew.

mod document;
mod live;
mod load;
mod network;
mod problem;
mod public_url;
mod secret_store;
mod setting;
mod source;
mod table;
#[cfg(test)]
mod tests;
mod value;

use std::collections::BTreeMap;
use std::net::{IpAddr, SocketAddr};
use std::path::PathBuf;

use secrecy::{ExposeSecret, SecretString};

pub use document::{example, reference};
pub use live::LiveSettings;
pub use network::Network;
pub use problem::{Place, Problem, SettingsError};
pub use public_url::PublicUrl;
pub use secret_store::{AwsSettings, SecretReference, VaultSettings};
pub use setting::{Kind, Setting, Weak};
pub use source::{Sources, environment};
pub use table::{SIGNING_ALGORITHMS, all};
pub use value::Seconds;
pub(crate) use value::is_this_machine;

/// All settings, checked one by one and against each other. `Debug` shows no secret.
#[derive(Clone, Debug)]
pub struct Settings {
    /// The URL under which clients and browsers reach the server; its text is the issuer.
    pub public_url: PublicUrl,
    /// Whether real users depend on this server.
    pub environment: Environment,
    /// Folder of what the server keeps on disk; relative to the folder it is started in.
    pub data_dir: PathBuf,
    /// Listening, TLS, proxies, limits of a request.
    pub server: ServerSettings,
    /// The database.
    pub database: DatabaseSettings,
    /// Redis or Valkey, where there is one.
    pub redis: RedisSettings,
    /// Signing keys and the key that seals them.
    pub keys: KeySettings,
    /// HashiCorp Vault.
    pub vault: VaultSettings,
    /// AWS Secrets Manager.
    pub aws: AwsSettings,
    /// Lifetimes of codes and tokens.
    pub tokens: TokenSettings,
    /// Lifetimes of browser sessions.
    pub sessions: SessionSettings,
    /// Password hashing and policy.
    pub passwords: PasswordSettings,
    /// The authorization endpoint.
    pub authorization: AuthorizationSettings,
    /// Scripts of other origins.
    pub cors: CorsSettings,
    /// Requests that leave the server.
    pub outbound: OutboundSettings,
    /// The audit trail.
    pub audit: AuditSettings,
    /// What the server counts.
    pub metrics: MetricsSettings,
    /// The log.
    pub log: LogSettings,
    /// Removal of what has expired.
    pub cleanup: CleanupSettings,
    /// Where each setting got its value; one that isn't in here has its default.
    places: BTreeMap<&'static str, Place>,
}

/// Whether real users depend on the server.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Environment {
    /// Real users do: nothing is relaxed, and `.env` isn't read.
    Production,
    /// A developer's machine: `.env` in the working folder is read.
    Development,
}

/// Listening, TLS, proxies, limits of a request.
#[derive(Clone, Debug)]
pub struct ServerSettings {
    /// Address and port of the main listener.
    pub listen: SocketAddr,
    /// PEM file with the certificate chain; present exactly when the key file is.
    pub tls_certificate_file: Option<PathBuf>,
    /// PEM file with the private key; present exactly when the certificate file is.
    pub tls_key_file: Option<PathBuf>,
    /// Address and port of a plain listener that redirects to the public URL.
    pub http_redirect_listen: Option<SocketAddr>,
    /// Proxies whose forwarding headers are believed.
    pub trusted_proxies: Vec<Network>,
    /// Hosts a request may name, in lower case; empty means the host of the public URL ([`Settings::trusts_host`]).
    pub trusted_hosts: Vec<String>,
    /// Threads that serve requests; 0 means one for each core.
    pub worker_threads: usize,
    /// Whether requests are refused while they wait too long before anybody looks at them.
    pub load_shedding: bool,
    /// Longest request body in bytes.
    pub max_body_bytes: usize,
    /// Connections open at once.
    pub max_connections: usize,
    /// Time for a whole request, from its first byte to the answer.
    pub request_timeout: Seconds,
    /// Time that running requests get when the server stops.
    pub shutdown_grace: Seconds,
    /// Time between saying that it isn't ready and ceasing to listen.
    pub drain_delay: Seconds,
}

/// The database.
#[derive(Clone, Debug)]
pub struct DatabaseSettings {
    /// Its URL as it was set; [`Settings::database_backend`] takes it apart.
    pub url: SecretString,
    /// Connections of the pool.
    pub max_connections: u32,
    /// Acts that may be at the database at once under standing overload.
    pub max_waiting: usize,
    /// Whether `serve` brings an older schema up to date.
    pub migrate_at_start: bool,
    /// How SQLite makes a commit durable.
    pub synchronous: Synchronous,
    /// How long a statement waits for another one's lock.
    pub busy_timeout: Seconds,
    /// Memory for pages of SQLite's file, in KiB: of the writing connection; each reading one has a quarter.
    pub cache_kib: u32,
}

/// Redis or Valkey.
#[derive(Clone, Debug)]
pub struct RedisSettings {
    /// Its URL; none where the database does its work.
    pub url: Option<SecretString>,
    /// PEM file with the authority of its certificate; none for those of the operating system.
    pub tls_ca_file: Option<PathBuf>,
    /// What the names of keys and channels begin with.
    pub key_prefix: String,
    /// How long an answer or a connection is waited for.
    pub timeout: Seconds,
}

/// How SQLite makes a commit durable (its `PRAGMA synchronous`).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Synchronous {
    /// Every commit is on disk before it is answered.
    Full,
    /// A loss of power may undo the last commits.
    Normal,
}

/// Signing keys and the key that seals them.
#[derive(Clone, Debug)]
pub struct KeySettings {
    /// File of the master key, as it was set; [`Settings::master_key_source`] says where it is.
    pub master_key_file: PathBuf,
    /// The master key itself, in place of a file.
    pub master_key: Option<SecretString>,
    /// The secret of HashiCorp Vault in which the master key is kept, in place of a file.
    pub master_key_vault: Option<SecretReference>,
    /// The secret of AWS Secrets Manager in which the master key is kept, in place of a file.
    pub master_key_aws: Option<SecretReference>,
    /// Time for fetching it from there, further attempts included.
    pub master_key_timeout: Seconds,
    /// The algorithms that have a signing key, by their JOSE names, each once; never empty.
    pub algorithms: Vec<String>,
    /// How long a key signs before the next one takes over; zero: until somebody rotates it.
    pub rotation_interval: Seconds,
}

/// Lifetimes of codes and tokens.
#[derive(Clone, Debug)]
pub struct TokenSettings {
    /// Life of an access token.
    pub access_token_lifetime: Seconds,
    /// How long a refresh token may lie unused.
    pub refresh_token_idle_lifetime: Seconds,
    /// How long a family of refresh tokens may live in all.
    pub refresh_token_absolute_lifetime: Seconds,
    /// Life of an authorization code.
    pub authorization_code_lifetime: Seconds,
    /// Life of an ID token.
    pub id_token_lifetime: Seconds,
    /// How long a spent refresh token still answers with the same successor.
    pub refresh_grace: Seconds,
    /// Algorithm of access tokens, by its JOSE name; one of [`KeySettings::algorithms`].
    pub access_token_algorithm: String,
    /// How far the clocks of others may differ, for their tokens only.
    pub clock_leeway: Seconds,
}

/// Lifetimes of browser sessions.
#[derive(Clone, Debug)]
pub struct SessionSettings {
    /// How long a session may lie unused.
    pub idle_timeout: Seconds,
    /// How long a session may last in all.
    pub absolute_timeout: Seconds,
    /// How often at most the last use of a session is written down.
    pub touch_interval: Seconds,
    /// Sessions that a person may have at once.
    pub max_per_user: u32,
}

/// Password hashing (Argon2id, RFC 9106) and policy.
#[derive(Clone, Debug)]
pub struct PasswordSettings {
    /// Memory of one hash, in KiB.
    pub argon2_memory_kib: u32,
    /// Passes over that memory.
    pub argon2_iterations: u32,
    /// Lanes of one hash.
    pub argon2_parallelism: u32,
    /// Threads that hash; 0 means one for each core.
    pub hashing_threads: usize,
    /// Hashes that may wait; further ones are refused with 503.
    pub hashing_queue: usize,
    /// Shortest password, in characters.
    pub min_length: usize,
    /// Longest password, in bytes.
    pub max_bytes: usize,
}

/// The authorization endpoint.
#[derive(Clone, Debug)]
pub struct AuthorizationSettings {
    /// How long a begun login can still be finished.
    pub pending_lifetime: Seconds,
}

/// Scripts of other origins.
#[derive(Clone, Debug)]
pub struct CorsSettings {
    /// Origins allowed beside those of the registered clients, as browsers send them.
    pub allowed_origins: Vec<String>,
    /// Origins allowed besides, in the environment `development` alone.
    pub development_origins: Vec<String>,
    /// How long a browser may keep the answer to a preflight.
    pub max_age: Seconds,
}

/// Requests that leave the server, to addresses that others chose.
#[derive(Clone, Debug)]
pub struct OutboundSettings {
    /// Networks that may be reached beside the internet at large.
    pub allowed_networks: Vec<Network>,
    /// Hosts that may be reached wherever they are, in lower case.
    pub allowed_hosts: Vec<String>,
    /// Hosts that may be reached by plain http, in lower case.
    pub http_hosts: Vec<String>,
    /// PEM file with authorities that are trusted beside the system's.
    pub ca_file: Option<PathBuf>,
    /// Time for a connection.
    pub connect_timeout: Seconds,
    /// Time for a request and its whole answer.
    pub timeout: Seconds,
    /// Longest answer in bytes.
    pub max_response_bytes: usize,
    /// Requests under way at once.
    pub max_concurrent: usize,
    /// Failures in a row after which a host is left alone.
    pub breaker_failures: u32,
    /// How long it is left alone.
    pub breaker_pause: Seconds,
}

/// The audit trail.
#[derive(Clone, Debug)]
pub struct AuditSettings {
    /// Events that may wait for the writer; a full queue slows the caller.
    pub queue: usize,
}

/// What the server counts.
#[derive(Clone, Debug)]
pub struct MetricsSettings {
    /// Address and port of the listener that tells it.
    pub listen: Option<SocketAddr>,
}

/// The log.
#[derive(Clone, Debug)]
pub struct LogSettings {
    /// Shape of a line.
    pub format: LogFormat,
    /// Level, or levels by part of the program, such as `info,keyward=debug`.
    pub level: String,
}

/// Shape of a line of the log.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LogFormat {
    /// Text on a terminal, else JSON.
    Auto,
    /// Text for people.
    Text,
    /// One JSON object a line.
    Json,
}

/// Removal of what has expired.
#[derive(Clone, Debug)]
pub struct CleanupSettings {
    /// Pause between two rounds.
    pub interval: Seconds,
    /// Most rows one transaction removes.
    pub batch: u32,
}

/// The database, taken apart.
#[derive(Clone, Debug)]
pub enum DatabaseBackend {
    /// An SQLite file.
    Sqlite {
        /// The file, relative to the working folder or absolute.
        path: PathBuf,
    },
    /// A PostgreSQL server.
    Postgres {
        /// Its URL, password included.
        url: SecretString,
    },
}

/// Where the master key comes from.
#[derive(Clone, Debug)]
pub enum MasterKeySource {
    /// The key itself.
    Value(SecretString),
    /// A file, relative to the working folder or absolute.
    File(PathBuf),
    /// A secret of HashiCorp Vault.
    Vault(SecretReference),
    /// A secret of AWS Secrets Manager.
    Aws(SecretReference),
}

impl Settings {
    /// The issuer, byte for byte as it stands in metadata and tokens (RFC 8414 §2).
    #[must_use]
    pub fn issuer(&self) -> &str {
        self.public_url.as_str()
    }

    /// The public address of this path, such as `/token`.
    #[must_use]
    pub fn endpoint(&self, path: &str) -> String {
        format!("{}{path}", self.public_url.as_str())
    }

    /// The path of the public URL without a trailing slash; `""` when it has none.
    #[must_use]
    pub fn base_path(&self) -> &str {
        self.public_url.base_path()
    }

    /// Whether browsers reach the server by https.
    #[must_use]
    pub fn is_https(&self) -> bool {
        self.public_url.is_https()
    }

    /// Whether the public URL names this very machine.
    #[must_use]
    pub fn is_loopback(&self) -> bool {
        self.public_url.is_loopback()
    }

    /// The database; an SQLite file that isn't absolute lies in `data_dir`.
    #[must_use]
    pub fn database_backend(&self) -> DatabaseBackend {
        match value::sqlite_path(self.database.url.expose_secret()) {
            Some(path) => DatabaseBackend::Sqlite { path: self.data_dir.join(path) },
            None => DatabaseBackend::Postgres { url: self.database.url.clone() },
        }
    }

    /// The master key, or where it is kept; a file that isn't absolute lies in `data_dir`.
    #[must_use]
    pub fn master_key_source(&self) -> MasterKeySource {
        // A rule of the settings sees to it that at most one of them is set.
        match &self.keys {
            KeySettings { master_key: Some(key), .. } => MasterKeySource::Value(key.clone()),
            KeySettings { master_key_vault: Some(secret), .. } => MasterKeySource::Vault(secret.clone()),
            KeySettings { master_key_aws: Some(secret), .. } => MasterKeySource::Aws(secret.clone()),
            keys => MasterKeySource::File(self.data_dir.join(&keys.master_key_file)),
        }
    }

    /// Whether the server itself speaks TLS.
    #[must_use]
    pub fn serves_tls(&self) -> bool {
        self.server.tls_certificate_file.is_some()
    }

    /// Whether forwarding headers from this peer are believed (RFC 7239 §8.1).
    #[must_use]
    pub fn trusts_proxy(&self, peer: IpAddr) -> bool {
        self.server.trusted_proxies.iter().any(|network| network.contains(peer))
    }

    /// Whether a request may name this host (RFC 9110 §7.2). An entry without a port stands for all ports; without
    /// any entry the host of the public URL is the only one.
    #[must_use]
    pub fn trusts_host(&self, authority: &str) -> bool {
        let (host, _) = value::split_authority(authority);
        if self.server.trusted_hosts.is_empty() {
            return host.eq_ignore_ascii_case(self.public_url.host());
        }
        self.server.trusted_hosts.iter().any(|entry| match value::split_authority(entry) {
            (entry, None) => entry.eq_ignore_ascii_case(host),
            (_, Some(_)) => entry.eq_ignore_ascii_case(authority),
        })
    }

    /// Whether scripts of this origin may call the server, whichever client they belong to (requirement WB-3).
    #[must_use]
    pub fn allows_origin(&self, origin: &str) -> bool {
        let development = match self.environment {
            Environment::Development => self.cors.development_origins.as_slice(),
            Environment::Production => &[],
        };
        self.cors.allowed_origins.iter().chain(development).any(|listed| listed == origin)
    }

    /// Where a setting got its value.
    #[must_use]
    pub fn place_of(&self, path: &str) -> &Place {
        self.places.get(path).unwrap_or(&Place::Default)
    }

    /// Takes over from the running settings where this setting got its value.
    fn keep_place(&mut self, path: &'static str, running: &Self) {
        match running.places.get(path) {
            Some(place) => self.places.insert(path, place.clone()),
            None => self.places.remove(path),
        };
    }

    /// One sentence for each choice that is weaker than the default, with its place; empty when all is well.
    #[must_use]
    pub fn warnings(&self) -> Vec<String> {
        let weak = all().filter_map(|setting| setting.weak.as_ref().map(|weak| (setting.path, weak)));
        weak.filter(|(_, weak)| (weak.when)(self))
            .map(|(path, weak)| match self.place_of(path) {
                Place::Default => format!("{path}: {}", weak.says),
                place => format!("{place}: {path}: {}", weak.says),
            })
            .collect()
    }

    /// Whether Argon2id costs at least what OWASP's password storage advice asks for: less memory needs more passes.
    fn hashing_is_strong(&self) -> bool {
        [(47_104, 1), (19_456, 2), (12_288, 3), (9_216, 4), (7_168, 5)].iter().any(|(memory_kib, iterations)| {
            self.passwords.argon2_memory_kib >= *memory_kib && self.passwords.argon2_iterations >= *iterations
        })
    }
}

impl Default for Settings {
    /// The defaults. A test keeps them equal to those of the table.
    fn default() -> Self {
        Self {
            public_url: PublicUrl::default(),
            environment: Environment::Production,
            data_dir: PathBuf::from("./keyward-data"),
            server: ServerSettings {
                listen: SocketAddr::from(([127, 0, 0, 1], 4000)),
                tls_certificate_file: None,
                tls_key_file: None,
                http_redirect_listen: None,
                trusted_proxies: Vec::new(),
                trusted_hosts: Vec::new(),
                worker_threads: 0,
                load_shedding: true,
                max_body_bytes: 65_536,
                max_connections: 10_000,
                request_timeout: Seconds(30),
                shutdown_grace: Seconds(20),
                drain_delay: Seconds(5),
            },
            database: DatabaseSettings {
                url: SecretString::from("sqlite:keyward.db"),
                max_connections: 10,
                max_waiting: 32,
                migrate_at_start: true,
                synchronous: Synchronous::Full,
                busy_timeout: Seconds(5),
                cache_kib: 16_384,
            },
            redis: RedisSettings {
                url: None,
                tls_ca_file: None,
                key_prefix: "keyward".to_owned(),
                timeout: Seconds(2),
            },
            keys: KeySettings {
                master_key_file: PathBuf::from("master.key"),
                master_key: None,
                master_key_vault: None,
                master_key_aws: None,
                master_key_timeout: Seconds(15),
                algorithms: ["ES256", "RS256", "EdDSA", "PS256"].map(str::to_owned).to_vec(),
                rotation_interval: Seconds::days(90),
            },
            vault: VaultSettings::default(),
            aws: AwsSettings { region: None, endpoint_url: None },
            tokens: TokenSettings {
                access_token_lifetime: Seconds::minutes(30),
                refresh_token_idle_lifetime: Seconds::days(7),
                refresh_token_absolute_lifetime: Seconds::days(90),
                authorization_code_lifetime: Seconds(60),
                id_token_lifetime: Seconds::minutes(30),
                refresh_grace: Seconds(30),
                access_token_algorithm: "ES256".to_owned(),
                clock_leeway: Seconds(60),
            },
            sessions: SessionSettings {
                idle_timeout: Seconds::hours(12),
                absolute_timeout: Seconds::days(30),
                touch_interval: Seconds(60),
                max_per_user: 100,
            },
            passwords: PasswordSettings {
                argon2_memory_kib: 19_456,
                argon2_iterations: 2,
                argon2_parallelism: 1,
                hashing_threads: 0,
                hashing_queue: 64,
                min_length: 8,
                max_bytes: 4096,
            },
            authorization: AuthorizationSettings { pending_lifetime: Seconds::hours(1) },
            cors: CorsSettings {
                allowed_origins: Vec::new(),
                development_origins: Vec::new(),
                max_age: Seconds::hours(24),
            },
            outbound: OutboundSettings {
                allowed_networks: Vec::new(),
                allowed_hosts: Vec::new(),
                http_hosts: Vec::new(),
                ca_file: None,
                connect_timeout: Seconds(3),
                timeout: Seconds(10),
                max_response_bytes: 1_048_576,
                max_concurrent: 64,
                breaker_failures: 5,
                breaker_pause: Seconds(30),
            },
            audit: AuditSettings { queue: 4096 },
            metrics: MetricsSettings { listen: None },
            log: LogSettings { format: LogFormat::Auto, level: "info".to_owned() },
            cleanup: CleanupSettings { interval: Seconds(60), batch: 500 },
            places: BTreeMap::new(),
        }
    }
}
