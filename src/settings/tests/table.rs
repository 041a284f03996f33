//! The table, the example, the reference page and the defaults agree.

use super::*;

#[test]
fn the_defaults_are_those_of_the_table() {
    let default = Settings::default();
    assert_eq!(values(&Settings::load(&Sources::default()).unwrap()), values(&default));
    for setting in all() {
        let file = format!("{} = {}", setting.path, setting.default);
        let settings = load(&file).unwrap_or_else(|error| panic!("{error}"));
        assert_eq!(values(&settings), values(&default), "{}", setting.path);
        assert_eq!(*settings.place_of(setting.path), Place::Line { file: FILE.into(), line: 1 });
    }
    assert!(default.warnings().is_empty(), "{:?}", default.warnings());
}

#[test]
fn the_example_says_the_defaults() {
    let example = example();
    let default = values(&Settings::default());
    assert_eq!(values(&load(&example).unwrap()), default);

    let commented = |line: &str| line.starts_with('#') && !line.starts_with("# ") && line != "#";
    assert_eq!(example.lines().filter(|line| commented(line)).count(), all().count());
    let uncomment = |all: Option<usize>| {
        let lines = example.lines().enumerate().map(|(index, line)| match line.strip_prefix('#') {
            Some(setting) if commented(line) && all.is_none_or(|one| one == index) => setting.to_owned(),
            _ => line.to_owned(),
        });
        lines.collect::<Vec<_>>().join("\n")
    };
    // Each line by itself, and all of them together.
    for (index, line) in example.lines().enumerate().filter(|(_, line)| commented(line)) {
        assert_eq!(values(&load(&uncomment(Some(index))).unwrap()), default, "{line}");
    }
    let uncommented = load(&uncomment(None)).unwrap();
    assert_eq!(values(&uncommented), default);
    for setting in all() {
        assert_ne!(*uncommented.place_of(setting.path), Place::Default, "{} isn't in the example", setting.path);
        let line = example.lines().position(|line| line == format!("#{} = {}", setting.name(), setting.default));
        assert!(line.is_some(), "{}", setting.path);
    }
    assert!(example.lines().all(|line| line.len() <= 110), "a line is too long to read");
    assert!(example.contains("[server]\n\n# Address and port to listen on."));
}

#[test]
fn the_reference_page_has_every_setting() {
    let page = reference();
    for setting in all() {
        assert!(page.contains(&format!("### `{}`\n\n{}", setting.path, setting.doc)), "{}", setting.path);
        assert!(page.contains(&format!("Default `{}`", setting.default)));
        assert!(page.contains(&format!("`{}`", setting.variable())));
    }
    assert!(page.contains("`KEYWARD_DATABASE_URL` or `KEYWARD_DATABASE_URL_FILE` · secret"));
}

#[test]
fn names_are_plain_and_unique() {
    let mut names = BTreeSet::new();
    for setting in all() {
        assert!(names.insert(setting.path.to_owned()), "{}", setting.path);
        assert!(names.insert(setting.variable()), "{}", setting.variable());
        if let Some(variable) = setting.file_variable() {
            assert!(names.insert(variable.clone()), "{variable}");
        }
        assert!(setting.path.split('.').count() <= 2);
        assert!(setting.path.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b"._".contains(&b)));
        assert!(setting.doc.ends_with('.') && !setting.doc.contains("  "), "{}", setting.path);
    }
    assert_eq!(find("server.listen").unwrap().variable(), "KEYWARD_SERVER_LISTEN");
    // That name belongs to the setting `keys.master_key_file`.
    assert_eq!(find("keys.master_key").unwrap().file_variable(), None);
    let secrets: Vec<_> = all().filter(|setting| setting.secret).map(|setting| setting.path).collect();
    assert_eq!(secrets, ["database.url", "redis.url", "keys.master_key", "vault.token", "vault.secret_id"]);
}

