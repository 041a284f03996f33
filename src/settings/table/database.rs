//! `[database]`: which one, how many at once, how durable.

use secrecy::{ExposeSecret, SecretString};

use crate::settings::Synchronous;
use crate::settings::live::keep;
use crate::settings::setting::{Kind, Setting};
use crate::settings::value;

use super::{MINUTE, SECOND, duration, integer};

pub(super) const SETTINGS: &[Setting] = &[
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
        "Connections to the database that may be open at once; on SQLite so many for each of two kinds of reading, and one that \
         writes.",
    )
    .fixed(|fresh, running| keep(&mut fresh.database.max_connections, &running.database.max_connections)),
    Setting::new(
        "database.max_waiting",
        "32",
        integer(1, 4096, |s, v| s.database.max_waiting = v as usize),
        "Acts that may be at the database at once while more come than it can serve: while on the average of some two \
         thousand eight times as many have been there (1024 at the most, unless this is more). Further requests are answered 503 at once, so that the others keep \
         their pace. A burst of some hundreds is let in whole, and so are up to eight times as many callers who come again as \
         soon as they are answered.",
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
        "database.cache_kib",
        "16384",
        integer(1024, 1_048_576, |s, v| s.database.cache_kib = v),
        "Memory in KiB in which the connection that writes to SQLite keeps pages of the file; each that reads has a quarter \
         as much (see `max_connections`). It is taken as the database grows. PostgreSQL has its own setting.",
    )
    .fixed(|fresh, running| keep(&mut fresh.database.cache_kib, &running.database.cache_kib)),
];
