//! `[keys]`: the master key, the algorithms of signing keys and their rotation.

use secrecy::SecretString;

use crate::settings::Seconds;
use crate::settings::live::{keep, keep_secret};
use crate::settings::setting::{Kind, Setting};

use super::{SECOND, SIGNING_ALGORITHMS, YEAR, duration, each, optional, path};

pub(super) const SETTINGS: &[Setting] = &[
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
];
