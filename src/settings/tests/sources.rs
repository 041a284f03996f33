//! Where settings come from: precedence, mistyped names, `.env`.

use super::*;

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
