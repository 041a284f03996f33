//! THE table of settings: name, default, kind, meaning, and when a choice is weak. Whoever adds a setting adds a field
//! to `Settings` and a row here; its environment variable, its line of the example, its row of the reference page and
//! the suggestions for mistyped names follow from the row.
//!
//! Leaves out: rules between two settings (`load.rs`).

use std::path::PathBuf;

use secrecy::{ExposeSecret, SecretString};

use super::live::{keep, keep_secret};
use super::secret_store::{path as mount, service_url};
use super::setting::{ItemProblem, Kind, Setting};
use super::value;
use super::{Environment, LogFormat, Seconds, Settings, Synchronous};

/// The signing algorithms this server has, by their JOSE names (RFC 7518 §3.1, RFC 8037 §3.1).
pub const SIGNING_ALGORITHMS: &[&str] = &["ES256", "RS256", "EdDSA", "PS256"];

/// The setting of this name.
#[must_use]
pub(super) fn find(path: &str) -> Option<&'static Setting> {
    TABLE.iter().find(|setting| setting.path == path)
}

/// The sections in the order of the table, each once.
pub(super) fn sections() -> Vec<&'static str> {
    let mut sections: Vec<_> = TABLE.iter().map(Setting::section).collect();
    sections.dedup();
    sections
}

/// An empty text unsets an optional setting.
fn optional<T>(text: &str, read: impl FnOnce(&str) -> Result<T, String>) -> Result<Option<T>, String> {
    if text.is_empty() { Ok(None) } else { read(text).map(Some) }
}

/// Reads a path; an empty one would name the working folder by accident.
fn path(text: &str) -> Result<PathBuf, String> {
    if text.is_empty() || text.contains('\0') {
        return Err("must be the path of a file or folder".to_owned());
    }
    Ok(PathBuf::from(text))
}

/// Reads a secret that becomes a line of a request.
fn header_text(text: &str) -> Result<SecretString, String> {
    if text.bytes().any(|octet| !octet.is_ascii_graphic()) {
        return Err("must be one line of visible characters without blanks".to_owned());
    }
    Ok(SecretString::from(text))
}

/// Reads an address with a port.
fn address(text: &str) -> Result<std::net::SocketAddr, String> {
    text.parse().map_err(|_| format!("{text:?} isn't an address with a port such as 127.0.0.1:4000 or [::]:4000"))
}

/// Reads each item, and names the first that is wrong.
fn each<T>(items: &[&str], read: impl Fn(&str) -> Result<T, String>) -> Result<Vec<T>, ItemProblem> {
    items.iter().enumerate().map(|(index, item)| read(item).map_err(|message| (index, message))).collect()
}

const fn duration(least: Seconds, most: Seconds, put: fn(&mut Settings, Seconds)) -> Kind {
    Kind::Duration { least, most, put }
}

const fn integer(least: u32, most: u32, put: fn(&mut Settings, u32)) -> Kind {
    Kind::Integer { least, most, put }
}

const ADDRESS: &str = "an address with a port";
const OPTIONAL_ADDRESS: &str = "an address with a port, or \"\" for none";
const OPTIONAL_PATH: &str = "the path of a file, or \"\" for none";
const SECOND: Seconds = Seconds(1);
const MINUTE: Seconds = Seconds::minutes(1);
const HOUR: Seconds = Seconds::hours(1);
const DAY: Seconds = Seconds::days(1);
const YEAR: Seconds = Seconds::days(365);

