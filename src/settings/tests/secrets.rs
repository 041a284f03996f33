//! Secrets: never shown, never taken from flags, read from files.

use super::*;

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
