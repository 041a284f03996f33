//! Values: every bound, form and rule, and the warnings of weak ones.

use super::*;

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
    for setting in all() {
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

#[test]
fn weak_choices_are_warned_of_with_their_place() {
    for (file, path) in [
        ("environment = \"development\"", "environment"),
        ("server.listen = \"0.0.0.0:4000\"", "server.listen"),
        ("server.trusted_proxies = [\"0.0.0.0/0\"]", "server.trusted_proxies"),
        ("server.load_shedding = false", "server.load_shedding"),
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
    assert_eq!(all().filter(|setting| setting.weak.is_some()).count(), 19, "a warning isn't tested above");
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