/// For each setting a value other than its default: in TOML, and as a variable writes it. Some need a second setting to
/// be allowed at all.
const OTHERS: &[(&str, &str, &str, &str)] = &[
    ("public_url", r#""https://a.example.com/b""#, "https://a.example.com/b", ""),
    ("environment", r#""development""#, "development", ""),
    ("data_dir", r#""/var/lib/keyward""#, "/var/lib/keyward", ""),
    ("server.listen", r#""[::1]:80""#, "[::1]:80", ""),
    (
        "server.tls_certificate_file",
        r#""/c.pem""#,
        "/c.pem",
        "public_url = \"https://a.example.com\"\nserver.tls_key_file = \"/k.pem\"",
    ),
    (
        "server.tls_key_file",
        r#""/k.pem""#,
        "/k.pem",
        "public_url = \"https://a.example.com\"\nserver.tls_certificate_file = \"/c.pem\"",
    ),
    ("server.http_redirect_listen", r#""0.0.0.0:80""#, "0.0.0.0:80", "public_url = \"https://a.example.com\""),
    ("server.trusted_proxies", r#"["10.0.0.0/8", "::1"]"#, "10.0.0.0/8, ::1", ""),
    ("server.trusted_hosts", r#"["a.example.com", "b:80"]"#, "a.example.com,b:80", ""),
    ("server.worker_threads", "3", "3", ""),
    ("server.max_body_bytes", "2048", "2048", ""),
    ("server.max_connections", "5", "5", ""),
    ("server.load_shedding", "false", "false", ""),
    ("server.request_timeout", r#""1m""#, "60", ""),
    ("server.shutdown_grace", "0", "0s", ""),
    ("server.drain_delay", r#""30s""#, "30s", ""),
    ("database.url", r#""sqlite:other.db""#, "sqlite:other.db", ""),
    ("database.max_connections", "3", "3", ""),
    ("database.max_waiting", "48", "48", ""),
    ("database.migrate_at_start", "false", "false", ""),
    ("database.synchronous", r#""normal""#, "normal", ""),
    ("database.busy_timeout", r#""1s""#, "1s", ""),
    ("database.cache_kib", "32768", "32768", ""),
    ("redis.url", r#""redis://localhost/1""#, "redis://localhost/1", ""),
    ("redis.tls_ca_file", r#""/ca.pem""#, "/ca.pem", ""),
    ("redis.key_prefix", r#""other""#, "other", ""),
    ("redis.timeout", r#""5s""#, "5s", ""),
    ("keys.master_key_file", r#""/run/secrets/key""#, "/run/secrets/key", ""),
    ("keys.master_key", r#""correct horse""#, "correct horse", ""),
    ("keys.master_key_vault", r#""a/b#c""#, "a/b#c", "vault.address = \"https://v.example\"\nvault.token = \"t\""),
    ("keys.master_key_aws", r#""a/b#c""#, "a/b#c", ""),
    ("keys.master_key_timeout", r#""1m""#, "1m", ""),
    ("keys.algorithms", r#"["ES256", "RS256"]"#, "ES256,RS256", ""),
    ("keys.rotation_interval", r#""30d""#, "30d", ""),
    ("vault.address", r#""https://v.example:8200""#, "https://v.example:8200", ""),
    ("vault.namespace", r#""team/a""#, "team/a", ""),
    ("vault.mount", r#""kv""#, "kv", ""),
    ("vault.token", r#""t0ken""#, "t0ken", ""),
    ("vault.role_id", r#""role""#, "role", ""),
    ("vault.secret_id", r#""s3cret""#, "s3cret", "vault.role_id = \"role\""),
    ("vault.approle_mount", r#""team-approle""#, "team-approle", ""),
    ("vault.ca_file", r#""/ca.pem""#, "/ca.pem", ""),
    ("aws.region", r#""eu-central-1""#, "eu-central-1", ""),
    ("aws.endpoint_url", r#""https://aws.example""#, "https://aws.example", ""),
    ("tokens.access_token_lifetime", r#""5m""#, "5m", ""),
    ("tokens.refresh_token_idle_lifetime", r#""1d""#, "1d", ""),
    ("tokens.refresh_token_absolute_lifetime", r#""30d""#, "30d", ""),
    ("tokens.authorization_code_lifetime", "30", "30", ""),
    ("tokens.id_token_lifetime", r#""10m""#, "10m", ""),
    ("tokens.refresh_grace", "0", "0", ""),
    ("tokens.access_token_algorithm", r#""RS256""#, "RS256", ""),
    ("tokens.clock_leeway", r#""10s""#, "10s", ""),
    ("sessions.idle_timeout", r#""1h""#, "1h", ""),
    ("sessions.absolute_timeout", r#""1d""#, "1d", ""),
    ("sessions.touch_interval", r#""5m""#, "5m", ""),
    ("sessions.max_per_user", "5", "5", ""),
    ("passwords.argon2_memory_kib", "47104", "47104", ""),
    ("passwords.argon2_iterations", "3", "3", ""),
    ("passwords.argon2_parallelism", "2", "2", ""),
    ("passwords.hashing_threads", "2", "2", ""),
    ("passwords.hashing_queue", "8", "8", ""),
    ("passwords.min_length", "12", "12", ""),
    ("passwords.max_bytes", "1024", "1024", ""),
    ("authorization.pending_lifetime", r#""30m""#, "30m", ""),
    ("cors.allowed_origins", r#"["https://app.example.com"]"#, "https://app.example.com", ""),
    ("cors.development_origins", r#"["http://localhost:5173"]"#, "http://localhost:5173", ""),
    ("cors.max_age", r#""1h""#, "1h", ""),
    ("outbound.allowed_networks", r#"["10.0.0.0/8"]"#, "10.0.0.0/8", ""),
    ("outbound.allowed_hosts", r#"["keys.example"]"#, "keys.example", ""),
    ("outbound.http_hosts", r#"["keys.example"]"#, "keys.example", ""),
    ("outbound.ca_file", r#""/ca.pem""#, "/ca.pem", ""),
    ("outbound.connect_timeout", r#""1s""#, "1s", ""),
    ("outbound.timeout", r#""5s""#, "5s", ""),
    ("outbound.max_response_bytes", "2048", "2048", ""),
    ("outbound.max_concurrent", "3", "3", ""),
    ("outbound.breaker_failures", "3", "3", ""),
    ("outbound.breaker_pause", r#""1m""#, "1m", ""),
    ("audit.queue", "16", "16", ""),
    ("metrics.listen", r#""127.0.0.1:9464""#, "127.0.0.1:9464", ""),
    ("log.format", r#""json""#, "json", ""),
    ("log.level", r#""info,keyward=debug""#, "info,keyward=debug", ""),
    ("cleanup.interval", r#""5m""#, "5m", ""),
    ("cleanup.batch", "50", "50", ""),
];

#[test]
fn every_setting_reaches_a_field_of_its_own_from_every_source() {
    let paths: Vec<_> = OTHERS.iter().map(|(path, ..)| *path).collect();
    assert_eq!(paths, all().map(|setting| setting.path).collect::<Vec<_>>());
    let mut seen = BTreeSet::new();
    for (path, toml, text, beside) in OTHERS {
        let setting = find(path).unwrap();
        let without = values(&load(beside).unwrap_or_else(|_| Settings::default()));
        let by_file = load(&format!("{beside}\n{path} = {toml}")).unwrap_or_else(|error| panic!("{error}"));
        assert_ne!(values(&by_file), without, "{path} changes nothing");
        assert!(seen.insert(values(&by_file)) || !beside.is_empty(), "{path} shares its field");
        let by_variable = Settings::load(&sources(beside, &[(&setting.variable(), text)], &[])).unwrap();
        assert_eq!(values(&by_variable), values(&by_file), "{path} by variable");
        let by_flag = Settings::load(&sources(beside, &[], &[(path, text)]));
        match by_flag {
            Ok(by_flag) => assert_eq!(values(&by_flag), values(&by_file), "{path} by flag"),
            Err(error) => assert!(setting.secret, "{path}: {error}"),
        }
    }
}
