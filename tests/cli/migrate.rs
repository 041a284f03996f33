//! `keyward migrate --to`: who signed in on SQLite goes on on PostgreSQL.

use serde_json::Value;

use super::refused;
use crate::support::binary::Binary;
use crate::support::server::{Answer, CHALLENGE, PASSWORD, VERIFIER, http_client};
use crate::support::{Browser, TestDatabase};

fn authorize_url(url: &str) -> String {
    format!(
        "{url}/authorize?client_id=shop&response_type=code&scope=openid+offline_access&state=s\
         &redirect_uri=https%3A%2F%2Fapp.example%2Fcb&code_challenge={CHALLENGE}&code_challenge_method=S256"
    )
}

async fn token(binary: &Binary, secret: &str, form: &[(&str, &str)]) -> Answer {
    let request = http_client().post(format!("{}/token", binary.url)).basic_auth("shop", Some(secret));
    Answer::of(request.form(form)).await
}

async fn refresh(binary: &Binary, secret: &str, token_: &str) -> Answer {
    token(binary, secret, &[("grant_type", "refresh_token"), ("refresh_token", token_)]).await
}

fn text(answer: &Answer, name: &str) -> String {
    answer.json()[name].as_str().unwrap_or_else(|| panic!("{}", answer.text)).to_owned()
}

async fn redeem(binary: &Binary, secret: &str, code: &str) -> Answer {
    let form = [
        ("grant_type", "authorization_code"),
        ("code", code),
        ("redirect_uri", "https://app.example/cb"),
        ("code_verifier", VERIFIER),
    ];
    token(binary, secret, &form).await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[cfg_attr(not(feature = "services"), ignore = "needs PostgreSQL: run ./test")]
async fn from_sqlite_to_postgresql() {
    let http = http_client();
    let (source, target) = (TestDatabase::sqlite(), TestDatabase::empty_postgres().await);
    let mut binary = Binary::new(&source);
    binary.run(&["--json", "users", "add", "ada", "--password-stdin"], PASSWORD);
    for index in 0..30 {
        binary.run(&["--json", "users", "add", &format!("user-{index}"), "--no-password"], "");
    }
    let secret = binary.add_web_app("shop", &[]);
    binary.start(&http).await;
    let browser = Browser::at(&binary.url);
    let spent = browser.code(&authorize_url(&binary.url), "ada").await;
    let first = redeem(&binary, &secret, &spent).await;
    let (first, access) = (text(&first, "refresh_token"), text(&first, "access_token"));
    let second = text(&refresh(&binary, &secret, &first).await, "refresh_token");
    let unspent = browser.code(&authorize_url(&binary.url), "ada").await;

    // A password stays out of the list of processes, and a database in use is left alone.
    let with_password = target.url().replace("keyward@", "keyward:secret@");
    refused(&binary, &["migrate", "--to", &with_password], "");
    refused(&binary, &["migrate", "--to", "sqlite:other.db"], "");
    refused(&binary, &["migrate", "--to", &target.url()], "");
    assert!(http.get(format!("{}/health/ready", binary.url)).send().await.unwrap().status().is_success());
    binary.kill();

    let copied = binary.run(&["--json", "migrate", "--to", "-"], &target.url());
    let tables = copied["tables"].as_object().unwrap();
    assert_eq!(tables["users"], 31);
    assert_eq!(tables["grants"], 1);
    assert_eq!((&tables["refresh_tokens"], &tables["authorization_codes"]), (&Value::from(2), &Value::from(2)));
    let rows: u64 = tables.values().map(|rows| rows.as_u64().unwrap()).sum();
    assert_eq!(copied["rows"], rows);

    // A second time the target isn't empty, and nothing is mixed.
    let file = source.folder().join("target");
    std::fs::write(&file, format!("{}\n", target.url())).unwrap();
    refused(&binary, &["migrate", "--to-file", file.to_str().unwrap()], "");

    let mut moved = binary.with("KEYWARD_DATABASE_URL", &target.url());
    moved.start(&http).await;
    // The browser's session, an unspent code, the access token and the refresh token go on.
    let again = browser.get(&authorize_url(&moved.url)).await;
    assert!(again.header("location").contains("code="), "{again:?}");
    assert_eq!(redeem(&moved, &secret, &unspent).await.status, 200);
    let userinfo = http.get(format!("{}/userinfo", moved.url)).bearer_auth(&access).send().await.unwrap();
    assert_eq!(userinfo.status(), 200);
    let third = text(&refresh(&moved, &secret, &second).await, "refresh_token");
    // And so does the memory of what was used.
    assert_eq!(refresh(&moved, &secret, &first).await.error(), "invalid_grant");
    assert_eq!(refresh(&moved, &secret, &third).await.error(), "invalid_grant");
    assert_eq!(redeem(&moved, &secret, &spent).await.error(), "invalid_grant");
    moved.kill();
    target.remove().await;
}

/// Who is refused finds the file as it was, though its schema is older than the program; and under the lock it is brought
/// to the newest.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[cfg_attr(not(feature = "services"), ignore = "needs PostgreSQL: run ./test")]
async fn a_source_in_use_keeps_its_schema() {
    let (source, target) = (TestDatabase::sqlite(), TestDatabase::empty_postgres().await);
    let settings = {
        let mut settings = keyward::settings::Settings::default();
        source.apply(&mut settings);
        settings
    };
    let keyward::settings::DatabaseBackend::Sqlite { path } = settings.database_backend() else { panic!("SQLite") };
    let held = rusqlite::Connection::open(&path).unwrap();
    held.pragma_update(None, "journal_mode", "WAL").unwrap();
    let tables = "SELECT COUNT(*) FROM sqlite_master";
    let count = |connection: &rusqlite::Connection| connection.query_row(tables, [], |row| row.get::<_, i64>(0));
    assert_eq!(count(&held).unwrap(), 0);
    let binary = Binary::new(&source);
    let said = binary.refuse(&["migrate", "--to", &target.url()], "");
    assert!(said.contains("Nothing was changed"), "{said}");
    assert_eq!(count(&held).unwrap(), 0, "nothing was changed");
    drop(held);
    let copied = binary.run(&["--json", "migrate", "--to", "-"], &target.url());
    assert_eq!(copied["tables"]["users"], 0);
    assert!(count(&rusqlite::Connection::open(&path).unwrap()).unwrap() > 20);
    target.remove().await;
}
