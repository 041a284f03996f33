//! The settings as a whole: precedence, mistyped names, every bound and rule, secrets, the example and the table.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use secrecy::ExposeSecret;

use super::table::{TABLE, find};
use super::*;

const FILE: &str = "keyward.toml";

fn sources(file: &str, environment: &[(&str, &str)], flags: &[(&str, &str)]) -> Sources {
    let owned = |pairs: &[(&str, &str)]| pairs.iter().map(|(a, b)| ((*a).to_owned(), (*b).to_owned())).collect();
    Sources {
        file: Some((PathBuf::from(FILE), file.to_owned())),
        dot_env: None,
        environment: owned(environment),
        flags: owned(flags),
    }
}

fn load(file: &str) -> Result<Settings, SettingsError> {
    Settings::load(&sources(file, &[], &[]))
}

/// The problems of a file, as an operator reads them.
fn problems(file: &str) -> String {
    load(file).unwrap_err().to_string()
}

/// All values for a comparison, secrets included; not the places.
fn values(settings: &Settings) -> String {
    let mut settings = settings.clone();
    settings.places.clear();
    let secrets = [&settings.keys.master_key, &settings.vault.token, &settings.vault.secret_id];
    let secrets = secrets.map(|secret| secret.as_ref().map(|secret| secret.expose_secret().to_owned()));
    format!("{settings:?} {} {secrets:?}", settings.database.url.expose_secret())
}

/// Writes a file into a folder and answers with its path.
fn file_in(folder: &Path, name: &str, text: &str) -> String {
    let path = folder.join(name);
    std::fs::write(&path, text).unwrap();
    path.to_str().unwrap().to_owned()
}

// The table, the example and the defaults.

