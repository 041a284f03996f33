//! What the server asks of its settings.

use super::*;

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
