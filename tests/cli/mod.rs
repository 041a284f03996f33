//! The command line of the real binary: what it changes is seen by a running server, on every database.

mod keys;
mod master_key;
mod migrate;

use std::process::Stdio;
use std::time::Duration;

use serde_json::Value;

use crate::support::TestDatabase;
use crate::support::authority::TestAuthority;
use crate::support::binary::{Binary, pause};
use crate::support::server::{Answer, PASSWORD, http_client, http_client_trusting};

/// A token request of a machine client.
async fn token(http: &reqwest::Client, binary: &Binary, id: &str, secret: &str) -> Answer {
    let request = http.post(format!("{}/token", binary.url)).basic_auth(id, Some(secret));
    Answer::of(request.form(&[("grant_type", "client_credentials")])).await
}

/// Asks until the answer is as expected; a change is seen within a second.
async fn becomes(what: &str, mut ask: impl AsyncFnMut() -> bool) {
    for _ in 0..20 {
        if ask().await {
            return;
        }
        pause(Duration::from_millis(100)).await;
    }
    panic!("not seen within two seconds: {what}");
}

async fn a_running_server_sees_changes(database: TestDatabase) {
    let http = http_client();
    let mut binary = Binary::new(&database);
    binary.start(&http).await;
    binary.run(&["--json", "scopes", "add", "read", "--title", "Read", "--description", "Read things"], "");
    let added = binary.run(
        &[
            "--json",
            "clients",
            "add",
            "--name",
            "Batch",
            "--id",
            "batch",
            "--grant",
            "client_credentials",
            "--scope",
            "read",
            "--default-scope",
            "read",
            "--id-token-alg",
            "ES256",
        ],
        "",
    );
    let first = added["client_secret"].as_str().unwrap().to_owned();
    becomes("a new client", async || token(&http, &binary, "batch", &first).await.status == 200).await;

    let rotated = binary.run(&["--json", "clients", "rotate-secret", "batch", "--overlap", "1h"], "");
    let second = rotated["client_secret"].as_str().unwrap().to_owned();
    becomes("a new secret", async || token(&http, &binary, "batch", &second).await.status == 200).await;
    assert_eq!(token(&http, &binary, "batch", &first).await.status, 200, "the earlier secret works for an hour");

    binary.run(&["--json", "clients", "disable", "batch"], "");
    becomes("a disabled client", async || token(&http, &binary, "batch", &second).await.status == 401).await;
    let listed = binary.run(&["--json", "clients", "list"], "");
    let batch = listed.as_array().unwrap().iter().find(|client| client["client_id"] == "batch").unwrap();
    assert_eq!(batch["disabled"], true);
    let since = binary.run(&["--json", "clients", "show", "batch"], "")["disabled_at"].clone();
    let again = binary.run(&["--json", "clients", "disable", "batch"], "");
    assert_eq!(again, serde_json::json!({ "client_id": "batch", "disabled": true }));
    assert_eq!(binary.run(&["--json", "clients", "show", "batch"], "")["disabled_at"], since, "since the first time");
    refused(&binary, &["clients", "disable", "nobody"], "");
    refused(&binary, &["clients", "enable", "nobody"], "");
    binary.run(&["--json", "clients", "enable", "batch"], "");
    becomes("an enabled client", async || token(&http, &binary, "batch", &second).await.status == 200).await;

    binary.run(&["--json", "clients", "delete", "batch", "--yes"], "");
    becomes("a deleted client", async || token(&http, &binary, "batch", &second).await.status == 401).await;
    binary.kill();
    database.remove().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn sqlite() {
    a_running_server_sees_changes(TestDatabase::sqlite()).await;
}

#[tokio::test(flavor = "multi_thread")]
#[cfg_attr(not(feature = "services"), ignore = "needs PostgreSQL: run ./test")]
async fn postgres() {
    a_running_server_sees_changes(TestDatabase::postgres().await).await;
}

#[tokio::test]
async fn users_roles_and_groups() {
    let database = TestDatabase::sqlite();
    let binary = Binary::new(&database);
    binary.run(&["--json", "roles", "add", "user"], "");
    binary.run(&["--json", "roles", "add", "admin", "--includes", "user"], "");
    binary.run(
        &["--json", "users", "add", "ada", "--email", "ada@example.org", "--role", "admin", "--password-stdin"],
        PASSWORD,
    );
    let shown = binary.run(&["--json", "users", "show", "ADA"], "");
    let text = shown.to_string();
    assert!(text.contains("ada@example.org") && text.contains("admin") && text.contains("user"), "{text}");
    assert!(!text.contains("argon2"), "a hash is never shown: {text}");
    refused(&binary, &["roles", "include", "user", "admin"], "");
    refused(&binary, &["users", "add", "ADA", "--password-stdin"], PASSWORD);
    refused(&binary, &["users", "add", "bob", "--password-stdin"], "short");
    refused(&binary, &["users", "delete", "ada"], "");
    refused(&binary, &["clients", "add", "--name", "X", "--redirect-uri", "http://evil.example/cb"], "");
    binary.run(&["--json", "users", "disable", "ada"], "");
    binary.run(&["--json", "users", "delete", "ada", "--yes"], "");
    assert_eq!(binary.run(&["--json", "users", "list"], ""), serde_json::json!([]));
}

#[tokio::test]
async fn scopes_for_roles() {
    let database = TestDatabase::sqlite();
    let binary = Binary::new(&database);
    let scope = |name: &str| {
        let all = binary.run(&["--json", "scopes", "list"], "");
        all.as_array().unwrap().iter().find(|scope| scope["scope"] == name).unwrap().clone()
    };
    binary.run(&["--json", "roles", "add", "editor"], "");
    let words = ["--title", "Write", "--description", "Write things"];
    let add = ["--json", "scopes", "add", "write", "--only-for-role", "editor"];
    binary.run(&[&add[..], &words].concat(), "");
    assert_eq!(scope("write")["only_for_roles"], serde_json::json!(["editor"]));
    binary.run(&["--json", "scopes", "edit", "write", "--title", "Edit", "--permission", "notes:write"], "");
    let edited = scope("write");
    assert_eq!((&edited["title"], &edited["description"]), (&"Edit".into(), &"Write things".into()));
    assert_eq!(edited["only_for_roles"], serde_json::json!(["editor"]), "what isn't named stays");
    binary.run(&["--json", "scopes", "edit", "write", "--only-for-role", ""], "");
    assert_eq!(scope("write")["only_for_roles"], serde_json::json!([]));
    // Of the built-in scopes only the roles can change.
    binary.run(&["--json", "scopes", "edit", "phone", "--only-for-role", "editor"], "");
    assert_eq!(scope("phone")["only_for_roles"], serde_json::json!(["editor"]));
    refused(&binary, &["scopes", "edit", "phone", "--title", "Telephone"], "");
    refused(&binary, &["scopes", "edit", "nothing", "--only-for-role", "editor"], "");
    refused(&binary, &["scopes", "edit", "write", "--only-for-role", "nobody"], "");
    // A role that is gone opens nothing, and that is shown.
    binary.run(&["--json", "roles", "delete", "editor"], "");
    assert!(scope("phone")["only_for_roles"].to_string().contains("deleted role"));
}

#[tokio::test]
async fn clients_with_published_keys() {
    let database = TestDatabase::sqlite();
    let binary = Binary::new(&database);
    let keys = ["--auth-method", "private_key_jwt", "--jwks-uri", "https://batch.example/jwks"];
    let add = ["--json", "clients", "add", "--name", "Batch", "--id", "batch", "--default-max-age", "1h"];
    let add = [&add[..], &keys, &["--default-acr-value", "phr", "--require-auth-time"]].concat();
    assert!(binary.run(&add, "").get("client_secret").is_none());
    let shown = binary.run(&["--json", "clients", "show", "batch"], "")["metadata"].clone();
    assert_eq!(shown["jwks_uri"], "https://batch.example/jwks");
    assert_eq!((&shown["default_max_age"], &shown["require_auth_time"]), (&3600.into(), &true.into()));
    assert_eq!(shown["default_acr_values"], serde_json::json!(["phr"]));
    let file = database.folder().join("jwks.json");
    std::fs::write(&file, "{\"keys\":[]}").unwrap();
    refused(&binary, &["clients", "edit", "batch", "--jwks-file", file.to_str().unwrap()], "");
    refused(&binary, &["clients", "edit", "batch", "--jwks-uri", ""], "");
    refused(&binary, &["clients", "edit", "batch", "--jwks-uri", "file:///etc/passwd"], "");
}

/// A command that fails with exit code 1, a sentence and, by `--json`, a document on standard error.
pub fn refused(binary: &Binary, arguments: &[&str], input: &str) {
    let mut arguments = arguments.to_vec();
    arguments.insert(0, "--json");
    let mut child =
        binary.command(&arguments).stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    std::io::Write::write_all(&mut child.stdin.take().unwrap(), input.as_bytes()).unwrap();
    let output = child.wait_with_output().unwrap();
    assert_eq!(output.status.code(), Some(1), "{arguments:?}");
    let errors = String::from_utf8(output.stderr).unwrap();
    let document = errors.lines().filter_map(|line| serde_json::from_str::<Value>(line).ok()).next_back();
    assert!(document.is_some_and(|document| document["error"].is_string()), "{arguments:?}: {errors}");
}

#[tokio::test]
async fn a_mistyped_setting_is_refused_with_its_line_and_the_nearest() {
    let database = TestDatabase::sqlite();
    let file = database.folder().join("keyward.toml");
    std::fs::write(&file, "[server]\nlisen = \"127.0.0.1:1\"\n").unwrap();
    let binary = Binary::new(&database);
    let output = binary.command(&["--config", file.to_str().unwrap(), "config", "check"]).output().unwrap();
    assert_eq!(output.status.code(), Some(1));
    let errors = String::from_utf8(output.stderr).unwrap();
    assert!(errors.contains("keyward.toml:2") && errors.contains("server.listen"), "{errors}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_hangup_signal_brings_a_new_certificate() {
    let database = TestDatabase::sqlite();
    let (old, new) = (TestAuthority::new(), TestAuthority::new());
    let (chain, key) = (database.folder().join("chain.pem"), database.folder().join("key.pem"));
    let install = |authority: &TestAuthority| {
        std::fs::copy(authority.certificate_file(), &chain).unwrap();
        std::fs::copy(authority.key_file(), &key).unwrap();
    };
    install(&old);
    let mut binary = Binary::new(&database);
    binary.speak_tls(&chain, &key);
    let (trusts_old, trusts_new) = (http_client_trusting(Some(&old)), http_client_trusting(Some(&new)));
    binary.start(&trusts_old).await;
    let address = format!("{}/health/live", binary.url);
    assert!(trusts_new.get(&address).send().await.is_err(), "the new authority has signed nothing yet");
    install(&new);
    binary.signal("HUP");
    becomes("the new certificate", async || trusts_new.get(&address).send().await.is_ok()).await;
    // What can't be read leaves the certificate in use.
    std::fs::write(&chain, "no certificate").unwrap();
    binary.signal("HUP");
    pause(Duration::from_millis(300)).await;
    assert!(trusts_new.get(&address).send().await.is_ok());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_hangup_signal_brings_new_settings_and_keeps_those_of_the_start() {
    let (database, http) = (TestDatabase::sqlite(), http_client());
    let file = database.folder().join("keyward.toml");
    std::fs::write(&file, "[tokens]\naccess_token_lifetime = \"10m\"\n").unwrap();
    let mut binary = Binary::new(&database);
    binary.read_settings(&file);
    binary.start(&http).await;
    binary.run(&["--json", "scopes", "add", "read", "--title", "Read", "--description", "Read things"], "");
    let arguments = ["--json", "clients", "add", "--name", "Batch", "--id", "batch", "--grant", "client_credentials"];
    let added = binary.run(
        &[&arguments[..], &["--scope", "read", "--default-scope", "read", "--id-token-alg", "ES256"]].concat(),
        "",
    );
    let secret = added["client_secret"].as_str().unwrap();
    let lifetime = async || token(&http, &binary, "batch", secret).await.json()["expires_in"].as_u64();
    becomes("the new client", async || lifetime().await == Some(600)).await;

    // What can change does; another database waits for the next start.
    let fresh = "[tokens]\naccess_token_lifetime = \"5m\"\n[passwords]\nhashing_queue = 7\n";
    std::fs::write(&file, fresh).unwrap();
    binary.signal("HUP");
    becomes("the new lifetime", async || lifetime().await == Some(300)).await;

    // Settings that are wrong, alone or together, leave all as it is.
    for wrong in
        ["[tokens]\naccess_token_lifetim = \"1m\"\n", "[sessions]\nidle_timeout = \"2d\"\nabsolute_timeout = \"1d\"\n"]
    {
        std::fs::write(&file, wrong).unwrap();
        binary.signal("HUP");
        pause(Duration::from_millis(300)).await;
        assert_eq!(lifetime().await, Some(300), "{wrong}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_refused_is_counted_and_told_on_an_address_of_its_own() {
    let (database, http) = (TestDatabase::sqlite(), http_client());
    let mut binary = Binary::new(&database);
    let address = binary.tell_metrics();
    binary.start(&http).await;
    let text = async || Answer::of(http.get(format!("http://{address}/metrics"))).await;
    assert_eq!(text().await.status, 200);
    assert!(!text().await.text.contains("keyward_refusals_total{"));
    token(&http, &binary, "nobody", "wrong").await;
    token(&http, &binary, "nobody", "wrong").await;
    Answer::of(http.get(format!("{}/authorize?client_id=nobody", binary.url))).await;
    let large = http.post(format!("{}/token", binary.url)).body("x".repeat(100_000));
    assert_eq!(Answer::of(large).await.status, 413);
    let counted = text().await.text;
    for line in [
        "keyward_refusals_total{error=\"invalid_client\",door=\"document\"} 2",
        "keyward_refusals_total{error=\"invalid_request\",door=\"document\"} 1",
        "keyward_refusals_total{error=\"invalid_request\",door=\"page\"} 1",
        "keyward_shed_requests_total 0",
    ] {
        assert!(counted.lines().any(|counted| counted == line), "{line}: {counted}");
    }
    let public = Answer::of(http.get(format!("{}/metrics", binary.url))).await;
    assert_eq!(public.status, 404, "not on the public address");
}

#[test]
fn the_reference_and_the_example_in_the_documents_are_true() {
    for (file, made) in [
        ("docs/reference/settings.md", keyward::settings::reference()),
        ("docs/reference/keyward.example.toml", keyward::settings::example()),
    ] {
        let path = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join(file);
        let kept = std::fs::read_to_string(&path).unwrap_or_default();
        assert_eq!(
            kept, made,
            "{file} is out of date: write it anew by `keyward config reference` or `config example`"
        );
    }
}