#[test]
fn the_defaults_are_those_of_the_table() {
    let default = Settings::default();
    assert_eq!(values(&Settings::load(&Sources::default()).unwrap()), values(&default));
    for setting in TABLE {
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
    assert_eq!(example.lines().filter(|line| commented(line)).count(), TABLE.len());
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
    let all = load(&uncomment(None)).unwrap();
    assert_eq!(values(&all), default);
    for setting in TABLE {
        assert_ne!(*all.place_of(setting.path), Place::Default, "{} isn't in the example", setting.path);
        let line = example.lines().position(|line| line == format!("#{} = {}", setting.name(), setting.default));
        assert!(line.is_some(), "{}", setting.path);
    }
    assert!(example.lines().all(|line| line.len() <= 110), "a line is too long to read");
    assert!(example.contains("[server]\n\n# Address and port to listen on."));
}

#[test]
fn the_reference_page_has_every_setting() {
    let page = reference();
    for setting in TABLE {
        assert!(page.contains(&format!("### `{}`\n\n{}", setting.path, setting.doc)), "{}", setting.path);
        assert!(page.contains(&format!("Default `{}`", setting.default)));
        assert!(page.contains(&format!("`{}`", setting.variable())));
    }
    assert!(page.contains("`KEYWARD_DATABASE_URL` or `KEYWARD_DATABASE_URL_FILE` · secret"));
}

#[test]
fn names_are_plain_and_unique() {
    let mut names = BTreeSet::new();
    for setting in TABLE {
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
    let secrets: Vec<_> = TABLE.iter().filter(|setting| setting.secret).map(|setting| setting.path).collect();
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
    ("server.request_timeout", r#""1m""#, "60", ""),
    ("server.shutdown_grace", "0", "0s", ""),
    ("server.drain_delay", r#""30s""#, "30s", ""),
    ("database.url", r#""sqlite:other.db""#, "sqlite:other.db", ""),
    ("database.max_connections", "3", "3", ""),
    ("database.max_waiting", "32", "32", ""),
    ("database.migrate_at_start", "false", "false", ""),
    ("database.synchronous", r#""normal""#, "normal", ""),
    ("database.busy_timeout", r#""1s""#, "1s", ""),
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
    assert_eq!(paths, TABLE.iter().map(|setting| setting.path).collect::<Vec<_>>());
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

// Precedence.

#[test]
fn flags_win_over_environment_over_file_over_default() {
    let port = |environment: &[(&str, &str)], flags: &[(&str, &str)]| {
        let file = "[server]\nlisten = \"127.0.0.1:2\"";
        Settings::load(&sources(file, environment, flags)).unwrap().server.listen.port()
    };
    let variable = ("KEYWARD_SERVER_LISTEN", "127.0.0.1:3");
    assert_eq!(Settings::default().server.listen.port(), 4000);
    assert_eq!(port(&[], &[]), 2);
    assert_eq!(port(&[variable], &[]), 3);
    assert_eq!(port(&[variable], &[("server.listen", "127.0.0.1:4")]), 4);
    assert_eq!(port(&[variable], &[("server.listen", "127.0.0.1:4"), ("server.listen", "127.0.0.1:5")]), 5);
}

#[test]
fn places_tell_which_source_won() {
    let file = "\n\ncleanup.batch = 1\naudit.queue = 1\nlog.level = \"warn\"";
    let settings = Settings::load(&sources(file, &[("KEYWARD_AUDIT_QUEUE", "2")], &[("log.level", "debug")])).unwrap();
    assert_eq!(settings.place_of("cleanup.batch").to_string(), "keyward.toml:3");
    assert_eq!(settings.place_of("audit.queue").to_string(), "KEYWARD_AUDIT_QUEUE");
    assert_eq!(settings.place_of("log.level").to_string(), "flag log.level");
    assert_eq!(*settings.place_of("cleanup.interval"), Place::Default);
}

#[test]
fn an_empty_variable_unsets_what_is_optional_and_empties_a_list() {
    let file = "public_url = \"https://a.example.com\"\n[server]\nhttp_redirect_listen = \"0.0.0.0:80\"\n\
                trusted_proxies = [\"10.0.0.0/8\"]";
    let unset = [("KEYWARD_SERVER_HTTP_REDIRECT_LISTEN", ""), ("KEYWARD_SERVER_TRUSTED_PROXIES", "")];
    let settings = Settings::load(&sources(file, &unset, &[])).unwrap();
    assert_eq!(settings.server.http_redirect_listen, None);
    assert!(settings.server.trusted_proxies.is_empty());
    for name in
        ["KEYWARD_SERVER_LISTEN", "KEYWARD_CLEANUP_BATCH", "KEYWARD_DATA_DIR", "KEYWARD_DATABASE_MIGRATE_AT_START"]
    {
        assert!(Settings::load(&sources("", &[(name, "")], &[])).is_err(), "{name}");
    }
}

// Names.

#[test]
fn a_mistyped_setting_is_refused_with_its_line_and_the_nearest_name() {
    assert_eq!(
        problems("# first\n\n[server]\nlisten = \"127.0.0.1:1\"\nlisen = \"127.0.0.1:2\"\n"),
        "keyward.toml:5: unknown setting \"server.lisen\"; did you mean \"server.listen\"?"
    );
    for (file, expected) in [
        ("publc_url = 1", "unknown setting \"publc_url\"; did you mean \"public_url\"?"),
        ("listen = 1", "unknown setting \"listen\"; did you mean \"server.listen\"?"),
        ("server.idle_timeout = 1", "unknown setting \"server.idle_timeout\"; did you mean \"sessions.idle_timeout\"?"),
        ("[tokens]\nacces_token_lifetime = 1", "did you mean \"tokens.access_token_lifetime\"?"),
        ("[sever]\nlisten = 1", "keyward.toml:1: unknown section \"sever\"; did you mean \"server\"?"),
        ("[server.tls]\na = 1", "unknown section \"server.tls\""),
        ("\"server.listen\" = 1", "unknown setting \"server.listen\"; write its name without quotes"),
        ("server = 1", "server is a section; write its settings below [server]"),
    ] {
        let found = problems(file);
        assert!(found.contains(expected) && found.lines().count() == 1, "{file}: {found}");
    }
    assert_eq!(problems("zzzzqqq = 1"), "keyward.toml:1: unknown setting \"zzzzqqq\"");
}

#[test]
fn mistyped_variables_and_flags_are_refused_too() {
    let error = Settings::load(&sources(
        "",
        &[("KEYWARD_SERVER_LISEN", "x"), ("KEYWARD_DATABASE_URL_FIL", "x"), ("KEYWARD_X", "x")],
        &[("server.lisen", "x")],
    ));
    assert_eq!(
        error.unwrap_err().to_string().lines().collect::<Vec<_>>(),
        [
            "KEYWARD_SERVER_LISEN: unknown variable \"KEYWARD_SERVER_LISEN\"; did you mean \"KEYWARD_SERVER_LISTEN\"?",
            "KEYWARD_DATABASE_URL_FIL: unknown variable \"KEYWARD_DATABASE_URL_FIL\"; did you mean \
             \"KEYWARD_DATABASE_URL_FILE\"?",
            "KEYWARD_X: unknown variable \"KEYWARD_X\"",
            "flag server.lisen: unknown setting \"server.lisen\"; did you mean \"server.listen\"?",
        ]
    );
    let passed_over = [("KEYWARD_CONFIG", "a.toml"), ("KEYWARD_TEST_POSTGRES", "x"), ("PATH", "x"), ("keyward_x", "x")];
    assert!(Settings::load(&sources("", &passed_over, &[])).is_ok());
}

#[test]
fn all_problems_are_found_in_one_go_with_their_places() {
    let file = "public_url = \"http://example.com\"\n[server]\nmax_connections = 0\nlisen = 1\n\
                trusted_proxies = [\n  \"10.0.0.0/8\",\n  \"10.0.0.1/8\",\n]\n[log]\nlevel = 3\n";
    let error = Settings::load(&sources(file, &[("KEYWARD_CLEANUP_BATCH", "many")], &[("audit.queue", "-1")]));
    let found = error.unwrap_err().to_string();
    let expected = [
        "keyward.toml:1: public_url: must begin with https:// (http:// is for localhost only)",
        "keyward.toml:3: server.max_connections: must be a whole number from 1 to 1000000, not 0",
        "keyward.toml:4: unknown setting \"server.lisen\"; did you mean \"server.listen\"?",
        "keyward.toml:7: server.trusted_proxies: \"10.0.0.1/8\" has bits behind its prefix; did you mean \"10.0.0.0/8\"?",
        "keyward.toml:10: log.level: must be a level, or levels by part of the program, not 3",
        "KEYWARD_CLEANUP_BATCH: cleanup.batch: must be a whole number from 1 to 100000, not \"many\"",
        "flag audit.queue: audit.queue: must be a whole number from 1 to 1000000, not \"-1\"",
    ];
    assert_eq!(found.lines().collect::<Vec<_>>(), expected);
}

#[test]
fn broken_toml_is_refused_with_its_line() {
    let found = problems("[server]\nlisten = 127.0.0.1:1\n");
    assert!(found.starts_with("keyward.toml:2: "), "{found}");
    let found = problems("[log]\nlevel = \"info\"\nlevel = \"warn\"\n");
    assert!(found.starts_with("keyward.toml:3: ") && found.contains("duplicate"), "{found}");
}

// Values.

#[test]
fn wrong_types_are_refused() {
    for (file, not) in [
        ("server.listen = 4000", "not 4000"),
        ("server.max_connections = \"5\"", "not \"5\""),
        ("server.max_connections = 5.0", "not a float"),
        ("server.max_connections = -5", "not -5"),
        ("server.max_connections = 99999999999999999999", "not 99999999999999999999"),
        ("server.trusted_proxies = \"10.0.0.0/8\"", "not \"10.0.0.0/8\""),
        ("server.trusted_proxies = [1]", "not one with an integer"),
        ("database.migrate_at_start = \"true\"", "not \"true\""),
        ("tokens.refresh_grace = true", "not a boolean"),
        ("tokens.refresh_grace = \"30\u{20}s\"", "not \"30 s\""),
        ("log.format = 1979-05-27", "not a date"),
        ("[log.level]\na = 1", "not a table"),
    ] {
        let found = problems(file);
        assert!(found.ends_with(not) && found.lines().count() == 1, "{file}: {found}");
    }
}

#[test]
fn bounds_are_included_and_what_lies_beyond_is_refused() {
    for setting in TABLE {
        // A rule between settings may bind more tightly than the bounds; here only the bounds count.
        let bound = |text: &str| {
            let error = load(&format!("{} = {text}", setting.path)).err();
            error.is_some_and(|error| error.problems.iter().any(|problem| problem.message.starts_with("must be a ")))
        };
        let (least, most) = match &setting.kind {
            Kind::Integer { least, most, .. } => (u64::from(*least), u64::from(*most)),
            Kind::Duration { least, most, .. } => (least.as_secs(), most.as_secs()),
            _ => continue,
        };
        assert!(!bound(&least.to_string()) && !bound(&most.to_string()), "{}", setting.path);
        assert!(bound(&(most + 1).to_string()), "{}", setting.path);
        assert!(least == 0 || bound(&(least - 1).to_string()), "{}", setting.path);
    }
    assert_eq!(
        problems("tokens.authorization_code_lifetime = \"11m\""),
        "keyward.toml:1: tokens.authorization_code_lifetime: must be a duration from 1s to 10m, such as \"30s\", \
         \"15m\", \"12h\" or \"7d\", not \"11m\""
    );
}

#[test]
fn texts_of_a_wrong_form_are_refused() {
    for (file, word) in [
        ("environment = \"staging\"", "must be \"production\" or \"development\", not \"staging\""),
        ("data_dir = \"\"", "path"),
        ("server.listen = \"localhost\"", "isn't an address with a port"),
        ("server.http_redirect_listen = \"80\"", "isn't an address with a port"),
        ("server.trusted_hosts = [\"https://a\"]", "isn't a host"),
        ("database.synchronous = \"off\"", "must be \"full\" or \"normal\""),
        ("database.url = \"mysql://a\"", "must be sqlite:PATH or postgres://"),
        ("keys.master_key_file = \"\"", "path"),
        ("keys.master_key = \" a\"", "white space"),
        ("redis.url = \"http://localhost\"", "must be redis://"),
        ("redis.url = \"rediss://localhost/#insecure\"", "must be redis://"),
        ("redis.key_prefix = \"a b\"", "letters, digits"),
        ("keys.algorithms = []", "at least one"),
        ("keys.algorithms = [\"HS256\"]", "isn't one of ES256, RS256, EdDSA, PS256"),
        ("keys.algorithms = [\"ES256\", \"ES256\"]", "named twice"),
        ("tokens.access_token_algorithm = \"none\"", "not \"none\""),
        ("cors.allowed_origins = [\"*\"]", "isn't an origin"),
        ("log.level = \"loud\"", "isn't a level"),
    ] {
        let found = problems(file);
        assert!(found.contains(word) && found.starts_with("keyward.toml:1: "), "{file}: {found}");
    }
}

#[test]
fn settings_that_contradict_each_other_are_refused() {
    let https = "public_url = \"https://a.example.com\"\n";
    let vault = "vault.address = \"https://v.example\"\nvault.token = \"t\"\n";
    for (file, expected) in [
        (format!("{https}server.tls_certificate_file = \"/c\""), "keyward.toml:2: server.tls_certificate_file: "),
        (format!("{https}server.tls_key_file = \"/k\""), "keyward.toml:2: server.tls_key_file: "),
        ("server.tls_certificate_file = \"/c\"\nserver.tls_key_file = \"/k\"".into(), "must begin with https://"),
        ("server.http_redirect_listen = \"0.0.0.0:80\"".into(), "must begin with https://"),
        (format!("{https}server.http_redirect_listen = \"127.0.0.1:4000\""), "are the same address"),
        (
            "keys.master_key = \"a\"\nkeys.master_key_file = \"b\"".into(),
            "keys.master_key and keys.master_key_file are set together; keep one of them",
        ),
        (
            format!("{vault}keys.master_key_vault = \"a\"\nkeys.master_key_aws = \"b\""),
            "keyward.toml:3: keys.master_key_vault: keys.master_key_vault and keys.master_key_aws are set together",
        ),
        (
            "keys.master_key = \"a\"\nkeys.master_key_aws = \"b\"\nkeys.master_key_file = \"c\"".into(),
            "keys.master_key and keys.master_key_aws and keys.master_key_file are set together",
        ),
        ("vault.token = \"t\"\nkeys.master_key_vault = \"a\"".into(), "keys.master_key_vault needs vault.address"),
        (
            "vault.address = \"https://v.example\"\nkeys.master_key_vault = \"a\"".into(),
            "needs vault.token, or vault.role_id",
        ),
        ("vault.token = \"t\"\nvault.role_id = \"r\"".into(), "vault.token and vault.role_id are both set"),
        ("vault.secret_id = \"s\"".into(), "vault.secret_id needs vault.role_id"),
        ("keys.algorithms = [\"RS256\"]".into(), "keyward.toml:1: keys.algorithms: tokens.access_token_algorithm must"),
        ("keys.rotation_interval = \"59m\"".into(), "keys.rotation_interval must be 0 or at least 1h"),
        ("tokens.refresh_token_idle_lifetime = \"91d\"".into(), "(91d) is longer than"),
        ("tokens.refresh_token_idle_lifetime = \"1m\"\ntokens.refresh_grace = \"2m\"".into(), "(2m) is longer than"),
        ("sessions.absolute_timeout = \"1h\"".into(), "sessions.idle_timeout (12h) is longer than"),
        ("sessions.idle_timeout = \"1m\"\nsessions.touch_interval = \"2m\"".into(), "(2m) is longer than"),
        ("outbound.timeout = \"2s\"".into(), "outbound.connect_timeout (3s) is longer than"),
        ("passwords.argon2_memory_kib = 15\npasswords.argon2_parallelism = 2".into(), "RFC 9106"),
    ] {
        let found = problems(&file);
        assert!(found.contains(expected) && found.lines().count() == 1, "{file}: {found}");
    }
    // A wrong value isn't reported a second time as a contradiction.
    assert_eq!(problems("sessions.absolute_timeout = \"1x\"\nsessions.idle_timeout = \"60d\"").lines().count(), 1);
}

// Warnings.

#[test]
fn weak_choices_are_warned_of_with_their_place() {
    for (file, path) in [
        ("environment = \"development\"", "environment"),
        ("server.listen = \"0.0.0.0:4000\"", "server.listen"),
        ("server.trusted_proxies = [\"0.0.0.0/0\"]", "server.trusted_proxies"),
        ("database.url = \"postgres://db.example.com/k\"", "database.url"),
        ("database.synchronous = \"normal\"", "database.synchronous"),
        ("redis.url = \"redis://redis.example.com\"", "redis.url"),
        ("keys.algorithms = [\"ES256\"]", "keys.algorithms"),
        ("keys.rotation_interval = 0", "keys.rotation_interval"),
        ("tokens.access_token_lifetime = \"61m\"", "tokens.access_token_lifetime"),
        ("tokens.authorization_code_lifetime = 61", "tokens.authorization_code_lifetime"),
        ("tokens.refresh_grace = 61", "tokens.refresh_grace"),
        ("tokens.clock_leeway = 61", "tokens.clock_leeway"),
        ("passwords.argon2_memory_kib = 19455", "passwords.argon2_memory_kib"),
        ("passwords.min_length = 7", "passwords.min_length"),
        ("cors.allowed_origins = [\"http://app.example.com\"]", "cors.allowed_origins"),
        ("outbound.allowed_networks = [\"0.0.0.0/0\"]", "outbound.allowed_networks"),
        ("outbound.http_hosts = [\"keys.example\"]", "outbound.http_hosts"),
        ("metrics.listen = \"0.0.0.0:9464\"", "metrics.listen"),
    ] {
        let warnings = load(file).unwrap().warnings();
        assert_eq!(warnings.len(), 1, "{file}: {warnings:?}");
        assert!(warnings[0].starts_with(&format!("keyward.toml:1: {path}: ")), "{warnings:?}");
    }
    assert_eq!(TABLE.iter().filter(|setting| setting.weak.is_some()).count(), 18, "a warning isn't tested above");
    let iterations = load("passwords.argon2_iterations = 1").unwrap().warnings();
    assert!(iterations[0].starts_with("passwords.argon2_memory_kib: "), "{iterations:?}");
}

#[test]
fn strong_choices_are_not_warned_of() {
    for file in [
        "public_url = \"https://a.example.com\"\n[server]\nlisten = \"0.0.0.0:443\"\ntls_certificate_file = \"/c\"\n\
         tls_key_file = \"/k\"",
        "[server]\nlisten = \"0.0.0.0:4000\"\ntrusted_proxies = [\"10.0.0.0/8\"]",
        "tokens.authorization_code_lifetime = 60\ntokens.refresh_grace = 60",
        "passwords.argon2_memory_kib = 9216\npasswords.argon2_iterations = 4",
        "cors.allowed_origins = [\"http://localhost:5173\"]",
    ] {
        let warnings = load(file).unwrap().warnings();
        assert!(warnings.is_empty(), "{file}: {warnings:?}");
    }
}

// Secrets.

#[test]
fn no_secret_is_shown() {
    let file = "[database]\nurl = \"postgres://keyward:hunter2@db/k\"\n[keys]\nmaster_key = \"correct-horse\"";
    let settings = load(file).unwrap();
    assert_eq!(settings.keys.master_key.as_ref().unwrap().expose_secret(), "correct-horse");
    let shown = format!(
        "{settings:?} {:?} {:?} {:?}",
        settings.database_backend(),
        settings.master_key_source(),
        settings.warnings()
    );
    assert!(!shown.contains("hunter2") && !shown.contains("correct-horse"), "{shown}");

    // The parser's own words about a broken file repeat nothing of it.
    let broken =
        problems("[database]\nurl = postgres://keyward:hunter2@db/k\n[keys]\nmaster_key = \"hunter2\nhunter2\"");
    assert!(broken.contains("keyward.toml:2: ") && !broken.contains("hunter2"), "{broken}");
    for (file, variables, flags) in [
        ("database.url = \"mysql://keyward:hunter2@db/k\"", vec![], vec![]),
        ("database.url = [\"hunter2\"]\nkeys.master_key = 4242424242", vec![], vec![]),
        ("keys.master_key = \" hunter2\"", vec![("KEYWARD_DATABASE_URL", "hunter2")], vec![]),
        ("", vec![("KEYWARD_KEYS_MASTER_KEY", "hunter2 ")], vec![]),
        ("", vec![], vec![("database.url", "postgres://keyward:hunter2@db/k"), ("keys.master_key", "hunter2")]),
    ] {
        let error = Settings::load(&sources(file, &variables, &flags)).unwrap_err();
        let shown = format!("{error} {error:?}");
        assert!(!shown.contains("hunter2") && !shown.contains("4242424242"), "{shown}");
    }
}

#[test]
fn secrets_are_not_taken_from_flags() {
    let by_flag = |path, value| Settings::load(&sources("", &[], &[(path, value)]));
    let error = by_flag("database.url", "postgres://keyward@db/k").unwrap_err().to_string();
    assert!(error.contains("KEYWARD_DATABASE_URL_FILE"), "{error}");
    assert!(by_flag("keys.master_key", "a").unwrap_err().to_string().contains("command line"));
    // The path of a file is no secret.
    let settings = by_flag("database.url", "sqlite:other.db").unwrap();
    assert_eq!(settings.database.url.expose_secret(), "sqlite:other.db");
}

#[test]
fn a_secret_is_read_from_the_file_a_variable_names() {
    let folder = tempfile::tempdir().unwrap();
    let url = file_in(folder.path(), "url", "postgres://keyward:hunter2@localhost/k\r\n");
    let by_file = |file: &str| Settings::load(&sources("", &[("KEYWARD_DATABASE_URL_FILE", file)], &[]));
    let settings = by_file(&url).unwrap();
    assert_eq!(settings.database.url.expose_secret(), "postgres://keyward:hunter2@localhost/k");
    assert_eq!(settings.place_of("database.url").to_string(), "KEYWARD_DATABASE_URL_FILE");

    assert!(by_file(&file_in(folder.path(), "empty", "\n")).unwrap_err().to_string().contains("is empty"));
    let missing = by_file(folder.path().join("missing").to_str().unwrap()).unwrap_err().to_string();
    assert!(missing.starts_with("KEYWARD_DATABASE_URL_FILE: database.url: ") && missing.contains("can't be read"));
    let wrong = by_file(&file_in(folder.path(), "wrong", "mysql://keyward:hunter2@db")).unwrap_err().to_string();
    assert!(wrong.contains("must be sqlite:") && !wrong.contains("hunter2"), "{wrong}");

    let both = [("KEYWARD_DATABASE_URL", "sqlite:a.db"), ("KEYWARD_DATABASE_URL_FILE", url.as_str())];
    let error = Settings::load(&sources("", &both, &[])).unwrap_err().to_string();
    assert!(error.contains("is set beside KEYWARD_DATABASE_URL"), "{error}");
}

// Sources.

fn with_dot_env(text: &str, file: &str, environment: &[(&str, &str)]) -> Result<Settings, SettingsError> {
    let mut sources = sources(file, environment, &[]);
    sources.dot_env = Some((PathBuf::from(".env"), text.to_owned()));
    Settings::load(&sources)
}

#[test]
fn dot_env_counts_in_development_only_and_below_the_environment() {
    let text = "# ours\nPOSTGRES_PASSWORD=x\n\nexport KEYWARD_AUDIT_QUEUE=\"7\" # few\nKEYWARD_LOG_FORMAT='json' # c\n\
                KEYWARD_CLEANUP_BATCH = 9 # nine\nKEYWARD_ENVIRONMENT=development\nKEYWARD_LOG_LEVEL=warn\n";
    let development = "environment = \"development\"\naudit.queue = 1";
    let settings = with_dot_env(text, development, &[("KEYWARD_LOG_LEVEL", "error")]).unwrap();
    assert_eq!(settings.audit.queue, 7);
    assert_eq!(settings.place_of("audit.queue").to_string(), ".env:4");
    assert_eq!(settings.log.format, LogFormat::Json);
    assert_eq!(settings.cleanup.batch, 9);
    assert_eq!(settings.log.level, "error");

    let production = with_dot_env(text, "audit.queue = 1", &[]).unwrap();
    assert_eq!((production.audit.queue, production.environment), (1, Environment::Production));
    // The environment wins over the file in this question too.
    let settings = with_dot_env(text, development, &[("KEYWARD_ENVIRONMENT", "production")]).unwrap();
    assert_eq!(settings.audit.queue, 1);
}

#[test]
fn wrong_lines_of_dot_env_are_refused_with_their_numbers() {
    let text = "KEYWARD_AUDIT_QUEU=1\nwhat is this\nKEYWARD_ENVIRONMENT=production\nKEYWARD_LOG_LEVEL=\"warn\n\
                KEYWARD_CLEANUP_BATCH=0";
    let error = with_dot_env(text, "environment = \"development\"", &[]).unwrap_err().to_string();
    let lines: Vec<_> = error.lines().collect();
    assert_eq!(lines.len(), 5, "{error}");
    for (line, start) in lines.iter().zip([
        ".env:1: unknown variable \"KEYWARD_AUDIT_QUEU\"; did you mean \"KEYWARD_AUDIT_QUEUE\"?",
        ".env:2: isn't NAME=value",
        ".env:3: KEYWARD_ENVIRONMENT can't be set in this file",
        ".env:4: isn't NAME=value",
        ".env:5: cleanup.batch: must be a whole number",
    ]) {
        assert!(line.starts_with(start), "{line}");
    }
}

#[test]
fn sources_are_gathered_from_the_named_file() {
    let folder = tempfile::tempdir().unwrap();
    let file = file_in(folder.path(), "a.toml", "audit.queue = 3");
    let sources = Sources::gather(Some(PathBuf::from(&file)), vec![("cleanup.batch".into(), "4".into())]).unwrap();
    assert_eq!(sources.file, Some((PathBuf::from(&file), "audit.queue = 3".to_owned())));
    assert!(sources.dot_env.is_none());
    assert_eq!(sources.flags, [("cleanup.batch".to_owned(), "4".to_owned())]);
    assert!(sources.environment.iter().all(|(name, _)| name.starts_with("KEYWARD_")));

    let missing = folder.path().join("missing.toml");
    let error = Sources::gather(Some(missing.clone()), Vec::new()).err().unwrap().to_string();
    assert!(error.starts_with(&format!("{}: can't be read: ", missing.display())), "{error}");
}

// What the server asks of its settings.

#[test]
fn the_public_url_gives_issuer_and_path() {
    let settings = load("public_url = \"https://a.example.com/auth\"").unwrap();
    assert_eq!((settings.issuer(), settings.base_path()), ("https://a.example.com/auth", "/auth"));
    assert!(settings.is_https() && !settings.is_loopback());
    let settings = Settings::default();
    assert_eq!((settings.issuer(), settings.base_path()), ("http://localhost:4000", ""));
    assert!(!settings.is_https() && settings.is_loopback() && !settings.serves_tls());

    let tls = "public_url = \"https://a\"\nserver.tls_certificate_file = \"/c\"\nserver.tls_key_file = \"/k\"";
    let settings = load(tls).unwrap();
    assert!(settings.serves_tls());
    assert_eq!(settings.server.tls_certificate_file.as_deref(), Some(Path::new("/c")));
    assert_eq!(settings.server.tls_key_file.as_deref(), Some(Path::new("/k")));
}

#[test]
fn relative_files_lie_in_the_data_folder() {
    let at = |file: &str| {
        let settings = load(file).unwrap();
        match (settings.database_backend(), settings.master_key_source()) {
            (DatabaseBackend::Sqlite { path }, MasterKeySource::File(key)) => (path, key),
            other => panic!("{other:?}"),
        }
    };
    let both = |database: &str, key: &str| (Path::new(database).to_owned(), Path::new(key).to_owned());
    assert_eq!(at(""), both("./keyward-data/keyward.db", "./keyward-data/master.key"));
    assert_eq!(at("data_dir = \"/d\""), both("/d/keyward.db", "/d/master.key"));
    let absolute = "data_dir = \"/d\"\ndatabase.url = \"sqlite:///e/k.db\"\nkeys.master_key_file = \"/f/m\"";
    assert_eq!(at(absolute), both("/e/k.db", "/f/m"));

    let settings = load("database.url = \"postgres://u:p@localhost/k\"\nkeys.master_key = \"m\"").unwrap();
    assert!(matches!(settings.database_backend(),
        DatabaseBackend::Postgres { url } if url.expose_secret() == "postgres://u:p@localhost/k"));
    assert!(matches!(settings.master_key_source(), MasterKeySource::Value(key) if key.expose_secret() == "m"));
}

#[test]
fn only_named_hosts_and_proxies_are_trusted() {
    let settings = Settings::default();
    assert!(settings.trusts_host("localhost:4000") && settings.trusts_host("LOCALHOST"));
    assert!(!settings.trusts_host("evil.example.com") && !settings.trusts_host("localhost.evil.example.com"));
    assert!(!settings.trusts_proxy("127.0.0.1".parse().unwrap()));

    let file = "server.trusted_hosts = [\"a.example.com\", \"B.example.com:8443\", \"[::1]\"]\n\
                server.trusted_proxies = [\"10.0.0.0/8\", \"::1\"]";
    let settings = load(file).unwrap();
    for host in ["a.example.com", "A.example.com:99", "b.example.com:8443", "[::1]:4000", "[::1]"] {
        assert!(settings.trusts_host(host), "{host}");
    }
    for host in ["", "b.example.com", "b.example.com:1", "localhost:4000", "[::2]:4000", "a.example.com.evil.com"] {
        assert!(!settings.trusts_host(host), "{host}");
    }
    assert!(settings.trusts_proxy("10.9.8.7".parse().unwrap()) && settings.trusts_proxy("::1".parse().unwrap()));
    assert!(!settings.trusts_proxy("192.168.0.1".parse().unwrap()));
}
