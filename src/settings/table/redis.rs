//! `[redis]`: the server for state with a lifetime and for notices between nodes.

use secrecy::{ExposeSecret, SecretString};

use crate::settings::live::{keep, keep_secret};
use crate::settings::setting::{Kind, Setting};
use crate::settings::value;

use super::{MINUTE, OPTIONAL_PATH, SECOND, duration, optional, path};

pub(super) const SETTINGS: &[Setting] = &[
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
];