/// Every setting, in the order of the example.
pub static TABLE: &[Setting] = &[
    Setting::new(
        "public_url",
        r#""http://localhost:4000""#,
        Kind::Text {
            what: "a URL",
            put: |s, v| {
                s.public_url = v.parse()?;
                Ok(())
            },
        },
        "The URL under which browsers and clients reach the server. It is the issuer, byte for byte: clients compare it, \
         so choose it once. https, without a trailing slash; a path is possible. http is for localhost only.",
    )
    .fixed(|fresh, running| keep(&mut fresh.public_url, &running.public_url)),
    Setting::new(
        "environment",
        r#""production""#,
        Kind::Choice {
            among: &["production", "development"],
            put: |s, v| {
                s.environment = if v == "development" { Environment::Development } else { Environment::Production };
            },
        },
        "Whether real users depend on this server. Only in development is a file `.env` in the working folder read.",
    )
    .fixed(|fresh, running| keep(&mut fresh.environment, &running.environment))
    .weak(|s| s.environment == Environment::Development, "settings for a developer's machine; not for real users"),
    Setting::new(
        "data_dir",
        r#""./keyward-data""#,
        Kind::Text {
            what: "the path of a folder",
            put: |s, v| {
                s.data_dir = path(v)?;
                Ok(())
            },
        },
        "Folder for what the server keeps on disk. A relative path counts from the folder the server is started in.",
    )
    .fixed(|fresh, running| keep(&mut fresh.data_dir, &running.data_dir)),
    Setting::new(
        "server.listen",
        r#""127.0.0.1:4000""#,
        Kind::Text {
            what: ADDRESS,
            put: |s, v| {
                s.server.listen = address(v)?;
                Ok(())
            },
        },
        "Address and port to listen on. \"0.0.0.0:4000\" or \"[::]:4000\" listens on all interfaces.",
    )
    .fixed(|fresh, running| keep(&mut fresh.server.listen, &running.server.listen))
    .weak(
        |s| !s.server.listen.ip().is_loopback() && !s.serves_tls() && s.server.trusted_proxies.is_empty(),
        "listens beyond this machine without TLS; set server.tls_certificate_file and server.tls_key_file, or name the \
         proxy that speaks TLS in server.trusted_proxies",
    ),
    Setting::new(
        "server.tls_certificate_file",
        r#""""#,
        Kind::Text {
            what: OPTIONAL_PATH,
            put: |s, v| {
                s.server.tls_certificate_file = optional(v, path)?;
                Ok(())
            },
        },
        "PEM file with the certificate and its chain. With server.tls_key_file the server speaks TLS itself; without \
         both, a proxy in front of it does. Example: \"/etc/keyward/tls.pem\".",
    )
    // A server that speaks TLS takes another certificate at once; whether it speaks TLS is decided at the start.
    .fixed(|fresh, running| {
        fresh.server.tls_certificate_file.is_some() != running.server.tls_certificate_file.is_some() && keep(&mut fresh.server.tls_certificate_file, &running.server.tls_certificate_file)
    }),
    Setting::new(
        "server.tls_key_file",
        r#""""#,
        Kind::Text {
            what: OPTIONAL_PATH,
            put: |s, v| {
                s.server.tls_key_file = optional(v, path)?;
                Ok(())
            },
        },
        "PEM file with the private key of the certificate. Example: \"/etc/keyward/tls.key\".",
    )
    // A server that speaks TLS takes another certificate at once; whether it speaks TLS is decided at the start.
    .fixed(|fresh, running| {
        fresh.server.tls_key_file.is_some() != running.server.tls_key_file.is_some() && keep(&mut fresh.server.tls_key_file, &running.server.tls_key_file)
    }),
    Setting::new(
        "server.http_redirect_listen",
        r#""""#,
        Kind::Text {
            what: OPTIONAL_ADDRESS,
            put: |s, v| {
                s.server.http_redirect_listen = optional(v, address)?;
                Ok(())
            },
        },
        "Address and port of a second listener that speaks plain HTTP and only redirects to public_url. Example: \
         \"0.0.0.0:80\".",
    )
    .fixed(|fresh, running| keep(&mut fresh.server.http_redirect_listen, &running.server.http_redirect_listen)),
    Setting::new(
        "server.trusted_proxies",
        "[]",
        Kind::List {
            what: "networks such as 10.0.0.0/8",
            put: |s, v| {
                s.server.trusted_proxies = each(v, str::parse)?;
                Ok(())
            },
        },
        "Proxies whose forwarding headers (Forwarded, X-Forwarded-For, X-Forwarded-Proto) are believed. From all others \
         these headers are ignored. Example: [\"10.0.0.0/8\", \"::1\"].",
    )
    .weak(
        |s| s.server.trusted_proxies.iter().any(|network| network.prefix_bits() == 0),
        "every peer is believed to be a proxy, so anyone can forge the address a request comes from",
    ),
    Setting::new(
        "server.trusted_hosts",
        "[]",
        Kind::List {
            what: "hosts such as login.example.com",
            put: |s, v| {
                s.server.trusted_hosts = each(v, value::authority)?;
                Ok(())
            },
        },
        "Hosts that a request may name; a host without a port stands for all ports. An empty list means the host of \
         public_url. The issuer and all links come from public_url, never from a request.",
    ),
    Setting::new(
        "server.worker_threads",
        "0",
        integer(0, 1024, |s, v| s.server.worker_threads = v as usize),
        "Threads that serve requests; 0 means one for each core.",
    )
    .fixed(|fresh, running| keep(&mut fresh.server.worker_threads, &running.server.worker_threads)),
    Setting::new(
        "server.max_body_bytes",
        "65536",
        integer(1024, 16_777_216, |s, v| s.server.max_body_bytes = v as usize),
        "Longest request body, in bytes.",
    ),
    Setting::new(
        "server.max_connections",
        "10000",
        integer(1, 1_000_000, |s, v| s.server.max_connections = v as usize),
        "Connections that may be open at once; a few more wait, the rest are closed.",
    )
    .fixed(|fresh, running| keep(&mut fresh.server.max_connections, &running.server.max_connections)),
    Setting::new(
        "server.request_timeout",
        r#""30s""#,
        duration(SECOND, Seconds::minutes(10), |s, v| s.server.request_timeout = v),
        "Time for a whole request, from its first byte to the answer.",
    )
    .fixed(|fresh, running| keep(&mut fresh.server.request_timeout, &running.server.request_timeout)),
    Setting::new(
        "server.shutdown_grace",
        r#""20s""#,
        duration(Seconds(0), Seconds::minutes(10), |s, v| s.server.shutdown_grace = v),
        "Time that running requests get to end when the server stops.",
    )
    .fixed(|fresh, running| keep(&mut fresh.server.shutdown_grace, &running.server.shutdown_grace)),
    Setting::new(
        "server.drain_delay",
        r#""5s""#,
        duration(Seconds(0), Seconds::minutes(10), |s, v| s.server.drain_delay = v),
        "How long the server goes on serving after SIGTERM while /health/ready says that it isn't ready, so that load \
         balancers stop sending before it stops listening: longer than they take to notice. Ctrl-C doesn't wait.",
    ),
    Setting::new(
        "database.url",
        r#""sqlite:keyward.db""#,
        Kind::Text {
            what: "sqlite:PATH or postgres://USER:PASSWORD@HOST/DATABASE",
            put: |s, v| {
                value::database_url(v)?;
                s.database.url = SecretString::from(v);
                Ok(())
            },
        },
        "The database: sqlite:PATH, where a relative path counts from data_dir, or \
         postgres://USER:PASSWORD@HOST/DATABASE?sslmode=verify-full.",
    )
    .fixed(|fresh, running| {
        let differs = fresh.database.url.expose_secret() != running.database.url.expose_secret();
        fresh.database.url = running.database.url.clone();
        differs
    })
    .secret()
    .weak(
        |s| value::database_travels_in_clear(s.database.url.expose_secret()),
        "the connection to the database leaves this machine and doesn't demand TLS; add sslmode=verify-full",
    ),
    Setting::new(
        "database.max_connections",
        "10",
        integer(1, 1000, |s, v| s.database.max_connections = v),
        "Connections to the database that may be open at once.",
    )
    .fixed(|fresh, running| keep(&mut fresh.database.max_connections, &running.database.max_connections)),
    Setting::new(
        "database.max_waiting",
        "64",
        integer(1, 4096, |s, v| s.database.max_waiting = v as usize),
        "Acts that may be at the database at once while more come than it can serve. Further requests are answered 503 \
         at once, so that the others keep their pace. A burst of up to 4096 is let in whole.",
    )
    .fixed(|fresh, running| keep(&mut fresh.database.max_waiting, &running.database.max_waiting)),
    Setting::new(
        "database.migrate_at_start",
        "true",
        Kind::Flag(|s, v| s.database.migrate_at_start = v),
        "Whether the server brings an older schema up to date when it starts. When false, it refuses to start on one.",
    )
    .fixed(|fresh, running| keep(&mut fresh.database.migrate_at_start, &running.database.migrate_at_start)),
    Setting::new(
        "database.synchronous",
        r#""full""#,
        Kind::Choice {
            among: &["full", "normal"],
            put: |s, v| {
                s.database.synchronous = if v == "normal" { Synchronous::Normal } else { Synchronous::Full };
            },
        },
        "How SQLite makes a commit durable. \"full\": it is on disk before it is answered. \"normal\": faster, but a loss \
         of power may undo the last commits. PostgreSQL has its own setting.",
    )
    .fixed(|fresh, running| keep(&mut fresh.database.synchronous, &running.database.synchronous))
    .weak(
        |s| s.database.synchronous == Synchronous::Normal,
        "a loss of power may undo the last commits, so that a spent code or refresh token could be used again",
    ),
    Setting::new(
        "database.busy_timeout",
        r#""5s""#,
        duration(SECOND, MINUTE, |s, v| s.database.busy_timeout = v),
        "How long a statement waits for a lock that another connection holds.",
    )
    .fixed(|fresh, running| keep(&mut fresh.database.busy_timeout, &running.database.busy_timeout)),
    Setting::new(
        "redis.url",
        r#""""#,
        Kind::Text {
            what: "redis://USER:PASSWORD@HOST/NUMBER, the same with rediss for TLS, or \"\" for none",
            put: |s, v| {
                s.redis.url = optional(v, |v| value::redis_url(v).map(|()| SecretString::from(v)))?;
                Ok(())
            },
        },
        "Redis or Valkey for several servers on one PostgreSQL: what lives for an hour at most (the marks of assertions \
         that were used) goes there in place of the database, and servers tell each other of changes through it. \
         rediss:// speaks TLS. Without it the database does both. Change it with all servers stopped.",
    )
    .secret()
    .weak(
        |s| s.redis.url.as_ref().is_some_and(|url| value::redis_travels_in_clear(url.expose_secret())),
        "the connection to Redis leaves this machine without TLS; use rediss://",
    )
    .fixed(|fresh, running| keep_secret(&mut fresh.redis.url, &running.redis.url)),
    Setting::new(
        "redis.tls_ca_file",
        r#""""#,
        Kind::Text {
            what: OPTIONAL_PATH,
            put: |s, v| {
                s.redis.tls_ca_file = optional(v, path)?;
                Ok(())
            },
        },
        "PEM file with the authority whose certificates Redis may show; \"\" means those of the operating system.",
    )
    .fixed(|fresh, running| keep(&mut fresh.redis.tls_ca_file, &running.redis.tls_ca_file)),
    Setting::new(
        "redis.key_prefix",
        r#""keyward""#,
        Kind::Text {
            what: "letters, digits, \"-\", \"_\", \".\" and \":\"",
            put: |s, v| {
                s.redis.key_prefix = value::key_prefix(v)?;
                Ok(())
            },
        },
        "What the names of all keys and channels begin with, for a Redis that others use too. Servers of one installation \
         share it; two installations must not.",
    )
    .fixed(|fresh, running| keep(&mut fresh.redis.key_prefix, &running.redis.key_prefix)),
    Setting::new(
        "redis.timeout",
        r#""2s""#,
        duration(SECOND, MINUTE, |s, v| s.redis.timeout = v),
        "How long the server waits for Redis to answer or to be reached. What needs it is then refused with 503.",
    )
    .fixed(|fresh, running| keep(&mut fresh.redis.timeout, &running.redis.timeout)),
    Setting::new(
        "keys.master_key_file",
        r#""master.key""#,
        Kind::Text {
            what: "the path of a file",
            put: |s, v| {
                s.keys.master_key_file = path(v)?;
                Ok(())
            },
        },
        "File with the master key. It seals the root secret in the database, on which signing keys, sessions, refresh \
         tokens and client secrets depend. A relative path counts from data_dir. A new installation makes the file. Keep \
         a copy in a safe place: without it all of these are lost. `keyward keys reseal` changes it.",
    )
    .fixed(|fresh, running| keep(&mut fresh.keys.master_key_file, &running.keys.master_key_file)),
    Setting::new(
        "keys.master_key",
        r#""""#,
        Kind::Text {
            what: "the master key, or \"\" to use the file",
            put: |s, v| {
                if !v.is_empty() && v.trim() != v {
                    return Err("must not begin or end with white space".to_owned());
                }
                s.keys.master_key = optional(v, |v| Ok(SecretString::from(v)))?;
                Ok(())
            },
        },
        "The master key itself, in place of keys.master_key_file. Better in the environment than in a file that is \
         passed around.",
    )
    .fixed(|fresh, running| keep_secret(&mut fresh.keys.master_key, &running.keys.master_key))
    .secret(),
    Setting::new(
        "keys.master_key_vault",
        r#""""#,
        Kind::Text {
            what: "PATH or PATH#FIELD of a secret, or \"\" for none",
            put: |s, v| {
                s.keys.master_key_vault = optional(v, str::parse)?;
                Ok(())
            },
        },
        "The secret of HashiCorp Vault (or OpenBao) in which the master key is kept, in place of a file: its path below \
         vault.mount, and its field, which is master_key unless it is named. It is read at each start. Example: \
         \"keyward#master_key\".",
    )
    .fixed(|fresh, running| keep(&mut fresh.keys.master_key_vault, &running.keys.master_key_vault)),
    Setting::new(
        "keys.master_key_aws",
        r#""""#,
        Kind::Text {
            what: "NAME, ARN, NAME#FIELD or ARN#FIELD of a secret, or \"\" for none",
            put: |s, v| {
                s.keys.master_key_aws = optional(v, str::parse)?;
                Ok(())
            },
        },
        "The secret of AWS Secrets Manager in which the master key is kept, in place of a file: its name or ARN, and for \
         a secret that is a JSON object its field. It is read at each start. Example: \"keyward/master-key\".",
    )
    .fixed(|fresh, running| keep(&mut fresh.keys.master_key_aws, &running.keys.master_key_aws)),
    Setting::new(
        "keys.master_key_timeout",
        r#""15s""#,
        duration(SECOND, Seconds::minutes(5), |s, v| s.keys.master_key_timeout = v),
        "Time for fetching the master key from Vault or AWS. There are three attempts, of which each has a third of it.",
    )
    .fixed(|fresh, running| keep(&mut fresh.keys.master_key_timeout, &running.keys.master_key_timeout)),
    Setting::new(
        "keys.algorithms",
        r#"["ES256", "RS256", "EdDSA", "PS256"]"#,
        Kind::List {
            what: "signing algorithms",
            put: |s, v| {
                if v.is_empty() {
                    return Err((0, "must name at least one algorithm".to_owned()));
                }
                let algorithms = each(v, |v| {
                    if SIGNING_ALGORITHMS.contains(&v) {
                        return Ok(v.to_owned());
                    }
                    Err(format!("{v:?} isn't one of {}", SIGNING_ALGORITHMS.join(", ")))
                })?;
                for (index, name) in algorithms.iter().enumerate() {
                    if algorithms.iter().take(index).any(|earlier| earlier == name) {
                        return Err((index, format!("{name:?} is named twice")));
                    }
                }
                s.keys.algorithms = algorithms;
                Ok(())
            },
        },
        "The algorithms to keep a signing key for: ES256, RS256, EdDSA, PS256. Clients may register any of them for \
         their ID tokens. The key of one that is named later signs when everybody can have seen it, some minutes after \
         the start.",
    )
    .fixed(|fresh, running| keep(&mut fresh.keys.algorithms, &running.keys.algorithms))
    .weak(
        |s| !s.keys.algorithms.iter().any(|name| name == "RS256"),
        "OpenID Connect Discovery §3 requires RS256, and many client libraries accept nothing else unasked",
    ),
    Setting::new(
        "keys.rotation_interval",
        r#""90d""#,
        duration(Seconds(0), Seconds::days(3650), |s, v| s.keys.rotation_interval = v),
        "How long a key signs before the next one, which has been published since, takes over. The old one stays \
         published until the last token that it signed has expired. 0 means that keys are rotated only by \
         `keyward keys rotate`; otherwise an hour at least.",
    )
    .weak(
        |s| s.keys.rotation_interval == Seconds(0) || s.keys.rotation_interval > YEAR,
        "a key that is stolen unnoticed signs for as long as it isn't rotated",
    ),
    Setting::new(
        "vault.address",
        r#""""#,
        Kind::Text {
            what: "a URL, or \"\" for none",
            put: |s, v| {
                s.vault.address = optional(v, service_url)?;
                Ok(())
            },
        },
        "The URL of HashiCorp Vault or OpenBao: https, but for one on this machine. It must lead to the active node by \
         itself, for no redirect is followed. Example: \"https://vault.example.com:8200\".",
    )
    .fixed(|fresh, running| keep(&mut fresh.vault.address, &running.vault.address)),
    Setting::new(
        "vault.namespace",
        r#""""#,
        Kind::Text {
            what: "a namespace, or \"\" for none",
            put: |s, v| {
                s.vault.namespace = optional(v, mount)?;
                Ok(())
            },
        },
        "The namespace of Vault that the server's secrets and AppRole are in.",
    )
    .fixed(|fresh, running| keep(&mut fresh.vault.namespace, &running.vault.namespace)),
    Setting::new(
        "vault.mount",
        r#""secret""#,
        Kind::Text {
            what: "the path of a mount",
            put: |s, v| {
                s.vault.mount = mount(v)?;
                Ok(())
            },
        },
        "Where Vault's secrets engine KV, version 2, is mounted.",
    )
    .fixed(|fresh, running| keep(&mut fresh.vault.mount, &running.vault.mount)),
    Setting::new(
        "vault.token",
        r#""""#,
        Kind::Text {
            what: "a token, or \"\" for none",
            put: |s, v| {
                s.vault.token = optional(v, header_text)?;
                Ok(())
            },
        },
        "The token that opens Vault, unless vault.role_id is set. An agent of Vault that keeps one in a file is served by the \
         variable that names a file.",
    )
    .secret()
    .fixed(|fresh, running| keep_secret(&mut fresh.vault.token, &running.vault.token)),
    Setting::new(
        "vault.role_id",
        r#""""#,
        Kind::Text {
            what: "a role id, or \"\" for none",
            put: |s, v| {
                s.vault.role_id = optional(v, |v| Ok(v.to_owned()))?;
                Ok(())
            },
        },
        "The role id of AppRole by which the server signs in to Vault, in place of vault.token.",
    )
    .fixed(|fresh, running| keep(&mut fresh.vault.role_id, &running.vault.role_id)),
    Setting::new(
        "vault.secret_id",
        r#""""#,
        Kind::Text {
            what: "a secret id, or \"\" for none",
            put: |s, v| {
                s.vault.secret_id = optional(v, header_text)?;
                Ok(())
            },
        },
        "The secret id of that role; \"\" for a role that needs none.",
    )
    .secret()
    .fixed(|fresh, running| keep_secret(&mut fresh.vault.secret_id, &running.vault.secret_id)),
    Setting::new(
        "vault.approle_mount",
        r#""approle""#,
        Kind::Text {
            what: "the path of a mount",
            put: |s, v| {
                s.vault.approle_mount = mount(v)?;
                Ok(())
            },
        },
        "Where AppRole is mounted below auth/.",
    )
    .fixed(|fresh, running| keep(&mut fresh.vault.approle_mount, &running.vault.approle_mount)),
    Setting::new(
        "vault.ca_file",
        r#""""#,
        Kind::Text {
            what: OPTIONAL_PATH,
            put: |s, v| {
                s.vault.ca_file = optional(v, path)?;
                Ok(())
            },
        },
        "PEM file with certificate authorities that are trusted beside the system's, for Vault alone.",
    )
    .fixed(|fresh, running| keep(&mut fresh.vault.ca_file, &running.vault.ca_file)),
    Setting::new(
        "aws.region",
        r#""""#,
        Kind::Text {
            what: "a region, or \"\" for none",
            put: |s, v| {
                s.aws.region = optional(v, |v| Ok(v.to_owned()))?;
                Ok(())
            },
        },
        "The region of AWS Secrets Manager; else that of the secret's ARN, else what the environment, the profile or the \
         machine says. Credentials come from there too, and never from these settings.",
    )
    .fixed(|fresh, running| keep(&mut fresh.aws.region, &running.aws.region)),
    Setting::new(
        "aws.endpoint_url",
        r#""""#,
        Kind::Text {
            what: "a URL, or \"\" for none",
            put: |s, v| {
                s.aws.endpoint_url = optional(v, service_url)?;
                Ok(())
            },
        },
        "Another address of AWS Secrets Manager than the region's, such as that of an endpoint in one's own network: https, \
         but for one on this machine.",
    )
    .fixed(|fresh, running| keep(&mut fresh.aws.endpoint_url, &running.aws.endpoint_url)),
    Setting::new(
        "tokens.access_token_lifetime",
        r#""30m""#,
        duration(Seconds(30), DAY, |s, v| s.tokens.access_token_lifetime = v),
        "Life of an access token. Resource servers that check it by its signature accept it until then, whatever happens.",
    )
    .weak(|s| s.tokens.access_token_lifetime > HOUR, "a stolen access token stays good for more than an hour"),
    Setting::new(
        "tokens.refresh_token_idle_lifetime",
        r#""7d""#,
        duration(MINUTE, YEAR, |s, v| s.tokens.refresh_token_idle_lifetime = v),
        "How long a refresh token may lie unused before it ends.",
    ),
    Setting::new(
        "tokens.refresh_token_absolute_lifetime",
        r#""90d""#,
        duration(MINUTE, Seconds::days(3650), |s, v| s.tokens.refresh_token_absolute_lifetime = v),
        "How long an authorization can be refreshed in all, however often it is used. Then the user signs in again.",
    ),
    Setting::new(
        "tokens.authorization_code_lifetime",
        r#""60s""#,
        duration(SECOND, Seconds(600), |s, v| s.tokens.authorization_code_lifetime = v),
        "Life of an authorization code. RFC 6749 §4.1.2 allows ten minutes at most; a client needs seconds.",
    )
    .weak(|s| s.tokens.authorization_code_lifetime > MINUTE, "a code that leaks stays good for more than a minute"),
    Setting::new(
        "tokens.id_token_lifetime",
        r#""30m""#,
        duration(Seconds(30), DAY, |s, v| s.tokens.id_token_lifetime = v),
        "Life of an ID token.",
    ),
    Setting::new(
        "tokens.refresh_grace",
        r#""30s""#,
        duration(Seconds(0), Seconds::minutes(5), |s, v| s.tokens.refresh_grace = v),
        "How long a spent refresh token still answers with the same successor, for a client that lost the answer or \
         refreshes in two tabs. 0 means that the first reuse ends the family.",
    )
    .weak(|s| s.tokens.refresh_grace > MINUTE, "the reuse of a stolen refresh token goes unnoticed for longer"),
    Setting::new(
        "tokens.access_token_algorithm",
        r#""ES256""#,
        Kind::Choice { among: SIGNING_ALGORITHMS, put: |s, v| s.tokens.access_token_algorithm = v.to_owned() },
        "Algorithm of access tokens, unless their resource says otherwise. One of keys.algorithms.",
    )
    .fixed(|fresh, running| keep(&mut fresh.tokens.access_token_algorithm, &running.tokens.access_token_algorithm)),
    Setting::new(
        "tokens.clock_leeway",
        r#""60s""#,
        duration(Seconds(0), Seconds::minutes(5), |s, v| s.tokens.clock_leeway = v),
        "How far the clocks of clients may differ when their signed assertions and requests are checked. Our own codes \
         and tokens get no leeway.",
    )
    .weak(|s| s.tokens.clock_leeway > MINUTE, "assertions of clients are accepted long after they have expired"),
    Setting::new(
        "sessions.idle_timeout",
        r#""12h""#,
        duration(MINUTE, Seconds::days(90), |s, v| s.sessions.idle_timeout = v),
        "How long a browser may stay away before its user must sign in again.",
    ),
    Setting::new(
        "sessions.absolute_timeout",
        r#""30d""#,
        duration(MINUTE, YEAR, |s, v| s.sessions.absolute_timeout = v),
        "How long a session may last in all, however much it is used.",
    ),
    Setting::new(
        "sessions.touch_interval",
        r#""60s""#,
        duration(Seconds(0), HOUR, |s, v| s.sessions.touch_interval = v),
        "How often at most the last use of a session is written down. Shorter is more exact and writes more.",
    ),
    Setting::new(
        "passwords.argon2_memory_kib",
        "19456",
        integer(8, 4_194_304, |s, v| s.passwords.argon2_memory_kib = v),
        "Memory of one Argon2id hash, in KiB. A password is hashed anew at the next login after a change.",
    )
    .fixed(|fresh, running| keep(&mut fresh.passwords.argon2_memory_kib, &running.passwords.argon2_memory_kib))
    .weak(
        |s| !s.hashing_is_strong(),
        "with passwords.argon2_iterations this is less than OWASP advises (19456 KiB with 2 iterations, or as much)",
    ),
    Setting::new(
        "passwords.argon2_iterations",
        "2",
        integer(1, 100, |s, v| s.passwords.argon2_iterations = v),
        "Passes of one Argon2id hash over its memory.",
    )
    .fixed(|fresh, running| keep(&mut fresh.passwords.argon2_iterations, &running.passwords.argon2_iterations)),
    Setting::new(
        "passwords.argon2_parallelism",
        "1",
        integer(1, 64, |s, v| s.passwords.argon2_parallelism = v),
        "Lanes of one Argon2id hash.",
    )
    .fixed(|fresh, running| keep(&mut fresh.passwords.argon2_parallelism, &running.passwords.argon2_parallelism)),
    Setting::new(
        "passwords.hashing_threads",
        "0",
        integer(0, 1024, |s, v| s.passwords.hashing_threads = v as usize),
        "Threads that hash passwords, so that a flood of logins starves nothing else; 0 means one for each core.",
    )
    .fixed(|fresh, running| keep(&mut fresh.passwords.hashing_threads, &running.passwords.hashing_threads)),
    Setting::new(
        "passwords.hashing_queue",
        "64",
        integer(1, 100_000, |s, v| s.passwords.hashing_queue = v as usize),
        "Hashes that may wait for a thread; further logins are answered 503 until there is room.",
    )
    .fixed(|fresh, running| keep(&mut fresh.passwords.hashing_queue, &running.passwords.hashing_queue)),
    Setting::new(
        "passwords.min_length",
        "8",
        integer(1, 128, |s, v| s.passwords.min_length = v as usize),
        "Shortest password that may be chosen, in characters.",
    )
    .weak(|s| s.passwords.min_length < 8, "passwords shorter than 8 characters are guessed quickly (NIST SP 800-63B)"),
    Setting::new(
        "passwords.max_bytes",
        "4096",
        // 128 characters of four bytes each, the longest `min_length`, still fit.
        integer(512, 4096, |s, v| s.passwords.max_bytes = v as usize),
        "Longest password, in bytes.",
    ),
    Setting::new(
        "authorization.pending_lifetime",
        r#""1h""#,
        duration(MINUTE, DAY, |s, v| s.authorization.pending_lifetime = v),
        "How long a begun login can still be finished; after that it starts again and still returns to its client.",
    ),
    Setting::new(
        "cors.allowed_origins",
        "[]",
        Kind::List {
            what: "origins such as https://app.example.com",
            put: |s, v| {
                s.cors.allowed_origins = each(v, value::origin)?;
                Ok(())
            },
        },
        "Origins whose scripts may call the server, beside those of the registered clients.",
    )
    .weak(
        |s| {
            let loopback = |origin: &String| origin.parse::<super::PublicUrl>().is_ok_and(|url| url.is_loopback());
            s.cors.allowed_origins.iter().any(|origin| origin.starts_with("http:") && !loopback(origin))
        },
        "an origin without https can be impersonated by anyone on the network",
    ),
    Setting::new(
        "cors.development_origins",
        "[]",
        Kind::List {
            what: "origins such as http://localhost:5173",
            put: |s, v| {
                s.cors.development_origins = each(v, value::origin)?;
                Ok(())
            },
        },
        "Origins that are added to cors.allowed_origins while environment is \"development\", and mean nothing in \
         production: for the server of a single-page app on a developer's machine.",
    ),
    Setting::new(
        "cors.max_age",
        r#""24h""#,
        duration(Seconds(0), DAY, |s, v| s.cors.max_age = v),
        "How long a browser may keep the answer to a preflight request.",
    ),
    Setting::new(
        "outbound.allowed_networks",
        "[]",
        Kind::List {
            what: "networks such as 10.0.0.0/8",
            put: |s, v| {
                s.outbound.allowed_networks = each(v, str::parse)?;
                Ok(())
            },
        },
        "Networks that the server may be sent to by what clients register (jwks_uri and the like), beside the internet at \
         large. Without it no private, loopback or link-local address is ever connected to. Example: [\"10.20.0.0/16\"].",
    )
    .fixed(|fresh, running| keep(&mut fresh.outbound.allowed_networks, &running.outbound.allowed_networks))
    .weak(
        |s| s.outbound.allowed_networks.iter().any(|network| network.prefix_bits() == 0),
        "clients can make the server ask any address, those of its own network and machine included",
    ),
    Setting::new(
        "outbound.allowed_hosts",
        "[]",
        Kind::List {
            what: "hosts such as keys.internal.example",
            put: |s, v| {
                s.outbound.allowed_hosts = each(v, value::host)?;
                Ok(())
            },
        },
        "Hosts that the server may be sent to wherever they are, in private networks too.",
    )
    .fixed(|fresh, running| keep(&mut fresh.outbound.allowed_hosts, &running.outbound.allowed_hosts)),
    Setting::new(
        "outbound.http_hosts",
        "[]",
        Kind::List {
            what: "hosts such as keys.internal.example",
            put: |s, v| {
                s.outbound.http_hosts = each(v, value::host)?;
                Ok(())
            },
        },
        "Hosts that may be asked by plain http; all others only by https.",
    )
    .fixed(|fresh, running| keep(&mut fresh.outbound.http_hosts, &running.outbound.http_hosts))
    .weak(
        |s| s.outbound.http_hosts.iter().any(|host| host != "localhost"),
        "what comes by plain http, keys of clients among it, can be changed by anyone on the network",
    ),
    Setting::new(
        "outbound.ca_file",
        r#""""#,
        Kind::Text {
            what: OPTIONAL_PATH,
            put: |s, v| {
                s.outbound.ca_file = optional(v, path)?;
                Ok(())
            },
        },
        "PEM file with certificate authorities that are trusted beside the system's, for requests that leave the server.",
    )
    .fixed(|fresh, running| keep(&mut fresh.outbound.ca_file, &running.outbound.ca_file)),
    Setting::new(
        "outbound.connect_timeout",
        r#""3s""#,
        duration(SECOND, MINUTE, |s, v| s.outbound.connect_timeout = v),
        "Time for a connection to another host.",
    )
    .fixed(|fresh, running| keep(&mut fresh.outbound.connect_timeout, &running.outbound.connect_timeout)),
    Setting::new(
        "outbound.timeout",
        r#""10s""#,
        duration(SECOND, MINUTE, |s, v| s.outbound.timeout = v),
        "Time for a request to another host and its whole answer.",
    )
    .fixed(|fresh, running| keep(&mut fresh.outbound.timeout, &running.outbound.timeout)),
    Setting::new(
        "outbound.max_response_bytes",
        "1048576",
        integer(1024, 16_777_216, |s, v| s.outbound.max_response_bytes = v as usize),
        "Longest answer of another host, in bytes; for some documents the limit is lower.",
    )
    .fixed(|fresh, running| keep(&mut fresh.outbound.max_response_bytes, &running.outbound.max_response_bytes)),
    Setting::new(
        "outbound.max_concurrent",
        "64",
        integer(1, 10_000, |s, v| s.outbound.max_concurrent = v as usize),
        "Requests to other hosts that may be under way at once; at most 8 of them go to the same host.",
    )
    .fixed(|fresh, running| keep(&mut fresh.outbound.max_concurrent, &running.outbound.max_concurrent)),
    Setting::new(
        "outbound.breaker_failures",
        "5",
        integer(1, 1000, |s, v| s.outbound.breaker_failures = v),
        "Failures in a row after which a host that can't be connected to, or an address that doesn't answer well, is left \
         alone for a while.",
    )
    .fixed(|fresh, running| keep(&mut fresh.outbound.breaker_failures, &running.outbound.breaker_failures)),
    Setting::new(
        "outbound.breaker_pause",
        r#""30s""#,
        duration(SECOND, HOUR, |s, v| s.outbound.breaker_pause = v),
        "How long a host or an address that failed is left alone. Then one request tries.",
    )
    .fixed(|fresh, running| keep(&mut fresh.outbound.breaker_pause, &running.outbound.breaker_pause)),
    Setting::new(
        "audit.queue",
        "4096",
        integer(1, 1_000_000, |s, v| s.audit.queue = v as usize),
        "Refusals and failures that may wait for the writer of the audit trail; a full queue slows the caller. A \
         crash may lose those that wait.",
    )
    .fixed(|fresh, running| keep(&mut fresh.audit.queue, &running.audit.queue)),
    Setting::new(
        "metrics.listen",
        r#""""#,
        Kind::Text {
            what: OPTIONAL_ADDRESS,
            put: |s, v| {
                s.metrics.listen = optional(v, address)?;
                Ok(())
            },
        },
        "Address and port of a listener that answers GET /metrics in the text format of Prometheus, by plain HTTP and to \
         anybody who reaches it. Example: \"127.0.0.1:9464\".",
    )
    .fixed(|fresh, running| keep(&mut fresh.metrics.listen, &running.metrics.listen))
    .weak(
        |s| s.metrics.listen.is_some_and(|address| !address.ip().is_loopback()),
        "whoever reaches this address reads what the server counts; let a firewall guard it",
    ),
    Setting::new(
        "log.format",
        r#""auto""#,
        Kind::Choice {
            among: &["auto", "text", "json"],
            put: |s, v| {
                s.log.format = match v {
                    "text" => LogFormat::Text,
                    "json" => LogFormat::Json,
                    _ => LogFormat::Auto,
                };
            },
        },
        "Shape of a line of the log. \"auto\" is text on a terminal and JSON elsewhere.",
    )
    .fixed(|fresh, running| keep(&mut fresh.log.format, &running.log.format)),
    Setting::new(
        "log.level",
        r#""info""#,
        Kind::Text {
            what: "a level, or levels by part of the program",
            put: |s, v| {
                value::log_level(v)?;
                s.log.level = v.to_owned();
                Ok(())
            },
        },
        "off, error, warn, info, debug or trace; or levels by part of the program, such as \"info,keyward=debug\".",
    ),
    Setting::new(
        "cleanup.interval",
        r#""60s""#,
        duration(SECOND, DAY, |s, v| s.cleanup.interval = v),
        "Pause between two rounds that remove what has expired.",
    ),
    Setting::new(
        "cleanup.batch",
        "500",
        integer(1, 100_000, |s, v| s.cleanup.batch = v),
        "Most rows that one transaction of a round removes.",
    ),
];
